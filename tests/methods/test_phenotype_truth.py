"""What a GWAS of a simulated trait should find is what it finds."""

import helpers
import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from genoweave import execution
from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.io.plink import open_plink
from genoweave.methods.gwas import GWAS, Trait, gwas
from genoweave.methods.pca import PCA, pca
from genoweave.methods.phenotype import (
    Covariate,
    Phenotype,
    expected_association,
    expected_auc,
    observed_r2,
    phenotype,
)
from genoweave.methods.qc import qc

APART = 2_000_000  # base pairs between variants that are no neighbours


@pytest.fixture(scope="module")
def unlinked():
    """4,000 people, 500 variants."""
    rng = np.random.default_rng(1)
    dosage = helpers.hardy_weinberg(rng.uniform(0.05, 0.95, 500), 4000, rng)
    return helpers.cohort(dosage, position=APART * np.arange(500))


@pytest.fixture(scope="module")
def groups():
    """3 groups x 1,300 people that drifted apart by Fst 0.1, 500 variants, 1 % missing."""
    ds = helpers.balding_nichols(3, 1300, 500, monomorphic=0)
    return ds.assign(variant_position=("variants", (APART * np.arange(500)).astype(np.int32)))


@pytest.fixture(scope="module")
def linked():
    """3,000 people, 40 blocks of 10 variants that copy each other with errors."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.2, 0.8, 40)
    haplotype = rng.random((2, 40, 10, 3000)) < p[:, None, None]
    founder = haplotype[:, :, :1]
    copied = np.where(rng.random(haplotype.shape) < 0.7, founder, haplotype)
    dosage = copied.sum(axis=0).reshape(400, 3000).astype(np.int8)
    position = (10 * APART * np.arange(40)[:, None] + 5000 * np.arange(10)).ravel()
    return helpers.cohort(dosage, position=position)


def adjustment_of(ds, trait, adjust):
    """Covariates of the GWAS: groups, the trait's own, and what stratifies it."""
    columns = [(ds["sample_ancestry"].values == name).astype(float) for name in adjust]
    if "sample_covariate" in trait:
        columns += list(trait["sample_covariate"].values.T)
    names = trait["component_id"].values.tolist()
    if "stratification" in names:
        columns.append(trait["sample_component"].values[:, names.index("stratification")])
    return np.column_stack(columns) if columns else None


def study_of(ds, params, seeds, adjust=()):
    """Return expected and found z of all causal variants, and expected and found betas, over some seeds.

    Case/control traits by the score test, adjusted for the groups `adjust` and the trait's covariates.
    """
    rows = []
    for seed in range(seeds):
        trait = phenotype(ds, params.model_copy(update={"seed": seed}))
        truth = expected_association(ds, trait)
        values = trait["sample_liability"].values
        if "sample_case" in trait:
            in_study = trait["sample_is_ascertained"].values
            values = np.where(in_study, trait["sample_case"].values, np.nan)
        covariates = adjustment_of(ds, trait, adjust)
        fits = gwas(ds, [Trait.of("t", values)], covariates, GWAS(refine_p=0))[0].fits
        found = truth["variant"].to_numpy()
        rows.append(np.stack([truth["z"], fits.statistic[found], truth["beta"], fits.beta[found]]))
    return np.concatenate(rows, axis=1)


HALF = {"causal_fraction": 0.2, "heritability": 0.5}
AGE = Covariate(name="age"), Covariate(name="place", kind="categorical")
SETTINGS = {
    "the paper's": Phenotype(causal_fraction=0.2),
    "quantitative": Phenotype(status="none", **HALF),
    "controls for cases": Phenotype(prevalence=0.1, controls_per_case=1, **HALF),
    "logit": Phenotype(prevalence=0.3, status="logit", **HALF),
    "steep logit, drawn": Phenotype(prevalence=0.1, status="logit", logit_slope=5, n_controls=400, **HALF),
    "quantitative, covariates": Phenotype(status="none", delta=0.5, covariates=AGE, **HALF),
    "covariates": Phenotype(delta=0.5, covariates=AGE, **HALF),
    "infinitesimal, dominance": Phenotype(
        causal_fraction=0.2, heritability=0.8, h2s=0.6, dominance=0.3, status="none"
    ),
}


def check(expected, found):
    """Assert that mean chi2 - 1 is as expected and that z is expected z plus a standard normal.

    chi2 has variance 2 + 4 ncp. With five standard errors of three figures, one false alarm in 580,000 of
    exact expectations; these are of first order, for which 3 % are added.
    """
    n, ncp = len(expected), expected**2
    error = np.sqrt((2 + 4 * ncp).sum()) / n
    assert (found**2 - 1).mean() == pytest.approx(ncp.mean(), abs=5 * error + 0.03 * ncp.mean())
    residual = found - expected
    assert abs(residual.mean()) < 5 / np.sqrt(n)
    assert residual.std() == pytest.approx(1, abs=5 / np.sqrt(2 * n) + 0.03)


