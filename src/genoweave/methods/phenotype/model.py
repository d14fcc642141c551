"""Traits with known truth: the quantitative model, status, and the samples of a case/control study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.methods.phenotype.ascertain import Sizes, ascertain
from genoweave.methods.phenotype.covariates import Drawn
from genoweave.methods.phenotype.genetic import GeneticModel
from genoweave.methods.phenotype.parameters import Phenotype
from genoweave.methods.phenotype.quantitative import Quantitative, quantitative
from genoweave.methods.phenotype.shares import ADDITIVE
from genoweave.methods.phenotype.status import WHOLE, Rule, assign
from genoweave.rng import Root

_NOISE_DIMS = ("noise_groups", "noise_traits", "noise_traits_too")
STATUS_STREAM, _STUDY_STREAM = "phenotype.status", "phenotype.ascertainment"


def phenotype(
    ds: xr.Dataset,
    params: Phenotype | None = None,
    *,
    effects: pd.DataFrame | None = None,
    covariance: NDArray[np.float64] | None = None,
    effect_correlation: NDArray[np.float64] | None = None,
) -> xr.Dataset:
    """Simulate traits on a cohort and keep their whole truth.

    Parameters
    ----------
    ds
        A cohort with ``call_genotype``; missing calls count as the mean.
    params
        The setting; the default is the paper's, one case/control trait.
    effects
        A user's causal variants: columns ``id``, ``a1`` and an effect per allele for each trait.
    covariance
        float64 (traits, traits), correlations of the correlated noise, instead of ``pcorr``.
    effect_correlation
        float64 (groups, groups), of a variant's effects between ancestry groups in alphabetical order.

    Returns
    -------
    xarray.Dataset
        Of one trait; of several each variable but those of ids has a last dimension ``traits``, and
        ``trait_id`` names them.

        ``sample_case`` int8 (samples,), 1 case, 0 control, -1 in a quantitative trait (no variable if no
        trait has a status); ``sample_is_ascertained`` bool, whether the sample is in the study;
        ``sample_liability``, ``sample_genetic_value`` f8, mean 0; ``sample_component`` f8 (samples,
        components), ``component_id``; ``sample_covariate`` f8 (samples, covariates), ``covariate_id`` and
        ``covariate_effect`` (covariates,) if there are covariates.

        ``variant_is_causal`` bool (variants,), ``variant_effect`` (per standardised genotype),
        ``variant_effect_per_allele`` and ``variant_allele_frequency`` f8, on the liability's scale, of
        several groups their mean over samples; ``variant_background_effect``, ``variant_dominance_effect``,
        ``variant_interaction_effect`` and ``pair_effect`` (pairs,) with ``pair_variant`` (pairs, 2) of the
        parts that there are; ``model_*`` all that gives the same trait to other samples.

        ``share_*`` (shares,): shares of variance asked for and realised. ``attrs["trait"]``: the setting, of
        each trait the rule that gives the status or None (``rules``), and ``threshold``, if there is one.

    Raises
    ------
    DataError
        If no variant varies, a share has nothing to vary, a prevalence makes no case or no control, or there
        are too few cases or controls to draw.
    ConfigError
        If the matrices are no correlations.

    Notes
    -----
    Passes, memory and time are those of `quantitative`; status and study take 16 bytes per sample. All
    draws are addressed by the variant's row in the source and by the sample's place, and don't depend on
    chunks.
    """
    params = params or Phenotype()
    made = quantitative(
        ds, params, effects=effects, covariance=covariance, effect_correlation=effect_correlation
    )
    case, study, rules = _statuses(made.liability, params, labels_of(ds))
    variables = _samples(made) | _shares(made.shares) | _effects(made.model)
    variables |= {"sample_id": ("samples", ds["sample_id"].values)}
    variables |= of_traits("sample_is_ascertained", ("samples",), study)
    if any(rule is not None for rule in rules):
        variables |= of_traits("sample_case", ("samples",), case)
    if params.traits > 1:
        variables["trait_id"] = ("traits", np.array(made.trait_id, object))
    stored = made.model.to_dataset().assign(noise_covariance=(_NOISE_DIMS, noise_covariance(made)))
    return stored.assign(variables).assign_attrs(trait=_setting(params, rules))


def labels_of(ds: xr.Dataset) -> NDArray[Any] | None:
    """Return the ancestry group of each sample, None where the cohort has none."""
    return np.asarray(ds["sample_ancestry"].values) if "sample_ancestry" in ds else None


def of_traits(name: str, dims: tuple[str, ...], values: NDArray[Any]) -> dict[str, Any]:
    """Return a variable with a last dimension of traits, or without it where there is one trait."""
    if values.shape[-1] == 1:
        return {name: (dims, values[..., 0])}
    return {name: ((*dims, "traits"), values)}


def _setting(params: Phenotype, rules: list[Rule | None]) -> dict[str, Any]:
    setting = params.model_dump(mode="json")
    setting["rules"] = [None if rule is None else rule.to_attrs() for rule in rules]
    if len(rules) == 1 and rules[0] is not None and set(rules[0].cut) == {WHOLE}:
        setting["threshold"] = rules[0].cut[WHOLE]
    return setting


def _rule(params: Phenotype, k: int) -> Rule | None:
    """Return the rule of a trait, its cuts not known yet."""
    status = params.status_by_trait[k] if params.status_by_trait else params.status
    if status == "none":
        return None
    overall = params.prevalence_by_trait[k] if params.prevalence_by_trait else params.prevalence
    return Rule(status, params.logit_slope, {**params.prevalence_by_group, WHOLE: overall}, {})


def _statuses(
    liability: NDArray[np.float64], params: Phenotype, labels: NDArray[Any] | None
) -> tuple[NDArray[np.int8], NDArray[np.bool_], list[Rule | None]]:
    """Return status and whether in the study, (samples, traits), and the rule of each trait."""
    root = Root.from_seed(params.seed)
    sizes = Sizes(params.n_cases, params.n_controls, params.controls_per_case, params.ascertain_by_group)
    case = np.full(liability.shape, -1, np.int8)
    study = np.ones(liability.shape, bool)
    rules = []
    for k in range(liability.shape[1]):
        rule = _rule(params, k)
        if rule is not None:
            exact, stream = params.counts == "exact", root.stream(STATUS_STREAM)
            case[:, k], rule = assign(liability[:, k], rule, labels, stream, k, exact=exact)
            study[:, k] = ascertain(case[:, k], sizes, labels, root.stream(_STUDY_STREAM), k)
        rules.append(rule)
    return case, study, rules


def _samples(made: Quantitative) -> dict[str, Any]:
    names = list(made.components)
    components = np.stack([made.components[name] for name in names], axis=1)
    variables: dict[str, Any] = {"component_id": ("components", np.array(names, object))}
    variables |= of_traits("sample_liability", ("samples",), made.liability)
    variables |= of_traits("sample_genetic_value", ("samples",), made.genetic)
    variables |= of_traits("sample_component", ("samples", "components"), components)
    if made.covariates is not None:
        drawn = made.covariates
        variables["covariate_id"] = ("covariates", np.array(drawn.design_names, object))
        variables["sample_covariate"] = (("samples", "covariates"), _design(drawn))
        variables |= of_traits("covariate_effect", ("covariates",), drawn.effects)
    return variables


def _design(drawn: Drawn) -> NDArray[np.float64]:
    """Return the columns that act, as a GWAS wants them: of categories 0 and 1 for each but the first."""
    columns = []
    for kind, values in zip(drawn.kinds, drawn.values.T, strict=True):
        levels = np.unique(values)[1:] if kind == "categorical" else []
        columns += [values == level for level in levels] if kind == "categorical" else [values]
    return np.column_stack(columns).astype(np.float64)


def _effects(model: GeneticModel) -> dict[str, Any]:
    acts = any(term.name in (*ADDITIVE, "dominance", "interaction") for term in model.terms)
    variables: dict[str, Any] = {
        "variant_is_causal": ("variants", model.causal & acts),
        "variant_allele_frequency": ("variants", model.frequency),
    }
    variables |= of_traits("variant_effect", ("variants",), model.effect)
    variables |= of_traits("variant_effect_per_allele", ("variants",), model.per_allele)
    for name in ("background", "dominance", "interaction"):
        effect = getattr(model, name)
        if effect is not None:
            variables |= of_traits(f"variant_{name}_effect", ("variants",), effect)
    if model.pair_effects is not None:
        variables["pair_variant"] = (("pairs", "two"), model.pairs)
        variables |= of_traits("pair_effect", ("pairs",), model.pair_effects)
    return variables


def _shares(table: pd.DataFrame) -> dict[str, Any]:
    kinds = {"trait": object, "group": object, "component": object, "asked": float, "realised": float}
    return {f"share_{name}": ("shares", table[name].to_numpy(kind)) for name, kind in kinds.items()}


def noise_covariance(made: Quantitative) -> NDArray[np.float64]:
    """Return the covariance of all that is not genetic between traits, f8 (groups, traits, traits)."""
    rest = sum(v for name, v in made.components.items() if name not in made.genetic_names)
    residual = np.broadcast_to(rest, made.liability.shape)
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        parts = [residual[made.group == k] for k in range(len(made.model.groups))]
        centred = [part - part.mean(axis=0) for part in parts]
        return np.stack([part.T @ part / max(1, len(part)) for part in centred])
