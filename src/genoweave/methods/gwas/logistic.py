"""Logistic regression of case/control traits on each variant: score test and whole fits [1, 2].

The null model (covariates alone) is fitted once a trait. The score test of every variant follows from sums
over packed genotypes; see `kernels.logistic`. Samples without a call of the variant are left out, as PLINK 2
does: their part is subtracted from the sums, and the score is corrected for what they did to the null model
by one step (Neyman's C(alpha) test [2]), so that nothing is fitted again.

[1] Firth 1993, Biometrika 80:27; Heinze and Schemper 2002, Stat. Med. 21:2409.
[2] Neyman 1959, in Probability and Statistics (Cramer volume), 213.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr
from threadpoolctl import threadpool_limits

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.genotypes import Source, read_packed, source_of
from genoweave.kernels import linear as sums
from genoweave.kernels import logistic as kernels
from genoweave.kernels import logistic_fits as whole
from genoweave.kernels.linear_tiles import BLOCK, TILE_VARIANTS
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.gwas.fits import ARRAYS, VARIANTS_AT_ONCE, Fits, folded, frequencies, tasks
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.gwas.samples import Trait, complete
from genoweave.methods.linear import fixed_point, left_out, orthonormal

_MOST_STEPS = 25
_DECREMENT = 1e-20
# Weights below this are rounding: the fitted probability is 0 or 1.
_SMALLEST_WEIGHT = 1e-10
# Which whole fit is made of what; score tests are made again by Wald.
WHOLE_FITS = {"score": whole.WALD, "wald": whole.WALD, "firth": whole.FIRTH, "lrt": whole.LRT}


@dataclass(frozen=True)
class Null:
    """The null model of one trait, and its samples and covariates in the kernels' forms.

    Attributes
    ----------
    n_samples, n_covariates
        Samples that are used; covariates with the intercept.
    left_out
        uint64 (words,), both bits set at samples that are not used.
    limbs, unit
        int16 and float64 (covariates + 1,): weighted covariates, residual. See `kernels.linear`.
    rows, row_unit
        int32 (samples, width), float64 (width,), for what missing calls take away.
    one
        Value of the intercept's column.
    used
        bool (samples,).
    design, columns, case, start
        float64 (used, width), (covariates, used), (used,), (covariates + 1,): see
        `kernels.logistic_fits.fit_variants`.
    """

    n_samples: int
    n_covariates: int
    left_out: NDArray[np.uint64]
    limbs: NDArray[np.int16]
    unit: NDArray[np.float64]
    rows: NDArray[np.int32]
    row_unit: NDArray[np.float64]
    one: float
    used: NDArray[np.bool_]
    design: NDArray[np.float64]
    columns: NDArray[np.float64]
    case: NDArray[np.float64]
    start: NDArray[np.float64]


def fit_logistic(
    ds: xr.Dataset, traits: list[Trait], covariates: NDArray[np.float64], params: GWAS
) -> list[Fits]:
    """Regress case/control traits on each variant, in one pass over the genotypes.

    Parameters
    ----------
    ds
        With ``call_genotype`` (variants, samples, ploidy), diploid.
    traits
        Case/control traits.
    covariates
        float64 (samples, covariates) without an intercept; NaN where one is missing.
    params
        Which test, and when it is made again.

    Returns
    -------
    list of Fits
        One a trait.

    Raises
    ------
    DataError
        If a trait has no cases or no controls, covariates separate them, too few samples are complete, or
        covariates are constant or collinear.

    Notes
    -----
    A variant is computed by itself: results are the same bits for any chunks and workers. Memory: 16 MiB of
    packed genotypes a task, and about 24 x (covariates + 6) bytes a sample and trait.
    """
    source = source_of(ds)
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        nulls = [null_model(trait, covariates, params.max_vif) for trait in traits]
    return folded("logistic regression", _fit_tile, tasks(source), len(traits), (source, nulls, params))


def null_model(trait: Trait, covariates: NDArray[np.float64], max_vif: float) -> Null:
    """Fit a trait on the covariates alone."""
    used = complete(trait.values, covariates)
    case = trait.values[used]
    for value, who in ((1, "cases"), (0, "controls")):
        if not (case == value).any():
            raise DataError(
                f"trait {trait.name} has no {who} among its {len(case)} complete samples; check how it is "
                "coded (1 and 2, or 0 and 1), and the missing values of the covariates"
            )
    basis = orthonormal(covariates[used], max_vif)
    beta, lower = _fit_null(trait.name, basis, case)
    n, k = basis.shape
    mu = expit(basis @ beta)
    weight = np.maximum(mu * (1 - mu), _SMALLEST_WEIGHT)
    # columns c with C'WC = n I; the first stays an intercept
    basis = np.sqrt(n) * basis @ np.linalg.inv(lower).T
    root = np.sqrt(weight)
    n_blocks = -(-len(used) // BLOCK)
    fixed, unit = _in_limbs(np.column_stack([basis * weight[:, None], case - mu]), used)
    limbs = np.zeros((k + 1, n_blocks, 8, 2, 32), np.int16)
    sums.split_limbs(fixed, limbs)
    rows, row_unit = _rows(np.column_stack([basis * root[:, None], (case - mu) / root]), used)
    design = np.zeros((n, -(-(k + 2) // 8) * 8))
    design[:, :k] = basis
    start = np.append(lower.T @ beta / np.sqrt(n), 0.0)
    return Null(
        n, k, left_out(used, n_blocks), limbs, unit, rows, row_unit, float(basis[0, 0]), used, design,
        np.ascontiguousarray(basis.T), case, start,
    )  # fmt: skip


def _fit_null(
    name: str, basis: NDArray[np.float64], case: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients, and the Cholesky factor of the information at them."""
    beta = np.zeros(basis.shape[1])
    share = case.mean()
    beta[0] = np.log(share / (1 - share))  # the basis's first column is 1
    for _ in range(_MOST_STEPS):
        mu = expit(basis @ beta)
        weight = np.maximum(mu * (1 - mu), _SMALLEST_WEIGHT)
        lower = np.linalg.cholesky((basis * weight[:, None]).T @ basis)
        step = np.linalg.solve(lower, basis.T @ (case - mu))
        if step @ step < _DECREMENT * len(case):
            return beta, lower
        beta = beta + np.linalg.solve(lower.T, step)
    raise DataError(
        f"trait {name}: the model without variants has no maximum: covariates tell cases from controls "
        "(nearly) without error; leave out the one that does, or combine rare categories"
    )


