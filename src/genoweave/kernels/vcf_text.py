"""Genotypes in the text of VCF: GT fields to int8 calls, and calls to GT fields.

A block of text is uint8 with the first and last byte of each line, so that a line is looked at once. Every
kernel returns what is wrong as a code and the number of the sample: messages are made by the caller.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel, part

# What may be wrong with a record. `io.vcf.faults` has the words.
OK, FEW_COLUMNS, MANY_COLUMNS, BAD_GT, BEYOND, PLOIDY, HALF, HAPLOID = range(8)
FEW_FIXED, BAD_POSITION, EMPTY_FIELD, BAD_ALT, CONTROL, BROKEN, SAMPLES = range(8, 15)

# What becomes of a call with one allele of two missing, and of a haploid one.
HALF_RULES = {"missing": 0, "reference": 1, "haploid": 2, "error": 3, "keep": 4}
HAPLOID_RULES = {"double": 0, "missing": 1, "refuse": 2}
_REFERENCE, _HAPLOID, _ERROR, _KEEP = 1, 2, 3, 4
_MISSING, _REFUSE = 1, 2

# Rows of `counts`. SWAPPED: calls such as 1/0, whose order the packed form does not hold.
N_HALF, N_HAPLOID, N_MISSING, N_PHASED, N_UNPHASED, N_SWAPPED = range(6)
N_COUNTS = 6

_TAB, _NEWLINE, _SLASH, _PIPE, _COLON, _COMMA, _DOT, _ZERO, _G, _T = 9, 10, 47, 124, 58, 44, 46, 48, 71, 84
_CHROM, _POS, _ID, _REF, _ALT, _FORMAT, _FIXED = 0, 1, 2, 3, 4, 8, 9
_LARGEST_POSITION = 2**31 - 1


@part
def settle(a, b, is_phased, n_alt, alt, half, haploid, counts):
    """Return (first, second, phased, fault) of a call with alleles `a` and `b`, as the rules have it.

    An allele is -1 where it is missing; `b` is -2 where the call is haploid. The result counts `alt`: 1 for
    that allele, 0 for any other, -1 for missing.
    """
    if a > n_alt or b > n_alt:
        return -1, -1, False, BEYOND
    if a >= 0 and b >= 0:
        counts[N_PHASED] += is_phased
        counts[N_UNPHASED] += not is_phased
        counts[N_SWAPPED] += a >= 1 and a != b
        return int(a == alt), int(b == alt), is_phased, OK
    if b == -2 and a >= 0:
        counts[N_HAPLOID] += 1
        if haploid == _MISSING:
            counts[N_UNPHASED] += 1
            return -1, -1, False, OK
        x = int(a == alt)
        return x, x, True, HAPLOID if haploid == _REFUSE else OK
    is_phased = is_phased and b != -2
    counts[N_PHASED] += is_phased
    counts[N_UNPHASED] += not is_phased
    if a < 0 and b < 0:
        counts[N_MISSING] += 1
        return -1, -1, is_phased, OK
    counts[N_HALF] += 1
    x = int(a == alt) if a >= 0 else -1
    y = int(b == alt) if b >= 0 else -1
    if half == _KEEP:
        return x, y, is_phased, OK
    if half == _REFERENCE:
        counts[N_SWAPPED] += a >= 1
        return max(x, 0), max(y, 0), is_phased, OK
    if half == _HAPLOID:
        return max(x, y), max(x, y), is_phased, OK
    return -1, -1, is_phased, HALF if half == _ERROR else OK


@part
def _allele(data, at, end):
    """Return (allele, next byte): -1 for a dot, -3 where there is no allele."""
    if at >= end:
        return -3, at
    if data[at] == _DOT:
        return -1, at + 1
    value = 0
    first = at
    while at < end and _ZERO <= data[at] < _ZERO + 10:
        value = min(10 * value + data[at] - _ZERO, 1_000_000)
        at += 1
    return (value if at > first else -3), at


@kernel
def _long_call(data, at, end, field):
    """Return (a, b, phased, fault) of a cell that is not two digits with a separator."""
    for _ in range(field):
        while at < end and data[at] != _COLON:
            if data[at] == _TAB:
                return -1, -2, False, OK  # trailing fields may be left out
            at += 1
        if at >= end:
            return -1, -2, False, OK
        at += 1
    leading = at < end and (data[at] == _SLASH or data[at] == _PIPE)  # VCF 4.4 may say the first one's phase
    together = not leading or data[at] == _PIPE
    at += leading
    a, at = _allele(data, at, end)
    if a == -3:
        return a, a, False, BAD_GT
    b = -2
    is_phased = False
    if at < end and (data[at] == _SLASH or data[at] == _PIPE):
        is_phased = data[at] == _PIPE and together
        b, at = _allele(data, at + 1, end)
        if b == -3:
            return a, b, False, BAD_GT
        if at < end and (data[at] == _SLASH or data[at] == _PIPE):
            return a, b, False, PLOIDY
    if at < end and data[at] != _TAB and data[at] != _COLON:
        return a, b, False, BAD_GT
    return a, b, is_phased, OK


@kernel
def _row(data, at, end, field, n_samples, s0, s1, n_alt, alt, half, haploid, calls, phased, counts):
    """Read the cells of one line, from the first sample's at byte `at`; returns (fault, sample)."""
    for s in range(s1):
        if at > end:
            return FEW_COLUMNS, s
        if s >= s0:
            a = b = -3
            is_phased = False
            step = 0
            if field == 0 and at + 3 <= end:
                x, y, separator = data[at], data[at + 2], data[at + 1]
                after = data[at + 3] if at + 3 < end else np.uint8(_TAB)
                is_call = _ZERO <= x < _ZERO + 10 and _ZERO <= y < _ZERO + 10
                if is_call and separator in (_SLASH, _PIPE) and after in (_TAB, _COLON):
                    a, b = int(x) - _ZERO, int(y) - _ZERO
                    is_phased = separator == _PIPE
                    step = 3
            if step == 0:
                a, b, is_phased, fault = _long_call(data, at, end, field)
                if fault != OK:
                    return fault, s
            x, y, is_phased, fault = settle(a, b, is_phased, n_alt, alt, half, haploid, counts)
            if fault != OK:
                return fault, s
            calls[s - s0, 0] = x
            calls[s - s0, 1] = y
            phased[s - s0] = is_phased
            at += step
        while at < end and data[at] != _TAB:
            at += 1
        at += 1
    if s1 == n_samples and at <= end:
        return MANY_COLUMNS, n_samples
    return OK, 0


