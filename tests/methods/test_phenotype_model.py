"""The quantitative model: shares, covariances and the published construction."""

import helpers
import numpy as np
import pytest
from reference import phenotype as reference
from scipy.stats import chi2, kstest, norm

from genoweave import execution
from genoweave.errors import ConfigError, DataError, MemoryBudgetError
from genoweave.genotypes import select
from genoweave.methods.phenotype.genetic import GeneticModel, genetic_values_of
from genoweave.methods.phenotype.parameters import Covariate, Phenotype
from genoweave.methods.phenotype.products import dominance_coding
from genoweave.methods.phenotype.quantitative import quantitative
from genoweave.rng import Root

N, M = 402, 1200
COVARIATES = (
    Covariate(name="age", mean=50, sd=10),
    Covariate(name="sex", kind="binomial", effect="shared"),
    Covariate(name="site", kind="categorical", depends_on="ancestry", effect="independent"),
    Covariate(name="diet", kind="uniform", depends_on="pcs", dependence=0.8),
)
EVERYTHING = {
    "traits": 3, "heritability": 0.6, "h2s": 0.6, "delta": 0.3, "rho": 0.2, "stratification": 0.1,
    "stratification_components": 4, "covariates": COVARIATES, "dominance": 0.1, "epistasis": 0.1,
    "interaction": 0.1, "n_pairs": 300,
}  # fmt: skip


