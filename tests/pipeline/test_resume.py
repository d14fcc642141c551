"""What a second run of the same folder does again, and what it keeps."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest

from genoweave.errors import StoreError
from genoweave.pipeline.run import run
from tests.small_cohort import (
    STAGES,
    Cohort,
    check_same_run,
    files_of,
    make_cohort,
    manifests,
    off,
    place_key,
    values,
)

QUICK = off("evaluation")


class Watched:
    """Runs a folder again and tells from its log what was done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []

    def run(self, settings: dict) -> dict[str, str]:
        """Stage -> "kept" or the reason why it was run."""
        log = self.folder / "log.txt"
        before = log.stat().st_size if log.exists() else 0
        run(settings, self.folder)
        self.lines = log.read_text()[before:].splitlines()
        found = {}
        for line in self.lines:
            name, _, event = line.split(" INFO ")[-1].partition(": ")
            if name in STAGES and event.startswith(("kept", "running")):
                found[name] = event
        return found


def done_again(found: dict[str, str]) -> list[str]:
    return [stage for stage, event in found.items() if event.startswith("running")]


@pytest.fixture(autouse=True)
def _report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the report takes as long as all stages together: only tests about it do so."""
    if "report" in request.node.name:
        return

    def write(folder: Path, **_: bool) -> Path:
        (folder / "report").mkdir(exist_ok=True)
        (folder / "report/index.html").write_text("drawn")
        return folder / "report/index.html"

    monkeypatch.setattr("genoweave.report.write_report", write)


@pytest.fixture
def again(copied: Path) -> Watched:
    return Watched(copied)


@pytest.fixture(scope="module")
def own_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """A cohort whose files may be changed, and put back."""
    return make_cohort(tmp_path_factory.mktemp("changed"))


@pytest.fixture(scope="module")
def own_run(own_cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(values(own_cohort, **QUICK), place_key(tmp_path_factory.mktemp("own") / "run"))


@pytest.fixture
def own(own_run: Path, tmp_path: Path) -> Watched:
    """A finished run of `own_cohort` without evaluation."""
    return Watched(Path(shutil.copytree(own_run, tmp_path / "run")))


def test_run_again__keeps_everything_and_says_so(cohort: Cohort, again: Watched, finished: Path) -> None:
    found = again.run(values(cohort))
    assert list(found) == list(STAGES)
    assert all(event.startswith("kept") for event in found.values())
    changed = {"log.txt", "status.json", "config.toml"}
    before, after = files_of(finished), files_of(again.folder)
    assert {name for name in before if before[name] != after.get(name)} <= changed
    assert set(json.loads((again.folder / "status.json").read_text())["stages"].values()) == {"kept"}


def test_run_again__in_another_place_keeps_everything(cohort: Cohort, again: Watched, tmp_path: Path) -> None:
    moved = Watched(again.folder.rename(tmp_path / "moved"))
    copy = shutil.copytree(cohort.folder, tmp_path / "cohort", copy_function=shutil.copy2)
    settings = values(cohort, input={"path": str(copy / "people"), "ancestry": str(copy / "ancestry.tsv")})
    assert done_again(moved.run(settings)) == []


AFTER_QC = ["pca", "ancestry", "synthesis", "phenotype", "watermark", "relatives", "kinship", "release"]


@pytest.mark.parametrize(
    ("section", "change", "redone"),
    [
        ("qc", {"maf": 0.03}, ["qc", *AFTER_QC]),
        ("synthesis", {"epsilon": 5.0}, AFTER_QC[2:]),
        ("phenotype", {"heritability": 0.5}, ["phenotype", "watermark", "release"]),
        ("watermark", {"eps": 0.25}, ["watermark", "release"]),
        ("relatives", {"founders_per_group": 24}, ["relatives", "kinship", "release"]),
        ("release", {"name": "other"}, ["release"]),
    ],
)
def test_changed_parameter__redoes_its_stage_and_what_depends_on_it(
    own_cohort: Cohort, own: Watched, section: str, change: dict, redone: list[str]
) -> None:
    found = own.run(values(own_cohort, **QUICK, **{section: change}))
    assert done_again(found) == redone
    (key, value) = next(iter(change.items()))
    assert f"[{section}] {key}" in found[redone[0]]
    assert f"-> {value}" in found[redone[0]]


def test_changed_parameter__and_changed_back_gives_the_first_result(
    own_cohort: Cohort, own: Watched, own_run: Path
) -> None:
    own.run(values(own_cohort, **QUICK, phenotype={"heritability": 0.5}))
    assert files_of(own.folder / "release") != files_of(own_run / "release")
    assert done_again(own.run(values(own_cohort, **QUICK))) == ["phenotype", "watermark", "release"]
    check_same_run(own.folder, own_run)


def test_changed_components__redo_those_who_read_them(own_cohort: Cohort, own: Watched) -> None:
    found = own.run(values(own_cohort, **QUICK, pca={"n_components": 6}))
    assert done_again(found)[:3] == ["pca", "ancestry", "synthesis"]


def test_changed_parameter__that_changes_no_result_stops_there(own_cohort: Cohort, own: Watched) -> None:
    """`max_passes` belongs to another solver: the components are the same, and what follows is kept."""
    found = own.run(values(own_cohort, **QUICK, pca={"max_passes": 9}))
    assert done_again(found) in (["pca"], ["pca", "release"])


def test_changed_parameter__is_what_the_release_says(own_cohort: Cohort, own: Watched) -> None:
    """The release's manifest names the parameters of this run, also where they changed no file of it."""
    own.run(values(own_cohort, **QUICK, pca={"max_passes": 9}, kinship={"min_kinship": 0.1}))
    said = json.loads((own.folder / "release/manifest.json").read_text())["parameters"]
    assert said["pca"]["max_passes"] == 9
    assert said["kinship"]["min_kinship"] == 0.1


