"""Linkage of variants with those around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.methods.watermark.panel import REACH, Panel

# A squared correlation counts if it is so many times its variance by chance: of 500 variants with 30 around
# that are not linked, one has one that counts.
CLEAR = 16
BATCH = 512
_OFFSETS = np.arange(-REACH, REACH + 1)
_RIDGE = 0.02


@dataclass(frozen=True)
class Variants:
    """Variants, and their linkage with the 15 variants on either side.

    Attributes
    ----------
    rows
        int64 (m,).
    linked
        float64 (m, 31): correlation within strata with the variants around; 0 beyond a chromosome's ends, and
        with itself.
    explained
        float64 (m,): share of variance that all around tell together; 0 where it may be chance.
    """

    rows: NDArray[np.int64]
    linked: NDArray[np.float64]
    explained: NDArray[np.float64]


@dataclass(frozen=True)
class Around:
    """The 15 variants on either side of variants, and these in the middle.

    Attributes
    ----------
    rows
        int64 (m, 31), within the cohort.
    inside
        bool (m, 31): whether they are on the same chromosome.
    between
        float64 (m, 31, 31): correlations with each other; 0 of those that are not.
    own
        float64 (m, 31): the middle one's; 0 with itself.
    """

    rows: NDArray[np.int64]
    inside: NDArray[np.bool_]
    between: NDArray[np.float64]
    own: NDArray[np.float64]


def read_variants(panel: Panel, contig: NDArray[np.integer], rows: NDArray[np.int64]) -> Variants:
    """Look up the linkage of variants: 250 bytes a variant."""
    linked, explained = [], []
    for a, b in ranges(len(rows), BATCH):
        some = around(panel, contig, rows[a:b])
        linked.append(some.own)
        explained.append(_explained(some, panel.noise))
    return Variants(rows, np.concatenate(linked), np.concatenate(explained))


def around(panel: Panel, contig: NDArray[np.integer], rows: NDArray[np.int64]) -> Around:
    """Look up what is around variants."""
    near, inside = rows_around(contig, rows)
    between = correlation(panel, near[:, :, None], near[:, None, :])
    between *= inside[:, :, None] & inside[:, None, :]
    own = between[:, REACH].copy()
    own[:, REACH] = 0
    return Around(near, inside, between, own)


def rows_around(
    contig: NDArray[np.integer], rows: NDArray[np.int64], offsets: NDArray[np.int64] = _OFFSETS
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the rows around variants (m, offsets), and whether they are on the same chromosome."""
    wanted = rows[:, None] + offsets
    near = np.clip(wanted, 0, len(contig) - 1)
    return near, (near == wanted) & (contig[near] == contig[rows][:, None])


def correlation(panel: Panel, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return correlations within strata of variants up to 30 rows apart; 1 of a variant with itself."""
    lag = np.abs(one - other)
    return np.where(lag == 0, 1.0, panel.r[np.maximum(lag, 1) - 1, np.minimum(one, other)])


def _explained(some: Around, noise: float) -> NDArray[np.float64]:
    others = np.delete(np.arange(len(_OFFSETS)), REACH)
    matrix = some.between[:, others[:, None], others]
    at = np.arange(len(others))
    matrix[:, at, at] = 1 + _RIDGE
    r = some.own[:, others]
    beta = np.linalg.solve(matrix, r[:, :, None])[:, :, 0]
    share = np.clip(np.einsum("mw,mw->m", beta, r), 0, 1)
    share = share - (1 - share) * noise * len(others)
    return np.where(share > CLEAR * noise, share, 0)
