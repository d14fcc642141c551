"""Where the other programs are: on PATH, or named by environment variables. None comes with genoweave.

GENOWEAVE_PEER_PLINK2            plink2
GENOWEAVE_PEER_PLINK2ZARR        plink2zarr, of bio2zarr; in an environment of its own, for it wants zarr 3
GENOWEAVE_PEER_SGKIT_PYTHON      a Python that can import sgkit and bed_reader; by default the one of this
GENOWEAVE_PEER_SKLEARN_PYTHON    a Python that can import scikit-learn; by default the one of this

An empty value leaves a program out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

_PACKAGES = {"sgkit_python": "sgkit", "sklearn_python": "scikit-learn"}


def find(name: str) -> str | None:
    """Return the path of a peer, or None where it is absent."""
    named = os.environ.get(f"GENOWEAVE_PEER_{name.upper()}")
    if named is not None:
        return named or None
    if name == "sgkit_python":
        return sys.executable if find_spec("sgkit") and find_spec("bed_reader") else None
    if name == "sklearn_python":
        return sys.executable if find_spec("sklearn") else None
    return shutil.which(name)


def version(name: str) -> str:
    """Return the first line of what a peer says of its version; "absent" where it is not there."""
    path = find(name)
    if path is None:
        return "absent"
    command = [path, "--version"]
    if name in _PACKAGES:
        command = [path, "-c", f"import importlib.metadata as m; print(m.version({_PACKAGES[name]!r}))"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if lines else "?"
