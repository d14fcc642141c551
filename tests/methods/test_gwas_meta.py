"""Meta-analysis against statsmodels and direct formulas, and associations by ancestry."""

import helpers
import numpy as np
import pytest
from scipy.special import gammaln, log_ndtr, logsumexp
from scipy.stats import chi2
from statsmodels.stats.meta_analysis import combine_effects

from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import select
from genoweave.methods.gwas import (
    CODES,
    GWAS,
    Effects,
    Trait,
    combined,
    gwas,
    gwas_by_group,
    meta_analysis,
)
from genoweave.methods.gwas.fits import ARRAYS
from genoweave.methods.gwas.meta import chi_squared_log10_p


@pytest.fixture(scope="module")
def effects():
    """Four groups' effects of 40 variants; from the 20th on they differ."""
    rng = np.random.default_rng(1)
    se = rng.uniform(0.02, 0.2, (4, 40))
    beta = 0.3 + se * rng.normal(size=(4, 40))
    beta[:, 20:] += rng.normal(0, 0.4, (4, 20))
    return beta, se


def test_meta__equals_statsmodels(effects):
    beta, se = effects
    table = meta_analysis([Effects(b, s) for b, s in zip(beta, se, strict=True)], random=True)
    assert (table["STUDIES"] == 4).all()
    assert (table["TAU2"] > 0).sum() > 15
    for v, row in table.iterrows():
        with np.errstate(invalid="ignore"):  # theirs lets the variance between groups be negative
            theirs = combine_effects(beta[:, v], se[:, v] ** 2, method_re="dl")
        assert row["BETA"] == pytest.approx(theirs.mean_effect_fe, rel=1e-12)
        assert row["SE"] == pytest.approx(theirs.sd_eff_w_fe, rel=1e-12)
        assert row["HET_Q"] == pytest.approx(theirs.q, rel=1e-9)
        assert row["HET_I2"] == pytest.approx(max(theirs.i2, 0), abs=1e-9)
        assert row["HET_LOG10_P"] == pytest.approx(-chi2.logsf(theirs.q, 3) / np.log(10), rel=1e-9)
        if theirs.tau2 > 0:
            assert row["TAU2"] == pytest.approx(theirs.tau2, rel=1e-9)
            assert row["BETA_RANDOM"] == pytest.approx(theirs.mean_effect_re, rel=1e-9)
            assert row["SE_RANDOM"] == pytest.approx(theirs.sd_eff_w_re, rel=1e-9)
        else:
            assert row["BETA_RANDOM"] == row["BETA"]
        assert row["DIRECTION"] == "".join("+" if b > 0 else "-" for b in beta[:, v])


def test_meta__leaves_out_groups_without_a_result(effects):
    beta, se = (array.copy() for array in effects)
    beta[1, 0] = np.nan
    se[2, 0] = 0
    beta[:3, 1] = np.nan
    beta[:, 2] = np.nan
    beta[0, 3] = 0
    beta[3, 1] = -0.5
    n = np.array([100, 200, 300, 400])
    frequency = np.linspace(0.1, 0.4, 4)
    groups = [Effects(beta[k], se[k], np.full(40, frequency[k]), np.full(40, n[k])) for k in range(4)]
    table = meta_analysis(groups, random=True)
    assert table["STUDIES"][:4].tolist() == [2, 1, 0, 4]
    assert table["DIRECTION"][:3].tolist() == ["+??+", "???-", "????"]
    assert table["DIRECTION"][3][0] == "0"
    assert table["OBS_CT"][:4].tolist() == [500, 400, 0, 1000]
    assert table["A1_FREQ"][0] == pytest.approx((0.1 * 100 + 0.4 * 400) / 500)
    one = table.loc[1]
    assert (one["BETA"], one["SE"]) == (beta[3, 1], pytest.approx(se[3, 1]))
    assert np.isnan(one[["HET_Q", "HET_LOG10_P", "HET_I2"]].astype(float)).all()
    assert one["BETA_RANDOM"] == pytest.approx(one["BETA"])
    nothing = table.loc[2, ["BETA", "SE", "Z_STAT", "LOG10_P", "A1_FREQ", "BETA_RANDOM", "TAU2"]]
    assert np.isnan(nothing.astype(float)).all()


