"""Linear regression on codings of the genotypes, with missing calls left out or at the mean.

What is said of `genoweave.methods.linear` holds here too; `kernels.coded` has the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.chunks import ranges
from genoweave.genotypes import Source, read_packed, source_of
from genoweave.kernels import coded as kernels
from genoweave.kernels import linear as sums
from genoweave.kernels.linear_tiles import TILE_VARIANTS
from genoweave.kernels.logistic import homozygotes
from genoweave.kernels.logistic_fits import LINEAR
from genoweave.methods.gwas.fits import VARIANTS_AT_ONCE, Fits, folded, frequencies, tasks
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.linear import CODES, Design, designs, t_log10_p

JOINT = "GENO_2DF"
# 1 - R^2 of trait on variant below this is rounding; as in `kernels.linear`.
_NO_RESIDUAL = 1e-8


@dataclass(frozen=True)
class Coding:
    """What of a genotype is regressed on.

    Attributes
    ----------
    terms
        PLINK 2's names of its columns.
    weights
        float64 (2, columns): what a heterozygote and a homozygote of the counted allele count in each.
    """

    terms: tuple[str, ...]
    weights: NDArray[np.float64]

    @property
    def tests(self) -> tuple[str, ...]:
        """Names of the results; the last is the test of the variant."""
        return self.terms if len(self.terms) == 1 else (*self.terms, JOINT)


CODINGS = {
    "additive": Coding(("ADD",), np.array([[1.0], [2.0]])),
    "dominant": Coding(("DOM",), np.array([[1.0], [1.0]])),
    "recessive": Coding(("REC",), np.array([[0.0], [1.0]])),
    "genotypic": Coding(("ADD", "DOMDEV"), np.array([[1.0, 1.0], [2.0, 0.0]])),
    "hethom": Coding(("HOM", "HET"), np.array([[0.0, 1.0], [1.0, 0.0]])),
}


@dataclass(frozen=True)
class Sums:
    """Sums over the genotypes of some variants; see `kernels.coded.reduce_variants`.

    Attributes
    ----------
    counts
        int64 (variants, 3): missing, heterozygous, homozygous alternate, among the samples in use.
    flags
        uint64 (variants, words): missing calls.
    products, homs
        int64 (variants, columns): limbs over dosages, over homozygotes.
    """

    counts: NDArray[np.int64]
    flags: NDArray[np.uint64]
    products: NDArray[np.int64]
    homs: NDArray[np.int64]


def sums_of(packed: NDArray[np.uint8], left_out: NDArray[np.uint64], limbs: NDArray[np.int16]) -> Sums:
    """Sum the columns in `limbs` over packed genotypes uint8 (variants, bytes)."""
    m = len(packed)
    padded = -(-m // TILE_VARIANTS) * TILE_VARIANTS
    codes = np.empty((padded, len(left_out)), np.uint64)
    flags = np.empty((m, len(left_out)), np.uint64)
    counts = np.empty((m, 3), np.int64)
    sums.decode_dosages(packed, left_out, codes, flags, counts)
    products, homs = np.zeros((2, padded, len(limbs)), np.int64)
    sums.add_products(codes.view(np.uint8), limbs, products)
    homozygotes(codes, codes)
    sums.add_products(codes.view(np.uint8), limbs, homs)
    return Sums(counts, flags, products[:m], homs[:m])


def solved(
    score: NDArray[np.float64], information: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coefficients (..., d) and the inverse (..., d, d) of one or two equations, NaN passed on."""
    if score.shape[-1] == 1:
        return score / information[..., 0], 1 / information
    (a, b), (_, d) = np.moveaxis(information, (-2, -1), (0, 1))
    determinant = a * d - b * b
    inverse = np.stack([np.stack([d, -b], -1), np.stack([-b, a], -1)], -2) / determinant[..., None, None]
    return (inverse * score[..., None, :]).sum(axis=-1), inverse


