"""The bytes of a VCF or BCF file by place: BGZF blocks, plain files, and plain gzip made seekable.

A place is a file offset or, in BGZF, a virtual offset: the block's offset times 65536 plus the byte in the
block. Python's zlib decodes genotype text at about 1 GB/s and lets go of the GIL, so that blocks need no
other library.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from genoweave.chunks import ranges
from genoweave.errors import DataError, StoreError
from genoweave.io.files import disk_errors, make_folder, source_fingerprint

BLOCK_TEXT = 0xFF00  # bytes of text in a block that is written, as bgzip has it
END_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_BLOCK_HEAD = END_BLOCK[:16]
_PIECE = 1 << 18
_HEAD, _TAIL = 12, 8
_LARGEST_BLOCK = 1 << 16


class Bytes(Protocol):
    """A file whose uncompressed bytes are read from any place; picklable."""

    path: str
    name: str  # the file that messages name

    def pieces(self, place: int) -> Iterator[tuple[int, bytes]]:
        """Yield (place, bytes) from `place` to the end; within a piece places count bytes."""

    def spans(self, place: int, size: int) -> Iterator[tuple[int, int]]:
        """Cut the rest of the file into (place, place) of about `size` uncompressed bytes."""


class PlainBytes:
    """An uncompressed file."""

    def __init__(self, path: str) -> None:
        self.path = self.name = path

    def pieces(self, place: int) -> Iterator[tuple[int, bytes]]:
        """Read 256 KiB at a time."""
        with open(self.path, "rb", buffering=0) as file:
            file.seek(place)
            while data := file.read(_PIECE):
                yield place, data
                place += len(data)

    def spans(self, place: int, size: int) -> Iterator[tuple[int, int]]:
        """Cut by size, between pieces."""
        size = -(-size // _PIECE) * _PIECE
        for a, b in ranges(os.path.getsize(self.path) - place, size):
            yield place + a, place + b


class BlockBytes:
    """A BGZF file: gzip members of at most 64 KiB, each of which says its own size."""

    def __init__(self, path: str, name: str = "") -> None:
        self.path = path
        self.name = name or path

    def pieces(self, place: int) -> Iterator[tuple[int, bytes]]:
        """Decompress and check block after block.

        Raises
        ------
        DataError
            If a block is damaged or cut off.
        """
        offset, skip = place >> 16, place & 0xFFFF
        with open(self.path, "rb", buffering=_LARGEST_BLOCK) as file:
            file.seek(offset)
            while (head := self._head(file, offset)) is not None:
                size, used = head
                body = file.read(size - used)
                text = self._inflated(body, offset, size - used)
                if len(text) > skip:
                    yield offset << 16 | skip, text[skip:]
                skip = 0
                offset += size

    def spans(self, place: int, size: int) -> Iterator[tuple[int, int]]:
        """Hop from block to block, taking each for a full one.

        Raises
        ------
        DataError
            If the file ends within a block, or without the empty block that marks its end.
        """
        offset = place >> 16
        length = os.path.getsize(self.path)
        per_span = max(1, size // _LARGEST_BLOCK)
        count = 0
        with open(self.path, "rb", buffering=_PIECE) as file:
            file.seek(offset)
            while (head := self._head(file, offset)) is not None:
                offset += head[0]
                if offset > length:
                    raise self._damaged(offset - head[0], "the file ends within it")
                count += 1
                if count == per_span:
                    yield place, offset << 16
                    place, count = offset << 16, 0
                file.seek(head[0] - head[1], os.SEEK_CUR)
            if count:
                yield place, offset << 16
            file.seek(max(0, length - 4))
            if file.read(4) != bytes(4):
                raise DataError(
                    f"{self.name} does not end with the empty block that marks the end of a BGZF file: it "
                    "was cut off. Copy it again; if it is whole, write it anew with bgzip"
                )

    def _head(self, file: BinaryIO, offset: int) -> tuple[int, int] | None:
        """Return the size of the block that begins here and how much of it was read; None at the end."""
        fixed = file.read(_HEAD)
        if not fixed:
            return None
        extra = file.read(int.from_bytes(fixed[10:12], "little")) if len(fixed) == _HEAD else b""
        size = _block_size(fixed, extra)
        used = _HEAD + len(extra)
        if size < used + _TAIL:
            raise self._damaged(offset, "it does not begin as one")
        return size, used

    def _inflated(self, body: bytes, offset: int, wanted: int) -> bytes:
        if len(body) < wanted:
            raise self._damaged(offset, "the file ends within it")
        checksum, size = struct.unpack("<II", body[-_TAIL:])
        if size > _LARGEST_BLOCK:
            raise self._damaged(offset, f"it promises {size} bytes")
        inflater = zlib.decompressobj(-15)
        try:
            text = inflater.decompress(memoryview(body)[:-_TAIL], size + 1)
        except zlib.error:
            raise self._damaged(offset, "it cannot be decompressed") from None
        if len(text) != size or not inflater.eof or zlib.crc32(text) != checksum:
            raise self._damaged(offset, "its checksum or length is wrong")
        return text

    def _damaged(self, offset: int, reason: str) -> DataError:
        return DataError(
            f"{self.name}: the BGZF block at byte {offset} is damaged ({reason}); copy the file again"
        )


def _block_size(fixed: bytes, extra: bytes) -> int:
    """Return the size of a BGZF block by its gzip header, 0 if it is none."""
    if len(fixed) < _HEAD or fixed[:3] != b"\x1f\x8b\x08" or not fixed[3] & 4:
        return 0
    at = 0
    while at + 4 <= len(extra):
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        if extra[at : at + 2] == b"BC" and length == 2 and at + 6 <= len(extra):
            return int.from_bytes(extra[at + 4 : at + 6], "little") + 1
        at += 4 + length
    return 0


def compress(data: bytes | memoryview, level: int = 6) -> bytes:
    """Return data as BGZF blocks, without the one that marks the end.

    Blocks of several calls may follow each other in a file; the same data are the same bytes.
    """
    out = []
    for a, b in ranges(len(data), BLOCK_TEXT):
        text = data[a:b]
        body = _deflated(text, level)
        if len(body) > _LARGEST_BLOCK - 26:
            body = _deflated(text, 0)
        head = _BLOCK_HEAD + struct.pack("<H", len(body) + 25)
        out += [head, body, struct.pack("<II", zlib.crc32(text), len(text))]
    return b"".join(out)


def _deflated(text: bytes | memoryview, level: int) -> bytes:
    deflater = zlib.compressobj(level, zlib.DEFLATED, -15)
    return deflater.compress(text) + deflater.flush()


def open_bytes(path: Path, scratch: Path | None) -> Bytes:
    """Return the bytes of a file by place, whatever its compression.

    Parameters
    ----------
    path
        A plain, BGZF or gzip file.
    scratch
        Where a gzip file that is no BGZF is copied as BGZF; the copy is used again as long as the file is the
        same.

    Raises
    ------
    StoreError
        If there is no such file, or it is plain gzip and `scratch` is None.
    DataError
        If it is empty.
    """
    if not path.is_file():
        raise StoreError(f"there is no file {path}; check the path")
    try:
        with path.open("rb") as file:
            fixed = file.read(_HEAD)
            extra = file.read(int.from_bytes(fixed[10:12], "little")) if len(fixed) == _HEAD else b""
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; check its permissions") from None
    if not fixed:
        raise DataError(f"{path} is empty (0 bytes); wanted a VCF or BCF file. Copy it again")
    if fixed[:2] != b"\x1f\x8b":
        return PlainBytes(str(path))
    if _block_size(fixed, extra):
        return BlockBytes(str(path))
    if scratch is None:
        raise StoreError(
            f"{path} is compressed with gzip, which cannot be read from the middle; write it anew with bgzip "
            f"(gunzip -c {path.name} | bgzip), or give a scratch folder for such a copy"
        )
    return BlockBytes(str(_block_copy(path, scratch)), str(path))


def _block_copy(path: Path, scratch: Path) -> Path:
    """Copy a gzip file as BGZF into `scratch`, piece by piece."""
    copy = scratch / f"{path.stem}.{source_fingerprint(path)[:16]}.bgz"
    if copy.exists():
        return copy
    make_folder(scratch)
    # the process in its name: two runs may copy at once
    partial = copy.with_name(f"{copy.name}.{os.getpid()}.partial")
    with disk_errors(copy):
        try:
            with partial.open("wb") as out:
                for text in _regrouped(_gunzipped(path)):
                    out.write(compress(text, level=1))
                out.write(END_BLOCK)
            os.replace(partial, copy)
        finally:
            partial.unlink(missing_ok=True)
    return copy


def _regrouped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join pieces to whole multiples of a block's text."""
    rest = b""
    for piece in pieces:
        rest += piece
        whole = len(rest) // BLOCK_TEXT * BLOCK_TEXT
        if whole >= 16 * BLOCK_TEXT:
            yield rest[:whole]
            rest = rest[whole:]
    yield rest


def _gunzipped(path: Path) -> Iterator[bytes]:
    """Yield the text of all members of a gzip file, at most 256 KiB at a time."""
    inflater = zlib.decompressobj(31)
    is_fresh = True  # no byte of the present member was read
    try:
        with path.open("rb") as file:
            while data := file.read(_PIECE):
                while data:
                    if is_fresh and not data.strip(b"\0"):
                        break  # padding
                    is_fresh = False
                    yield inflater.decompress(data, _PIECE)
                    data = inflater.unconsumed_tail
                    if inflater.eof:
                        data = inflater.unused_data
                        inflater, is_fresh = zlib.decompressobj(31), True
    except zlib.error as error:
        raise DataError(f"{path} is damaged: its gzip data cannot be read ({error}); copy it again") from None
    if not is_fresh:
        raise DataError(f"{path} is cut off: its gzip data ends before its end; copy it again")
