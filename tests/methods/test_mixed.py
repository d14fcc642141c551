"""The mixed model against dense matrices and statsmodels, and against what theory says."""

import helpers
import numpy as np
import pytest
import schedulers
import statsmodels.api as sm
from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from scipy.stats import t as student
from threadpoolctl import threadpool_limits

from genoweave.errors import ConfigError, DataError, MemoryBudgetError
from genoweave.execution import ThreadExecutor, use
from genoweave.genotypes import select
from genoweave.methods import grm
from genoweave.methods.gwas import CODES, GWAS, METHODS, Trait, gwas, lambda_gc
from genoweave.methods.gwas.fits import ARRAYS
from genoweave.methods.gwas.mixed import fit_mixed, model
from genoweave.methods.gwas.mixed.spectrum import decompose, fit_null


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):  # threads of BLAS that wait for each other take longer here
        yield


def families(n_families=30, size=4, n_variants=240, *, missing=0.01, seed=3):
    """Dosages of sibs, each family its own, and which family they are of."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.1, 0.9, (n_variants, 1, 1))
    parents = rng.random((n_variants, n_families, 4)) < frequency
    which = rng.integers(0, 2, (n_variants, n_families, size, 2))
    mother = np.take_along_axis(parents[:, :, None, :2], which[..., :1], axis=3)[..., 0]
    father = np.take_along_axis(parents[:, :, None, 2:], which[..., 1:], axis=3)[..., 0]
    dosage = (mother.astype(np.int8) + father).reshape(n_variants, -1)
    return helpers.with_missing(dosage, missing, rng), np.repeat(np.arange(n_families), size)


def example(**settings):
    """Sibs, a trait with a family's part, two covariates; some traits and covariates are missing."""
    dosage, family = families(**settings)
    rng = np.random.default_rng(8)
    n = len(family)
    covariates = rng.normal(5, 3, (n, 2)) * [1, 100]
    trait = rng.normal(size=family.max() + 1)[family] + rng.normal(size=n) + 0.1 * covariates[:, 0]
    trait += 0.6 * dosage[0]
    trait[[3, 10, 11]] = np.nan
    covariates[7, 1] = np.nan
    return helpers.cohort(dosage, contigs=("1", "2")), trait, covariates


def fitted(ds, trait, covariates=None, tested=None, **settings):
    covariates = np.empty((len(trait), 0)) if covariates is None else covariates
    params = GWAS(model="mixed", **settings)
    return fit_mixed(ds, [Trait("t", np.asarray(trait, float), False)], covariates, params, tested)[0]


def kinship(dosage, kind="centred"):
    called = dosage >= 0
    mean = (dosage * called).sum(axis=1) / called.sum(axis=1)
    x = np.where(called, dosage - mean[:, None], 0)
    if kind == "standardised":
        x = x / x.std(axis=1, keepdims=True)
    return x.T @ x / len(x)


class Dense:
    """A mixed model by whole matrices: y with covariance I + ratio C, C the centred kinship."""

    def __init__(self, dosage, trait, covariates):
        used = np.isfinite(trait) & np.isfinite(covariates).all(axis=1)
        n = used.sum()
        k = kinship(dosage)[np.ix_(used, used)]
        centre = np.eye(n) - 1 / n
        self.kinship, self.y, self.n = centre @ k @ centre, trait[used], n
        self.fixed = np.column_stack([np.ones(n), covariates[used]])
        self.dosage = dosage[:, used]

    def design(self, v=None):
        if v is None:
            return self.fixed
        g = self.dosage[v].astype(float)
        g[g < 0] = g[g >= 0].mean()
        return np.column_stack([self.fixed, g])

    def likelihood(self, x, log_ratio, *, full):
        h = np.eye(self.n) + np.exp(log_ratio) * self.kinship
        inverse = np.linalg.inv(h)
        information = x.T @ inverse @ x
        residual = self.y - x @ np.linalg.solve(information, x.T @ inverse @ self.y)
        square = residual @ inverse @ residual
        value = np.linalg.slogdet(h)[1]
        if full:
            return -(value + self.n * np.log(square)) / 2
        return -(value + np.linalg.slogdet(information)[1] + (self.n - x.shape[1]) * np.log(square)) / 2

    def best(self, v=None, *, full):
        """Log of the ratio, and the likelihood, at its maximum."""
        x = self.design(v)
        grid = np.linspace(np.log(1e-5), np.log(1e5), 47)
        start = grid[np.argmax([self.likelihood(x, t, full=full) for t in grid])]
        found = minimize_scalar(
            lambda t: -self.likelihood(x, t, full=full),
            bounds=(max(start - 0.6, grid[0]), min(start + 0.6, grid[-1])),
            method="bounded",
            options={"xatol": 1e-10},
        )
        return found.x, -found.fun

    def gls(self, v, log_ratio):
        sigma = np.eye(self.n) + np.exp(log_ratio) * self.kinship
        return sm.GLS(self.y, self.design(v), sigma=sigma).fit()


