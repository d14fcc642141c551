"""BGEN 1.2 (zlib) or 1.3 (zstd) from hard calls, written in batches, with its .sample."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import ConfigError, DataError
from genoweave.execution import run_in_order
from genoweave.genotypes import ArraySource, Source, refuse_alleles, source_of
from genoweave.io.bgen.index import MAGIC, ZLIB, ZSTD
from genoweave.io.files import AppendingFile, make_folder, write_atomic
from genoweave.io.pgen.tables import check_names
from genoweave.io.sample_tables import sample_file_text
from genoweave.kernels.bgen import is_phased_row, stored_calls, stored_haplotypes

_LAYOUT_2 = 2 << 2
_HAS_IDS = 1 << 31
_LONGEST_NAME = 2**16 - 1
# Calls of a batch, 2 bytes each while they are read.
_BATCH_CALLS = 32 * 2**20
_ZLIB_LEVEL, _ZSTD_LEVEL = 3, 3


def write_bgen(
    ds: xr.Dataset, path: Path, token: str = "", *, compression: Literal["zlib", "zstd"] = "zlib"
) -> None:
    """Write a BGEN of layout 2 with 8 bits, and the .sample of the same name beside it.

    The reference allele is the first one (PLINK 2's ``ref-first``, `open_bgen`'s default). A variant is
    phased if ``call_genotype_phased`` says so of some of its calls and of all heterozygous ones. Where
    nothing is said of phase, all are unphased. A half-missing call is missing.

    Parameters
    ----------
    ds
        Diploid calls in the data model.
    path
        The .bgen. The .sample carries sex and, where it is known, the phenotype.
    token
        Identifies the work: a killed write with the same token is continued.
    compression
        "zlib" is BGEN 1.2, which every program reads; "zstd" 1.3, smaller and faster.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written.
    DataError
        If a name is empty, holds white space or is too long, or a variant is not biallelic.

    Notes
    -----
    Memory: 3 batches of 32 Mi calls per worker at most, 4 bytes a call.
    """
    if compression not in ("zlib", "zstd"):
        raise ConfigError(f"compression is 'zlib' or 'zstd', found {compression!r}")
    check_names(ds)
    _check_lengths(ds)
    make_folder(path.parent)
    write_atomic(path.with_suffix(".sample"), sample_file_text(ds))
    source = source_of(ds)
    phased = ArraySource(ds["call_genotype_phased"].data) if "call_genotype_phased" in ds else None
    batches = list(ranges(source.shape[0], max(1, _BATCH_CALLS // source.shape[1])))
    names = _VariantNames(ds)
    with AppendingFile(path, f"{token}-{compression}" if token else "") as out:
        if out.batches == 0:
            out.append(_header(ds, ZLIB if compression == "zlib" else ZSTD))
        done = out.batches - 1
        blocks = run_in_order(
            _compressed_batch,
            batches[done:],
            shared=(source, phased, compression),
            label="write .bgen",
            done=done,
            total=len(batches),
        )
        for (v0, _), rows in zip(batches[done:], blocks, strict=True):
            out.append(b"".join(names.header(v0 + i) + row for i, row in enumerate(rows)))
        out.commit()


def _check_lengths(ds: xr.Dataset) -> None:
    for name in ("sample_id", "variant_id", "contig_id"):
        for row, value in enumerate(ds[name].values, start=1):
            if len(str(value).encode()) > _LONGEST_NAME:
                raise DataError(f"{name}, row {row}: a BGEN bears names of {_LONGEST_NAME} bytes; shorten it")


def _header(ds: xr.Dataset, compression: int) -> bytes:
    """Return the header and the block of sample ids."""
    n_variants, n_samples = ds.sizes["variants"], ds.sizes["samples"]
    ids = b"".join(_text(name) for name in ds["sample_id"].values)
    block = struct.pack("<II", 8 + len(ids), n_samples) + ids
    flags = compression | _LAYOUT_2 | _HAS_IDS
    header = struct.pack("<III4sI", 20, n_variants, n_samples, MAGIC, flags)
    return struct.pack("<I", len(header) + len(block)) + header + block


def _text(value: Any, size: str = "<H") -> bytes:
    data = str(value).encode()
    return struct.pack(size, len(data)) + data


class _VariantNames:
    """What stands before each variant's data."""

    def __init__(self, ds: xr.Dataset) -> None:
        self.contig = ds["contig_id"].values[ds["variant_contig"].values]
        self.position = ds["variant_position"].values
        self.id = ds["variant_id"].values
        self.allele = ds["variant_allele"].values

    def header(self, v: int) -> bytes:
        """Return the names of variant v: its id stands in both of BGEN's places."""
        name = _text(self.id[v])
        ref, alt = (_text(allele or ".", "<I") for allele in self.allele[v])
        place = _text(self.contig[v]) + struct.pack("<IH", int(self.position[v]), 2)
        return name + name + place + ref + alt


def _compressed_batch(
    source: Source, phased: ArraySource | None, compression: str, v0: int, v1: int
) -> list[bytes]:
    """Task: the data of some variants, each behind its sizes."""
    n = source.shape[1]
    calls = source.read(v0, v1, 0, n)
    is_phased = None if phased is None else phased.read(v0, v1, 0, n)
    data = np.empty(10 + 3 * n, np.uint8)
    data[:8] = np.frombuffer(struct.pack("<IHBB", n, 2, 2, 2), np.uint8)
    ploidy, values = data[8 : 8 + n], data[10 + n :].reshape(n, 2)
    out = []
    for v in range(v1 - v0):
        keeps = is_phased is not None and is_phased_row(calls[v], is_phased[v])
        data[8 + n :][:2] = keeps, 8
        store = stored_haplotypes if keeps else stored_calls
        refuse_alleles(int(store(calls[v], ploidy, values)), v0, v1)
        packed = _compress(data, compression)
        out.append(struct.pack("<II", len(packed) + 4, len(data)) + packed)
    return out


def _compress(data: NDArray[np.uint8], compression: str) -> bytes:
    if compression == "zlib":
        return zlib.compress(data.data, _ZLIB_LEVEL)
    return pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(data, asbytes=True)
