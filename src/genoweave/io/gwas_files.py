"""Results of an association as PLINK 2 and REGENIE write them: text, compressed text, or Parquet."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.io.files import disk_errors
from genoweave.io.tables.chromosomes import chromosome_number
from genoweave.kernels.decimals import LONGEST, decimal_rows

Style = Literal["plink2", "regenie"]
Effect = Literal["or", "beta"]

Columns = dict[str, NDArray[Any]]

_ROWS = 65_536
# A p above this is written from its value; a smaller one from its logarithm.
_SMALLEST_LOG10_P = -300.0
# What a regression was refused for, by the methods' names, in PLINK 2's words.
ERROR_CODES = {
    "ok": ".",
    "constant": "CONST_ALLELE",
    "too_few_samples": "SAMPLE_CT<=PREDICTOR_CT",
    "collinear": "VIF_TOO_HIGH",
    "covariates_collinear": "RANK_DEFICIENT",
    "perfect_fit": "INVALID_RESULT",
    "not_converged": "FIRTH_CONVERGE_FAIL",
}


@dataclass(frozen=True)
class Results:
    """One trait's results, an entry per variant.

    Attributes
    ----------
    contig, position, identifier, ref, alt
        What names a variant; alt is the counted allele.
    frequency, beta, se, statistic, log10_p
        float64, NaN missing. beta is a log odds ratio of a case/control trait; log10_p is negative.
    called
        Samples in the regression.
    code, method
        Indices into `codes` and `methods`.
    codes, methods
        Names; those of `codes` are keys of `ERROR_CODES`.
    is_binary
        Whether the regression was logistic.
    name
        PLINK 2's name of the test: ``ADD``, ``DOM``, ``REC``, ``DOMDEV``, ``HOM``, ``HET``, ``GENO_2DF``.
    """

    contig: NDArray[Any]
    position: NDArray[Any]
    identifier: NDArray[Any]
    ref: NDArray[Any]
    alt: NDArray[Any]
    frequency: NDArray[np.float64]
    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    statistic: NDArray[np.float64]
    log10_p: NDArray[np.float64]
    called: NDArray[np.int64]
    code: NDArray[np.uint8]
    method: NDArray[np.uint8]
    codes: tuple[str, ...]
    methods: tuple[str, ...]
    is_binary: bool
    name: str = "ADD"


def write_results(
    results: Results | Sequence[Results],
    path: Path,
    style: Style = "plink2",
    *,
    effect: Effect = "or",
    log10: bool = False,
    test: str = "score",
) -> None:
    """Write one trait's results.

    Parameters
    ----------
    results
        What to write; of several tests of the same variants a line each, variant by variant.
    path
        The file; it appears when it is whole. Its ending chooses the form: ``.gz`` compressed text,
        ``.parquet`` Parquet, any other text.
    style
        Columns of PLINK 2's ``--glm`` (A1 is always the alternate allele), or of REGENIE's step 2.
    effect
        PLINK 2's columns of a case/control trait: OR and LOG(OR)_SE, or BETA and SE.
    log10
        PLINK 2's last column but one: LOG10_P, -log10 p, and not P. Parquet has always LOG10_P.
    test
        The test that was asked for, of a case/control trait: PLINK 2's column FIRTH? is there unless it is
        ``"firth"``, METHOD if it is ``"score"`` or ``"lrt"``.

    Raises
    ------
    StoreError
        If the file cannot be written.

    Notes
    -----
    Numbers have 8 digits in text. A p below the smallest float keeps its exponent (``1.2e-400``). In pieces
    of 65,536 variants; 0.2 M variants a second.
    """
    tests = [results] if isinstance(results, Results) else list(results)

    def columns(one: Results, a: int, b: int) -> Columns:
        if style == "regenie":
            return _regenie(one, a, b)
        return _plink2(one, a, b, effect, test, is_joint=len(tests) > 1)

    blocks = (
        _interleaved([columns(one, a, b) for one in tests])
        for a, b in ranges(max(1, len(tests[0].beta)), _ROWS)
    )
    separator = " " if style == "regenie" else "\t"
    _write(blocks, path, separator, as_p=style == "plink2" and not log10)


def write_columns(columns: dict[str, NDArray[Any]], path: Path) -> None:
    """Write a table of columns of one length as `write_results` does, in the form of the path's ending.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    n = max(len(values) for values in columns.values())
    blocks = ({name: values[a:b] for name, values in columns.items()} for a, b in ranges(max(1, n), _ROWS))
    _write(blocks, path, "\t", as_p=False)


def _write(blocks: Iterator[Columns], path: Path, separator: str, *, as_p: bool) -> None:
    is_parquet = path.name.endswith(".parquet")
    partial = path.with_name(path.name + ".partial")
    with disk_errors(path):
        with partial.open("wb") as file:
            if is_parquet:
                _write_parquet(blocks, file)
            else:
                _write_text(_text(blocks, separator, as_p=as_p), file, compressed=path.suffix == ".gz")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


def _interleaved(tests: list[Columns]) -> Columns:
    """Bring the lines of several tests of the same variants together, variant by variant."""
    if len(tests) == 1:
        return tests[0]
    return {name: np.stack([columns[name] for columns in tests], axis=1).ravel() for name in tests[0]}


