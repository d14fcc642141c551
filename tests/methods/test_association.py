"""Logistic regression: agreement with statsmodels, separation, and p-values below every float."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from genoweave.methods.association import log10_p, logistic


def data(n=400, columns=3, seed=0):
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(n), rng.normal(size=(n, columns))])
    y = (rng.random(n) < 1 / (1 + np.exp(-x @ rng.normal(size=columns + 1)))).astype(float)
    return x, y


@pytest.mark.parametrize("seed", range(5))
def test_logistic__equals_statsmodels(seed):
    x, y = data(seed=seed)
    fit, theirs = logistic(x, y), sm.Logit(y, x).fit(disp=0, tol=1e-12)
    assert fit.reason == "ok"
    np.testing.assert_allclose(fit.beta, theirs.params, rtol=1e-7)
    np.testing.assert_allclose(fit.se, theirs.bse, rtol=1e-7)
    np.testing.assert_allclose(10**fit.log10_p, theirs.pvalues, rtol=1e-5)


def test_logistic__a_weight_is_a_number_of_rows():
    x, y = data(60)
    times = np.random.default_rng(1).integers(0, 5, 60)
    weighted = logistic(x, y, times.astype(float))
    repeated = logistic(np.repeat(x, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.beta, repeated.beta, rtol=1e-9)
    np.testing.assert_allclose(weighted.se, repeated.se, rtol=1e-9)


@pytest.mark.parametrize("columns", [1, 2])
def test_logistic__separation_is_said(columns):
    y = np.repeat([0.0, 1.0], 50)
    rng = np.random.default_rng(0)
    x = np.column_stack(
        [np.ones(100), y * 2 - 1 + 0.3 * rng.random(100), *rng.normal(size=(columns - 1, 100))]
    )
    fit = logistic(x, y)
    assert "separate" in fit.reason
    assert np.isnan(fit.beta).all()
    assert np.isnan(fit.log10_p).all()


def test_logistic__quasi_separation_is_said():
    # nobody with x = 1 is a control, but x = 0 is mixed
    x = np.column_stack([np.ones(60), np.repeat([0.0, 0.0, 1.0], 20)])
    y = np.repeat([0.0, 1.0, 1.0], 20)
    fit = logistic(x, y)
    assert fit.reason != "ok"
    assert np.isnan(fit.beta).all()


def test_logistic__collinear_columns_are_said():
    x, y = data()
    fit = logistic(np.column_stack([x, x[:, 1] - 2 * x[:, 2]]), y)
    assert fit.reason != "ok"
    assert np.isnan(fit.se).all()


def test_log10_p__far_beyond_the_smallest_float():
    z = np.array([0.0, 1.96, -1.96, 5.0, 30.0])
    np.testing.assert_allclose(log10_p(z), np.log10(2 * norm.sf(np.abs(z))), rtol=1e-12, atol=1e-15)
    # Mills' ratio: p is about 2 phi(z) / z (1 - 1/z^2)
    z = 74.2
    expected = (-(z**2) / 2 - np.log(z * np.sqrt(2 * np.pi)) + np.log(2 * (1 - z**-2))) / np.log(10)
    assert log10_p(np.array(z)) == pytest.approx(expected, rel=1e-7)
    assert log10_p(np.array(z)) < -1000
