"""Packed genotypes, the engine's working form: 2 bits a genotype in PLINK's .bed codes.

A block is uint8 (variants, ceil(samples / 4)); sample s stands in bits 2 (s % 4) of byte s // 4: 0 homozygous
alternate, 1 missing, 2 heterozygous, 3 homozygous reference. Codes behind the last sample are 1 (missing), so
that counts and bit-planes see nothing there. Most kernels take 32 genotypes at a time as one word.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._bits import popcount
from genoweave.kernels._compile import inlined, kernel

HOM_ALT, MISSING, HET, HOM_REF = 0, 1, 2, 3
PAD_BYTE = 0x55  # four missing calls

_LOW = np.uint64(0x5555555555555555)
_PAIRS = np.uint64(0x3333333333333333)
_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ONE, _TWO, _FOUR = np.uint64(1), np.uint64(2), np.uint64(4)


def width(n_samples: int) -> int:
    """Return the bytes of a packed row."""
    return (n_samples + 3) // 4


def pad_tail(packed: NDArray[np.uint8], n_samples: int) -> None:
    """Set the codes behind the last sample to missing, in place; others' files hold 0 there."""
    if n_samples & 3:
        used = np.uint8((1 << 2 * (n_samples & 3)) - 1)
        packed[:, -1] = (packed[:, -1] & used) | (np.uint8(PAD_BYTE) & ~used)


def _codes_of_byte() -> NDArray[np.uint8]:
    byte = np.arange(256, dtype=np.uint8)[:, None]
    return np.asarray(byte >> np.arange(0, 8, 2, dtype=np.uint8) & np.uint8(3))


def _calls_of_bytes() -> NDArray[np.uint64]:
    """Return the eight alleles of the four calls in each byte, as one word."""
    code = _codes_of_byte()
    alleles = np.stack([code == HOM_ALT, code != HOM_REF], axis=-1).astype(np.int8)
    alleles[code == MISSING] = -1
    return alleles.reshape(256, 8).view(np.uint64).ravel()


def _dosages_of_bytes() -> NDArray[np.uint32]:
    """Return the four dosages of each byte, as one word."""
    dosage = np.array([2, -1, 1, 0], np.int8)
    return dosage[_codes_of_byte()].view(np.uint32).ravel()


def _phased_of_bytes() -> NDArray[np.uint64]:
    """Return the eight alleles of the four phased calls in each byte, as one word."""
    code = _codes_of_byte()
    return np.stack([code & 1, code >> 1], axis=-1).astype(np.int8).reshape(256, 8).view(np.uint64).ravel()


# One look-up decodes a byte: 3 times as fast as shifting out each code (0.7 -> 2.2 G calls/s).
_CALLS = _calls_of_bytes()
_DOSAGES = _dosages_of_bytes()
_PHASED = _phased_of_bytes()


def unpack_calls(packed: NDArray[np.uint8], n_samples: int) -> NDArray[np.int8]:
    """Return unphased calls int8 (variants, samples, 2): 0/0, 0/1, 1/1 or -1/-1."""
    calls = _CALLS[packed].view(np.int8).reshape(len(packed), 4 * packed.shape[1], 2)
    return calls[:, :n_samples]


def unpack_dosages(packed: NDArray[np.uint8], n_samples: int) -> NDArray[np.int8]:
    """Return counts of the alternate allele int8 (variants, samples), -1 missing."""
    dosage = _DOSAGES[packed].view(np.int8).reshape(len(packed), 4 * packed.shape[1])
    return dosage[:, :n_samples]


@kernel
def pack_calls(genotype, out):
    """Pack diploid calls int8 (variants, samples, 2) into `out` uint8 (variants, bytes).

    A call with a missing allele is missing. Returns the largest allele code seen: above 1 the variant is not
    biallelic and `out` means nothing.
    """
    largest = np.int8(0)
    n = genotype.shape[1]
    for v in range(genotype.shape[0]):
        for b in range(out.shape[1]):
            byte = np.uint8(0)
            for k in range(4):
                code = np.uint8(MISSING)
                if 4 * b + k < n:
                    x = genotype[v, 4 * b + k, 0]
                    y = genotype[v, 4 * b + k, 1]
                    largest = max(largest, x, y)
                    # 0 -> 3, 1 -> 2, 2 -> 0
                    called = (np.uint8(3) - np.uint8(x + y) - np.uint8(x + y > 1)) & np.uint8(3)
                    code = np.uint8(MISSING) if (x < 0 or y < 0) else called
                byte |= code << np.uint8(2 * k)
            out[v, b] = byte
    return largest


@kernel
def pack_dosages(dosage, out):
    """Pack dosages int8 (variants, samples), negative for missing, into `out` uint8 (variants, bytes)."""
    n = dosage.shape[1]
    for v in range(dosage.shape[0]):
        for b in range(out.shape[1]):
            byte = np.uint8(0)
            for k in range(4):
                code = np.uint8(MISSING)
                if 4 * b + k < n:
                    g = dosage[v, 4 * b + k]
                    code = np.uint8(MISSING) if g < 0 else np.uint8(3) - np.uint8(g) - np.uint8(g > 1)
                byte |= code << np.uint8(2 * k)
            out[v, b] = byte


