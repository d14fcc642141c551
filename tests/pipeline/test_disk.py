"""A disk that is full: an error names the file, nothing half-written looks whole, the next run goes on."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from genoweave.errors import StoreError
from genoweave.io import store
from genoweave.methods import bit_planes
from genoweave.methods.bit_planes import write_bit_planes
from genoweave.methods.pca import PCA, pca
from genoweave.pipeline.run import run
from tests import helpers
from tests.small_cohort import (
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
PAGE = 4096


@pytest.fixture(scope="module")
def whole(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(values(cohort, **OFF), place_key(tmp_path_factory.mktemp("whole") / "run"))


class Disk:
    """A small file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def size(self, n_bytes: int, *options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={n_bytes}"]), "tmpfs", self.folder],
            check=True, capture_output=True,
        )  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = Disk(folder)
    try:
        made.size(1 << 20)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("may not mount a small file system here")
    try:
        yield made
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


def pages(folder: Path) -> int:
    """Bytes that a folder's files need, in whole pages."""
    return sum(-(-p.stat().st_size // PAGE) * PAGE for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("share", [0.02, 0.93])
def test_full_disk__says_which_file_and_the_next_run_goes_on(
    cohort: Cohort, whole: Path, disk: Disk, tmp_path: Path, share: float
) -> None:
    disk.size(int(share * pages(whole)), "remount")
    config = write_config(tmp_path / "c.toml", values(cohort, **OFF))
    folder = place_key(disk.folder / "run")
    failed = run_command("run", config, "--out", folder)
    assert failed.returncode == 1, failed.stderr
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith(f"genoweave: error: cannot write {folder}")
    assert "No space left on device" in last
    assert "free space" in last
    assert "Traceback" not in failed.stderr
    for name in ("source.vcz", "genotypes.vcz", "synthetic.vcz", "release"):
        if (folder / name).exists():
            assert files_of(folder / name) == files_of(whole / name)
    disk.size(64 << 20, "remount")
    run(values(cohort, **OFF), folder)
    check_same_run(folder, whole)


def test_full_disk__while_the_report_is_drawn(
    cohort: Cohort, finished: Path, disk: Disk, tmp_path: Path
) -> None:
    """The tables are there and only the page does not fit."""
    disk.size(64 << 20, "remount")
    folder = disk.folder / "run"
    subprocess.run(["cp", "-a", str(finished), str(folder)], check=True)
    subprocess.run(["rm", "-r", str(folder / "report")], check=True)
    used = os.statvfs(disk.folder)
    disk.size((used.f_blocks - used.f_bfree) * used.f_bsize + 100_000, "remount")
    config = write_config(tmp_path / "c.toml", values(cohort))
    failed = run_command("run", config, "--out", folder)
    assert failed.returncode == 1
    assert "No space left on device" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (folder / "report/index.html").exists()


def test_full_disk__while_bit_planes_are_written(disk: Disk) -> None:
    """The room is claimed before the work: nothing dies half-way, nothing is left."""
    disk.size(128 * 1024, "remount")
    ds, place = helpers.balding_nichols(), disk.folder / "planes.bin"
    with pytest.raises(StoreError, match=r"cannot write .*planes.bin.*No space left on device; free space"):
        write_bit_planes(ds, place)
    assert not list(disk.folder.iterdir())
    disk.size(4 << 20, "remount")
    assert write_bit_planes(ds, place).size == place.stat().st_size


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_room__for_bit_planes_is_said(
    cohort: Cohort, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = values(cohort, **OFF)
    folder = place_key(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(bit_planes.os, "posix_fallocate", no_room)
        with pytest.raises(StoreError, match=r"bytes of bit-planes\): No space left on device; free space"):
            run(settings, folder)
    assert not list(folder.rglob("planes.bin*"))
    run(settings, folder)
    check_same_run(folder, whole)


@pytest.mark.parametrize("solver", ["exact", "randomized"])
def test_no_room__for_a_scratch_copy_gives_the_same_components(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, solver: str
) -> None:
    ds = helpers.balding_nichols(n_variants=1100)
    params = PCA(n_components=4, solver=solver, ld_prune=False)
    with_copy = pca(ds, params)
    assert "scratch copy" not in caplog.text
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    without = pca(ds, params)
    assert "no room for a scratch copy" in caplog.text
    assert "No space left on device" in caplog.text
    xr.testing.assert_identical(with_copy, without)


def full(original: Callable, place: str, after: int = 0) -> Callable:
    """Fails as a full disk does, on the calls after the first few."""
    calls = []

    def fail(*arguments: object, **named: object) -> object:
        calls.append(1)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), place)
        return original(*arguments, **named)

    return fail


WRITERS = [
    (store, "_write_batch", 0, "source.vcz"),
    (store, "_note_batches", 2, "source.vcz"),
    (pd.DataFrame, "to_parquet", 5, "donors.parquet"),
    (np, "savez", 0, ".npz"),
]


@pytest.mark.parametrize(("owner", "name", "after", "file"), WRITERS)
def test_full_disk__any_writer_names_its_file(
    cohort: Cohort, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    owner: object, name: str, after: int, file: str,
) -> None:  # fmt: skip
    folder = place_key(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full(getattr(owner, name), file, after))
        with pytest.raises(StoreError, match=r"cannot write .*No space left on device; free space") as caught:
            run(values(cohort, **OFF), folder)
    assert file in str(caught.value)
    run(values(cohort, **OFF), folder)
    check_same_run(folder, whole)
