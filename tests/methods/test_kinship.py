"""KING-robust kinship of pairs and of whole cohorts."""

import helpers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import king as reference

from genoweave import execution
from genoweave.errors import DataError
from genoweave.methods import kinship as module
from genoweave.methods.kinship import Kinship, degree_of, king, king_listed, kinship_from_counts

ALL = Kinship(min_kinship=-0.999)


def brute_force(ds):
    """Kinship of all pairs i < j, one variant at a time."""
    dosage = helpers.dosage_of(ds)
    n = dosage.shape[1]
    columns = dosage.T.tolist()
    return {(i, j): reference.pair_counts(columns[i], columns[j]) for i in range(n) for j in range(i + 1, n)}


@pytest.fixture(scope="module")
def cohort():
    """37 people of two groups, with duplicates, a person without calls, and 130 variants."""
    ds = helpers.balding_nichols(2, 18, 130, missing=0.05, monomorphic=3, seed=7)
    dosage = helpers.dosage_of(ds)
    dosage[:, 9] = dosage[:, 30]
    silent = np.full((130, 1), -1, np.int8)
    return helpers.cohort(np.hstack([dosage, silent]))


def test_kinship_from_counts__the_worked_pair():
    assert kinship_from_counts(np.array([[40, 2, 100, 90]])) == pytest.approx([0.172222], abs=5e-7)
    pair = reference.PairCounts(shared=200, het_het=40, opposite=2, het_i=100, het_j=90)
    assert reference.between_family(pair) == pytest.approx(0.172222, abs=5e-7)
    assert reference.within_family(pair) == pytest.approx(0.189474, abs=5e-7)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_kinship_from_counts__equals_the_reference_and_is_symmetric(both, opposite, more_i, more_j):
    pair = reference.PairCounts(0, both, opposite, both + more_i, both + more_j)
    found = kinship_from_counts(np.array([both, opposite, pair.het_i, pair.het_j]))
    swapped = kinship_from_counts(np.array([both, opposite, pair.het_j, pair.het_i]))
    np.testing.assert_equal(found, swapped)
    np.testing.assert_allclose(found, reference.between_family(pair), rtol=1e-13, atol=1e-15)


def test_kinship_from_counts__without_heterozygotes_it_is_nan():
    assert np.isnan(kinship_from_counts(np.array([[0, 5, 0, 20], [0, 0, 0, 0]]))).all()


def test_degree_of__cuts():
    values = [
        0.5,
        0.354,
        0.353,
        0.25,
        0.177,
        0.176,
        0.125,
        0.0885,
        0.088,
        0.0625,
        0.0443,
        0.044,
        0.0222,
        0.022,
    ]
    assert degree_of(np.array(values)).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5]
    assert degree_of(np.array([0.0, -0.3, np.nan])).tolist() == [5, 5, 5]


def test_king__all_pairs_equal_the_reference(cohort):
    found = king(cohort, ALL).pairs
    expected = {p: c for p, c in brute_force(cohort).items() if min(c.het_i, c.het_j) > 0}
    assert list(zip(found["first"], found["second"], strict=True)) == sorted(expected)
    for row in found.itertuples():
        pair = expected[row.first, row.second]
        assert (row.n_snp, row.het_het, row.ibs0) == (pair.shared, pair.het_het, pair.opposite)
        assert row.kinship == pytest.approx(reference.between_family(pair), abs=1e-15)


@pytest.mark.parametrize("cut", [0.0442, 0.2, -0.1])
def test_king__lists_the_pairs_above_the_cut(cohort, cut):
    every = king(cohort, ALL).pairs
    some = king(cohort, Kinship(min_kinship=cut)).pairs
    assert some.equals(every[every["kinship"] > cut].reset_index(drop=True))
    assert len(some) < len(every)


def test_king__duplicates_have_one_half(cohort):
    pairs = king(cohort, Kinship(min_kinship=0.45)).pairs
    assert pairs[["first", "second"]].to_numpy().tolist() == [[9, 30]]
    assert pairs["kinship"].tolist() == [0.5]


