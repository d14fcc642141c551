"""Families and duplicates that a biobank-sized simulation plants, and where their members stand.

Families stay within one block of samples, so that a block is simulated without the others, and stand in it
at random places, parents before their children.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Member:
    """A person of a family: a founder, a child of two earlier members, or a copy of one."""

    parents: tuple[int, ...] = ()
    visible: bool = True
    sex: int = 0  # 1 father, 2 mother, 0 either


_FATHER, _MOTHER = Member(sex=1), Member(sex=2)
_NO_FATHER, _NO_MOTHER = Member(visible=False, sex=1), Member(visible=False, sex=2)
_CHILD = Member((0, 1))


@dataclass(frozen=True)
class Family:
    """A kind of family.

    `share` is its share of all families; `removed` the people to remove until no pair is related in the
    second degree or closer. Kinds whose parents are hidden give siblings without them.
    """

    name: str
    share: float
    removed: int
    members: tuple[Member, ...]

    @cached_property
    def visible(self) -> list[int]:
        """Members that the cohort holds."""
        return [i for i, member in enumerate(self.members) if member.visible]

    @cached_property
    def hidden(self) -> list[int]:
        """Members that it does not."""
        return [i for i, member in enumerate(self.members) if not member.visible]

    def kinship(self) -> NDArray[np.float64]:
        """Return the coefficients of kinship of all members, by the recursion over parents."""
        phi = np.eye(len(self.members)) / 2
        for i, member in enumerate(self.members):
            if member.parents:
                row = phi[list(member.parents), :i].mean(axis=0)
                phi[i, :i] = phi[:i, i] = row
        return phi

    def pairs(self) -> Iterator[tuple[int, int, str, float]]:
        """Yield (earlier, later member, relation, kinship) of the related pairs that the cohort holds."""
        phi = self.kinship()
        for j in self.visible:
            for i in self.visible:
                if i < j and phi[i, j] > 0:
                    yield i, j, self._relation(i, j, phi[i, j]), float(phi[i, j])

    def _relation(self, i: int, j: int, kinship: float) -> str:
        if kinship == 0.5:
            return "duplicate"
        if kinship == 0.25:
            return "parent and child" if i in self.members[j].parents else "full siblings"
        return {0.125: "second degree", 0.0625: "third degree"}[kinship]


DUPLICATE = Family("duplicate", 0, 1, (Member(), Member((0,))))
FAMILIES = (
    Family("trio", 0.16, 1, (_FATHER, _MOTHER, _CHILD)),
    Family("two children", 0.12, 2, (_FATHER, _MOTHER, _CHILD, _CHILD)),
    Family("three children", 0.05, 3, (_FATHER, _MOTHER, *3 * (_CHILD,))),
    Family("four children", 0.02, 4, (_FATHER, _MOTHER, *4 * (_CHILD,))),
    Family("two siblings", 0.25, 1, (_NO_FATHER, _NO_MOTHER, *2 * (_CHILD,))),
    Family("three siblings", 0.08, 2, (_NO_FATHER, _NO_MOTHER, *3 * (_CHILD,))),
    Family("four siblings", 0.02, 3, (_NO_FATHER, _NO_MOTHER, *4 * (_CHILD,))),
    Family("mother and child", 0.18, 1, (_NO_FATHER, _MOTHER, _CHILD)),
    Family("mother and two", 0.05, 2, (_NO_FATHER, _MOTHER, _CHILD, _CHILD)),
    Family("half siblings", 0.03, 1, (_NO_FATHER, _NO_MOTHER, _NO_MOTHER, Member((0, 1)), Member((0, 2)))),
    Family(
        "three generations", 0.03, 2,
        (_NO_FATHER, _MOTHER, _NO_FATHER, Member((0, 1), sex=2), Member((2, 3))),
    ),
    Family(
        "cousins", 0.01, 0,
        (_NO_FATHER, _NO_MOTHER, Member((0, 1), False, 1), Member((0, 1), False, 2), _NO_MOTHER, _NO_FATHER,
         Member((2, 4)), Member((5, 3))),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """Families of one kind in one block: places (families, members), from 0; hidden ones are negative."""

    family: Family
    places: Places
    group: Places


@dataclass
class Block:
    """Who stands where in one block of samples.

    Attributes
    ----------
    size
        Samples of the cohort.
    families
        What is planted.
    group, sex
        int64 and int8 (size,).
    free
        Places of people without relatives, in random order.
    hidden
        Hidden parents.
    """

    size: int
    group: Places
    sex: NDArray[np.int8]
    free: Places
    families: list[Planted] = field(default_factory=list)
    hidden: int = 0


def plan_block(
    size: int, wanted: list[tuple[Family, int]], shares: NDArray[np.float64], rng: Generator
) -> Block:
    """Place so many families of each kind at random among `size` samples; groups are drawn by `shares`.

    Raises
    ------
    ValueError
        If they need more than all samples.
    """
    needed = sum(count * len(family.visible) for family, count in wanted)
    if needed > size:
        raise ValueError(f"families need {needed} of {size} samples")
    places = rng.permutation(size)
    block = Block(
        size,
        group=rng.choice(len(shares), size, p=shares),
        sex=rng.integers(1, 3, size, dtype=np.int8),
        free=places[needed:],
    )
    start = 0
    for family, count in wanted:
        stop = start + count * len(family.visible)
        taken = places[start:stop].reshape(count, len(family.visible))
        _plant(block, family, taken, rng.choice(len(shares), count, p=shares))
        start = stop
    return block


def _plant(block: Block, family: Family, taken: Places, group: Places) -> None:
    places = np.empty((len(taken), len(family.members)), np.int64)
    places[:, family.visible] = np.sort(taken, axis=1)  # parents before children
    n_hidden = len(taken) * len(family.hidden)
    numbers = block.hidden + np.arange(n_hidden).reshape(len(taken), len(family.hidden))
    # in descending order, so that among the hidden, too, parents come first: see `links`
    places[:, family.hidden] = -1 - numbers
    block.hidden += n_hidden
    block.group[places[:, family.visible]] = group[:, None]
    for i in family.visible:
        member = family.members[i]
        if len(member.parents) == 1:
            block.sex[places[:, i]] = block.sex[places[:, member.parents[0]]]
        elif member.sex:
            block.sex[places[:, i]] = member.sex
    block.families.append(Planted(family, places, group))


def links(block: Block) -> Places:
    """Return (child, father, mother) or (copy, original, -1), int64 (links, 3), ascending by child.

    Numbers are those of the kernels, without the gap: hidden people first, then the samples.
    """
    rows = [np.empty((0, 3), np.int64)]
    for planted in block.families:
        number = np.where(planted.places < 0, -1 - planted.places, planted.places + block.hidden)
        for i, member in enumerate(planted.family.members):
            if member.parents:
                parents = number[:, list(member.parents)]
                if len(member.parents) == 1:
                    parents = np.column_stack([parents, np.full(len(parents), -1)])
                rows.append(np.column_stack([number[:, i], parents]))
    table = np.concatenate(rows)
    return table[np.argsort(table[:, 0], kind="stable")]


def related_pairs(block: Block, first: int = 0) -> Iterator[tuple[Places, Places, str, float]]:
    """Yield (columns, columns, relation, kinship) of all related pairs; the block begins at `first`."""
    for planted in block.families:
        for i, j, relation, kinship in planted.family.pairs():
            yield planted.places[:, i] + first, planted.places[:, j] + first, relation, kinship
