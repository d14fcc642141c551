"""The same traits of other samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.errors import DataError
from genoweave.methods.phenotype.genetic import GeneticModel, genetic_values_of
from genoweave.methods.phenotype.model import STATUS_STREAM, labels_of, of_traits
from genoweave.methods.phenotype.parameters import Phenotype
from genoweave.methods.phenotype.status import Rule
from genoweave.methods.phenotype.transforms import transformed
from genoweave.methods.phenotype.truth import trait_columns
from genoweave.rng import Root


def relatives_trait(ds: xr.Dataset, trait: xr.Dataset) -> xr.Dataset:
    """Give the same traits (effects, cuts) to other samples over the same variants.

    Parameters
    ----------
    ds
        Other samples, as relatives of the cohort's, over its variants in its order; with ``sample_ancestry``
        if effects or prevalences are by group, and with the covariate that variants interact with, if any.
    trait
        From `phenotype`.

    Returns
    -------
    xarray.Dataset
        ``sample_case`` (if there is a status), ``sample_liability``, ``sample_genetic_value`` (samples,), of
        several traits (samples, traits).

    Raises
    ------
    DataError
        If the variants are others, or groups are wanted and not there.

    Notes
    -----
    The genetic part is the sum of the cohort's effects of every kind over their genotypes, its mean moved as
    the cohort's was. All else, covariates and stratification too, is drawn normal with the covariance that it
    has in the cohort (in the group), independent of the relatives' covariates and of each other: relatives
    share genes and no environment. The cuts are the cohort's, so that the prevalence among them varies.
    Without the covariate an interaction adds nothing. Nobody is drawn for a study.
    """
    setting = trait.attrs["trait"]
    model = GeneticModel.from_dataset(trait)
    labels = labels_of(ds)
    group = _numbers(labels, model.groups)
    genetic = genetic_values_of(ds, model, group, _covariate(ds, model))
    liability = genetic + _relatives_noise(trait, group, len(genetic), setting["seed"])
    liability = _transformed_as(trait, liability, setting)
    variables = of_traits("sample_liability", ("samples",), liability)
    variables |= of_traits("sample_genetic_value", ("samples",), genetic)
    if "sample_case" in trait:
        stream = Root.from_seed(setting["seed"]).stream(f"{STATUS_STREAM}-of-relatives")
        case = np.full(liability.shape, -1, np.int8)
        for k, rule in enumerate(setting["rules"]):
            if rule is not None:
                case[:, k] = Rule(**rule).cases(liability[:, k], labels, stream, k)
        variables |= of_traits("sample_case", ("samples",), case)
    return xr.Dataset(variables)


def _numbers(labels: NDArray[Any] | None, groups: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Return each sample's number among the groups of a model, None where it has one."""
    if len(groups) == 1 or labels is None:
        return None
    text = labels.astype(str)
    strange = np.flatnonzero(~np.isin(text, groups))
    if len(strange):
        raise DataError(
            f"{len(strange)} samples, the first is sample number {strange[0] + 1}, are in none of the groups "
            f"that the trait has effects for ({', '.join(groups)}); label them"
        )
    return np.array([groups.index(label) for label in text], np.int64)


def _covariate(ds: xr.Dataset, model: GeneticModel) -> NDArray[np.float64] | None:
    """Return the covariate that variants interact with, where the samples have it."""
    names = [str(name) for name in ds["covariate_id"].values] if "covariate_id" in ds else []
    if model.interaction_covariate not in names:
        return None
    return np.asarray(ds["sample_covariate"].values[:, names.index(model.interaction_covariate)], np.float64)


def _relatives_noise(
    trait: xr.Dataset, group: NDArray[np.int64] | None, n: int, seed: int
) -> NDArray[np.float64]:
    """Draw all that is not genetic, f8 (samples, traits)."""
    covariance = trait["noise_covariance"].values
    stream = Root.from_seed(seed).stream("phenotype.noise-of-relatives")
    standard = np.stack([stream.normals(k, n) for k in range(covariance.shape[1])], axis=1)
    group = np.zeros(n, np.int64) if group is None else group
    out = np.zeros_like(standard)
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        for k in np.unique(group):
            values, vectors = np.linalg.eigh(covariance[k])
            root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
            out[group == k] = standard[group == k] @ root
    return out


def _transformed_as(
    trait: xr.Dataset, liability: NDArray[np.float64], setting: dict[str, Any]
) -> NDArray[np.float64]:
    """Transform other samples' liability, scaled as the cohort's was."""
    params = Phenotype(**{name: setting[name] for name in Phenotype.model_fields})
    if params.transform == "none":
        return liability
    before = trait_columns(trait["sample_component"]).sum(axis=1)
    both = transformed(np.concatenate([before, liability]), params)
    cohort, others = both[: len(before)], both[len(before) :]
    return (others - cohort.mean(axis=0)) / cohort.std(axis=0)
