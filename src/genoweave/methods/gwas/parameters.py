"""Parameters of an association run, and what its results are called."""

from __future__ import annotations

from typing import Literal

from genoweave.methods import linear
from genoweave.parameters import Field, Parameters

# The last is logistic regression's own.
CODES = (*linear.CODES, "not_converged")
METHODS = ("score", "wald", "firth", "linear", "lrt", "firth_lrt", "meta")


class GWAS(Parameters):
    """Model, test, and what makes a locus."""

    model: Literal["auto", "linear", "logistic", "mixed"] = Field(
        "auto",
        description="regression; auto is logistic for traits that are 0 or 1 (or PLINK's 1 and 2), else "
        "linear; mixed has a random effect of the samples' kinship",
    )
    test: Literal["score", "wald", "firth", "lrt"] = Field(
        "score",
        description="test of case/control traits: score for all variants, and Wald, or Firth where that "
        "has no maximum, for those below refine_p; or Wald, Firth, or the likelihood ratio, for all. Of "
        "mixed models: score, wald or lrt",
    )
    refine_p: float = Field(
        1e-3, ge=0, le=1, description="score tests with a p below this are made again by Wald or Firth"
    )
    coding: Literal["additive", "dominant", "recessive", "genotypic", "hethom"] = Field(
        "additive",
        description="genetic model: copies of the counted allele (0, 1, 2); carriers (0, 1, 1); homozygotes "
        "(0, 0, 1); or two together and a joint test: copies and heterozygotes (0, 1, 0), or homozygotes and "
        "heterozygotes",
    )
    missing: Literal["complete", "mean"] = Field(
        "complete",
        description="a sample without a call of the variant is left out for it (PLINK 2), or counts as the "
        "mean of those that have one (REGENIE, hail)",
    )
    kinship: Literal["centred", "standardised"] = Field(
        "centred", description="mixed: genotypes are centred, or divided by their standard deviation too"
    )
    loco: bool = Field(True, description="mixed: leave the tested variant's chromosome out of the kinship")
    by_ancestry: bool = Field(
        False, description="test each ancestry group by itself, and combine the groups' effects"
    )
    min_cases: int = Field(
        10,
        ge=1,
        description="by ancestry: groups with fewer cases or controls, or fewer than twice as many samples "
        "of a quantitative trait, are left out",
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
