"""Kernels of KING-robust kinship against one pair and one variant at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import king as reference

from genoweave.kernels import dots
from genoweave.kernels import king as kernels

CODE_OF_DOSAGE = np.array([3, 2, 0, 1], np.uint8)  # 0, 1, 2 and -1 (the last)
EDGES = np.round(np.arange(-100, 101) / 200, 3)


def pack(dosage):
    codes = np.full((len(dosage), -(-dosage.shape[1] // 4) * 4), 1, np.uint8)
    codes[:, : dosage.shape[1]] = CODE_OF_DOSAGE[dosage]
    return np.ascontiguousarray(
        codes[:, ::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6
    )


def planes_of(dosage):
    planes = dots.new_planes(dosage.shape[1], len(dosage))
    dots.sample_planes(pack(dosage), planes, 0)
    return planes


def random_dosage(n_variants, n_samples, seed, missing=0.1):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 3, (n_variants, n_samples)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    return dosage


def bits(words):
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")


@given(st.integers(1, 150), st.integers(2, 8), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 1.0]))
def test_listed_pair_counts__equal_the_reference(n_variants, n_samples, seed, missing):
    dosage = random_dosage(n_variants, n_samples, seed, missing)
    first, second = np.triu_indices(n_samples, 1)
    strip = np.zeros((1, 1, kernels.STRIP, 2, dots.words_for(n_variants)), np.uint64)
    strip[0, 0, :n_samples] = planes_of(dosage)
    out = np.zeros((len(first), 5), np.int64)
    kernels.listed_pair_counts(strip, first, second, out)
    for p, (i, j) in enumerate(zip(first, second, strict=True)):
        pair = reference.pair_counts(dosage[:, i].tolist(), dosage[:, j].tolist())
        assert out[p].tolist() == [pair.het_het, pair.opposite, pair.het_i, pair.het_j, pair.shared]


@pytest.mark.parametrize("shape", [(1, 1), (63, 5), (64, 512), (65, 513), (130, 1025)])
def test_variant_rows__heterozygotes_and_homozygotes_along_the_samples(shape):
    dosage = random_dosage(*shape, seed=sum(shape))
    strips = -(-shape[1] // kernels.STRIP)
    rows = np.zeros((strips, shape[0], 2, 8), np.uint64)
    kernels.variant_rows(pack(dosage), rows)
    found = bits(rows).transpose(2, 1, 0, 3).reshape(2, shape[0], -1)
    assert (found[0, :, : shape[1]] == (dosage == 1)).all()
    assert (found[1, :, : shape[1]] == np.isin(dosage, [0, 2])).all()
    assert not found[:, :, shape[1] :].any()


@pytest.mark.parametrize("n_variants", [1, 64, 65, 512, 700])
def test_sample_totals__count_calls(n_variants):
    dosage = random_dosage(n_variants, 9, seed=n_variants)
    totals = np.empty((2, 9), np.int32)
    kernels.sample_totals(planes_of(dosage), totals)
    assert totals.tolist() == [
        (dosage == 1).sum(axis=0).tolist(),
        np.isin(dosage, [0, 2]).sum(axis=0).tolist(),
    ]


@pytest.mark.parametrize("missing", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("n_variants", [1, 63, 64, 65, 512, 700])
def test_missing_lists__ascending_and_padded(n_variants, missing):
    dosage = random_dosage(n_variants, 9, seed=n_variants, missing=missing)
    planes = planes_of(dosage)
    starts = np.empty(10, np.int64)
    room = kernels.missing_lists(planes, n_variants, n_variants + 5, starts, np.empty(3, np.int32))
    variants = np.empty(room, np.int32)
    assert kernels.missing_lists(planes, n_variants, n_variants + 5, starts, variants) == room
    for s in range(9):
        found = variants[starts[s] : starts[s + 1]]
        expected = np.flatnonzero(dosage[:, s] < 0)
        assert len(found) % 8 == 0
        assert found[: len(expected)].tolist() == expected.tolist()
        assert len(found) - len(expected) < 8
        assert (found[len(expected) :] == n_variants + 5).all()


def bins_of(dosage, m, lost_type, real_type):
    """Bins of the first m samples with the others, by the kernels on one strip a side."""
    sides, n_variants = (dosage[:, :m], dosage[:, m:]), len(dosage)
    planes, rows, totals, lists = [], [], [], []
    for side in sides:
        planes.append(planes_of(side))
        rows.append(np.zeros((1, n_variants + 1, 2, 8), np.uint64))
        kernels.variant_rows(pack(side), rows[-1])
        totals.append(np.empty((2, side.shape[1]), np.int32))
        kernels.sample_totals(planes[-1], totals[-1])
        starts, variants = np.empty(side.shape[1] + 1, np.int64), np.empty(side.size + 8 * 600, np.int32)
        kernels.missing_lists(planes[-1], n_variants, n_variants, starts, variants)
        lists.append((starts, variants))
    n = sides[1].shape[1]
    products, out = np.zeros((m, n), np.int32), np.empty((m, n), np.uint8)
    dots.add_dots(*planes, products)
    left, het, hom = (np.zeros((k, 512), lost_type) for k in (n, m, m))
    kernels.add_lost(*lists[1], rows[0][0][:, kernels.HET], left)
    kernels.add_lost(*lists[0], rows[1][0][:, kernels.HET], het)
    kernels.add_lost(*lists[0], rows[1][0][:, kernels.HOM], hom)
    real = np.empty(n, real_type)
    kernels.kinship_bins(products, *totals, left[:, :m], het[:, :n], hom[:, :n], real, out)
    return out


def expected_bins(dosage, m):
    out = np.zeros((m, dosage.shape[1] - m), np.uint8)
    for i, j in np.ndindex(out.shape):
        pair = reference.pair_counts(dosage[:, i].tolist(), dosage[:, m + j].tolist())
        kinship = reference.between_family(pair)
        out[i, j] = 0 if np.isnan(kinship) else 1 + np.searchsorted(EDGES, kinship, side="right")
    return out


@pytest.mark.parametrize("types", [(np.uint16, np.float32), (np.int32, np.float64)])
@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 9), st.integers(0, 999), st.floats(0, 1))
def test_kinship_bins__equal_the_reference(types, n_variants, m, n, seed, missing):
    dosage = random_dosage(n_variants, m + n, seed, missing)
    assert (bins_of(dosage, m, *types) == expected_bins(dosage, m)).all()


def test_kinship_bins__more_samples_than_are_turned_at_a_time():
    dosage = random_dosage(70, 40 + 35, seed=1, missing=0.3)
    assert (bins_of(dosage, 40, np.uint16, np.float32) == expected_bins(dosage, 40)).all()


def test_kinship_bins__a_value_on_an_edge_is_in_the_bin_above():
    """Phi = k / 200 exactly, for every k: n opposite or one-step pairs among h heterozygotes of both."""
    m = 100  # both have 100 heterozygotes, so that 50 numerator / 100 is an integer for even numerators
    differences = np.arange(0, 400, 2, dtype=np.int32)
    n = len(differences)
    # D = z_i + z_j - 2 dot; totals of 1000 homozygotes each
    products = ((2000 - differences) // 2).astype(np.int32)[None]
    totals = [np.array([[m] * k, [1000] * k], np.int32) for k in (1, n)]
    none = [np.zeros(shape, np.uint16) for shape in ((n, 1), (1, n), (1, n))]
    for real in (np.float32, np.float64):
        out = np.empty((1, n), np.uint8)
        kernels.kinship_bins(products, *totals, *none, np.empty(n, real), out)
        kinship = (2 * m - differences) / (4 * m)
        assert out[0].tolist() == (1 + np.searchsorted(EDGES, kinship, side="right")).tolist()


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 8), (20, 515)])
def test_count_bins__equal_numpy(shape):
    bins = np.random.default_rng(sum(shape)).integers(0, kernels.BINS, shape).astype(np.uint8)
    counts = np.ones(kernels.BINS, np.int64)
    kernels.count_bins(bins, counts)
    assert (counts == 1 + np.bincount(bins.ravel(), minlength=kernels.BINS)).all()
