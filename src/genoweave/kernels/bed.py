"""PLINK 1 .bed codes: 00 homozygous A1, 01 missing, 10 heterozygous, 11 homozygous A2.

A1 is the counted (alternate) allele, so that the dosage of the codes is 2, missing, 1, 0.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel


@kernel
def unpack_variants(packed, shift, out):
    """out[v, s] = the diploid call of sample `shift` + s, in 2-bit codes of packed[v].

    `packed` uint8 (variants, bytes), `shift` in 0..3, `out` int8 (variants, samples, 2).
    """
    for v in range(out.shape[0]):
        for s in range(out.shape[1]):
            i = s + shift
            code = (packed[v, i >> 2] >> np.uint8(2 * (i & 3))) & np.uint8(3)
            if code == 1:
                out[v, s, 0] = -1
                out[v, s, 1] = -1
            else:
                out[v, s, 0] = np.int8(code == 0)
                out[v, s, 1] = np.int8(code != 3)


@kernel
def unpack_samples(packed, shift, out):
    """The same for a sample-major file: `packed` uint8 (samples, bytes) along the variants."""
    for s in range(out.shape[1]):
        for v in range(out.shape[0]):
            i = v + shift
            code = (packed[s, i >> 2] >> np.uint8(2 * (i & 3))) & np.uint8(3)
            if code == 1:
                out[v, s, 0] = -1
                out[v, s, 1] = -1
            else:
                out[v, s, 0] = np.int8(code == 0)
                out[v, s, 1] = np.int8(code != 3)


@kernel
def pack_variants(dosage, out):
    """Write the .bed bytes of dosage int8 (variants, samples) to `out` uint8 (variants, bytes)."""
    for v in range(dosage.shape[0]):
        for b in range(out.shape[1]):
            byte = np.uint8(0)
            for k in range(4):
                s = 4 * b + k
                if s < dosage.shape[1]:
                    g = dosage[v, s]
                    code = (
                        np.uint8(1)
                        if g < 0
                        else (np.uint8(3) if g == 0 else (np.uint8(2) if g == 1 else np.uint8(0)))
                    )
                    byte |= code << np.uint8(2 * k)
            out[v, b] = byte
