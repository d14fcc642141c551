"""Commands that bring cohorts in and out."""

from __future__ import annotations

from pathlib import Path

import click

from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN
from genoweave.cohorts import FORMATS, import_cohort, open_cohort
from genoweave.cohorts import export as write_export
from genoweave.io.phenotype_files import STYLES, write_tables
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


def _formats(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[str]:
    """Take ``--to a --to b`` and ``--to a,b``."""
    names = [name.strip() for text in given for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise click.BadParameter(f"there is no format {name!r}; choose of: {', '.join(FORMATS)}")
    return names


@arguments(
    COHORT,
    option(
        "--to",
        required=True,
        multiple=True,
        callback=_formats,
        metavar="FORMAT",
        help=f"one of {', '.join(FORMATS)}; several times, or with commas, for several formats",
    ),
    option(
        "--out",
        required=True,
        type=click.Path(path_type=Path),
        help="file to write; with several formats a prefix",
    ),
    option("--check/--no-check", default=True, help="read what was written again, and compare"),
    option("--tables", type=click.Choice(STYLES), help="also OUT.pheno and OUT.covar in this program's form"),
    flags=(Reading,),
)
def export(cohort: str, to: list[str], out: Path, check: bool, tables: str | None, common: Common) -> None:
    """Write COHORT for other tools: VCF Zarr, PLINK 1 or 2, VCF, BCF, BGEN, CSV; goes on if killed."""
    reading = common.parameters(Reading, "input")
    with common.work("export"):
        written = write_export(cohort, to, out, check=check, reading=reading)
        if tables is not None:
            written += write_tables(open_cohort(cohort, reading), out, tables)
    for path in written:
        common.say(f"wrote {path}")