@kernel
def _columns(data, at, end, columns):
    """Fill in the first byte of columns 0 to 9, and return how many there are."""
    columns[0] = at
    found = 1
    while at < end and found <= _FIXED:
        if data[at] == _TAB:
            columns[found] = at + 1
            found += 1
        at += 1
    return found


@kernel
def _alternates(data, columns):
    """Return the number of alternate alleles, 0 for a dot, -1 where a name is empty."""
    at, end = columns[_ALT], columns[_ALT + 1] - 1
    if end - at == 1 and data[at] == _DOT:
        return 0
    count = 1
    length = 0
    for i in range(at, end):
        if data[i] == _COMMA:
            if length == 0:
                return -1
            count += 1
            length = 0
        else:
            length += 1
    return count if length else -1


@kernel
def _gt_field(data, columns):
    """Return the place of GT in FORMAT, or -1."""
    at, end = columns[_FORMAT], columns[_FIXED] - 1
    field = 0
    length = 0
    for i in range(at, end + 1):
        if i == end or data[i] == _COLON:
            if length == 2 and data[i - 2] == _G and data[i - 1] == _T:
                return field
            field += 1
            length = 0
        else:
            length += 1
    return -1


@kernel
def _position(data, at, end):
    """Return the number in data[at:end], -1 if it is none or too large."""
    if at == end or end - at > 10:
        return -1
    value = np.int64(0)
    for i in range(at, end):
        if not _ZERO <= data[i] < _ZERO + 10:
            return -1
        value = 10 * value + data[i] - _ZERO
    return value if value <= _LARGEST_POSITION else -1


