"""The parts of the quantitative model: effects, given effects, covariates, transforms, parameters."""

import helpers
import numpy as np
import pandas as pd
import pytest
from reference import phenotype as reference
from scipy import stats

from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import PackedSource, select
from genoweave.methods.phenotype import products
from genoweave.methods.phenotype.effects import standard_effects
from genoweave.methods.phenotype.parameters import Covariate, Phenotype
from genoweave.methods.phenotype.quantitative import quantitative
from genoweave.methods.phenotype.transforms import transformed
from genoweave.rng import Root


@pytest.fixture(scope="module")
def cohort():
    """400 people of 2 groups in turn, 600 variants, 2 % missing."""
    rng = np.random.default_rng(8)
    dosage = helpers.hardy_weinberg(rng.uniform(0.05, 0.95, 600), 400, rng)
    return helpers.cohort(helpers.with_missing(dosage, 0.02, rng), ["EAS", "EUR"] * 200)


@pytest.fixture(scope="module")
def many():
    """4,000 people of 4 groups in turn, 40 variants."""
    rng = np.random.default_rng(9)
    dosage = helpers.hardy_weinberg(rng.uniform(0.2, 0.8, 40), 4000, rng)
    return helpers.cohort(dosage, ["A", "B", "C", "D"] * 1000)


@pytest.mark.parametrize(
    ("setting", "distribution"),
    [
        ({"effect": "normal"}, stats.norm()),
        ({"effect": "t"}, stats.t(5, scale=np.sqrt(3 / 5))),
        ({"effect": "t", "effect_shape": 2.5}, stats.t(2.5, scale=np.sqrt(0.5 / 2.5))),
        ({"effect": "uniform"}, stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
        ({"effect": "gamma", "random_sign": False}, stats.gamma(1, scale=1 / np.sqrt(2))),
        ({"effect": "gamma", "effect_shape": 4, "random_sign": False}, stats.gamma(4, scale=1 / np.sqrt(20))),
        ({"effect": "gamma", "effect_shape": 0.4}, stats.dgamma(0.4, scale=1 / np.sqrt(0.56))),
    ],
)
def test_effects__have_their_distribution(setting, distribution):
    # Kolmogorov-Smirnov at 1e-6 of 100,000 draws; mean square 1 of the distribution itself
    u = Root.from_seed(5).stream("test").uniforms(0, 100_000)
    effects = standard_effects(u, Phenotype(**setting))
    assert stats.kstest(effects, distribution.cdf).pvalue > 1e-6
    mean, variance = distribution.stats("mv")
    assert mean**2 + variance == pytest.approx(1)


def test_effects__fixed_ones_differ_in_sign_only():
    # half of 100,000 signs are negative: standard error 0.0016, five are allowed
    u = Root.from_seed(5).stream("test").uniforms(0, 100_000)
    effects = standard_effects(u, Phenotype(effect="fixed"))
    assert set(effects) == {-1.0, 1.0}
    assert abs(effects.mean()) < 5 * 0.0032
    assert set(standard_effects(u, Phenotype(effect="fixed", random_sign=False))) == {1.0}


@pytest.mark.parametrize("alpha", [-1.0, -0.5, 0.0, 0.3])
def test_effects__alpha_model(cohort, alpha):
    found = quantitative(cohort, Phenotype(effect="fixed", maf_alpha=alpha, causal_fraction=1))
    p = found.model.frequency
    size = np.abs(found.model.per_allele[:, 0]) / (2 * p * (1 - p)) ** (alpha / 2)
    np.testing.assert_allclose(size, size[0], rtol=1e-12)


def test_effects__a_number_of_causal_variants(cohort):
    assert quantitative(cohort, Phenotype(n_causal=7)).model.causal.sum() == 7
    with pytest.raises(DataError, match="only 600 of 600 vary"):
        quantitative(cohort, Phenotype(n_causal=601))
    with pytest.raises(ConfigError, match="independent_fraction"):
        quantitative(cohort, Phenotype(traits=2, n_causal=1))
    shared = quantitative(cohort, Phenotype(traits=2, n_causal=1, theta=1))
    assert list(shared.components) == ["additive_shared", "noise_shared", "noise_independent"]


def given_effects(ds, rows, *, traits=1, seed=2):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"id": ds["variant_id"].values[rows], "A1": ds["variant_allele"].values[rows, 1]})
    for t in range(traits):
        table[f"trait_{t}"] = rng.normal(size=len(rows))
    return table


def values_of(ds, rows, effects):
    dosage = np.ma.masked_less(helpers.dosage_of(ds)[rows].astype(float), 0)
    values = (dosage - dosage.mean(axis=1, keepdims=True)).filled(0).T @ effects
    return values - values.mean(axis=0)