@pytest.mark.parametrize("n_covariates", [0, 2])
def test_wald__equals_statsmodels_gls_at_the_most_likely_ratio(n_covariates):
    ds, trait, covariates = example()
    covariates = covariates[:, :n_covariates]
    fits = fitted(ds, trait, covariates, test="wald", loco=False)
    dense = Dense(helpers.dosage_of(ds), trait, covariates)
    for v in range(0, 240, 24):
        theirs = dense.gls(v, dense.best(v, full=False)[0])
        assert fits.beta[v] == pytest.approx(theirs.params[-1], rel=1e-6, abs=1e-8)
        assert fits.se[v] == pytest.approx(theirs.bse[-1], rel=1e-6)
        assert fits.log10_p[v] == pytest.approx(np.log10(theirs.pvalues[-1]), rel=1e-6, abs=1e-8)
    assert (fits.called == dense.n).all()
    assert (fits.method == METHODS.index("wald")).all()


@pytest.mark.parametrize("n_covariates", [0, 2])
def test_lrt__is_twice_the_gain_of_the_full_likelihood(n_covariates):
    ds, trait, covariates = example()
    covariates = covariates[:, :n_covariates]
    fits = fitted(ds, trait, covariates, test="lrt", loco=False)
    dense = Dense(helpers.dosage_of(ds), trait, covariates)
    null = dense.best(full=True)[1]
    for v in range(0, 240, 24):
        ratio, value = dense.best(v, full=True)
        gain = 2 * (value - null)
        assert fits.statistic[v] ** 2 == pytest.approx(gain, rel=1e-6, abs=1e-7)
        assert fits.log10_p[v] == pytest.approx(chi2.logsf(gain, 1) / np.log(10), rel=1e-4, abs=1e-4)
        assert fits.beta[v] == pytest.approx(dense.gls(v, ratio).params[-1], rel=1e-6, abs=1e-7)
        assert np.sign(fits.statistic[v]) == np.sign(fits.beta[v])


@pytest.mark.parametrize("n_covariates", [0, 2])
def test_score__is_the_score_test_at_the_ratio_without_the_variant(n_covariates):
    ds, trait, covariates = example()
    covariates = covariates[:, :n_covariates]
    fits = fitted(ds, trait, covariates, test="score", loco=False)
    dense = Dense(helpers.dosage_of(ds), trait, covariates)
    ratio = dense.best(full=True)[0]
    inverse = np.linalg.inv(np.eye(dense.n) + np.exp(ratio) * dense.kinship)
    x = dense.fixed
    p = inverse - inverse @ x @ np.linalg.solve(x.T @ inverse @ x, x.T @ inverse)
    for v in range(0, 240, 24):
        g = dense.design(v)[:, -1]
        score = g @ p @ dense.y
        f = dense.n * score**2 / (g @ p @ g * (dense.y @ p @ dense.y))
        assert fits.statistic[v] ** 2 == pytest.approx(f, rel=1e-5)
        expected = (np.log(2) + student.logsf(np.sqrt(f), dense.n - n_covariates - 2)) / np.log(10)
        assert fits.log10_p[v] == pytest.approx(expected, rel=1e-5)
        theirs = dense.gls(v, ratio)
        assert fits.beta[v] == pytest.approx(theirs.params[-1], rel=1e-5)
        assert fits.se[v] == pytest.approx(theirs.bse[-1], rel=1e-5)


