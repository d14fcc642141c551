"""Packed genotypes with samples as rows: a transpose of 2-bit codes, 256 at a time."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import inlined, kernel


@inlined
def _swap(a, b, shift, mask):
    """Exchange the masked bits of a, `shift` higher, with those of b."""
    t = ((a >> shift) ^ b) & mask
    return a ^ (t << shift), b ^ t


@inlined
def _codes(a, b, c, d):
    """Transpose the 4 x 4 codes in the bytes of four words: byte j of word k becomes sample 4 j + k."""
    two, four = np.uint64(2), np.uint64(4)
    pairs, nibbles = np.uint64(0x3333333333333333), np.uint64(0x0F0F0F0F0F0F0F0F)
    a, c = _swap(a, c, four, nibbles)
    b, d = _swap(b, d, four, nibbles)
    a, b = _swap(a, b, two, pairs)
    c, d = _swap(c, d, two, pairs)
    return a, b, c, d


@inlined
def turn_bytes(a, b, c, d, e, f, g, h):
    """Transpose 8 x 8 bytes held in eight words."""
    s, m = np.uint64(32), np.uint64(0x00000000FFFFFFFF)
    a, e = _swap(a, e, s, m)
    b, f = _swap(b, f, s, m)
    c, g = _swap(c, g, s, m)
    d, h = _swap(d, h, s, m)
    s, m = np.uint64(16), np.uint64(0x0000FFFF0000FFFF)
    a, c = _swap(a, c, s, m)
    b, d = _swap(b, d, s, m)
    e, g = _swap(e, g, s, m)
    f, h = _swap(f, h, s, m)
    s, m = np.uint64(8), np.uint64(0x00FF00FF00FF00FF)
    a, b = _swap(a, b, s, m)
    c, d = _swap(c, d, s, m)
    e, f = _swap(e, f, s, m)
    g, h = _swap(g, h, s, m)
    return a, b, c, d, e, f, g, h


@kernel
def _turn_group(rows, n_words, turned, out, group):
    """Fill column `group` (words of 32 rows) of `out` from up to 32 rows."""
    for i in range(8):  # four rows at a time fill one byte of each sample
        one, two, three, four = rows[4 * i], rows[4 * i + 1], rows[4 * i + 2], rows[4 * i + 3]
        t0, t1, t2, t3 = turned[0, i], turned[1, i], turned[2, i], turned[3, i]
        for w in range(n_words):
            t0[w], t1[w], t2[w], t3[w] = _codes(one[w], two[w], three[w], four[w])
    for k in range(4):
        t = turned[k]
        for w in range(n_words):
            a, b, c, d, e, f, g, h = turn_bytes(
                t[0, w], t[1, w], t[2, w], t[3, w], t[4, w], t[5, w], t[6, w], t[7, w]
            )
            s = 32 * w + k
            out[s, group], out[s + 4, group], out[s + 8, group], out[s + 12, group] = a, b, c, d
            out[s + 16, group], out[s + 20, group], out[s + 24, group], out[s + 28, group] = e, f, g, h


@kernel
def transpose_codes(packed, out):
    """Out = packed with rows and columns exchanged.

    `packed` uint64 (rows, words of 32 genotypes), `out` uint64 (32 * words, ceil(rows / 32)). Codes behind
    the last row are 0. Byte swaps of whole words: 32 genotypes in about 25 operations.
    """
    n_rows, n_words = packed.shape
    turned = np.empty((4, 8, n_words), np.uint64)
    rows = np.zeros((32, n_words), np.uint64)
    for group in range(out.shape[1]):
        count = min(32, n_rows - 32 * group)
        if count == 32:
            _turn_group(packed[32 * group : 32 * group + 32], n_words, turned, out, group)
        else:
            rows[:count] = packed[32 * group :]
            _turn_group(rows, n_words, turned, out, group)
