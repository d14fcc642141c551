"""The .bim and .fam of a PLINK 1 fileset.

A whole table is read by pandas; where anything is wrong with it, it is read again line by line for a message
that names the line. (245,394 samples: 0.15 s, line by line 0.6 s.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from genoweave.errors import DataError

_BIM = "variant: chromosome, id, cM, position, A1, A2"
_FAM = "sample: family, id, father, mother, sex, phenotype"
_LARGEST_POSITION = 2**31 - 1


def read_bim(path: Path) -> pd.DataFrame:
    """Return columns contig, id, position, a1, a2, one row per variant.

    Raises
    ------
    DataError
        Naming the first line that is wrong.
    """
    table = _read_whole(path)
    if table is not None:
        table.columns = pd.Index(["contig", "id", "cm", "position", "a1", "a2"])
        position = table["position"]
        if position.str.fullmatch("[0-9]{1,10}").all():
            position = position.astype("int64")
            if position.max() <= _LARGEST_POSITION:
                return table.assign(position=position)
    rows = _read_lines(path, _BIM, _parse_variant)
    return pd.DataFrame(rows, columns=["contig", "id", "position", "a1", "a2"])


def read_fam(path: Path) -> pd.DataFrame:
    """Return columns family, id, sex (0 unknown, 1 male, 2 female), one row per sample.

    Raises
    ------
    DataError
        Naming the first line that is wrong, or rows of equal ids.
    """
    table = _read_whole(path)
    if table is not None:
        table.columns = pd.Index(["family", "id", "father", "mother", "sex", "phenotype"])
        sex = table["sex"].map({"1": 1, "2": 2}).fillna(0)
        table = table[["family", "id"]].assign(sex=sex)
    else:
        rows = _read_lines(path, _FAM, _parse_sample)
        table = pd.DataFrame(rows, columns=["family", "id", "sex"])
    if not table["id"].is_unique:
        second = int(table["id"].duplicated().to_numpy().argmax())
        first = int((table["id"] == table["id"].iloc[second]).to_numpy().argmax())
        raise DataError(
            f"{path}: the sample ids of rows {first + 1} and {second + 1} are equal; within-family "
            "ids (column 2) must be unique. Rename one (plink --update-ids)"
        )
    return table


def _read_whole(path: Path) -> pd.DataFrame | None:
    """Return the table of strings, or None if it is not a clean one of six columns."""
    try:
        table = pd.read_csv(
            path, sep=r"\s+", header=None, dtype=str, na_filter=False, quoting=3, encoding="utf-8"
        )
    except (ValueError, OSError):  # pandas' own errors are ValueErrors
        return None
    if table.shape[1] != 6 or (table.iloc[:, 5] == "").any() or table.iloc[:, 5].isna().any():
        return None
    return table


def _read_lines(path: Path, columns: str, parse: Callable[[list[str]], tuple[Any, ...]]) -> list:
    """Parse a whitespace-separated table of six columns, or say which line is wrong."""
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if not fields:
                    continue
                if len(fields) != 6:
                    raise DataError(
                        f"{path}, line {number}: wanted 6 columns ({columns}), found {len(fields)}"
                    )
                try:
                    rows.append(parse(fields))
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if not rows:
        raise DataError(f"{path} has no lines; wanted one per {columns.split(',')[0]}")
    return rows


def _parse_variant(fields: list[str]) -> tuple[str, str, int, str, str]:
    contig, identifier, _, position, a1, a2 = fields
    try:
        value = int(position)
    except ValueError:
        raise ValueError(f"position is a whole number, found {position!r}") from None
    if not 0 <= value < 2**31:
        raise ValueError(f"position is from 0 to 2147483647, found {value}")
    return contig, identifier, value, a1, a2


def _parse_sample(fields: list[str]) -> tuple[str, str, int]:
    family, identifier, _, _, sex, _ = fields
    return family, identifier, int(sex) if sex in ("1", "2") else 0
