"""Parameters of watermark SNPs."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from genoweave.parameters import Field, Parameters


class Watermark(Parameters):
    """How many watermark SNPs, and of which kind; the defaults of the paper's kind are the paper's."""

    n: int = Field(20, ge=1, le=1000, description="watermark SNPs")
    eps: float = Field(0.3, gt=0, lt=1, description="paper: share of subjects with genotype 2")
    z0: float = Field(0.49, gt=0, lt=1, description="paper: share of genotype 1 among the other subjects")
    kind: Literal["paper", "qc-proof"] = Field(
        "paper",
        description="construction of the genotypes: the paper's, which quality control removes, or qc-proof, "
        "which look like the cohort's own SNPs",
    )
    z_min: float = Field(4.0, ge=1, le=100, description="qc-proof: smallest |z| of an associated watermark")
    z_max: float = Field(8.0, ge=1, le=100, description="qc-proof: largest |z| of an associated watermark")
    nulls: float = Field(0.5, ge=0, le=1, description="qc-proof: share of watermarks without association")

    @model_validator(mode="after")
    def _check_range(self) -> Watermark:
        if self.z_max < self.z_min:
            raise ValueError(
                f"watermark z_max = {self.z_max:g} is below z_min = {self.z_min:g}; raise the first or lower "
                "the second"
            )
        return self


class HiddenWatermark(Watermark):
    """Watermarks of a cohort to send: by default those that quality control keeps."""

    kind: Literal["paper", "qc-proof"] = Field(
        "qc-proof",
        description="construction of the genotypes: qc-proof, which look like the cohort's own SNPs, or the "
        "paper's, which quality control removes; without --key the paper's",
    )
