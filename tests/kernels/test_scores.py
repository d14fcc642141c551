"""Weighted sums of packed genotypes against plain matrix products."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoweave.kernels.scores import add_scores, add_values


def block(seed, variants, samples):
    """Codes (variants, samples), the same packed, and values of the codes of each variant."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, (variants, samples)).astype(np.uint8)
    padded = np.full((variants, -(-samples // 4) * 4), 1, np.uint8)
    padded[:, :samples] = codes
    packed = padded[:, ::4] | padded[:, 1::4] << 2 | padded[:, 2::4] << 4 | padded[:, 3::4] << 6
    return codes, packed, rng.normal(size=(variants, 4))


def words_of(codes):
    """Records as rows: uint64 (samples, words of 32 variants), 0 behind the last."""
    padded = np.zeros((-(-len(codes) // 32) * 32, codes.shape[1]), np.uint64)
    padded[: len(codes)] = codes
    fields = padded.reshape(-1, 32, codes.shape[1]) << np.arange(0, 64, 2, dtype=np.uint64)[:, None]
    return np.ascontiguousarray(np.bitwise_or.reduce(fields, axis=1).T)


@given(st.integers(0, 10_000), st.integers(1, 100), st.integers(1, 40), st.sampled_from([8, 16, 24]))
def test_add_scores__is_a_matrix_product(seed, variants, samples, columns):
    codes, _, values = block(seed, variants, samples)
    loading = np.random.default_rng(seed).normal(size=(variants, columns))
    out = np.ones((samples, columns))
    add_scores(words_of(codes), values, loading, out)
    expected = 1 + values[np.arange(variants)[:, None], codes].T @ loading
    np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-12)


def test_add_scores__a_record_does_not_depend_on_the_others():
    codes, _, values = block(1, 70, 30)
    loading = np.random.default_rng(2).normal(size=(70, 8))
    whole, part = np.zeros((30, 8)), np.zeros((7, 8))
    add_scores(words_of(codes), values, loading, whole)
    add_scores(words_of(codes[:, 11:18]), values, loading, part)
    assert (part == whole[11:18]).all()


@given(st.integers(0, 10_000), st.integers(1, 50), st.integers(1, 40), st.integers(0, 50))
def test_add_values__sums_in_the_variants_order_whatever_the_blocks(seed, variants, samples, cut):
    codes, packed, values = block(seed, variants, samples)
    expected = np.zeros(samples)
    for v in range(variants):
        expected += values[v, codes[v]]
    out = np.zeros(samples)
    for part in (slice(0, cut), slice(cut, None)):
        add_values(packed[part], values[part], out)
    assert (out == expected).all()


@pytest.mark.parametrize("samples", [1, 5])
def test_add_values__padding_is_nobody(samples):
    _, packed, values = block(3, 9, samples)
    out = np.zeros(samples)
    add_values(packed, values, out)
    assert np.isfinite(out).all()
