"""Tables of samples: PLINK 2's .psam (or PLINK 1's .fam) and Oxford's .sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError, StoreError
from genoweave.io.plink import check_phenotype, number_text
from genoweave.io.tables.ids import COMPOSED, composed_id, family_ids, within_family

_SEX = {"1": 1, "M": 1, "m": 1, "2": 2, "F": 2, "f": 2}
_NOT_NUMBERS = frozenset({"", "NA", "na", "nan", "NaN", "Na", "-9", "."})
_FAM = ["FID", "IID", "PAT", "MAT", "SEX", "PHENO1"]


@dataclass(frozen=True)
class Samples:
    """What a table says of its samples, in its order; None where it has no such column.

    ``sex`` int8 (0 unknown, 1 male, 2 female); parents "0" where unknown; ``phenotype`` float64, NaN missing,
    a binary one 1 (control) and 2 (case).
    """

    ids: list[str]
    family: list[str] | None = None
    sex: NDArray[np.int8] | None = None
    paternal: list[str] | None = None
    maternal: list[str] | None = None
    phenotype: NDArray[np.float64] | None = None
    is_composed: bool = False

    def variables(self) -> dict[str, tuple[str, NDArray[Any]]]:
        """Return the variables of the data model; parents only if any is known."""
        sex = np.zeros(len(self.ids), np.int8) if self.sex is None else self.sex
        family = ["0"] * len(self.ids) if self.family is None else self.family
        columns: dict[str, Any] = {"id": self.ids, "family_id": family, "sex": sex}
        if {*(self.paternal or "0"), *(self.maternal or "0")} != {"0"}:
            columns |= {"paternal_id": self.paternal, "maternal_id": self.maternal}
        columns["phenotype"] = self.phenotype
        return {
            f"sample_{name}": (
                "samples",
                values if isinstance(values, np.ndarray) else np.array(values, object),
            )
            for name, values in columns.items()
            if values is not None
        }

    def attributes(self) -> dict[str, dict[str, int]]:
        """Return the dataset's attributes: how many ids were made of family and within-family id."""
        return {"import_counts": {COMPOSED: len(self.ids)}} if self.is_composed else {}

    def require_unique(self, path: Path) -> None:
        """Raise if two samples have one id."""
        seen: dict[str, int] = {}
        for row, name in enumerate(self.ids, start=1):
            if seen.setdefault(name, row) != row:
                raise DataError(
                    f"{path}: the ids of samples number {seen[name]} and {row} are equal; they must be "
                    "unique. Rename one"
                )


def read_psam(path: Path) -> Samples:
    """Read a .psam, or a .fam.

    The phenotype is ``PHENO1``, or else the first further column that holds numbers.

    Raises
    ------
    StoreError, DataError
        If it is not there, or malformed, naming the line.
    """
    lines = _lines(path)
    header, body = _FAM, 0
    while body < len(lines) and lines[body][1].startswith("#"):
        number, text = lines[body]
        body += 1
        if text.startswith(("#FID", "#IID")):
            header = text[1:].split()
            if len(set(header)) < len(header) or "IID" not in header[:2]:
                raise DataError(
                    f"{path}, line {number}: the header is #IID or #FID IID and then other columns, each once"
                )
    if header is _FAM and body < len(lines) and len(lines[body][1].split()) == 5:
        header = _FAM[:5]
    columns = _columns(path, lines[body:], header)
    names = [*(n for n in header if n == "PHENO1"), *(n for n in header if n not in ("SID", *_FAM))]
    return _samples(path, columns, columns["IID"], columns.get("FID"), names, binary=())


def read_sample_file(path: Path) -> Samples:
    """Read an Oxford .sample: a line of names, a line of types, and one line a sample; ids are ID_2.

    The phenotype is the first column of type P or B; of the latter 0 and 1 become 1 and 2.

    Raises
    ------
    StoreError, DataError
        If it is not there, or malformed, naming the line.
    """
    lines = _lines(path)
    header = lines[0][1].split()
    types = lines[1][1].split() if len(lines) > 1 else []
    if (
        not header
        or header[0].upper() not in ("ID_1", "ID", "ID1")
        or len(types) != len(header)
        or types[0] != "0"
    ):
        raise DataError(
            f"{path}, line 1: a .sample begins with a line of names, 'ID_1 ID_2 missing ...', and a line of "
            f"as many types, '0 0 0 ...'; found {len(header)} names and {len(types)} types"
        )
    columns = _columns(path, lines[2:], header)
    has_two = len(header) > 1 and header[1].upper() in ("ID_2", "ID2")
    ids = columns[header[1 if has_two else 0]]
    family = columns[header[0]] if has_two else None
    if family == ids:  # as programs write that know no families
        family = None
    known = {name.lower(): name for name in header}
    aliases = {"SEX": "sex", "PAT": "father", "MAT": "mother"}
    columns |= {ours: columns[known[theirs]] for ours, theirs in aliases.items() if theirs in known}
    names = [name for name, kind in zip(header, types, strict=True) if kind in ("P", "B")]
    binary = [name for name, kind in zip(header, types, strict=True) if kind == "B"]
    return _samples(path, columns, ids, family, names, binary=binary)


