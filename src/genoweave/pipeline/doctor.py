"""What this machine and environment can do, and combinations known to be wrong."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version

from threadpoolctl import threadpool_info

from genoweave.chunks import human_bytes
from genoweave.execution import available_cores, machine_memory

_SHOWN = (
    "genoweave",
    "sgkit",
    "dask",
    "distributed",
    "zarr",
    "xarray",
    "numcodecs",
    "numpy",
    "numba",
    "pandas",
)


def diagnose() -> tuple[list[str], list[str]]:
    """Return lines to print, and known problems found."""
    import numpy  # noqa: F401  (loads the BLAS that is reported)

    found = {name: _version(name) for name in _SHOWN}
    lines = [f"Python {sys.version.split()[0]}", *(f"{name} {v}" for name, v in found.items())]
    lines.append(f"{available_cores()} cores, {human_bytes(machine_memory())} of memory")
    for pool in threadpool_info():
        lines.append(
            f"{pool['user_api']}: {pool.get('internal_api')} {pool.get('version')} "
            f"{pool.get('architecture', '')}".rstrip()
        )
    lines.append(f"compiled kernels: {os.environ.get('NUMBA_CACHE_DIR', 'beside the package')}")
    return lines, _problems(found)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _problems(found: dict[str, str]) -> list[str]:
    problems = []
    if _release(found["xarray"]) >= (2026, 4) and _release(found["sgkit"]) <= (0, 10, 99):
        problems.append(
            "xarray 2026.4 or later with sgkit 0.10 gives silent NaN in sgkit.pc_relate; install xarray "
            "< 2026.4"
        )
    if _release(found["pandas"]) >= (3,):
        problems.append("pandas 3 cannot write strings to Zarr through xarray 2025.3; install pandas < 3")
    return problems


def _release(text: str) -> tuple[int, ...]:
    numbers = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
