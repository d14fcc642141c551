"""Genome-wide association: linear and logistic regression of traits on each variant, with covariates."""

from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.groups import ByGroup, ancestry_groups, combined, gwas_by_group
from genoweave.methods.gwas.meta import Effects, meta_analysis
from genoweave.methods.gwas.parameters import CODES, GWAS, METHODS
from genoweave.methods.gwas.run import Association, gwas, tests_x
from genoweave.methods.gwas.samples import Groups, Trait, group_variants
from genoweave.methods.gwas.summary import clumps, lambda_gc, summary_row, variant_names

__all__ = [
    "CODES",
    "GWAS",
    "METHODS",
    "Association",
    "ByGroup",
    "Effects",
    "Fits",
    "Groups",
    "Trait",
    "ancestry_groups",
    "clumps",
    "combined",
    "group_variants",
    "gwas",
    "gwas_by_group",
    "lambda_gc",
    "meta_analysis",
    "summary_row",
    "tests_x",
    "variant_names",
]
