"""Workers that die, that are of another version, that are not there; results come in order all the same."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import psutil
import pytest

from genoweave import cluster
from genoweave.errors import ConfigError, DataError, StageError
from genoweave.execution import run_in_order, use
from genoweave.pipeline.run import run
from tests.small_cohort import (
    RUN_MAIN,
    check_same_run,
    make_cohort,
    off,
    place_key,
    run_command,
    values,
    write_config,
)

pytestmark = pytest.mark.distributed
OFF = off("evaluation")


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Any]:
    with cluster.executor(workers=2, memory_limit=2 << 30) as executor:
        yield executor


def square(base: np.ndarray, n: int) -> int:
    return int(base[0]) + n * n


def dies_once(base: np.ndarray, marker: str, n: int) -> int:
    """Kill the own process, the first time that item 3 is worked on."""
    if n == 3:
        try:
            os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return square(base, n)


def always_dies(n: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fails(n: int) -> int:
    raise DataError(f"item {n} cannot be used")


LARGE = np.full(50_000, 7)


def test_run_in_order__gives_results_in_order(two_workers: Any) -> None:
    assert two_workers.slots == 2
    with use(two_workers):
        found = list(run_in_order(square, [(n,) for n in range(40)], shared=(LARGE,)))
    assert found == [7 + n * n for n in range(40)]


def test_run_in_order__survives_the_death_of_a_worker(two_workers: Any, tmp_path: Path) -> None:
    with use(two_workers):
        items = [(str(tmp_path / "died"), n) for n in range(12)]
        found = list(run_in_order(dies_once, items, shared=(LARGE,)))
    assert (tmp_path / "died").exists()
    assert found == [7 + n * n for n in range(12)]


def test_run_in_order__passes_errors_on(two_workers: Any) -> None:
    with use(two_workers), pytest.raises(DataError, match="item 0 cannot be used"):
        list(run_in_order(fails, [(n,) for n in range(4)]))


def test_run_in_order__survives_the_death_of_the_only_worker(tmp_path: Path) -> None:
    """Its shared arguments die with it, and must be sent again."""
    with cluster.executor(workers=1, memory_limit=2 << 30) as executor, use(executor):
        items = [(str(tmp_path / "died"), n) for n in range(8)]
        found = list(run_in_order(dies_once, items, shared=(LARGE,)))
    assert found == [7 + n * n for n in range(8)]


def test_run_in_order__gives_up_on_a_task_that_kills_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most often it needs more memory than a worker has: say so, without a traceback of the cluster's."""
    monkeypatch.setitem(cluster._SETTINGS, "distributed.scheduler.allowed-failures", 0)
    monkeypatch.setattr(cluster, "_RETRIES", 0)
    with (
        cluster.executor(workers=1, memory_limit=2 << 30) as executor,
        use(executor),
        pytest.raises(StageError, match="memory"),
    ):
        list(run_in_order(always_dies, [(0,)]))


def test_executor__gives_each_worker_one_thread(two_workers: Any) -> None:
    def threads() -> dict[str, str | None]:
        return {name: os.environ.get(name) for name in cluster.WORKER_ENVIRONMENT}

    two_workers._client.wait_for_workers(2, timeout=60)  # one may just have died
    found = two_workers._client.run(threads)
    assert len(found) == 2
    assert all(environment == cluster.WORKER_ENVIRONMENT for environment in found.values())


def test_executor__listens_to_this_machine_only(two_workers: Any) -> None:
    """Task names and logs are nobody else's business."""
    people = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [c for p in people for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert sockets
    assert {c.laddr.ip for c in sockets} <= {"127.0.0.1", "::1"}


def test_executor__leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    with cluster.executor(workers=1, memory_limit=1 << 30):
        pass
    assert dict(os.environ) == before


def test_executor__refuses_workers_of_another_version(
    two_workers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0")
    with pytest.raises(StageError, match=r"the workers run genoweave .*, this process 99.0"):
        cluster._check_versions(two_workers._client)


def test_executor__refuses_a_scheduler_without_workers() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as empty,
        pytest.raises(ConfigError, match="no workers"),
        cluster.executor(scheduler=empty.scheduler_address),
    ):
        pass


@pytest.mark.slow
def test_run__survives_the_death_of_a_worker(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path)
    whole = run(values(cohort, **OFF), place_key(tmp_path / "whole"))
    config = write_config(tmp_path / "c.toml", values(cohort, **OFF))
    folder = place_key(tmp_path / "run")
    command = [
        sys.executable,
        "-c",
        RUN_MAIN,
        "run",
        str(config),
        "--out",
        str(folder),
        "--workers",
        "2",
        "--quiet",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(folder / "log.txt", "synthesis: running")
        workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
        assert len(workers) == 2
        workers[0].kill()
        _, message = process.communicate(timeout=240)
    assert process.returncode == 0, message
    check_same_run(folder, whole)


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{text!r} never came")


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "nosuch://here:1"])
def test_scheduler_that_is_not_there__is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    started = time.monotonic()
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 1)
    with (
        pytest.raises(ConfigError, match="no Dask scheduler answers at") as caught,
        cluster.executor(scheduler=address),
    ):
        pass
    assert address in str(caught.value)
    assert "tcp://host:port" in str(caught.value)
    assert time.monotonic() - started < 15
    assert int(dask.array.ones(3).sum().compute()) == 3, "dask works as before in this process"


def test_scheduler_that_is_not_there__exits_1(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path)
    done = run_command("king", cohort.prefix, "--out", tmp_path / "x.kin0", "--scheduler", "nonsense:1:2")
    assert done.returncode == 1
    assert "no Dask scheduler answers at nonsense:1:2" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.kin0").exists()
