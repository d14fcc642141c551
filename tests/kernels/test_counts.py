"""Dosages, counts and fingerprints against plain loops."""

import helpers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genoweave.kernels import counts as kernels

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)
DOSAGES = hnp.arrays(np.int8, SHAPES, elements=st.integers(-1, 2))
SEEDS = np.array([11, 12], np.uint64)


@pytest.mark.parametrize(
    ("alleles", "dosage"),
    [
        ((0, 0), 0),
        ((0, 1), 1),
        ((1, 0), 1),
        ((1, 1), 2),
        ((-1, -1), -1),
        ((-1, 1), -1),
        ((0, -1), -1),
        ((0, -2), -1),
    ],
)
def test_dosages__one_call(alleles, dosage):
    out = np.empty((1, 1), np.int8)
    assert kernels.dosages(np.array([[alleles]], np.int8), out) <= 1
    assert out[0, 0] == dosage


@given(DOSAGES)
def test_unphased_calls__keep_the_dosage(dosage):
    calls, back = np.empty((*dosage.shape, 2), np.int8), np.empty_like(dosage)
    kernels.unphased_calls(dosage, calls)
    kernels.dosages(calls, back)
    assert (back == dosage).all()
    assert (calls[..., 0] <= calls[..., 1]).all()


def test_dosages__tells_of_a_third_allele():
    calls = np.zeros((2, 3, 2), np.int8)
    calls[1, 2] = 0, 3
    assert kernels.dosages(calls, np.empty((2, 3), np.int8)) == 3


@given(DOSAGES, st.data())
def test_genotype_counts__equal_plain_counting(dosage, data):
    n = dosage.shape[1]
    group = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=n, max_size=n)), np.int64)
    out = np.zeros((len(dosage), 3, 3), np.int64)
    kernels.genotype_counts(dosage, group, out)
    for k in range(3):
        for g in range(3):
            assert (out[:, k, g] == (dosage[:, group == k] == g).sum(axis=1)).all()


@given(DOSAGES)
def test_missing_by_sample__equals_plain_counting_and_adds(dosage):
    out = np.full(dosage.shape[1], 5, np.int64)
    kernels.missing_by_sample(dosage, out)
    assert (out == 5 + (dosage == -1).sum(axis=0)).all()


def fingerprint(dosage, first=0):
    out = np.zeros((dosage.shape[1], 2), np.uint64)
    kernels.fingerprints(dosage, np.arange(first, first + len(dosage), dtype=np.uint64), SEEDS, out)
    return out


@given(DOSAGES, st.integers(0, 20))
def test_fingerprints__sum_over_blocks(dosage, cut):
    cut = min(cut, len(dosage))
    parts = fingerprint(dosage[:cut]) + fingerprint(dosage[cut:], first=cut)
    assert (parts == fingerprint(dosage)).all()


def test_fingerprints__differ_where_one_call_differs():
    rng = np.random.default_rng(0)
    record = rng.integers(-1, 3, (300, 1)).astype(np.int8)
    others = np.repeat(record, 300, axis=1)
    np.fill_diagonal(others, np.where(record[:, 0] == 2, -1, record[:, 0] + 1))
    hashes = fingerprint(np.hstack([record, record, others]))
    assert (hashes[0] == hashes[1]).all()
    # 301 records, each half of the hash by itself: a collision once in 4e14
    assert len(np.unique(hashes[1:, 0])) == len(np.unique(hashes[1:, 1])) == 301


def test_helpers__calls_and_dosages_agree():
    dosage = np.array([[0, 1, 2, -1], [1, 1, -1, 0]], np.int8)
    out = np.empty_like(dosage)
    kernels.dosages(helpers.calls(dosage), out)
    assert (out == dosage).all()
