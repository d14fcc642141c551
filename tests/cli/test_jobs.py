"""Commands about whole runs."""

import json
import logging
import tomllib
from pathlib import Path

import pytest

from genoweave.config import PRESETS, SECTIONS, build, load
from tests.cli.conftest import Call
from tests.small_cohort import STAGES, Cohort, files_of, off, place_key, values, write_config

OFF = off("evaluation")


@pytest.fixture
def config(cohort: Cohort, tmp_path: Path) -> Path:
    return write_config(tmp_path / "job.toml", values(cohort, **OFF))


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture
def done(cohort: Cohort, module_folder: Path, call: Call) -> Path:
    """A configuration whose run, beside it, is finished; made once."""
    config = module_folder / "job.toml"
    if not config.exists():
        write_config(config, values(cohort))
        place_key(module_folder / "job.run")
        answer = call("run", config)
        assert answer.code == 0, answer.err
    return config


def test_init__writes_a_configuration_with_every_key(call: Call, tmp_path: Path) -> None:
    for preset, changes in PRESETS.items():
        path = tmp_path / f"{preset}.toml"
        answer = call("init", path, "--preset", preset, "--cohort", "a/b", "--ancestry", "c.tsv")
        assert answer.code == 0
        assert str(path) in answer.out
        found = tomllib.loads(path.read_text())
        assert set(found) == {"seed", *SECTIONS}
        expected = build(
            {**changes, "input": {"path": str(tmp_path / "a/b"), "ancestry": str(tmp_path / "c.tsv")}}
        )
        assert load(path) == expected
        for name in SECTIONS:
            keys = set(type(getattr(expected, name)).model_fields) - {"seed"}
            assert keys <= set(found[name]), name


