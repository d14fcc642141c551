"""KING-robust kinship of one pair, one variant at a time (Manichaikul et al. 2010, eq. 11 and 9)."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PairCounts:
    """Counts over the variants that are called in both members of a pair."""

    shared: int
    het_het: int
    opposite: int
    het_i: int
    het_j: int


def pair_counts(left: Sequence[int], right: Sequence[int]) -> PairCounts:
    shared = het_het = opposite = het_i = het_j = 0
    for a, b in zip(left, right, strict=True):
        if a < 0 or b < 0:
            continue
        shared += 1
        het_i += a == 1
        het_j += b == 1
        het_het += a == 1 and b == 1
        opposite += (a == 0 and b == 2) or (a == 2 and b == 0)
    return PairCounts(shared, int(het_het), int(opposite), int(het_i), int(het_j))


def between_family(counts: PairCounts) -> float:
    smaller = min(counts.het_i, counts.het_j)
    if smaller == 0:
        return float("nan")
    top = 2 * counts.het_het - 4 * counts.opposite - counts.het_i - counts.het_j + 2 * smaller
    return top / (4 * smaller)


def within_family(counts: PairCounts) -> float:
    return (counts.het_het - 2 * counts.opposite) / (counts.het_i + counts.het_j)
