"""Genotypes in the records of BCF: typed bytes to int8 calls, and back.

A record is (length of its shared part, length of its genotypes, both parts). Nothing in it is believed before
it is known to lie within the record. The codes of faults and counts are those of `vcf_text`.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel, part
from genoweave.kernels.vcf_text import (
    BAD_ALT,
    BAD_GT,
    BAD_POSITION,
    BROKEN,
    CONTROL,
    EMPTY_FIELD,
    N_COUNTS,
    OK,
    PLOIDY,
    SAMPLES,
    settle,
)

_INT8, _INT16, _INT32, _FLOAT, _TEXT = 1, 2, 3, 5, 7
_TAB, _NEWLINE, _COMMA, _DOT = 9, 10, 44, 46
_SHARED, _FIRST_FIELD = 8, 32
_NO_PLACE = np.int64(-1)


@part
def _u32(data, at):
    return (
        np.int64(data[at])
        | np.int64(data[at + 1]) << 8
        | np.int64(data[at + 2]) << 16
        | np.int64(data[at + 3]) << 24
    )


@part
def _integer(data, at, width):
    """Return a signed little-endian integer of 1, 2 or 4 bytes."""
    if width == 1:
        return np.int64(np.int8(data[at]))
    if width == 2:
        return np.int64(np.int16(np.uint16(data[at]) | np.uint16(data[at + 1]) << np.uint16(8)))
    return np.int64(np.int32(np.uint32(_u32(data, at))))


@part
def _width(kind):
    if kind in (_INT8, _TEXT):
        return 1
    if kind == _INT16:
        return 2
    return 4 if kind in (_INT32, _FLOAT) else 0


@kernel
def _typed(data, at, end):
    """Return (kind, number of values, first byte of them); the place is -1 if that is not in the record."""
    if at >= end:
        return 0, 0, _NO_PLACE
    kind, length = np.int64(data[at] & 15), np.int64(data[at] >> 4)
    at += 1
    if length == 15:
        width = _width(data[at] & 15) if at < end else 0
        if width == 0 or data[at] >> 4 != 1 or (data[at] & 15) > _INT32 or at + 1 + width > end:
            return 0, 0, _NO_PLACE
        length = _integer(data, at + 1, width)
        at += 1 + width
    if length < 0 or (length and _width(kind) == 0):
        return 0, 0, _NO_PLACE
    return kind, length, at


@kernel
def record_ends(data, ends):
    """Fill `ends` with the last byte + 1 of each whole record in `data`.

    Returns (records, bytes of the next one), the latter 0 where not even its length is known.
    """
    at = count = 0
    while count < ends.shape[0]:
        if at + _SHARED > data.shape[0]:
            return count, 0
        length = _SHARED + _u32(data, at) + _u32(data, at + 4)
        if at + length > data.shape[0]:
            return count, length
        at += length
        ends[count] = at
        count += 1
    return count, 0


@kernel
def _text(data, at, end, heads, size):
    """Copy a typed string to `heads`; returns (next byte, new size), a next byte of -1 for damage."""
    kind, length, at = _typed(data, at, end)
    if at < 0 or at + length > end or (length and kind != _TEXT):
        return _NO_PLACE, size
    for k in range(at, at + length):
        if data[k] == 0:
            break
        heads[size] = data[k]
        size += 1
    return at + length, size


@kernel
def _head(data, start, end, heads, size):
    """Copy ID, REF and ALT of a record, tab-separated with a newline; returns (fault, new size)."""
    n_alleles = np.int64(data[start + 26]) | np.int64(data[start + 27]) << 8
    first = size
    at, size = _text(data, start + _FIRST_FIELD, end, heads, size)
    if at < 0 or n_alleles == 0:
        return BROKEN, size
    if size == first:
        heads[size] = _DOT
        size += 1
    for k in range(n_alleles):
        heads[size] = _COMMA if k > 1 else _TAB
        size += 1
        begin = size
        at, size = _text(data, at, end, heads, size)
        if at < 0:
            return BROKEN, size
        if size == begin:
            return EMPTY_FIELD if k == 0 else BAD_ALT, size
        for i in range(begin, size):
            if heads[i] == _COMMA:
                return BAD_ALT, size
    if n_alleles == 1:
        heads[size] = _TAB
        heads[size + 1] = _DOT
        size += 2
    tabs = 0
    for i in range(first, size):
        tabs += heads[i] == _TAB
        if (heads[i] < 32 and heads[i] != _TAB) or heads[i] == 127:
            return CONTROL, size
    heads[size] = _NEWLINE
    return OK if tabs == 2 else CONTROL, size + 1


@kernel
def _genotypes(data, start, end, n_samples, gt_key):
    """Return (fault, kind, alleles a call, first byte) of a record's GT; kind 0 if it has none."""
    at = start + _SHARED + _u32(data, start)
    n_fields = np.int64(data[start + 31])
    if _u32(data, start + 28) & 0xFFFFFF != n_samples:
        return SAMPLES, 0, 0, at
    for _ in range(n_fields):
        kind, length, at = _typed(data, at, end)
        if at < 0 or length != 1 or kind > _INT32 or at + _width(kind) > end:
            return BROKEN, 0, 0, at
        key = _integer(data, at, _width(kind))
        kind, length, at = _typed(data, at + _width(kind), end)
        if at < 0 or at + length * _width(kind) * n_samples > end:
            return BROKEN, 0, 0, at
        if key == gt_key:
            return (OK if 1 <= kind <= _INT32 and length else BROKEN), kind, length, at
        at += length * _width(kind) * n_samples
    return OK, 0, 0, at


