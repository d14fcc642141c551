"""KING-robust kinship [1]: of listed pairs, and of all pairs above a cut-off with a histogram of all.

phi = (2 n11 - 4 n0 - |n_i - n_j|) / (4 min(n_i, n_j)), every count over the variants called in both: n11 both
heterozygous, n0 opposite homozygotes, n_i and n_j heterozygotes of either. It is not clipped: people of
different ancestry have negative values. NaN where the smaller count of heterozygotes is 0.

[1] Manichaikul et al. 2010, Bioinformatics 26:2867, eq. 11 (between-family, with the smaller
    heterozygosity), which PLINK 2 uses for all pairs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.errors import StoreError
from genoweave.execution import fold, run_in_order, scratch_folder
from genoweave.genotypes import Source, read_dosage, source_of
from genoweave.kernels.king import listed_pair_counts, pack_planes, pair_counts, shared_calls
from genoweave.parameters import Field, Parameters

# Lowest kinship of a degree: duplicates and twins, first, second, third, fourth.
DEGREE_CUTS = (0.3536, 0.1768, 0.0884, 0.0442, 0.0221)
DEGREE_NAMES = ("same source", "first", "second", "third", "fourth", "unrelated")

HISTOGRAM_EDGES = np.round(np.arange(-100, 101) / 200, 3)

# Samples per side of a task's tile, and of the piece that stays in the caches: 192 samples by 128 words
# by 3 planes are 590 KB a side (64 words: 24 % slower).
TILE_SAMPLES = 1024
_PIECE_SAMPLES = 192
_PIECE_WORDS = 128
_LISTED_PER_TASK = 50_000


class Kinship(Parameters):
    """Which pairs are kept."""

    min_kinship: float = Field(
        0.0442,
        gt=-1,
        lt=0.5,
        description="pairs above this kinship are listed; all are in the histogram",
    )


@dataclass(frozen=True)
class KinshipResult:
    """Pairs above the cut-off, and the histogram of all pairs.

    Attributes
    ----------
    pairs
        DataFrame with columns first, second (sample numbers, first < second), n_snp, het_het, ibs0
        (counts), kinship.
    histogram
        DataFrame with columns left, right, pairs; the outer bins hold all beyond. Pairs without a kinship (no
        heterozygote in one of the two) are in none.
    """

    pairs: pd.DataFrame
    histogram: pd.DataFrame


def king(ds: xr.Dataset, params: Kinship | None = None) -> KinshipResult:
    """Compute KING-robust kinship of all pairs of samples.

    Parameters
    ----------
    ds
        A cohort with ``call_genotype`` (variants, samples, ploidy); autosomal variants.
    params
        The cut-off.

    Returns
    -------
    KinshipResult
        Pairs in ascending order of (first, second).

    Notes
    -----
    Work: 4 popcounts per 64 variants and pair. Never holds an (n, n) matrix: memory is a tile of 1024 x
    1024 samples
    per task and the pairs above the cut-off. Bit-planes of the cohort, 3 bits a genotype, are cached
    in a scratch file.
    """
    params = params or Kinship()
    n = ds.sizes["samples"]
    blocks = list(ranges(n, TILE_SAMPLES))
    items = [(*a, *b) for i, a in enumerate(blocks) for b in blocks[i:]]
    state: dict[str, Any] = {"histogram": np.zeros(len(HISTOGRAM_EDGES) + 1, np.int64), "pairs": []}
    with scratch_folder() as folder:
        planes = write_planes(ds, folder / "planes.npy")
        shared = (str(planes), params.min_kinship)
        state = fold("kinship of all pairs", _king_tile, items, state, _add_tile, shared=shared)
    rows = np.concatenate(state["pairs"]) if state["pairs"] else np.empty((0, 6))
    pairs = pd.DataFrame(rows, columns=["first", "second", "n_snp", "het_het", "ibs0", "kinship"])
    pairs = pairs.astype({name: np.int64 for name in pairs.columns[:5]})
    pairs = pairs.sort_values(["first", "second"], ignore_index=True)
    return KinshipResult(pairs, _histogram_table(state["histogram"]))


def king_listed(ds: xr.Dataset, first: NDArray[np.int64], second: NDArray[np.int64]) -> pd.DataFrame:
    """Compute KING-robust kinship of the listed pairs of samples.

    Parameters
    ----------
    ds
        A cohort.
    first, second
        int64 (pairs,): sample numbers.

    Returns
    -------
    pandas.DataFrame
        Columns first, second, n_snp, het_het, ibs0, kinship; one row per pair, in the order given.
    """
    parts = []
    with scratch_folder() as folder:
        planes = write_planes(ds, folder / "planes.npy")
        items = [(first[a:b], second[a:b]) for a, b in ranges(len(first), _LISTED_PER_TASK)]
        for part in run_in_order(_listed, items, shared=(str(planes),), label="kinship of listed pairs"):
            parts.append(part)
    rows = np.concatenate(parts) if parts else np.empty((0, 6))
    table = pd.DataFrame(rows, columns=["first", "second", "n_snp", "het_het", "ibs0", "kinship"])
    return table.astype({name: np.int64 for name in table.columns[:5]})


def kinship_from_counts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return phi from counts (..., 4) of (n11, n0, n_i, n_j); NaN without heterozygotes."""
    n11, n0, n_i, n_j = np.moveaxis(counts, -1, 0)
    smaller = np.minimum(n_i, n_j)
    numerator = 2 * n11 - 4 * n0 - np.abs(n_i - n_j)
    return np.divide(numerator, 4.0 * smaller, out=np.full(n11.shape, np.nan), where=smaller > 0)


