"""Pruning of variants in linkage disequilibrium, for principal components that show ancestry."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.execution import fold
from genoweave.genotypes import Source, read_dosage, source_of

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
    Memory: two tiles of standardised genotypes of at most 5,000 samples per task, and the pairs above
    `r2`.
    """
    source = source_of(ds)
    contig, position = ds["variant_contig"].values, ds["variant_position"].values
    samples = np.unique(np.linspace(0, source.shape[1] - 1, min(source.shape[1], _MOST_SAMPLES)).astype(int))
    state: dict[str, Any] = {"pairs": []}
    shared = (source, samples, contig, position, r2, window)
    state = fold("linkage disequilibrium", _tile_pairs, tiles(source.shape[0]), state, _add, shared=shared)
    pairs = np.concatenate(state["pairs"]) if state["pairs"] else np.empty((0, 2), np.int64)
    return _first_come(pairs[np.lexsort((pairs[:, 0], pairs[:, 1]))], source.shape[0])


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
    samples: NDArray[np.int64],
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
    later = _standardised(source, samples, v0, v1)
    found = []
    # the variants before the tile may be many: they come in pieces
    for a, b in [*ranges_between(start, v0, v1 - v0), (v0, v1)]:
        earlier = later if a == v0 else _standardised(source, samples, a, b)
        correlated = (earlier @ later.T) ** 2 > r2
        near = (contig[a:b, None] == contig[None, v0:v1]) & (
            np.abs(position[a:b, None] - position[None, v0:v1]) <= window
        )
        i, j = np.nonzero(correlated & near)
        found.append(np.column_stack([i + a, j + v0])[i + a < j + v0])
    return np.concatenate(found)


def ranges_between(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    """Return the ranges that cover start..stop in steps."""
    return [(start + a, start + b) for a, b in ranges(max(0, stop - start), max(1, step))]


def _standardised(source: Source, samples: NDArray[np.int64], v0: int, v1: int) -> NDArray[np.float32]:
    """Rows of unit length and mean 0; a monomorphic variant is all 0."""
    dosage = read_dosage(source, v0, v1)[:, samples]
    called = dosage >= 0
    n = np.maximum(called.sum(axis=1, keepdims=True), 1)
    mean = np.where(called, dosage, 0).sum(axis=1, keepdims=True) / n
    x = np.where(called, dosage - mean, 0)
    norm = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0).astype(np.float32)
