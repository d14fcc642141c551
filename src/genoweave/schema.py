"""Every variable that genoweave reads or writes: name, dimensions, kind, missing code, meaning.

The names are those of sgkit and VCF Zarr where these have one. `validate` checks a dataset before a
method relies on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from genoweave.errors import DataError


@dataclass(frozen=True)
class Variable:
    """One variable of the data model."""

    name: str
    dims: tuple[str, ...]
    kind: str
    missing: str
    meaning: str


_ALL = (
    Variable("call_genotype", ("variants", "samples", "ploidy"), "i", "-1",
             "allele codes of a call: 0 reference, 1 alternate"),
    Variable("call_genotype_phased", ("variants", "samples"), "b", "none",
             "whether the order of a call's alleles tells the haplotype"),
    Variable("call_dosage", ("variants", "samples"), "f", "NaN", "expected copies of the alternate allele"),
    Variable("variant_contig", ("variants",), "i", "none", "index into contig_id"),
    Variable("variant_position", ("variants",), "i", "none", "position in base pairs, from 1"),
    Variable("variant_genetic_position", ("variants",), "f", "NaN", "genetic position in centimorgans"),
    Variable("variant_id", ("variants",), "O", "'.'", "identifier"),
    Variable("variant_allele", ("variants", "alleles"), "O", "''",
             "reference, then the alternate (counted) allele"),
    Variable("contig_id", ("contigs",), "O", "none", "name of a chromosome"),
    Variable("sample_id", ("samples",), "O", "none", "identifier, unique"),
    Variable("sample_ancestry", ("samples",), "O", "''", "ancestry group of the user's table"),
    Variable("sample_family_id", ("samples",), "O", "'0'", "family of the .fam file"),
    Variable("sample_sex", ("samples",), "i", "0", "1 male, 2 female, 0 unknown"),
    Variable("sample_paternal_id", ("samples",), "O", "'0'",
             "father's sample_id; he need not be in the cohort"),
    Variable("sample_maternal_id", ("samples",), "O", "'0'",
             "mother's sample_id; she need not be in the cohort"),
    Variable("sample_phenotype", ("samples",), "f", "NaN",
             "phenotype of the .fam file; 1 control, 2 case where it is case/control"),
    Variable("sample_trait", ("samples", "traits"), "f", "NaN", "phenotypes of the user's table"),
    Variable("trait_id", ("traits",), "O", "none", "name of a phenotype"),
    Variable("sample_covariate", ("samples", "covariates"), "f", "NaN", "covariates of the user's table"),
    Variable("covariate_id", ("covariates",), "O", "none", "name of a covariate"),
    Variable("sample_case", ("samples",), "i", "-1", "1 case, 0 control"),
    Variable("sample_liability", ("samples",), "f", "NaN",
             "liability of the simulated trait, mean 0, variance 1; of several traits, this and what else "
             "a trait has gets a further dimension traits"),
    Variable("sample_genetic_value", ("samples",), "f", "NaN", "genetic part of the liability"),
    Variable("sample_is_ascertained", ("samples",), "b", "none",
             "whether a study of chosen cases and controls takes the sample"),
    Variable("sample_component", ("samples", "components"), "f", "NaN", "parts of a simulated liability"),
    Variable("component_id", ("components",), "O", "none", "name of a part of a simulated liability"),
    Variable("covariate_effect", ("covariates",), "f", "0", "effect of a simulated covariate, per unit"),
    Variable("sample_pca_projection", ("samples", "components"), "f", "NaN",
             "principal component scores, unit eigenvectors times singular values"),
    Variable("variant_pca_loading", ("variants", "components"), "f", "NaN",
             "unit loading of each variant"),
    Variable("variant_pca_frequency", ("variants",), "f", "NaN",
             "counted allele frequency p that the fit centred with; scale is sqrt(2p(1-p))"),
    Variable("pca_eigenvalue", ("components",), "f", "NaN",
             "eigenvalue of the relationship matrix (squared singular value / variants)"),
    Variable("variant_source_row", ("variants",), "i", "none",
             "row of the variant in the source, the address of its random draws"),
    Variable("sample_source_row", ("samples",), "i", "none", "row of the sample in the source"),
    Variable("variant_allele_frequency", ("variants",), "f", "NaN", "counted allele frequency"),
    Variable("variant_maf", ("variants",), "f", "NaN", "minor allele frequency"),
    Variable("variant_hwe_p_value", ("variants",), "f", "NaN",
             "exact Hardy-Weinberg p; within ancestry, the smallest over the groups"),
    Variable("variant_missing_rate", ("variants",), "f", "NaN", "share of samples without a call"),
    Variable("sample_missing_rate", ("samples",), "f", "NaN", "share of variants without a call"),
    Variable("variant_is_causal", ("variants",), "b", "none", "whether the variant acts on the trait"),
    Variable("variant_effect", ("variants",), "f", "0",
             "effect per standardised genotype on the liability"),
    Variable("variant_effect_per_allele", ("variants",), "f", "0",
             "effect per counted allele on the liability"),
    Variable("variant_dominance_effect", ("variants",), "f", "0",
             "effect per standardised deviation from additivity"),
    Variable("variant_interaction_effect", ("variants",), "f", "0",
             "effect per standardised genotype times standardised covariate"),
    Variable("variant_background_effect", ("variants",), "f", "0",
             "infinitesimal effect per standardised genotype"),
    Variable("pair_variant", ("pairs", "two"), "i", "none", "rows of two variants that interact"),
    Variable("pair_effect", ("pairs",), "f", "0", "effect of the product of two standardised genotypes"),
    Variable("share_trait", ("shares",), "O", "none", "trait of a share of variance"),
    Variable("share_group", ("shares",), "O", "''", "ancestry group of a share of variance"),
    Variable("share_component", ("shares",), "O", "none", "component of a share of variance"),
    Variable("share_asked", ("shares",), "f", "NaN", "variance of the component that was asked for"),
    Variable("share_realised", ("shares",), "f", "NaN", "variance of the component in the sample"),
    Variable("watermark_genotype", ("watermarks", "samples"), "i", "-1",
             "dosage of each watermark SNP"),
    Variable("sample_planted", ("samples",), "O", "''", "what a simulation planted in a sample"),
    Variable("variant_planted", ("variants",), "O", "''", "what a simulation planted in a variant"),
    Variable("watermark_id", ("watermarks",), "O", "none", "random identifier of a watermark SNP"),
    Variable("parent", ("samples", "parents"), "i", "-1", "columns of father and mother"),
)  # fmt: skip

VARIABLES = {variable.name: variable for variable in _ALL}


def validate(ds: xr.Dataset, *names: str) -> None:
    """Check that `ds` has the named variables with the dimensions and kind of the data model.

    Raises
    ------
    DataError
        Naming the variable, what was wanted and what was found.
    """
    for name in names:
        wanted = VARIABLES[name]
        if name not in ds:
            raise DataError(
                f"the dataset has no variable {name} ({wanted.meaning}); "
                f"open the cohort with genoweave.open or add it with dimensions {wanted.dims}"
            )
        found = ds[name]
        if found.dims != wanted.dims:
            raise DataError(f"{name} has dimensions {found.dims}, wanted {wanted.dims}")
        if wanted.kind in "ifb" and found.dtype.kind not in wanted.kind + "u" * (wanted.kind == "i"):
            raise DataError(f"{name} has type {found.dtype}, wanted kind '{wanted.kind}'")


def describe(ds: xr.Dataset) -> xr.Dataset:
    """Return `ds` with each known variable's meaning in its ``comment`` attribute."""
    for name in ds.variables:
        known = VARIABLES.get(str(name))
        if known is not None:
            ds[name].attrs["comment"] = known.meaning
    return ds
