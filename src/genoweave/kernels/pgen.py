"""Records of PLINK 2's .pgen to .bed codes, phase and dosages, and phase to records.

Codes inside a record are PLINK 2's: 0 homozygous reference, 1 heterozygous, 2 homozygous alternate, 3
missing. Every length in a record is held against the record's end, and every sample against the number of
samples; a function returns a negative position where they do not fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._compile import kernel
from genoweave.kernels.bgen import ALT_FIRST, PHASED
from genoweave.kernels.packed import HET, MISSING

# Bits of a record's type.
LD, LD_INVERTED = 2, 3
MULTIALLELIC, HAS_PHASE, HAS_DOSAGE, HAS_DOSAGE_PHASE = 8, 16, 96, 128
_DOSAGE_LIST, _DOSAGE_ALL = 32, 64
_NO_DOSAGE = 65_535


def _bed_of_bytes() -> NDArray[np.uint8]:
    """Return each byte of PLINK 2's codes in .bed codes; the table of the reverse is `_PGEN`."""
    byte = np.arange(256, dtype=np.uint8)
    bed = np.array([3, 2, 0, 1], np.uint8)
    codes = [bed[byte >> np.uint8(2 * k) & np.uint8(3)] << np.uint8(2 * k) for k in range(4)]
    return np.asarray(codes[0] | codes[1] | codes[2] | codes[3])


_BED = _bed_of_bytes()
_PGEN = np.argsort(_BED).astype(np.uint8)


