"""The score test of a case/control trait on one variant at a time, by sums.

It needs the null model alone, fitted once: with mu its fitted probabilities and w = mu (1 - mu), the sums
g'(y - mu), g'Wc of each covariate c, and g'Wg = g'w + 2 sum of w over homozygotes. These are the integer sums
of `kernels.linear` over packed genotypes. The covariates c are orthogonalised: C'WC = n I over all samples.
What a missing call takes from each of the sums is subtracted, and the score is made orthogonal to that of the
covariates again (Neyman's C(alpha)). `kernels.logistic_fits` has whole fits.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels.cholesky import factor, forward
from genoweave.kernels.linear import COLLINEAR, CONSTANT, COVARIATES, OK, TOO_FEW, missing_products

# Relative to the samples: below this a covariate is a combination of others among a variant's calls.
SINGULAR = 1e-9


@kernel
def homozygotes(codes, out):
    """Turn dosages uint64 (variants, words), 2 bits a sample, into 1 where they are 2 and 0 elsewhere."""
    mask = np.uint64(0x5555555555555555)
    for v in range(codes.shape[0]):
        for w in range(codes.shape[1]):
            out[v, w] = (codes[v, w] >> np.uint64(1)) & mask


@kernel
def _score(n_samples, counts, products, homs, unit, one, sums, n_covariates, max_vif, room):
    """Score test of one variant from its sums; see `score_variants`. Returns beta, se and a code."""
    k = n_covariates
    matrix, lower, g, u = room
    called = n_samples - counts[0]
    total = counts[1] + 2 * counts[2]
    if called < k + 2:
        return np.nan, np.nan, TOO_FEW
    if called * (counts[1] + 4 * counts[2]) == total * total:
        return np.nan, np.nan, CONSTANT
    for i in range(k):
        for j in range(i, k):
            matrix[i, j] = (n_samples if i == j else 0.0) - sums[i, j]
        g[i] = products[i] * unit[i]
        u[i] = -sums[i, k]
    if not factor(matrix, k, SINGULAR * called, lower):
        return np.nan, np.nan, COVARIATES
    squares = (products[0] + 2 * homs) * unit[0] / one
    explained = forward(lower, k, g)
    forward(lower, k, u)
    score = products[k] * unit[k]
    for i in range(k):
        score -= g[i] * u[i]
    variance = squares - explained
    # g[0]^2 is what the intercept, the first covariate, explains
    if not variance * max_vif >= squares - g[0] * g[0]:
        return np.nan, np.nan, COLLINEAR
    return score / variance, 1 / np.sqrt(variance), OK


@kernel
def score_variants(
    n_samples, counts, products, homs, unit, one, flags, rows, row_unit, n_covariates, max_vif, beta, se, code
):
    """Test variants by their sums: beta is the one-step estimate U / V, se is 1 / sqrt(V), z = beta / se.

    n_samples
        Samples that are not left out.
    counts
        int64 (variants, 3): missing, heterozygous, homozygous alternate.
    products
        int64 (variants, covariates + 1): dosage x (w c) of each covariate, first the intercept, then dosage x
        (y - mu); in units of `unit`.
    homs
        int64 (variants,): sum of (w c) of the intercept over homozygotes of the alternate allele.
    one
        The value of the intercept's column.
    flags, rows, row_unit
        Missing calls; int32 (samples, width) times float64 (width,) of sqrt(w) c and (y - mu) / sqrt(w). See
        `kernels.linear.missing_products`.
    beta, se, code
        Results (variants,); NaN where the code is not `OK`.
    """
    n = n_covariates
    sums = np.zeros((beta.shape[0], (n + 7) // 8 * 8, rows.shape[1]))
    missing_products(flags, rows, row_unit, n, sums)
    room = np.empty((n, n)), np.empty((n, n)), np.empty(n), np.empty(n)
    for v in range(beta.shape[0]):
        beta[v], se[v], code[v] = _score(
            n_samples, counts[v], products[v], homs[v], unit, one, sums[v], n, max_vif, room
        )
