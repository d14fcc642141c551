"""Results of one trait, an entry per variant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fits:
    """Regressions of one trait on some variants.

    Attributes
    ----------
    called
        int64 (variants,): samples in the regression.
    frequency
        float64, of the counted (alternate) allele among them; NaN if there are none.
    beta, se
        float64, per copy of the counted allele; NaN where the code is not 0. Log odds ratio of case/control.
    statistic, log10_p
        float64: t or z, and log10 of its two-sided p, which does not underflow.
    code, method
        uint8, indices into `CODES` and `METHODS`.
    """

    called: NDArray[np.int64]
    frequency: NDArray[np.float64]
    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    statistic: NDArray[np.float64]
    log10_p: NDArray[np.float64]
    code: NDArray[np.uint8]
    method: NDArray[np.uint8]

    @classmethod
    def empty(cls, n: int) -> Fits:
        """Make room for n variants."""
        a, b, c, d, e = (np.full(n, np.nan) for _ in range(5))
        return cls(np.zeros(n, np.int64), a, b, c, d, e, np.zeros(n, np.uint8), np.zeros(n, np.uint8))

    def put(self, rows: slice | NDArray[np.int64], other: Fits) -> None:
        """Write the results of some variants."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[rows] = getattr(other, name)

    def __len__(self) -> int:
        return len(self.called)
