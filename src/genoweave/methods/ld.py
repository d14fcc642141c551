"""Pruning of variants in linkage disequilibrium, for principal components that show ancestry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.execution import fold
from genoweave.genotypes import SelectedSource, Source, read_packed, source_of
from genoweave.kernels.dots import add_dots, new_planes, variant_planes
from genoweave.kernels.missing import TILE, missing_lists, sums_over_missing, whole_words
from genoweave.kernels.packed import count_variants

# r2 is estimated on at most so many samples, evenly spaced over the cohort: its standard error is then
# below 0.01, and the pass stays small at biobank size.
_MOST_SAMPLES = 5000


def prune(ds: xr.Dataset, r2: float, window: int) -> NDArray[np.bool_]:
    """Choose variants of which no two within `window` base pairs have a squared correlation above `r2`.

    Parameters
    ----------
    ds
        A cohort, its variants sorted by contig and position.
    r2
        Largest squared Pearson correlation of dosages, missing calls at the variant's mean.
    window
        Base pairs.

    Returns
    -------
    ndarray
        bool (variants,): True for those to keep. A variant goes if an earlier one that stays is too
        close to it.

    Notes
    -----
    Covariances come from integer counts. Memory: two tiles of genotypes of at most 5,000 samples and their
    1,024 x 1,024 counts per task, and the pairs above `r2`.
    """
    source = source_of(ds)
    n_variants, n_samples = source.shape[:2]
    contig, position = ds["variant_contig"].values, ds["variant_position"].values
    samples = np.unique(np.linspace(0, n_samples - 1, min(n_samples, _MOST_SAMPLES)).astype(int))
    if len(samples) < n_samples:
        source = SelectedSource(source, np.arange(n_variants), samples)
    state: dict[str, Any] = {"pairs": []}
    shared = (source, contig, position, r2, window)
    state = fold("linkage disequilibrium", _tile_pairs, tiles(n_variants), state, _add, shared=shared)
    pairs = np.concatenate(state["pairs"]) if state["pairs"] else np.empty((0, 2), np.int64)
    return _first_come(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))], n_variants)


def _first_come(pairs: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Keep a variant unless it is paired with an earlier one that was kept; `pairs` sorted by the later."""
    keep = np.ones(n, bool)
    for earlier, later in pairs.tolist():
        if keep[earlier]:
            keep[later] = False
    return keep


def _add(state: dict[str, Any], _: int, pairs: NDArray[np.int64]) -> None:
    if len(pairs):
        state["pairs"].append(pairs)


def _tile_pairs(
    source: Source,
    contig: NDArray[Any],
    position: NDArray[Any],
    r2: float,
    window: int,
    v0: int,
    v1: int,
) -> NDArray[np.int64]:
    """Task: pairs (earlier, later) above `r2` whose later variant is in v0..v1."""
    reach = contig[:v0] == contig[v0] if v0 else np.zeros(0, bool)
    start = v0 - int((reach & (position[:v0] >= position[v0] - window)).sum()) if v0 else 0
    later = _Tile.read(source, v0, v1)
    found = []
    # the variants before the tile may be many: they come in pieces
    for a, b in [*ranges_between(start, v0, v1 - v0), (v0, v1)]:
        earlier = later if a == v0 else _Tile.read(source, a, b)
        near = (contig[a:b, None] == contig[None, v0:v1]) & (
            np.abs(position[a:b, None] - position[None, v0:v1]) <= window
        )
        i, j = np.nonzero((_squared_correlations(earlier, later) > r2) & near)
        found.append(np.column_stack([i + a, j + v0])[i + a < j + v0])
    return np.concatenate(found)


def ranges_between(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    """Return the ranges that cover start..stop in steps."""
    return [(start + a, start + b) for a, b in ranges(max(0, stop - start), max(1, step))]


@dataclass(frozen=True)
class _Tile:
    """Variants of the samples that r2 is estimated on; x = dosage - 1.

    Attributes
    ----------
    codes, planes
        Packed genotypes in whole words, and their bit-planes.
    starts, index
        Samples without a call of each variant.
    mean, square
        float64 (variants,): mean of x over the calls, and sum of (x - mean)**2.
    """

    n_samples: int
    codes: NDArray[np.uint8]
    planes: NDArray[np.uint64]
    starts: NDArray[np.int64]
    index: NDArray[np.int32]
    mean: NDArray[np.float64]
    square: NDArray[np.float64]

    @classmethod
    def read(cls, source: Source, v0: int, v1: int) -> _Tile:
        n = source.shape[1]
        codes = whole_words(read_packed(source, v0, v1))
        planes = new_planes(v1 - v0, n)
        variant_planes(codes, planes)
        counts = np.zeros((v1 - v0, 3), np.int64)
        count_variants(codes, counts)
        called = np.maximum(counts.sum(axis=1), 1)
        x = counts[:, 2] - counts[:, 0]
        # called * square is an integer: a variant that does not vary has exactly 0
        square = (called * (counts[:, 2] + counts[:, 0]) - x * x) / called
        return cls(n, codes, planes, *missing_lists(codes, n), x / called, square)


def _squared_correlations(one: _Tile, two: _Tile) -> NDArray[np.float64]:
    """r2, (variants of one, variants of two); 0 where one does not vary."""
    dots = np.zeros((len(one.mean), len(two.mean)), np.int32)
    add_dots(one.planes, two.planes, dots)
    values, both = _over_missing(one, two)
    more, _ = _over_missing(two, one)
    mean = one.mean[:, None], two.mean[None]
    # sum of (x - mean)(x' - mean') over the samples called in both: see kernels.missing.half_gram
    covariance = dots + mean[0] * values + mean[1] * more.T + mean[0] * mean[1] * (both - one.n_samples)
    square = one.square[:, None] * two.square[None]
    return np.divide(covariance**2, square, out=np.zeros_like(square), where=square > 0)


def _over_missing(one: _Tile, two: _Tile) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sums of x of each variant of two over the samples that a variant of one misses, and calls both miss."""
    n_tiles = -(-len(two.codes) // TILE)
    sums = np.zeros((n_tiles, len(one.codes), 2 * TILE), np.int32)
    sums_over_missing(one.starts, one.index, two.codes, sums)
    table = (
        sums.reshape(n_tiles, len(one.codes), 2, TILE).transpose(2, 1, 0, 3).reshape(2, len(one.codes), -1)
    )
    lost = np.diff(one.starts)[:, None].astype(np.int32)
    return table[0, :, : len(two.codes)] - lost, table[1, :, : len(two.codes)]
