"""An association: traits, covariates and genotypes in; results of each trait out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.linear import fit_linear
from genoweave.methods.gwas.logistic import fit_logistic
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.gwas.samples import (
    Trait,
    complete,
    for_x,
    group_variants,
    on_x,
)
from genoweave.methods.pca import PCA
from genoweave.methods.pca import pca as components
from genoweave.methods.qc import usable_variants


@dataclass(frozen=True)
class Association:
    """One trait's results.

    Attributes
    ----------
    trait
        Name.
    is_binary
        Whether the regression was logistic.
    n_samples, n_cases
        Samples with trait and covariates; the cases among them (0 of a quantitative trait).
    variants
        int64, rows of the cohort that were tested, ascending.
    fits
        An entry for each of them.
    """

    trait: str
    is_binary: bool
    n_samples: int
    n_cases: int
    variants: NDArray[np.int64]
    fits: Fits


def gwas(
    ds: xr.Dataset,
    traits: Sequence[Trait],
    covariates: NDArray[np.float64] | None = None,
    params: GWAS | None = None,
) -> list[Association]:
    """Test each variant for association with each trait.

    Parameters
    ----------
    ds
        A cohort. ``sample_sex`` is needed for chromosome X.
    traits
        See `Trait.of`. A quantitative trait is regressed linearly, a case/control trait logistically; the
        effect is additive, per copy of the alternate allele.
    covariates
        float64 (samples, covariates) without an intercept; NaN where one is missing. Samples that lack one
        are left out.
    params
        Test, principal components, when a regression is refused.

    Returns
    -------
    list of Association
        In the order of the traits.

    Raises
    ------
    DataError
        If there is no trait, or a trait or covariates cannot be used; see `linear` and `fit_logistic`.

    Notes
    -----
    On X a male's genotype counts as 0 or 2 copies and sex is a further covariate (PLINK's ``--xchr-model
    2``); heterozygous males are missing, samples of unknown sex are left out. Y, mitochondria and
    multiallelic variants are left out. Memory: see `linear`; 50 bytes a variant and trait for the results.
    """
    params = params or GWAS()
    if not traits:
        raise DataError("there is no trait to test; give a table of phenotypes")
    names = [trait.name for trait in traits]
    if len(set(names)) < len(names):
        raise DataError("two traits have the same name; rename one")
    n = ds.sizes["samples"]
    covariates = np.empty((n, 0)) if covariates is None else np.asarray(covariates, np.float64)
    if params.pca:
        covariates = np.column_stack([covariates, _components(ds, params.pca)])
    groups = group_variants(ds)
    x = groups.x if _has_sex(ds) else groups.x[:0]
    if not len(groups.diploid) and not len(x):
        raise DataError(
            "no variant can be tested: wanted biallelic variants on autosomes, or on X with the samples' "
            "sex; check the chromosome names"
        )
    parts: dict[str, list[tuple[NDArray[np.int64], Fits]]] = {trait.name: [] for trait in traits}
    if len(groups.diploid):
        part = select(ds, groups.diploid)
        for trait, fits in _fit(part, traits, covariates, params):
            parts[trait.name].append((groups.diploid, fits))
    for trait in traits if len(x) else ():
        sex = ds["sample_sex"].values
        of_known, with_sex = for_x(trait, covariates, sex)
        for _, fits in _fit(on_x(ds, x, sex), [of_known], with_sex, params):
            parts[trait.name].append((x, fits))
    return [_joined(trait, covariates, parts[trait.name]) for trait in traits]


def _components(ds: xr.Dataset, n: int) -> NDArray[np.float64]:
    usable = np.flatnonzero(usable_variants(ds, autosomes_only=True))
    if not len(usable):
        raise DataError("principal components need variants on autosomes (chromosomes 1 to 22)")
    model = components(select(ds, usable), PCA(n_components=n))
    return np.asarray(model["sample_pca_projection"].values, np.float64)


def _has_sex(ds: xr.Dataset) -> bool:
    return "sample_sex" in ds and bool(np.isin(ds["sample_sex"].values, (1, 2)).any())


def _fit(
    ds: xr.Dataset, traits: Sequence[Trait], covariates: NDArray[np.float64], params: GWAS
) -> list[tuple[Trait, Fits]]:
    """Fit quantitative traits in one pass, case/control traits in another."""
    quantitative = [trait for trait in traits if not trait.is_binary]
    binary = [trait for trait in traits if trait.is_binary]
    out: list[tuple[Trait, Fits]] = []
    if quantitative:
        values = np.column_stack([trait.values for trait in quantitative])
        out += zip(quantitative, fit_linear(ds, values, covariates, params), strict=True)
    if binary:
        out += zip(binary, fit_logistic(ds, binary, covariates, params), strict=True)
    return out


def _joined(
    trait: Trait, covariates: NDArray[np.float64], parts: list[tuple[NDArray[np.int64], Fits]]
) -> Association:
    """Bring the results of diploid variants and of X into the cohort's order."""
    rows = np.concatenate([rows for rows, _ in parts])
    order = np.argsort(rows, kind="stable")
    columns = (
        np.concatenate([getattr(fits, name) for _, fits in parts])[order]
        for name in Fits.__dataclass_fields__
    )
    used = complete(trait.values, covariates)
    n_cases = int((trait.values[used] == 1).sum()) if trait.is_binary else 0
    return Association(trait.name, trait.is_binary, int(used.sum()), n_cases, rows[order], Fits(*columns))
