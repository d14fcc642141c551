"""Genetic models, missing calls at the mean, likelihood ratios, against statsmodels and direct sums."""

import helpers
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import chi2, f

from genoweave.errors import ConfigError
from genoweave.execution import ThreadExecutor, use
from genoweave.methods.gwas import CODES, GWAS, METHODS, Trait, gwas
from genoweave.methods.gwas import fits as module
from genoweave.methods.gwas.coded import CODINGS, blank
from genoweave.methods.gwas.fits import ARRAYS

WEIGHTS = {
    "additive": [[0, 1, 2]],
    "dominant": [[0, 1, 1]],
    "recessive": [[0, 0, 1]],
    "genotypic": [[0, 1, 2], [0, 1, 0]],
    "hethom": [[0, 0, 1], [0, 1, 0]],
}


@pytest.fixture(scope="module")
def data():
    """Dosages (14, 700) with 6 % missing, case/control and two quantitative traits, covariates."""
    rng = np.random.default_rng(11)
    dosage = helpers.hardy_weinberg(rng.uniform(0.25, 0.75, 14), 700, rng)
    covariates = rng.normal(5, 3, (700, 3)) * [1, 100, 0.01]
    eta = 0.5 * (dosage[0] > 0) - 0.8 + 0.2 * (covariates[:, 0] - 5)
    case = (rng.random(700) < expit(eta)).astype(float)
    traits = eta[:, None] + rng.normal(size=(700, 2)) * [1, 20]
    case[rng.random(700) < 0.05] = np.nan
    traits[rng.random(700) < 0.05, 1] = np.nan
    covariates[3, 1] = np.nan
    return helpers.with_missing(dosage, 0.06, rng), case, traits, covariates


def design_of(dosage, trait, covariates, coding, missing):
    """One variant's coded columns, trait and covariates with intercept, of the samples in its regression."""
    used = np.isfinite(trait) & np.isfinite(covariates).all(axis=1)
    if missing == "complete":
        used &= dosage >= 0
    g = np.array(WEIGHTS[coding], float)[:, dosage[used]]
    for column in g:
        column[dosage[used] < 0] = column[dosage[used] >= 0].mean()
    x = covariates[used]
    return g.T, trait[used], np.column_stack([np.ones(used.sum()), (x - x.mean(axis=0)) / x.std(axis=0)])


def terms_of(dosage, trait, covariates, *, is_binary, **settings):
    ds = helpers.cohort(dosage)
    return gwas(ds, [Trait("t", trait, is_binary)], covariates, GWAS(**settings))[0].tests


@pytest.mark.parametrize("missing", ["complete", "mean"])
@pytest.mark.parametrize("coding", list(WEIGHTS))
def test_linear__codings_equal_statsmodels(data, coding, missing):
    dosage, _, traits, covariates = data
    ds = helpers.cohort(dosage)
    quantitative = [Trait(str(t), traits[:, t], is_binary=False) for t in range(2)]
    found = gwas(ds, quantitative, covariates, GWAS(coding=coding, missing=missing))
    for t, one in enumerate(found):
        assert tuple(one.tests) == CODINGS[coding].tests
        assert not one.fits.code.any()
        for v, row in enumerate(dosage):
            g, y, x = design_of(row, traits[:, t], covariates, coding, missing)
            theirs = sm.OLS(y, np.column_stack([g, x])).fit()
            for c, name in enumerate(CODINGS[coding].terms):
                fits = one.tests[name]
                assert fits.called[v] == len(y)
                assert fits.beta[v] == pytest.approx(theirs.params[c], rel=1e-6, abs=1e-6 * theirs.bse[c])
                assert fits.se[v] == pytest.approx(theirs.bse[c], rel=1e-7)
                assert fits.log10_p[v] == pytest.approx(np.log10(theirs.pvalues[c]), rel=1e-6, abs=1e-6)
            if len(CODINGS[coding].terms) == 2:
                joint = theirs.f_test(np.eye(2, g.shape[1] + x.shape[1]))
                assert one.fits.statistic[v] == pytest.approx(joint.fvalue, rel=1e-6)
                assert one.fits.log10_p[v] == pytest.approx(np.log10(joint.pvalue), rel=1e-6)
                assert np.isnan(one.fits.beta[v])


