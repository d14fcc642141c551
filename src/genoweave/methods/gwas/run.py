"""An association: traits, covariates and genotypes in; results of each trait out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.methods.gwas.coded import CODINGS, fit_linear_coded
from genoweave.methods.gwas.coded_logistic import fit_logistic_coded
from genoweave.methods.gwas.fits import ARRAYS, Fits
from genoweave.methods.gwas.linear import fit_linear
from genoweave.methods.gwas.logistic import fit_logistic
from genoweave.methods.gwas.parameters import CODES, GWAS
from genoweave.methods.gwas.samples import (
    Trait,
    check_traits,
    complete,
    for_x,
    group_variants,
    on_x,
)
from genoweave.methods.pca import PCA
from genoweave.methods.pca import pca as components
from genoweave.methods.qc import usable_variants

log = logging.getLogger(__name__)


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
        An entry for each of them: the test of the variant, of two terms the joint one.
    tests
        Fits by PLINK 2's name of the test: ``ADD``, ``DOM`` or ``REC``; or ``ADD`` and ``DOMDEV``,
        or ``HOM`` and ``HET``, and ``GENO_2DF``. The last is ``fits``.
    model
        ``linear``, ``logistic`` or ``mixed``.
    """

    trait: str
    is_binary: bool
    n_samples: int
    n_cases: int
    variants: NDArray[np.int64]
    fits: Fits
    tests: dict[str, Fits] = field(default_factory=dict)
    model: str = ""

    def __post_init__(self) -> None:
        if not self.tests:
            object.__setattr__(self, "tests", {"ADD": self.fits})
        if not self.model:
            object.__setattr__(self, "model", "logistic" if self.is_binary else "linear")


Part = tuple[NDArray[np.int64], dict[str, Fits]]


def gwas(
    ds: xr.Dataset,
    traits: Sequence[Trait],
    covariates: NDArray[np.float64] | None = None,
    params: GWAS | None = None,
    *,
    names: Sequence[str] | None = None,
) -> list[Association]:
    """Test each variant for association with each trait.

    Parameters
    ----------
    ds
        A cohort. ``sample_sex`` is needed for chromosome X.
    traits
        See `Trait.of`. A quantitative trait is regressed linearly, a case/control trait logistically; by
        default the effect is additive, per copy of the alternate allele.
    covariates
        float64 (samples, covariates) without an intercept; NaN where one is missing. Samples that lack one
        are left out.
    params
        Model, test, coding, missing calls, principal components, when a regression is refused.
    names
        The covariates' names, for messages.

    Returns
    -------
    list of Association
        In the order of the traits.

    Raises
    ------
    DataError
        If there is no trait, or a trait or covariates cannot be used; see `linear` and `fit_logistic`.
    ConfigError
        If a mixed model is asked for with Firth's test or a coding that is not additive.

    Notes
    -----
    On X a male's genotype counts as 0 or 2 copies and sex is a further covariate (PLINK's ``--xchr-model
    2``) unless the others tell it; heterozygous males are missing, samples of unknown sex are left out. Where
    that leaves too few samples a trait's variants on X have no result, and the log says so. X is tested
    additively only, by a mixed model with the autosomes' kinship. Y, mitochondria and multiallelic variants
    are left out.
    Memory: see `linear`; 50 bytes a variant, trait and test for the results.
    """
    params = params or GWAS()
    if params.model == "mixed":
        from genoweave.methods.gwas.mixed import check_options

        check_options(params)
    if not traits:
        raise DataError("there is no trait to test; give a table of phenotypes")
    n = ds.sizes["samples"]
    covariates = np.empty((n, 0)) if covariates is None else np.asarray(covariates, np.float64)
    check_traits(traits, covariates, names)
    if params.pca:
        covariates = np.column_stack([covariates, _components(ds, params.pca)])
    groups = group_variants(ds)
    x = groups.x if tests_x(params) and _has_sex(ds) else groups.x[:0]
    if not len(groups.diploid) and not len(x):
        raise DataError(
            "no variant can be tested: wanted biallelic variants on autosomes, or on X with the samples' "
            "sex; check the chromosome names"
        )
    parts: dict[str, list[Part]] = {trait.name: [] for trait in traits}
    if params.model == "mixed" and not len(groups.diploid):
        raise DataError("a mixed model wants variants on autosomes for the kinship, found none")
    part = select(ds, groups.diploid)
    if len(groups.diploid):
        for trait, tests in _fit(part, traits, covariates, params):
            parts[trait.name].append((groups.diploid, tests))
    if len(x):
        for trait, tests in _fit_x(ds, x, traits, covariates, params, part):
            parts[trait.name].append((x, tests))
    return [_joined(trait, covariates, parts[trait.name], params) for trait in traits]


def tests_x(params: GWAS) -> bool:
    """Tell whether variants of X are tested: a male has no heterozygotes that another coding may count."""
    return params.coding == "additive"


