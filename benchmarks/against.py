"""Measure genoweave beside other programs: `python benchmarks/against.py --all` or `--rows king,qc`.

Each row runs whole commands on the same data in one session, one after another: CPU (user and system, with
children), wall and peak memory, start-up and imports included. Kernels are compiled before, by a run at toy
size, and inputs are read once before, so that neither the compiler nor the disk counts. The better of two
runs is taken, but of other programs that take over 20 CPU seconds there is only one. Ratios are of CPU
seconds per unit of work (genotypes, or pairs x variants). The other programs are found on PATH or by
environment variables, see peers.py; absent ones are shown as absent.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import peers
from lab import Lab, Row, table
from measuring import CommandError, machine
from rows import ROWS

RESULTS = Path(__file__).parent / "results" / "against.csv"
_PEERS = ("plink2", "plink2zarr", "sgkit_python", "sklearn_python")


def measure(names: list[str], lab: Lab) -> list[Row]:
    """Run the named rows; a row whose command fails says so and the others go on."""
    rows = []
    for name in names:
        sys.stdout.write(f"... {name}\n")
        sys.stdout.flush()
        try:
            rows.append(ROWS[name](lab))
        except CommandError as error:
            rows.append(Row(name, notes=[f"FAILED: {error}"]))
    return rows


def show(rows: list[Row]) -> str:
    """Lay out rows for a terminal."""
    lines = []
    for row in rows:
        lines.append(f"\n{row.task}")
        for record in table([row]):
            if record["cpu_seconds"] is None:
                lines.append(f"  {record['program']:<30}{record['shape']:<8} absent")
                continue
            per = record["cpu_per_ours"]
            lines.append(
                f"  {record['program']:<30}{record['shape']:<8}CPU {record['cpu_seconds']:>9.2f} s  wall "
                f"{record['wall_seconds']:>9.2f} s  peak {record['peak_gib']:>7.2f} GiB"
                + ("" if per is None else f"  {per:.3g} x our CPU")
            )
        for target in row.targets:
            sign = ">=" if target.at_least else "<="
            aim = "" if target.aim is None else f", aim {target.aim:g}"
            lines.append(
                f"  {target.verdict:<7}{target.name}: {target.found:.3g} (must {sign} {target.must:g}{aim})"
            )
        lines += [f"  {'agrees' if check.passed else 'DIFFERS'}: {check.text}" for check in row.checks]
        lines += [f"  note: {note}" for note in row.notes]
    return "\n".join(lines)


def save(rows: list[Row], facts: dict[str, Any], path: Path) -> None:
    """Append a line per measurement to a CSV file; targets and checks stand in the first line of a row."""
    records = []
    for row in rows:
        first = {
            "targets": "; ".join(f"{t.name} {t.found:.4g} [{t.verdict}]" for t in row.targets),
            "checks": "; ".join(f"{'agrees' if c.passed else 'DIFFERS'}: {c.text}" for c in row.checks),
            "notes": "; ".join(row.notes),
        }
        own = list(table([row])) or [{"task": row.task}]
        records += [record | (first if i == 0 else {}) for i, record in enumerate(own)]
    whole = pd.DataFrame(records).assign(**facts)
    if path.exists():
        whole = pd.concat([pd.read_csv(path), whole])
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.to_csv(path, index=False, float_format="%.4g")


def main(arguments: list[str] | None = None) -> int:
    """Parse, warm up, measure, print, save; exit 1 if results differ or (not --small) a must is missed."""
    parser = argparse.ArgumentParser(description="Measure genoweave beside other programs.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--all", action="store_true", help="every row")
    what.add_argument("--rows", help=f"comma-separated, of {', '.join(ROWS)}")
    parser.add_argument("--small", action="store_true", help="toy size: to see that it works")
    parser.add_argument("--data", type=Path, default=Path("data"), help="input folder; made if absent")
    parser.add_argument("--scratch", type=Path, help="folder for results; temporary by default")
    parser.add_argument("--threads", type=int, default=2, help="threads of PLINK 2 (default 2)")
    parser.add_argument(
        "--save", type=Path, nargs="?", const=RESULTS, help=f"append to {RESULTS.name}, or a CSV"
    )
    given = parser.parse_args(arguments)
    names = list(ROWS) if given.all else given.rows.split(",")
    if unknown := set(names) - set(ROWS):
        parser.error(f"no row {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}")
    facts = machine() | {"threads": given.threads} | {f"peer_{name}": peers.version(name) for name in _PEERS}
    sys.stdout.write("".join(f"{key}: {value}\n" for key, value in facts.items()))
    rows = compare(names, given)
    sys.stdout.write(show(rows) + "\n")
    if given.save:
        save(rows, facts, given.save)
    failed = any(note.startswith("FAILED") for row in rows for note in row.notes)
    differs = any(not check.passed for row in rows for check in row.checks)
    missed = any(target.verdict == "MISSED" for row in rows for target in row.targets)
    return int(failed or differs or (missed and not given.small))


def compare(names: list[str], given: argparse.Namespace) -> list[Row]:
    """Measure in a scratch folder, after a toy round that compiles the kernels."""
    given.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="genoweave-against-") as temporary:
        folder = given.scratch or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        toy = folder / "toy"
        toy.mkdir(exist_ok=True)
        warm = measure(names, Lab(given.data, toy, toy=True, threads=given.threads))
        if given.small:
            return warm
        return measure(names, Lab(given.data, folder, toy=False, threads=given.threads))


if __name__ == "__main__":
    sys.exit(main())
