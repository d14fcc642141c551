"""Tables that users bring: ancestry labels as TSV or CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.aggregate import people
from genoweave.errors import DataError, StoreError


def read_table(path: Path) -> pd.DataFrame:
    """Read a TSV or CSV with a header, every cell as text; the index is the number of the line.

    The separator is a tab if the header has one, else a comma, else white space.

    Raises
    ------
    StoreError, DataError
        If the file is missing, not text, empty or ragged.
    """
    if not path.is_file():
        raise StoreError(f"there is no table {path}; check the path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_split(file))
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from None
    if not rows:
        raise DataError(f"{path} is empty; wanted a header line and one line a sample")
    header = rows[0][1]
    for number, cells in rows[1:]:
        if len(cells) != len(header):
            raise DataError(
                f"{path}, line {number}: wanted {len(header)} columns as in the header, found {len(cells)}"
            )
    if len(set(header)) < len(header):
        raise DataError(f"{path}: two columns of the header have one name; give each its own")
    lines = [number for number, _ in rows[1:]]
    return pd.DataFrame([cells for _, cells in rows[1:]], columns=header, dtype=object, index=lines)


def _split(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and cells of each line that is not blank."""
    first = file.readline()
    file.seek(0)
    if "\t" in first or "," in first:
        reader = csv.reader(file, delimiter="\t" if "\t" in first else ",")
        yield from ((reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells))
    else:
        yield from ((number, line.split()) for number, line in enumerate(file, start=1) if line.strip())


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
            f"{path}, line {table.index[empty[0]]}: {len(empty)} rows have no sample id or no {name!r}; "
            "fill them in or remove these rows"
        )
    repeated = np.flatnonzero(ids.duplicated())
    if len(repeated):
        raise DataError(
            f"{path}, line {table.index[repeated[0]]}: {len(repeated)} rows repeat a sample id that "
            "stands above; "
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
    unknown = [number for number, i in enumerate(labels, start=1) if i not in known]
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
            f"{people(len(missing))} of {len(ids)} samples have no ancestry label (first: sample number "
            f"{missing[0] + 1} of the cohort); add them to {table} or set [input] drop_unlabelled = true"
        )
    if unknown:
        raise DataError(
            f"{table} labels {len(unknown)} samples that are not in the cohort (first: row {unknown[0]}); "
            "remove these rows or set [input] drop_unlabelled = true"
        )
    return ds.assign(sample_ancestry=("samples", found))