def test_search__finds_the_highest_of_the_bounds_and_maxima():
    """A trait that is noise has ratios at the bounds; the likelihood of a grid of 400 is never higher."""
    dosage, _ = families(n_families=12, n_variants=60, missing=0.0)
    ds = helpers.cohort(dosage)
    rng = np.random.default_rng(4)
    heritable = np.linalg.cholesky(kinship(dosage) + 1e-9 * np.eye(48)) @ rng.normal(size=48)
    for trait in (rng.normal(size=48), heritable):
        fits = fitted(ds, trait, test="wald", loco=False)
        dense = Dense(dosage, trait, np.empty((48, 0)))
        grid = np.linspace(np.log(1e-5), np.log(1e5), 400)
        for v in range(0, 60, 15):
            values = [dense.likelihood(dense.design(v), t, full=False) for t in grid]
            theirs = dense.gls(v, dense.best(v, full=False)[0])
            assert dense.best(v, full=False)[1] >= max(values) - 1e-9
            assert fits.beta[v] == pytest.approx(theirs.params[-1], rel=1e-4, abs=1e-6)
            assert fits.se[v] == pytest.approx(theirs.bse[-1], rel=1e-4)


@pytest.mark.parametrize("kind", ["centred", "standardised"])
def test_grm__is_that_of_numpy_also_without_a_chromosome(kind):
    dosage, _ = families(n_variants=1300)
    dosage[5], dosage[6, :20] = 0, -1
    ds = helpers.cohort(dosage, contigs=("1", "2"))
    called = (dosage >= 0).mean(axis=1)
    kept = np.flatnonzero((called >= 0.95) & (dosage.max(axis=1) > 0))
    assert not np.isin([5, 6], kept).any()
    scaling = grm.scaling(ds, kind)
    np.testing.assert_array_equal(scaling.rows, kept)
    gram = grm.add_products(np.zeros((120, 120)), ds, scaling, "all")
    lower = np.tril_indices(120)
    np.testing.assert_allclose(gram[lower] / len(kept), kinship(dosage[kept], kind)[lower], atol=1e-12)
    gram = grm.add_products(gram, ds, scaling.on(0), "one", subtract=True)
    second = kept[kept >= 650]
    expected = kinship(dosage[second], kind)
    np.testing.assert_allclose(gram[lower] / len(second), expected[lower], atol=1e-12)


def test_loco__is_the_kinship_of_the_other_chromosomes():
    ds, trait, covariates = example()
    for test in ("wald", "lrt"):
        fits = fitted(ds, trait, covariates, test=test)
        whole = fitted(ds, trait, covariates, test=test, loco=False)
        for rows, others in ((np.arange(120), np.arange(120, 240)), (np.arange(120, 240), np.arange(120))):
            expected = fitted(select(ds, others), trait, covariates, select(ds, rows), test=test)
            for name in ("beta", "se", "log10_p"):
                np.testing.assert_allclose(getattr(fits, name)[rows], getattr(expected, name), rtol=1e-7)
        assert (fits.log10_p != whole.log10_p).all()
        assert fits.notes == whole.notes  # heritability is that of all chromosomes


def test_mixed__traits_that_lack_different_samples_are_as_if_alone():
    ds, trait, covariates = example()
    rng = np.random.default_rng(6)
    other = np.where(rng.random(120) < 0.2, np.nan, rng.normal(size=120))
    third = np.where(np.isnan(trait), np.nan, trait**2)
    params = GWAS(model="mixed", test="lrt")
    values = [trait, other, third]
    together = fit_mixed(ds, [Trait(str(k), v, False) for k, v in enumerate(values)], covariates, params)
    for v, fits in zip(values, together, strict=True):
        alone = fitted(ds, v, covariates, test="lrt")
        for name in ARRAYS:
            np.testing.assert_allclose(getattr(fits, name), getattr(alone, name), rtol=1e-7, atol=1e-9)
        assert fits.notes == pytest.approx(alone.notes, rel=1e-6)


