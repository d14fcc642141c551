"""Sums of rows kept in vector registers: LLVM vector code that every target breaks down to what it has.

Loops that numba compiles keep such accumulators in memory (3 to 5 times slower): here 128 uint8 or 32 float32
lanes stay in registers for the whole sum. Addresses are uint64 (``array.ctypes.data``); nothing checks them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_F32 = ir.FloatType()
_BYTES, _FLOATS = ir.VectorType(_I8, 64), ir.VectorType(_F32, 16)
_VECTOR_BYTES = 64
_VECTORS = range(2)  # of a row


def _load(builder: Any, address: Any, vector: Any, offset: int) -> Any:
    at = builder.add(address, ir.Constant(_I64, offset))
    value = builder.load(builder.inttoptr(at, vector.as_pointer()))
    value.align = 1
    return value


def _store(builder: Any, value: Any, address: Any, offset: int) -> None:
    at = builder.add(address, ir.Constant(_I64, offset))
    builder.store(value, builder.inttoptr(at, value.type.as_pointer())).align = 1


def _sum_rows(builder: Any, vector: Any, arguments: Any) -> None:
    """Emit: out[:] = sum of the two vectors at base + index[k] * stride, k < count."""
    base, index, count, stride, out = arguments
    add = builder.fadd if vector is _FLOATS else builder.add
    before = builder.block
    head, body, end = (builder.function.append_basic_block(name) for name in ("head", "body", "end"))
    index = builder.inttoptr(index, _I32.as_pointer())
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_I64)
    k.add_incoming(ir.Constant(_I64, 0), before)
    sums = [builder.phi(vector) for _ in _VECTORS]
    for total in sums:
        total.add_incoming(ir.Constant(vector, [0] * vector.count), before)
    builder.cbranch(builder.icmp_signed("<", k, count), body, end)
    builder.position_at_end(body)
    row = builder.zext(builder.load(builder.gep(index, [k])), _I64)
    address = builder.add(base, builder.mul(row, stride))
    for i, total in enumerate(sums):
        total.add_incoming(add(total, _load(builder, address, vector, i * _VECTOR_BYTES)), body)
    k.add_incoming(builder.add(k, ir.Constant(_I64, 1)), body)
    builder.branch(head)
    builder.position_at_end(end)
    for i, total in enumerate(sums):
        _store(builder, total, out, i * _VECTOR_BYTES)


_SUM_ROWS = types.void(types.uint64, types.uint64, types.int64, types.int64, types.uint64)
_THREE = types.void(types.uint64, types.uint64, types.uint64)


@intrinsic
def sum_byte_rows(context: Any, base: Any, index: Any, count: Any, stride: Any, out: Any) -> Any:
    """out[0:128] = sum of the uint8 rows at base + index[k] * stride for k < count, modulo 256.

    `index` is the address of int32, `stride` in bytes.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _sum_rows(builder, _BYTES, arguments)
        return context.get_dummy_value()

    return _SUM_ROWS, build


@intrinsic
def sum_float_rows(context: Any, base: Any, index: Any, count: Any, stride: Any, out: Any) -> Any:
    """out[0:32] = sum of the float32 rows at base + index[k] * stride for k < count, in this order."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _sum_rows(builder, _FLOATS, arguments)
        return context.get_dummy_value()

    return _SUM_ROWS, build


@intrinsic
def add_looked_up(context: Any, codes: Any, tables: Any, out: Any) -> Any:
    """out[0:32] += tables[0, codes[0]] + tables[1, codes[1]] + ... + tables[7, codes[7]], in this order.

    `codes` is the address of 8 bytes, `tables` of float32 (8, 256, 32), `out` of float32.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, tables, out = arguments
        word = builder.load(builder.inttoptr(codes, _I64.as_pointer()))
        word.align = 1
        sums = [_load(builder, out, _FLOATS, i * _VECTOR_BYTES) for i in _VECTORS]
        for k in range(8):
            code = builder.and_(builder.lshr(word, ir.Constant(_I64, 8 * k)), ir.Constant(_I64, 255))
            row = builder.add(tables, builder.shl(code, ir.Constant(_I64, 7)))
            for i in _VECTORS:
                value = _load(builder, row, _FLOATS, (k * 256 * 2 + i) * _VECTOR_BYTES)
                sums[i] = builder.fadd(sums[i], value)
        for i in _VECTORS:
            _store(builder, sums[i], out, i * _VECTOR_BYTES)
        return context.get_dummy_value()

    return _THREE, build


@intrinsic
def add_two_rows(context: Any, one: Any, two: Any, out: Any) -> Any:
    """out[0:32] = one[0:32] + two[0:32], addresses of float32."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one, two, out = arguments
        for i in _VECTORS:
            a, b = (_load(builder, x, _FLOATS, i * _VECTOR_BYTES) for x in (one, two))
            _store(builder, builder.fadd(a, b), out, i * _VECTOR_BYTES)
        return context.get_dummy_value()

    return _THREE, build
