"""Time every stage of the pipeline on a simulated cohort: `python benchmarks/stages.py [--save] [--toy]`.

The cohort follows the Balding-Nichols model: four groups, unlinked variants, 0.5 % missing calls. The
pipeline runs on it with a tiny release, and the table is read from the stages' manifests. Kernels are
compiled before the clock starts. A stage's genotypes are those of its largest matrix, counted once, whatever
the number of passes; the peak is the whole process's while the stage runs, sampled.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import xarray as xr
from numpy.typing import NDArray

import genoweave
from genoweave.pipeline.stages import STAGES

GROUPS = 4
FST = 0.05
MISSING = 0.005
BLOCK = 1000  # variants simulated at a time
RESULTS = Path(__file__).parent / "results" / "stages.csv"
TOY = {"samples": 120, "variants": 400}


def cohort(samples: int, variants: int, seed: int) -> xr.Dataset:
    """Simulate `samples` people of four groups over `variants` unlinked variants of one chromosome.

    Group frequencies are Beta around an ancestral frequency, uniform on (0.05, 0.5), with Fst 0.05.
    """
    rng = np.random.default_rng(seed)
    group = np.arange(samples) % GROUPS
    blocks = [min(BLOCK, variants - start) for start in range(0, variants, BLOCK)]
    return xr.Dataset(
        {
            "call_genotype": (
                ("variants", "samples", "ploidy"),
                np.concatenate([calls(rng, n, group) for n in blocks]),
            ),
            "contig_id": ("contigs", np.array(["1"], object)),
            "variant_contig": ("variants", np.zeros(variants, np.int32)),
            "variant_position": ("variants", np.arange(1, variants + 1, dtype=np.int32) * 20_000),
            "variant_id": ("variants", np.array([f"v{i}" for i in range(variants)], object)),
            "variant_allele": (("variants", "alleles"), np.full((variants, 2), ["A", "C"], object)),
            "sample_id": ("samples", np.array([f"s{i}" for i in range(samples)], object)),
            "sample_ancestry": ("samples", np.array([f"group{k}" for k in group], object)),
        }
    )


def calls(rng: np.random.Generator, variants: int, group: NDArray[np.int64]) -> NDArray[np.int8]:
    """Return alleles int8 (variants, samples, 2) of some variants, -1 missing."""
    ancestral = rng.uniform(0.05, 0.5, (variants, 1))
    spread = (1 - FST) / FST
    frequency = rng.beta(ancestral * spread, (1 - ancestral) * spread, (variants, GROUPS))
    out = (rng.random((variants, len(group), 2)) < frequency[:, group, None]).astype(np.int8)
    out[rng.random((variants, len(group))) < MISSING] = -1
    return out


def configuration(folder: Path, workers: int, *, toy: bool) -> dict[str, Any]:
    """Describe a run with a small release of the cohort in `folder`."""
    return {
        "input": {"path": str(folder / "cohort.vcz"), "ancestry": str(folder / "labels.tsv")},
        "qc": {"king_cutoff": 0.1768 if toy else 0.0884},
        "pca": {"n_components": 5 if toy else 20},
        "synthesis": {"per_group": 24 if toy else 250},
        "relatives": {"founders_per_group": 8 if toy else 160},
        "evaluation": {"tsne_samples": 10 if toy else 150, "tsne_perplexity": 5 if toy else 30},
        "release": {"name": "bench", "formats": ["csv"]},
        "cluster": {"workers": workers},
    }


def prepare(folder: Path, samples: int, variants: int, seed: int = 1) -> None:
    """Write the cohort and its labels to `folder`."""
    ds = cohort(samples, variants, seed)
    genoweave.save(ds, folder / "cohort.vcz")
    labels = {"sample_id": ds["sample_id"].values, "group": ds["sample_ancestry"].values}
    pd.DataFrame(labels).to_csv(folder / "labels.tsv", sep="\t", index=False)


def measure(samples: int, variants: int, workers: int = 0, *, toy: bool = False) -> pd.DataFrame:
    """Run the pipeline once in a temporary folder and return a row per stage."""
    with tempfile.TemporaryDirectory(prefix="genoweave-bench-") as name:
        folder = Path(name)
        prepare(folder, samples, variants)
        return stages(genoweave.run(configuration(folder, workers, toy=toy), folder / "run"))


def compile_kernels() -> None:
    """Run everything once at toy size, so that no stage is charged for compiling."""
    measure(**TOY, toy=True)


def stages(run: Path) -> pd.DataFrame:
    """Read wall and CPU seconds, peak memory and rate of each stage from a run's manifests."""
    manifests = [json.loads(path.read_text()) for path in (run / "manifest").glob("*.json")]
    counts = {m["stage"]: m["counts"] for m in manifests}
    order = [stage.name for stage in STAGES]
    table = pd.DataFrame(
        {
            "stage": m["stage"],
            "genotypes": genotypes(m["stage"], counts),
            "wall_seconds": m["wall_seconds"],
            "cpu_seconds": m["cpu_seconds"],
            "peak_mb": m["peak_memory_bytes"] / 1e6,
        }
        for m in sorted(manifests, key=lambda m: order.index(m["stage"]))
    )
    return table.assign(genotypes_per_second=table["genotypes"] / table["wall_seconds"])


