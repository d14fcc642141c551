"""Fingerprints of records, by which equal ones are found without holding any."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel


@kernel
def mix(x):
    """SplitMix64's finaliser: a bijection of 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def fingerprints(words, first, seeds, out):
    """Add to out[s, i] a hash of record s's genotypes for each of two seeds, modulo 2**64.

    `words` uint64 (records, words of 32 packed genotypes), of which the first is word `first` of the record;
    `seeds` uint64 (2,), `out` uint64 (records, 2). Sums of hashes do not depend on the order of the words'
    blocks. Equal records have equal fingerprints; different ones collide with probability 2**-128.
    """
    place = np.empty((words.shape[1], 2), np.uint64)
    for w in range(words.shape[1]):
        for i in range(2):
            place[w, i] = mix(seeds[i] ^ mix(np.uint64(first + w)))
    for s in range(words.shape[0]):
        one = two = np.uint64(0)
        for w in range(words.shape[1]):
            one += mix(words[s, w] ^ place[w, 0])
            two += mix(words[s, w] ^ place[w, 1])
        out[s, 0] += one
        out[s, 1] += two
