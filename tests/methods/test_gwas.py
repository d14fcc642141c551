"""Association against statsmodels and direct computation, and against what theory says."""

import helpers
import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import kstest

from genoweave.errors import ConfigError, DataError
from genoweave.execution import ThreadExecutor, use
from genoweave.genotypes import select
from genoweave.methods.gwas import CODES, GWAS, METHODS, Trait, clumps, gwas, lambda_gc, summary_row
from genoweave.methods.gwas import fits as common
from genoweave.methods.gwas import logistic as module
from genoweave.methods.gwas.fits import ARRAYS
from genoweave.methods.gwas.logistic import z_log10_p


def example(n_variants=30, n_samples=600, n_covariates=3, *, missing=0.0, seed=1):
    rng = np.random.default_rng(seed)
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, n_variants), n_samples, rng)
    covariates = rng.normal(5, 3, (n_samples, n_covariates)) * [1, 100, 0.01][:n_covariates]
    eta = 0.8 * dosage[0] - 1 + 0.2 * (covariates[:, 0] - 5)
    case = (rng.random(n_samples) < 1 / (1 + np.exp(-eta))).astype(float)
    case[rng.random(n_samples) < 0.05] = np.nan
    covariates[3, 1] = np.nan
    return helpers.with_missing(dosage, missing, rng), case, covariates


def fits_of(dosage, case, covariates, **settings):
    ds = dosage if hasattr(dosage, "sizes") else helpers.cohort(dosage)
    return gwas(ds, [Trait("t", case, True)], covariates, GWAS(**settings))[0].fits


def complete_cases(dosage, case, covariates):
    used = (dosage >= 0) & np.isfinite(case) & np.isfinite(covariates).all(axis=1)
    x = covariates[used]
    x = np.column_stack([np.ones(used.sum()), (x - x.mean(axis=0)) / x.std(axis=0)])
    return dosage[used].astype(float), case[used], x


def score_test(dosage, case, covariates):
    """U, V of one variant, the null model fitted to its own complete cases."""
    g, y, x = complete_cases(dosage, case, covariates)
    mu = sm.Logit(y, x).fit(disp=0, tol=1e-13).predict()
    w = mu * (1 - mu)
    v = g @ (w * g) - (g * w) @ x @ np.linalg.solve((x.T * w) @ x, (x.T * w) @ g)
    return g @ (y - mu), v


@pytest.mark.parametrize("n_covariates", [0, 1, 3])
def test_score__is_the_score_test(n_covariates):
    dosage, case, covariates = example(n_covariates=3)
    covariates = covariates[:, :n_covariates]
    fits = fits_of(dosage, case, covariates, refine_p=0)
    for v in range(len(dosage)):
        u, variance = score_test(dosage[v], case, covariates)
        assert fits.statistic[v] == pytest.approx(u / np.sqrt(variance), abs=1e-6)
        assert fits.beta[v] == pytest.approx(u / variance, abs=1e-6)
        assert fits.se[v] == pytest.approx(1 / np.sqrt(variance), rel=1e-6)
    assert not fits.method.any()
    assert not fits.code.any()


def test_score__with_missing_calls_is_that_of_the_complete_cases_to_one_step():
    dosage, case, covariates = example(60, 3000, missing=0.05)
    fits = fits_of(dosage, case, covariates, refine_p=0)
    z = np.array([u / np.sqrt(v) for u, v in (score_test(d, case, covariates) for d in dosage)])
    np.testing.assert_allclose(fits.statistic, z, rtol=3e-3, atol=5e-3)
    assert (fits.called == [len(complete_cases(d, case, covariates)[0]) for d in dosage]).all()


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_wald__equals_statsmodels(missing):
    dosage, case, covariates = example(12, missing=missing)
    fits = fits_of(dosage, case, covariates, test="wald")
    for v in range(len(dosage)):
        g, y, x = complete_cases(dosage[v], case, covariates)
        theirs = sm.Logit(y, np.column_stack([g, x])).fit(disp=0, tol=1e-13)
        assert fits.beta[v] == pytest.approx(theirs.params[0], abs=1e-8)
        assert fits.se[v] == pytest.approx(theirs.bse[0], rel=1e-7)
        assert fits.log10_p[v] == pytest.approx(np.log10(theirs.pvalues[0]), rel=1e-6, abs=1e-7)
    assert (fits.method == METHODS.index("wald")).all()


