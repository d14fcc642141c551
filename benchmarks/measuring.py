"""CPU and wall seconds, and peak memory, of whole commands with all their processes."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_INTERVAL = 0.05  # seconds between two looks at the memory
_LOOKS_PER_DISK = 40
# Programs in Python may keep their bytecode, as installed ones do; else each start compiles it, 0.2 s.
_LIKE_INSTALLED = {"PYTHONDONTWRITEBYTECODE": ""}


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Attributes
    ----------
    wall, cpu
        Seconds; cpu is user and system time of the command and the children that it waited for.
    peak_bytes
        Largest resident memory: of one process as the kernel counts it, or of all at a time as sampled
        every 50 ms, whichever is larger. Pages that processes share count in each of them.
    output
        What it printed.
    disk_bytes
        Largest size of the watched folder, looked at every 2 s.
    """

    wall: float
    cpu: float
    peak_bytes: int
    output: str
    disk_bytes: int = 0


class CommandError(Exception):
    """A command that was measured failed."""


def run(
    command: Sequence[str], variables: Mapping[str, str] | None = None, watch: Path | None = None
) -> Measured:
    """Run a command and measure it, and the size of the folder `watch`.

    Raises
    ------
    CommandError
        With the end of what it printed, if it fails or cannot be started.
    """
    with tempfile.TemporaryFile() as text:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(
                command,
                stdout=text,
                stderr=subprocess.STDOUT,
                env=os.environ | _LIKE_INSTALLED | dict(variables or {}),
            )
        except OSError as error:
            raise CommandError(f"{command[0]}: {error}") from error
        with _watched(process.pid, watch) as peak:
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        text.seek(0)
        output = text.read().decode(errors="replace")
    if process.returncode:
        raise CommandError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-2000:]}")
    largest = usage.ru_maxrss
    if largest <= resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
        largest = 0  # it may be this process's own, which a child begins with
    unit = 1 if platform.system() == "Darwin" else 1024
    return Measured(wall, usage.ru_utime + usage.ru_stime, max(largest * unit, peak.bytes), output, peak.disk)


class _watched:  # noqa: N801 (reads as a verb where it is used)
    """Samples the memory of a process and its descendants, and a folder, while the block runs."""

    def __init__(self, pid: int, folder: Path | None) -> None:
        self.bytes = 0
        self.disk = 0
        self._pid = pid
        self._folder = folder
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        looks = 0
        while not self._over.wait(_INTERVAL):
            self.bytes = max(self.bytes, sum(resident(self._pid)))
            if self._folder is not None and looks % _LOOKS_PER_DISK == 0:
                self.disk = max(self.disk, folder_bytes(self._folder))
            looks += 1
        if self._folder is not None:
            self.disk = max(self.disk, folder_bytes(self._folder))


def folder_bytes(folder: Path) -> int:
    """Return the size of the files under a folder that may be changing."""
    total = 0
    for place, _, names in os.walk(folder):  # passes over folders that vanish, where Path.rglob raises
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(place, name)).st_size
    return total


def resident(pid: int) -> Iterator[int]:
    """Yield the resident bytes of a process and its descendants."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return
    for one in family:
        try:
            yield one.memory_info().rss
        except psutil.Error:
            continue


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "date": date.today().isoformat(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE", ""),
    } | {name: version(name) for name in ("genoweave", "numpy", "numba", "zarr")}


def processor() -> str:
    """Return the processor's name and its widest vectors, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = dict(line.split(":", 1) for line in file if ":" in line)
    except OSError:
        return platform.processor()
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = facts.get("flags", "").split()
    widest = next((flag for flag in ("avx512_vpopcntdq", "avx512f", "avx2") if flag in flags), "")
    name = facts.get("model name", platform.processor())
    return f"{name} family {facts.get('cpu family', '?')} {widest}".strip()
