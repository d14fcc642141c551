"""Tables of variants: PLINK 2's .pvar, also compressed, or PLINK 1's .bim."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError, StoreError
from genoweave.io.files import shown
from genoweave.io.plink import number_text
from genoweave.io.tables.text import LONGEST_LINE

_LARGEST_POSITION = 2**31 - 1
# An allele that is not known: in a .pvar and in a .bim.
_UNKNOWN = [".", "0"]
# A compressed table that expands more than this is no table.
_MOST_EXPANSION = 1000
_BIM = ["CHROM", "ID", "CM", "POS", "ALT", "REF"]


class _Zstd:
    """A zstd file as it is decompressed; one that expands too much is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = pa.input_stream(str(path), compression="zstd")
        self._left = _MOST_EXPANSION * path.stat().st_size + 2**20

    def read(self, size: int = -1) -> bytes:
        try:
            data = self._stream.read(self._left if size < 0 else size)
        except OSError as error:
            raise DataError(f"{self.path} is damaged ({error}); copy or write it again") from None
        self._left -= len(data)
        if self._left <= 0:
            raise DataError(f"{self.path} expands more than {_MOST_EXPANSION} times: it is no table of text")
        return bytes(data)

    def __iter__(self) -> Iterator[bytes]:
        rest = b""
        while data := self.read(2**20):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST_LINE:
                raise DataError(
                    f"{self.path} has a line longer than {LONGEST_LINE // 2**20} MiB; wanted a table of lines"
                )
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest

    def __enter__(self) -> _Zstd:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _opened(path: Path) -> BinaryIO | _Zstd:
    return _Zstd(path) if path.suffix == ".zst" else path.open("rb")


def read_pvar(path: Path, n_variants: int) -> dict[str, NDArray[Any]]:
    """Read a .pvar, .pvar.zst or .bim as the variables ``variant_*`` and ``contig_id``.

    Raises
    ------
    StoreError, DataError
        If it is not there, malformed, of another length, or a variant is not biallelic, naming the line.
    """
    if not path.is_file():
        raise StoreError(f"there is no table {path}; check the path")
    header, skipped = _pvar_header(path)
    table = _read_whole(path, header, skipped, n_variants)
    if table is None or len(table) != n_variants or not _is_sound(table):
        table = _read_rows(path, header, skipped, n_variants)
    index, contigs = pd.factorize(table["CHROM"])
    out = {
        "contig_id": np.asarray(contigs, object),
        "variant_contig": index.astype(np.int32),
        "variant_position": table["POS"].to_numpy().astype(np.int32),
        "variant_id": table["ID"].to_numpy(object),
        "variant_allele": table[["REF", "ALT"]].replace(_UNKNOWN, "").to_numpy(object),
    }
    if "CM" in table and (cm := pd.to_numeric(table["CM"], errors="coerce")).fillna(0).any():
        out["variant_genetic_position"] = cm.to_numpy(np.float64)
    return out


def _pvar_header(path: Path) -> tuple[list[str], int]:
    """Return the columns up to FORMAT, and how many lines stand before the first variant."""
    skipped = 0
    with _opened(path) as file:
        for line in file:
            if line.startswith(b"#CHROM"):
                header = line[1:].decode("utf-8", "replace").split()
                header = header[: header.index("FORMAT")] if "FORMAT" in header else header
                lacking = {"CHROM", "POS", "ID", "REF", "ALT"} - set(header)
                if lacking or len(set(header)) < len(header):
                    raise DataError(
                        f"{path}, line {skipped + 1}: the header is #CHROM POS ID REF ALT and further "
                        f"columns, each once; lacking: {', '.join(sorted(lacking)) or 'none'}"
                    )
                return header, skipped + 1
            if not line.startswith(b"#"):
                return (_BIM if len(line.split()) >= 6 else [x for x in _BIM if x != "CM"]), skipped
            skipped += 1
    raise DataError(f"{path} has no line #CHROM and no variants")


def _read_whole(path: Path, header: list[str], skipped: int, n_variants: int) -> pd.DataFrame | None:
    """Return the table of strings by pandas, or None if it is not a clean one."""
    wanted = [name for name in header if name in _BIM]
    try:
        with _opened(path) as file:
            return pd.read_csv(
                cast(BinaryIO, file),
                sep=r"\s+",
                header=None,
                names=header,
                usecols=wanted,
                skiprows=skipped,
                nrows=n_variants + 1,
                dtype=str,
                na_filter=False,
                quoting=3,
                encoding="utf-8",
            )
    except (ValueError, OSError):  # pandas' own errors are ValueErrors
        return None


