"""Products by look-up, transposed codes and sums over missing calls, against dense numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoweave.kernels.dots import add_dots, new_planes, variant_planes
from genoweave.kernels.lookup import COLUMNS, add_products, add_rows_at
from genoweave.kernels.missing import TILE, half_gram, missing_lists, sums_over_missing, whole_words
from genoweave.kernels.packed import pack_dosages, width
from genoweave.kernels.transpose import transpose_codes


def genotypes(n_variants, n_samples, seed=0, missing=0.1):
    """Dosages with missing calls, and their codes in whole words."""
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 3, (n_variants, n_samples)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    packed = np.empty((n_variants, width(n_samples)), np.uint8)
    pack_dosages(dosage, packed)
    return dosage, whole_words(packed)


def code_of(dosage):
    return np.array([3, 2, 0, 1])[dosage]  # -1, the last, is missing


SHAPES = pytest.mark.parametrize("shape", [(1, 1), (3, 31), (70, 33), (33, 1025), (130, 2100)])


@SHAPES
def test_add_products__equals_a_dense_product(shape):
    dosage, codes = genotypes(*shape)
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((shape[1], 4)).astype(np.float32)
    right = rng.standard_normal((shape[1], COLUMNS)).astype(np.float32)
    out = np.ones((shape[0], COLUMNS))
    add_products(codes, weights, right, out)
    values = weights[np.arange(shape[1]), code_of(dosage)].astype(float)
    # 1,024 terms are added in single precision
    np.testing.assert_allclose(out, 1 + values @ right, atol=2e-4)


def test_add_products__a_row_has_the_same_bits_in_any_company():
    _, codes = genotypes(40, 500)
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((500, 4)).astype(np.float32)
    right = rng.standard_normal((500, COLUMNS)).astype(np.float32)
    together, alone = np.zeros((40, COLUMNS)), np.zeros((1, COLUMNS))
    add_products(codes, weights, right, together)
    add_products(codes[17:18], weights, right, alone)
    assert (together[17] == alone[0]).all()


@SHAPES
def test_missing_lists__and_sums_at_them(shape):
    dosage, codes = genotypes(*shape, missing=0.3)
    starts, index = missing_lists(codes, shape[1])
    for v, row in enumerate(dosage):
        assert index[starts[v] : starts[v + 1]].tolist() == np.flatnonzero(row < 0).tolist()
    right = np.random.default_rng(1).standard_normal((shape[1], COLUMNS)).astype(np.float32)
    out = np.zeros((shape[0], COLUMNS))
    scale = np.arange(shape[0]) + 1.0
    add_rows_at(starts, index, right, scale, out)
    np.testing.assert_allclose(out / scale[:, None], (dosage < 0) @ right.astype(float), atol=1e-3)


@given(rows=st.integers(1, 100), columns=st.integers(1, 200), seed=st.integers(0, 5))
def test_transpose_codes__is_a_transpose(rows, columns, seed):
    dosage, codes = genotypes(rows, columns, seed)
    turned = np.empty((8 * codes.shape[1] // 2, -(-rows // 32)), np.uint64)
    transpose_codes(codes.view(np.uint64), turned)
    found = turned.view(np.uint8)[:columns, :, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3
    assert (found.reshape(columns, -1)[:, :rows] == code_of(dosage).T).all()


@given(
    one=st.integers(1, 80),
    two=st.integers(1, 150),
    samples=st.integers(1, 700),
    missing=st.sampled_from([0, 0.02, 0.9]),
)
def test_sums_over_missing__equal_dense_sums(one, two, samples, missing):
    dosage, codes = genotypes(one + two, samples, missing=missing)
    starts, index = missing_lists(codes[:one], samples)
    sums = np.zeros((-(-two // TILE), one, 2 * TILE), np.int32)
    sums_over_missing(starts, index, codes[one:], sums)
    lost = (dosage[:one] < 0).astype(int)
    other = dosage[one:].astype(int)
    value = np.where(other < 0, 1, other)  # x + 1
    for i, tile in enumerate(sums):
        rows = slice(i * TILE, min((i + 1) * TILE, two))
        n = rows.stop - rows.start
        assert (tile[:, :n] == lost @ value[rows].T).all()
        assert (tile[:, TILE : TILE + n] == lost @ (other[rows] < 0).T).all()


@pytest.mark.parametrize("missing", [0, 0.01, 0.4])
def test_half_gram__adds_up_to_the_gram_matrix(missing):
    dosage, codes = genotypes(90, 300, missing=missing)
    planes = new_planes(90, 300)
    variant_planes(codes, planes)
    x = np.ma.masked_less(dosage.astype(float), 0) - 1
    mean, scale = np.asarray(x.mean(axis=1)), np.linspace(1, 2, 90)
    starts, index = missing_lists(codes, 300)
    gram = np.zeros((90, 90))
    for first, last in ((0, 64), (64, 90)):
        dots = np.zeros((last - first, 90 - first), np.int32)
        add_dots(planes[first:last], planes[first:], dots)
        sums = np.zeros((1, 90, 2 * TILE), np.int32)
        sums_over_missing(starts, index, codes[first:last], sums)
        rows = np.empty((last - first, 90))
        half_gram(dots, sums, np.diff(starts), mean, scale, 300, first, rows)
        gram[first:last] += rows
        gram[:, first:last] += rows.T
    z = (scale[:, None] * (x - mean[:, None])).filled(0)
    np.testing.assert_allclose(gram, z @ z.T, atol=1e-10)
