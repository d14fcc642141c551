"""Records of VCF and BCF: headers, and batches of variants as bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.genotypes import Calls, refuse_alleles
from genoweave.io.streams import Block, Names
from genoweave.io.vcf.bgzf import BLOCK_TEXT, compress
from genoweave.kernels.vcf_binary import write_records
from genoweave.kernels.vcf_text import write_lines

# Calls that are made to bytes together: 4 MiB of text.
_BLOCK_CALLS = 2**20
_MISSING_FLOAT = 0x7F800001
_INT8, _INT16, _INT32, _TEXT = 1, 2, 3, 7
_GT_KEY = 1


@dataclass(frozen=True)
class Table:
    """What identifies variants, one entry each; `alt` is "" for a variant without an alternate allele."""

    contig: NDArray[np.integer[Any]]
    position: NDArray[np.integer[Any]]
    identifier: NDArray[Any]
    ref: NDArray[Any]
    alt: NDArray[Any]
    contigs: tuple[str, ...]


def header_text(contigs: tuple[str, ...], samples: list[str], *, is_binary: bool) -> str:
    """Return the header; BCF's states the numbers of its dictionaries."""

    def number(n: int) -> str:
        return f",IDX={n}" if is_binary else ""

    lines = [
        "##fileformat=VCFv4.3",
        f'##FILTER=<ID=PASS,Description="All filters passed"{number(0)}>',
        "##source=genoweave",
        *(f"##contig=<ID={name}{number(i)}>" for i, name in enumerate(contigs)),
        f'##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype"{number(_GT_KEY)}>',
        "\t".join(
            ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples],
        ),
    ]
    return "\n".join(lines) + "\n"


def header_bytes(contigs: tuple[str, ...], samples: list[str], kind: str) -> bytes:
    """Return the header as it stands at the beginning of the file, compressed where the file is."""
    text = header_text(contigs, samples, is_binary=kind == "bcf").encode()
    if kind == "bcf":
        text = b"BCF\x02\x02" + struct.pack("<I", len(text) + 1) + text + b"\0"
    return text if kind == "vcf" else compress(text)


def batch_bytes(contigs: tuple[str, ...], kind: str, block: Block) -> bytes:
    """Return a block's variants as they stand in the file."""
    assert block.names is not None
    table = table_of(block.names, contigs)
    step = max(1, _BLOCK_CALLS // max(1, block.n_samples))
    pieces = (_records(block, table, kind, a, b) for a, b in ranges(len(block), step))
    return b"".join(pieces if kind == "vcf" else _compressed(pieces))


def table_of(names: Names, contigs: tuple[str, ...]) -> Table:
    """Return names as a VCF has them: an allele named "", "." or "0" is N (reference) or absent."""
    identifier, allele = _texts(names.identifier), _texts(names.allele)
    identifier[identifier == ""] = "."
    ref, alt = allele.T.copy()
    ref[np.isin(ref, ["", ".", "0"])] = "N"
    alt[np.isin(alt, [".", "0"])] = ""
    return Table(names.contig, names.position, identifier, ref, alt, contigs)


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([str(value) for value in values.ravel()], object).reshape(values.shape)


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Compress pieces as if they were one."""
    rest = b""
    for piece in pieces:
        data = rest + piece
        whole = len(data) // BLOCK_TEXT * BLOCK_TEXT
        yield compress(memoryview(data)[:whole])
        rest = data[whole:]
    yield compress(rest)


def _records(block: Block, table: Table, kind: str, a: int, b: int) -> bytes:
    """Return rows a..b of a block and its table."""
    n, calls = block.n_samples, block.calls[a:b]
    refuse_alleles(int(calls.max(initial=0)), block.v0 + a, block.v0 + b)
    _refuse_nameless(calls, table.alt[a:b], block.v0 + a)
    flags = np.zeros((b - a, 0), np.bool_) if block.phased is None else block.phased[a:b]
    rows = range(a, b)
    prefixes = [_record_prefix(table, i, n) if kind == "bcf" else _line_prefix(table, i) for i in rows]
    ends = np.cumsum([len(prefix) for prefix in prefixes])
    data = np.frombuffer(b"".join(prefixes), np.uint8)
    out = np.empty(len(data) + (4 * n + 1) * (b - a), np.uint8)
    size = (write_records if kind == "bcf" else write_lines)(calls, flags, data, ends, out)
    return out[:size].tobytes()


def _refuse_nameless(calls: Calls, alt: NDArray[Any], v0: int) -> None:
    """Refuse an alternate allele that is carried but has no name.

    Raises
    ------
    DataError
        Naming the first variant.
    """
    for i in np.flatnonzero(alt == ""):
        if (calls[i] == 1).any():
            raise DataError(
                f"variant {v0 + i + 1} has no name for its alternate allele, but samples carry it; VCF needs "
                "a name. Give variant_allele one"
            )


def _line_prefix(table: Table, i: int) -> bytes:
    """Return columns CHROM to FORMAT of a line."""
    contig = table.contigs[table.contig[i]]
    alt = table.alt[i] or "."
    head = f"{contig}\t{table.position[i]}\t{table.identifier[i]}\t{table.ref[i]}\t{alt}\t.\t.\t.\tGT"
    return head.encode()


def _record_prefix(table: Table, i: int, n_samples: int) -> bytes:
    """Return a BCF record up to the values of GT."""
    ref, alt = table.ref[i].encode(), table.alt[i].encode()
    identifier = b"" if table.identifier[i] == "." else table.identifier[i].encode()
    shared = b"".join(
        [
            struct.pack("<iii", table.contig[i], table.position[i] - 1, len(ref)),
            struct.pack("<IHH", _MISSING_FLOAT, 0, 2 if alt else 1),
            struct.pack("<I", n_samples | 1 << 24),
            *(_typed_text(text) for text in ([identifier, ref, alt] if alt else [identifier, ref])),
            b"\0",  # FILTER is missing
        ]
    )
    genotypes = bytes([1 << 4 | _INT8, _GT_KEY, 2 << 4 | _INT8])
    return struct.pack("<II", len(shared), len(genotypes) + 2 * n_samples) + shared + genotypes


def _typed_text(text: bytes) -> bytes:
    """Return a string as BCF has it, its length before it."""
    size = len(text)
    if size < 15:
        return bytes([size << 4 | _TEXT]) + text
    kind, code = (_INT8, "<b") if size < 2**7 else (_INT16, "<h") if size < 2**15 else (_INT32, "<i")
    return bytes([15 << 4 | _TEXT, 1 << 4 | kind]) + struct.pack(code, size) + text
