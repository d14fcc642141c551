"""Quantitative traits of known truth: PhenotypeSimulator's model, out of core (Meyer & Birney 2018).

Trait = causal variants + infinitesimal part + covariates + stratification + correlated and observational
noise, each rescaled to its share of the variance and added up. The infinitesimal part is standardised
genotypes times random effects, which has the covariance of the relationship matrix without forming it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.chunks import human_bytes
from genoweave.errors import ConfigError, DataError, MemoryBudgetError
from genoweave.execution import machine_memory
from genoweave.genotypes import source_rows
from genoweave.methods.frequencies import allele_frequency, count_genotypes
from genoweave.methods.phenotype import covariates as cov
from genoweave.methods.phenotype.effects import (
    Causal,
    EffectDraws,
    Given,
    acting_traits,
    choose_causal,
    correlation_root,
    read_given,
)
from genoweave.methods.phenotype.genetic import GeneticModel, genetic_values_of, raw_sums
from genoweave.methods.phenotype.noise import draw_noise, noise_names, uncorrelated
from genoweave.methods.phenotype.parameters import Phenotype
from genoweave.methods.phenotype.shares import (
    GENETIC,
    SYSTEMATIC,
    Groups,
    asked_shares,
    stretches,
    variance_table,
)
from genoweave.methods.phenotype.terms import draw_terms
from genoweave.methods.phenotype.transforms import transformed
from genoweave.methods.qc import usable_variants
from genoweave.rng import Root

__all__ = ["GeneticModel", "Quantitative", "genetic_values_of", "quantitative"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Quantitative:
    """Traits with their whole truth.

    Attributes
    ----------
    trait_id
        Names of the traits.
    liability
        f8 (samples, traits): the sum of the components, or the transform of it.
    genetic
        f8 (samples, traits): the sum of the genetic components.
    components
        Each f8 (samples, traits), in the order in which they are added; only those that have a share.
    genetic_names
        Which of them are genetic.
    model
        All that gives other samples their genetic part.
    covariates
        Covariates and their effects, or None.
    shares
        Columns trait, group, component, asked, realised: variances, of sums of components too.
    groups, group
        Names of the groups within each of which the shares are met, empty if all samples are one; int64
        (samples,) number of each sample's group.
    """

    trait_id: tuple[str, ...]
    liability: Float
    genetic: Float
    components: dict[str, Float]
    genetic_names: tuple[str, ...]
    model: GeneticModel
    covariates: cov.Drawn | None
    shares: pd.DataFrame
    groups: tuple[str, ...]
    group: NDArray[np.int64]


@dataclass(frozen=True)
class _Setting:
    """What the components are made from."""

    params: Phenotype
    root: Root
    groups: Groups
    shares: dict[str, Float]

    def scaled(self, name: str, raw: Float) -> tuple[Float, Float, Float]:
        """Return a component at its share, its stretch f8 (groups, traits), and the mean that it lost."""
        stretch = stretches(name, raw, self.shares[name], self.groups, self.params.scaling)
        values = raw * stretch[self.groups.number]
        mean = values.mean(axis=0)
        return values - mean, stretch, mean


@threadpool_limits.wrap(limits=1)  # the bits of a product depend on the threads of BLAS
def quantitative(
    ds: xr.Dataset,
    params: Phenotype | None = None,
    *,
    effects: pd.DataFrame | None = None,
    covariance: Float | None = None,
    effect_correlation: Float | None = None,
) -> Quantitative:
    """Simulate quantitative traits on a cohort and keep their whole truth.

    Parameters
    ----------
    ds
        A cohort with ``call_genotype``; missing calls count as the mean. Groups want ``sample_ancestry``,
        stratification takes ``sample_pca_projection`` if it is there.
    params
        Setting of the traits.
    effects
        Causal variants with their effects per allele, instead of drawn ones: columns ``id``, ``a1`` (the
        allele of which the effect is) and one of effects for each trait, by whose names several traits are
        called. ``n_causal`` is then not given.
    covariance
        f8 (traits, traits) of the correlated noise, instead of correlations pcorr^|i - j|.
    effect_correlation
        f8 (groups, groups): correlations of a variant's effects between the ancestry groups, in the order
        of their sorted names; instead of ``params.effect_correlation`` between any two.

    Returns
    -------
    Quantitative
        Traits, components, effects, covariates, realised shares.

    Raises
    ------
    DataError
        If no variant varies, the cohort lacks groups, covariates or components that are asked for, a
        component with a share does not vary, or effects name variants or alleles that the cohort lacks.
    ConfigError
        If a matrix is of the wrong size or not positive definite, or options exclude each other.
    MemoryBudgetError
        If so many traits of so many samples do not fit into memory.

    Notes
    -----
    Variances have divisor n. One pass over the genotypes for the frequencies, one for every 64 columns of
    effects (a part that traits share has one column, one that they do not has one a trait), one for every 256
    pairs of variants, and those of the principal components if they are wanted and not there. Memory: 8 bytes
    x variants x columns of effects x groups (where effects differ), 32 bytes x samples x traits x components,
    and what a task reads.
    Draws are addressed by the variant's row in the source and by the sample's place: the result has the same
    bits for any chunking and number of workers.
    """
    params = params or Phenotype()
    root = Root.from_seed(params.seed)
    given = None if effects is None else read_given(ds, effects, params.traits)
    groups, correlation, heritability = _groups(ds, params, effect_correlation)
    _check_given(params, given, groups)
    acts = acting_traits(params, root)
    shares = asked_shares(params, heritability, acts, given is not None)
    _check_memory(ds.sizes["samples"], params.traits, len(shares))
    setting = _Setting(params, root, groups, shares)

    @cache
    def components() -> Float:
        return cov.leading_components(ds, params)

    drawn, design = cov.draw_covariates(ds, params, components, root)
    model, found = _genetic(ds, setting, given, correlation, drawn)
    effects_of_design = _systematic(setting, design, components, found)
    _noise(setting, covariance, found)
    unit = _unit(model, params, given)
    model = _in_units(model, unit)
    found = {name: values * unit for name, values in found.items()}
    genetic_names = tuple(name for name in found if name in GENETIC)
    n = ds.sizes["samples"]
    return Quantitative(
        trait_id=_trait_names(params, given),
        liability=transformed(_total(found, n, params.traits), params),
        genetic=_total({name: found[name] for name in genetic_names}, n, params.traits),
        components=found,
        genetic_names=genetic_names,
        model=model,
        covariates=_drawn(params, drawn, design, effects_of_design * unit) if params.covariates else None,
        shares=variance_table(_trait_names(params, given), groups, shares, found, unit),
        groups=groups.names if groups.names != ("",) else (),
        group=groups.number,
    )


def _check_memory(n_samples: int, n_traits: int, n_components: int) -> None:
    # four, as measured with ten traits: components, factors of noise, their basis, and the sums of a task
    needed, limit = 4 * 8 * n_samples * n_traits * n_components, machine_memory()
    if needed > limit:
        raise MemoryBudgetError(
            f"{n_traits:,} traits of {n_components} components over {n_samples:,} samples need "
            f"{human_bytes(needed)} of memory, there are {human_bytes(limit)}; simulate fewer traits, or "
            "take a larger machine"
        )


def _groups(ds: xr.Dataset, params: Phenotype, matrix: Float | None) -> tuple[Groups, Float, Float]:
    """Return the groups, the correlations of effects between them, and their heritabilities."""
    n = ds.sizes["samples"]
    if not params.heritability_by_group and params.effect_correlation == 1 and matrix is None:
        return Groups(("",), np.zeros(n, np.int64)), np.ones((1, 1)), np.array([params.heritability])
    names, number = cov.ancestry_groups(ds, "a trait that differs between ancestry groups")
    unknown = set(params.heritability_by_group) - set(names)
    if unknown:
        raise DataError(
            f"heritability_by_group names {', '.join(sorted(unknown))}; the cohort's ancestry groups are "
            f"{', '.join(names)}"
        )
    correlation = np.full((len(names), len(names)), params.effect_correlation)
    if matrix is not None:
        correlation = np.asarray(matrix, np.float64)
        if correlation.shape != (len(names), len(names)):
            raise ConfigError(
                f"effect_correlation is wanted as a matrix of {len(names)} x {len(names)} groups "
                f"({', '.join(names)}), found shape {correlation.shape}"
            )
        if not (correlation == 1).all():
            correlation_root(correlation)
    np.fill_diagonal(correlation, 1)
    heritability = [params.heritability_by_group.get(name, params.heritability) for name in names]
    return Groups(tuple(names), number), correlation, np.array(heritability)


def _check_given(params: Phenotype, given: Given | None, groups: Groups) -> None:
    if given is None:
        return
    if params.n_causal is not None:
        raise ConfigError(
            "[Phenotype] n_causal draws the variants that act, and a table of effects gives them; drop one"
        )
    if params.rescale_effects:
        return
    if len(groups) > 1:
        raise ConfigError(
            "[Phenotype] rescale_effects = false keeps given effects as they are, and shares by ancestry "
            "group rescale them within each; drop one of the two"
        )
    if params.heritability * params.h2s * (1 - params.dominance - params.epistasis - params.interaction) <= 0:
        raise ConfigError(
            "[Phenotype] rescale_effects = false scales everything to the given effects, which have no share "
            "of the variance; raise heritability or h2s"
        )


def _genetic(
    ds: xr.Dataset, setting: _Setting, given: Given | None, correlation: Float, drawn: Float
) -> tuple[GeneticModel, dict[str, Float]]:
    """Return the scaled genetic model and its components."""
    params, groups = setting.params, setting.groups
    counts, _ = count_genotypes(ds, label="allele frequencies")
    frequency = allele_frequency(counts[:, 0])
    frequency[~usable_variants(ds, autosomes_only=False)] = np.nan
    rows = source_rows(ds)
    if given is None:
        causal = choose_causal(frequency, rows, params, set(setting.shares), setting.root)
    else:
        causal = Causal(given.rows, given.rows[:0], given.rows)
    draws = EffectDraws(setting.root, params, rows, correlation)
    terms, pairs = draw_terms(frequency, causal, given, draws, params, setting.shares)
    acts = np.zeros(len(frequency), bool)
    acts[causal.every] = True
    covariate, name, scale = _interacting(params, drawn)
    model = GeneticModel(
        frequency, acts, tuple(terms), pairs, groups.names, groups.sizes, params.traits, name, scale
    )
    found, scaled = {}, []
    for term, sums in zip(terms, raw_sums(ds, model, groups.number, covariate).values(), strict=True):
        found[term.name], stretch, offset = setting.scaled(term.name, sums * term.loading)
        scaled.append(replace(term, stretch=stretch, offset=np.tile(offset, (len(groups), 1))))
    return replace(model, terms=tuple(scaled)), found


def _interacting(params: Phenotype, drawn: Float) -> tuple[Float | None, str, tuple[float, float]]:
    """Return values, name, and mean and standard deviation of the covariate that variants interact with."""
    if params.interaction == 0:
        return None, "", (0.0, 1.0)
    names = [covariate.name for covariate in params.covariates]
    name = params.interaction_covariate or names[0]
    values = drawn[:, names.index(name)]
    return values, name, (float(np.nanmean(values)), float(np.nanstd(values)))


def _systematic(
    setting: _Setting, design: cov.Design, components: Callable[[], Float], found: dict[str, Float]
) -> Float:
    """Add covariates and stratification to `found`; return the covariates' effects per unit of a column."""
    params, groups = setting.params, setting.groups
    effects = np.zeros((design.columns.shape[1], params.traits))
    for name in SYSTEMATIC:
        if name not in setting.shares:
            continue
        if name == "stratification":
            columns = cov.standard_components(components())
            drawn = cov.stratification_effects(columns.shape[1], params, setting.root)
            found[name], _, _ = setting.scaled(name, cov.weighted(columns, drawn))
            continue
        drawn = cov.covariate_effects(name, design, params, setting.root)
        found[name], stretch, _ = setting.scaled(name, cov.weighted(design.columns, drawn))
        weights = groups.sizes / groups.sizes.sum()
        effects += drawn * (weights[:, None] * stretch).sum(axis=0)
    return effects / design.sd[:, None]