@pytest.mark.parametrize("setting", list(SETTINGS))
def test_expected__a_gwas_finds_z_and_beta(unlinked, setting):
    z, found, beta, estimate = study_of(unlinked, SETTINGS[setting], seeds=4)
    assert len(z) == 400
    check(z, found)
    # weighted by precision: the standard error of the slope is 1 / sqrt(sum z^2), five are allowed
    slope = (found * z).sum() / (z**2).sum()
    assert slope == pytest.approx(1, abs=5 / np.sqrt((z**2).sum()) + 0.03)
    assert np.corrcoef(beta, estimate)[0, 1] > 0.7


BY_GROUP = {
    "the paper's": Phenotype(causal_fraction=0.2),
    "prevalence by group": Phenotype(
        prevalence_by_group={"group0": 0.05, "group1": 0.3}, n_controls=1500, **HALF
    ),
    "drawn by group": Phenotype(
        prevalence_by_group={"group0": 0.2}, n_cases=120, n_controls=300, ascertain_by_group=True, **HALF
    ),
    "stratified": Phenotype(status="none", stratification=0.6, stratification_components=12, **HALF),
    "effects by group": Phenotype(
        status="none", effect_correlation=0.3, heritability_by_group={"group0": 0.8}, **HALF
    ),
}


@pytest.mark.parametrize("setting", list(BY_GROUP))
def test_expected__holds_within_ancestry_groups(groups, setting):
    z, found, _, _ = study_of(groups, BY_GROUP[setting], seeds=4, adjust=("group1", "group2"))
    check(z, found)


def test_expected__counts_causal_neighbours(linked):
    params = Phenotype(causal_fraction=0.3, heritability=0.6, status="none")
    z, found, beta, _ = study_of(linked, params, seeds=4)
    check(z, found)
    own = np.concatenate(
        [
            trait["variant_effect_per_allele"].values[trait["variant_is_causal"].values]
            for trait in (phenotype(linked, params.model_copy(update={"seed": s})) for s in range(4))
        ]
    )
    assert np.abs(own - beta).max() > 0.1, "the marginal effect is not the causal one"


def test_expected__the_papers_mean_chi2_is_24():
    # 718 causal variants, 30,000 people: 30,000 x 0.573 / 718 = 23.9. The sum of squared effects is met
    # exactly and only allele counts vary, so that the expectation is within 1 %; the mean chi2 has a standard
    # error of 0.37, and five are allowed: one false alarm in 1.7 million
    rng = np.random.default_rng(1)
    dosage = helpers.hardy_weinberg(rng.uniform(0.05, 0.95, 718), 30_000, rng)
    ds = helpers.cohort(dosage, position=APART * np.arange(718))
    trait = phenotype(ds, Phenotype(causal_fraction=1.0))
    truth = expected_association(ds, trait)
    assert truth["ncp"].mean() == pytest.approx(24.0, rel=0.01)
    fits = gwas(ds, [Trait.of("t", trait["sample_case"].values)], None, GWAS(refine_p=0))[0].fits
    assert (fits.statistic**2).mean() - 1 == pytest.approx(24.0, abs=5 * 0.37)
    hits = (fits.log10_p < np.log10(5e-8)).sum()
    assert hits == pytest.approx(
        truth["power"].sum(), abs=5 * np.sqrt((truth["power"] * (1 - truth["power"])).sum())
    )


def test_expected__equals_the_published_transformation(unlinked):
    # Lee et al. 2011: r2 = r2_liability phi(t)^2 P (1 - P) / (K (1 - K))^2, P the share of cases in the study
    params = Phenotype(causal_fraction=0.02, heritability=0.2, prevalence=0.1, n_controls=600)
    trait = phenotype(unlinked, params)
    truth = expected_association(unlinked, trait)
    rows = truth["variant"].to_numpy()
    dosage = helpers.dosage_of(unlinked)[rows].astype(float)
    p, k = 0.4, 0.1
    liability_r2 = (trait["variant_effect_per_allele"].values[rows] * dosage.std(axis=1)) ** 2
    factor = norm.pdf(ndtri(1 - k)) ** 2 * p * (1 - p) / (k * (1 - k)) ** 2
    assert (truth["n"] == 1000).all()
    # the realised threshold is that of 4,000 people: Phi^-1(0.9) to about 0.03
    np.testing.assert_allclose(truth["r2"], liability_r2 * factor, rtol=0.1)
    np.testing.assert_allclose(truth["ncp"], 1000 * truth["r2"], rtol=1e-12)
    np.testing.assert_allclose(truth["beta"] / truth["se"], truth["z"], rtol=1e-12)


