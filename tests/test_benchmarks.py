"""The benchmark runs at toy size, so that it cannot rot."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STAGES = ["import", "qc", "pca", "ancestry", "synthesis", "phenotype", "watermark", "relatives", "kinship",
          "validate", "release"]  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_stages", BENCHMARKS / "stages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_stages__toy_run_gives_a_row_per_stage(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "results" / "stages.csv"
    monkeypatch.setattr(bench.save, "__defaults__", (saved,))
    assert bench.main(["--toy", "--save"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{stage} " in shown for stage in STAGES)
    table = pd.read_csv(saved)
    assert list(table["stage"]) == STAGES
    assert (table["wall_seconds"] > 0).all()
    assert (table["peak_mb"] > 10).all()
    assert table.loc[0, "genotypes"] == 120 * 400
    assert {"cores", "system", "genoweave"} <= set(table.columns)


def test_cohort__has_the_frequencies_and_missing_calls_it_says(bench: ModuleType) -> None:
    ds = bench.cohort(400, 1500, seed=1)
    calls = ds["call_genotype"].values
    assert calls.shape == (1500, 400, 2)
    assert set(np.unique(calls)) == {-1, 0, 1}
    # 600,000 calls: 5 standard errors of the share
    assert abs((calls[:, :, 0] < 0).mean() - bench.MISSING) < 5 * np.sqrt(bench.MISSING / 600_000)
    # mean of uniform frequencies on (0.05, 0.5); 5 standard errors over 1,500 variants
    assert abs(calls[calls >= 0].mean() - 0.275) < 5 * 0.13 / np.sqrt(1500)
    assert (ds["sample_ancestry"].to_series().value_counts() == 100).all()
