"""Exports of a cohort for other tools."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from bed_reader import open_bed

from tests.cli.conftest import Call
from tests.small_cohort import Cohort, content_of, dosage_of, strings


def test_export__to_plink(call: Call, cohort: Cohort, clean: Path, tmp_path: Path) -> None:
    assert call("export", cohort.prefix, "--to", "plink", "--out", tmp_path / "copy").code == 0
    assert (tmp_path / "copy.bed").read_bytes() == cohort.prefix.with_suffix(".bed").read_bytes()
    with open_bed(tmp_path / "copy.bed") as bed:
        np.testing.assert_array_equal(bed.read(dtype="int8"), cohort.dosage)
        assert list(bed.iid) == list(cohort.sample_ids)
        assert list(bed.sid) == cohort.properties["sid"]
        assert list(bed.sex) == cohort.properties["sex"]
        np.testing.assert_array_equal(bed.bp_position, cohort.properties["bp_position"])
        assert (list(bed.allele_1), list(bed.allele_2)) == (
            cohort.properties["allele_1"],
            cohort.properties["allele_2"],
        )


def test_export__to_vcz_is_read_by_sgkit(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    import sgkit

    out = tmp_path / "copy.vcz"
    assert call("export", cohort.prefix, "--to", "vcz", "--out", out).code == 0
    ds = sgkit.load_dataset(str(out))
    assert ds["call_genotype"].shape == (*cohort.dosage.T.shape, 2)
    frequency = sgkit.variant_stats(ds)["variant_allele_frequency"].values[:, 1]
    called = np.where(cohort.dosage < 0, np.nan, cohort.dosage)
    np.testing.assert_allclose(frequency, np.nanmean(called, axis=0) / 2)
    assert zarr.open_group(str(out), mode="r").attrs["vcf_zarr_version"] == "0.4"


def test_export__to_vcz_spares_other_folders(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    answer = call("export", cohort.prefix, "--to", "vcz", "--out", tmp_path)
    assert answer.code == 1
    assert (tmp_path / "thesis.txt").exists()


def test_export__to_csv(call: Call, clean: Path, cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "new/folder/x.csv"
    assert call("export", clean, "--to", "csv", "--out", out).code == 0
    table = pd.read_csv(out, keep_default_na=False, dtype=str)
    assert list(table.columns) == ["SampleID", "Ancestry", *strings(clean, "variant_id")]
    assert list(table["SampleID"]) == strings(clean, "sample_id")
    found = table.iloc[:, 2:].replace("NA", "-127").astype(int)
    np.testing.assert_array_equal(found, dosage_of(clean))


@pytest.mark.parametrize("to", ["csv", "plink", "vcz"])
def test_export__does_not_go_on_with_another_cohorts_half(
    call: Call, cohort: Cohort, clean: Path, tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed export leaves a part; an export of other data to the same name must begin anew."""
    import genoweave.io.files as files
    import genoweave.io.store as stores

    wanted = tmp_path / "wanted"
    assert call("export", clean, "--to", to, "--out", wanted).code == 0
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        if to == "vcz":
            patch.setattr(stores.zarr, "consolidate_metadata", interrupt)
        else:
            patch.setattr(files.AppendingFile, "commit", interrupt)
        assert call("export", cohort.prefix, "--to", to, "--out", out).code == 130
    assert call("export", clean, "--to", to, "--out", out).code == 0
    if to == "vcz":
        assert content_of(out) == content_of(wanted)
    else:
        ending = ".bed" if to == "plink" else ""
        assert Path(f"{out}{ending}").read_bytes() == Path(f"{wanted}{ending}").read_bytes()


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
