"""The command that simulates traits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.cli.options import Common, arguments, option
from genoweave.cli.shared import COHORT, OUT, beside
from genoweave.cli.traits import joined
from genoweave.cohorts import open_cohort
from genoweave.errors import ConfigError
from genoweave.genotypes import select
from genoweave.io.files import disk_errors
from genoweave.io.phenotype_files import (
    STYLES,
    write_covariates,
    write_phenotypes,
    write_samples,
    write_truth,
)
from genoweave.io.release import write_tsv
from genoweave.io.scores import write_columns
from genoweave.io.tables.joining import Tables
from genoweave.io.tables.text import read_table
from genoweave.methods.phenotype import PRESETS, Phenotype, tables
from genoweave.methods.phenotype import phenotype as simulate_trait
from genoweave.methods.phenotype.truth import trait_columns, trait_names

_TABLES = (".covar", ".covariates.tsv", ".truth.tsv", ".truth.parquet", ".pheno", ".pheno.tsv")


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
    the effects of these parts, if there are such. Those of an earlier run are removed.
    """
    for given in (effects, covar):
        if given is not None and given.resolve() in [beside(out, ending).resolve() for ending in _TABLES]:
            raise ConfigError(f"{given} would be overwritten by this run; choose another name with --out")
    params = common.parameters(Phenotype, "phenotype")
    if preset is not None:
        params = Phenotype(**params.model_dump() | PRESETS[preset] | common.flags)
    ds = open_cohort(cohort)
    if covar is not None:
        ds = joined(ds, Tables(covariates=covar), common)
    with common.work("phenotype"):
        trait = simulate_trait(ds, params, effects=None if effects is None else _effects(effects))
        causal = tables.causal_table(ds, trait, expected=expected)
    _remove_earlier(out)
    written = _write_for_gwas(ds, trait, out, style) + _write_truth(ds, trait, causal, out)
    for line in _few(_said(trait)):
        common.say(line)
    common.say(f"wrote {', '.join(_few([str(path) for path in written]))}")


def _effects(path: Path) -> pd.DataFrame:
    """Read a user's effects; of an OUT.truth.tsv the effects per allele, a column for each trait."""
    table = read_table(path)
    if not {"ID", "A1", "EFFECT_PER_ALLELE"} <= set(table.columns):
        return table
    if "TRAIT" not in table.columns:
        return table[["ID", "A1", "EFFECT_PER_ALLELE"]]
    wide = table.pivot_table(
        "EFFECT_PER_ALLELE", ["ID", "A1"], "TRAIT", aggfunc="first", sort=False, fill_value=0
    )
    return wide.reset_index()


def _remove_earlier(out: Path) -> None:
    """Remove what an earlier run wrote under this prefix and this one may not write again.

    A .covar is an earlier run's only if it has .covariates.tsv beside it; another is the user's.
    """
    parts = r"covariates\.tsv|background\.parquet|pairs\.tsv|(trait\d+\.)?ascertained\.tsv"
    earlier = re.compile(rf"{re.escape(out.name)}\.({parts})")
    effects = beside(out, ".covariates.tsv")
    doomed = [beside(out, ".covar")] if effects.exists() else []
    doomed += [path for path in out.parent.iterdir() if earlier.fullmatch(path.name)]
    for path in doomed:
        with disk_errors(path):
            path.unlink(missing_ok=True)


def _write_truth(ds: xr.Dataset, trait: xr.Dataset, causal: pd.DataFrame, out: Path) -> list[Path]:
    """Write what is known of samples, variants and shares; return the files."""
    written = [
        beside(out, f".{ending}") for ending in ("pheno.tsv", "shares.tsv", "truth.tsv", "truth.parquet")
    ]
    write_columns(trait["sample_id"].values, tables.sample_columns(trait), written[0])
    write_tsv(tables.shares_table(trait), written[1])
    for path in written[2:]:
        write_truth(causal, path)
    others = {".background.parquet": tables.background_table(ds, trait),
              ".pairs.tsv": tables.pairs_table(ds, trait),
              ".covariates.tsv": tables.covariate_table(trait)}  # fmt: skip
    for ending, table in others.items():
        if table is not None:
            written.append(beside(out, ending))
            write_truth(table, written[-1])
    return written


def _write_for_gwas(ds: xr.Dataset, trait: xr.Dataset, out: Path, style: str) -> list[Path]:
    """Write traits, covariates and samples as a GWAS reads them; who is not in the study is missing."""
    written = [beside(out, ".pheno")]
    ds, columns = _phenotypes(ds, trait)
    write_phenotypes(ds, written[0], style, columns)
    if "covariate_id" in trait:
        named = {str(name): f"covariate_{k}" for k, name in enumerate(trait["covariate_id"].values)}
        values = trait["sample_covariate"].values
        with_them = ds.assign({f"covariate_{k}": ("samples", values[:, k]) for k in range(len(named))})
        written.append(beside(out, ".covar"))
        write_covariates(with_them, written[-1], style, named)
    names, study = trait_names(trait), trait_columns(trait["sample_is_ascertained"])
    for name, chosen in zip(names, study.T, strict=True):
        if not chosen.all():
            written.append(beside(out, f".{name}.ascertained.tsv" if len(names) > 1 else ".ascertained.tsv"))
            write_samples(select(ds, samples=np.flatnonzero(chosen)), written[-1], style)
    return written


def _phenotypes(ds: xr.Dataset, trait: xr.Dataset) -> tuple[xr.Dataset, dict[str, str]]:
    """Give the cohort a variable for each trait; return their names in a file."""
    study = trait_columns(trait["sample_is_ascertained"])
    names = trait_names(trait)
    variables: dict[str, tuple[str, NDArray[Any]]] = {}
    columns = {}
    for k, name in enumerate(names):
        is_quantitative = trait.attrs["trait"]["rules"][k] is None
        variable = "sample_liability" if is_quantitative else "sample_case"
        values = trait_columns(trait[variable])[:, k]
        if not is_quantitative:
            values = np.where(study[:, k], values, -1).astype(np.int8)
        columns[name if len(names) > 1 else variable.removeprefix("sample_")] = f"{variable}_{k}"
        variables[f"{variable}_{k}"] = ("samples", values)
    return ds.assign(variables), columns


def _few(lines: list[str], most: int = 20) -> list[str]:
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def _said(trait: xr.Dataset) -> list[str]:
    lines = []
    study = trait_columns(trait["sample_is_ascertained"])
    for k, name in enumerate(trait_names(trait)):
        chosen = study[:, k]
        if trait.attrs["trait"]["rules"][k] is None:
            lines.append(f"{name}: quantitative, {people(int(chosen.sum()))} samples")
            continue
        cases = int((trait_columns(trait["sample_case"])[chosen, k] == 1).sum())
        controls = int(chosen.sum()) - cases
        drawn = "" if chosen.all() else f", drawn from {people(len(chosen))} samples"
        lines.append(f"{name}: {people(cases)} cases and {people(controls)} controls{drawn}")
    return lines
