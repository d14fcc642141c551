"""Pair counts on bit-planes against one pair and one variant at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import king as reference

from genoweave.kernels import king as kernels


def planes_of(dosage):
    planes = np.zeros((dosage.shape[1], 3, (len(dosage) + 63) // 64), np.uint64)
    kernels.pack_planes(np.ascontiguousarray(dosage), planes, 0)
    return planes


def random_dosage(n_variants, n_samples, seed, missing=0.1):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 3, (n_variants, n_samples)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    return dosage


def expected(left, right):
    pair = reference.pair_counts(left.tolist(), right.tolist())
    return [pair.het_het, pair.opposite, pair.het_i, pair.het_j]


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 5), (5, 4), (7, 6)])
@pytest.mark.parametrize("n_variants", [1, 63, 64, 65, 200])
def test_pair_counts__equal_the_reference_at_odd_sizes(m, n, n_variants):
    dosage = random_dosage(n_variants, m + n, seed=n_variants + 10 * m + n)
    planes = planes_of(dosage)
    out = np.zeros((m, n, 4), np.int64)
    kernels.pair_counts(planes[:m], planes[m:], out)
    for i in range(m):
        for j in range(n):
            assert out[i, j].tolist() == expected(dosage[:, i], dosage[:, m + j])


def test_pair_counts__add_to_what_is_there():
    planes = planes_of(random_dosage(100, 5, seed=1))
    once, twice = np.zeros((5, 5, 4), np.int64), np.zeros((5, 5, 4), np.int64)
    kernels.pair_counts(planes, planes, once)
    for words in (slice(0, 1), slice(1, 2)):
        part = np.ascontiguousarray(planes[:, :, words])
        kernels.pair_counts(part, part, twice)
    assert (once == twice).all()


@given(st.integers(1, 150), st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 1.0]))
def test_listed_pair_counts__equal_the_reference(n_variants, n_samples, seed, missing):
    dosage = random_dosage(n_variants, n_samples, seed, missing)
    first, second = np.triu_indices(n_samples, 1)
    planes = planes_of(dosage)
    out, shared = np.zeros((len(first), 4), np.int64), np.zeros(len(first), np.int64)
    kernels.listed_pair_counts(planes, first, second, out)
    kernels.shared_calls(planes, first, second, shared)
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        assert out[p].tolist() == expected(dosage[:, i], dosage[:, j])
        assert shared[p] == reference.pair_counts(dosage[:, i].tolist(), dosage[:, j].tolist()).shared


def test_pack_planes__blocks_make_the_same_words():
    dosage = random_dosage(200, 9, seed=4)
    planes = np.zeros((9, 3, 4), np.uint64)
    for first in (0, 64, 128, 192):
        kernels.pack_planes(np.ascontiguousarray(dosage[first : first + 64]), planes, first // 64)
    assert (planes == planes_of(dosage)).all()