def test_score__what_is_below_the_threshold_is_made_again():
    dosage, case, covariates = example()
    score = fits_of(dosage, case, covariates, refine_p=0)
    both = fits_of(dosage, case, covariates, refine_p=0.1)
    wald = fits_of(dosage, case, covariates, test="wald")
    again = score.log10_p < -1
    assert 0 < again.sum() < len(again)
    for name in ARRAYS:
        expected = np.where(again, getattr(wald, name), getattr(score, name))
        np.testing.assert_array_equal(getattr(both, name), expected)


def test_logistic__degenerate_variants_have_a_code_and_no_number():
    dosage, case, covariates = example()
    dosage[1] = 1
    dosage[2] = -1
    dosage[3] = dosage[0]
    covariates[:, 2] = dosage[0] + np.random.default_rng(1).normal(0, 0.01, len(case))
    for test in ("score", "wald", "firth"):
        fits = fits_of(dosage[:5], case, covariates, test=test)
        expected = ["collinear", "constant", "too_few_samples", "collinear", "ok"]
        assert [CODES[c] for c in fits.code] == expected
        for name in ("beta", "se", "statistic", "log10_p"):
            assert (np.isfinite(getattr(fits, name)) == (fits.code == 0)).all()
    assert np.isnan(fits.frequency[2])


def test_logistic__p_does_not_underflow():
    rng = np.random.default_rng(3)
    g = rng.integers(0, 3, 3000).astype(np.int8)
    case = (g + rng.normal(0, 0.2, 3000) > 1).astype(float)
    fits = fits_of(g[None], case, np.empty((3000, 0)), refine_p=0)
    assert -700 < fits.log10_p[0] < -350
    # the leading terms of the normal tail
    z = abs(fits.statistic[0])
    tail = -(z**2) / 2 / np.log(10) + np.log10(2 / (z * np.sqrt(2 * np.pi)) * (1 - 1 / z**2))
    assert fits.log10_p[0] == pytest.approx(tail, abs=1e-5)
    assert z_log10_p(np.array([1.959963984540054]))[0] == pytest.approx(np.log10(0.05), abs=1e-12)


def test_score__null_p_values_are_uniform():
    """6,000 independent variants, fixed seed; |z| < 5 at four levels, a false alarm in 400,000 seeds."""
    rng = np.random.default_rng(21)
    m, n = 6000, 500
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, m), n, rng)
    case = (rng.random(n) < 0.4).astype(float)
    covariates = rng.normal(size=(n, 4))
    fits = fits_of(helpers.with_missing(dosage, 0.02, rng), case, covariates, refine_p=0)
    p = 10**fits.log10_p
    for level in (0.5, 0.1, 0.01, 0.001):
        expected = m * level
        assert abs((p < level).sum() - expected) < 5 * np.sqrt(expected * (1 - level))
    # the median of m chi-squared values scatters by sqrt(1 / 4 m) / (2 f(median)) of the density f: 0.030
    assert abs(lambda_gc(fits.log10_p) - 1) < 5 * 0.030