@pytest.fixture(scope="module")
def cohort():
    """402 people of 3 groups in turn, 1,200 variants, 3 % missing, 4 monomorphic."""
    rng = np.random.default_rng(6)
    dosage = helpers.hardy_weinberg(rng.uniform(0.05, 0.95, M), N, rng)
    dosage[[3, 400, 800, 1199]] = np.array([0, 2, 0, 2])[:, None]
    labels = ["AFR", "EAS", "EUR"] * (N // 3)
    return helpers.cohort(helpers.with_missing(dosage, 0.03, rng), labels)


@pytest.fixture(scope="module")
def complete():
    """1,000 people, 800 unlinked variants, nothing missing."""
    rng = np.random.default_rng(7)
    return helpers.cohort(helpers.hardy_weinberg(rng.uniform(0.1, 0.9, 800), 1000, rng))


def standardised(ds):
    return reference.standardise(helpers.dosage_of(ds))


def of_components(shares):
    return shares[~shares["component"].str.contains("sum")]


@pytest.mark.parametrize("scaling", ["trait", "mean"])
@pytest.mark.parametrize("groups", [{}, {"heritability_by_group": {"AFR": 0.2, "EUR": 0.8}}])
@pytest.mark.parametrize("orthogonal", [True, False])
def test_shares__are_realised(cohort, scaling, groups, orthogonal):
    params = Phenotype(**EVERYTHING, **groups, scaling=scaling, orthogonal_noise=orthogonal)
    found = quantitative(cohort, params)
    shares = of_components(found.shares)
    assert len(set(shares["component"])) == len(found.components) == 13
    assert set(shares["group"]) == ({"AFR", "EAS", "EUR"} if groups else {""})
    if scaling == "mean":
        shares = shares.groupby(["group", "component"], as_index=False)[["asked", "realised"]].mean()
    np.testing.assert_allclose(shares["realised"], shares["asked"], atol=1e-6)
    heritability = {"": 0.6, "AFR": 0.2, "EAS": 0.6, "EUR": 0.8}
    genetic = shares[shares["component"].isin(found.genetic_names)].groupby("group")["asked"].sum()
    per_trait = genetic / (1 if scaling == "mean" else 3)
    for group, total in per_trait.items():
        assert total == pytest.approx(heritability[group])


def test_shares__the_table_tells_what_the_components_have(cohort):
    found = quantitative(cohort, Phenotype(**EVERYTHING, effect_correlation=0.5))
    for row in found.shares.itertuples():
        members = found.group == found.groups.index(row.group)
        t = found.trait_id.index(row.trait)
        parts = {"genetic (sum)": found.genetic, "liability (sum)": found.liability} | found.components
        if row.component in parts:
            assert parts[row.component][members, t].var() == pytest.approx(row.realised, abs=1e-12)


def test_shares__one_trait_has_variance_one(cohort):
    found = quantitative(cohort, Phenotype(heritability=0.7))
    assert list(found.components) == ["additive", "noise"]
    assert found.liability.var() == pytest.approx(1, abs=1e-12)
    assert found.genetic.var() == pytest.approx(0.7, abs=1e-12)


def test_shares__follow_the_table_of_the_paper(cohort):
    params = {
        key: value
        for key, value in EVERYTHING.items()
        if key not in ("dominance", "epistasis", "interaction")
    }
    found = quantitative(cohort, Phenotype(**params, theta=0.7, eta=0.9, gamma=0.6, alpha=0.3))
    asked = found.shares[found.shares["trait"] == "trait1"].set_index("component")["asked"]
    phi = 1 - 0.3 - 0.2 - 0.1
    wanted = {
        "additive_shared": 0.7 * 0.6 * 0.6, "additive_independent": 0.3 * 0.6 * 0.6,
        "background_shared": 0.9 * 0.4 * 0.6, "background_independent": 0.1 * 0.4 * 0.6,
        "covariates_shared": 0.6 * 0.3 * 0.4, "covariates_independent": 0.4 * 0.3 * 0.4,
        "stratification": 0.1 * 0.4, "correlated": 0.2 * 0.4,
        "noise_shared": 0.3 * phi * 0.4, "noise_independent": 0.7 * phi * 0.4, "liability (sum)": 1,
    }  # fmt: skip
    for name, share in wanted.items():
        assert asked[name] == pytest.approx(share), name


@pytest.mark.parametrize("groups", [{}, {"effect_correlation": 0.4}])
def test_noise__is_uncorrelated_with_all_else(cohort, groups):
    found = quantitative(cohort, Phenotype(**EVERYTHING, **groups))
    noise = ["correlated", "noise_shared", "noise_independent"]
    for k in range(len(found.groups) or 1):
        members = found.group == k
        for i, name in enumerate(noise):
            for other in [*(set(found.components) - set(noise)), *noise[:i]]:
                a, b = (found.components[one][members] for one in (name, other))
                correlations = (a - a.mean(axis=0)).T @ (b - b.mean(axis=0)) / members.sum()
                assert np.abs(correlations).max() < 1e-12, (name, other)


def test_components__shared_ones_have_rank_one_and_independent_ones_none_in_common(complete):
    # 1,000 people: a sample correlation of independent normals has a standard error of 0.032, five are
    # allowed for the 18 pairs: one false alarm in 100,000
    params = Phenotype(
        traits=4, h2s=0.5, heritability=0.5, causal_fraction=0.5, delta=0.3, covariates=COVARIATES[:2]
    )
    found = quantitative(complete, params)
    for name, values in found.components.items():
        if name == "covariates_independent":  # of two covariates
            continue
        correlations = np.corrcoef(values.T)[np.triu_indices(4, 1)]
        if name.endswith("_shared"):
            np.testing.assert_allclose(np.abs(correlations), 1, atol=1e-9, err_msg=name)
        elif name == "noise_independent":
            assert np.abs(correlations).max() < 5 * 0.032, name


@pytest.mark.parametrize("matrix", [None, [[2.0, 0.5, 0.1], [0.5, 1.0, 0.4], [0.1, 0.4, 0.5]]])
def test_correlated_noise__has_its_covariance(complete, matrix):
    # standard error of a correlation below 0.032; five are allowed, three pairs: one false alarm in 600,000
    params = Phenotype(traits=3, heritability=0, rho=1, pcorr=0.7, scaling="mean")
    matrix = None if matrix is None else np.array(matrix)
    values = quantitative(complete, params, covariance=matrix).components["correlated"]
    wanted = reference.correlation(3, 0.7) if matrix is None else matrix
    correlations = wanted / np.sqrt(np.outer(np.diag(wanted), np.diag(wanted)))
    np.testing.assert_allclose(np.corrcoef(values.T), correlations, atol=5 * 0.032)
    # a variance has a relative standard error of 0.045
    variances = np.diag(wanted) * 3 / np.diag(wanted).sum()
    np.testing.assert_allclose(values.var(axis=0), variances, rtol=0.25)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(2), "3 x 3"),
        ([[1, 0.9, -0.9], [0.9, 1, 0.9], [-0.9, 0.9, 1]], "not positive definite"),
        ([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]], "symmetric"),
        (np.diag([1, 0, 1]), "variances above 0"),
    ],
)
def test_correlated_noise__impossible_matrices_are_refused(cohort, matrix, message):
    with pytest.raises(ConfigError, match=message):
        quantitative(cohort, Phenotype(traits=3, rho=0.5), covariance=np.array(matrix, float))


