"""Logistic regression of a case/control trait on one variant at a time: score test by sums, Wald and Firth.

The score test needs the null model alone, fitted once: with mu its fitted probabilities and w = mu (1 - mu),
the sums g'(y - mu), g'Wc of each covariate c, and g'Wg = g'w + 2 sum of w over homozygotes. These are the
integer sums of `kernels.linear` over packed genotypes. The covariates c are orthogonalised: C'WC = n I over
all samples. What a missing call takes from each of the sums is subtracted, and the score is made orthogonal
to that of the covariates again (Neyman's C(alpha)).

Wald and Firth fits iterate over the samples of one variant; their sums have a fixed order.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels.linear import COLLINEAR, CONSTANT, COVARIATES, OK, TOO_FEW, address, missing_products
from genoweave.kernels.linear_tiles import add_outer

NOT_CONVERGED = 6
SCORE, WALD, FIRTH = range(3)

# Relative to the samples: below this a covariate is a combination of others among a variant's calls.
_SINGULAR = 1e-9
# Samples whose weighted rows are together in the L1 or L2 cache.
_SPAN = 256
# Newton's decrement (a step's squared length in standard errors) below which the step is the last one. The
# step after would be its square: below 1e-9 standard errors.
_DECREMENT = 1e-10
# Where the maximum is infinite the decrement falls by e a step: it does not get there in so many.
_MOST_STEPS = 15
_MOST_HALVINGS = 20
_FIRTH_DECREMENT = 1e-12
_MOST_FIRTH_STEPS = 200
# Longest step of a coefficient (log odds ratio), as in the R package logistf.
_LONGEST_STEP = 5.0


@kernel
def homozygotes(codes, out):
    """Turn dosages uint64 (variants, words), 2 bits a sample, into 1 where they are 2 and 0 elsewhere."""
    mask = np.uint64(0x5555555555555555)
    for v in range(codes.shape[0]):
        for w in range(codes.shape[1]):
            out[v, w] = (codes[v, w] >> np.uint64(1)) & mask


@kernel
def _factor(matrix, n, smallest, lower):
    """Cholesky factor of the first n rows of a matrix given by its upper triangle; False if singular."""
    for i in range(n):
        for j in range(i + 1):
            total = matrix[j, i]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = total / lower[j, j]
            elif total > smallest:
                lower[i, i] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def _forward(lower, n, x):
    """Solve lower z = x in place; return z'z."""
    square = 0.0
    for i in range(n):
        total = x[i]
        for k in range(i):
            total -= lower[i, k] * x[k]
        x[i] = total / lower[i, i]
        square += x[i] * x[i]
    return square


@kernel
def _backward(lower, n, x):
    """Solve lower' z = x in place."""
    for i in range(n - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, n):
            total -= lower[k, i] * x[k]
        x[i] = total / lower[i, i]


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
    if not _factor(matrix, k, _SINGULAR * called, lower):
        return np.nan, np.nan, COVARIATES
    squares = (products[0] + 2 * homs) * unit[0] / one
    explained = _forward(lower, k, g)
    _forward(lower, k, u)
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


@kernel
def _add_scaled(column, factor, eta):
    for i in range(eta.shape[0]):
        eta[i] += factor * column[i]


@kernel
def _predict(columns, dosage, beta, a, eta):
    """Linear predictor of the samples from `a` on; column by column, for that is whole vectors."""
    last = columns.shape[0]
    for i in range(eta.shape[0]):
        eta[i] = beta[last] * dosage[i]
    for j in range(last):
        _add_scaled(columns[j, a : a + eta.shape[0]], beta[j], eta)


@kernel
def _probabilities(eta, case, dosage, mu, root, ratio):
    """Probabilities, root of the weights, residual over root of some samples; returns the log likelihood."""
    likelihood = 0.0
    product = 1.0
    for i in range(eta.shape[0]):
        mu[i] = 1 / (1 + np.exp(-eta[i]))
    for i in range(eta.shape[0]):
        called = 1.0 if dosage[i] >= 0 else 0.0
        weight = np.sqrt(max(mu[i] * (1 - mu[i]), 1e-200))
        root[i] = called * weight
        ratio[i] = called * (case[i] - mu[i]) / weight
    for i in range(eta.shape[0]):
        if dosage[i] >= 0:
            product *= max(1 - abs(case[i] - mu[i]), 1e-100)
            if product < 1e-150:
                likelihood += np.log(product)
                product = 1.0
    return likelihood + np.log(product)


