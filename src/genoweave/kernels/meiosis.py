"""Mendelian inheritance of unlinked variants."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import inlined, kernel
from genoweave.kernels.random import words_at


@inlined
def transmitted(parent, coin):
    """A gamete carries one allele: never the alternate from 0, always from 2, a fair coin from 1."""
    return parent == 2 or (parent == 1 and coin)


@kernel
def add_children(dosage, fathers, mothers, first_child, key, rows):
    """Fill dosage[v, first_child:] of a pedigree whose parents stand in earlier columns.

    `dosage` int8 (variants, people), founders filled in; `fathers` and `mothers` int64 (people,), -1 for
    founders; `rows` int64 (variants,) addresses of the draws. Child c of variant v uses bits 0 and 1 of word
    (rows[v], c). A missing parent makes a missing child.
    """
    people = dosage.shape[1]
    columns = np.arange(people)
    words = np.empty(people, np.uint32)
    for v in range(dosage.shape[0]):
        words_at(key, rows[v], columns, 0, words)
        for c in range(first_child, people):
            father = dosage[v, fathers[c]]
            mother = dosage[v, mothers[c]]
            if father < 0 or mother < 0:
                dosage[v, c] = -1
            else:
                from_father = transmitted(father, (words[c] & np.uint32(1)) == 1)
                from_mother = transmitted(mother, (words[c] & np.uint32(2)) == 2)
                dosage[v, c] = np.int8(from_father) + np.int8(from_mother)