def test_given_effects__are_rescaled_to_their_share(cohort):
    rows = np.array([500, 3, 77, 250])
    table = given_effects(cohort, rows, traits=2)
    found = quantitative(cohort, Phenotype(traits=2, heritability=0.4), effects=table)
    assert found.trait_id == ("trait_0", "trait_1")
    assert np.flatnonzero(found.model.causal).tolist() == sorted(rows)
    np.testing.assert_allclose(found.components["additive"].var(axis=0), 0.4)
    per_allele = table[["trait_0", "trait_1"]].to_numpy()
    ratio = found.model.per_allele[rows] / per_allele
    np.testing.assert_allclose(ratio, ratio[:1].repeat(4, axis=0))


@pytest.mark.parametrize("heritability", [0.25, 1.0])
def test_given_effects__stay_as_they_are_on_request(cohort, heritability):
    rows = np.array([500, 3, 77, 250])
    table = given_effects(cohort, rows, traits=2)
    params = Phenotype(traits=2, heritability=heritability, rescale_effects=False)
    found = quantitative(cohort, params, effects=table)
    per_allele = table[["trait_0", "trait_1"]].to_numpy()
    np.testing.assert_allclose(found.model.per_allele[rows], per_allele, rtol=1e-12)
    np.testing.assert_allclose(found.genetic, values_of(cohort, rows, per_allele), atol=1e-12)
    explained = found.genetic.var(axis=0) / found.liability.var(axis=0)
    noise = found.liability - found.genetic
    np.testing.assert_allclose(
        found.genetic.var(axis=0) / (found.genetic.var(axis=0) + noise.var(axis=0)), heritability
    )
    np.testing.assert_allclose(explained, heritability, rtol=1e-9)
    own = found.shares[~found.shares["component"].str.contains("sum")]
    np.testing.assert_allclose(own["asked"], own["realised"], rtol=1e-6)


def test_given_effects__of_the_other_allele_change_sign(cohort):
    rows = np.arange(0, 600, 60)
    table = given_effects(cohort, rows)
    other = table.copy()
    other.loc[::2, "A1"] = cohort["variant_allele"].values[rows[::2], 0]
    other.loc[::2, "trait_0"] *= -1
    params = Phenotype(rescale_effects=False)
    one, same = (quantitative(cohort, params, effects=x).liability for x in (table, other.iloc[::-1]))
    np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="id"), "no column 'id'"),
        (lambda t: t.drop(columns="A1"), "no column 'a1'"),
        (lambda t: t.drop(columns="trait_0"), r"0 columns of effects \(none\) for 1 traits"),
        (lambda t: t.assign(more=1.0), "2 columns of effects"),
        (lambda t: t.assign(trait_0="x"), "text where an effect"),
        (lambda t: t.assign(trait_0=np.nan), "row 1 has a missing"),
        (lambda t: t.iloc[:0], "no row"),
        (lambda t: pd.concat([t, t]), "twice"),
        (lambda t: t.assign(id=[*t["id"][:-1], "rs0"]), "1 of 3 variants .* first is rs0"),
        (lambda t: t.assign(A1=[*t["A1"][:-1], "N"]), "allele N for variant rs8"),
    ],
)
def test_given_effects__that_do_not_fit_are_refused(cohort, change, message):
    table = given_effects(cohort, np.array([1, 4, 7]))
    with pytest.raises(DataError, match=message):
        quantitative(cohort, Phenotype(), effects=change(table))


@pytest.mark.parametrize("name", ["IID", "my trait", "a/b", "1"])
def test_given_effects__give_traits_names_that_a_file_can_have(cohort, name):
    table = given_effects(cohort, np.array([1, 4, 7]), traits=2).rename(columns={"trait_1": name})
    with pytest.raises(DataError, match="cannot be the name of a trait"):
        quantitative(cohort, Phenotype(traits=2), effects=table)


def test_given_effects__exclude_a_number_of_drawn_ones(cohort):
    with pytest.raises(ConfigError, match="n_causal"):
        quantitative(cohort, Phenotype(n_causal=3), effects=given_effects(cohort, np.array([1, 4, 7])))


def test_given_effects__ids_that_are_there_twice_are_refused(cohort):
    table = given_effects(cohort, np.array([1, 4, 7]))
    ids = cohort["variant_id"].values.copy()
    ids[9] = ids[4]
    with pytest.raises(DataError, match="rs5 more than once"):
        quantitative(cohort.assign(variant_id=("variants", ids)), Phenotype(), effects=table)


def test_given_effects__unscaled_ones_exclude_groups(cohort):
    table = given_effects(cohort, np.array([1, 4, 7]))
    with pytest.raises(ConfigError, match="drop one"):
        quantitative(cohort, Phenotype(rescale_effects=False, effect_correlation=0.5), effects=table)
    with pytest.raises(ConfigError, match="no share"):
        quantitative(cohort, Phenotype(rescale_effects=False, h2s=0), effects=table)