@pytest.mark.parametrize(
    ("variants", "samples", "kind", "slots"),
    [(7, 50, ThreadExecutor, 2), (1000, 33, schedulers.Pickling, 1)],
)
def test_mixed__same_bits_for_any_chunks_and_workers(variants, samples, kind, slots):
    dosage, _ = families(n_variants=1500, n_families=20)
    ds = helpers.cohort(dosage, contigs=("1", "2"))
    trait = np.random.default_rng(1).normal(size=80)
    whole = fitted(ds, trait, test="wald")
    executor = kind(slots)
    with use(executor):
        other = fitted(helpers.rechunked(ds, variants, samples), trait, test="wald")
    executor.close()
    for name in ARRAYS:
        assert getattr(whole, name).tobytes() == getattr(other, name).tobytes(), name
    assert whole.notes == other.notes


def test_mixed__degenerate_variants_have_a_code_and_no_number():
    ds, trait, covariates = example(missing=0.0)
    dosage = helpers.dosage_of(ds)
    dosage[1], dosage[2] = 1, -1
    covariates[:, 1] = dosage[3] + np.random.default_rng(1).normal(0, 0.01, 120)
    ds = helpers.cohort(dosage, contigs=("1", "2"))
    for test in ("wald", "lrt", "score"):
        fits = fitted(ds, trait, covariates, test=test)
        assert [CODES[c] for c in fits.code[:5]] == ["ok", "constant", "too_few_samples", "collinear", "ok"]
        for name in ("beta", "se", "statistic", "log10_p"):
            assert (np.isfinite(getattr(fits, name)) == (fits.code == 0)).all()
        assert np.isnan(fits.frequency[2])
        perfect = fitted(ds, 3.0 * dosage[4], test=test)
        assert CODES[perfect.code[4]] == "perfect_fit"


def test_mixed__p_does_not_underflow():
    dosage, _ = families(n_families=300, n_variants=60, missing=0.0)
    ds = helpers.cohort(dosage, contigs=("1", "2"))
    rng = np.random.default_rng(1)
    trait = dosage[0] + 0.15 * rng.normal(size=1200)
    for test in ("wald", "lrt"):
        fits = fitted(ds, trait, test=test)
        assert -2000 < fits.log10_p[0] < -330
        assert (fits.log10_p[1:] > -10).all()


def test_null__heritability_is_found_with_its_error():
    """800 unrelated people, h^2 = 0.6 over 500 variants; within 4 SE: a false alarm in 16,000 seeds."""
    rng = np.random.default_rng(5)
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, 500), 800, rng)
    genetic = rng.normal(size=500) @ (
        (dosage - dosage.mean(axis=1, keepdims=True)) / dosage.std(axis=1)[:, None]
    )
    trait = np.sqrt(0.6) * genetic / genetic.std() + np.sqrt(0.4) * rng.normal(size=800)
    notes = fitted(helpers.cohort(dosage), trait, test="score", loco=False, kinship="standardised").notes
    assert 0.02 < notes["PVE_SE"] < 0.08
    assert abs(notes["PVE"] - 0.6) < 4 * notes["PVE_SE"]


def test_null__error_is_the_curvature_of_the_restricted_likelihood():
    ds, trait, covariates = example()
    dense = Dense(helpers.dosage_of(ds), trait, covariates)
    basis = np.linalg.qr(dense.fixed)[0] * -1
    spectrum = decompose(np.asfortranarray(dense.kinship), basis)
    null = fit_null(spectrum, spectrum.vectors.T @ dense.y)
    assert np.log(null.ratio) == pytest.approx(dense.best(full=False)[0], abs=1e-6)
    assert np.log(null.ratio_full) == pytest.approx(dense.best(full=True)[0], abs=1e-6)
    step = 1e-3 * null.ratio
    at = [dense.likelihood(dense.fixed, np.log(null.ratio + k * step), full=False) for k in (-1, 0, 1)]
    error = np.sqrt(-(step**2) / (at[0] - 2 * at[1] + at[2]))
    mean = np.trace(dense.kinship) / dense.n
    assert null.pve == pytest.approx(mean * null.ratio / (1 + mean * null.ratio), rel=1e-12)
    assert null.pve_se == pytest.approx(error * mean / (1 + mean * null.ratio) ** 2, rel=1e-3)


