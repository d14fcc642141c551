"""An association in each ancestry group by itself, and the groups' effects together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import select
from genoweave.methods.gwas.coded import CODINGS
from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.meta import meta_analysis
from genoweave.methods.gwas.parameters import GWAS, METHODS
from genoweave.methods.gwas.run import Association, gwas
from genoweave.methods.gwas.samples import Trait, complete


@dataclass(frozen=True)
class ByGroup:
    """Results of groups of samples.

    Attributes
    ----------
    found
        By trait, then by group, in the order of both; without the groups that were left out.
    messages
        What was left out, and why.
    """

    found: dict[str, dict[str, Association]]
    messages: list[str] = field(default_factory=list)


def gwas_by_group(
    ds: xr.Dataset,
    traits: Sequence[Trait],
    covariates: NDArray[np.float64] | None = None,
    params: GWAS | None = None,
    *,
    names: Sequence[str] | None = None,
) -> ByGroup:
    """Test each variant for association with each trait, in each ancestry group.

    Parameters
    ----------
    ds
        A cohort with ``sample_ancestry``; samples without a label are in no group.
    traits, covariates, params
        See `gwas`. Components (``pca``) are those of each group. A covariate that is constant in a group's
        complete samples is left out there.
    names
        The covariates' names, for messages.

    Returns
    -------
    ByGroup
        A group with fewer than ``min_cases`` cases or controls, of a quantitative trait with fewer than twice
        as many samples, or whose regression is refused, is left out and named.

    Raises
    ------
    DataError
        If there are no labels, or no group can be tested.
    ConfigError
        If ``coding`` has two terms: two effects a variant cannot be combined as one.

    Notes
    -----
    A pass over the genotypes for each group. Memory: see `gwas`, and 50 bytes a variant, trait and group.
    """
    params = params or GWAS()
    if len(CODINGS[params.coding].terms) > 1:
        raise ConfigError(
            "by ancestry a variant has one effect: wanted coding additive, dominant or recessive, found "
            f"{params.coding}"
        )
    n = ds.sizes["samples"]
    covariates = np.empty((n, 0)) if covariates is None else np.asarray(covariates, np.float64)
    names = names or [f"covariate {k + 1}" for k in range(covariates.shape[1])]
    found: dict[str, dict[str, Association]] = {trait.name: {} for trait in traits}
    messages: list[str] = []
    for group in ancestry_groups(ds):
        rows = np.flatnonzero(ds["sample_ancestry"].values.astype(str) == group)
        part = select(ds, samples=rows)
        for members, columns in _designs(group, rows, traits, covariates, names, params, messages):
            own = [names[k] for k in columns]
            for one in _fitted(
                group, part, members, covariates[np.ix_(rows, columns)], params, own, messages
            ):
                found[one.trait][group] = one
    if not any(found.values()):
        raise DataError("no ancestry group can be tested: " + "; ".join(messages))
    return ByGroup(found, messages)


def ancestry_groups(ds: xr.Dataset) -> list[str]:
    """Return the labels of a cohort's ancestry groups, ascending.

    Raises
    ------
    DataError
        If there are none.
    """
    if "sample_ancestry" not in ds:
        raise DataError(
            "by ancestry wants a label of each sample, found none (sample_ancestry); give a table of labels"
        )
    labels = pd.Series(ds["sample_ancestry"].values).dropna().astype(str)
    groups = sorted(set(labels) - {"", "nan", "None", "NA"})
    if not groups:
        raise DataError("by ancestry wants a label of each sample, found none that is not empty")
    return groups


def _designs(
    group: str, rows: NDArray[np.int64], traits: Sequence[Trait], covariates: NDArray[np.float64],
    names: Sequence[str], params: GWAS, messages: list[str],
) -> list[tuple[list[Trait], NDArray[np.int64]]]:  # fmt: skip
    """Return a group's traits that can be tested, by the covariates that vary in their complete samples."""
    by_columns: dict[bytes, tuple[list[Trait], NDArray[np.int64]]] = {}
    for trait in traits:
        values, x = trait.values[rows], covariates[rows]
        used = complete(values, x)
        counts = [int((values[used] == value).sum()) for value in (1, 0)]
        if _is_status(trait) and min(counts) < params.min_cases:
            messages.append(
                f"{group}: {trait.name} is left out, with {people(counts[0])} cases and {people(counts[1])} "
                f"controls; min_cases is {params.min_cases}"
            )
            continue
        if used.sum() < 2 * params.min_cases:
            messages.append(
                f"{group}: {trait.name} is left out, with {people(int(used.sum()))} samples; twice min_cases "
                f"is {2 * params.min_cases}"
            )
            continue
        varies = np.ptp(x[used], axis=0) > 0
        for k in np.flatnonzero(~varies):
            messages.append(f"{group}: {names[k]} is constant, and is no covariate of {trait.name}")
        members, _ = by_columns.setdefault(varies.tobytes(), ([], np.flatnonzero(varies)))
        members.append(Trait(trait.name, values, trait.is_binary))
    return list(by_columns.values())


def _is_status(trait: Trait) -> bool:
    """Tell whether a trait is case/control, also where it is regressed as a number (a mixed model)."""
    return bool(np.isin(trait.values[np.isfinite(trait.values)], (0, 1)).all())


def _fitted(
    group: str, part: xr.Dataset, traits: list[Trait], covariates: NDArray[np.float64], params: GWAS,
    names: Sequence[str], messages: list[str],
) -> list[Association]:  # fmt: skip
    """Test a group's traits together; if one is refused each by itself, so that the others are not lost."""
    try:
        return gwas(part, traits, covariates, params, names=names)
    except DataError as error:
        if len(traits) == 1:
            messages.append(f"{group}: {traits[0].name} is left out: {error}")
            return []
    alone = [_fitted(group, part, [trait], covariates, params, names, messages) for trait in traits]
    return [one for found in alone for one in found]


def combined(groups: dict[str, Association], *, random: bool = False) -> tuple[Association, pd.DataFrame]:
    """Combine one trait's groups by `meta_analysis`.

    Parameters
    ----------
    groups
        Results of the same cohort's groups, by name.
    random
        Whether to add random effects.

    Returns
    -------
    Association
        Fixed effects, with z for the statistic, of the variants that any group tested.
    pandas.DataFrame
        What `meta_analysis` returns, a row for each of them.
    """
    members = list(groups.values())
    rows = np.unique(np.concatenate([one.variants for one in members]))
    aligned = []
    for one in members:
        fits = Fits.empty(len(rows))
        fits.put(np.searchsorted(rows, one.variants), one.fits)
        aligned.append(fits)
    table = meta_analysis(aligned, random=random)
    # where no group has a result, a reason of one that has tested it
    reason = np.max([one.code for one in aligned], axis=0)
    code = np.where(table["STUDIES"] > 0, 0, reason).astype(np.uint8)
    fits = Fits(
        called=table["OBS_CT"].to_numpy(),
        frequency=table["A1_FREQ"].to_numpy(),
        beta=table["BETA"].to_numpy(),
        se=table["SE"].to_numpy(),
        statistic=table["Z_STAT"].to_numpy(),
        log10_p=-table["LOG10_P"].to_numpy(),
        code=code,
        method=np.full(len(rows), METHODS.index("meta"), np.uint8),
    )
    first = members[0]
    n_samples, n_cases = (sum(getattr(one, name) for one in members) for name in ("n_samples", "n_cases"))
    tests = {next(iter(first.tests)): fits}
    return Association(first.trait, first.is_binary, n_samples, n_cases, rows, fits, tests, "meta"), table
