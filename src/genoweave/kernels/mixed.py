"""The likelihood of a mixed model's variance ratio, one variant at a time, and its maximum.

In the eigenbasis of the kinship the samples are independent: with lambda the ratio of genetic to residual
variance and delta an eigenvalue, h = 1 + lambda delta is a sample's variance. Of a variant x and a trait y,
both rotated and free of covariates, a = sum x^2 / h, b = sum x y / h, d = sum y^2 / h, and r = d - b^2 / a
is the residual sum of squares. To a constant the logarithm of the likelihood is

    -1/2 (L + alpha log a + nu log r)

with L the log determinant, alpha 1 and nu = n - c - 1 for restricted likelihood, 0 and n for the full one
[1]. It is a function of t = log lambda here. With u = lambda delta / h the derivative of 1 / h is -u / h, the
second -u (1 - 2 u) / h.

[1] Zhou and Stephens 2012, Nat. Genet. 44:821, supplementary note.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel

# A step of log lambda below this is the last one: Newton's method has squared the error before.
_LAST_STEP = 1e-7
_MOST_STEPS = 100


@kernel
def series(coefficients, x):
    """Sum of Chebyshev polynomials at x in [-1, 1], Clenshaw's way."""
    one = two = 0.0
    for k in range(coefficients.shape[0] - 1, 0, -1):
        one, two = coefficients[k] + 2 * x * one - two, one
    return coefficients[0] + x * one - two


@kernel
def _sums(x, y, delta, ratio, out):
    """out[i] = a, b, d; their derivatives; their second derivatives by log lambda."""
    a0 = a1 = a2 = b0 = b1 = b2 = d0 = d1 = d2 = 0.0
    for i in range(x.shape[0]):
        v = 1 / (1 + ratio * delta[i])
        u = 1 - v
        first = v * u
        second = first * (1 - 2 * u)
        xx, xy, yy = x[i] * x[i], x[i] * y[i], y[i] * y[i]
        a0 += xx * v
        a1 += xx * first
        a2 += xx * second
        b0 += xy * v
        b1 += xy * first
        b2 += xy * second
        d0 += yy * v
        d1 += yy * first
        d2 += yy * second
    out[0], out[1], out[2] = a0, b0, d0
    out[3], out[4], out[5] = -a1, -b1, -d1
    out[6], out[7], out[8] = -a2, -b2, -d2


@kernel
def _derivatives(sums, alpha, nu):
    """Residual sum of squares, value, slope and curvature of alpha log a + nu log r."""
    a, b, d, a1, b1, d1, a2, b2, d2 = sums
    beta = b / a
    r = max(d - b * beta, 1e-30 * d)  # nothing may be left
    # beta' = (b' - beta a') / a
    change = (b1 - beta * a1) / a
    r1 = d1 - 2 * b1 * beta + beta * beta * a1
    r2 = d2 - 2 * b2 * beta + beta * beta * a2 - 2 * a * change * change
    value = alpha * np.log(a) + nu * np.log(r)
    slope = alpha * a1 / a + nu * r1 / r
    curvature = alpha * (a2 / a - (a1 / a) ** 2) + nu * (r2 / r - (r1 / r) ** 2)
    return r, value, slope, curvature


@kernel
def _climb(x, y, delta, low, high, start, span, determinant, alpha, nu, sums):
    """Maximum of the likelihood between low, where it rises, and high, where it falls: value and r."""
    t = start if low < start < high else (low + high) / 2
    best = r = np.nan
    for _ in range(_MOST_STEPS):
        _sums(x, y, delta, np.exp(t), sums)
        place = (2 * t - span[0] - span[1]) / (span[1] - span[0])
        r, value, slope, curvature = _derivatives(
            (sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7], sums[8]), alpha, nu
        )
        best = -(series(determinant[0], place) + value) / 2
        slope = -(series(determinant[1], place) + slope) / 2
        curvature = -(series(determinant[2], place) + curvature) / 2
        if slope > 0:
            low = t
        else:
            high = t
        step = -slope / curvature if curvature < 0 else np.inf
        if not low < t + step < high:
            step = (low + high) / 2 - t
        if abs(step) < _LAST_STEP:
            break
        t += step
    return best, r


@kernel
def fit_variants(x, y, delta, grid, slopes, ends, end_sums, start, determinant, alpha, nu, value, sums):
    """Maximise the likelihood of each variant over lambda.

    x
        float64 (variants, dimensions), rotated.
    y, delta
        float64 (dimensions,), the rotated trait and the eigenvalues.
    grid
        float64 (points,), values of log lambda, ascending; the first and last are its bounds.
    slopes
        float64 (variants, points): slopes of the likelihood there. Each change from rising to falling has a
        maximum; NaN where the variant is not to be fitted.
    ends, end_sums
        float64 (variants, 2) and (variants, 2, 3): likelihood, and a, b, d, at the bounds.
    start
        Where log lambda is likely to be: that of the model without a variant.
    determinant
        float64 (3, terms): Chebyshev series over the grid's range of L and its two derivatives.
    alpha, nu
        See above.
    value, sums
        Results float64 (variants,) and (variants, 3): likelihood, and a, b, r.

    A variant takes 3 to 6 passes over the dimensions.
    """
    span = np.array([grid[0], grid[-1]])
    nine = np.empty(9)
    for v in range(x.shape[0]):
        if not np.isfinite(slopes[v, 0]):
            continue
        at = 0 if ends[v, 0] >= ends[v, 1] else 1
        value[v] = ends[v, at]
        sums[v, 0], sums[v, 1] = end_sums[v, at, 0], end_sums[v, at, 1]
        sums[v, 2] = end_sums[v, at, 2] - end_sums[v, at, 1] ** 2 / end_sums[v, at, 0]
        for k in range(grid.shape[0] - 1):
            if not slopes[v, k] > 0 or slopes[v, k + 1] > 0:
                continue
            best, r = _climb(x[v], y, delta, grid[k], grid[k + 1], start, span, determinant, alpha, nu, nine)
            if best > value[v]:
                value[v] = best
                sums[v, 0], sums[v, 1], sums[v, 2] = nine[0], nine[1], r
