"""Quality control in PLINK's order: sample missingness, variant missingness, HWE, MAF, relatives."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.execution import run_in_order
from genoweave.genotypes import select, source_rows
from genoweave.kernels.hwe import hwe_exact_all
from genoweave.methods.frequencies import allele_frequency, count_genotypes, group_numbers
from genoweave.methods.kinship import Kinship, king
from genoweave.parameters import Field, Parameters

log = logging.getLogger(__name__)

# PLINK's tolerance: a rate equal to its threshold passes in spite of rounding.
_EPSILON = 2.0**-44
# An exact test takes about a microsecond for a rare variant and ten for a common one of 100,000 samples.
_VARIANTS_PER_TEST = 4096


class QC(Parameters):
    """Thresholds of quality control; the defaults are the paper's."""

    mind: float = Field(
        0.05, ge=0, le=1, description="largest share of missing calls of a sample (PLINK --mind)"
    )
    geno: float = Field(
        0.05, ge=0, le=1, description="largest share of missing calls of a variant (PLINK --geno)"
    )
    hwe: float = Field(
        1e-6, ge=0, lt=1, description="smallest exact Hardy-Weinberg p (PLINK --hwe); 0 keeps all"
    )
    hwe_groups: Literal["within", "pooled"] = Field(
        "within",
        description="test within each ancestry group, or all samples pooled as the paper did",
    )
    hwe_midp: bool = Field(False, description="use the mid-p adjustment (PLINK --hwe midp)")
    maf: float = Field(0.01, ge=0, lt=0.5, description="smallest minor allele frequency (PLINK --maf)")
    king_cutoff: float | None = Field(
        None,
        gt=0,
        lt=0.5,
        description="remove one of each pair with a KING kinship above this (PLINK 2 --king-cutoff)",
    )
    autosomes_only: bool = Field(
        True, description="keep chromosomes 1 to 22 only; other codes are not diploid in all"
    )


@dataclass(frozen=True)
class QCResult:
    """What quality control decided: rows and columns to keep, statistics, and the cascade."""

    variants: NDArray[np.int64]
    samples: NDArray[np.int64]
    statistics: dict[str, NDArray[np.float64]]
    sample_missing_rate: NDArray[np.float64]
    steps: pd.DataFrame


def qc(ds: xr.Dataset, params: QC | None = None) -> xr.Dataset:
    """Filter a cohort; the result is lazy, the filters are computed at once.

    Parameters
    ----------
    ds
        A cohort. ``sample_ancestry`` (samples,), where present, gives the groups of the HWE test.
    params
        Thresholds.

    Returns
    -------
    xarray.Dataset
        The variants and samples that pass, with ``variant_missing_rate``, ``variant_hwe_p_value``,
        ``variant_allele_frequency``, ``variant_maf``, ``sample_missing_rate``, ``variant_source_row`` and
        ``sample_source_row``; ``attrs["qc_steps"]`` is the cascade as JSON.

    Raises
    ------
    DataError
        If a filter leaves no sample or no variant; the message names the filter.

    Notes
    -----
    Sample missingness is over all input variants (autosomal and biallelic), variant statistics over the
    samples that are left, as in PLINK. One pass over the genotypes, a second one if samples were
    removed, and the pairs' pass if relatives are. Memory: 24 bytes per variant and group, and tiles.
    """
    result = qc_filters(ds, params or QC())
    return apply_filters(ds, result)


def apply_filters(ds: xr.Dataset, result: QCResult) -> xr.Dataset:
    """Keep what `result` says, lazily, with the statistics as variables."""
    rows = source_rows(ds, "variants")
    columns = source_rows(ds, "samples")
    kept = select(ds, result.variants, result.samples)
    kept["variant_source_row"] = ("variants", rows[result.variants])
    kept["sample_source_row"] = ("samples", columns[result.samples])
    for name, values in result.statistics.items():
        kept[name] = ("variants", values[result.variants])
    kept["sample_missing_rate"] = ("samples", result.sample_missing_rate[result.samples])
    kept.attrs["qc_steps"] = json.dumps(result.steps.to_dict("records"))
    return kept


