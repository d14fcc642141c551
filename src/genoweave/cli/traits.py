"""Traits and covariates that a command works on: of its tables, or those that the cohort brings."""

from __future__ import annotations

import numpy as np
import xarray as xr

from genoweave.cli.options import Common
from genoweave.errors import ConfigError, DataError
from genoweave.io.tables import case_control, is_case_control
from genoweave.io.tables.joining import Tables, join_tables
from genoweave.methods.gwas import Trait


def joined(ds: xr.Dataset, tables: Tables, common: Common) -> xr.Dataset:
    """Join the tables; what the cohort brought of the same kind goes."""
    for path, dimension in ((tables.phenotypes, "traits"), (tables.covariates, "covariates")):
        if path is not None:
            ds = ds.drop_dims(dimension, errors="ignore")
    ds, matchings = join_tables(ds, tables)
    for matching in matchings:
        if matching.not_in_table:
            common.say(str(matching))
    return ds


def names_of(text: str | None) -> list[str] | None:
    """Split names at commas; None for all."""
    names = None if text is None else [name.strip() for name in text.split(",") if name.strip()]
    if names == []:
        raise ConfigError(
            f"wanted names with commas between them, found {text!r}; leave the option out for all"
        )
    return names


def traits_of(ds: xr.Dataset, wanted: list[str] | None, model: str = "auto") -> list[Trait]:
    """Return the wanted traits, all by default; the .fam's phenotype if there is no other."""
    columns = _columns(ds, "trait", wanted)
    if not columns and "sample_phenotype" in ds and np.isfinite(ds["sample_phenotype"].values).any():
        columns = {"PHENO1": ds["sample_phenotype"].values}
    if not columns:
        raise DataError("the cohort has no trait; give a table of phenotypes with --pheno")
    return [_trait(name, values, model) for name, values in columns.items()]


def covariates_of(ds: xr.Dataset, wanted: list[str] | None) -> dict[str, np.ndarray]:
    """Return the wanted covariates by name, all by default; a category's name stands for all its columns."""
    return _columns(ds, "covariate", wanted)


def _columns(ds: xr.Dataset, kind: str, wanted: list[str] | None) -> dict[str, np.ndarray]:
    """Return the columns of ``sample_trait`` or ``sample_covariate`` by name."""
    if f"sample_{kind}" not in ds:
        known: dict[str, np.ndarray] = {}
    else:
        values = ds[f"sample_{kind}"].values
        known = {str(name): values[:, k] for k, name in enumerate(ds[f"{kind}_id"].values)}
    if wanted is None:
        return known
    chosen: dict[str, np.ndarray] = {}
    for name in wanted:
        matches = [n for n in known if n == name or n.startswith(f"{name}=")]
        if not matches:
            wanted_form = ", and that the column has numbers" if kind == "trait" else ""
            raise ConfigError(f"there is no {kind} {name!r}; check the table's header{wanted_form}")
        chosen |= {n: known[n] for n in matches}
    return chosen


def _trait(name: str, values: np.ndarray, model: str) -> Trait:
    """Tell case/control traits by PLINK's rule: 1 and 2 (0 missing), or 0 and 1 where there is no 2.

    A mixed model has them as the numbers 0 and 1.
    """
    if model == "linear" or (model in ("auto", "mixed") and not is_case_control(values)):
        return Trait(name, values, is_binary=False)
    try:
        status = case_control(values, zero_one=not (values == 2).any())
    except DataError as error:
        raise DataError(f"trait {name}: {error}") from None
    return Trait(name, np.where(status < 0, np.nan, status), is_binary=model != "mixed")
