"""Choose donors, judge the candidates, and show the accepted ones as a lazy cohort."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.aggregate import people
from genoweave.chunks import ranges
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
from genoweave.kernels.packed import PAD_BYTE, width
from genoweave.methods.frequencies import group_numbers
from genoweave.methods.pca import PCA, pca
from genoweave.methods.synthesis.channel import Mechanism, mechanism
from genoweave.methods.synthesis.filter import (
    Axes,
    Candidates,
    Spread,
    judge_candidates,
    real_records,
)
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root, Stream

log = logging.getLogger(__name__)

# Variants whose genotypes are copied and flipped while they are in the cache (17 -> 23 G flips' genotypes/s).
_FLIPPED_TOGETHER = 256

SYNTHETIC_CHUNKS = (1024, 16_384)  # each chunk reads a whole tile of the cohort


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
    max_rounds: int = Field(20, ge=1, description="draws of a record before the stage gives up")


@dataclass(frozen=True)
class Donors:
    """Who each synthetic record comes from (private), and what was rejected on the way.

    Attributes
    ----------
    table
        DataFrame, one row per synthetic sample in the order of its id: sample_id, group, donor (column of the
        cohort), slot and attempt (address of its draws). Private: it undoes the perturbation.
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
        If a record is rejected ``max_rounds`` times.

    Notes
    -----
    Two passes over the genotypes and one for each round of redrawing, then one when the result is
    read. Memory per task: a tile of 1,024 variants of the cohort, 256 bytes a sample, and as much of the
    candidates. On a core, at epsilon 6, copying the donors' genotypes takes 0.1 to 0.25 ns each, the flips
    0.06 ns, the filter's scores 0.6 ns.
    """
    params = params or Synthesis()
    key = key or Root.from_system()
    if model is None:
        most = min(params.filter_components, ds.sizes["samples"] - 1, ds.sizes["variants"])
        model = pca(ds, PCA(n_components=max(1, most), ld_prune=False))
    donors = choose_donors(ds, model, params, key)
    return apply_donors(ds, donors, params, key)


@threadpool_limits.wrap(limits=1)  # the bits must not depend on the number of cores
def choose_donors(ds: xr.Dataset, model: xr.Dataset, params: Synthesis, key: Root) -> Donors:
    """Draw donors until every group has its target of accepted candidates; see `synthesize`."""
    names, group = group_numbers(_labels(ds))
    channel = mechanism(params.mechanism, params.epsilon)
    members = [np.flatnonzero(group == k) for k in range(len(names))]
    draws = [_GroupDraws(name, own, params.per_group, key) for name, own in zip(names, members, strict=True)]
    axes = Axes.of(model, params.filter_components)
    real = real_records(ds, axes, channel)
    for d, own in zip(draws, members, strict=True):
        d.fit(real.images, own, params)
    for attempt in range(params.max_rounds):
        waiting = [d for d in draws if len(d.open_slots())]
        if not waiting:
            break
        batches = [d.candidates(attempt, channel) for d in waiting]
        judged = judge_candidates(ds, axes, batches, real.known, f"judge, draw {attempt + 1}")
        for d, batch, (identical, scores) in zip(waiting, batches, judged, strict=True):
            d.take(batch, identical, d.outside(scores, real.images[batch.donors], params))
    _require_all([d for d in draws if len(d.open_slots())], params)
    log.info("donors chosen for %d groups of %d", len(draws), params.per_group)
    return Donors(_donor_table(draws, key), pd.DataFrame([d.summary() for d in draws]))


def apply_donors(ds: xr.Dataset, donors: Donors, params: Synthesis, key: Root) -> xr.Dataset:
    """Show the accepted records as a lazy cohort; see `synthesize`."""
    table = donors.table
    channel = mechanism(params.mechanism, params.epsilon)
    parts = []
    for _, drawn in table.groupby(["group", "attempt"], sort=True):
        group, attempt = str(drawn["group"].iloc[0]), int(drawn["attempt"].iloc[0])
        donor, slot = drawn["donor"].to_numpy(np.int64), drawn["slot"].to_numpy(np.int64)
        candidates = Candidates(donor, slot, attempt, _stream(key, group), channel)
        parts.append(_Part(drawn.index.to_numpy(np.int64), candidates))
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


class _GroupDraws:
    """The records of one group: slot i copies donor[i], in the draw attempt[i] that was accepted.

    Donors come in whole random rounds of the group, so that each is used equally often, give or take one,
    and none twice where the group is large enough.
    """

    def __init__(self, name: str, members: NDArray[np.int64], target: int, key: Root) -> None:
        if len(members) < 2:
            raise DataError(
                f"ancestry group {name!r} has {people(len(members))} samples; at least 2 are needed"
            )
        self.name = name
        self.n_members = len(members)
        self.stream = _stream(key, name)
        order = key.stream(f"synthesis.donors/{name}")
        rounds = [order.permutation(r, len(members)) for r in range(-(-target // len(members)))]
        self.donor = members[np.concatenate(rounds)[:target]]
        self.attempt = np.full(target, -1, np.int64)
        self.rejected = np.zeros(2, np.int64)
        self.spread: Spread
        self.noise: float | None = None  # of the first draw of all slots

    def open_slots(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.attempt < 0)

    def candidates(self, attempt: int, channel: Mechanism) -> Candidates:
        slots = self.open_slots()
        return Candidates(self.donor[slots], slots, attempt, self.stream, channel)

    def fit(self, images: NDArray[np.float64], members: NDArray[np.int64], params: Synthesis) -> None:
        # a covariance wants several people per component
        d = max(1, min(images.shape[1], len(members) // 5))
        self.spread = Spread.of(images[members, :d], params.filter_quantile)

    def outside(
        self, scores: NDArray[np.float64], images: NDArray[np.float64], params: Synthesis
    ) -> NDArray[np.bool_]:
        if self.noise is None:
            self.noise = self.spread.noise(scores, images, params.filter_quantile)
        return self.spread.outside(scores, images, self.noise)

    def take(self, batch: Candidates, identical: NDArray, outside: NDArray) -> None:
        self.attempt[batch.slots[~(identical | outside)]] = batch.attempt
        self.rejected += [int(identical.sum()), int((outside & ~identical).sum())]

    def summary(self) -> dict[str, Any]:
        _, copies = np.unique(self.donor, return_counts=True)
        return {
            "group": self.name,
            "n_real": self.n_members,
            "n_synthetic": len(self.donor),
            "n_donors": len(copies),
            "max_copies": int(copies.max()),
            "same_source_pairs": int((copies * (copies - 1) // 2).sum()),
            "rejected_identical": int(self.rejected[0]),
            "rejected_outside": int(self.rejected[1]),
        }


def _require_all(failed: list[_GroupDraws], params: Synthesis) -> None:
    """Raise for the groups that have open slots left, with advice that fits why."""
    if not failed:
        return
    identical, outside = np.sum([d.rejected for d in failed], axis=0)
    if identical > outside:
        reason, advice = "they equal a real record", "use more variants or a smaller epsilon"
    else:
        reason, advice = "they lie outside the group's spread", "raise filter_quantile or epsilon"
    raise StageError(
        f"groups {', '.join(d.name for d in failed)}: some records were rejected in each of "
        f"{params.max_rounds} draws, "
        f"mostly because {reason}; {advice}, or raise max_rounds, in [synthesis]"
    )


def _donor_table(draws: list[_GroupDraws], key: Root) -> pd.DataFrame:
    """Give random ids and sort by them, so that neither id nor place tells the group."""
    table = pd.concat(
        [
            pd.DataFrame(
                {"group": d.name, "donor": d.donor, "slot": np.arange(len(d.donor)), "attempt": d.attempt}
            )
            for d in draws
        ],
        ignore_index=True,
    )
    table.insert(0, "sample_id", random_ids(key, 0, len(table)))
    return table.sort_values("sample_id", ignore_index=True)


@dataclass(frozen=True)
class _Part:
    """Columns of the synthetic cohort with the draws of one group and attempt."""

    columns: NDArray[np.int64]
    candidates: Candidates


class SyntheticSource(PackedSource):
    """Perturbed copies of a cohort's samples, computed when read.

    The donors' genotypes are taken straight to the columns where the records stand in the order of their
    ids, and perturbed there: no record is moved twice.
    """

    def __init__(self, base: Source, rows: NDArray[np.int64], parts: list[_Part], n_samples: int) -> None:
        self.base = base
        self.rows = rows
        self.parts = parts
        self.donors = np.empty(n_samples, np.int64)
        for part in parts:
            self.donors[part.columns] = part.candidates.donors
        self.shape = (base.shape[0], n_samples, 2)
        self.row_block = base.row_block

    def __repr__(self) -> str:
        return f"SyntheticSource{self.shape}"  # the streams' keys stay out of logs

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Copy the donors' codes and perturb them in place; reads all samples of the cohort."""
        out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
        real, donors, rows = read_packed(self.base, v0, v1), self.donors[s0:s1], self.rows[v0:v1]
        parts = [
            (part.candidates.part(inside), part.columns[inside] - s0)
            for part in self.parts
            if (inside := (part.columns >= s0) & (part.columns < s1)).any()
        ]
        for a, b in ranges(v1 - v0, _FLIPPED_TOGETHER):
            take_samples(real[a:b], donors, out[a:b])
            for candidates, columns in parts:
                candidates.flip(out[a:b], rows[a:b], columns)
        return out
