"""A run that is killed and started again ends as one that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genoweave.pipeline import context
from genoweave.pipeline.run import run
from tests.small_cohort import (
    RUN_MAIN,
    STAGES,
    STORES,
    Cohort,
    check_same_run,
    files_of,
    off,
    place_key,
    run_command,
    values,
    write_config,
)

OFF = off("evaluation")


def kill_when(command: list[str], folder: Path, stage: str, delay: float) -> bool:
    """Start a run, SIGKILL it `delay` seconds after `stage` began; tell whether it was still alive."""
    log = folder / "log.txt"
    seen = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and f"{stage}: running" in log.read_text()[seen:]:
            time.sleep(delay)
            break
        time.sleep(0.01)
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL) if alive else None
    _, message = process.communicate()
    assert alive or process.returncode == 0, message.decode()
    return alive


def check_nothing_half_looks_whole(folder: Path, whole: Path) -> None:
    """Whatever stands under its own name is complete."""
    for name in (*STORES, "release"):
        if (folder / name).exists():
            assert files_of(folder / name) == files_of(whole / name), name


def check_no_scraps(folder: Path) -> None:
    endings = (".partial", ".journal", ".deleting", ".batches.json", ".token")
    assert not [p for p in folder.rglob("*") if p.name.endswith(endings)]
    assert not list((folder / ".work").glob("*"))


@pytest.mark.slow
def test_kill_9__resumed_run_equals_an_uninterrupted_one(
    cohort: Cohort, finished: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path / "c.toml", values(cohort))
    folder = place_key(tmp_path / "run")
    command = [sys.executable, "-c", RUN_MAIN, "run", str(config), "--out", str(folder), "--quiet"]
    rng = np.random.default_rng(20240611)
    stages = sorted(rng.choice(len(STAGES), 4, replace=False))
    killed = 0
    for n in stages:
        killed += kill_when(command, folder, STAGES[n], rng.uniform(0, 0.15))
        check_nothing_half_looks_whole(folder, finished)
    assert killed >= 3
    done = run_command(*command[3:])
    assert done.returncode == 0, done.stderr
    check_same_run(folder, finished)
    check_no_scraps(folder)


class Killed(BaseException):
    """Stands for the end of the process."""


class DeathAt:
    """Replaces a function, and dies instead of its n-th call."""

    def __init__(self, function: Callable, n: int | None) -> None:
        self.function, self.left, self.calls = function, n, 0

    def __call__(self, *arguments: object, **named: object) -> object:
        self.calls += 1
        if self.left is not None and self.calls >= self.left:
            raise Killed
        return self.function(*arguments, **named)


@pytest.fixture(scope="module")
def renames(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An uninterrupted run, and how often it renamed a file."""
    with pytest.MonkeyPatch.context() as patch:
        counter = DeathAt(os.replace, None)
        patch.setattr(os, "replace", counter)
        folder = run(values(cohort, **OFF), place_key(tmp_path_factory.mktemp("renames") / "run"))
    return folder, counter.calls


@pytest.mark.parametrize("place", [0.02, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99])
def test_death_before_a_rename__resumed_run_is_the_same(
    cohort: Cohort, renames: tuple[Path, int], tmp_path: Path, place: float
) -> None:
    whole, calls = renames
    folder = place_key(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", DeathAt(os.replace, max(1, round(place * calls))))
        with pytest.raises(Killed):
            run(values(cohort, **OFF), folder)
    check_nothing_half_looks_whole(folder, whole)
    run(values(cohort, **OFF), folder)
    check_same_run(folder, whole)
    check_no_scraps(folder)


def test_death_within_a_fold__goes_on_from_the_last_checkpoint(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tiles of 64 variants and a checkpoint after each, folds are interrupted half-way."""
    for module in ("genoweave.chunks", "genoweave.methods.pca"):
        monkeypatch.setattr(f"{module}.TILE_VARIANTS", 64)
    monkeypatch.setattr(context.FolderCheckpoints.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr(context.time, "monotonic", lambda: 1e9)  # every save is due
    save = context.FolderCheckpoints.save
    whole = run(values(cohort, **OFF), place_key(tmp_path / "whole"))
    folder = place_key(tmp_path / "killed")
    deaths = 0
    for n in (5, 9, 14, 23, 31, 47, 1000):
        with pytest.MonkeyPatch.context() as patch:
            death = DeathAt(save, n)
            patch.setattr(context.FolderCheckpoints, "save", lambda *a, death=death, **k: death(*a, **k))
            try:
                run(values(cohort, **OFF), folder)
            except Killed:
                deaths += 1
    assert deaths >= 4
    check_same_run(folder, whole)
    check_no_scraps(folder)


def test_checkpoint_of_other_work__is_not_taken(
    cohort: Cohort, tmp_path: Path, renames: tuple[Path, int]
) -> None:
    """A run killed with one set of parameters and started again with another begins its stage anew."""
    whole, calls = renames
    folder = place_key(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", DeathAt(os.replace, calls // 2))
        with pytest.raises(Killed):
            run(values(cohort, **OFF, qc={"maf": 0.1}, synthesis={"epsilon": 4.0}), folder)
    run(values(cohort, **OFF), folder)
    check_same_run(folder, whole)
    check_no_scraps(folder)
