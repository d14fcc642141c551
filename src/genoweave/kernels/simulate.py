"""Simulated genotypes as bit-planes: one variant and one block of samples at a time.

A block is `BLOCK_SAMPLES` neighbouring samples and the hidden parents of some of them; families don't cross
its borders, so that it is drawn without the others. Person i is bit i % 64 of word i // 64: the hidden people
first, then, from a whole word on, those of the cohort. Parents stand before their children.

Random words come from a counter-based generator (the finaliser of SplitMix64 with a 128-bit address), not
from ChaCha20: nothing here is secret, and ChaCha20 alone would take ten times as long as all the rest.
"""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import inlined, kernel, part

BLOCK_SAMPLES = 8192
CLEAN, HET_EXCESS, HET_DEFICIT = 0, 1, 2  # what is planted in a variant

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_WEYL = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_S1, _S2, _S4, _S8, _S16, _S32 = (np.uint64(1 << k) for k in range(6))
_M1 = np.uint64(0x5555555555555555)
_M2 = np.uint64(0x3333333333333333)
_M4 = np.uint64(0x0F0F0F0F0F0F0F0F)
_M8 = np.uint64(0x00FF00FF00FF00FF)
_M16 = np.uint64(0x0000FFFF0000FFFF)
_LOW32 = np.uint64(0xFFFFFFFF)
_BITS = 32  # of a probability
_SHARED_BITS = 10  # compared for all samples of a block

# Numbers of the streams of one variant and block.
_FIRST, _SECOND, _MISSING, _FAULT, _COINS = range(5)

# Above this allele frequency all links of a block are walked through, below only those of carriers.
_SPARSE = np.uint32(0.02 * 2**32)


@inlined
def _mix(counter, a, b):
    """Return the random word of an address: a counter and the two words of a stream."""
    x = counter * _WEYL + a
    x = ((x ^ (x >> _S30)) * _MIX1) ^ b
    x = (x ^ (x >> _S27)) * _MIX2
    return x ^ (x >> _S31)


@inlined
def _stream(seed, variant, block, number):
    """Return the two words that address a stream."""
    row = np.uint64(variant)
    column = (np.uint64(block) << np.uint64(3)) | np.uint64(number)
    return _mix(row, seed, column), _mix(column, seed ^ _ALL, row)


@kernel
def _bernoulli(stream, threshold, masks, equal, wanted, out):
    """Set each bit of `out` that a mask holds with probability threshold[k] / 2**32 of its mask k.

    `masks` uint64 (k, words), disjoint; `equal` and `wanted` are scratch (words,). Random bits are compared
    with the thresholds' bits, the highest first, 64 samples at a time. After `_SHARED_BITS` rounds one in a
    thousand samples is undecided, and their words are settled one by one (1.1 -> 1.3 G calls/s).
    """
    n = out.shape[0]
    for w in range(n):
        out[w] = _ZERO
        equal[w] = masks[0, w]
    for k in range(1, masks.shape[0]):
        for w in range(n):
            equal[w] |= masks[k, w]
    counter = _ZERO
    for bit in range(_BITS - 1, _BITS - 1 - _SHARED_BITS, -1):
        _compare(stream, counter, np.uint32(bit), threshold, masks, equal, wanted, out)
        counter += np.uint64(n)
    for w in range(n):
        if equal[w] != _ZERO:
            _settle(stream, counter + np.uint64(w), threshold, masks, w, equal[w], out)


@kernel
def _compare(stream, counter, bit, threshold, masks, equal, wanted, out):
    """Compare one bit: smaller than the threshold's is in, greater is out, equal stays undecided."""
    n = out.shape[0]
    a, b = stream
    none = True
    for k in range(masks.shape[0]):
        if (threshold[k] >> bit) & np.uint32(1):
            if none:
                for w in range(n):
                    wanted[w] = masks[k, w]
            else:
                for w in range(n):
                    wanted[w] |= masks[k, w]
            none = False
    if none:  # the usual case of rare alleles
        for w in range(n):
            equal[w] &= ~_mix(counter + np.uint64(w), a, b)
        return
    for w in range(n):
        random = _mix(counter + np.uint64(w), a, b)
        out[w] |= equal[w] & wanted[w] & ~random
        equal[w] &= ~(random ^ wanted[w])


@kernel
def _settle(stream, counter, threshold, masks, w, equal, out):
    """Compare the bits that are left for one word."""
    n = np.uint64(out.shape[0])
    for bit in range(_BITS - 1 - _SHARED_BITS, -1, -1):
        wanted = _ZERO
        for k in range(masks.shape[0]):
            if (threshold[k] >> np.uint32(bit)) & np.uint32(1):
                wanted |= masks[k, w]
        random = _mix(counter, stream[0], stream[1])
        out[w] |= equal & wanted & ~random
        equal &= ~(random ^ wanted)
        if equal == _ZERO:
            return
        counter += n


@part
def _bit(plane, i):
    return (plane[i >> 6] >> np.uint64(i & 63)) & _ONE


@part
def _set(plane, i, value):
    plane[i >> 6] |= value << np.uint64(i & 63)


@part
def _coin(stream, j):
    return (_mix(np.uint64(j >> 6), stream[0], stream[1]) >> np.uint64(j & 63)) & _ONE


