"""LD pruning: nothing above r2 is left within the window, and the first of two stays."""

import helpers
import numpy as np
import pytest

from genoweave.methods.ld import prune


def linked_cohort(n_variants=1300, n_samples=90, seed=0, missing=0.02):
    """Runs of variants that copy their left neighbour with some noise, on two contigs."""
    rng = np.random.default_rng(seed)
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, n_variants), n_samples, rng)
    for v in range(1, n_variants):
        if rng.random() < 0.7:
            copied = rng.random(n_samples) < rng.choice([0.5, 0.8, 0.95])
            dosage[v, copied] = dosage[v - 1, copied]
    dosage[[5, 6, 900]] = 0
    position = np.cumsum(rng.integers(1, 3000, n_variants))
    return helpers.cohort(helpers.with_missing(dosage, missing, rng), contigs=("1", "2"), position=position)


def squared_correlations(ds):
    """r2 with missing calls at the variant's mean, in double precision; 0 for monomorphic variants."""
    dosage = helpers.dosage_of(ds).astype(float)
    called = np.ma.masked_less(dosage, 0)
    x = (called - called.mean(axis=1, keepdims=True)).filled(0.0)
    norm = np.sqrt((x**2).sum(axis=1, keepdims=True))
    x = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    return (x @ x.T) ** 2


def near(ds, window):
    contig, position = ds["variant_contig"].values, ds["variant_position"].values
    return (contig[:, None] == contig) & (np.abs(position[:, None] - position) <= window)


def first_come(linked):
    keep = np.ones(len(linked), bool)
    for v in range(len(linked)):
        keep[v] = not (linked[v, :v] & keep[:v]).any()
    return keep


@pytest.mark.parametrize(("r2", "window"), [(0.2, 500_000), (0.5, 20_000), (0.05, 10**9), (0.8, 1)])
def test_prune__equals_first_come_by_brute_force(r2, window):
    ds = linked_cohort()
    squared = squared_correlations(ds)
    pairs = near(ds, window)
    # the method works in single precision: no pair may be that close to the cut
    assert np.abs(squared[pairs] - r2).min() > 2e-7
    keep = prune(ds, r2, window)
    expected = first_come((squared > r2) & pairs)
    assert keep.tolist() == expected.tolist()
    left = np.flatnonzero(keep)
    rest = (squared * pairs)[np.ix_(left, left)]
    np.fill_diagonal(rest, 0)
    assert rest.max() <= r2


def test_prune__the_first_of_identical_variants_stays():
    row = np.array([0, 1, 2, 1, 0, 2, 1, 1], np.int8)
    ds = helpers.cohort(np.tile(row, (6, 1)), contigs=("1", "2"), position=np.array([1, 2, 3, 1, 2, 3]))
    assert prune(ds, 0.5, 10).tolist() == [True, False, False, True, False, False]


def test_prune__a_removed_variant_removes_nothing():
    # b is close to a and c, but a and c are far apart: b goes, c stays
    a = np.array([0, 0, 0, 0, 1, 1, 1, 1] * 4, np.int8)
    c = np.array([0, 0, 1, 1, 0, 0, 1, 1] * 4, np.int8)
    squared = squared_correlations(helpers.cohort(np.array([a, a + c, c])))
    assert squared[0, 1] == pytest.approx(0.5)
    assert squared[0, 2] == pytest.approx(0)
    assert prune(helpers.cohort(np.array([a, a + c, c])), 0.4, 10**6).tolist() == [True, False, True]


def test_prune__the_window_is_inclusive():
    row = np.array([0, 1, 2, 1, 0, 2, 1, 1], np.int8)
    ds = helpers.cohort(np.tile(row, (2, 1)), position=np.array([100, 200]))
    assert prune(ds, 0.5, 100).tolist() == [True, False]
    assert prune(ds, 0.5, 99).tolist() == [True, True]


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_prune__one_variant_or_one_sample(shape):
    assert prune(helpers.cohort(np.ones(shape, np.int8)), 0.2, 10**6).all()


@pytest.mark.parametrize("chunks", [(1300, 90), (100, 90), (1024, 7), (7, 90)])
def test_prune__any_chunks_give_the_same(chunks):
    ds = linked_cohort()
    assert (prune(helpers.rechunked(ds, *chunks), 0.2, 100_000) == prune(ds, 0.2, 100_000)).all()