def _in_limbs(
    values: NDArray[np.float64], used: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return columns for all samples in whole units, and the units."""
    unit = np.abs(values).max(axis=0) / sums.LARGEST
    fixed = np.zeros((len(used), values.shape[1]), np.int32)
    fixed[used] = np.rint(values / unit)
    return fixed, unit


def _rows(
    values: NDArray[np.float64], used: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return rows as `kernels.linear.missing_products` wants them; its first column, 1 there, is free."""
    rows, unit = fixed_point(values, used)
    first = float(np.abs(values[:, 0]).max()) / sums.LARGEST
    rows[used, 0] = np.rint(values[:, 0] / first)
    unit[0] = first
    return rows, unit


def _fit_tile(source: Source, nulls: list[Null], params: GWAS, v0: int, v1: int) -> list[Fits]:
    """Regress all traits on variants v0..v1."""
    packed = read_packed(source, v0, v1)
    out = []
    for null in nulls:
        fits = Fits.empty(v1 - v0)
        for a, b in ranges(v1 - v0, VARIANTS_AT_ONCE):
            fits.put(slice(a, b), _fit_variants(packed[a:b], null, params))
        out.append(fits)
    return out


def _fit_variants(packed: NDArray[np.uint8], null: Null, params: GWAS) -> Fits:
    """Test a few variants, and fit those again that are worth it."""
    fits = Fits.empty(len(packed))
    _score_test(packed, null, params.max_vif, fits)
    fits.log10_p[:] = z_log10_p(fits.beta / fits.se)
    fits.statistic[:] = fits.beta / fits.se
    rows = worth_fitting(fits, params)
    if len(rows):
        _fit_again(packed, rows, null, params, fits)
    fits.log10_p[:] = z_log10_p(fits.statistic)
    return fits


def worth_fitting(fits: Fits, params: GWAS) -> NDArray[np.int64]:
    """Return which score tests are made again: those with a small p, or all if another test is asked for."""
    if params.test != "score":
        return np.flatnonzero(fits.code == sums.OK)
    with np.errstate(divide="ignore"):
        return np.flatnonzero(fits.log10_p < np.log10(params.refine_p))


def _score_test(packed: NDArray[np.uint8], null: Null, max_vif: float, fits: Fits) -> None:
    m = len(packed)
    padded = -(-m // TILE_VARIANTS) * TILE_VARIANTS
    codes = np.empty((padded, len(null.left_out)), np.uint64)
    flags = np.empty((m, len(null.left_out)), np.uint64)
    counts = np.empty((m, 3), np.int64)
    sums.decode_dosages(packed, null.left_out, codes, flags, counts)
    products = np.zeros((padded, len(null.limbs)), np.int64)
    sums.add_products(codes.view(np.uint8), null.limbs, products)
    kernels.homozygotes(codes, codes)
    homs = np.zeros((padded, 1), np.int64)
    sums.add_products(codes.view(np.uint8), null.limbs[:1], homs)
    kernels.score_variants(
        null.n_samples, counts, products, homs[:, 0], null.unit, null.one, flags, null.rows, null.row_unit,
        null.n_covariates, max_vif, fits.beta, fits.se, fits.code,
    )  # fmt: skip
    fits.called[:] = null.n_samples - counts[:, 0]
    fits.frequency[:] = frequencies(counts, fits.called)


def _fit_again(
    packed: NDArray[np.uint8], rows: NDArray[np.int64], null: Null, params: GWAS, fits: Fits
) -> None:
    """Replace the score tests of some variants by whole fits."""
    dosages = np.ascontiguousarray(unpack_dosages(packed[rows], len(null.used))[:, null.used])
    part = Fits(*(getattr(fits, name)[rows] for name in ARRAYS))
    whole.fit_variants(
        null.design, null.columns, null.case, dosages, null.start, WHOLE_FITS[params.test], 2,
        part.beta, part.se, part.statistic, part.code, part.method,
    )  # fmt: skip
    fits.put(rows, part)


def z_log10_p(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log10 of the two-sided normal p of `z`, also far below the smallest float."""
    return np.asarray((log_ndtr(-np.abs(z)) + np.log(2)) / np.log(10))
