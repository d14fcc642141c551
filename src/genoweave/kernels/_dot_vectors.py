"""Loops in explicit LLVM vectors, for the kernels of dots and king.

The vectors have 512 bits; LLVM splits them where a processor has less. numba's own vectorisation needs
luck: the same popcount loop ran at a fifth of the speed when it was indexed instead of sliced. Here the
vectors are written down; no instruction of one processor is named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_WORDS = ir.VectorType(_I64, 8)
_BYTES = ir.VectorType(_I8, 64)


@intrinsic
def quotient(context: Any, a: Any, b: Any) -> Any:
    """Return a / b of two floats: a division that checks for zero does not vectorise."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fdiv(*arguments)

    return a(a, a), build


def dot_block(rows: int, columns: int) -> Any:
    """Return a function that adds the dot products of `rows` left by `columns` right rows.

    The planes are those of kernels.dots. The function takes (left, i, right, j, word, vectors, out): from
    rows i and j on, `vectors` vectors of eight words from `word` on; out[i + p, j + q] += dot. All sums stay
    in registers: 16 of the 32 vector registers for 2 x 4 rows.
    """

    @intrinsic
    def block(context: Any, left: Any, i: Any, right: Any, j: Any, word: Any, vectors: Any, out: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            left, i, right, j, word, vectors, out = arguments
            left_type, right_type, out_type = signature.args[0], signature.args[2], signature.args[6]
            lefts = [
                _address(context, builder, left_type, left, (_plus(builder, i, p), plane, word))
                for p in range(rows)
                for plane in (_i64(0), _i64(1))
            ]
            rights = [
                _address(context, builder, right_type, right, (_plus(builder, j, q), plane, word))
                for q in range(columns)
                for plane in (_i64(0), _i64(1))
            ]
            dots = _dot_loop(builder, lefts, rights, vectors)
            for p in range(rows):
                place = _address(context, builder, out_type, out, (_plus(builder, i, p), j))
                _add_to(builder, place, _lanes(builder, dots, p * columns, columns))
            return context.get_dummy_value()

        integer = types.int64
        return types.void(left, integer, right, integer, integer, integer, out), build

    return block


def _dot_loop(builder: Any, lefts: list[Any], rights: list[Any], vectors: Any) -> Any:
    """Return <8 x i32>: the dots of each left with each right row, from addresses (non-zero, sign) a row."""
    n_left, n_right = len(lefts) // 2, len(rights) // 2
    zero = ir.Constant(_WORDS, [0] * 8)
    count = 2 * n_left * n_right

    def step(k: Any, sums: Sequence[Any]) -> list[Any]:
        offset = builder.mul(k, _i64(64))
        left = [_load(builder, a, offset, _WORDS) for a in lefts]
        right = [_load(builder, a, offset, _WORDS) for a in rights]
        out = []
        for p in range(n_left):
            for q in range(n_right):
                both = builder.and_(left[2 * p], right[2 * q])
                opposite = builder.and_(both, builder.xor(left[2 * p + 1], right[2 * q + 1]))
                place = 2 * (p * n_right + q)
                out.append(builder.add(sums[place], _popcounts(builder, both)))
                out.append(builder.add(sums[place + 1], _popcounts(builder, opposite)))
        return out

    sums = _loop(builder, vectors, [zero] * count, step)
    one = ir.Constant(_WORDS, [1] * 8)
    parts = [
        builder.sub(both, builder.shl(opposite, one))
        for both, opposite in zip(sums[::2], sums[1::2], strict=True)
    ]
    return builder.trunc(_sum_lanes(builder, parts), ir.VectorType(_I32, 8))


def _sum_lanes(builder: Any, parts: list[Any]) -> Any:
    """Return the vector whose lane k is the sum of the lanes of parts[k]; up to eight parts.

    All together: 21 operations for eight, not 48. The orders are those of unpack and 128-bit shuffles.
    """
    parts = parts + [parts[-1]] * (8 - len(parts))
    unpacked = ([0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15])
    quarters = ([0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15])
    for low, high in (unpacked, quarters, quarters):
        low, high = (ir.Constant(ir.VectorType(_I32, 8), order) for order in (low, high))
        parts = [
            builder.add(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high))
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


@intrinsic
def count_bits(
    context: Any, table: Any, word: Any, rows: Any, start: Any, stop: Any, out: Any, place: Any
) -> Any:
    """out[place + c] += how many of table[rows[start:stop]] have bit c of the 512 from `word` on.

    `table` uint64 (rows, words), `rows` int32, at most 248 of them and a multiple of 8, `out` a row of
    integers. Bits are counted upright: bit c of eight registers is the count of column c in binary, and eight
    rows at a time go in by full adders (Harley and Seal): 310e9 counts a second from L2 on one core of Zen 4,
    where sums of bytes reach 79e9.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table, word, rows, start, stop, out, place = arguments
        kinds = signature.args
        first = _address(context, builder, kinds[0], table, (_i64(0), word))
        made = context.make_array(kinds[0])(context, builder, table)
        stride = cgutils.unpack_tuple(builder, made.strides, 2)[0]
        indices = _address(context, builder, kinds[2], rows, (start,))

        def row(k: Any, q: int) -> Any:
            index = _load(builder, indices, builder.add(builder.mul(k, _i64(32)), _i64(4 * q)), _I32, align=4)
            return _load(builder, first, builder.mul(builder.zext(index, _I64), stride), _WORDS)

        def step(k: Any, digits: Sequence[Any]) -> list[Any]:
            return _count_eight(builder, digits, [row(k, q) for q in range(8)])

        zero = ir.Constant(_WORDS, [0] * 8)
        octets = builder.lshr(builder.sub(stop, start), _i64(3))
        digits = _loop(builder, octets, [zero] * 8, step)
        for group in range(8):
            at = _plus(builder, place, 64 * group)
            _widen_to(context, builder, kinds[5], out, at, _upright_numbers(builder, digits, group))
        return context.get_dummy_value()

    integer = types.int64
    return types.void(table, integer, rows, integer, integer, out, integer), build


def _count_eight(builder: Any, digits: Sequence[Any], rows: list[Any]) -> list[Any]:
    """Return the binary digits (ones, twos, fours, ...) after eight more rows of bits."""

    def full_adder(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
        either = builder.xor(a, b)
        carry = builder.or_(builder.and_(a, b), builder.and_(either, c))
        return builder.xor(either, c), carry

    out = []
    carries = rows
    for digit in digits[:3]:
        following = []
        for a, b in zip(carries[::2], carries[1::2], strict=True):
            digit, carry = full_adder(digit, a, b)
            following.append(carry)
        out.append(digit)
        carries = following
    carry = carries[0]
    for digit in digits[3:]:
        out.append(builder.xor(digit, carry))
        carry = builder.and_(digit, carry)
    return out


def _upright_numbers(builder: Any, digits: Sequence[Any], group: int) -> Any:
    """Return <64 x i8>: the numbers whose binary digits are the bits of word `group` of each digit."""
    flags = ir.VectorType(ir.IntType(1), 64)
    zero = ir.Constant(_BYTES, [0] * 64)
    numbers = zero
    for b, digit in enumerate(digits):
        word = builder.extract_element(digit, ir.Constant(_I32, group))
        weight = ir.Constant(_BYTES, [1 << b] * 64)
        numbers = builder.add(numbers, builder.select(builder.bitcast(word, flags), weight, zero))
    return numbers


def _widen_to(context: Any, builder: Any, kind: Any, out: Any, place: Any, sums: Any) -> None:
    """Add <64 x i8> (unsigned) to 64 integers of an array from `place` on."""
    wide = builder.zext(sums, ir.VectorType(ir.IntType(kind.dtype.bitwidth), 64))
    _add_to(builder, _address(context, builder, kind, out, (place,)), wide, kind.dtype.bitwidth // 8)


@intrinsic
def exchange_bits(context: Any, matrices: Any, row: Any, distance: Any, mask: Any) -> Any:
    """Swap bits of matrices[row] and matrices[row + distance], uint64 (64, 8): a step of a transposition."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        matrices, row, distance, mask = arguments
        kind = signature.args[0]
        shift, wanted = _broadcast(builder, distance), _broadcast(builder, mask)
        zero = _i64(0)
        above = _address(context, builder, kind, matrices, (row, zero))
        below = _address(context, builder, kind, matrices, (builder.add(row, distance), zero))
        high, low = (_load(builder, a, zero, _WORDS) for a in (above, below))
        swap = builder.and_(builder.xor(builder.lshr(high, shift), low), wanted)
        for address, value in (
            (above, builder.xor(high, builder.shl(swap, shift))),
            (below, builder.xor(low, swap)),
        ):
            builder.store(value, builder.inttoptr(address, _WORDS.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(matrices, types.int64, types.int64, types.uint64), build


def _broadcast(builder: Any, word: Any) -> Any:
    undefined = ir.Constant(_WORDS, ir.Undefined)
    one = builder.insert_element(undefined, word, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, 8), [0] * 8))


def _loop(
    builder: Any, count: Any, initial: list[Any], step: Callable[[Any, Sequence[Any]], list[Any]]
) -> list[Any]:
    """Return the values after `count` steps (0: the initial ones), each step's values held in registers."""
    function, before = builder.function, builder.block
    head, body, end = (function.append_basic_block(name) for name in ("head", "body", "end"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_I64)
    values = [builder.phi(value.type) for value in initial]
    builder.cbranch(builder.icmp_signed("<", k, count), body, end)
    builder.position_at_end(body)
    following = step(k, values)
    k.add_incoming(_i64(0), before)
    k.add_incoming(builder.add(k, _i64(1)), body)
    for value, first, after in zip(values, initial, following, strict=True):
        value.add_incoming(first, before)
        value.add_incoming(after, body)
    builder.branch(head)
    builder.position_at_end(end)
    return values


def _popcounts(builder: Any, vector: Any) -> Any:
    shape = ir.FunctionType(vector.type, [vector.type])
    name = f"llvm.ctpop.v{vector.type.count}i64"
    return builder.call(cgutils.get_or_insert_function(builder.module, shape, name), [vector])


def _i64(value: int) -> Any:
    return ir.Constant(_I64, value)


def _plus(builder: Any, index: Any, more: int) -> Any:
    return builder.add(index, _i64(more))


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Sequence[Any]) -> Any:
    """Return the address of array[index] as an integer."""
    made = context.make_array(kind)(context, builder, array)
    place = builder.ptrtoint(made.data, _I64)
    for k, stride in zip(index, cgutils.unpack_tuple(builder, made.strides, kind.ndim), strict=True):
        place = builder.add(place, builder.mul(k, stride))
    return place


def _load(builder: Any, address: Any, offset: Any, shape: Any, align: int = 8) -> Any:
    return builder.load(builder.inttoptr(builder.add(address, offset), shape.as_pointer()), align=align)


def _lanes(builder: Any, vector: Any, start: int, count: int) -> Any:
    wanted = ir.Constant(ir.VectorType(_I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, vector, wanted)


def _add_to(builder: Any, address: Any, vector: Any, align: int = 4) -> None:
    pointer = builder.inttoptr(address, vector.type.as_pointer())
    builder.store(builder.add(builder.load(pointer, align=align), vector), pointer, align=align)
