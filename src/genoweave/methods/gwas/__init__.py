"""Genome-wide association: linear and logistic regression of traits on each variant, with covariates."""

from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.parameters import CODES, GWAS, METHODS
from genoweave.methods.gwas.run import Association, gwas
from genoweave.methods.gwas.samples import Groups, Trait, group_variants
from genoweave.methods.gwas.summary import clumps, lambda_gc, summary_row

__all__ = [
    "CODES",
    "GWAS",
    "METHODS",
    "Association",
    "Fits",
    "Groups",
    "Trait",
    "clumps",
    "group_variants",
    "gwas",
    "lambda_gc",
    "summary_row",
]
