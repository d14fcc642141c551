"""Run the whole pipeline on the paper's input: `python benchmarks/paper_scale.py --folder DIR [--save]`.

Makes the input (245,394 samples x 202,959 variants, a .bed of 12.4 GB) in DIR unless it is there, runs
`genoweave run` with the paper's settings in a process of its own, and watches the memory of all its processes
and the disk that the run folder takes. Scales such as `--scale-samples 1/4` give the points of a cost curve
(curves.py); the synthetic cohort is scaled with the samples.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
from measuring import Measured, machine, run
from shapes import PAPER, Shape, genoweave, make, scaled
from stages import stages

RESULTS = Path(__file__).parent / "results" / "paper_scale.csv"
PER_GROUP = 5_000
_SMALLEST_GROUP = 400
TOY = Shape(600, 8_000, paper=True)  # 283 variants pass
_TOY_SETTINGS: dict[str, dict[str, Any]] = {
    "qc": {"king_cutoff": 0.25},
    "pca": {"n_components": 5},
    "synthesis": {"per_group": 24},
    "relatives": {"founders_per_group": 8},
    "evaluation": {"tsne_samples": 10, "tsne_perplexity": 5},
}


def configuration(prefix: Path, shape: Shape, workers: int, *, convert: bool) -> str:
    """Return the configuration: the paper's, but for the size of the synthetic cohort.

    The paper counts 34,200 people: 5,000 synthetic ones a group and the 700 descendants of 800 of them.
    """
    per_group = max(_SMALLEST_GROUP, round(PER_GROUP * shape.samples / PAPER.samples))
    values: dict[str, dict[str, Any]] = {
        "input": {"path": f"{prefix}.bed", "ancestry": f"{prefix}.ancestry.tsv", "convert": convert},
        "synthesis": {"per_group": per_group},
        "relatives": {"founders_per_group": 8 * round(100 * per_group / PER_GROUP)},
        "release": {"name": "paper"},
        "cluster": {"workers": workers},
    }
    if shape == TOY:
        values |= _TOY_SETTINGS
    lines = [
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for section, keys in values.items()
    ]
    return "\n".join(lines)


def execute(folder: Path, shape: Shape, workers: int, *, convert: bool) -> tuple[Measured, Path]:
    """Make the input, run the pipeline; return what it took and the run folder."""
    name = f"paper-{shape.samples}x{shape.variants}"
    prefix = make(shape, folder / ("paper" if shape == PAPER else name))
    config, out = folder / f"{name}.toml", folder / f"{name}-run"
    shutil.rmtree(out, ignore_errors=True)  # else what is done would be kept
    config.write_text(configuration(prefix, shape, workers, convert=convert))
    return run([*genoweave(), "run", str(config), "--out", str(out), "--quiet"], watch=out), out


def sizes(out: Path) -> dict[str, int]:
    """Return the numbers of samples and variants along the way."""
    counts = {path.stem: json.loads(path.read_text())["counts"] for path in (out / "manifest").glob("*.json")}
    return {
        "samples": counts["import"]["samples"],
        "variants": counts["import"]["variants"],
        "qc_samples": counts["qc"]["samples"],
        "qc_variants": counts["qc"]["variants"],
        "synthetic": counts["synthesis"]["synthetic_samples"],
        "relatives": counts["relatives"]["synthetic_relatives"],
    }


def report(measured: Measured, out: Path) -> pd.DataFrame:
    """Return the stages and a last row for the whole command."""
    table = stages(out)
    table.insert(3, "peak_gib", table.pop("peak_mb") * 1e6 / 2**30)
    whole = {
        "stage": "whole command",
        "wall_seconds": measured.wall,
        "cpu_seconds": measured.cpu,
        "peak_gib": measured.peak_bytes / 2**30,
        "disk_gib": measured.disk_bytes / 2**30,
    }
    return pd.concat([table, pd.DataFrame([whole])], ignore_index=True).assign(**sizes(out))


def save(table: pd.DataFrame, facts: dict[str, Any], path: Path) -> None:
    """Append to the CSV file; write this run alone as JSON beside it."""
    whole = table.assign(**facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    records = json.loads(table.to_json(orient="records"))
    path.with_suffix(".json").write_text(json.dumps({"machine": facts, "stages": records}, indent=1) + "\n")
    if path.exists():
        whole = pd.concat([pd.read_csv(path), whole])
    whole.to_csv(path, index=False, float_format="%.5g")


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, print, save."""
    parser = argparse.ArgumentParser(description="Run the whole pipeline on the paper's input.")
    parser.add_argument("--folder", type=Path, default=Path("data"), help="input and run (default: data)")
    parser.add_argument("--scale-samples", type=Fraction, default=Fraction(1), help="share, as 1/4")
    parser.add_argument("--scale-variants", type=Fraction, default=Fraction(1), help="share, as 1/4")
    parser.add_argument("--workers", type=int, default=0, help="local worker processes; 0 uses threads")
    parser.add_argument("--convert", action="store_true", help="copy the .bed to a store first")
    parser.add_argument("--toy", action="store_true", help="toy size and settings, to see that it works")
    parser.add_argument(
        "--save", type=Path, nargs="?", const=RESULTS, help=f"append to {RESULTS.name}, or a CSV"
    )
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    shape = TOY if given.toy else scaled(PAPER, given.scale_samples, given.scale_variants)
    measured, out = execute(given.folder, shape, given.workers, convert=given.convert)
    table = report(measured, out)
    sys.stdout.write(table.to_string(index=False, float_format=lambda x: f"{x:,.3g}") + "\n")
    if given.save:
        save(table, {"workers": given.workers, "convert": given.convert, **machine()}, given.save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
