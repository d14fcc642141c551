"""Programs that several tests of formats call."""

import shutil
import subprocess

import pytest


@pytest.fixture(scope="session")
def bcftools():
    path = shutil.which("bcftools")
    if path is None:
        pytest.skip("bcftools is not installed")

    def run(*arguments: object) -> bytes:
        done = subprocess.run([path, *map(str, arguments)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run