@part
def _allele(value, width):
    """Return the allele of a value of GT: -1 missing, -2 behind the call's end, -3 impossible."""
    low = -(np.int64(1) << (8 * width - 1))
    if value == low + 1:
        return np.int64(-2)
    if value == low:
        return np.int64(-1)
    return (value >> 1) - 1 if value >= 0 else np.int64(-3)


@kernel
def _row(data, at, kind, length, s0, s1, n_alt, alt, half, haploid, calls, phased, counts):
    """Read the calls of samples s0..s1 of a record; returns (fault, sample)."""
    width = _width(kind)
    for s in range(s0, s1):
        place = at + s * length * width
        first = _integer(data, place, width)
        second = _integer(data, place + width, width) if length > 1 else np.int64(0)
        a = _allele(first, width)
        b = _allele(second, width) if length > 1 else np.int64(-2)
        if a == -3 or b == -3:
            return BAD_GT, s
        for k in range(2, length):
            if _allele(_integer(data, place + k * width, width), width) != -2:
                return PLOIDY, s
        is_phased = b != -2 and bool(second & 1)
        x, y, is_phased, fault = settle(max(a, -1), b, is_phased, n_alt, alt, half, haploid, counts)
        if fault != OK:
            return fault, s
        calls[s - s0, 0] = x
        calls[s - s0, 1] = y
        phased[s - s0] = is_phased
    return OK, 0


@kernel
def scan_records(
    data, starts, ends, n_samples, gt_key, half, haploid,
    heads, contig, position, n_alts, has_gt, counts, calls, phased,
):  # fmt: skip
    """Check every record and gather what identifies the variants; see `vcf_text.scan_lines`.

    `heads` (twice as long as `data`) has no CHROM: `contig` int64 (records,) gets its number. Returns
    (records done, fault, sample, bytes of `heads`).
    """
    size = 0
    for i in range(starts.shape[0]):
        start, end = starts[i], ends[i]
        shared_end = start + _SHARED + _u32(data, start)
        if start + _FIRST_FIELD > shared_end or shared_end > end:
            return i, BROKEN, 0, size
        contig[i] = _integer(data, start + 8, 4)
        position[i] = _integer(data, start + 12, 4) + 1
        if position[i] < 0 or position[i] >= 2**31:
            return i, BAD_POSITION, 0, size
        n_alts[i] = (np.int64(data[start + 26]) | np.int64(data[start + 27]) << 8) - 1
        fault, size = _head(data, start, shared_end, heads, size)
        if fault != OK:
            return i, fault, 0, size
        fault, kind, length, at = _genotypes(data, start, end, n_samples, gt_key)
        if fault != OK:
            return i, fault, 0, size
        has_gt[i] = kind != 0
        if kind:
            fault, sample = _row(
                data, at, kind, length, 0, n_samples, n_alts[i], 1, half, haploid, calls, phased, counts
            )
            if fault != OK:
                return i, fault, sample, size
    return starts.shape[0], OK, 0, size


@kernel
def read_records(data, starts, ends, alts, n_samples, gt_key, s0, s1, half, haploid, calls, phased):
    """Read samples s0..s1 of records; see `vcf_text.read_lines`."""
    counts = np.zeros(N_COUNTS, np.int64)
    for i in range(starts.shape[0]):
        start, end = starts[i], ends[i]
        if start + _FIRST_FIELD > end:
            return i, BROKEN, 0
        n_alt = (np.int64(data[start + 26]) | np.int64(data[start + 27]) << 8) - 1
        fault, kind, length, at = _genotypes(data, start, end, n_samples, gt_key)
        if fault != OK or kind == 0:
            return i, BROKEN, 0
        fault, sample = _row(
            data, at, kind, length, s0, s1, n_alt, alts[i], half, haploid, calls[i], phased[i], counts
        )
        if fault != OK:
            return i, fault, sample
    return starts.shape[0], OK, 0


@kernel
def write_records(calls, phased, prefixes, prefix_ends, out):
    """Write records: each prefix, then two bytes a call; see `vcf_text.write_lines`."""
    at = 0
    first = 0
    for i in range(calls.shape[0]):
        for k in range(first, prefix_ends[i]):
            out[at] = prefixes[k]
            at += 1
        first = prefix_ends[i]
        for s in range(calls.shape[1]):
            is_phased = phased.shape[1] > 0 and phased[i, s]
            x, y = calls[i, s, 0], calls[i, s, 1]
            out[at] = np.uint8(max(x, -1) + 1) << np.uint8(1)
            out[at + 1] = (np.uint8(max(y, -1) + 1) << np.uint8(1)) | np.uint8(is_phased)
            if y == -2:
                out[at + 1] = np.uint8(0x81)
            at += 2
    return at
