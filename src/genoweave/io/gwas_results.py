"""Reading association results that a server returned: PLINK 2, REGENIE, GEMMA, SAIGE, or our own.

A table of all variants is read in blocks; only the rows of the wanted variants are kept.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.errors import DataError, StoreError
from genoweave.io.files import shown
from genoweave.io.gwas_columns import Columns, check_program, find_columns, is_missing, numbered

_BLOCK = 8 * 2**20
_LONGEST_LINE = 2**20
# More rows than this of each wanted variant are an attack, or another kind of table.
_MOST_ROWS_EACH = 1000
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_NOT_THERE = ["", ".", "NA", "NaN", "nan", "-nan", "null", "inf", "-inf"]


@dataclass(frozen=True)
class Returned:
    """What a server returned of some variants.

    Attributes
    ----------
    program
        "plink2", "regenie", "gemma" or "saige", by the columns' names; our own tables are plink2 or regenie.
    rows
        A row per row of the file that may be of a wanted variant: contig (as PLINK's code), position (-1 if
        the file has none), id, counted (allele; "" if the file has none), n, frequency, beta, se,
        statistic, log10_p (log10 of p, so negative) and, of the last four, ``NAME_unit``: the worth of one
        in the last printed place. NaN where there is no number. place: where it stands.
    n_rows, n_missing, n_duplicates
        Rows of the additive test in the whole file; those of them without a p or effect; those whose id
        another row has too.
    """

    program: str
    rows: pd.DataFrame
    n_rows: int
    n_missing: int
    n_duplicates: int


def read_results(
    paths: Path | str | Sequence[Path | str],
    wanted: pd.DataFrame,
    *,
    program: str = "auto",
    trait: str | None = None,
) -> Returned:
    """Read what a server returned of some variants.

    Parameters
    ----------
    paths
        A table, or several (a file per chromosome): text with tabs, commas or white space, plain, gzip or
        zstd; or Parquet.
    wanted
        Columns id, contig, position of the variants; the id ``.`` is no name.
    program
        Whose columns, or ``"auto"``: by the header.
    trait
        Of tables with several traits (a column TRAIT or PHENO, or REGENIE's ``--no-split``), which one.

    Returns
    -------
    Returned
        Rows whose id, or else position, is wanted, in the order of the files.

    Raises
    ------
    StoreError
        If a file is missing or cannot be read.
    DataError
        If a table is of no known program, ragged, damaged, has no additive test, or a wanted row something
        that is not a number; the message says in which line.
    ConfigError
        If `program` is not known.

    Notes
    -----
    2 M rows a second; memory: 100 MiB, and 8 bytes a row for the ids that occur twice.
    """
    check_program(program)
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    kept = _Kept(wanted, trait)
    programs = [_read_one(path, kept, program, trait) for path in files]
    if len(set(programs)) > 1:
        raise DataError(f"the files are of several programs ({', '.join(sorted(set(programs)))}); wanted one")
    return kept.returned(programs[0])


def _read_one(path: Path, kept: _Kept, program: str, trait: str | None) -> str:
    if not path.is_file():
        raise StoreError(f"there are no results {path}; check the path")
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head == _PARQUET:
            return _read_parquet(path, kept, program, trait)
        with _opened(path, head) as stream:
            return _read_text(path, stream, kept, program, trait)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None


class _Kept:
    """Rows of wanted variants, and counts of all rows."""

    def __init__(self, wanted: pd.DataFrame, trait: str | None) -> None:
        import pyarrow as pa

        ids = [str(name) for name in wanted["id"] if not is_missing(str(name))]
        self.ids = pa.array(ids, pa.string())
        self.positions = pa.array([str(position) for position in wanted["position"]], pa.string())
        self.trait = trait
        self.most = _MOST_ROWS_EACH * (len(wanted) + 10)
        self.tables: list[tuple[Columns, list[dict[str, str]], list[str]]] = []
        self.hashes: list[NDArray[np.uint64]] = []
        self.tests: Counter[str] = Counter()
        self.n_rows = self.n_missing = self.n_kept = 0

    def add(self, path: Path, columns: Columns, block: Any, first: int, line: str) -> None:
        """Count a block of rows (a pyarrow table of text), and keep those that are wanted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        block = block.append_column("row", pa.array(np.arange(first, first + block.num_rows)))
        block = self._of_trait(self._additive(block, columns), columns)
        self.n_rows += block.num_rows
        told = [name for name in ("p", "minus_log10_p", "se") if name in columns.at][:1]
        self.n_missing += pc.sum(pc.is_in(block[told[0]], pa.array(_NOT_THERE))).as_py() or 0
        names = block["id"].to_numpy()
        self.hashes.append(pd.util.hash_array(names[names != "."], categorize=False))
        mask = pc.is_in(block["id"], self.ids)
        if "position" in columns.at:
            mask = pc.or_(mask, pc.is_in(block["position"], self.positions))
        found = block.filter(mask)
        self.n_kept += found.num_rows
        if self.n_kept > self.most:
            raise DataError(
                f"{path}: more than {self.most} rows have a wanted id or position; wanted one row a variant. "
                "Ask for the additive test of one trait only"
            )
        rows = found.to_pylist()
        places = [f"{path}, {line} {row.pop('row')}" for row in rows]
        self.tables.append((columns, rows, places))

    def _additive(self, block: Any, columns: Columns) -> Any:
        """Keep the rows of the additive test: not those of covariates and other tests."""
        if "test" not in columns.at:
            return block
        import pyarrow.compute as pc

        for count in pc.value_counts(block["test"]).to_pylist():
            if len(self.tests) < 100:
                self.tests[str(count["values"])] += count["counts"]
        return block.filter(pc.equal(block["test"], "ADD"))

    def _of_trait(self, block: Any, columns: Columns) -> Any:
        if "trait" not in columns.at or self.trait is None:
            return block
        import pyarrow.compute as pc

        return block.filter(pc.equal(block["trait"], self.trait))

    def returned(self, program: str) -> Returned:
        """Bring the rows of all files together, their numbers read."""
        if not self.n_rows and self.tests:
            found = ", ".join(sorted(self.tests)[:5])
            raise DataError(
                f"the results have no row of the additive test (TEST is {shown(found)}); wanted ADD, or the "
                "trait is not among them: name it with --trait"
            )
        hashes = np.sort(np.concatenate(self.hashes)) if self.hashes else np.empty(0, np.uint64)
        same = hashes[1:] == hashes[:-1]
        n_duplicates = int((np.append(same, False) | np.insert(same, 0, False)).sum()) if len(hashes) else 0
        parts = [numbered(columns, rows, places) for columns, rows, places in self._by_header()]
        rows = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        return Returned(program, rows, self.n_rows, self.n_missing, n_duplicates)

    def _by_header(self) -> list[tuple[Columns, list[dict[str, str]], list[str]]]:
        """Join the blocks of each file, so that how finely a column is printed is known from all its rows."""
        joined: dict[int, tuple[Columns, list[dict[str, str]], list[str]]] = {}
        for columns, rows, places in self.tables:
            _, all_rows, all_places = joined.setdefault(id(columns), (columns, [], []))
            all_rows += rows
            all_places += places
        return list(joined.values())


@contextmanager
def _opened(path: Path, head: bytes) -> Iterator[BinaryIO]:
    if head[:2] == _GZIP:
        with gzip.open(path, "rb") as stream:
            yield stream  # type: ignore[misc]
    elif head == _ZSTD:
        import pyarrow

        with pyarrow.input_stream(str(path), compression="zstd") as stream:
            yield stream
    else:
        with path.open("rb") as file:
            yield file


def _blocks(path: Path, stream: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines, some MiB at a time."""
    rest = b""
    while True:
        try:
            data = stream.read(_BLOCK)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged or cut short ({error}); copy it again") from None
        if not data:
            break
        end = data.rfind(b"\n") + 1
        if len(data) - end + (0 if end else len(rest)) > _LONGEST_LINE:
            raise DataError(f"{path}: a line is longer than {_LONGEST_LINE} bytes; wanted a table of results")
        if end:
            yield rest + data[:end]
            rest = data[end:]
        else:
            rest += data
    if rest:
        yield rest + b"\n"


def _read_text(path: Path, stream: BinaryIO, kept: _Kept, program: str, trait: str | None) -> str:
    blocks = _blocks(path, stream)
    first = next(blocks, b"")
    line = 1
    while first.startswith(b"##"):  # remarks above the header
        first, line = first[first.index(b"\n") + 1 :] or next(blocks, b""), line + 1
    top, _, body = first.partition(b"\n")
    try:
        header = top.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; wanted a table of association results") from None
    if not header.strip():
        raise DataError(f"{path} is empty; wanted a header and a line a variant")
    separator = "\t" if "\t" in header else "," if "," in header else " "
    names = header.split() if separator == " " else header.split(separator)
    columns = find_columns(names, program, trait, path)
    line += 1
    for block in _chain(body, blocks):
        kept.add(path, columns, _parsed(path, block, columns, separator, line), line, "line")
        line += block.count(b"\n")
    return columns.program


def _chain(body: bytes, blocks: Iterator[bytes]) -> Iterator[bytes]:
    # a block without rows too, so that the columns of an empty table are known
    yield body
    yield from blocks


def _parsed(path: Path, block: bytes, columns: Columns, separator: str, line: int) -> Any:
    """Parse whole lines; columns by what they hold, as text."""
    import pyarrow as pa
    from pyarrow import csv

    if separator == " ":
        block = re.sub(rb"[ \t]+", b" ", block)
        block = re.sub(rb"(?m)^ | (?=\r?$)", b"", block)
    numbered = {str(k): kind for kind, k in columns.at.items()}
    if not block.strip():
        return pa.table({kind: pa.array([], pa.string()) for kind in numbered.values()})
    try:
        table = csv.read_csv(
            io.BytesIO(block),
            csv.ReadOptions(
                use_threads=False, block_size=len(block) + 1,
                column_names=[str(k) for k in range(len(columns.header))],
            ),
            csv.ParseOptions(delimiter=separator, quote_char=False, double_quote=False),
            csv.ConvertOptions(
                include_columns=list(numbered), strings_can_be_null=False,
                column_types=dict.fromkeys(numbered, pa.string()),
            ),
        )  # fmt: skip
    except pa.ArrowException as error:
        raise _fault(path, block, len(columns.header), separator, line, error) from None
    return table.rename_columns([numbered[name] for name in table.column_names])


def _fault(path: Path, block: bytes, n: int, separator: str, line: int, error: Exception) -> DataError:
    """Say which line of a block is not as the header says."""
    for k, text in enumerate(block.split(b"\n")[:-1]):
        found = text.count(separator.encode()) + 1
        if text.strip() and found != n:
            return DataError(
                f"{path}, line {line + k}: wanted {n} columns as in the header, found {found}; the file is "
                "damaged or cut short"
            )
        with suppress(UnicodeDecodeError):
            text.decode()
            continue
        return DataError(f"{path}, line {line + k} is not UTF-8 text; wanted a table of association results")
    reason = (str(error) or type(error).__name__).splitlines()[0][:100]
    return DataError(f"{path} cannot be read as a table: {reason}")


def _read_parquet(path: Path, kept: _Kept, program: str, trait: str | None) -> str:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            columns = find_columns(header, program, trait, path)
            wanted = {header[k]: kind for kind, k in columns.at.items()}
            row = 1
            for batch in file.iter_batches(batch_size=2**17, columns=list(wanted)):
                cells = {
                    kind: batch.column(name).cast(pa.string()).fill_null("") for name, kind in wanted.items()
                }
                kept.add(path, columns, pa.table(cells), row, "row")
                row += batch.num_rows
            if row == 1:
                kept.tables.append((columns, [], []))
    except (pa.ArrowException, OSError, ValueError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise DataError(f"{path} cannot be read as Parquet: {reason}; copy it again") from None
    return columns.program
