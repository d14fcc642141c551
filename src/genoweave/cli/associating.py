"""The command that tests variants for association with traits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import xarray as xr

from genoweave.cli.association_files import ENDINGS, Files, check_names
from genoweave.cli.options import Common, arguments, option
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN, OUT, beside, open_labelled
from genoweave.cli.traits import covariates_of, joined, names_of, traits_of
from genoweave.errors import ConfigError
from genoweave.io.tables.joining import Tables
from genoweave.methods.gwas import (
    GWAS,
    Trait,
    ancestry_groups,
    combined,
    group_variants,
    gwas_by_group,
    tests_x,
)
from genoweave.methods.gwas import gwas as associate


def _file(name: str, meaning: str) -> click.Parameter:
    return option(name, type=click.Path(path_type=Path), help=meaning)


@arguments(
    COHORT, OUT,
    _file("--pheno", "table of traits: PLINK, REGENIE, CSV, TSV or Parquet; those that the cohort was "
          "imported with, or a .fam's, by default"),
    option("--pheno-name", metavar="NAMES", help="traits to test, with commas; all by default"),
    _file("--covar", "table of covariates; those that the cohort was imported with by default"),
    option("--covar-name", metavar="NAMES", help="covariates to use, with commas; all by default"),
    option("--format", "style", type=click.Choice(["plink2", "regenie"]), default="plink2", show_default=True,
           help="whose columns and file names"),
    option("--table", type=click.Choice(list(ENDINGS)), default="text", show_default=True,
           help="text, text compressed by gzip, or Parquet"),
    option("--effect", type=click.Choice(["or", "beta"]), default="or", show_default=True,
           help="plink2, case/control: odds ratio, or its logarithm"),
    option("--log10", is_flag=True, help="plink2: write -log10 p for p"),
    option("--plot", type=click.Choice(["png", "svg"]), is_flag=False, flag_value="png",
           help="draw Manhattan and quantile-quantile plots; png if no format is named"),
    ANCESTRY, COLUMN,
    option("--random-effects", is_flag=True, help="by ancestry: add random effects to the meta-analysis"),
    flags=(GWAS,),
)  # fmt: skip
def gwas(
    cohort: str, out: Path, pheno: Path | None, pheno_name: str | None, covar: Path | None,
    covar_name: str | None, style: Any, table: str, effect: Any, log10: bool, plot: str | None,
    ancestry: Path | None, ancestry_column: str | None, random_effects: bool, common: Common,
) -> None:  # fmt: skip
    """Test each variant for association with each trait, by linear, logistic or mixed regression.

    Of each trait PREFIX.TRAIT.glm.linear, .glm.logistic.hybrid, .glm.firth or .glm.mixed in PLINK 2's
    columns, or PREFIX_TRAIT.regenie, and PREFIX.TRAIT.loci.tsv; of all traits PREFIX.summary.tsv.

    --by-ancestry: the same of each group, PREFIX.GROUP.TRAIT..., and the groups together,
    PREFIX.TRAIT.meta.tsv.
    """
    params = common.parameters(GWAS, "gwas")
    if random_effects and not params.by_ancestry:
        raise ConfigError("--random-effects are those of groups; give --by-ancestry too, or leave it out")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    of_traits, of_covariates = names_of(pheno_name), names_of(covar_name)
    tables = Tables(pheno, covar, phenotype_names=of_traits, covariate_names=of_covariates)
    ds = joined(ds, tables, common)
    traits = traits_of(ds, of_traits, params.model)
    covariates = covariates_of(ds, of_covariates)
    check_names([trait.name for trait in traits], ancestry_groups(ds) if params.by_ancestry else [])
    beside(out, "")
    _say_what_is_left_out(ds, params, common)
    files = Files(ds, out, params, style, table, effect, log10, plot, common)
    values = np.column_stack(list(covariates.values())) if covariates else None
    with common.work("gwas"):
        if params.by_ancestry:
            rows = _by_ancestry(ds, traits, values, list(covariates), files, random=random_effects)
        else:
            found = associate(ds, traits, values, params, names=list(covariates))
            rows = [files.write(one) for one in found]
    files.write_summary(rows)


def _by_ancestry(
    ds: xr.Dataset, traits: list[Trait], covariates: np.ndarray | None, names: list[str], files: Files, *,
    random: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Write each group's results and their meta-analysis; return the lines of the summary."""
    found = gwas_by_group(ds, traits, covariates, files.params, names=names)
    for message in found.messages:
        files.common.say(message)
    rows = []
    for groups in found.found.values():
        rows += [files.write(one, group) for group, one in groups.items()]
        if groups:
            rows.append(files.write_meta(*combined(groups, random=random)))
    return rows


def _say_what_is_left_out(ds: xr.Dataset, params: GWAS, common: Common) -> None:
    groups = group_variants(ds)
    if len(groups.skipped):
        common.say(f"{len(groups.skipped)} variants on Y or mitochondria or with more alleles are left out")
    if not len(groups.x):
        return
    if not tests_x(params):
        common.say(f"{len(groups.x)} variants on X are left out: coding {params.coding} wants diploid ones")
    elif not ("sample_sex" in ds and (ds["sample_sex"].values > 0).any()):
        common.say(f"{len(groups.x)} variants on X are left out: the samples' sex is not known")
