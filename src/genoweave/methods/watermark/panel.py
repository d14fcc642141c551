"""What a watermark has to look like: frequencies, quality and linkage of the cohort's own variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import tiles
from genoweave.execution import fold
from genoweave.genotypes import SelectedSource, Source, read_dosage, select, source_of
from genoweave.methods.frequencies import allele_frequency, count_genotypes, group_numbers
from genoweave.methods.qc import QC, usable_variants, variant_statistics

# Correlations are estimated on at most so many samples, evenly spaced: the standard error is below 0.015.
_MOST_SAMPLES = 5000
# A template passes quality control with this margin, so that a watermark made after it does too.
_MARGIN = 0.05
_HWE_MARGIN = 2.0
# A variant's neighbours are looked for so many rows away, and correlations are known twice as far.
REACH = 15
_LAGS = 2 * REACH


@dataclass(frozen=True)
class Panel:
    """The cohort's variants as neighbours and templates of watermarks.

    Attributes
    ----------
    stratum
        int64 (samples,): ancestry group; those without a label are one of their own.
    n_strata, sizes
        Number of strata, and samples of each, int64 (strata,).
    missing
        int64 (variants, strata): samples without a call.
    missing_of
        int64 (samples,): autosomal variants without a call.
    frequency
        float64 (variants, strata), of the counted allele; of all strata where nobody of one is called.
    mean
        float64 (variants,), the strata's mean frequency, weighted by their sizes.
    spread
        float64 (variants,), standard deviation of one allele within strata.
    r
        float64 (30, variants): correlation within strata with the next variant, the second, and so on.
    noise
        Variance of a correlation of two variants without linkage.
    passes
        bool (variants,): autosomal, and passes quality control with a margin.
    checks_pooled
        Whether watermarks must be in Hardy-Weinberg equilibrium over all strata together too: so where most
        variants that pass within strata are.
    """

    stratum: NDArray[np.int64]
    n_strata: int
    sizes: NDArray[np.int64]
    missing: NDArray[np.int64]
    missing_of: NDArray[np.int64]
    frequency: NDArray[np.float64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    r: NDArray[np.float64]
    noise: float
    passes: NDArray[np.bool_]
    checks_pooled: bool

    @property
    def share(self) -> NDArray[np.float64]:
        """Share of the samples in each stratum, float64 (strata,)."""
        return np.asarray(self.sizes / self.sizes.sum())


def read_panel(ds: xr.Dataset, params: QC | None = None) -> Panel:
    """Count genotypes within strata, and correlate neighbours.

    Two passes over the genotypes, three if some are not of autosomes. Memory: 240 bytes a variant, 40 a
    variant and stratum, and a tile of 1,024 variants x 5,000 samples as float64 a task.
    """
    stratum, n_strata = strata_of(ds)
    usable = usable_variants(ds, autosomes_only=True)
    counts, missing_of = count_genotypes(ds, stratum, label="counts of watermark templates")
    if usable.any() and not usable.all():  # who has no call on X or Y has them elsewhere
        autosomes = select(ds, np.flatnonzero(usable))
        missing_of = count_genotypes(autosomes, stratum, label="missing calls of autosomes")[1]
    sizes = np.bincount(stratum, minlength=n_strata)
    frequency = _filled_frequency(counts)
    share = sizes / sizes.sum()
    within, pooled = keeps(counts, sizes, params or QC())
    checks_pooled = bool((usable & within & pooled).sum() >= (usable & within).sum() / 2)
    return Panel(
        stratum=stratum,
        n_strata=n_strata,
        sizes=sizes,
        missing=sizes - counts.sum(axis=2),
        missing_of=missing_of,
        frequency=frequency,
        mean=frequency @ share,
        spread=np.sqrt((frequency * (1 - frequency)) @ share),
        r=_neighbour_correlations(ds, stratum, n_strata),
        noise=1 / min(len(stratum), _MOST_SAMPLES),
        passes=usable & within & pooled if checks_pooled else usable & within,
        checks_pooled=checks_pooled,
    )


def _filled_frequency(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return frequencies (variants, strata); where nobody of a stratum is called, those of all that are."""
    pooled = np.nan_to_num(allele_frequency(counts.sum(axis=1, keepdims=True)))
    within = allele_frequency(counts)
    return np.where(np.isnan(within), pooled, within)


