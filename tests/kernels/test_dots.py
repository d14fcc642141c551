"""Bit-planes and their dot products against plain integer matrices."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoweave.kernels import dots

X_OF_CODE = np.array([1, 0, 0, -1])
MISSING, HET = 1, 2


def random_codes(rows, columns, seed, missing=0.1):
    rng = np.random.default_rng(seed)
    codes = rng.choice(np.array([0, 2, 3], np.uint8), (rows, columns))
    codes[rng.random(codes.shape) < missing] = MISSING
    return codes


def pack(codes):
    """Four codes a byte, the lowest bits first, padded with missing calls."""
    wide = np.full((codes.shape[0], -(-codes.shape[1] // 4) * 4), MISSING, np.uint8)
    wide[:, : codes.shape[1]] = codes
    return np.ascontiguousarray(wide[:, ::4] | wide[:, 1::4] << 2 | wide[:, 2::4] << 4 | wide[:, 3::4] << 6)


def bits(words, columns):
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")[
        ..., :columns
    ]


def planes_of(codes):
    planes = dots.new_planes(*codes.shape)
    dots.variant_planes(pack(codes), planes)
    return planes


def check_planes(planes, codes):
    nonzero, sign = bits(planes[:, 0], codes.shape[1]), bits(planes[:, 1], codes.shape[1])
    assert (nonzero == np.isin(codes, [0, 3])).all()
    assert (sign == np.isin(codes, [0, MISSING])).all()
    padding = bits(planes, 64 * planes.shape[2])[..., codes.shape[1] :]
    assert not padding[:, 0].any()
    assert padding[:, 1].all()


SHAPES = [(1, 1), (3, 4), (63, 65), (64, 64), (65, 63), (70, 511), (130, 513), (5, 1030), (1025, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_variant_planes__hold_every_code(shape):
    codes = random_codes(*shape, seed=sum(shape))
    check_planes(planes_of(codes), codes)


@pytest.mark.parametrize("shape", SHAPES)
def test_sample_planes__are_the_transpose(shape):
    codes = random_codes(*shape, seed=sum(shape))
    planes = dots.new_planes(codes.shape[1], codes.shape[0])
    dots.sample_planes(pack(codes), planes, 0)
    check_planes(planes, codes.T)


def test_sample_planes__blocks_of_variants_make_the_same_words():
    codes = random_codes(300, 77, seed=3)
    whole, parts = dots.new_planes(77, 300), dots.new_planes(77, 300)
    dots.sample_planes(pack(codes), whole, 0)
    for v in (192, 0, 128, 64, 256):
        dots.sample_planes(pack(codes[v : v + 64]), parts, v // 64)
    assert (whole == parts).all()


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 5), (2, 4), (3, 3), (4, 2), (5, 9), (100, 7), (97, 130)])
@pytest.mark.parametrize("columns", [1, 64, 512, 700])
def test_add_dots__equal_the_integer_product_at_odd_sizes(m, n, columns):
    left, right = random_codes(m, columns, seed=m), random_codes(n, columns, seed=n + 1000)
    out = np.full((m, n), 7, np.int32)
    dots.add_dots(planes_of(left), planes_of(right), out)
    assert (out == 7 + X_OF_CODE[left] @ X_OF_CODE[right].T).all()


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 1200), st.integers(0, 999),
    st.sampled_from([0, 0.2, 1]),
)  # fmt: skip
def test_add_dots__any_shape(m, n, columns, seed, missing):
    left, right = (random_codes(k, columns, seed + k, missing) for k in (m, n))
    out = np.zeros((m, n), np.int32)
    dots.add_dots(planes_of(left), planes_of(right), out)
    assert (out == X_OF_CODE[left] @ X_OF_CODE[right].T).all()


def test_add_dots__rows_longer_than_a_tile_and_slices_of_planes():
    codes = random_codes(11, 40_000, seed=5)
    planes = planes_of(codes)
    whole, parts = np.zeros((11, 11), np.int32), np.zeros((11, 11), np.int32)
    dots.add_dots(planes, planes, whole)
    assert (whole == X_OF_CODE[codes] @ X_OF_CODE[codes].T).all()
    for words in (slice(0, 8), slice(8, 320), slice(320, None)):
        dots.add_dots(planes[:, :, words], planes[:, :, words], parts)
    assert (whole == parts).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@pytest.mark.parametrize("n_rows", [0, 8, 248, 256, 1000])
def test_add_bit_counts__equal_numpy(dtype, n_rows):
    rng = np.random.default_rng(n_rows)
    table = rng.integers(0, 2**64, (300, 16), np.uint64)
    table[:, 3] = ~np.uint64(0)  # a column that is set in every row counts as far as it goes
    rows = rng.integers(0, 300, n_rows).astype(np.int32)
    out = np.full(1024, 5, dtype)
    dots.add_bit_counts(table, rows, out)
    assert (out == 5 + bits(table[rows], 1024).sum(axis=0, dtype=int)).all()


def test_new_planes__are_missing_and_aligned():
    planes = dots.new_planes(3, 513)
    assert planes.shape == (3, 2, 16)
    assert planes.ctypes.data % 64 == 0
    check_planes(planes, np.full((3, 513), MISSING, np.uint8))


GENERIC = """
import numpy as np
from genoweave.kernels import dots
packed = np.random.default_rng(1).integers(0, 256, (70, 33), np.uint8)
variants, samples = dots.new_planes(70, 132), dots.new_planes(132, 70)
dots.variant_planes(packed, variants)
dots.sample_planes(packed, samples, 0)
products, counts = np.zeros((70, 70), np.int32), np.zeros(512, np.int32)
dots.add_dots(variants, variants, products)
dots.add_bit_counts(variants[:, 0], np.arange(16, dtype=np.int32), counts)
print([int(np.dot(a.ravel().view(np.uint32) % 65521, np.arange(a.view(np.uint32).size) % 65521) % 2**61)
       for a in (variants, samples, products, counts)])
"""


def run_script(**environment):
    done = subprocess.run(
        [sys.executable, "-c", GENERIC], capture_output=True, text=True, check=True,
        env=os.environ | environment,
    )  # fmt: skip
    return done.stdout


def test_dots__the_same_on_a_processor_without_wide_vectors(tmp_path: Path):
    generic = run_script(NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", NUMBA_CACHE_DIR=str(tmp_path))
    assert generic == run_script()
