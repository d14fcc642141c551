"""The genotype channel on packed genotypes: each code is replaced by a draw from its row of a 3 x 3 matrix.

Few genotypes change, so the changes are found by their gaps. Records stand in slots, and slots in blocks of
8,192. Along a block of a variant, gaps are geometric at the largest rate at which any genotype changes; at
each place so found the genotype's own row decides what becomes of it, which may be what it was. A block's
draws are the 64-bit words w = 0, 1, 2, ... of its own stream, at columns 2 (8192 block + w) and the next one
of (key, variant's row, attempt): the first half gives the gap, the second the choice. So a record's draws
depend on its slot and attempt, not on which other slots are wanted.

A gap's cumulative probabilities and the choice's are rounded to the nearest 2**-32. Gaps longer than the
table are exact: the walk goes on from there, since a geometric gap has no memory.

At SynGen6's epsilon 6, where 0.5 % change: 16 ns a genotype with a word for each, 0.05 ns with gaps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genoweave.kernels._compile import inlined, kernel, part
from genoweave.kernels.packed import HET, HOM_ALT, HOM_REF
from genoweave.kernels.random import GROUP_WORDS, LANES, chacha20_lanes

BLOCK_SLOTS = 8192
_CHUNKS = 2 * BLOCK_SLOTS // 16  # ChaCha blocks that a block of slots may need: a 64-bit word a slot
_GUIDE_BITS = 12
_LONGEST = 2048
_MOST_AHEAD = 8
_CODES = (HOM_REF, HET, HOM_ALT)  # of dosages 0, 1, 2


class Tables(NamedTuple):
    """A channel as thresholds of 32-bit words; see `tables_of`.

    Attributes
    ----------
    rate
        Share of the genotypes that are looked at.
    cumulative
        uint64 (longest + 1,): a word of at least cumulative[k] gives a gap above k; the last ends the search.
    guide
        int16 (4096,): the smallest gap of words with these leading bits.
    accept
        uint64 (4, 2), by code: words below the first threshold give the first alternative, below the second
        the second, others no change.
    change
        uint8 (4, 4), by code: the bits that differ in the two alternatives; 0 for no change; unused.
    """

    rate: float
    cumulative: NDArray[np.uint64]
    guide: NDArray[np.int16]
    accept: NDArray[np.uint64]
    change: NDArray[np.uint8]


def tables_of(transition: NDArray[np.float64]) -> Tables:
    """Return the tables of a channel whose row g, f8 (3, 3), holds the probabilities of dosages 0, 1, 2."""
    alternatives = [[h for h in range(3) if h != g] for g in range(3)]
    leaving = np.array([[transition[g, h] for h in alternatives[g]] for g in range(3)])
    rate = min(1.0, float(leaving.sum(axis=1).max()))
    accept = np.zeros((4, 2), np.uint64)
    change = np.zeros((4, 4), np.uint8)
    for g, code in enumerate(_CODES):
        if rate > 0:
            accept[code] = np.round(np.minimum(1, np.cumsum(leaving[g]) / rate) * 2.0**32).astype(np.uint64)
        change[code, :2] = [code ^ _CODES[h] for h in alternatives[g]]
    cumulative = _gap_thresholds(rate)
    cells = np.arange(1 << _GUIDE_BITS, dtype=np.uint64) << np.uint64(32 - _GUIDE_BITS)
    guide = np.searchsorted(cumulative, cells, side="right").astype(np.int16)
    return Tables(rate, cumulative, guide, accept, change)


def _gap_thresholds(rate: float) -> NDArray[np.uint64]:
    """P(gap <= k) in units of 2**-32 for gaps up to four means, at most 2,047; then what no word reaches."""
    longest = _LONGEST if rate <= 0 else int(min(_LONGEST, np.ceil(4 / rate)))
    with np.errstate(divide="ignore"):
        shares = -np.expm1(np.arange(1, longest + 1) * np.log1p(-rate))
    return np.append(np.round(shares * 2.0**32), 2.0**33).astype(np.uint64)


def slot_blocks(
    slots: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Tell `flip` where the records of `slots` (distinct) stand: in `columns` of its `out`.

    Returns
    -------
    blocks : int64 (blocks,)
        The blocks that hold any of the slots.
    ends : int64 (blocks,)
        Their slots up to the last wanted one.
    places : int32 (blocks, 8192)
        Column of each slot, -1 where it is not wanted.
    """
    block, offset = np.divmod(np.asarray(slots, np.int64), BLOCK_SLOTS)
    blocks, which = np.unique(block, return_inverse=True)
    ends = np.zeros(len(blocks), np.int64)
    np.maximum.at(ends, which, offset + 1)
    places = np.full((len(blocks), BLOCK_SLOTS), -1, np.int32)
    places[which, offset] = columns
    return blocks, ends, places


@kernel
def flip(out, rows, key, attempt, blocks, ends, places, tables):
    """Pass the packed genotypes of `out`, uint8 (variants, bytes), through the channel, in place.

    `rows` int64 (variants,) and `attempt` address the draws under `key` uint32 (8,); `blocks`, `ends` and
    `places` from `slot_blocks`; `tables` from `tables_of`. Missing calls and columns without a slot stay.
    """
    rate, cumulative, guide, accept, change = tables
    attempt = np.uint32(attempt)
    words = np.empty(_MOST_AHEAD * GROUP_WORDS, np.uint32)
    counter = np.empty(LANES, np.uint32)
    low = np.empty(LANES, np.uint32)
    high = np.empty(LANES, np.uint32)
    found = np.empty((2, 8 * LANES), np.uint32)
    for first in range(0, out.shape[0], LANES):
        lanes = min(LANES, out.shape[0] - first)
        for b in range(blocks.shape[0]):
            # A lane is a variant here: a small block needs few words of each of many variants.
            for lane in range(LANES):
                row = rows[first + min(lane, lanes - 1)]
                low[lane] = np.uint32(row & 0xFFFFFFFF)
                high[lane] = np.uint32((row >> 32) & 0xFFFFFFFF)
            ahead = _chunks_ahead(ends[b], rate, cumulative.shape[0] - 1)
            chunk = blocks[b] * _CHUNKS
            for c in range(ahead):
                counter[:] = np.uint32(chunk + c)
                chacha20_lanes(key, counter, low, high, attempt, words[c * GROUP_WORDS :])
            for lane in range(lanes):
                v = first + lane
                position, n = _walk(np.uint64(0), ends[b], words, lane, 8 * ahead, cumulative, guide, found)
                _change(out, v, places, b, found, n, accept, change)
                if position < np.uint64(ends[b]):
                    _walk_on(
                        out, v, places, b, position, ends[b], key, rows[v], attempt, chunk + ahead, found,
                        cumulative, guide, accept, change,
                    )  # fmt: skip


@inlined
def _chunks_ahead(slots, rate, longest):
    """ChaCha blocks that mostly suffice for the gaps of so many slots: two standard deviations to spare."""
    gaps = slots * max(rate, 1.0 / longest)
    return min(_MOST_AHEAD, int((gaps + 2 * np.sqrt(gaps)) / 8) + 1)


@part
def _walk(position, end, words, lane, draws, cumulative, guide, found):
    """Note the slots to look at, and the words that choose, of the next draws of one variant.

    Draw i takes words[lane + 32 i] for its gap and the word 16 further for its choice. Returns the slot after
    the last draw (`end` or beyond if that was reached) and how many were found. Unsigned arithmetic saves
    the look at negative indices, and finding apart from changing keeps a wrong guess at a branch cheap.
    """
    end = np.uint64(end)
    longest = np.uint64(cumulative.shape[0] - 1)
    n = np.uint64(0)
    at = np.uint64(lane)
    last = np.uint64(lane + 2 * LANES * draws)
    while at < last:
        word = np.uint64(words[at])
        gap = np.uint64(guide[word >> np.uint64(32 - _GUIDE_BITS)])
        gap += np.uint64(word >= cumulative[gap])
        while word >= cumulative[gap]:
            gap += np.uint64(1)
        position += gap
        if position >= end:
            break
        is_place = np.uint64(gap < longest)
        found[0, n] = np.uint32(position)
        found[1, n] = words[at + np.uint64(LANES)]
        n += is_place
        position += is_place
        at += np.uint64(2 * LANES)
    return position, n


@part
def _change(out, v, places, b, found, n, accept, change):
    """Replace the codes of variant v at the `n` slots of found[0] by what the words of found[1] choose."""
    three = np.uint8(3)
    i = np.uint64(0)
    while i < n:
        column = places[b, np.uint64(found[0, i])]
        if column >= 0:
            byte = np.uint64(column) >> np.uint64(2)
            at = np.uint8(2) * (np.uint8(column) & three)
            code = np.uint64((out[v, byte] >> at) & three)
            word = np.uint64(found[1, i])
            choice = np.uint64(word >= accept[code, 0]) + np.uint64(word >= accept[code, 1])
            out[v, byte] ^= change[code, choice] << at
        i += np.uint64(1)


@kernel
def _walk_on(
    out, v, places, b, position, end, key, row, attempt, chunk, found, cumulative, guide, accept, change
):
    """Walk to the end of a block with 16 ChaCha blocks of one variant at a time, from `chunk` on."""
    words = np.empty(GROUP_WORDS, np.uint32)
    counter = np.empty(LANES, np.uint32)
    low = np.full(LANES, np.uint32(row & 0xFFFFFFFF))
    high = np.full(LANES, np.uint32((row >> 32) & 0xFFFFFFFF))
    while position < np.uint64(end):
        for lane in range(LANES):
            counter[lane] = np.uint32(chunk + lane)
        chacha20_lanes(key, counter, low, high, attempt, words)
        for lane in range(LANES):
            if position < np.uint64(end):
                position, n = _walk(position, end, words, lane, 8, cumulative, guide, found)
                _change(out, v, places, b, found, n, accept, change)
        chunk += LANES
