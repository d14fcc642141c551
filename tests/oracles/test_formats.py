"""What is exported, read by the programs that others read it with."""

import subprocess
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
import sgkit
import xarray as xr
from bed_reader import open_bed

import genoweave
from genoweave.genotypes import select

FORMATS = ("plink", "pgen", "vcf", "bcf", "bgen", "vcz")


@pytest.fixture(scope="module")
def phased(real_data: Path) -> xr.Dataset:
    """A few hundred phased variants of 1000 Genomes."""
    ds = genoweave.open(real_data / "kgp1_chr22_phased" / "chr22_phased.vcf.gz")
    return select(ds, variants=np.arange(0, ds.sizes["variants"], 61), samples=np.arange(0, 1092, 7))


@pytest.fixture(scope="module")
def exported(phased: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("exported") / "x"
    genoweave.export(phased, FORMATS, prefix)
    return prefix


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize(
    "flags",
    [("--bfile", ""), ("--pfile", ""), ("--vcf", ".vcf.gz"), ("--bcf", ".bcf"), ("--bgen", ".bgen")],
)
def test_plink2__counts_the_same_genotypes(
    plink2: helpers.Program, exported: Path, phased: xr.Dataset, tmp_path: Path, flags: tuple[str, str]
) -> None:
    source = [flags[0], f"{exported}{flags[1]}"]
    if flags[0] == "--bgen":
        source += ["ref-first", "--sample", f"{exported}.sample"]
    table = helpers.suffixed(plink2(*source, "--geno-counts", out=tmp_path / "c"), ".gcount")
    found = pd.read_csv(table, sep="\t")
    allele = phased["variant_allele"].values
    assert found["ID"].tolist() == phased["variant_id"].values.tolist()
    assert found[["REF", "ALT"]].to_numpy().tolist() == allele.tolist()
    dosage = helpers.dosage_of(phased)
    columns = {"HOM_REF_CT": 0, "HET_REF_ALT_CTS": 1, "TWO_ALT_GENO_CTS": 2, "MISSING_CT": -1}
    for column, code in columns.items():
        np.testing.assert_array_equal(found[column], (dosage == code).sum(axis=1), column)


@pytest.mark.parametrize("flags", [("--vcf", ".vcf.gz"), ("--bcf", ".bcf")])
def test_plink2_pgen_diff__finds_none(
    plink2: helpers.Program, exported: Path, tmp_path: Path, flags: tuple[str, str]
) -> None:
    """Phase too: PLINK's own import of our VCF, and our .pgen."""
    theirs = plink2(flags[0], f"{exported}{flags[1]}", "--make-pgen", out=tmp_path / "theirs")
    out = plink2("--pfile", exported, "--pgen-diff", theirs, out=tmp_path / "d")
    assert len(helpers.suffixed(out, ".pdiff").read_text().splitlines()) == 1
    text = [
        run("plink2", "--pfile", prefix, "--export", "vcf", "--out", tmp_path / name)
        and [line for line in Path(tmp_path / f"{name}.vcf").read_text().splitlines() if line[0] != "#"]
        for prefix, name in ((exported, "ours"), (theirs, "others"))
    ]
    assert text[0] == text[1]
    assert "|" in text[0][0]


def test_bcftools__reads_vcf_and_bcf_alike(bcftools: str, exported: Path, phased: xr.Dataset) -> None:
    texts = [run(bcftools, "view", "--no-header", f"{exported}{ending}") for ending in (".vcf.gz", ".bcf")]
    assert texts[0] == texts[1]
    numbers = {
        parts[2]: int(parts[3])
        for line in run(bcftools, "stats", f"{exported}.bcf").splitlines()
        if (parts := line.split("\t"))[0] == "SN"
    }
    assert numbers["number of samples:"] == phased.sizes["samples"]
    assert numbers["number of records:"] == phased.sizes["variants"]
    contig, first = str(phased["contig_id"].values[0]), int(phased["variant_position"].values[5])
    found = run(bcftools, "query", "-r", f"{contig}:{first}", "-f", "%POS\\n", f"{exported}.bcf")
    assert str(first) in found.split()
    discordance = [
        line.split("\t")
        for line in run(bcftools, "gtcheck", "-e", "0", "-g", f"{exported}.vcf.gz", f"{exported}.bcf",
                        "--pairs", ",".join([str(phased["sample_id"].values[0])] * 2)).splitlines()
        if line.startswith("DC")
    ]  # fmt: skip
    assert discordance
    assert all(float(row[3]) == 0 for row in discordance)


def test_vcztools_view__gives_the_vcf(vcztools: str, bcftools: str, exported: Path) -> None:
    ours = [line.split("\t") for line in run(bcftools, "view", "-H", f"{exported}.vcf.gz").splitlines()]
    theirs = [
        line.split("\t")
        for line in run(vcztools, "view", "--no-version", f"{exported}.vcz").splitlines()
        if not line.startswith("#")
    ]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one[:5] == other[:5]
        assert one[9:] == other[9:]


def test_bed_reader__reads_the_fileset(exported: Path, phased: xr.Dataset) -> None:
    with open_bed(f"{exported}.bed") as bed:
        dosage = bed.read(dtype="int8")
        assert list(bed.iid) == list(phased["sample_id"].values)
    wanted = helpers.dosage_of(phased).T
    np.testing.assert_array_equal(np.where(dosage == -127, -1, dosage), wanted)


def test_sgkit__loads_both_stores(exported: Path, phased: xr.Dataset, tmp_path: Path) -> None:
    genoweave.save(phased, tmp_path / "packed.vcz")
    for store in (f"{exported}.vcz", tmp_path / "packed.vcz"):
        ds = sgkit.load_dataset(str(store))
        np.testing.assert_array_equal(ds["call_genotype"].values, phased["call_genotype"].values)
        called = sgkit.count_call_alleles(ds)["call_allele_count"].values[:, :, 1]
        np.testing.assert_array_equal(called, np.maximum(helpers.dosage_of(phased), 0))
