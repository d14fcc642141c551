"""BGEN 1.2 (zlib) or 1.3 (zstd) from hard calls, written in batches, with its .sample."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import refuse_alleles
from genoweave.io.bgen.index import MAGIC, ZLIB, ZSTD
from genoweave.io.pgen.tables import check_names
from genoweave.io.sample_tables import sample_file_text
from genoweave.io.streams import Block, Names, Stream, write_streams
from genoweave.kernels.bgen import is_phased_row, stored_calls, stored_haplotypes

_LAYOUT_2 = 2 << 2
_HAS_IDS = 1 << 31
_LONGEST_NAME = 2**16 - 1
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
    Memory: see `streams.write_streams`.
    """
    write_streams(
        ds, [bgen_stream(ds, path, compression)], f"{token}-{compression}" if token else "", "write .bgen"
    )


def bgen_stream(ds: xr.Dataset, path: Path, compression: str = "zlib") -> Stream:
    """Return what `write_bgen` writes, checked, for a pass that writes other files too."""
    if compression not in ("zlib", "zstd"):
        raise ConfigError(f"compression is 'zlib' or 'zstd', found {compression!r}")
    check_names(ds)
    _check_lengths(ds)
    contigs = tuple(str(name) for name in ds["contig_id"].values)
    return Stream(
        path,
        partial(_variants, contigs, compression),
        head=partial(_header, ds, ZLIB if compression == "zlib" else ZSTD),
        beside={path.with_suffix(".sample"): sample_file_text(ds)},
        reads_calls=True,
        reads_names=True,
    )


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


def _variants(contigs: tuple[str, ...], compression: str, block: Block) -> bytes:
    """Return the variants of a block, each with its names and its data behind their sizes."""
    assert block.names is not None
    n, flags = block.n_samples, None if block.phased is None else block.phased.view(np.int8)
    data = np.empty(10 + 3 * n, np.uint8)
    data[:8] = np.frombuffer(struct.pack("<IHBB", n, 2, 2, 2), np.uint8)
    ploidy, values = data[8 : 8 + n], data[10 + n :].reshape(n, 2)
    out = []
    for v, calls in enumerate(block.calls):
        keeps = flags is not None and is_phased_row(calls, flags[v])
        data[8 + n :][:2] = keeps, 8
        store = stored_haplotypes if keeps else stored_calls
        refuse_alleles(int(store(calls, ploidy, values)), block.v0, block.v0 + len(block))
        packed = _compress(data, compression)
        out += [
            _variant_names(block.names, v, contigs),
            struct.pack("<II", len(packed) + 4, len(data)),
            packed,
        ]
    return b"".join(out)


def _variant_names(names: Names, v: int, contigs: tuple[str, ...]) -> bytes:
    """Return what stands before a variant's data: its id in both of BGEN's places, its place and alleles."""
    name = _text(names.identifier[v])
    ref, alt = (_text(allele or ".", "<I") for allele in names.allele[v])
    place = _text(contigs[names.contig[v]]) + struct.pack("<IH", int(names.position[v]), 2)
    return name + name + place + ref + alt


def _compress(data: NDArray[np.uint8], compression: str) -> bytes:
    if compression == "zlib":
        return zlib.compress(data.data, _ZLIB_LEVEL)
    return pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(data, asbytes=True)
