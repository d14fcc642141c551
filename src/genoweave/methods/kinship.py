"""KING-robust kinship [1]: of listed pairs, and of all pairs above a cut-off with a histogram of all.

phi = (2 n11 - 4 n0 - |n_i - n_j|) / (4 min(n_i, n_j)), every count over the variants called in both: n11 both
heterozygous, n0 opposite homozygotes, n_i and n_j heterozygotes of either. It is not clipped: people of
different ancestry have negative values. NaN where the smaller count of heterozygotes is 0.

[1] Manichaikul et al. 2010, Bioinformatics 26:2867, eq. 11 (between-family, with the smaller
    heterozygosity), which PLINK 2 uses for all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.execution import fold, run_in_order, scratch_folder
from genoweave.kernels.dots import add_dots
from genoweave.kernels.king import (
    BINS,
    HET,
    HOM,
    STRIP,
    add_lost,
    count_bins,
    kinship_bins,
    listed_pair_counts,
)
from genoweave.methods.bit_planes import BitPlanes, Strip, write_bit_planes
from genoweave.parameters import Field, Parameters

# Lowest kinship of a degree: duplicates and twins, first, second, third, fourth.
DEGREE_CUTS = (0.3536, 0.1768, 0.0884, 0.0442, 0.0221)
DEGREE_NAMES = ("same source", "first", "second", "third", "fourth", "unrelated")

HISTOGRAM_EDGES = np.round(np.arange(-100, 101) / 200, 3)

# Strips of 512 samples on each side of a task, and tiles of 1024 variants that it holds at a time. Eight
# strips of 7,180 SNPs are 15 MiB a side, and reading them 4 % of the task's time (four: 8 %). More variants
# than a segment are taken one segment after the other, with sums for every pair of strips (40 MiB for 4 x 4).
_SEGMENT_TILES = 16
_BLOCK_STRIPS = 8
_BLOCK_STRIPS_OF_SEGMENTS = 4
TILE_SAMPLES = _BLOCK_STRIPS * STRIP
_LISTED_PER_TASK = 50_000
# With some hundred variants a tenth of all unrelated pairs may pass as relatives; 48 bytes a pair are held.
MOST_PAIRS = 5_000_000


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

    Raises
    ------
    DataError
        If more than 5 million pairs lie above the cut-off.

    Notes
    -----
    Work: 2 popcounts per 64 variants and pair (490e9 variants x pairs a second on one core of Zen 4), and 7 %
    more for 1 % of missing calls. Never holds an (n, n) matrix: memory is about 75 MiB per task, and
    the pairs above the cut-off. The bits of the cohort, 4 a genotype, are kept in a scratch file.
    """
    params = params or Kinship()
    state: dict[str, Any] = {"histogram": np.zeros(len(HISTOGRAM_EDGES) + 1, np.int64), "pairs": []}
    with scratch_folder() as folder:
        planes = write_bit_planes(ds, folder / "planes.bin")
        shared = (planes, params.min_kinship)
        state = fold("kinship of all pairs", _king_block, _blocks(planes), state, _add_block, shared=shared)
    pairs = _pair_table(state["pairs"]).sort_values(["first", "second"], ignore_index=True)
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
        planes = write_bit_planes(ds, folder / "planes.bin")
        items = [(first[a:b], second[a:b]) for a, b in ranges(len(first), _LISTED_PER_TASK)]
        for part in run_in_order(_listed, items, shared=(planes,), label="kinship of listed pairs"):
            parts.append(part)
    return _pair_table(parts)


def kinship_from_counts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return phi from counts (..., 4) of (n11, n0, n_i, n_j); NaN without heterozygotes."""
    n11, n0, n_i, n_j = np.moveaxis(counts, -1, 0)
    smaller = np.minimum(n_i, n_j)
    numerator = 2 * n11 - 4 * n0 - np.abs(n_i - n_j)
    return np.divide(numerator, 4.0 * smaller, out=np.full(n11.shape, np.nan), where=smaller > 0)


def degree_of(kinship: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return 0 (same source), 1 to 4 (degree) or 5 (unrelated) by KING's cuts."""
    return np.searchsorted(-np.array(DEGREE_CUTS), -np.asarray(kinship), side="left")


def _blocks(planes: BitPlanes) -> list[tuple[int, int, int, int]]:
    """Return the tasks: strips i0..i1 with strips j0..j1, on and above the diagonal."""
    one_segment = planes.tiles <= _SEGMENT_TILES
    sides = list(ranges(planes.strips, _BLOCK_STRIPS if one_segment else _BLOCK_STRIPS_OF_SEGMENTS))
    return [(*a, *b) for k, a in enumerate(sides) for b in sides[k:]]


