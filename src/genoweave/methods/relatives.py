"""Relatives of synthetic founders by unlinked Mendelian inheritance, with every true relationship.

Founders pair off; each couple has one child; the children pair off; three generations. With 400
founders a group: 200 children, 100 grandchildren, 50 great-grandchildren, in 50 trees of 15 people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.errors import DataError, StageError
from genoweave.genotypes import (
    Packed,
    PackedSource,
    Source,
    as_dask,
    read_packed,
    source_of,
    source_rows,
)
from genoweave.identifiers import random_ids
from genoweave.kernels.gather import take_samples
from genoweave.kernels.meiosis import add_children
from genoweave.kernels.packed import PAD_BYTE, width
from genoweave.methods.kinship import DEGREE_NAMES, degree_of
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root, Stream

RELATIVES_CHUNKS = (1024, 4096)
TREE_FOUNDERS = 8
_LISTED_DEGREE = {1: "first", 2: "second", 3: "third"}


class Relatives(Parameters):
    """How many founders have descendants; the default is the paper's."""

    enabled: bool = Field(True, description="make relatives")
    founders_per_group: int = Field(
        400,
        ge=8,
        multiple_of=8,
        description="founders of each group; half, a quarter and an eighth as many descendants",
    )
    seed: int = Field(0, ge=0, description="public seed of inheritance and of the sex of the last generation")


@dataclass(frozen=True)
class Pedigree:
    """People in generations: founders first, then children of people above.

    Attributes
    ----------
    table
        DataFrame, one row a person: sample_id, group, generation (0 to 3), father, mother (row numbers,
        -1), sex (1 male, 2 female), source (equal for founders that are copies of one donor).
    founders
        int64: column of each founder in the synthetic cohort.
    """

    table: pd.DataFrame
    founders: NDArray[np.int64]

    @property
    def n_founders(self) -> int:
        """People of generation 0."""
        return len(self.founders)


def make_pedigree(
    sample_id: NDArray, group: NDArray, source: NDArray[np.int64], params: Relatives, key: Root
) -> Pedigree:
    """Choose founders in every group and build the trees.

    Parameters
    ----------
    sample_id, group
        Of the synthetic cohort (samples,).
    source
        int64 (samples,): equal for synthetic samples of one donor. Founders come from different donors as
        far as there are any; copies are spread so that no tree holds two of one donor.
    params
        Size of the trees.
    key
        Private root: the choice depends on the donors.

    Raises
    ------
    StageError
        If a group has too few synthetic samples or donors.
    """
    parts = []
    for name in sorted(set(group)):
        members = np.flatnonzero(group == name)
        stream = key.stream(f"relatives.founders/{name}")
        parts.append(_choose_founders(str(name), members, source[members], params.founders_per_group, stream))
    founders = np.concatenate(parts)
    people = _generations(group[founders], params.founders_per_group)
    n = len(founders)
    coins = Root.from_seed(params.seed).stream("relatives.sex").words(0, np.arange(len(people))) & 1
    last = people["generation"] == 3
    people.loc[last, "sex"] = 1 + coins[last.to_numpy()]
    ids = random_ids(key, len(sample_id), len(people) - n)
    people.insert(0, "sample_id", np.concatenate([sample_id[founders], ids]))
    people["source"] = np.concatenate([source[founders], np.full(len(people) - n, -1)])
    return Pedigree(people, founders)


def _choose_founders(
    name: str, members: NDArray[np.int64], source: NDArray[np.int64], wanted: int, stream: Stream
) -> NDArray[np.int64]:
    """Take one copy of every donor, then second copies and so on, and deal them to the trees.

    Dealt in the order of their donors, copies of one donor come to different trees.
    """
    donors = np.unique(source)
    if len(members) < wanted or len(donors) < TREE_FOUNDERS:
        raise StageError(
            f"group {name}: {wanted} founders need as many synthetic samples and at least {TREE_FOUNDERS} "
            "donors; "
            f"there are {people(len(members))} samples; lower [relatives] founders_per_group or raise "
            "[synthesis] "
            "per_group"
        )
    place = np.empty(len(donors), np.int64)
    place[stream.permutation(0, len(donors))] = np.arange(len(donors))
    rank = place[np.searchsorted(donors, source)]
    copies = pd.Series(rank).groupby(rank).cumcount().to_numpy()
    chosen = np.lexsort((rank, copies))[:wanted]
    n_trees = wanted // TREE_FOUNDERS
    if np.bincount(rank[chosen]).max() > n_trees:
        raise StageError(
            f"group {name}: {wanted} founders cannot be shared out so that no tree holds two copies of "
            "one donor; "
            "lower [relatives] founders_per_group"
        )
    dealt = chosen[np.argsort(rank[chosen], kind="stable")]
    return members[dealt.reshape(TREE_FOUNDERS, n_trees).T.ravel()]


def _generations(group: NDArray, per_group: int) -> pd.DataFrame:
    """Pair neighbours, generation after generation; the even one of a couple is the father."""
    people = [pd.DataFrame({"group": group, "generation": 0, "father": -1, "mother": -1})]
    start, size = 0, len(group)
    for generation in (1, 2, 3):
        fathers = start + np.arange(0, size, 2)
        people.append(
            pd.DataFrame(
                {
                    "group": people[-1]["group"].to_numpy()[::2],
                    "generation": generation,
                    "father": fathers,
                    "mother": fathers + 1,
                }
            )
        )
        start, size = start + size, size // 2
    table = pd.concat(people, ignore_index=True)
    position = table.groupby("generation").cumcount()
    table["sex"] = 1 + position % 2
    return table


