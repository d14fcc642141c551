"""Run tasks on threads, local processes or a Dask cluster through one small interface.

A task is one block or tile: a top-level function and small arguments. At most a few per slot are in
flight, results come back in the order of the items, and a fold adds them in that order, so that
floating-point sums do not depend on scheduling.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Protocol, TypeVar

from threadpoolctl import threadpool_limits

from genoweave.chunks import parse_bytes
from genoweave.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

WINDOW_PER_SLOT = 2


class Future(Protocol):
    """What an executor hands back: a result that may be waited for."""

    def result(self) -> Any:
        """Wait for the task and return what it returned, or raise what it raised."""


class Executor(Protocol):
    """Where tasks run: `slots` of them at a time."""

    slots: int

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Start a task; BLAS must have one thread where it runs, for the last bits depend on it."""

    def share(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Bring arguments that many tasks have in common to where the tasks run, once."""


class ThreadExecutor:
    """Tasks on threads of this process; kernels release the GIL, BLAS keeps to one thread."""

    def __init__(self, slots: int | None = None) -> None:
        self.slots = slots or available_cores()
        self._pool = ThreadPoolExecutor(self.slots, thread_name_prefix="genoweave")

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Start a task on a free thread."""
        return self._pool.submit(function, *arguments)

    def share(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Threads share memory: nothing to do."""
        return arguments

    def close(self) -> None:
        """Stop the threads; tasks that have not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_memory() -> int:
    """Return the memory that this process may use: the machine's, or its control group's."""
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(total, int(limit.read_text()))
    except (OSError, ValueError):
        return total


def memory_bytes(text: str) -> int:
    """Parse a memory limit.

    Raises
    ------
    ConfigError
        If it is not a size.
    """
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise ConfigError(f"memory_limit: {error}") from None


_current: ContextVar[Executor | None] = ContextVar("genoweave_executor", default=None)
_progress: ContextVar[Callable[[str, int, int], None] | None] = ContextVar("genoweave_progress", default=None)


@contextmanager
def use(executor: Executor) -> Iterator[None]:
    """Run what is inside on `executor`."""
    token = _current.set(executor)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def report_to(listener: Callable[[str, int, int], None] | None) -> Iterator[None]:
    """Tell `listener` (label, tasks done, tasks in all) whenever a task inside has ended."""
    token = _progress.set(listener)
    try:
        yield
    finally:
        _progress.reset(token)


@contextmanager
def _executor() -> Iterator[Executor]:
    current = _current.get()
    if current is not None:
        yield current
        return
    own = ThreadExecutor()
    try:
        yield own
    finally:
        own.close()


class Checkpoints(Protocol):
    """Where a fold keeps its state between batches, so that a killed run goes on from there."""

    def load(self, label: str) -> tuple[int, dict[str, Any]] | None:
        """Return (items done, state) of an earlier run of the same work, or None."""

    def save(self, label: str, done: int, state: dict[str, Any], *, final: bool) -> None:
        """Keep the state, if enough time has passed since the last time or if it is `final`."""

    def folder(self) -> Path:
        """Return a folder for large scratch files of the same work."""


_checkpoints: ContextVar[Checkpoints | None] = ContextVar("genoweave_checkpoints", default=None)


@contextmanager
def checkpoint_to(checkpoints: Checkpoints | None) -> Iterator[None]:
    """Let the folds inside keep their state in `checkpoints`, or nowhere."""
    token = _checkpoints.set(checkpoints)
    try:
        yield
    finally:
        _checkpoints.reset(token)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Give a folder for large temporary files: the stage's own, or a temporary one."""
    checkpoints = _checkpoints.get()
    if checkpoints is not None:
        yield checkpoints.folder()
        return
    with tempfile.TemporaryDirectory(prefix="genoweave-") as folder:
        yield Path(folder)


def fold(
    label: str,
    function: Callable[..., Result],
    items: Sequence[tuple[Any, ...]],
    state: dict[str, Any],
    add: Callable[[dict[str, Any], int, Result], None],
    *,
    shared: tuple[Any, ...] = (),
) -> dict[str, Any]:
    """Add the result of each task to `state`, in the order of the items.

    Parameters
    ----------
    label
        Name of this fold, unique within a stage.
    function, items, shared
        See `run_in_order`.
    state
        Arrays, or lists of arrays, that `add` changes in place.
    add
        Called with (state, index of the item, result).

    Returns
    -------
    dict
        The state after the last item. Where checkpoints are kept, work that an earlier run of the same
        inputs and parameters had done is not done again.
    """
    checkpoints = _checkpoints.get()
    done = 0
    if checkpoints is not None and (saved := checkpoints.load(label)) is not None:
        done, state = saved
    results = run_in_order(function, items[done:], shared=shared, label=label, done=done, total=len(items))
    for result in results:
        add(state, done, result)
        done += 1
        if checkpoints is not None:
            checkpoints.save(label, done, state, final=done == len(items))
    return state


def run_in_order(
    function: Callable[..., Result],
    items: Iterable[tuple[Any, ...]],
    *,
    shared: tuple[Any, ...] = (),
    label: str = "",
    done: int = 0,
    total: int | None = None,
) -> Iterator[Result]:
    """Yield ``function(*shared, *item)`` for each item, in order, a bounded number at a time.

    Parameters
    ----------
    function
        A top-level function; it may run in another process.
    items
        Small argument tuples, one per task.
    shared
        Arguments that every task has in common.
    label, done, total
        What the progress says: a name, and how many tasks were done before and are there in all.
    """
    listener = _progress.get()
    pending: deque[Future] = deque()
    finished = done
    with _executor() as executor, threadpool_limits(1):
        window = max(2, WINDOW_PER_SLOT * executor.slots)
        queue = iter(items)
        shared = executor.share(shared)
        try:
            while True:
                while len(pending) < window and (item := next(queue, None)) is not None:
                    pending.append(executor.submit(function, *shared, *item))
                if not pending:
                    return
                result = pending.popleft().result()
                finished += 1
                if listener is not None:
                    listener(label, finished, total if total is not None else finished)
                yield result
        finally:
            for future in pending:
                getattr(future, "cancel", lambda: None)()
