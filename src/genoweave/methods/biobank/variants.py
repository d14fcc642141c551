"""Variants of a simulated biobank: frequencies in each group, missing calls, faults, places in the genome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genoweave.kernels.simulate import CLEAN, HET_DEFICIT, HET_EXCESS
from genoweave.methods.biobank.parameters import BaldingNichols

BAD_SAMPLES = (0.09, 0.13, 0.19)  # missing calls of bad samples, in three equal parts
BAD_VARIANT = (0.08, 0.20)
RAREST = 2e-6
# Expected frequencies keep off the limit by so many standard deviations of a frequency in the cohort, so that
# a variant of each kind stays on its side of it.
_MARGIN_DEVIATIONS = 4
# millions of base pairs, GRCh38
_CHROMOSOMES = (248, 242, 198, 190, 181, 170, 159, 145, 138, 133, 135, 133, 114, 107, 101, 90, 83, 80, 58, 64,
                46, 50)  # fmt: skip
_PLANTED = {CLEAN: "", HET_EXCESS: "heterozygote excess", HET_DEFICIT: "heterozygote deficit"}


@dataclass(frozen=True)
class Variants:
    """What the genotypes of each variant are drawn from; shares are times 2**32."""

    allele: NDArray[np.uint32]
    missing: NDArray[np.uint32]
    fault: NDArray[np.uint8]
    planted: NDArray[Any]


def plan_variants(params: BaldingNichols, rng: Generator) -> Variants:
    """Draw frequencies, rates of missing calls and faults of all variants, in random order."""
    n = params.n_variants
    shares = (params.common_share, params.bad_variant_share, params.hwe_failure_share)
    n_common, n_bad, n_failing = (min(n, round(share * n)) for share in shares)
    # in the order clean, bad, failing, rare; then shuffled
    ends = np.minimum(np.cumsum([n_common, n_bad, n_failing]), n)
    number = np.arange(n)
    rare = number >= ends[2]
    frequency = np.empty((n, len(params.group_shares)))
    frequency[~rare] = _frequencies(int(ends[2]), params, rng, rare=False)
    frequency[rare] = _frequencies(n - int(ends[2]), params, rng, rare=True)
    fault = np.full(n, CLEAN, np.uint8)
    fault[ends[1] : ends[2]] = np.where(np.arange(ends[2] - ends[1]) % 2, HET_DEFICIT, HET_EXCESS)
    missing = _missing_rates(n, params.missing_rate, rng)
    missing[ends[0] : ends[1]] = rng.uniform(*BAD_VARIANT, ends[1] - ends[0])
    planted = np.array([_PLANTED[one] for one in fault.tolist()], object)
    planted[ends[0] : ends[1]] = "missing calls"
    planted[rare] = "rare"
    order = rng.permutation(n)
    classes = np.maximum(missing[:, None], [0, *BAD_SAMPLES])
    return Variants(
        allele=scaled(frequency[order]),
        missing=scaled(classes[order]),
        fault=fault[order],
        planted=planted[order],
    )


def scaled(share: Any) -> NDArray[np.uint32]:
    """Return shares as numbers of 32 bits."""
    return np.minimum(np.round(np.asarray(share) * 2.0**32), 2.0**32 - 1).astype(np.uint32)


def _missing_rates(n: int, mean: float, rng: Generator) -> NDArray[np.float64]:
    """Draw rates of ordinary variants: exponential, and never near the usual limit of 0.05."""
    return np.minimum(rng.exponential(mean, n), 0.04)


def _frequencies(n: int, params: BaldingNichols, rng: Generator, *, rare: bool) -> NDArray[np.float64]:
    """Draw the groups' frequencies, f8 (n, groups); the cohort's expected one is on its side of the limit."""
    shares = np.array(list(params.group_shares.values()))
    shares /= shares.sum()
    limit = params.maf_limit
    margin = min(limit / 2, _MARGIN_DEVIATIONS * np.sqrt(limit / (2 * params.n_samples)))
    low, high = (RAREST, limit - margin) if rare else (limit + margin, 0.5)
    out = np.empty((n, len(shares)))
    left = np.arange(n)
    while len(left):
        ancestral = np.exp(rng.uniform(np.log(low), np.log(high), len(left)))
        drawn = _drifted(ancestral, params.fst, len(shares), rng)
        pooled = drawn @ shares
        fits = (np.minimum(pooled, 1 - pooled) >= low) & (np.minimum(pooled, 1 - pooled) <= high)
        out[left[fits]] = drawn[fits]
        left = left[~fits]
    # the alternate allele is the younger one: of the two, it is the common one with the chance f
    swapped = rng.random(n) < (out @ shares) * (not rare)
    out[swapped] = 1 - out[swapped]
    return out


def _drifted(ancestral: NDArray[np.float64], fst: float, groups: int, rng: Generator) -> NDArray[np.float64]:
    spread = (1 - fst) / fst
    f = np.repeat(ancestral[:, None], groups, axis=1)
    return rng.beta(f * spread, (1 - f) * spread)


def sites(n: int, rng: Generator) -> dict[str, Any]:
    """Return positions, uniform over the autosomes and no two the same, identifiers and alleles."""
    lengths = np.array(_CHROMOSOMES) * 1_000_000
    ends = np.round(np.cumsum(lengths) / lengths.sum() * n).astype(np.int64)
    contig = np.searchsorted(ends, np.arange(n), side="right")
    starts = np.concatenate([[0], ends[:-1]])
    counts = ends - starts
    u = rng.random(n)
    u = u[np.lexsort((u, contig))]
    position = 1 + (u * (lengths - counts)[contig]).astype(np.int64) + np.arange(n) - starts[contig]
    numbers = rng.choice(1_000_000_000, n, replace=False)
    reference = rng.integers(0, 4, n)
    alternate = (reference + rng.integers(1, 4, n)) % 4
    bases = np.array(list("ACGT"), object)
    return {
        "contig_id": ("contigs", np.array([str(i + 1) for i in range(len(lengths))], object)),
        "variant_contig": ("variants", contig.astype(np.int32)),
        "variant_position": ("variants", position.astype(np.int32)),
        "variant_id": ("variants", np.array([f"rs{i + 1}" for i in numbers.tolist()], object)),
        "variant_allele": (("variants", "alleles"), bases[np.column_stack([reference, alternate])]),
    }