@kernel
def _descend(stream, links, planes):
    """Fill in children and copies: `links` int64 (n, 3), (child, father, mother) or (copy, original, -1)."""
    coins = _ZERO
    for j in range(links.shape[0]):
        child, father, mother = links[j, 0], links[j, 1], links[j, 2]
        if j & 31 == 0:
            coins = _mix(np.uint64(j >> 5), stream[0], stream[1])
        if mother < 0:
            _set(planes[0], child, _bit(planes[0], father))
            _set(planes[1], child, _bit(planes[1], father))
        else:
            _set(planes[0], child, _bit(planes[np.int64(coins & _ONE)], father))
            _set(planes[1], child, _bit(planes[np.int64((coins >> _S1) & _ONE)], mother))
        coins >>= _S2


@kernel
def _descend_from_carriers(stream, links, first_link, link_of, planes):
    """Do the same where few people carry the allele; gives the same planes.

    The links of person i as a parent are link_of[first_link[i]:first_link[i + 1]].
    """
    for w in range(planes.shape[1]):
        done = _ZERO
        while True:
            left = (planes[0, w] | planes[1, w]) & ~done
            if left == _ZERO:
                break
            lowest = left & (~left + _ONE)
            done |= lowest
            i = 64 * w + _position(lowest)
            for at in range(first_link[i], first_link[i + 1]):
                j = link_of[at]
                child, mother = links[j, 0], links[j, 2]
                if mother < 0:
                    _set(planes[0], child, _bit(planes[0], i))
                    _set(planes[1], child, _bit(planes[1], i))
                else:
                    side = np.int64(mother == i)
                    coin = np.int64(_coin(stream, 2 * j + side))
                    _set(planes[side], child, _bit(planes[coin], i))


@inlined
def _position(lowest):
    """Return the number of the only bit that is set."""
    place = 0
    while lowest >> np.uint64(place) != _ONE:
        place += 1
    return place


@kernel
def _plant_fault(fault, chosen, planes):
    """Misread the chosen calls: homozygotes as heterozygotes, or heterozygotes as the first allele twice."""
    for w in range(chosen.shape[0]):
        first, second, mask = planes[0, w], planes[1, w], chosen[w]
        if fault == HET_EXCESS:
            planes[0, w] = first | mask
            planes[1, w] = second & ~mask
        else:
            planes[1, w] = (second & ~mask) | (first & mask)


@inlined
def _spread(x):
    """Move bit i of the lower 32 to bit 2 i."""
    x &= _LOW32
    x = (x | (x << _S16)) & _M16
    x = (x | (x << _S8)) & _M8
    x = (x | (x << _S4)) & _M4
    x = (x | (x << _S2)) & _M2
    return (x | (x << _S1)) & _M1


@kernel
def _pack(first, second, missing, out):
    """Write the .bed codes of bit-planes (words,) to `out` uint64 (2 words,)."""
    for w in range(first.shape[0]):
        low = missing[w] | ~(first[w] | second[w])
        high = ~(missing[w] | (first[w] & second[w]))
        out[2 * w] = _spread(low) | (_spread(high) << _S1)
        out[2 * w + 1] = _spread(low >> _S32) | (_spread(high >> _S32) << _S1)


@kernel
def simulate_variants(
    seed,
    first_variant,
    allele,
    missing,
    fault,
    fault_share,
    block,
    groups,
    classes,
    links,
    first_link,
    link_of,
    out,
):
    """Draw the codes of one block of samples at consecutive variants.

    Parameters
    ----------
    seed
        uint64; with the number of the variant and the `block` it addresses all randomness.
    first_variant
        Number of the variant of row 0.
    allele
        uint32 (variants, groups), allele frequency of a group times 2**32.
    missing
        uint32 (variants, classes), share of missing calls of a class of samples times 2**32.
    fault, fault_share
        uint8 and uint32 (variants,): what is misread, and the share of calls times 2**32.
    block
        Number of the block.
    groups
        uint64 (groups, words): the founders of each group, hidden ones included, as bits.
    classes
        uint64 (classes, words of the cohort): the samples of each class of missingness.
    links, first_link, link_of
        See `_descend` and `_descend_from_carriers`.
    out
        uint8 (variants, bytes); bytes of the block's codes, the last ones may be fewer than a whole block's.
    """
    n_words, n_visible = groups.shape[1], classes.shape[1]
    hidden = n_words - n_visible
    planes = np.empty((2, n_words), np.uint64)
    equal = np.empty(n_words, np.uint64)
    wanted = np.empty(n_words, np.uint64)
    mask = np.empty(n_visible, np.uint64)
    codes = np.empty(2 * n_visible, np.uint64)
    everyone = np.full((1, n_visible), _ALL)
    share = np.empty(1, np.uint32)
    for row in range(out.shape[0]):
        v = first_variant + row
        _bernoulli(_stream(seed, v, block, _FIRST), allele[row], groups, equal, wanted, planes[0])
        _bernoulli(_stream(seed, v, block, _SECOND), allele[row], groups, equal, wanted, planes[1])
        coins = _stream(seed, v, block, _COINS)
        if allele[row].max() > _SPARSE:
            _descend(coins, links, planes)
        else:
            _descend_from_carriers(coins, links, first_link, link_of, planes)
        visible = planes[:, hidden:]
        if fault[row] != CLEAN:
            share[0] = fault_share[row]
            _bernoulli(_stream(seed, v, block, _FAULT), share, everyone, equal, wanted, mask)
            _plant_fault(fault[row], mask, visible)
        _bernoulli(_stream(seed, v, block, _MISSING), missing[row], classes, equal, wanted, mask)
        _pack(visible[0], visible[1], mask, codes)
        out[row] = codes.view(np.uint8)[: out.shape[1]]
