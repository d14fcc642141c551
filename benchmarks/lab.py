"""What a row of the comparison is made of: data, commands that are measured, targets."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
from measuring import Measured, run
from outputs import Check
from shapes import SHAPES, Shape, genoweave, make

GIB = 2**30
SHORT, LONG = 20, 600  # CPU seconds above which a peer, or we, get one run only
_TASKS = Path(__file__).parent / "tasks.py"


@dataclass(frozen=True)
class Target:
    """One figure against what it must and should be; `at_least` tells in which direction."""

    name: str
    found: float
    must: float
    aim: float | None = None
    at_least: bool = True

    def reaches(self, limit: float) -> bool:
        """Tell whether the figure is as good as a limit."""
        return self.found >= limit if self.at_least else self.found <= limit

    @property
    def verdict(self) -> str:
        """Return "aim", "must" or "MISSED"."""
        if self.aim is not None and self.reaches(self.aim):
            return "aim"
        return "must" if self.reaches(self.must) else "MISSED"


@dataclass(frozen=True)
class Entry:
    """One program's measurement on one shape."""

    program: str
    shape: str
    work: float
    measured: Measured | None

    @property
    def absent(self) -> bool:
        """Whether the program is not installed."""
        return self.measured is None


@dataclass
class Row:
    """A task: what was measured, the figures that count, and whether results agree."""

    task: str
    entries: list[Entry] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Lab:
    """Runs commands on the shapes in `data`, with results in `folder`; small shapes if `toy`."""

    def __init__(self, data: Path, folder: Path, *, toy: bool, threads: int) -> None:
        self.data = data
        self.folder = folder
        self.toy = toy
        self.threads = threads

    def shape(self, name: str) -> Shape:
        """Return a shape, or the toy one in its place."""
        return SHAPES["toy" if self.toy else name]

    def prefix(self, name: str) -> Path:
        """Return the fileset of a shape, made if need be and read once, so that the disk doesn't count."""
        prefix = make(self.shape(name), self.data / ("toy" if self.toy else name))
        with Path(f"{prefix}.bed").open("rb") as file:
            while file.read(2**24):
                pass
        return prefix

    def out(self, name: str) -> Path:
        """Return a path for a result."""
        return self.folder / name

    def ours(self, *arguments: Any) -> Measured:
        """Measure a genoweave command, the better of two runs."""
        return self._better([*genoweave(), *map(str, arguments), "--quiet"], LONG)

    def script(self, path: Path, *arguments: Any) -> Measured:
        """Measure one of the benchmark's own scripts, which is ours too."""
        return self._better([sys.executable, str(path), *map(str, arguments)], LONG)

    def _better(self, command: list[str], limit: float, variables: dict[str, str] | None = None) -> Measured:
        """Measure a command; again, unless that took more CPU than `limit`, and take the better.

        The toy round does not reach every kernel, so that the first run may compile.
        """
        first = run(command, variables)
        if self.toy or first.cpu > limit:
            return first
        return min(first, run(command, variables), key=lambda measured: measured.cpu)

    def peer(self, name: str, *arguments: Any, variables: dict[str, str] | None = None) -> Measured | None:
        """Measure a peer's command; None where it is absent."""
        path = peers.find(name)
        return None if path is None else self._better([path, *map(str, arguments)], SHORT, variables)

    def plink2(self, *arguments: Any) -> Measured | None:
        """Measure PLINK 2 on the threads of this comparison."""
        alone = {"OPENBLAS_NUM_THREADS": "1"} if self.threads == 1 else {}
        return self.peer("plink2", *arguments, "--threads", self.threads, variables=alone)

    def task(self, python: str, name: str, *arguments: Any) -> Measured | None:
        """Measure a task of tasks.py in a peer's Python, or in "own" one."""
        command = [str(_TASKS), name, *map(str, arguments)]
        if python == "own":
            return self._better([sys.executable, *command], LONG)
        return self.peer(python, *command)


def facts(measured: Measured) -> dict[str, Any]:
    """Return what a task of tasks.py printed."""
    told: dict[str, Any] = json.loads(measured.output.strip().splitlines()[-1])
    return told


def per_work(entry: Entry) -> float:
    """Return the CPU seconds per unit of work."""
    assert entry.measured is not None
    return entry.measured.cpu / entry.work


def ratio(ours: Entry, theirs: Entry) -> float:
    """Return how many times the CPU of ours a peer takes for the same work."""
    return per_work(theirs) / per_work(ours)


def table(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield a record per measurement, with the ratio of CPU to the first of its row."""
    for row in rows:
        for entry in row.entries:
            m = entry.measured
            yield {
                "task": row.task,
                "program": entry.program,
                "shape": entry.shape,
                "cpu_seconds": None if m is None else round(m.cpu, 3),
                "wall_seconds": None if m is None else round(m.wall, 3),
                "peak_gib": None if m is None else round(m.peak_bytes / GIB, 3),
                "cpu_per_ours": None
                if m is None or entry is row.entries[0]
                else ratio(row.entries[0], entry),
            }