@kernel
def pack_phased(genotype, out):
    """Pack phased calls int8 (variants, samples, 2): first allele in the low bit, second in the high one.

    Alleles other than 0 and 1 become 0; the caller notes where.
    """
    n = genotype.shape[1]
    for v in range(genotype.shape[0]):
        for b in range(out.shape[1]):
            byte = np.uint8(0)
            for k in range(4):
                if 4 * b + k < n:
                    x = np.uint8(genotype[v, 4 * b + k, 0] == 1)
                    y = np.uint8(genotype[v, 4 * b + k, 1] == 1)
                    byte |= (x | y << np.uint8(1)) << np.uint8(2 * k)
            out[v, b] = byte


def unpack_phased(packed: NDArray[np.uint8], n_samples: int) -> NDArray[np.int8]:
    """Return the calls int8 (variants, samples, 2) of codes from `pack_phased`."""
    calls = _PHASED[packed].view(np.int8).reshape(len(packed), 4 * packed.shape[1], 2)
    return calls[:, :n_samples]


@kernel
def unphase(phased, out):
    """Turn codes of `pack_phased` into .bed codes, byte by byte."""
    low = np.uint8(0x55)
    for v in range(phased.shape[0]):
        for b in range(phased.shape[1]):
            x = phased[v, b] & low
            y = (phased[v, b] >> np.uint8(1)) & low
            out[v, b] = (~(x & y) & low) << np.uint8(1) | (~(x | y) & low)


@kernel
def copy_codes(source, first, count, out, at):
    """Copy `count` codes of each row from column `first` of `source` to column `at` of `out`.

    Other codes of `out` stay. Fast where both columns are multiples of 4.
    """
    whole = count >> 2 if (first | at) & 3 == 0 else 0
    for v in range(source.shape[0]):
        if whole:
            a, b = first >> 2, at >> 2
            out[v, b : b + whole] = source[v, a : a + whole]
        for k in range(4 * whole, count):
            i, j = first + k, at + k
            code = (source[v, i >> 2] >> np.uint8(2 * (i & 3))) & np.uint8(3)
            place = np.uint8(2 * (j & 3))
            out[v, j >> 2] = (out[v, j >> 2] & ~(np.uint8(3) << place)) | (code << place)


@inlined
def word_of_row(row, w):
    """Return word w of a row of bytes; the last one is filled up with missing calls."""
    start = 8 * w
    if start + 8 <= row.shape[0]:
        return row[start : start + 8].view(np.uint64)[0]
    word = _LOW
    for i in range(start, row.shape[0]):
        place = np.uint64(8 * (i - start))
        word = (word & ~(np.uint64(255) << place)) | (np.uint64(row[i]) << place)
    return word


@kernel
def count_variants(packed, out):
    """out[v] += (homozygous reference, heterozygous, homozygous alternate) calls of variant v.

    `packed` uint8 (variants, bytes) with padding as missing, `out` int64 (variants, 3).
    """
    whole = packed.shape[1] >> 3
    for v in range(packed.shape[0]):
        row = packed[v]
        words = row[: 8 * whole].view(np.uint64)
        low = high = both = np.int64(0)
        for w in range(whole):
            x = words[w]
            lo = x & _LOW
            hi = (x >> _ONE) & _LOW
            low += popcount(lo)
            high += popcount(hi)
            both += popcount(lo & hi)
        codes = 32 * whole
        if 8 * whole < row.shape[0]:
            x = word_of_row(row, whole)
            lo = x & _LOW
            hi = (x >> _ONE) & _LOW
            low += popcount(lo)
            high += popcount(hi)
            both += popcount(lo & hi)
            codes += 32
        out[v, 0] += both
        out[v, 1] += high - both
        out[v, 2] += codes - low - high + both


# Words of a row counted at a time for all groups: 8 KiB, beside as much of each group's mask.
_BLOCK_WORDS = 1024


