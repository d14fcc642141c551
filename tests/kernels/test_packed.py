"""Kernels of packed genotypes against plain numpy, around the sizes where their words and counters end."""

import os
import subprocess
import sys
from pathlib import Path

import helpers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genoweave.kernels import packed as kernels
from genoweave.kernels.gather import take_samples

# .bed codes of the dosages -1, 0, 1, 2, and one of them as alleles
CODE = np.array([1, 3, 2, 0], np.uint8)
DOSAGES = hnp.arrays(
    np.int8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40), elements=st.integers(-1, 2)
)
ALLELES = st.sampled_from([-2, -1, 0, 1, 2, 127])
SAMPLES = [1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 65, 8191, 8192, 8193]
VARIANTS = [1, 2, 3, 4, 14, 15, 16, 17, 254, 255, 256, 270, 511]
SHAPES = [(m, 33) for m in VARIANTS] + [(5, n) for n in SAMPLES] + [(256, 8193), (3, 16_385), (2, 32_801)]
quick = settings(max_examples=25, deadline=None)


def small_calls(alleles):
    return hnp.arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2)), elements=alleles)


def random_dosage(m, n, seed=0):
    return np.random.default_rng([seed, m, n]).integers(-1, 3, (m, n)).astype(np.int8)


def pack_codes(codes):
    """Codes (variants, samples) to bytes, four at a time; behind the last sample stands 1."""
    m, n = codes.shape
    full = np.ones((m, (n + 3) // 4 * 4), np.uint8)
    full[:, :n] = codes
    fields = full.reshape(m, -1, 4)
    return fields[..., 0] + 4 * fields[..., 1] + 16 * fields[..., 2] + 64 * fields[..., 3]


def codes_of(packed, n):
    return np.stack([packed >> shift & 3 for shift in (0, 2, 4, 6)], axis=2).reshape(len(packed), -1)[:, :n]


def packed_of(dosage):
    return pack_codes(CODE[dosage + 1])


def dosage_of(calls):
    return np.where((calls < 0).any(axis=2), -1, calls.sum(axis=2))


def empty(m, n):
    """Memory that was used before: every byte must be written."""
    return np.full((m, kernels.width(n)), 0xE7, np.uint8)


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 8])
def test_width__bytes_of_a_row(n):
    assert kernels.width(n) == -(-n // 4)


@quick
@given(DOSAGES)
def test_pack_dosages__equals_numpy_and_back(dosage):
    out = empty(*dosage.shape)
    kernels.pack_dosages(dosage, out)
    assert (out == packed_of(dosage)).all()
    assert (kernels.unpack_dosages(out, dosage.shape[1]) == dosage).all()


@quick
@given(DOSAGES)
def test_unpack_calls__are_unphased_calls_of_the_dosage(dosage):
    calls = kernels.unpack_calls(packed_of(dosage), dosage.shape[1])
    assert calls.dtype == np.int8
    assert (dosage_of(calls) == dosage).all()
    assert (calls[..., 0] <= calls[..., 1]).all()
    assert (calls[dosage == -1] == -1).all()


@pytest.mark.parametrize("n", SAMPLES)
@pytest.mark.parametrize("m", [1, 3])
def test_pack_and_unpack__awkward_sizes(m, n):
    dosage = random_dosage(m, n)
    packed = empty(m, n)
    kernels.pack_dosages(dosage, packed)
    assert (packed == packed_of(dosage)).all()
    again = empty(m, n)
    assert kernels.pack_calls(np.ascontiguousarray(kernels.unpack_calls(packed, n)), again) <= 1
    assert (again == packed).all()


@quick
@given(small_calls(ALLELES))
def test_pack_calls__half_missing_is_missing_and_the_largest_allele_is_told(calls):
    out = empty(*calls.shape[:2])
    largest = kernels.pack_calls(calls, out)
    assert largest == max(0, calls.max())
    if largest <= 1:
        assert (out == packed_of(dosage_of(calls))).all()


@quick
@given(DOSAGES)
def test_pack_calls__phase_does_not_matter(dosage):
    out = empty(*dosage.shape)
    assert kernels.pack_calls(helpers.calls(dosage), out) <= 1
    assert (out == packed_of(dosage)).all()


@quick
@given(small_calls(ALLELES))
def test_pack_phased__first_allele_low_second_high(calls):
    m, n = calls.shape[:2]
    out = empty(m, n)
    kernels.pack_phased(calls, out)
    is_alt = (calls == 1).astype(np.uint8)
    assert (codes_of(out, n) == is_alt[..., 0] + 2 * is_alt[..., 1]).all()
    assert (kernels.unpack_phased(out, n) == is_alt).all()


@quick
@given(small_calls(st.integers(0, 1)))
def test_unphase__gives_the_codes_of_the_same_calls(calls):
    m, n = calls.shape[:2]
    phased, out = empty(m, n), empty(m, n)
    kernels.pack_phased(calls, phased)
    kernels.unphase(phased, out)
    kernels.pad_tail(out, n)
    assert (out == packed_of(calls.sum(axis=2))).all()


def test_unphase__every_byte():
    codes = np.arange(256, dtype=np.uint8)[None]
    out = np.empty_like(codes)
    kernels.unphase(codes, out)
    assert (codes_of(out, 1024) == np.array([3, 2, 2, 0])[codes_of(codes, 1024)]).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 33])
