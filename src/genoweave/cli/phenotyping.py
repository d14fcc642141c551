"""The command that simulates traits."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd
import xarray as xr

from genoweave.aggregate import people
from genoweave.cli.options import Common, arguments, option
from genoweave.cli.shared import COHORT, OUT, beside
from genoweave.cohorts import open_cohort
from genoweave.genotypes import select
from genoweave.io.phenotype_files import (
    STYLES,
    write_covariates,
    write_phenotypes,
    write_samples,
    write_truth,
)
from genoweave.io.release import write_tsv
from genoweave.io.tables.joining import Tables, join_tables
from genoweave.io.tables.text import read_table
from genoweave.methods.phenotype import PRESETS, Phenotype, tables
from genoweave.methods.phenotype import phenotype as simulate_trait
from genoweave.methods.phenotype.truth import matrix, trait_names


@arguments(
    COHORT,
    OUT,
    option("--style", type=click.Choice(STYLES), default="plink2", show_default=True,
           help="who is to read OUT.pheno, OUT.covar and OUT.ascertained.tsv"),
    option("--preset", type=click.Choice(list(PRESETS)),
           help="a setting, over that of --config; flags change it  [default: paper]"),
    option("--effects", type=click.Path(path_type=Path),
           help="table of the causal variants: id, a1 (the allele), an effect per allele of each trait; or "
           "OUT.truth.tsv of another cohort"),
    option("--covar", type=click.Path(path_type=Path),
           help="table of the cohort's covariates, which --covariates NAME=cohort takes"),
    option("--expected/--no-expected", default=True, show_default=True,
           help="say of each causal variant what a GWAS should find; takes a further pass over them"),
    flags=(Phenotype,),
)  # fmt: skip
def phenotype(
    cohort: str, out: Path, style: str, preset: str | None, effects: Path | None, covar: Path | None,
    expected: bool, common: Common,
) -> None:  # fmt: skip
    """Simulate traits, case/control or quantitative, with known truth.

    OUT.pheno (and OUT.covar, if there are covariates) for a GWAS; of samples OUT.pheno.tsv, of causal
    variants OUT.truth.tsv and .parquet, of variance OUT.shares.tsv; OUT.ascertained.tsv, the samples of a
    study, if cases or controls were drawn; OUT.background.parquet, OUT.pairs.tsv and OUT.covariates.tsv with
    the effects of these parts, if there are such.
    """
    params = common.parameters(Phenotype, "phenotype")
    if preset is not None:
        params = Phenotype(**params.model_dump() | PRESETS[preset] | common.flags)
    ds = open_cohort(cohort)
    if covar is not None:
        ds, _ = join_tables(ds.drop_dims("covariates", errors="ignore"), Tables(covariates=covar))
    with common.work("phenotype"):
        trait = simulate_trait(ds, params, effects=None if effects is None else _effects(effects))
        causal = tables.causal_table(ds, trait, expected=expected)
    _write_truth(ds, trait, causal, out)
    _write_for_gwas(ds, trait, out, style)
    for line in _said(trait):
        common.say(line)
    common.say(f"wrote {out}.pheno, {out}.pheno.tsv, {out}.truth.tsv and {out}.truth.parquet")


def _effects(path: Path) -> pd.DataFrame:
    """Read a user's effects; of an OUT.truth.tsv the effects per allele."""
    table = read_table(path)
    if {"ID", "A1", "EFFECT_PER_ALLELE"} <= set(table.columns) and "TRAIT" not in table.columns:
        return table[["ID", "A1", "EFFECT_PER_ALLELE"]]
    return table


def _write_truth(ds: xr.Dataset, trait: xr.Dataset, causal: pd.DataFrame, out: Path) -> None:
    write_tsv(tables.sample_table(trait), beside(out, ".pheno.tsv"))
    for ending in (".truth.tsv", ".truth.parquet"):
        write_truth(causal, beside(out, ending))
    write_tsv(tables.shares_table(trait), beside(out, ".shares.tsv"))
    others = {".background.parquet": tables.background_table(ds, trait),
              ".pairs.tsv": tables.pairs_table(ds, trait),
              ".covariates.tsv": tables.covariate_table(trait)}  # fmt: skip
    for ending, table in others.items():
        if table is not None:
            write_truth(table, beside(out, ending))


def _write_for_gwas(ds: xr.Dataset, trait: xr.Dataset, out: Path, style: str) -> None:
    """Write traits, covariates and samples as a GWAS reads them; who is not in the study is missing."""
    study = matrix(trait["sample_is_ascertained"])
    columns: dict[str, str] = {}
    for k, name in enumerate(trait_names(trait)):
        many = study.shape[1] > 1
        suffix = f"_{k}" if many else ""
        if trait.attrs["trait"]["rules"][k] is None:
            variable, values = f"sample_liability{suffix}", matrix(trait["sample_liability"])[:, k]
        else:
            case = matrix(trait["sample_case"])[:, k]
            variable, values = f"sample_case{suffix}", np.where(study[:, k], case, -1).astype(np.int8)
        columns[name if many else variable.removeprefix("sample_")] = variable
        ds = ds.assign({variable: ("samples", values)})
        if not study[:, k].all():
            ending = f".{name}.ascertained.tsv" if many else ".ascertained.tsv"
            write_samples(select(ds, samples=np.flatnonzero(study[:, k])), beside(out, ending), style)
    write_phenotypes(ds, beside(out, ".pheno"), style, columns)
    if "covariate_id" in trait:
        named = {str(name): f"covariate_{k}" for k, name in enumerate(trait["covariate_id"].values)}
        values = trait["sample_covariate"].values
        ds = ds.assign({f"covariate_{k}": ("samples", values[:, k]) for k in range(len(named))})
        write_covariates(ds, beside(out, ".covar"), style, named)


def _said(trait: xr.Dataset) -> list[str]:
    lines = []
    study = matrix(trait["sample_is_ascertained"])
    for k, name in enumerate(trait_names(trait)):
        chosen = study[:, k]
        if trait.attrs["trait"]["rules"][k] is None:
            lines.append(f"{name}: quantitative, {people(int(chosen.sum()))} samples")
            continue
        cases = int((matrix(trait["sample_case"])[chosen, k] == 1).sum())
        controls = int(chosen.sum()) - cases
        drawn = "" if chosen.all() else f", drawn from {people(len(chosen))} samples"
        lines.append(f"{name}: {people(cases)} cases and {people(controls)} controls{drawn}")
    return lines