def test_expected__power_is_that_of_a_normal(unlinked):
    truth = expected_association(unlinked, phenotype(unlinked, SETTINGS["quantitative"]), alpha=1e-4)
    limit = norm.isf(0.5e-4)
    wanted = norm.sf(limit - truth["z"]) + norm.cdf(-limit - truth["z"])
    np.testing.assert_allclose(truth["power"], wanted, atol=1e-12)
    assert truth["power"].between(1e-4, 1).all()


def test_expected__a_transformed_trait_has_none(unlinked):
    trait = phenotype(unlinked, Phenotype(status="none", transform="exp", **HALF))
    truth = expected_association(unlinked, trait)
    assert truth[["z", "ncp", "power", "beta"]].isna().all().all()


def test_expected__a_variant_that_explains_all_has_none(unlinked):
    # a regression refuses a perfect fit
    truth = expected_association(
        unlinked, phenotype(unlinked, Phenotype(status="none", n_causal=1, heritability=1))
    )
    assert truth[["z", "ncp", "power", "se"]].isna().all().all()


def test_expected__no_causal_variant(unlinked):
    trait = phenotype(unlinked, Phenotype(h2s=0.0))
    assert len(expected_association(unlinked, trait)) == 0


@pytest.mark.parametrize("chunks", [(500, 3900), (64, 1000), (7, 3900)])
def test_expected__the_same_bits_for_any_chunks_and_workers(groups, chunks):
    trait = phenotype(groups, Phenotype(causal_fraction=0.3))
    executor = execution.ThreadExecutor(3)
    with execution.use(executor):
        other = expected_association(helpers.rechunked(groups, *chunks), trait)
    executor.close()
    assert other.equals(expected_association(groups, trait))


def test_expected__another_cohort_is_refused(unlinked):
    trait = phenotype(unlinked, Phenotype())
    with pytest.raises(DataError, match="4000 samples and the cohort 30"):
        expected_association(select(unlinked, samples=np.arange(30)), trait)


def test_observed_r2__known_answers():
    assert observed_r2(0.9, 0.5) == pytest.approx(0.573, abs=5e-4)
    assert observed_r2(0.5, 0.01) == pytest.approx(0.5 * norm.pdf(norm.isf(0.01)) ** 2 / 0.0099, rel=1e-12)
    assert observed_r2(0.0, 0.3) == 0


def test_expected_auc__known_answers():
    assert expected_auc(0.9, 0.5) == pytest.approx(0.968, abs=5e-4)
    assert expected_auc(0.0, 0.2) == pytest.approx(0.5, abs=1e-9)
    assert expected_auc(1.0, 0.2) == 1


@pytest.mark.parametrize(("heritability", "prevalence"), [(0.5, 0.01), (0.3, 0.2), (0.9, 0.05)])
def test_observed_r2_and_auc__hold_by_simulation(heritability, prevalence):
    # 400,000 people: r2 has a standard error below 0.003, the AUC below 0.005 (4,000 cases)
    rng = np.random.default_rng(8)
    genetic = np.sqrt(heritability) * rng.normal(size=400_000)
    case = genetic + np.sqrt(1 - heritability) * rng.normal(size=400_000) > norm.isf(prevalence)
    assert np.corrcoef(genetic, case)[0, 1] ** 2 == pytest.approx(
        observed_r2(heritability, prevalence), abs=0.015
    )
    rank = np.argsort(np.argsort(genetic))
    n1 = case.sum()
    auc = (rank[case].sum() - n1 * (n1 - 1) / 2) / (n1 * (len(case) - n1))
    assert auc == pytest.approx(expected_auc(heritability, prevalence), abs=0.025)


@pytest.mark.real_data
def test_expected__holds_with_linkage_of_real_genotypes(real_data):
    # 1,092 people of 14 populations, 1,385 causal variants: five standard errors of the deviation are 0.1;
    # correlated variants make them a little larger
    ds = qc(open_plink(real_data / "kgp1" / "kgp1"))
    components = pca(ds, PCA(n_components=5))["sample_pca_projection"].values
    trait = phenotype(ds, Phenotype(status="none", heritability=0.5))
    truth = expected_association(ds, trait)
    found = gwas(ds, [Trait.of("t", trait["sample_liability"].values)], components, GWAS())[0].fits
    residual = found.statistic[truth["variant"]] - truth["z"]
    assert abs(np.nanmean(residual)) < 0.15
    assert np.nanstd(residual) == pytest.approx(1, abs=0.1)
