"""Tables of text cells: TSV, CSV, white space, any of them compressed, and Parquet.

What a file is, its first bytes tell. A line and what a compressed file expands to are bounded, so that no
table can take all memory.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from genoweave.errors import DataError, StoreError
from genoweave.execution import machine_memory
from genoweave.io.files import shown

LONGEST_LINE = 64 * 2**20
LARGEST_EXPANDED = 4 * 2**30
_GZIP, _ZSTD, _PARQUET, _ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK\x03\x04"
_SMALLEST_CELL = 8
# Letters of a plain table that are read at a time; less than what the csv module takes in a cell.
_BLOCK = 2**17
# What a cell takes in memory as text, and after how many rows that is looked at.
_CELL_BYTES, _CHECKED_ROWS = 64, 2**16


@dataclass(frozen=True)
class Layout:
    """Names of the columns that are kept and where they stand; whether the first line is a header."""

    names: list[str]
    keep: list[int]
    has_header: bool = True

    @classmethod
    def all(cls, header: list[str]) -> Layout:
        """Keep every column under its own name."""
        return cls(header, list(range(len(header))))


def read_table(path: Path) -> pd.DataFrame:
    """Read a table with a header, every cell as text; the index is the number of the line.

    TSV, CSV or white space (the separator is a tab if the header has one, else a comma, else white space),
    in UTF-8 with or without a byte order mark, plain, gzip or zstd; or Parquet, whose cells become text
    (missing empty, true and false 1 and 0, floats to all their digits) and whose index is the row.

    Raises
    ------
    StoreError
        If the file is missing or cannot be read.
    DataError
        If it is not text, empty, ragged or damaged; if a line is longer than 64 MiB; or if a compressed
        table expands to more than 4 GiB.
    """
    return read_columns(path, Layout.all)


def read_columns(path: Path, choose: Callable[[list[str]], Layout]) -> pd.DataFrame:
    """Read those columns of a table that `choose` names when it has seen the first line.

    Returns
    -------
    DataFrame
        Of text; the index, named ``line`` (``row`` in Parquet), is where each row stands in the file.
    """
    if _first_bytes(path) == _PARQUET:
        return _read_parquet(path, choose)
    with suppress(_NotPlainError), open_text(path) as file:
        return _collect_plain(path, file, choose)
    with open_text(path) as file:
        try:
            return _collect(path, records(file, path), choose)
        except csv.Error as error:
            raise DataError(f"{path} cannot be read as a table: {error}") from None


def place(path: Path, table: pd.DataFrame, row: int) -> str:
    """Return where a row of a table stands, for a message: file and line."""
    return f"{path}, {table.index.name} {table.index[row]}"


class _NotPlainError(Exception):
    """A table has quotes, blank or ragged lines or letters beyond ASCII, or an error: read it by line."""


def _collect_plain(path: Path, file: TextIO, choose: Callable[[list[str]], Layout]) -> pd.DataFrame:
    """Read a plain table in blocks of lines: 0.4 CPU s for 184,712 rows of 11 numbers, by line 1.3."""
    blocks = _plain_blocks(file)
    lines = next(blocks, [""])
    separator = "\t" if "\t" in lines[0] else "," if "," in lines[0] else None
    top = lines[0].split(separator)
    if not top or not top[-1].strip():
        raise _NotPlainError
    layout = choose(top)
    if layout.has_header:
        _check_header(path, top)
    cells: list[list[str]] = [[] for _ in layout.keep]
    most = max(layout.keep) + 1 if separator else -1  # what is behind the last column stays in one piece
    for block in chain([lines[layout.has_header :]], blocks):
        rows = [line.split(separator, most) for line in block]
        widths = {line.count(separator) + 1 for line in block} if separator else set(map(len, rows))
        if rows and widths != {len(top)}:
            raise _NotPlainError
        columns = list(zip(*rows, strict=True))
        if columns and not all(map(str.strip, columns[0])):
            raise _NotPlainError
        for column, k in zip(cells, layout.keep if columns else (), strict=False):
            column.extend(columns[k])
        _check_memory(path, len(cells[0]), len(cells))
    start = 1 + layout.has_header
    return _frame(layout, cells, pd.RangeIndex(start, start + len(cells[0]), name="line"))


def _plain_blocks(file: TextIO) -> Iterator[list[str]]:
    """Yield the lines of a file, some at a time, without their ends."""
    rest = ""
    while text := file.read(_BLOCK):
        if not text.isascii() or '"' in text or "\r" in text:
            raise _NotPlainError
        lines = (rest + text).split("\n")
        rest = lines.pop()
        if len(rest) > _BLOCK:
            raise _NotPlainError
        if lines:
            yield lines
    if rest:
        yield [rest]


def _collect(
    path: Path, rows: Iterator[tuple[int, list[str]]], choose: Callable[[list[str]], Layout]
) -> pd.DataFrame:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path} is empty; wanted a header line and one line a sample")
    top = first[1]
    while len(top) > 1 and not top[-1].strip():
        top.pop()
    n_columns = len(top)
    layout = choose(top)
    if layout.has_header:
        _check_header(path, top)
    numbers: list[int] = []
    cells: list[list[str]] = [[] for _ in layout.keep]
    if not layout.has_header:
        _keep(first, layout, numbers, cells)
    for number, row in rows:
        while len(row) > n_columns and not row[-1].strip():  # separators at the end of a line
            row.pop()
        if len(row) != n_columns:
            like = "in the header" if layout.has_header else f"in line {first[0]}"
            raise DataError(f"{path}, line {number}: wanted {n_columns} columns as {like}, found {len(row)}")
        _keep((number, row), layout, numbers, cells)
        if len(numbers) % _CHECKED_ROWS == 0:
            _check_memory(path, len(numbers), len(cells))
    return _frame(layout, cells, pd.Index(numbers, name="line", dtype="int64"))


def _check_memory(path: Path, n_rows: int, n_columns: int) -> None:
    if n_rows * (n_columns + 1) * _CELL_BYTES > machine_memory():
        raise DataError(
            f"{path}: {n_rows} rows of {n_columns} columns take more than the memory holds; wanted a table "
            "of samples or variants. Keep the columns and rows that are needed"
        )


def _keep(record: tuple[int, list[str]], layout: Layout, numbers: list[int], cells: list[list[str]]) -> None:
    numbers.append(record[0])
    for column, k in zip(cells, layout.keep, strict=True):
        column.append(record[1][k])


def _frame(layout: Layout, cells: list[list[str]], index: pd.Index[Any]) -> pd.DataFrame:
    # fromiter does not look into each cell for a sequence, as assigning a list does
    columns = {k: np.fromiter(values, object, len(values)) for k, values in enumerate(cells)}
    table = pd.DataFrame(columns, index)
    table.columns = pd.Index(layout.names, dtype=object)
    return table


def _check_header(path: Path, header: list[str]) -> None:
    if len(set(header)) < len(header):
        raise DataError(f"{path}: two columns of the header have one name; give each its own")


def records(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and cells of each line that is not blank; the first one tells the separator."""
    lines = _lines(file, path)
    for number, first in lines:
        if not first.strip():
            continue
        if "\t" in first or "," in first:
            rest = (line for part in ([first], (line for _, line in lines)) for line in part)
            reader = csv.reader(rest, delimiter="\t" if "\t" in first else ",")
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield number - 1 + reader.line_num, cells
        else:
            yield number, first.split()
            yield from ((n, line.split()) for n, line in lines if line.strip())


