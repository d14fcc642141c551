"""Where tasks run: threads, local processes, or the workers of any Dask scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from genoweave.errors import ConfigError, StageError
from genoweave.execution import Executor, Future, ThreadExecutor

log = logging.getLogger(__name__)

# One task, one core: kernels are single-threaded and BLAS keeps to itself.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 10,
    "distributed.deploy.lost-worker-timeout": "1h",  # else a LocalCluster can shrink to nothing
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
}
_RETRIES = 3
_ANSWER_SECONDS = 10
_LARGE = 64 * 1024


class ClusterExecutor:
    """Tasks on the workers of a Dask cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client
        threads = client.nthreads()
        if not threads:
            raise ConfigError("the Dask scheduler has no workers; start some and run again")
        self.slots = sum(threads.values())

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Submit a task; it is tried again if its worker dies."""
        return _Task(self._client, function, arguments)

    def share(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Send large arguments to the workers once, instead of with every task."""
        return tuple(
            _Shared(self._client, value) if len(pickle.dumps(value)) > _LARGE else value
            for value in arguments
        )


class _Shared:
    """A large argument, kept here and on the workers; sent again if all workers that held it died."""

    def __init__(self, client: Any, value: Any) -> None:
        self._client = client
        self._value = value
        self._sent: Any = None

    def sent(self) -> Any:
        if self._sent is None or self._sent.cancelled():
            self._sent = self._client.scatter(_Opaque(self._value), broadcast=True, hash=False)
        return self._sent


class _Task:
    """A task on the cluster whose result survives the loss of its shared arguments."""

    def __init__(self, client: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._client = client
        self._function = function
        self._arguments = arguments
        self._future = self._submit()

    def _submit(self) -> Any:
        sent = (a.sent() if isinstance(a, _Shared) else a for a in self._arguments)
        return self._client.submit(_one_blas_thread, self._function, *sent, pure=False, retries=_RETRIES)

    def result(self) -> Any:
        """Wait for the task.

        Raises
        ------
        StageError
            If it loses its worker again and again.
        """
        from distributed.scheduler import KilledWorker

        for _ in range(_RETRIES + 1):
            try:
                return self._future.result()
            except CancelledError:
                self._future = self._submit()
            except KilledWorker:
                break
        raise StageError(
            f"a worker died {_RETRIES + 1} times or more on one task, most often for lack of memory; use "
            "fewer --workers or "
            "raise --memory-limit, then run again: what is finished is kept"
        )

    def cancel(self) -> None:
        """Drop the task if it has not begun."""
        self._future.cancel()


class _Opaque:
    """Keeps dask from looking into a shared argument."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _one_blas_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    from threadpoolctl import threadpool_limits

    opened = (a.value if isinstance(a, _Opaque) else a for a in arguments)
    with threadpool_limits(1):
        return function(*opened)


@contextmanager
def executor(
    *, workers: int = 0, scheduler: str | None = None, memory_limit: int | None = None
) -> Iterator[Executor]:
    """Give an executor for the time of the context.

    Parameters
    ----------
    workers
        Local worker processes of one thread; 0 for threads of this process.
    scheduler
        Address of a running Dask scheduler, instead.
    memory_limit
        Bytes that all local workers may use together.

    Raises
    ------
    ConfigError
        If the scheduler cannot be reached or has no workers.
    """
    if scheduler is None and workers == 0:
        threads = ThreadExecutor()
        try:
            yield threads
        finally:
            threads.close()
        return
    import dask
    from distributed import Client

    with dask.config.set(_SETTINGS):
        if scheduler is not None:
            with _connect(scheduler) as client:
                _check_versions(client)
                yield ClusterExecutor(client)
            return
        with (
            _local_cluster(workers, memory_limit) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            log.info("%d local worker processes", workers)
            yield ClusterExecutor(client)


@contextmanager
def _local_cluster(workers: int, memory_limit: int | None) -> Iterator[Any]:
    from distributed import LocalCluster

    per_worker = memory_limit // workers if memory_limit else "auto"
    before = {key: os.environ.get(key) for key in WORKER_ENVIRONMENT}
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        with LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=per_worker,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # not None, which listens on every interface
            worker_dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster:
            yield cluster
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _connect(scheduler: str) -> Any:
    from distributed import Client

    try:
        # On a thread of its own, since Jupyter's has a running loop.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _probe(scheduler)).result()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"no Dask scheduler answers at {scheduler} ({error}); check the address, tcp://host:port"
        ) from None
    # not dask's default, so that nothing of it stays behind
    return Client(scheduler, timeout=_ANSWER_SECONDS, set_as_default=False)


async def _probe(scheduler: str) -> None:
    """Knock before a client is made: a client that never connects blocks the process at its exit."""
    from distributed.comm import connect

    comm = await connect(scheduler, timeout=_ANSWER_SECONDS)
    await comm.close()


def _check_versions(client: Any) -> None:
    """Results are compared bit by bit, so the workers must run the same genoweave."""
    from importlib.metadata import version

    own = version("genoweave")
    try:
        found = set(client.run(_genoweave_version).values())
    except ModuleNotFoundError:
        raise StageError(
            "genoweave is not installed on the workers; install the same version there"
        ) from None
    if found - {own}:
        raise StageError(
            f"the workers run genoweave {', '.join(sorted(found))}, this process {own}; install one version"
        )


def _genoweave_version() -> str:
    from importlib.metadata import version

    return version("genoweave")
