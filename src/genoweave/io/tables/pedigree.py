"""Families that users bring: .fam, .ped and .psam files and tables with a header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.io.tables.text import Layout, place, read_columns

_COLUMNS = ("family_id", "sample_id", "paternal_id", "maternal_id", "sex")
_KNOWN_AS = {
    "family_id": {"familyid", "family", "fid", "famid", "pedigreeid", "pedigree"},
    "sample_id": {"sampleid", "sample", "individualid", "individual", "iid", "id", "childid", "child"},
    "paternal_id": {"paternalid", "paternal", "fatherid", "father", "pat", "pid", "dad"},
    "maternal_id": {"maternalid", "maternal", "motherid", "mother", "mat", "mid", "mom"},
    "sex": {"sex", "gender"},
}
_SEX = {"1": 1, "m": 1, "male": 1, "2": 2, "f": 2, "female": 2}
_NOBODY = {"", "0", "-9", ".", "na", "nan", "none"}
_MALE, _FEMALE = 1, 2


def read_pedigree(path: Path) -> pd.DataFrame:
    """Read a pedigree, one row a person, and check that it is possible.

    A file without a header is a .fam or .ped: family, id, father, mother, sex, then anything. A header names
    the columns in any order, as 1000 Genomes (Family ID, Individual ID, Paternal ID, Maternal ID, Gender),
    PLINK 2's .psam (#FID IID PAT MAT SEX) or genoweave (sample_id, father_id, mother_id, sex) do; family and
    sex may be left out. Text may be .gz or .zst, or Parquet.

    Returns
    -------
    DataFrame
        Columns family_id (``"0"`` none), sample_id, paternal_id, maternal_id (``"0"`` unknown; they need not
        be in the table), sex (int8: 0 unknown, 1 male, 2 female); the index is the line of the file.

    Raises
    ------
    StoreError, DataError
        If the table cannot be read, or as `check_pedigree`.
    """
    table = read_columns(path, lambda first: _layout(path, first))
    for name in table.columns:
        table[name] = table[name].str.strip()
    for name in _COLUMNS:
        if name not in table:
            table[name] = "0"
    for name in ("family_id", "paternal_id", "maternal_id"):
        table[name] = table[name].where(~table[name].str.casefold().isin(_NOBODY), "0")
    sex = table["sex"].str.casefold().map(_SEX).fillna(0).astype(np.int8)
    table = table[list(_COLUMNS)].assign(sex=sex)
    check_pedigree(table, path)
    return table


def _layout(path: Path, first: list[str]) -> Layout:
    cells = ["".join(c for c in cell.casefold() if c.isalnum()) for cell in first]
    found = {
        name: k
        for name, known in _KNOWN_AS.items()
        for k, cell in reversed([*enumerate(cells)])
        if cell in known
    }
    if "sample_id" in found and len(found) > 1:
        if "paternal_id" not in found and "maternal_id" not in found:
            raise DataError(
                f"{path}, line 1: wanted columns of father and mother (father_id, mother_id), found neither"
            )
        return Layout(list(found), list(found.values()))
    if len(first) < len(_COLUMNS):
        raise DataError(
            f"{path}, line 1: wanted a header with sample_id, father_id, mother_id and sex, or the columns "
            f"of a .fam (family, id, father, mother, sex), found {len(first)} columns"
        )
    return Layout(list(_COLUMNS), list(range(len(_COLUMNS))), has_header=False)


def check_pedigree(table: pd.DataFrame, path: Path) -> None:
    """Check that a pedigree is possible.

    Ids are compared within families where they repeat between families.

    Parameters
    ----------
    table
        As `read_pedigree` returns it.
    path
        For messages.

    Raises
    ------
    DataError
        Naming the first line: a person stands twice or has no id, is their own ancestor, a father is female,
        a mother male, or somebody is both father and mother.
    """
    empty = np.flatnonzero(table["sample_id"] == "")
    if len(empty):
        raise DataError(f"{place(path, table, empty[0])}: {len(empty)} people have no id; fill them in")
    repeated = np.flatnonzero(table.duplicated(["family_id", "sample_id"]))
    if len(repeated):
        raise DataError(
            f"{place(path, table, repeated[0])}: {len(repeated)} rows repeat a person that stands above; "
            "keep one row per person"
        )
    father, mother = parent_rows(table)
    _check_sex(table, path, father, mother)
    _check_ancestors(table, path, father, mother)


def parent_rows(table: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of fathers and mothers, int64 (people,), -1 where they are not in the table."""
    ids = table["sample_id"].tolist()
    families = table["family_id"].tolist() if not table["sample_id"].is_unique else ["0"] * len(ids)
    rows = {key: row for row, key in enumerate(zip(families, ids, strict=True))}

    def find(parents: pd.Series[Any]) -> NDArray[np.int64]:
        return np.array(
            [-1 if p == "0" else rows.get((f, p), -1) for f, p in zip(families, parents, strict=True)],
            np.int64,
        )

    return find(table["paternal_id"]), find(table["maternal_id"])


def _check_sex(table: pd.DataFrame, path: Path, father: NDArray[np.int64], mother: NDArray[np.int64]) -> None:
    sex = table["sex"].to_numpy()
    for parents, name, wrong in ((father, "father", _FEMALE), (mother, "mother", _MALE)):
        known = np.flatnonzero(parents >= 0)
        bad = known[sex[parents[known]] == wrong]
        if len(bad):
            is_said = "female" if wrong == _FEMALE else "male"
            raise DataError(
                f"{place(path, table, bad[0])}: the {name} is {is_said} by {table.index.name} "
                f"{table.index[parents[bad[0]]]} ({len(bad)} such rows); mend sex or parents"
            )
    paternal, maternal = table["paternal_id"].to_numpy(object), table["maternal_id"].to_numpy(object)
    same = np.flatnonzero((paternal == maternal) & (paternal != "0"))
    both = same if len(same) else np.flatnonzero(np.isin(mother, father[father >= 0]) & (mother >= 0))
    if len(both):
        raise DataError(
            f"{place(path, table, both[0])}: the mother is also given as a father ({len(both)} such rows); "
            "mend the parents"
        )


def _check_ancestors(
    table: pd.DataFrame, path: Path, father: NDArray[np.int64], mother: NDArray[np.int64]
) -> None:
    """Take away those whose parents are gone, again and again; whoever is left is in a circle or below it."""
    is_left = np.ones(len(table), bool)
    is_left_or_nobody = np.append(is_left, False)  # -1, nobody, is the last
    while is_left.any():
        waits = is_left & (is_left_or_nobody[father] | is_left_or_nobody[mother])
        if (waits == is_left).all():
            row = _in_circle(int(np.flatnonzero(is_left)[0]), father, mother, is_left)
            raise DataError(f"{place(path, table, row)}: this person is their own ancestor; mend the parents")
        is_left = waits
        is_left_or_nobody[:-1] = is_left


def _in_circle(
    row: int, father: NDArray[np.int64], mother: NDArray[np.int64], is_left: NDArray[np.bool_]
) -> int:
    """Go up from a person until one comes again."""
    seen: set[int] = set()
    while row not in seen:
        seen.add(row)
        row = int(father[row] if father[row] >= 0 and is_left[father[row]] else mother[row])
    return row
