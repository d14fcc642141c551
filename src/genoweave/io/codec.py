"""The 2-bit filter of ``call_genotype``: int8 calls to readers, packed rows on disk.

A numcodecs codec, found by its entry point, so that `xarray.open_zarr` and `sgkit.load_dataset` read
the standard int8 array where genoweave is installed, while kernels take the codes of a chunk, or of some of
its variants, as they are. It compresses too, variant by variant: common variants hardly compress, unless
neighbours are alike, and stand as they are; the others go together into zstd frames of 64. So a chunk is
somewhat faster to read, and the few common variants out of many rare ones cost little more than those.
docs/storage.md specifies the bytes; `VERSION` changes with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numcodecs import Zstd
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray
from numpy.typing import NDArray

from genoweave.genotypes import Calls, Packed, packed_calls, refuse_alleles
from genoweave.kernels.packed import (
    MISSING,
    checksum,
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
     ("samples", "<u4"), ("exceptions", "<u4"), ("plain_rows", "<u4"), ("checksum", "<u8")]
)  # fmt: skip
# Before compression an exception takes 6 bytes, a packed call a quarter of one and a plain call 2: with more
# than this share of exceptions the plain form is smaller.
_MOST_EXCEPTIONS = (2 - 1 / 4) / 6
# Rows of more entropy, in bits a genotype of the 2 that it has, are not compressed. (At 0.9 a cohort with
# half of its variants above a frequency of 0.2 takes 0.63 of the .bed's bytes, at 2 0.55.)
_PLAIN_ENTROPY = 0.9
_WORTHWHILE = 0.6
# Rows of a frame: few, so that one of them is read without many others.
_FRAME_ROWS = 64
_ZSTD = Zstd(1)


@dataclass(frozen=True)
class Chunk:
    """A chunk's parts: rows of codes and exceptions, or plain calls."""

    mode: int
    shape: tuple[int, int, int]
    is_plain: NDArray[np.bool_]
    plain: Packed
    frames: list[NDArray[np.uint8]]
    where: NDArray[np.int64]
    alleles: Calls

    def codes(self, rows: NDArray[np.int64] | None = None) -> Packed:
        """Return the codes of all variants, or of ascending `rows`, uint8 (rows, bytes)."""
        if rows is None:
            return self._all_codes()
        out = np.empty((len(rows), width(self.shape[1])), np.uint8)
        is_plain = self.is_plain[rows]
        out[is_plain] = self.plain[(np.cumsum(self.is_plain) - 1)[rows[is_plain]]]
        place = np.flatnonzero(~is_plain)
        number = (np.cumsum(~self.is_plain) - 1)[rows[place]]
        for frame in np.unique(number // _FRAME_ROWS):
            here = number // _FRAME_ROWS == frame
            out[place[here]] = self._frame(int(frame))[number[here] % _FRAME_ROWS]
        return out

    def _all_codes(self) -> Packed:
        out = np.empty((self.shape[0], width(self.shape[1])), np.uint8)
        out[self.is_plain] = self.plain
        place = np.flatnonzero(~self.is_plain)
        for frame in range(len(self.frames)):
            out[place[frame * _FRAME_ROWS :][:_FRAME_ROWS]] = self._frame(frame)
        return out

    def _frame(self, frame: int) -> Packed:
        n_rows = min(_FRAME_ROWS, int((~self.is_plain).sum()) - frame * _FRAME_ROWS)
        return _decompressed(self.frames[frame], n_rows * width(self.shape[1])).reshape(n_rows, -1)

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


def _decompressed(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Decompress a frame of a known size.

    Raises
    ------
    ValueError
        If it is damaged, or of another size.
    """
    try:  # into an array given as `out`, a smaller frame would leave its end as it was
        data = np.frombuffer(_ZSTD.decode(frame), np.uint8)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if len(data) != size:
        raise ValueError(f"a frame holds {len(data)} bytes, wanted {size}")
    return data


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
    steps = np.diff(where, prepend=0).astype("<u4")
    frame = _ZSTD.encode(steps.view(np.uint8).reshape(-1, 4).T.tobytes() + alleles.tobytes())
    return np.array(len(frame), "<u4").tobytes() + frame


def _join(mode: int, shape: tuple[int, ...], codes: Packed, exceptions: bytes, count: int) -> bytes:
    """Return header, which rows are plain, sizes of the frames, exceptions, plain rows, frames."""
    is_plain = _plain_rows(codes)
    rest = codes[~is_plain]
    frames = [_ZSTD.encode(rest[a : a + _FRAME_ROWS]) for a in range(0, len(rest), _FRAME_ROWS)]
    body = b"".join(
        [
            np.packbits(is_plain, bitorder="little").tobytes(),
            np.array([len(frame) for frame in frames], "<u4").tobytes(),
            exceptions,
            codes[is_plain].tobytes(),
            *frames,
        ]
    )
    return _header(mode, shape, count, int(is_plain.sum()), body) + body


def _plain_rows(codes: Packed) -> NDArray[np.bool_]:
    """Tell which rows are not worth compressing.

    Those of much entropy, unless neighbours repeat each other (linkage disequilibrium), which the first frame
    of them tells: chromosome 22 of dense data takes 0.38 of the .bed compressed and 0.94 otherwise.
    """
    is_plain = _entropy(codes) > _PLAIN_ENTROPY
    first = codes[np.flatnonzero(is_plain)[:_FRAME_ROWS]]
    if len(first) and len(_ZSTD.encode(first)) < _WORTHWHILE * first.nbytes:
        is_plain[:] = False
    return is_plain


def _entropy(codes: Packed) -> NDArray[np.float64]:
    """Return the entropy of each row's codes but 1 (missing, or 1|0 in phased rows), bits a genotype of all.

    Missing ones are few or, behind the array's edge, all that there is; with them every row of a chunk that
    is half padding would be plain, twice as large as its .bed.
    """
    counts = np.zeros((len(codes), 3), np.int64)
    count_variants(codes, counts)
    called = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(1, called)
    bits = -(share * np.log2(share, out=np.zeros_like(share), where=share > 0)).sum(axis=1)
    return np.asarray(bits * called[:, 0] / max(1, 4 * codes.shape[1]))


def _plain(calls: NDArray[Any]) -> bytes:
    shape = calls.shape if calls.ndim == 3 else (calls.size, 1, 1)
    body = _ZSTD.encode(np.ascontiguousarray(calls))
    return _header(PLAIN, shape, 0, 0, body) + body


def _header(mode: int, shape: tuple[int, ...], exceptions: int, plain_rows: int, body: bytes) -> bytes:
    fields = (MAGIC, VERSION, mode, shape[2], shape[0], shape[1], exceptions, plain_rows, 0)
    head = np.array(fields, _HEADER)
    head["checksum"] = _checksum(head.reshape(1).view(np.uint8), np.frombuffer(body, np.uint8))
    return head.tobytes()


def _checksum(head: NDArray[np.uint8], body: NDArray[np.uint8]) -> int:
    """Return the checksum of all but its own 8 bytes: a flipped form would be other genotypes."""
    return (checksum(head[:24]) + checksum(body)) % 2**64


def decode(data: Any) -> Chunk:
    """Read a chunk's bytes; plain rows and frames are views of them, decompressed when they are asked for.

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
    if head["mode"] == PLAIN:
        calls = _decompressed(body, int(np.prod(shape))).view(np.int8).reshape(shape)
        nothing = np.empty((0, 0), np.uint8)
        return Chunk(PLAIN, shape, np.empty(0, bool), nothing, [], np.empty(0, np.int64), calls)
    return _parse(int(head["mode"]), shape, int(head["exceptions"]), int(head["plain_rows"]), body)


def _parse(
    mode: int, shape: tuple[int, int, int], count: int, n_plain: int, body: NDArray[np.uint8]
) -> Chunk:
    """Cut a chunk's body into its parts."""
    parts = _Cutter(body)
    bits = np.unpackbits(parts.take((shape[0] + 7) // 8), bitorder="little")[: shape[0]]
    is_plain = bits.astype(bool)
    if int(is_plain.sum()) != n_plain:
        raise ValueError("a chunk's count of plain rows is wrong")
    sizes = parts.take(4 * -(-(shape[0] - n_plain) // _FRAME_ROWS)).view("<u4")
    where, alleles = _places(parts, count)
    if count and int(where[-1]) >= shape[0] * shape[1]:
        raise ValueError("an exception lies outside the chunk")
    plain = parts.take(n_plain * width(shape[1])).reshape(n_plain, width(shape[1]))
    frames = [parts.take(int(size)) for size in sizes]
    parts.finish()
    return Chunk(mode, shape, is_plain, plain, frames, where, alleles)


def _places(parts: _Cutter, count: int) -> tuple[NDArray[np.int64], Calls]:
    """Return where the exceptions are, ascending, and their alleles int8 (exceptions, 2)."""
    if count == 0:
        return np.empty(0, np.int64), np.empty((0, 2), np.int8)
    size = int(parts.take(4).view("<u4")[0])
    data = _decompressed(parts.take(size), 6 * count)
    steps = np.ascontiguousarray(data[: 4 * count].reshape(4, count).T).view("<u4").ravel()
    return np.cumsum(steps, dtype=np.int64), data[4 * count :].view(np.int8).reshape(count, 2)


class _Cutter:
    """Takes bytes one piece after the other, and none beyond the end."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data

    def take(self, size: int) -> NDArray[np.uint8]:
        if size > len(self._data):
            raise ValueError(f"a chunk of packed genotypes ends {size - len(self._data)} bytes early")
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    def finish(self) -> None:
        if len(self._data):
            raise ValueError(f"a chunk of packed genotypes has {len(self._data)} bytes too many")


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
        calls = decode(buf).calls()
        if out is None:
            return calls
        out.reshape(-1).view(np.int8)[...] = calls.ravel()
        return out
