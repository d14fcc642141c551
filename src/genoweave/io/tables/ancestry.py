"""Ancestry labels that users bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.aggregate import people
from genoweave.errors import DataError
from genoweave.io.files import shown
from genoweave.io.tables.ids import composed_id, match_ids
from genoweave.io.tables.text import place, read_table


def read_ancestry(path: Path, column: str | None = None) -> dict[str, str]:
    """Read sample id -> group: the first column, and the second or the one named `column`.

    In a table that begins with FID and IID, as PLINK's do, the sample id is IID (FID_IID where IIDs repeat)
    and the group is the third column.

    Raises
    ------
    DataError
        If the column is not there, a sample stands twice with different groups, or a label is empty.
    """
    table = read_table(path)
    if table.shape[1] < 2:
        raise DataError(
            f"{path}: an ancestry table has a header and at least two columns, sample id and group; "
            f"found {table.shape[1]}"
        )
    if column is not None and column not in table.columns:
        raise DataError(
            f"{path} has no column {column!r} in its first line, the header; give the name of one of its "
            f"{table.shape[1]} columns"
        )
    has_family = _has_family(table)
    name = column or table.columns[2 if has_family else 1]
    ids, labels = _sample_ids(table, has_family=has_family), table[name].str.strip()
    empty = np.flatnonzero((ids == "") | (labels == ""))
    if len(empty):
        raise DataError(
            f"{place(path, table, empty[0])}: {len(empty)} rows have no sample id or no {shown(name)}; "
            "fill them in or remove these rows"
        )
    repeated = np.flatnonzero(ids.duplicated())
    if len(repeated):
        raise DataError(
            f"{place(path, table, repeated[0])}: {len(repeated)} rows repeat a sample id that "
            "stands above; "
            "keep one row per sample"
        )
    return dict(zip(ids, labels, strict=True))


def _has_family(table: pd.DataFrame) -> bool:
    first, second = (str(name).upper() for name in table.columns[:2])
    return table.shape[1] > 2 and first in ("#FID", "FID") and second == "IID"


def _sample_ids(table: pd.DataFrame, *, has_family: bool) -> pd.Series:
    ids = table.iloc[:, int(has_family)].str.strip()
    if not has_family or ids.is_unique:
        return ids
    families = table.iloc[:, 0].str.strip()
    return pd.Series(
        [composed_id(f, i) if i else "" for f, i in zip(families, ids, strict=True)], table.index
    )


def add_ancestry(ds: xr.Dataset, labels: dict[str, str], table: Path, *, drop_unlabelled: bool) -> xr.Dataset:
    """Add ``sample_ancestry``; samples without a label are an error, or left empty if to be dropped.

    Raises
    ------
    DataError
        If the table names samples that are not in the cohort, or lacks some that are.
    """
    index, matching = match_ids(ds, list(labels), table, "an ancestry label")
    names = np.array([*labels.values(), ""], object)
    found = names[index]  # -1, no label, is the empty one at the end
    if drop_unlabelled:
        return ds.assign(sample_ancestry=("samples", found))
    if matching.not_in_table:
        raise DataError(
            f"{people(matching.not_in_table)} of {len(index)} samples have no ancestry label (first: sample "
            f"number {matching.first_sample} of the cohort); add them to {table} or set [input] "
            "drop_unlabelled = true"
        )
    if matching.not_in_cohort:
        raise DataError(
            f"{table} labels {matching.not_in_cohort} samples that are not in the cohort (first: row "
            f"{matching.first_row}); remove these rows or set [input] drop_unlabelled = true"
        )
    return ds.assign(sample_ancestry=("samples", found))
