"""Results of one trait, an entry per variant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.execution import fold
from genoweave.genotypes import Source
from genoweave.kernels.packed import width

TASK_BYTES = 16 * 2**20
# Variants whose codes are together in the L2 cache, a span of samples at a time.
VARIANTS_AT_ONCE = 64
# The arrays of `Fits`, in its order.
ARRAYS = ("called", "frequency", "beta", "se", "statistic", "log10_p", "code", "method")


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
        float64: t or z, and log10 of its two-sided p, which does not underflow. Of a likelihood ratio the
        root with beta's sign. Of a joint test of two terms F, and chi-squared over 2; beta and se are NaN.
    code, method
        uint8, indices into `CODES` and `METHODS`.
    notes
        What is said of the trait as a whole, by name, as a mixed model's heritability.
    """

    called: NDArray[np.int64]
    frequency: NDArray[np.float64]
    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    statistic: NDArray[np.float64]
    log10_p: NDArray[np.float64]
    code: NDArray[np.uint8]
    method: NDArray[np.uint8]
    notes: dict[str, float] = field(default_factory=dict)

    @classmethod
    def empty(cls, n: int) -> Fits:
        """Make room for n variants."""
        a, b, c, d, e = (np.full(n, np.nan) for _ in range(5))
        return cls(np.zeros(n, np.int64), a, b, c, d, e, np.zeros(n, np.uint8), np.zeros(n, np.uint8))

    def put(self, rows: slice | NDArray[np.int64], other: Fits) -> None:
        """Write the results of some variants."""
        for name in ARRAYS:
            getattr(self, name)[rows] = getattr(other, name)

    def __len__(self) -> int:
        return len(self.called)


def tasks(source: Source) -> list[tuple[int, int]]:
    """Return ranges of variants of about 16 MiB of packed genotypes."""
    step = max(1, TASK_BYTES // width(source.shape[1]) // source.row_block) * source.row_block
    return list(ranges(source.shape[0], step))


def frequencies(counts: NDArray[np.int64], called: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the alternate allele's frequency among the called, NaN if there are none.

    `counts` int64 (variants, 3): missing, heterozygous, homozygous alternate.
    """
    alleles = counts[:, 1] + 2.0 * counts[:, 2]
    return np.divide(alleles, 2 * called, out=np.full(len(called), np.nan), where=called > 0)


def folded(
    label: str,
    task: Callable[..., list[Fits]],
    items: list[tuple[int, int]],
    n_tables: int,
    shared: tuple[Any, ...],
) -> list[Fits]:
    """Run a task on ranges of variants, and join its tables: of each trait, or of each trait's terms."""
    n_variants = items[-1][1] if items else 0

    def table(state: dict[str, Any], k: int) -> Fits:
        return Fits(**{name: state[f"{name}.{k}"] for name in ARRAYS})

    def add(state: dict[str, Any], done: int, parts: list[Fits]) -> None:
        for k, part in enumerate(parts):
            table(state, k).put(slice(*items[done]), part)

    empty = [Fits.empty(n_variants) for _ in range(n_tables)]
    state = {f"{name}.{k}": getattr(fits, name) for k, fits in enumerate(empty) for name in ARRAYS}
    state = fold(label, task, items, state, add, shared=shared)
    return [table(state, k) for k in range(n_tables)]
