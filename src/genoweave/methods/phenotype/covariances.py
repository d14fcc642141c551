"""What each causal variant shares with a trait through itself and its causal neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.execution import fold
from genoweave.genotypes import Source, read_packed, select, source_of
from genoweave.kernels.packed import unpack_dosages

# Causal variants of a task, and samples of a matrix product: fixed, so that sums have the same bits.
_TILE, _SAMPLES = 64, 8192


def local_covariances(
    ds: xr.Dataset,
    rows: NDArray[np.int64],
    frequency: NDArray[np.float64],
    effect: NDArray[np.float64],
    group: NDArray[np.int64],
    window: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each causal variant's variance within groups, and its covariance with the genetic value nearby.

    Parameters
    ----------
    ds
        A cohort with ``call_genotype``.
    rows
        int64 (causal,): the causal variants, ascending.
    frequency
        float64 (causal,), of the counted allele; missing calls are at 2 x frequency.
    effect
        float64 (groups, causal, traits), per counted allele.
    group
        int64 (samples,): number of each sample's group, from 0.
    window
        Base pairs on the same contig within which causal variants count as neighbours.

    Returns
    -------
    variance, covariance
        float64 (groups, causal), of the dosage; (groups, causal, traits), of the dosage with the sum of
        neighbours' (itself too) dosages times effects. Divisor n.

    Notes
    -----
    Far causal variants are left out: with these a variant correlates by chance only, or through ancestry.
    Time: 2 samples x causal x neighbours operations. Memory: packed genotypes of two tiles of 64 variants,
    12 MB for 8,192 samples of these, 64 kB x groups, and 8 bytes x groups x causal x (traits + 1).
    """
    place = ds["variant_contig"].values[rows], ds["variant_position"].values[rows].astype(np.int64)
    source = source_of(select(ds, rows))
    groups, causal, traits = effect.shape
    state = {"variance": np.zeros((groups, causal)), "covariance": np.zeros((groups, causal, traits))}
    shared = (source, place, frequency, effect, group, window)
    items = list(ranges(causal, _TILE))

    def add(state: dict[str, Any], task: int, part: tuple[NDArray[np.float64], NDArray[np.float64]]) -> None:
        a, b = items[task]
        state["variance"][:, a:b], state["covariance"][:, a:b] = part

    state = fold("causal variants and their neighbours", _tile, items, state, add, shared=shared)
    return state["variance"], state["covariance"]


def _tile(
    source: Source,
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    frequency: NDArray[np.float64],
    effect: NDArray[np.float64],
    group: NDArray[np.int64],
    window: int,
    a: int,
    b: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Task: variances and covariances of causal variants a..b."""
    contig, position = place
    near = (contig[a:b, None] == contig) & (np.abs(position[a:b, None] - position) <= window)
    variance = np.empty((len(effect), b - a))
    covariance = np.zeros((len(effect), b - a, effect.shape[2]))
    own = _Centred(source, frequency, a, b)
    for low, high in ranges(len(contig), _TILE):
        if not near[:, low:high].any():
            continue
        others = own if low == a else _Centred(source, frequency, low, high)
        matrices = _covariance_matrices(own, others, group, len(effect))
        if low == a:
            variance = np.diagonal(matrices, axis1=1, axis2=2)
        covariance += np.matmul(matrices * near[:, low:high], effect[:, low:high])
    return variance, covariance


class _Centred:
    """Dosages of some causal variants less their mean, missing calls 0; samples are unpacked as wanted."""

    def __init__(self, source: Source, frequency: NDArray[np.float64], a: int, b: int) -> None:
        self.codes = read_packed(source, a, b)
        self.centre = 2 * frequency[a:b, None]
        self.n_samples = source.shape[1]

    def __len__(self) -> int:
        return len(self.centre)

    def of(self, s0: int, s1: int) -> NDArray[np.float64]:
        """Return samples s0..s1, s0 a multiple of 4, (variants, samples)."""
        packed = np.ascontiguousarray(self.codes[:, s0 // 4 : (s1 + 3) // 4])
        dosage = unpack_dosages(packed, s1 - s0)
        return np.where(dosage < 0, 0.0, dosage - self.centre)


def _covariance_matrices(
    own: _Centred, others: _Centred, group: NDArray[np.int64], groups: int
) -> NDArray[np.float64]:
    """Return the covariances within each group, (groups, own, others)."""
    products = np.zeros((groups, len(own), len(others)))
    sums = np.zeros((groups, len(own))), np.zeros((groups, len(others)))
    for s0, s1 in ranges(own.n_samples, _SAMPLES):
        x = own.of(s0, s1)
        y = x if others is own else others.of(s0, s1)
        for k in np.unique(group[s0:s1]):
            member = group[s0:s1] == k
            left, right = (x, y) if member.all() else (x[:, member], y[:, member])
            products[k] += left @ right.T
            sums[0][k] += left.sum(axis=1)
            sums[1][k] += right.sum(axis=1)
    n = np.maximum(np.bincount(group, minlength=groups), 1)[:, None]
    means = sums[0] / n, sums[1] / n
    return np.asarray(products / n[:, :, None] - means[0][:, :, None] * means[1][:, None, :])
