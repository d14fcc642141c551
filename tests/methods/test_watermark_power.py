"""How many watermarks are needed, and the plain design: numbers known beforehand."""

from math import comb

import numpy as np
import pytest

from genoweave.errors import ConfigError, DataError
from genoweave.methods.association import logistic
from genoweave.methods.watermark import detection_probability, unnoticed_share, watermarks_needed
from genoweave.methods.watermark.plain import plain_counts


def test_detection__known_answers():
    found = [round(detection_probability(20, rho), 3) for rho in (0.01, 0.05, 0.10, 0.20)]
    assert found == [0.182, 0.642, 0.878, 0.988]
    assert [watermarks_needed(rho) for rho in (0.01, 0.05, 0.10, 0.20)] == [299, 59, 29, 14]


@pytest.mark.parametrize(("n", "w", "rho"), [(100, 5, 0.1), (1000, 20, 0.05), (30, 3, 0.5), (12, 4, 0.9)])
def test_detection__exact_form_is_the_ratio_of_binomials(n, w, rho):
    c = round(rho * (n + w))
    wanted = 1 - comb(n, c) / comb(n + w, c)
    assert detection_probability(w, rho, n) == pytest.approx(wanted, rel=1e-9)


def test_detection__is_what_blind_skipping_gives():
    rng = np.random.default_rng(3)
    n, w, rho, runs = 200, 10, 0.1, 4000
    c = round(rho * (n + w))
    hit = np.mean([(rng.permutation(n + w)[:c] < w).any() for _ in range(runs)])
    p = detection_probability(w, rho, n)
    assert abs(hit - p) < 5 * np.sqrt(p * (1 - p) / runs)  # one false alarm in 1.7 million seeds


def test_detection__edges():
    assert detection_probability(0, 0.5) == 0
    assert detection_probability(5, 0) == 0
    assert detection_probability(5, 1) == 1
    assert detection_probability(5, 1, 10) == 1
    assert watermarks_needed(0.999) == 1
    assert unnoticed_share(0) == 1
    assert unnoticed_share(59) == pytest.approx(1 - 0.05 ** (1 / 59))
    with pytest.raises(ConfigError, match="share of SNPs"):
        detection_probability(5, 1.5)
    with pytest.raises(ConfigError, match="wanted is a share"):
        watermarks_needed(0.1, 1)


@pytest.mark.parametrize(
    ("prevalence", "maf", "z", "fitted"),
    [(0.5, 0.2, 6.5, 6.507), (0.1, 0.05, 8, 7.990), (0.02, 0.3, 10, 9.970)],
)
def test_plain_design__known_answers_at_thirty_thousand(prevalence, maf, z, fitted):
    n = 30_000
    counts = plain_counts(n, int(n * prevalence), maf, z)
    assert counts[1].sum() == n * prevalence
    p = [(1 - maf) ** 2, 2 * maf * (1 - maf), maf**2]
    np.testing.assert_array_equal(counts.sum(axis=0), np.rint(n * np.array(p)))
    x = np.column_stack([np.ones(6), np.tile([0.0, 1, 2], 2)])
    fit = logistic(x, np.repeat([0.0, 1], 3), counts.ravel().astype(float))
    assert round(fit.z[1], 3) == fitted
    if z == 6.5:
        assert f"{10 ** fit.log10_p[1]:.1e}" == "7.7e-11"


def test_plain_design__out_of_reach_is_said():
    with pytest.raises(DataError, match="reaches z = 8"):
        plain_counts(100, 50, 0.05, 8)
