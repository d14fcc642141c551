"""Sums over variants of coded genotypes times effects, of many columns in one pass over the genotypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import TILE_VARIANTS, ranges, tiles
from genoweave.execution import fold
from genoweave.genotypes import SelectedSource, Source, read_packed, select, source_of
from genoweave.kernels.packed import HET, HOM_ALT, HOM_REF, PAD_BYTE, unpack_dosages, width
from genoweave.kernels.scores import add_scores
from genoweave.kernels.transpose import transpose_codes

Float = NDArray[np.float64]

# Partial sums of a task are samples x columns; more columns take another pass.
_COLUMNS_AT_ONCE = 64
# Samples that are transposed together, in the caches; variants read together where they stand alone.
_SAMPLES = 4096
_BLOCK_BYTES = 4 * 2**20
_PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class Columns:
    """Effects to be multiplied with one coding of the genotypes.

    Attributes
    ----------
    coding
        f8 (variants, 3): values of the genotypes with 0, 1, 2 counted alleles; missing calls count 0.
    effects
        f8 (copies, variants, columns): the same for all samples, or one copy per group of samples.
    """

    coding: Float
    effects: Float


def additive_coding(frequency: Float) -> Float:
    """Return (g - 2p) / sqrt(2p(1-p)) for g = 0, 1, 2, f8 (variants, 3); 0 where a variant does not vary."""
    return _scaled(np.arange(3.0) - 2 * frequency[:, None], np.sqrt(2 * frequency * (1 - frequency)))


def dominance_coding(frequency: Float) -> Float:
    """Return the deviation from additivity, -p/q, 1, -q/p for g = 0, 1, 2, f8 (variants, 3).

    Mean 0, variance 1 and uncorrelated with the additive coding under Hardy-Weinberg equilibrium [1].

    [1] Vitezica et al. 2013, Genetics 195:1223.
    """
    p, q = frequency, 1 - frequency
    return _scaled(np.stack([-2 * p**2, 2 * p * q, -2 * q**2], axis=1), 2 * p * q)


def _scaled(values: Float, scale: Float) -> Float:
    varies = scale > 0  # NaN does not
    return np.divide(values, scale[:, None], out=np.zeros_like(values), where=varies[:, None])


def products(ds: xr.Dataset, terms: Sequence[Columns], group: NDArray[np.int64]) -> list[Float]:
    """Return for each term the sums over variants of coding x effect, f8 (samples, columns).

    Parameters
    ----------
    ds
        A cohort with ``call_genotype``.
    terms
        Codings and effects; only the variants with an effect are read.
    group
        int64 (samples,): which copy of the effects is a sample's, where there are several.

    Notes
    -----
    One pass for up to 64 columns. Sums run over words of 32 variants in fixed tiles of 1,024. Memory: a tile
    of packed genotypes and samples x columns x 8 bytes a task.
    """
    acts = np.zeros(ds.sizes["variants"], bool)
    for one in terms:
        acts |= (one.effects != 0).any(axis=(0, 2))
    rows = np.flatnonzero(acts)
    source = source_of(select(ds, rows))
    out = [np.empty((ds.sizes["samples"], one.effects.shape[2])) for one in terms]
    batches = _batches(terms)
    for i, batch in enumerate(batches):
        loads = [_load(terms[term], rows, a, b) for term, a, b in batch]
        label = "genetic values" if len(batches) == 1 else f"genetic values, part {i + 1} of {len(batches)}"
        found = _pass(source, loads, group, label)
        for (term, a, b), values in zip(batch, found, strict=True):
            out[term][:, a:b] = values[:, : b - a]
    return out


def _batches(terms: Sequence[Columns]) -> list[list[tuple[int, int, int]]]:
    """Cut the terms' columns into batches: lists of (term, first column, last column)."""
    batches: list[list[tuple[int, int, int]]] = [[]]
    room = _COLUMNS_AT_ONCE
    for i, term in enumerate(terms):
        start, stop = 0, term.effects.shape[2]
        while start < stop:
            if room == 0:
                batches.append([])
                room = _COLUMNS_AT_ONCE
            step = min(room, stop - start)
            batches[-1].append((i, start, start + step))
            start, room = start + step, room - step
    return batches


