"""Imports of every format, with tables, and imports that are killed."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genoweave
from genoweave.io import store
from genoweave.io.bgen import write_bgen
from genoweave.io.consistency import contents
from genoweave.io.pgen import write_pgen
from genoweave.io.vcf import write_vcf
from tests.cli.conftest import Call
from tests.small_cohort import Cohort


@pytest.fixture(scope="module")
def files(cohort: Cohort, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cohort in each format; contigs of BGEN and VCF stand for themselves."""
    folder = tmp_path_factory.mktemp("files")
    ds = genoweave.open(cohort.prefix)
    write_pgen(ds, folder / "two")
    write_bgen(ds, folder / "c.bgen")
    for kind in ("vcf", "vcf.gz", "bcf"):
        write_vcf(ds, folder / f"c.{kind}", kind)
    (folder / "plain.vcf.gz").write_bytes(gzip.compress((folder / "c.vcf").read_bytes()))
    genoweave.export(ds, "vcz", folder / "c.vcz")
    names = ("two", "c.bgen", "c.vcf", "c.vcf.gz", "c.bcf", "plain.vcf.gz", "c.vcz")
    return {"plink": cohort.prefix} | {name: folder / name for name in names}


@pytest.mark.parametrize(
    "name", ["plink", "two", "c.bgen", "c.vcf", "c.vcf.gz", "c.bcf", "plain.vcf.gz", "c.vcz"]
)
def test_import__every_format_gives_the_same_cohort(
    call: Call, cohort: Cohort, files: dict[str, Path], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out.vcz"
    answer = call("import", files[name], out)
    assert answer.code == 0, answer.err
    assert contents(genoweave.open(out)) == contents(genoweave.open(cohort.prefix))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.vcz"]


def test_import__a_whole_one_is_not_made_again(
    call: Call, cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.vcz"
    assert call("import", cohort.prefix, out).code == 0
    fingerprint = json.loads((out / ".zattrs").read_text())["source_fingerprint"]
    assert len(fingerprint) == 64
    with monkeypatch.context() as patch:
        patch.setattr(store, "write", lambda *_, **__: pytest.fail("it was written again"))
        assert call("import", cohort.prefix, out).code == 0
    assert call("import", cohort.prefix, out, "--ancestry", cohort.labels).code == 0
    assert json.loads((out / ".zattrs").read_text())["source_fingerprint"] != fingerprint
    assert "sample_ancestry" in genoweave.open(out)


def test_import__killed_goes_on_after_its_last_batch(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.vcz", tmp_path / "out.vcz"
    genoweave.import_cohort(cohort.prefix, whole, chunks=(100, 64))
    write_block = store.write_block

    def stopped(array, source, v0, v1):
        if v0 >= 300:
            raise KeyboardInterrupt
        write_block(array, source, v0, v1)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_block", stopped)
        with pytest.raises(KeyboardInterrupt):
            genoweave.import_cohort(cohort.prefix, out, chunks=(100, 64))
    assert not out.exists()
    again: list[int] = []
    monkeypatch.setattr(
        store, "write_block", lambda a, s, v0, v1: (again.append(v0), write_block(a, s, v0, v1))
    )
    genoweave.import_cohort(cohort.prefix, out, chunks=(100, 64))
    assert sorted(again) == [300, 400, 500]
    for file in whole.rglob("*"):
        if file.is_file():
            assert (out / file.relative_to(whole)).read_bytes() == file.read_bytes(), file.name


def test_import__three_paths(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    places = {}
    for number, ending in enumerate((".bed", ".bim", ".fam")):
        places[ending] = tmp_path / str(number) / f"part{number}"
        places[ending].parent.mkdir()
        places[ending].write_bytes(Path(f"{cohort.prefix}{ending}").read_bytes())
    flags = ("--bim", places[".bim"], "--fam", places[".fam"])
    assert call("import", places[".bed"], tmp_path / "out.vcz", *flags).code == 0
    assert contents(genoweave.open(tmp_path / "out.vcz")) == contents(genoweave.open(cohort.prefix))


def test_import__rules_are_counted(call: Call, tmp_path: Path) -> None:
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\n"
    (tmp_path / "x.vcf").write_text(
        head + "1\t5\t.\tA\tC,G\t.\t.\t.\tGT\t0/1\t1/2\n1\t9\t.\tA\tC\t.\t.\t.\tGT\t0/.\t1\n"
    )
    assert "several ALT alleles" in call("import", tmp_path / "x.vcf", tmp_path / "o.vcz").err
    answer = call(
        "import", tmp_path / "x.vcf", tmp_path / "o.vcz", "--multiallelic", "split", "--half-calls", "haploid"
    )
    assert answer.code == 0
    for line in ("split records: 1", "half calls: 1", "haploid calls: 1", "variants: 3"):
        assert line in answer.out
    ds = genoweave.open(tmp_path / "o.vcz")
    assert ds["call_genotype"].values.tolist() == [
        [[0, 1], [1, 0]], [[0, 0], [0, 1]], [[0, 0], [1, 1]],
    ]  # fmt: skip


def test_import__tables(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    ids = list(cohort.sample_ids)
    n = len(ids)
    rng = np.random.default_rng(3)
    weight = rng.normal(size=n)
    pd.DataFrame({"#FID": "FAM0", "IID": ids, "weight": weight, "ill": 1 + np.arange(n) % 2}).to_csv(
        tmp_path / "p.tsv", sep="\t", index=False
    )
    pd.DataFrame({"id": ids[:-2], "centre": ["x", "y", "z", "y"] * ((n - 2) // 4) + ["x"] * ((n - 2) % 4),
                  "age": 40}).to_parquet(tmp_path / "c.parquet")  # fmt: skip
    pd.DataFrame({"sample_id": ids[2:3], "father_id": ids[0], "mother_id": ids[1], "sex": "male"}).to_csv(
        tmp_path / "ped.csv", index=False
    )
    (tmp_path / "map.txt").write_text("chr1 0 0 0\nchr1 . 2 2000000\n")
    answer = call(
        "import", cohort.prefix, tmp_path / "o.vcz", "--pheno", tmp_path / "p.tsv", "--covar",
        tmp_path / "c.parquet", "--pedigree", tmp_path / "ped.csv", "--genetic-map", tmp_path / "map.txt",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert "154 of 156 samples have covariates" in answer.err
    ds = genoweave.open(tmp_path / "o.vcz")
    assert list(ds["trait_id"].values) == ["weight", "ill"]
    np.testing.assert_allclose(ds["sample_trait"].values[:, 0], weight, rtol=1e-12)
    assert list(ds["covariate_id"].values) == ["centre=y", "centre=z", "age"]
    covariates = ds["sample_covariate"].values
    assert np.isnan(covariates[-2:]).all()
    assert covariates[:4].tolist() == [[0, 0, 40], [1, 0, 40], [0, 1, 40], [1, 0, 40]]
    assert ds["sample_paternal_id"].values[2] == ids[0]
    assert ds["sample_maternal_id"].values[2] == ids[1]
    assert (ds["sample_paternal_id"].values[3:] == "0").all()
    first = ds["variant_position"].values[0]
    assert ds["variant_genetic_position"].values[0] == pytest.approx(first / 1e6)
    assert np.isnan(ds["variant_genetic_position"].values[-1])


def test_import__dosages_are_kept(call: Call, cohort: Cohort, files: dict[str, Path], tmp_path: Path) -> None:
    dosage = cohort.dosage.T
    for name in ("c.bgen", "two"):
        out = tmp_path / f"{name}.vcz"
        assert call("import", files[name], out, "--dosages").code == 0
        ds = genoweave.open(out)
        assert ds["call_dosage"].dtype == np.float32
        wanted = np.where(dosage == -127, np.nan, dosage)
        np.testing.assert_allclose(ds["call_dosage"].values, wanted, atol=0.01)


@pytest.mark.parametrize("style", ["plink2", "plink1", "regenie"])
def test_export__tables_come_back_as_they_went(
    call: Call, cohort: Cohort, tmp_path: Path, style: str
) -> None:
    ids = list(cohort.sample_ids)
    n = len(ids)
    traits = pd.DataFrame({"#IID": ids, "height": 1.5 * np.arange(n), "ill": 1 + np.arange(n) % 2})
    traits.to_csv(tmp_path / "p.tsv", sep="\t", index=False)
    covariates = pd.DataFrame({"#IID": ids, "age": np.arange(n) % 50, "centre": ["x", "y"] * (n // 2)})
    covariates.to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    tables = ("--pheno", tmp_path / "p.tsv", "--covar", tmp_path / "c.tsv")
    assert call("import", cohort.prefix, tmp_path / "one.vcz", *tables).code == 0
    answer = call("export", tmp_path / "one.vcz", "--to", "pgen", "--tables", style, "--out", tmp_path / "x")
    assert answer.code == 0, answer.err
    assert f"wrote {tmp_path / 'x.covar'}" in answer.out
    again = ("--pheno", tmp_path / "x.pheno", "--covar", tmp_path / "x.covar")
    assert call("import", tmp_path / "x", tmp_path / "two.vcz", *again).code == 0
    one, two = genoweave.open(tmp_path / "one.vcz"), genoweave.open(tmp_path / "two.vcz")
    assert list(two["trait_id"].values) == ["height", "ill"]
    assert list(two["covariate_id"].values) == ["age", "centre=y"]
    for name in ("sample_trait", "sample_covariate"):
        np.testing.assert_array_equal(one[name].values, two[name].values)


def test_import__what_is_made_of_one_is_not_taken_for_it(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    one, two = tmp_path / "one.vcz", tmp_path / "two.vcz"
    assert call("import", cohort.prefix, one).code == 0
    assert call("qc", one, "--out", two).code == 0
    assert call("import", cohort.prefix, two).code == 0
    assert contents(genoweave.open(two)) == contents(genoweave.open(one))
