"""Mendel's laws and pedigree kinship, from their definitions."""

from collections.abc import Mapping
from fractions import Fraction
from functools import cache

GAMETES = {0: (0,), 1: (0, 1), 2: (1,)}


def possible_children(father: int, mother: int) -> dict[int, Fraction]:
    """Each child genotype that these parents can have, and its probability."""
    share: dict[int, Fraction] = {}
    sperm, eggs = GAMETES[father], GAMETES[mother]
    for a in sperm:
        for b in eggs:
            share[a + b] = share.get(a + b, Fraction(0)) + Fraction(1, len(sperm) * len(eggs))
    return share


def is_mendel_error(child: int, father: int, mother: int) -> bool:
    """A trio with a missing call shows no error."""
    if min(child, father, mother) < 0:
        return False
    return child not in possible_children(father, mother)


def pedigree_kinship(parents: Mapping[str, tuple[str, str]], source: Mapping[str, str] | None = None):
    """Kinship of any two people of a pedigree, as a function of their names.

    ``parents`` gives the two parents of each person who has any; everyone else is a founder. ``source``
    names the person that a founder is a copy of: two copies of one person are one genome, so they have the
    kinship of a person with themselves.
    """
    source = source or {}

    @cache
    def depth(person: str) -> int:
        return 1 + max(map(depth, parents[person])) if person in parents else 0

    @cache
    def kinship(i: str, j: str) -> Fraction:
        i, j = source.get(i, i), source.get(j, j)
        if i == j:
            return Fraction(1, 2) * (1 + kinship(*parents[i])) if i in parents else Fraction(1, 2)
        if depth(i) < depth(j):
            i, j = j, i
        if i not in parents:
            return Fraction(0)
        father, mother = parents[i]
        return (kinship(father, j) + kinship(mother, j)) / 2

    return kinship
