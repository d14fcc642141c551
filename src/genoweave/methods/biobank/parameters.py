"""Size and content of a simulated biobank."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import model_validator

from genoweave.errors import ConfigError
from genoweave.parameters import Field, Parameters

Share = Annotated[float, Field(gt=0, le=1)]

# The paper's, which add up to 0.999
SHARES: dict[str, float] = {
    "EUR": 0.513, "AFR": 0.255, "AMR": 0.186, "EAS": 0.027, "SAS": 0.014, "WAS": 0.004,
}  # fmt: skip


class BaldingNichols(Parameters):
    """Size of a simulated biobank, and what is planted in it."""

    n_samples: int = Field(10_000, ge=1, description="samples")
    n_variants: int = Field(20_000, ge=1, description="SNPs")
    group_shares: dict[str, Share] = Field(
        SHARES, min_length=1, description="ancestry groups and their shares of the samples, of any sum"
    )
    fst: float = Field(0.05, gt=0, lt=1, description="Fst of the groups")
    common_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of SNPs that are common, well called and in Hardy-Weinberg equilibrium in groups",
    )
    maf_limit: float = Field(
        0.01,
        gt=1e-4,
        lt=0.4,
        description="minor allele frequency between rare and common; either kind has density 1/f",
    )
    missing_rate: float = Field(0.005, ge=0, lt=0.02, description="mean share of missing calls")
    bad_sample_share: float = Field(0, ge=0, lt=1, description="share of samples with 9-19 % missing calls")
    bad_variant_share: float = Field(
        0, ge=0, le=1, description="share of SNPs that are common and lack 8-20 % of their calls"
    )
    hwe_failure_share: float = Field(
        0,
        ge=0,
        le=1,
        description="share of SNPs that are common and misread at 30 % of calls: half of them as "
        "heterozygote, half lose an allele of heterozygotes",
    )
    related_share: float = Field(
        0,
        ge=0,
        lt=0.45,
        description="share of samples to remove until none is related to another in the second degree",
    )
    duplicate_share: float = Field(0, ge=0, lt=0.4, description="share of samples that repeat another one")
    seed: int = Field(1, ge=0, lt=2**63, description="the number that all randomness hangs from")

    @model_validator(mode="after")
    def _check(self) -> BaldingNichols:
        shares = self.common_share + self.bad_variant_share + self.hwe_failure_share
        if shares > 1 + 1e-9:
            raise ConfigError(
                f"[BaldingNichols] common_share, bad_variant_share and hwe_failure_share add up to "
                f"{shares:g}; they are shares of all SNPs, and the rest is rare: lower one of them"
            )
        return self


# The paper's input: 245,394 x 202,959, of which about 184,712 x 7,180 pass quality control: 1,228 samples
# lack calls, 59,458 go as relatives or duplicates at a kinship of 0.0884. Fst is far below that of
# continents, so that the pooled Hardy-Weinberg test, which the paper made, leaves most of the SNPs: 5,803
# (PLINK 2). At an Fst of 0.1 it leaves a fortieth of 20,000 common ones.
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "n_samples": 245_394,
        "n_variants": 202_959,
        "fst": 0.01,
        "common_share": 7_180 / 202_959,
        "bad_sample_share": 0.005,
        "bad_variant_share": 0.005,
        "hwe_failure_share": 0.003,
        "related_share": 0.2403,
        "duplicate_share": 0.002,
    }
}
