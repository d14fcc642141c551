"""One key, one release: whatever the chunks, threads, workers and the format of the input."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from bed_reader import to_bed

from genoweave.io.cohort import open_cohort
from genoweave.io.store import write
from genoweave.pipeline.run import run
from tests.small_cohort import (
    Cohort,
    check_same_run,
    files_of,
    off,
    place_key,
    run_command,
    values,
    write_config,
    write_sample_major,
)

OFF = off("evaluation")


@pytest.fixture(scope="module")
def plain(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that all others are compared with: threads, PLINK input, no evaluation."""
    return run(values(cohort, **OFF), place_key(tmp_path_factory.mktemp("plain") / "run"))


def other_run(cohort: Cohort, folder: Path, **changes: dict) -> Path:
    return run(values(cohort, **OFF | changes), place_key(folder / "run"))


def test_whole_run__with_evaluation_is_the_same_run(finished: Path, plain: Path) -> None:
    assert files_of(finished / "release") == files_of(plain / "release")


def test_whole_run__twice_is_the_same_to_the_byte(cohort: Cohort, finished: Path, tmp_path: Path) -> None:
    again = run(values(cohort), place_key(tmp_path / "run"))
    check_same_run(again, finished)
    assert files_of(again / "report") != {}
    for name in ("index.html", "figures/embedding.png", "figures/maf.png"):
        if name.endswith("png"):
            assert files_of(again / "report")[name] == files_of(finished / "report")[name]


@pytest.mark.parametrize("chunks", [(50, 1000), (4096, 37)])
def test_chunks__change_no_released_byte(cohort: Cohort, plain: Path, tmp_path: Path, chunks: tuple) -> None:
    storage = {"variant_chunk": chunks[0], "sample_chunk": chunks[1]}
    check_same_run(other_run(cohort, tmp_path, storage=storage), plain, same_chunks=False)


def as_zarr(cohort: Cohort, store: Path) -> Path:
    """The same cohort as VCF Zarr, phased flags and a PLINK-free layout included."""
    ds = open_cohort(cohort.prefix).drop_vars(["sample_family_id", "sample_sex"])
    ds["call_genotype_phased"] = (("variants", "samples"), np.zeros(cohort.dosage.T.shape, bool))
    write(ds, store, (100, 70))
    return store


def as_zip(cohort: Cohort, folder: Path) -> Path:
    store = as_zarr(cohort, folder / "people.vcz")
    return Path(shutil.make_archive(str(store), "zip", store))


FORMATS = {
    "sample-major .bed": lambda c, folder: write_sample_major(c.dosage, c.prefix, folder / "samplewise"),
    ".bed file": lambda c, folder: Path(f"{c.prefix}.bed"),
    "VCF Zarr": lambda c, folder: as_zarr(c, folder / "people.vcz"),
    "VCF Zarr zip": as_zip,
}


@pytest.mark.parametrize(
    ("kind", "convert"),
    [("sample-major .bed", True), ("sample-major .bed", False), (".bed file", False), ("VCF Zarr", True),
     ("VCF Zarr", False), ("VCF Zarr zip", False)],
)  # fmt: skip
def test_input_format__changes_no_released_byte(
    cohort: Cohort, plain: Path, tmp_path: Path, kind: str, convert: bool
) -> None:
    path = FORMATS[kind](cohort, tmp_path)
    made = other_run(cohort, tmp_path, input={"path": str(path), "convert": convert})
    assert files_of(made / "release") == files_of(plain / "release")
    assert ("call_genotype" in zarr.open_group(str(made / "source.vcz"), mode="r")) == convert


@pytest.mark.parametrize("convert", [True, False])
def test_unlabelled_people__are_left_out_the_same_way(cohort: Cohort, tmp_path: Path, convert: bool) -> None:
    """A table without 30 of the people gives the release of a fileset without them."""
    keep = np.ones(len(cohort.sample_ids), bool)
    keep[5:35] = False
    labels = tmp_path / "some.tsv"
    pd.read_csv(cohort.labels, sep="\t")[keep].to_csv(labels, sep="\t", index=False)
    given = {"ancestry": str(labels), "drop_unlabelled": True, "convert": convert}
    one = other_run(cohort, tmp_path / "one", input=given)
    per_sample = {"fid", "iid", "sex"}
    properties = {
        name: list(np.array(column)[keep]) if name in per_sample else column
        for name, column in cohort.properties.items()
    }
    to_bed(f"{tmp_path}/fewer.bed", cohort.dosage[keep], properties=properties)
    other = other_run(
        cohort, tmp_path / "other", input={"path": f"{tmp_path}/fewer", "ancestry": str(labels)}
    )
    assert files_of(one / "release") == files_of(other / "release")


def test_one_core__changes_no_byte(cohort: Cohort, plain: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", values(cohort, **OFF))
    folder = place_key(tmp_path / "run")
    done = run_command("run", config, "--out", folder, "--quiet", cores=1)
    assert done.returncode == 0, done.stderr
    check_same_run(folder, plain)


@pytest.mark.distributed
def test_worker_processes__change_no_byte(cohort: Cohort, plain: Path, tmp_path: Path) -> None:
    """As a command of its own, so that the workers start as they do for users."""
    config = write_config(tmp_path / "c.toml", values(cohort, **OFF))
    folder = place_key(tmp_path / "run")
    done = run_command("run", config, "--out", folder, "--workers", 2, "--quiet")
    assert done.returncode == 0, done.stderr
    assert "2 local worker processes" in (folder / "log.txt").read_text()
    check_same_run(folder, plain)


@pytest.fixture
def scheduler() -> Iterator[str]:
    from distributed import LocalCluster

    local = "127.0.0.1:0"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=local) as cluster:
        yield cluster.scheduler_address


@pytest.mark.distributed
def test_scheduler__changes_no_byte(cohort: Cohort, plain: Path, tmp_path: Path, scheduler: str) -> None:
    config = write_config(tmp_path / "c.toml", values(cohort, **OFF))
    folder = place_key(tmp_path / "run")
    done = run_command("run", config, "--out", folder, "--scheduler", scheduler, "--quiet")
    assert done.returncode == 0, done.stderr
    check_same_run(folder, plain)
