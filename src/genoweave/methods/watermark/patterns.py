"""Patterns of linkage that a new allele may follow: what a few neighbours tell of it.

That of one variant L: an allele that is linked with all around L as L is, drawn given the neighbours that
tell most of L. That of two variants: an allele of all who carry either, or one and not the other; it hangs
from both, as many real variants do, and neither alone tells all of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.methods.watermark.neighbours import (
    BATCH,
    CLEAR,
    Around,
    around,
    correlation,
    rows_around,
)
from genoweave.methods.watermark.panel import REACH, Panel

# Neighbours that an allele follows at most.
N_NEIGHBOURS = 8
RIDGE = 0.001
# Least product of what is left of two variants' variances: below, partial correlations are of rounding.
_FLOOR = 0.003
# Signs of two variants' alleles in their sum, and what is added: either; one, not the other; both, where all
# carry one of them.
_SUMS = np.array([(1, 1, 0), (1, -1, 0), (-1, 1, 0), (1, 1, -1)])
# The two are so many rows apart at most, and their sum is neither 0 nor 1 in a small share of carriers.
_APART = np.array([-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6])
_EXCEPTIONS = 0.05
_RAREST = 0.01
# The share of variance that the two tell is between this and 1, mostly near 1.
_LOWEST_SHARE = 0.4


@dataclass(frozen=True)
class Patterns:
    """What neighbours may tell of a new allele.

    Attributes
    ----------
    rows
        int64 (m,): variants around which the neighbours are.
    near
        int64 (m, 8): rows of the neighbours; those that tell anything ascend.
    tells
        bool (m, 8): whether they do.
    linked
        float64 (m, 31): correlations within strata of the allele with the variants around, and with that of
        `rows` in the middle.
    explained
        float64 (m,): share of its variance that the neighbours tell.
    frequency
        float64 (m, strata), of the allele.
    """

    rows: NDArray[np.int64]
    near: NDArray[np.int64]
    tells: NDArray[np.bool_]
    linked: NDArray[np.float64]
    explained: NDArray[np.float64]
    frequency: NDArray[np.float64]


def patterns(
    panel: Panel, contig: NDArray[np.integer], rows: NDArray[np.int64], words: NDArray[np.uint64]
) -> Patterns:
    """Return the patterns of variants, and of each with another near it, where one fits.

    Parameters
    ----------
    panel, contig
        The cohort's variants.
    rows
        int64 (m,).
    words
        uint64 (m,), random: which other variant, and how much the two tell.

    Notes
    -----
    Memory: 900 bytes a variant.
    """
    one, two = _after_one(panel, contig, rows), _after_two(panel, contig, rows, words)
    names = ("rows", "near", "tells", "linked", "explained", "frequency")
    return Patterns(*(np.concatenate([getattr(one, name), getattr(two, name)]) for name in names))


def _after_one(panel: Panel, contig: NDArray[np.integer], rows: NDArray[np.int64]) -> Patterns:
    near, tells, linked = [], [], []
    for a, b in ranges(len(rows), BATCH):
        some = around(panel, contig, rows[a:b])
        chosen, tell = _chosen(some, panel.noise)
        beside = np.take_along_axis(some.between, chosen[:, :, None], axis=1)
        linked.append(np.einsum("mk,mkw->mw", _slopes(some, chosen, tell), beside))
        near.append(np.take_along_axis(some.rows, chosen, axis=1))
        tells.append(tell)
    r = np.concatenate(linked)
    # with the variant itself it is correlated by as much as the neighbours tell of that
    explained = np.clip(r[:, REACH], 0, 1)
    return Patterns(rows, np.concatenate(near), np.concatenate(tells), r, explained, panel.frequency[rows])


def _chosen(some: Around, noise: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return places around (m, 8), ascending, and whether they tell anything: greedily, the most first."""
    chosen = np.empty((len(some.own), 0), np.int64)
    tells = np.empty((len(some.own), 0), bool)
    is_free = some.inside.copy()
    is_free[:, REACH] = False
    while chosen.shape[1] < N_NEIGHBOURS:
        beside = np.take_along_axis(some.between, chosen[:, :, None], axis=1)
        known = np.linalg.solve(_ridged(some, chosen, tells), beside * tells[:, :, None])
        rest = some.own - np.einsum("mk,mkw->mw", np.take_along_axis(some.own, chosen, axis=1), known)
        unknown = 1 - np.einsum("mkw,mkw->mw", beside, known)
        partial = rest**2 / np.maximum(unknown * unknown[:, [REACH]], _FLOOR)
        partial = np.where(is_free, partial, -1)
        best = partial.argmax(axis=1)
        np.put_along_axis(is_free, best[:, None], False, axis=1)
        chosen = np.column_stack([chosen, best])
        tells = np.column_stack([tells, partial.max(axis=1) > CLEAR * noise])
    order = np.argsort(chosen, axis=1)
    return np.take_along_axis(chosen, order, axis=1), np.take_along_axis(tells, order, axis=1)


