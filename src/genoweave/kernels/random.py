"""ChaCha20 words addressed by (key, row, column, attempt) [RFC 8439].

One generator serves the private streams, which need a cryptographic one, and the public ones. A word
depends on its address alone, so that it is the same for any chunk, worker, order or retry.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import inlined, kernel

WORDS_PER_BLOCK = 16
_CONSTANTS = (
    np.uint32(0x61707865),
    np.uint32(0x3320646E),
    np.uint32(0x79622D32),
    np.uint32(0x6B206574),
)
_C0, _C1, _C2, _C3 = _CONSTANTS


@inlined
def _rotate(x, n):
    return np.uint32((x << np.uint32(n)) | (x >> np.uint32(32 - n)))


@inlined
def _quarter_round(s, a, b, c, d):
    s[a] += s[b]
    s[d] = _rotate(s[d] ^ s[a], 16)
    s[c] += s[d]
    s[b] = _rotate(s[b] ^ s[c], 12)
    s[a] += s[b]
    s[d] = _rotate(s[d] ^ s[a], 8)
    s[c] += s[d]
    s[b] = _rotate(s[b] ^ s[c], 7)


@kernel
def chacha20_block(key, counter, n0, n1, n2, work, out):
    """Write the 16 words of one ChaCha20 block to `out`.

    `key` is uint32 (8,); `counter`, `n0`, `n1`, `n2` are the uint32 block counter and nonce words;
    `work` and `out` are uint32 (16,).
    """
    work[0], work[1], work[2], work[3] = _C0, _C1, _C2, _C3
    for i in range(8):
        work[4 + i] = key[i]
    work[12], work[13], work[14], work[15] = counter, n0, n1, n2
    for i in range(16):
        out[i] = work[i]
    for _ in range(10):
        _quarter_round(work, 0, 4, 8, 12)
        _quarter_round(work, 1, 5, 9, 13)
        _quarter_round(work, 2, 6, 10, 14)
        _quarter_round(work, 3, 7, 11, 15)
        _quarter_round(work, 0, 5, 10, 15)
        _quarter_round(work, 1, 6, 11, 12)
        _quarter_round(work, 2, 7, 8, 13)
        _quarter_round(work, 3, 4, 9, 14)
    for i in range(16):
        out[i] += work[i]


@kernel
def words_at(key, row, columns, attempt, out):
    """Write to out[j] the uint32 word at (row, columns[j], attempt).

    `columns` is int64 (n,), fastest when it ascends: 16 neighbouring columns share one block. The row
    may need 64 bits; a column is below 2**36.
    """
    work = np.empty(16, np.uint32)
    block = np.empty(16, np.uint32)
    low = np.uint32(row & 0xFFFFFFFF)
    high = np.uint32((row >> 32) & 0xFFFFFFFF)
    current = np.int64(-1)
    for j in range(columns.shape[0]):
        index = columns[j] >> 4
        if index != current:
            chacha20_block(key, np.uint32(index), low, high, np.uint32(attempt), work, block)
            current = index
        out[j] = block[columns[j] & 15]