def test_init__does_not_overwrite(call: Call, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("mine")
    answer = call("init", tmp_path / "c.toml")
    assert answer.code == 1
    assert "exists" in answer.err
    assert (tmp_path / "c.toml").read_text() == "mine"


def test_plan__prints_each_stage_and_writes_nothing(call: Call, config: Path) -> None:
    answer = call("plan", config)
    assert answer.code == 0
    first = [line.split()[0] for line in answer.out.splitlines()]
    assert [word for word in first if word in STAGES] == [s for s in STAGES if s != "validate"]
    assert "156 samples, 600 variants" in answer.out
    assert "memory limit: " in answer.out
    assert [p.name for p in config.parent.iterdir()] == ["job.toml"]


def test_plan__over_the_limit_exits_1(call: Call, config: Path) -> None:
    answer = call("plan", config, "--memory-limit", "100MiB")
    assert answer.code == 1
    assert "raise --memory-limit" in answer.err
    assert "memory limit: 100.0 MiB" in answer.out


@pytest.mark.parametrize(
    "setting", [{"traits": 2}, {"status": "none"}, {"n_cases": 5}, {"controls_per_case": 2.0}]
)
def test_run__refuses_traits_that_a_release_has_no_place_for(
    call: Call, cohort: Cohort, tmp_path: Path, setting: dict[str, object]
) -> None:
    config = write_config(tmp_path / "job.toml", values(cohort, phenotype=setting))
    for command in ("plan", "run"):
        answer = call(command, config)
        assert answer.code == 1
        assert "makes one case/control trait of all samples" in answer.err
    assert list(tmp_path.iterdir()) == [config]


def test_run__over_the_limit_exits_1_and_writes_nothing(call: Call, config: Path) -> None:
    answer = call("run", config, "--memory-limit", "100MiB")
    assert answer.code == 1
    assert [p.name for p in config.parent.iterdir()] == ["job.toml"]


def test_run__writes_beside_the_configuration(call: Call, done: Path) -> None:
    folder = done.with_suffix(".run")
    assert (folder / "release/manifest.json").exists()
    answer = call("run", done)
    assert answer.code == 0
    assert answer.out == f"report:  {folder}/report/index.html\nrelease: {folder}/release\n"


def test_run__flags_win_over_the_configuration(call: Call, config: Path, tmp_path: Path) -> None:
    text = config.read_text().replace("seed = 3", "seed = 4")
    config.write_text(text + "[cluster]\nworkers = 3\nmemory_limit = '1MiB'\n")
    out = tmp_path / "elsewhere"
    off = "".join(f"[{n}]\nenabled = false\n" for n in ("phenotype", "kinship"))
    config.write_text(config.read_text().replace("[watermark]\n", "[watermark]\nenabled = false\n") + off)
    answer = call(
        "run", config, "--out", out, "--workers", 0, "--memory-limit", "8GiB", "--seed", 9, "--quiet"
    )
    assert (answer.code, answer.out) == (0, "")
    used = tomllib.loads((out / "config.toml").read_text())
    assert used["seed"] == 9
    assert used["cluster"] == {"workers": 0, "scheduler": False, "memory_limit": "8GiB"}
    assert load(out / "config.toml").relatives.seed == 9
    assert not config.with_suffix(".run").exists()


def test_run__shows_stages_when_asked(call: Call, done: Path) -> None:
    assert "INFO import: kept" in call("run", done, "-v").err
    assert call("run", done).err == ""


def test_run__noise_key_repeats_another_run(call: Call, done: Path, cohort: Cohort, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", values(cohort, **OFF))
    key = done.with_suffix(".run") / "private/noise.key"
    answer = call("run", config, "--noise-key", key, "--quiet")
    assert answer.code == 0
    assert files_of(tmp_path / "c.run/release") == files_of(done.with_suffix(".run") / "release")
    assert (tmp_path / "c.run/private/noise.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["hello", "", "ab" * 31, "zz" * 32, b"\xff\xfe\x00"])
def test_run__bad_noise_key_is_refused_and_the_old_one_kept(
    call: Call, done: Path, tmp_path: Path, text: str | bytes
) -> None:
    own = done.with_suffix(".run") / "private/noise.key"
    before = own.read_bytes()
    bad = tmp_path / "bad.key"
    bad.write_bytes(text if isinstance(text, bytes) else text.encode())
    answer = call("run", done, "--noise-key", bad)
    assert answer.code == 1
    assert "is not a noise key" in answer.err
    assert str(bad) in answer.err
    assert own.read_bytes() == before
    assert call("run", done, "--noise-key", tmp_path / "none").code == 1
    assert own.read_bytes() == before


def test_status__shows_each_stage(call: Call, done: Path) -> None:
    for place in (done, done.with_suffix(".run")):
        answer = call("status", place)
        assert answer.code == 0
        lines = dict(line.split() for line in answer.out.splitlines()[: len(STAGES)])
        assert set(lines) == set(STAGES)
        assert set(lines.values()) <= {"done", "kept"}
        assert answer.out.splitlines()[-1].startswith("updated ")


def test_report__is_written_again(call: Call, done: Path) -> None:
    page = done.with_suffix(".run") / "report/index.html"
    page.unlink()
    answer = call("report", done)
    assert answer.code == 0
    assert str(page) in answer.out
    assert page.exists()


def test_report__of_an_unfinished_run_is_refused(call: Call, tmp_path: Path) -> None:
    answer = call("report", tmp_path)
    assert answer.code == 1
    assert "validate stage" in answer.err


def test_release__makes_what_is_missing(call: Call, done: Path) -> None:
    folder = done.with_suffix(".run")
    before = files_of(folder / "release")
    (folder / "release/README.md").unlink()
    answer = call("release", folder)
    assert answer.code == 0
    assert answer.out == f"release: {folder}/release\n"
    assert files_of(folder / "release") == before


def test_release__of_a_run_with_relative_inputs(
    call: Call, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder knows its inputs whatever the folder that one works in."""
    import genoweave

    monkeypatch.chdir(cohort.folder)
    left_out = off("evaluation", "kinship", "relatives", "watermark")
    settings = values(cohort, **left_out, input={"path": "people", "ancestry": "ancestry.tsv"})
    folder = genoweave.run(settings, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    answer = call("release", folder)
    assert answer.code == 0, answer.err


def test_demo__simulates_and_runs_all(
    call: Call, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a smaller simulation and preset than users get."""
    from genoweave.methods.simulate import Simulation

    small = {
        name: dict(section)
        for name, section in values(cohort).items()
        if name not in ("seed", "input", "release")
    }
    monkeypatch.setitem(PRESETS, "small", small)
    monkeypatch.setattr(
        "genoweave.pipeline.demo.Simulation",
        lambda seed: Simulation(seed=seed, n_samples=120, n_variants=300, populations=("EUR", "AFR")),
    )
    answer = call("demo", tmp_path / "demo", "--seed", 2)
    assert answer.code == 0, answer.err
    assert str(tmp_path / "demo/release") in answer.out
    first = files_of(tmp_path / "demo/release")
    assert any(name.endswith("_snp.csv") for name in first)
    assert call("demo", tmp_path / "demo", "--seed", 2).code == 0
    assert files_of(tmp_path / "demo/release") == first
    states = json.loads((tmp_path / "demo/status.json").read_text())["stages"]
    assert set(states.values()) == {"kept"}


def test_doctor__tells_versions(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = call("doctor")
    assert answer.code == 0
    for name in ("Python", "genoweave", "sgkit", "zarr", "numba", "cores", "memory", "no known problem"):
        assert name in answer.out


@pytest.mark.parametrize(
    ("versions", "problem"),
    [({"xarray": "2026.4.0", "sgkit": "0.10.0"}, "xarray < 2026.4"), ({"pandas": "3.0.1"}, "pandas < 3")],
)
def test_doctor__names_bad_combinations(
    call: Call, monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], problem: str
) -> None:
    from genoweave.pipeline import doctor

    original = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name) or original(name))
    answer = call("doctor")
    assert answer.code == 1
    assert problem in answer.err


def test_interrupt__exits_130_and_says_that_work_is_kept(
    call: Call, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("genoweave.pipeline.run.write_manifest", interrupted)
        answer = call("run", config, "--quiet")
    assert answer.code == 130
    assert "run again" in answer.err
    assert json.loads((config.with_suffix(".run") / "status.json").read_text())["stages"]["import"] != "done"


def test_logger__has_one_handler_after_many_calls(call: Call) -> None:
    for _ in range(3):
        call("doctor")
    handlers = [h for h in logging.getLogger("genoweave").handlers if isinstance(h, logging.StreamHandler)]
    assert len(handlers) == 1