def _plink2(results: Results, a: int, b: int, effect: Effect, test: str, *, is_joint: bool) -> Columns:
    part = slice(a, b)
    contig, n = results.contig[part], len(results.beta[part])
    columns: Columns = {
        "#CHROM": contig,
        "POS": results.position[part],
        "ID": results.identifier[part],
        "REF": results.ref[part],
        "ALT": results.alt[part],
        "A1": results.alt[part],
        "A1_FREQ": results.frequency[part],
    }
    method = np.array(results.methods, object)[results.method[part]]
    if results.is_binary and test != "firth":
        is_firth = np.array([name.startswith("firth") for name in results.methods])
        columns["FIRTH?"] = np.where(is_firth[results.method[part]], "Y", "N").astype(object)
    columns |= {"TEST": np.full(n, results.name, object), "OBS_CT": results.called[part]}
    as_odds = results.is_binary and effect == "or"
    with np.errstate(over="ignore"):
        columns["OR" if as_odds else "BETA"] = np.exp(results.beta[part]) if as_odds else results.beta[part]
    columns["LOG(OR)_SE" if as_odds else "SE"] = results.se[part]
    letter = "Z" if results.is_binary else "T"
    columns[f"{letter}_OR_F_STAT" if is_joint else f"{letter}_STAT"] = results.statistic[part]
    columns["LOG10_P"] = -results.log10_p[part]
    columns["ERRCODE"] = np.array([ERROR_CODES[name] for name in results.codes], object)[results.code[part]]
    if results.is_binary and test in ("score", "lrt"):
        columns["METHOD"] = method
    return columns


def _regenie(results: Results, a: int, b: int) -> Columns:
    part = slice(a, b)
    n = len(results.beta[part])
    numbers = {name: chromosome_number(str(name)) for name in set(results.contig[part])}
    return {
        "CHROM": np.array([numbers[name] for name in results.contig[part]], object),
        "GENPOS": results.position[part],
        "ID": results.identifier[part],
        "ALLELE0": results.ref[part],
        "ALLELE1": results.alt[part],
        "A1FREQ": results.frequency[part],
        "N": results.called[part],
        "TEST": np.full(n, results.name, object),
        "BETA": results.beta[part],
        "SE": results.se[part],
        # a joint test's statistic is chi-squared, or F, per degree of freedom
        "CHISQ": 2 * results.statistic[part] if results.name == "GENO_2DF" else results.statistic[part] ** 2,
        "LOG10P": -results.log10_p[part],
        "EXTRA": np.where(results.code[part] == 0, "NA", "TEST_FAIL").astype(object),
    }


def p_text(log10_p: NDArray[np.float64]) -> list[str]:
    """Return p as text, NA where it is NaN; its exponent may be any."""
    tiny = np.flatnonzero(log10_p < _SMALLEST_LOG10_P)
    out = _decimals(np.power(10.0, np.maximum(log10_p, _SMALLEST_LOG10_P))[:, None])[0]
    for i in tiny:
        exponent = int(np.floor(log10_p[i]))
        digits = f"{10 ** (log10_p[i] - exponent):.7g}"
        out[i] = f"1e{exponent + 1}" if digits == "10" else f"{digits}e{exponent}"
    return out


def _decimals(values: NDArray[np.float64]) -> list[list[str]]:
    """Return each column of float64 (rows, columns) as text; NA where not a finite number."""
    values = np.where(np.isfinite(values), values, np.nan)
    text = np.empty((len(values), values.shape[1] * LONGEST), np.uint8)
    lengths = np.empty(len(values), np.int64)
    decimal_rows(values, text, lengths)
    rows = (text[i, 1:n].tobytes().decode().split("\t") for i, n in enumerate(lengths))
    columns = [list(column) for column in zip(*rows, strict=True)]
    return columns or [[] for _ in range(values.shape[1])]


def _text(blocks: Iterator[Columns], separator: str, *, as_p: bool) -> Iterator[bytes]:
    """Yield the header and the lines of each block."""
    is_first = True
    for columns in blocks:
        floats = [name for name, values in columns.items() if values.dtype.kind == "f"]
        matrix = np.stack([columns[name] for name in floats], axis=1)
        cells: dict[str, list[str]] = dict(zip(floats, _decimals(matrix), strict=True))
        if as_p:
            cells["LOG10_P"] = p_text(-columns["LOG10_P"])
        if is_first:
            names = ["P" if as_p and name == "LOG10_P" else name for name in columns]
            yield (separator.join(names) + "\n").encode()
            is_first = False
        texts = [cells[name] if name in cells else map(str, values) for name, values in columns.items()]
        lines = "\n".join(map(separator.join, zip(*texts, strict=True)))
        yield (lines + "\n" if lines else "").encode()


def _write_text(text: Iterator[bytes], file: io.BufferedWriter, *, compressed: bool) -> None:
    if not compressed:
        file.writelines(text)
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
        for block in text:
            packed.write(block)


def _write_parquet(blocks: Iterator[Columns], file: io.BufferedWriter) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for columns in blocks:
        arrays = {
            name: pa.array(
                [str(value) for value in values] if values.dtype.kind == "O" else values,
                type=pa.string() if values.dtype.kind == "O" else None,
                from_pandas=True,
            )
            for name, values in columns.items()
        }
        table = pa.table(arrays)
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
