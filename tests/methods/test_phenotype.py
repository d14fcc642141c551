"""The simulated trait: exact numbers of cases, shares of variance as asked for, a truth that adds up."""

import json

import helpers
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import expit
from scipy.stats import kstest, norm

from genoweave import execution
from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import select
from genoweave.io import store
from genoweave.methods.phenotype import Covariate, Phenotype, phenotype, relatives_trait
from genoweave.methods.phenotype.ascertain import Sizes, ascertain
from genoweave.rng import Root


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


def test_phenotype__variants_of_three_alleles_are_never_causal(cohort):
    alleles = np.full((1200, 3), "", object)
    alleles[:, :2] = cohort["variant_allele"].values
    alleles[[7, 90], 2] = "T"
    ds = cohort.drop_vars("variant_allele").assign(variant_allele=(("variants", "alleles"), alleles))
    trait = phenotype(ds, Phenotype(causal_fraction=1.0, h2s=0.5, epistasis=0.1, n_pairs=597))
    assert np.flatnonzero(~trait["variant_is_causal"].values).tolist() == [3, 7, 90, 400, 800, 1199]
    assert np.isnan(trait["variant_allele_frequency"].values[[7, 90]]).all()
    assert (trait["variant_background_effect"].values[[7, 90]] == 0).all()
    assert not np.isin(trait["pair_variant"].values, [7, 90]).any()
    assert np.isfinite(trait["sample_liability"].values).all()
    table = pd.DataFrame({"id": ["rs8"], "a1": [alleles[7, 1]], "effect": [1.0]})
    with pytest.raises(DataError, match="rs8, which has more than two alleles"):
        phenotype(ds, effects=table)


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


GROUPS = np.array(["EUR", "AFR", "EAS", ""], object)


@pytest.fixture(scope="module")
def labelled(cohort):
    """The cohort with 3 groups, and every fourth person in none."""
    return cohort.assign(sample_ancestry=("samples", GROUPS[np.arange(401) % 4]))


def cases_of(trait, k=None):
    values = trait["sample_case"].values
    return int((values if k is None else values[:, k]).sum())


def test_status__expected_counts_vary_about_the_prevalence(cohort):
    # 40 draws of about Binomial(401, 0.3) at most: the mean has a standard error of 1.45, five are allowed
    draws = [
        cases_of(phenotype(cohort, Phenotype(prevalence=0.3, counts="expected", heritability=0.5, seed=s)))
        for s in range(40)
    ]
    assert len(set(draws)) > 5
    assert np.mean(draws) == pytest.approx(0.3 * 401, abs=5 * 1.45)


def test_status__an_expected_threshold_is_that_of_a_normal(cohort):
    trait = phenotype(cohort, Phenotype(prevalence=0.1, counts="expected"))
    liability = trait["sample_liability"].values
    threshold = trait.attrs["trait"]["threshold"]
    assert threshold == pytest.approx(norm.isf(0.1) * liability.std(), abs=1e-12)
    assert (trait["sample_case"].values == (liability >= threshold)).all()


def logistic_fit(x, y):
    """Intercept, slope and their standard errors, by Newton's method."""
    design = np.column_stack([np.ones_like(x), x])
    beta = np.zeros(2)
    for _ in range(50):
        p = expit(design @ beta)
        information = design.T @ (design * (p * (1 - p))[:, None])
        beta += np.linalg.solve(information, design.T @ (y - p))
    return beta, np.sqrt(np.diag(np.linalg.inv(information)))


@pytest.mark.parametrize("counts", ["exact", "expected"])
@pytest.mark.parametrize(("slope", "prevalence"), [(1.0, 0.5), (3.0, 0.1)])
def test_status__a_logit_has_its_slope_and_intercept(counts, slope, prevalence):
    # five standard errors of two numbers, four settings: one false alarm in 200,000
    rng = np.random.default_rng(5)
    ds = helpers.cohort(helpers.hardy_weinberg(rng.uniform(0.2, 0.8, 60), 6000, rng))
    params = Phenotype(status="logit", logit_slope=slope, prevalence=prevalence, counts=counts)
    trait = phenotype(ds, params)
    liability, case = trait["sample_liability"].values, trait["sample_case"].values
    cut = trait.attrs["trait"]["threshold"]
    estimate, error = logistic_fit(liability, case)
    assert abs(estimate[1] - slope) < 5 * error[1]
    assert abs(estimate[0] + cut) < 5 * error[0]
    if counts == "exact":
        assert case.sum() == 6000 * prevalence
    else:
        assert expit(slope * liability - cut).mean() == pytest.approx(prevalence, abs=1e-9)


