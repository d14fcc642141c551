"""Small events to listeners: a bar in a terminal or notebook, lines in a log, JSON for `genoweave status`."""

from __future__ import annotations

import html
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from genoweave.io.files import write_json

log = logging.getLogger(__name__)


class Listener(Protocol):
    """Hears what a run does."""

    def stage(self, name: str, state: str, note: str = "") -> None:
        """A stage is ``"waiting"``, ``"running"``, ``"done"``, ``"kept"`` or ``"failed"``."""

    def step(self, label: str, done: int, total: int) -> None:
        """So many tasks of a step of the running stage are done."""


class Announcer:
    """Passes events on to several listeners."""

    def __init__(self, listeners: list[Listener]) -> None:
        self.listeners = listeners

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Tell every listener."""
        for listener in self.listeners:
            listener.stage(name, state, note)

    def step(self, label: str, done: int, total: int) -> None:
        """Tell every listener."""
        for listener in self.listeners:
            listener.step(label, done, total)


class LogListener:
    """Stages as log lines."""

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Write one line."""
        log.info("%s: %s%s", name, state, f", {note}" if note else "")

    def step(self, label: str, done: int, total: int) -> None:
        """Steps begin and end in the debug log."""
        if done == total:
            log.debug("%s: %d tasks", label, total)


class StatusFile:
    """The run's state as JSON, at most twice a second."""

    def __init__(self, path: Path, stages: list[str]) -> None:
        self.path = path
        self.state: dict[str, Any] = {"stages": dict.fromkeys(stages, "waiting"), "step": None}
        self._next = 0.0

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Note the stage's state at once."""
        self.state["stages"][name] = state
        self.state["step"] = None
        self._write()

    def step(self, label: str, done: int, total: int) -> None:
        """Note the step, unless it was done so just now."""
        self.state["step"] = {"label": label, "done": done, "total": total}
        if time.monotonic() >= self._next:
            self._write()

    def _write(self) -> None:
        write_json(self.path, self.state | {"updated": time.time()}, sort_keys=False)
        self._next = time.monotonic() + 0.5


class Bars:
    """A bar per step, with rate and time left, in a terminal."""

    def __init__(self, progress: Any, names: list[str]) -> None:
        self._progress = progress
        self._overall = progress.add_task("stages", total=len(names), rate="")
        self._stage = ""
        self._step: tuple[str, Any] | None = None

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Show which stage runs; print a line when it is over."""
        self._end_step()
        if state == "running":
            self._stage = name
            self._progress.update(self._overall, description=f"[bold]{name}")
        else:
            self._progress.advance(self._overall)
            self._progress.console.print(f"{name}: {state}{f', {note}' if note else ''}", highlight=False)

    def step(self, label: str, done: int, total: int) -> None:
        """Move the bar of the step."""
        if self._step is None or self._step[0] != label:
            self._end_step()
            self._step = (
                label,
                self._progress.add_task(f"  {label}", total=total, completed=done - 1),
            )
        self._progress.update(self._step[1], completed=done)

    def _end_step(self) -> None:
        if self._step is not None:
            self._progress.remove_task(self._step[1])
            self._step = None


class NotebookBar:
    """One bar in a Jupyter cell's output, drawn again at most four times a second; needs no widgets."""

    def __init__(self, n_stages: int) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._n_stages = n_stages
        self._over = 0
        self._stage = ""
        self._label = ""
        self._begun = (0.0, 0)
        self._next = 0.0
        self._handle = display(HTML(""), display_id=True)

    def stage(self, name: str, state: str, note: str = "") -> None:
        """Show the stage, and how many are over."""
        self._stage, self._label = name, ""
        self._over += state != "running"
        self._draw(f"{name}: {state}{f', {note}' if note else ''}", self._over, self._n_stages)

    def step(self, label: str, done: int, total: int) -> None:
        """Show the step with its rate and the time left."""
        now = time.monotonic()
        if label != self._label:
            self._label, self._begun = label, (now, done - 1)
        if now < self._next:
            return
        rate = (done - self._begun[1]) / max(now - self._begun[0], 1e-3)
        left = f", {rate:.1f}/s, {(total - done) / rate:.0f} s left" if now > self._begun[0] else ""
        self._draw(f"{self._stage}, {label}: {done} of {total}{left}", done, total)
        self._next = now + 0.25

    def _draw(self, text: str, done: int, total: int) -> None:
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress>'
        self._handle.update(self._html(f"{bar} {html.escape(text)}"))


@contextmanager
def bars(names: list[str], *, quiet: bool = False) -> Iterator[Listener | None]:
    """Give a listener that draws bars, or None where nobody would see them."""
    if not quiet and "ipykernel" in sys.modules:
        yield NotebookBar(len(names))
        return
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               _rate_column(), TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress, names)


def _rate_column() -> Any:
    from rich.progress import ProgressColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.1f}/s")

    return Rate()