def _samples(
    path: Path,
    columns: dict[str, list[str]],
    ids: list[str],
    family: list[str] | None,
    phenotypes: list[str],
    *,
    binary: list[str] | tuple[()],
) -> Samples:
    if not ids:
        raise DataError(f"{path} lists no samples; wanted one line each")
    sex = np.array([_SEX.get(x, 0) for x in columns["SEX"]], np.int8) if "SEX" in columns else None
    found = None
    for name in phenotypes:
        found = phenotype(columns[name], is_binary=name in binary)
        if found is not None:
            break
    paternal, maternal = columns.get("PAT"), columns.get("MAT")
    if paternal is None or maternal is None:
        paternal = maternal = None
    if family is None or len(set(ids)) == len(ids):
        return Samples(ids, family, sex, paternal, maternal, found)
    if len(set(zip(family, ids, strict=True))) < len(ids):
        Samples(list(map(" ".join, zip(family, ids, strict=True)))).require_unique(path)
    whole = [_composed(family, names) for names in (ids, paternal, maternal)]
    return Samples(whole[0] or ids, family, sex, whole[1], whole[2], found, is_composed=True)


def _composed(family: list[str], ids: list[str] | None) -> list[str] | None:
    """Put the family before ids that are unique only within it."""
    if ids is None:
        return None
    return [i if i == "0" else composed_id(f, i) for f, i in zip(family, ids, strict=True)]


def phenotype(texts: list[str], *, is_binary: bool = False) -> NDArray[np.float64] | None:
    """Return a column of numbers, NaN for -9, NA and empty ones; None if it holds other text or no number.

    A column of 0, 1 and 2 only is PLINK's case (2) and control (1), where 0 is missing; `is_binary`: 0 and 1.
    """
    try:
        values = np.array([np.nan if x in _NOT_NUMBERS else float(x) for x in texts])
    except ValueError:
        return None
    if np.isnan(values).all() or np.isinf(values).any():
        return None
    if is_binary:
        return np.asarray(values + 1)
    if np.isin(values, [0, 1, 2]).sum() == (~np.isnan(values)).sum():
        values[values == 0] = np.nan
    return None if np.isnan(values).all() else values


def _lines(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, and their numbers."""
    if not path.is_file():
        raise StoreError(f"there is no table {path}; check the path")
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    kept = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not kept:
        raise DataError(f"{path} is empty")
    return kept


def _columns(path: Path, lines: list[tuple[int, str]], header: list[str]) -> dict[str, list[str]]:
    """Return the columns of a table; fields beyond the header are left out."""
    rows = []
    for number, line in lines:
        fields = line.split()
        if len(fields) < len(header):
            raise DataError(
                f"{path}, line {number}: wanted {len(header)} columns ({', '.join(header)[:200]}) for each "
                f"sample, found {len(fields)}"
            )
        rows.append(fields[: len(header)])
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def psam_text(ds: xr.Dataset) -> str:
    """Return the .psam of a dataset: the ids, parents and phenotype that are known, and the sex.

    Raises
    ------
    DataError
        If PLINK would take a value of ``sample_phenotype`` for missing.
    """
    names, columns = ["IID"], [_within(ds, "sample_id")]
    family = family_ids(ds).tolist()
    if set(family) != {"0"}:
        names, columns = ["FID", "IID"], [family, columns[0]]
    if "sample_paternal_id" in ds and "sample_maternal_id" in ds:
        names += ["PAT", "MAT"]
        columns += [_within(ds, "sample_paternal_id"), _within(ds, "sample_maternal_id")]
    names.append("SEX")
    columns.append(_sexes(ds))
    values = _phenotypes(ds)
    if values is not None:
        names.append("PHENO1")
        columns.append([number_text(x, "NA") for x in values])
    rows = ("\t".join(row) for row in zip(*columns, strict=True))
    return "\n".join(["#" + "\t".join(names), *rows]) + "\n"


def sample_file_text(ds: xr.Dataset) -> str:
    """Return the .sample of a dataset: the family stands as ID_1 where it is known, else the id itself.

    Raises
    ------
    DataError
        If PLINK would take a value of ``sample_phenotype`` for missing.
    """
    ids, family = _within(ds, "sample_id"), family_ids(ds).tolist()
    first = ids if set(family) == {"0"} else family
    names, types = ["ID_1", "ID_2", "missing", "sex"], ["0", "0", "0", "D"]
    columns = [first, ids, ["0"] * len(ids), _sexes(ds)]
    if "sample_paternal_id" in ds and "sample_maternal_id" in ds:
        names, types = [*names, "father", "mother"], [*types, "D", "D"]
        columns += [_within(ds, "sample_paternal_id"), _within(ds, "sample_maternal_id")]
    values = _phenotypes(ds)
    if values is not None:
        is_binary = bool(np.isin(values[~np.isnan(values)], [1, 2]).all())
        names, types = [*names, "phenotype"], [*types, "B" if is_binary else "P"]
        columns.append([number_text(x - is_binary, "NA") for x in values])
    rows = (" ".join(row) for row in zip(*columns, strict=True))
    return "\n".join([" ".join(names), " ".join(types), *rows]) + "\n"


def _within(ds: xr.Dataset, name: str) -> list[str]:
    """Return ids, or those of parents, as they are within families; 0 where unknown."""
    return [str(i) or "0" for i in within_family(ds, ds[name].values)]


def _sexes(ds: xr.Dataset) -> list[str]:
    sex = ds["sample_sex"].values if "sample_sex" in ds else np.zeros(ds.sizes["samples"], np.int8)
    return [{1: "1", 2: "2"}.get(int(x), "NA") for x in sex]


def _phenotypes(ds: xr.Dataset) -> NDArray[np.float64] | None:
    """Return ``sample_case`` as 1 and 2, or ``sample_phenotype``, or None."""
    if "sample_case" in ds:
        case = ds["sample_case"].values.astype(np.float64)
        return np.where(case < 0, np.nan, case + 1)
    if "sample_phenotype" not in ds:
        return None
    values = np.asarray(ds["sample_phenotype"].values, np.float64)
    check_phenotype(values, "sample_phenotype")
    return values
