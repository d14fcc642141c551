"""What a cohort holds, in a few numbers: files that should hold the same are compared by them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.errors import DataError
from genoweave.execution import run_in_order
from genoweave.genotypes import Calls, Packed, Source, blocks, packed_calls, read_packed, source_of
from genoweave.io.release import unguarded
from genoweave.io.streams import Block, Flags, Phase, Stream, phase_of
from genoweave.kernels.checksums import genotype_checksum
from genoweave.kernels.packed import pack_dosages, width
from genoweave.kernels.text import csv_dosages


@dataclass(frozen=True)
class Contents:
    """Counts and checksums of a cohort; None where a format does not hold it.

    `phase` tells, of each heterozygous call that is phased, which haplotype carries the alternate allele; it
    is 0 where no call is phased. `columns` is the header of a CSV.
    """

    samples: int
    variants: int
    sample_ids: str
    alleles: str | None
    genotypes: int
    phase: int | None = None
    columns: str | None = None


@dataclass(frozen=True)
class Sums:
    """Checksums of a cohort's calls.

    `phase_of_rows` counts only variants that are phased as a whole: all a BGEN can hold.
    """

    genotypes: int
    phase: int
    phase_of_rows: int


def contents(ds: xr.Dataset, label: str = "check", *, with_phase: bool = True) -> Contents:
    """Return the contents of a cohort; its phase too, if it has any and it is asked for.

    Notes
    -----
    One pass over the packed genotypes, 10 G genotypes a second on a core beside reading; 0.1 G where there is
    phase, for calls are then read as int8.
    """
    source, phase = source_of(ds), phase_of(ds) if with_phase else None
    items = tiles(ds.sizes["variants"])
    sums = list(run_in_order(_sum_tile, items, shared=(source, phase), label=label, total=len(items)))
    genotypes, phased = (sum(column) % 2**64 for column in zip(*sums, strict=True)) if sums else (0, 0)
    return described(ds, genotypes, None if phase is None else phased)


def described(ds: xr.Dataset, genotypes: int, phase: int | None) -> Contents:
    """Return the contents of a cohort whose calls' checksums are known."""
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    columns = contig, ds["variant_position"].values, *ds["variant_allele"].values.T
    return Contents(
        samples=ds.sizes["samples"],
        variants=ds.sizes["variants"],
        sample_ids=digest_of(ds["sample_id"].values),
        alleles=digest_of("\t".join(map(str, row)) for row in zip(*columns, strict=True)),
        genotypes=genotypes,
        phase=phase,
    )