@pytest.mark.parametrize("tail", [0x00, 0xFF, 0xAA])
def test_pad_tail__changes_what_stands_behind_the_last_sample(n, tail):
    wanted = packed_of(random_dosage(3, n))
    packed = wanted.copy()
    if n % 4:
        used = (1 << 2 * (n % 4)) - 1
        packed[:, -1] = packed[:, -1] & used | tail & ~used & 0xFF
    kernels.pad_tail(packed, n)
    assert (packed == wanted).all()


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("first", range(4))
def test_copy_codes__any_pair_of_offsets(first, at):
    rng = np.random.default_rng(4 * first + at)
    source = rng.integers(0, 256, (3, 20)).astype(np.uint8)
    for count in (0, 1, 2, 3, 4, 5, 7, 8, 30, 33):
        for whole in (0, 4, 32):  # whole bytes before either column
            before = rng.integers(0, 256, (3, 30)).astype(np.uint8)
            wanted = codes_of(before, 120)
            a, b = first + whole, at + 36 - whole
            wanted[:, b : b + count] = codes_of(source, 80)[:, a : a + count]
            kernels.copy_codes(source, a, count, before, b)
            assert (codes_of(before, 120) == wanted).all()


def test_copy_codes__up_to_the_last_code_of_both():
    source, out = packed_of(random_dosage(2, 16)), np.zeros((2, 4), np.uint8)
    kernels.copy_codes(source, 0, 16, out, 0)
    assert (out == source).all()
    kernels.copy_codes(source, 13, 3, out, 1)
    assert (codes_of(out, 16)[:, 1:4] == codes_of(source, 16)[:, 13:]).all()


@quick
@given(DOSAGES, st.data())
def test_take_samples__gathers_in_any_order(dosage, data):
    n = dosage.shape[1]
    columns = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=2 * n)), np.int64)
    out = empty(len(dosage), len(columns))
    take_samples(packed_of(dosage), columns, out)
    assert (out == packed_of(dosage[:, columns])).all()


def plain_counts(dosage):
    return np.stack([(dosage == g).sum(axis=1) for g in range(3)], axis=1)


@pytest.mark.parametrize("shape", SHAPES)
def test_counts__awkward_sizes(shape):
    dosage = random_dosage(*shape)
    packed = packed_of(dosage)
    by_variant, by_sample = np.full((shape[0], 3), 7, np.int64), np.full(shape[1], 9, np.int64)
    kernels.count_variants(packed, by_variant)
    kernels.count_missing(packed, by_sample)
    assert (by_variant == 7 + plain_counts(dosage)).all(), "counts are added to what is there"
    assert (by_sample == 9 + (dosage == -1).sum(axis=0)).all()


