"""A checksum of a cohort's genotypes that is the same in whatever order and form they are read."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels.fingerprints import mix
from genoweave.kernels.packed import word_of_row

_ONE = np.uint64(1)


@kernel
def genotype_checksum(packed, v0, s0):
    """Return what a block adds to the sum of r(v) c(w) x over all words x, modulo 2**64.

    `packed` uint8 (variants, bytes) begins at variant v0 and sample s0, a multiple of 32; x is the word of 32
    genotypes of variant v that begins at sample 32 w, filled up with missing calls; r and c are odd numbers
    that hash v and w. Samples that make whole words may so be added in blocks of any shape and order. Equal
    cohorts have equal sums; any single difference changes the sum, and others pass with a probability of
    about 2**-64.
    """
    n_words = (packed.shape[1] + 7) >> 3
    factors = np.empty(n_words, np.uint64)
    for w in range(n_words):
        factors[w] = mix(~np.uint64((s0 >> 5) + w)) | _ONE
    total = np.uint64(0)
    for v in range(packed.shape[0]):
        row = np.uint64(0)
        for w in range(n_words):
            row += word_of_row(packed[v], w) * factors[w]
        total += row * (mix(np.uint64(v0 + v)) | _ONE)
    return total
