"""Columns of packed genotypes against numpy's own indexing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoweave.kernels.gather import take_samples
from genoweave.kernels.packed import pack_dosages, unpack_dosages, width


def block(seed, variants, samples):
    dosage = np.random.default_rng(seed).integers(-1, 3, (variants, samples)).astype(np.int8)
    packed = np.empty((variants, width(samples)), np.uint8)
    pack_dosages(dosage, packed)
    return dosage, packed


@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(1, 150), st.integers(0, 150))
def test_take_samples__is_indexing(seed, variants, samples, n):
    dosage, packed = block(seed, variants, samples)
    columns = np.random.default_rng(seed).integers(0, samples, n)
    out = np.full((variants, width(n)), 0, np.uint8)
    take_samples(packed, columns, out)
    if variants:
        assert (unpack_dosages(out, n) == dosage[:, columns]).all()
    if n & 3 and variants:
        assert (unpack_dosages(out, 4 * width(n))[:, n:] == -1).all(), "padding is missing"


@pytest.mark.parametrize("rows", [slice(3, 7), slice(0, 40, 3), slice(5, 29)])
def test_take_samples__parts_of_larger_arrays(rows):
    dosage, packed = block(1, 40, 200)
    wide = np.zeros((40, 60), np.uint8)
    columns = np.arange(200)[::-1]
    take_samples(packed[rows, 2:40], columns[50:150], wide[rows, 10:35])
    found = unpack_dosages(np.ascontiguousarray(wide[rows, 10:35]), 100)
    assert (found == dosage[rows, 8:160][:, columns[50:150]]).all()
    assert not wide[:, :10].any()
    assert not wide[:, 35:].any()
