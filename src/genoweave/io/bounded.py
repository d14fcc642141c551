"""Decompression to a size that is known before, and never to more.

What a compressed piece says of its own size is held against the wanted one before anything is allocated;
where it says nothing, decompression stops there.
"""

from __future__ import annotations

import bz2
import zlib
from typing import Any, ClassVar

import numpy as np
from numcodecs import get_codec, register_codec
from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ndarray_copy

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BLOSC_HEADER = 16
_GZIP, _ZLIB = 31, 15


def zstd_size(frame: Any) -> int:
    """Return the size that a zstd frame says it expands to, -1 if it says none or is no frame."""
    head = bytes(memoryview(frame)[:18])
    if len(head) < 6 or head[:4] != _ZSTD_MAGIC:
        return -1
    is_single = head[4] >> 5 & 1
    width = (is_single, 2, 4, 8)[head[4] >> 6]
    at = 6 - is_single + (0, 1, 2, 4)[head[4] & 3]
    if not width or at + width > len(head):
        return -1
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


class Bounded(Codec):  # type: ignore[misc]
    """The compressor of an array of somebody else's, which decodes chunks of the right size only.

    Parameters
    ----------
    codec
        Configuration of the compressor; None where chunks are not compressed.
    size
        Bytes of a decompressed chunk.
    is_exact
        Whether a smaller chunk is damaged.
    texts
        Number of texts in a chunk of vlen-utf8, which states it in its first bytes; -1 for other chunks.
    """

    codec_id: ClassVar[str] = "genoweave_bounded"

    def __init__(self, codec: dict[str, Any] | None, size: int, is_exact: bool, texts: int = -1) -> None:
        self.codec, self.size, self.is_exact, self.texts = codec, size, is_exact, texts
        self._codec = None if codec is None else get_codec(dict(codec))

    @property
    def kind(self) -> str:
        """The name of the compressor, "" where there is none."""
        return "" if self.codec is None else str(self.codec["id"])

    def encode(self, buf: Any) -> bytes:
        """Refuse: such an array is read only."""
        raise ValueError("a store that is opened for reading is not written to")

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decompress a chunk.

        Raises
        ------
        ValueError
            If it is damaged, or larger than its array's shape and type allow.
        """
        raw = ensure_bytes(buf)
        try:
            if (
                self._codec is not None
                and out is not None
                and self.is_exact
                and self.kind in ("blosc", "lz4", "zstd")
            ):
                self._check(_promised(raw, self.kind))
                return self._codec.decode(raw, out)
            data = self._decompressed(raw)
        except ValueError:
            raise
        except Exception as error:  # each library raises its own kinds
            raise ValueError(str(error) or type(error).__name__) from None
        self._check(len(data))
        if self.texts >= 0 and int.from_bytes(data[:4], "little") != self.texts:
            raise ValueError(f"a chunk of {self.texts} texts says that it holds another number")
        return data if out is None else ndarray_copy(np.frombuffer(data, np.uint8), out)

    def _decompressed(self, raw: bytes) -> bytes:
        if self._codec is None:
            return raw
        if self.kind in ("zlib", "gzip"):
            return _inflated(raw, _GZIP if self.kind == "gzip" else _ZLIB, self.size)
        if self.kind == "bz2":
            expander = bz2.BZ2Decompressor()
            data = expander.decompress(raw, self.size + 1)
            if not expander.eof and len(data) <= self.size:
                raise ValueError("its compressed data end too early")
            return data
        self._check(_promised(raw, self.kind))
        return ensure_bytes(self._codec.decode(raw))

    def _check(self, size: int) -> None:
        if size > self.size or size < 0 or (self.is_exact and size != self.size):
            raise ValueError(
                f"a chunk of {self.size} bytes expands to {size if size >= 0 else 'another size'}"
            )


def _promised(raw: bytes, kind: str) -> int:
    """Return the size that a piece says it expands to, -1 if it is damaged."""
    if kind == "zstd":
        return zstd_size(raw)
    if kind == "lz4":
        return int.from_bytes(raw[:4], "little") if len(raw) > 4 else -1
    if len(raw) < _BLOSC_HEADER or int.from_bytes(raw[12:16], "little") != len(raw):
        return -1  # Blosc itself takes the length from there, and would read beyond the end
    return int.from_bytes(raw[4:8], "little")


def _inflated(raw: bytes, form: int, limit: int) -> bytes:
    """Return what zlib data, or the members of gzip data, expand to, at most a byte beyond `limit`."""
    parts: list[bytes] = []
    size = 0
    while raw and size <= limit:
        inflater = zlib.decompressobj(form)
        parts.append(inflater.decompress(raw, limit + 1 - size))
        size += len(parts[-1])
        if not inflater.eof and size <= limit:
            raise ValueError("its compressed data end too early")
        raw = inflater.unused_data if form == _GZIP else b""
    return b"".join(parts)


register_codec(Bounded)
