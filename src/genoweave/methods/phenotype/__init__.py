"""Traits with known truth."""

from genoweave.methods.phenotype.model import Phenotype, phenotype, relatives_trait

__all__ = ["Phenotype", "phenotype", "relatives_trait"]
