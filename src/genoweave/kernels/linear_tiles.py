"""Register tiles of the linear regression as LLVM's own vector code, for any processor.

numba's loops keep neither a tile of integer sums nor one of float sums in registers. The
vectors are 64 bytes; LLVM splits them where registers are narrower. Nothing here is fused or reordered by
processor: results are the same bits everywhere.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

# Samples of a block: 64 bytes of packed genotypes.
BLOCK = 256
LIMB_BITS = 15

_I16, _I32, _I64, _F64 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.DoubleType()
_LANES = 32
_WORDS = ir.VectorType(_I16, _LANES)
_WIDE = ir.VectorType(_I32, _LANES)
_SUMS = ir.VectorType(_I32, _LANES // 2)
_DOUBLES = ir.VectorType(_F64, 8)

# Variants and columns in registers at once: 4 x 3 pairs of limbs are 24 of 32 AVX-512 registers. With fewer
# or narrower registers a small tile spills less. The sums are integers: the choice changes no result.
_AVX512 = bool(llvm.get_host_cpu_features().get("avx512bw"))
TILE_VARIANTS, TILE_COLUMNS = (4, 3) if _AVX512 else (2, 1)


def _at(offset: int) -> Any:
    """Make a 64-bit constant."""
    return ir.Constant(_I64, offset)


def _splat(builder: Any, vector: Any, scalar: Any) -> Any:
    """Fill a vector with a scalar."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    mask = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)


