"""Rows of 2-bit codes as the bytes of a chunk, each in the form that suits it.

Rare variants are lists of their few odd codes (see kernels/sparse.py). Common ones hardly compress, unless
neighbours are alike, and stand as they are. The others go together into zstd frames of 64. So nearly every
row is read without others, rare and common ones several times as fast as zstd reads them. docs/storage.md
specifies the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numcodecs import Zstd
from numpy.typing import NDArray

from genoweave.genotypes import Packed
from genoweave.io.bounded import zstd_size
from genoweave.kernels.packed import count_variants
from genoweave.kernels.sparse import fill_rows, list_rows

# Kinds of rows. Below _PLAIN_ROW: a list of what is not that code.
_PLAIN_ROW, _FRAME_ROW = 4, 5
# The longest list, as a share of the row's bytes and in bytes.
_SPARSE_SHARE = 7 / 16
_LONGEST_LIST = 2**16 - 1
# Rows of more entropy, in bits a genotype of the 2 that it has, are not compressed. (At 0.9 a cohort with
# half of its variants above a frequency of 0.2 takes 0.67 of the .bed's bytes, at 2 0.56.)
_PLAIN_ENTROPY = 0.9
_WORTHWHILE = 0.6
# Rows of a frame: few, so that one of them is read without many others.
_FRAME_ROWS = 64
_ZSTD = Zstd(1)


class Cutter:
    """Takes bytes one piece after the other, and none beyond the end."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return the next `size` bytes."""
        if size > len(self._data):
            raise ValueError(f"a chunk of packed genotypes ends {size - len(self._data)} bytes early")
        piece, self._data = self._data[:size], self._data[size:]
        return piece

    def finish(self) -> None:
        """Refuse bytes that nobody took."""
        if len(self._data):
            raise ValueError(f"a chunk of packed genotypes has {len(self._data)} bytes too many")


