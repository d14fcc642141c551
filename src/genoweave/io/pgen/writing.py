"""PLINK 2 filesets from hard calls, written in batches."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.execution import run_in_order
from genoweave.genotypes import ArraySource, Source, packed_calls, read_packed, source_of
from genoweave.io.files import AppendingFile, make_folder, write_atomic
from genoweave.io.pgen.index import BLOCK, FIXED_MODE, HEADER, MAGIC, STANDARD_MODE
from genoweave.io.pgen.tables import check_names, pvar_text
from genoweave.io.sample_tables import psam_text
from genoweave.kernels.packed import width
from genoweave.kernels.pgen import HAS_PHASE, count_phase, phase_bytes, to_pgen, write_phase

# All reference alleles are known; form of types and lengths: a byte of type, and 1 to 4 of length.
_REF_KNOWN = 1 << 6
_BYTE_TYPES = 4
_BATCH_CALLS = 32 * 2**20


def write_pgen(ds: xr.Dataset, prefix: Path, token: str = "") -> None:
    """Write ``prefix.pgen``, ``.pvar`` and ``.psam``.

    Unphased calls go into records of fixed width, 2 bits a call. Where ``call_genotype_phased`` is true of a
    heterozygous call, its phase is kept; the calls are then read twice, since the header holds every record's
    length. A half-missing call is missing. The .pgen is written last, in batches.

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
    Memory: 3 batches of 32 Mi calls per worker at most, 4 bytes a call.
    """
    check_names(ds)
    make_folder(prefix.parent)
    write_atomic(Path(f"{prefix}.pvar"), pvar_text(ds))
    write_atomic(Path(f"{prefix}.psam"), psam_text(ds))
    source = source_of(ds)
    batches = list(ranges(source.shape[0], max(1, _BATCH_CALLS // source.shape[1])))
    phased = ArraySource(ds["call_genotype_phased"].data) if "call_genotype_phased" in ds else None
    sizes = None if phased is None else _phase_sizes(source, phased, batches)
    if sizes is None or not sizes.any():
        phased, sizes = None, None
    with AppendingFile(Path(f"{prefix}.pgen"), token) as out:
        if out.batches == 0:
            out.append(_header(source.shape[0], source.shape[1], sizes))
        done = out.batches - 1
        records = run_in_order(
            _records,
            batches[done:],
            shared=(source, phased),
            label="write .pgen",
            done=done,
            total=len(batches),
        )
        for data in records:
            out.append(data)
        out.commit()


def _phase_sizes(source: Source, phased: ArraySource, batches: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the bytes of each variant's phase track."""
    counts = run_in_order(
        _phase_counts, batches, shared=(source, phased), label="count phased calls", total=len(batches)
    )
    both = np.concatenate(list(counts))
    return phase_bytes(both[:, 0], both[:, 1])


def _phase_counts(source: Source, phased: ArraySource, v0: int, v1: int) -> NDArray[np.int64]:
    n = source.shape[1]
    out = np.zeros((v1 - v0, 2), np.int64)
    count_phase(source.read(v0, v1, 0, n), phased.read(v0, v1, 0, n), out)
    return out


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


def _records(source: Source, phased: ArraySource | None, v0: int, v1: int) -> bytes:
    """Task: the records of some variants."""
    n = source.shape[1]
    if phased is None:
        return to_pgen(read_packed(source, v0, v1), n).tobytes()
    calls, is_phased = source.read(v0, v1, 0, n), phased.read(v0, v1, 0, n)
    rows = to_pgen(packed_calls(calls, v0), n)
    counts = np.zeros((v1 - v0, 2), np.int64)
    count_phase(calls, is_phased, counts)
    parts = []
    for v, size in enumerate(phase_bytes(counts[:, 0], counts[:, 1]).tolist()):
        parts.append(rows[v].tobytes())
        if size:
            track = np.zeros(size, np.uint8)
            write_phase(calls[v], is_phased[v], counts[v, 0], counts[v, 1], track)
            parts.append(track.tobytes())
    return b"".join(parts)
