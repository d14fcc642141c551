"""The low-quality filter: records that are a real one, or that lie outside their own group's spread.

The rule looks at the record's own group only. A nearest-centroid rule would throw out admixed people
and shift their group's frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import chi2

from genoweave.chunks import tiles
from genoweave.execution import fold
from genoweave.genotypes import Calls, Source, read_dosage, source_of, source_rows
from genoweave.kernels.channel import perturb
from genoweave.kernels.counts import fingerprints
from genoweave.methods.synthesis.channel import Mechanism
from genoweave.rng import Stream

# Two fixed seeds of the record hash; records are compared within one run only.
_HASH_SEEDS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)


@dataclass(frozen=True)
class Candidates:
    """Records to be: whose genotypes they copy, and where their draws are addressed."""

    donors: NDArray[np.int64]
    columns: NDArray[np.int64]
    stream: Stream = field(repr=False)
    channel: Mechanism = field(repr=False)

    def dosage(self, real: Calls, rows: NDArray[np.int64]) -> Calls:
        """Perturb the donors' columns of `real` int8 (variants, samples); `rows` address the variants."""
        out = np.empty((len(real), len(self.columns)), np.int8)
        self.write(real, rows, np.arange(len(self.columns)), slice(None), out)
        return out

    def write(
        self,
        real: Calls,
        rows: NDArray[np.int64],
        targets: NDArray[np.int64],
        which: Any,
        out: Calls,
    ) -> None:
        """Write the candidates `which` to the columns `targets` of `out` int8 (variants, ...)."""
        columns, donors = self.columns[which], self.donors[which]
        perturb(real, donors, self.channel.thresholds(), self.stream.key, rows, columns, targets, out)


@dataclass(frozen=True)
class Spread:
    """Where a group's real members lie: centre, inverse covariance, and the largest squared distance."""

    centre: NDArray[np.float64]
    precision: NDArray[np.float64]
    limit: float

    @classmethod
    def of(cls, scores: NDArray[np.float64], quantile: float) -> Spread:
        """Fit the spread of real scores (members, components).

        The limit is the quantile of the members' own distances, or of a normal cloud if that is larger:
        admixed groups are not normal, and small ones don't show their tails.
        """
        centre = scores.mean(axis=0)
        covariance = np.atleast_2d(np.cov(scores, rowvar=False))
        spread = cls(centre, np.linalg.pinv(covariance, hermitian=True), np.inf)
        limit = max(np.quantile(spread.distances(scores), quantile), chi2.ppf(quantile, len(centre)))
        return cls(centre, spread.precision, float(limit))

    def distances(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return squared Mahalanobis distances, shape (records,)."""
        x = scores - self.centre
        return np.einsum("ij,jk,ik->i", x, self.precision, x, optimize=False)


def real_fingerprints(ds: xr.Dataset) -> NDArray[np.uint64]:
    """Return the sorted fingerprints of the cohort's records, structured for `np.isin`."""
    state = {"hash": np.zeros((ds.sizes["samples"], 2), np.uint64)}
    shared = (source_of(ds),)
    items = tiles(ds.sizes["variants"])
    state = fold("fingerprints", _hash_tile, items, state, _add_hash, shared=shared)
    return np.unique(_as_records(state["hash"]))


def judge_candidates(
    ds: xr.Dataset,
    model: xr.Dataset,
    candidates: Candidates,
    spread: Spread,
    known: NDArray[Any],
    label: str,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tell which candidates are identical to a real record, and which lie outside the spread.

    Parameters
    ----------
    ds, model
        The cohort and its principal components.
    candidates
        Records of one group.
    spread
        The group's.
    known
        From `real_fingerprints`.
    label
        For progress and checkpoints.

    Returns
    -------
    identical, outside : ndarray
        bool (candidates,).
    """
    d = len(spread.centre)
    n = len(candidates.columns)
    frequency = model["variant_pca_frequency"].values
    weight = 1 / np.sqrt(2 * frequency * (1 - frequency))
    loading = np.where(
        np.isfinite(weight)[:, None],
        model["variant_pca_loading"].values[:, :d] * weight[:, None],
        0,
    )
    state: dict[str, Any] = {"scores": np.zeros((n, d)), "hash": np.zeros((n, 2), np.uint64)}
    shared = (source_of(ds), source_rows(ds), candidates, np.nan_to_num(frequency), loading)
    state = fold(label, _judge_tile, tiles(ds.sizes["variants"]), state, _add_judged, shared=shared)
    identical = np.isin(_as_records(state["hash"]), known)
    return identical, spread.distances(state["scores"]) > spread.limit


def _as_records(hashes: NDArray[np.uint64]) -> NDArray[Any]:
    return np.ascontiguousarray(hashes).view([("a", np.uint64), ("b", np.uint64)]).ravel()


def _hash_tile(source: Source, v0: int, v1: int) -> NDArray[np.uint64]:
    dosage = read_dosage(source, v0, v1)
    return _hash(dosage, v0, v1)


def _hash(dosage: Calls, v0: int, v1: int) -> NDArray[np.uint64]:
    out = np.zeros((dosage.shape[1], 2), np.uint64)
    fingerprints(dosage, np.arange(v0, v1, dtype=np.uint64), _HASH_SEEDS, out)
    return out


def _add_hash(state: dict[str, Any], _: int, part: NDArray[np.uint64]) -> None:
    state["hash"] += part


def _judge_tile(
    source: Source,
    rows: NDArray[np.int64],
    candidates: Candidates,
    frequency: NDArray[np.float64],
    loading: NDArray[np.float64],
    v0: int,
    v1: int,
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Task: one tile's part of the candidates' scores and hashes."""
    dosage = candidates.dosage(read_dosage(source, v0, v1), rows[v0:v1])
    centred = np.where(dosage < 0, 0.0, dosage - 2 * frequency[v0:v1, None])
    return centred.T @ loading[v0:v1], _hash(dosage, v0, v1)


def _add_judged(state: dict[str, Any], _: int, part: tuple[NDArray, NDArray]) -> None:
    state["scores"] += part[0]
    state["hash"] += part[1]
