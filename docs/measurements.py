"""Tables of the documentation that are made of saved benchmark runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.append(str(ROOT / "benchmarks"))

import curves  # noqa: E402  (the folder of the benchmarks is no package)


def table(head: list[str], rows: list[list[str]]) -> str:
    """Lay out a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def number(value: Any, digits: int = 3) -> str:
    """Write a number to some digits, or nothing where there is none."""
    if pd.isna(value):
        return ""
    text = f"{float(value):.{digits}g}"
    return f"{float(text):,.0f}" if abs(float(text)) >= 100 else f"{float(text):g}"


def machine(row: pd.Series) -> str:
    """Describe where and when a run was made."""
    pinned = row.get("openblas_coretype")
    core = f", OPENBLAS_CORETYPE={pinned}" if isinstance(pinned, str) and pinned else ""
    return f"{row['system']}, {row['cores']:.0f} cores, {row['memory_gb']:.0f} GB{core}, {row['date']}"


def paper_scale() -> str:
    """The last full run of paper_scale.py: a row per stage."""
    saved = pd.read_csv(RESULTS / "paper_scale.csv")
    full = saved[saved["samples"] * saved["variants"] == (saved["samples"] * saved["variants"]).max()]
    last = full.drop_duplicates("stage", keep="last")
    one = last.iloc[0]
    rows = [
        [
            str(row["stage"]),
            number(row["wall_seconds"]),
            number(row["cpu_seconds"]),
            number(row["peak_gib"]),
            number(row["genotypes"] / 1e9),
            number(row["genotypes_per_second"] / 1e9),
        ]
        for row in last.to_dict("records")
    ]
    disk = number(last["disk_gib"].max())
    head = ["stage", "wall (s)", "CPU (s)", "peak memory (GiB)", "genotypes (G)", "genotypes (G/s)"]
    return (
        f"{one['samples']:,.0f} samples x {one['variants']:,.0f} variants in, {one['qc_samples']:,.0f} x "
        f"{one['qc_variants']:,.0f} after quality control, {one['synthetic']:,.0f} synthetic samples and "
        f"{one['relatives']:,.0f} relatives; {machine(one)}. The run folder took at most {disk} GiB.\n\n"
        + table(head, rows)
    )


def against() -> str:
    """The last comparison of against.py: programs, and whether the targets were met."""
    saved = pd.read_csv(RESULTS / "against.csv")
    tasks = saved.drop_duplicates("task", keep="last")["task"]
    rows, remarks = [], []
    for task in tasks:
        part = saved[saved["task"] == task]
        part = part[part["date"] == part["date"].iloc[-1]].drop_duplicates(["program", "shape"], keep="last")
        for row in part.to_dict("records"):
            rows.append(
                [
                    task,
                    str(row["program"]),
                    str(row["shape"]),
                    number(row["cpu_seconds"]) or "absent",
                    number(row["wall_seconds"]),
                    number(row["peak_gib"]),
                    number(row["cpu_per_ours"]),
                ]
            )
        for column in ("targets", "checks"):
            remarks += [f"- {task}: {text}\n" for text in part[column].dropna().drop_duplicates()]
    head = ["task", "program", "data", "CPU (s)", "wall (s)", "peak (GiB)", "CPU per work, ours = 1"]
    return f"{machine(saved.iloc[-1])}.\n\n" + table(head, rows) + "\n" + "".join(remarks)


def prediction() -> str:
    """The fitted model's prediction for a larger cohort."""
    model = curves.fit(pd.read_csv(RESULTS / "paper_scale.csv"))
    size = curves.size_at(500_000, 800_000)
    parts = {cores: curves.predict(model, size, cores).set_index("stage") for cores in (2, 64, 1_000)}
    rows = [
        [
            str(stage),
            number(parts[2].loc[stage, "cpu_seconds"]),
            *(number(part.loc[stage, "wall_seconds"]) for part in parts.values()),
        ]
        for stage in parts[2].index
    ]
    return table(["stage", "CPU (s)", *(f"wall, {cores:,} cores (s)" for cores in parts)], rows)
