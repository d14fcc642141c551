"""The 2-bit filter of ``call_genotype``: int8 calls to readers, packed rows on disk.

A numcodecs codec, found by its entry point, so that `xarray.open_zarr` and `sgkit.load_dataset` read
the standard int8 array where genoweave is installed, while kernels take the codes of a chunk, or of some of
its variants, as they are. Calls that 2 bits cannot say are exceptions beside them. docs/storage.md specifies
the bytes; `VERSION` changes with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray
from numpy.typing import NDArray

from genoweave.genotypes import Calls, Packed, packed_calls, refuse_alleles
from genoweave.io.bounded import zstd_size
from genoweave.io.packed_rows import Cutter, Rows, compressed, decode_rows, decompressed, encode_rows
from genoweave.kernels.packed import (
    MISSING,
    PAD_BYTE,
    checksum,
    count_missing,
    count_variants,
    pack_calls,
    pack_phased,
    pad_tail,
    unpack_calls,
    unpack_phased,
    unphase,
    width,
)

CODEC_ID = "genoweave_packed_calls"
VERSION = 1
MAGIC = b"GWPC"

UNPHASED, PHASED, PLAIN = 0, 1, 2
_HEADER = np.dtype(
    [("magic", "S4"), ("version", "u1"), ("mode", "u1"), ("ploidy", "<u2"), ("variants", "<u4"),
     ("samples", "<u4"), ("exceptions", "<u4"), ("stored", "<u4"), ("checksum", "<u8")]
)  # fmt: skip
# Before compression an exception takes 6 bytes, a packed call a quarter of one and a plain call 2: with more
# than this share of exceptions the plain form is smaller.
_MOST_EXCEPTIONS = (2 - 1 / 4) / 6
# Bytes of a chunk of plain calls, as zarr's other codecs have it.
_LARGEST = 2**31 - 1
# What a row of each form holds behind the bytes that are stored.
_FILL = (PAD_BYTE, 0)


@dataclass(frozen=True)
class Chunk:
    """A chunk's parts: rows of codes and exceptions, or plain calls."""

    mode: int
    shape: tuple[int, int, int]
    rows: Rows | None
    where: NDArray[np.int64]
    alleles: Calls
    counted: NDArray[np.uint8]

    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return what the writer counted, or None.

        Of every variant the calls with 0, 1, 2 alternate alleles, int64 (variants, 3), and of every sample
        the variants without a call, int64 (samples,); with what stands behind the array's edge.
        """
        if len(self.counted) == 0:
            return None
        variants, samples, _ = self.shape
        numbers = _from_planes(decompressed(self.counted, 4 * (3 * variants + samples)))
        return numbers[: 3 * variants].reshape(variants, 3), numbers[3 * variants :]

    def codes(self, rows: NDArray[np.int64] | None = None) -> Packed:
        """Return the codes of all variants, or of ascending `rows`, uint8 (rows, bytes)."""
        if self.rows is None:
            raise ValueError("plain calls have no codes")
        return self.rows.codes(rows)

    def calls(self) -> Calls:
        """Return int8 (variants, samples, ploidy)."""
        if self.mode == PLAIN:
            return self.alleles
        unpack = unpack_calls if self.mode == UNPHASED else unpack_phased
        out = np.ascontiguousarray(unpack(self.codes(), self.shape[1]))
        out.reshape(-1, 2)[self.where] = self.alleles
        return out

    def packed(self, v0: int = 0, v1: int | None = None, rows: NDArray[np.int64] | None = None) -> Packed:
        """Return .bed codes uint8 (rows, bytes) of all variants, or of ascending `rows`.

        `v0` to `v1` are the chunk's variants, for messages.

        Raises
        ------
        DataError
            If an allele code is above 1, or the calls are not diploid.
        """
        end = v0 + self.shape[0] if v1 is None else v1
        if self.mode == PLAIN:
            calls = self.alleles if rows is None else self.alleles[rows]
            refuse_alleles(int(calls.max(initial=0)), v0, end)
            return packed_calls(calls, v0)
        refuse_alleles(int(self.alleles.max(initial=0)), v0, end)
        codes = self.codes(rows)
        if self.mode == UNPHASED or len(codes) == 0:
            return codes
        unphase(codes, codes)
        pad_tail(codes, self.shape[1])
        row, column = np.divmod(self.where, self.shape[1])
        if rows is not None:
            place = np.searchsorted(rows, row)
            kept = (place < len(rows)) & (rows[np.minimum(place, len(rows) - 1)] == row)
            row, column = place[kept], column[kept]
        _set_codes(codes, row, column, MISSING)
        return codes


def _set_codes(codes: Packed, row: NDArray[np.int64], column: NDArray[np.int64], code: int) -> None:
    place = (2 * (column & 3)).astype(np.uint8)
    np.bitwise_and.at(codes, (row, column >> 2), ~(np.uint8(3) << place))
    np.bitwise_or.at(codes, (row, column >> 2), np.uint8(code) << place)


def encode_packed(codes: Packed, n_samples: int) -> bytes:
    """Return the bytes of a chunk of unphased codes uint8 (variants, bytes), padding as missing."""
    return _join(UNPHASED, (len(codes), n_samples, 2), codes, b"", 0)


def encode_calls(calls: Calls) -> bytes:
    """Return the bytes of a chunk of int8 calls (variants, samples, ploidy), in the smallest form."""
    if calls.ndim != 3 or calls.shape[2] != 2 or calls.dtype != np.int8:
        return _plain(calls)
    unphased, phased = (np.empty((calls.shape[0], width(calls.shape[1])), np.uint8) for _ in range(2))
    pack_calls(calls, unphased)
    pack_phased(calls, phased)
    forms = []
    for mode, codes, unpack in ((UNPHASED, unphased, unpack_calls), (PHASED, phased, unpack_phased)):
        where = np.flatnonzero((unpack(codes, calls.shape[1]) != calls).any(axis=2))
        forms.append((len(where), mode, codes, where))
    count, mode, codes, where = min(forms, key=lambda form: form[:2])
    if count > _MOST_EXCEPTIONS * max(1, calls.shape[0] * calls.shape[1]):
        return _plain(calls)
    if mode == UNPHASED:  # 1/0 packs as heterozygous; an allele beyond the first alternate to no meaning
        beyond = where[(calls.reshape(-1, 2)[where] > 1).any(axis=1)]
        row, column = np.divmod(beyond, calls.shape[1])
        _set_codes(codes, row, column, MISSING)
    return _join(mode, calls.shape, codes, _exceptions(where, calls.reshape(-1, 2)[where]), count)


def _exceptions(where: NDArray[np.int64], alleles: Calls) -> bytes:
    """Return a frame behind its size: steps between places, their lowest bytes first, and the alleles."""
    if len(where) == 0:
        return b""
    return _sized(compressed(_planes(np.diff(where, prepend=0)) + alleles.tobytes()))


def _counts(codes: Packed, n_samples: int) -> bytes:
    """Return a frame behind its size: calls of each variant, and missing calls of each sample."""
    calls = np.zeros((len(codes), 3), np.int64)
    missing = np.zeros(n_samples, np.int64)
    count_variants(codes, calls)
    count_missing(codes, missing)
    return _sized(compressed(_planes(np.append(calls.ravel(), missing))))


def _sized(frame: bytes) -> bytes:
    return np.array(len(frame), "<u4").tobytes() + frame


def _planes(numbers: NDArray[np.int64]) -> bytes:
    """Return numbers of 4 bytes, all their lowest bytes first: the higher ones are mostly 0."""
    return numbers.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _from_planes(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.ascontiguousarray(data.reshape(4, -1).T).view("<u4").ravel().astype(np.int64)


def _join(mode: int, shape: tuple[int, ...], codes: Packed, exceptions: bytes, count: int) -> bytes:
    """Return header, counts, exceptions and rows."""
    stored, rows = encode_rows(codes, _FILL[mode])
    counts = _counts(codes, shape[1]) if mode == UNPHASED and not count else _sized(b"")
    body = counts + exceptions + rows
    return _header(mode, shape, count, stored, body) + body


def _plain(calls: NDArray[Any]) -> bytes:
    shape = calls.shape if calls.ndim == 3 else (calls.size, 1, 1)
    body = compressed(np.ascontiguousarray(calls))
    return _header(PLAIN, shape, 0, 0, body) + body


def _header(mode: int, shape: tuple[int, ...], exceptions: int, stored: int, body: bytes) -> bytes:
    fields = (MAGIC, VERSION, mode, shape[2], shape[0], shape[1], exceptions, stored, 0)
    head = np.array(fields, _HEADER)
    head["checksum"] = _checksum(head.reshape(1).view(np.uint8), np.frombuffer(body, np.uint8))
    return head.tobytes()


def _checksum(head: NDArray[np.uint8], body: NDArray[np.uint8]) -> int:
    """Return the checksum of all but its own 8 bytes: a flipped form would be other genotypes."""
    return (checksum(head[:24]) + checksum(body)) % 2**64


def decode(data: Any, wanted: tuple[int, ...] | None = None) -> Chunk:
    """Read a chunk's bytes; rows are views of them, decompressed when they are asked for.

    `wanted` is the chunk's shape where it is known: nothing is decompressed of a chunk that says another one.

    Raises
    ------
    ValueError
        If they are not such a chunk, are damaged, or of a later version.
    """
    raw = ensure_contiguous_ndarray(data).view(np.uint8)
    if len(raw) < _HEADER.itemsize or (head := raw[: _HEADER.itemsize].view(_HEADER)[0])["magic"] != MAGIC:
        raise ValueError("this is not a chunk of packed genotypes")
    if head["version"] != VERSION:
        raise ValueError(
            f"packed genotypes of version {head['version']}; this genoweave reads version {VERSION}: "
            "install a newer one"
        )
    shape = int(head["variants"]), int(head["samples"]), int(head["ploidy"])
    if head["mode"] > PLAIN or (head["mode"] != PLAIN and shape[2] != 2):
        raise ValueError(f"a chunk of packed genotypes has no form {head['mode']} with ploidy {shape[2]}")
    body = raw[_HEADER.itemsize :]
    if _checksum(raw[: _HEADER.itemsize], body) != int(head["checksum"]):
        raise ValueError("the checksum of a chunk is wrong")
    if wanted is not None and shape != wanted:
        raise ValueError(f"its shape is {shape}, wanted {wanted}")
    if head["mode"] == PLAIN:
        calls = decompressed(body, int(np.prod(shape))).view(np.int8).reshape(shape)
        return Chunk(PLAIN, shape, None, np.empty(0, np.int64), calls, np.empty(0, np.uint8))
    return _parse(int(head["mode"]), shape, int(head["exceptions"]), int(head["stored"]), body)


def _parse(mode: int, shape: tuple[int, int, int], count: int, stored: int, body: NDArray[np.uint8]) -> Chunk:
    """Cut a chunk's body into its parts."""
    if stored > width(shape[1]):
        raise ValueError(f"a chunk of {shape[1]} samples has no rows of {stored} bytes")
    parts = Cutter(body)
    counted = parts.take(int(parts.take(4).view("<u4")[0]))
    where, alleles = _places(parts, count, shape[0] * shape[1])
    if count and int(where[-1]) >= shape[0] * shape[1]:
        raise ValueError("an exception lies outside the chunk")
    rows = decode_rows(parts, shape[0], width(shape[1]), stored, _FILL[mode])
    parts.finish()
    return Chunk(mode, shape, rows, where, alleles, counted)


