"""Flips: word by word against the reference, and their rates against the transition matrix."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import flips
from scipy.stats import chi2

from genoweave.kernels.channel import perturb
from genoweave.kernels.random import words_at
from genoweave.methods.synthesis.channel import mechanism

KEY = np.arange(1, 9, dtype=np.uint32)


def flip(dosage, epsilon, columns=None, donors=None, rows=None, attempt=0):
    columns = np.arange(dosage.shape[1]) if columns is None else np.asarray(columns)
    donors = np.arange(len(columns)) if donors is None else np.asarray(donors)
    rows = np.arange(len(dosage)) if rows is None else np.asarray(rows)
    out = np.full((len(dosage), len(columns)), 99, np.int8)
    thresholds = mechanism("syngen6", epsilon).thresholds()
    perturb(dosage, donors, thresholds, KEY, rows, columns, attempt, np.arange(len(columns)), out)
    return out


@given(st.integers(0, 10_000), st.floats(0.01, 12))
def test_perturb__equals_the_reference_word_by_word(seed, epsilon):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(-1, 3, (6, 9)).astype(np.int8)
    donors, columns = rng.integers(0, 9, 14), np.sort(rng.integers(0, 10**6, 14))
    rows = rng.integers(0, 2**40, 6)
    matrix = flips.transition(epsilon, "syngen6")
    found = flip(dosage, epsilon, columns, donors, rows, attempt=3)
    words = np.empty(14, np.uint32)
    for v, row in enumerate(rows):
        words_at(KEY, row, columns, 3, words)
        expected = [
            flips.published(true, int(word), matrix[true])
            for true, word in zip(dosage[v, donors].tolist(), words, strict=True)
        ]
        assert found[v].tolist() == expected


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 6.0])
@pytest.mark.parametrize("true", [0, 1, 2])
def test_perturb__rates_are_those_of_the_matrix(epsilon, true):
    # chi-square at 1e-6: one false alarm in 1e6 choices of key, 9 cases
    n = 400_000
    found = np.bincount(flip(np.full((20, n // 20), true, np.int8), epsilon).ravel(), minlength=3)
    probability = np.array(flips.transition(epsilon, "syngen6")[true])
    possible = probability > 0
    assert (found[~possible] == 0).all(), "0 and 2 never become each other"
    expected = n * probability[possible]
    statistic = ((found[possible] - expected) ** 2 / expected).sum()
    assert statistic < chi2.isf(1e-6, possible.sum() - 1)


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 6.0, 50.0])
def test_perturb__missing_stays_missing_and_nothing_else_goes_missing(epsilon):
    dosage = np.tile(np.array([-1, 0, 1, 2], np.int8), (50, 100))
    assert ((flip(dosage, epsilon) == -1) == (dosage == -1)).all()


def test_perturb__epsilon_50_changes_nothing():
    dosage = np.tile(np.array([0, 1, 2], np.int8), (50, 100))
    assert (flip(dosage, 50.0) == dosage).all()


def test_perturb__a_record_does_not_depend_on_its_neighbours():
    dosage = np.random.default_rng(1).integers(0, 3, (30, 40)).astype(np.int8)
    whole = flip(dosage, 1.0)
    chosen = np.array([3, 4, 17, 39])
    assert (flip(dosage, 1.0, columns=chosen, donors=chosen) == whole[:, chosen]).all()
    block = flip(dosage[10:20], 1.0, rows=np.arange(10, 20))
    assert (block == whole[10:20]).all()


def test_perturb__copies_of_one_donor_have_their_own_noise():
    dosage = np.ones((5000, 1), np.int8)
    two = flip(dosage, 2.0, columns=[0, 1], donors=[0, 0])
    changed = two != 1
    share = 2 / (np.exp(2) + 2)
    together = (changed[:, 0] & changed[:, 1]).mean()
    # |z| < 5: one false alarm in 1.7 million
    assert abs(together - share**2) < 5 * np.sqrt(share**2 / 5000)


def test_perturb__another_attempt_is_another_draw():
    dosage = np.ones((2000, 1), np.int8)
    first, second = flip(dosage, 0.5), flip(dosage, 0.5, attempt=1)
    q = 1 / (np.exp(0.5) + 2)
    same = 2 * q**2 + (1 - 2 * q) ** 2
    # |z| < 5: one false alarm in 1.7 million
    assert abs((first == second).mean() - same) < 5 * np.sqrt(same * (1 - same) / 2000)


def test_perturb__writes_to_the_targets_only():
    dosage = np.array([[0, 1, 2, -1]], np.int8)
    out = np.full((1, 6), 77, np.int8)
    thresholds = mechanism("syngen6", 50.0).thresholds()
    places = np.arange(4)
    perturb(dosage, places, thresholds, KEY, np.zeros(1, np.int64), places, 0, np.array([5, 0, 3, 2]), out)
    assert out.tolist() == [[1, 77, -1, 2, 77, 0]]