def _slopes(some: Around, chosen: NDArray[np.int64], tells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return standardised slopes (m, 8) of variants on those chosen; 0 on those that tell nothing."""
    r = np.take_along_axis(some.own, chosen, axis=1) * tells
    beta = np.linalg.solve(_ridged(some, chosen, tells), r[:, :, None])[:, :, 0]
    explained = np.einsum("mk,mk->m", beta, r)
    return np.asarray(beta / np.sqrt(np.maximum(explained, 1))[:, None])


def _ridged(some: Around, chosen: NDArray[np.int64], tells: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return correlations of those chosen (m, k, k), 0 of those that tell nothing, with a ridge."""
    between = np.take_along_axis(some.between, chosen[:, :, None], axis=1)
    between = np.take_along_axis(between, chosen[:, None, :], axis=2)
    one = np.eye(chosen.shape[1])
    return np.asarray(np.where(tells[:, :, None] & tells[:, None, :], between, one) + RIDGE * one)


def _after_two(
    panel: Panel, contig: NDArray[np.integer], rows: NDArray[np.int64], words: NDArray[np.uint64]
) -> Patterns:
    some, two, sums = _pairs(panel, contig, rows, words)
    one = rows[some]
    u = (words[some] >> np.uint64(11)).astype(np.float64) / 2.0**53
    explained = 1 - (1 - _LOWEST_SHARE) * u**2
    frequency = sums[:, :1] * panel.frequency[one] + sums[:, 1:2] * panel.frequency[two] + sums[:, 2:]
    near = np.tile(np.minimum(one, two)[:, None], (1, N_NEIGHBOURS))
    near[:, 1] = np.maximum(one, two)
    tells = np.tile(np.arange(N_NEIGHBOURS) < 2, (len(one), 1))
    linked = _linked_with_sums(panel, contig, one, two, sums) * np.sqrt(explained)[:, None]
    return Patterns(one, near, tells, linked, explained, np.clip(frequency, 0, 1))


def _pairs(
    panel: Panel, contig: NDArray[np.integer], rows: NDArray[np.int64], words: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Choose for variants another near them and a row of `_SUMS`; return first which variants have one."""
    near, inside = rows_around(contig, rows, _APART)
    fits = (_fitting(panel, rows[:, None], near) & inside[:, :, None]).reshape(len(rows), -1)
    n = fits.sum(axis=1)
    some = np.flatnonzero(n)
    number = (words[some] % n[some].astype(np.uint64)).astype(np.int64)
    place = (fits[some].cumsum(axis=1) > number[:, None]).argmax(axis=1)
    return some, near[some, place // len(_SUMS)], _SUMS[place % len(_SUMS)]


def _fitting(panel: Panel, one: NDArray[np.int64], two: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which sums of pairs' alleles are 0 or 1 on nearly every haplotype, (..., 4)."""
    p, q = panel.mean[one], panel.mean[two]
    within = correlation(panel, one, two) * panel.spread[one] * panel.spread[two]
    both = (panel.frequency[one] * panel.frequency[two]) @ panel.share + within
    exceptions = np.stack([both, q - both, p - both, 1 - p - q + both], axis=-1)
    carriers = np.stack(np.broadcast_arrays(np.minimum(p, q), q, p, 1 - np.maximum(p, q)), axis=-1)
    mean = np.stack([p + q, p - q, q - p, p + q - 1], axis=-1)
    return np.asarray((exceptions < _EXCEPTIONS * carriers) & (mean > _RAREST) & (mean < 1 - _RAREST))


def _linked_with_sums(
    panel: Panel,
    contig: NDArray[np.integer],
    one: NDArray[np.int64],
    two: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return correlations of sums of two variants' alleles with those around the first, (m, 31)."""
    near, inside = rows_around(contig, one)
    weights = sums[:, 0] * panel.spread[one], sums[:, 1] * panel.spread[two]
    covariance = weights[0][:, None] * correlation(panel, one[:, None], near)
    covariance += weights[1][:, None] * correlation(panel, two[:, None], near)
    itself = np.arange(len(one))
    variance = weights[0] * covariance[:, REACH] + weights[1] * covariance[itself, two - one + REACH]
    r = covariance / np.sqrt(np.maximum(variance, 1e-6))[:, None]
    return np.asarray(np.clip(r, -1, 1) * inside)