def drawn(ds, *covariates, **more):
    params = Phenotype(covariates=covariates, delta=0.5, heritability=0.5, **more)
    return quantitative(ds, params)


@pytest.mark.parametrize(
    ("covariate", "distribution"),
    [
        (Covariate(name="x", mean=50, sd=10), stats.norm(50, 10)),
        (Covariate(name="x", kind="uniform", mean=3, sd=2), stats.uniform(1, 4)),
        (Covariate(name="x", depends_on="ancestry", dependence=0.0), stats.norm()),
    ],
)
def test_covariates__have_their_distribution(many, covariate, distribution):
    # Kolmogorov-Smirnov at 1e-6
    assert stats.kstest(drawn(many, covariate).covariates.values[:, 0], distribution.cdf).pvalue > 1e-6


def test_covariates__of_few_values(many):
    # counts of 4,000: five standard errors
    found = drawn(
        many,
        Covariate(name="x", kind="binomial", probability=0.2),
        Covariate(name="y", kind="categorical", categories=4),
    ).covariates
    assert set(found.values[:, 0]) == {0.0, 1.0}
    assert found.values[:, 0].mean() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 4000))
    assert set(found.values[:, 1]) == {1.0, 2.0, 3.0, 4.0}
    counts = np.bincount(found.values[:, 1].astype(int))[1:] / 4000
    np.testing.assert_allclose(counts, 0.25, atol=5 * np.sqrt(0.1875 / 4000))
    assert found.design_names == ("x", "y_2", "y_3", "y_4")


def test_covariates__effects_give_the_component(many):
    covariates = (Covariate(name="x", mean=5), Covariate(name="y", kind="categorical", categories=3))
    found = drawn(many, *covariates, traits=2)
    x, y = found.covariates.values.T
    design = np.stack([x, y == 2, y == 3], axis=1)
    values = design @ found.covariates.effects
    component = found.components["covariates_shared"] + found.components["covariates_independent"]
    np.testing.assert_allclose(component, values - values.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize("cause", ["ancestry", "pcs"])
@pytest.mark.parametrize("dependence", [0.3, 1.0])
def test_covariates__may_be_confounded(many, cause, dependence):
    # R^2 of normal variables, n = 4,000: standard error at most 2 sqrt(.3) .7 / sqrt(4000) = 0.012, five
    scores = np.random.default_rng(4).normal(size=(4000, 3))
    ds = many.assign(sample_pca_projection=(("samples", "components"), scores))
    covariate = Covariate(name="x", depends_on=cause, dependence=dependence)
    values = drawn(ds, covariate, stratification_components=3).covariates.values[:, 0]
    labels = np.arange(4000)[:, None] % 4 == np.arange(4)
    design = labels if cause == "ancestry" else np.column_stack([np.ones(4000), scores])
    rest = values - design @ np.linalg.lstsq(design.astype(float), values, rcond=None)[0]
    assert 1 - rest.var() / values.var() == pytest.approx(dependence, abs=5 * 0.012)


def test_covariates__of_the_cohort(many):
    values = np.random.default_rng(3).normal(40, 9, (4000, 2))
    values[[5, 9], 1] = np.nan
    ds = many.assign(sample_covariate=(("samples", "covariates"), values))
    ds["covariate_id"] = ("covariates", np.array(["sex", "age"], object))
    found = drawn(ds, Covariate(name="age", kind="cohort"))
    np.testing.assert_array_equal(found.covariates.values[:, 0], values[:, 1])
    component = found.components["covariates"][:, 0]
    age = values[:, 1] - np.nanmean(values[:, 1])
    np.testing.assert_allclose(component, np.nan_to_num(age) * found.covariates.effects[0, 0], atol=1e-12)
    with pytest.raises(DataError, match="no covariate bmi; it has: sex, age"):
        drawn(ds, Covariate(name="bmi", kind="cohort"))
    with pytest.raises(DataError, match="give a table"):
        drawn(many, Covariate(name="bmi", kind="cohort"))
    ds["sample_covariate"][:, 1] = 3.0
    with pytest.raises(DataError, match="age does not vary"):
        drawn(ds, Covariate(name="age", kind="cohort"))


def test_covariates__of_the_same_column_are_refused(many):
    covariates = Covariate(name="place", kind="categorical"), Covariate(name="place_2")
    with pytest.raises(DataError, match="called place_2"):
        drawn(many, *covariates)


def test_covariates__a_part_without_a_covariate_is_refused(many):
    with pytest.raises(DataError, match="no covariate has such an effect"):
        drawn(many, Covariate(name="x", effect="shared"), traits=2)
    assert (
        "covariates_shared" in drawn(many, Covariate(name="x", effect="shared"), traits=2, gamma=1).components
    )


@pytest.mark.parametrize(
    "setting",
    [
        {"transform": "exp"},
        {"transform": "exp", "transform_base": 2.0, "transform_share": 0.5},
        {"transform": "log", "transform_negative": "set0"},
        {"transform": "log", "transform_base": 2.0, "transform_share": 0.3},
        {"transform": "poly", "transform_power": 3.0},
        {"transform": "poly", "transform_negative": "set0"},
        {"transform": "sqrt", "transform_share": 0.9},
    ],
)
def test_transform__is_the_published_one(cohort, setting):
    params = Phenotype(traits=2, **setting)
    linear = quantitative(cohort, Phenotype(traits=2)).liability
    wanted = reference.transform(
        linear,
        params.transform,
        params.transform_share,
        params.transform_base,
        params.transform_power,
        params.transform_negative,
    ) * np.sqrt(400 / 399)
    found = quantitative(cohort, params)
    np.testing.assert_allclose(found.liability, wanted, atol=1e-10)
    assert found.shares["realised"].iloc[0] == pytest.approx(found.shares["asked"].iloc[0]), "before it"


def test_transform__of_infinite_values_is_refused():
    values = np.array([[0.0], [1.0]])
    with pytest.raises(DataError, match="the transform log"):
        transformed(values, Phenotype(transform="log"))
    with pytest.raises(DataError, match="the transform exp"):
        transformed(1000 * values, Phenotype(transform="exp"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"delta": 0.6, "rho": 0.5, "covariates": "x=normal"}, "add up to 1.1"),
        ({"dominance": 0.6, "epistasis": 0.5}, "add up to 1.1"),
        ({"delta": 0.1}, "there are none"),
        ({"interaction": 0.1}, "there are none"),
        ({"interaction_covariate": "y", "covariates": "x=normal"}, "none of the covariates"),
        ({"covariates": "x=normal,x=binomial"}, "same name"),
        ({"covariates": "x"}, "NAME=KIND"),
        ({"covariates": "IID=normal"}, "an id's column"),
        ({"covariates": "my age=normal"}, "name"),
        ({"covariates": "x=poisson"}, "kind"),
        ({"heritability_by_group": "EUR"}, "GROUP=NUMBER"),
        ({"heritability_by_group": {"EUR": 1.5}}, "heritability_by_group"),
        ({"effect": "t", "effect_shape": 2}, "no variance"),
        ({"transform_base": 1}, "transforms nothing"),
        ({"traits": 0}, "traits"),
        ({"pcorr": 1}, "pcorr"),
    ],
)
def test_parameters__that_are_impossible_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        Phenotype(**setting)


