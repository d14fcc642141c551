"""A binary trait with known truth: PhenotypeSimulator's model at SynGen6's setting (Meyer & Birney 2018).

Liability = genetic part + noise. The genetic part is the sum of standardised genotypes times normal
effects over all causal variants, rescaled so that its variance in the cohort is the heritability;
the noise is rescaled to the rest. The cases are the samples with the largest liabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import tiles
from genoweave.errors import DataError
from genoweave.execution import fold
from genoweave.genotypes import Source, blocks, read_packed, select, source_of, source_rows
from genoweave.kernels.packed import HET, HOM_ALT, HOM_REF
from genoweave.kernels.scores import add_values
from genoweave.methods.frequencies import allele_frequency, count_genotypes
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root


class Phenotype(Parameters):
    """The trait's setting; the defaults are the paper's."""

    causal_fraction: float = Field(0.1, gt=0, le=1, description="share of the variants that act on the trait")
    heritability: float = Field(
        0.9, ge=0, le=1, description="share of the liability's variance that is genetic"
    )
    prevalence: float = Field(0.5, gt=0, lt=1, description="share of the samples that are cases, met exactly")
    seed: int = Field(0, ge=0, description="public seed of causal variants, effects and noise")


def phenotype(ds: xr.Dataset, params: Phenotype | None = None) -> xr.Dataset:
    """Simulate a case/control trait on a cohort and keep its whole truth.

    Parameters
    ----------
    ds
        A cohort with ``call_genotype``; missing calls count as the mean.
    params
        Setting of the trait.

    Returns
    -------
    xarray.Dataset
        ``sample_case`` int8 (samples,), 1 case, 0 control; ``sample_liability``,
        ``sample_genetic_value`` f8 (samples,), mean 0; ``variant_is_causal`` bool, ``variant_effect`` (per
        standardised genotype), ``variant_effect_per_allele`` and ``variant_allele_frequency`` f8 (variants,),
        on the liability's scale; ``attrs["trait"]`` with the setting and the liability threshold.

    Raises
    ------
    DataError
        If no variant varies.

    Notes
    -----
    Two passes. Memory: 8 bytes per sample and variant, and one tile per task. Causal variants and effects are
    addressed by the variant's row in the source, and don't depend on chunks.
    """
    params = params or Phenotype()
    counts, _ = count_genotypes(ds, label="frequencies")
    frequency = allele_frequency(counts[:, 0])
    causal, beta = _draw_effects(frequency, source_rows(ds), params)
    scale = np.zeros(len(frequency))
    scale[causal] = 1 / np.sqrt(2 * frequency[causal] * (1 - frequency[causal]))
    raw = genetic_values(ds, frequency, beta * scale)
    noise = Root.from_seed(params.seed).stream("phenotype.noise").normals(0, len(raw))
    genetic, stretch = _rescale(raw, params.heritability)
    liability = genetic + _rescale(noise, 1 - params.heritability)[0]
    case, threshold = _cases(liability, params.prevalence)
    return xr.Dataset(
        {
            "sample_id": ("samples", ds["sample_id"].values),
            "sample_case": ("samples", case),
            "sample_liability": ("samples", liability),
            "sample_genetic_value": ("samples", genetic),
            "variant_is_causal": ("variants", causal),
            "variant_effect": ("variants", beta * stretch),
            "variant_effect_per_allele": ("variants", beta * stretch * scale),
            "variant_allele_frequency": ("variants", frequency),
        },
        attrs={
            "trait": params.model_dump()
            | {"threshold": threshold, "genetic_offset": float(raw.mean() * stretch)}
        },
    )


def genetic_values(
    ds: xr.Dataset, frequency: NDArray[np.float64], per_allele: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return sum over variants of (g - 2p) times an effect per allele, f8 (samples,); missing counts 0.

    Only the variants with an effect are read; sums run over fixed tiles.
    """
    rows = np.flatnonzero(per_allele)
    values = np.zeros((len(rows), 4))
    for code, dosage in ((HOM_REF, 0), (HET, 1), (HOM_ALT, 2)):
        values[:, code] = (dosage - 2 * frequency[rows]) * per_allele[rows]
    state = {"sum": np.zeros(ds.sizes["samples"])}
    shared = (source_of(select(ds, rows)), values)
    return fold("genetic values", _values_tile, tiles(len(rows)), state, _add, shared=shared)["sum"]


def relatives_trait(ds: xr.Dataset, trait: xr.Dataset) -> xr.Dataset:
    """Give the same trait (effects, threshold) to other samples over the same variants.

    Returns
    -------
    xarray.Dataset
        ``sample_case``, ``sample_liability``, ``sample_genetic_value`` (samples,).
    """
    setting = trait.attrs["trait"]
    genetic = genetic_values(
        ds, trait["variant_allele_frequency"].values, trait["variant_effect_per_allele"].values
    )
    genetic -= setting["genetic_offset"]
    stream = Root.from_seed(setting["seed"]).stream("phenotype.noise-of-relatives")
    liability = genetic + np.sqrt(1 - setting["heritability"]) * stream.normals(0, len(genetic))
    case = (liability >= setting["threshold"]).astype(np.int8)
    return xr.Dataset(
        {
            "sample_case": ("samples", case),
            "sample_liability": ("samples", liability),
            "sample_genetic_value": ("samples", genetic),
        }
    )


def _draw_effects(
    frequency: NDArray[np.float64], rows: NDArray[np.int64], params: Phenotype
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Causal variants without replacement among those that vary, and normal effects, 0 elsewhere."""
    varies = np.flatnonzero((frequency > 0) & (frequency < 1))
    if len(varies) == 0:
        raise DataError("no variant varies in this cohort, so that no trait can be simulated on it")
    root = Root.from_seed(params.seed)
    wanted = min(len(varies), max(1, round(params.causal_fraction * len(frequency))))
    order = np.argsort(root.stream("phenotype.causal").words64(0, rows[varies]), kind="stable")
    causal = np.zeros(len(frequency), bool)
    causal[varies[order[:wanted]]] = True
    effects = root.stream("phenotype.effect").normals(0, rows)
    return causal, np.where(causal, effects, 0.0)


def _rescale(values: NDArray[np.float64], variance: float) -> tuple[NDArray[np.float64], float]:
    """Centre `values` and stretch them to a variance; also return the stretch."""
    centred = values - values.mean()
    sd = centred.std()
    stretch = float(np.sqrt(variance) / sd) if sd > 0 else 0.0
    return centred * stretch, stretch


def _cases(liability: NDArray[np.float64], prevalence: float) -> tuple[NDArray[np.int8], float]:
    """Exactly round(n K) cases: the largest liabilities."""
    n_cases = round(prevalence * len(liability))
    if not 0 < n_cases < len(liability):
        raise DataError(
            f"a prevalence of {prevalence:g} makes no case, or no control, among {len(liability)} samples; "
            "change [phenotype] prevalence or make more samples"
        )
    order = np.argsort(-liability, kind="stable")
    case = np.zeros(len(liability), np.int8)
    case[order[:n_cases]] = 1
    return case, float(liability[order[n_cases - 1]])


def _values_tile(source: Source, values: NDArray[np.float64], v0: int, v1: int) -> NDArray[np.float64]:
    """Task: one tile's part of everybody's value; each sample's sum runs over the variants in their order."""
    out = np.zeros(source.shape[1])
    for a, b, s0, s1 in blocks(source, v0, v1):
        add_values(read_packed(source, a, b, s0, s1), values[a:b], out[s0:s1])
    return out


def _add(state: dict[str, Any], _: int, part: NDArray[np.float64]) -> None:
    state["sum"] += part
