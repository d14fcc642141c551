"""Commands that make synthetic samples, traits, watermarks and relatives, and judge them."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd
import xarray as xr

from genoweave import api
from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN, KEY, OUT, PHENO, beside, key_of, open_labelled
from genoweave.cohorts import open_cohort, save
from genoweave.errors import DataError
from genoweave.io.files import make_folder
from genoweave.io.phenotype_files import STYLES, write_phenotypes, write_truth
from genoweave.io.release import write_tsv
from genoweave.io.tables import case_control, match_ids, read_phenotypes
from genoweave.methods.evaluation import Evaluation
from genoweave.methods.phenotype import Phenotype
from genoweave.methods.phenotype import phenotype as simulate_trait
from genoweave.methods.relatives import Relatives, related_pairs
from genoweave.methods.synthesis import Synthesis
from genoweave.methods.synthesis import synthesize as make_synthetic
from genoweave.methods.watermark import Watermark


@arguments(COHORT, OUT, ANCESTRY, COLUMN, KEY, flags=(Synthesis,))
def synthesize(
    cohort: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Make synthetic samples of every ancestry group of COHORT (after quality control)."""
    params = common.parameters(Synthesis, "synthesis")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    with common.work("synthesize"):
        made = make_synthetic(ds, params, key=key_of(noise_key))
        save(made, out)
    common.say(f"wrote {made.sizes['samples']} synthetic samples to {out}; privacy guarantee: none")


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


def _read_status(path: Path, ds: xr.Dataset) -> np.ndarray:
    """Return the status of each sample, 0 or 1, of the first phenotype of a table."""
    table = read_phenotypes(path)
    index, _ = match_ids(ds, table, path, "a status")
    values = table.drop(columns="FID", errors="ignore").iloc[:, 0].to_numpy()
    is_zero_one = values.dtype.kind == "f" and not (values == 2).any()
    status = np.where(index >= 0, case_control(values, zero_one=is_zero_one)[index], -1).astype(np.int8)
    wrong = np.flatnonzero(status < 0)
    if len(wrong):
        raise DataError(
            f"{path}: {len(wrong)} of {len(index)} samples have no status (first: sample number "
            f"{wrong[0] + 1} of the cohort); wanted 0 or 1, or 1 control and 2 case as in PLINK"
        )
    return status


@arguments(COHORT, PHENO, OUT, KEY, flags=(Watermark,))
def watermark(cohort: str, pheno: Path, out: Path, noise_key: Path | None, common: Common) -> None:
    """Make watermark SNPs for a trait: OUT (Zarr) and OUT.tests.tsv."""
    params = common.parameters(Watermark, "watermark")
    ds = open_cohort(cohort)
    case = _read_status(pheno, ds)
    marks, tests = api.watermark(ds, case, params, key=key_of(noise_key))
    save(marks.assign(sample_id=("samples", ds["sample_id"].values)), out)
    write_tsv(tests, beside(out, ".tests.tsv"))
    common.say(f"wrote {len(tests)} watermark SNPs to {out}; joint fit: {tests.attrs['joint_fit']}")


@arguments(COHORT, OUT, ANCESTRY, COLUMN, KEY, flags=(Relatives,))
def relatives(
    cohort: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Make relatives of founders in COHORT: OUT, OUT.pedigree.tsv and OUT.related_pairs.tsv."""
    params = common.parameters(Relatives, "relatives")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    with common.work("relatives"):
        made, pedigree = api.relatives(ds, params, key=key_of(noise_key))
        save(made, out)
    table = pedigree.table
    ids = np.append(table["sample_id"].to_numpy(), "0")
    people_table = {"sample_id": ids[:-1], "father_id": ids[table["father"]],
                    "mother_id": ids[table["mother"]], "sex": table["sex"],
                    "generation": table["generation"], "group": table["group"]}  # fmt: skip
    write_tsv(pd.DataFrame(people_table), beside(out, ".pedigree.tsv"))
    pairs = related_pairs(pedigree)
    named = {
        "IID1": ids[pairs["first"]],
        "IID2": ids[pairs["second"]],
        "degree": pairs["degree"],
        "kinship": pairs["kinship"],
    }
    write_tsv(pd.DataFrame(named), beside(out, ".related_pairs.tsv"))
    common.say(f"wrote {made.sizes['samples']} relatives to {out}")


@arguments(
    argument("real", metavar="REAL"), argument("synthetic", metavar="SYNTHETIC"), OUT, ANCESTRY, COLUMN,
    option("--epsilon", type=float, default=6.0, show_default=True, help="epsilon of the synthetic cohort"),
    flags=(Evaluation,),
)  # fmt: skip
def evaluate(
    real: str,
    synthetic: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    epsilon: float,
    common: Common,
) -> None:
    """Compare SYNTHETIC with REAL, group by group; tables go to the folder OUT."""
    params = common.parameters(Evaluation, "evaluation")
    ds = open_labelled(real, ancestry, ancestry_column)
    with common.work("evaluate"):
        tables = api.evaluate(ds, open_cohort(synthetic), params, epsilon=epsilon)
    make_folder(out)
    for name, table in tables.items():
        write_tsv(table, out / f"{name}.tsv")
    for row in tables["groups"].to_dict("records"):
        common.say(
            f"{row['group']}: MAF RMSE {row['maf_rmse']:.4f}, r2 {row['maf_r2']:.4f}, largest |z| "
            f"{row['max_abs_z']:.2f}"
        )
