"""What a server sees of variants, and would see of new alleles in the gaps between variants."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.methods.watermark.neighbours import CLEAR, Variants
from genoweave.methods.watermark.panel import REACH, Panel
from genoweave.methods.watermark.patterns import Patterns

# Gaps beside a pattern's variant where an allele may be put, by the row on their left.
BESIDE = np.arange(-3, 3)
# Differences that count as one unit. With these, on 1,040 people and 14,621 SNPs, forests tell 300 watermarks
# with AUC 0.55 to 0.58 (0.61 with all SNPs around together); with twice _LARGEST and _SECOND 0.58 (0.64).
_FREQUENCY, _DISTANCE = 0.02, 0.2
_NEXT, _FARTHER, _LARGEST, _SECOND, _ALL, _TOTAL = 0.2, 0.15, 0.1, 0.1, 0.1, 0.3
_UNLINKED = 0.1
# Of what neighbours could tell of an allele, a share is lost where chances end at 0 and 1.
_LOST = 0.25
# Larger correlations are all the same.
_LARGEST_R = 0.998


def looks_of_variants(known: Variants, panel: Panel, position: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what variants look like, float64 (m, looks), frequencies in the strata first."""
    span = position[known.rows + 1] - position[known.rows - 1]
    frequency = panel.frequency[known.rows]
    return _looks(panel, frequency, span, known.linked, known.explained, (REACH - 1, REACH + 1))


def looks_of_places(patterns: Patterns, panel: Panel, position: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what alleles after patterns look like in the six gaps beside each, float64 (6 m, looks)."""
    explained = patterns.explained * (1 - _LOST * (1 - patterns.explained))
    out = []
    for beside in BESIDE.tolist():
        left = patterns.rows + beside
        gap = position[left + 1] - position[left]
        sides = REACH + beside, REACH + beside + 1
        out.append(_looks(panel, patterns.frequency, gap, patterns.linked, explained, sides))
    return np.stack(out, axis=1).reshape(len(patterns.rows) * len(BESIDE), -1)


def distances(
    wanted: NDArray[np.float64], found: NDArray[np.float64], explained: float, n_strata: int
) -> NDArray[np.float64]:
    """Return how far looks `found` (m, looks) are from those of a variant, `wanted`.

    A pattern that tells a share `explained` of an allele is to be as frequent as that. One that tells little
    is so only by chance, as real neighbours are: the frequencies then count less.
    """
    square = (found - wanted) ** 2
    weight = explained * (_FREQUENCY / (_FREQUENCY + _UNLINKED * (1 - explained))) ** 2
    return np.asarray(weight * square[:, :n_strata].sum(axis=1) + square[:, n_strata:].sum(axis=1))


def _looks(
    panel: Panel,
    frequency: NDArray[np.float64],
    distance: NDArray[np.int64],
    r: NDArray[np.float64],
    explained: NDArray[np.float64],
    next_ones: tuple[int, int],
) -> NDArray[np.float64]:
    """Return in units what alleles look like.

    `frequency` (m, strata); `distance` (m,) of the next variants to each other; `r` (m, 31) with the variants
    around, among them the next ones; `explained` (m,) by all. Correlations are Fisher's z: with the next
    variants and the second ones on both sides, the most linked of those farther away, the two most linked of
    all, all together; and the sum of squares.
    """
    before, after = next_ones
    clear = np.where(r * r > CLEAR * panel.noise, np.abs(r), 0)
    z = np.arctanh(np.minimum(clear, _LARGEST_R))
    farther = np.delete(z, np.arange(before - 1, after + 2), axis=1).max(axis=1)
    second, largest = np.partition(z, -2, axis=1)[:, -2:].T
    looks = [
        frequency * np.sqrt(panel.share) / _FREQUENCY,
        np.log(np.maximum(distance, 1)) / _DISTANCE,
        z[:, [before, after, before - 1, after + 1]] / _NEXT,
        farther / _FARTHER,
        largest / _LARGEST,
        second / _SECOND,
        np.arctanh(np.minimum(np.sqrt(explained), _LARGEST_R)) / _ALL,
        np.log(0.05 + (clear * clear).sum(axis=1)) / _TOTAL,
    ]
    return np.column_stack(looks)
