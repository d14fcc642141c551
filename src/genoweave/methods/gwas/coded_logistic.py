"""Logistic regression on codings of the genotypes, with missing calls left out or at the mean."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.chunks import ranges
from genoweave.genotypes import Source, read_packed, source_of
from genoweave.kernels import coded as kernels
from genoweave.kernels import linear as sums
from genoweave.kernels.logistic_fits import SCORE, fit_pairs, fit_variants
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.gwas.coded import (
    CODINGS,
    Coding,
    blank,
    joint,
    solved,
    square_log10_p,
    sums_of,
)
from genoweave.methods.gwas.fits import ARRAYS, VARIANTS_AT_ONCE, Fits, folded, frequencies, tasks
from genoweave.methods.gwas.logistic import WHOLE_FITS, Null, null_model, worth_fitting, z_log10_p
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.gwas.samples import Trait


def fit_logistic_coded(
    ds: xr.Dataset, traits: list[Trait], covariates: NDArray[np.float64], params: GWAS
) -> list[list[Fits]]:
    """Regress case/control traits on coded genotypes, in one pass.

    Parameters
    ----------
    ds, traits, covariates
        See `fit_logistic`.
    params
        Test, ``coding``, ``missing``.

    Returns
    -------
    list of list of Fits
        Of each trait, the results of `Coding.tests`. A joint test's statistic is chi-squared over its 2
        degrees of freedom, and p is that of chi-squared.

    Notes
    -----
    With ``missing`` ``"mean"`` nothing is approximated: the null model is that of all complete samples.
    Whole fits unpack one variant at a time. Same bits for any chunks and workers.
    """
    source = source_of(ds)
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        nulls = [null_model(trait, covariates, params.max_vif) for trait in traits]
    n_tests = len(CODINGS[params.coding].tests)
    shared = source, nulls, params
    flat = folded("logistic regression", _fit_tile, tasks(source), len(traits) * n_tests, shared)
    return [flat[t : t + n_tests] for t in range(0, len(flat), n_tests)]


def _fit_tile(source: Source, nulls: list[Null], params: GWAS, v0: int, v1: int) -> list[Fits]:
    """Regress all traits on variants v0..v1."""
    packed = read_packed(source, v0, v1)
    out = []
    for null in nulls:
        tables = [Fits.empty(v1 - v0) for _ in CODINGS[params.coding].tests]
        for a, b in ranges(v1 - v0, VARIANTS_AT_ONCE):
            parts = _fit_variants(packed[a:b], null, params)
            for table, part in zip(tables, parts, strict=True):
                table.put(slice(a, b), part)
        out += tables
    return out


def _fit_variants(packed: NDArray[np.uint8], null: Null, params: GWAS) -> list[Fits]:
    """Test a few variants, and fit those again that are worth it."""
    tables = _score_test(packed, null, params)
    rows = worth_fitting(tables[-1], params)
    if not len(rows):
        return tables
    dosages = unpack_dosages(packed[rows], len(null.used))[:, null.used]
    fit = _fit_pairs if len(tables) > 1 else _fit_again
    fit(dosages, rows, null, params, tables)
    return tables


def _score_test(packed: NDArray[np.uint8], null: Null, params: GWAS) -> list[Fits]:
    coding, impute = CODINGS[params.coding], params.missing == "mean"
    m, d, k = len(packed), len(coding.terms), null.n_covariates
    found = sums_of(packed, null.left_out, null.limbs)
    missing = np.zeros((m, -(-k // 8) * 8, null.rows.shape[1]))
    sums.missing_products(found.flags, null.rows, null.row_unit, k, missing)
    score, information, code = np.empty((m, 1, d)), np.empty((m, d, d)), np.empty(m, np.uint8)
    kernels.reduce_variants(
        null.n_samples, found.counts, found.products, found.homs, null.unit, null.one, missing, k,
        coding.weights, impute, params.max_vif, score, information, np.empty((m, 1)), code,
    )  # fmt: skip
    blank(code, score, information)
    beta, inverse = solved(score[:, 0], information)
    called = null.n_samples - found.counts[:, 0]
    frequency = frequencies(found.counts, called)
    used = np.full(m, null.n_samples) if impute else called
    method = np.full(m, SCORE, np.uint8)
    tables = []
    for c in range(d):
        se = np.sqrt(inverse[:, c, c])
        z = beta[:, c] / se
        # tables do not share what whole fits write into
        tables.append(
            Fits(used, frequency, beta[:, c].copy(), se, z, z_log10_p(z), code.copy(), method.copy())
        )
    if d == 2:
        square = (beta * score[:, 0]).sum(axis=1)
        tables.append(joint(tables[0], square / 2, square_log10_p(square)))
    return tables


def _coded(dosage: NDArray[np.int8], coding: Coding, column: int, impute: bool) -> NDArray:
    """Return one variant's dosages (samples,) coded; where missing -1, int8, or the mean, float64."""
    weights = np.array([0, *coding.weights[:, column], -1], np.int8)
    coded = weights[dosage]  # missing, -1, is the last
    if not impute:
        return coded
    called = coded >= 0
    return np.where(called, coded, coded[called].sum() / called.sum())