def qc_filters(ds: xr.Dataset, params: QC) -> QCResult:
    """Decide what to keep; see `qc`."""
    cascade = _Cascade(ds)
    usable = usable_variants(ds, autosomes_only=params.autosomes_only)
    cascade.keep_variants("not autosomal or not biallelic", usable)

    used = select(ds, cascade.variants)
    group, tested = _hwe_groups(ds, params)
    counts, missing = count_genotypes(used, group)
    sample_missing = missing / len(cascade.variants)
    passes = missing <= params.mind * len(cascade.variants) * (1 + _EPSILON)
    cascade.keep_samples(f"missingness of samples > {params.mind:g}", passes)
    if not passes.all():
        left = select(used, samples=cascade.samples)
        counts, _ = count_genotypes(left, group[cascade.samples], label="counts after mind")

    n = len(cascade.samples)
    statistics = variant_statistics(counts, n, tested=tested, midp=params.hwe_midp)
    called = counts.sum(axis=(1, 2))
    cascade.keep_variants(
        f"missingness of variants > {params.geno:g}", n - called <= params.geno * n * (1 + _EPSILON)
    )
    cascade.keep_variants(
        f"Hardy-Weinberg p < {params.hwe:g} ({params.hwe_groups})",
        statistics["variant_hwe_p_value"] >= params.hwe * (1 - _EPSILON),
    )
    cascade.keep_variants(
        f"minor allele frequency < {params.maf:g}",
        statistics["variant_maf"] >= params.maf * (1 - _EPSILON),
    )
    if params.king_cutoff is not None:
        cohort = select(ds, cascade.variants, cascade.samples)
        unrelated = unrelated_samples(cohort, params.king_cutoff, sample_missing[cascade.samples])
        cascade.keep_samples(f"kinship > {params.king_cutoff:g}", unrelated)
    return QCResult(
        variants=cascade.variants,
        samples=cascade.samples,
        statistics={k: _scatter(v, usable) for k, v in statistics.items()},
        sample_missing_rate=sample_missing,
        steps=pd.DataFrame(cascade.steps),
    )


