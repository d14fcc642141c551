"""The low-quality filter: records that are a real one, or that lie outside their own group's spread.

The rule looks at the record's own group only: a nearest-centroid rule would throw out admixed people
and shift their group's frequencies. And it never judges the donor: a copy may lie as far out as its
donor does, give or take the flips, and a rejected record is drawn again from the same donor. Else the
group would lose its outliers: at 5,000 records from 255 people that moved frequencies by up to 14
standard errors.
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
    attempt: int
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
        perturb(
            real,
            donors,
            self.channel.thresholds(),
            self.stream.key,
            rows,
            columns,
            self.attempt,
            targets,
            out,
        )


@dataclass(frozen=True)
class Spread:
    """Where a group's real members lie: centre, inverse covariance, and the largest distance."""

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
        own = np.quantile(spread.distances(scores), quantile)
        return cls(centre, spread.precision, float(max(own, np.sqrt(chi2.ppf(quantile, len(centre))))))

    def distances(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Mahalanobis distances of scores (records, components or more) from the centre."""
        return self.lengths(scores[:, : len(self.centre)] - self.centre)

    def lengths(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return Mahalanobis lengths of differences (records, components or more)."""
        x = x[:, : len(self.centre)]
        return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", x, self.precision, x, optimize=False), 0))

    def outside(
        self, scores: NDArray[np.float64], images: NDArray[np.float64], noise: float
    ) -> NDArray[np.bool_]:
        """Tell which copies lie beyond the limit and also further out than their donor's image plus `noise`.

        `images` are the donors' expected scores, one row a copy.
        """
        return self.distances(scores) > np.maximum(self.limit, self.distances(images) + noise)

    def noise(self, scores: NDArray[np.float64], images: NDArray[np.float64], quantile: float) -> float:
        """Return the quantile of how far the flips carried copies from their donors' images."""
        return float(np.quantile(self.lengths(scores - images), quantile))


@dataclass(frozen=True)
class RealRecords:
    """What the real records look like to the filter.

    Attributes
    ----------
    known
        Their fingerprints, for `np.isin`.
    images
        f8 (samples, components): expected scores of a perturbed copy of each. The channel moves
        every copy a little, always to the same side, which must not count as lying outside.
    """

    known: NDArray[Any]
    images: NDArray[np.float64]


def real_records(ds: xr.Dataset, axes: Axes, channel: Mechanism) -> RealRecords:
    """Fingerprint the cohort's records, and project their expected perturbed copies, in one pass."""
    n = ds.sizes["samples"]
    state: dict[str, Any] = {
        "scores": np.zeros((n, axes.loading.shape[1])),
        "hash": np.zeros((n, 2), np.uint64),
    }
    image = np.append(channel.transition @ np.arange(3), 0.0)
    shared = (source_of(ds), axes, image)
    state = fold("real records", _real_tile, tiles(ds.sizes["variants"]), state, _add_judged, shared=shared)
    return RealRecords(np.unique(_as_records(state["hash"])), state["scores"])


@dataclass(frozen=True)
class Axes:
    """Leading principal components as weights of dosages: scores = (dosage - 2 p) @ loading."""

    frequency: NDArray[np.float64]
    loading: NDArray[np.float64]

    @classmethod
    def of(cls, model: xr.Dataset, n_components: int) -> Axes:
        """Take the fit's centre, scale and leading loadings; variants that it left out weigh 0."""
        frequency = model["variant_pca_frequency"].values
        weight = 1 / np.sqrt(2 * frequency * (1 - frequency))
        used = np.isfinite(weight)[:, None]
        loading = model["variant_pca_loading"].values[:, :n_components]
        return cls(np.nan_to_num(frequency), np.where(used, loading * weight[:, None], 0))

    def scores(
        self, dosage: NDArray[Any], missing: NDArray[np.bool_], v0: int, v1: int
    ) -> NDArray[np.float64]:
        """Return one tile's part of the scores; missing calls lie at the mean."""
        centred = np.where(missing, 0.0, dosage - 2 * self.frequency[v0:v1, None])
        return np.asarray(centred.T @ self.loading[v0:v1])


def judge_candidates(
    ds: xr.Dataset, axes: Axes, batches: list[Candidates], known: NDArray[Any], label: str
) -> list[tuple[NDArray[np.bool_], NDArray[np.float64]]]:
    """Tell which candidates are identical to a real record, and where all of them lie.

    Parameters
    ----------
    ds
        The cohort.
    axes
        Its leading components.
    batches
        Candidates of some groups; one pass over the genotypes serves all.
    known
        Fingerprints of the real records.
    label
        For progress and checkpoints.

    Returns
    -------
    list
        For each batch: identical, bool (candidates,), and scores, f8 (candidates, components).
    """
    n = sum(len(batch.columns) for batch in batches)
    state: dict[str, Any] = {
        "scores": np.zeros((n, axes.loading.shape[1])),
        "hash": np.zeros((n, 2), np.uint64),
    }
    shared = (source_of(ds), source_rows(ds), batches, axes)
    state = fold(label, _judge_tile, tiles(ds.sizes["variants"]), state, _add_judged, shared=shared)
    identical = np.isin(_as_records(state["hash"]), known)
    ends = np.cumsum([len(batch.columns) for batch in batches])[:-1]
    return list(zip(np.split(identical, ends), np.split(state["scores"], ends), strict=True))


def _as_records(hashes: NDArray[np.uint64]) -> NDArray[Any]:
    return np.ascontiguousarray(hashes).view([("a", np.uint64), ("b", np.uint64)]).ravel()


def _hash(dosage: Calls, v0: int, v1: int) -> NDArray[np.uint64]:
    out = np.zeros((dosage.shape[1], 2), np.uint64)
    fingerprints(dosage, np.arange(v0, v1, dtype=np.uint64), _HASH_SEEDS, out)
    return out


def _real_tile(
    source: Source, axes: Axes, image: NDArray[np.float64], v0: int, v1: int
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Task: one tile's part of the real records' images and hashes."""
    dosage = read_dosage(source, v0, v1)
    return axes.scores(image[dosage], dosage < 0, v0, v1), _hash(dosage, v0, v1)


def _judge_tile(
    source: Source, rows: NDArray[np.int64], batches: list[Candidates], axes: Axes, v0: int, v1: int
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Task: one tile's part of the candidates' scores and hashes."""
    real = read_dosage(source, v0, v1)
    scores, hashes = [], []
    for batch in batches:
        dosage = batch.dosage(real, rows[v0:v1])
        scores.append(axes.scores(dosage, dosage < 0, v0, v1))
        hashes.append(_hash(dosage, v0, v1))
    return np.concatenate(scores), np.concatenate(hashes)


def _add_judged(state: dict[str, Any], _: int, part: tuple[NDArray, NDArray]) -> None:
    state["scores"] += part[0]
    state["hash"] += part[1]