def test_status__a_steep_logit_is_a_threshold(cohort):
    steep = phenotype(cohort, Phenotype(status="logit", logit_slope=1000, prevalence=0.3))
    sharp = phenotype(cohort, Phenotype(prevalence=0.3))
    assert (steep["sample_case"].values != sharp["sample_case"].values).mean() < 0.02
    assert steep["sample_liability"].identical(sharp["sample_liability"])


@pytest.mark.parametrize("status", ["threshold", "logit"])
def test_status__prevalence_by_group_is_met_in_each(labelled, status):
    params = Phenotype(status=status, prevalence=0.5, prevalence_by_group={"EUR": 0.1, "AFR": 0.3})
    trait = phenotype(labelled, params)
    case, group = trait["sample_case"].values, labelled["sample_ancestry"].values
    for name, share in (("EUR", 0.1), ("AFR", 0.3)):
        assert case[group == name].sum() == round(share * (group == name).sum())
    others = ~np.isin(group, ["EUR", "AFR"])
    assert case[others].sum() == round(0.5 * others.sum())
    assert set(trait.attrs["trait"]["rules"][0]["cut"]) == {"EUR", "AFR", ""}
    if status == "threshold":
        for name in ("EUR", "AFR"):
            cut = trait.attrs["trait"]["rules"][0]["cut"][name]
            own = group == name
            assert (case[own] == (trait["sample_liability"].values[own] >= cut)).all()


def test_status__a_group_may_be_without_cases(labelled):
    trait = phenotype(labelled, Phenotype(prevalence_by_group={"EUR": 0.001}))
    assert trait["sample_case"].values[labelled["sample_ancestry"].values == "EUR"].sum() == 0
    assert np.isfinite(trait.attrs["trait"]["rules"][0]["cut"]["EUR"])


def test_status__prevalence_of_unknown_groups_is_refused(cohort, labelled):
    params = Phenotype(prevalence_by_group={"EUR": 0.1, "Europe": 0.2})
    with pytest.raises(DataError, match="has not: Europe; its groups are: AFR, EAS, EUR"):
        phenotype(labelled, params)
    with pytest.raises(DataError, match="no sample_ancestry"):
        phenotype(cohort, params)


def test_status__of_each_trait(cohort):
    params = Phenotype(
        traits=3, status_by_trait=("threshold", "none", "logit"), prevalence_by_trait=(0.1, 0.2, 0.4)
    )
    trait = phenotype(cohort, params)
    case = trait["sample_case"]
    assert case.dims == ("samples", "traits")
    assert (case.values[:, 1] == -1).all()
    assert [cases_of(trait, k) for k in (0, 2)] == [40, 160]
    assert [rule and rule["status"] for rule in trait.attrs["trait"]["rules"]] == ["threshold", None, "logit"]
    assert trait["trait_id"].values.tolist() == ["trait1", "trait2", "trait3"]


def test_status__none_is_quantitative(cohort):
    trait = phenotype(cohort, Phenotype(status="none"))
    assert "sample_case" not in trait
    assert "threshold" not in trait.attrs["trait"]
    assert trait["sample_is_ascertained"].values.all()
    assert trait["sample_liability"].identical(phenotype(cohort)["sample_liability"])


@pytest.mark.parametrize(
    "bad",
    [
        {"status_by_trait": ("none", "none")},
        {"prevalence_by_trait": (0.1, 0.2)},
        {"prevalence_by_group": {"EUR": 1.0}},
        {"status": "maybe"},
        {"logit_slope": 0.0},
        {"n_cases": 0},
        {"n_controls": 5, "controls_per_case": 1.0},
        {"n_cases": 5, "status": "none"},
        {"controls_per_case": 5, "traits": 2, "status_by_trait": ("none", "none")},
    ],
)
def test_status__impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Phenotype(**bad)


