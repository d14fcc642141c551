"""A run or a command that is killed and started again ends as one that was not."""

import os
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from genoweave.io import store
from genoweave.pipeline import context
from genoweave.pipeline.run import run
from tests.small_cohort import (
    STORES,
    Cohort,
    check_same_run,
    files_of,
    make_tiled_cohort,
    off,
    place_key,
    values,
)

OFF = off("evaluation")


def check_nothing_half_looks_whole(folder: Path, whole: Path) -> None:
    """Whatever stands under its own name is complete."""
    for name in (*STORES, "release"):
        if (folder / name).exists():
            assert files_of(folder / name) == files_of(whole / name), name


def scraps(folder: Path) -> list[Path]:
    endings = (".partial", ".journal", ".deleting", ".batches.json", ".token")
    return [p for p in folder.rglob("*") if p.name.endswith(endings)]


def check_no_scraps(folder: Path) -> None:
    assert not scraps(folder)
    assert not list((folder / ".work").glob("*"))


def _run(settings: dict, folder: Path) -> None:
    context.FolderCheckpoints.__init__.__defaults__ = (0.0,)  # a checkpoint after each task, if it is cheap
    run(settings, folder, quiet=True)


def _command(*arguments: str) -> None:
    from genoweave.cli import main

    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        main(list(arguments))


class Children:
    """Processes that begin with everything imported, so that the work is what is killed."""

    def __init__(self) -> None:
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(
            ["genoweave.pipeline.run", "genoweave.cli", "tests.pipeline.test_kill"]
        )

    def whole(self, function: Callable, *arguments: object) -> float:
        """Let one end, and return how long it took."""
        process = self._context.Process(target=function, args=arguments)
        started = time.monotonic()
        process.start()
        process.join(240)
        assert process.exitcode == 0
        return time.monotonic() - started

    def killed(self, delay: float, function: Callable, *arguments: object) -> bool:
        """SIGKILL one after some seconds; tell whether it was still at work."""
        process = self._context.Process(target=function, args=arguments)
        process.start()
        process.join(delay)
        process.kill()
        process.join()
        assert process.exitcode in (0, -9)
        return process.exitcode == -9


@pytest.fixture(scope="module")
def children() -> Children:
    return Children()


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_tiled_cohort(tmp_path_factory.mktemp("tiled"))


def settings_of(tiled: Cohort) -> dict:
    return values(tiled, **OFF, qc={"king_cutoff": 0.3})


