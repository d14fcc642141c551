"""KING-robust kinship of all pairs of two strips of samples, on the bit-planes of kernels.dots.

Over the variants called in both, with x = dosage - 1, h heterozygotes and z homozygotes of a sample,

    D_ij = sum (x_i - x_j)^2 = z_i + z_j - 2 x_i . x_j,    phi = (2 min(h_i, h_j) - D_ij) / (4 min(h_i, h_j)).

One dot product replaces four counts. What a sample loses where the other has no call (`lost`) is
counted over the lists of missing calls, so that it costs in proportion to them: 7 % more for 1 % missing.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._bits import popcount
from genoweave.kernels._compile import kernel
from genoweave.kernels._dot_vectors import quotient
from genoweave.kernels.dots import add_bit_counts, variant_planes

# Samples of a strip: one 512-bit vector of each variant's row.
STRIP = 512

HET, HOM = 0, 1

# Bin 0 is for pairs without a kinship, bin 1 for phi < -1/2, bin 202 for phi >= 1/2; between, 1/200 each.
BINS = 203
_TURN = 32


@kernel
def variant_rows(packed, rows):
    """Write, for strips of samples, each variant's heterozygotes and homozygotes as bits along the samples.

    `packed` uint8 (variants, bytes) of .bed codes; `rows` uint64 (strips, >= variants, 2, 8).
    """
    strips = rows.shape[0]
    planes = np.empty((64, 2, 8 * strips), np.uint64)
    for v0 in range(0, packed.shape[0], 64):
        n = min(64, packed.shape[0] - v0)
        planes[:, 0] = np.uint64(0)
        planes[:, 1] = ~np.uint64(0)
        variant_planes(packed[v0 : v0 + n], planes)
        for strip in range(strips):
            for v in range(n):
                for w in range(8):
                    nonzero, sign = planes[v, 0, 8 * strip + w], planes[v, 1, 8 * strip + w]
                    rows[strip, v0 + v, HET, w] = ~(nonzero | sign)
                    rows[strip, v0 + v, HOM, w] = nonzero


@kernel
def join_pieces(pieces, planes):
    """Put the planes of some tiles side by side: (tiles, samples, 2, k) into (samples, 2, words)."""
    width = pieces.shape[3]
    for s in range(planes.shape[0]):
        for plane in range(2):
            for word in range(0, planes.shape[2], width):
                piece, out = pieces[word // width, s, plane], planes[s, plane, word:]
                for w in range(min(width, planes.shape[2] - word)):
                    out[w] = piece[w]


@kernel
def sample_totals(planes, totals):
    """totals[HET, s], totals[HOM, s] = heterozygotes and homozygotes of each sample; int32 (2, samples)."""
    for s in range(planes.shape[0]):
        nonzero, sign = planes[s, 0], planes[s, 1]
        called, hom = np.int64(0), np.int64(0)
        for w in range(nonzero.shape[0]):
            called += popcount(nonzero[w] | ~sign[w])
            hom += popcount(nonzero[w])
        totals[HET, s] = called - hom
        totals[HOM, s] = hom


@kernel
def missing_lists(planes, n_variants, empty, starts, variants):
    """List the missing calls of each sample: variants[starts[s]:starts[s + 1]], int32, ascending.

    Padded with `empty` to a multiple of 8, as `add_bit_counts` wants. Returns the room that the lists need;
    if `variants` (int32) is shorter, they are not all there. Most words miss none to two calls: two are
    written without asking and then kept or not (0.37 -> 0.2 ms for 512 samples of 7,180 variants).
    """
    one = np.uint64(1)
    room = variants.shape[0] - 3
    last = n_variants >> 6
    k = np.int64(0)
    for s in range(planes.shape[0]):
        starts[s] = k
        nonzero, sign = planes[s, 0], planes[s, 1]
        for w in range((n_variants + 63) >> 6):
            left = sign[w] & ~nonzero[w]
            if w == last:
                left &= (one << np.uint64(n_variants & 63)) - one
            if k > room:
                k += popcount(left)
                continue
            for _ in range(2):
                variants[k] = 64 * w + popcount((left & (~left + one)) - one)
                k += left != 0
                left &= left - one
            while left:
                if k <= room:
                    variants[k] = 64 * w + popcount((left & (~left + one)) - one)
                k += 1
                left &= left - one
        while (k - starts[s]) & 7:
            if k <= room:
                variants[k] = empty
            k += 1
    starts[planes.shape[0]] = k
    return k + 3


@kernel
def add_lost(starts, variants, rows, out):
    """out[s, c] += set bits of column c of `rows` at the variants that sample s misses.

    `starts`, `variants` from `missing_lists`; `rows` uint64 (variants, 8), `out` uint16 or int32
    (samples, 512).
    """
    for s in range(out.shape[0]):
        add_bit_counts(rows, variants[starts[s] : starts[s + 1]], out[s])


@kernel
def kinship_bins(dots, left, right, left_het_lost, right_het_lost, right_hom_lost, real, bins):
    """bins[i, j] = bin of the kinship of left sample i and right sample j (see BINS).

    Parameters
    ----------
    dots
        int32 (m, n), x_i . x_j.
    left, right
        int32 (2, m) and (2, n) from `sample_totals`.
    left_het_lost
        (n, m): heterozygotes of i where j is missing.
    right_het_lost, right_hom_lost
        (m, n): heterozygotes and homozygotes of j where i is missing.
    real
        float32 or float64 (n,), scratch. phi >= k / 200 is decided exactly: 50 numerator / smaller
        differs from an integer by at least 1 / smaller or not at all. float32 does for less than 65,536
        variants.
    bins
        uint8 (m, n), written.
    """
    m, n = dots.shape
    turned = np.empty((_TURN, n + 16), np.int32)  # rows 2 KiB apart would share few places of the L1 cache
    numerators, smallers = np.empty(n, np.int32), np.empty(n, np.int32)
    for i0 in range(0, m, _TURN):
        _turn(left_het_lost, i0, turned)
        for i in range(i0, min(m, i0 + _TURN)):
            _numerators(
                dots[i], left[HET, i], right[HET], right[HOM],
                turned[i - i0], right_het_lost[i], right_hom_lost[i], numerators, smallers,
            )  # fmt: skip
            _bin_row(numerators, smallers, real, bins[i])


@kernel
def _turn(lost, i0, turned):
    """turned[i, j] = lost[j, i0 + i]."""
    width = min(_TURN, lost.shape[1] - i0)
    for j in range(lost.shape[0]):
        for i in range(width):
            turned[i, j] = lost[j, i0 + i]


@kernel
def _numerators(
    dots, het_left, het_right, hom_right, het_left_lost, het_right_lost, hom_right_lost, numerators, smallers
):
    """Split from the divisions, and in int32 throughout, so that LLVM makes vectors of both."""
    for j in range(dots.shape[0]):
        het_i = np.int32(het_left - het_left_lost[j])
        het_j = np.int32(het_right[j] - het_right_lost[j])
        hom_j = np.int32(hom_right[j] - hom_right_lost[j])
        hom_i = np.int32(het_j + hom_j - het_i)  # both have the same number of shared calls
        smaller = het_i if het_i < het_j else het_j
        smallers[j] = smaller
        numerators[j] = np.int32(2 * smaller - hom_i - hom_j + 2 * dots[j])


@kernel
def _bin_row(numerators, smallers, real, bins):
    for j in range(bins.shape[0]):
        real[j] = real.dtype.type(50) * real.dtype.type(numerators[j])
    for j in range(bins.shape[0]):
        divisor = real.dtype.type(smallers[j] if smallers[j] > 0 else np.int32(1))
        real[j] = np.floor(quotient(real[j], divisor))
    low, high = real.dtype.type(-101), real.dtype.type(100)
    for j in range(bins.shape[0]):
        step = real[j] if real[j] > low else low
        step = step if step < high else high
        bins[j] = np.int32(step) + np.int32(102) if smallers[j] > 0 else np.int32(0)


@kernel
def count_bins(bins, counts):
    """counts[b] += pairs in bin b; `counts` int64 (BINS,).

    Eight counters a bin: neighbouring pairs are often in the same bin, and would wait for each other.
    """
    parts = np.zeros((8, 256), np.int32)
    for i in range(bins.shape[0]):
        row = bins[i]
        for j in range(0, row.shape[0] - 7, 8):
            for k in range(8):
                parts[k, row[j + k]] += 1
        for j in range(row.shape[0] & ~7, row.shape[0]):
            parts[0, row[j]] += 1
    for k in range(8):
        for b in range(BINS):
            counts[b] += parts[k, b]


@kernel
def listed_pair_counts(planes, first, second, out):
    """out[p] += (n11, n0, h_i, h_j, shared) of the samples first[p] and second[p].

    n11 both heterozygous, n0 opposite homozygotes, h_i and h_j heterozygotes of either, shared all variants,
    each over the variants called in both. `planes` uint64 (strips, tiles, 512, 2, words): as in kernels.dots,
    cut into pieces; `out` int64 (pairs, 5).
    """
    for p in range(first.shape[0]):
        i, j = planes[first[p] // STRIP], planes[second[p] // STRIP]
        for tile in range(planes.shape[1]):
            _add_pair(i[tile, first[p] % STRIP], j[tile, second[p] % STRIP], out[p])


@kernel
def _add_pair(i, j, out):
    both, opposite, het_i, het_j, shared = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for w in range(i.shape[1]):
        called = (i[0, w] | ~i[1, w]) & (j[0, w] | ~j[1, w])
        both += popcount(called & ~(i[0, w] | j[0, w]))
        opposite += popcount(i[0, w] & j[0, w] & (i[1, w] ^ j[1, w]))
        het_i += popcount(called & ~i[0, w])
        het_j += popcount(called & ~j[0, w])
        shared += popcount(called)
    out[0] += both
    out[1] += opposite
    out[2] += het_i
    out[3] += het_j
    out[4] += shared