def relatives(ds: xr.Dataset, pedigree: Pedigree, params: Relatives) -> xr.Dataset:
    """Show the descendants of a pedigree as a lazy cohort.

    Parameters
    ----------
    ds
        The synthetic cohort that the founders' columns point into.
    pedigree
        From `make_pedigree`.
    params
        The seed of inheritance.

    Returns
    -------
    xarray.Dataset
        The descendants sorted by ``sample_id``, with ``sample_ancestry``, ``sample_sex``,
        ``sample_paternal_id`` and ``sample_maternal_id``; missing where a parent's call is missing. Variants
        are inherited independently of each other, as in the paper.
    """
    table = pedigree.table
    order = pedigree.n_founders + np.argsort(table["sample_id"].to_numpy(str)[pedigree.n_founders :])
    stream = Root.from_seed(params.seed).stream("relatives.meiosis")
    source = DescendantSource(source_of(ds), source_rows(ds), pedigree, order, stream)
    out = ds[[str(n) for n, v in ds.variables.items() if v.dims and v.dims[0] in ("variants", "contigs")]]
    ids = table["sample_id"].to_numpy(object)
    fathers, mothers = (ids[table[parent].to_numpy(np.int64)[order]] for parent in ("father", "mother"))
    return out.drop_vars("call_genotype").assign(
        call_genotype=(("variants", "samples", "ploidy"), as_dask(source, RELATIVES_CHUNKS)),
        sample_id=("samples", ids[order]),
        sample_paternal_id=("samples", fathers),
        sample_maternal_id=("samples", mothers),
        sample_ancestry=("samples", table["group"].to_numpy(object)[order]),
        sample_sex=("samples", table["sex"].to_numpy(np.int8)[order]),
    )


class DescendantSource(PackedSource):
    """Genotypes of a pedigree's descendants, computed from the founders' when read."""

    def __init__(
        self,
        base: Source,
        rows: NDArray[np.int64],
        pedigree: Pedigree,
        order: NDArray[np.int64],
        stream: Stream,
    ) -> None:
        self.base = base
        self.rows = rows
        self.founders = np.ascontiguousarray(pedigree.founders, np.int64)
        self.fathers = pedigree.table["father"].to_numpy(np.int64)
        self.mothers = pedigree.table["mother"].to_numpy(np.int64)
        self.order = order
        self.stream = stream
        self.shape = (base.shape[0], len(order), 2)
        self.row_block = base.row_block

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Let the genotypes of all generations descend, and return the wanted people's."""
        founders = np.empty((v1 - v0, width(len(self.founders))), np.uint8)
        take_samples(read_packed(self.base, v0, v1), self.founders, founders)
        out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
        people = self.order[s0:s1]
        key, rows = self.stream.key, self.rows[v0:v1]
        add_children(founders, self.fathers, self.mothers, key, rows, people, out)
        return out


def listed_pairs(pedigree: Pedigree) -> pd.DataFrame:
    """Return the paper's list: every descendant with each founder that it comes from.

    Returns
    -------
    pandas.DataFrame
        Columns sample, ancestor (row numbers of the pedigree), degree.
    """
    table = pedigree.table
    father, mother = table["father"].to_numpy(), table["mother"].to_numpy()
    founders: list[list[int]] = []
    rows = []
    for person, generation in enumerate(table["generation"]):
        if generation == 0:
            founders.append([person])
            continue
        founders.append(founders[father[person]] + founders[mother[person]])
        rows += [(person, ancestor, _LISTED_DEGREE[generation]) for ancestor in founders[person]]
    return pd.DataFrame(rows, columns=["sample", "ancestor", "degree"])


def pedigree_kinship(
    father: NDArray[np.int64], mother: NDArray[np.int64], source: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the kinship coefficients of a pedigree, f8 (people, people).

    phi(i, j) = (phi(father of i, j) + phi(mother of i, j)) / 2 for j above i; founders of one donor are
    as one person:
    phi = 1/2. Founders stand first, parents above their children; -1 for a founder's parents.
    """
    n = len(father)
    phi = np.zeros((n, n))
    for i in range(n):
        if father[i] < 0:
            phi[i, : i + 1] = 0.5 * (source[: i + 1] == source[i])
        else:
            phi[i, :i] = 0.5 * (phi[father[i], :i] + phi[mother[i], :i])
            phi[i, i] = 0.5 * (1 + phi[father[i], mother[i]])
        phi[:i, i] = phi[i, :i]
    return phi


def related_pairs(pedigree: Pedigree) -> pd.DataFrame:
    """Return every pair of people of the pedigrees with a true kinship above 0.

    Returns
    -------
    pandas.DataFrame
        Columns first, second (row numbers of the pedigree), kinship (expected, without perturbation),
        degree ("same source", "first" ... "fourth", "distant"); groups are not related to each other.
    """
    parts = []
    for name in sorted(set(pedigree.table["group"])):
        rows = np.flatnonzero(pedigree.table["group"] == name)
        local = pd.Series(np.arange(len(rows)), index=rows)
        parents = [
            local.reindex(pedigree.table[p].to_numpy()[rows], fill_value=-1).to_numpy()
            for p in ("father", "mother")
        ]
        phi = pedigree_kinship(parents[0], parents[1], pedigree.table["source"].to_numpy()[rows])
        i, j = np.nonzero(np.triu(phi, 1))
        parts.append(pd.DataFrame({"first": rows[i], "second": rows[j], "kinship": phi[i, j]}))
    if not parts:
        raise DataError("the pedigree is empty")
    pairs = pd.concat(parts, ignore_index=True)
    names = np.array([*DEGREE_NAMES[:-1], "distant"], object)
    return pairs.assign(degree=names[degree_of(pairs["kinship"].to_numpy())])
