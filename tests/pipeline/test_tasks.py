"""A run's tasks: few at a time, as many as planned at most, with small arguments."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genoweave.chunks import ranges
from genoweave.config import build
from genoweave.errors import ConfigError
from genoweave.execution import WINDOW_PER_SLOT
from genoweave.methods import bit_planes, kinship
from genoweave.methods.bit_planes import BitPlanes
from genoweave.pipeline import plan as plans
from genoweave.pipeline import run as runs
from genoweave.pipeline.plan import MOST_TASKS, Shape, check_memory, king_tasks, plan, refuse_too_many_tasks
from genoweave.pipeline.run import run
from tests.schedulers import ProcessPool, Spy
from tests.small_cohort import (
    Cohort,
    check_same_run,
    make_tiled_cohort,
    off,
    place_key,
    values,
)

SLOTS = 3
LARGEST_ARGUMENTS = 100_000
# Each takes the counts of 4,096 variants in 3 groups with it.
COUNTS_OF_A_TEST = 4096 * 3 * 3 * 8 + 1000
# What all tasks of a pass have in common: loadings, masks, ids; not the genotypes.
LARGEST_SHARED = 2_000_000


@contextmanager
def run_on(executor: object) -> Iterator[None]:
    """Let runs inside work on an executor of ours."""

    @contextmanager
    def ours(_: object) -> Iterator[object]:
        yield executor

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_executor", ours)
        yield


def on_spy(settings: dict, folder: Path) -> Spy:
    """Make a run, and tell what it submitted in each stage."""
    spy = Spy(SLOTS)

    def watched(stage: runs.Stage) -> runs.Stage:
        def work(context: runs.Context) -> dict:
            spy.stage = stage.name
            return stage.run(context)

        return dataclasses.replace(stage, run=work)

    original = runs.enabled_stages
    with pytest.MonkeyPatch.context() as patch, run_on(spy):
        patch.setattr(runs, "enabled_stages", lambda context: [watched(s) for s in original(context)])
        patch.setattr("genoweave.report.write_report", lambda *a, **k: None)
        run(settings, place_key(folder), quiet=True)
    spy.close()
    return spy


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_tiled_cohort(tmp_path_factory.mktemp("tiled"))


def all_stages(cohort: Cohort, **sections: dict) -> dict:
    return values(cohort, **({"qc": {"king_cutoff": 0.3}} | sections))


CASES = {
    "converted": {},
    "read where it is": {"input": {"convert": False}},
    "components in passes": {"pca": {"solver": "randomized", "n_components": 5}},
    "small chunks": {"storage": {"variant_chunk": 50, "sample_chunk": 30}},
    "a trait of many parts": {
        "phenotype": {
            "h2s": 0.5, "dominance": 0.1, "epistasis": 0.1, "n_pairs": 600, "interaction": 0.1, "delta": 0.2,
            "stratification": 0.2, "stratification_components": 3, "heritability_by_group": {"group0": 0.5},
            "covariates": [{"name": "age", "depends_on": "pcs"}],
        }
    },
    "hidden watermarks": {
        "watermark": {"kind": "qc-proof", "n": 8, "z_min": 2, "z_max": 3}, "relatives": {"enabled": False},
    },
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_run__keeps_its_tasks_few_and_small(
    tiled: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    settings = all_stages(tiled, **CASES[case])
    spy = on_spy(settings, tmp_path / "run")
    assert 0 < spy.most_in_flight <= WINDOW_PER_SLOT * SLOTS
    monkeypatch.setattr(plans, "slots", lambda config: SLOTS)
    planned = {row.stage: row.tasks for row in plan(build(settings))}
    assert sum(spy.tasks.values()) > 50
    too_many = {name: (n, planned[name]) for name, n in spy.tasks.items() if n > planned[name]}
    assert not too_many, "tasks (submitted, planned)"
    for stage in ("qc", "watermark"):
        assert spy.own_bytes.pop(f"{stage}: _smallest_p", 0) < COUNTS_OF_A_TEST
    assert {name: size for name, size in spy.own_bytes.items() if size > LARGEST_ARGUMENTS} == {}
    assert {name: size for name, size in spy.shared_bytes.items() if size > LARGEST_SHARED} == {}


@pytest.mark.parametrize("people", [100, 513, 9000, 40_000])
@pytest.mark.parametrize("variants", [100, 16 * 1024, 16 * 1024 + 1, 50_000])
def test_king_tasks__are_those_of_king(people: int, variants: int) -> None:
    planes = BitPlanes(Path("planes"), variants, people)
    written = planes.tiles * len(list(ranges(people, bit_planes._BLOCK_SAMPLES)))
    assert king_tasks(people, variants) == written + len(kinship._blocks(planes))


@pytest.mark.distributed
def test_run__on_a_process_pool_is_the_same(cohort: Cohort, finished: Path, tmp_path: Path) -> None:
    pool = ProcessPool(2)
    with run_on(pool):
        made = run(values(cohort), place_key(tmp_path / "run"), quiet=True)
    pool.close()
    check_same_run(made, finished)


@pytest.mark.parametrize(
    ("shape", "chunk", "stage"),
    [(Shape(500_000, 300_000_000, 5), 1024, "pca"), (Shape(2000, 2_000_000, 5), 3, "import"),
     (Shape(4_000_000, 100_000, 5), 1024, "qc")],
)  # fmt: skip
def test_plan__refuses_too_many_tasks(cohort: Cohort, shape: Shape, chunk: int, stage: str) -> None:
    settings = values(cohort, storage={"variant_chunk": chunk}, qc={"king_cutoff": 0.1})
    rows = plan(build(settings), shape)
    assert {row.stage: row.tasks for row in rows}[stage] > MOST_TASKS
    with pytest.raises(ConfigError, match=rf"stage \w+ would be cut into \d+ tasks, more than {MOST_TASKS}"):
        refuse_too_many_tasks(rows)


def test_plan__bears_the_largest_cohorts(cohort: Cohort) -> None:
    refuse_too_many_tasks(plan(build(values(cohort, qc={"king_cutoff": 0.1})), Shape(500_000, 1_000_000, 6)))


def test_run__of_too_many_tasks_is_refused_before_anything_is_written(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plans, "shape_of", lambda config: Shape(2000, 2_000_000, 5))
    settings = values(cohort, storage={"variant_chunk": 2})
    with pytest.raises(ConfigError, match="tasks"):
        check_memory(build(settings))
    with pytest.raises(ConfigError, match=r"raise \[storage\] variant_chunk"):
        run(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run__leaves_out_stages_that_submit_nothing(tiled: Cohort, tmp_path: Path) -> None:
    later = off("phenotype", "watermark", "relatives", "kinship", "evaluation", "release")
    spy = on_spy(values(tiled, **later), tmp_path / "run")
    assert set(spy.tasks) == {"import", "qc", "pca", "synthesis"}
