"""The command that tests variants for association with traits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr

from genoweave.aggregate import people
from genoweave.cli.options import Common, arguments, option
from genoweave.cli.shared import COHORT, OUT, beside
from genoweave.cohorts import open_cohort
from genoweave.errors import ConfigError, DataError
from genoweave.io.files import write_atomic
from genoweave.io.gwas_files import Results, write_results
from genoweave.io.release import write_tsv
from genoweave.io.tables import case_control, is_case_control
from genoweave.io.tables.joining import Tables, join_tables
from genoweave.methods.gwas import (
    CODES,
    GWAS,
    METHODS,
    Association,
    Trait,
    clumps,
    group_variants,
    summary_row,
)
from genoweave.methods.gwas import gwas as associate

_ENDINGS = {"text": "", "gz": ".gz", "parquet": ".parquet"}


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
    option("--table", type=click.Choice(list(_ENDINGS)), default="text", show_default=True,
           help="text, text compressed by gzip, or Parquet"),
    option("--effect", type=click.Choice(["or", "beta"]), default="or", show_default=True,
           help="plink2, case/control: odds ratio, or its logarithm"),
    option("--log10", is_flag=True, help="plink2: write -log10 p for p"),
    option("--plot", type=click.Choice(["png", "svg"]), is_flag=False, flag_value="png",
           help="draw Manhattan and quantile-quantile plots; png if no format is named"),
    flags=(GWAS,),
)  # fmt: skip
def gwas(
    cohort: str, out: Path, pheno: Path | None, pheno_name: str | None, covar: Path | None,
    covar_name: str | None, style: str, table: str, effect: str, log10: bool, plot: str | None,
    common: Common,
) -> None:  # fmt: skip
    """Test each variant for association with each trait, by linear or logistic regression.

    Of each trait PREFIX.TRAIT.glm.linear, .glm.logistic.hybrid or .glm.firth in PLINK 2's columns, or
    PREFIX_TRAIT.regenie, and PREFIX.TRAIT.loci.tsv; of all traits PREFIX.summary.tsv.
    """
    params = GWAS(**{k: v for k, v in common.flags.items() if k in GWAS.model_fields})
    ds = open_cohort(cohort)
    ds = _joined(ds, pheno, covar, common)
    traits = _traits(ds, _names(pheno_name), params)
    covariates = _covariates(ds, _names(covar_name))
    beside(out, "")
    _say_what_is_left_out(ds, common)
    with common.work("gwas"):
        found = associate(ds, traits, covariates, params)
        rows = []
        for one in found:
            _write(ds, one, out, params, style=style, table=table, effect=effect, log10=log10)
            rows.append(summary_row(ds, one))
            loci = clumps(ds, one, params)
            write_tsv(loci, beside(out, f".{_safe(one.trait)}.loci.tsv"))
            if plot is not None:
                _draw(ds, one, rows[-1]["LAMBDA_GC"], out, plot)
            common.say(_said(one, rows[-1], len(loci)))
    summary = pd.DataFrame(rows).astype({"N_CASES": "Int64", "N_CONTROLS": "Int64"})
    write_tsv(summary, beside(out, ".summary.tsv"))


def _joined(ds: xr.Dataset, pheno: Path | None, covar: Path | None, common: Common) -> xr.Dataset:
    """Join the tables; what the cohort brought of the same kind goes."""
    for path, dimension in ((pheno, "traits"), (covar, "covariates")):
        if path is not None:
            ds = ds.drop_dims(dimension, errors="ignore")
    ds, matchings = join_tables(ds, Tables(pheno, covar))
    for matching in matchings:
        if matching.not_in_table:
            common.say(str(matching))
    return ds


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


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
            raise ConfigError(f"there is no {kind} {name!r} among {len(known)}; check the table's header")
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
    """Tell case/control traits by PLINK's rule: 1 and 2 (0 missing), or 0 and 1 where there is no 2."""
    if model == "linear" or (model == "auto" and not is_case_control(values)):
        return Trait(name, values, is_binary=False)
    try:
        status = case_control(values, zero_one=not (values == 2).any())
    except DataError as error:
        raise DataError(f"trait {name}: {error}") from None
    return Trait(name, np.where(status < 0, np.nan, status), is_binary=True)


def _covariates(ds: xr.Dataset, wanted: list[str] | None) -> np.ndarray | None:
    columns = _columns(ds, "covariate", wanted)
    return np.column_stack(list(columns.values())) if columns else None


def _say_what_is_left_out(ds: xr.Dataset, common: Common) -> None:
    groups = group_variants(ds)
    if len(groups.skipped):
        common.say(f"{len(groups.skipped)} variants on Y or mitochondria or with more alleles are left out")
    if len(groups.x) and not ("sample_sex" in ds and (ds["sample_sex"].values > 0).any()):
        common.say(f"{len(groups.x)} variants on X are left out: the samples' sex is not known")


def _safe(name: str) -> str:
    """Return a trait's name as part of a file name."""
    return re.sub(r"[^\w.=+-]", "_", name)


def _ending(found: Association, params: GWAS) -> str:
    if not found.is_binary:
        return "glm.linear"
    return "glm.firth" if params.test == "firth" else "glm.logistic.hybrid"


def _write(
    ds: xr.Dataset, found: Association, out: Path, params: GWAS, *, table: str, style: Any, effect: Any,
    log10: bool,
) -> None:  # fmt: skip
    fits, rows = found.fits, found.variants
    allele = ds["variant_allele"].values[rows]
    ids = ds["variant_id"].values[rows] if "variant_id" in ds else np.full(len(rows), ".", object)
    results = Results(
        ds["contig_id"].values[ds["variant_contig"].values[rows]], ds["variant_position"].values[rows], ids,
        allele[:, 0], allele[:, 1], fits.frequency, fits.beta, fits.se, fits.statistic, fits.log10_p,
        fits.called, fits.code, fits.method, CODES, METHODS, found.is_binary,
    )  # fmt: skip
    name = _safe(found.trait)
    ending = f"_{name}.regenie" if style == "regenie" else f".{name}.{_ending(found, params)}"
    path = beside(out, ending + _ENDINGS[table])
    write_results(results, path, style, effect=effect, log10=log10, test=params.test)


def _draw(ds: xr.Dataset, found: Association, inflation: float, out: Path, form: str) -> None:
    from genoweave.report.gwas_figures import figure_bytes, manhattan_figure, qq_figure

    rows = found.variants
    contig = ds["contig_id"].values[ds["variant_contig"].values[rows]]
    position = ds["variant_position"].values[rows]
    figures = {
        "manhattan": manhattan_figure(contig, position, found.fits.log10_p, found.trait),
        "qq": qq_figure(found.fits.log10_p, inflation, found.trait),
    }
    for name, figure in figures.items():
        write_atomic(beside(out, f".{_safe(found.trait)}.{name}.{form}"), figure_bytes(figure, form))


def _said(found: Association, row: dict[str, Any], n_loci: int) -> str:
    who = f"{people(found.n_samples)} samples"
    if found.is_binary:
        who = f"{people(found.n_cases)} cases and {people(found.n_samples - found.n_cases)} controls"
    return (
        f"{found.trait}: {row['MODEL']}, {who}, {row['VARIANTS']} variants ({row['NOT_TESTED']} without a "
        f"result), lambda {row['LAMBDA_GC']:.3f}, {n_loci} loci"
    )