def test_king_listed__equals_all_pairs_in_the_order_given(cohort):
    every = king(cohort, ALL).pairs
    shuffled = every.sample(frac=1, random_state=1)
    found = king_listed(cohort, shuffled["first"].to_numpy(), shuffled["second"].to_numpy())
    assert found.equals(shuffled.reset_index(drop=True))
    swapped = king_listed(cohort, shuffled["second"].to_numpy(), shuffled["first"].to_numpy())
    assert swapped["kinship"].equals(found["kinship"])


def test_king_listed__a_person_without_calls_is_nan(cohort):
    found = king_listed(cohort, np.array([36, 0]), np.array([3, 36]))
    assert found["kinship"].isna().all()
    assert found["n_snp"].tolist() == [0, 0]


def test_king_listed__no_pairs(cohort):
    assert len(king_listed(cohort, np.array([], np.int64), np.array([], np.int64))) == 0


def test_king__the_histogram_holds_every_pair(small_cohort):
    result = king(small_cohort, ALL)
    histogram = result.histogram
    assert histogram["pairs"].sum() == 180 * 179 // 2
    for row in histogram[histogram["pairs"] > 0].itertuples():
        inside = (result.pairs["kinship"] >= row.left) & (result.pairs["kinship"] < row.right)
        assert inside.sum() == row.pairs
    assert histogram["left"].iloc[0] == -np.inf
    assert histogram["right"].iloc[-1] == np.inf
    assert (histogram["right"].to_numpy()[:-1] == histogram["left"].to_numpy()[1:]).all()


def test_king__pairs_without_kinship_are_not_counted_as_copies():
    # two homozygous people of four: five pairs have no kinship, and must not stand at 0.5 and above
    dosage = np.array([[0, 2, 0, 1], [2, 0, 0, 1], [0, 0, 1, 2], [2, 2, 1, 1]] * 10, np.int8)
    result = king(helpers.cohort(dosage), ALL)
    assert len(result.pairs) == 1
    top = result.histogram.loc[result.histogram["left"] >= 0.5, "pairs"].sum()
    assert top == (result.pairs["kinship"] >= 0.5).sum()


@pytest.mark.parametrize("chunks", [(130, 37), (1, 37), (64, 5), (130, 1), (33, 33)])
def test_king__the_same_for_any_chunks(cohort, chunks):
    one, other = king(cohort, ALL), king(helpers.rechunked(cohort, *chunks), ALL)
    assert one.pairs.equals(other.pairs)
    assert one.histogram.equals(other.histogram)


def by_matrices(dosage):
    """First, second, kinship and shared calls of all pairs, by products of indicator matrices."""
    het, alt, ref, called = (
        a.astype(np.float64) for a in (dosage == 1, dosage == 2, dosage == 0, dosage >= 0)
    )
    both, opposite = het.T @ het, alt.T @ ref + ref.T @ alt
    het_i, het_j, shared = het.T @ called, called.T @ het, called.T @ called
    i, j = np.triu_indices(dosage.shape[1], 1)
    counts = np.stack([both, opposite, het_i, het_j], axis=-1)[i, j].astype(np.int64)
    return i, j, kinship_from_counts(counts), shared[i, j]


def check_all_pairs(result, dosage, cut):
    i, j, kinship, shared = by_matrices(dosage)
    kept = kinship > cut
    found = result.pairs
    assert found["first"].tolist() == i[kept].tolist()
    assert found["second"].tolist() == j[kept].tolist()
    assert found["kinship"].tolist() == kinship[kept].tolist()
    assert found["n_snp"].tolist() == shared[kept].tolist()
    places = np.searchsorted(module.HISTOGRAM_EDGES, kinship[~np.isnan(kinship)], side="right")
    expected = np.bincount(places, minlength=len(module.HISTOGRAM_EDGES) + 1)
    assert result.histogram["pairs"].tolist() == expected.tolist()


