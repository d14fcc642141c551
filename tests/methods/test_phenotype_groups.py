"""Traits whose effects, scales and shares differ between ancestry groups."""

import helpers
import numpy as np
import pytest
from reference import phenotype as reference

from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import select
from genoweave.methods.phenotype.genetic import GeneticModel, genetic_values_of
from genoweave.methods.phenotype.parameters import Phenotype
from genoweave.methods.phenotype.quantitative import quantitative


@pytest.fixture(scope="module")
def cohort():
    """402 people of 3 groups in turn, 1,200 variants, 3 % missing, 4 monomorphic."""
    rng = np.random.default_rng(6)
    dosage = helpers.hardy_weinberg(rng.uniform(0.05, 0.95, 1200), 402, rng)
    dosage[[3, 400, 800, 1199]] = np.array([0, 2, 0, 2])[:, None]
    return helpers.cohort(helpers.with_missing(dosage, 0.03, rng), ["AFR", "EAS", "EUR"] * 134)


def test_model__of_groups_wants_the_groups(cohort):
    found = quantitative(cohort, Phenotype(effect_correlation=0.5))
    with pytest.raises(DataError, match="differ between ancestry groups"):
        genetic_values_of(cohort, found.model)
    with pytest.raises(DataError, match="1200 variants"):
        genetic_values_of(select(cohort, np.arange(5)), found.model, found.group)
    with pytest.raises(DataError, match="no genetic model"):
        GeneticModel.from_dataset(cohort)


@pytest.mark.parametrize(
    ("distribution", "wanted"),
    [("normal", 0.6), ("uniform", 6 / np.pi * np.arcsin(0.3)), ("fixed", 2 / np.pi * np.arcsin(0.6))],
)
def test_groups__effects_correlate_as_asked(cohort, distribution, wanted):
    # A Gaussian copula: 0.6 for normal effects, less for others. 1,196 causal variants: Fisher's z has a
    # standard error of 0.029 (of fixed effects 0.036); five are allowed, nine pairs: one alarm in 190,000
    found = quantitative(cohort, Phenotype(causal_fraction=1, effect_correlation=0.6, effect=distribution))
    effects = [found.model.group_effect(k)[:, 0] for k in range(3)]
    acts = effects[0] != 0
    for i, j in ((0, 1), (0, 2), (1, 2)):
        z = np.arctanh(np.corrcoef(effects[i][acts], effects[j][acts])[0, 1])
        assert z == pytest.approx(np.arctanh(wanted), abs=5 * 0.036)


def test_groups__equal_effects_differ_in_scale_only(cohort):
    found = quantitative(cohort, Phenotype(heritability_by_group={"AFR": 0.3}, heritability=0.5))
    afr, eas, eur = (found.model.group_effect(k)[:, 0] for k in range(3))
    acts = afr != 0
    np.testing.assert_allclose(np.ptp(afr[acts] / eas[acts]), 0, atol=1e-12)
    np.testing.assert_allclose(found.model.effect[:, 0], (afr + eas + eur) / 3, atol=1e-12)


def test_groups__a_matrix_of_correlations(cohort):
    matrix = np.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]])
    found = quantitative(cohort, Phenotype(causal_fraction=1), effect_correlation=matrix)
    effects = np.stack([found.model.group_effect(k)[:, 0] for k in range(3)])
    # five standard errors of 0.029
    np.testing.assert_allclose(np.corrcoef(effects[:, effects[0] != 0]), matrix, atol=5 * 0.029)
    with pytest.raises(ConfigError, match="3 x 3 groups"):
        quantitative(cohort, Phenotype(), effect_correlation=np.eye(2))
    matrix[0, 1] = matrix[1, 0] = -0.99
    matrix[0, 2] = matrix[2, 0] = 0.9
    with pytest.raises(ConfigError, match="not positive definite"):
        quantitative(cohort, Phenotype(), effect_correlation=matrix)


def test_groups__must_be_there(cohort):
    with pytest.raises(DataError, match="heritability_by_group names OTHER"):
        quantitative(cohort, Phenotype(heritability_by_group="OTHER=0.3"))
    with pytest.raises(DataError, match="the cohort has none"):
        quantitative(cohort.drop_vars("sample_ancestry"), Phenotype(effect_correlation=0.5))
    unlabelled = cohort["sample_ancestry"].copy()
    unlabelled[:2] = ""
    with pytest.raises(DataError, match="<=20 have none"):
        quantitative(cohort.assign(sample_ancestry=unlabelled), Phenotype(effect_correlation=0.5))


def test_groups__each_sample_has_the_effects_of_its_own(cohort):
    found = quantitative(cohort, Phenotype(heritability=0.5, h2s=0.5, effect_correlation=0.2))
    x = reference.standardise(helpers.dosage_of(cohort))
    additive = found.components["additive"][:, 0]
    background = found.components["background"][:, 0]
    term = next(term for term in found.model.terms if term.name == "background")
    for k in range(3):
        rows = found.group == k
        for values, effects in ((additive, found.model.group_effect(k)), (background, term.scaled(k))):
            rest = values[rows] - x[rows] @ effects[:, 0]
            np.testing.assert_allclose(rest, rest[0], atol=1e-12)
            assert values[rows].var() == pytest.approx(0.25)
