"""Mendelian inheritance of unlinked variants, on packed genotypes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._compile import kernel
from genoweave.kernels.packed import HET, HOM_ALT, HOM_REF, MISSING
from genoweave.kernels.random import words_at

_CHILDREN_PER_WORD = 16


def transmitted(parent: int, coin: int) -> int:
    """A gamete carries one allele: never the alternate from 0, always from 2, a fair coin from 1."""
    return {0: 0, 1: coin, 2: 1}[parent]


def _children() -> NDArray[np.uint8]:
    """Return the child's code for 16 x father's code + 4 x mother's code + the two coins."""
    dosage = {HOM_REF: 0, HET: 1, HOM_ALT: 2}
    code = {number: name for name, number in dosage.items()}
    out = np.full(64, MISSING, np.uint8)
    for father in dosage:
        for mother in dosage:
            for coins in range(4):
                child = transmitted(dosage[father], coins & 1) + transmitted(dosage[mother], coins >> 1)
                out[16 * father + 4 * mother + coins] = code[child]
    return out


_CHILDREN = _children()


@kernel
def add_children(founders, fathers, mothers, key, rows, wanted, out):
    """Out's sample j = person wanted[j] of a pedigree whose first people are the samples of `founders`.

    `founders` uint8 (variants, bytes); `fathers` and `mothers` int64 (people,), numbers of people above, -1
    for founders; `rows` int64 (variants,) addresses of the draws; `wanted` int64 (n,); `out` uint8 (variants,
    bytes). The coins of child c at variant v are bits 2 (c % 16) and the next one of word (rows[v], c // 16).
    A missing parent makes a missing child.
    """
    people = fathers.shape[0]
    n_founders = np.int64(0)
    while n_founders < people and fathers[n_founders] < 0:
        n_founders += 1
    columns = np.arange((people + _CHILDREN_PER_WORD - 1) // _CHILDREN_PER_WORD)
    words = np.empty(columns.shape[0], np.uint32)
    code = np.empty(people, np.uint8)
    three = np.uint8(3)
    for v in range(founders.shape[0]):
        words_at(key, rows[v], columns, 0, words)
        for person in range(n_founders):
            code[person] = (founders[v, person >> 2] >> np.uint8(2 * (person & 3))) & three
        for child in range(n_founders, people):
            coins = (words[child >> 4] >> np.uint32(2 * (child & 15))) & np.uint32(3)
            cross = 16 * np.int64(code[fathers[child]]) + 4 * np.int64(code[mothers[child]]) + np.int64(coins)
            code[child] = _CHILDREN[cross]
        for j in range(wanted.shape[0]):
            place = np.uint8(2 * (j & 3))
            out[v, j >> 2] = (out[v, j >> 2] & ~(three << place)) | (code[wanted[j]] << place)
