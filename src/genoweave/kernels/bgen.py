"""BGEN probability data to hard calls and dosages, and hard calls to probability data.

What is known of a call goes into one byte, its state: a .bed code in the two low bits, and the flags below.
The rule is that of PLINK 2: a dosage is rounded to steps of 1 / 16384 and is a hard call if it is within the
threshold of 0, 1 or 2. Callers have checked that the data hold all the bits that are asked for.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._compile import kernel, part
from genoweave.kernels.packed import HET, HOM_ALT, HOM_REF, MISSING

PHASED, ALT_FIRST, UNCERTAIN, HAPLOID, INVALID = 4, 8, 16, 32, 64
# A dosage of 1 in PLINK 2's steps.
ONE_COPY = 16384

_CODE_OF_COPIES = np.array([HOM_REF, HET, HOM_ALT], np.uint8)


def steps_of(threshold: float) -> int:
    """Return a hard-call threshold in steps; one that is not a whole number of them is rounded down."""
    return int(threshold * (1 + 1e-9) * ONE_COPY)


@part
def _steps(part_of_whole, whole, scale):
    """Return scale x part / whole, rounded to the nearest."""
    return (np.uint64(2 * scale) * part_of_whole + whole) // (np.uint64(2) * whole)


@part
def _hard(alt, limit):
    """Return the copies that a dosage in steps is within the limit of, or -1."""
    one = np.int64(ONE_COPY)
    copies = (alt + one // 2) // one
    return copies if abs(alt - copies * one) <= limit else np.int64(-1)


@kernel
def call_states(values, ploidy, top, is_phased, first_is_ref, limit, out):
    """Write the state of each sample of a layout 2 variant to `out` uint8 (samples,).

    `values` uint32 (samples, 2): the stored probabilities, of `top` at most; `ploidy` uint8 (samples,) as
    stored, 0 to 2 haplotypes and 128 for missing; `limit` in steps, see `steps_of`. A state is `INVALID`
    where probabilities sum to more than 1.
    """
    one = np.int64(ONE_COPY)
    whole = np.uint64(top)
    for s in range(values.shape[0]):
        a, b = np.uint64(values[s, 0]), np.uint64(values[s, 1])
        haploid = (ploidy[s] & 127) == 1
        flags = np.uint8(HAPLOID) if haploid else np.uint8(0)
        if ploidy[s] & 128 or ploidy[s] == 0:
            out[s] = flags | np.uint8(MISSING)
            continue
        if haploid:
            first = _steps(a, whole, 2 * one)
        elif is_phased:
            first = _steps(a + b, whole, one)
        else:
            if a + b > whole:
                out[s] = np.uint8(INVALID | MISSING)
                continue
            first = _steps(np.uint64(2) * a + b, whole, one)
        alt = 2 * one - np.int64(first) if first_is_ref else np.int64(first)
        copies = _hard(alt, limit)
        if copies < 0 or (haploid and copies == 1):
            out[s] = flags | np.uint8(UNCERTAIN | MISSING)
            continue
        if is_phased and copies != 1:
            flags |= np.uint8(PHASED)
        elif is_phased and (max(a, b) - min(a, b)) * np.uint64(2) > whole:
            flags |= np.uint8(PHASED)
            if (a > b) != first_is_ref:
                flags |= np.uint8(ALT_FIRST)
        out[s] = flags | _CODE_OF_COPIES[copies]


@kernel
def call_states_1(values, first_is_ref, limit, out):
    """Do the same for a layout 1 variant.

    `values` uint16 (samples, 3): divided by their sum, which is 0 where a call is missing.
    """
    one = np.int64(ONE_COPY)
    for s in range(values.shape[0]):
        a, b, c = np.uint64(values[s, 0]), np.uint64(values[s, 1]), np.uint64(values[s, 2])
        if a + b + c == 0:
            out[s] = np.uint8(MISSING)
            continue
        counted = c if first_is_ref else a
        copies = _hard(np.int64(_steps(np.uint64(2) * counted + b, a + b + c, one)), limit)
        out[s] = np.uint8(UNCERTAIN | MISSING) if copies < 0 else _CODE_OF_COPIES[copies]


@kernel
def alt_dosages(values, ploidy, top, is_phased, first_is_ref, out):
    """Write the expected copies of the alternate allele to `out` float32 (samples,).

    NaN is missing, haploid calls are doubled. Arguments as of `call_states`. A sum of probabilities above 1
    counts as missing; `call_states` reports it.
    """
    for s in range(values.shape[0]):
        a, b = np.uint64(values[s, 0]), np.uint64(values[s, 1])
        haploid = (ploidy[s] & 127) == 1
        if haploid:
            first = np.uint64(2) * a
        elif is_phased:
            first = a + b
        else:
            first = np.uint64(2) * a + b
        if ploidy[s] & 128 or ploidy[s] == 0 or (not haploid and not is_phased and a + b > np.uint64(top)):
            out[s] = np.nan
        elif first_is_ref:
            out[s] = (2.0 * top - first) / top
        else:
            out[s] = first / top


@kernel
def alt_dosages_1(values, first_is_ref, out):
    """Do the same for a layout 1 variant, `values` uint16 (samples, 3)."""
    for s in range(values.shape[0]):
        a, b, c = np.uint64(values[s, 0]), np.uint64(values[s, 1]), np.uint64(values[s, 2])
        counted = c if first_is_ref else a
        if a + b + c == 0:
            out[s] = np.nan
        else:
            out[s] = (np.uint64(2) * counted + b) / (a + b + c)


@kernel
def stored_values(data, ploidy, s0, bits, out):
    """Read the values of samples s0 and on into `out` uint32 (samples, 2), `bits` each, lowest first.

    `data` uint8: the variant's bits; `ploidy` uint8 of all samples, each of which has as many values as
    haplotypes.
    """
    place = np.int64(0)
    for s in range(s0):
        place += bits * np.int64(ploidy[s] & 127)
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for s in range(out.shape[0]):
        out[s, 0] = out[s, 1] = 0
        for k in range(ploidy[s0 + s] & 127):
            word = np.uint64(0)
            first = place >> 3
            last = (place + bits - 1) >> 3
            for i in range(first, last + 1):
                word |= np.uint64(data[i]) << np.uint64(8 * (i - first))
            out[s, k] = np.uint32((word >> np.uint64(place & 7)) & mask)
            place += bits


@kernel
def ploidy_counts(ploidy):
    """Return (haplotypes in all, place of the first sample of more than two or -1)."""
    haplotypes = np.int64(0)
    odd = -1
    for s in range(ploidy.shape[0]):
        haplotypes += np.int64(ploidy[s] & 127)
        if odd < 0 and (ploidy[s] & 127) > 2:
            odd = s
    return haplotypes, odd


@cache
def state_table(is_phased: bool, first_is_ref: bool, limit: int) -> NDArray[np.uint8]:
    """Return the states of all pairs of 8-bit values, uint8 (65536,), the first in the low byte."""
    pairs = np.indices((256, 256)).reshape(2, -1)
    values = np.ascontiguousarray(pairs[::-1].T, np.uint32)
    out = np.empty(65536, np.uint8)
    call_states(values, np.full(65536, 2, np.uint8), 255, is_phased, first_is_ref, limit, out)
    return out


@kernel
def call_states_8(pairs, ploidy, table, out):
    """Write the states of diploid samples with 8-bit values, looked up by pair: `pairs` uint16 (samples,)."""
    for s in range(pairs.shape[0]):
        out[s] = np.uint8(MISSING) if ploidy[s] & 128 else table[pairs[s]]


@kernel
def count_states(states, out):
    """Add (calls missing as uncertain, haploid calls) to `out`; return the first invalid sample, or -1."""
    invalid = -1
    for s in range(states.shape[0]):
        out[0] += (states[s] & UNCERTAIN) != 0
        out[1] += (states[s] & HAPLOID) != 0
        if invalid < 0 and states[s] & INVALID:
            invalid = s
    return invalid


@kernel
def pack_states(states, out):
    """Pack the codes of states uint8 (samples,) into `out` uint8 (bytes,); padding is missing."""
    n = states.shape[0]
    whole = n >> 2
    for b in range(whole):
        i = 4 * b
        out[b] = (
            (states[i] & 3)
            | (states[i + 1] & 3) << np.uint8(2)
            | (states[i + 2] & 3) << np.uint8(4)
            | (states[i + 3] & 3) << np.uint8(6)
        )
    if n & 3:
        byte = np.int64(0x55)
        for k in range(n & 3):
            byte ^= (np.int64(states[4 * whole + k] & 3) ^ 1) << (2 * k)
        out[whole] = np.uint8(byte)


def _calls_of_states() -> NDArray[np.int16]:
    """Return the two alleles of each state, as one word."""
    state = np.arange(256, dtype=np.uint8)
    code = state & 3
    alleles = np.stack([code == HOM_ALT, code != HOM_REF], axis=-1).astype(np.int8)
    alleles[(code == HET) & (state & ALT_FIRST > 0)] = [1, 0]
    alleles[code == MISSING] = -1
    return alleles.view(np.int16).ravel()


_CALLS = _calls_of_states()


def calls_of_states(states: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return the calls int8 (..., 2) of states; an alternate allele stands second where phase is unknown."""
    return _CALLS[states].view(np.int8).reshape(*states.shape, 2)


