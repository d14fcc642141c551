"""Watermarks that look like the cohort's own SNPs: drawn among four neighbours after a real template.

A template is a real variant T with two neighbours on each side. A place is a gap whose two neighbours on each
side are about as frequent, as correlated and as far apart. The watermark gets T's alleles, missing calls,
frequencies in the strata, and T's linkage: P(allele 1 | alleles h of the neighbours on a haplotype) =
c_k + sum_j b_j (h_j - p_jk) in stratum k, between 0 and 1; b from the template's correlations, c_k such that
the frequency is met. Two haplotypes drawn so make genotypes in Hardy-Weinberg equilibrium wherever the
neighbours' are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.watermark.panel import Panel
from genoweave.rng import Root, Stream

# Neighbours, as rows from the one on the left of a gap, and as rows from a template.
_OF_GAP = np.array([-1, 0, 1, 2])
_OF_TEMPLATE = np.array([-2, -1, 1, 2])
_PAIRS = np.triu_indices(4, 1)
# Gaps that are compared with a template, and the best of them of which one is drawn.
_CANDIDATES = 20_000
_BEST = 5
_FEWEST_TEMPLATES = 30
# Differences that count as one unit: minor allele frequencies of the four, their six correlations (between
# the gap's two sides most), log distance.
_UNITS = np.array([0.1, 0.05, 0.05, 0.1, 0.2, 0.2, 0.2, 0.1, 0.2, 0.2, 0.2])
_BISECTIONS = 40
_CALIBRATIONS = 6
# The alleles of four neighbours on each of the 16 kinds of haplotypes.
_KINDS = np.array(np.unravel_index(np.arange(16), (2, 2, 2, 2)))
_RIDGE = 0.02
# A little above 1: chances end at 0 and 1 anyway.
_LARGEST_R2 = 2.0
# Chances of allele 1 that are told apart when genotypes change places.
_LEVELS = 20


@dataclass(frozen=True)
class Linkage:
    """Correlations of an allele with those of four neighbours, and what follows from them.

    Attributes
    ----------
    r
        float64 (4,): correlations.
    between
        float64 (4, 4): the neighbours' own.
    spread, spreads
        Standard deviations of the allele, and of the neighbours', float64 (4,); 0 where one is constant.
    """

    r: NDArray[np.float64]
    between: NDArray[np.float64]
    spread: float
    spreads: NDArray[np.float64]

    def slopes(self, r: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the change of P(allele 1) with an allele of each neighbour for correlations `r`."""
        wanted = self.r if r is None else r
        beta = np.linalg.solve(self.between + _RIDGE * np.eye(len(wanted)), wanted)
        explained = float(beta @ self.between @ beta)
        if explained > _LARGEST_R2:
            beta = beta * np.sqrt(_LARGEST_R2 / explained)
        return np.divide(beta * self.spread, self.spreads, out=np.zeros_like(beta), where=self.spreads > 0)


@dataclass(frozen=True)
class Place:
    """Where a watermark goes, and after which template it is made.

    Attributes
    ----------
    left
        Row of the variant before it; `left` + 1 is the one after it.
    template
        Row of T.
    position
        In base pairs, strictly between the neighbours'.
    linkage
        Of an allele and its neighbours'.
    frequency
        float64 (strata,), of the counted allele.
    missing
        int64 (strata,): samples of the template without a call.
    """

    left: int
    template: int
    position: int
    linkage: Linkage
    frequency: NDArray[np.float64]
    missing: NDArray[np.int64]


