"""Association put into genotypes without changing anything else of them.

Within a cell of samples of one stratum with the same chances given the neighbours, a watermark's genotypes
stay what they are; only who of the cell has which is sorted by score = a residual + noise. Frequencies,
Hardy-Weinberg equilibrium and linkage are counts over cells, and so do not change; the statistic of the
model asked for grows with a, which is solved for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from genoweave.kernels.packed import pack_dosages, width
from genoweave.methods.association import logistic
from genoweave.methods.gwas import Trait
from genoweave.methods.gwas.samples import complete
from genoweave.methods.watermark.models import fitted

_TOLERANCE = 0.02
# Genotypes change places one by one: in small cohorts the statistic has gaps wider than the tolerance.
_MOST_STEPS = 16
# A score is nearly the residual itself; a target that this does not reach is out of reach.
_LARGEST = 64.0


@dataclass
class Drawn:
    """A watermark before its association.

    Attributes
    ----------
    dosage
        int8 (samples,), -1 missing.
    cell
        int64 (samples,): who may swap.
    noise
        float64 (samples,), standard normal.
    """

    dosage: NDArray[np.int8]
    cell: NDArray[np.int64]
    noise: NDArray[np.float64]


def residuals(trait: Trait, covariates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what covariates leave of a trait, float64 (samples,), variance 1; NaN where incomplete."""
    used = complete(trait.values, covariates)
    y, c = trait.values[used], covariates[used]
    spread = c.std(axis=0)
    design = np.column_stack([np.ones(len(y)), ((c - c.mean(axis=0)) / np.where(spread > 0, spread, 1))])
    if trait.is_binary:
        rest = y - expit(design @ logistic(design, y).beta)
    else:
        rest = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    out = np.full(len(used), np.nan)
    out[used] = rest / rest.std()
    return out


def sort_within(drawn: Drawn, residual: NDArray[np.float64], strength: float) -> NDArray[np.int8]:
    """Return the dosages (samples,), sorted by strength x residual + noise within cells."""
    free = np.flatnonzero((drawn.dosage >= 0) & np.isfinite(residual))
    cell, score = drawn.cell[free], strength * residual[free] + drawn.noise[free]
    out = drawn.dosage.copy()
    out[free[np.lexsort((score, cell))]] = drawn.dosage[free][np.lexsort((drawn.dosage[free], cell))]
    return out


def associate(
    marks: list[Drawn],
    targets: NDArray[np.float64],
    trait: Trait,
    covariates: NDArray[np.float64],
    model: str,
) -> tuple[list[NDArray[np.int8]], NDArray[np.float64]]:
    """Sort watermarks until their statistics are the targets, or as near as the samples allow.

    Parameters
    ----------
    marks
        As drawn.
    targets
        float64, z or t; 0 leaves a watermark as it is.

    Returns
    -------
    dosages : list of int8 (samples,)
    reached : float64
        Their statistics; NaN of those with target 0.

    Notes
    -----
    About ten fits of all watermarks; memory: packed watermarks, and 8 bytes a sample and watermark for noise.
    """
    rest = residuals(trait, covariates)
    out = [mark.dosage for mark in marks]
    reached = np.full(len(marks), np.nan)
    searches = {k: _Search(abs(targets[k])) for k in np.flatnonzero(targets)}
    for _ in range(_MOST_STEPS):
        todo = [k for k, search in searches.items() if not search.done]
        if not todo:
            break
        signs = np.sign(targets[todo])
        tried = [
            sort_within(marks[k], rest, sign * searches[k].next) for k, sign in zip(todo, signs, strict=True)
        ]
        found = signs * fitted(packed_rows(tried), trait, covariates, model)
        for k, dosage, z, sign in zip(todo, tried, found, signs, strict=True):
            if searches[k].tell(float(z)):
                out[k], reached[k] = dosage, sign * z
    return out, reached


def packed_rows(dosages: list[NDArray[np.int8]]) -> NDArray[np.uint8]:
    """Return codes of dosages (samples,), uint8 (rows, bytes)."""
    packed = np.empty((len(dosages), width(len(dosages[0]))), np.uint8)
    pack_dosages(np.stack(dosages), packed)
    return packed


class _Search:
    """Finds the strength at which a growing statistic is `target`: doubling, then false position."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.low, self.high = (0.0, 0.0), (np.inf, np.inf)
        self.next = 0.05
        self.best = np.inf
        self.steps = 0

    @property
    def done(self) -> bool:
        return self.best <= _TOLERANCE or self.next > _LARGEST

    def tell(self, z: float) -> bool:
        """Take the statistic at `next`, choose another `next`; return whether it is the nearest so far."""
        at, error = self.next, abs(z - self.target)
        self.steps += 1
        if z < self.target:
            self.low = at, z
        else:  # NaN: so strong that cases and controls are separated
            self.high = at, z
        if np.isinf(self.high[0]):
            self.next = 4 * at
        else:
            (a, za), (b, zb) = self.low, self.high
            share = (self.target - za) / (zb - za) if zb > za else 0.5
            # in turn with halving, so that a curve does not hold one end for ever
            self.next = a + (b - a) * (float(np.clip(share, 0.05, 0.95)) if self.steps % 3 else 0.5)
        if error < self.best:
            self.best = error
            return True
        return False
