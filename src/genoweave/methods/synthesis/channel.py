"""Mechanisms that perturb one genotype: a 3 x 3 matrix of transition probabilities and what it guarantees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import ConfigError

SYNGEN6_STATEMENT = (
    "These records were made by changing a small share of each person's genotypes. Epsilon is SynGen6's "
    "flip-rate parameter, per SNP; it is not a differential-privacy guarantee for a person, and this "
    "mechanism gives none at any epsilon. At epsilon = 6 about 99.5 % of each source genome is still "
    "there; about 30 SNPs of a participant are enough to find their record, and relatives can be found "
    "too. Groups smaller than the target contain several versions of the same person. Handle these "
    "files with the access controls of the source data."
)


@dataclass(frozen=True)
class Mechanism:
    """A channel on dosages.

    Attributes
    ----------
    name
        As in ``[synthesis] mechanism``.
    transition
        f8 (3, 3): row g holds the probabilities of 0, 1, 2 for a true dosage g.
    guarantee
        ``"none"``, or what is proven, in one phrase.
    statement
        What users must be told.
    """

    name: str
    transition: NDArray[np.float64]
    guarantee: str
    statement: str

    def expected_frequency(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return the counted allele's expected frequency after the channel.

        Parameters
        ----------
        counts
            (..., 3) genotype counts or frequencies before it.
        """
        after = counts @ self.transition
        total = after.sum(axis=-1)
        return np.divide(
            after[..., 1] + 2 * after[..., 2],
            2 * total,
            out=np.full(total.shape, np.nan),
            where=total > 0,
        )

    def dosage_variance(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean variance of a dosage that the channel adds, given the true dosages' counts."""
        values = np.arange(3)
        mean = self.transition @ values
        variance = self.transition @ values**2 - mean**2
        return (counts @ variance) / np.maximum(counts.sum(axis=-1), 1)


def flip_probability(epsilon: float) -> float:
    """Return q = 1 / (e**epsilon + 2); 0.0024665 at epsilon 6."""
    return 1 / (math.exp(epsilon) + 2)


def _syngen6(epsilon: float) -> Mechanism:
    """The paper's flips: 1 moves to 0 or 2 with q each, 0 and 2 move to 1 with 2q, never 0 <-> 2."""
    q = flip_probability(epsilon)
    transition = np.array([[1 - 2 * q, 2 * q, 0], [q, 1 - 2 * q, q], [0, 2 * q, 1 - 2 * q]])
    return Mechanism("syngen6", transition, "none", SYNGEN6_STATEMENT)


# A new mechanism is one function here: epsilon -> Mechanism.
MECHANISMS = {"syngen6": _syngen6}


def mechanism(name: str, epsilon: float) -> Mechanism:
    """Return the mechanism of a name at `epsilon`.

    Raises
    ------
    ConfigError
        If there is none of that name.
    """
    if name not in MECHANISMS:
        raise ConfigError(f"there is no mechanism {name!r}; choose one of: {', '.join(MECHANISMS)}")
    return MECHANISMS[name](epsilon)
