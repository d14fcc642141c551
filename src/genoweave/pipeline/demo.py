"""The whole job on a simulated cohort, small enough for a first look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from genoweave.config import PRESETS, build, to_toml
from genoweave.io import store
from genoweave.io.files import write_atomic
from genoweave.io.release import write_tsv
from genoweave.methods.simulate import Simulation, simulate
from genoweave.pipeline.run import prepare, run

COHORT = "founders.vcz"
LABELS = "founders.ancestry.tsv"


def run_demo(folder: Path, *, seed: int = 1, workers: int = 0, quiet: bool = False) -> Path:
    """Simulate founders of six populations and run the pipeline with the small preset.

    Parameters
    ----------
    folder
        The run folder; the simulated cohort and the configuration go to its ``input/``.
    seed
        Public seed of simulation and run.
    workers
        Local worker processes; 0 uses threads.
    quiet
        No progress bars.

    Returns
    -------
    pathlib.Path
        The run folder.
    """
    folder = Path(folder).resolve()
    config = _configuration(folder, seed, workers)
    prepare(folder, config)
    inputs = folder / "input"
    if not ((inputs / COHORT).exists() and (inputs / LABELS).exists()):
        ds = simulate(Simulation(seed=seed))
        store.write(ds, inputs / COHORT, (1024, 4096), token=str(seed))
        labels = {"sample_id": ds["sample_id"].values, "ancestry": ds["sample_ancestry"].values}
        write_tsv(pd.DataFrame(labels), inputs / LABELS)
    write_atomic(inputs / "demo.toml", to_toml(config))
    return run(config, folder, quiet=quiet)


def _configuration(folder: Path, seed: int, workers: int) -> Any:
    values: dict[str, Any] = {name: dict(section) for name, section in PRESETS["small"].items()}
    inputs = folder / "input"
    values["input"] = {"path": str(inputs / COHORT), "ancestry": str(inputs / LABELS)}
    values["release"] = {"name": "demo"}
    values["cluster"] = {"workers": workers}
    return build({"seed": seed, **values})
