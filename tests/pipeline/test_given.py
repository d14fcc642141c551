"""Runs of a cohort that is a dataset in memory."""

from pathlib import Path

import pytest
import xarray as xr

import genoweave
from genoweave.pipeline.run import run
from tests.small_cohort import Cohort, place_key, values


def dataset(cohort: Cohort) -> xr.Dataset:
    from genoweave.cohorts import labelled

    return labelled(genoweave.open(cohort.prefix), cohort.labels).load()


def test_run__a_dataset_gives_the_release_of_its_files(
    cohort: Cohort, finished: Path, tmp_path: Path
) -> None:
    settings = values(cohort) | {
        "input": {"drop_unlabelled": values(cohort)["input"].get("drop_unlabelled", False)}
    }
    folder = run(settings, place_key(tmp_path / "run"), cohort=dataset(cohort), quiet=True)
    for file in sorted((finished / "release").glob("*.csv")):
        assert (folder / "release" / file.name).read_bytes() == file.read_bytes(), file.name
    before = {path: path.stat().st_mtime_ns for path in (folder / "manifest").iterdir()}
    run(settings, folder, cohort=dataset(cohort), quiet=True)
    assert {path: path.stat().st_mtime_ns for path in (folder / "manifest").iterdir()} == before


def test_run__a_dataset_without_groups_needs_a_table(cohort: Cohort, tmp_path: Path) -> None:
    with pytest.raises(genoweave.ConfigError, match="no sample_ancestry"):
        run({}, tmp_path / "run", cohort=genoweave.open(cohort.prefix), quiet=True)


def test_open__checks_a_dataset(cohort: Cohort) -> None:
    ds = genoweave.open(cohort.prefix)
    assert genoweave.open(ds).equals(ds)
    with pytest.raises(genoweave.DataError, match="lacks sample_id"):
        genoweave.open(ds.drop_vars("sample_id"))
