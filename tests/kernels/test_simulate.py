"""Simulated planes are the reference's, whichever way they are computed."""

import numpy as np
import pytest
from reference import simulate as reference

from genoweave.kernels import simulate as kernels

STREAM = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


def random_bits(rng, n):
    return rng.integers(0, 2, n, dtype=np.uint8)


def plane(bits):
    return np.packbits(bits, bitorder="little").view(np.uint64)


def bits_of(words):
    return np.unpackbits(words.view(np.uint8), bitorder="little")


def bernoulli(threshold, masks):
    n = masks.shape[1]
    out = np.full(n, 2**64 - 1, np.uint64)  # what was there before must not matter
    scratch = np.full((2, n), 3, np.uint64)
    stream = tuple(np.uint64(x) for x in STREAM)
    kernels._bernoulli(stream, np.array(threshold, np.uint32), masks, scratch[0], scratch[1], out)
    return bits_of(out)


@pytest.mark.parametrize("threshold", [[0, 2**32 - 1], [2**31, 1], [123_456_789, 40_000_000], [0, 0]])
def test_bernoulli__is_a_comparison_of_32_bits(threshold):
    rng = np.random.default_rng(1)
    group = rng.integers(0, 3, 64 * 40)  # 2: in no mask
    masks = np.stack([plane((group == k).astype(np.uint8)) for k in range(2)])
    found = bernoulli(threshold, masks)
    for i, k in enumerate(group):
        expected = k < 2 and reference.uniform(STREAM, 40, i) < threshold[k]
        assert found[i] == expected


@pytest.mark.parametrize("share", [0.5, 0.1, 0.003])
def test_bernoulli__rate(share):
    masks = np.full((1, 2000), 2**64 - 1, np.uint64)
    n = 128_000
    z = (bernoulli([round(share * 2**32)], masks).sum() - n * share) / np.sqrt(n * share * (1 - share))
    assert abs(z) < 5  # one false alarm in 1.7 million streams


def pedigree(rng, n):
    """Return links to the later half of n people: children of random earlier people or copies of one."""
    rows = []
    for i in range(n // 2, n):
        father, mother = rng.choice(i, 2, replace=False)
        rows.append((i, father, mother) if rng.random() < 0.8 else (i, father, -1))
    return np.array(rows, np.int64)


def parents_lists(links, n):
    lists = [[j for j, row in enumerate(links) if i in row[1:]] for i in range(n)]
    first = np.concatenate([[0], np.cumsum([len(one) for one in lists])])
    return first, np.array([j for one in lists for j in one], np.int64)


@pytest.mark.parametrize("frequency", [0.0, 0.01, 0.3, 1.0])
def test_descend__both_ways_give_the_reference(frequency):
    rng = np.random.default_rng(3)
    n = 64 * 5
    links = pedigree(rng, n)
    founders = (rng.random((2, n)) < frequency).astype(np.uint8)
    founders[:, n // 2 :] = 0
    expected = founders.tolist()
    for j, (child, father, mother) in enumerate(links.tolist()):
        word = reference.mix(j // 32, *STREAM)
        coins = [word >> 2 * (j % 32) & 1, word >> 2 * (j % 32) + 1 & 1]
        pair = (
            [expected[0][father], expected[1][father]]
            if mother < 0
            else reference.child([father, mother], coins, expected)
        )
        expected[0][child], expected[1][child] = pair
    stream = tuple(np.uint64(x) for x in STREAM)
    whole = np.stack([plane(founders[0]), plane(founders[1])])
    sparse = whole.copy()
    kernels._descend(stream, links, whole)
    kernels._descend_from_carriers(stream, links, *parents_lists(links, n), sparse)
    for planes in (whole, sparse):
        assert [bits_of(planes[0]).tolist(), bits_of(planes[1]).tolist()] == expected


def test_pack__codes_are_those_of_a_bed_file():
    rng = np.random.default_rng(4)
    planes = [random_bits(rng, 192) for _ in range(3)]
    out = np.empty(6, np.uint64)
    kernels._pack(*(plane(one) for one in planes), out)
    codes = out.view(np.uint8)[:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    expected = [
        reference.code((a, b), bool(m)) for a, b, m in zip(*(p.tolist() for p in planes), strict=True)
    ]
    assert codes.ravel().tolist() == expected


@pytest.mark.parametrize("fault", [kernels.HET_EXCESS, kernels.HET_DEFICIT])
def test_plant_fault__changes_the_chosen_calls_only(fault):
    rng = np.random.default_rng(5)
    first, second, chosen = (random_bits(rng, 256) for _ in range(3))
    planes = np.stack([plane(first), plane(second)])
    kernels._plant_fault(fault, plane(chosen), planes)
    after = bits_of(planes[0]), bits_of(planes[1])
    if fault == kernels.HET_EXCESS:
        expected = np.where(chosen, 1, first), np.where(chosen, 0, second)
    else:
        expected = first, np.where(chosen, first, second)
    assert after[0].tolist() == expected[0].tolist()
    assert after[1].tolist() == expected[1].tolist()
