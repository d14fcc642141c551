"""Traits with known truth."""

from genoweave.methods.phenotype.model import phenotype
from genoweave.methods.phenotype.parameters import PRESETS, Covariate, Phenotype
from genoweave.methods.phenotype.relatives import relatives_trait
from genoweave.methods.phenotype.truth import expected_association, expected_auc, observed_r2

__all__ = [
    "PRESETS",
    "Covariate",
    "Phenotype",
    "expected_association",
    "expected_auc",
    "observed_r2",
    "phenotype",
    "relatives_trait",
]
