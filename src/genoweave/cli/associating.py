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
from genoweave.errors import ConfigError, DataError
from genoweave.io.tables import case_control, is_case_control
from genoweave.io.tables.joining import Tables, join_tables
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
    of_traits, of_covariates = _names(pheno_name), _names(covar_name)
    ds = _joined(ds, Tables(pheno, covar, None, None, of_traits, of_covariates), common)
    traits = _traits(ds, of_traits, params)
    covariates = _covariates(ds, of_covariates)
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


def _joined(ds: xr.Dataset, tables: Tables, common: Common) -> xr.Dataset:
    """Join the tables; what the cohort brought of the same kind goes."""
    for path, dimension in ((tables.phenotypes, "traits"), (tables.covariates, "covariates")):
        if path is not None:
            ds = ds.drop_dims(dimension, errors="ignore")
    ds, matchings = join_tables(ds, tables)
    for matching in matchings:
        if matching.not_in_table:
            common.say(str(matching))
    return ds


def _names(text: str | None) -> list[str] | None:
    names = None if text is None else [name.strip() for name in text.split(",") if name.strip()]
    if names == []:
        raise ConfigError(
            f"wanted names with commas between them, found {text!r}; leave the option out for all"
        )
    return names


def _columns(ds: xr.Dataset, kind: str, wanted: list[str] | None) -> dict[str, np.ndarray]:
    """Return the columns of ``sample_trait`` or ``sample_covariate`` by name."""
    if f"sample_{kind}" not in ds:
        known: dict[str, np.ndarray] = {}
    else:
        values = ds[f"sample_{kind}"].values
        known = {str(name): values[:, k] for k, name in enumerate(ds[f"{kind}_id"].values)}
    if wanted is None:
        return known
    chosen: dict[str, np.ndarray] = {}
    for name in wanted:
        matches = [n for n in known if n == name or n.startswith(f"{name}=")]
        if not matches:
            wanted_form = ", and that the column has numbers" if kind == "trait" else ""
            raise ConfigError(f"there is no {kind} {name!r}; check the table's header{wanted_form}")
        chosen |= {n: known[n] for n in matches}
    return chosen


def _traits(ds: xr.Dataset, wanted: list[str] | None, params: GWAS) -> list[Trait]:
    columns = _columns(ds, "trait", wanted)
    if not columns and "sample_phenotype" in ds and np.isfinite(ds["sample_phenotype"].values).any():
        columns = {"PHENO1": ds["sample_phenotype"].values}
    if not columns:
        raise DataError("the cohort has no trait; give a table of phenotypes with --pheno")
    return [_trait(name, values, params.model) for name, values in columns.items()]


def _trait(name: str, values: np.ndarray, model: str) -> Trait:
    """Tell case/control traits by PLINK's rule: 1 and 2 (0 missing), or 0 and 1 where there is no 2.

    A mixed model has them as the numbers 0 and 1.
    """
    if model == "linear" or (model in ("auto", "mixed") and not is_case_control(values)):
        return Trait(name, values, is_binary=False)
    try:
        status = case_control(values, zero_one=not (values == 2).any())
    except DataError as error:
        raise DataError(f"trait {name}: {error}") from None
    return Trait(name, np.where(status < 0, np.nan, status), is_binary=model != "mixed")


def _covariates(ds: xr.Dataset, wanted: list[str] | None) -> dict[str, np.ndarray]:
    return _columns(ds, "covariate", wanted)


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