def test_changed_name__is_what_evaluation_and_report_say(cohort: Cohort, again: Watched) -> None:
    again.run(values(cohort, release={"name": "renamed"}))
    assert json.loads((again.folder / "evaluation.json").read_text())["name"] == "renamed"


def test_changed_seed__redoes_the_stages_that_use_it(own_cohort: Cohort, own: Watched) -> None:
    found = own.run(values(own_cohort, **QUICK) | {"seed": 4})
    assert {"pca", "phenotype", "relatives", "release"} <= set(done_again(found))
    assert not {"import", "qc"} & set(done_again(found))


def test_changed_workers_and_memory__redo_nothing(own_cohort: Cohort, own: Watched) -> None:
    assert done_again(own.run(values(own_cohort, **QUICK, cluster={"memory_limit": "12GiB"}))) == []


def test_changed_key__redoes_what_hangs_from_it(own_cohort: Cohort, own: Watched) -> None:
    (own.folder / "private/noise.key").write_text("5a" * 32 + "\n")
    found = own.run(values(own_cohort, **QUICK))
    assert done_again(found)[0] == "synthesis"
    assert "noise key" in found["synthesis"]
    assert "5a5a" not in (own.folder / "log.txt").read_text()


def test_changed_genotypes__are_noticed(own_cohort: Cohort, own: Watched) -> None:
    bed = own_cohort.prefix.with_suffix(".bed")
    original, times = bed.read_bytes(), bed.stat()
    changed = bytearray(original)
    changed[500:540] = original[700:740]
    try:
        bed.write_bytes(changed)
        found = own.run(values(own_cohort, **QUICK))
        assert done_again(found)[:3] == ["import", "qc", "pca"]
        assert ".bed" in found["import"]
    finally:
        bed.write_bytes(original)
        os.utime(bed, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_changed_genotypes__are_noticed_without_conversion(own_cohort: Cohort, tmp_path: Path) -> None:
    bed = own_cohort.prefix.with_suffix(".bed")
    original, times = bed.read_bytes(), bed.stat()
    lazy = Watched(tmp_path / "lazy")
    settings = values(own_cohort, **QUICK, input={"convert": False}, release={"enabled": False})
    run(settings, place_key(lazy.folder))
    changed = bytearray(original)
    changed[500:540] = original[700:740]
    try:
        bed.write_bytes(changed)
        assert done_again(lazy.run(settings))[:2] == ["import", "qc"]
    finally:
        bed.write_bytes(original)
        os.utime(bed, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_touched_input__is_read_again_and_no_more(own_cohort: Cohort, own: Watched) -> None:
    bim = own_cohort.prefix.with_suffix(".bim")
    times = bim.stat()
    try:
        os.utime(bim, (1, 1))
        assert done_again(own.run(values(own_cohort, **QUICK))) == ["import"]
    finally:
        os.utime(bim, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_changed_label__is_noticed(own_cohort: Cohort, own: Watched, tmp_path: Path) -> None:
    table = pd.read_csv(own_cohort.labels, sep="\t")
    table.loc[5, "group"] = "South"
    table.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    found = own.run(values(own_cohort, **QUICK, input={"ancestry": str(tmp_path / "labels.tsv")}))
    assert "ancestry table" in found["import"]
    assert "synthesis" in done_again(found)


DELETED = [
    ("source.vcz", "import"), ("genotypes.vcz/call_genotype/1.0.0", "qc"), ("pca.zarr", "pca"),
    ("ancestry/groups.parquet", "ancestry"), ("private/donors.parquet", "synthesis"),
    ("phenotype.zarr", "phenotype"), ("relatives.vcz", "relatives"), ("kinship.parquet", "kinship"),
    ("release/tiny_snp.csv", "release"), ("manifest/watermark.json", "watermark"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "stage"), DELETED)
def test_deleted_artifact__is_made_again_the_same(
    own_cohort: Cohort, own: Watched, own_run: Path, name: str, stage: str
) -> None:
    path = own.folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    found = own.run(values(own_cohort, **QUICK))
    assert done_again(found) == [stage]
    assert name.startswith("manifest") or "missing" in found[stage]
    check_same_run(own.folder, own_run)


@pytest.mark.parametrize("name", ["evaluation.json", "evaluation/maf.parquet"])
def test_deleted_evaluation__is_made_again_the_same(
    cohort: Cohort, again: Watched, finished: Path, name: str
) -> None:
    (again.folder / name).unlink()
    assert done_again(again.run(values(cohort))) == ["validate"]
    check_same_run(again.folder, finished)


def test_deleted_report__is_made_again(cohort: Cohort, again: Watched, finished: Path) -> None:
    (again.folder / "report/index.html").unlink()
    assert done_again(again.run(values(cohort))) == []
    assert (again.folder / "report/index.html").stat().st_size > 10_000


def test_damaged_manifest__is_as_none(own_cohort: Cohort, own: Watched) -> None:
    for text in ("", "{", "[]", '{"token": 1}', "null"):
        (own.folder / "manifest/watermark.json").write_text(text)
        assert done_again(own.run(values(own_cohort, **QUICK))) == ["watermark"], text


def test_leftovers_of_a_killed_removal__are_cleared_away(own_cohort: Cohort, own: Watched) -> None:
    """Real genotypes must not stay in a folder that nobody looks at."""
    (own.folder / "genotypes.vcz").rename(own.folder / "genotypes.vcz.deleting")
    shutil.copytree(own.folder / "source.vcz", own.folder / ".work/qc/0123/planes")
    own.run(values(own_cohort, **QUICK))
    scraps = [p for p in own.folder.rglob("*") if p.name.endswith(".deleting") or p.name == "planes"]
    assert not scraps


OPTIONAL = ("phenotype", "watermark", "relatives", "kinship", "evaluation", "release")


ONE_OFF = [(name,) for name in OPTIONAL if name != "phenotype"]


@pytest.mark.parametrize(
    "missing", [*ONE_OFF, ("phenotype", "watermark"), ("relatives", "kinship"), OPTIONAL]
)
def test_disabled_stages__are_left_out(cohort: Cohort, tmp_path: Path, missing: tuple[str, ...]) -> None:
    folder = place_key(tmp_path / "run")
    run(values(cohort, **off(*missing)), folder)
    left_out = {"validate" if name == "evaluation" else name for name in missing}
    assert set(manifests(folder)) == set(STAGES) - left_out
    assert (folder / "report").exists() == ("evaluation" not in missing)
    found = {p.name for p in (folder / "release").iterdir()} if "release" not in missing else set()
    needs = {
        "snp": {"release"},
        "phenotype": {"release", "phenotype"},
        "watermark_snp": {"release", "watermark"},
        "relative_snps": {"release", "relatives"},
        "kinship_relatedness": {"release", "relatives", "kinship"},
    }
    for name, stages in needs.items():
        assert (f"tiny_{name}.csv" in found) == (not stages & set(missing))


def test_disabled_later__leaves_nothing_stale(cohort: Cohort, again: Watched) -> None:
    """Tables of a stage that was switched off must not be shown as this run's."""
    again.run(values(cohort, **off("watermark", "relatives", "kinship")))
    assert not (again.folder / "evaluation/watermark.parquet").exists()
    assert not (again.folder / "evaluation/kinship_listed.parquet").exists()
    assert not (again.folder / "evaluation/kinship_histogram.parquet").exists()
    assert not {p.name for p in (again.folder / "release").iterdir()} & {
        "tiny_watermark_snp.csv", "tiny_relative_snps.csv", "tiny_kinship_relatedness.csv"
    }  # fmt: skip


def test_folder_with_something_else__is_refused(cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="holds other things"):
        run(values(cohort), tmp_path)
    (tmp_path / "config.toml").write_text("[mine]\n")
    with pytest.raises(StoreError, match="not a run's"):
        run(values(cohort), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"thesis.txt", "config.toml"}
    with pytest.raises(StoreError, match="cannot write"):
        run(values(cohort), tmp_path / "thesis.txt" / "run")


@pytest.mark.parametrize("leftover", ["private/", "config.toml.partial", "log.txt"])
def test_folder_of_a_run_killed_at_its_very_start__goes_on(
    cohort: Cohort, tmp_path: Path, leftover: str
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / leftover).mkdir() if leftover.endswith("/") else (folder / leftover).touch()
    if leftover == "log.txt":
        with pytest.raises(StoreError, match="holds other things"):
            run(values(cohort, **off(*OPTIONAL)), folder)
    else:
        run(values(cohort, **off(*OPTIONAL)), folder)
