"""Genotypes of watermarks that look like the cohort's own SNPs: drawn given those of a few neighbours.

P(allele 1 | alleles h of the neighbours on a haplotype) = c_k + sum_j b_j (h_j - p_jk) in stratum k, between
0 and 1; b from the correlations wanted, c_k such that the frequency is met. Two haplotypes drawn so make
genotypes in Hardy-Weinberg equilibrium wherever the neighbours' are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genoweave.methods.watermark.neighbours import correlation
from genoweave.methods.watermark.panel import Panel
from genoweave.methods.watermark.patterns import N_NEIGHBOURS, RIDGE
from genoweave.methods.watermark.places import Place
from genoweave.rng import Stream

_BISECTIONS = 40
_CALIBRATIONS = 12
# Streams of a watermark: for each neighbour one for missing calls and one for its phase; two for haplotypes,
# who has no call, how many have none.
_STREAMS = 2 * N_NEIGHBOURS + 4
# Twice what is possible: chances end at 0 and 1 anyway.
_LARGEST_R2 = 2.0
# Chances of allele 1 that are told apart when genotypes change places.
_LEVELS = 20


@dataclass(frozen=True)
class Genotypes:
    """A watermark as drawn.

    Attributes
    ----------
    dosage
        int8 (samples,): 0, 1, 2 or -1.
    cell
        int64 (samples,): equal in samples of one stratum whose two haplotypes have about the same chances of
        allele 1: given these, a genotype says nothing of the neighbours'.
    first
        float64 (samples,): probability that a heterozygote's alternate allele is on the first haplotype.
    """

    dosage: NDArray[np.int8]
    cell: NDArray[np.int64]
    first: NDArray[np.float64]


def draw_genotypes(
    neighbours: NDArray[np.int8], place: Place, panel: Panel, stream: Stream, address: int
) -> Genotypes:
    """Draw a watermark's genotypes given its neighbours'.

    Parameters
    ----------
    neighbours
        int8, dosages (k, samples) of the place's, -1 missing, or phased calls (k, samples, 2).
    place
        Frequencies, slopes, missing calls.
    panel
        The strata.
    stream, address
        Where the draws come from.
    """
    n = len(panel.stratum)
    first = _STREAMS * address
    members = [np.flatnonzero(panel.stratum == k) for k in range(panel.n_strata)]
    p = panel.frequency[place.near]
    kind = _kinds(neighbours, p, members, stream, first)
    chance = np.take_along_axis(_chances(kind, panel, place)[panel.stratum], kind, axis=1)
    u = [stream.uniforms(first + 2 * N_NEIGHBOURS + k, n) for k in range(3)]
    dosage = (np.stack(u[:2], axis=1) < chance).sum(axis=1).astype(np.int8)
    n_missing = _missing(place.missing, panel.sizes, stream.uniforms(first + _STREAMS - 1, panel.n_strata))
    for k, rows in enumerate(members):
        dosage[rows[_uncalled(panel.missing_of[rows], int(n_missing[k]), u[2][rows])]] = -1
    level = np.sort(np.rint(_LEVELS * chance).astype(np.int64), axis=1)
    cell = (panel.stratum * (_LEVELS + 1) + level[:, 0]) * (_LEVELS + 1) + level[:, 1]
    on_first, on_second = chance[:, 0] * (1 - chance[:, 1]), chance[:, 1] * (1 - chance[:, 0])
    total = on_first + on_second
    is_first = np.divide(on_first, total, out=np.full(n, 0.5), where=total > 0)
    return Genotypes(dosage, cell, is_first)


def _kinds(
    neighbours: NDArray[np.int8],
    frequency: NDArray[np.float64],
    members: list[NDArray[np.int64]],
    stream: Stream,
    first: int,
) -> NDArray[np.int64]:
    """Return the neighbours' alleles on each haplotype, (samples, 2): bits of a number below 2^k."""
    n = sum(map(len, members))
    kind = np.zeros((n, 2), np.int64)
    if not len(neighbours):
        return kind
    for_calls, for_phase = (
        [stream.uniforms(first + half * N_NEIGHBOURS + j, n) for j in range(len(neighbours))]
        for half in range(2)
    )
    for k, rows in enumerate(members):
        filled = [
            _filled(g[rows], f, u[rows])
            for g, f, u in zip(neighbours, frequency[:, k], for_calls, strict=True)
        ]
        alleles = np.stack(filled) if filled[0].ndim == 2 else _phased(filled, [u[rows] for u in for_phase])
        kind[rows] = np.ravel_multi_index(tuple(alleles), (2,) * len(filled))
    return kind


