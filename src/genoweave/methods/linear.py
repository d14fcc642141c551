"""Linear regression of quantitative traits on each variant, with covariates and exact missingness [1].

trait = b g + covariates + intercept, over the samples that have trait, covariates and a call of the variant,
as PLINK 2 does. Covariates and intercept are orthonormalised once (Q, over all samples). By the theorem of
Frisch, Waugh and Lovell b = g~'y~ / g~'g~ with both residualised on them, and the residual sum of squares
is y~'y~ - b^2 g~'g~, so that no residual is ever formed. Residualising needs Q'g; a missing call takes
its row out of Q'Q = I and of Q'y, a correction from the missing calls alone.

[1] Lovell 1963, J. Am. Stat. Assoc. 58:993; Purcell and Chang, PLINK 2, --glm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import betainc, betaln
from threadpoolctl import threadpool_limits

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.execution import fold
from genoweave.genotypes import Source, read_packed, source_of
from genoweave.kernels import linear as kernels
from genoweave.kernels.linear_tiles import BLOCK, TILE_VARIANTS
from genoweave.kernels.packed import width
from genoweave.parameters import Field, Parameters

CODES = ("ok", "constant", "too_few_samples", "collinear", "covariates_collinear", "perfect_fit")

# Traits that share a design: 32 keep its rows of missing calls under 0.7 kB a sample.
_TRAITS_AT_ONCE = 32
# Variants whose codes are together in the L2 cache, a span of samples at a time.
_VARIANTS_AT_ONCE = 64
_TASK_BYTES = 16 * 2**20
_SMALLEST_P = 1e-280


class Linear(Parameters):
    """When a regression is refused."""

    max_vif: float = Field(
        50.0,
        gt=1,
        le=1e6,
        description="largest variance inflation factor, 1 / (1 - R^2), of the variant on the covariates, and "
        "of a covariate on the others",
    )


@dataclass(frozen=True)
class Design:
    """What is the same for every variant: samples, covariates and traits in the kernels' forms.

    Attributes
    ----------
    traits
        Columns of the result.
    n_samples, n_covariates
        Samples that are used; covariates with the intercept.
    left_out
        uint64 (words,), both bits set at samples that are not used.
    rows, unit
        int32 (samples, width) times float64 (width,): intercept, covariates, residual traits, their squares;
        zero at samples that are not used.
    limbs
        int16, covariates and residual traits as `kernels.linear` wants them.
    scale
        Standard deviation of each residual trait, by which they are divided.
    """

    traits: NDArray[np.int64]
    n_samples: int
    n_covariates: int
    left_out: NDArray[np.uint64]
    rows: NDArray[np.int32]
    unit: NDArray[np.float64]
    limbs: NDArray[np.int16]
    scale: NDArray[np.float64]


@dataclass(frozen=True)
class _Fits:
    """Results of some variants, each (variants, traits)."""

    called: NDArray[np.int64]
    frequency: NDArray[np.float64]
    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    code: NDArray[np.uint8]

    @staticmethod
    def empty(n_variants: int, n_traits: int) -> _Fits:
        """Make room for results."""
        shape = n_variants, n_traits
        return _Fits(
            np.empty(shape, np.int64),
            np.empty(shape),
            np.empty(shape),
            np.empty(shape),
            np.empty(shape, np.uint8),
        )

    def put(self, v0: int, v1: int, traits: NDArray[np.int64] | slice, other: _Fits) -> None:
        """Write the results of variants v0..v1 and some traits."""
        for name in self.__dataclass_fields__:
            getattr(self, name)[v0:v1, traits] = getattr(other, name)


def linear(
    ds: xr.Dataset,
    traits: NDArray[np.float64],
    covariates: NDArray[np.float64] | None = None,
    params: Linear | None = None,
) -> xr.Dataset:
    """Regress each trait on each variant's count of the alternate allele, with covariates.

    Parameters
    ----------
    ds
        With ``call_genotype`` (variants, samples, ploidy), diploid.
    traits
        float64 (samples, traits) or (samples,); NaN where a trait is missing.
    covariates
        float64 (samples, covariates) without an intercept, which is added; NaN where one is missing. None
        for the intercept alone.
    params
        When a regression is refused.

    Returns
    -------
    xarray.Dataset
        All (variants, traits):

        - ``variant_n_called`` int64: samples in the regression, those with trait, covariates and call
        - ``variant_counted_frequency`` float64: of the counted allele in them, NaN if there are none
        - ``variant_beta``, ``variant_se`` float64: trait units per copy of the alternate allele
        - ``variant_t``, ``variant_log10_p`` float64: t statistic and log10 of its two-sided p, which does not
          underflow
        - ``variant_fit_code`` uint8: index into `CODES`; where it is not 0, beta, se, t and p are NaN

    Raises
    ------
    DataError
        If shapes do not fit, a value is infinite, too few samples are complete, covariates are constant or
        collinear (variance inflation above ``max_vif``), or a trait is constant or explained by them.

    Notes
    -----
    Codes, in the order in which they are tried: ``too_few_samples`` (no degree of freedom left),
    ``constant`` (one genotype among the called), ``covariates_collinear`` (among the called), ``collinear``
    (the variant's variance inflation factor is above ``max_vif``; PLINK 2 also refuses a variant that
    raises a covariate's factor), ``perfect_fit`` (1 - R^2 of trait on variant below 1e-8).

    Sums over genotypes are exact in 31-bit fixed point (t is off by less than 1e-8), products at missing
    calls are float64. A variant is computed by itself: results are the same bits for any chunks and workers.

    Time: 1.7 to 2 G variants x samples / s on a core with ten covariates, one trait and 1 % missing; it grows
    with 2 (covariates + traits) and with missing calls x covariates x (covariates + 2 traits). Memory:
    16 MiB of packed genotypes a task, and 24 x (covariates + 2 traits) bytes a sample, 32 traits at a time
    per set of complete samples.
    """
    params = params or Linear()
    source = source_of(ds)
    n_variants, n_samples = source.shape[:2]
    traits = _columns("traits", traits, n_samples)
    covariates = _columns(
        "covariates", np.empty((n_samples, 0)) if covariates is None else covariates, n_samples
    )
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        found = designs(traits, covariates, params.max_vif)
    step = max(1, _TASK_BYTES // width(n_samples) // source.row_block) * source.row_block
    items = list(ranges(n_variants, step))

    def add(state: dict[str, NDArray], task: int, tile: _Fits) -> None:
        _Fits(**state).put(*items[task], slice(None), tile)

    state = vars(_Fits.empty(n_variants, traits.shape[1]))
    shared = source, found, params.max_vif
    state = fold("linear regression", _fit_tile, items, state, add, shared=shared)
    return _dataset(_Fits(**state), covariates.shape[1] + 1)


def _columns(name: str, values: NDArray[np.float64], n_samples: int) -> NDArray[np.float64]:
    """Return `values` as float64 (samples, columns), checked."""
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n_samples:
        raise DataError(
            f"{name} are wanted as (samples, {name}) with {n_samples} samples as in the genotypes, found "
            f"shape {values.shape}; take them in the order of sample_id"
        )
    if np.isinf(values).any():
        column = int(np.flatnonzero(np.isinf(values).any(axis=0))[0])
        raise DataError(f"{name}: column {column + 1} has infinite values; set them to NaN (missing)")
    return values


def designs(traits: NDArray[np.float64], covariates: NDArray[np.float64], max_vif: float) -> list[Design]:
    """Make one design per set of samples that are complete for some traits, at most 32 traits each."""
    complete = np.isfinite(traits) & np.isfinite(covariates).all(axis=1)[:, None]
    groups: dict[bytes, list[int]] = {}
    for trait, bits in enumerate(np.packbits(complete, axis=0).T):
        groups.setdefault(bits.tobytes(), []).append(trait)
    designs = []
    for members in map(np.array, groups.values()):
        used = complete[:, members[0]]
        basis = orthonormal(covariates[used], max_vif)
        for a, b in ranges(len(members), _TRAITS_AT_ONCE):
            designs.append(_design(traits, members[a:b], used, basis))
    return designs


def orthonormal(covariates: NDArray[np.float64], max_vif: float) -> NDArray[np.float64]:
    """Return intercept and covariates as orthogonal columns of squared length n; the first is 1."""
    n, k = covariates.shape
    if n < k + 3:
        raise DataError(
            f"{n} samples have trait and covariates; {k} covariates and the intercept need at least {k + 3}. "
            "Compare the tables' sample ids and missing values"
        )
    centred = covariates - covariates.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    constant = np.flatnonzero(~(spread > 1e-12 * np.abs(covariates).max(axis=0)))
    if len(constant):
        raise DataError(
            f"covariate {constant[0] + 1} of {k} is constant among the {n} complete samples; leave it out "
            "(the intercept is added)"
        )
    basis = centred / spread
    vif = _inflation(basis)
    worst = int(np.argmax(vif)) if k else 0
    if k and vif[worst] > max_vif:
        raise DataError(
            f"covariate {worst + 1} of {k} is nearly a combination of the others (variance inflation "
            f"{vif[worst]:.3g}, max_vif is {max_vif:g}); leave one of them out"
        )
    for _ in range(2):  # Cholesky's way, a fifth of the time of a QR decomposition; the second time is exact
        basis = basis @ np.linalg.inv(np.linalg.cholesky(basis.T @ basis / n)).T
    return np.column_stack([np.ones(n), basis])


def _inflation(standardised: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each covariate's variance inflation factor, the diagonal of the inverse correlations."""
    try:
        lower = np.linalg.cholesky(standardised.T @ standardised / len(standardised))
    except np.linalg.LinAlgError:
        return np.full(standardised.shape[1], np.inf)
    return (np.linalg.inv(lower) ** 2).sum(axis=0)


def _design(
    traits: NDArray[np.float64],
    members: NDArray[np.int64],
    used: NDArray[np.bool_],
    basis: NDArray[np.float64],
) -> Design:
    """Bring the samples `used`, their covariates and some traits into the kernels' forms."""
    n_all, (n, k) = len(used), basis.shape
    y = traits[np.ix_(used, members)]
    spread = np.sqrt(((y - y.mean(axis=0)) ** 2).mean(axis=0))
    for _ in range(2):  # once more takes out what rounding left of the covariates
        y = y - basis @ (basis.T @ y / n)
    scale = np.sqrt((y**2).mean(axis=0))
    rounding = np.maximum(1e-7 * spread, 1e-12 * np.abs(traits[np.ix_(used, members)]).max(axis=0))
    explained = np.flatnonzero(~(scale > rounding))
    if len(explained):
        raise DataError(
            f"trait {members[explained[0]] + 1} is constant or is explained by the covariates among its {n} "
            "complete samples; there is nothing to regress"
        )
    n_blocks = -(-n_all // BLOCK)
    rows, unit = fixed_point(np.column_stack([basis, y / scale, (y / scale) ** 2]), used)
    limbs = np.zeros((k - 1 + len(members), n_blocks, 8, 2, 32), np.int16)
    kernels.split_limbs(rows[:, 1:], limbs)
    return Design(members, n, k, left_out(used, n_blocks), rows, unit, limbs, scale)


def fixed_point(
    values: NDArray[np.float64], used: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return rows for all samples in whole units, padded to 8 columns and to cache lines, and the units."""
    n_columns = values.shape[1]
    unit = np.ones(-(-n_columns // 8) * 8)
    unit[:n_columns] = np.abs(values).max(axis=0) / kernels.LARGEST
    unit[0] = 1  # the intercept is exactly 1
    rows = _aligned_zeros(len(used), len(unit))
    rows[used, :n_columns] = np.rint(values / unit[:n_columns])
    return rows, unit


def _aligned_zeros(n: int, size: int) -> NDArray[np.int32]:
    """Return int32 (n, size) that begins with a cache line, so that 16 columns are one line and not two."""
    room = np.zeros(n * size + 16, np.int32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + n * size].reshape(n, size)


def left_out(used: NDArray[np.bool_], n_blocks: int) -> NDArray[np.uint64]:
    """Return words with both bits set at samples that are not used, padding among them."""
    out = np.ones(n_blocks * BLOCK, np.uint8)
    out[: len(used)] = ~used
    return np.packbits(np.repeat(out, 2), bitorder="little").view("<u8").astype(np.uint64)


def _fit_tile(source: Source, designs: list[Design], max_vif: float, v0: int, v1: int) -> _Fits:
    """Regress all traits on variants v0..v1."""
    packed = read_packed(source, v0, v1)
    fits = _Fits.empty(v1 - v0, sum(len(design.traits) for design in designs))
    scratch = np.empty((2, _VARIANTS_AT_ONCE, len(designs[0].left_out)), np.uint64)
    for design in designs:
        for a, b in ranges(v1 - v0, _VARIANTS_AT_ONCE):
            fits.put(a, b, design.traits, _fit_variants(packed[a:b], design, max_vif, scratch))
    return fits


def _fit_variants(
    packed: NDArray[np.uint8], design: Design, max_vif: float, scratch: NDArray[np.uint64]
) -> _Fits:
    """Regress a design's traits on a few variants; `scratch` saves the page faults of new arrays."""
    m, n_traits = len(packed), len(design.traits)
    padded = -(-m // TILE_VARIANTS) * TILE_VARIANTS
    codes, flags = scratch[0, :padded], scratch[1, :m]
    counts = np.empty((m, 3), np.int64)
    kernels.decode_dosages(packed, design.left_out, codes, flags, counts)
    products = np.zeros((padded, len(design.limbs)), np.int64)
    kernels.add_products(codes.view(np.uint8), design.limbs, products)
    fits = _Fits.empty(m, n_traits)
    kernels.solve_variants(
        design.n_samples, counts, products, flags, design.rows, design.unit, design.n_covariates, max_vif,
        fits.beta, fits.se, fits.code,
    )  # fmt: skip
    called = design.n_samples - counts[:, 0]
    fits.called[:] = called[:, None]
    alleles = counts[:, 1] + 2.0 * counts[:, 2]
    frequency = np.divide(alleles, 2 * called, out=np.full(m, np.nan), where=called > 0)
    fits.frequency[:] = frequency[:, None]
    return _Fits(fits.called, fits.frequency, fits.beta * design.scale, fits.se * design.scale, fits.code)


def _dataset(fits: _Fits, n_covariates: int) -> xr.Dataset:
    """Name the results, and add t and p."""
    dims = ("variants", "traits")
    t = fits.beta / fits.se
    log10_p = t_log10_p(t, fits.called - n_covariates - 1)
    ds = xr.Dataset(
        {
            "variant_n_called": (dims, fits.called),
            "variant_counted_frequency": (dims, fits.frequency),
            "variant_beta": (dims, fits.beta),
            "variant_se": (dims, fits.se),
            "variant_t": (dims, t),
            "variant_log10_p": (dims, log10_p),
            "variant_fit_code": (dims, fits.code),
        }
    )
    ds["variant_fit_code"].attrs["flag_meanings"] = " ".join(CODES)
    return ds


def t_log10_p(t: NDArray[np.float64], df: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log10 of the two-sided p of Student's t, to 1e-9 also where p is below the smallest float.

    p = I_x(df / 2, 1/2), the incomplete beta function at x = df / (df + t^2). NaN where t is NaN.
    """
    t, df = np.broadcast_arrays(np.asarray(t, np.float64), np.asarray(df, np.float64))
    out = np.full(t.shape, np.nan)
    known = np.isfinite(t) & (df > 0)
    a, square = df[known] / 2, t[known] ** 2
    x = df[known] / (df[known] + square)
    p = betainc(a, 0.5, x)
    tiny = p < _SMALLEST_P
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    log_p[tiny] = _log_betainc(a[tiny], square[tiny] / df[known][tiny])
    out[known] = log_p / np.log(10)
    return out


def _log_betainc(a: NDArray[np.float64], odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln I_x(a, 1/2) at a small x = 1 / (1 + odds): continued fraction DLMF 8.17.22, Lentz's way."""
    b, x = 0.5, 1 / (1 + odds)
    d = 1 / (1 - (a + b) / (a + 1) * x)
    c = np.ones_like(a)
    value = d.copy()
    for m in range(1, 200):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value *= c * d
        if np.all(np.abs(c * d - 1) < 1e-14):
            break
    front = -a * np.log1p(odds) + b * (np.log(odds) - np.log1p(odds)) - np.log(a) - betaln(a, b)
    return front + np.log(value)