@kernel
def stored_calls(calls, ploidy, values):
    """Write the 8-bit data of hard calls int8 (samples, 2), reference first.

    `ploidy` uint8 (samples,), `values` uint8 (samples, 2): the probabilities of 0 and 1 copies of the
    alternate allele. A half-missing call is missing. Returns the largest allele code.
    """
    largest = np.int8(0)
    for s in range(calls.shape[0]):
        x, y = calls[s, 0], calls[s, 1]
        largest = max(largest, x, y)
        missing = x < 0 or y < 0
        ploidy[s] = 130 if missing else 2
        values[s, 0] = 255 if x + y == 0 and not missing else 0
        values[s, 1] = 255 if x + y == 1 and not missing else 0
    return largest


@kernel
def stored_haplotypes(calls, ploidy, values):
    """Do the same for phased calls: the probability of the reference allele on each haplotype."""
    largest = np.int8(0)
    for s in range(calls.shape[0]):
        x, y = calls[s, 0], calls[s, 1]
        largest = max(largest, x, y)
        missing = x < 0 or y < 0
        ploidy[s] = 130 if missing else 2
        values[s, 0] = 255 if x == 0 and not missing else 0
        values[s, 1] = 255 if y == 0 and not missing else 0
    return largest


@kernel
def is_phased_row(calls, phased):
    """Tell whether any call int8 (samples, 2) is phased, and no heterozygous one is not."""
    some = False
    for s in range(calls.shape[0]):
        if phased[s] != 0:
            some = True
        elif calls[s, 0] != calls[s, 1] and calls[s, 0] >= 0 and calls[s, 1] >= 0:
            return False
    return some