def square_log10_p(square: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log10 p of chi-squared with 2 degrees of freedom; it does not underflow."""
    return np.asarray(-square / 2 / np.log(10))


def fit_linear_coded(
    ds: xr.Dataset, traits: NDArray[np.float64], covariates: NDArray[np.float64], params: GWAS
) -> list[list[Fits]]:
    """Regress traits (samples, traits) on coded genotypes in one pass.

    Parameters
    ----------
    ds, traits, covariates
        See `genoweave.methods.linear.linear`.
    params
        ``coding``, ``missing``, ``max_vif``.

    Returns
    -------
    list of list of Fits
        Of each trait, the results of `Coding.tests`. A joint test's statistic is F with 2 and
        n - covariates - 3 degrees of freedom.

    Notes
    -----
    Same bits for any chunks and workers. Memory as of `linear`; time 1.5 to 2 times as much.
    """
    source = source_of(ds)
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        found = designs(traits, covariates, params.max_vif)
    tests = CODINGS[params.coding].tests
    items = tasks(source)
    shared = source, found, params
    flat = folded("linear regression", _fit_tile, items, traits.shape[1] * len(tests), shared)
    return [flat[t : t + len(tests)] for t in range(0, len(flat), len(tests))]


def _fit_tile(source: Source, found: list[Design], params: GWAS, v0: int, v1: int) -> list[Fits]:
    """Regress all traits on variants v0..v1."""
    packed = read_packed(source, v0, v1)
    n_tests = len(CODINGS[params.coding].tests)
    out = [Fits.empty(v1 - v0) for _ in range(n_tests * sum(len(design.traits) for design in found))]
    for design in found:
        for a, b in ranges(v1 - v0, VARIANTS_AT_ONCE):
            parts = _fit_variants(packed[a:b], design, params)
            for t, tables in zip(design.traits, parts, strict=True):
                for k, table in enumerate(tables):
                    out[t * n_tests + k].put(slice(a, b), table)
    return out


def _fit_variants(packed: NDArray[np.uint8], design: Design, params: GWAS) -> list[list[Fits]]:
    """Regress a design's traits on a few variants."""
    coding = CODINGS[params.coding]
    m, n_traits, d = len(packed), len(design.traits), len(coding.terms)
    k, impute = design.n_covariates, params.missing == "mean"
    found = sums_of(packed, design.left_out, design.limbs)
    alleles = found.counts[:, 1] + 2 * found.counts[:, 2]
    missing = np.zeros((m, -(-k // 8) * 8, design.rows.shape[1]))
    sums.missing_products(found.flags, design.rows, design.unit, k, missing)
    score, information, rest = np.empty((m, n_traits, d)), np.empty((m, d, d)), np.empty((m, n_traits))
    code = np.empty(m, np.uint8)
    kernels.reduce_variants(
        design.n_samples, found.counts, np.column_stack([alleles, found.products]),
        np.column_stack([found.counts[:, 2], found.homs]), design.unit, 1.0, missing, k, coding.weights,
        impute, params.max_vif, score, information, rest, code,
    )  # fmt: skip
    blank(code, score, information, rest)
    called = design.n_samples - found.counts[:, 0]
    used = np.full(m, design.n_samples) if impute else called
    return [
        _results(
            used, frequencies(found.counts, called), score[:, t], information, rest[:, t], code, k,
            design.scale[t],
        )
        for t in range(n_traits)
    ]  # fmt: skip


def blank(code: NDArray[np.uint8], *sums_of_variants: NDArray[np.float64]) -> None:
    """Set what belongs to refused variants, which nothing was written to, to NaN, in place."""
    for values in sums_of_variants:
        values[code != sums.OK] = np.nan


def _results(
    used: NDArray[np.int64], frequency: NDArray[np.float64], score: NDArray[np.float64],
    information: NDArray[np.float64], square: NDArray[np.float64], code: NDArray[np.uint8], n_covariates: int,
    scale: float,
) -> list[Fits]:  # fmt: skip
    """Return one trait's tests: Student's of each term, and F of two together."""
    d = score.shape[1]
    beta, inverse = solved(score, information)
    explained = (beta * score).sum(axis=1)
    rest = square - explained
    is_perfect = (code == sums.OK) & ~(rest > _NO_RESIDUAL * square)
    code = np.where(is_perfect, CODES.index("perfect_fit"), code).astype(np.uint8)
    rest, df = np.where(is_perfect, np.nan, rest), used - n_covariates - d
    beta = np.where(is_perfect[:, None], np.nan, beta)
    variance = np.divide(rest, df, out=np.full(len(df), np.nan), where=df > 0)
    method = np.full(len(used), LINEAR, np.uint8)
    tables = []
    for c in range(d):
        se = np.sqrt(variance * inverse[:, c, c])
        t = beta[:, c] / se
        log10_p = t_log10_p(t, df)
        tables.append(Fits(used, frequency, beta[:, c] * scale, se * scale, t, log10_p, code, method))
    if d == 2:
        f = explained / 2 / variance
        tables.append(joint(tables[0], f, _f_log10_p(f, df)))
    return tables


def joint(one: Fits, statistic: NDArray[np.float64], log10_p: NDArray[np.float64]) -> Fits:
    """Return a joint test beside one of its terms: it has no coefficient of its own."""
    none = np.full(len(one), np.nan)
    return Fits(one.called, one.frequency, none, none, statistic, log10_p, one.code, one.method)


def _f_log10_p(f: NDArray[np.float64], df: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log10 of the upper tail of F with 2 and `df` degrees of freedom: (1 + 2 f / df)^(-df / 2)."""
    df = np.maximum(df, 1)
    return np.asarray(-df / 2 * np.log1p(2 * f / df) / np.log(10))