@kernel
def _scale_rows(design, dosage, root, ratio, last, rows):
    for i in range(root.shape[0]):
        x, row, factor = design[i], rows[i], root[i]
        for j in range(row.shape[0]):
            row[j] = factor * x[j]
        row[last] = factor * dosage[i]
        row[-1] = ratio[i]


@kernel
def _add_span(rows, n, n_columns, out):
    """Add the products of the first n rows."""
    stride = np.uint64(8 * rows.shape[1])
    for p in range(0, n_columns, 8):
        for q in range(p, rows.shape[1], 8):
            place = address(out[p, q:])
            add_outer(address(rows), stride, np.uint64(n), np.uint64(p), np.uint64(q), place, stride, 8)


@kernel
def _evaluate(design, columns, case, dosage, beta, mu, hessian, gradient, room):
    """Probabilities, information and score of a logistic model at `beta`; returns the log likelihood.

    `design` and `columns` as `fit_variants` has them; the genotype takes the first free column, the residual
    the last. Samples without a call (dosage < 0) count for nothing.
    """
    width, last = design.shape[1], columns.shape[0]
    n_columns = last + 1
    rows, eta, root, ratio = room
    hessian[:] = 0.0
    likelihood = 0.0
    for a in range(0, design.shape[0], _SPAN):
        b = min(a + _SPAN, design.shape[0])
        n = b - a
        _predict(columns, dosage[a:b], beta, a, eta[:n])
        likelihood += _probabilities(eta[:n], case[a:b], dosage[a:b], mu[a:b], root[:n], ratio[:n])
        _scale_rows(design[a:b], dosage[a:b], root[:n], ratio[:n], last, rows)
        _add_span(rows, n, n_columns, hessian)
    for j in range(n_columns):
        gradient[j] = hessian[j, width - 1]
    return likelihood


@kernel
def _add_hats(design, n_columns, dosage, mu, lower, gradient, augmented, room, scratch):
    """Add Firth's term to the score: (1/2 - mu) times each sample's leverage h.

    `augmented` becomes the information with weights (1 + h) w, which is Firth's score's slope where h stays;
    a step by the information alone would be twice too long at a variant with one carrier.
    """
    width, last = design.shape[1], n_columns - 1
    rows, _, root, ratio = room
    augmented[:] = 0.0
    for a in range(0, design.shape[0], _SPAN):
        b = min(a + _SPAN, design.shape[0])
        for i in range(b - a):
            s = a + i
            root[i] = ratio[i] = 0.0
            if dosage[s] >= 0:
                for j in range(last):
                    scratch[j] = design[s, j]
                scratch[last] = dosage[s]
                weight = max(mu[s] * (1 - mu[s]), 1e-200)
                leverage = _forward(lower, n_columns, scratch) * weight
                root[i] = np.sqrt((1 + leverage) * weight)
                ratio[i] = leverage * (0.5 - mu[s]) / root[i]
        _scale_rows(design[a:b], dosage[a:b], root[: b - a], ratio[: b - a], last, rows)
        _add_span(rows, b - a, n_columns, augmented)
    for j in range(n_columns):
        gradient[j] += augmented[j, width - 1]


@kernel
def _log_determinant(lower, n):
    total = 0.0
    for i in range(n):
        total += 2 * np.log(lower[i, i])
    return total


