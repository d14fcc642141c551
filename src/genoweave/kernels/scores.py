"""Weighted sums over packed genotypes, without decoding them.

The 256 values that a byte of four genotypes can add are tabled once and then looked up for every record
("four Russians"): 0.3 G genotypes/s by decoding and a matrix product with 10 columns -> 1.6. All in
float64, in an order that depends on the variants alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from genoweave.kernels._compile import kernel

_BYTES = 8  # looked up together; their tables of 16 columns (256 KiB) stay in the L2 cache
_INDEX = ir.IntType(64)


@intrinsic
def _add_entries(context: Any, tables: Any, word: Any, first: Any, out: Any, row: Any) -> Any:
    """out[row, first + i] += sum over k of tables[k, byte k of word, first + i], for i < 8, as one vector.

    LLVM's own vectorisation fails here, since `out` might be part of `tables`: 1.0 -> 1.6 G genotypes/s.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        tables, word, first, out, row = arguments
        offset = builder.mul(first, _INDEX(8))
        terms = []
        for k in range(_BYTES):
            byte = builder.and_(builder.lshr(word, _INDEX(8 * k)), _INDEX(255))
            place = _place(context, builder, signature.args[0], tables, (_INDEX(k), byte), offset)
            terms.append(builder.load(place, align=8))
        while len(terms) > 1:
            terms = [builder.fadd(x, y) for x, y in zip(terms[::2], terms[1::2], strict=True)]
        place = _place(context, builder, signature.args[3], out, (row,), offset)
        builder.store(builder.fadd(builder.load(place, align=8), terms[0]), place, align=8)
        return context.get_dummy_value()

    return types.void(tables, types.uint64, types.int64, out, types.int64), build


def _place(context: Any, builder: Any, kind: Any, array: Any, index: tuple[Any, ...], offset: Any) -> Any:
    """Return a pointer to eight float64, `offset` bytes behind array[index]."""
    made = context.make_array(kind)(context, builder, array)
    address = builder.add(builder.ptrtoint(made.data, _INDEX), offset)
    strides = cgutils.unpack_tuple(builder, made.strides, kind.ndim)
    for i, stride in zip(index, strides, strict=False):
        address = builder.add(address, builder.mul(i, stride))
    return builder.inttoptr(address, ir.VectorType(ir.DoubleType(), 8).as_pointer())


@kernel
def _tabulate(values, loading, first, tables):
    """tables[k, byte] = what the four genotypes from first + 4 k on add; nothing behind the last variant."""
    columns = loading.shape[1]
    for k in range(_BYTES):
        tables[k] = 0.0
        for i in range(min(4, loading.shape[0] - first - 4 * k)):
            g = first + 4 * k + i
            known = 4**i
            for code in range(3, -1, -1):  # 0 last: the others start from what is there without it
                for entry in range(known):
                    for c in range(columns):
                        start = tables[k, entry, c]
                        tables[k, code * known + entry, c] = start + values[g, code] * loading[g, c]


@kernel
def add_scores(words, values, loading, out):
    """out[r] += sum over variants g of values[g, code of g] * loading[g].

    `words` uint64 (records, words of 32 packed genotypes); `values` f8 (variants, 4), by code; `loading` f8
    (variants, columns), padded to a multiple of 8 columns; `out` f8 (records, columns). A record's result
    does not depend on the others.
    """
    tables = np.empty((_BYTES, 256, loading.shape[1]))
    for w in range(words.shape[1]):
        _tabulate(values, loading, 32 * w, tables)
        for r in range(words.shape[0]):
            for first in range(0, out.shape[1], 8):
                _add_entries(tables, words[r, w], first, out, r)


@kernel
def add_values(packed, values, out):
    """out[s] += sum over variants v, in their order, of values[v, code of v and s].

    `packed` uint8 (variants, bytes), `values` f8 (variants, 4), `out` f8 (samples,).
    """
    for v in range(packed.shape[0]):
        for s in range(out.shape[0]):
            out[s] += values[v, (packed[v, s >> 2] >> np.uint8(2 * (s & 3))) & np.uint8(3)]