@pytest.mark.parametrize("missing", ["complete", "mean"])
@pytest.mark.parametrize("coding", list(WEIGHTS))
def test_score__codings_are_the_score_test(data, coding, missing):
    """Without missing calls, or with them at the mean, exactly; else see the test of one step."""
    dosage, case, _, covariates = data
    dosage = dosage.clip(0) if missing == "complete" else dosage
    tests = terms_of(dosage, case, covariates, is_binary=True, coding=coding, missing=missing, refine_p=0)
    for v, row in enumerate(dosage):
        g, y, x = design_of(row, case, covariates, coding, missing)
        mu = sm.Logit(y, x).fit(disp=0, tol=1e-13).predict()
        w = (mu * (1 - mu))[:, None]
        u = g.T @ (y - mu)
        information = (g * w).T @ g - (g * w).T @ x @ np.linalg.solve((x * w).T @ x, (x * w).T @ g)
        inverse = np.linalg.inv(information)
        for c, name in enumerate(CODINGS[coding].terms):
            assert tests[name].called[v] == len(y)
            assert tests[name].beta[v] == pytest.approx((inverse @ u)[c], abs=1e-6)
            assert tests[name].se[v] == pytest.approx(np.sqrt(inverse[c, c]), rel=1e-6)
        if len(CODINGS[coding].terms) == 2:
            assert tests["GENO_2DF"].statistic[v] == pytest.approx(u @ inverse @ u / 2, rel=1e-5, abs=1e-6)
            expected = chi2.logsf(u @ inverse @ u, 2) / np.log(10)
            assert tests["GENO_2DF"].log10_p[v] == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("missing", ["complete", "mean"])
@pytest.mark.parametrize("coding", list(WEIGHTS))
@pytest.mark.parametrize("test", ["wald", "lrt"])
def test_whole_fits__equal_statsmodels(data, coding, missing, test):
    dosage, case, _, covariates = data
    tests = terms_of(dosage, case, covariates, is_binary=True, coding=coding, missing=missing, test=test)
    assert (tests[CODINGS[coding].tests[-1]].method == METHODS.index(test)).all()
    for v, row in enumerate(dosage):
        g, y, x = design_of(row, case, covariates, coding, missing)
        theirs = sm.Logit(y, np.column_stack([g, x])).fit(disp=0, tol=1e-13)
        null = sm.Logit(y, x).fit(disp=0, tol=1e-13)
        for c, name in enumerate(CODINGS[coding].terms):
            assert tests[name].beta[v] == pytest.approx(theirs.params[c], abs=1e-7)
            assert tests[name].se[v] == pytest.approx(theirs.bse[c], rel=1e-6)
        d = g.shape[1]
        square = 2 * (theirs.llf - null.llf)
        if test == "wald":
            r = np.eye(d, d + x.shape[1])
            square = float(np.squeeze(theirs.wald_test(r, scalar=True).statistic))
        last = tests[CODINGS[coding].tests[-1]]
        ours = last.statistic[v] ** 2 if d == 1 else 2 * last.statistic[v]
        assert ours == pytest.approx(square, rel=1e-6, abs=1e-7)
        assert last.log10_p[v] == pytest.approx(chi2.logsf(square, d) / np.log(10), rel=1e-5, abs=1e-6)
        if d == 1:
            assert np.sign(last.statistic[v]) == np.sign(theirs.params[0])


def penalised(beta, case, columns):
    """Minus the log of Firth's penalised likelihood."""
    mu = expit(columns @ beta)
    information = (columns * (mu * (1 - mu))[:, None]).T @ columns
    inside = np.log(np.where(case == 1, mu, 1 - mu)).sum()
    return -(inside + np.linalg.slogdet(information)[1] / 2)


@pytest.mark.parametrize("coding", ["additive", "genotypic", "hethom"])
def test_lrt__is_firths_where_there_is_no_maximum(coding):
    rng = np.random.default_rng(2)
    n = 200
    dosage = rng.integers(0, 3, (1, n)).astype(np.int8)
    dosage[0, rng.random(n) < 0.7] = 0
    case = ((dosage[0] > 0) | (rng.random(n) < 0.2)).astype(float)  # no control is a carrier
    x = rng.normal(size=(n, 1))
    tests = terms_of(dosage, case, x, is_binary=True, coding=coding, test="lrt")
    last = tests[CODINGS[coding].tests[-1]]
    assert METHODS[last.method[0]] == "firth_lrt"
    g, y, x1 = design_of(dosage[0], case, x, coding, "complete")
    columns, d = np.column_stack([g, x1]), g.shape[1]
    full = minimize(penalised, np.zeros(d + 2), (y, columns), tol=1e-12)
    null = minimize(lambda b: penalised(np.r_[np.zeros(d), b], y, columns), np.zeros(2), tol=1e-12)
    square = 2 * (null.fun - full.fun)
    ours = last.statistic[0] ** 2 if d == 1 else 2 * last.statistic[0]
    assert ours == pytest.approx(square, rel=1e-6)
    for c, name in enumerate(CODINGS[coding].terms):
        assert tests[name].beta[0] == pytest.approx(full.x[c], abs=1e-4)