def test_ascertain__has_the_sizes_that_are_asked_for(cohort):
    params = {"prevalence": 0.2, "seed": 3}
    for sizes, cases, controls in (
        ({"n_cases": 30, "n_controls": 90}, 30, 90),
        ({"n_cases": 30}, 30, 321),
        ({"n_controls": 7}, 80, 7),
        ({"controls_per_case": 2.5}, 80, 200),
        ({"n_cases": 10, "controls_per_case": 0.5}, 10, 5),
    ):
        trait = phenotype(cohort, Phenotype(**params, **sizes))
        study, case = trait["sample_is_ascertained"].values, trait["sample_case"].values
        assert (int(case[study].sum()), int((case[study] == 0).sum())) == (cases, controls)
        assert case.sum() == 80, "everybody keeps a status"


def test_ascertain__a_smaller_study_is_part_of_a_larger(cohort):
    few, more, other = (
        phenotype(cohort, Phenotype(n_cases=n, n_controls=n, seed=s))["sample_is_ascertained"].values
        for n, s in ((20, 1), (50, 1), (50, 2))
    )
    assert (few <= more).all()
    assert (more != other).any()


def test_ascertain__draws_everybody_alike(cohort):
    # 100 draws of 80 of 200 cases: a case is drawn Binomial(100, 0.4) times, variance 24; sums over 200 of
    # squares / 24 are about chi2 of 199, and 5 standard deviations are allowed
    trait = phenotype(cohort)
    case = trait["sample_case"].values
    streams = (Root.from_seed(seed).stream("x") for seed in range(100))
    drawn = np.stack([ascertain(case, Sizes(n_cases=80), None, stream) for stream in streams])
    times = drawn.sum(axis=0)[case == 1]
    assert ((times - 40) ** 2 / 24).sum() == pytest.approx(len(times) - 1, abs=5 * np.sqrt(2 * len(times)))


def test_ascertain__by_group(labelled):
    params = Phenotype(n_cases=20, controls_per_case=1, ascertain_by_group=True)
    trait = phenotype(labelled, params)
    study, group = trait["sample_is_ascertained"].values, labelled["sample_ancestry"].values
    for name in ("EUR", "AFR", "EAS"):
        case = trait["sample_case"].values[study & (group == name)]
        assert (case == 1).sum() == (case == 0).sum() == 20
    assert not study[group == ""].any()


def test_ascertain__too_few_are_refused(cohort, labelled):
    with pytest.raises(DataError, match="300 cases are to be drawn, and there are 200"):
        phenotype(cohort, Phenotype(n_cases=300))
    with pytest.raises(DataError, match="without a control"):
        phenotype(cohort, Phenotype(n_cases=1, controls_per_case=0.4))
    with pytest.raises(DataError, match="in group AFR"):
        phenotype(labelled, Phenotype(n_cases=99, ascertain_by_group=True))
    with pytest.raises(DataError, match="no sample_ancestry"):
        phenotype(cohort, Phenotype(n_cases=9, ascertain_by_group=True))


RICH = Phenotype(
    traits=2, heritability=0.6, h2s=0.7, dominance=0.1, epistasis=0.1, n_pairs=20, delta=0.3, rho=0.2,
    covariates=(Covariate(name="age"), Covariate(name="place", kind="categorical")),
    prevalence_by_group={"EUR": 0.2}, status_by_trait=("threshold", "logit"), n_cases=50,
)  # fmt: skip


def test_phenotype__components_add_up_and_shares_are_kept(labelled):
    trait = phenotype(labelled, RICH)
    components = trait["sample_component"]
    assert components.dims == ("samples", "components", "traits")
    np.testing.assert_allclose(components.values.sum(axis=1), trait["sample_liability"], atol=1e-12)
    names = components["component_id"].values if "component_id" in components.coords else None
    names = trait["component_id"].values if names is None else names
    variance = components.values.var(axis=0)
    table = {
        (str(t), str(c)): v
        for t, c, v in zip(
            trait["share_trait"].values, trait["share_component"].values, trait["share_realised"].values,
            strict=True,
        )
    }  # fmt: skip
    for c, name in enumerate(names):
        for k, of in enumerate(trait["trait_id"].values):
            assert table[str(of), str(name)] == pytest.approx(variance[c, k], abs=1e-9)


def test_phenotype__covariates_act_as_they_say(labelled):
    trait = phenotype(labelled, RICH)
    assert trait["covariate_id"].values.tolist() == ["age", "place_2", "place_3"]
    names = trait["component_id"].values.tolist()
    part = sum(trait["sample_component"].values[:, i] for i, n in enumerate(names) if "covariates" in n)
    value = trait["sample_covariate"].values @ trait["covariate_effect"].values
    np.testing.assert_allclose(part, value - value.mean(axis=0), atol=1e-10)


