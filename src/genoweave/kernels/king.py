"""KING-robust counts of all pairs of a tile, on bit-planes.

A sample is three rows of bits along the variants: heterozygous, homozygous reference, homozygous
alternate; a missing call has no bit set. A count over the variants that both samples have is a
popcount of a conjunction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic

from genoweave.kernels._compile import kernel

HET, HOM_REF, HOM_ALT = 0, 1, 2


@intrinsic
def _popcount(context: Any, x: Any) -> Any:
    """LLVM's ctpop, which becomes vpopcntq where the processor has it."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@kernel
def pack_planes(dosage, planes, first_word):
    """Set the bits of planes[s, plane, first_word + v // 64] from dosage[v, s].

    `dosage` int8 (variants, samples), `planes` uint64 (samples, 3, words), zero before the call at these
    words.
    """
    for v in range(dosage.shape[0]):
        word = first_word + (v >> 6)
        bit = np.uint64(1) << np.uint64(v & 63)
        for s in range(dosage.shape[1]):
            g = dosage[v, s]
            if g == 1:
                planes[s, 0, word] |= bit
            elif g == 0:
                planes[s, 1, word] |= bit
            elif g == 2:
                planes[s, 2, word] |= bit


@kernel
def _add_pair(a, b, out):
    """Out += (both het, opposite homozygotes, het in a and called in b, the reverse)."""
    ah, ar, aa = a[0], a[1], a[2]
    bh, br, ba = b[0], b[1], b[2]
    both_het = np.int64(0)
    opposite = np.int64(0)
    het_hom = np.int64(0)
    hom_het = np.int64(0)
    for w in range(ah.shape[0]):
        both_het += _popcount(ah[w] & bh[w])
        opposite += _popcount((ar[w] & ba[w]) | (aa[w] & br[w]))
        het_hom += _popcount(ah[w] & (br[w] | ba[w]))
        hom_het += _popcount((ar[w] | aa[w]) & bh[w])
    out[0] += both_het
    out[1] += opposite
    out[2] += both_het + het_hom
    out[3] += both_het + hom_het


@kernel
def _add_four_pairs(a0, a1, b0, b1, out00, out01, out10, out11):
    """Four pairs at once: each word that is loaded serves two of them (2.1x `_add_pair` alone)."""
    a0h, a0r, a0a = a0[0], a0[1], a0[2]
    a1h, a1r, a1a = a1[0], a1[1], a1[2]
    b0h, b0r, b0a = b0[0], b0[1], b0[2]
    b1h, b1r, b1a = b1[0], b1[1], b1[2]
    h00 = h01 = h10 = h11 = np.int64(0)
    o00 = o01 = o10 = o11 = np.int64(0)
    x00 = x01 = x10 = x11 = np.int64(0)
    y00 = y01 = y10 = y11 = np.int64(0)
    for w in range(a0h.shape[0]):
        h0, r0, c0 = a0h[w], a0r[w], a0a[w]
        h1, r1, c1 = a1h[w], a1r[w], a1a[w]
        g0, s0, d0 = b0h[w], b0r[w], b0a[w]
        g1, s1, d1 = b1h[w], b1r[w], b1a[w]
        u0, u1, v0, v1 = r0 | c0, r1 | c1, s0 | d0, s1 | d1
        h00 += _popcount(h0 & g0)
        h01 += _popcount(h0 & g1)
        h10 += _popcount(h1 & g0)
        h11 += _popcount(h1 & g1)
        o00 += _popcount((r0 & d0) | (c0 & s0))
        o01 += _popcount((r0 & d1) | (c0 & s1))
        o10 += _popcount((r1 & d0) | (c1 & s0))
        o11 += _popcount((r1 & d1) | (c1 & s1))
        x00 += _popcount(h0 & v0)
        x01 += _popcount(h0 & v1)
        x10 += _popcount(h1 & v0)
        x11 += _popcount(h1 & v1)
        y00 += _popcount(u0 & g0)
        y01 += _popcount(u0 & g1)
        y10 += _popcount(u1 & g0)
        y11 += _popcount(u1 & g1)
    _store(out00, h00, o00, x00, y00)
    _store(out01, h01, o01, x01, y01)
    _store(out10, h10, o10, x10, y10)
    _store(out11, h11, o11, x11, y11)


@kernel
def _store(out, both_het, opposite, het_hom, hom_het):
    out[0] += both_het
    out[1] += opposite
    out[2] += both_het + het_hom
    out[3] += both_het + hom_het


@kernel
def pair_counts(left, right, out):
    """out[i, j] += (n11, n0, n_i, n_j) of left sample i and right sample j.

    n11 both heterozygous, n0 opposite homozygotes, n_i and n_j heterozygotes of either, all over the
    variants called
    in both. `left` uint64 (m, 3, words), `right` uint64 (n, 3, words), `out` int64 (m, n, 4).
    """
    m, n = left.shape[0], right.shape[0]
    even_m, even_n = m - (m & 1), n - (n & 1)
    for i in range(0, even_m, 2):
        for j in range(0, even_n, 2):
            _add_four_pairs(
                left[i], left[i + 1], right[j], right[j + 1],
                out[i, j], out[i, j + 1], out[i + 1, j], out[i + 1, j + 1],
            )  # fmt: skip
    for i in range(even_m, m):
        for j in range(n):
            _add_pair(left[i], right[j], out[i, j])
    for i in range(even_m):
        for j in range(even_n, n):
            _add_pair(left[i], right[j], out[i, j])


@kernel
def listed_pair_counts(planes, first, second, out):
    """out[p] += (n11, n0, n_i, n_j) of the samples first[p] and second[p]; `out` int64 (pairs, 4)."""
    for p in range(first.shape[0]):
        _add_pair(planes[first[p]], planes[second[p]], out[p])


@kernel
def shared_calls(planes, first, second, out):
    """out[p] += variants called in both samples of pair p; `out` int64 (pairs,)."""
    for p in range(first.shape[0]):
        a = planes[first[p]]
        b = planes[second[p]]
        shared = np.int64(0)
        for w in range(a.shape[1]):
            shared += _popcount((a[0, w] | a[1, w] | a[2, w]) & (b[0, w] | b[1, w] | b[2, w]))
        out[p] += shared