def test_score__what_is_below_the_threshold_is_fitted_whole(data):
    dosage, case, _, covariates = data
    for coding in WEIGHTS:
        settings = {"is_binary": True, "coding": coding, "missing": "mean"}
        score = terms_of(dosage, case, covariates, refine_p=0, **settings)
        both = terms_of(dosage, case, covariates, refine_p=0.3, **settings)
        wald = terms_of(dosage, case, covariates, test="wald", **settings)
        again = score[CODINGS[coding].tests[-1]].log10_p < np.log10(0.3)
        assert 0 < again.sum() < len(again)
        for name in CODINGS[coding].tests:
            for array in ARRAYS:
                expected = np.where(again, getattr(wald[name], array), getattr(score[name], array))
                np.testing.assert_array_equal(getattr(both[name], array), expected)


@pytest.mark.parametrize("coding", ["dominant", "genotypic"])
def test_codings__degenerate_variants_have_a_code_and_no_number(data, coding):
    dosage, case, traits, covariates = (array.copy() for array in data)
    dosage[0] = dosage[0].clip(0)
    dosage[1] = 2
    dosage[2] = -1
    dosage[3] = np.where(dosage[3] == 2, 1, dosage[3])  # two genotypes: two columns say the same
    dosage[4] = np.where(dosage[4] == 1, 2, dosage[4])
    covariates[:, 2] = (dosage[0] > 0) + np.random.default_rng(1).normal(0, 0.01, len(case))
    joint = ["collinear", "constant", "too_few_samples", "collinear", "collinear", "ok"]
    single = ["collinear", "constant", "too_few_samples", "ok", "ok", "ok"]
    for is_binary, trait in ((True, case), (False, traits[:, 0])):
        for missing in ("complete", "mean"):
            for test in ("score", "wald", "firth"):
                tests = terms_of(
                    dosage[:6],
                    trait,
                    covariates,
                    is_binary=is_binary,
                    coding=coding,
                    missing=missing,
                    test=test,
                )
                for fits in tests.values():
                    expected = joint if coding == "genotypic" else single
                    assert [CODES[c] for c in fits.code] == expected
                    for name in ("statistic", "log10_p"):
                        assert (np.isfinite(getattr(fits, name)) == (fits.code == 0)).all()


def test_codings__perfect_fit_has_a_code(data):
    dosage = data[0].clip(0)
    fits = terms_of(dosage, (dosage[2] > 0).astype(float), None, is_binary=False, coding="dominant")["DOM"]
    assert [CODES[c] for c in np.unique(fits.code[2])] == ["perfect_fit"]
    assert np.isnan(fits.beta[2])
    assert not np.delete(fits.code, 2).any()


def test_joint__p_does_not_underflow():
    rng = np.random.default_rng(3)
    g = rng.integers(0, 3, (1, 4000)).astype(np.int8)
    y = g[0] + rng.normal(0, 0.1, 4000)
    empty = np.empty((4000, 0))
    found = terms_of(g, y, empty, is_binary=False, coding="genotypic")["GENO_2DF"]
    assert found.log10_p[0] < -1000
    # the tail of F is that of beta; at a small argument x^(df/2)
    df = 4000 - 3
    assert found.log10_p[0] == pytest.approx(-df / 2 * np.log10(1 + 2 * found.statistic[0] / df))
    weak = terms_of(g, y + rng.normal(0, 30, 4000), empty, is_binary=False, coding="genotypic")["GENO_2DF"]
    assert 10 ** weak.log10_p[0] == pytest.approx(f.sf(weak.statistic[0], 2, df))


@pytest.mark.parametrize("is_binary", [False, True])
def test_codings__same_bits_for_any_chunks_tasks_and_threads(data, is_binary):
    dosage, case, traits, covariates = data
    trait = case if is_binary else traits[:, 0]
    ds = helpers.cohort(np.tile(dosage, (6, 1)))
    params = GWAS(coding="genotypic", missing="mean", refine_p=0.2)
    whole = gwas(ds, [Trait("t", trait, is_binary)], covariates, params)[0].tests
    executor = ThreadExecutor(2)
    with pytest.MonkeyPatch.context() as patch, use(executor):
        patch.setattr(module, "TASK_BYTES", 1000)
        other = gwas(helpers.rechunked(ds, 7, 100), [Trait("t", trait, is_binary)], covariates, params)[
            0
        ].tests
    executor.close()
    for name in whole:
        for array in ARRAYS:
            assert getattr(whole[name], array).tobytes() == getattr(other[name], array).tobytes(), name


