"""Linear regression against statsmodels, one variant at a time, and against what theory says."""

import os
import subprocess
import sys
from fractions import Fraction
from math import comb, log10
from pathlib import Path

import helpers
import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from genoweave.errors import ConfigError, DataError
from genoweave.execution import ThreadExecutor, use
from genoweave.methods import linear as module
from genoweave.methods.linear import CODES, Linear, linear, t_log10_p

NAMES = ("n_called", "counted_frequency", "beta", "se", "t", "log10_p", "fit_code")


def example(n_variants=40, n_samples=300, n_traits=1, n_covariates=3, *, missing=0.05, seed=1):
    rng = np.random.default_rng(seed)
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, n_variants), n_samples, rng)
    covariates = rng.normal(5, 3, (n_samples, n_covariates)) * 10.0 ** rng.integers(-3, 4, n_covariates)
    covariates += dosage[:1].T * covariates.std(axis=0) / 2
    traits = rng.normal(100, 2, (n_samples, n_traits))
    traits += dosage[1:2].T + (covariates / covariates.std(axis=0)).sum(axis=1)[:, None]
    return helpers.with_missing(dosage, missing, rng), traits, covariates


def values(fits):
    return {name: fits[f"variant_{name}"].values for name in NAMES}


def assert_same_bits(one, other):
    for name in NAMES:
        assert values(one)[name].tobytes() == values(other)[name].tobytes(), name


def expected(dosage, trait, covariates):
    """One variant by statsmodels, over complete cases: n, frequency, beta, se, t."""
    used = (dosage >= 0) & np.isfinite(trait) & np.isfinite(covariates).all(axis=1)
    g = dosage[used].astype(float)
    scaled = (covariates[used] - covariates[used].mean(axis=0)) / covariates[used].std(axis=0)
    model = sm.OLS(trait[used], np.column_stack([g, np.ones(len(g)), scaled])).fit()
    return len(g), g.mean() / 2, model.params[0], model.bse[0], model.tvalues[0], log10(model.pvalues[0])


def assert_equals_statsmodels(dosage, traits, covariates, fits, *, off=1e-8):
    found = values(fits)
    assert not found["fit_code"].any()
    for v in range(len(dosage)):
        for t in range(traits.shape[1]):
            n, frequency, beta, se, t_value, log10_p = expected(dosage[v], traits[:, t], covariates)
            assert found["n_called"][v, t] == n
            assert found["counted_frequency"][v, t] == pytest.approx(frequency, rel=1e-14)
            # the fixed point is good to 1e-8 standard errors
            assert found["beta"][v, t] == pytest.approx(beta, rel=off, abs=off * se)
            assert found["se"][v, t] == pytest.approx(se, rel=off)
            assert found["t"][v, t] == pytest.approx(t_value, rel=off, abs=off)
            assert found["log10_p"][v, t] == pytest.approx(log10_p, rel=10 * off, abs=off)


@pytest.mark.parametrize("missing", [0.0, 0.03, 0.5])
@pytest.mark.parametrize("n_covariates", [0, 1, 3, 7, 10])
def test_linear__equals_statsmodels(missing, n_covariates):
    dosage, traits, covariates = example(n_covariates=n_covariates, missing=missing)
    fits = linear(helpers.cohort(dosage), traits, covariates)
    assert_equals_statsmodels(dosage, traits, covariates, fits)


def test_linear__traits_and_covariates_with_their_own_missing_values():
    dosage, traits, covariates = example(12, 400, n_traits=5)
    rng = np.random.default_rng(3)
    traits[rng.random(400) < 0.3, 0] = np.nan
    traits[rng.random(400) < 0.5, 1] = np.nan
    traits[:, 3] = np.where(np.isnan(traits[:, 1]), np.nan, traits[:, 3])
    covariates[rng.random(400) < 0.1, 1] = np.nan
    fits = linear(helpers.cohort(dosage), traits, covariates)
    assert_equals_statsmodels(dosage, traits, covariates, fits)


def test_linear__many_traits_at_once_equal_one_by_one():
    dosage, traits, covariates = example(9, 500, n_traits=70)
    ds = helpers.cohort(dosage)
    fits = linear(ds, traits, covariates)
    assert fits.sizes == {"variants": 9, "traits": 70}
    for t in (0, 31, 32, 69):
        one = linear(ds, traits[:, t], covariates)
        for name in NAMES:
            np.testing.assert_allclose(values(fits)[name][:, [t]], values(one)[name], rtol=1e-7, atol=1e-9)


def test_linear__intercept_alone_by_hand():
    g, y = np.array([0, 0, 1, 1, 2, 2]), np.array([1.0, 3, 2, 4, 6, 8])
    fits = values(linear(helpers.cohort(g[None].astype(np.int8)), y))
    # sum (g - 1)^2 = 4, sum (g - 1)(y - 4) = 10, sum (y - 4)^2 = 34: b = 2.5, RSS = 34 - 25 = 9, df = 4
    assert fits["beta"][0, 0] == pytest.approx(2.5)
    assert fits["se"][0, 0] == pytest.approx(np.sqrt(9 / 4 / 4))
    assert fits["counted_frequency"][0, 0] == 0.5
    assert fits["n_called"][0, 0] == 6