@pytest.fixture(scope="module")
def many_people():
    """1,100 people in three strips, 1,500 variants in two tiles; calls missing alone and in clusters."""
    rng = np.random.default_rng(11)
    dosage = rng.binomial(2, rng.uniform(0.05, 0.5, 1500)[:, None], (1500, 1100)).astype(np.int8)
    dosage[:, 1050] = dosage[:, 3]
    dosage[:, 700] = np.where(rng.random(1500) < 0.9, dosage[:, 699], dosage[:, 700])
    dosage[rng.random(dosage.shape) < 0.01] = -1
    dosage[rng.random(1500) < 0.6, 20] = -1
    dosage[:, 600] = -1
    dosage[1100] = -1
    dosage[:, 800] = np.where(dosage[:, 800] == 1, 2, dosage[:, 800])
    return dosage


@pytest.mark.parametrize("cut", [0.0442, -0.05])
def test_king__many_strips_equal_products_of_matrices(many_people, cut):
    result = king(helpers.cohort(many_people), Kinship(min_kinship=cut))
    check_all_pairs(result, many_people, cut)
    close = result.pairs[result.pairs["kinship"] > 0.3]
    assert close[["first", "second"]].to_numpy().tolist() == [[3, 1050], [699, 700]]


@pytest.mark.parametrize(("strips", "segment"), [(1, 16), (2, 16), (2, 1), (1, 1)])
def test_king__the_same_for_any_blocks(many_people, monkeypatch, strips, segment):
    monkeypatch.setattr(module, "_BLOCK_STRIPS", strips)
    monkeypatch.setattr(module, "_BLOCK_STRIPS_OF_SEGMENTS", strips)
    monkeypatch.setattr(module, "_SEGMENT_TILES", segment)
    check_all_pairs(king(helpers.cohort(many_people), Kinship(min_kinship=0.02)), many_people, 0.02)


def test_king__more_variants_than_narrow_counters_hold():
    rng = np.random.default_rng(2)
    dosage = rng.binomial(2, 0.3, (66_000, 9)).astype(np.int8)
    dosage[:, 4] = dosage[:, 7]
    dosage[rng.random(dosage.shape) < 0.02] = -1
    dosage[:, 5] = np.where(rng.random(66_000) < 0.99, -1, dosage[:, 5])
    check_all_pairs(king(helpers.cohort(dosage), ALL), dosage, -0.999)


@pytest.mark.parametrize("slots", [1, 4])
def test_king__the_same_for_any_number_of_workers(cohort, slots):
    executor = execution.ThreadExecutor(slots)
    with execution.use(executor):
        found = king(cohort, ALL)
    executor.close()
    assert found.pairs.equals(king(cohort, ALL).pairs)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (65, 1), (64, 3)])
def test_king__awkward_shapes(shape):
    result = king(helpers.cohort(np.ones(shape, np.int8)), ALL)
    n = shape[1]
    assert len(result.pairs) == n * (n - 1) // 2
    assert (result.pairs["kinship"] == 0.5).all()


def test_king__unrelated_people_of_one_and_of_two_groups(small_cohort):
    pairs = king(small_cohort, ALL).pairs
    same = pairs["first"] % 3 == pairs["second"] % 3
    # unrelated within a group: 0; between groups with Fst 0.1: clearly negative, and not clipped
    assert abs(pairs.loc[same, "kinship"].mean()) < 0.02
    assert pairs.loc[~same, "kinship"].mean() < -0.05
    assert pairs["kinship"].min() < -0.1


def test_king__too_many_pairs_are_refused(monkeypatch):
    ds = helpers.balding_nichols(1, 40, 60, seed=5)
    monkeypatch.setattr(module, "MOST_PAIRS", 20)
    with pytest.raises(DataError, match="more than 20 pairs lie above the kinship"):
        king(ds, Kinship(min_kinship=-0.9))
