"""What a run will cost, what it says while it runs, and what is refused before it starts."""

import dataclasses
import json
from pathlib import Path

import pytest

from genoweave.chunks import parse_bytes
from genoweave.config import build
from genoweave.errors import DataError, MemoryBudgetError, StoreError
from genoweave.pipeline import run as runs
from genoweave.pipeline.context import Context
from genoweave.pipeline.plan import Shape, check_memory, memory_limit, plan, shape_of
from genoweave.pipeline.progress import StatusFile
from genoweave.pipeline.run import run, status
from tests.small_cohort import (
    N_VARIANTS,
    STAGES,
    Cohort,
    files_of,
    manifests,
    off,
    place_key,
    run_command,
    values,
    write_config,
)

# An upper bound that nobody believes is no plan: it must be within this factor of what was used.
LOOSE = 4


def test_plan__has_a_positive_cost_for_each_stage(cohort: Cohort) -> None:
    config = build(values(cohort))
    assert shape_of(config) == Shape(len(cohort.sample_ids), N_VARIANTS, 4)
    rows = plan(config)
    assert [row.stage for row in rows] == list(STAGES)
    for row in rows:
        assert row.tasks > 0
        assert row.bytes_read > 0
        assert row.bytes_written > 0
        assert row.peak_bytes > 0


def test_plan__leaves_out_disabled_stages(cohort: Cohort) -> None:
    config = build(values(cohort, **off("watermark", "phenotype", "evaluation")))
    assert {row.stage for row in plan(config)} == set(STAGES) - {"watermark", "phenotype", "validate"}


def test_plan__grows_with_the_cohort(cohort: Cohort) -> None:
    config = build(values(cohort))
    small, large = (plan(config, Shape(n, m, 4)) for n, m in ((1_000, 10_000), (100_000, 500_000)))
    by_stage = {row.stage: row for row in small}
    for row in large:
        if row.stage in ("import", "qc", "pca", "synthesis"):
            assert row.tasks > by_stage[row.stage].tasks
        assert row.bytes_read >= by_stage[row.stage].bytes_read
        assert row.peak_bytes >= by_stage[row.stage].peak_bytes
    # the biobank's matrix is far larger than what a stage holds of it
    assert max(row.peak_bytes for row in large) < 100_000 * 500_000


def test_plan__bytes_written_bound_what_was_written(cohort: Cohort, finished: Path) -> None:
    planned = {row.stage: row.bytes_written for row in plan(build(values(cohort)))}
    found = {
        stage: sum(o["bytes"] for o in m["outputs"].values()) for stage, m in manifests(finished).items()
    }
    for stage in ("import", "qc", "synthesis", "relatives", "release"):
        # fixed parts (names of 600 variants, a directory of tables) count for much in a small cohort
        assert planned[stage] + 400_000 >= found[stage], stage


