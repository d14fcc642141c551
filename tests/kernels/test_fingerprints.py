"""Fingerprints of records: sums of hashes of words, equal for equal records only."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genoweave.kernels.fingerprints import fingerprints

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)
SEEDS = np.array([11, 12], np.uint64)


WORDS = hnp.arrays(np.uint64, SHAPES, elements=st.integers(0, 2**64 - 1))


def fingerprint(words, first=0):
    out = np.zeros((len(words), 2), np.uint64)
    fingerprints(np.ascontiguousarray(words), first, SEEDS, out)
    return out


@given(WORDS, st.integers(0, 20))
def test_fingerprints__sum_over_blocks(words, cut):
    cut = min(cut, words.shape[1])
    parts = fingerprint(words[:, :cut]) + fingerprint(words[:, cut:], first=cut)
    assert (parts == fingerprint(words)).all()


def test_fingerprints__differ_where_one_call_differs():
    rng = np.random.default_rng(0)
    record = rng.integers(0, 2**64, (1, 10), np.uint64, endpoint=False)
    others = np.repeat(record, 640, axis=0)
    for i in range(640):  # each bit of each of the 320 calls
        others[i, i // 64] ^= np.uint64(1) << np.uint64(i % 64)
    hashes = fingerprint(np.vstack([record, record, others]))
    assert (hashes[0] == hashes[1]).all()
    # 641 records, each half of the hash by itself: a collision once in 9e13
    assert len(np.unique(hashes[1:, 0])) == len(np.unique(hashes[1:, 1])) == 641


def test_fingerprints__depend_on_the_place_of_a_word():
    words = np.array([[1, 2], [2, 1]], np.uint64)
    assert (fingerprint(words)[0] != fingerprint(words)[1]).all()