def test_meta__p_does_not_underflow():
    strong = Effects(np.array([80.0]), np.array([1.0]))
    other = Effects(np.array([-80.0]), np.array([1.0]))
    table = meta_analysis([strong, strong])
    z = 80 * np.sqrt(2)
    # the leading terms of the normal tail
    tail = z**2 / 2 / np.log(10) - np.log10(2 / (z * np.sqrt(2 * np.pi)) * (1 - 1 / z**2))
    assert table["LOG10_P"][0] == pytest.approx(tail, rel=1e-9)
    table = meta_analysis([strong, strong, other])
    assert table["HET_LOG10_P"][0] == pytest.approx(table["HET_Q"][0] / 2 / np.log(10))
    assert table["HET_LOG10_P"][0] > 1500


def tail_of(x, df):
    """log10 of chi-squared's tail by its finite sum over half the degrees of freedom, in logarithms."""
    h = x / 2
    first = df % 2 / 2
    terms = [np.log(2) + log_ndtr(-np.sqrt(x))] if df % 2 else []
    with np.errstate(divide="ignore"):
        terms += [-h + a * np.log(h) - gammaln(a + 1) if a else -h for a in np.arange(first, df / 2)]
    return logsumexp(terms) / np.log(10)


@pytest.mark.parametrize("df", [1, 2, 3, 7, 40])
def test_chi_squared__tail_is_exact_at_any_size(df):
    x = np.array([0.0, 1.0, 50.0, 1200.0, 1300.0, 1400.0, 20_000.0])
    ours = chi_squared_log10_p(x, np.full(len(x), df))
    np.testing.assert_allclose(ours, [tail_of(v, df) for v in x], rtol=1e-10, atol=1e-12)


def test_meta__says_what_is_wrong(effects):
    with pytest.raises(DataError, match="at least one group"):
        meta_analysis([])
    one = Effects(effects[0][0], effects[1][0])
    with pytest.raises(DataError, match="found 39 and 40"):
        meta_analysis([one, Effects(one.beta[1:], one.se[1:])])


@pytest.fixture(scope="module")
def groups():
    """Three groups of 300 of which the third has few cases, drifted apart; traits, covariates."""
    ds = helpers.balding_nichols(3, 300, 120, seed=6)
    dosage = helpers.dosage_of(ds).clip(0)
    rng = np.random.default_rng(2)
    group = np.arange(900) % 3
    varied = int(np.argmin(np.abs(dosage.mean(axis=1) - 1)))
    liability = 0.8 * dosage[varied] + 2.0 * group + rng.normal(size=900)
    case = (rng.random(900) < 0.4).astype(float)
    case[group == 2] = 0
    case[np.flatnonzero(group == 2)[:4]] = 1
    covariates = np.column_stack([rng.normal(size=900), np.where(group == 1, 7.0, rng.normal(size=900))])
    traits = [Trait("q", liability, is_binary=False), Trait("d", case, is_binary=True)]
    return ds, traits, covariates, group, varied


