"""Sums of the linear regression against plain integer and float products."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoweave.kernels import linear as kernels
from genoweave.kernels.linear_tiles import BLOCK, TILE_VARIANTS


def blocks_of(n_samples):
    return -(-n_samples // BLOCK)


def packed_of(dosage):
    """.bed codes of a dosage, missing calls after the last sample."""
    n = dosage.shape[1]
    codes = np.ones((len(dosage), -(-n // 4) * 4), np.uint8)
    codes[:, :n] = np.array([3, 2, 0, 1], np.uint8)[dosage]
    return (codes.reshape(len(dosage), -1, 4) << np.array([0, 2, 4, 6], np.uint8)).sum(2).astype(np.uint8)


def words_of(bits):
    """Words whose low bit of each pair is set where `bits` (..., samples of whole blocks) is."""
    pairs = np.zeros((*bits.shape, 2), np.uint8)
    pairs[..., 0] = bits
    flat = np.packbits(pairs.reshape(*bits.shape[:-1], -1), axis=-1, bitorder="little")
    return np.ascontiguousarray(flat).view(np.uint64)


def decoded(dosage, used):
    n_variants, n = dosage.shape
    words = blocks_of(n) * BLOCK // 32
    left_out = np.ones(words * 32, bool)
    left_out[:n] = ~used
    rows = -(-n_variants // TILE_VARIANTS) * TILE_VARIANTS
    # what was in the scratch before must not matter
    codes, flags = np.full((2, rows, words), 2**64 - 1, np.uint64)
    counts = np.full((n_variants, 3), -7, np.int64)
    kernels.decode_dosages(packed_of(dosage), words_of(left_out) * np.uint64(3), codes, flags, counts)
    return codes, flags[:n_variants], counts


def limbs_of(fixed):
    limbs = np.zeros((fixed.shape[1], blocks_of(len(fixed)), 8, 2, 32), np.int16)
    kernels.split_limbs(fixed, limbs)
    return limbs


def example(n_variants, n_samples, n_columns, seed, missing=0.1):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 3, (n_variants, n_samples)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    fixed = rng.integers(-kernels.LARGEST, kernels.LARGEST + 1, (n_samples, n_columns)).astype(np.int32)
    return dosage, fixed, rng.random(n_samples) < 0.9


def test_split_limbs__stand_where_shifted_codes_are():
    fixed = np.random.default_rng(1).integers(-kernels.LARGEST, kernels.LARGEST, (700, 2)).astype(np.int32)
    fixed[:4, 0] = [kernels.LARGEST, -kernels.LARGEST, 2**14, -(2**14)]
    limbs = limbs_of(fixed).astype(np.int64)
    whole = (limbs[:, :, :, 0] << 15) + limbs[:, :, :, 1]
    for sample in (0, 1, 2, 3, 7, 8, 255, 256, 699):
        block, place = divmod(sample, 256)
        assert (whole[:, block, place % 8, place // 8] == fixed[sample]).all()
    assert not whole.transpose(0, 1, 3, 2).reshape(2, -1)[:, 700:].any()


@given(
    st.integers(1, 9),
    st.integers(1, 700),
    st.integers(1, 8),
    st.integers(0, 1000),
    st.sampled_from([0, 0.1, 1]),
)
def test_products__are_exact(n_variants, n_samples, n_columns, seed, missing):
    dosage, fixed, used = example(n_variants, n_samples, n_columns, seed, missing)
    codes, flags, counts = decoded(dosage, used)
    out = np.zeros((len(codes), n_columns), np.int64)
    kernels.add_products(codes.view(np.uint8), limbs_of(fixed), out)
    called = np.where((dosage >= 0) & used, dosage, 0).astype(np.int64)
    assert (out[:n_variants] == called @ fixed.astype(np.int64)).all()
    assert not out[n_variants:].any()
    absent = (dosage < 0) & used
    assert (counts == np.stack([absent.sum(1), (called == 1).sum(1), (called == 2).sum(1)], axis=1)).all()
    listed = np.empty(32 * flags.shape[1] + 1, np.int32)
    for v in range(n_variants):
        n = kernels.list_missing(flags[v], listed)
        assert sorted(listed[:n].tolist()) == np.flatnonzero(absent[v]).tolist()


@pytest.mark.parametrize("value", [kernels.LARGEST, -kernels.LARGEST, 2**14, -(2**14) - 1, 2**15 - 1])
def test_add_products__the_largest_sums_do_not_overflow(value):
    n = 20_000
    codes, _, _ = decoded(np.full((1, n), 2, np.int8), np.ones(n, bool))
    out = np.zeros((len(codes), 1), np.int64)
    kernels.add_products(codes.view(np.uint8), limbs_of(np.full((n, 1), value, np.int32)), out)
    assert out[0, 0] == 2 * n * value


@pytest.mark.parametrize("n_left", [1, 4, 5, 8, 11, 13, 20])
@pytest.mark.parametrize("n_samples", [50, 5000, 9000])
def test_missing_products__equal_numpy(n_left, n_samples):
    rng = np.random.default_rng(n_left)
    width = -(-(n_left + 2) // 8) * 8
    rows = rng.integers(-1000, 1000, (n_samples, width)).astype(np.int32)
    unit = rng.uniform(0.5, 2, width)
    absent = np.zeros((3, blocks_of(n_samples) * BLOCK), bool)
    absent[:, :n_samples] = rng.random((3, n_samples)) < np.array([[0.02], [0.0], [1.0]])
    out = np.zeros((3, -(-n_left // 8) * 8, width))
    kernels.missing_products(words_of(absent), rows, unit, n_left, out)
    upper = np.triu(np.ones((n_left, width), bool))
    for v in range(3):
        x = (rows * unit)[absent[v, :n_samples]]
        expected = (x.T @ x)[:n_left]
        np.testing.assert_allclose(out[v, :n_left][upper], expected[upper], rtol=1e-11, atol=1e-6)
