"""Products of packed genotypes with float32 columns by looking up sums of four genotypes at a time.

The 256 values that a byte of four genotypes can add to a product are tabled once for 32 columns and then
added for every row of a tile ("four Russians"). A byte costs two vector additions where a matrix product of
decoded genotypes costs eight multiply-adds and the decoding: 79 G genotypes x columns a second on a core of
Zen 4 (2,048 rows), a float32 BLAS 32 G for 32 columns, after decoding.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels._row_sums import add_looked_up, add_two_rows, sum_float_rows

COLUMNS = 32  # columns of a product at a time: two vectors of 16 float32
_BYTES = 8  # bytes of a row looked up at a time: their tables (256 KiB) stay in the L2 cache
_ROW_BYTES = 4 * COLUMNS
_FLUSH = 1024  # genotypes summed in float32 before they are added in float64


@kernel
def _tabulate_pair(right, weights, g, sums):
    """sums[codes] = what genotypes g and g + 1 add, of 16 pairs of codes; behind the end nothing."""
    for code in range(16):
        for c in range(COLUMNS):
            sums[code, c] = np.float32(0)
    for i in range(min(2, right.shape[0] - g)):
        for code in range(16):
            w = weights[g + i, (code >> (2 * i)) & 3]
            for c in range(COLUMNS):
                sums[code, c] += w * right[g + i, c]


@kernel
def _tabulate(right, weights, first, tables):
    """tables[k, byte] = sum of weights[g, code of g] * right[g] over the byte's genotypes g, k < 8.

    `right` float32 (genotypes, 32), `weights` float32 (genotypes, 4); genotypes behind their end add 0.
    """
    halves = np.empty((2, 16, COLUMNS), np.float32)
    at_low, at_high = halves[0].ctypes.data, halves[1].ctypes.data
    for k in range(_BYTES):
        for half in range(2):
            _tabulate_pair(right, weights, first + 4 * k + 2 * half, halves[half])
        at = tables[k].ctypes.data
        for code in range(256):
            add_two_rows(
                np.uint64(at_low + (code & 15) * _ROW_BYTES),
                np.uint64(at_high + (code >> 4) * _ROW_BYTES),
                np.uint64(at + code * _ROW_BYTES),
            )


@kernel
def add_products(packed, weights, right, out):
    """out[r] += sum over genotypes g of weights[g, code of (r, g)] * right[g].

    `packed` uint8 (rows, bytes), bytes a multiple of 8 with any codes behind the last genotype; `weights`
    float32 (genotypes, 4); `right` float32 (genotypes, 32); `out` float64 (rows, 32). A row's result does not
    depend on the other rows.
    """
    n = right.shape[0]
    tables = np.empty((_BYTES, 256, COLUMNS), np.float32)
    part = np.zeros((packed.shape[0], COLUMNS), np.float32)
    at_tables, at_part, at_codes = tables.ctypes.data, part.ctypes.data, packed.ctypes.data
    for first in range(0, n, 4 * _BYTES):
        _tabulate(right, weights, first, tables)
        for r in range(packed.shape[0]):
            add_looked_up(
                np.uint64(at_codes + r * packed.shape[1] + (first >> 2)),
                np.uint64(at_tables),
                np.uint64(at_part + r * _ROW_BYTES),
            )
        done = first + 4 * _BYTES
        if done % _FLUSH == 0 or done >= n:
            for r in range(packed.shape[0]):
                for c in range(COLUMNS):
                    out[r, c] += np.float64(part[r, c])
                    part[r, c] = np.float32(0)


@kernel
def add_rows_at(starts, index, right, scale, out):
    """out[r] += scale[r] * sum of right[index[k]] for starts[r] <= k < starts[r + 1].

    `right` float32 (genotypes, 32), `scale` float64 (rows,), `out` float64 (rows, 32).
    """
    total = np.empty(COLUMNS, np.float32)
    for r in range(out.shape[0]):
        if starts[r] == starts[r + 1]:
            continue
        sum_float_rows(
            np.uint64(right.ctypes.data),
            np.uint64(index.ctypes.data + 4 * starts[r]),
            starts[r + 1] - starts[r],
            np.int64(_ROW_BYTES),
            np.uint64(total.ctypes.data),
        )
        for c in range(COLUMNS):
            out[r, c] += scale[r] * np.float64(total[c])