def test_parameters__may_be_text():
    params = Phenotype(heritability_by_group="EUR=0.5, AFR=0.3", covariates="age=normal,sex=binomial")
    assert params.heritability_by_group == {"EUR": 0.5, "AFR": 0.3}
    assert [covariate.kind for covariate in params.covariates] == ["normal", "binomial"]
    assert Phenotype(**params.model_dump(mode="json")) == params
    assert Phenotype(heritability_by_group="", covariates="") == Phenotype()


@pytest.mark.parametrize(
    ("shape", "row_block", "edges"),
    [
        ((1500, 3_000_000), 1, [0, 3_000_000]),
        ((1500, 100), 1, [0, 33, 100]),
        ((1500, 9_000_000), 64, [0, 9_000_000]),
    ],
)
def test_products__blocks_are_whole_words_of_variants(shape, row_block, edges):
    class Wide(PackedSource):
        def __init__(self):
            self.shape, self.row_block = (*shape, 2), row_block

        @property
        def sample_edges(self):
            return edges

    covered = set()
    for a, b, s0, s1 in products._blocks(Wide(), 1024, 1500):
        assert (a - 1024) % 32 == 0
        assert b == 1500 or (b - a) % 32 == 0
        covered |= {(v, s0, s1) for v in range(a, b)}
    assert len(covered) == 476 * (len(edges) - 1)


def test_draws__follow_the_variants_row_in_the_source(cohort):
    setting = {"heritability": 1.0, "h2s": 0.5, "causal_fraction": 1.0, "dominance": 0.2}
    rows = np.arange(0, 600, 3)
    part = select(cohort, rows).assign(variant_source_row=("variants", rows))
    whole, some = (quantitative(ds, Phenotype(**setting)).model for ds in (cohort, part))
    for name in ("effect", "background", "dominance"):
        ratio = getattr(whole, name)[rows] / getattr(some, name)
        np.testing.assert_allclose(ratio[:, 0], ratio[0, 0], rtol=1e-9, err_msg=name)
