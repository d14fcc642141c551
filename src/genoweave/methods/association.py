"""Logistic regression with Wald tests whose p-values never underflow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

_MOST_STEPS = 50
_TOLERANCE = 1e-10
# A linear predictor beyond this for every sample means that the classes are separated.
_SEPARATED = 30.0


@dataclass(frozen=True)
class Fit:
    """A fitted logistic model; beta and se are NaN where it does not exist.

    Attributes
    ----------
    beta, se
        f8 (columns,), log odds ratio per unit and its standard error.
    reason
        ``"ok"``, or why there is no fit.
    """

    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    reason: str

    @property
    def z(self) -> NDArray[np.float64]:
        """Wald statistics."""
        return self.beta / self.se

    @property
    def log10_p(self) -> NDArray[np.float64]:
        """Decimal logarithms of the two-sided Wald p-values."""
        return log10_p(self.z)


def log10_p(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log10 of the two-sided normal p of `z`, exact far beyond the smallest float."""
    return (norm.logsf(np.abs(z)) + np.log(2)) / np.log(10)


def logistic(
    x: NDArray[np.float64], y: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> Fit:
    """Fit a logistic regression by Newton's method.

    Parameters
    ----------
    x
        f8 (observations, columns), the intercept among them.
    y
        0 or 1 (observations,).
    weight
        Times that an observation was seen, (observations,); 1 by default.

    Notes
    -----
    A maximum does not exist where a column's combination separates cases from controls; that is said in
    ``reason`` and not papered over.
    """
    weight = np.ones(len(y)) if weight is None else weight
    beta = np.zeros(x.shape[1])
    nothing = np.full(x.shape[1], np.nan)
    likelihood = -np.inf
    for _ in range(_MOST_STEPS):
        eta = x @ beta
        mu = expit(eta)
        information = (x * (weight * mu * (1 - mu))[:, None]).T @ x
        score = x.T @ (weight * (y - mu))
        try:
            step = np.linalg.solve(information, score)
        except np.linalg.LinAlgError:
            return Fit(nothing, nothing, "the columns are collinear or separate the cases")
        beta, likelihood, moved = _damped(x, y, weight, beta, step, likelihood)
        if np.abs(x @ beta).min() > _SEPARATED or not np.isfinite(likelihood) or likelihood > -1e-8:
            return Fit(nothing, nothing, "the columns separate the cases from the controls")
        if moved < _TOLERANCE:
            variance = np.diag(np.linalg.inv(information))
            return Fit(beta, np.sqrt(variance), "ok")
    return Fit(nothing, nothing, "the fit did not converge: the cases are (nearly) separated")


def _damped(
    x: NDArray, y: NDArray, weight: NDArray, beta: NDArray, step: NDArray, before: float
) -> tuple[NDArray[np.float64], float, float]:
    """Halve a Newton step until the likelihood does not fall; return beta, likelihood and the move."""
    for halving in range(20):
        trial = beta + step * 0.5**halving
        eta = x @ trial
        likelihood = float(np.sum(weight * (y * eta - np.logaddexp(0, eta))))
        if likelihood >= before - 1e-9 * abs(before):
            break
    return trial, likelihood, float(np.abs(trial - beta).max())
