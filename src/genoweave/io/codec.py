"""The 2-bit filter of ``call_genotype``: int8 calls to readers, 2-bit codes on disk.

A numcodecs codec, found by its entry point, so that `xarray.open_zarr` and `sgkit.load_dataset` read
the standard int8 array where genoweave is installed, while kernels take the codes of a chunk as they are.
docs/storage.md specifies the bytes; `VERSION` changes with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numcodecs.abc import Codec
from numcodecs.compat import ensure_contiguous_ndarray
from numpy.typing import NDArray

from genoweave.genotypes import Calls, Packed, packed_calls, refuse_alleles
from genoweave.kernels.packed import (
    MISSING,
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
     ("samples", "<u4"), ("exceptions", "<u4"), ("reserved", "<u4", 3)]
)  # fmt: skip
# Exceptions take 6 bytes each, a packed call a quarter of one and a plain call 2: with more than this share
# of exceptions the plain form is smaller.
_MOST_EXCEPTIONS = (2 - 1 / 4) / 6


@dataclass(frozen=True)
class Chunk:
    """A decoded chunk: codes and exceptions, or plain calls."""

    mode: int
    shape: tuple[int, int, int]
    codes: Packed
    where: NDArray[np.uint32]
    alleles: Calls

    def calls(self) -> Calls:
        """Return int8 (variants, samples, ploidy)."""
        if self.mode == PLAIN:
            return self.alleles
        n = self.shape[1]
        unpack = unpack_calls if self.mode == UNPHASED else unpack_phased
        out = np.ascontiguousarray(unpack(self.codes, n))
        out.reshape(-1, 2)[self.where] = self.alleles
        return out

    def packed(self, v0: int, v1: int | None = None) -> Packed:
        """Return .bed codes uint8 (variants, bytes); `v0` to `v1` are the chunk's variants, for messages.

        Raises
        ------
        DataError
            If an allele code is above 1, or the calls are not diploid.
        """
        if self.mode == PLAIN:
            return packed_calls(self.alleles, v0)
        refuse_alleles(int(self.alleles.max(initial=0)), v0, v0 + self.shape[0] if v1 is None else v1)
        if self.mode == UNPHASED:
            return self.codes
        out = np.empty_like(self.codes)
        unphase(self.codes, out)
        pad_tail(out, self.shape[1])
        row, column = np.divmod(self.where.astype(np.int64), self.shape[1])
        _set_codes(out, row, column, MISSING)
        return out


def _set_codes(codes: Packed, row: NDArray[np.int64], column: NDArray[np.int64], code: int) -> None:
    place = (2 * (column & 3)).astype(np.uint8)
    np.bitwise_and.at(codes, (row, column >> 2), ~(np.uint8(3) << place))
    np.bitwise_or.at(codes, (row, column >> 2), np.uint8(code) << place)


def packed_size(n_variants: int, n_samples: int) -> int:
    """Return the bytes of a chunk without exceptions."""
    return int(_HEADER.itemsize) + n_variants * width(n_samples)


def encode_packed(codes: Packed, n_samples: int) -> bytes:
    """Return the bytes of a chunk of unphased codes uint8 (variants, bytes), padding as missing."""
    return _header(UNPHASED, (len(codes), n_samples, 2), 0) + codes.tobytes()


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
    exceptions = where.astype("<u4").tobytes() + calls.reshape(-1, 2)[where].tobytes()
    return _header(mode, calls.shape, count) + codes.tobytes() + exceptions


def _plain(calls: NDArray[Any]) -> bytes:
    shape = calls.shape if calls.ndim == 3 else (calls.size, 1, 1)
    return _header(PLAIN, shape, 0) + np.ascontiguousarray(calls).tobytes()


def _header(mode: int, shape: tuple[int, ...], exceptions: int) -> bytes:
    fields = (MAGIC, VERSION, mode, shape[2], shape[0], shape[1], exceptions, (0, 0, 0))
    return np.array(fields, _HEADER).tobytes()


def decode(data: Any) -> Chunk:
    """Read a chunk's bytes; codes and plain calls are views of them.

    Raises
    ------
    ValueError
        If they are not such a chunk, or of a later version.
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
    if head["mode"] == PLAIN:
        _check_length(len(body), int(np.prod(shape)))
        none = np.empty(0, np.uint32)
        return Chunk(PLAIN, shape, np.empty((0, 0), np.uint8), none, body.view(np.int8).reshape(shape))
    size, count = shape[0] * width(shape[1]), int(head["exceptions"])
    _check_length(len(body), size + 6 * count)
    where = body[size : size + 4 * count].view("<u4")
    if count and int(where.max()) >= shape[0] * shape[1]:
        raise ValueError("an exception lies outside the chunk")
    alleles = body[size + 4 * count :].view(np.int8).reshape(count, 2)
    return Chunk(int(head["mode"]), shape, body[:size].reshape(shape[0], -1), where, alleles)


def _check_length(found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"a chunk of packed genotypes has {found} bytes, wanted {wanted}")


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
        if self.unphased and (decode(data).mode != UNPHASED or len(decode(data).where)):
            raise ValueError("this array holds unphased calls only; write phased ones to a new store")
        return data

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack a chunk; the result is int8, flat or (variants, samples, ploidy)."""
        calls = decode(buf).calls()
        if out is None:
            return calls
        out.reshape(-1).view(np.int8)[...] = calls.ravel()
        return out