@pytest.fixture(scope="module")
def whole(tiled: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(settings_of(tiled), place_key(tmp_path_factory.mktemp("whole") / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9__at_random_moments_changes_no_byte(
    tiled: Cohort, whole: Path, tmp_path: Path, children: Children, seed: int
) -> None:
    """The time that a run is given grows, so that it gets through on a slow machine too."""
    rng = np.random.default_rng(seed)
    folder, given = place_key(tmp_path / "run"), 0.15
    killed = 0
    for _ in range(14):
        if not children.killed(rng.uniform(0.1, 1) * given, _run, settings_of(tiled), folder):
            break
        killed += 1
        check_nothing_half_looks_whole(folder, whole)
        given *= 1.3
    assert killed >= 3
    children.whole(_run, settings_of(tiled), folder)
    check_same_run(folder, whole)
    check_no_scraps(folder)


COMMANDS: dict[str, tuple[Callable[[Cohort], list[str]], str]] = {
    "import": (lambda c: ["import", str(c.prefix)], "out.vcz"),
    "qc": (lambda c: ["qc", str(c.prefix), "--king-cutoff", "0.3", "--out"], "out.vcz"),
    "simulate": (
        lambda c: ["simulate", "--model", "balding-nichols", "--samples", "900", "--variants", "20000"],
        "out.vcz",
    ),
    "simulate a fileset": (
        lambda c: ["simulate", "--model", "balding-nichols", "--samples", "900", "--variants", "20000"],
        "out.bed",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_kill_9__of_a_command_leaves_all_or_nothing(
    tiled: Cohort, tmp_path: Path, children: Children, name: str
) -> None:
    command, out = COMMANDS[name]
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    seconds = children.whole(_command, *command(tiled), str(tmp_path / "whole" / out))
    wanted, killed = files_of(tmp_path / "whole"), tmp_path / "killed"
    deaths = 0
    for share in np.random.default_rng(3).uniform(0.2, 1, 6):
        if children.killed(share * seconds, _command, *command(tiled), str(killed / out)):
            deaths += 1
        else:
            seconds /= 2  # the first one compiled its kernels
        found = files_of(killed)
        shown = {n: found[n] for n in found if n.startswith(out) and n.split("/")[0] in (out, "out.bed")}
        if shown:
            assert shown == {n: wanted[n] for n in wanted if n.split("/")[0] == out}
    assert deaths
    children.whole(_command, *command(tiled), str(killed / out))
    assert files_of(killed) == wanted
    assert not scraps(killed)


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


def check_resumed(cohort: Cohort, folder: Path, whole: Path) -> None:
    check_nothing_half_looks_whole(folder, whole)
    run(values(cohort, **OFF), folder)
    check_same_run(folder, whole)
    check_no_scraps(folder)


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.8, 0.97, 0.99])
def test_death_before_a_rename__resumed_run_is_the_same(
    cohort: Cohort, renames: tuple[Path, int], tmp_path: Path, place: float
) -> None:
    whole, calls = renames
    folder = place_key(tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", DeathAt(os.replace, max(1, round(place * calls))))
        with pytest.raises(Killed):
            run(values(cohort, **OFF), folder)
    check_resumed(cohort, folder, whole)


@pytest.mark.parametrize("name", ["source.vcz", "tiny_snp.csv", "tiny.bed", "tiny.vcz"])
def test_death_right_after_a_rename__resumed_run_is_the_same(
    cohort: Cohort, renames: tuple[Path, int], tmp_path: Path, name: str
) -> None:
    """What was to be tidied up after the rename is tidied up by the next run."""
    folder, replace = place_key(tmp_path / "run"), os.replace

    def die_after(source: Path, target: Path) -> None:
        replace(source, target)
        if Path(target).name == name:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", die_after)
        with pytest.raises(Killed):
            run(values(cohort, **OFF), folder)
    check_resumed(cohort, folder, renames[0])


@pytest.mark.parametrize("dies", [True, False])
def test_scrap_of_a_killed_chunk__is_swept(
    cohort: Cohort, renames: tuple[Path, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """Zarr's own half-written file stays where its process is killed: this one, or a worker's."""
    folder, note = place_key(tmp_path / "run"), store._note_batches

    def leave_scrap(partial: Path, token: str, batches: int) -> None:
        note(partial, token, batches)
        if batches == 2 and not any(partial.rglob("*.partial")):
            (partial / "call_genotype/0.0.0.5e1f.partial").write_bytes(b"half")
            if dies:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(store, "_note_batches", leave_scrap)
        try:
            run(values(cohort, **OFF), folder)
        except Killed:
            assert dies
    check_resumed(cohort, folder, renames[0])


def test_death_within_a_fold__goes_on_from_the_last_checkpoint(
    tiled: Cohort, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint after each tile, folds are interrupted half-way, and none takes another's state."""
    monkeypatch.setattr(context.FolderCheckpoints.__init__, "__defaults__", (0.0,))
    monkeypatch.setattr(context.time, "monotonic", lambda: 1e9)  # every save is due
    save, load = context.FolderCheckpoints.save, context.FolderCheckpoints.load
    labels: list[tuple[Path, str]] = []

    def remember(self: context.FolderCheckpoints, label: str) -> object:
        labels.append((self._folder, label))
        return load(self, label)

    monkeypatch.setattr(context.FolderCheckpoints, "load", remember)
    folder = place_key(tmp_path / "killed")
    deaths = 0
    for n in (3, 5, 8, 9, 14, 23, 31, 1000):
        labels.clear()
        with pytest.MonkeyPatch.context() as patch:
            death = DeathAt(save, n)
            patch.setattr(context.FolderCheckpoints, "save", lambda *a, death=death, **k: death(*a, **k))
            try:
                run(settings_of(tiled), folder)
            except Killed:
                deaths += 1
        assert len(set(labels)) == len(labels), "two folds of a stage have one name"
    assert deaths >= 4
    check_same_run(folder, whole)
    check_no_scraps(folder)


def test_checkpoint_that_cannot_be_read__is_as_none(tmp_path: Path) -> None:
    kept = context.FolderCheckpoints(tmp_path / "stage", "token")
    kept.save("fold", 3, {"sum": np.arange(1000), "parts": [np.ones(5)], "none": []}, final=True)
    done, state = kept.load("fold")
    assert done == 3
    assert state["none"] == []
    file = next((tmp_path / "stage/token").iterdir())
    data = file.read_bytes()
    for length in (0, 1, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        assert kept.load("fold") is None


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
