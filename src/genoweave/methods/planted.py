"""People whose relations a simulation plants: trios, siblings, duplicates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from genoweave.methods.coalescent import Population


@dataclass(frozen=True)
class Person:
    """A founder, a child or a duplicate; `parents`, `copy_of` and `note_of` index the list."""

    population: Population
    sex: int
    parents: tuple[int, ...] = ()
    copy_of: int | None = None
    visible: bool = True
    single: bool = False
    note: str = ""
    note_of: tuple[int, ...] = ()


Unit = Callable[[Population, int, list[int]], list[Person]]


def units(n_pairs: int, n_duplicates: int) -> list[Unit]:
    """Return makers of units that hold exactly the pairs asked for: two in a trio, one in siblings."""
    n_trios = (n_pairs - n_pairs // 3) // 2
    n_siblings = n_pairs - 2 * n_trios
    counts: list[tuple[Unit, int]] = [(trio, n_trios), (siblings, n_siblings), (twice, n_duplicates)]
    return [unit for unit, n in counts for _ in range(n)]


def trio(group: Population, at: int, sexes: list[int]) -> list[Person]:
    """Return father, mother and their child."""
    parents = (at, at + 1)
    child = Person(group, sexes[0], parents, note="child of", note_of=parents)
    return [Person(group, 1), Person(group, 2), child]


def siblings(group: Population, at: int, sexes: list[int]) -> list[Person]:
    """Return two full siblings of parents that the cohort does not hold."""
    parents = (at, at + 1)
    return [
        Person(group, 1, visible=False),
        Person(group, 2, visible=False),
        Person(group, sexes[0], parents),
        Person(group, sexes[1], parents, note="sibling of", note_of=(at + 2,)),
    ]


def twice(group: Population, at: int, sexes: list[int]) -> list[Person]:
    """Return a person and a copy."""
    copy = Person(group, sexes[0], copy_of=at, note="duplicate of", note_of=(at,))
    return [Person(group, sexes[0]), copy]


def random_sex(rng: Generator) -> int:
    """Draw 1 (male) or 2 (female)."""
    return int(rng.integers(1, 3))
