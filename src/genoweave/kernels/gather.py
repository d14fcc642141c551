"""Columns of packed genotypes, taken in any order.

Eight variants are taken at a time. Their bytes are first turned, so that a word holds one byte of each; then
a sample's eight genotypes move together, and the bytes are turned back. Against taking them one by one:
30,000 of 184,712 samples 1.1 -> 4.5 G genotypes/s, 30,000 of 30,000 1.8 -> 9.9.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._compile import kernel, part
from genoweave.kernels.packed import PAD_BYTE
from genoweave.kernels.transpose import turn_bytes

_ROWS = 8
_CODES = np.uint64(0x0303030303030303)  # the lowest code of each byte
_MISSING = np.uint64(0x0101010101010101)


def take_samples(packed: NDArray[np.uint8], columns: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Write sample columns[j] of `packed` to sample j of `out`, and missing calls behind the last.

    Parameters
    ----------
    packed
        uint8 (variants, bytes).
    columns
        int64 (n,), in any order, any of them several times.
    out
        uint8 (variants, ceil(n / 4)), not part of `packed`. Beside it, 8 bytes per byte of a row are used.
    """
    packed = np.ascontiguousarray(packed)
    if not out.flags.c_contiguous:
        whole = np.empty(out.shape, np.uint8)
        take_samples(packed, columns, whole)
        out[...] = whole
        return
    n = len(columns)
    places = np.zeros(4 * out.shape[1], np.uint32)
    shifts = np.zeros(len(places), np.uint8)
    places[:n], shifts[:n] = columns >> 2, 2 * (columns & 3)
    if len(packed) < _ROWS:
        padded = np.full((_ROWS, packed.shape[1]), PAD_BYTE, np.uint8)
        padded[: len(packed)] = packed
        taken = np.empty((_ROWS, out.shape[1]), np.uint8)
        _take(padded, places, shifts, n, taken)
        out[...] = taken[: len(packed)]
    else:
        _take(packed, places, shifts, n, out)


@kernel
def _take(packed, places, shifts, n, out):
    """Take from at least eight variants; the last eight may be done twice in part."""
    before = np.empty(8 * ((packed.shape[1] + 7) >> 3), np.uint64)
    after = np.empty(8 * ((out.shape[1] + 7) >> 3), np.uint64)
    for start in range(0, packed.shape[0], _ROWS):
        v = min(start, packed.shape[0] - _ROWS)
        turn_rows(packed, v, before)
        _take_words(before, places, shifts, after)
        for k in range(n, 4 * out.shape[1]):
            place = np.uint64(2 * (k & 3))
            after[k >> 2] = (after[k >> 2] & ~(_CODES << place)) | (_MISSING << place)
        turn_back(after, v, out)


@part
def _take_words(before, places, shifts, after):
    """after[b] = the codes of four samples at eight variants, each in its place."""
    for b in range(places.shape[0] >> 2):
        j = np.uint64(4) * np.uint64(b)
        word = np.uint64(0)
        for k in range(4):
            i = j + np.uint64(k)
            code = (before[np.uint64(places[i])] >> np.uint64(shifts[i])) & _CODES
            word |= code << np.uint64(2 * k)
        after[b] = word


@part
def turn_rows(packed, v, words):
    """Byte r of words[i] = packed[v + r, i], for r < 8."""
    whole = packed.shape[1] >> 3
    one, two = packed[v, : 8 * whole].view(np.uint64), packed[v + 1, : 8 * whole].view(np.uint64)
    three, four = packed[v + 2, : 8 * whole].view(np.uint64), packed[v + 3, : 8 * whole].view(np.uint64)
    five, six = packed[v + 4, : 8 * whole].view(np.uint64), packed[v + 5, : 8 * whole].view(np.uint64)
    seven, eight = packed[v + 6, : 8 * whole].view(np.uint64), packed[v + 7, : 8 * whole].view(np.uint64)
    for w in range(whole):
        a, b, c, d, e, f, g, h = turn_bytes(
            one[w], two[w], three[w], four[w], five[w], six[w], seven[w], eight[w]
        )
        i = 8 * w
        words[i], words[i + 1], words[i + 2], words[i + 3] = a, b, c, d
        words[i + 4], words[i + 5], words[i + 6], words[i + 7] = e, f, g, h
    for i in range(8 * whole, packed.shape[1]):
        word = np.uint64(0)
        for r in range(_ROWS):
            word |= np.uint64(packed[v + r, i]) << np.uint64(8 * r)
        words[i] = word


@part
def turn_back(words, v, out):
    """out[v + r, i] = byte r of words[i], for r < 8."""
    whole = out.shape[1] >> 3
    one, two = out[v, : 8 * whole].view(np.uint64), out[v + 1, : 8 * whole].view(np.uint64)
    three, four = out[v + 2, : 8 * whole].view(np.uint64), out[v + 3, : 8 * whole].view(np.uint64)
    five, six = out[v + 4, : 8 * whole].view(np.uint64), out[v + 5, : 8 * whole].view(np.uint64)
    seven, eight = out[v + 6, : 8 * whole].view(np.uint64), out[v + 7, : 8 * whole].view(np.uint64)
    for w in range(whole):
        i = 8 * w
        a, b, c, d, e, f, g, h = turn_bytes(
            words[i], words[i + 1], words[i + 2], words[i + 3],
            words[i + 4], words[i + 5], words[i + 6], words[i + 7],
        )  # fmt: skip
        one[w], two[w], three[w], four[w] = a, b, c, d
        five[w], six[w], seven[w], eight[w] = e, f, g, h
    for i in range(8 * whole, out.shape[1]):
        for r in range(_ROWS):
            out[v + r, i] = np.uint8((words[i] >> np.uint64(8 * r)) & np.uint64(255))
