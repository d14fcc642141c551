"""Exact test of Hardy-Weinberg equilibrium (Wigginton, Cutler & Abecasis 2005)."""

from __future__ import annotations

from genoweave.kernels._compile import kernel

# Terms this close to the observed probability count as ties, as in PLINK (2**-44 relative).
_TIE = 1.0 + 2.0**-44
# The probabilities have one mode: a term this small, relative to the observed one, is past it.
_NEGLIGIBLE = 1e-25
_OVERWHELMING = 1e290


@kernel
def hwe_exact(hom1, het, hom2, midp):
    """P-value of one variant; 1 when nothing was called.

    Relative probabilities are built outwards from the observed count by
    P(h + 2) / P(h) = 4 n_AA n_aa / ((h + 2)(h + 1)), and no factorial is needed. `midp` subtracts half of
    the observed term.
    """
    n = hom1 + het + hom2
    if n == 0:
        return 1.0
    rare = min(hom1, hom2)
    common = max(hom1, hom2)
    total = 1.0
    tail = 1.0

    p, h, a, b = 1.0, float(het), float(rare), float(common)
    while h > 1.5:  # fewer heterozygotes: two of them become one homozygote of each kind
        p *= h * (h - 1.0) / (4.0 * (a + 1.0) * (b + 1.0))
        h, a, b = h - 2.0, a + 1.0, b + 1.0
        total += p
        if p <= _TIE:
            tail += p
        if p < _NEGLIGIBLE or p > _OVERWHELMING:
            break
    if p > _OVERWHELMING:
        return 0.0

    p, h, a, b = 1.0, float(het), float(rare), float(common)
    while a > 0.5:  # more heterozygotes
        p *= 4.0 * a * b / ((h + 2.0) * (h + 1.0))
        h, a, b = h + 2.0, a - 1.0, b - 1.0
        total += p
        if p <= _TIE:
            tail += p
        if p < _NEGLIGIBLE or p > _OVERWHELMING:
            break
    if p > _OVERWHELMING:
        return 0.0
    if midp:
        tail -= 0.5
    return min(1.0, tail / total)


@kernel
def hwe_exact_all(counts, midp, out):
    """out[i] = exact p of counts[i] = (hom ref, het, hom alt); `counts` int64 (n, 3), `out` f8 (n,)."""
    for i in range(counts.shape[0]):
        out[i] = hwe_exact(counts[i, 0], counts[i, 1], counts[i, 2], midp)
