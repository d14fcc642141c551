"""Calls of the command line inside this process, on a small cohort."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from genoweave.cli import main
from tests.small_cohort import Cohort, make_cohort


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Call = Callable[..., Answer]


def call_main(*arguments: object) -> int:
    """Return the exit code of ``genoweave ARGUMENTS``."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def _quiet_logger() -> Iterator[None]:
    """The command line writes its log to the stderr of the moment, which pytest closes."""
    logger = logging.getLogger("genoweave")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.handlers = handlers
    logger.setLevel(level)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """``call("qc", cohort, "--out", path)`` gives exit code, stdout and stderr."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        code = call_main(*arguments)
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Answer(code, written.out, written.err)

    return run


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def clean(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cohort after quality control, with labels."""
    out = tmp_path_factory.mktemp("clean") / "clean.vcz"
    flags = ("--ancestry", cohort.labels, "--king-cutoff", 0.0884, "--quiet")
    assert call_main("qc", cohort.prefix, "--out", out, *flags) == 0
    return out