def _noise(setting: _Setting, covariance: Float | None, found: dict[str, Float]) -> None:
    """Add the noise to `found`."""
    params = setting.params
    n = len(setting.groups.number)
    names = noise_names(setting.shares)
    drawn = {name: draw_noise(name, n, params, covariance, setting.root) for name in names}
    factors = {name: factor for name, (factor, _) in drawn.items()}
    if params.orthogonal_noise and factors:
        factors = uncorrelated(factors, list(found.values()), setting.groups)
    for name, factor in factors.items():
        found[name], _, _ = setting.scaled(name, factor @ drawn[name][1])


def _unit(model: GeneticModel, params: Phenotype, given: Given | None) -> Float:
    """Return the factors f8 (traits,) of the traits by which given effects stay as they are."""
    if given is None or params.rescale_effects:
        return np.ones(params.traits)
    term = next(term for term in model.terms if term.name == "additive")
    return np.asarray(1 / term.stretch[0])


def _in_units(model: GeneticModel, unit: Float) -> GeneticModel:
    scaled = (replace(term, stretch=term.stretch * unit, offset=term.offset * unit) for term in model.terms)
    return replace(model, terms=tuple(scaled))


def _total(components: dict[str, Float], n_samples: int, n_traits: int) -> Float:
    out = np.zeros((n_samples, n_traits))
    for values in components.values():
        out += values
    return out


def _trait_names(params: Phenotype, given: Given | None) -> tuple[str, ...]:
    return given.trait_id if given is not None else tuple(f"trait{t + 1}" for t in range(params.traits))


def _drawn(params: Phenotype, values: Float, design: cov.Design, effects: Float) -> cov.Drawn:
    return cov.Drawn(
        tuple(covariate.name for covariate in params.covariates),
        tuple(covariate.kind for covariate in params.covariates),
        values,
        design.names,
        effects,
    )
