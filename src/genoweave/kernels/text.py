"""Genotypes as text, one row a sample, and back."""

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


@kernel
def csv_dosages(line, out):
    """Read the genotypes at the end of a line into `out` int8 (variants,); return where their text begins.

    `line` uint8 (bytes,), without its line end. What stands before may be anything; -1 if there are not so
    many genotypes ``,0``, ``,1``, ``,2`` or ``,NA``.
    """
    at = line.shape[0]
    for v in range(out.shape[0] - 1, -1, -1):
        if at >= 3 and line[at - 1] == _A and line[at - 2] == _N and line[at - 3] == _COMMA:
            out[v] = -1
            at -= 3
        elif at >= 2 and line[at - 2] == _COMMA and _ZERO <= line[at - 1] <= _ZERO + 2:
            out[v] = np.int8(line[at - 1]) - _ZERO
            at -= 2
        else:
            return -1
    return at