def test_linear__strong_effects_do_not_underflow():
    rng = np.random.default_rng(2)
    g = rng.integers(0, 3, (1, 5000)).astype(np.int8)
    fits = values(linear(helpers.cohort(g), g[0] + rng.normal(0, 0.01, 5000)))
    # p = (1 + t^2 / df)^(-df / 2) apart from a factor near 1 / t: 4,998 / 2 x log10(1 + 80^2)
    assert -9600 < fits["log10_p"][0, 0] < -9400
    assert fits["fit_code"][0, 0] == 0


def degenerate():
    """Variants in the order of `CODES`, and one trait and four covariates."""
    rng = np.random.default_rng(7)
    n = 200
    plain = rng.integers(0, 3, n).astype(np.int8)
    hidden = rng.integers(0, 3, n).astype(np.int8)
    covariates = rng.normal(size=(n, 4))
    covariates[:, 0] = hidden + rng.normal(0, 0.05, n)
    covariates[:, 1] = np.arange(n) < 5
    traits = rng.normal(size=(n, 2)) + plain[:, None]
    rare = plain.copy()
    rare[:5] = -1
    few = np.full(n, -1, np.int8)
    few[2:8] = [0, 1, 2, 0, 1, 2]
    exact = rng.integers(0, 3, n).astype(np.int8)
    traits[:, 1] = 3.0 * exact + covariates @ [1, 2, 3, 4]
    dosage = np.stack([plain, np.ones(n, np.int8), few, hidden, rare, exact])
    return dosage, traits, covariates


def test_linear__degenerate_variants_have_a_code_and_no_number():
    dosage, traits, covariates = degenerate()
    fits = values(linear(helpers.cohort(dosage), traits, covariates))
    assert [CODES[c] for c in fits["fit_code"][:, 1]] == list(CODES)
    assert [CODES[c] for c in fits["fit_code"][:, 0]] == [*CODES[:5], "ok"]
    for name in ("beta", "se", "t", "log10_p"):
        assert (np.isfinite(fits[name]) == (fits["fit_code"] == 0)).all()
    assert fits["n_called"][:, 0].tolist() == [200, 200, 6, 200, 195, 200]


def test_linear__a_variant_without_calls_has_no_frequency():
    dosage, traits, covariates = example(3)
    dosage[1] = -1
    fits = values(linear(helpers.cohort(dosage), traits, covariates))
    assert fits["n_called"][1, 0] == 0
    assert np.isnan(fits["counted_frequency"][1, 0])
    assert CODES[fits["fit_code"][1, 0]] == "too_few_samples"


def test_linear__max_vif_is_the_variants_inflation():
    rng = np.random.default_rng(4)
    g = rng.integers(0, 3, 1000).astype(float)
    covariate = g + rng.normal(0, 0.1, 1000)
    vif = 1 / (1 - np.corrcoef(g, covariate)[0, 1] ** 2)
    ds = helpers.cohort(g[None].astype(np.int8))
    for limit, code in ((vif * 1.0001, "ok"), (vif * 0.9999, "collinear")):
        fits = linear(ds, rng.normal(size=1000), covariate, Linear(max_vif=limit))
        assert CODES[int(fits["variant_fit_code"][0, 0])] == code


def test_linear__few_calls_left_of_many_are_still_right():
    dosage, traits, covariates = example(5, 6000, n_covariates=2)
    keep = np.arange(0, 6000, 400)
    thin = np.full_like(dosage, -1)
    thin[:, keep] = np.random.default_rng(1).integers(0, 3, (5, len(keep)))
    fits = linear(helpers.cohort(thin), traits, covariates)
    # the sums of the few are differences of sums over all: the fixed point counts for more
    assert_equals_statsmodels(thin, traits, covariates, fits, off=1e-6)


@settings(max_examples=15)
@given(st.integers(1, 130), st.integers(1, 300), st.sampled_from([1, 64, 70, 1000]), st.sampled_from([1, 2]))
def test_linear__same_bits_for_any_chunks_tasks_and_threads(variants, samples, rows, threads):
    dosage, traits, covariates = example(130, 300, n_traits=2, seed=9)
    traits[:40, 0] = np.nan
    ds = helpers.cohort(dosage)
    whole = linear(ds, traits, covariates)
    executor = ThreadExecutor(threads)
    with pytest.MonkeyPatch.context() as patch, use(executor):
        patch.setattr(module, "_TASK_BYTES", rows * 75)
        patch.setattr(module, "_VARIANTS_AT_ONCE", max(1, rows // 3))
        other = linear(helpers.rechunked(ds, variants, samples), traits, covariates)
    executor.close()
    assert_same_bits(whole, other)


def test_linear__null_p_values_are_uniform():
    """10,000 independent variants, fixed seed; |z| < 5 at four levels, a false alarm in 400,000 seeds."""
    rng = np.random.default_rng(20)
    n_variants = 10_000
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, n_variants), 150, rng)
    covariates = rng.normal(size=(150, 4))
    fits = linear(helpers.cohort(helpers.with_missing(dosage, 0.02, rng)), rng.normal(size=150), covariates)
    p = 10 ** fits["variant_log10_p"].values[:, 0]
    for level in (0.5, 0.1, 0.01, 0.001):
        expected_count = n_variants * level
        assert abs((p < level).sum() - expected_count) < 5 * np.sqrt(expected_count * (1 - level))


