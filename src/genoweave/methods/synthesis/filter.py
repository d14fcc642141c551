"""The low-quality filter: records that are a real one, or that lie outside their own group's spread.

The rule looks at the record's own group only: a nearest-centroid rule would throw out admixed people
and shift their group's frequencies. And it never judges the donor: a copy may lie as far out as its
donor does, give or take the flips, and a rejected record is drawn again from the same donor. Else the
group would lose its outliers: at 5,000 records from 255 people that moved frequencies by up to 14
standard errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import chi2

from genoweave.chunks import TILE_VARIANTS, ranges, tiles
from genoweave.execution import fold
from genoweave.genotypes import Packed, Source, read_packed, source_of, source_rows
from genoweave.kernels.channel import flip, slot_blocks, tables_of
from genoweave.kernels.fingerprints import fingerprints
from genoweave.kernels.gather import take_samples
from genoweave.kernels.packed import HET, HOM_ALT, HOM_REF, PAD_BYTE, width
from genoweave.kernels.scores import add_scores
from genoweave.kernels.transpose import transpose_codes
from genoweave.methods.synthesis.channel import Mechanism
from genoweave.rng import Stream

# Two fixed seeds of the record hash; records are compared within one run only.
_HASH_SEEDS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)
# Records judged at a time, with all their sums: 2 MB of genotypes turned round, 1 MB of scores.
_RECORDS = 8192
# Real records are read in tasks of this size, about 50 ms each. Rows of a .bed file come in pieces: shorter
# ones than 8 KB cost more to find than to read (1.9 -> 1.0 CPU seconds for 1.3 G genotypes).
_SAMPLES, _VARIANTS = 4 * _RECORDS, 2 * TILE_VARIANTS


@dataclass(frozen=True)
class Candidates:
    """Records to be: whose genotypes they copy, and where their draws are addressed."""

    donors: NDArray[np.int64]
    slots: NDArray[np.int64]
    attempt: int
    stream: Stream = field(repr=False)
    channel: Mechanism = field(repr=False)

    def part(self, which: Any) -> Candidates:
        """Return some of the candidates."""
        return Candidates(self.donors[which], self.slots[which], self.attempt, self.stream, self.channel)

    def packed(self, real: Packed, rows: NDArray[np.int64]) -> Packed:
        """Return perturbed copies of the donors' columns of `real`; `rows` address the variants."""
        out = np.full((len(real), width(len(self.donors))), PAD_BYTE, np.uint8)
        take_samples(real, self.donors, out)
        self.flip(out, rows, np.arange(len(self.slots)))
        return out

    def flip(self, out: Packed, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        """Perturb the donors' genotypes in their `columns` of `out` in place."""
        blocks, ends, places = slot_blocks(self.slots, columns)
        tables = tables_of(self.channel.transition)
        flip(out, rows, self.stream.key, self.attempt, blocks, ends, places, tables)


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
    """Fingerprint the cohort's records, and project their expected perturbed copies, in one pass.

    A task owns some thousand samples, so that its result and memory (30 MB) don't grow with the cohort.
    """
    n = ds.sizes["samples"]
    source = source_of(ds)
    image = channel.transition @ np.arange(3)
    items = [
        (*block, s0, s1)
        for block in ranges(ds.sizes["variants"], _VARIANTS)
        for s0, s1 in _sample_blocks(source)
    ]
    state: dict[str, Any] = {"scores": np.zeros((n, axes.n_components)), "hash": np.zeros((n, 2), np.uint64)}

    def add(state: dict[str, Any], index: int, part: tuple[NDArray, NDArray]) -> None:
        s0, s1 = items[index][2:]
        state["scores"][s0:s1] += part[0]
        state["hash"][s0:s1] += part[1]

    state = fold("real records", _real_block, items, state, add, shared=(source, axes, image))
    return RealRecords(np.unique(_as_records(state["hash"])), state["scores"])


def _sample_blocks(source: Source) -> Iterator[tuple[int, int]]:
    """Cut the samples where reading is cheap; a sample's sums don't depend on where."""
    start = 0
    for edge, after in pairwise([*source.sample_edges[1:], np.inf]):
        if after - start > _SAMPLES:
            yield from ((start + a, start + b) for a, b in ranges(int(edge) - start, _SAMPLES))
            start = int(edge)


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

    @property
    def n_components(self) -> int:
        """Leading components in use."""
        return self.loading.shape[1]

    def judge(self, codes: Packed, v0: int, values: NDArray[np.float64], sums: Sums) -> None:
        """Add one tile's part of the scores and hashes of some records.

        Parameters
        ----------
        codes
            uint8 (variants, bytes): the records' genotypes at the tile from `v0` on.
        values
            f8 (3,): what dosages 0, 1, 2 count; missing calls lie at the mean.
        sums
            Where the parts are added.
        """
        v1 = v0 + len(codes)
        turned = _turned(codes)
        fingerprints(turned, v0 // 32, _HASH_SEEDS, sums.hash)
        counts = np.zeros((v1 - v0, 4))
        for code, value in zip((HOM_REF, HET, HOM_ALT), values, strict=True):
            counts[:, code] = value - 2 * self.frequency[v0:v1]
        loading = np.zeros((v1 - v0, sums.scores.shape[1]))
        loading[:, : self.n_components] = self.loading[v0:v1]
        add_scores(turned, counts, loading, sums.scores)


class Sums:
    """Scores and hashes of some records, added up tile by tile."""

    def __init__(self, n_records: int, axes: Axes) -> None:
        self.n = n_records
        self.n_components = axes.n_components
        padded = 32 * -(-n_records // 32)
        self.scores = np.zeros((padded, 8 * -(-axes.n_components // 8)))
        self.hash = np.zeros((padded, 2), np.uint64)

    def parts(self) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
        """Return scores f8 (records, components) and hashes uint64 (records, 2)."""
        return np.ascontiguousarray(self.scores[: self.n, : self.n_components]), self.hash[: self.n]


def _turned(codes: Packed) -> NDArray[np.uint64]:
    """Return the same genotypes with records as rows, uint64 (records padded to 32, words of 32 variants)."""
    words = -(-codes.shape[1] // 8)
    padded = np.full((len(codes), 8 * words), PAD_BYTE, np.uint8)
    padded[:, : codes.shape[1]] = codes
    out = np.empty((32 * words, -(-len(codes) // 32)), np.uint64)
    transpose_codes(padded.view(np.uint64), out)
    return out


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

    Notes
    -----
    A task makes a tile's candidates. Its memory: a tile of the cohort, 256 bytes a sample, and the result,
    8 bytes per candidate and component.
    """
    n = sum(len(batch.slots) for batch in batches)
    state: dict[str, Any] = {"scores": np.zeros((n, axes.n_components)), "hash": np.zeros((n, 2), np.uint64)}
    shared = (source_of(ds), source_rows(ds), batches, axes)
    state = fold(label, _judge_tile, tiles(ds.sizes["variants"]), state, _add_judged, shared=shared)
    identical = np.isin(_as_records(state["hash"]), known)
    ends = np.cumsum([len(batch.slots) for batch in batches])[:-1]
    return list(zip(np.split(identical, ends), np.split(state["scores"], ends), strict=True))


def _as_records(hashes: NDArray[np.uint64]) -> NDArray[Any]:
    return np.ascontiguousarray(hashes).view([("a", np.uint64), ("b", np.uint64)]).ravel()


def _real_block(
    source: Source, axes: Axes, image: NDArray[np.float64], v0: int, v1: int, s0: int, s1: int
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Task: the images and hashes of some real records over some tiles."""
    blocks = list(ranges(s1 - s0, _RECORDS))
    sums = [Sums(b - a, axes) for a, b in blocks]
    for start, stop in tiles(v1 - v0):
        codes = read_packed(source, v0 + start, v0 + stop, s0, s1)
        for (a, b), own in zip(blocks, sums, strict=True):
            axes.judge(codes[:, a // 4 : width(b)], v0 + start, image, own)
    scores, hashes = zip(*(own.parts() for own in sums), strict=True)
    return np.concatenate(scores), np.concatenate(hashes)


def _judge_tile(
    source: Source, rows: NDArray[np.int64], batches: list[Candidates], axes: Axes, v0: int, v1: int
) -> tuple[NDArray[np.float64], NDArray[np.uint64]]:
    """Task: one tile's part of the candidates' scores and hashes."""
    real = read_packed(source, v0, v1)
    scores: list[NDArray[np.float64]] = []
    hashes: list[NDArray[np.uint64]] = []
    for batch in batches:
        for start, stop in ranges(len(batch.slots), _RECORDS):
            sums = Sums(stop - start, axes)
            codes = batch.part(slice(start, stop)).packed(real, rows[v0:v1])
            axes.judge(codes, v0, np.arange(3.0), sums)
            part = sums.parts()
            scores.append(part[0])
            hashes.append(part[1])
    return np.concatenate(scores), np.concatenate(hashes)


def _add_judged(state: dict[str, Any], _: int, part: tuple[NDArray, NDArray]) -> None:
    state["scores"] += part[0]
    state["hash"] += part[1]