def _is_sound(table: pd.DataFrame) -> bool:
    position = table["POS"]
    return bool(
        position.str.fullmatch("[0-9]{1,10}").all()
        and position.astype("int64").max() <= _LARGEST_POSITION
        and not table["ALT"].str.contains(",", regex=False).any()
        and not (table == "").any(axis=None)
    )


def _read_rows(path: Path, header: list[str], skipped: int, n_variants: int) -> pd.DataFrame:
    """Read line by line, for a message that names the line."""
    rows: list[list[str]] = []
    wanted = [header.index(name) for name in header if name in _BIM]
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if number <= skipped or not line.strip():
                continue
            try:
                fields = line.decode().split()
            except UnicodeDecodeError:
                raise DataError(f"{path}, line {number} is not UTF-8 text; save it as UTF-8") from None
            if len(fields) < len(header):
                raise DataError(
                    f"{path}, line {number}: wanted {len(header)} columns ({', '.join(header)[:200]}), found "
                    f"{len(fields)}"
                )
            _check_variant(path, number, dict(zip(header, fields, strict=False)))
            rows.append([fields[i] for i in wanted])
            if len(rows) > n_variants:
                break
    if len(rows) != n_variants:
        more = "more" if len(rows) > n_variants else str(len(rows))
        raise DataError(
            f"{path} should list {n_variants} variants, as many as the .pgen holds, found {more}; check "
            "that .pgen, .pvar and .psam belong together"
        )
    return pd.DataFrame(rows, columns=[header[i] for i in wanted])


def _check_variant(path: Path, number: int, field: dict[str, str]) -> None:
    if not re.fullmatch("[0-9]{1,10}", field["POS"]) or int(field["POS"]) > _LARGEST_POSITION:
        raise DataError(
            f"{path}, line {number}: position is a whole number from 0 to {_LARGEST_POSITION}, found "
            f"{shown(field['POS'])}"
        )
    if "," in field["ALT"]:
        raise DataError(
            f"{path}, line {number}: variant {field['ID'][:60]} has {field['ALT'].count(',') + 2} alleles; "
            "genoweave works on biallelic variants. Split it first (bcftools norm -m -, or plink2 "
            "--make-pgen multiallelics=-)"
        )


def check_names(ds: xr.Dataset) -> None:
    """Refuse names that tables separated by white space, and ALT columns separated by commas, cannot bear.

    Raises
    ------
    DataError
        Naming the variable and the first row.
    """
    for name in ("sample_id", "variant_id", "contig_id"):
        _check(ds, name, lambda text: len(text.split()) != 1)
    _check(ds, "variant_allele", lambda text: text != "" and (len(text.split()) != 1 or "," in text))
    for name in ("sample_family_id", "sample_paternal_id", "sample_maternal_id"):
        if name in ds:
            _check(ds, name, lambda text: text != "" and len(text.split()) != 1)


def _check(ds: xr.Dataset, name: str, is_bad: Callable[[str], bool]) -> None:
    values = ds[name].values
    bad = np.flatnonzero([is_bad(str(value)) for value in values.ravel()])
    if len(bad):
        row = int(bad[0]) // max(1, values.size // len(values)) + 1
        raise DataError(
            f"{name}, row {row}: {len(bad)} names are empty, or hold white space (alleles: a comma), which "
            "the file cannot bear; rename them, or export to vcz"
        )


def pvar_text(ds: xr.Dataset) -> str:
    """Return the .pvar of a dataset: #CHROM POS ID REF ALT, and CM where genetic positions are known."""
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    columns = [contig, ds["variant_position"].values, ds["variant_id"].values]
    columns += [
        ["." if allele in ("", "0") else allele for allele in column]
        for column in ds["variant_allele"].values.T
    ]
    header = "#CHROM\tPOS\tID\tREF\tALT"
    if "variant_genetic_position" in ds:
        header += "\tCM"
        columns.append([number_text(x, "0") for x in ds["variant_genetic_position"].values])
    rows = ("\t".join(map(str, row)) for row in zip(*columns, strict=True))
    return "\n".join([header, *rows]) + "\n"