def _sum_tile(source: Source, phase: Phase | None, v0: int, v1: int) -> tuple[int, int]:
    """Task: the checksums of some variants."""
    n_samples = source.shape[1]
    genotypes, phased = 0, 0
    aligned = all(edge % 32 == 0 for edge in source.sample_edges[:-1])
    step = max(1, _BLOCK_CALLS // max(1, n_samples))
    whole_rows = ((v0 + a, v0 + b, 0, n_samples) for a, b in ranges(v1 - v0, step))
    for a, b, s0, s1 in blocks(source, v0, v1) if aligned else whole_rows:
        if phase is None:
            codes = read_packed(source, a, b, s0, s1)
        else:
            calls = source.read(a, b, s0, s1)
            codes = packed_calls(calls, a)
            order = _allele_order(calls, phase.read(a, b, s0, s1))
            phased += 0 if order is None else int(genotype_checksum(order, a, s0))
        genotypes += int(genotype_checksum(codes, a, s0))
    return genotypes, phased


def _allele_order(calls: Calls, flags: Flags) -> Packed | None:
    """Return two bits a call: whether it is heterozygous and phased, and whether its first allele is 1.

    Whole words of 32 calls, so that what is not phased adds nothing to a checksum; None if nothing is.
    """
    rows, n = flags.shape
    phased = (calls[..., 0] + calls[..., 1] == 1) & flags
    if not phased.any():
        return None
    bits = np.zeros((rows, 4 * 8 * ((n + 31) // 32), 2), np.bool_)
    bits[:, :n, 0] = phased
    bits[:, :n, 1] = phased & (calls[..., 0] == 1)
    return np.packbits(bits.reshape(rows, -1), axis=1)


def sums_stream(path: Path, *, reads_calls: bool) -> Stream:
    """Return a file of checksums for `write_streams`: what was read is summed as it is written.

    A killed write continues it as the others. `read_sums` reads it.
    """
    return Stream(path, _block_sums, reads_calls=reads_calls)


_SUMS = struct.Struct("<QQQ")


def _block_sums(block: Block) -> bytes:
    genotypes, phase, phase_of_rows = int(genotype_checksum(block.packed, block.v0, 0)), 0, 0
    if block.phased is not None:
        order = _allele_order(block.calls, block.phased)
        if order is not None:
            phase = int(genotype_checksum(order, block.v0, 0))
            unordered = (block.calls[..., 0] + block.calls[..., 1] == 1) & ~block.phased
            order[unordered.any(axis=1)] = 0
            phase_of_rows = int(genotype_checksum(order, block.v0, 0))
    return _SUMS.pack(genotypes, phase, phase_of_rows)


def read_sums(path: Path) -> Sums:
    """Return the checksums of a file of `sums_stream`."""
    rows = list(_SUMS.iter_unpack(path.read_bytes()))
    return Sums(*(sum(column) % 2**64 for column in zip((0, 0, 0), *rows, strict=True)))


def digest_of(lines: Iterable[Any]) -> str:
    """Return the SHA-256 of lines of text."""
    total = hashlib.sha256()
    for line in lines:
        total.update(f"{line}\n".encode())
    return total.hexdigest()


def require_same(wanted: Contents, found: Contents, path: Path) -> None:
    """Compare what was written with what should have been.

    Raises
    ------
    DataError
        Naming the first thing that differs.
    """
    for field in fields(Contents):
        a, b = getattr(wanted, field.name), getattr(found, field.name)
        if a is not None and b is not None and a != b:
            raise DataError(
                f"{path} does not hold what was to be written: it differs in {field.name.replace('_', ' ')} "
                f"(wanted {a}, found {b}). The disk may be faulty: remove it and export again"
            )


_BLOCK_CALLS = 16 * 2**20


def csv_contents(path: Path, n_variants: int, n_names: int) -> Contents:
    """Return the contents of a genotype CSV (see `release.write_genotype_csv`), reading it line by line.

    Parameters
    ----------
    path
        The file; ``.gz`` and ``.zst`` are expanded.
    n_variants, n_names
        How many of its columns are variants, and how many stand before them.

    Raises
    ------
    DataError
        If a line has other columns than that, or the file is damaged.
    """
    rows = max(1, _BLOCK_CALLS // max(1, n_variants) // 32) * 32
    total, n_samples, ids = 0, 0, []
    with _opened(path) as file:
        records = _records(file)
        header = next(csv.reader([next(records, b"").decode()]), [])
        while lines := list(islice(records, rows)):
            dosage = np.empty((len(lines), n_variants), np.int8)
            for n, line in enumerate(lines):
                names = _parse_line(line, dosage[n])
                if names is None or len(names) != n_names:
                    raise DataError(f"{path}, line {n_samples + n + 2}: wanted {n_variants} genotypes")
                ids.append(unguarded(names[0]))
            packed = np.empty((n_variants, width(len(lines))), np.uint8)
            pack_dosages(np.ascontiguousarray(dosage.T), packed)
            total += int(genotype_checksum(packed, 0, n_samples))
            n_samples += len(lines)
    return Contents(
        samples=n_samples,
        variants=len(header) - n_names,
        sample_ids=digest_of(ids),
        alleles=None,
        genotypes=total % 2**64,
        columns=digest_of(map(unguarded, header)),
    )


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a CSV, expanding it as its name says.

    Raises
    ------
    DataError
        If what is read inside is damaged.
    """
    import pyarrow as pa

    openers: dict[str, Any] = {
        ".gz": gzip.open,
        ".zst": lambda name: pa.input_stream(str(name), compression="zstd"),
    }
    try:
        with openers.get(path.suffix, lambda name: name.open("rb"))(path) as file:
            yield file
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is damaged ({error}); write it again") from None


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines, together with those that a quoted name breaks off."""
    rest = b""
    for line in _lines(file):
        rest += line
        if rest.count(b'"') % 2 == 0:
            yield rest
            rest = b""
    if rest:
        yield rest


def _lines(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while data := file.read(_READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line + b"\n" for line in lines)
    if rest:
        yield rest


_READ_BYTES = 2**24


def _parse_line(line: bytes, out: NDArray[np.int8]) -> list[str] | None:
    """Read a line's genotypes; return its names, or None if it is not such a line."""
    text = line.rstrip(b"\n")
    end = csv_dosages(np.frombuffer(text, np.uint8), out)
    return None if end < 0 else next(csv.reader([text[:end].decode()]), [])
