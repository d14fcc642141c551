"""Parameters of an association run, and what its results are called."""

from __future__ import annotations

from typing import Literal

from genoweave.methods import linear
from genoweave.parameters import Field, Parameters

# The last is logistic regression's own.
CODES = (*linear.CODES, "not_converged")
METHODS = ("score", "wald", "firth", "linear")


class GWAS(Parameters):
    """Model, test, and what makes a locus."""

    model: Literal["auto", "linear", "logistic"] = Field(
        "auto", description="regression; auto is logistic for traits that are 0 or 1 (or PLINK's 1 and 2)"
    )
    test: Literal["score", "wald", "firth"] = Field(
        "score",
        description="test of case/control traits: score for all variants, and Wald, or Firth where that "
        "has no maximum, for those below refine_p; or Wald, or Firth, for all",
    )
    refine_p: float = Field(
        1e-3, ge=0, le=1, description="score tests with a p below this are made again by Wald or Firth"
    )
    pca: int = Field(
        0, ge=0, le=200, description="principal components of the cohort's autosomes, as further covariates"
    )
    max_vif: float = Field(
        50.0,
        gt=1,
        le=1e6,
        description="largest variance inflation factor of the variant on the covariates, and of a covariate "
        "on the others",
    )
    locus_p: float = Field(5e-8, gt=0, le=1, description="variants with a p up to this make loci")
    clump_r2: float = Field(
        0.1, gt=0, le=1, description="variants this much correlated with a locus's best one belong to it"
    )
    clump_kb: int = Field(250, ge=1, description="distance of a locus's variants from its best one (kb)")