def test_by_group__is_each_groups_own_association(groups):
    ds, traits, covariates, group, _ = groups
    found = gwas_by_group(ds, traits, covariates, names=["age", "site"])
    assert list(found.found["q"]) == ["group0", "group1", "group2"]
    assert list(found.found["d"]) == ["group0", "group1"]
    assert "group2: d is left out, with <=20 cases and 296 controls; min_cases is 10" in found.messages
    assert "group1: site is constant, and is no covariate of q" in found.messages
    assert len(found.messages) == 3
    as_number = [Trait(trait.name, trait.values, is_binary=False) for trait in traits]
    mixed = gwas_by_group(ds, as_number, covariates, GWAS(model="mixed", loco=False), names=["age", "site"])
    assert list(mixed.found["d"]) == ["group0", "group1"]
    for k, columns in ((0, [0, 1]), (1, [0])):
        rows = np.flatnonzero(group == k)
        part = select(ds, samples=rows)
        for trait in traits:
            own = Trait(trait.name, trait.values[rows], trait.is_binary)
            alone = gwas(part, [own], covariates[np.ix_(rows, columns)])[0].fits
            for array in ARRAYS:
                np.testing.assert_allclose(
                    getattr(found.found[trait.name][f"group{k}"].fits, array),
                    getattr(alone, array),
                    rtol=1e-9,
                )


def test_by_group__is_free_of_what_confounds_the_pooled_cohort(groups):
    """The third group's mean is 4 standard deviations higher: pooled, all that drifted is associated."""
    ds, traits, covariates, _, varied = groups
    pooled = gwas(ds, traits[:1], covariates)[0].fits
    by_group = gwas_by_group(ds, traits[:1], covariates).found["q"]
    association, table = combined(by_group, random=True)
    others = np.delete(np.arange(len(table)), varied)
    assert (pooled.log10_p[others] < -6).mean() > 0.3
    # 119 tests: one below 1e-6 in 8,000 seeds
    assert not (table["LOG10_P"][others] > 6).any()
    assert table["LOG10_P"][varied] > 20
    assert table["BETA"][varied] == pytest.approx(0.8, abs=5 * table["SE"][varied])
    assert association.n_samples == sum(one.n_samples for one in by_group.values())
    np.testing.assert_array_equal(association.fits.beta, table["BETA"])
    np.testing.assert_array_equal(association.fits.log10_p, -table["LOG10_P"])


def test_by_group__one_trait_that_is_refused_does_not_lose_the_others(groups):
    ds, traits, covariates, group, _ = groups
    constant = Trait("c", np.where(group == 0, 3.0, traits[0].values), is_binary=False)
    found = gwas_by_group(ds, [traits[0], constant], covariates)
    assert list(found.found["c"]) == ["group1", "group2"]
    assert list(found.found["q"]) == ["group0", "group1", "group2"]
    assert any(text.startswith("group0: c is left out: trait c is constant") for text in found.messages)


def test_combined__a_variant_without_a_result_has_a_code(groups):
    """Also where the first group has not tested it: X, of a group whose sex is not known."""
    ds, traits, covariates, group, _ = groups
    sex = np.where(group == 0, 0, 1 + np.arange(900) // 3 % 2).astype(np.int8)
    dosage = helpers.dosage_of(ds)
    dosage[100:] = 2 * (dosage[100:] > 0)
    dosage[110] = 0
    with_x = helpers.cohort(dosage, contigs=("1", "X"), contig=(np.arange(120) >= 100).astype(int)).assign(
        sample_sex=("samples", sex), sample_ancestry=ds["sample_ancestry"]
    )
    found = gwas_by_group(with_x, traits[:1], covariates).found["q"]
    assert len(found["group0"].fits) == 100
    fits = combined(found)[0].fits
    assert (np.isfinite(fits.log10_p) == (fits.code == 0)).all()
    assert CODES[fits.code[110]] == "constant"


def test_by_group__says_what_is_wrong(groups):
    ds, traits, covariates, _, _ = groups
    with pytest.raises(ConfigError, match="one effect"):
        gwas_by_group(ds, traits, covariates, GWAS(coding="genotypic"))
    with pytest.raises(DataError, match="a label of each sample"):
        gwas_by_group(ds.drop_vars("sample_ancestry"), traits)
    with pytest.raises(DataError, match="no ancestry group can be tested: group0: d is left out"):
        gwas_by_group(ds, traits[1:], covariates, GWAS(min_cases=1000))