def _places(parts: Cutter, count: int, n_calls: int) -> tuple[NDArray[np.int64], Calls]:
    """Return where the exceptions are, ascending, and their alleles int8 (exceptions, 2)."""
    if count == 0:
        return np.empty(0, np.int64), np.empty((0, 2), np.int8)
    size = int(parts.take(4).view("<u4")[0])
    frame = parts.take(size)
    if count > n_calls:
        raise ValueError(f"a frame holds {zstd_size(frame)} bytes, wanted {6 * n_calls} at most")
    data = decompressed(frame, 6 * count)
    return np.cumsum(_from_planes(data[: 4 * count])), data[4 * count :].view(np.int8).reshape(count, 2)


class PackedCalls(Codec):  # type: ignore[misc]
    """The filter, as zarr calls it.

    Parameters
    ----------
    version
        Of the format; refused if it is not this one.
    unphased
        Every call of the array is 0/0, 0/1, 1/1 or missing: a promise of the writer to readers that want
        no phase. A chunk that breaks it is refused.
    """

    codec_id: ClassVar[str] = CODEC_ID

    def __init__(self, version: int = VERSION, unphased: bool = False) -> None:
        if version != VERSION:
            raise ValueError(f"packed genotypes of version {version}; this genoweave reads version {VERSION}")
        self.version = version
        self.unphased = unphased

    def encode(self, buf: Any) -> bytes:
        """Pack a chunk of int8 calls (variants, samples, ploidy) in C order."""
        calls = np.asarray(buf)
        if calls.dtype != np.int8 or not calls.flags.c_contiguous:
            raise ValueError(f"packed genotypes are int8 in C order, found {calls.dtype}")
        data = encode_calls(calls)
        if self.unphased and ((chunk := decode(data)).mode != UNPHASED or len(chunk.where)):
            raise ValueError("this array holds unphased calls only; write phased ones to a new store")
        return data

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack a chunk; the result is int8, flat or (variants, samples, ploidy)."""
        chunk = decode(buf)
        if math.prod(chunk.shape) > _LARGEST:
            raise ValueError(f"a chunk of shape {chunk.shape} takes more than {_LARGEST} bytes")
        calls = chunk.calls()
        if out is None:
            return calls
        out.reshape(-1).view(np.int8)[...] = calls.ravel()
        return out
