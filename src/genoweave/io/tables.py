"""Tables that users bring: ancestry labels as TSV or CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.errors import DataError, StoreError


def read_table(path: Path) -> pd.DataFrame:
    """Read a TSV or CSV with a header, every cell as text.

    The separator is a tab if the header has one, else a comma, else white space.

    Raises
    ------
    StoreError, DataError
        If the file is missing, not text, empty or ragged.
    """
    if not path.is_file():
        raise StoreError(f"there is no table {path}; check the path")
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = "\t" if "\t" in header else "," if "," in header else r"\s+"
        return pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            engine="python" if separator == r"\s+" else "c",
        )
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path} is not a table with one header line: {error}") from None


def read_ancestry(path: Path, column: str | None = None) -> dict[str, str]:
    """Read sample id -> group: the first column, and the second or the one named `column`.

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
    name = column or table.columns[1]
    ids, labels = table.iloc[:, 0].str.strip(), table[name].str.strip()
    empty = np.flatnonzero((ids == "") | (labels == ""))
    if len(empty):
        raise DataError(
            f"{path}, line {empty[0] + 2}: {len(empty)} rows have no sample id or no {name!r}; "
            "fill them in or remove these rows"
        )
    repeated = np.flatnonzero(ids.duplicated())
    if len(repeated):
        raise DataError(
            f"{path}, line {repeated[0] + 2}: {len(repeated)} rows repeat a sample id that stands above; "
            "keep one row per sample"
        )
    return dict(zip(ids, labels, strict=True))


def add_ancestry(ds: xr.Dataset, labels: dict[str, str], table: Path, *, drop_unlabelled: bool) -> xr.Dataset:
    """Add ``sample_ancestry``; samples without a label are an error, or left empty if to be dropped.

    Raises
    ------
    DataError
        If the table names samples that are not in the cohort, or lacks some that are.
    """
    ids = ds["sample_id"].values
    found = np.array([labels.get(str(i), "") for i in ids], object)
    known = {str(i) for i in ids}
    unknown = [number for number, i in enumerate(labels, start=2) if i not in known]
    missing = np.flatnonzero(found == "")
    if len(missing) == len(ids):
        raise DataError(
            f"none of the {len(labels)} sample ids of {table} is in the cohort of {len(ids)}; "
            "compare the first column with the cohort's sample ids (column 2 of a .fam)"
        )
    if drop_unlabelled:
        return ds.assign(sample_ancestry=("samples", found))
    if len(missing):
        raise DataError(
            f"{len(missing)} of {len(ids)} samples have no ancestry label (first: sample number "
            f"{missing[0] + 1} of the cohort); add them to {table} or set [input] drop_unlabelled = true"
        )
    if unknown:
        raise DataError(
            f"{table} labels {len(unknown)} samples that are not in the cohort (first: line {unknown[0]}); "
            "remove these rows or set [input] drop_unlabelled = true"
        )
    return ds.assign(sample_ancestry=("samples", found))
