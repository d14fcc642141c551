"""What a cohort holds, in a few numbers: files that should hold the same are compared by them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import tiles
from genoweave.errors import DataError
from genoweave.execution import run_in_order
from genoweave.genotypes import Source, blocks, read_packed, source_of
from genoweave.io.release import unguarded
from genoweave.kernels.checksums import genotype_checksum
from genoweave.kernels.packed import pack_dosages, width
from genoweave.kernels.text import csv_dosages


@dataclass(frozen=True)
class Contents:
    """Counts and checksums of a cohort; None where a format does not hold it."""

    samples: int
    variants: int
    sample_ids: str
    alleles: str | None
    genotypes: int


def contents(ds: xr.Dataset, label: str = "check") -> Contents:
    """Return the contents of a cohort.

    Notes
    -----
    One pass over the packed genotypes, 10 G genotypes a second on a core beside reading.
    """
    source = source_of(ds)
    items = tiles(ds.sizes["variants"])
    sums = run_in_order(_sum_tile, items, shared=(source,), label=label, total=len(items))
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    columns = contig, ds["variant_position"].values, *ds["variant_allele"].values.T
    return Contents(
        samples=ds.sizes["samples"],
        variants=ds.sizes["variants"],
        sample_ids=digest_of(ds["sample_id"].values),
        alleles=digest_of("\t".join(map(str, row)) for row in zip(*columns, strict=True)),
        genotypes=sum(sums) % 2**64,
    )


def _sum_tile(source: Source, v0: int, v1: int) -> int:
    """Task: the checksum of some variants."""
    n_samples = source.shape[1]
    total = 0
    aligned = all(edge % 32 == 0 for edge in source.sample_edges[:-1])
    pieces = blocks(source, v0, v1) if aligned else [(v0, v1, 0, n_samples)]
    for a, b, s0, s1 in pieces:
        total += int(genotype_checksum(read_packed(source, a, b, s0, s1), a, s0))
    return total


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
                f"{path} does not hold what was to be written: its {field.name.replace('_', ' ')} differ "
                f"(wanted {a}, found {b}). The disk may be faulty: remove it and export again"
            )


_BLOCK_CALLS = 16 * 2**20


def csv_contents(path: Path, n_variants: int, n_names: int) -> Contents:
    """Return the contents of a genotype CSV (see `release.write_genotype_csv`), reading it line by line.

    Parameters
    ----------
    path
        The file.
    n_variants, n_names
        How many of its columns are variants, and how many stand before them.

    Raises
    ------
    DataError
        If a line has other columns than that.
    """
    rows = max(1, _BLOCK_CALLS // n_variants // 32) * 32
    total, n_samples, ids = 0, 0, []
    with path.open("rb") as file:
        header = next(csv.reader([file.readline().decode()]))
        while lines := list(islice(file, rows)):
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
    variants = len(header) - n_names
    return Contents(n_samples, variants, digest_of(ids), None, total % 2**64)


def _parse_line(line: bytes, out: NDArray[np.int8]) -> list[str] | None:
    """Read a line's genotypes; return its names, or None if it is not such a line."""
    text = line.rstrip(b"\n")
    end = csv_dosages(np.frombuffer(text, np.uint8), out)
    return None if end < 0 else next(csv.reader([text[:end].decode()]))
