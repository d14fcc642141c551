"""Exports of a cohort for other tools."""

import subprocess
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
import xarray as xr
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


@pytest.mark.parametrize("to", ["csv", "plink", "vcz", "pgen", "vcf", "bcf", "bgen"])
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
        ending = ENDINGS[to]
        assert Path(f"{out}{ending}").read_bytes() == Path(f"{wanted}{ending}").read_bytes()


ENDINGS = {"csv": "", "plink": ".bed", "pgen": ".pgen", "vcf": ".vcf.gz", "bcf": ".bcf", "bgen": ".bgen"}


@pytest.mark.parametrize("flags", [("--to", "plink", "--to", "vcf"), ("--to", "plink,vcf")])
def test_export__several_formats_at_once(
    call: Call, cohort: Cohort, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    out = tmp_path / "new" / "copy.1"
    answer = call("export", cohort.prefix, *flags, "--out", out)
    assert answer.code == 0
    assert answer.out.splitlines() == [f"wrote {out}.bed", f"wrote {out}.vcf.gz"]
    assert {path.name for path in out.parent.iterdir()} == {
        "copy.1.bed", "copy.1.bim", "copy.1.fam", "copy.1.vcf.gz", "copy.1.vcf.gz.tbi"}  # fmt: skip
    assert Path(f"{out}.bed").read_bytes() == cohort.prefix.with_suffix(".bed").read_bytes()


def test_export__unknown_formats(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    answer = call("export", cohort.prefix, "--to", "plink,ped", "--out", tmp_path / "x")
    assert answer.code == 2
    assert "there is no format 'ped'; choose of: vcz, plink" in answer.err


def test_export__check_or_no_check(
    call: Call, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genoweave.io import exports

    write = exports._write_streams

    def flips_a_bit(*arguments: object, **options: object) -> object:
        sums = write(*arguments, **options)
        data = bytearray((tmp_path / "x.bed").read_bytes())
        data[100] ^= 1
        (tmp_path / "x.bed").write_bytes(data)
        return sums

    monkeypatch.setattr(exports, "_write_streams", flips_a_bit)
    arguments = ("export", cohort.prefix, "--to", "plink", "--out", tmp_path / "x")
    answer = call(*arguments)
    assert answer.code == 1
    assert "x.bed does not hold what was to be written: it differs in genotypes" in answer.err
    assert (tmp_path / "x.bed.rejected").exists()
    assert not (tmp_path / "x.bed").exists()
    assert call(*arguments, "--no-check").code == 0


def test_export__goes_on_where_it_was_killed(
    call: Call, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genoweave.io import streams

    monkeypatch.setattr(streams, "BATCH_CALLS", 156 * 50)
    arguments = ("export", cohort.prefix, "--to", "vcf,bgen", "--out")
    assert call(*arguments, tmp_path / "whole").code == 0
    append, appended = streams.AppendingFile.append, []

    def dying(self: streams.AppendingFile, data: bytes) -> None:
        appended.append(self.path.name)
        if len(appended) == 20:
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(streams.AppendingFile, "append", dying)
    assert call(*arguments, tmp_path / "x").code == 130
    assert call(*arguments, tmp_path / "x").code == 0
    assert len(appended) == 1 + 3 * 13 + 1
    for name in (".vcf.gz", ".vcf.gz.tbi", ".bgen", ".sample"):
        assert (tmp_path / f"x{name}").read_bytes() == (tmp_path / f"whole{name}").read_bytes()


def test_export__worker_processes_write_the_same(call: Call, phased: xr.Dataset, tmp_path: Path) -> None:
    from genoweave import cohorts

    to = "plink,pgen,vcf,bgen,csv"
    cohorts.export(phased, "vcf", tmp_path / "in.vcf.gz")
    for name, flags in (("threads", ()), ("processes", ("--workers", 2))):
        arguments = ("export", tmp_path / "in.vcf.gz", "--to", to, "--out", tmp_path / name / "x")
        assert call(*arguments, *flags).code == 0
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("threads", "processes")
    )
    assert one == two
    assert len(one) == 3 + 3 + 2 + 2 + 1


@pytest.fixture
def phased() -> xr.Dataset:
    """Calls of 90 people, phased but for some, on two chromosomes."""
    rng = np.random.default_rng(8)
    calls = rng.integers(0, 2, (70, 90, 2)).astype(np.int8)
    calls[rng.random((70, 90)) < 0.05] = -1
    ds = helpers.cohort(np.zeros((70, 90), np.int8), contigs=("1", "2"))
    ds["call_genotype"].values[:] = calls
    return ds.assign(
        call_genotype_phased=(("variants", "samples"), rng.random((70, 90)) < 0.9),
        sample_sex=("samples", (1 + np.arange(90) % 2).astype(np.int8)),
    )


@pytest.mark.oracle
def test_export__other_programs_read_one_export_alike(
    phased: xr.Dataset, tmp_path: Path, plink2: helpers.Program, bcftools: helpers.Program
) -> None:
    from genoweave import cohorts

    x = tmp_path / "x"
    cohorts.export(phased, ["plink", "pgen", "vcf", "bcf", "bgen"], x)
    inputs = {
        "bed": ("--bfile", x),
        "vcf": ("--vcf", f"{x}.vcf.gz"),
        "bcf": ("--bcf", f"{x}.bcf"),
        "bgen": ("--bgen", f"{x}.bgen", "ref-first", "--sample", f"{x}.sample"),
    }
    counts = {name: geno_counts(plink2, tmp_path / name, *arguments) for name, arguments in inputs.items()}
    dosage = helpers.dosage_of(phased)
    wanted = [[str((row == k).sum()) for k in (0, 1, 2)] + [str((row < 0).sum())] for row in dosage]
    assert all(found == wanted for found in counts.values())
    # PLINK 2 compares what it makes of the text with our .pgen
    plink2("--vcf", f"{x}.vcf.gz", "--make-pgen", out=tmp_path / "theirs")
    plink2("--pfile", x, "--pgen-diff", tmp_path / "theirs", out=tmp_path / "diff")
    differences = (tmp_path / "diff.pdiff").read_text().splitlines()
    assert [line for line in differences if not line.startswith("#")] == []
    views = [view(bcftools, f"{x}{ending}") for ending in (".vcf.gz", ".bcf")]
    assert views[0] == views[1]
    assert views[0].count(b"\n") == 70
    with open_bed(f"{x}.bed", num_threads=1) as bed:
        np.testing.assert_array_equal(bed.read(dtype="int8"), np.where(dosage < 0, -127, dosage).T)


def geno_counts(plink2: helpers.Program, out: Path, *arguments: object) -> list[list[str]]:
    plink2(*arguments, "--geno-counts", "cols=homref,refalt,homalt1,missing", out=out)
    lines = Path(f"{out}.gcount").read_text().splitlines()
    return [line.split("\t")[-4:] for line in lines[1:]]


def view(bcftools: helpers.Program, path: str) -> bytes:
    done = subprocess.run([bcftools.path, "view", "-H", path], capture_output=True, check=True)
    return done.stdout


@pytest.fixture(scope="session")
def bcftools() -> helpers.Program:
    import shutil

    path = shutil.which("bcftools")
    if path is None:
        pytest.skip("bcftools is not installed")
    return helpers.Program(path)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt
