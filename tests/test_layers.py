"""Imports inside the package go one way; imports inside functions count too."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "genoweave"
RANKS = (
    {"errors", "parameters", "kernels"},
    {"aggregate", "chunks", "execution", "genotypes", "identifiers", "rng", "schema"},
    {"methods", "io"},
    {"config", "cluster", "report"},
    {"pipeline"},
    {"api", "cli", "cohorts", "__init__", "__main__"},
)
RANK = {module: rank for rank, modules in enumerate(RANKS) for module in modules}
KERNELS_MAY = {"genoweave.kernels", "numpy", "numba", "llvmlite", *sys.stdlib_module_names}
METHODS_MAY_NOT = {"genoweave.io", "distributed", "dask.distributed"}


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            origin = [*parents, *filter(None, [node.module])]
            yield from ((node.lineno, ".".join([*origin, alias.name])) for alias in node.names)


def forbidden(module: str, name: str) -> bool:
    parts = name.split(".")
    prefixes = {".".join(parts[: i + 1]) for i in range(len(parts))}
    if module == "kernels":
        return not prefixes & KERNELS_MAY
    if module == "methods" and prefixes & METHODS_MAY_NOT:
        return True
    target = [*parts, "__init__"][1]  # a name that is no module comes from genoweave/__init__.py
    return parts[0] == "genoweave" and RANK.get(target, RANK["__init__"]) > RANK[module]


def offenders(source: Path) -> Iterator[str]:
    for path in sorted(source.rglob("*.py")):
        *folders, stem = path.relative_to(source).with_suffix("").parts
        module = [*folders, stem][0]
        if module not in RANK:
            yield f"{path.name}: place {module} in RANKS of tests/test_layers.py"
            continue
        for line, name in imports(ast.parse(path.read_text("utf-8")), ["genoweave", *folders]):
            if forbidden(module, name):
                yield f"{path.relative_to(source)}:{line}: {module} may not import {name}"


def test_layers__imports_go_one_way() -> None:
    assert (SOURCE / "__init__.py").exists()
    assert not list(offenders(SOURCE))


@pytest.mark.parametrize(
    ("path", "text", "offence"),
    [
        ("chunks.py", "from . import errors\nfrom .rng import x", None),
        ("chunks.py", "def f():\n    from .config import X", "2: chunks may not import genoweave."),
        ("errors.py", "from genoweave import __version__", "1: errors may not import genoweave."),
        ("kernels/king.py", "import math\nfrom .bits import x\nimport numpy as np", None),
        ("kernels/king.py", "import pandas", "1: kernels may not import pandas"),
        ("kernels/king.py", "from genoweave import rng", "1: kernels may not import genoweave.rng"),
        ("methods/ld/a.py", "import io\nfrom ..qc import QC\nfrom genoweave import rng", None),
        ("methods/ld/a.py", "from ...io import x", "1: methods may not import genoweave.io.x"),
        ("methods/qc.py", "from dask import distributed", "1: methods may not import dask.dist"),
        ("new.py", "", "place new in RANKS"),
    ],
)
def test_layers__offenders_are_named(tmp_path: Path, path: str, text: str, offence: str | None) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    found = list(offenders(tmp_path))
    assert len(found) == (offence is not None)
    assert offence is None or offence in found[0]
