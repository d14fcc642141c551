"""A small cohort, and one finished run of it that tests look at or copy."""

import shutil
from pathlib import Path

import pytest

from genoweave.pipeline.run import run
from tests.small_cohort import Cohort, make_cohort, place_key, values


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def finished(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run with a known key. Don't change it."""
    folder = place_key(tmp_path_factory.mktemp("finished") / "run")
    return run(values(cohort), folder)


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
