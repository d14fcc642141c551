"""Fit a cost model to runs of paper_scale.py and predict larger ones: `python benchmarks/curves.py`.

CPU seconds of a stage are a sum of terms with coefficients of 0 or more, fitted by relative least squares
over the runs in results/paper_scale.csv. The terms are the stage's operations: genotypes read, pairs x
variants, variants squared x samples for components, and a constant. With `--images` it draws the curves,
and the ratios of the last comparison in results/against.csv, for the documentation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import nnls

HERE = Path(__file__).parent
RUNS = HERE / "results" / "paper_scale.csv"
AGAINST = HERE / "results" / "against.csv"
IMAGES = HERE.parent / "docs" / "images"

# What a prediction assumes beside the fitted terms.
QC_SAMPLE_SHARE = 184_712 / 245_394
QC_VARIANT_SHARE = 7_180 / 202_959
SYNTHETIC, RELATIVES = 30_000, 4_200
EFFICIENCY = 0.8  # of many cores against two: waiting for storage and for the last tasks
# Beyond so many variants components come from block Lanczos on the genotypes, which the runs did not use: 2
# products of all genotypes with 2,500 columns in all (200 components), at the rate of the kernel for them.
MOST_GRAM_VARIANTS = 8_192
STREAMED_COLUMNS = 2_500
STREAMED_PER_SECOND = 79e9  # genotypes x columns


@dataclass(frozen=True)
class Size:
    """Samples and variants before and after quality control, and the cohorts that are made."""

    samples: float
    variants: float
    qc_samples: float
    qc_variants: float
    synthetic: float = SYNTHETIC
    relatives: float = RELATIVES


Term = tuple[str, bool, Callable[[Size], float]]  # what it counts, whether it spreads over cores, how many

_ONCE: Term = ("start", False, lambda s: 1.0)
_INPUT: Term = ("input genotypes", True, lambda s: s.samples * s.variants)
_DONORS: Term = ("donors' genotypes", True, lambda s: s.qc_samples * s.qc_variants)
_MADE: Term = ("synthetic genotypes", True, lambda s: (s.synthetic + s.relatives) * s.qc_variants)
_PAIRS: Term = ("pairs x variants", True, lambda s: s.samples**2 / 2 * s.qc_variants)
_MADE_PAIRS: Term = (
    "synthetic pairs x variants", True, lambda s: (s.synthetic + s.relatives) ** 2 / 2 * s.qc_variants
)  # fmt: skip
_GRAM: Term = ("variants^2 x samples", True, lambda s: s.qc_variants**2 * s.qc_samples)
_EIGEN: Term = ("variants^3", False, lambda s: s.qc_variants**3)

TERMS: dict[str, tuple[Term, ...]] = {
    "import": (_ONCE, _INPUT),
    "qc": (_ONCE, _INPUT, _PAIRS),
    "pca": (_ONCE, _DONORS, _GRAM, _EIGEN),
    "ancestry": (_ONCE, _DONORS),
    "synthesis": (_ONCE, _DONORS, _MADE),
    "phenotype": (_ONCE, _MADE),
    "watermark": (_ONCE, _MADE),
    "relatives": (_ONCE, _MADE),
    "kinship": (_ONCE, _MADE_PAIRS),
    "validate": (_ONCE, _DONORS, _MADE),
    "release": (_ONCE, _MADE),
}


def sizes_of(runs: pd.DataFrame) -> list[Size]:
    """Return the size of each row of a table of runs."""
    names = list(Size.__dataclass_fields__)
    return [Size(**{str(k): float(v) for k, v in row.items()}) for row in runs[names].to_dict("records")]


def features(stage: str, size: Size) -> NDArray[np.float64]:
    """Return how many of each of its terms a stage does."""
    return np.array([count(size) for _, _, count in TERMS[stage]])


def fit(runs: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the CPU seconds per unit of each term of each stage.

    Errors count relative to the time, so that small runs matter as large ones. Terms that the runs cannot
    tell apart share the time in a way that only runs of other shapes would settle.
    """
    out = {}
    for stage, rows in runs[runs["stage"].isin(TERMS)].groupby("stage"):
        x = np.array([features(str(stage), size) for size in sizes_of(rows)])
        seconds = rows["cpu_seconds"].to_numpy(float)
        weighted = x / seconds[:, None]
        scale = np.abs(weighted).max(axis=0)
        coefficients, _ = nnls(weighted / scale, np.ones(len(x)))
        out[str(stage)] = coefficients / scale
    return out


def size_at(samples: float, variants: float) -> Size:
    """Return the size of a run with the paper's shares of quality control and synthetic cohort."""
    return Size(samples, variants, samples * QC_SAMPLE_SHARE, variants * QC_VARIANT_SHARE)