@pytest.fixture(scope="module")
def biobank(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A configuration for a cohort that is large beside what Python itself needs."""
    bed = tmp_path_factory.mktemp("biobank") / "people.bed"
    sizes = ("--model", "balding-nichols", "--samples", 20_000, "--variants", 4_000)
    done = run_command("simulate", bed, *sizes, "--quiet")
    assert done.returncode == 0, done.stderr
    given = {"path": str(bed), "ancestry": str(bed.with_name("people.ancestry.tsv"))}
    return {
        "input": given, "pca": {"n_components": 10}, "ancestry": {"classifier": "centroid"},
        "synthesis": {"per_group": 1000, "filter_components": 5}, "watermark": {"n": 4},
        "relatives": {"founders_per_group": 160}, "evaluation": {"tsne_samples": 20, "tsne_perplexity": 5.0},
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"pca": {"n_components": 10, "solver": "randomized"}}])
def test_plan__peak_memory_bounds_what_was_used(biobank: dict, tmp_path: Path, changes: dict) -> None:
    """In a process of its own: the measure is that of the whole process."""
    settings = biobank | changes
    if changes:
        settings |= off("phenotype", "watermark", "relatives", "kinship", "evaluation", "release")
    folder = place_key(tmp_path / "run")
    done = run_command("run", write_config(tmp_path / "c.toml", settings), "--out", folder, "--quiet")
    assert done.returncode == 0, done.stderr
    found = manifests(folder)
    for row in plan(build(settings)):
        used = found[row.stage]["peak_memory_bytes"]
        assert used <= row.peak_bytes <= LOOSE * used, row.stage


@pytest.mark.parametrize("limit", ["200MiB", "1e8", "300 MB"])
def test_memory_limit__is_refused_before_anything_is_written(
    cohort: Cohort, tmp_path: Path, limit: str
) -> None:
    settings = values(cohort, cluster={"memory_limit": limit})
    assert memory_limit(build(settings)) == parse_bytes(limit)
    with pytest.raises(
        MemoryBudgetError, match=r"stage \w+ needs up to .* of memory and may use .*raise --memory-limit"
    ):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_memory_limit__refused_run_leaves_a_finished_one_alone(cohort: Cohort, copied: Path) -> None:
    before = files_of(copied)
    with pytest.raises(MemoryBudgetError):
        run(values(cohort, qc={"maf": 0.2}, cluster={"memory_limit": "100MiB"}), copied)
    assert files_of(copied) == before


def test_memory_limit__does_not_bind_a_remote_scheduler(cohort: Cohort) -> None:
    """Its workers are elsewhere: this machine's memory says nothing of theirs."""
    settings = values(cohort, cluster={"memory_limit": "100MiB", "scheduler": "tcp://far.away:8786"})
    assert check_memory(build(settings))


def test_status__of_a_finished_run(finished: Path) -> None:
    state = status(finished)
    assert list(state["stages"]) == sorted(state["stages"]) or set(state["stages"]) == set(STAGES)
    assert set(state["stages"].values()) == {"done"}
    assert state["step"] is None


def with_stage(monkeypatch: pytest.MonkeyPatch, name: str, function) -> None:
    """Replace what one stage does."""

    def changed(context: Context) -> list:
        return [
            dataclasses.replace(s, run=function(s.run)) if s.name == name else s for s in original(context)
        ]

    original = runs.enabled_stages
    monkeypatch.setattr(runs, "enabled_stages", changed)


def test_status__while_a_stage_runs(cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def spied(original):
        def spy(context: Context):
            counts = original(context)
            found.append(status(context.folder))
            return counts

        return spy

    with_stage(monkeypatch, "pca", spied)
    last = off("phenotype", "watermark", "relatives", "kinship", "evaluation", "release")
    run(values(cohort, **last), tmp_path / "run")
    (state,) = found
    assert state["stages"] == {"import": "done", "qc": "done", "pca": "running", "ancestry": "waiting",
                               "synthesis": "waiting"}  # fmt: skip
    step = state["step"]
    assert step is None or 1 <= step["done"] <= step["total"]


def test_status__after_a_failure(cohort: Cohort, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_):
        def fail(context: Context):
            raise DataError("nothing to see")

        return fail

    with monkeypatch.context() as patch:
        with_stage(patch, "watermark", failing)
        with pytest.raises(DataError, match="nothing to see"):
            run(values(cohort, watermark={"n": 5}), copied)
    state = status(copied)["stages"]
    assert state["phenotype"] == "kept"
    assert state["watermark"] == "failed"
    assert state["relatives"] == state["release"] == "waiting"
    assert not (copied / "manifest/watermark.json").exists()
    run(values(cohort, watermark={"n": 5}, **off("evaluation")), copied)
    assert status(copied)["stages"]["watermark"] == "done"


def test_status__of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a run folder"):
        status(tmp_path)
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(StoreError, match="not a run folder"):
        status(tmp_path)


def test_status_file__is_written_at_most_twice_a_second(tmp_path: Path) -> None:
    file = StatusFile(tmp_path / "status.json", ["one"])
    file.stage("one", "running")
    for done in range(1, 50):
        file.step("count", done, 50)
    assert json.loads((tmp_path / "status.json").read_text())["step"] is None
    file._next = 0.0
    file.step("count", 50, 50)
    assert json.loads((tmp_path / "status.json").read_text())["step"] == {
        "label": "count",
        "done": 50,
        "total": 50,
    }
