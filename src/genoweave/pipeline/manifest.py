"""What a finished stage leaves behind, and whether it still holds."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from genoweave.io.files import digest, size, write_json

# The libraries whose versions may change a result.
_LIBRARIES = (
    "genoweave",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "pandas",
    "xarray",
    "zarr",
    "numcodecs",
)
SCHEMA_VERSION = 1


@cache
def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    python = ".".join(map(str, sys.version_info[:3]))
    own = f"{version('genoweave')}+{_code_digest()}"
    return {"python": python} | {name: version(name) for name in _LIBRARIES} | {"genoweave": own}


def _code_digest() -> str:
    """Digest of the package's own source: a changed line is a changed version."""
    total = hashlib.blake2b(digest_size=4)
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        if "report" not in path.parts and "cli" not in path.parts:
            total.update(path.read_bytes())
    return total.hexdigest()


@dataclass
class Usage:
    """What a stage cost."""

    started: str = ""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int = 0


@contextmanager
def measured(interval: float = 0.2) -> Iterator[Usage]:
    """Measure time, and the peak resident memory of this process and its children together."""
    usage = Usage(started=time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    stop = threading.Event()
    watcher = threading.Thread(target=_watch_memory, args=(usage, stop, interval), daemon=True)
    wall, cpu = time.perf_counter(), _cpu_seconds()
    watcher.start()
    try:
        yield usage
    finally:
        stop.set()
        watcher.join()
        usage.wall_seconds = time.perf_counter() - wall
        usage.cpu_seconds = _cpu_seconds() - cpu


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    total = own.ru_utime + own.ru_stime
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
            total += times.user + times.system
        except psutil.Error:
            continue
    return total


def _watch_memory(usage: Usage, stop: threading.Event, interval: float) -> None:
    process = psutil.Process(os.getpid())
    while True:
        total = 0
        for p in [process, *process.children(recursive=True)]:
            try:
                total += p.memory_info().rss
            except psutil.Error:
                continue
        usage.peak_memory_bytes = max(usage.peak_memory_bytes, total)
        if stop.wait(interval):
            return


@dataclass(frozen=True)
class Identity:
    """What a stage's result depends on."""

    stage: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    key_check: str = field(repr=False)

    @property
    def token(self) -> str:
        """A digest of it all; equal tokens mean equal results."""
        facts = [
            SCHEMA_VERSION,
            self.stage,
            self.parameters,
            self.inputs,
            self.key_check,
            versions(),
        ]
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_manifest(
    path: Path, identity: Identity, outputs: dict[str, Path], counts: dict[str, Any], usage: Usage
) -> None:
    """Write a stage's manifest: it is what makes the stage done."""
    write_json(
        path,
        {
            "stage": identity.stage,
            "token": identity.token,
            "parameters": identity.parameters,
            "inputs": identity.inputs,
            "outputs": {name: {"digest": digest(p), "bytes": size(p)} for name, p in outputs.items()},
            "versions": versions(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "counts": counts,
            **vars(usage),
        },
    )


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return a manifest, or None if there is none that can be read."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and "token" in value else None


def difference(found: dict[str, Any], wanted: Identity) -> str:
    """Say in words why a manifest does not hold any more."""
    for kind, old, new in (
        ("parameter", found.get("parameters", {}), wanted.parameters),
        ("input", found.get("inputs", {}), wanted.inputs),
        ("version of", found.get("versions", {}), versions()),
    ):
        for name in sorted(set(old) | set(new)):
            if old.get(name) != json.loads(json.dumps(new.get(name), default=str)):
                values = "" if kind == "input" else f" ({old.get(name)} -> {new.get(name)})"
                return f"{kind} {name} changed{values}"
    return "the noise key changed"
