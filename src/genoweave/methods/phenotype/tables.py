"""Tables of a simulated trait's truth: causal variants, samples, shares of variance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.methods.phenotype.genetic import GeneticModel
from genoweave.methods.phenotype.truth import expected_association, trait_columns, trait_names

_EXPECTED = {"n": "N", "beta": "EXPECTED_BETA", "se": "EXPECTED_SE", "r2": "R2", "ncp": "NCP", "z": "Z",
             "power": "POWER"}  # fmt: skip


def causal_table(ds: xr.Dataset, trait: xr.Dataset, *, expected: bool = True) -> pd.DataFrame:
    """Return the causal variants, a row for each and each trait.

    Parameters
    ----------
    ds
        The cohort that the trait was simulated on.
    trait
        From `phenotype`.
    expected
        Add what `expected_association` says: one more pass over the causal variants.

    Returns
    -------
    DataFrame
        TRAIT (if there are several), ID, A1 (the counted allele), A1_FREQ, EFFECT per standardised genotype
        and EFFECT_PER_ALLELE on the liability's scale; if ancestry groups have effects of their own,
        EFFECT_PER_ALLELE_GROUP of each; DOMINANCE_EFFECT and INTERACTION_EFFECT if there are such parts; N,
        EXPECTED_BETA, EXPECTED_SE, R2, NCP, Z, POWER.
    """
    names, rows = trait_names(trait), np.flatnonzero(trait["variant_is_causal"].values)
    many = len(names) > 1
    several = {"TRAIT": np.repeat(np.array(names, object), len(rows))} if many else {}
    columns = several | {
        "ID": _repeated(ds["variant_id"].values[rows], names),
        "A1": _repeated(ds["variant_allele"].values[rows, 1], names),
        "A1_FREQ": _repeated(trait["variant_allele_frequency"].values[rows], names),
        "EFFECT": _by_trait(trait["variant_effect"], rows),
        "EFFECT_PER_ALLELE": _by_trait(trait["variant_effect_per_allele"], rows),
    }
    columns |= _effects_in_groups(trait, rows)
    for part in ("dominance", "interaction"):
        if f"variant_{part}_effect" in trait:
            columns[f"{part.upper()}_EFFECT"] = _by_trait(trait[f"variant_{part}_effect"], rows)
    table = pd.DataFrame(columns)
    if expected:
        found = expected_association(ds, trait)
        table = table.assign(**{new: found[old].to_numpy() for old, new in _EXPECTED.items()})
    return table


def _repeated(values: NDArray[Any], names: list[str]) -> NDArray[Any]:
    return np.tile(values, len(names))


def _by_trait(variable: xr.DataArray, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return a variable of variants at some of them, one trait after the other."""
    return np.asarray(trait_columns(variable)[rows].T.ravel())


def _effects_in_groups(trait: xr.Dataset, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    model = GeneticModel.from_dataset(trait)
    if len(model.groups) == 1:
        return {}
    deviation = model.deviation[rows, None]
    return {
        f"EFFECT_PER_ALLELE_{name}": (model.group_effect(k)[rows] / deviation).T.ravel()
        for k, name in enumerate(model.groups)
    }


def background_table(ds: xr.Dataset, trait: xr.Dataset) -> pd.DataFrame | None:
    """Return ID, A1 and the infinitesimal effect per standardised genotype of each variant and trait."""
    if "variant_background_effect" not in trait:
        return None
    effects = trait_columns(trait["variant_background_effect"])
    columns = {f"EFFECT_{name}": effects[:, k] for k, name in enumerate(trait_names(trait))}
    if effects.shape[1] == 1:
        columns = {"EFFECT": effects[:, 0]}
    ids = {"ID": ds["variant_id"].values, "A1": ds["variant_allele"].values[:, 1]}
    return pd.DataFrame(ids | columns)


def pairs_table(ds: xr.Dataset, trait: xr.Dataset) -> pd.DataFrame | None:
    """Return the pairs of variants that interact and the effect of their product, for each trait."""
    if "pair_variant" not in trait:
        return None
    names, pairs = trait_names(trait), trait["pair_variant"].values
    several = {"TRAIT": np.repeat(np.array(names, object), len(pairs))} if len(names) > 1 else {}
    ids = ds["variant_id"].values
    named = {f"ID{k + 1}": _repeated(ids[pairs[:, k]], names) for k in range(2)}
    effects = trait_columns(trait["pair_effect"]).T.ravel()
    return pd.DataFrame(several | named | {"EFFECT": effects})


def sample_columns(trait: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Return (samples,) of each trait: case, liability, genetic_value, ascertained, every component.

    ``case`` is 1 or 0 and is not there for a quantitative trait, ``ascertained`` 1 or 0 only where samples
    were drawn. Of several traits the columns are TRAIT.case and so on. They are views, and no copies.
    """
    names = trait_names(trait)
    columns: dict[str, Any] = {}
    variables = {"case": "sample_case", "liability": "sample_liability",
                 "genetic_value": "sample_genetic_value", "ascertained": "sample_is_ascertained"}  # fmt: skip
    values = {
        name: trait_columns(trait[variable]) for name, variable in variables.items() if variable in trait
    }
    if values["ascertained"].all():
        del values["ascertained"]
    components = trait_columns(trait["sample_component"])
    for k, name in enumerate(names):
        prefix = f"{name}." if len(names) > 1 else ""
        is_quantitative = trait.attrs["trait"]["rules"][k] is None
        for column, of_traits in values.items():
            if column != "case" or not is_quantitative:
                columns[f"{prefix}{column}"] = of_traits[:, k]
        for c, component in enumerate(trait["component_id"].values):
            columns[f"{prefix}{component}"] = components[:, c, k]
    return columns


def shares_table(trait: xr.Dataset) -> pd.DataFrame:
    """Return the shares of variance: trait, group, component, asked, realised."""
    names = ("trait", "group", "component", "asked", "realised")
    return pd.DataFrame({name: trait[f"share_{name}"].values for name in names})


def covariate_table(trait: xr.Dataset) -> pd.DataFrame | None:
    """Return the covariates and their effect on each trait, per unit of the column in PREFIX.covar."""
    if "covariate_id" not in trait:
        return None
    effects = trait_columns(trait["covariate_effect"])
    columns = {f"EFFECT_{name}": effects[:, k] for k, name in enumerate(trait_names(trait))}
    if effects.shape[1] == 1:
        columns = {"EFFECT": effects[:, 0]}
    return pd.DataFrame({"COVARIATE": trait["covariate_id"].values} | columns)