@pytest.mark.parametrize("settings", [{}, {"missing": "mean"}, {"coding": "dominant"}])
@pytest.mark.parametrize("is_binary", [False, True])
def test_gwas__null_p_values_are_uniform_by_kolmogorov_and_smirnov(is_binary, settings):
    """5,000 independent variants, fixed seed; p of the test above 1e-6, a false alarm in 1,000,000 seeds."""
    rng = np.random.default_rng(41)
    m, n = 5000, 500
    dosage = helpers.with_missing(helpers.hardy_weinberg(rng.uniform(0.2, 0.8, m), n, rng), 0.03, rng)
    trait = (rng.random(n) < 0.3).astype(float) if is_binary else rng.normal(size=n)
    ds, covariates = helpers.cohort(dosage), rng.normal(size=(n, 3))
    fits = gwas(ds, [Trait("t", trait, is_binary)], covariates, GWAS(refine_p=0, **settings))[0].fits
    assert kstest(10**fits.log10_p, "uniform").pvalue > 1e-6
    # the ratio of medians scatters by 0.033, see above
    assert abs(lambda_gc(fits.log10_p) - 1) < 5 * 0.033


@pytest.mark.parametrize(("variants", "samples", "rows", "threads"), [(7, 100, 1, 2), (70, 33, 64, 1)])
def test_gwas__same_bits_for_any_chunks_tasks_and_threads(variants, samples, rows, threads):
    dosage, case, covariates = example(130, 400, missing=0.04)
    ds = helpers.cohort(dosage)
    whole = fits_of(ds, case, covariates, refine_p=0.2)
    executor = ThreadExecutor(threads)
    with pytest.MonkeyPatch.context() as patch, use(executor):
        patch.setattr(common, "TASK_BYTES", rows * 100)
        patch.setattr(module, "VARIANTS_AT_ONCE", max(1, rows // 3))
        other = fits_of(helpers.rechunked(ds, variants, samples), case, covariates, refine_p=0.2)
    executor.close()
    for name in ARRAYS:
        assert getattr(whole, name).tobytes() == getattr(other, name).tobytes(), name


def cohort_with_x():
    rng = np.random.default_rng(5)
    n = 400
    dosage = helpers.hardy_weinberg(np.full(12, 0.4), n, rng)
    sex = rng.integers(1, 3, n).astype(np.int8)
    males = sex == 1
    dosage[4:8, males] = 2 * rng.integers(0, 2, (4, males.sum()))
    ds = helpers.cohort(dosage, contigs=("chr1", "chrX", "MT"), contig=np.repeat([0, 1, 2], 4))
    trait = rng.normal(size=n) + sex
    return ds.assign(sample_sex=("samples", sex)), dosage, sex, trait


@pytest.mark.parametrize("is_binary", [False, True])
def test_gwas__x_has_sex_as_a_covariate_and_no_heterozygous_males(is_binary):
    ds, dosage, sex, trait = cohort_with_x()
    trait = (trait > np.median(trait)).astype(float) if is_binary else trait
    sex[:20] = 0
    wrong = dosage.copy()
    male = np.flatnonzero(sex == 1)[:7]
    wrong[5, male] = 1
    ds = helpers.cohort(wrong, contigs=("chr1", "chrX", "MT"), contig=np.repeat([0, 1, 2], 4)).assign(
        sample_sex=("samples", sex)
    )
    found = gwas(ds, [Trait("t", trait, is_binary)], params=GWAS(test="wald"))[0]
    assert found.variants.tolist() == list(range(8))
    assert found.fits.called.tolist() == [400] * 4 + [380, 373, 380, 380]
    missing = wrong.copy()
    missing[5, male] = -1
    known = np.where(sex > 0, sex, np.nan)
    for v, x in ((1, np.empty((400, 0))), (4, known[:, None]), (5, known[:, None])):
        used = (missing[v] >= 0) & np.isfinite(x).all(axis=1)
        columns = np.column_stack([missing[v][used], np.ones(used.sum()), x[used]])
        model = (
            sm.Logit(trait[used], columns).fit(disp=0) if is_binary else sm.OLS(trait[used], columns).fit()
        )
        assert found.fits.statistic[v] == pytest.approx(model.tvalues[0], abs=1e-6)


def test_gwas__x_of_one_sex_needs_no_covariate_and_of_unknown_sex_is_left_out():
    ds, _, sex, trait = cohort_with_x()
    women = np.where(sex == 2, trait, np.nan)
    fits = gwas(ds, [Trait.of("t", women)])[0].fits
    assert not fits.code.any()
    assert (fits.called == (sex == 2).sum()).all()
    unknown = gwas(ds.drop_vars("sample_sex"), [Trait.of("t", trait)])[0]
    assert unknown.variants.tolist() == list(range(4))


def test_gwas__sex_that_is_a_covariate_is_none_again_on_x():
    ds, _, sex, trait = cohort_with_x()
    alone = gwas(ds, [Trait.of("t", trait)])[0].fits
    given = gwas(ds, [Trait.of("t", trait)], (3.0 - sex)[:, None])[0].fits
    np.testing.assert_allclose(given.statistic[4:], alone.statistic[4:], rtol=1e-6)
    indicators = np.column_stack([sex == 1, np.arange(400) % 2 * (sex == 2)]).astype(float)
    assert not gwas(ds, [Trait.of("t", trait)], indicators)[0].fits.code.any()


@pytest.mark.parametrize("model", ["linear", "logistic", "mixed"])
def test_gwas__x_is_left_out_where_too_few_have_a_sex_and_autosomes_are_not(model, caplog):
    ds, _, sex, trait = cohort_with_x()
    sex = np.where(np.arange(400) < 2, sex, 0).astype(np.int8)
    is_binary = model == "logistic"
    values = (trait > np.median(trait)).astype(float) if is_binary else trait
    few = ds.assign(sample_sex=("samples", sex))
    others = Trait("o", np.where(sex > 0, np.nan, values), is_binary)  # none of known sex
    params = GWAS(model="mixed", loco=False) if model == "mixed" else GWAS()
    for found in gwas(few, [Trait("t", values, is_binary), others], params=params):
        assert found.variants.tolist() == list(range(8))
        assert [CODES[code] for code in found.fits.code] == ["ok"] * 4 + ["too_few_samples"] * 4
        assert np.isnan(found.fits.log10_p[4:]).all()
    assert "trait o is not tested on X: " in caplog.text
    if model != "mixed":
        with pytest.raises(DataError):
            gwas(select(few, np.arange(4, 8)), [others])


def test_gwas__components_are_covariates(small_cohort):
    rng = np.random.default_rng(2)
    n = small_cohort.sizes["samples"]
    group = np.arange(n) % 3  # as the cohort's groups
    trait = Trait.of("t", group + rng.normal(size=n))
    inflation = [lambda_gc(gwas(small_cohort, [trait], params=GWAS(pca=k))[0].fits.log10_p) for k in (0, 2)]
    assert inflation[0] > 1.5
    assert inflation[1] < 1.2


def test_gwas__many_traits_equal_one_by_one():
    dosage, case, covariates = example(10)
    ds = helpers.cohort(dosage)
    rng = np.random.default_rng(1)
    quantitative = rng.normal(size=(len(case), 2))
    traits = [Trait("a", case, True), Trait("b", quantitative[:, 0], False),
              Trait("c", 1 - case, True), Trait("d", quantitative[:, 1], False)]  # fmt: skip
    found = gwas(ds, traits, covariates)
    assert [one.trait for one in found] == ["a", "b", "c", "d"]
    assert [one.is_binary for one in found] == [True, False, True, False]
    assert found[0].n_cases + found[2].n_cases == found[0].n_samples
    np.testing.assert_allclose(found[0].fits.beta, -found[2].fits.beta, atol=1e-7)
    for trait, one in zip(traits, found, strict=True):
        alone = gwas(ds, [trait], covariates)[0].fits
        np.testing.assert_allclose(one.fits.statistic, alone.statistic, atol=1e-7)


def test_trait__is_case_control_by_its_values():
    assert Trait.of("a", np.array([0, 1, np.nan])).is_binary
    assert not Trait.of("a", np.array([0, 1, 2])).is_binary
    assert not Trait.of("a", np.array([0, 1]), "linear").is_binary
    with pytest.raises(DataError, match="trait a: logistic regression wants 1 for cases"):
        Trait.of("a", np.array([1, 2]), "logistic")


def test_lambda__is_the_ratio_of_medians():
    rng = np.random.default_rng(1)
    z = rng.normal(size=100_000) * np.sqrt(1.3)
    assert lambda_gc(np.r_[z_log10_p(z), np.nan]) == pytest.approx(np.median(z**2) / 0.454936423, rel=1e-4)
    assert lambda_gc(np.full(3, -1000.0)) > 9000
    assert np.isnan(lambda_gc(np.array([np.nan])))


def test_clumps__are_loci_of_correlated_neighbours():
    rng = np.random.default_rng(8)
    n = 1500
    one, two, three = helpers.hardy_weinberg(np.array([0.3, 0.5, 0.4]), n, rng)
    noisy = np.where(rng.random(n) < 0.1, two, one).astype(np.int8)  # r2 with one about 0.8
    position = np.array([1000, 2000, 3000, 900_000, 1000])
    dosage = np.stack([noisy, one, two, one, three])
    ds = helpers.cohort(dosage, contigs=("1", "2"), contig=np.array([0, 0, 0, 0, 1]), position=position)
    trait = one + 0.8 * two + 0.01 * three + rng.normal(size=n)
    found = gwas(ds, [Trait.of("t", trait)])[0]
    loci = clumps(ds, found)
    assert loci["ID"].tolist() == ["rs2", "rs4", "rs3"]
    assert loci["VARIANTS"].tolist() == [2, 1, 1]
    assert loci[["START", "END"]].to_numpy().tolist() == [[1000, 2000], [900_000, 900_000], [3000, 3000]]
    assert (np.diff(loci["LOG10_P"]) <= 0).all()
    wide = clumps(ds, found, GWAS(clump_kb=1000))
    assert wide["ID"].tolist() == ["rs2", "rs3"]
    row = summary_row(ds, found)
    assert (row["TOP_ID"], row["GENOME_WIDE"], row["N_CASES"]) == ("rs2", 4, None)
    assert not len(clumps(ds, found, GWAS(locus_p=1e-300)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, x: (np.zeros(600), x), "trait t has no cases among its 599"),
        (lambda y, x: (np.ones(600), x), "trait t has no controls"),
        (lambda y, x: ((x[:, 0] > 5).astype(float), x), "trait t: the model without variants has no maximum"),
        (lambda y, x: (y, np.column_stack([x, x[:, 0]])), "nearly a combination of the others"),
    ],
)
def test_logistic__says_what_is_wrong(change, message):
    dosage, case, covariates = example(3)
    with pytest.raises(DataError, match=message):
        fits_of(dosage, *change(case, covariates))


def test_gwas__says_what_is_wrong():
    dosage, case, _ = example(3)
    ds = helpers.cohort(dosage)
    with pytest.raises(DataError, match="there is no trait"):
        gwas(ds, [])
    with pytest.raises(DataError, match="same name"):
        gwas(ds, [Trait("t", case, True)] * 2)
    with pytest.raises(DataError, match="no variant can be tested"):
        gwas(helpers.cohort(dosage, contigs=("MT",)), [Trait("t", case, True)])
    numbers = np.arange(600.0)
    for model in ("auto", "mixed"):
        params = GWAS(model=model, loco=False)
        constant = [Trait("b", case, True), Trait("q", numbers, False), Trait("c", numbers * 0 + 3, False)]
        with pytest.raises(DataError, match="trait c is constant among its 600 complete samples"):
            gwas(ds, constant, params=params)
        with pytest.raises(DataError, match="0 samples have trait n and all covariates"):
            gwas(ds, [Trait("q", numbers, False), Trait("n", numbers * np.nan, False)], params=params)
        with pytest.raises(DataError, match="covariate site is constant among the 600 complete samples"):
            gwas(
                ds,
                constant[1:2],
                np.column_stack([numbers % 7, numbers * 0 + 2]),
                params,
                names=["age", "site"],
            )
    with pytest.raises(ConfigError, match="max_vif"):
        GWAS(max_vif=1)