def _scatter(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    out = np.full(len(mask), np.nan)
    out[mask] = values
    return out


class _Cascade:
    """Applies filters one after another, counts what each removes, and stops at nothing left."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._alive = np.ones(ds.sizes["variants"], bool)
        self._base: NDArray[np.int64] | None = None
        self.samples = np.arange(ds.sizes["samples"])
        self.steps: list[dict[str, Any]] = []
        self._note("input", 0, 0)

    @property
    def variants(self) -> NDArray[np.int64]:
        return np.flatnonzero(self._alive)

    def _note(self, step: str, samples: int, variants: int) -> None:
        left_s, left_v = len(self.samples), int(self._alive.sum())
        self.steps.append(
            {"step": step, "samples_removed": samples, "variants_removed": variants,
             "samples_left": left_s, "variants_left": left_v}
        )  # fmt: skip
        if left_s == 0 or left_v == 0:
            what = "sample" if left_s == 0 else "variant"
            raise DataError(
                f"quality control: no {what} is left after '{step}'; check the data, or relax that "
                "threshold in [qc]"
            )

    def keep_variants(self, step: str, passes: NDArray[np.bool_]) -> None:
        """Keep where `passes`, aligned with the input's variants, or with those of the first filter."""
        if self._base is None:
            self._base = np.flatnonzero(passes)
            removed = ~passes
        else:
            removed = np.zeros(len(self._alive), bool)
            removed[self._base[~passes]] = True
        lost = int((self._alive & removed).sum())
        self._alive &= ~removed
        self._note(step, 0, lost)

    def keep_samples(self, step: str, passes: NDArray[np.bool_]) -> None:
        """Keep where `passes`, aligned with the samples that are left."""
        lost = int((~passes).sum())
        self.samples = self.samples[passes]
        self._note(step, lost, 0)


def usable_variants(ds: xr.Dataset, *, autosomes_only: bool) -> NDArray[np.bool_]:
    """Return bool (variants,): biallelic, and on chromosomes 1 to 22 if asked."""
    alleles = ds["variant_allele"].values
    biallelic = (alleles[:, 2:] == "").all(axis=1) if alleles.shape[1] > 2 else np.ones(len(alleles), bool)
    if not autosomes_only:
        return np.asarray(biallelic)
    is_autosome = np.array([_is_autosome(str(name)) for name in ds["contig_id"].values])
    return np.asarray(biallelic & is_autosome[ds["variant_contig"].values])


def _is_autosome(name: str) -> bool:
    bare = name[3:] if name.lower().startswith("chr") else name
    return bare.isdigit() and 1 <= int(bare) <= 22


def _hwe_groups(ds: xr.Dataset, params: QC) -> tuple[NDArray[np.int64], int]:
    """Return each sample's group and how many groups are tested."""
    if params.hwe_groups == "pooled" or "sample_ancestry" not in ds:
        return np.zeros(ds.sizes["samples"], np.int64), 1
    names, numbers = group_numbers(ds["sample_ancestry"].values)
    if not names:
        return np.zeros(ds.sizes["samples"], np.int64), 1
    # samples without a label count everywhere but in the test: they are the last group
    return np.where(numbers < 0, len(names), numbers), len(names)


def variant_statistics(
    counts: NDArray[np.int64], n_samples: int, *, tested: int = 1, midp: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Return missing rate, HWE p and frequencies of each variant.

    Parameters
    ----------
    counts
        int64 (variants, groups, 3), see `count_genotypes`.
    n_samples
        Samples that were counted, called or not.
    tested
        The HWE test is made in each of the first so many groups.
    midp
        Use the mid-p adjustment.

    Returns
    -------
    dict
        ``variant_missing_rate``, ``variant_hwe_p_value`` (the smallest over the groups),
        ``variant_allele_frequency`` and ``variant_maf``, f8 (variants,).
    """
    frequency = allele_frequency(counts.sum(axis=1))
    p = np.ones(len(counts))
    tested = min(tested, counts.shape[1])
    items = list(ranges(len(counts), _VARIANTS_PER_TEST))
    tasks = ((counts[a:b, :tested], midp) for a, b in items)
    parts = run_in_order(_smallest_p, tasks, label="Hardy-Weinberg", total=len(items))
    for (a, b), part in zip(items, parts, strict=True):
        p[a:b] = part
    return {
        "variant_missing_rate": 1 - counts.sum(axis=(1, 2)) / n_samples,
        "variant_hwe_p_value": p,
        "variant_allele_frequency": frequency,
        "variant_maf": np.fmin(frequency, 1 - frequency),
    }


def _smallest_p(counts: NDArray[np.int64], midp: bool) -> NDArray[np.float64]:
    """Task: the smallest p over the groups, of counts int64 (variants, groups, 3)."""
    p = np.ones((counts.shape[1], len(counts)))
    for k in range(counts.shape[1]):
        hwe_exact_all(np.ascontiguousarray(counts[:, k]), midp, p[k])
    return np.asarray(p.min(axis=0))


def unrelated_samples(ds: xr.Dataset, cutoff: float, missing_rate: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Choose samples without a pair above `cutoff`: True for those to keep.

    While related pairs are left, the sample with the most of them goes; among equals the one with more
    missing calls, then the later one.
    """
    pairs = king(ds, Kinship(min_kinship=cutoff)).pairs
    return independent_set(pairs["first"].tolist(), pairs["second"].tolist(), missing_rate)


def independent_set(
    first: list[int], second: list[int], missing_rate: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Remove samples until no pair (first[i], second[i]) is whole; see `unrelated_samples`.

    Cost: (samples + pairs) log(samples); a sample's place in the queue is renewed when it loses a relative.
    """
    keep = np.ones(len(missing_rate), bool)
    relatives: dict[int, set[int]] = {}
    for i, j in zip(first, second, strict=True):
        relatives.setdefault(i, set()).add(j)
        relatives.setdefault(j, set()).add(i)

    def place(s: int) -> tuple[int, float, int]:
        return -len(relatives[s]), -missing_rate[s], -s

    queue = [place(s) for s in relatives]
    heapify(queue)
    while queue:
        worst = heappop(queue)
        s = -worst[2]
        if not keep[s] or not relatives[s] or worst != place(s):
            continue  # gone, alone, or an entry from when it had more relatives
        keep[s] = False
        for other in relatives[s]:
            relatives[other].discard(s)
            heappush(queue, place(other))
    return keep
