"""Counts of genotypes, missing calls and records, all exact integers."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel


@kernel
def dosages(genotype, out):
    """out[v, s] = number of alternate alleles of a diploid call, -1 if an allele is missing.

    `genotype` int8 (variants, samples, 2). Returns the largest allele code seen: above 1 the
    variant is not biallelic.
    """
    largest = np.int8(0)
    for v in range(genotype.shape[0]):
        for s in range(genotype.shape[1]):
            a = genotype[v, s, 0]
            b = genotype[v, s, 1]
            largest = max(largest, a, b)
            out[v, s] = np.int8(-1) if (a < 0 or b < 0) else a + b
    return largest


@kernel
def unphased_calls(dosage, out):
    """out[v, s] = the calls 0/0, 0/1, 1/1 or missing of dosage[v, s]; `out` int8 (variants, samples, 2)."""
    for v in range(dosage.shape[0]):
        for s in range(dosage.shape[1]):
            g = dosage[v, s]
            out[v, s, 0] = np.int8(-1) if g < 0 else np.int8(g == 2)
            out[v, s, 1] = np.int8(-1) if g < 0 else np.int8(g >= 1)


@kernel
def genotype_counts(dosage, group, out):
    """out[v, k, g] += samples of group k with dosage g; `group` int64 (samples,), negative: left out.

    `dosage` int8 (variants, samples), `out` int64 (variants, groups, 3); missing calls are skipped.
    """
    for v in range(dosage.shape[0]):
        for s in range(dosage.shape[1]):
            g = dosage[v, s]
            if g >= 0 and group[s] >= 0:
                out[v, group[s], g] += 1


@kernel
def missing_by_sample(dosage, out):
    """out[s] += variants at which sample s has no call; `out` int64 (samples,)."""
    for v in range(dosage.shape[0]):
        for s in range(dosage.shape[1]):
            # Not "if missing: add one": that becomes a masked store, and one with an empty mask to a page
            # that was never touched (np.zeros) costs a microcode assist, 160 ns a genotype.
            out[s] += np.int64(dosage[v, s] < 0)


@kernel
def _mix(x):
    """SplitMix64's finaliser: a bijection of 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def fingerprints(dosage, rows, seeds, out):
    """Add to out[s, i] a hash of (variant row, dosage) for each of two seeds, modulo 2**64.

    Sums of hashes do not depend on the order of the variants' blocks. Equal records have equal
    fingerprints; different ones collide with probability 2**-128. `rows` uint64 (variants,),
    `seeds` uint64 (2,), `out` uint64 (samples, 2).
    """
    code = np.empty((4, 2), np.uint64)
    for v in range(dosage.shape[0]):
        for g in range(4):
            for i in range(2):
                code[g, i] = _mix(seeds[i] ^ _mix(np.uint64(4) * rows[v] + np.uint64(g)))
        for s in range(dosage.shape[1]):
            g = dosage[v, s] + 1
            out[s, 0] += code[g, 0]
            out[s, 1] += code[g, 1]
