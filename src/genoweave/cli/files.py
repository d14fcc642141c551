"""Commands that bring cohorts in and out."""

from __future__ import annotations

from pathlib import Path

import click

from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN, OUT
from genoweave.cohorts import FORMATS, import_cohort, open_cohort
from genoweave.cohorts import export as write_export
from genoweave.io.reading import Reading
from genoweave.io.tables.joining import Tables


def _table(name: str, meaning: str) -> click.Parameter:
    return option(name, type=click.Path(path_type=Path), help=meaning)


@arguments(
    argument("source", metavar="SRC"),
    argument("out", metavar="OUT.vcz", type=click.Path(path_type=Path)),
    ANCESTRY,
    COLUMN,
    _table("--pheno", "table of phenotypes: PLINK, REGENIE, CSV, TSV or Parquet"),
    _table("--covar", "table of covariates"),
    _table("--pedigree", "table of parents and sex: .fam, .ped, .psam or with a header"),
    _table("--genetic-map", "genetic map: HapMap, PLINK or SHAPEIT"),
    flags=(Reading,),
)
def import_(
    source: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    pheno: Path | None,
    covar: Path | None,
    pedigree: Path | None,
    genetic_map: Path | None,
    common: Common,
) -> None:
    """Convert PLINK 1 or 2 files, VCF, BCF, BGEN or VCF Zarr to a chunked store; goes on if it was killed."""
    reading = common.parameters(Reading, "input")
    tables = Tables(pheno, covar, pedigree, genetic_map)
    with common.work("import"):
        counts = import_cohort(source, out, ancestry, ancestry_column, reading, tables)
    for rule, count in counts.items():
        common.say(f"{rule.replace('_', ' ')}: {count}")
    common.say(f"wrote {out}")


@arguments(
    COHORT, option("--to", required=True, type=click.Choice(FORMATS), help="format"), OUT
)  # fmt: skip
def export(cohort: str, to: str, out: Path, common: Common) -> None:
    """Write COHORT as VCF Zarr (standard codec and chunks), PLINK 1 or CSV."""
    with common.work("export"):
        write_export(open_cohort(cohort), to, out)
    common.say(f"wrote {out}")