def strata_of(ds: xr.Dataset) -> tuple[NDArray[np.int64], int]:
    """Return each sample's ancestry group as a number, and how many there are."""
    if "sample_ancestry" not in ds:
        return np.zeros(ds.sizes["samples"], np.int64), 1
    names, number = group_numbers(ds["sample_ancestry"].values)
    if (number >= 0).all():
        return number, len(names)
    return np.where(number < 0, len(names), number), len(names) + 1


def keeps(
    counts: NDArray[np.int64], sizes: NDArray[np.int64], params: QC
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which variants pass quality control with a margin: Hardy-Weinberg within strata, and pooled.

    `counts` int64 (variants, strata, 3) and `sizes` int64 (strata,), all samples of each.
    """
    found = variant_statistics(counts, int(sizes.sum()), tested=counts.shape[1])
    together = variant_statistics(counts.sum(axis=1, keepdims=True), int(sizes.sum()))
    limit = min(1.0, _HWE_MARGIN * params.hwe)
    good = (found["variant_maf"] >= (1 + _MARGIN) * params.maf) & (found["variant_maf"] > 0)
    good &= found["variant_missing_rate"] <= (1 - _MARGIN) * params.geno
    within = good & (found["variant_hwe_p_value"] >= limit)
    return within, good & (together["variant_hwe_p_value"] >= limit)


def _neighbour_correlations(ds: xr.Dataset, stratum: NDArray[np.int64], n_strata: int) -> NDArray[np.float64]:
    source = source_of(ds)
    n_variants, n_samples = source.shape[:2]
    samples = np.unique(np.linspace(0, n_samples - 1, min(n_samples, _MOST_SAMPLES)).astype(int))
    if len(samples) < n_samples:
        source = SelectedSource(source, np.arange(n_variants), samples)
    columns = [np.flatnonzero(stratum[samples] == k) for k in range(n_strata)]
    state: dict[str, Any] = {"r": np.zeros((_LAGS, n_variants))}
    state = fold(
        "linkage of watermark templates", _tile, tiles(n_variants), state, _add, shared=(source, columns)
    )
    return np.asarray(state["r"])


def _add(state: dict[str, Any], _: int, found: tuple[int, NDArray[np.float64]]) -> None:
    v0, r = found
    state["r"][:, v0 : v0 + r.shape[1]] = r


def _tile(
    source: Source, columns: list[NDArray[np.int64]], v0: int, v1: int
) -> tuple[int, NDArray[np.float64]]:
    """Task: correlations of variants v0..v1 with the next ones; 0 where one is constant or absent."""
    rows = read_dosage(source, v0, min(v1 + _LAGS, source.shape[0]))
    x = centred(rows, columns)
    square = np.einsum("ij,ij->i", x, x)
    r = np.zeros((_LAGS, v1 - v0))
    for lag in range(1, _LAGS + 1):
        n = min(v1 - v0, len(x) - lag)
        if n <= 0:
            continue
        product = np.einsum("ij,ij->i", x[:n], x[lag : lag + n])
        scale = np.sqrt(square[:n] * square[lag : lag + n])
        np.divide(product, scale, out=r[lag - 1, :n], where=scale > 0)
    return v0, r


def centred(dosage: NDArray[np.int8], columns: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return dosages less the mean of each stratum, 0 where missing; `columns` are the strata's samples."""
    out = np.zeros(dosage.shape)
    for some in columns:
        part = dosage[:, some]
        called = part >= 0
        mean = np.where(called, part, 0).sum(axis=1) / np.maximum(called.sum(axis=1), 1)
        out[:, some] = np.where(called, part - mean[:, None], 0)
    return out