def test_null__a_share_at_a_bound_of_lambda_has_no_error():
    ds, _, _ = example()
    basis = np.full((ds.sizes["samples"], 1), ds.sizes["samples"] ** -0.5)
    kinship = helpers.dosage_of(ds).clip(0).T.astype(float)
    kinship -= kinship.mean(axis=0)
    spectrum = decompose(np.asfortranarray(kinship @ kinship.T / kinship.shape[1]), basis)
    for place, ratio in ((0, 1e-5), (-1, 1e5)):  # all of the trait in one direction
        trait = np.zeros(len(spectrum.delta))
        trait[place] = 1.0
        null = fit_null(spectrum, trait)
        assert null.ratio == pytest.approx(ratio)
        assert np.isnan(null.pve_se)


def test_mixed__relatives_do_not_inflate_it_as_they_do_least_squares():
    """80 families of 6 whose trait has a family's part, no variant an effect; 3,000 variants.

    The median of 3,000 independent chi-squared values scatters by 0.042 around 1; 5 of these are allowed, a
    false alarm in 1.7 million seeds. Least squares has 1 + 5 x 0.4 x 0.5 = 2 in expectation.
    """
    dosage, family = families(n_families=80, size=6, n_variants=3000)
    ds = helpers.cohort(dosage, contigs=("1", "2", "3"))
    rng = np.random.default_rng(11)
    trait = np.sqrt(0.4) * rng.normal(size=80)[family] + np.sqrt(0.6) * rng.normal(size=480)
    plain = gwas(ds, [Trait("t", trait, False)])[0].fits
    assert lambda_gc(plain.log10_p) > 1.5
    for test in ("wald", "lrt", "score"):
        assert abs(lambda_gc(fitted(ds, trait, test=test).log10_p) - 1) < 5 * 0.042


def test_gwas__x_has_the_kinship_of_the_autosomes():
    dosage, _ = families()
    rng = np.random.default_rng(2)
    sex = rng.integers(1, 3, 120).astype(np.int8)
    dosage[200:] = np.where(sex == 1, 2 * (dosage[200:] > 0), dosage[200:])
    ds = helpers.cohort(dosage, contigs=("1", "2", "X"), contig=np.repeat([0, 1, 2], [100, 100, 40]))
    ds["sample_sex"] = ("samples", sex)
    trait = rng.normal(size=120)
    found = gwas(ds, [Trait("t", trait, False)], params=GWAS(model="mixed", test="wald"))[0]
    assert (found.variants == np.arange(240)).all()
    assert found.model == "mixed"
    autosomes = select(ds, np.arange(200))
    expected = fitted(
        autosomes, trait, sex[:, None].astype(float), select(ds, np.arange(200, 240)), test="wald"
    )
    np.testing.assert_allclose(found.fits.log10_p[200:], expected.log10_p, rtol=1e-9)
    assert {"PVE", "PVE_SE", "LAMBDA_NULL"} == set(found.fits.notes)


def test_loco__one_chromosome_is_refused_with_what_to_do():
    ds, trait, _ = example()
    with pytest.raises(DataError, match=r"all 1\d\d variants .* chromosome 1.*--no-loco"):
        fitted(select(ds, np.arange(120)), trait, test="wald")


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"test": "firth"}, "score, wald, lrt"), ({"coding": "dominant", "test": "wald"}, "additive")],
)
def test_mixed__refuses_what_it_has_not(settings, message):
    ds, trait, _ = example()
    with pytest.raises(ConfigError, match=message):
        fitted(ds, trait, **settings)


def test_mixed__refuses_a_trait_that_covariates_explain():
    ds, trait, covariates = example()
    with pytest.raises(DataError, match="trait 1 is constant or is explained"):
        fitted(ds, 2 * covariates[:, 0] - 1, covariates, test="wald")
    with pytest.raises(DataError, match="no variant can make a kinship"):
        fitted(helpers.cohort(np.zeros((4, 120), np.int8)), trait, test="wald")


def test_mixed__refuses_more_samples_than_memory_allows(monkeypatch):
    ds, trait, _ = example()
    monkeypatch.setattr(model, "machine_memory", lambda: 1_000_000)
    with pytest.raises(MemoryBudgetError, match=r"117 samples needs .*REGENIE"):
        fitted(ds, trait, test="wald")
    monkeypatch.setattr(model, "MOST_SAMPLES", 100)
    with pytest.raises(MemoryBudgetError, match="at most 100 samples"):
        fitted(ds, trait, test="wald")
