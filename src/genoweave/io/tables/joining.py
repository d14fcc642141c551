"""What tables say of a cohort's samples and variants, as variables of the cohort."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.io.tables.ids import Matching, match_ids
from genoweave.io.tables.maps import add_genetic_positions, read_genetic_map
from genoweave.io.tables.pedigree import read_pedigree
from genoweave.io.tables.phenotypes import read_covariates, read_phenotypes


@dataclass(frozen=True)
class Tables:
    """Tables that a cohort is imported with; see the functions that read each.

    Of phenotypes and covariates only `phenotype_names` and `covariate_names` are read where they are given
    and are all columns of their table.
    """

    phenotypes: Path | None = None
    covariates: Path | None = None
    pedigree: Path | None = None
    genetic_map: Path | None = None
    phenotype_names: Sequence[str] | None = None
    covariate_names: Sequence[str] | None = None

    @property
    def paths(self) -> list[Path]:
        """Those that are given."""
        all_of = self.phenotypes, self.covariates, self.pedigree, self.genetic_map
        return [path for path in all_of if path is not None]


def join_tables(ds: xr.Dataset, tables: Tables) -> tuple[xr.Dataset, list[Matching]]:
    """Add what tables say to a cohort.

    Parameters
    ----------
    ds
        A cohort.
    tables
        Phenotypes become ``sample_trait`` (samples, traits) with ``trait_id``; covariates
        ``sample_covariate`` (samples, covariates) with ``covariate_id``; a pedigree family, parents and sex;
        a genetic map ``variant_genetic_position``.

    Returns
    -------
    dataset, matchings
        And for each table of samples how its ids and the cohort's match. Samples that are not in a table have
        NaN, or nothing known.

    Raises
    ------
    StoreError, DataError
        If a table cannot be read, or has nothing for this cohort.
    """
    matchings = []
    if tables.phenotypes is not None:
        table = _read_named(read_phenotypes, tables.phenotypes, tables.phenotype_names)
        ds, matching = _join_numbers(ds, table, tables.phenotypes, "trait", "a phenotype")
        matchings.append(matching)
    if tables.covariates is not None:
        table = _read_named(read_covariates, tables.covariates, tables.covariate_names)
        ds, matching = _join_numbers(ds, table, tables.covariates, "covariate", "covariates")
        matchings.append(matching)
    if tables.pedigree is not None:
        ds, matching = _join_pedigree(ds, tables.pedigree)
        matchings.append(matching)
    if tables.genetic_map is not None:
        ds = add_genetic_positions(ds, read_genetic_map(tables.genetic_map))
    return ds, matchings


def _read_named(read: Callable[..., pd.DataFrame], path: Path, names: Sequence[str] | None) -> pd.DataFrame:
    """Read the named columns, or all where a name is not that of one: of a category, say."""
    if names is not None:
        with suppress(DataError):
            return read(path, names)
    return read(path)


def _join_numbers(
    ds: xr.Dataset, table: pd.DataFrame, path: Path, kind: str, what: str
) -> tuple[xr.Dataset, Matching]:
    index, matching = match_ids(ds, table, path, what)
    names, columns = _numbers(table.drop(columns="FID", errors="ignore"))
    values = np.where(index[:, None] >= 0, columns[index], np.nan)
    variables = {
        f"sample_{kind}": (("samples", f"{kind}s"), values),
        f"{kind}_id": (f"{kind}s", np.array(names, object)),
    }
    return ds.assign(variables), matching


def _numbers(table: pd.DataFrame) -> tuple[list[str], NDArray[np.float64]]:
    """Return columns of numbers; a column of categories becomes one of 0 and 1 for each but the first."""
    names, columns = [], []
    for name in table.columns:
        if table[name].dtype.kind == "f":
            names.append(str(name))
            columns.append(table[name].to_numpy(np.float64))
            continue
        text = table[name].to_numpy(object)
        for category in sorted(set(text) - {""})[1:]:
            names.append(f"{name}={category}")
            columns.append(np.where(text == "", np.nan, text == category))
    return names, np.stack(columns, axis=1) if columns else np.empty((len(table), 0))


def _join_pedigree(ds: xr.Dataset, path: Path) -> tuple[xr.Dataset, Matching]:
    table = read_pedigree(path)
    ids = table.set_index("sample_id").rename(columns={"family_id": "FID"})
    index, matching = match_ids(ds, ids, path, "a pedigree")
    found = index >= 0
    variables = {}
    for name in ("family_id", "paternal_id", "maternal_id"):
        texts = table[name].to_numpy(object)
        variables[f"sample_{name}"] = ("samples", np.where(found, texts[index], "0").astype(object))
    sex = np.where(found, table["sex"].to_numpy(np.int8)[index], 0)
    if "sample_sex" in ds:
        sex = np.where(sex > 0, sex, ds["sample_sex"].values)
    return ds.assign(variables | {"sample_sex": ("samples", sex.astype(np.int8))}), matching