def _load(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    """Load a value at a byte offset, aligned to its elements only."""
    pointer = builder.inttoptr(builder.add(address, offset), kind.as_pointer())
    value = builder.load(pointer)
    element = kind.element if isinstance(kind, ir.VectorType) else kind
    value.align = {_I16: 2, _I32: 4}.get(element, 8)
    return value


def _pair_products(builder: Any, a: Any, b: Any) -> Any:
    """a[2i] b[2i] + a[2i+1] b[2i+1] of 16-bit lanes in 32 bits; LLVM knows this as (v)pmaddwd, vpdpwssd."""
    product = builder.mul(builder.sext(a, _WIDE), builder.sext(b, _WIDE))
    halves = [
        builder.shuffle_vector(
            product, product, ir.Constant(ir.VectorType(_I32, _LANES // 2), list(range(odd, _LANES, 2)))
        )
        for odd in (0, 1)
    ]
    return builder.add(*halves)


def _reduce(builder: Any, vector: Any) -> Any:
    """Sum the lanes of a vector of 32-bit sums."""
    name = f"llvm.vector.reduce.add.v{vector.type.count}i32"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_I32, [vector.type]), name)
    return builder.call(function, [vector])


class _Loop:
    """A counted loop with accumulators in registers, in LLVM's blocks."""

    def __init__(self, builder: Any, count: Any, zeros: list[Any]) -> None:
        self.builder, self.count = builder, count
        before = builder.block
        self.head = builder.append_basic_block("head")
        self.body = builder.append_basic_block("body")
        self.end = builder.append_basic_block("end")
        builder.branch(self.head)
        builder.position_at_end(self.head)
        self.index = builder.phi(_I64)
        self.index.add_incoming(ir.Constant(_I64, 0), before)
        self.sums = []
        for zero in zeros:
            phi = builder.phi(zero.type)
            phi.add_incoming(zero, before)
            self.sums.append(phi)
        builder.cbranch(builder.icmp_signed("<", self.index, count), self.body, self.end)
        builder.position_at_end(self.body)

    def close(self, sums: list[Any]) -> list[Any]:
        """End the body with the new sums; return the sums after the loop."""
        last = self.builder.block
        self.index.add_incoming(self.builder.add(self.index, ir.Constant(_I64, 1)), last)
        for phi, value in zip(self.sums, sums, strict=True):
            phi.add_incoming(value, last)
        self.builder.branch(self.head)
        self.builder.position_at_end(self.end)
        return self.sums


@intrinsic(prefer_literal=True)
def add_tile(context, codes, code_stride, limbs, column_stride, blocks, out, out_stride, n_v, n_c):
    """out[v, c] += sum of dosage x (2^15 high + low limb), `n_v` variants and `n_c` columns (literals)."""
    wanted = types.void(*[types.uint64] * 7, n_v, n_c)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes_at, code_step, limbs_at, column_step, count, out_at, out_step, _, _ = arguments
        variants, columns = range(n_v.literal_value), range(n_c.literal_value)

        zero = ir.Constant(_SUMS, [0] * _SUMS.count)
        loop = _Loop(builder, count, [zero] * (2 * len(variants) * len(columns)))
        sums = list(loop.sums)
        words = [
            _load(builder, builder.add(codes_at, builder.mul(code_step, _at(v))),
                  builder.mul(loop.index, _at(BLOCK // 4)), _WORDS)
            for v in variants
        ]  # fmt: skip
        starts = [
            builder.add(
                builder.add(limbs_at, builder.mul(column_step, _at(c))),
                builder.mul(loop.index, _at(4 * BLOCK)),
            )
            for c in columns
        ]
        three = ir.Constant(_WORDS, [3] * _LANES)
        for k in range(8):
            shift = ir.Constant(_WORDS, [2 * k] * _LANES)
            dosages = [builder.and_(builder.lshr(word, shift), three) for word in words]
            for c in columns:
                for limb in range(2):
                    values = _load(builder, starts[c], _at(128 * k + 64 * limb), _WORDS)
                    for v in variants:
                        i = 2 * (v * len(columns) + c) + limb
                        sums[i] = builder.add(sums[i], _pair_products(builder, dosages[v], values))
        sums = loop.close(sums)
        for v in variants:
            for c in columns:
                i = 2 * (v * len(columns) + c)
                high, low = (builder.sext(_reduce(builder, s), _I64) for s in sums[i : i + 2])
                total = builder.add(builder.shl(high, _at(LIMB_BITS)), low)
                place = builder.add(builder.mul(out_step, _at(v)), _at(8 * c))
                pointer = builder.inttoptr(builder.add(out_at, place), _I64.as_pointer())
                builder.store(builder.add(builder.load(pointer), total), pointer)
        return context.get_dummy_value()

    return wanted, build


@intrinsic(prefer_literal=True)
def add_outer(context, rows, row_stride, count, p, q, out, out_stride, n_p):
    """out[i, 0:8] += sum over rows r of r[p + i] r[q : q + 8], i < `n_p` (literal), in their order.

    Multiplied and added separately: a fused operation would round differently where there is none.
    """
    wanted = types.void(*[types.uint64] * 7, n_p)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows_at, row_step, length, p_at, q_at, out_at, out_step, _ = arguments
        pointers = [
            builder.inttoptr(builder.add(out_at, builder.mul(out_step, _at(i))), _DOUBLES.as_pointer())
            for i in range(n_p.literal_value)
        ]
        before = []
        for pointer in pointers:
            value = builder.load(pointer)
            value.align = 8
            before.append(value)
        loop = _Loop(builder, length, before)
        row = builder.add(rows_at, builder.mul(loop.index, row_step))
        right = _load(builder, row, builder.mul(q_at, _at(8)), _DOUBLES)
        left = builder.add(row, builder.mul(p_at, _at(8)))
        sums = []
        for i, total in enumerate(loop.sums):
            factor = _splat(builder, _DOUBLES, _load(builder, left, _at(8 * i), _F64))
            sums.append(builder.fadd(total, builder.fmul(factor, right)))
        for pointer, total in zip(pointers, loop.close(sums), strict=True):
            builder.store(total, pointer).align = 8
        return context.get_dummy_value()

    return wanted, build


@intrinsic
def expand_eight(context, fixed, unit, out):
    """Write eight int32 at `fixed`, times eight float64 at `unit`, to `out` (addresses)."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        fixed_at, unit_at, out_at = arguments
        whole = _load(builder, fixed_at, _at(0), ir.VectorType(_I32, 8))
        units = _load(builder, unit_at, _at(0), _DOUBLES)
        values = builder.fmul(builder.sitofp(whole, _DOUBLES), units)
        builder.store(values, builder.inttoptr(out_at, _DOUBLES.as_pointer())).align = 8
        return context.get_dummy_value()

    return types.void(*[types.uint64] * 3), build


@intrinsic
def lowest_bit(context: Any, x: Any) -> Any:
    """Index of the lowest bit that is set: LLVM's cttz."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@intrinsic
def prefetch(context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, to be read."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [pointer, *(ir.Constant(_I32, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.uint64), build