def _components(ds: xr.Dataset, n: int) -> NDArray[np.float64]:
    usable = np.flatnonzero(usable_variants(ds, autosomes_only=True))
    if not len(usable):
        raise DataError("principal components need variants on autosomes (chromosomes 1 to 22)")
    model = components(select(ds, usable), PCA(n_components=n))
    return np.asarray(model["sample_pca_projection"].values, np.float64)


def _has_sex(ds: xr.Dataset) -> bool:
    return "sample_sex" in ds and bool(np.isin(ds["sample_sex"].values, (1, 2)).any())


def _fit_x(
    ds: xr.Dataset,
    rows: NDArray[np.int64],
    traits: Sequence[Trait],
    covariates: NDArray[np.float64],
    params: GWAS,
    kin: xr.Dataset,
) -> Iterator[tuple[Trait, dict[str, Fits]]]:
    """Fit on X: traits for which sex is a covariate together, and those for which it is none."""
    sex = ds["sample_sex"].values
    together: dict[int, tuple[NDArray[np.float64], list[Trait]]] = {}
    for trait in traits:
        of_known, with_sex = for_x(trait, covariates, sex, params.max_vif)
        together.setdefault(with_sex.shape[1], (with_sex, []))[1].append(of_known)
    for with_sex, alike in together.values():
        yield from _fit_or_refuse(on_x(ds, rows, sex), alike, with_sex, params, kin)


def _fit_or_refuse(
    ds: xr.Dataset, traits: Sequence[Trait], covariates: NDArray[np.float64], params: GWAS, kin: xr.Dataset
) -> list[tuple[Trait, dict[str, Fits]]]:
    """Fit on X; a trait that is refused there has no result there and keeps that of the autosomes."""
    try:
        return _fit(ds, traits, covariates, params, kin)
    except DataError as error:
        if not kin.sizes["variants"]:
            raise
        if len(traits) == 1:
            log.warning("trait %s is not tested on X: %s", traits[0].name, error)
            fits = Fits.empty(ds.sizes["variants"])
            fits.code[:] = CODES.index("too_few_samples")
            return _named(traits, [[fits]], params)
    return [one for trait in traits for one in _fit_or_refuse(ds, [trait], covariates, params, kin)]


def _fit(
    ds: xr.Dataset,
    traits: Sequence[Trait],
    covariates: NDArray[np.float64],
    params: GWAS,
    kin: xr.Dataset | None = None,
) -> list[tuple[Trait, dict[str, Fits]]]:
    """Fit quantitative traits in one pass, case/control traits in another; or all by a mixed model.

    A mixed model has the kinship of the variants of `kin`, if they are not those that are tested.
    """
    if params.model == "mixed":
        from genoweave.methods.gwas.mixed import fit_mixed

        of_kin, tested = (ds, None) if kin is None else (kin, ds)
        mixed = fit_mixed(of_kin, list(traits), covariates, params, tested)
        return _named(traits, [[fits] for fits in mixed], params)
    is_plain = params.coding == "additive" and params.missing == "complete"
    quantitative = [trait for trait in traits if not trait.is_binary]
    binary = [trait for trait in traits if trait.is_binary]
    out: list[tuple[Trait, dict[str, Fits]]] = []
    if quantitative:
        values = np.column_stack([trait.values for trait in quantitative])
        if is_plain:
            tables = [[fits] for fits in fit_linear(ds, values, covariates, params)]
        else:
            tables = fit_linear_coded(ds, values, covariates, params)
        out += _named(quantitative, tables, params)
    if binary:
        if is_plain:
            tables = [[fits] for fits in fit_logistic(ds, binary, covariates, params)]
        else:
            tables = fit_logistic_coded(ds, binary, covariates, params)
        out += _named(binary, tables, params)
    return out


def _named(
    traits: Sequence[Trait], tables: list[list[Fits]], params: GWAS
) -> list[tuple[Trait, dict[str, Fits]]]:
    names = CODINGS[params.coding].tests
    return [(trait, dict(zip(names, fits, strict=True))) for trait, fits in zip(traits, tables, strict=True)]


def _joined(trait: Trait, covariates: NDArray[np.float64], parts: list[Part], params: GWAS) -> Association:
    """Bring the results of diploid variants and of X into the cohort's order."""
    rows = np.concatenate([rows for rows, _ in parts])
    order = np.argsort(rows, kind="stable")
    tests = {
        name: Fits(
            **{
                array: np.concatenate([getattr(fits[name], array) for _, fits in parts])[order]
                for array in ARRAYS
            },
            notes=parts[0][1][name].notes,
        )
        for name in parts[0][1]
    }
    used = complete(trait.values, covariates)
    n_cases = int((trait.values[used] == 1).sum()) if trait.is_binary else 0
    model = "mixed" if params.model == "mixed" else "logistic" if trait.is_binary else "linear"
    last = list(tests.values())[-1]
    return Association(trait.name, trait.is_binary, int(used.sum()), n_cases, rows[order], last, tests, model)