def _lines(file: TextIO, path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, or say which one is too long or not text."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise DataError(
                f"{path}, line {number} is longer than {LONGEST_LINE // 2**20} MiB; wanted a table of lines"
            )
        if not line.isascii() and any("\udc80" <= c <= "\udcff" for c in line):  # bytes kept as surrogates
            raise DataError(f"{path}, line {number} is not UTF-8 text; save it as UTF-8")
        yield number, line


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file, expanding gzip and zstd; bytes that are not UTF-8 become surrogates.

    Raises
    ------
    StoreError, DataError
        If it is missing or cannot be read; if it is not text, is damaged or expands too far.
    """
    head = _first_bytes(path)
    if head in (_PARQUET, _ZIP):
        kind = "a Parquet file" if head == _PARQUET else "a workbook or ZIP archive"
        raise DataError(f"{path} is {kind}; wanted UTF-8 text (TSV, CSV or white space)")
    try:
        with _open_bytes(path, head) as stream:
            yield io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None


@contextmanager
def _open_bytes(path: Path, head: bytes) -> Iterator[io.BufferedReader]:
    if head[:2] == _GZIP:
        with gzip.open(path, "rb") as stream:
            yield io.BufferedReader(_Expanded(stream, path), 1 << 20)
    elif head == _ZSTD:
        import pyarrow

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield io.BufferedReader(_Expanded(stream, path), 1 << 20)
    else:
        with path.open("rb") as file:
            yield file


class _Expanded(io.RawIOBase):
    """What a compressed file expands to, up to a bound."""

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream, self._path, self._total = stream, path, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{self._path} is damaged or cut short ({error}); copy or compress it again"
            ) from None
        self._total += len(data)
        if self._total > LARGEST_EXPANDED:
            raise _too_large(self._path)
        buffer[: len(data)] = data
        return len(data)


def _too_large(path: Path) -> DataError:
    return DataError(
        f"{path} expands to more than {LARGEST_EXPANDED // 2**30} GiB; wanted a table of samples or "
        "variants. Keep the columns that are needed, or expand it to a plain file"
    )


def _first_bytes(path: Path) -> bytes:
    """Return the first four bytes, by which files are told apart."""
    if not path.is_file():
        raise StoreError(f"there is no table {path}; check the path")
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None


def _read_parquet(path: Path, choose: Callable[[list[str]], Layout]) -> pd.DataFrame:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            names = _parquet_columns(file)
            _check_header(path, names)
            _check_parquet_size(path, file)
            layout = choose(names)
            _check_memory(path, file.metadata.num_rows, len(layout.keep))
            wanted = [names[k] for k in layout.keep]
            cells: list[list[str]] = [[] for _ in wanted]
            for batch in file.iter_batches(columns=list(dict.fromkeys(wanted))):
                for values, name in zip(cells, wanted, strict=True):
                    values.extend(_as_text(path, name, batch.column(name)))
    except (pyarrow.ArrowException, OSError, ValueError, RecursionError) as error:  # JSON of pandas in it
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise DataError(f"{path} cannot be read as Parquet: {reason}; copy or write it again") from None
    n_rows = len(cells[0]) if cells else 0
    return _frame(layout, cells, pd.RangeIndex(1, n_rows + 1, name="row"))


def _parquet_columns(file: Any) -> list[str]:
    """Return the names of the columns, first those that pandas wrote as the index."""
    schema = file.schema_arrow
    described = schema.pandas_metadata or {}
    index = [name for name in described.get("index_columns", []) if name in schema.names]
    return [*index, *(name for name in schema.names if name not in index)]


def _check_parquet_size(path: Path, file: Any) -> None:
    facts = file.metadata
    declared = sum(facts.row_group(k).total_byte_size for k in range(facts.num_row_groups))
    if max(declared, facts.num_rows * facts.num_columns * _SMALLEST_CELL) > LARGEST_EXPANDED:
        raise _too_large(path)


def _as_text(path: Path, name: str, values: Any) -> list[str]:
    import pyarrow

    if pyarrow.types.is_boolean(values.type):
        values = values.cast(pyarrow.int8())
    try:
        text = values.cast(pyarrow.string()).to_pylist()
    except pyarrow.ArrowNotImplementedError:
        raise DataError(
            f"{path}: column {shown(name)} is of type {values.type}; wanted text or numbers"
        ) from None
    return ["" if cell is None else cell for cell in text]