def predict(model: dict[str, NDArray[np.float64]], size: Size, cores: int) -> pd.DataFrame:
    """Return CPU and wall seconds of each stage on so many cores like those of the runs.

    Terms that spread take CPU seconds / (cores x efficiency), the efficiency being 1 for two cores and
    `EFFICIENCY` beyond; the others run on one core.
    """
    efficiency = 1.0 if cores <= 2 else EFFICIENCY
    rows = []
    for stage in (name for name in TERMS if name in model):
        seconds = model[stage] * features(stage, size)
        spread = np.array([spreads for _, spreads, _ in TERMS[stage]])
        if stage == "pca" and size.qc_variants > MOST_GRAM_VARIANTS:
            streamed = 2 * size.qc_samples * size.qc_variants * STREAMED_COLUMNS / STREAMED_PER_SECOND
            seconds, spread = np.array([seconds[0], streamed]), np.array([False, True])
        wall = seconds[spread].sum() / (cores * efficiency) + seconds[~spread].sum()
        rows.append({"stage": stage, "cpu_seconds": seconds.sum(), "wall_seconds": wall})
    table = pd.DataFrame(rows)
    whole = {"stage": "all"} | table[["cpu_seconds", "wall_seconds"]].sum().to_dict()
    return pd.concat([table, pd.DataFrame([whole])], ignore_index=True)


def draw_curves(runs: pd.DataFrame, model: dict[str, NDArray[np.float64]], path: Path) -> None:
    """Draw CPU seconds of each stage over input genotypes, log-log, measured and fitted."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    scales = np.geomspace(1 / 64, 8, 40)
    for i, (stage, rows) in enumerate(runs[runs["stage"].isin(TERMS)].groupby("stage", sort=False)):
        color, marker, style = f"C{i % 10}", "os"[i // 10], ("-", "--")[i // 10]
        line = [size_at(245_394 * s**0.5, 202_959 * s**0.5) for s in scales]
        fitted = [float(model[str(stage)] @ features(str(stage), size)) for size in line]
        axes.plot([size.samples * size.variants for size in line], fitted, style, color=color, lw=1)
        genotypes = rows["samples"] * rows["variants"]
        axes.plot(genotypes, rows["cpu_seconds"], marker, color=color, label=str(stage))
    axes.set(xscale="log", yscale="log", xlabel="input genotypes", ylabel="CPU seconds")
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=150)


def draw_ratios(against: pd.DataFrame, path: Path) -> None:
    """Draw the CPU seconds of other programs over ours for the same work, log scale."""
    from matplotlib.figure import Figure

    last = against.dropna(subset=["cpu_per_ours"]).drop_duplicates(["task", "program"], keep="last")
    last = last[~last["program"].str.startswith("genoweave")].iloc[::-1]
    figure = Figure(figsize=(8, 0.45 * len(last) + 1), layout="constrained")
    axes = figure.add_subplot()
    labels = last["task"] + ": " + last["program"]
    bars = axes.barh(labels, last["cpu_per_ours"], color="C0")
    axes.bar_label(bars, [f" {value:.3g}" for value in last["cpu_per_ours"]])
    axes.axvline(1, color="black", lw=1)
    axes.set(xscale="log", xlabel="CPU seconds over genoweave's, for the same work")
    axes.margins(x=0.15)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> int:
    """Fit, predict, print, draw."""
    parser = argparse.ArgumentParser(description="Fit a cost model to runs of paper_scale.py.")
    parser.add_argument("--runs", type=Path, default=RUNS, help="CSV of paper_scale.py")
    parser.add_argument("--against", type=Path, default=AGAINST, help="CSV of against.py")
    parser.add_argument("--samples", type=float, default=500_000, help="to predict (default 500,000)")
    parser.add_argument("--variants", type=float, default=800_000, help="to predict (default 800,000)")
    parser.add_argument(
        "--images", type=Path, nargs="?", const=IMAGES, help="draw, in docs/images or this folder"
    )
    given = parser.parse_args(arguments)
    runs = pd.read_csv(given.runs)
    model = fit(runs)
    for stage, coefficients in model.items():
        terms = (
            f"{c:.3g} s x {name}" for c, (name, _, _) in zip(coefficients, TERMS[stage], strict=True) if c
        )
        sys.stdout.write(f"{stage}: {' + '.join(terms)}\n")
    size = size_at(given.samples, given.variants)
    sys.stdout.write(
        f"\n{size.samples:,.0f} x {size.variants:,.0f}, of which {size.qc_samples:,.0f} x "
        f"{size.qc_variants:,.0f} "
        f"pass quality control; cores like the runs', efficiency {EFFICIENCY:g} beyond two\n"
    )
    for cores in (2, 64, 1_000):
        table = predict(model, size, cores)
        text = table.to_string(index=False, float_format="{:,.1f}".format)
        sys.stdout.write(f"\n{cores:,} cores\n{text}\n")
    if given.images:
        given.images.mkdir(parents=True, exist_ok=True)
        draw_curves(runs, model, given.images / "cost_curves.svg")
        if given.against.exists():
            draw_ratios(pd.read_csv(given.against), given.images / "against.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