def to_bed(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return rows of PLINK 2's codes in .bed codes; the caller pads."""
    return _BED[rows]


def to_pgen(rows: NDArray[np.uint8], n_samples: int) -> NDArray[np.uint8]:
    """Return rows of .bed codes in PLINK 2's codes, with 0 behind the last sample."""
    out = _PGEN[rows]
    if n_samples & 3:
        out[:, -1] &= np.uint8((1 << 2 * (n_samples & 3)) - 1)
    return out


@kernel
def _varint(data, at, end):
    """Return a number in base 128 and the position behind it, or -1 if it is cut off or too long."""
    value = np.int64(0)
    for k in range(5):
        if at >= end:
            return 0, -1
        byte = np.int64(data[at])
        at += 1
        value |= (byte & 127) << (7 * k)
        if byte < 128:
            return value, at
    return 0, -1


@kernel
def _listed(data, at, end, n, has_codes, ids):
    """Read the samples of a difference list into `ids`.

    Returns (position behind it, how many, where their codes are).
    """
    length, at = _varint(data, at, end)
    if at < 0 or length > n:
        return -1, 0, 0
    if length == 0:
        return at, 0, at
    groups = (length + 63) // 64
    id_bytes = 1 if n <= 1 << 8 else 2 if n <= 1 << 16 else 3 if n <= 1 << 24 else 4
    firsts = at
    codes = firsts + groups * id_bytes + groups - 1
    at = codes + ((length + 3) // 4 if has_codes else 0)
    if at > end:
        return -1, 0, 0
    sample = np.int64(-1)
    for k in range(length):
        if k & 63 == 0:
            value = np.int64(0)
            for i in range(id_bytes):
                value |= np.int64(data[firsts + (k >> 6) * id_bytes + i]) << (8 * i)
            step = value - sample
        else:
            step, at = _varint(data, at, end)
        sample += step
        if at < 0 or step < 1 or sample >= n:
            return -1, 0, 0
        ids[k] = sample
    return at, length, codes


@kernel
def _apply_list(data, at, end, n, ids, row):
    """Set the codes of a difference list in a row; return the position behind it."""
    at, length, codes = _listed(data, at, end, n, True, ids)
    if at < 0:
        return -1
    for k in range(length):
        code = (np.int64(data[codes + (k >> 2)]) >> (2 * (k & 3))) & 3
        sample = np.int64(ids[k])
        place = 2 * (sample & 3)
        row[sample >> 2] = np.uint8((np.int64(row[sample >> 2]) & ~(3 << place)) | code << place)
    return at


@kernel
def _two_codes(data, at, end, n, ids, row):
    """Read a track of one bit a sample, and a list of the others."""
    n_bytes = (n + 7) // 8
    if at + 1 + n_bytes > end:
        return -1
    which = np.int64(data[at])
    low, high = which >> 2, (which & 3) + (which >> 2)
    if which not in (1, 2, 3, 5, 6, 9):
        return -1
    at += 1
    for b in range(row.shape[0]):
        bits = np.int64(data[at + (b >> 1)]) >> (4 * (b & 1))
        byte = np.int64(0)
        for k in range(4):
            byte |= (high if bits >> k & 1 else low) << (2 * k)
        row[b] = np.uint8(byte)
    return _apply_list(data, at + n_bytes, end, n, ids, row)


@kernel
def _main_track(data, at, end, kind, n, base, ids, row):
    """Read a record's codes into `row`; `base` is the row that it may refer to."""
    if kind == 0:
        if at + row.shape[0] > end:
            return -1
        row[:] = data[at : at + row.shape[0]]
        return at + row.shape[0]
    if kind == 1:
        return _two_codes(data, at, end, n, ids, row)
    if kind == 5:
        return -1
    if kind in (LD, LD_INVERTED):
        row[:] = base
    else:
        row[:] = np.uint8((kind & 3) * 0x55)
    at = _apply_list(data, at, end, n, ids, row)
    if kind == LD_INVERTED:
        for b in range(row.shape[0]):
            homozygous = ~np.int64(row[b]) & 0x55
            row[b] = np.uint8(np.int64(row[b]) ^ (homozygous << 1))
    return at


@kernel
def decode_rows(data, ends, types, n, base, ids, rows, behind):
    """Decode records that lie one behind the other into `rows` uint8 (records, bytes), PLINK 2's codes.

    `ends` int64: where each record ends in `data`; `base` uint8 (bytes,): the codes that the first of them
    may refer to, changed; `ids` uint32 (samples,): scratch; `behind` int64 (records,): where the codes of
    each record end. Returns the first malformed record, or -1.
    """
    at = 0
    for i in range(types.shape[0]):
        kind = np.int64(types[i]) & 7
        behind[i] = _main_track(data, at, ends[i], kind, n, base, ids, rows[i])
        if behind[i] < 0:
            return i
        if kind not in (LD, LD_INVERTED):
            base[:] = rows[i]
        at = ends[i]
    return -1


@kernel
def _bit(data, first, k):
    return (np.int64(data[first + (k >> 3)]) >> (k & 7)) & 1


@kernel
def phase_track(data, at, end, states):
    """Add phase to states uint8 (samples,), see `kernels.bgen`; return the position behind the track.

    Homozygous calls are phased whatever the track says.
    """
    het = 0
    for s in range(states.shape[0]):
        het += (states[s] & 3) == HET
    first_bytes = (het + 8) // 8
    if at + first_bytes > end:
        return -1
    explicit = data[at] & 1 == 1
    phased = het
    info, offset = at, 1
    if explicit:
        phased = 0
        for k in range(het):
            phased += _bit(data, at, 1 + k)
        info, offset = at + first_bytes, 0
    behind = info + (phased + offset + 7) // 8
    if behind > end:
        return -1
    k = j = 0
    for s in range(states.shape[0]):
        if (states[s] & 3) != HET:
            continue
        if not explicit or _bit(data, at, 1 + k):
            states[s] |= np.uint8(PHASED)
            if _bit(data, info, offset + j):
                states[s] |= np.uint8(ALT_FIRST)
            j += 1
        k += 1
    return behind


@kernel
def states_of_codes(codes, out):
    """Write the states of .bed codes to `out` uint8 (samples,): homozygous calls are phased."""
    for s in range(out.shape[0]):
        code = (codes[s >> 2] >> np.uint8(2 * (s & 3))) & np.uint8(3)
        out[s] = code if code in (HET, MISSING) else code | np.uint8(PHASED)


@kernel
def dosage_tracks(data, at, end, kind, ids, out):
    """Put a record's dosages over those of its calls, float32 (samples,); return the position behind."""
    n = out.shape[0]
    if kind & HAS_DOSAGE == _DOSAGE_LIST:
        at, count, _ = _listed(data, at, end, n, False, ids)
    elif kind & HAS_DOSAGE == _DOSAGE_ALL:
        count = n
        for s in range(n):
            ids[s] = s
    else:
        bits, count = at, 0
        at += (n + 7) // 8
        if at > end:
            return -1
        for s in range(n):
            if _bit(data, bits, s):
                ids[count] = s
                count += 1
    if at < 0 or at + 2 * count > end:
        return -1
    for k in range(count):
        value = np.int64(data[at + 2 * k]) | np.int64(data[at + 2 * k + 1]) << 8
        if value == _NO_DOSAGE and kind & HAS_DOSAGE == _DOSAGE_ALL:
            out[ids[k]] = np.nan
        elif value > 32_768:
            return -1
        else:
            out[ids[k]] = value / 16_384
    return at + 2 * count


@kernel
def count_phase(calls, phased, out):
    """Count to `out` int64 (variants, 2) the heterozygous calls, and those of them that are phased."""
    for v in range(calls.shape[0]):
        het = both = 0
        for s in range(calls.shape[1]):
            x, y = calls[v, s, 0], calls[v, s, 1]
            is_het = (x != y) & (x >= 0) & (y >= 0)
            het += is_het
            both += is_het & (phased[v, s] != 0)
        out[v, 0] = het
        out[v, 1] = both


@kernel
def write_phase(calls, phased, het, both, out):
    """Write the phase track of one variant to `out` uint8, all 0; `het` and `both` as of `count_phase`."""
    explicit = both < het
    info, offset = (8 * ((het + 8) // 8), 0) if explicit else (0, 1)
    out[0] = 1 if explicit else 0
    k = j = 0
    for s in range(calls.shape[0]):
        x, y = calls[s, 0], calls[s, 1]
        if x == y or x < 0 or y < 0:
            continue
        if phased[s] != 0:
            if explicit:
                out[(1 + k) >> 3] |= np.uint8(1 << ((1 + k) & 7))
            if x > y:
                place = info + offset + j
                out[place >> 3] |= np.uint8(1 << (place & 7))
            j += 1
        k += 1


def phase_bytes(het: NDArray[np.int64], both: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the length of each variant's phase track; 0 where nothing is phased."""
    size = (het + 8) // 8 + np.where(both < het, (both + 7) // 8, 0)
    return np.asarray(np.where(both > 0, size, 0))