def _missing(
    template: NDArray[np.int64], sizes: NDArray[np.int64], u: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Draw how many have no call in each stratum, at the template's rates.

    The template's own numbers would tell: no two real variants have the same ones in all large strata.
    """
    from scipy.stats import binom

    rate = np.divide(template, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    return np.nan_to_num(binom.ppf(u, np.maximum(sizes, 1), rate)).astype(np.int64)


def _uncalled(missing_of: NDArray[np.int64], n: int, u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw `n` people without a call, by how often each has none elsewhere (Efraimidis & Spirakis 2006)."""
    if n == 0:
        return np.empty(0, np.int64)
    waiting = -np.log(u) / np.maximum(missing_of, 1e-6)
    return np.argsort(waiting, kind="stable")[:n]


def _filled(x: NDArray[np.int8], frequency: float, u: NDArray[np.float64]) -> NDArray[np.int64]:
    """Draw what is missing in Hardy-Weinberg equilibrium."""
    drawn = (u > (1 - frequency) ** 2).astype(np.int64) + (u > 1 - frequency * frequency)
    if x.ndim == 1:
        return np.where(x < 0, drawn, x).astype(np.int64)
    alleles = np.stack([drawn > 0, drawn > 1], axis=1)
    return np.where((x < 0).any(axis=1)[:, None], alleles, x).astype(np.int64)


def _phased(dosages: list[NDArray[np.int64]], u: list[NDArray[np.float64]]) -> NDArray[np.int64]:
    """Return alleles on two haplotypes, (4, samples, 2), each heterozygote in a drawn phase to the last."""
    out = np.stack([np.stack([g >= 1, g == 2], axis=1) for g in dosages]).astype(np.int64)
    for j in range(1, len(dosages)):
        waiting = dosages[j] == 1
        for i in range(j - 1, -1, -1):
            both = waiting & (dosages[i] == 1)
            cis = _cis_probability(dosages[i], dosages[j])
            is_cis = u[j] < cis
            out[j, both, 0] = np.where(is_cis, out[i, :, 0], out[i, :, 1])[both]
            out[j, both, 1] = 1 - out[j, both, 0]
            waiting &= ~both
    return out


def _cis_probability(x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
    """Probability that two heterozygotes' alternate alleles share a haplotype, from the covariance."""
    if len(x) == 0:
        return 0.5
    p, q = x.mean() / 2, y.mean() / 2
    d = float(np.mean((x - x.mean()) * (y - y.mean())) / 2)
    table = np.maximum([(1 - p) * (1 - q) + d, p * q + d, (1 - p) * q - d, p * (1 - q) - d], 0)
    cis, trans = table[0] * table[1], table[2] * table[3]
    return float(cis / (cis + trans)) if cis + trans > 0 else 0.5


def _chances(kind: NDArray[np.int64], panel: Panel, place: Place) -> NDArray[np.float64]:
    """P(allele 1) given the neighbours' alleles.

    Slopes are raised until the correlations of genotypes are as wanted, in spite of chances that end at 0 and
    1 and of phases that are drawn.

    Parameters
    ----------
    kind
        int64 (samples, 2): the neighbours' alleles on each haplotype, below 2^k.
    panel, place
        Strata; neighbours, correlations and frequencies.

    Returns
    -------
    ndarray
        float64 (strata, 2^k), whose mean over a stratum's haplotypes is its frequency.
    """
    k, p = len(place.near), panel.frequency[place.near]
    alleles = np.arange(2**k) >> np.arange(k)[::-1, None] & 1
    shift = alleles[None] - p.T[:, :, None]
    alike = _alike(kind, panel.stratum, 2**k)
    weight = np.zeros((panel.n_strata, 2**k))
    for side in (alike.first, alike.second):
        np.add.at(weight, (alike.stratum, side), alike.number / (2 * len(kind)))
    dosage = alike.less_mean(alleles[:, alike.first] + alleles[:, alike.second])
    spread = np.sqrt((place.frequency * (1 - place.frequency)) @ panel.share)
    scale = spread * np.sqrt(2 * len(kind) * (alike.number * dosage**2).sum(axis=1))
    between = correlation(panel, place.near[:, None], place.near)
    aim = place.r.copy()
    for step in range(_CALIBRATIONS + 1):
        slopes = spread * _per_allele(between, panel.spread[place.near], aim)
        table = _levelled(weight, np.einsum("j,sja->sa", slopes, shift), place.frequency)
        if step == _CALIBRATIONS:
            break
        expected = table[alike.stratum, alike.first] + table[alike.stratum, alike.second]
        product = dosage @ (alike.number * expected)
        reached = np.divide(product, scale, out=np.zeros(k), where=scale > 0)
        aim = np.clip(aim + place.r - reached, -1.5, 1.5)
    return table


def _per_allele(
    between: NDArray[np.float64], spreads: NDArray[np.float64], r: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return slopes (k,) in standard deviations, per allele of neighbours, for correlations `r`."""
    beta = np.linalg.solve(between + RIDGE * np.eye(len(r)), r)
    explained = float(beta @ between @ beta)
    if explained > _LARGEST_R2:
        beta = beta * np.sqrt(_LARGEST_R2 / explained)
    return np.divide(beta, spreads, out=np.zeros_like(beta), where=spreads > 0)


@dataclass(frozen=True)
class _Alike:
    """People of one stratum with the same two haplotypes, and how many; int64 (cells,) each."""

    stratum: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    number: NDArray[np.int64]

    def less_mean(self, dosage: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return values (k, cells) less their means over people of a stratum."""
        n = np.bincount(self.stratum, self.number)
        out = dosage.astype(np.float64)
        for row in out:
            total = np.bincount(self.stratum, self.number * row)
            row -= np.divide(total, n, out=np.zeros_like(n), where=n > 0)[self.stratum]
        return out


def _alike(kind: NDArray[np.int64], stratum: NDArray[np.int64], n_kinds: int) -> _Alike:
    first, second = np.sort(kind, axis=1).T
    cell, number = np.unique((stratum * n_kinds + first) * n_kinds + second, return_counts=True)
    return _Alike(cell // n_kinds**2, cell // n_kinds % n_kinds, cell % n_kinds, number)


def _levelled(
    weight: NDArray[np.float64], shift: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return shift + c_k between 0 and 1, (strata, 2^k), c_k such that the weighted means are `wanted`."""
    total = weight.sum(axis=1)
    high = np.abs(shift).max(axis=1) + 1
    low = -high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        mean = np.einsum("ka,ka->k", weight, np.clip(middle[:, None] + shift, 0, 1))
        is_low = mean < wanted * total
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    constant = np.isin(wanted, (0.0, 1.0))
    return np.where(constant[:, None], wanted[:, None], np.clip(((low + high) / 2)[:, None] + shift, 0, 1))
