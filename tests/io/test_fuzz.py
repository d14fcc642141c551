"""A little of the fuzzer (tests/fuzz/run.py): damaged files of every kind are refused in words or read
correctly, in a process that is watched."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import mutate, readers, run

RUN = Path(run.__file__)
INPUTS = 30  # of each reader


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    made = run.Trial(list(readers.READERS), 1, 600, INPUTS, tmp_path_factory.mktemp("failures"))
    made.run()
    return made


@pytest.mark.parametrize("name", readers.READERS)
def test_fuzz__no_input_hurts(trial, name):
    failures = [f"input {number}: {why}" for reader, number, why in trial.failures if reader == name]
    assert not failures, "\n".join(failures)
    assert sum(trial.counts[name].values()) == INPUTS
    assert min(trial.counts[name][outcome] for outcome in ("read", "error")) > 0, "some of each are wanted"


@pytest.mark.parametrize("name", ["plink", "zip", "map"])
def test_cases__are_told_by_their_number(name):
    one, two = readers.Cases(name, 7), readers.Cases(name, 7)
    for number in (0, 60, 61, 62):
        assert one.files(number) == two.files(number)
    assert len({str(one.files(number)) for number in range(60, 80)}) > 10
    assert str(one.files(60)) != str(readers.Cases(name, 8).files(60))


def test_mutate__leaves_the_seed_alone():
    files = {"case.bed": bytes(50), "case.fam": b"a b 0 0 1 2\n"}
    for number in range(200):
        mutate.mutated(files, [files], random.Random(number))
    assert files == {"case.bed": bytes(50), "case.fam": b"a b 0 0 1 2\n"}


HURTS = {
    "raises": "raise KeyError('x')",
    "ends": "import os; os._exit(3)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "hangs": "import time; time.sleep(60)",
    "takes memory": "bytearray(2**34)",
    "says nothing": "from genoweave.errors import DataError; raise DataError('it is wrong')",
    "says too much": "from genoweave.errors import DataError; raise DataError('case.map\\n  File \"x.py\"')",
}


@pytest.mark.parametrize("kind", HURTS)
def test_run__sees_what_hurts(tmp_path, kind):
    """A reader that fails in each of the ways is found, its input kept, and the exit code is 1."""
    program = f"""
import sys
sys.path.insert(0, {str(RUN.parents[1])!r})
from fuzz import readers, run
run.SECONDS = 1
def read(path, rng):
    if b"harm" in path.read_bytes():
        {HURTS[kind]}
class Seeds:
    def __call__(self): return [{{"case.map": b"harmless"[4:]}}]
readers.READERS.clear()
readers.READERS["map"] = readers.Reader(Seeds(), read)
readers.mutate.mutated = lambda files, others, rng: {{"case.map": b"harm"}}
run.__file__ = sys.argv[0]
sys.exit(run.main())
"""
    script = tmp_path / "script.py"
    script.write_text(program)
    command = [
        sys.executable,
        str(script),
        "--inputs",
        "4",
        "--seconds",
        "20",
        "--save",
        str(tmp_path / "kept"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILURE map input" in done.stdout
    kept = sorted((tmp_path / "kept").glob("map-1-*"))
    assert kept
    assert (kept[0] / "case.map").read_bytes() == b"harm"
