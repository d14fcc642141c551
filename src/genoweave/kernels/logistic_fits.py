"""Whole logistic fits of one variant at a time: Wald, Firth and likelihood ratio.

They iterate over the samples of one variant; their sums have a fixed order.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels.cholesky import backward, factor, forward
from genoweave.kernels.linear import OK, address
from genoweave.kernels.linear_tiles import add_outer

NOT_CONVERGED = 6
SCORE, WALD, FIRTH, LINEAR, LRT, FIRTH_LRT = range(6)

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
                leverage = forward(lower, n_columns, scratch) * weight
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
def _maximise(design, columns, case, dosage, penalised, free, beta, room):
    """Newton's method from `beta`, in place, over its first `free` coefficients; the others stay.

    Returns whether it converged, the genotype's standard error (where all are free), and the log likelihood,
    Firth's penalised one if asked. A step that lowers it is halved. Firth's penalty is always that of the
    whole model [R package logistf].
    """
    mu, hessian, lower, slope, gradient, spans, step = room
    n_columns = columns.shape[0] + 1
    factored = n_columns if penalised else free
    before = -np.inf
    steps = halvings = 0
    while steps < (_MOST_FIRTH_STEPS if penalised else _MOST_STEPS):
        likelihood = _evaluate(design, columns, case, dosage, beta, mu, hessian, gradient, spans)
        possible = factor(hessian, factored, 0.0, lower)
        if possible and penalised:
            likelihood += _log_determinant(lower, n_columns) / 2
        if not possible or likelihood < before - 1e-9 * abs(before):
            halvings += 1
            if halvings > _MOST_HALVINGS or before == -np.inf:
                return False, np.nan, np.nan
            for j in range(free):
                step[j] *= 0.5
                beta[j] -= step[j]
            continue
        before, halvings = likelihood, 0
        steps += 1
        # the genotype is the last row: the inverse of the pivot is the root of the inverse's diagonal
        error = 1 / lower[factored - 1, factored - 1]
        if penalised:
            _add_hats(design, n_columns, dosage, mu, lower, gradient, hessian, spans, step)
            if not factor(hessian, free, 0.0, slope):
                return False, np.nan, np.nan
        else:
            slope[:] = lower
        decrement = forward(slope, free, gradient)
        backward(slope, free, gradient)
        if not np.isfinite(decrement):
            return False, np.nan, np.nan
        longest = _LONGEST_STEP
        for j in range(free):
            longest = max(longest, abs(gradient[j]))
        for j in range(free):
            step[j] = gradient[j] * (_LONGEST_STEP / longest)
            beta[j] += step[j]
        if decrement < (_FIRTH_DECREMENT if penalised else _DECREMENT):
            return True, error, likelihood
    return False, np.nan, np.nan


@kernel
def _has_empty_cell(case, dosage, largest):
    """Tell whether cases or controls lack 0 or lack more than it in dosages up to `largest`.

    Of copies: lack one of the two alleles; of carriers: are none, or are all. The maximum may be infinite.
    A missing call at the mean, no whole number, fills no cell: the maximum would be finite by it alone.
    """
    cells = np.zeros((2, 2))
    for s in range(case.shape[0]):
        if dosage[s] >= 0 and dosage[s] == np.floor(dosage[s]):
            status = 1 if case[s] > 0.5 else 0
            cells[status, 1] += dosage[s]
            cells[status, 0] += largest - dosage[s]
    return cells[0, 0] == 0 or cells[0, 1] == 0 or cells[1, 0] == 0 or cells[1, 1] == 0


@kernel
def _likelihood_ratio(design, columns, case, dosage, start, penalised, free, full, beta, room):
    """Twice the log likelihood `full` over that with the coefficients from `free` on at 0; NaN if none."""
    beta[:] = start
    beta[free:] = 0.0
    converged, _, likelihood = _maximise(design, columns, case, dosage, penalised, free, beta, room)
    return max(2 * (full - likelihood), 0.0) if converged else np.nan


@kernel
def _rooms(n, width, n_columns):
    """Scratch of `_maximise`; its third is where the information's Cholesky factor stands."""
    lower, slope = np.empty((n_columns, n_columns)), np.empty((n_columns, n_columns))
    spans = np.empty((_SPAN, width)), np.empty(_SPAN), np.empty(_SPAN), np.empty(_SPAN)
    return np.empty(n), np.empty((width, width)), lower, slope, np.empty(width), spans, np.empty(width)


