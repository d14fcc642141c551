"""The command that compares a server's results with a watermark key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from genoweave.api import read_key
from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cli.shared import beside
from genoweave.errors import ConfigError
from genoweave.io.files import write_atomic
from genoweave.io.gwas_columns import NAMES
from genoweave.io.gwas_results import Returned, read_results
from genoweave.methods.watermark.verification import Verdict
from genoweave.methods.watermark.verification import verify as compare_with

if TYPE_CHECKING:
    import pandas as pd

DISHONEST = 3  # exit code


@arguments(
    argument("key", metavar="KEY", type=click.Path(path_type=Path)),
    argument("results", metavar="RESULTS...", type=click.Path(path_type=Path), nargs=-1, required=True),
    option("--trait", metavar="NAME", help="trait of results that have several; the key's by default"),
    option("--format", "program", type=click.Choice(["auto", *NAMES]), default="auto", show_default=True,
           help="whose results; genoweave's own are plink2 or regenie"),
    option("--precision", type=click.Choice(["auto", "exact", "approximate"]), default="auto",
           show_default=True, help="allow rounding only, or what another model of the same association "
           "gives; auto: the latter for REGENIE, SAIGE and GEMMA's mixed model where the key's is another"),
    option("--out", metavar="PREFIX", type=click.Path(path_type=Path),
           help="write PREFIX.watermarks.tsv and PREFIX.verdict.json, which are as secret as the key"),
)  # fmt: skip
def verify(
    key: Path, results: tuple[Path, ...], trait: str | None, program: str, precision: str, out: Path | None,
    common: Common,
) -> int:  # fmt: skip
    """Tell from a server's results whether it did the association that it was asked for.

    KEY is the file that genoweave watermark wrote. RESULTS are tables of PLINK 2 (--glm), REGENIE (step 2),
    GEMMA, SAIGE or genoweave gwas, one or a file per chromosome. Prints each watermark and the verdict. Exit
    code 0 if all is as expected, 3 if not, 1 if the files cannot be used.
    """
    secret = read_key(key)
    returned = read_results(results, secret.watermarks, program=program, trait=trait or secret.trait)
    verdict = compare_with(secret, returned.rows, program=returned.program, precision=precision)  # type: ignore[arg-type]
    common.say(_table(verdict.watermarks))
    common.say(_said(verdict, returned))
    if out is not None:
        _write(verdict, returned, out)
    return 0 if verdict.is_honest else DISHONEST


def _table(watermarks: pd.DataFrame) -> str:
    """Return a line per watermark, in columns."""
    top = ("ID", "PLACE", "ROLE", "Z EXPECTED", "Z RETURNED", "SE EXPECTED", "SE RETURNED", "STATE")
    shown = ("expected_statistic", "returned_statistic", "expected_se", "returned_se")
    lines: list[tuple[str, ...]] = [top]
    for row in watermarks.to_dict("records"):
        numbers = (f"{row[name]:.5g}" if row[name] == row[name] else "-" for name in shown)
        state = f"{row['state']}, other allele" if row["flipped"] else str(row["state"])
        lines.append(
            (str(row["id"]), f"{row['contig']}:{row['position']}", str(row["role"]), *numbers, state)
        )
    widths = [max(len(line[k]) for line in lines) for k in range(len(top))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _said(verdict: Verdict, returned: Returned) -> str:
    head = "HONEST" if verdict.is_honest else "NOT AS EXPECTED"
    lines = [
        "",
        f"{returned.program}: {returned.n_rows} rows, {returned.n_missing} without a result, "
        f"{returned.n_duplicates} with the id of another; compared as {verdict.precision}",
        f"{head}: {verdict.statement} [{verdict.diagnosis}]",
        *(f"  {text}" for text in verdict.evidence),
    ]
    others = [h for h in verdict.hypotheses[1:] if h.score > verdict.hypotheses[0].score - 3]
    if others:
        lines.append("nearly as likely: " + "; ".join(h.statement for h in others[:3]))
    return "\n".join(lines)


def _write(verdict: Verdict, returned: Returned, out: Path) -> None:
    """Write both files, which only their owner can read."""
    table = verdict.watermarks.drop(columns="signed")
    text = table.to_csv(sep="\t", index=False, na_rep="NA")
    if not out.name:
        raise ConfigError(f"--out {out} names no file; give a prefix")
    write_atomic(beside(out, ".watermarks.tsv"), text, 0o600)
    counts = {"rows": returned.n_rows, "without_result": returned.n_missing, "same_id": returned.n_duplicates}
    verdict_text = json.dumps(verdict.to_dict() | {"program": returned.program} | counts, indent=1)
    write_atomic(beside(out, ".verdict.json"), verdict_text + "\n", 0o600)
