"""Help, usage errors and exit codes of every command."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import genoweave
from genoweave.cli.app import COMMANDS
from tests.cli.conftest import Call
from tests.small_cohort import Cohort, run_command

HEAVY = ("numpy", "pandas", "xarray", "dask", "distributed", "zarr", "numba", "scipy", "sklearn", "sgkit",
         "matplotlib", "pydantic", "msprime")  # fmt: skip
ARGUMENTS = {
    "demo": 0, "init": 1, "plan": 1, "run": 1, "status": 1, "report": 1, "release": 1, "simulate": 1,
    "import": 2, "export": 1, "qc": 1, "pca": 1, "ancestry": 1, "synthesize": 1, "phenotype": 1,
    "watermark": 1, "verify": 2, "relatives": 1, "king": 1, "gwas": 1, "evaluate": 2, "doctor": 0,
}  # fmt: skip
COMMON = ("--workers", "--scheduler", "--memory-limit", "--seed", "--config", "--verbose", "--quiet")


@pytest.mark.parametrize("name", COMMANDS)
def test_help__of_each_command(call: Call, name: str) -> None:
    answer = call(name, "--help")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out.startswith(f"Usage: genoweave {name}")
    for option in COMMON:
        assert option in answer.out
    assert call(name, "-h").out == answer.out


def test_help__names_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from genoweave.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('LOADED', *[m for m in {HEAVY} if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *page, loaded = done.stdout.strip().splitlines()
    assert loaded == "LOADED"
    listed = [line.split()[0] for line in page if line.startswith("  ") and line.strip()]
    assert set(COMMANDS) <= set(listed)
    total = max(
        int(line.split("|")[1])
        for line in done.stderr.splitlines()
        if line.startswith("import time:   ") or ("|" in line and line.split("|")[1].strip().isdigit())
    )
    assert total < 2_000_000  # microseconds; about 60,000 where nothing else runs


def test_import__of_the_package_is_light() -> None:
    script = f"import sys, genoweave; print(*[m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_package__offers_what_it_lists() -> None:
    for name in genoweave.__all__:
        assert getattr(genoweave, name) is not None
    assert set(dir(genoweave)) >= set(genoweave.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = genoweave.nothing


def test_version__is_that_of_the_package(call: Call) -> None:
    answer = call("--version")
    assert answer.code == 0
    assert genoweave.__version__ in answer.out


def test_console_script__is_installed() -> None:
    (script,) = entry_points(group="console_scripts", name="genoweave")
    assert script.load().__module__.startswith("genoweave.cli")


def test_no_command__shows_the_commands() -> None:
    done = run_command()
    assert done.returncode in (0, 2)
    assert "synthesize" in done.stdout + done.stderr


@pytest.mark.parametrize("name", [name for name, needed in ARGUMENTS.items() if needed])
def test_missing_argument__exits_2(call: Call, name: str) -> None:
    assert set(ARGUMENTS) == set(COMMANDS)
    answer = call(name)
    assert answer.code == 2
    assert "Missing" in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing",),
        ("--nothing",),
        ("doctor", "--workers", "-1"),
        ("doctor", "--workers", "many"),
        ("doctor", "--seed", "-3"),
        ("doctor", "--workers", "2", "--scheduler", "tcp://127.0.0.1:1"),
        ("doctor", "extra"),
        ("export", "x", "--to", "ped", "--out", "y"),
        ("qc", "x", "--out", "y", "--maf", "small"),
        ("qc", "x", "--out", "y", "--hwe-groups", "none"),
        ("init", "c.toml", "--preset", "huge"),
    ],
)
def test_wrong_usage__exits_2(call: Call, arguments: tuple[str, ...]) -> None:
    answer = call(*arguments)
    assert answer.code == 2
    assert "Error" in answer.err
    assert answer.out == ""


MISSING = {
    "run": ("no.toml",), "plan": ("no.toml",), "status": ("no",), "report": ("no",), "release": ("no",),
    "import": ("no", "x.vcz"), "export": ("no", "--to", "csv", "--out", "x.csv"), "qc": ("no", "--out", "x"),
    "pca": ("no", "--out", "x"), "ancestry": ("no", "--out", "x"), "synthesize": ("no", "--out", "x"),
    "phenotype": ("no", "--out", "x"), "watermark": ("no", "--pheno", "no.tsv", "--out", "x"),
    "verify": ("no.json", "no.tsv"),
    "relatives": ("no", "--out", "x"), "king": ("no", "--out", "x"), "gwas": ("no", "--out", "x"),
    "evaluate": ("no", "no", "--out", "x"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSING)
def test_missing_input__exits_1_and_writes_nothing(
    call: Call, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = call(name, *MISSING[name])
    assert answer.code == 1
    assert answer.err.startswith("genoweave: error: ")
    assert "no" in answer.err
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_error__comes_without_traceback_in_a_process_of_its_own(cohort: Cohort, tmp_path: Path) -> None:
    done = run_command("pca", cohort.prefix, "-k", 100_000, "--out", tmp_path / "x")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "[pca] n_components" in done.stderr
    assert list(tmp_path.iterdir()) == []


BELOW_A_FILE = {
    "import": "{c} {o}.vcz", "king": "{c} --out {o}", "pca": "{c} -k 3 --out {o}", "qc": "{c} --out {o}",
    "phenotype": "{c} --out {o}", "synthesize": "{q} --per-group 10 --out {o}", "run": "{t} --out {o}",
    "export": "{c} --to csv --out {o}", "init": "{o}.toml",
    "evaluate": "{q} {q} --tsne-samples 10 --out {o}", "ancestry": "{q} --out {o}", "demo": "{o}",
}  # fmt: skip


@pytest.mark.parametrize("name", BELOW_A_FILE)
def test_out_below_a_file__exits_1_with_a_message(
    call: Call, cohort: Cohort, clean: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("mine")
    config = tmp_path / "c.toml"
    config.write_text(
        f"[input]\npath = '{cohort.prefix}'\nancestry = '{cohort.labels}'\n[pca]\nn_components = 5\n"
    )
    places = {"c": cohort.prefix, "q": clean, "o": tmp_path / "file/x", "t": config}
    answer = call(name, *BELOW_A_FILE[name].format(**places).split(), "--quiet")
    assert answer.code == 1
    assert "genoweave: error: " in answer.err
    assert "file" in answer.err
    assert (tmp_path / "file").read_text() == "mine"