def _load(term: Columns, rows: NDArray[np.int64], a: int, b: int) -> tuple[Float, Float]:
    """Return values f8 (variants, 4) by code and effects f8 (copies, variants, columns padded to 8)."""
    values = np.zeros((len(rows), 4))
    values[:, [HOM_REF, HET, HOM_ALT]] = term.coding[rows]
    effects = np.zeros((len(term.effects), len(rows), 8 * -(-(b - a) // 8)))
    effects[..., : b - a] = term.effects[:, rows, a:b]
    return values, effects


def _pass(
    source: Source, loads: list[tuple[Float, Float]], group: NDArray[np.int64], label: str
) -> list[Float]:
    n = source.shape[1]
    state = {"sums": [np.zeros((n, effects.shape[2])) for _, effects in loads]}
    state = fold(label, _sums_of_tile, tiles(source.shape[0]), state, _add, shared=(source, loads, group))
    return list(state["sums"])


def _add(state: dict[str, Any], _: int, part: list[Float]) -> None:
    for total, more in zip(state["sums"], part, strict=True):
        total += more


def _sums_of_tile(
    source: Source, loads: list[tuple[Float, Float]], group: NDArray[np.int64], v0: int, v1: int
) -> list[Float]:
    """Task: one tile's part of everybody's sums."""
    out = [np.zeros((source.shape[1], effects.shape[2])) for _, effects in loads]
    for a, b, s0, s1 in _blocks(source, v0, v1):
        codes = read_packed(source, a, b, s0, s1)
        for c0, c1 in ranges(s1 - s0, _SAMPLES):
            words = _samples_as_rows(codes[:, c0 // 4 : width(c1)])[: c1 - c0]
            for total, (values, effects) in zip(out, loads, strict=True):
                own = group[s0 + c0 : s0 + c1] if len(effects) > 1 else None
                _add_block(words, values[a:b], effects[:, a:b], own, total[s0 + c0 : s0 + c1])
    return out


def _add_block(
    words: NDArray[np.uint64], values: Float, effects: Float, group: NDArray[np.int64] | None, out: Float
) -> None:
    """Add some variants' part of some samples' sums, each by its own group's effects."""
    if group is None:
        add_scores(words, values, np.ascontiguousarray(effects[0]), out)
        return
    for k in np.unique(group):
        rows = np.flatnonzero(group == k)
        part = np.ascontiguousarray(out[rows])
        add_scores(np.ascontiguousarray(words[rows]), values, np.ascontiguousarray(effects[k]), part)
        out[rows] = part


def _blocks(source: Source, v0: int, v1: int) -> list[tuple[int, int, int, int]]:
    """Cut a tile into blocks of whole words of 32 variants, so that sums don't depend on the cut."""
    found = []
    for s0, s1 in pairwise(source.sample_edges):
        step = TILE_VARIANTS
        if source.row_block == 1:
            step = min(step, max(32, _BLOCK_BYTES // width(s1 - s0) // 32 * 32)) if s1 > s0 else step
        found += [(v0 + a, v0 + b, s0, s1) for a, b in ranges(v1 - v0, step)]
    return found


def _samples_as_rows(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return packed genotypes (variants, bytes of samples) as (samples, words of 32 variants)."""
    n_words = -(-codes.shape[1] // 8)
    padded = np.full((len(codes), 8 * n_words), PAD_BYTE, np.uint8)
    padded[:, : codes.shape[1]] = codes
    turned = np.empty((32 * n_words, -(-len(codes) // 32)), np.uint64)
    transpose_codes(padded.view(np.uint64), turned)
    return turned


def pair_products(ds: xr.Dataset, pairs: NDArray[np.int64], coding: Float, effects: Float) -> Float:
    """Return the sums over pairs of variants of coding x coding x effect, f8 (samples, columns).

    Parameters
    ----------
    ds
        A cohort with ``call_genotype``.
    pairs
        int64 (pairs, 2), rows of variants.
    coding
        f8 (variants, 3).
    effects
        f8 (pairs, columns).

    Notes
    -----
    A pass over the pairs' variants for every 256 pairs, a task each: 128 bytes of packed genotypes and
    8 bytes x columns a sample.
    """
    rows = np.unique(pairs)
    places = np.searchsorted(rows, pairs)
    values = np.zeros((len(rows), 4))  # by dosage, the last (-1) for missing calls
    values[:, :3] = coding[rows]
    state = {"sums": np.zeros((ds.sizes["samples"], effects.shape[1]))}
    shared = (source_of(ds), rows, places, values, np.ascontiguousarray(effects))
    items = list(ranges(len(pairs), _PAIRS_AT_ONCE))
    return fold("pairs of variants", _sums_of_pairs, items, state, _add_sums, shared=shared)["sums"]


def _add_sums(state: dict[str, Any], _: int, part: Float) -> None:
    state["sums"] += part


def _sums_of_pairs(
    source: Source,
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
    values: Float,
    effects: Float,
    a: int,
    b: int,
) -> Float:
    """Task: some pairs' part of everybody's sums; pairs are added in their order."""
    used, within = np.unique(places[a:b], return_inverse=True)
    within = within.reshape(-1, 2)
    n = source.shape[1]
    out = np.zeros((n, effects.shape[1]))
    coded = values[used]
    packed = read_packed(SelectedSource(source, rows[used], np.arange(n)), 0, len(used))
    for s0, s1 in ranges(n, _SAMPLES):
        dosage = unpack_dosages(packed[:, s0 // 4 : width(s1)], s1 - s0)
        x = np.take_along_axis(coded, np.where(dosage < 0, 3, dosage).astype(np.int64), axis=1)
        for i, (left, right) in enumerate(within):
            out[s0:s1] += (x[left] * x[right])[:, None] * effects[a + i]
    return out
