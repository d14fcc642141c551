"""Where calls are missing, as lists, and sums of genotypes over those places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._bits import popcount
from genoweave.kernels._compile import inlined, kernel
from genoweave.kernels._row_sums import sum_byte_rows
from genoweave.kernels.packed import PAD_BYTE
from genoweave.kernels.transpose import transpose_codes

TILE = 64  # variants whose genotypes stand side by side in a sample's row of `sample_rows`
_LOW = np.uint64(0x5555555555555555)
_ONE = np.uint64(1)


@inlined
def _missing_places(word):
    """Return a word with the low bit of each missing call set."""
    return word & ~(word >> _ONE) & _LOW


@kernel
def count_missing_calls(packed, n_samples, starts):
    """starts[r + 1] = starts[r] + missing calls of row r; `starts` int64 (rows + 1,), starts[0] given.

    `packed` uint8 (rows, bytes), bytes a multiple of 8.
    """
    for r in range(packed.shape[0]):
        words = packed[r].view(np.uint64)
        total = np.int64(0)
        for w in range(words.shape[0]):
            total += popcount(_missing_places(words[w]))
        starts[r + 1] = starts[r] + total - (4 * packed.shape[1] - n_samples)


@kernel
def list_missing_calls(packed, n_samples, starts, index):
    """index[starts[r]:starts[r + 1]] = ascending samples without a call in row r, int32."""
    for r in range(packed.shape[0]):
        words = packed[r].view(np.uint64)
        k = starts[r]
        for w in range(words.shape[0]):
            left = _missing_places(words[w])
            while left:
                bit = popcount((left & (~left + _ONE)) - _ONE)
                sample = 32 * w + (bit >> 1)
                if sample < n_samples:
                    index[k] = sample
                    k += 1
                left &= left - _ONE


def _bytes_of_codes() -> NDArray[np.uint32]:
    """Return, for each byte of four codes, the four values x + 1, and the four flags of missing calls."""
    code = np.arange(256)[:, None] >> np.arange(0, 8, 2) & 3
    value = np.array([2, 1, 1, 0], np.uint8)[code]
    return np.concatenate([value.view(np.uint32), (code == 1).astype(np.uint8).view(np.uint32)], axis=1)


_BYTES = _bytes_of_codes()


@kernel
def sample_rows(codes, out):
    """out[s] = x + 1 of 64 variants, then 1 where one of them is missing; x = dosage - 1, 0 if missing.

    `codes` uint8 (samples, up to 16 bytes): packed genotypes with samples as rows; `out` uint8
    (samples, 128).
    """
    words = out.view(np.uint32)
    for s in range(codes.shape[0]):
        for b in range(codes.shape[1]):
            words[s, b] = _BYTES[codes[s, b], 0]
            words[s, 16 + b] = _BYTES[codes[s, b], 1]


@kernel
def add_missing_sums(starts, index, rows, sums):
    """Sum a tile of 64 variants over the samples that each variant t misses.

    sums[t, c] += sum of x + 1 of variant c, sums[t, 64 + c] += calls that c misses too. `starts`, `index` as
    `list_missing_calls` makes them, `rows` as `sample_rows`, `sums` int32 (variants, 128). 127 rows of values
    up to 2 fit in a byte; with 4,096 samples in `rows` (512 KiB) they stay in the L2 cache.
    """
    total = np.empty(2 * TILE, np.uint8)
    at_rows, at_index, at_total = rows.ctypes.data, index.ctypes.data, total.ctypes.data
    for t in range(sums.shape[0]):
        row = sums[t]
        for k in range(starts[t], starts[t + 1], 127):
            count = min(np.int64(127), starts[t + 1] - k)
            sum_byte_rows(
                np.uint64(at_rows),
                np.uint64(at_index + 4 * k),
                count,
                np.int64(2 * TILE),
                np.uint64(at_total),
            )
            for c in range(2 * TILE):
                row[c] += np.int32(total[c])


def whole_words(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad the rows of packed genotypes with missing calls to a multiple of 8 bytes."""
    short = -packed.shape[1] % 8
    if short:
        return np.pad(packed, ((0, 0), (0, short)), constant_values=PAD_BYTE)
    return np.ascontiguousarray(packed)


def missing_lists(packed: NDArray[np.uint8], n_samples: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return (starts, index): the samples without a call of row r are index[starts[r]:starts[r + 1]].

    `packed` uint8 (rows, bytes), bytes a multiple of 8, padding as missing. Memory: 4 bytes a missing call.
    """
    starts = np.zeros(len(packed) + 1, np.int64)
    count_missing_calls(packed, n_samples, starts)
    index = np.empty(starts[-1], np.int32)
    list_missing_calls(packed, n_samples, starts, index)
    return starts, index


def sums_over_missing(
    starts: NDArray[np.int64], index: NDArray[np.int32], packed: NDArray[np.uint8], sums: NDArray[np.int32]
) -> None:
    """Add to `sums`, int32 (ceil(rows / 64), variants, 128), what `add_missing_sums` adds for each 64 rows.

    `packed` uint8 (rows, bytes), C-contiguous, bytes a multiple of 8; the lists' samples are its columns.
    """
    words = packed.view(np.uint64)
    codes = np.empty((32 * words.shape[1], -(-len(packed) // 32)), np.uint64)
    transpose_codes(words, codes)
    rows = np.zeros((len(codes), 2 * TILE), np.uint8)
    for i in range(len(sums)):
        sample_rows(codes[:, 2 * i : 2 * i + 2].view(np.uint8), rows)
        add_missing_sums(starts, index, rows, sums[i])


@kernel
def half_gram(dots, sums, lost, mean, scale, n_samples, first, out):
    """Rows of H, where H + H' is the Gram matrix of z = scale (x - mean), missing at 0.

    z_s . z_t = scale_s scale_t [x_s . x_t + mean_s C_st + mean_t C_ts + mean_s mean_t (O_st - n)], with C_st
    the sum of x_t over the samples that s misses and O_st the calls that both miss. H has the term in C_ts,
    and right of the diagonal the symmetric terms too (on the diagonal half of them).

    Parameters
    ----------
    dots
        int32 (rows, columns): x_s . x_t for the variants s = first + row and t = first + column.
    sums
        int32 (ceil(rows / 64), variants, 128) of `add_missing_sums`: [i, t] for the samples that t misses.
    lost
        int64 (variants,): missing calls.
    mean, scale
        float64 (variants,).
    n_samples, first
        Samples in all, and the first row's variant.
    out
        float64 or float32 (rows, variants), written.
    """
    for i in range(dots.shape[0]):
        s = first + i
        tile = sums[i // TILE]
        c = i % TILE
        n = np.float64(n_samples)
        for t in range(mean.shape[0]):
            value = mean[t] * np.float64(tile[t, c] - lost[t])
            if t >= s:
                both = np.float64(dots[i, t - first]) + mean[s] * mean[t] * (
                    np.float64(tile[t, TILE + c]) - n
                )
                value += both if t > s else 0.5 * both
            out[i, t] = scale[s] * scale[t] * value
