"""Tests of variants in the eigenbasis: a tile is rotated once, for all traits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.genotypes import Source, read_packed, source_of
from genoweave.kernels import mixed as kernels
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.gwas.fits import Fits, folded
from genoweave.methods.gwas.logistic import z_log10_p
from genoweave.methods.gwas.mixed.spectrum import Null, Spectrum, grid
from genoweave.methods.gwas.parameters import CODES, GWAS, METHODS
from genoweave.methods.linear import t_log10_p

Float = NDArray[np.float64]

# Variants that are rotated together: 40 MB at 20,000 samples, and enough for BLAS.
_VARIANTS_AT_ONCE = 256
# Below this share of the trait's sum of squares nothing is left of it.
_NO_RESIDUAL = 1e-8


@dataclass(frozen=True)
class Work:
    """What is the same for every variant of a chromosome and a set of samples.

    Attributes
    ----------
    spectrum
        Of the kinship.
    used
        bool (samples of the cohort,): the samples in it.
    traits
        float64 (traits, n - c), rotated.
    nulls
        Their models without a variant.
    """

    spectrum: Spectrum
    used: NDArray[np.bool_]
    traits: Float
    nulls: list[Null]

    @property
    def degrees(self) -> int:
        """Degrees of freedom of a test."""
        return len(self.spectrum.delta) - 1


def fit_variants(ds: xr.Dataset, work: Work, params: GWAS, label: str) -> list[Fits]:
    """Test all variants of a dataset, tile by tile; return the results of each trait.

    Memory: per task 256 variants x samples x 8 bytes, four times.
    """
    source = source_of(ds)
    return folded(label, _fit_tile, tiles(source.shape[0]), len(work.traits), (source, work, params))


def _fit_tile(source: Source, work: Work, params: GWAS, v0: int, v1: int) -> list[Fits]:
    packed = read_packed(source, v0, v1)
    out = [Fits.empty(v1 - v0) for _ in work.traits]
    for a, b in ranges(v1 - v0, _VARIANTS_AT_ONCE):
        dosage = unpack_dosages(packed[a:b], source.shape[1])[:, work.used]
        for fits, part in zip(out, _fit_block(dosage, work, params), strict=True):
            fits.put(slice(a, b), part)
    return out


def _fit_block(dosage: NDArray[np.int8], work: Work, params: GWAS) -> list[Fits]:
    """Impute, rotate and test a few variants."""
    called = (dosage >= 0).sum(axis=1)
    alleles = np.where(dosage > 0, dosage, 0).sum(axis=1)
    mean = np.divide(alleles, called, out=np.full(len(called), np.nan), where=called > 0)
    x = dosage - np.where(called > 0, mean, 0.0)[:, None]
    x[dosage < 0] = 0
    squares = np.einsum("ij,ij->i", x, x)
    rotated = x @ work.spectrum.vectors
    code = _codes(called, squares, np.einsum("ij,ij->i", rotated, rotated), params.max_vif)
    out = []
    for trait, null in zip(work.traits, work.nulls, strict=True):
        fits = Fits.empty(len(dosage))
        fits.called[:] = dosage.shape[1]
        fits.frequency[:] = mean / 2
        fits.code[:] = code
        fits.method[:] = METHODS.index(params.test)
        _test(rotated, trait, null, work, params.test, fits)
        out.append(fits)
    return out


def _codes(called: NDArray[np.int64], squares: Float, left: Float, max_vif: float) -> NDArray[np.uint8]:
    """Return why variants cannot be tested, 0 if they can; `left` is what covariates leave of `squares`."""
    code = np.zeros(len(called), np.uint8)
    code[left * max_vif < squares] = CODES.index("collinear")
    code[squares < 1e-9] = CODES.index("constant")
    code[called == 0] = CODES.index("too_few_samples")
    return code


def _test(x: Float, trait: Float, null: Null, work: Work, test: str, fits: Fits) -> None:
    """Test rotated variants for one trait, and write what is found into `fits`."""
    ok = fits.code == 0
    if test == "score":
        a, b, d = _sums_at(x, trait, work.spectrum.delta, null.ratio_full)
        with np.errstate(divide="ignore", invalid="ignore"):
            r = d - b * b / a
            statistic = b * np.sqrt(work.spectrum.n_samples / (d * a))
    else:
        value, a, b, r = _search(x, trait, null, work, test, ok)
        d = float(trait @ (trait / (1 + null.ratio * work.spectrum.delta)))
    with np.errstate(divide="ignore", invalid="ignore"):
        fits.code[ok & ~(r > _NO_RESIDUAL * d)] = CODES.index("perfect_fit")
        ok = fits.code == 0
        beta, se = b / a, np.sqrt(r / (work.degrees * a))
    if test == "wald":
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = beta / se
    elif test == "lrt":
        gain = 2 * (value - null.full_likelihood)
        statistic = np.sign(beta) * np.sqrt(np.maximum(gain, 0.0))
    degrees = np.full(len(beta), work.degrees)
    log10_p = z_log10_p(statistic) if test == "lrt" else t_log10_p(statistic, degrees)
    for name, values in (("beta", beta), ("se", se), ("statistic", statistic), ("log10_p", log10_p)):
        getattr(fits, name)[:] = np.where(ok, values, np.nan)


def _sums_at(x: Float, trait: Float, delta: Float, ratio: float) -> tuple[Float, Float, float]:
    """Return a, b, d of `kernels.mixed` at one lambda."""
    weight = 1 / (1 + ratio * delta)
    return (x * x) @ weight, x @ (trait * weight), float(trait @ (trait * weight))


def _search(
    x: Float, trait: Float, null: Null, work: Work, test: str, ok: NDArray[np.bool_]
) -> tuple[Float, Float, Float, Float]:
    """Maximise the likelihood of each variant; return it, and a, b, r there."""
    spectrum, points = work.spectrum, grid()
    full = test == "lrt"
    series = spectrum.full if full else spectrum.restricted
    alpha, nu = (0.0, float(spectrum.n_samples)) if full else (1.0, float(work.degrees))
    sums, slopes = _on_grid(x, trait, spectrum.delta, points)
    place = np.linspace(-1, 1, len(points))
    logs = [np.polynomial.chebyshev.chebval(place, row) for row in series[:2]]
    a, b, d = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = b / a
        r = d - b * beta
        value = -(logs[0] + alpha * np.log(a) + nu * np.log(r)) / 2
        residual = slopes[2] - 2 * slopes[1] * beta + slopes[0] * beta**2
        slope = -(logs[1] + alpha * slopes[0] / a + nu * residual / r) / 2
    slope[~ok] = np.nan
    ends = np.ascontiguousarray(value[:, [0, -1]])
    end_sums = np.stack([np.broadcast_to(part, a.shape)[:, [0, -1]] for part in sums], axis=2)
    best, found = np.full(len(x), np.nan), np.full((len(x), 3), np.nan)
    start = np.log(null.ratio_full if full else null.ratio)
    kernels.fit_variants(
        x, trait, spectrum.delta, points, slope, ends, end_sums, start, series, alpha, nu,
        best, found,
    )  # fmt: skip
    return best, found[:, 0], found[:, 1], found[:, 2]


def _on_grid(
    x: Float, trait: Float, delta: Float, points: Float
) -> tuple[tuple[Float, Float, Float], tuple[Float, Float, Float]]:
    """Return a, b, d at values of log lambda, (variants, points) or (points,), and their derivatives."""
    v = 1 / (1 + np.exp(points) * delta[:, None])
    both = np.column_stack([v, v * (v - 1)])
    a, b = (x * x) @ both, x @ (trait[:, None] * both)
    d = trait**2 @ both
    k = len(points)
    return (a[:, :k], b[:, :k], d[:k]), (a[:, k:], b[:, k:], d[k:])
