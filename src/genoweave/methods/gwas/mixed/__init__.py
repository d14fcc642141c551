"""Exact linear mixed model of a trait: a variant and covariates fixed, the samples' kinship random [1].

y = W a + x b + g + e, g ~ N(0, lambda tau^-1 K), e ~ N(0, tau^-1 I), lambda fitted again for each variant.
One eigendecomposition of K, free of the covariates, makes the samples independent (`spectrum`); genotypes
are then rotated block by block (`variants`). `model` leaves out each chromosome in turn.

[1] Zhou and Stephens 2012, Nat. Genet. 44:821 (GEMMA).
"""

from genoweave.methods.gwas.mixed.model import check_options, fit_mixed

__all__ = ["check_options", "fit_mixed"]