@kernel
def count_variants_by_group(packed, masks, out):
    """out[v, k] += (homozygous reference, heterozygous, homozygous alternate) calls of group k.

    `packed` uint8 (variants, bytes); `masks` uint64 (groups, ceil(bytes / 8)) with the low bit of a code set
    for members, see `group_masks`; `out` int64 (variants, groups, 3).
    """
    n_words = masks.shape[1]
    for start in range(0, n_words, _BLOCK_WORDS):
        stop = min(n_words, start + _BLOCK_WORDS)
        whole = min(stop, packed.shape[1] >> 3)
        for v in range(packed.shape[0]):
            words = packed[v, 8 * start : 8 * whole].view(np.uint64)
            for k in range(masks.shape[0]):
                mask = masks[k, start:whole]
                ref = het = alt = np.int64(0)
                for w in range(words.shape[0]):
                    x = words[w]
                    lo = x & mask[w]
                    hi = (x >> _ONE) & mask[w]
                    ref += popcount(lo & hi)
                    het += popcount(hi & ~lo)
                    alt += popcount(mask[w] & ~(lo | hi))
                out[v, k, 0] += ref
                out[v, k, 1] += het
                out[v, k, 2] += alt
            for w in range(whole, stop):  # the ragged end of a row
                x = word_of_row(packed[v], w)
                for k in range(masks.shape[0]):
                    lo = x & masks[k, w]
                    hi = (x >> _ONE) & masks[k, w]
                    out[v, k, 0] += popcount(lo & hi)
                    out[v, k, 1] += popcount(hi & ~lo)
                    out[v, k, 2] += popcount(masks[k, w] & ~(lo | hi))


def group_masks(group: NDArray[np.int64], groups: int) -> NDArray[np.uint64]:
    """Return the masks of `count_variants_by_group`, uint64 (groups, words); negative: in no group."""
    words = (width(len(group)) + 7) // 8
    codes = np.zeros((groups, 32 * words), np.uint8)
    codes[group[group >= 0], np.flatnonzero(group >= 0)] = 1
    fields = codes.reshape(groups, words, 8, 4)
    byte = fields[..., 0] | fields[..., 1] << 2 | fields[..., 2] << 4 | fields[..., 3] << 6
    return np.ascontiguousarray(byte).view(np.uint64).reshape(groups, words)


# Words of a row whose counters stay in the L1 cache: 12 counters of 8 bytes a word.
_COUNTER_WORDS = 256


@kernel
def count_missing(packed, out):
    """out[s] += variants at which sample s has no call; `out` int64 (samples,).

    Vertical counters: 3 rows are added in fields of 2 bits, 5 such sums in fields of 4, 17 of those in bytes;
    so that most additions serve 32 samples.
    """
    n_words = (packed.shape[1] + 7) >> 3
    for start in range(0, n_words, _COUNTER_WORDS):
        stop = min(n_words, start + _COUNTER_WORDS)
        bytes4 = np.zeros((4, stop - start), np.uint64)
        for first in range(0, packed.shape[0], 255):
            bytes4[:] = _ONE - _ONE
            for v in range(first, min(first + 255, packed.shape[0]), 15):
                _add_fifteen(packed, v, min(v + 15, first + 255, packed.shape[0]), start, bytes4)
            _flush(bytes4, 32 * start, out)


@kernel
def _add_fifteen(packed, v0, v1, start, bytes4):
    """Add the missing calls of up to 15 rows to byte counters; plane k holds samples k, k + 4, ... ."""
    size = bytes4.shape[1]
    pairs = np.empty(size, np.uint64)
    nibbles = np.zeros((2, size), np.uint64)
    for v in range(v0, v1, 3):
        pairs[:] = _ONE - _ONE
        for r in range(v, min(v + 3, v1)):
            _add_missing(packed[r], start, pairs)
        for w in range(size):
            nibbles[0, w] += pairs[w] & _PAIRS
            nibbles[1, w] += (pairs[w] >> _TWO) & _PAIRS
    for w in range(size):
        for k in range(2):
            bytes4[k, w] += nibbles[k, w] & _NIBBLES
            bytes4[k + 2, w] += (nibbles[k, w] >> _FOUR) & _NIBBLES


@inlined
def _add_missing(row, start, pairs):
    whole = min(pairs.shape[0], (row.shape[0] >> 3) - start)
    words = row[8 * start : 8 * (start + whole)].view(np.uint64)
    for w in range(whole):
        pairs[w] += words[w] & ~(words[w] >> _ONE) & _LOW
    for w in range(whole, pairs.shape[0]):
        x = word_of_row(row, start + w)
        pairs[w] += x & ~(x >> _ONE) & _LOW


@kernel
def _flush(bytes4, first_sample, out):
    """Add byte counters to out; byte i of plane k belongs to sample 4 i + k."""
    for k in range(4):
        counters = bytes4[k].view(np.uint8)
        for i in range(counters.shape[0]):
            s = first_sample + 4 * i + k
            if s < out.shape[0]:
                out[s] += np.int64(counters[i])


@kernel
def checksum(data):
    """Return the sum of (2 i + 1) w_i modulo 2**64 over the little-endian 8-byte words w_i of bytes (n,).

    The last word is filled up with 0. Odd factors let no flipped bit pass; 0.1 ns a byte, a tenth of zstd's
    decoding.
    """
    whole = data.shape[0] >> 3
    words = data[: 8 * whole].view(np.uint64)
    total = np.uint64(0)
    for i in range(whole):
        total += words[i] * np.uint64(2 * i + 1)
    last = np.uint64(0)
    for k in range(8 * whole, data.shape[0]):
        last |= np.uint64(data[k]) << np.uint64(8 * (k & 7))
    return total + last * np.uint64(2 * whole + 1)
