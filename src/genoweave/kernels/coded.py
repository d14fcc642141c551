"""Regression on codings of a variant's genotypes by sums: carriers, homozygotes, two columns at once, means.

A coding gives a heterozygote and a homozygote of the counted allele each a number; any of its sums follow
from those of the dosages and those of the homozygotes (`kernels.linear.add_products`). Linear regression and
the score test of logistic regression are the same arithmetic: there the weights W are 1, here mu (1 - mu).
Covariates are orthogonal, C'WC = n I over all samples; what missing calls take away is subtracted, or, if
they count as the mean of the called, that mean's part is added.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels.cholesky import factor, forward
from genoweave.kernels.linear import COLLINEAR, CONSTANT, COVARIATES, OK, TOO_FEW
from genoweave.kernels.logistic import SINGULAR


@kernel
def _is_constant(counts, het, hom, called):
    total = het * counts[1] + hom * counts[2]
    return called * (het * het * counts[1] + hom * hom * counts[2]) == total * total


@kernel
def _column(products, homs, het, hom, unit, sums, one, mean, n, x):
    """Write the coded genotype's products with n columns; missing calls count as `mean`."""
    for i in range(n):
        x[i] = (het * (products[i] - 2 * homs[i]) + hom * homs[i]) * unit[i] + mean * sums[0, i] / one


@kernel
def _reduce(
    n_samples,
    counts,
    products,
    homs,
    unit,
    one,
    sums,
    n_covariates,
    coding,
    impute,
    max_vif,
    room,
    score,
    information,
    rest,
):
    """Reduce one variant; see `reduce_variants`. Returns a code."""
    k, d, n_traits = n_covariates, coding.shape[1], score.shape[0]
    matrix, lower, x, u = room
    called = n_samples - counts[0]
    if called == 0 or (n_samples if impute else called) < k + d + 1:
        return TOO_FEW
    for c in range(d):
        if _is_constant(counts, coding[0, c], coding[1, c], called):
            return CONSTANT if c == 0 else COLLINEAR
    for i in range(k):
        for j in range(i, k):
            matrix[i, j] = (n_samples if i == j else 0.0) - (0.0 if impute else sums[i, j])
    if not factor(matrix, k, SINGULAR * called, lower):
        return COVARIATES
    homozygous = homs[0] * unit[0] / one
    heterozygous = (products[0] - 2 * homs[0]) * unit[0] / one
    spread = np.empty(d)
    for c in range(d):
        mean = (coding[0, c] * counts[1] + coding[1, c] * counts[2]) / called if impute else 0.0
        _column(products, homs, coding[0, c], coding[1, c], unit, sums, one, mean, k + n_traits, x[c])
        forward(lower, k, x[c])
        for e in range(c + 1):
            total = coding[0, c] * coding[0, e] * heterozygous + coding[1, c] * coding[1, e] * homozygous
            other = (coding[0, e] * counts[1] + coding[1, e] * counts[2]) / called if impute else 0.0
            total += mean * other * sums[0, 0] / (one * one)
            if e == c:  # x[0]^2 is what the intercept, the first covariate, explains
                spread[c] = total - x[c, 0] * x[c, 0]
            for i in range(k):
                total -= x[c, i] * x[e, i]
            information[c, e] = information[e, c] = total
    for c in range(d):
        own = information[c, c]
        if d == 2:
            if not information[1 - c, 1 - c] > 0:
                return COLLINEAR
            own -= information[0, 1] ** 2 / information[1 - c, 1 - c]
        if not own * max_vif >= spread[c]:
            return COLLINEAR
    for t in range(n_traits):
        for i in range(k):
            u[i] = 0.0 if impute else -sums[i, k + t]
        explained = forward(lower, k, u)
        for c in range(d):
            score[t, c] = x[c, k + t]
            for i in range(k):
                score[t, c] -= x[c, i] * u[i]
        rest[t] = n_samples - explained
        if not impute and k + n_traits + t < sums.shape[1]:
            rest[t] -= sums[0, k + n_traits + t]
    return OK


@kernel
def reduce_variants(
    n_samples,
    counts,
    products,
    homs,
    unit,
    one,
    sums,
    n_covariates,
    coding,
    impute,
    max_vif,
    score,
    information,
    rest,
    code,
):
    """Take the covariates out of coded genotypes and traits, by sums.

    n_samples
        Samples that are not left out.
    counts
        int64 (variants, 3): missing, heterozygous, homozygous alternate.
    products, homs
        int64 (variants, covariates + traits): sums of W times covariate, the intercept first, and of the
        residual traits, over dosages; over homozygotes of the alternate allele. In units of `unit`.
    one
        The value of the intercept's column.
    sums
        float64 (variants, rows, width): see `kernels.linear.missing_products`; its columns are covariates,
        traits, and in linear regression the traits' squares.
    coding
        float64 (2, d), d of 1 or 2: numbers of a heterozygote and of a homozygote.
    impute
        Whether a missing call counts as the mean of the called.
    score
        float64 (variants, traits, d): the coded genotypes' products with the traits.
    information
        float64 (variants, d, d): their products with each other.
    rest
        float64 (variants, traits): the traits' squared lengths (of linear regression only).
    code
        uint8 (variants,); where it is not `OK` the others mean nothing.
    """
    k = n_covariates
    n = k + score.shape[1]
    room = np.empty((k, k)), np.empty((k, k)), np.empty((coding.shape[1], n)), np.empty(k)
    for v in range(code.shape[0]):
        code[v] = _reduce(
            n_samples,
            counts[v],
            products[v],
            homs[v],
            unit,
            one,
            sums[v],
            k,
            coding,
            impute,
            max_vif,
            room,
            score[v],
            information[v],
            rest[v],
        )