def degree_of(kinship: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return 0 (same source), 1 to 4 (degree) or 5 (unrelated) by KING's cuts."""
    return np.searchsorted(-np.array(DEGREE_CUTS), -np.asarray(kinship), side="left")


def write_planes(ds: xr.Dataset, path: Path) -> Path:
    """Write the bit-planes uint64 (samples, 3, words) of a cohort to a .npy file, unless it is there.

    Memory: the planes of one block of samples per task.
    """
    source = source_of(ds)
    n_variants, n_samples, _ = source.shape
    words = (n_variants + 63) // 64
    if path.exists():
        return path
    partial = path.with_name(path.name + ".partial")
    out: Any = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
        partial, "w+", np.uint64, (n_samples, 3, words)
    )
    _reserve(partial)
    width = max(64, min(n_samples, 2**28 // max(1, n_variants)))
    items = list(ranges(n_samples, width))
    blocks = run_in_order(_plane_block, items, shared=(source,), label="bit-planes", total=len(items))
    for (s0, s1), block in zip(items, blocks, strict=True):
        out[s0:s1] = block
    out.flush()
    partial.rename(path)
    return path


def _reserve(path: Path) -> None:
    """Claim the file's space: a mapped page that finds no room kills the process without a word.

    Raises
    ------
    StoreError
        If there is no room.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path} ({size} bytes of bit-planes): {error.strerror}; free space, then run "
            "again: "
            "what is finished is kept"
        ) from error


def _plane_block(source: Source, s0: int, s1: int) -> NDArray[np.uint64]:
    """Task: bit-planes of some samples over all variants."""
    planes = np.zeros((s1 - s0, 3, (source.shape[0] + 63) // 64), np.uint64)
    for v0, v1 in tiles(source.shape[0]):
        pack_planes(read_dosage(source, v0, v1, s0, s1), planes, v0 // 64)
    return planes


def _king_tile(
    path: str, min_kinship: float, i0: int, i1: int, j0: int, j1: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Task: histogram and listed pairs (i < j) of one tile."""
    planes = np.load(path, mmap_mode="r")
    left, right = np.array(planes[i0:i1]), np.array(planes[j0:j1])
    histogram = np.zeros(len(HISTOGRAM_EDGES) + 1, np.int64)
    found = []
    for a0, a1 in ranges(i1 - i0, _PIECE_SAMPLES):
        for b0, b1 in ranges(j1 - j0, _PIECE_SAMPLES):
            if i0 + a0 > j0 + b1 - 1:
                continue
            counts = _piece_counts(left[a0:a1], right[b0:b1])
            kinship = kinship_from_counts(counts)
            i, j = np.nonzero(np.arange(i0 + a0, i0 + a1)[:, None] < np.arange(j0 + b0, j0 + b1)[None])
            values = kinship[i, j]
            defined = values[~np.isnan(values)]
            histogram += np.bincount(np.searchsorted(HISTOGRAM_EDGES, defined, side="right"),
                                     minlength=len(histogram))[: len(histogram)]  # fmt: skip
            close = np.flatnonzero(values > min_kinship)
            if len(close):
                a, b = i[close], j[close]
                n_snp = np.zeros(len(close), np.int64)
                shared_calls(planes, i0 + a0 + a, j0 + b0 + b, n_snp)
                found.append(np.column_stack(
                    [i0 + a0 + a, j0 + b0 + b, n_snp, counts[a, b, 0], counts[a, b, 1], values[close]]
                ))  # fmt: skip
    return histogram, np.concatenate(found) if found else np.empty((0, 6))


def _piece_counts(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.int64]:
    counts = np.zeros((len(left), len(right), 4), np.int64)
    for w0, w1 in ranges(left.shape[2], _PIECE_WORDS):
        pair_counts(
            np.ascontiguousarray(left[:, :, w0:w1]),
            np.ascontiguousarray(right[:, :, w0:w1]),
            counts,
        )
    return counts


def _add_tile(state: dict[str, Any], _: int, result: tuple[NDArray, NDArray]) -> None:
    state["histogram"] += result[0]
    if len(result[1]):
        state["pairs"].append(result[1])


def _listed(path: str, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Task: the listed pairs, as rows of the result table."""
    planes = np.load(path, mmap_mode="r")
    counts = np.zeros((len(first), 4), np.int64)
    n_snp = np.zeros(len(first), np.int64)
    listed_pair_counts(planes, first, second, counts)
    shared_calls(planes, first, second, n_snp)
    return np.column_stack([first, second, n_snp, counts[:, 0], counts[:, 1], kinship_from_counts(counts)])


def _histogram_table(counts: NDArray[np.int64]) -> pd.DataFrame:
    edges = np.concatenate([[-np.inf], HISTOGRAM_EDGES, [np.inf]])
    return pd.DataFrame({"left": edges[:-1], "right": edges[1:], "pairs": counts})