def test_phenotype__a_rich_setting_is_json_and_has_the_same_bits(labelled):
    trait = phenotype(labelled, RICH)
    setting = trait.attrs["trait"]
    assert json.loads(json.dumps(setting, allow_nan=False)) == setting
    executor = execution.ThreadExecutor(3)
    with execution.use(executor):
        other = phenotype(helpers.rechunked(labelled, 100, 33), RICH)
    executor.close()
    assert other.identical(trait)


def test_relatives_trait__has_every_genetic_part(labelled):
    trait = phenotype(labelled, RICH)
    theirs = relatives_trait(labelled, trait)
    np.testing.assert_allclose(theirs["sample_genetic_value"], trait["sample_genetic_value"], atol=1e-9)
    noise = (theirs["sample_liability"] - theirs["sample_genetic_value"]).values
    wanted = trait["noise_covariance"].values[0]
    # covariances of 401 pairs of normals have standard errors below sqrt(2 / 401) of the variance
    np.testing.assert_allclose(np.cov(noise.T), wanted, atol=5 * np.sqrt(2 / 401) * wanted.max())
    rule = trait.attrs["trait"]["rules"][0]
    cut = np.where(labelled["sample_ancestry"].values == "EUR", rule["cut"]["EUR"], rule["cut"][""])
    assert (theirs["sample_case"].values[:, 0] == (theirs["sample_liability"].values[:, 0] >= cut)).all()
    # the logit's prevalence: 401 draws about the cohort's
    assert theirs["sample_case"].values[:, 1].mean() == pytest.approx(0.43, abs=0.15)


def test_relatives_trait__effects_by_group_want_groups(labelled):
    whole = select(labelled, samples=np.flatnonzero(labelled["sample_ancestry"].values != ""))
    params = Phenotype(heritability_by_group={"EUR": 0.2}, heritability=0.8, effect_correlation=0.5)
    trait = phenotype(whole, params)
    theirs = relatives_trait(whole, trait)
    np.testing.assert_allclose(theirs["sample_genetic_value"], trait["sample_genetic_value"], atol=1e-9)
    noise = (theirs["sample_liability"] - theirs["sample_genetic_value"]).values
    is_eur = whole["sample_ancestry"].values == "EUR"
    # standard deviations of 101 and 200 normals, five standard errors
    assert noise[is_eur].std() == pytest.approx(np.sqrt(0.8), rel=5 / np.sqrt(2 * 100))
    assert noise[~is_eur].std() == pytest.approx(np.sqrt(0.2), rel=5 / np.sqrt(2 * 200))
    with pytest.raises(DataError, match="group"):
        relatives_trait(whole.drop_vars("sample_ancestry"), trait)


def test_relatives_trait__is_transformed_as_the_cohorts(cohort):
    params = Phenotype(heritability=1.0, transform="exp", status="none")
    trait = phenotype(cohort, params)
    theirs = relatives_trait(cohort, trait)
    np.testing.assert_allclose(theirs["sample_liability"], trait["sample_liability"], atol=1e-9)
    assert "sample_case" not in theirs


def test_relatives_trait__survives_a_store(labelled, tmp_path):
    trait = phenotype(labelled, RICH)
    store.write(trait, tmp_path / "t.zarr", (500, 100), "x")
    again = relatives_trait(labelled, xr.open_zarr(tmp_path / "t.zarr", consolidated=False))
    assert again.identical(relatives_trait(labelled, trait))


def test_ascertain__does_not_see_the_noise_of_a_logit():
    # the difference of two means of 750 normals, five standard errors: one false alarm in 1.7 million
    rng = np.random.default_rng(9)
    ds = helpers.cohort(helpers.hardy_weinberg(rng.uniform(0.2, 0.8, 40), 3000, rng))
    trait = phenotype(ds, Phenotype(status="logit", n_cases=750))
    case, study = trait["sample_case"].values == 1, trait["sample_is_ascertained"].values
    liability = trait["sample_liability"].values
    difference = liability[case & study].mean() - liability[case & ~study].mean()
    assert abs(difference) < 5 * liability[case].std() * np.sqrt(2 / 750)
