"""PLINK 2 filesets from hard calls, written in batches."""

from __future__ import annotations

import struct
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.execution import run_in_order
from genoweave.genotypes import Source, source_of
from genoweave.io.pgen.index import BLOCK, FIXED_MODE, HEADER, MAGIC, STANDARD_MODE
from genoweave.io.pgen.tables import check_names, pvar_text
from genoweave.io.sample_tables import psam_text
from genoweave.io.streams import Block, Phase, Stream, batch_rows, phase_of, read_block, write_streams
from genoweave.kernels.packed import width
from genoweave.kernels.pgen import HAS_PHASE, count_phase, phase_bytes, to_pgen, write_phase

# All reference alleles are known; form of types and lengths: a byte of type, and 1 to 4 of length.
_REF_KNOWN = 1 << 6
_BYTE_TYPES = 4


def write_pgen(ds: xr.Dataset, prefix: Path, token: str = "") -> None:
    """Write ``prefix.pgen``, ``.pvar`` and ``.psam``.

    Unphased calls go into records of fixed width, 2 bits a call. Where ``call_genotype_phased`` is true of a
    heterozygous call, its phase is kept; the calls are then read twice, since the header holds every record's
    length. A half-missing call is missing. The .pgen is written in batches; the other two appear just before
    it.

    Parameters
    ----------
    ds
        Diploid calls in the data model. The .psam carries families, parents, sex and phenotype as they are
        known; the .pvar genetic positions.
    prefix
        Path without the endings.
    token
        Identifies the work: a killed write with the same token is continued.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written.
    DataError
        If a name is empty or holds white space, or a variant is not biallelic.

    Notes
    -----
    Memory: see `streams.write_streams`.
    """
    write_streams(ds, [pgen_stream(ds, prefix)], token, "write .pgen")


def pgen_stream(ds: xr.Dataset, prefix: Path) -> Stream:
    """Return what `write_pgen` writes, checked, for a pass that writes other files too.

    Its head, where there is phase, reads the calls once.
    """
    check_names(ds)
    return Stream(
        Path(f"{prefix}.pgen"),
        _records,
        head=partial(_head, ds),
        beside={Path(f"{prefix}.pvar"): pvar_text(ds), Path(f"{prefix}.psam"): psam_text(ds)},
        reads_calls="call_genotype_phased" in ds,
    )


def _head(ds: xr.Dataset) -> bytes:
    source, phase = source_of(ds), phase_of(ds)
    if phase is None:
        return _header(source.shape[0], source.shape[1], None)
    batches = list(ranges(source.shape[0], batch_rows(source)))
    counts = run_in_order(
        _phase_counts, batches, shared=(source, phase), label="count phased calls", total=len(batches)
    )
    both = np.concatenate([np.zeros((0, 2), np.int64), *counts])
    sizes = phase_bytes(both[:, 0], both[:, 1])
    return _header(source.shape[0], source.shape[1], sizes if sizes.any() else None)


def _phase_counts(source: Source, phase: Phase, v0: int, v1: int) -> NDArray[np.int64]:
    """Task: what `phase_bytes` needs to know of some variants."""
    return _counted(read_block(source, phase, v0, v1, reads_calls=True))


def _counted(block: Block) -> NDArray[np.int64]:
    out = np.zeros((len(block), 2), np.int64)
    count_phase(block.calls, _flags(block), out)
    return out


def _flags(block: Block) -> NDArray[np.int8]:
    assert block.phased is not None
    return block.phased.view(np.int8)


def _header(n_variants: int, n_samples: int, phase: NDArray[np.int64] | None) -> bytes:
    """Return the header; with phase it lists the type and length of each record."""
    if phase is None:
        return HEADER.pack(MAGIC, FIXED_MODE, n_variants, n_samples, _REF_KNOWN)
    lengths = width(n_samples) + phase
    n_bytes = max(1, (int(lengths.max()).bit_length() + 7) // 8)
    types = np.where(phase > 0, HAS_PHASE, 0).astype(np.uint8)
    blocks = list(ranges(n_variants, BLOCK))
    first = HEADER.size + 8 * len(blocks) + n_variants * (1 + n_bytes)
    starts = first + np.cumsum(lengths) - lengths
    raw = lengths.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :n_bytes]
    form = _REF_KNOWN | (_BYTE_TYPES + n_bytes - 1)
    parts = [HEADER.pack(MAGIC, STANDARD_MODE, n_variants, n_samples, form)]
    parts += [struct.pack("<Q", int(starts[a])) for a, _ in blocks]
    parts += [types[a:b].tobytes() + raw[a:b].tobytes() for a, b in blocks]
    return b"".join(parts)


def _records(block: Block) -> bytes:
    """Return the records of a block."""
    rows = to_pgen(block.packed, block.n_samples)
    if block.phased is None:
        return rows.tobytes()
    calls, is_phased, counts = block.calls, _flags(block), _counted(block)
    parts = []
    for v, size in enumerate(phase_bytes(counts[:, 0], counts[:, 1]).tolist()):
        parts.append(rows[v].tobytes())
        if size:
            track = np.zeros(size, np.uint8)
            write_phase(calls[v], is_phased[v], counts[v, 0], counts[v, 1], track)
            parts.append(track.tobytes())
    return b"".join(parts)
