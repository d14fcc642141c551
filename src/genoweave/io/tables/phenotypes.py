"""Phenotypes and covariates that users bring, in the forms of PLINK 1, PLINK 2, REGENIE and spreadsheets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from genoweave.errors import DataError
from genoweave.io.files import shown
from genoweave.io.tables.text import Layout, place, read_columns

MISSING_CODE = -9.0
_OTHER_ID = "\0id"  # no header has such a name
_MISSING = {"", "na", "n/a", "nan", "none"}


def read_phenotypes(
    path: Path, columns: Sequence[str] | None = None, *, id_column: str | None = None
) -> pd.DataFrame:
    """Read phenotypes, one row a sample.

    Read are: PLINK 1 and REGENIE (FID, IID; PLINK 1 also without a header: the columns are then PHENO1, ...),
    PLINK 2 (#FID IID, #IID or IID), and any table with a header whose first column, or `id_column`, is the
    sample id. TSV, CSV, white space (each also .gz or .zst) or Parquet.

    Missing are empty cells, NA, N/A, nan and none in any case; in a table with FID or IID also -9, as PLINK
    has it. In other tables -9 is a number.

    Parameters
    ----------
    path
        The table.
    columns
        Those to read; all but the ids if None.
    id_column
        Column of the sample id in a table with a header, if not the first.

    Returns
    -------
    DataFrame
        Indexed by sample id (index name ``IID``). A column of numbers is float64, NaN missing; one of text
        stays text (object), ``""`` missing, as categories. Families, if known, are the column ``FID``.

    Raises
    ------
    StoreError, DataError
        If the table cannot be read, lacks a column, names no sample or one twice; or if numbers and text mix
        in a column that `columns` names, or in a table with FID or IID (PLINK 2 refuses it too). The line is
        named. A column of both that was not asked for is text.
    """
    return _read(path, columns, id_column, prefix="PHENO")


def read_covariates(
    path: Path, columns: Sequence[str] | None = None, *, id_column: str | None = None
) -> pd.DataFrame:
    """Read covariates, one row a sample; as `read_phenotypes`, columns without a name are COVAR1, ...

    Both PLINKs take -9 for missing in covariates too, and so does this.
    """
    return _read(path, columns, id_column, prefix="COVAR")


def is_case_control(values: ArrayLike) -> bool:
    """Tell by PLINK's rule whether a phenotype is 1 control, 2 case.

    It is so if each value is 1, 2 or one of the missing codes 0, -9 and NaN, and some value is 1 or 2.
    """
    numbers = np.asarray(values, np.float64)
    known = numbers[~np.isnan(numbers)]
    return bool(np.isin(known, (0, 1, 2, MISSING_CODE)).all() and np.isin(known, (1, 2)).any())


def case_control(column: ArrayLike, *, zero_one: bool = False) -> NDArray[np.int8]:
    """Return the status of a case/control phenotype: int8, 1 case, 0 control, -1 missing.

    Parameters
    ----------
    column
        Numbers. By PLINK's rule 2 is a case, 1 a control, and 0, -9 and NaN are missing.
    zero_one
        1 is a case and 0 a control (REGENIE's coding, PLINK's ``--1``); -9 and NaN are missing.

    Raises
    ------
    DataError
        If any other value is there: then it is not a case/control phenotype.
    """
    try:
        numbers = np.asarray(column, np.float64)
    except (TypeError, ValueError):
        raise DataError("a case/control phenotype is of numbers, found text") from None
    control, case = (0, 1) if zero_one else (1, 2)
    missing = np.isnan(numbers) | np.isin(numbers, (MISSING_CODE,) if zero_one else (0, MISSING_CODE))
    wrong = np.flatnonzero(~missing & (numbers != case) & (numbers != control))
    if len(wrong):
        raise DataError(
            f"a case/control phenotype has {control} (control), {case} (case) or a missing value; found "
            f"{numbers[wrong[0]]:g} at sample number {wrong[0] + 1} and {len(wrong)} other values in all"
        )
    return np.where(missing, -1, numbers == case).astype(np.int8)


def _read(path: Path, columns: Sequence[str] | None, id_column: str | None, *, prefix: str) -> pd.DataFrame:
    table = read_columns(path, lambda first: _layout(path, first, columns, id_column, prefix))
    ids = ["FID", "IID"] if table.columns[0] == "FID" else [str(table.columns[0])]
    is_plink = ids != [_OTHER_ID]
    for name in ids:
        table[name] = list(map(str.strip, table[name]))
    _check_ids(path, table, ids)
    values = {
        name: _convert(path, table, k, is_plink=is_plink, may_mix=columns is None and not is_plink)
        if name != "FID"
        else table[name].to_numpy(object)
        for k, name in enumerate(table.columns)
        if k >= len(ids)
    }
    index = pd.Index(table[ids[-1]].to_numpy(object), name="IID", dtype=object)
    families = {"FID": table["FID"].to_numpy(object)} if "FID" in ids else {}
    return pd.DataFrame(families | values, index)


def _layout(
    path: Path, first: list[str], columns: Sequence[str] | None, id_column: str | None, prefix: str
) -> Layout:
    """Choose the columns; those of ids are named FID and IID, the id of a table of no PLINK's `_OTHER_ID`."""
    header = [cell.strip() for cell in first]
    names = [name.removeprefix("#").upper() for name in header[:2]]
    has_header = True
    if id_column is not None:
        ids = [_position(path, header, id_column)]
        known = [_OTHER_ID]
    elif names == ["FID", "IID"]:
        ids, known = [0, 1], names
    elif names[:1] == ["IID"]:
        ids, known = [0], ["IID"]
    elif len(header) > 2 and all(_is_value(cell) for cell in header[2:]):
        ids, known, has_header = [0, 1], ["FID", "IID"], False
        header = [*known, *(f"{prefix}{k + 1}" for k in range(len(header) - 2))]
    else:
        ids, known = [0], [_OTHER_ID]
        _refuse_data_as_header(path, header)
    skipped = {*ids, 1} if known == ["IID"] and header[1:2] == ["SID"] else set(ids)
    others = [k for k in range(len(header)) if k not in skipped]
    chosen = others if columns is None else [_position(path, header, name) for name in columns]
    if not chosen:
        raise DataError(f"{path}: wanted sample ids and at least one column of values beside them")
    return Layout([*known, *(header[k] for k in chosen)], [*ids, *chosen], has_header)


def _position(path: Path, header: list[str], name: str) -> int:
    if name not in header:
        raise DataError(
            f"{path} has no column {name!r} in its first line, the header; give the name of one of its "
            f"{len(header)} columns"
        )
    return header.index(name)


def _refuse_data_as_header(path: Path, header: list[str]) -> None:
    if any(_is_number(cell) for cell in header[1:]):
        raise DataError(
            f"{path}, line 1: wanted a header, found a number in it; name the columns in the first line, or "
            "begin each line with FID and IID as PLINK 1 does"
        )


def _check_ids(path: Path, table: pd.DataFrame, ids: list[str]) -> None:
    empty = np.flatnonzero(table[ids[-1]] == "")
    if len(empty):
        raise DataError(f"{place(path, table, empty[0])}: {len(empty)} rows have no sample id; fill them in")
    repeated = np.flatnonzero(table.duplicated(ids))
    if len(repeated):
        raise DataError(
            f"{place(path, table, repeated[0])}: {len(repeated)} rows repeat a sample id that stands above; "
            "keep one row per sample"
        )


def _is_missing(text: str) -> bool:
    return text.casefold() in _MISSING


def _is_number(text: str) -> bool:
    return not math.isnan(_number(text))


def _is_value(text: str) -> bool:
    return _is_missing(text) or _is_number(text)


def _number(text: str) -> float:
    """Return the number that a cell says, NaN if it says none."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _numbers(cells: NDArray[Any]) -> NDArray[np.float64]:
    """Return `_number` of each cell; at once where all are numbers."""
    if "_" not in "".join(cells):
        with suppress(ValueError):
            return cells.astype(np.float64)
    return np.array([_number(cell) for cell in cells], np.float64)


def _convert(path: Path, table: pd.DataFrame, column: int, *, is_plink: bool, may_mix: bool) -> NDArray[Any]:
    """Return a column as float64 or, where nothing in it is a number, as text."""
    cells = table.iloc[:, column].to_numpy(object)
    numbers = _numbers(cells)
    name = table.columns[column]
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise DataError(
            f"{place(path, table, infinite[0])}: column {shown(name)} is infinite here; write NA where there "
            "is no value"
        )
    is_text = np.isnan(numbers)
    is_text[is_text] = [not _is_missing(cell.strip()) for cell in cells[is_text]]
    if not is_text.any():
        return np.where(numbers == MISSING_CODE, np.nan, numbers) if is_plink else numbers
    is_code = is_plink & (numbers == MISSING_CODE)
    numeric = np.flatnonzero(~np.isnan(numbers) & ~is_code)
    if len(numeric) and not may_mix:
        text = np.flatnonzero(is_text)[0]
        raise DataError(
            f"{place(path, table, text)}: column {shown(name)} is text here, but a number in "
            f"{table.index.name} {table.index[numeric[0]]}; mend it, write NA if it is missing, or name the "
            "columns to read"
        )
    return np.array(["" if _is_missing(cell) else cell for cell in map(str.strip, cells)], object)