@kernel
def scan_lines(
    data, starts, ends, n_samples, half, haploid, heads, position, n_alts, has_gt, counts, calls, phased
):
    """Check every line, and gather what identifies the variants.

    Parameters
    ----------
    data, starts, ends
        uint8 text, and int64 (lines,) bounds without line ends.
    heads
        uint8, as long as `data`; becomes ``CHROM ID REF ALT`` of each line, tab-separated, with a newline.
    position, n_alts, has_gt
        int64, int32 and bool (lines,), filled in.
    counts
        int64 (N_COUNTS,), added to.
    calls, phased
        Scratch, int8 (samples, 2) and bool (samples,).

    Returns
    -------
    tuple
        (lines done, fault, sample, bytes of `heads`).
    """
    columns = np.zeros(_FIXED + 1, np.int64)
    size = 0
    for i in range(starts.shape[0]):
        at, end = starts[i], ends[i]
        found = _columns(data, at, end, columns)
        if found <= _FIXED:
            return i, FEW_FIXED, found, size
        position[i] = _position(data, columns[_POS], columns[_POS + 1] - 1)
        n_alts[i] = _alternates(data, columns)
        for c in (_CHROM, _ID, _REF, _ALT):
            first, last = columns[c], columns[c + 1] - 1
            if first == last:
                return i, EMPTY_FIELD, c, size
            for k in range(first, last):
                if data[k] < 32 or data[k] == 127:
                    return i, CONTROL, c, size
                if c == _REF and data[k] == _COMMA:
                    return i, BAD_ALT, c, size
                heads[size] = data[k]
                size += 1
            heads[size] = _NEWLINE if c == _ALT else _TAB
            size += 1
        if position[i] < 0:
            return i, BAD_POSITION, 0, size
        if n_alts[i] < 0:
            return i, BAD_ALT, 0, size
        field = _gt_field(data, columns)
        has_gt[i] = field >= 0
        if field >= 0:
            fault, sample = _row(
                data, columns[_FIXED], end, field, n_samples, 0, n_samples,
                n_alts[i], 1, half, haploid, calls, phased, counts,
            )  # fmt: skip
            if fault != OK:
                return i, fault, sample, size
    return starts.shape[0], OK, 0, size


@kernel
def read_lines(data, starts, ends, alts, n_samples, s0, s1, half, haploid, calls, phased):
    """Read samples s0..s1 of lines into `calls` int8 (lines, s1-s0, 2) and `phased` bool (lines, s1-s0).

    `alts` int64 (lines,): which allele is counted. Returns (lines done, fault, sample).
    """
    columns = np.zeros(_FIXED + 1, np.int64)
    counts = np.zeros(N_COUNTS, np.int64)
    for i in range(starts.shape[0]):
        if _columns(data, starts[i], ends[i], columns) <= _FIXED:
            return i, FEW_FIXED, 0
        n_alt = _alternates(data, columns)
        field = _gt_field(data, columns)
        if field < 0:
            return i, BAD_GT, 0
        fault, sample = _row(
            data, columns[_FIXED], ends[i], field, n_samples, s0, s1,
            n_alt, alts[i], half, haploid, calls[i], phased[i], counts,
        )  # fmt: skip
        if fault != OK:
            return i, fault, sample
    return starts.shape[0], OK, 0


@part
def _write_allele(allele, out, at):
    out[at] = np.uint8(_ZERO + allele) if allele >= 0 else np.uint8(_DOT)


@kernel
def write_lines(calls, phased, prefixes, prefix_ends, out):
    """Write lines: each prefix, then a tab and the call of each sample.

    `calls` int8 (lines, samples, 2); -1 is missing, a second allele -2 means haploid. `phased` bool (lines,
    samples) or (lines, 0): unphased. `out` holds at least the prefixes and 4 bytes a call and 1 a line.
    Returns the bytes written.
    """
    at = 0
    first = 0
    for i in range(calls.shape[0]):
        for k in range(first, prefix_ends[i]):
            out[at] = prefixes[k]
            at += 1
        first = prefix_ends[i]
        for s in range(calls.shape[1]):
            out[at] = _TAB
            _write_allele(calls[i, s, 0], out, at + 1)
            at += 2
            if calls[i, s, 1] != -2:
                is_phased = phased.shape[1] > 0 and phased[i, s]
                out[at] = _PIPE if is_phased else _SLASH
                _write_allele(calls[i, s, 1], out, at + 1)
                at += 2
        out[at] = _NEWLINE
        at += 1
    return at
