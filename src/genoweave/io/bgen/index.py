"""What stands before and between the data of a BGEN file: header, sample ids, names of the variants.

Sizes that a file promises are held against its length, and against what its samples can take, before anything
is allocated.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.io.sample_tables import Samples, read_sample_file

NO_COMPRESSION, ZLIB, ZSTD = 0, 1, 2
MAGIC = b"bgen"
_LARGEST_POSITION = 2**31 - 1
_SHORT = 16
_U32, _U16 = struct.Struct("<I"), struct.Struct("<H")


@dataclass(frozen=True)
class Header:
    """What a file says of itself: `first` is where its first variant begins, `end` where the header ends."""

    first: int
    end: int
    n_variants: int
    n_samples: int
    compression: int
    layout: int
    has_ids: bool


class Window:
    """Reads a file in small pieces: far ahead where pieces are close together."""

    def __init__(self, file: Any, path: Path) -> None:
        self.path = path
        self.size = os.fstat(file.fileno()).st_size
        self.what = "header"
        self._handle = file.fileno()
        self._start, self._data = 0, b""

    def take(self, at: int, count: int) -> bytes:
        """Return `count` bytes from `at`, or say that the file ends too early."""
        if at + count > self.size:
            raise DataError(
                f"{self.path} ends within its {self.what}: {count} bytes from byte {at} were wanted, it has "
                f"{self.size}; it was cut short or is damaged. Copy or convert it again"
            )
        begin = at - self._start
        if begin < 0 or begin + count > len(self._data):
            near = 0 <= begin < 2 * len(self._data)
            self._data = os.pread(self._handle, max(count, 65_536 if near else 512), at)
            self._start, begin = at, 0
            if len(self._data) < count:
                raise DataError(f"{self.path} ended while it was read; it must not change during a run")
        return self._data[begin : begin + count]

    def text(self, at: int, size: struct.Struct) -> tuple[str, int]:
        """Return a text that stands behind its length, and where it ends."""
        (length,) = size.unpack(self.take(at, size.size))
        at += size.size
        data = self.take(at, length)
        try:
            return data.decode(), at + length
        except UnicodeDecodeError:
            raise self.damaged("a name is not UTF-8 text") from None

    def number(self, at: int, size: struct.Struct = _U32) -> int:
        """Return a number."""
        return int(size.unpack(self.take(at, size.size))[0])

    def damaged(self, reason: str) -> DataError:
        """Return an error that names the place."""
        return DataError(f"{self.path}, {self.what}: {reason}")


def read_header(reader: Window) -> Header:
    """Read and check the header."""
    if reader.size < 24:
        raise reader.damaged(f"a BGEN file has at least 24 bytes, found {reader.size}")
    offset, length, n_variants, n_samples = (reader.number(4 * i) for i in range(4))
    if reader.take(16, 4) not in (MAGIC, bytes(4)) or length < 20:
        raise reader.damaged("this is not a BGEN file: bytes 16 to 19 are 'bgen'")
    if not length <= offset <= reader.size - 4:
        raise reader.damaged(
            f"the header of {length} bytes and the variants from byte {offset + 4} on do not fit into a "
            f"file of {reader.size} bytes; it was cut short or is damaged"
        )
    flags = reader.number(length)
    compression, layout = flags & 3, flags >> 2 & 15
    if compression > ZSTD or layout not in (1, 2) or (layout == 1 and compression == ZSTD):
        raise reader.damaged(
            f"layout {layout} with compression {compression} is not known; wanted BGEN 1.1, 1.2 or 1.3"
        )
    if n_variants == 0 or n_samples == 0:
        raise reader.damaged(
            f"it holds {n_variants} variants and {n_samples} samples; at least one of each is needed"
        )
    shortest = 26 if layout == 2 else 20  # names and alleles of no letters
    if n_variants * shortest > reader.size - offset - 4:
        raise reader.damaged(
            f"{n_variants} variants are promised, which a file of {reader.size} bytes cannot hold; it was "
            "cut short or is damaged"
        )
    return Header(offset + 4, length + 4, n_variants, n_samples, compression, layout, flags >> 31 == 1)


def read_samples(reader: Window, header: Header, path: Path, given: Path | None) -> Samples:
    """Take the ids of the given .sample, of the file itself, or of the .sample beside it."""
    own = Samples(_embedded_ids(reader, header)) if header.has_ids else None
    beside = path.with_suffix(".sample")
    table = read_sample_file(given) if given is not None else None
    if table is None and beside.is_file():
        table = _fitting(beside, own)
    chosen = table or own
    if chosen is None:
        raise DataError(
            f"{path} holds no sample ids, and there is no {beside}; give its table of samples as sample_file"
        )
    if len(chosen.ids) != header.n_samples:
        raise DataError(
            f"{given or beside} lists {len(chosen.ids)} samples, {path} has {header.n_samples}; give the "
            ".sample that belongs to it"
        )
    if own is not None and chosen.ids != own.ids and sorted(chosen.ids) == sorted(own.ids):
        raise DataError(
            f"{given} lists the samples of {path} in another order than the file; put its lines in the "
            "file's order"
        )
    chosen.require_unique(path if table is None else given or beside)
    return chosen


def _fitting(beside: Path, own: Samples | None) -> Samples | None:
    """Read the .sample beside a file; where the file has ids of its own, only if it lists the same."""
    if own is None:
        return read_sample_file(beside)
    try:
        table = read_sample_file(beside)
    except DataError:
        return None
    return table if table.ids == own.ids else None


def _embedded_ids(reader: Window, header: Header) -> list[str]:
    reader.what = "block of sample ids"
    at = header.end
    length, count = reader.number(at), reader.number(at + 4)
    if count != header.n_samples or at + length > header.first or length < 8 + 2 * count:
        raise reader.damaged(
            f"it is to hold {count} ids in {length} bytes, for {header.n_samples} samples and with "
            f"{header.first - at} bytes before the first variant; the file is damaged"
        )
    end, at = at + length, at + 8
    ids = []
    for _ in range(count):
        name, at = reader.text(at, _U16)
        ids.append(name)
        if at > end:
            raise reader.damaged("an id goes beyond the block; the file is damaged")
    return ids


class Index(NamedTuple):
    """Columns of the variants, and where their data lie: (offset, bytes stored, bytes decompressed).

    Alleles stand one behind the other; `known` holds texts that many variants share, so that each is there
    once.
    """

    ids: list[str]
    contigs: list[str]
    positions: list[int]
    alleles: list[str]
    places: NDArray[np.int64]
    known: dict[str, str]

    def shared(self, text: str) -> str:
        """Return the one copy of a short text."""
        return self.known.setdefault(text, text) if len(text) < _SHORT else text


def read_index(reader: Window, header: Header) -> Index:
    """Read what stands before the data of each variant, in one pass."""
    index = Index([], [], [], [], np.empty((header.n_variants, 3), np.int64), {})
    at = header.first
    for v in range(header.n_variants):
        reader.what = f"variant number {v + 1} of {header.n_variants}"
        at = _read_variant(reader, header, at, index)
        at = _read_place(reader, header, at, index.places[v])
    return index


def _read_variant(reader: Window, header: Header, at: int, index: Index) -> int:
    """Note a variant's names; return where its data begin."""
    if header.layout == 1:
        if reader.number(at) != header.n_samples:
            raise reader.damaged(
                f"it has {reader.number(at)} samples, the file {header.n_samples}; it is damaged"
            )
        at += 4
    other, at = reader.text(at, _U16)
    rsid, at = reader.text(at, _U16)
    contig, at = reader.text(at, _U16)
    position, at = reader.number(at), at + 4
    if position > _LARGEST_POSITION:
        raise reader.damaged(f"position is from 0 to {_LARGEST_POSITION}, found {position}")
    if header.layout == 2:
        n_alleles, at = reader.number(at, _U16), at + 2
        if n_alleles != 2:
            raise reader.damaged(
                f"it has {n_alleles} alleles (position {position} of chromosome {contig[:60]}); genoweave "
                "works on biallelic variants. Leave it out or split it first"
            )
    first, at = reader.text(at, _U32)
    second, at = reader.text(at, _U32)
    index.ids.append(rsid if rsid not in ("", ".") else other or ".")
    index.contigs.append(index.shared(contig[1:] if re.fullmatch("0[1-9]", contig) else contig or "0"))
    index.positions.append(position)
    index.alleles.extend("" if allele == "." else index.shared(allele) for allele in (first, second))
    return at


def _read_place(reader: Window, header: Header, at: int, place: NDArray[np.int64]) -> int:
    """Note where a variant's data lie; return where they end."""
    n = header.n_samples
    size = 6 * n
    if header.layout == 2 or header.compression:
        size, at = reader.number(at), at + 4
    raw = size
    if header.layout == 1:
        raw = 6 * n
    elif header.compression:
        raw, at, size = reader.number(at), at + 4, size - 4
    if size < 0 or at + size > reader.size:
        raise reader.damaged(
            f"its data of {size} bytes do not fit into a file of {reader.size} bytes; it was cut short or "
            "is damaged"
        )
    if header.layout == 2 and not 10 + n <= raw <= 10 + 9 * n:
        raise reader.damaged(
            f"its data take {raw} bytes when decompressed, where {n} haploid or diploid samples take from "
            f"{10 + n} to {10 + 9 * n}; it is damaged or of another ploidy"
        )
    place[:] = at, size, raw
    return at + size
