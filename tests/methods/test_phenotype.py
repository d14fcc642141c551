"""The simulated trait: exact numbers of cases, shares of variance as asked for, a truth that adds up."""

import json

import helpers
import numpy as np
import pytest
from scipy.stats import kstest

from genoweave import execution
from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import select
from genoweave.methods.phenotype import Phenotype, phenotype, relatives_trait


@pytest.fixture(scope="module")
def cohort():
    """401 people, 1,200 variants, 3 % missing, 4 monomorphic."""
    rng = np.random.default_rng(6)
    dosage = helpers.hardy_weinberg(rng.uniform(0.05, 0.95, 1200), 401, rng)
    dosage[[3, 400, 800, 1199]] = np.array([0, 2, 0, 2])[:, None]
    return helpers.cohort(helpers.with_missing(dosage, 0.03, rng))


def standardised(ds):
    called = np.ma.masked_less(helpers.dosage_of(ds).astype(float), 0)
    p = called.mean(axis=1, keepdims=True) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(((called - 2 * p) / np.sqrt(2 * p * (1 - p))).filled(0.0))


@pytest.mark.parametrize("prevalence", [0.01, 0.02, 0.1, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("n", [400, 401])
def test_phenotype__the_number_of_cases_is_exact(cohort, prevalence, n):
    trait = phenotype(select(cohort, samples=np.arange(n)), Phenotype(prevalence=prevalence))
    case, liability = trait["sample_case"].values, trait["sample_liability"].values
    assert set(case) <= {0, 1}
    assert case.sum() == round(prevalence * n)
    if 0 < case.sum() < n:
        assert liability[case == 1].min() > liability[case == 0].max(), "the largest liabilities"
        assert trait.attrs["trait"]["threshold"] == liability[case == 1].min()


def test_phenotype__half_are_cases_by_default(cohort):
    trait = phenotype(select(cohort, samples=np.arange(400)))
    assert trait["sample_case"].values.sum() == 200
    median = np.median(trait["sample_liability"].values)
    assert (trait["sample_case"].values == (trait["sample_liability"].values >= median)).all()


@pytest.mark.parametrize("heritability", [0.0, 0.3, 0.9, 1.0])
def test_phenotype__variance_shares_are_realised(cohort, heritability):
    trait = phenotype(cohort, Phenotype(heritability=heritability))
    genetic, liability = trait["sample_genetic_value"].values, trait["sample_liability"].values
    noise = liability - genetic
    assert genetic.var() == pytest.approx(heritability, abs=1e-6)
    assert noise.var() == pytest.approx(1 - heritability, abs=1e-6)
    assert genetic.mean() == pytest.approx(0, abs=1e-9)
    assert liability.mean() == pytest.approx(0, abs=1e-9)


def test_phenotype__genetic_value_and_status_correlate_as_they_should():
    # r2 = h2 phi(0)^2 / (1/4) = 0.573 for a normal genetic value; the standard error at 20,000 people is
    # 0.0046, and five are allowed: one false alarm in 1.7 million
    rng = np.random.default_rng(2)
    ds = helpers.cohort(helpers.hardy_weinberg(rng.uniform(0.2, 0.8, 300), 20_000, rng))
    trait = phenotype(ds, Phenotype(causal_fraction=1.0))
    genetic, case = trait["sample_genetic_value"].values, trait["sample_case"].values
    assert np.corrcoef(genetic, case)[0, 1] ** 2 == pytest.approx(0.573, abs=0.023)
    order = np.argsort(np.argsort(genetic))
    n1 = case.sum()
    auc = (order[case == 1].sum() - n1 * (n1 - 1) / 2) / (n1 * (len(case) - n1))
    assert auc == pytest.approx(0.968, abs=0.008)


def test_phenotype__every_causal_variant_acts(cohort):
    trait = phenotype(cohort, Phenotype(causal_fraction=0.1, heritability=1.0))
    causal, effect = trait["variant_is_causal"].values, trait["variant_effect"].values
    assert causal.sum() == 120
    assert (effect[causal] != 0).all()
    assert (effect[~causal] == 0).all()
    # the liability is the sum of all 120 standardised genotypes times their effects, and nothing else
    value = effect @ standardised(cohort)
    np.testing.assert_allclose(trait["sample_genetic_value"], value - value.mean(), atol=1e-10)
    np.testing.assert_allclose(trait["sample_liability"], trait["sample_genetic_value"], atol=1e-10)


def test_phenotype__a_tenth_of_7180_variants_is_718():
    rng = np.random.default_rng(0)
    ds = helpers.cohort(helpers.hardy_weinberg(np.full(7180, 0.5), 12, rng))
    assert phenotype(ds)["variant_is_causal"].values.sum() == 718


def test_phenotype__effects_per_allele_are_consistent(cohort):
    trait = phenotype(cohort, Phenotype(causal_fraction=0.3))
    f = trait["variant_allele_frequency"].values
    causal = trait["variant_is_causal"].values
    scale = np.sqrt(2 * f * (1 - f))
    np.testing.assert_allclose(
        trait["variant_effect_per_allele"].values[causal] * scale[causal],
        trait["variant_effect"].values[causal],
        rtol=1e-12,
    )
    called = np.ma.masked_less(helpers.dosage_of(cohort).astype(float), 0)
    np.testing.assert_allclose(f, called.mean(axis=1) / 2, rtol=1e-12)
    value = trait["variant_effect_per_allele"].values @ (called - 2 * f[:, None]).filled(0.0)
    np.testing.assert_allclose(trait["sample_genetic_value"], value - value.mean(), atol=1e-10)


def test_phenotype__effects_are_normal_and_causal_variants_are_anywhere(cohort):
    # Kolmogorov-Smirnov at 1e-6, twice
    trait = phenotype(cohort, Phenotype(causal_fraction=0.5))
    causal = np.flatnonzero(trait["variant_is_causal"].values)
    effect = trait["variant_effect"].values[causal]
    assert kstest(effect / effect.std(), "norm").pvalue > 1e-6
    assert kstest(causal / 1200, "uniform").pvalue > 1e-6


def test_phenotype__monomorphic_variants_are_never_causal(cohort):
    trait = phenotype(cohort, Phenotype(causal_fraction=1.0))
    assert np.flatnonzero(~trait["variant_is_causal"].values).tolist() == [3, 400, 800, 1199]
    assert trait["variant_is_causal"].values.sum() == 1196


def test_phenotype__nothing_varies():
    with pytest.raises(DataError, match="no variant varies"):
        phenotype(helpers.cohort(np.zeros((3, 5), np.int8)))


@pytest.mark.parametrize("chunks", [(1200, 401), (1024, 100), (100, 401), (7, 33), (1200, 1)])
def test_phenotype__the_same_bits_for_any_chunks_and_workers(cohort, chunks):
    executor = execution.ThreadExecutor(3)
    with execution.use(executor):
        other = phenotype(helpers.rechunked(cohort, *chunks))
    executor.close()
    assert other.identical(phenotype(cohort))


def test_phenotype__the_seed_decides_alone(cohort):
    one, same, other = (phenotype(cohort, Phenotype(seed=seed)) for seed in (1, 1, 2))
    assert one.identical(same)
    assert (one["variant_is_causal"].values != other["variant_is_causal"].values).any()
    assert (one["sample_liability"].values != other["sample_liability"].values).all()


def test_phenotype__draws_follow_the_variants_row_in_the_source(cohort):
    rows = np.arange(0, 1200, 2)
    part = select(cohort, rows).assign(variant_source_row=("variants", rows))
    params = Phenotype(causal_fraction=1.0, heritability=1.0)
    whole, half = phenotype(cohort, params), phenotype(part, params)
    left, right = whole["variant_effect"].values[rows], half["variant_effect"].values
    acts = right != 0
    np.testing.assert_allclose(np.ptp(left[acts] / right[acts]), 0, atol=1e-9)


def test_relatives_trait__the_same_people_have_the_same_genetic_value(cohort):
    trait = phenotype(cohort, Phenotype(heritability=0.8))
    theirs = relatives_trait(cohort, trait)
    np.testing.assert_allclose(theirs["sample_genetic_value"], trait["sample_genetic_value"], atol=1e-10)
    liability = theirs["sample_liability"].values
    assert (theirs["sample_case"].values == (liability >= trait.attrs["trait"]["threshold"])).all()
    noise = liability - theirs["sample_genetic_value"].values
    # standard deviation of 401 normals: |z| < 5, one false alarm in 1.7 million
    assert abs(noise.std() / np.sqrt(0.2) - 1) < 5 / np.sqrt(2 * 401)
    assert abs(np.corrcoef(noise, trait["sample_liability"] - trait["sample_genetic_value"])[0, 1]) < 0.25


@pytest.mark.parametrize(
    "bad", [{"prevalence": 0.0}, {"prevalence": 1.0}, {"heritability": 1.1}, {"causal_fraction": 0.0}]
)
def test_phenotype__impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Phenotype(**bad)


@pytest.mark.parametrize("prevalence", [0.01, 0.5, 0.99])
def test_phenotype__the_setting_is_json(cohort, prevalence):
    # at 0.01 nobody of 401 is a case; the store's attributes are JSON, which knows no infinity
    setting = phenotype(cohort, Phenotype(prevalence=prevalence)).attrs["trait"]
    assert json.loads(json.dumps(setting, allow_nan=False)) == setting