class Places:
    """Draws places of watermarks, no two of them in the same or in adjacent gaps."""

    def __init__(
        self, panel: Panel, contig: NDArray[np.integer], position: NDArray[np.integer], key: Root
    ) -> None:
        self.panel = panel
        self.position = position.astype(np.int64)
        n = len(position)
        rows = np.arange(n)
        is_gap = np.zeros(n, bool)
        inner = rows[1 : n - 2]
        room = self.position[inner + 1] - self.position[inner] >= 2
        is_gap[inner] = self._whole(inner, _OF_GAP, contig) & room
        self.gaps = np.flatnonzero(is_gap)
        self.taken = np.zeros(n, np.int64)
        inner = rows[2 : n - 2]
        self.templates = inner[self._whole(inner, _OF_TEMPLATE, contig) & panel.passes[inner]]
        if min(len(self.templates), len(self.gaps)) < _FEWEST_TEMPLATES:
            raise DataError(
                "QC-proof watermarks imitate variants that pass quality control and whose neighbours do: "
                f"wanted {_FEWEST_TEMPLATES} of them, found {len(self.templates)}; give a cohort after "
                "quality control, sorted by position, with more variants, and with ancestry groups where "
                "it has several (--ancestry): together they are not in Hardy-Weinberg equilibrium"
            )
        self.stream = key.stream("watermark.place")

    def _whole(
        self, rows: NDArray[np.int64], offsets: NDArray[np.int64], contig: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Whether all neighbours are on one chromosome, sorted, and the nearest pass quality control."""
        near = rows[:, None] + offsets
        whole = (contig[near] == contig[near[:, :1]]).all(axis=1)
        whole &= (np.diff(self.position[near], axis=1) >= 0).all(axis=1)
        whole &= self.position[near[:, 1]] < self.position[near[:, 2]]
        return np.asarray(whole & self.panel.passes[near[:, 1]] & self.panel.passes[near[:, 2]])

    def draw(self, row: int, attempt: int) -> Place:
        """Draw the place of a watermark, and take it."""
        words = self.stream.words64(row * 1000 + attempt, _CANDIDATES + 2)
        template = int(self.templates[int(words[0] % len(self.templates))])
        gaps = self.gaps[self.taken[self.gaps] == 0]
        if not len(gaps):
            raise DataError(
                "there are more watermarks than places between variants that pass quality control; ask for "
                "fewer"
            )
        if len(gaps) > _CANDIDATES:
            gaps = np.unique(gaps[(words[2:] % np.uint64(len(gaps))).astype(np.int64)])
        distance = (((self._looks(gaps, _OF_GAP) - self._looks(template, _OF_TEMPLATE)) / _UNITS) ** 2).sum(
            axis=1
        )
        best = gaps[np.argsort(distance, kind="stable")[:_BEST]]
        left = int(best[int(words[1] % len(best))])
        self.taken[left - 1 : left + 2] += 1
        return self._place(left, template)

    def give_back(self, place: Place) -> None:
        """Let a place be drawn again."""
        self.taken[place.left - 1 : place.left + 2] -= 1

    def _looks(self, rows: int | NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
        """Minor allele frequencies, correlations of minor alleles, log distance of neighbourhoods."""
        near = np.atleast_1d(rows)[:, None] + offsets
        mean, sign = self.panel.mean[near], self._sign(near)
        i, j = _PAIRS
        r = self._r(near[:, i], near[:, j]) * sign[:, i] * sign[:, j]
        distance = np.log(np.maximum(self.position[near[:, 2]] - self.position[near[:, 1]], 1))
        return np.column_stack([np.minimum(mean, 1 - mean), r, distance])

    def _sign(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(self.panel.mean[rows] > 0.5, -1.0, 1.0)

    def _r(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.float64]:
        """Correlations of pairs of variants up to four rows apart."""
        return self.panel.r[np.abs(b - a) - 1, np.minimum(a, b)]

    def _matrix(self, near: NDArray[np.int64]) -> NDArray[np.float64]:
        matrix = np.eye(4)
        i, j = _PAIRS
        matrix[i, j] = matrix[j, i] = self._r(near[i], near[j])
        return matrix

    def _place(self, left: int, t: int) -> Place:
        panel = self.panel
        theirs, ours = t + _OF_TEMPLATE, left + _OF_GAP
        r = self._r(theirs, np.full(4, t))
        own = Linkage(r, self._matrix(theirs), float(panel.spread[t]), panel.spread[theirs]).slopes()
        flipped = r * self._sign(theirs) * self._sign(ours)
        linkage = Linkage(flipped, self._matrix(ours), float(panel.spread[t]), panel.spread[ours])
        # what the template's frequencies owe to its neighbours' drift is replaced by what the new ones' bring
        drift = panel.frequency - panel.mean[:, None]
        frequency = panel.frequency[t] - own @ drift[theirs] + linkage.slopes() @ drift[ours]
        before, after = self.position[theirs[1]], self.position[theirs[2]]
        gap = int(self.position[left + 1] - self.position[left])
        step = int(np.clip(round(float(gap * (self.position[t] - before) / (after - before))), 1, gap - 1))
        position = int(self.position[left]) + step
        return Place(left, t, position, linkage, np.clip(frequency, 0, 1), panel.missing[t])


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
        int8, dosages (4, samples), -1 missing, or phased calls (4, samples, 2).
    place
        Frequencies, slopes, missing calls.
    panel
        The strata.
    stream, address
        Where the draws come from.
    """
    n = len(panel.stratum)
    u = [stream.uniforms(12 * address + k, n) for k in range(11)]
    members = [np.flatnonzero(panel.stratum == k) for k in range(panel.n_strata)]
    p = panel.frequency[place.left + _OF_GAP]
    kind = np.empty((n, 2), np.int64)
    for k, rows in enumerate(members):
        filled = [_filled(g[rows], f, x[rows]) for g, f, x in zip(neighbours, p[:, k], u[:4], strict=True)]
        alleles = np.stack(filled) if filled[0].ndim == 2 else _phased(filled, [x[rows] for x in u[4:8]])
        kind[rows] = np.ravel_multi_index(tuple(alleles), (2, 2, 2, 2))
    weight = np.stack([np.bincount(kind[rows].ravel(), minlength=16) for rows in members]) / (2 * n)
    table = _chances(weight, place, p)
    chance = np.take_along_axis(table[panel.stratum], kind, axis=1)
    dosage = (np.stack(u[8:10], axis=1) < chance).sum(axis=1).astype(np.int8)
    n_missing = _missing(place.missing, panel.sizes, stream.uniforms(12 * address + 11, panel.n_strata))
    for k, rows in enumerate(members):
        dosage[rows[_uncalled(panel.missing_of[rows], int(n_missing[k]), u[10][rows])]] = -1
    level = np.sort(np.rint(_LEVELS * chance).astype(np.int64), axis=1)
    cell = (panel.stratum * (_LEVELS + 1) + level[:, 0]) * (_LEVELS + 1) + level[:, 1]
    on_first, on_second = chance[:, 0] * (1 - chance[:, 1]), chance[:, 1] * (1 - chance[:, 0])
    total = on_first + on_second
    first = np.divide(on_first, total, out=np.full(n, 0.5), where=total > 0)
    return Genotypes(dosage, cell, first)


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


def _chances(weight: NDArray[np.float64], place: Place, p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(allele 1) given the neighbours' alleles.

    Slopes are raised until the correlations are as wanted in spite of chances that end at 0 and 1.

    Parameters
    ----------
    weight
        float64 (strata, 16): share of all haplotypes that are of a stratum and a kind.
    place
        Frequencies, and correlations.
    p
        float64 (4, strata), frequencies of the neighbours.

    Returns
    -------
    ndarray
        float64 (strata, 16), whose mean over a stratum's haplotypes is its frequency.
    """
    shift = _KINDS[None] - p.T[:, :, None]
    aim = place.linkage.r.copy()
    scale = place.linkage.spread * place.linkage.spreads
    for step in range(_CALIBRATIONS + 1):
        slopes = place.linkage.slopes(aim)
        raised = np.einsum("j,kja->ka", slopes, shift)
        table = _levelled(weight, raised, place.frequency)
        if step == _CALIBRATIONS:
            break
        product = np.einsum("ka,ka,kja->j", weight, table - place.frequency[:, None], shift)
        reached = np.divide(product, scale, out=np.zeros(4), where=scale > 0)
        aim = np.clip(aim + place.linkage.r - reached, -1.5, 1.5)
    return table


def _levelled(
    weight: NDArray[np.float64], shift: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return shift + c_k between 0 and 1, (strata, 16), c_k such that the weighted means are `wanted`."""
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