@pytest.mark.parametrize("df", [2, 4, 20, 200])
@pytest.mark.parametrize("t", [0.0, 0.5, 3.0, 40.0, 1e4, 1e9, 1e60])
def test_t_log10_p__equals_the_finite_series_of_even_df(df, t):
    """1 - s sum_k C(2k, k) (c/4)^k with c = df / (df + t^2), s = sqrt(1 - c): its tail, k >= df/2, is p."""
    c = Fraction(df) / (Fraction(df) + Fraction(t) ** 2)
    s = np.sqrt(float(1 - c))
    if float(c) < 0.5:
        term = Fraction(comb(df, df // 2)) * (c / 4) ** (df // 2)
        ratio, total, k = 1.0, 1.0, df // 2
        while ratio > 1e-18 * total:
            ratio *= float(c) * (2 * k + 1) / (2 * k + 2)
            total += ratio
            k += 1
        wanted = log10(term.numerator) - log10(term.denominator) + log10(s * total)
    else:
        head = sum(comb(2 * k, k) * (c / 4) ** k for k in range(df // 2))
        wanted = log10(1 - s * float(head))
    found = t_log10_p(np.array([t, -t]), np.array(df))
    # where p is a difference from 1, the series itself keeps ten digits
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-10)


def test_t_log10_p__joins_its_two_ways_and_falls_steadily():
    df = np.array([[5], [300], [20_000], [184_000]])
    t = np.sqrt(df * (np.exp(np.linspace(640, 650, 400) * 2 / df) - 1))
    log10_p = t_log10_p(t, df)
    assert (np.diff(log10_p) < 0).all()
    steps = np.diff(log10_p, axis=1)
    assert (np.abs(np.diff(steps, axis=1)) < 1e-6).all()
    assert np.isnan(t_log10_p(np.array([np.nan, 1.0]), np.array([5, 0]))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, x: (y[:-1], x), "traits are wanted as .* with 300 samples .* found shape"),
        (lambda y, x: (y, x[:-1]), "covariates are wanted as .* with 300 samples"),
        (lambda y, x: (np.where(y > 100, np.inf, y), x), "traits: column 1 has infinite values"),
        (lambda y, x: (y, np.column_stack([x, np.full(300, 3.7)])), "covariate 4 of 4 is constant"),
        (lambda y, x: (y, np.column_stack([x, x[:, 0] + x[:, 1]])), "nearly a combination of the others"),
        (lambda y, x: (np.full(300, 5.5), x), "trait 1 is constant or is explained"),
        (lambda y, x: (2 * x[:, 0] + 1, x), "trait 1 is constant or is explained"),
        (lambda y, x: (np.where(np.arange(300) < 5, y[:, 0], np.nan), x), "5 samples have trait and covari"),
        (lambda y, x: (np.full(300, np.nan), x), "0 samples have trait and covariates"),
    ],
)
def test_linear__says_what_is_wrong(change, message):
    dosage, traits, covariates = example()
    with pytest.raises(DataError, match=message):
        linear(helpers.cohort(dosage), *change(traits, covariates))


def test_parameters__a_vif_is_above_one():
    with pytest.raises(ConfigError, match="max_vif"):
        Linear(max_vif=1)


ELSEWHERE = """
import sys
sys.path[:0] = {path}
from genoweave.kernels import linear_tiles
linear_tiles.TILE_VARIANTS, linear_tiles.TILE_COLUMNS = {tile}
import helpers
from test_linear import degenerate, example, values
from genoweave.methods.linear import linear
import hashlib
digest = hashlib.sha256()
for dosage, traits, covariates in (example(70, 9000, 2), degenerate()):
    for value in values(linear(helpers.cohort(dosage), traits, covariates)).values():
        digest.update(value.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_linear__same_bits_on_a_plain_processor(tmp_path):
    """Compiled for any processor of this family, in the small tile, and compiled for this one."""
    here = Path(__file__).parent
    digests = []
    for tile, environment in (
        ("linear_tiles.TILE_VARIANTS, linear_tiles.TILE_COLUMNS", {}),
        ("2, 1", {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}),
    ):
        script = ELSEWHERE.format(path=[str(here), str(here.parent)], tile=tile)
        folder = {"NUMBA_CACHE_DIR": str(tmp_path / str(len(digests)))}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **environment, **folder},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        digests.append(done.stdout)
    assert digests[0] == digests[1]