@pytest.mark.parametrize("is_binary", [False, True])
def test_joint__null_p_values_are_uniform(is_binary):
    """4,000 independent variants, fixed seed; |z| < 5 at three levels, a false alarm in 600,000 seeds."""
    rng = np.random.default_rng(22)
    m, n = 4000, 500
    dosage = helpers.with_missing(helpers.hardy_weinberg(rng.uniform(0.3, 0.7, m), n, rng), 0.02, rng)
    trait = (rng.random(n) < 0.4).astype(float) if is_binary else rng.normal(size=n)
    tests = terms_of(
        dosage, trait, rng.normal(size=(n, 3)), is_binary=is_binary, coding="genotypic", refine_p=0
    )
    p = 10 ** tests["GENO_2DF"].log10_p
    for level in (0.5, 0.1, 0.01):
        expected = m * level
        assert abs((p < level).sum() - expected) < 5 * np.sqrt(expected * (1 - level))


def test_codings__leave_out_x_and_mixed_models_have_one():
    rng = np.random.default_rng(5)
    dosage = helpers.hardy_weinberg(np.full(6, 0.4), 100, rng)
    ds = helpers.cohort(dosage, contigs=("1", "X"), contig=np.repeat([0, 1], 3))
    ds = ds.assign(sample_sex=("samples", rng.integers(1, 3, 100).astype(np.int8)))
    trait = Trait("t", rng.normal(size=100), is_binary=False)
    assert gwas(ds, [trait], params=GWAS(coding="dominant"))[0].variants.tolist() == [0, 1, 2]
    assert len(gwas(ds, [trait], params=GWAS(missing="mean"))[0].variants) == 6
    for settings in ({"coding": "recessive"}, {"test": "firth"}):
        with pytest.raises(ConfigError, match="a mixed model"):
            gwas(ds, [trait], params=GWAS(model="mixed", **settings))


def test_mixed__tests_x_with_the_kinship_of_autosomes():
    rng = np.random.default_rng(5)
    n = 200
    dosage = helpers.hardy_weinberg(np.full(120, 0.4), n, rng)
    sex = rng.integers(1, 3, n).astype(np.int8)
    dosage[90:, sex == 1] = 2 * rng.integers(0, 2, (30, (sex == 1).sum()))
    ds = helpers.cohort(dosage, contigs=("1", "2", "X"), contig=np.repeat([0, 1, 2], [50, 40, 30]))
    trait = sex + dosage[100] + rng.normal(size=n)
    found = gwas(
        ds.assign(sample_sex=("samples", sex)),
        [Trait("t", trait, False)],
        params=GWAS(model="mixed", test="wald"),
    )[0]
    assert found.model == "mixed"
    assert found.variants.tolist() == list(range(120))
    assert np.nanargmin(found.fits.log10_p) == 100
    # sex is a covariate of X alone: without it each variant's mean would differ between the sexes
    columns = np.column_stack([dosage[95], np.ones(n), sex])
    assert found.fits.beta[95] == pytest.approx(sm.OLS(trait, columns).fit().params[0], abs=0.05)


def test_hethom__is_the_genotypic_regression_in_other_terms(data):
    dosage, case, _, covariates = data
    both = [
        terms_of(dosage, case, covariates, is_binary=True, coding=coding, test="firth")
        for coding in ("genotypic", "hethom")
    ]
    one, other = both
    np.testing.assert_allclose(other["HOM"].beta, 2 * one["ADD"].beta, atol=1e-6)
    np.testing.assert_allclose(other["HOM"].se, 2 * one["ADD"].se, rtol=1e-6)
    np.testing.assert_allclose(other["HET"].beta, one["ADD"].beta + one["DOMDEV"].beta, atol=1e-6)
    np.testing.assert_allclose(other["GENO_2DF"].statistic, one["GENO_2DF"].statistic, atol=1e-5)


@pytest.mark.parametrize("coding", ["additive", "dominant", "genotypic"])
@pytest.mark.parametrize("test", ["wald", "lrt"])
def test_mean__a_status_without_carriers_is_fitted_by_firth_though_missing_calls_have_the_mean(coding, test):
    """Its maximum is finite by the imputed calls alone: an effect of -7 with an error of 30."""
    rng = np.random.default_rng(3)
    case = (np.arange(400) < 150).astype(float)
    dosage = np.zeros((1, 400), np.int8)
    dosage[0, 200:230] = rng.integers(1, 3, 30)  # all controls
    dosage[0, ::20] = -1
    found = terms_of(
        dosage, case, np.empty((400, 0)), is_binary=True, coding=coding, test=test, missing="mean"
    )
    for fits in found.values():
        assert METHODS[fits.method[0]] == ("firth" if test == "wald" else "firth_lrt")
    assert found[CODINGS[coding].terms[0]].se[0] < 3


def test_blank__leaves_nothing_of_refused_variants() -> None:
    """Kernels write nothing for these: what memory held before must not show, nor as the sign of a NaN."""
    score, rest = np.full((3, 2), -7.0), np.full((3, 1), -7.0)
    blank(np.array([0, 1, 0], np.uint8), score, rest)
    for values in (score, rest):
        assert (np.isnan(values).all(axis=1) == [False, True, False]).all()
        assert not np.signbit(values[1]).any()
