"""How genotype files are read where a format leaves it open."""

from __future__ import annotations

from typing import Literal

from genoweave.parameters import Field, Parameters


class Reading(Parameters):
    """Where parts of a cohort lie, and rules for what its files leave open; ignored by other formats."""

    bim: str | None = Field(None, description="PLINK 1: the .bim, if it does not lie beside the .bed")
    fam: str | None = Field(None, description="PLINK 1: the .fam, if it does not lie beside the .bed")
    sample_file: str | None = Field(
        None, description="BGEN: the .sample, if the file holds no ids and it does not lie beside it"
    )
    multiallelic: Literal["refuse", "split"] = Field(
        "refuse", description="VCF: refuse records of several ALT alleles, or split them into one for each"
    )
    half_calls: Literal["missing", "reference", "haploid", "error", "keep"] = Field(
        "missing", description="VCF: what a call like 0/. becomes (PLINK 2 --vcf-half-call)"
    )
    haploid: Literal["double", "missing", "refuse"] = Field(
        "double", description="VCF: a call of one allele becomes homozygous, as in PLINK, or missing"
    )
    hard_call_threshold: float = Field(
        0.1, ge=0, lt=0.5,
        description="BGEN: a dosage farther than this from a whole number is missing "
        "(PLINK 2 --hard-call-threshold)",
    )  # fmt: skip
    dosages: bool = Field(
        False, description="BGEN, PGEN: keep the expected copies of the counted allele too, as call_dosage"
    )
    bgen_ref: Literal["first", "last"] = Field(
        "first", description="BGEN: which allele is the reference (PLINK 2 ref-first, ref-last)"
    )

    @property
    def beside(self) -> dict[str, str]:
        """The paths that are given, by field."""
        given = {"bim": self.bim, "fam": self.fam, "sample_file": self.sample_file}
        return {name: path for name, path in given.items() if path is not None}
