"""Choose donors, judge the candidates, and show the accepted ones as a lazy cohort."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError, StageError
from genoweave.genotypes import (
    Calls,
    Source,
    as_dask,
    calls_of,
    read_dosage,
    source_of,
    source_rows,
)
from genoweave.identifiers import random_ids
from genoweave.methods.frequencies import group_numbers
from genoweave.methods.pca import PCA, pca
from genoweave.methods.synthesis.channel import mechanism
from genoweave.methods.synthesis.filter import (
    Candidates,
    Spread,
    judge_candidates,
    real_fingerprints,
)
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root, Stream

log = logging.getLogger(__name__)

SYNTHETIC_CHUNKS = (1024, 4096)


class Synthesis(Parameters):
    """How many synthetic samples, by which mechanism, and what is redrawn."""

    mechanism: str = Field("syngen6", description="how genotypes are perturbed")
    epsilon: float = Field(
        6.0,
        gt=0,
        le=50,
        description="flip-rate parameter of the mechanism, per SNP; for syngen6 not a privacy guarantee",
    )
    per_group: int = Field(5000, ge=1, description="synthetic samples of each ancestry group")
    filter_components: int = Field(
        10,
        ge=1,
        description="leading components on which a record must lie within its own group's spread",
    )
    filter_quantile: float = Field(
        0.999,
        gt=0.5,
        lt=1,
        description="quantile of the group's real members that bounds its spread",
    )
    max_rounds: int = Field(20, ge=1, description="rounds of redrawing before the stage gives up")


@dataclass(frozen=True)
class Donors:
    """Who each synthetic record comes from (private), and what was rejected on the way.

    Attributes
    ----------
    table
        DataFrame, one row per synthetic sample in the order of its id: sample_id, group, donor (column of the
        cohort), candidate (address of its draws). Private: it undoes the perturbation.
    groups
        DataFrame: group, n_real, n_synthetic, n_donors, max_copies, same_source_pairs, rejected_identical,
        rejected_outside.
    """

    table: pd.DataFrame
    groups: pd.DataFrame


def synthesize(
    ds: xr.Dataset,
    params: Synthesis | None = None,
    *,
    key: Root | None = None,
    model: xr.Dataset | None = None,
) -> xr.Dataset:
    """Make synthetic samples of every ancestry group of a cohort.

    Parameters
    ----------
    ds
        A cohort after quality control, with ``sample_ancestry``.
    params
        Mechanism and target.
    key
        The private root of donors, flips and ids; drawn anew from the operating system if None. Whoever
        holds it can undo the flips.
    model
        The cohort's `pca`, for the filter; computed with a few components if None.

    Returns
    -------
    xarray.Dataset
        Lazy ``call_genotype`` int8 (variants, samples, ploidy), unphased, missing where the donor's call is
        missing; ``sample_id`` random and sorted, ``sample_ancestry``.

    Raises
    ------
    DataError
        If the cohort has no labels, or a group has fewer than 2 samples.
    StageError
        If the target is not met within ``max_rounds`` of redrawing.

    Notes
    -----
    Two passes over the genotypes and one for each round of redrawing, then one when the result is
    read. Memory per task: a tile of 1,024 variants of the cohort and of the candidates.
    """
    params = params or Synthesis()
    key = key or Root.from_system()
    if model is None:
        most = min(params.filter_components, ds.sizes["samples"] - 1, ds.sizes["variants"])
        model = pca(ds, PCA(n_components=max(1, most), ld_prune=False))
    donors = choose_donors(ds, model, params, key)
    return apply_donors(ds, donors, params, key)


def choose_donors(ds: xr.Dataset, model: xr.Dataset, params: Synthesis, key: Root) -> Donors:
    """Draw donors until every group has its target of accepted candidates; see `synthesize`."""
    names, group = group_numbers(_labels(ds))
    channel = mechanism(params.mechanism, params.epsilon)
    draws = [
        _GroupDraws(name, np.flatnonzero(group == k), params.per_group, key) for k, name in enumerate(names)
    ]
    spreads = [_spread(model, d.members, params) for d in draws]
    known = real_fingerprints(ds)
    for round_number in range(params.max_rounds):
        new = [d.next_candidates() for d in draws]
        if not any(len(columns) for columns in new):
            break
        for d, columns, spread in zip(draws, new, spreads, strict=True):
            if len(columns):
                candidates = Candidates(d.donors(columns), columns, d.stream, channel)
                label = f"judge {d.name}, round {round_number + 1}"
                d.take(columns, *judge_candidates(ds, model, candidates, spread, known, label))
    short = [d.name for d in draws if d.missing]
    if short:
        raise StageError(
            f"groups {', '.join(short)}: fewer than {params.per_group} records were accepted in {params.max_rounds} "
            "rounds; lower [synthesis] per_group, or raise filter_quantile or max_rounds"
        )
    log.info("donors chosen for %d groups of %d", len(draws), params.per_group)
    return Donors(_donor_table(draws, key), pd.DataFrame([d.summary() for d in draws]))


def apply_donors(ds: xr.Dataset, donors: Donors, params: Synthesis, key: Root) -> xr.Dataset:
    """Show the accepted records as a lazy cohort; see `synthesize`."""
    table = donors.table
    channel = mechanism(params.mechanism, params.epsilon)
    parts = []
    for name in sorted(set(table["group"])):
        rows = np.flatnonzero(table["group"] == name)
        # ascending candidates: 16 neighbours share a block of the cipher (27 s -> 6 s for 365 M calls)
        rows = rows[np.argsort(table["candidate"].to_numpy()[rows])]
        columns = table["candidate"].to_numpy()[rows]
        parts.append(
            _Part(
                rows,
                Candidates(table["donor"].to_numpy()[rows], columns, _stream(key, name), channel),
            )
        )
    source = SyntheticSource(source_of(ds), source_rows(ds), parts, len(table))
    keep = [
        "contig_id",
        "variant_contig",
        "variant_position",
        "variant_id",
        "variant_allele",
        "variant_source_row",
    ]
    out = ds[[name for name in keep if name in ds]]
    out.attrs = {}
    return out.assign(
        call_genotype=(("variants", "samples", "ploidy"), as_dask(source, SYNTHETIC_CHUNKS)),
        sample_id=("samples", table["sample_id"].to_numpy(object)),
        sample_ancestry=("samples", table["group"].to_numpy(object)),
    )


def _labels(ds: xr.Dataset) -> NDArray[Any]:
    if "sample_ancestry" not in ds:
        raise DataError("the cohort has no sample_ancestry; give an ancestry table of sample id and group")
    return ds["sample_ancestry"].values


def _stream(key: Root, group: str) -> Stream:
    return key.stream(f"synthesis.flip/{group}")


def _spread(model: xr.Dataset, members: NDArray[np.int64], params: Synthesis) -> Spread:
    # a covariance wants several people per component
    d = max(1, min(params.filter_components, model.sizes["components"], len(members) // 5))
    return Spread.of(model["sample_pca_projection"].values[members, :d], params.filter_quantile)


class _GroupDraws:
    """The sequence of candidates of one group: candidate c copies the donor at place c of its draws.

    Donors come in whole random rounds of the group, so that each is used equally often, give or take one,
    and none twice where the group is large enough.
    """

    def __init__(self, name: str, members: NDArray[np.int64], target: int, key: Root) -> None:
        if len(members) < 2:
            raise DataError(f"ancestry group {name!r} has {len(members)} sample; at least 2 are needed")
        self.name = name
        self.members = members
        self.target = target
        self.stream = _stream(key, name)
        self._order = key.stream(f"synthesis.donors/{name}")
        self._drawn = 0
        self.accepted: NDArray[np.int64] = np.empty(0, np.int64)
        self.rejected = np.zeros(2, np.int64)

    @property
    def missing(self) -> int:
        return self.target - len(self.accepted)

    def next_candidates(self) -> NDArray[np.int64]:
        columns = np.arange(self._drawn, self._drawn + self.missing)
        self._drawn += self.missing
        return columns

    def donors(self, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        n = len(self.members)
        rounds = {int(r): self._order.permutation(int(r), n) for r in np.unique(columns // n)}
        return np.array([self.members[rounds[int(c // n)][c % n]] for c in columns], np.int64)

    def take(self, columns: NDArray[np.int64], identical: NDArray, outside: NDArray) -> None:
        self.accepted = np.concatenate([self.accepted, columns[~(identical | outside)]])
        self.rejected += [int(identical.sum()), int((outside & ~identical).sum())]

    def summary(self) -> dict[str, Any]:
        _, copies = np.unique(self.donors(self.accepted), return_counts=True)
        return {
            "group": self.name,
            "n_real": len(self.members),
            "n_synthetic": len(self.accepted),
            "n_donors": len(copies),
            "max_copies": int(copies.max()),
            "same_source_pairs": int((copies * (copies - 1) // 2).sum()),
            "rejected_identical": int(self.rejected[0]),
            "rejected_outside": int(self.rejected[1]),
        }


def _donor_table(draws: list[_GroupDraws], key: Root) -> pd.DataFrame:
    """Give random ids and sort by them, so that neither id nor place tells the group."""
    table = pd.DataFrame(
        {
            "group": np.concatenate([np.full(len(d.accepted), d.name, object) for d in draws]),
            "donor": np.concatenate([d.donors(d.accepted) for d in draws]),
            "candidate": np.concatenate([d.accepted for d in draws]),
        }
    )
    table.insert(0, "sample_id", random_ids(key, 0, len(table)))
    return table.sort_values("sample_id", ignore_index=True)


@dataclass(frozen=True)
class _Part:
    """One group's columns of the synthetic cohort."""

    rows: NDArray[np.int64]
    candidates: Candidates


class SyntheticSource:
    """Perturbed copies of a cohort's samples, computed when read."""

    def __init__(self, base: Source, rows: NDArray[np.int64], parts: list[_Part], n_samples: int) -> None:
        self.base = base
        self.rows = rows
        self.parts = parts
        self.shape = (base.shape[0], n_samples, 2)

    def __repr__(self) -> str:
        return f"SyntheticSource{self.shape}"  # the streams' keys stay out of logs

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Perturb the donors' dosages and write them as unphased calls."""
        real = read_dosage(self.base, v0, v1)
        dosage = np.empty((v1 - v0, s1 - s0), np.int8)
        for part in self.parts:
            inside = (part.rows >= s0) & (part.rows < s1)
            if inside.any():
                part.candidates.write(real, self.rows[v0:v1], part.rows[inside] - s0, inside, dosage)
        return calls_of(dosage)
