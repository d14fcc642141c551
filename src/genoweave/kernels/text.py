"""Genotypes as text, one row a sample."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel

_COMMA, _ZERO, _N, _A = 44, 48, 78, 65


@kernel
def csv_rows(dosage, out, lengths):
    """Write ``,g`` for each genotype of each sample to `out`; NA for a missing call.

    `dosage` int8 (variants, samples); `out` uint8 (samples, at least 3 x variants); lengths[s] = bytes
    written for sample s.
    """
    for s in range(dosage.shape[1]):
        at = 0
        for v in range(dosage.shape[0]):
            g = dosage[v, s]
            out[s, at] = _COMMA
            if g < 0:
                out[s, at + 1] = _N
                out[s, at + 2] = _A
                at += 3
            else:
                out[s, at + 1] = np.uint8(_ZERO + g)
                at += 2
        lengths[s] = at