def test_components__are_those_of_the_published_construction(cohort):
    covariates = (Covariate(name="one", effect="shared"), Covariate(name="two", effect="independent"))
    params = Phenotype(
        traits=3, heritability=0.6, h2s=0.5, delta=0.3, rho=0.2, covariates=covariates, scaling="mean",
        orthogonal_noise=False, independent_traits=0.6, seed=11,
    )  # fmt: skip
    found = quantitative(cohort, params)
    root = Root.from_seed(11)

    def normals(name, rows, places):
        return np.stack(
            [root.stream(f"phenotype.{name}").normals(row, places) for row in range(rows)], axis=1
        )

    def loading(name):
        return root.stream(f"phenotype.loading.{name}").normals(0, 3)

    x = standardised(cohort)
    varies = np.flatnonzero(x.any(axis=0))
    terms = {term.name: term for term in found.model.terms}
    acts = terms["additive_independent"].loading != 0
    assert acts.sum() == 2
    a, b = (
        np.flatnonzero(terms[f"additive_{kind}"].effects.any(axis=(0, 2)))
        for kind in ("shared", "independent")
    )
    assert not set(a) & set(b)
    assert (len(a), len(b)) == (72, 48), "40 % of the causal variants have effects by trait"
    values = found.covariates.values
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    noise_share, phi = 0.4, 0.5
    wanted = {
        "additive_shared": (
            0.8 * 0.5 * 0.6,
            reference.shared(x[:, a], normals("effect-shared", 1, a)[:, 0], loading("additive_shared")),
        ),
        "additive_independent": (
            0.2 * 0.5 * 0.6, reference.independent(x[:, b], normals("effect", 3, b), acts),
        ),
        "background_shared": (
            0.8 * 0.5 * 0.6,
            reference.background_shared(
                x[:, varies], normals("background_shared", 1, varies)[:, 0], loading("background_shared")
            ),
        ),
        "background_independent": (
            0.2 * 0.5 * 0.6,
            reference.background_independent(
                x[:, varies], normals("background_independent", 3, varies), loading("background_independent")
            ),
        ),
        "covariates_shared": (
            0.8 * 0.3 * noise_share,
            reference.shared(
                values[:, :1], normals("covariates_shared", 1, 2)[:1, 0], loading("covariates_shared")
            ),
        ),
        "covariates_independent": (
            0.2 * 0.3 * noise_share,
            reference.independent(values[:, 1:], normals("covariates_independent", 3, 2)[1:], acts),
        ),
        "correlated": (
            0.2 * noise_share,
            reference.correlated(normals("noise-correlated", 3, N), reference.correlation(3, 0.6)),
        ),
        "noise_shared": (
            0.8 * phi * noise_share,
            reference.shared(normals("noise-shared", 1, N), np.ones(1), loading("noise_shared")),
        ),
        "noise_independent": (0.2 * phi * noise_share, normals("noise", 3, N)),
    }  # fmt: skip
    assert set(found.components) == set(wanted)
    for name, (share, raw) in wanted.items():
        theirs = reference.rescale(raw, share) * np.sqrt(N / (N - 1))
        theirs -= theirs.mean(axis=0)
        np.testing.assert_allclose(found.components[name], theirs, atol=1e-10, err_msg=name)


