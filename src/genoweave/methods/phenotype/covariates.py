"""Covariates and stratification: values per sample, drawn or taken from the cohort, and their effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from genoweave.aggregate import people
from genoweave.errors import DataError
from genoweave.methods.frequencies import group_numbers
from genoweave.methods.phenotype.effects import acting_traits
from genoweave.methods.phenotype.parameters import Covariate, Phenotype
from genoweave.rng import Root

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """Covariates of the samples, and what they do.

    Attributes
    ----------
    names
        Of the columns; a categorical covariate has one, of its level.
    kinds
        Distribution of each.
    values
        f8 (samples, covariates), NaN missing (only of covariates of the cohort).
    design_names
        Of the columns that act: a categorical covariate has one for each level but the first, ``age_2``.
    effects
        f8 (columns that act, traits), per unit, on the liability's scale; of several groups the mean.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    values: Float
    design_names: tuple[str, ...]
    effects: Float


@dataclass(frozen=True)
class Design:
    """Columns by which covariates act: centred, of variance 1, missing values at the mean.

    Attributes
    ----------
    names, owners
        Names of the columns, and the covariate of each.
    columns
        f8 (samples, columns).
    mean, sd
        f8 (columns,) that were taken out.
    """

    names: tuple[str, ...]
    owners: NDArray[np.int64]
    columns: Float
    mean: Float
    sd: Float


def draw_covariates(
    ds: xr.Dataset, params: Phenotype, components: Callable[[], Float], root: Root
) -> tuple[Float, Design]:
    """Draw all covariates, or take them from the cohort.

    Parameters
    ----------
    ds
        The cohort; confounders want ``sample_ancestry``, covariates of the cohort ``sample_covariate``.
    params
        The setting.
    components
        Gives the principal components f8 (samples, k), when they are needed.
    root
        Of the public seed. The draws of covariate i are in row i of a stream of its own name.

    Returns
    -------
    values
        f8 (samples, covariates).
    design
        The columns that act.

    Raises
    ------
    DataError
        If the cohort lacks what a covariate depends on, a covariate does not vary, or two columns have one
        name, as a covariate ``place_2`` and the second level of ``place``.
    """
    values = [_values(ds, covariate, params, components, root) for covariate in params.covariates]
    names, owners, columns = [], [], []
    for i, (covariate, column) in enumerate(zip(params.covariates, values, strict=True)):
        for name, part in _columns(covariate, column):
            names.append(name)
            owners.append(i)
            columns.append(part)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two columns of the covariates would be called {twice[0]}; rename a covariate")
    n = ds.sizes["samples"]
    raw = np.stack(columns, axis=1) if columns else np.empty((n, 0))
    return (np.stack(values, axis=1) if values else np.empty((n, 0))), _design(names, owners, raw)


def _values(
    ds: xr.Dataset, covariate: Covariate, params: Phenotype, components: Callable[[], Float], root: Root
) -> Float:
    if covariate.kind == "cohort":
        return _of_cohort(ds, covariate.name)
    n = ds.sizes["samples"]
    stream = root.stream(f"phenotype.covariate.{covariate.name}")
    if covariate.depends_on == "nothing":
        return _distributed(covariate, stream.uniforms(0, n))
    latent = np.sqrt(1 - covariate.dependence) * stream.normals(0, n)
    cause = _of_groups(ds, covariate, root) if covariate.depends_on == "ancestry" else None
    if cause is None:
        scores = standard_components(components())
        weight = root.stream(f"phenotype.confounding.{covariate.name}").normals(0, scores.shape[1])
        cause = np.zeros(n)
        for column, w in zip(scores.T, weight, strict=True):
            cause += column * w
    spread = cause.std()
    if not spread > 0:
        raise DataError(
            f"covariate {covariate.name} depends on {covariate.depends_on}, which does not vary over the "
            'samples; set depends_on = "nothing"'
        )
    latent += np.sqrt(covariate.dependence) * (cause - cause.mean()) / spread
    return _distributed(covariate, ndtr(latent))


def _of_cohort(ds: xr.Dataset, name: str) -> Float:
    if "sample_covariate" not in ds:
        raise DataError(
            f"covariate {name} is to be the cohort's, and the cohort has no covariates; give a table of "
            "them (--covar)"
        )
    known = [str(one) for one in ds["covariate_id"].values]
    if name not in known:
        raise DataError(f"the cohort has no covariate {name}; it has: {', '.join(known)}")
    return np.asarray(ds["sample_covariate"].values[:, known.index(name)], np.float64)


def _of_groups(ds: xr.Dataset, covariate: Covariate, root: Root) -> Float:
    names, number = ancestry_groups(ds, f"covariate {covariate.name}")
    levels = root.stream(f"phenotype.confounding.{covariate.name}").normals(0, len(names))
    return np.asarray(levels[number])


