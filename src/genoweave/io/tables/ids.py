"""Which row of a table belongs to which sample of a cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.errors import DataError

COMPOSED = "sample_ids_with_family"


def composed_id(family: str, within: str) -> str:
    """Return the sample id of a person whose within-family id (IID) is not unique: ``FID_IID``."""
    return within if family in ("0", "") else f"{family}_{within}"


def has_composed_ids(ds: xr.Dataset) -> bool:
    """Tell whether the import made sample ids of family and within-family ids."""
    return bool(dict(ds.attrs.get("import_counts", {})).get(COMPOSED))


def family_ids(ds: xr.Dataset) -> NDArray[Any]:
    """Return the family of each sample, object (samples,), ``"0"`` where there is none."""
    if "sample_family_id" not in ds:
        return np.full(ds.sizes["samples"], "0", object)
    return np.array([str(f) or "0" for f in ds["sample_family_id"].values], object)


def within_family(ds: xr.Dataset, ids: NDArray[Any]) -> NDArray[Any]:
    """Return ids without the family that the import put before them; object, as long as `ids`."""
    if not has_composed_ids(ds):
        return np.array([str(i) for i in ids], object)
    prefixes = ["" if family == "0" else f"{family}_" for family in family_ids(ds)]
    return np.array([str(i).removeprefix(p) for i, p in zip(ids, prefixes, strict=True)], object)


@dataclass(frozen=True)
class Matching:
    """How a table of samples and a cohort fit.

    Attributes
    ----------
    by
        ``"IID"`` (sample id) or ``"FID+IID"``.
    n_table, n_cohort, n_matched
        Rows of the table, samples of the cohort, samples that have a row.
    not_in_cohort, not_in_table
        Rows without a sample, samples without a row.
    first_row, first_sample
        The first of these, counted from 1; None where there is none.
    """

    path: Path
    what: str
    by: str
    n_table: int
    n_cohort: int
    n_matched: int
    not_in_cohort: int
    not_in_table: int
    first_row: int | None
    first_sample: int | None

    def __str__(self) -> str:
        parts = [f"{self.path}: {people(self.n_matched)} of {self.n_cohort} samples have {self.what}"]
        if self.not_in_table:
            parts.append(
                f"{people(self.not_in_table)} samples of the cohort are not in the table (first: sample "
                f"number {self.first_sample} of the cohort)"
            )
        if self.not_in_cohort:
            parts.append(
                f"{people(self.not_in_cohort)} rows of the table are not in the cohort (first: row "
                f"{self.first_row})"
            )
        return "; ".join(parts)


def match_ids(
    ds: xr.Dataset, ids: pd.DataFrame | Sequence[str], path: Path, what: str
) -> tuple[NDArray[np.int64], Matching]:
    """Find the row of a table that belongs to each sample of a cohort.

    By sample id (IID). By family and sample id (FID+IID) if the table has a column ``FID`` and its IIDs
    repeat, or if the cohort's sample ids were made of both. A family is else not compared.

    Parameters
    ----------
    ds
        The cohort.
    ids
        A table indexed by sample id, with a column ``FID`` if it knows families; or the ids alone.
    path, what
        The table's file, and what it says of a sample, for messages (``"an ancestry label"``).

    Returns
    -------
    index
        int64 (samples,): row of the table, -1 for samples that are not in it.
    matching
        How many did not match, and the first of them.

    Raises
    ------
    DataError
        If ids of the table repeat, or none of them is in the cohort.
    """
    by, keys, sample_keys = _keys(ds, ids)
    if keys == sample_keys and len(set(keys)) == len(keys):  # the usual case, in a third of the time
        index = np.arange(len(keys))
    else:
        index = _rows_of(path, by, keys, sample_keys)
    found = np.zeros(len(keys), bool)
    found[index[index >= 0]] = True
    unknown, missing = np.flatnonzero(~found), np.flatnonzero(index < 0)
    if len(missing) == len(index):
        raise DataError(
            f"none of the {len(keys)} sample ids of {path} is in the cohort of {len(index)}; "
            "compare the first column with the cohort's sample ids (column 2 of a .fam)"
        )
    matching = Matching(
        path=path,
        what=what,
        by=by,
        n_table=len(keys),
        n_cohort=len(index),
        n_matched=len(index) - len(missing),
        not_in_cohort=len(unknown),
        not_in_table=len(missing),
        first_row=int(unknown[0]) + 1 if len(unknown) else None,
        first_sample=int(missing[0]) + 1 if len(missing) else None,
    )
    return index, matching


def _rows_of(path: Path, by: str, keys: list[Any], sample_keys: list[Any]) -> NDArray[np.int64]:
    """Return the row of each sample's key, -1 where there is none; refuse keys that repeat."""
    rows = {key: row for row, key in enumerate(keys)}
    if len(rows) < len(keys):
        second = next(row for row, key in reversed(list(enumerate(keys))) if rows[key] != row)
        raise DataError(
            f"{path}: rows {second + 1} and {rows[keys[second]] + 1} have equal {by}; keep one row per sample"
        )
    return np.array([rows.get(key, -1) for key in sample_keys], np.int64)


def _keys(ds: xr.Dataset, ids: pd.DataFrame | Sequence[str]) -> tuple[str, list[Any], list[Any]]:
    """Return what ids are compared by, those of the table and those of the cohort."""
    samples = list(map(str, ds["sample_id"].values.tolist()))
    if not isinstance(ids, pd.DataFrame):
        return "IID", list(map(str, ids)), samples
    names = list(map(str, ids.index.tolist()))
    if "FID" not in ids or (ids.index.is_unique and not has_composed_ids(ds)):
        return "IID", names, samples
    within = within_family(ds, ds["sample_id"].values)
    families = (str(f) or "0" for f in ids["FID"])
    return (
        "FID+IID",
        list(zip(families, names, strict=True)),
        list(zip(family_ids(ds), within, strict=True)),
    )
