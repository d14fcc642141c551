"""Mendelian inheritance of unlinked variants, on packed genotypes.

A gamete carries one allele: never the alternate from dosage 0, always from 2, a fair coin from 1. Eight
variants of a person stand in the bytes of one word, so that a child costs 25 bit operations for the eight:
60 M genotypes/s with a branch and a random word for each -> 1,000 M.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._compile import inlined, kernel
from genoweave.kernels.gather import turn_back, turn_rows
from genoweave.kernels.packed import PAD_BYTE
from genoweave.kernels.random import words_at

_ROWS = 8
_CHILDREN_PER_WORD = 16
_CODES = np.uint64(0x0303030303030303)
_LOW = np.uint64(0x0101010101010101)


def add_children(
    founders: NDArray[np.uint8],
    fathers: NDArray[np.int64],
    mothers: NDArray[np.int64],
    key: NDArray[np.uint32],
    rows: NDArray[np.int64],
    wanted: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> None:
    """Let the genotypes of a pedigree descend, and write those of some people.

    Parameters
    ----------
    founders
        uint8 (variants, bytes): packed genotypes of the first people, the founders.
    fathers, mothers
        int64 (people,): numbers of people above; -1 for founders.
    key, rows
        uint32 (8,) and int64 (variants,): address of the draws. The coins of child c at variant v are bits
        2 (c % 16), for the father, and the next one of word (rows[v], c // 16).
    wanted
        int64 (n,): people, in any order.
    out
        uint8 (variants, ceil(n / 4)): their genotypes. A missing parent makes a missing child.
    """
    n_variants = len(founders)
    if n_variants < _ROWS:
        padded = np.full((_ROWS, founders.shape[1]), PAD_BYTE, np.uint8)
        padded[:n_variants] = founders
        all_rows = np.zeros(_ROWS, np.int64)
        all_rows[:n_variants] = rows
        made = np.empty((_ROWS, out.shape[1]), np.uint8)
        _descend(padded, fathers, mothers, key, all_rows, wanted, made)
        out[...] = made[:n_variants]
    else:
        _descend(founders, fathers, mothers, key, rows, wanted, out)


@kernel
def _descend(founders, fathers, mothers, key, rows, wanted, out):
    """See `add_children`; at least eight variants, of which the last eight may be done twice in part."""
    people = fathers.shape[0]
    columns = np.arange((people + _CHILDREN_PER_WORD - 1) // _CHILDREN_PER_WORD)
    coins = np.empty((_ROWS, columns.shape[0]), np.uint32)
    coin_codes = coins.view(np.uint8)  # two coins a child: laid out as packed genotypes are
    before = np.empty(8 * ((founders.shape[1] + 7) >> 3), np.uint64)
    tosses = np.empty(8 * ((coin_codes.shape[1] + 7) >> 3), np.uint64)
    after = np.empty(8 * ((out.shape[1] + 7) >> 3), np.uint64)
    person = np.empty(people, np.uint64)
    for start in range(0, founders.shape[0], _ROWS):
        v = min(start, founders.shape[0] - _ROWS)
        for r in range(_ROWS):
            words_at(key, rows[v + r], columns, 0, coins[r])
        turn_rows(founders, v, before)
        turn_rows(coin_codes, 0, tosses)
        for i in range(people):
            if fathers[i] < 0:
                person[i] = _codes_at(before, i)
            else:
                person[i] = _child(person[fathers[i]], person[mothers[i]], _codes_at(tosses, i))
        for j in range(4 * out.shape[1]):
            code = person[wanted[j]] if j < wanted.shape[0] else _LOW
            place = np.uint64(2 * (j & 3))
            after[j >> 2] = code if place == 0 else after[j >> 2] | (code << place)
        turn_back(after, v, out)


@inlined
def _codes_at(words, i):
    """Return the codes of person i at eight variants, in the low bits of the bytes."""
    return (words[i >> 2] >> np.uint64(2 * (i & 3))) & _CODES


@inlined
def _child(father, mother, coins):
    """Return a child's codes: 0 homozygous alternate, 1 missing, 2 heterozygous, 3 homozygous reference."""
    one = np.uint64(1)
    from_father = ~father & (~(father >> one) | coins) & _LOW
    from_mother = ~mother & (~(mother >> one) | (coins >> one)) & _LOW
    missing = ((father & ~(father >> one)) | (mother & ~(mother >> one))) & _LOW
    high = ~(from_father & from_mother) & ~missing & _LOW
    low = (~(from_father | from_mother) | missing) & _LOW
    return (high << one) | low