def _king_block(
    planes: BitPlanes, min_kinship: float, i0: int, i1: int, j0: int, j1: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Task: histogram and pairs above the cut-off (first < second) of two groups of strips."""
    lowest = np.searchsorted(HISTOGRAM_EDGES, min_kinship, side="right") + 1
    histogram = np.zeros(BINS, np.int64)
    mapped = planes.mapped()
    found = [np.empty((0, 6))]
    for i, j, sums in _pair_sums(planes, range(i0, i1), range(j0, j1)):
        bins = np.triu(sums.bins(), 1) if i == j else sums.bins()
        count_bins(bins, histogram)
        close = np.flatnonzero(bins.max(axis=1) >= lowest)  # few rows: 0.02 ms, not 0.4 for all of them
        if len(close):
            first, second = np.nonzero(bins[close] >= lowest)
            first = close[first]
            rows = _pair_rows(mapped, i * STRIP + first, j * STRIP + second)
            found.append(rows[rows[:, -1] > min_kinship])
    return histogram[1:], np.concatenate(found)


def _pair_sums(planes: BitPlanes, left: range, right: range) -> Iterator[tuple[int, int, _PairSums]]:
    """Yield the finished sums of each pair of strips i <= j; they are overwritten by the next."""
    pairs = [(i, j) for i in left for j in right if i <= j]
    segments = list(ranges(planes.tiles, _SEGMENT_TILES))
    kept = [_PairSums(planes.n_variants) for _ in (pairs if len(segments) > 1 else pairs[:1])]
    for tile0, tile1 in segments:
        wanted = sorted({*left, *right})
        strips = dict(zip(wanted, planes.read_strips(wanted, tile0, tile1), strict=True))
        for k, (i, j) in enumerate(pairs):
            sums = kept[k % len(kept)]
            if tile0 == 0:
                sums.clear()
            sums.add(strips[i], strips[j])
            if tile1 == planes.tiles:
                yield i, j, sums


class _PairSums:
    """What the kinship of the pairs of two strips is made of: sums over variants."""

    def __init__(self, n_variants: int) -> None:
        narrow = n_variants < 2**16
        self.dots = np.empty((STRIP, STRIP), np.int32)
        self.lost = np.empty((3, STRIP, STRIP), np.uint16 if narrow else np.int32)
        self.totals = np.empty((2, 2, STRIP), np.int32)
        self.real = np.empty(STRIP, np.float32 if narrow else np.float64)
        self.codes = np.empty((STRIP, STRIP), np.uint8)

    def clear(self) -> None:
        for array in (self.dots, self.lost, self.totals):
            array[...] = 0

    def add(self, left: Strip, right: Strip) -> None:
        """Add the variants that two strips hold."""
        add_dots(left.planes, right.planes, self.dots)
        add_lost(right.starts, right.missing, left.rows[:, HET], self.lost[0])
        add_lost(left.starts, left.missing, right.rows[:, HET], self.lost[1])
        add_lost(left.starts, left.missing, right.rows[:, HOM], self.lost[2])
        self.totals[0] += left.totals
        self.totals[1] += right.totals

    def bins(self) -> NDArray[np.uint8]:
        """Return the bin of each pair's kinship (see kernels.king), (left, right)."""
        kinship_bins(self.dots, *self.totals, *self.lost, self.real, self.codes)
        return self.codes


def _add_block(state: dict[str, Any], _: int, result: tuple[NDArray[np.int64], NDArray[np.float64]]) -> None:
    state["histogram"] += result[0]
    if len(result[1]):
        state["pairs"].append(result[1])
    found = sum(map(len, state["pairs"]))
    if found > MOST_PAIRS:
        raise DataError(
            f"more than {MOST_PAIRS} pairs lie above the kinship that is asked for; so few variants cannot "
            "tell relatives, or the cut-off is too low: raise min_kinship, or king_cutoff in [qc], or use "
            "more variants"
        )


def _listed(planes: BitPlanes, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float64]:
    """Task: the listed pairs, as rows of the result table."""
    return _pair_rows(planes.mapped(), first, second)


def _pair_rows(
    mapped: NDArray[np.uint64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    counts = np.zeros((len(first), 5), np.int64)
    listed_pair_counts(mapped, first, second, counts)
    kinship = kinship_from_counts(counts[:, :4])
    return np.column_stack([first, second, counts[:, 4], counts[:, 0], counts[:, 1], kinship])


def _pair_table(parts: list[NDArray[np.float64]]) -> pd.DataFrame:
    rows = np.concatenate(parts) if parts else np.empty((0, 6))
    table = pd.DataFrame(rows, columns=["first", "second", "n_snp", "het_het", "ibs0", "kinship"])
    return table.astype({name: np.int64 for name in table.columns[:5]})


def _histogram_table(counts: NDArray[np.int64]) -> pd.DataFrame:
    edges = np.concatenate([[-np.inf], HISTOGRAM_EDGES, [np.inf]])
    return pd.DataFrame({"left": edges[:-1], "right": edges[1:], "pairs": counts})
