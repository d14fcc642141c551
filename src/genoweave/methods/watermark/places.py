"""Where watermarks go, and after what they are made.

A watermark is to look like a template, a real variant T drawn at random. It follows a pattern of linkage and
goes into a gap near it; the two are chosen such that it looks there as T does: as frequent in each stratum,
as linked with the variants next to it and farther away, as far from them. It gets T's alleles and rates of
missing calls, and frequencies between T's and the pattern's: the more that tells, the nearer to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.watermark.looks import BESIDE, distances, looks_of_places, looks_of_variants
from genoweave.methods.watermark.neighbours import read_variants
from genoweave.methods.watermark.panel import REACH, Panel
from genoweave.methods.watermark.patterns import patterns
from genoweave.rng import Root

# Rows around a template, and around a gap by the row on its left.
_OF_TEMPLATE = np.array([-2, -1, 1, 2])
_OF_GAP = np.array([-1, 0, 1, 2])
# Variants that are templates and have patterns, at most; places that look most alike, of which one is drawn.
_MOST, _BEST = 20_000, 2
_FEWEST_TEMPLATES = 30
# Attempts with one template, at one of the places and then at the other.
_TRIES = 2
_WORDS = 64


@dataclass(frozen=True)
class Place:
    """Where a watermark goes, and what it is made after.

    Attributes
    ----------
    left
        Row of the variant before it; `left` + 1 is the one after it.
    template
        Row of T.
    position
        In base pairs, strictly between the neighbours'.
    near
        int64 (k,), ascending rows of the neighbours that it follows, at most 8; none where none tells.
    r
        float64 (k,): correlations within strata with their alleles.
    frequency
        float64 (strata,), of the counted allele.
    missing
        int64 (strata,): samples of the template without a call.
    """

    left: int
    template: int
    position: int
    near: NDArray[np.int64]
    r: NDArray[np.float64]
    frequency: NDArray[np.float64]
    missing: NDArray[np.int64]


class Places:
    """Draws places of watermarks, no two of them in the same or in adjacent gaps.

    Memory: 7 KiB for each of at most 20,000 variants.

    Attributes
    ----------
    known
        The variants that may be templates.
    """

    def __init__(
        self, panel: Panel, contig: NDArray[np.integer], position: NDArray[np.integer], key: Root
    ) -> None:
        self.panel, self.position = panel, position.astype(np.int64)
        self.stream = key.stream("watermark.place")
        n = len(position)
        gaps = np.arange(1, n - 2)
        room = self.position[gaps + 1] - self.position[gaps] >= 2
        # 1 where a watermark may go, less 2 for each that is in the gap or beside it
        self.free = np.zeros(n, np.int64)
        sound = panel.passes[gaps] & panel.passes[gaps + 1]
        self.free[gaps] = self._whole(gaps, _OF_GAP, contig) & room & sound
        inner = np.arange(3, n - 3)
        rows = inner[self._whole(inner, _OF_TEMPLATE, contig) & panel.passes[inner]]
        if min(len(rows), int(self.free.sum())) < _FEWEST_TEMPLATES:
            raise DataError(
                "QC-proof watermarks imitate variants that pass quality control and whose neighbours do: "
                f"wanted {_FEWEST_TEMPLATES} of them and of gaps between such, found {len(rows)} and "
                f"{int(self.free.sum())}; give a cohort after "
                "quality control, sorted by position, with more variants, and with ancestry groups where "
                "it has several (--ancestry): together they are not in Hardy-Weinberg equilibrium"
            )
        if len(rows) > _MOST:
            drawn = self.stream.words64(0, _MOST) % np.uint64(len(rows))
            rows = rows[np.unique(drawn.astype(np.int64))]
        self.known = read_variants(panel, contig, rows)
        self.patterns = patterns(panel, contig, rows, key.stream("watermark.pattern").words64(0, len(rows)))
        self.looks = looks_of_variants(self.known, panel, self.position)
        left = (self.patterns.rows[:, None] + BESIDE).ravel()
        pattern = np.repeat(np.arange(len(self.patterns.rows)), len(BESIDE))
        usable = (self.free[left] == 1) & (contig[left] == contig[self.patterns.rows[pattern]])
        self.left, self.pattern = left[usable], pattern[usable]
        self.looks_there = looks_of_places(self.patterns, panel, self.position)[usable]

    def _whole(
        self, rows: NDArray[np.int64], offsets: NDArray[np.int64], contig: NDArray[np.integer]
    ) -> NDArray[np.bool_]:
        """Whether all neighbours are on one chromosome and sorted, the next ones at different positions."""
        near = rows[:, None] + offsets
        whole = (contig[near] == contig[near[:, :1]]).all(axis=1)
        whole &= (np.diff(self.position[near], axis=1) >= 0).all(axis=1)
        return np.asarray(whole & (self.position[near[:, 1]] < self.position[near[:, 2]]))

    def template(self, row: int, attempt: int, within: tuple[float, float] = (-np.inf, np.inf)) -> int:
        """Draw a template for a watermark: the number of a variant in `known`.

        One of which the variants around tell a share between two limits, if 64 draws find such a one.
        """
        words = self._words(row, attempt // _TRIES)[:_WORDS]
        drawn = (words % np.uint64(len(self.known.rows))).astype(np.int64)
        explained = self.known.explained[drawn]
        return int(drawn[np.argmax((explained >= within[0]) & (explained <= within[1]))])

    def draw(self, row: int, attempt: int, within: tuple[float, float] = (-np.inf, np.inf)) -> Place:
        """Draw the place of a watermark, and take it."""
        k = self.template(row, attempt, within)
        places = np.flatnonzero(self.free[self.left] == 1)
        if not len(places):
            raise DataError(
                "there are more watermarks than places between variants that pass quality control; ask for "
                "fewer"
            )
        # no look is as the template's own, which would draw all watermarks beside theirs
        away = places[np.abs(self.patterns.rows[self.pattern[places]] - self.known.rows[k]) > REACH]
        places = away if len(away) else places
        explained = float(self.known.explained[k])
        far = distances(self.looks[k], self.looks_there[places], explained, self.panel.n_strata)
        best = places[np.argsort(far, kind="stable")[:_BEST]]
        word = int(self._words(row, attempt // _TRIES)[_WORDS] % np.uint64(len(best)))
        chosen = int(best[(word + attempt) % len(best)])
        left = int(self.left[chosen])
        self.free[left - 1 : left + 2] -= 2
        return self._place(left, int(self.pattern[chosen]), k)

    def give_back(self, place: Place) -> None:
        """Let a place be drawn again."""
        self.free[place.left - 1 : place.left + 2] += 2

    def _words(self, row: int, attempt: int) -> NDArray[np.uint64]:
        return self.stream.words64(1 + row * 1000 + attempt, _WORDS + 1)

    def _place(self, left: int, j: int, k: int) -> Place:
        """Make a watermark in a gap after a pattern and a template, by their numbers."""
        t = int(self.known.rows[k])
        share = float(self.patterns.explained[j])
        frequency = self._between(self.panel.frequency[t], self.patterns.frequency[j], share)
        near = self.patterns.near[j][self.patterns.tells[j]]
        r = self.patterns.linked[j][near - self.patterns.rows[j] + REACH]
        return Place(left, t, self._position(left, t), near, r, frequency, self.panel.missing[t])

    def _position(self, left: int, t: int) -> int:
        """Divide a gap as a template divides what is between its neighbours."""
        before, after = self.position[t - 1], self.position[t + 1]
        gap = int(self.position[left + 1] - self.position[left])
        step = round(float(gap * (self.position[t] - before) / (after - before)))
        return int(self.position[left]) + int(np.clip(step, 1, gap - 1))

    def _between(
        self, one: NDArray[np.float64], other: NDArray[np.float64], share: float
    ) -> NDArray[np.float64]:
        """Return frequencies between two variants', as different between strata as these are."""
        weight = self.panel.share
        mixed = (1 - share) * one + share * other
        spreads = [float(np.sqrt(weight @ (f - weight @ f) ** 2)) for f in (one, other, mixed)]
        wanted = (1 - share**3) * spreads[0] + share**3 * spreads[1]
        scale = min(2.0, wanted / spreads[2]) if spreads[2] > 0 else 1.0
        mean = float(weight @ mixed)
        return np.asarray(np.clip(mean + scale * (mixed - mean), 0, 1))