def ancestry_groups(ds: xr.Dataset, what: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return group names and each sample's number.

    Raises
    ------
    DataError
        If samples have no group; the message says `what` wants it.
    """
    if "sample_ancestry" not in ds:
        raise DataError(
            f"{what} wants ancestry groups, and the cohort has none; join a table of ancestry to it"
        )
    names, number = group_numbers(ds["sample_ancestry"].values)
    if (number < 0).any():
        raise DataError(
            f"{what} wants an ancestry group of every sample, and {people(int((number < 0).sum()))} have "
            "none; label or leave them out"
        )
    return names, number


def _distributed(covariate: Covariate, u: Float) -> Float:
    """Turn uniforms into values of a covariate's distribution."""
    if covariate.kind == "uniform":
        return np.asarray(covariate.mean + covariate.sd * (2 * u - 1))
    if covariate.kind == "binomial":
        return (u > 1 - covariate.probability).astype(np.float64)
    if covariate.kind == "categorical":
        return np.minimum(np.floor(u * covariate.categories), covariate.categories - 1) + 1
    return np.asarray(covariate.mean + covariate.sd * ndtri(u))


def _columns(covariate: Covariate, values: Float) -> list[tuple[str, Float]]:
    """Return the names and columns by which a covariate acts."""
    if covariate.kind != "categorical":
        return [(covariate.name, values)]
    levels = np.unique(values)[1:]
    return [(f"{covariate.name}_{level:g}", (values == level).astype(np.float64)) for level in levels]


def _design(names: list[str], owners: list[int], raw: Float) -> Design:
    if np.isinf(raw).any():
        raise DataError("a covariate of the cohort has infinite values; set them to NaN (missing)")
    known = np.isfinite(raw)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, raw, 0.0)
    mean = filled.sum(axis=0) / count
    centred = np.where(known, filled - mean, 0.0)
    sd = np.sqrt((centred**2).sum(axis=0) / count)
    flat = np.flatnonzero(~(sd > 1e-12 * np.abs(filled).max(axis=0, initial=0.0)))
    if len(flat):
        raise DataError(f"covariate {names[flat[0]]} does not vary over the samples; leave it out")
    return Design(tuple(names), np.array(owners, np.int64), centred / sd, mean, sd)


def covariate_effects(name: str, design: Design, params: Phenotype, root: Root) -> Float:
    """Draw a component's effects per standardised column, f8 (columns, traits), 0 where one has no part.

    As in PhenotypeSimulator effects and, of the shared part, loadings of the traits are normal.

    Raises
    ------
    DataError
        If no covariate belongs to the part.
    """
    shared = name.endswith("_shared")
    wanted = "shared" if shared else "independent"
    belongs = [c.effect in (wanted, "both") or params.traits == 1 for c in params.covariates]
    member = np.array(belongs, bool)[design.owners] if len(design.owners) else np.zeros(0, bool)
    if not member.any():
        raise DataError(
            f"covariates with {wanted} effects have a share of the variance, and no covariate has such an "
            "effect; set gamma, or the effect of a covariate"
        )
    stream = root.stream(f"phenotype.{name}")
    if shared:
        loading = root.stream(f"phenotype.loading.{name}").normals(0, params.traits)
        return np.asarray(np.outer(np.where(member, stream.normals(0, len(member)), 0.0), loading))
    effects = np.stack([stream.normals(t, len(member)) for t in range(params.traits)], axis=1)
    return np.asarray(np.where(member[:, None], effects, 0.0) * acting_traits(params, root))


def stratification_effects(n_components: int, params: Phenotype, root: Root) -> Float:
    """Draw normal effects per standardised component, f8 (components, traits)."""
    stream = root.stream("phenotype.stratification")
    return np.stack([stream.normals(t, n_components) for t in range(params.traits)], axis=1)


def leading_components(ds: xr.Dataset, params: Phenotype) -> Float:
    """Return the leading principal components f8 (samples, k): the cohort's own, or computed now.

    Raises
    ------
    DataError
        If the cohort has fewer.
    """
    k = params.stratification_components
    if "sample_pca_projection" not in ds:
        from genoweave.methods.pca import PCA, pca

        return np.asarray(pca(ds, PCA(n_components=k, seed=params.seed))["sample_pca_projection"].values)
    scores = np.asarray(ds["sample_pca_projection"].values, np.float64)
    if scores.shape[1] < k or not np.isfinite(scores[:, :k]).all():
        raise DataError(
            f"stratification wants {k} principal components of every sample, the cohort has "
            f"{scores.shape[1]}; set [phenotype] stratification_components"
        )
    return scores[:, :k]


def standard_components(scores: Float) -> Float:
    """Return components centred and of variance 1; 0 where one does not vary."""
    sd = scores.std(axis=0)
    return np.divide(scores - scores.mean(axis=0), sd, out=np.zeros_like(scores), where=sd > 0)


def weighted(columns: Float, effects: Float) -> Float:
    """Return columns @ effects, f8 (samples, traits), summed in the order of the columns."""
    out = np.zeros((len(columns), effects.shape[1]))
    for column, effect in zip(columns.T, effects, strict=True):
        out += column[:, None] * effect
    return out