@kernel
def _fit(design, columns, case, dosage, start, test, largest, beta, room):
    """Fit one model by Newton's method, or by Firth's where that has no maximum or `test` is `FIRTH`.

    Returns whether it converged, whether it is Firth's, the genotype's standard error, the log likelihood.
    """
    n_columns = columns.shape[0] + 1
    if test != FIRTH and not _has_empty_cell(case, dosage, largest):
        beta[:] = start
        converged, error, full = _maximise(design, columns, case, dosage, False, n_columns, beta, room)
        if converged:
            return True, False, error, full
    beta[:] = start
    converged, error, full = _maximise(design, columns, case, dosage, True, n_columns, beta, room)
    return converged, True, error, full


@kernel
def fit_variants(design, columns, case, dosages, start, test, largest, beta, se, statistic, code, method):
    """Fit whole logistic models, one a variant: Wald, and Firth where that has no maximum.

    design
        float64 (samples, width), width a multiple of 8: the covariates with the intercept, then at least two
        columns of zeros.
    columns
        float64 (covariates, samples): the same, column by column.
    case
        float64 (samples,), 0 or 1.
    dosages
        int8 or float64 (variants, samples), from 0 to `largest`; negative is missing.
    start
        float64 (covariates + 1,): coefficients of the model without the genotype, then 0.
    test
        `WALD`; `FIRTH`, where Wald is not tried; or `LRT`.
    largest
        The highest dosage: 2 of copies, 1 of carriers.
    beta, se, statistic, code, method
        Results (variants,), of those whose code was `OK`. The statistic is beta / se, or the root of the
        likelihood ratio with beta's sign. The method is `WALD` or `FIRTH`, or `LRT` or `FIRTH_LRT`.

    A Wald fit takes 4 to 6 passes over the samples, Firth 5 to 30; a likelihood ratio 1 to 3, or 5 to 30,
    more.
    """
    n_columns = columns.shape[0] + 1
    room = _rooms(design.shape[0], design.shape[1], n_columns)
    b = np.empty(n_columns)
    for v in range(dosages.shape[0]):
        if code[v] != OK:
            continue
        converged, is_firth, error, full = _fit(
            design, columns, case, dosages[v], start, test, largest, b, room
        )
        method[v] = FIRTH if is_firth else WALD
        beta[v] = b[n_columns - 1] if converged else np.nan
        se[v] = error
        statistic[v] = beta[v] / error
        if converged and test == LRT:
            method[v] = FIRTH_LRT if is_firth else LRT
            ratio = _likelihood_ratio(
                design, columns, case, dosages[v], start, is_firth, n_columns - 1, full, b, room
            )
            converged = not np.isnan(ratio)
            statistic[v] = np.sqrt(ratio) if beta[v] >= 0 else -np.sqrt(ratio)
        if not converged:
            code[v] = NOT_CONVERGED
            beta[v] = se[v] = statistic[v] = np.nan


@kernel
def fit_pairs(
    design, columns, case, dosages, others, start, test, largest, beta, variance, square, code, method
):
    """Fit whole logistic models with two columns of a variant's genotypes, and test them together.

    design, columns, case, start
        As of `fit_variants`, with room for one more: the second genotype's column is the last of `columns`
        and the place after the covariates in `design`, both overwritten; `start` has two zeros.
    dosages, others
        (variants, samples): the first genotype column, from 0 to `largest`; the second.
    test, largest
        See `fit_variants`.
    beta, variance
        float64 (variants, 2) and (variants, 2, 2), of first and second column.
    square
        float64 (variants,): chi-squared with 2 degrees of freedom, Wald's or the likelihood ratio.
    """
    n, k = design.shape[0], columns.shape[0] - 1
    room = _rooms(n, design.shape[1], k + 2)
    lower = room[2]
    b = np.empty(k + 2)
    for v in range(dosages.shape[0]):
        if code[v] != OK:
            continue
        for s in range(n):
            design[s, k] = columns[k, s] = others[v, s]
        converged, is_firth, error, full = _fit(
            design, columns, case, dosages[v], start, test, largest, b, room
        )
        method[v] = FIRTH if is_firth else WALD
        if converged:
            # the last two rows of the factor are that of the pair's own information
            p, q, r = lower[k, k], lower[k + 1, k], lower[k + 1, k + 1]
            second, first = b[k], b[k + 1]
            beta[v, 0], beta[v, 1] = first, second
            variance[v, 0, 0] = error * error
            variance[v, 0, 1] = variance[v, 1, 0] = -q / (p * r * r)
            variance[v, 1, 1] = (1 + (q / r) ** 2) / (p * p)
            square[v] = (p * second + q * first) ** 2 + (r * first) ** 2
            if test == LRT:
                method[v] = FIRTH_LRT if is_firth else LRT
                square[v] = _likelihood_ratio(
                    design, columns, case, dosages[v], start, is_firth, k, full, b, room
                )
                converged = not np.isnan(square[v])
        if not converged:
            code[v] = NOT_CONVERGED
            beta[v] = np.nan
            variance[v] = np.nan
            square[v] = np.nan