def test_background__has_the_covariance_of_the_relationship_matrix():
    # 30 people, 60 variants, 150 draws: the whitened values are exactly standard normal, their sum of squares
    # exactly chi squared; both tests at 1e-6
    rng = np.random.default_rng(3)
    ds = helpers.cohort(helpers.hardy_weinberg(rng.uniform(0.2, 0.8, 60), 30, rng))
    x = standardised(ds)
    values, vectors = np.linalg.eigh(x @ x.T / 60)
    kept = values > 1e-9
    assert kept.sum() == 29
    draws = []
    for seed in range(150):
        found = quantitative(ds, Phenotype(h2s=0, seed=seed))
        term = found.model.terms[0]
        raw = (found.components["background"] + term.offset) / term.stretch
        draws.append(vectors[:, kept].T @ raw[:, 0] / np.sqrt(values[kept]))
    z = np.stack(draws)
    assert kstest(z.ravel(), "norm").pvalue > 1e-6
    total = chi2.cdf((z**2).sum(), z.size)
    assert 5e-7 < total < 1 - 5e-7
    between = np.cov(z.T) - np.eye(29)
    assert np.abs(between).max() < 6 * np.sqrt(2 / 150), "435 covariances, one false alarm in a million"


@pytest.mark.parametrize("setting", [{"h2s": 0.0}, {"h2s": 1.0, "causal_fraction": 0.5}, {"h2s": 0.5}])
def test_heritability__is_recovered_by_haseman_elston_regression(complete, setting):
    # Slope of y_i y_j on the relationship K_ij, i < j, 800 variants, 1,000 people: standard deviation over
    # seeds at most 0.06, so 0.021 for the mean of eight; five are allowed, one false alarm in 1.7 million
    x = standardised(complete)
    k = x @ x.T / x.shape[1]
    upper = np.triu_indices(len(k), 1)
    slopes = []
    for seed in range(8):
        y = quantitative(complete, Phenotype(heritability=0.5, seed=seed, **setting)).liability[:, 0]
        slopes.append((k[upper] * np.outer(y, y)[upper]).sum() / (k[upper] ** 2).sum())
    assert np.mean(slopes) == pytest.approx(0.5, abs=5 * 0.06 / np.sqrt(8))


@pytest.mark.parametrize("chunks", [(M, N), (1024, 100), (100, N), (50, 33)])
def test_quantitative__the_same_bits_for_any_chunks_and_workers(cohort, chunks):
    params = Phenotype(**EVERYTHING, effect_correlation=0.3)
    once = quantitative(cohort, params)
    executor = execution.ThreadExecutor(3)
    with execution.use(executor):
        other = quantitative(helpers.rechunked(cohort, *chunks), params)
    executor.close()
    assert other.liability.tobytes() == once.liability.tobytes()
    for name, values in once.components.items():
        assert other.components[name].tobytes() == values.tobytes(), name
    assert other.model.to_dataset().identical(once.model.to_dataset())


def test_quantitative__many_traits_take_several_passes(cohort):
    many = quantitative(cohort, Phenotype(traits=70, theta=0, orthogonal_noise=False))
    few = quantitative(cohort, Phenotype(traits=66, theta=0, orthogonal_noise=False))
    np.testing.assert_array_equal(
        many.components["additive_independent"][:, :66], few.components["additive_independent"]
    )


