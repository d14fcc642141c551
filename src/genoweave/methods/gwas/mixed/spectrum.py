"""The eigenvalues and eigenvectors of a kinship free of covariates, and the model without a variant.

With Q an orthonormal basis of intercept and covariates, M = I - QQ' and MKM = U diag(delta) U', all that a
test needs are sums over U'x and U'y: restricted likelihood knows the data as U'y alone. Full likelihood needs
the log determinant of I + lambda K too; it follows from that of the projected matrix by Schur's complement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from scipy.linalg import blas, eigh
from scipy.optimize import brentq
from threadpoolctl import threadpool_limits

from genoweave.chunks import ranges

Float = NDArray[np.float64]

# GEMMA's bounds of lambda, and the regions that are searched for a maximum.
SMALLEST, LARGEST, REGIONS = 1e-5, 1e5, 10
# A log determinant is a sum of log(1 + delta e^t), analytic up to an imaginary part of pi: on 23 units of t
# a Chebyshev series of this degree is exact to rounding (1.31^-160 = 2e-19).
_DEGREE = 160
# Divide and conquer takes a third of the time of LAPACK's other way, but counts its working memory, 2 n^2, in
# 32 bits.
_LARGEST_DIVIDED = 30_000
_STRIP = 1024


def grid() -> Float:
    """Return the values of log lambda between which maxima are searched."""
    return np.linspace(np.log(SMALLEST), np.log(LARGEST), REGIONS + 1)


@dataclass(frozen=True)
class Spectrum:
    """A kinship of n samples, free of c covariates (the intercept among them).

    Attributes
    ----------
    vectors, delta
        float64 (n, n - c) and (n - c,): eigenvectors, orthogonal to the covariates, and eigenvalues.
    mean_eigenvalue
        Of the kinship centred but not free of other covariates: what lambda is multiplied with to get the
        ratio of variances of the samples.
    restricted, full
        float64 (3, terms): Chebyshev series in log lambda of log |I + lambda MKM| and of log |I + lambda K|,
        K centred, and their first and second derivatives.
    """

    vectors: Float
    delta: Float
    mean_eigenvalue: float
    restricted: Float
    full: Float

    @property
    def n_samples(self) -> int:
        """Samples."""
        return len(self.vectors)


def decompose(kinship: Float, basis: Float) -> Spectrum:
    """Project the covariates out of a kinship and decompose it.

    Parameters
    ----------
    kinship
        float64 (n, n), Fortran order, its upper triangle; overwritten.
    basis
        float64 (n, c), orthonormal; the first column is the intercept.

    Notes
    -----
    One thread, so that the bits are those of any machine's number of cores. Memory: three times the kinship;
    time: see the documentation.
    """
    n, c = basis.shape
    with threadpool_limits(1):
        products = blas.dsymm(1.0, kinship, np.asfortranarray(basis), lower=0)
        inner = basis.T @ products
        centred = float(np.trace(kinship)) - inner[0, 0]
        # the covariates' own eigenvalues go below all others, so that they are known by their place
        shift = max(centred / n, np.finfo(float).tiny)
        right = products - basis @ (inner / 2) + basis * (shift / 2)
        blas.dsyr2k(
            -1.0,
            np.asfortranarray(basis),
            np.asfortranarray(right),
            beta=1.0,
            c=kinship,
            lower=0,
            overwrite_c=1,
        )
        driver: Literal["evd", "evr"] = "evd" if n <= _LARGEST_DIVIDED else "evr"
        values, vectors = eigh(kinship, lower=False, overwrite_a=True, check_finite=False, driver=driver)
        delta, vectors = np.maximum(values[c:], 0.0), np.asfortranarray(vectors[:, c:])
        restricted = _series(lambda t: _log_determinant(delta, t))
        full = restricted
        if c > 1:
            cross = vectors.T @ products[:, 1:]
            full = _series(lambda t: _log_determinant(delta, t) + _complement(delta, cross, inner[1:, 1:], t))
    return Spectrum(vectors, delta, centred / n, restricted, full)


def _log_determinant(delta: Float, t: float) -> float:
    return float(np.log1p(np.exp(t) * delta).sum())


def _complement(delta: Float, cross: Float, inner: Float, t: float) -> float:
    """Return what log |I + lambda K| has over log |I + lambda MKM|.

    `cross` is U'KQ, `inner` Q'KQ. Schur's complement I + lambda (Q'KQ - lambda B' diag(1 / h) B) is written
    with lambda / h = (1 - 1 / h) / delta: its large terms then cancel once and not for each lambda.
    """
    ratio = np.exp(t)
    known = delta > 1e-12 * delta.max(initial=0.0)
    scaled = cross[known] / np.sqrt(delta[known])[:, None]
    rest = inner - scaled.T @ scaled
    h = 1 + ratio * delta[known]
    complement = np.eye(len(inner)) + ratio * (rest + scaled.T @ (scaled / h[:, None]))
    return float(np.linalg.slogdet(complement)[1])


def _series(function: Callable[[float], float]) -> Float:
    """Return the Chebyshev series of a function of log lambda, and of its derivatives."""
    ends = [np.log(SMALLEST), np.log(LARGEST)]
    found = Chebyshev.interpolate(lambda t: np.array([function(x) for x in t]), _DEGREE, domain=ends)
    out = np.zeros((3, _DEGREE + 1))
    for k in range(3):
        coefficients = found.deriv(k).coef if k else found.coef
        out[k, : len(coefficients)] = coefficients
    return out


@dataclass(frozen=True)
class Null:
    """A trait's model without a variant.

    Attributes
    ----------
    ratio, ratio_full
        lambda by restricted and by full likelihood.
    full_likelihood
        Logarithm of the full likelihood at `ratio_full`, to the constant of `kernels.mixed`.
    pve, pve_se
        Share of variance that the kinship explains, and its standard error (NaN at a bound of lambda).
    """

    ratio: float
    ratio_full: float
    full_likelihood: float
    pve: float
    pve_se: float


def fit_null(spectrum: Spectrum, trait: Float) -> Null:
    """Fit the model without a variant to a rotated trait, float64 (n - c,)."""
    m, n = len(trait), spectrum.n_samples
    restricted, _ = _maximise(spectrum.delta, trait, spectrum.restricted, m)
    full, likelihood = _maximise(spectrum.delta, trait, spectrum.full, n)
    ratio, mean = np.exp(restricted), spectrum.mean_eigenvalue
    _, slope, curvature = _likelihood(spectrum.delta, trait, spectrum.restricted, m, restricted)
    second = (curvature - slope) / ratio**2  # by lambda itself
    is_bound = restricted in grid()[[0, -1]]
    error = np.sqrt(-1 / second) if second < 0 and not is_bound else np.nan
    total = mean * ratio + 1
    pve, pve_se = mean * ratio / total, mean / total**2 * error
    return Null(float(ratio), float(np.exp(full)), likelihood, float(pve), float(pve_se))


def _likelihood(delta: Float, trait: Float, series: Float, nu: int, t: float) -> tuple[float, float, float]:
    """Return the log likelihood without a variant at log lambda = t, and its two derivatives."""
    v = 1 / (1 + np.exp(t) * delta)
    u = 1 - v
    weight = trait**2 * v
    d, first, second = weight.sum(), -(weight * u).sum(), -(weight * u * (1 - 2 * u)).sum()
    x = (2 * t - np.log(LARGEST) - np.log(SMALLEST)) / np.log(LARGEST / SMALLEST)
    logs = [np.polynomial.chebyshev.chebval(x, row) for row in series]
    return (
        float(-(logs[0] + nu * np.log(d)) / 2),
        float(-(logs[1] + nu * first / d) / 2),
        float(-(logs[2] + nu * (second / d - (first / d) ** 2)) / 2),
    )


def _maximise(delta: Float, trait: Float, series: Float, nu: int) -> tuple[float, float]:
    """Return where the likelihood without a variant has its maximum, and it."""
    points = grid()
    slopes = [_likelihood(delta, trait, series, nu, t)[1] for t in points]
    candidates = [points[0], points[-1]]
    for k in range(REGIONS):
        if slopes[k] > 0 >= slopes[k + 1]:
            found = brentq(
                lambda t: _likelihood(delta, trait, series, nu, t)[1], points[k], points[k + 1], xtol=1e-12
            )
            candidates.append(float(found))
    values = [_likelihood(delta, trait, series, nu, t)[0] for t in candidates]
    best = int(np.argmax(values))
    return candidates[best], values[best]


def submatrix(gram: Float, used: NDArray[np.bool_], count: int, *, keep: bool) -> Float:
    """Return the kinship of some samples, Fortran order, upper triangle, from sums over `count` variants.

    `gram` is in C order, its lower triangle; where all samples are used and it is not kept, it is the result.
    """
    if used.all() and not keep:
        gram /= count
        return gram.T
    index = np.flatnonzero(used)
    out = np.empty((len(index), len(index)))
    for a, b in ranges(len(index), _STRIP):
        out[a:b] = gram[index[a:b]][:, index]
    out /= count
    return out.T