def genotypes(stage: str, counts: dict[str, Any]) -> float:
    """Return the size of a stage's largest matrix, or NaN where it reads none."""
    variants = counts["qc"]["variants"]
    synthetic = counts["synthesis"]["synthetic_samples"]
    both = synthetic + counts["relatives"]["synthetic_relatives"]
    sizes = {
        "import": counts["import"]["samples"] * counts["import"]["variants"],
        "qc": counts["import"]["samples"] * counts["import"]["variants"],
        "pca": counts["qc"]["samples"] * variants,
        "synthesis": max(counts["qc"]["samples"], synthetic) * variants,
        "phenotype": synthetic * variants,
        "relatives": both * variants,
        "kinship": both * variants,
        "validate": max(counts["qc"]["samples"], synthetic) * variants,
        "release": both * variants,
    }
    return float(sizes.get(stage, np.nan))


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    names = ("genoweave", "numpy", "numba", "zarr")
    return {
        "date": date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
    } | {name: version(name) for name in names}


def save(table: pd.DataFrame, facts: dict[str, Any], path: Path = RESULTS) -> None:
    """Append the table with the machine's facts to a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = table.assign(genotypes=table["genotypes"].astype("Int64"), **facts)
    whole.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.4g")


def show(table: pd.DataFrame) -> str:
    """Lay out the table for a terminal."""
    lines = [f"{'stage':<11}{'wall s':>9}{'CPU s':>9}{'peak MB':>10}{'genotypes':>13}{'genotypes/s':>14}"]
    for row in table.to_dict("records"):
        size, rate = (
            "" if np.isnan(row[name]) else f"{row[name]:,.0f}"
            for name in ("genotypes", "genotypes_per_second")
        )
        lines.append(
            f"{row['stage']:<11}{row['wall_seconds']:>9.2f}{row['cpu_seconds']:>9.2f}{row['peak_mb']:>10,.0f}"
            f"{size:>13}{rate:>14}"
        )
    lines.append(f"{'all':<11}{table['wall_seconds'].sum():>9.2f}{table['cpu_seconds'].sum():>9.2f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Parse, measure, print, save."""
    parser = argparse.ArgumentParser(description="Time every stage of the pipeline on a simulated cohort.")
    parser.add_argument("--samples", type=int, default=2000, help="real samples (default 2,000)")
    parser.add_argument("--variants", type=int, default=10_000, help="variants (default 10,000)")
    parser.add_argument("--workers", type=int, default=0, help="local worker processes; 0 uses threads")
    parser.add_argument("--toy", action="store_true", help="toy size, to see that it works")
    parser.add_argument("--save", action="store_true", help=f"append to {RESULTS.name} in results/")
    given = parser.parse_args(arguments)
    size = TOY if given.toy else {"samples": given.samples, "variants": given.variants}
    if not given.toy:
        compile_kernels()
    table = measure(**size, workers=given.workers, toy=given.toy)
    facts = {**size, "workers": given.workers, **machine()}
    sys.stdout.write(f"{json.dumps(facts)}\n{show(table)}\n")
    if given.save:
        save(table, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