@pytest.mark.parametrize("shape", [(4, n) for n in SAMPLES] + [(3, 32_768), (3, 32_801), (2, 70_001)])
def test_count_variants_by_group__awkward_sizes(shape):
    dosage = random_dosage(*shape)
    group = np.random.default_rng(shape[1]).integers(-1, 3, shape[1])
    out = np.full((shape[0], 3, 3), 5, np.int64)
    kernels.count_variants_by_group(packed_of(dosage), kernels.group_masks(group, 3), out)
    for k in range(3):
        assert (out[:, k] == 5 + plain_counts(dosage[:, group == k])).all()


@quick
@given(DOSAGES, st.data())
def test_count_variants_by_group__a_negative_group_is_left_out(dosage, data):
    n = dosage.shape[1]
    group = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=n, max_size=n)), np.int64)
    out = np.zeros((len(dosage), 4, 3), np.int64)  # nobody is in the fourth
    kernels.count_variants_by_group(packed_of(dosage), kernels.group_masks(group, 4), out)
    for k in range(4):
        assert (out[:, k] == plain_counts(dosage[:, group == k])).all()
    assert not out[:, 3].any()


@pytest.mark.parametrize("shape", [(1, 1), (255, 33), (256, 8193)])
@pytest.mark.parametrize("dosage", [-1, 0, 1, 2])
def test_counts__one_genotype_everywhere(shape, dosage):
    # every counter runs as full as it can
    packed = packed_of(np.full(shape, dosage, np.int8))
    by_variant, by_sample = np.zeros((shape[0], 3), np.int64), np.zeros(shape[1], np.int64)
    kernels.count_variants(packed, by_variant)
    kernels.count_missing(packed, by_sample)
    assert (by_variant == shape[1] * (np.arange(3) == dosage)).all()
    assert (by_sample == shape[0] * (dosage == -1)).all()


def test_kernels__take_read_only_codes():
    # a decoded chunk is a view of the bytes that were read
    dosage = random_dosage(4, 33)
    packed = np.frombuffer(packed_of(dosage).tobytes(), np.uint8).reshape(4, -1)
    out, missing = np.zeros((4, 3), np.int64), np.zeros(33, np.int64)
    kernels.count_variants(packed, out)
    kernels.count_missing(packed, missing)
    assert (out == plain_counts(dosage)).all()
    assert (missing == (dosage == -1).sum(axis=0)).all()


def checksums():
    """One sum per kernel over sizes that use its vectors and its tails."""
    shape = 270, 8421
    dosage = random_dosage(*shape, seed=1)
    calls = np.random.default_rng(2).integers(0, 2, (*shape, 2)).astype(np.int8)
    columns = np.random.default_rng(3).permutation(shape[1])[:5003]
    group = np.random.default_rng(4).integers(-1, 4, shape[1])
    packed, again, phased, unphased, moved = (empty(*shape) for _ in range(5))
    taken = empty(shape[0], len(columns))
    by_variant, by_group = np.zeros((shape[0], 3), np.int64), np.zeros((shape[0], 4, 3), np.int64)
    missing = np.zeros(shape[1], np.int64)
    kernels.pack_dosages(dosage, packed)
    kernels.pack_calls(np.ascontiguousarray(kernels.unpack_calls(packed, shape[1])), again)
    kernels.pack_phased(calls, phased)
    kernels.unphase(phased, unphased)
    kernels.copy_codes(packed, 5, 8002, moved, 2)
    take_samples(packed, columns, taken)
    kernels.count_variants(packed, by_variant)
    kernels.count_variants_by_group(packed, kernels.group_masks(group, 4), by_group)
    kernels.count_missing(packed, missing)
    results = packed, again, phased, unphased, moved, taken, by_variant, by_group, missing
    return [sum(ord(c) for c in str(r.shape)) + int(weighted(r)) for r in results]


def weighted(values):
    flat = values.ravel().astype(np.uint64)
    return (flat * (np.arange(flat.size, dtype=np.uint64) % np.uint64(1_000_003) + np.uint64(1))).sum()


PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:]
import test_packed
print(*test_packed.checksums())
"""


def test_kernels__the_same_on_a_plain_processor(tmp_path):
    """Compiled for the oldest processor of this kind, without its vector instructions."""
    folders = [str(Path(__file__).parents[i]) for i in (0, 1)]
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *folders],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [int(x) for x in done.stdout.split()] == checksums()