@kernel
def _maximise(design, columns, case, dosage, penalised, beta, room):
    """Newton's method from `beta`, in place; True if it converged, and the genotype's standard error.

    A step that lowers the likelihood, Firth's penalised one if asked, is halved.
    """
    mu, hessian, lower, slope, gradient, spans, step = room
    n_columns = columns.shape[0] + 1
    before = -np.inf
    steps = halvings = 0
    while steps < (_MOST_FIRTH_STEPS if penalised else _MOST_STEPS):
        likelihood = _evaluate(design, columns, case, dosage, beta, mu, hessian, gradient, spans)
        possible = _factor(hessian, n_columns, 0.0, lower)
        if possible and penalised:
            likelihood += _log_determinant(lower, n_columns) / 2
        if not possible or likelihood < before - 1e-9 * abs(before):
            halvings += 1
            if halvings > _MOST_HALVINGS or before == -np.inf:
                return False, np.nan
            for j in range(n_columns):
                step[j] *= 0.5
                beta[j] -= step[j]
            continue
        before, halvings = likelihood, 0
        steps += 1
        # the genotype is the last row: the inverse of the pivot is the root of the inverse's diagonal
        error = 1 / lower[n_columns - 1, n_columns - 1]
        if penalised:
            _add_hats(design, n_columns, dosage, mu, lower, gradient, hessian, spans, step)
            if not _factor(hessian, n_columns, 0.0, slope):
                return False, np.nan
        else:
            slope[:] = lower
        decrement = _forward(slope, n_columns, gradient)
        _backward(slope, n_columns, gradient)
        if not np.isfinite(decrement):
            return False, np.nan
        longest = _LONGEST_STEP
        for j in range(n_columns):
            longest = max(longest, abs(gradient[j]))
        for j in range(n_columns):
            step[j] = gradient[j] * (_LONGEST_STEP / longest)
            beta[j] += step[j]
        if decrement < (_FIRTH_DECREMENT if penalised else _DECREMENT):
            return True, error
    return False, np.nan


@kernel
def _has_empty_cell(case, dosage):
    """Tell whether cases or controls lack one of the two alleles: the maximum may be infinite."""
    cells = np.zeros((2, 2), np.int64)
    for s in range(case.shape[0]):
        if dosage[s] >= 0:
            status = 1 if case[s] > 0.5 else 0
            cells[status, 1] += dosage[s]
            cells[status, 0] += 2 - dosage[s]
    return cells[0, 0] == 0 or cells[0, 1] == 0 or cells[1, 0] == 0 or cells[1, 1] == 0


@kernel
def fit_variants(design, columns, case, dosages, start, always_firth, beta, se, code, method):
    """Fit whole logistic models, one a variant: Wald, and Firth where that has no maximum.

    design
        float64 (samples, width), width a multiple of 8: the covariates with the intercept, then at least two
        columns of zeros.
    columns
        float64 (covariates, samples): the same, column by column.
    case
        float64 (samples,), 0 or 1.
    dosages
        int8 (variants, samples), -1 missing.
    start
        float64 (covariates + 1,): coefficients of the model without the genotype, then 0.
    always_firth
        Whether Wald is not tried.
    beta, se, code, method
        Results (variants,), of those whose code was `OK`; the method is `WALD` or `FIRTH`.

    A Wald fit takes 4 to 6 passes over the samples, Firth 5 to 30.
    """
    n, width = design.shape
    n_columns = columns.shape[0] + 1
    lower, slope = np.empty((n_columns, n_columns)), np.empty((n_columns, n_columns))
    spans = np.empty((_SPAN, width)), np.empty(_SPAN), np.empty(_SPAN), np.empty(_SPAN)
    room = np.empty(n), np.empty((width, width)), lower, slope, np.empty(width), spans, np.empty(width)
    b = np.empty(n_columns)
    for v in range(dosages.shape[0]):
        if code[v] != OK:
            continue
        converged, error = False, np.nan
        method[v] = WALD
        if not always_firth and not _has_empty_cell(case, dosages[v]):
            b[:] = start
            converged, error = _maximise(design, columns, case, dosages[v], False, b, room)
        if not converged:
            method[v] = FIRTH
            b[:] = start
            converged, error = _maximise(design, columns, case, dosages[v], True, b, room)
        beta[v] = b[n_columns - 1] if converged else np.nan
        se[v] = error
        if not converged:
            code[v] = NOT_CONVERGED
