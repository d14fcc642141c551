"""The plain QC-proof design: counts in Hardy-Weinberg equilibrium whose logistic fit has a given z.

It shows in one formula what `designed` reaches with covariates, strata and linkage disequilibrium.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from genoweave.errors import DataError

_COPIES = np.arange(3.0)
# |beta| and |alpha| beyond these put every carrier of a kind into one class
_LARGEST_BETA = 5.0
_LARGEST_ALPHA = 60.0


def plain_counts(n: int, n_cases: int, maf: float, z: float) -> NDArray[np.int64]:
    """Return the people with 0, 1, 2 copies among controls and cases.

    N_g are the rounded Hardy-Weinberg counts of `n`; the cases among them N_g logistic(alpha + beta g), alpha
    solved for `n_cases` and beta such that beta / SE of the additive logistic fit is `z`.

    Parameters
    ----------
    n, n_cases
        Samples, and cases among them.
    maf
        Frequency of the counted allele, 0 < maf < 1.
    z
        Wald statistic of the counts before they are rounded; afterwards it is off by about 0.01.

    Returns
    -------
    ndarray
        int64 (2, 3): controls, cases.

    Raises
    ------
    DataError
        If no effect reaches `z` at this size.
    """
    total = np.rint(n * np.array([(1 - maf) ** 2, 2 * maf * (1 - maf), maf**2]))
    total[0] = n - total[1:].sum()
    limit = _LARGEST_BETA

    def excess(beta: float) -> float:
        return _wald(beta, total, n_cases) - z

    if not 0 < n_cases < n or excess(-limit) > 0 or excess(limit) < 0:
        raise DataError(
            f"no effect of a variant of frequency {maf:g} reaches z = {z:g} with this many cases and "
            "controls; lower z, or take more common variants"
        )
    beta = float(brentq(excess, -limit, limit, xtol=1e-12))
    share = total * expit(_intercept(beta, total, n_cases) + beta * _COPIES)
    cases = _rounded(share, n_cases)
    return np.stack([total - cases, cases]).astype(np.int64)


def _intercept(beta: float, total: NDArray[np.float64], n_cases: int) -> float:
    def excess(alpha: float) -> float:
        return float((total * expit(alpha + beta * _COPIES)).sum() - n_cases)

    return float(brentq(excess, -_LARGEST_ALPHA, _LARGEST_ALPHA, xtol=1e-13))


def _wald(beta: float, total: NDArray[np.float64], n_cases: int) -> float:
    mu = expit(_intercept(beta, total, n_cases) + beta * _COPIES)
    weight = total * mu * (1 - mu)
    mean = (weight @ _COPIES) / weight.sum()
    return float(beta * np.sqrt(weight @ (_COPIES - mean) ** 2))


def _rounded(values: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """Round to integers of a given sum: the largest remainders go up."""
    whole = np.floor(values)
    order = np.argsort(whole - values, kind="stable")
    whole[order[: round(total - whole.sum())]] += 1
    return np.asarray(whole)