def _fit_again(
    dosages: NDArray[np.int8], rows: NDArray[np.int64], null: Null, params: GWAS, tables: list[Fits]
) -> None:
    """Replace the score tests of some variants by whole fits."""
    coding, impute = CODINGS[params.coding], params.missing == "mean"
    fits = tables[0]
    part = Fits(*(getattr(fits, name)[rows] for name in ARRAYS))
    largest = int(coding.weights.max())
    for v, dosage in enumerate(dosages):
        one = slice(v, v + 1)
        fit_variants(
            null.design, null.columns, null.case, _coded(dosage, coding, 0, impute)[None], null.start,
            WHOLE_FITS[params.test], largest, part.beta[one], part.se[one], part.statistic[one],
            part.code[one], part.method[one],
        )  # fmt: skip
    part.log10_p[:] = z_log10_p(part.statistic)
    fits.put(rows, part)


def _fit_pairs(
    dosages: NDArray[np.int8], rows: NDArray[np.int64], null: Null, params: GWAS, tables: list[Fits]
) -> None:
    """Do the same with two columns; a likelihood ratio is the joint test's, the terms keep Wald's."""
    coding, impute = CODINGS[params.coding], params.missing == "mean"
    n, k, m = len(null.case), null.n_covariates, len(rows)
    design = np.zeros((n, -(-(k + 3) // 8) * 8))
    design[:, :k] = null.design[:, :k]
    columns = np.vstack([null.columns, np.zeros(n)])
    start, largest = np.append(null.start, 0.0), int(coding.weights[:, 0].max())
    beta, variance, square = np.full((m, 2), np.nan), np.full((m, 2, 2), np.nan), np.full(m, np.nan)
    code, method = tables[-1].code[rows], tables[-1].method[rows]
    for v, dosage in enumerate(dosages):
        one = slice(v, v + 1)
        first, second = (_coded(dosage, coding, c, impute)[None] for c in range(2))
        fit_pairs(
            design, columns, null.case, first, second, start, WHOLE_FITS[params.test], largest, beta[one],
            variance[one], square[one], code[one], method[one],
        )  # fmt: skip
    for c in range(2):
        se = np.sqrt(variance[:, c, c])
        z = beta[:, c] / se
        tables[c].put(
            rows, _replaced(tables[c], rows, beta[:, c], se, z, z_log10_p(z), code=code, method=method)
        )
    none = np.full(m, np.nan)
    log10_p = square_log10_p(square)
    tables[2].put(rows, _replaced(tables[2], rows, none, none, square / 2, log10_p, code=code, method=method))


def _replaced(
    fits: Fits,
    rows: NDArray[np.int64],
    *numbers: NDArray[np.float64],
    code: NDArray[np.uint8],
    method: NDArray[np.uint8],
) -> Fits:
    """Return some variants' results with all but the called and the frequency new."""
    beta, se, statistic, log10_p = numbers
    return Fits(fits.called[rows], fits.frequency[rows], beta, se, statistic, log10_p, code, method)
