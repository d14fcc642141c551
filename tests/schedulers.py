"""Executors of several kinds that tests run the same work on, and one that looks at what is submitted."""

from __future__ import annotations

import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from threadpoolctl import threadpool_limits

from genoweave.execution import ThreadExecutor, use


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    with threadpool_limits(1):
        return function(*arguments)


class ProcessPool:
    """The `Executor` protocol on a process pool of the standard library, started as on every platform."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self._pool = ProcessPoolExecutor(slots, get_context("spawn"))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        return self._pool.submit(_alone, function, *arguments)

    def share(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return arguments

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Pickling(ThreadExecutor):
    """Threads that get their arguments as processes do: strides and views are lost."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        return super().submit(_pickled, function, arguments)


def _pickled(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return pickle.loads(pickle.dumps(function(*arguments)))


class _Shared:
    def __init__(self, value: Any) -> None:
        self.value = value


class Spy(ThreadExecutor):
    """Counts tasks by stage, those in flight, and the bytes of their arguments; pickles all of them.

    A task is in flight from its submission until somebody has taken its result.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.stage = ""
        self.tasks: Counter[str] = Counter()
        self.most_in_flight = 0
        self.own_bytes: dict[str, int] = {}
        self.shared_bytes: dict[str, int] = {}
        self._in_flight = 0
        self._lock = threading.Lock()

    def share(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        size = len(pickle.dumps(arguments))
        self.shared_bytes[self.stage] = max(size, self.shared_bytes.get(self.stage, 0))
        return tuple(_Shared(value) for value in arguments)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        own = [a for a in arguments if not isinstance(a, _Shared)]
        size = len(pickle.dumps((function, own)))
        name = f"{self.stage}: {function.__name__}"
        with self._lock:
            self.tasks[self.stage] += 1
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            self.own_bytes[name] = max(size, self.own_bytes.get(name, 0))
        opened = (a.value if isinstance(a, _Shared) else a for a in arguments)
        return _Taken(self, super().submit(function, *opened))

    def taken(self) -> None:
        with self._lock:
            self._in_flight -= 1


class _Taken:
    """A future that tells the spy when its result is taken, or when it is dropped."""

    def __init__(self, spy: Spy, future: Any) -> None:
        self._spy, self._future, self._open = spy, future, True

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._spy.taken()

    def result(self) -> Any:
        try:
            return self._future.result()
        finally:
            self._close()

    def cancel(self) -> None:
        self._future.cancel()
        self._close()


@contextmanager
def threads(slots: int) -> Iterator[ThreadExecutor]:
    """Run what is inside on so many threads."""
    executor = ThreadExecutor(slots)
    try:
        with use(executor):
            yield executor
    finally:
        executor.close()
