"""What the association command writes, and says, of each trait."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from genoweave.aggregate import people
from genoweave.cli.options import Common
from genoweave.cli.shared import beside
from genoweave.errors import ConfigError
from genoweave.io.files import write_atomic
from genoweave.io.gwas_files import Effect, Results, Style, write_columns, write_results
from genoweave.io.release import write_tsv
from genoweave.methods.gwas import (
    CODES,
    GWAS,
    METHODS,
    Association,
    Fits,
    clumps,
    summary_row,
    variant_names,
)

ENDINGS = {"text": "", "gz": ".gz", "parquet": ".parquet"}


@dataclass(frozen=True)
class Files:
    """Where and how an association's results are written.

    Attributes
    ----------
    ds, params
        The cohort, and how it was tested.
    out
        Prefix of the files.
    style, table, effect, log10, plot
        The command's options.
    """

    ds: xr.Dataset
    out: Path
    params: GWAS
    style: Style
    table: str
    effect: Effect
    log10: bool
    plot: str | None
    common: Common

    def write(self, found: Association, group: str | None = None) -> dict[str, Any]:
        """Write one trait's results, of one group if named; return its line of the summary."""
        names = [safe(part) for part in (group, found.trait) if part is not None]
        if self.style == "regenie":
            ending = "".join(f".{name}" for name in names[:-1]) + f"_{names[-1]}.regenie"
        else:
            ending = f".{'.'.join(names)}.{self._kind(found)}"
        tests = [self._results(found, fits, name) for name, fits in found.tests.items()]
        path = beside(self.out, ending + ENDINGS[self.table])
        write_results(tests, path, self.style, effect=self.effect, log10=self.log10, test=self.params.test)
        return self._tell(found, ".".join(names), group)

    def write_meta(self, found: Association, table: pd.DataFrame) -> dict[str, Any]:
        """Write one trait's meta-analysis; return its line of the summary."""
        named = variant_names(self.ds, found.variants).rename(columns={"CHROM": "#CHROM"})
        whole = pd.concat([named.assign(A1=named["ALT"]), table], axis=1)
        name = f"{safe(found.trait)}.meta"
        path = beside(
            self.out, f".{name}" + (".tsv" if self.table != "parquet" else "") + ENDINGS[self.table]
        )
        write_columns({str(key): whole[key].to_numpy() for key in whole}, path)
        return self._tell(found, name, "meta")

    def write_summary(self, rows: list[dict[str, Any]]) -> None:
        """Write the lines of the summary."""
        summary = pd.DataFrame(rows).astype({"N_CASES": "Int64", "N_CONTROLS": "Int64"})
        write_tsv(summary, beside(self.out, ".summary.tsv"))

    def _kind(self, found: Association) -> str:
        if not found.is_binary:
            return f"glm.{found.model}"
        return "glm.firth" if self.params.test == "firth" else "glm.logistic.hybrid"

    def _results(self, found: Association, fits: Fits, name: str) -> Results:
        named = variant_names(self.ds, found.variants)
        contig, position, ids, ref, alt = (named[key].to_numpy() for key in named)
        return Results(
            contig, position, ids, ref, alt, fits.frequency, fits.beta, fits.se, fits.statistic, fits.log10_p,
            fits.called, fits.code, fits.method, CODES, METHODS, found.is_binary, name,
        )  # fmt: skip

    def _tell(self, found: Association, name: str, group: str | None) -> dict[str, Any]:
        """Write loci and plots of one trait, and say what was found."""
        row = summary_row(self.ds, found)
        loci = clumps(self.ds, found, self.params)
        write_tsv(loci, beside(self.out, f".{name}.loci.tsv"))
        if self.plot is not None:
            title = found.trait if group is None else f"{found.trait}, {group}"
            _draw(self.ds, found, row["LAMBDA_GC"], self.out, name, self.plot, title)
        self.common.say(_said(found, row, len(loci), group))
        return row if group is None else {"GROUP": group} | row


def check_names(traits: Sequence[str], groups: Sequence[str] = ()) -> None:
    """Refuse traits and groups of which two would have the same file names.

    Raises
    ------
    ConfigError
        If there are such.
    """
    known: dict[str, str] = {}
    for group in (*groups, None):
        for trait in traits:
            of = f"trait {trait!r}" + ("" if group is None else f" of group {group!r}")
            parts = (trait,) if not groups else (trait, "meta") if group is None else (group, trait)
            name = ".".join(map(safe, parts))
            if name in known:
                raise ConfigError(
                    f"{known[name]} and {of} would be written to the same files, {name}; rename one"
                )
            known[name] = of


def safe(name: str) -> str:
    """Return a trait's or group's name as part of a file name."""
    return re.sub(r"[^\w.=+-]", "_", name)


def _draw(
    ds: xr.Dataset, found: Association, inflation: float, out: Path, name: str, form: str, title: str
) -> None:
    from genoweave.report.gwas_figures import figure_bytes, manhattan_figure, qq_figure

    rows = found.variants
    contig = ds["contig_id"].values[ds["variant_contig"].values[rows]]
    position = ds["variant_position"].values[rows]
    figures = {
        "manhattan": manhattan_figure(contig, position, found.fits.log10_p, title),
        "qq": qq_figure(found.fits.log10_p, inflation, title),
    }
    for kind, figure in figures.items():
        write_atomic(beside(out, f".{name}.{kind}.{form}"), figure_bytes(figure, form))


def _said(found: Association, row: dict[str, Any], n_loci: int, group: str | None) -> str:
    who = f"{people(found.n_samples)} samples"
    if found.is_binary:
        who = f"{people(found.n_cases)} cases and {people(found.n_samples - found.n_cases)} controls"
    where = "" if group is None else f"{group}, "
    notes = "".join(f", {key} {value:.4g}" for key, value in found.fits.notes.items())
    return (
        f"{where}{found.trait}: {row['MODEL']}, {who}, {row['VARIANTS']} variants ({row['NOT_TESTED']} "
        f"without a result), lambda {row['LAMBDA_GC']:.3f}, {n_loci} loci{notes}"
    )