def test_quantitative__nonadditive_parts_are_those_of_their_effects(cohort):
    found = quantitative(cohort, Phenotype(**EVERYTHING))
    x = standardised(cohort)
    model, dosage = found.model, helpers.dosage_of(cohort)
    age = found.covariates.values[:, 0]
    age = (age - age.mean()) / age.std()
    coding = dominance_coding(model.frequency)
    d = np.stack(
        [np.where(g < 0, 0, c[np.maximum(g, 0)]) for g, c in zip(dosage, coding, strict=True)], axis=1
    )
    first, second = model.pairs.T
    assert len(np.unique(model.pairs)) == 600, "each variant is in one pair"
    wanted = {
        "dominance": d @ model.dominance,
        "interaction": age[:, None] * (x @ model.interaction),
        "epistasis": (x[:, first] * x[:, second]) @ model.pair_effects,
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(
            found.components[name], values - values.mean(axis=0), atol=1e-10, err_msg=name
        )
    additive = x @ model.effect
    both = found.components["additive_shared"] + found.components["additive_independent"]
    np.testing.assert_allclose(both, additive - additive.mean(axis=0), atol=1e-10)
    background = x @ model.background
    both = found.components["background_shared"] + found.components["background_independent"]
    np.testing.assert_allclose(both, background - background.mean(axis=0), atol=1e-10)


def test_dominance__is_uncorrelated_with_additivity_in_equilibrium():
    p = np.array([0.01, 0.2, 0.5, 0.9])
    weight = np.stack([(1 - p) ** 2, 2 * p * (1 - p), p**2], axis=1)
    coding = dominance_coding(p)
    np.testing.assert_allclose((weight * coding).sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose((weight * coding**2).sum(axis=1), 1)
    np.testing.assert_allclose((weight * coding * np.arange(3)).sum(axis=1), 0, atol=1e-12)
    assert not dominance_coding(np.array([0.0, 1.0, np.nan])).any()


@pytest.mark.parametrize("setting", [EVERYTHING, EVERYTHING | {"effect_correlation": 0.3}])
def test_model__gives_the_same_people_their_genetic_part(cohort, setting):
    found = quantitative(cohort, Phenotype(**setting))
    model = GeneticModel.from_dataset(found.model.to_dataset())
    age = found.covariates.values[:, 0]
    some = np.arange(0, N, 5)
    part = select(cohort, samples=some)
    theirs = genetic_values_of(part, model, found.group[some], age[some])
    np.testing.assert_allclose(theirs, found.genetic[some], atol=1e-12)
    without = genetic_values_of(part, model, found.group[some])
    wanted = found.genetic[some] - found.components["interaction"][some]
    offset = next(term for term in model.terms if term.name == "interaction").offset[0]
    np.testing.assert_allclose(without, wanted - offset, atol=1e-12)


def test_stratification__is_a_combination_of_the_components(cohort):
    params = Phenotype(heritability=0.5, stratification=0.4, stratification_components=3)
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(N, 5))
    found = quantitative(cohort.assign(sample_pca_projection=(("samples", "components"), scores)), params)
    design = np.column_stack([np.ones(N), scores[:, :3]])
    values = found.components["stratification"]
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(fitted, values, atol=1e-12)
    assert values.var() == pytest.approx(0.2)
    small = cohort.assign(sample_pca_projection=(("samples", "components"), scores[:, :2]))
    with pytest.raises(DataError, match="the cohort has 2"):
        quantitative(small, params)


def test_traits__that_independent_effects_leave_out_get_their_share_from_the_shared_ones(cohort):
    found = quantitative(cohort, Phenotype(traits=5, independent_traits=0.4, heritability=0.5))
    independent = found.components["additive_independent"].var(axis=0)
    assert (independent > 0).sum() == 2
    np.testing.assert_allclose(found.components["additive_shared"].var(axis=0) + independent, 0.5)
    with pytest.raises(DataError, match="component additive_independent"):
        quantitative(cohort, Phenotype(traits=5, independent_traits=0.4, theta=0))


def test_quantitative__too_few_samples_for_orthogonal_noise(cohort):
    few = select(cohort, samples=np.arange(8))
    with pytest.raises(DataError, match="orthogonal_noise = false"):
        quantitative(few, Phenotype(traits=6))
    assert quantitative(few, Phenotype(traits=6, orthogonal_noise=False)).liability.shape == (8, 6)


def test_quantitative__more_traits_than_fit_into_memory_are_refused(cohort, monkeypatch):
    params = Phenotype(traits=3)  # of four components
    needed = 4 * 8 * N * 3 * 4
    monkeypatch.setattr("genoweave.methods.phenotype.quantitative.machine_memory", lambda: needed)
    quantitative(cohort, params)
    monkeypatch.setattr("genoweave.methods.phenotype.quantitative.machine_memory", lambda: needed - 1)
    with pytest.raises(MemoryBudgetError, match="3 traits of 4 components"):
        quantitative(cohort, params)


def test_quantitative__components_that_do_not_vary_are_refused(cohort):
    one = select(cohort, samples=np.arange(1))
    with pytest.raises(DataError, match=r"no variant varies|does not vary"):
        quantitative(one, Phenotype(orthogonal_noise=False))
    with pytest.raises(DataError, match="no variant varies"):
        quantitative(helpers.cohort(np.zeros((3, 5), np.int8)), Phenotype(heritability=0))


def test_quantitative__liability_is_normal_enough(complete):
    # Kolmogorov-Smirnov at 1e-6
    found = quantitative(complete, Phenotype(traits=2, h2s=0.5))
    for column in found.liability.T:
        assert kstest(column / column.std(), norm.cdf).pvalue > 1e-6
