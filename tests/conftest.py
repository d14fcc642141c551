"""Fixtures for all tests: a small cohort, real data, other programs."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import xarray as xr
from hypothesis import settings

# importlib mode leaves sys.path alone; the helpers and references are imported by name
sys.path.insert(0, str(Path(__file__).parent))

import helpers

# the same examples each time, and no database of failures in the working folder
settings.register_profile("repeatable", max_examples=40, deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def _small_cohort() -> xr.Dataset:
    return helpers.balding_nichols()


@pytest.fixture
def small_cohort(_small_cohort: xr.Dataset) -> xr.Dataset:
    """3 groups x 60 people in turn, 700 variants on 2 contigs, 1 % missing, 10 monomorphic."""
    return _small_cohort.copy(deep=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real test genotypes."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GENOWEAVE_TEST_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no real test data: there is no folder {folder}; set GENOWEAVE_TEST_DATA")
    return folder


def _program(name: str) -> helpers.Program:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return helpers.Program(path)


@pytest.fixture(scope="session")
def plink2() -> helpers.Program:
    return _program("plink2")


@pytest.fixture(scope="session")
def plink19() -> helpers.Program:
    return _program("plink1.9")


@pytest.fixture(scope="session")
def bcftools() -> str:
    return _program("bcftools").path


@pytest.fixture(scope="session")
def vcztools() -> str:
    """vcztools of an environment of its own: it needs another Zarr."""
    return _program(os.environ.get("GENOWEAVE_VCZTOOLS", "vcztools")).path
