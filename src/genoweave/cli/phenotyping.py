"""The command that simulates traits."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from genoweave.cli.options import Common, arguments, option
from genoweave.cli.shared import COHORT, OUT, beside
from genoweave.cohorts import open_cohort
from genoweave.io.phenotype_files import STYLES, write_phenotypes, write_truth
from genoweave.io.release import write_tsv
from genoweave.methods.phenotype import Phenotype
from genoweave.methods.phenotype import phenotype as simulate_trait


@arguments(
    COHORT,
    OUT,
    option("--style", type=click.Choice(STYLES), default="plink2", show_default=True,
           help="who is to read OUT.pheno"),
    flags=(Phenotype,),
)  # fmt: skip
def phenotype(cohort: str, out: Path, style: str, common: Common) -> None:
    """Simulate a case/control trait: OUT.pheno for a GWAS; OUT.pheno.tsv, OUT.truth.tsv and .parquet."""
    params = common.parameters(Phenotype, "phenotype")
    ds = open_cohort(cohort)
    with common.work("phenotype"):
        trait = simulate_trait(ds, params)
    samples = {"#IID": trait["sample_id"].values, "case": trait["sample_case"].values,
               "liability": trait["sample_liability"].values,
               "genetic_value": trait["sample_genetic_value"].values}  # fmt: skip
    write_tsv(pd.DataFrame(samples), beside(out, ".pheno.tsv"))
    causal = trait["variant_is_causal"].values
    truth = {"ID": ds["variant_id"].values, "A1": ds["variant_allele"].values[:, 1],
             "A1_FREQ": trait["variant_allele_frequency"].values, "EFFECT": trait["variant_effect"].values,
             "EFFECT_PER_ALLELE": trait["variant_effect_per_allele"].values}  # fmt: skip
    for ending in (".truth.tsv", ".truth.parquet"):
        write_truth(pd.DataFrame(truth)[causal], beside(out, ending))
    write_phenotypes(
        ds.assign(sample_case=trait["sample_case"]), beside(out, ".pheno"), style, ["sample_case"]
    )
    common.say(f"wrote {out}.pheno, {out}.pheno.tsv, {out}.truth.tsv and {out}.truth.parquet")