def decompressed(frame: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Decompress a frame of a known size.

    Raises
    ------
    ValueError
        If it is damaged, or of another size.
    """
    says = zstd_size(frame)
    if says < 1:
        raise ValueError("invalid input data: this is no zstd frame of a stated size")
    if says != size:  # so much would be allocated
        raise ValueError(f"a frame holds {says} bytes, wanted {size}")
    try:  # into an array given as `out`, a smaller frame would leave its end as it was
        data = np.frombuffer(_ZSTD.decode(frame), np.uint8)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    if len(data) != size:
        raise ValueError(f"a frame holds {len(data)} bytes, wanted {size}")
    return data


def compressed(data: Packed | bytes) -> bytes:
    """Return a zstd frame that states its content's size."""
    return bytes(_ZSTD.encode(data))


@dataclass(frozen=True)
class Rows:
    """Rows of codes as they are stored, by kind; the codes of one kind of row stand together."""

    width: int
    stored: int
    fill: int
    kinds: NDArray[np.uint8]
    plain: Packed
    lists: NDArray[np.uint8]
    list_ends: NDArray[np.int64]
    frames: list[NDArray[np.uint8]]

    def codes(self, rows: NDArray[np.int64] | None = None) -> Packed:
        """Return the codes of all variants, or of ascending `rows`, uint8 (rows, width).

        Raises
        ------
        ValueError
            If a list or a frame is damaged.
        """
        rows = np.arange(len(self.kinds)) if rows is None else rows
        out = np.empty((len(rows), self.width), np.uint8)
        out[:, self.stored :] = self.fill
        place, number = self._of_kind(self.kinds == _PLAIN_ROW, rows)
        if len(number):
            out[place, : self.stored] = self.plain[number] if len(number) < len(self.plain) else self.plain
        self._fill_lists(*self._of_kind(self.kinds < _PLAIN_ROW, rows), self.kinds[rows], out)
        place, number = self._of_kind(self.kinds == _FRAME_ROW, rows)
        for frame in np.unique(number // _FRAME_ROWS):
            here = number // _FRAME_ROWS == frame
            out[place[here], : self.stored] = self._frame(int(frame))[number[here] % _FRAME_ROWS]
        return out

    @staticmethod
    def _of_kind(
        is_kind: NDArray[np.bool_], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return which of `rows` are of a kind, and their numbers among all rows of that kind."""
        chosen = is_kind[rows]
        return np.flatnonzero(chosen), (np.cumsum(is_kind) - 1)[rows[chosen]]

    def _fill_lists(
        self, place: NDArray[np.int64], number: NDArray[np.int64], kinds: NDArray[np.uint8], out: Packed
    ) -> None:
        if len(number) == 0:
            return
        starts = np.append(0, self.list_ends[:-1])[number]
        done = fill_rows(self.lists, starts, self.list_ends[number], kinds[place], self.stored, place, out)
        if done < len(number):
            raise ValueError("the list of a sparse row is damaged")

    def _frame(self, frame: int) -> Packed:
        n_rows = min(_FRAME_ROWS, int((self.kinds == _FRAME_ROW).sum()) - frame * _FRAME_ROWS)
        return decompressed(self.frames[frame], n_rows * self.stored).reshape(n_rows, -1)


def decode_rows(parts: Cutter, n_rows: int, row_bytes: int, stored: int, fill: int) -> Rows:
    """Take the rows of a chunk.

    Raises
    ------
    ValueError
        If there are fewer bytes than they promise, or a row of an unknown kind.
    """
    kinds = parts.take(n_rows)
    if kinds.max(initial=0) > _FRAME_ROW:
        raise ValueError(f"a chunk has a row of unknown kind {kinds.max()}")
    n_listed, n_plain, n_framed = (
        int(of_kind.sum()) for of_kind in (kinds < _PLAIN_ROW, kinds == _PLAIN_ROW, kinds == _FRAME_ROW)
    )
    list_ends = np.cumsum(parts.take(2 * n_listed).view("<u2"), dtype=np.int64)
    frame_sizes = parts.take(4 * -(-n_framed // _FRAME_ROWS)).view("<u4")
    plain = parts.take(n_plain * stored).reshape(n_plain, stored)
    lists = parts.take(int(list_ends[-1]) if n_listed else 0)
    frames = [parts.take(int(size)) for size in frame_sizes]
    return Rows(row_bytes, stored, fill, kinds, plain, lists, list_ends, frames)


def encode_rows(codes: Packed, fill: int) -> tuple[int, bytes]:
    """Return how many bytes of a row are stored, and kinds, sizes, plain rows, lists and frames.

    Parameters
    ----------
    codes
        uint8 (variants, bytes).
    fill
        The byte that stands behind the last sample.
    """
    stored = _stored(codes, fill)
    codes = np.ascontiguousarray(codes[:, :stored])
    kinds, lists, list_sizes = _listed(codes)
    dense = codes[kinds == _PLAIN_ROW]
    is_plain = _plain_rows(dense)
    kinds[kinds == _PLAIN_ROW] = np.where(is_plain, _PLAIN_ROW, _FRAME_ROW)
    rest = dense[~is_plain]
    frames = [compressed(rest[a : a + _FRAME_ROWS]) for a in range(0, len(rest), _FRAME_ROWS)]
    frame_sizes = np.array([len(frame) for frame in frames], "<u4")
    parts = [kinds, list_sizes.astype("<u2"), frame_sizes, dense[is_plain]]
    return stored, b"".join([*(part.tobytes() for part in parts), lists, *frames])


def _stored(codes: Packed, fill: int) -> int:
    """Return the bytes of a row up to the last in which any row differs from the fill."""
    if not len(codes) or not codes.shape[1] or (codes[:, -1] != fill).any():
        return codes.shape[1] if len(codes) else 0
    used = np.flatnonzero((codes != fill).any(axis=0))
    return int(used[-1]) + 1 if len(used) else 0


def _listed(codes: Packed) -> tuple[NDArray[np.uint8], bytes, NDArray[np.int64]]:
    """Return the kinds of rows, plain where they are not sparse, and lists and sizes of the sparse ones."""
    counts = _code_counts(codes)
    kinds = counts.argmax(axis=1).astype(np.uint8)
    limit = min(_LONGEST_LIST, int(_SPARSE_SHARE * codes.shape[1]))
    others = counts.sum(axis=1) - counts.max(axis=1)
    short = np.flatnonzero(others <= limit)  # a code takes a byte at least
    out = np.empty(len(short) * limit + 168, np.uint8)
    sizes = np.empty(len(short), np.int64)
    used = list_rows(codes, short, kinds[short], limit, out, sizes)
    is_listed = np.zeros(len(codes), bool)
    is_listed[short] = sizes >= 0
    kinds[~is_listed] = _PLAIN_ROW
    return kinds, out[:used].tobytes(), sizes[sizes >= 0]


def _code_counts(codes: Packed) -> NDArray[np.int64]:
    """Return how often each row has each code, int64 (rows, 4)."""
    counts = np.zeros((len(codes), 3), np.int64)
    count_variants(codes, counts)
    ref, het, alt = counts.T
    return np.stack([alt, 4 * codes.shape[1] - counts.sum(axis=1), het, ref], axis=1)


def _plain_rows(codes: Packed) -> NDArray[np.bool_]:
    """Tell which rows are not worth compressing.

    Those of much entropy, unless neighbours repeat each other (linkage disequilibrium), which the first frame
    of them tells: chromosome 22 of dense data takes 0.38 of the .bed compressed and 0.94 otherwise.
    """
    is_plain = _entropy(codes) > _PLAIN_ENTROPY
    first = codes[np.flatnonzero(is_plain)[:_FRAME_ROWS]]
    if len(first) and len(compressed(first)) < _WORTHWHILE * first.nbytes:
        is_plain[:] = False
    return is_plain


def _entropy(codes: Packed) -> NDArray[np.float64]:
    """Return the entropy of each row's codes in bits a code."""
    share = _code_counts(codes) / max(1, 4 * codes.shape[1])
    return np.asarray(-(share * np.log2(share, out=np.zeros_like(share), where=share > 0)).sum(axis=1))
