"""The channel's matrix and its closed forms: genetics of flipped genotypes."""

import numpy as np
import pytest
from reference import flips

from genoweave.errors import ConfigError
from genoweave.methods.synthesis import mechanism
from genoweave.methods.synthesis.channel import flip_probability

EPSILONS = pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0, 6.0, 12.0])
VALUES = np.arange(3)


def hardy_weinberg(f):
    return np.array([(1 - f) ** 2, 2 * f * (1 - f), f**2])


def test_flip_probability__known_answers():
    q = flip_probability(6)
    assert round(q, 7) == 0.0024665
    assert round(2 * q, 7) == 0.0049330
    assert round(1 - 2 * q, 7) == 0.9950670
    assert round(7180 * 2 * q, 1) == 35.4
    assert round(np.sqrt(7180 * 2 * q * (1 - 2 * q)), 1) == 5.9


@EPSILONS
def test_mechanism__syngen6_has_the_papers_matrix(epsilon):
    transition = mechanism("syngen6", epsilon).transition
    np.testing.assert_allclose(transition, flips.transition(epsilon, "syngen6"), rtol=1e-14)
    np.testing.assert_allclose(transition.sum(axis=1), 1, rtol=1e-14)
    assert transition[0, 2] == transition[2, 0] == 0


@pytest.mark.parametrize(
    ("epsilon", "expected"),
    [
        (6, [0.012417, 0.052220, 0.101973, 0.251233, 0.5]),
        (3, [0.054373, 0.090751, 0.136223, 0.272639, 0.5]),
        (1, [0.217703, 0.240747, 0.269553, 0.355971, 0.5]),
    ],
)
def test_expected_frequency__known_answers(epsilon, expected):
    channel = mechanism("syngen6", epsilon)
    f = np.array([0.01, 0.05, 0.1, 0.25, 0.5])
    found = channel.expected_frequency(hardy_weinberg(f).T)
    assert found.round(6).tolist() == expected
    np.testing.assert_allclose(found, f + flip_probability(epsilon) * (1 - 2 * f), rtol=1e-12)


def test_expected_frequency__nothing_called_is_nan():
    found = mechanism("syngen6", 6).expected_frequency(np.array([[0, 0, 0], [1, 0, 0]]))
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(flip_probability(6))


def test_transition__genotypes_in_equilibrium_at_epsilon_6():
    after = hardy_weinberg(0.1) @ mechanism("syngen6", 6).transition
    assert after.round(6).tolist() == [0.806448, 0.183157, 0.010395]


@EPSILONS
@pytest.mark.parametrize("f", [0.01, 0.3, 0.5, 0.9])
def test_transition__moments_follow_the_closed_forms(epsilon, f):
    q = flip_probability(epsilon)
    channel = mechanism("syngen6", epsilon)
    before = hardy_weinberg(f)
    after = before @ channel.transition
    np.testing.assert_allclose(channel.transition @ VALUES, 2 * q + (1 - 2 * q) * VALUES, rtol=1e-12)
    assert after[1] == pytest.approx(before[1] + 2 * q * (1 - 2 * before[1]))
    variance = [p @ VALUES**2 - (p @ VALUES) ** 2 for p in (before, after)]
    expected = (1 - 2 * q) ** 2 * variance[0] + 2 * q - 4 * q**2 * (1 - before[1])
    assert variance[1] == pytest.approx(expected)
    assert channel.dosage_variance(before) == pytest.approx(2 * q - 4 * q**2 * (1 - before[1]))


def test_transition__linkage_that_is_left_at_epsilon_6():
    q = flip_probability(6)
    channel = mechanism("syngen6", 6)
    left = []
    for f in (0.01, 0.05, 0.1, 0.25, 0.5):
        before = hardy_weinberg(f)
        after = before @ channel.transition
        variance = [p @ VALUES**2 - (p @ VALUES) ** 2 for p in (before, after)]
        left.append(((1 - 2 * q) ** 2 * variance[0] / variance[1]) ** 2)
    assert np.round(left, 3).tolist() == [0.640, 0.903, 0.947, 0.974, 0.980]


def test_mechanism__an_unknown_name():
    with pytest.raises(ConfigError, match="no mechanism 'laplace'; choose one of: syngen6"):
        mechanism("laplace", 6)


def test_mechanism__says_that_it_guarantees_nothing():
    channel = mechanism("syngen6", 6)
    assert channel.guarantee == "none"
    assert "not a differential-privacy guarantee" in channel.statement
