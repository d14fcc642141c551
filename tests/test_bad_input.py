"""Cohorts that cannot be used: a message with file, place and remedy, exit code 1, no output left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from bed_reader import to_bed
from numcodecs import VLenUTF8

from genoweave.cli import main
from genoweave.io.cohort import open_cohort
from genoweave.io.store import write
from tests.small_cohort import Cohort, make_cohort, values, write_config

Refused = Callable[..., str]
IDS = ("HG00", "NA0", "NA1", "NA2", "iid1", "HOSPITAL", "PERSON")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"))


def whole(folder: Path) -> list[Path]:
    """Everything but what bears in its name that it is not finished."""
    return sorted(p for p in folder.rglob("*") if ".partial" not in str(p))


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """``refused("import", source, out)`` gives the message of a command that must fail with exit code 1."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        before = whole(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        written = capsys.readouterr()
        assert ended.value.code == 1, written.err
        assert "Traceback" not in written.err
        message = written.err[written.err.index("genoweave: error: ") :]
        assert not any(name in message for name in IDS), "aggregate by default: no sample id in a message"
        assert whole(tmp_path) == before, "nothing may be left that looks whole"
        return message

    return call


@pytest.fixture
def bed(real_data: Path, tmp_path: Path) -> Callable[..., Path]:
    """``bed(bim="small.bad_bim")`` copies odd files to a fileset ``odd.*`` and returns its prefix."""

    def copy(folder: str = "bed", **files: str | None) -> Path:
        given = {"bed": "small.bed", "bim": "small.bim", "fam": "small.fam"} | files
        for ending, name in given.items():
            if name is not None:
                shutil.copy(real_data / "odd" / folder / name, tmp_path / f"odd.{ending}")
        return tmp_path / "odd"

    return copy


BAD_FILESETS = {
    "not a .bed": ({"bed": "badfile.bed"}, "odd.bed", "not a PLINK 1 .bed file", "6c 1b"),
    "empty .bed": ({"bed": "empty.bed"}, "odd.bed", "not a PLINK 1 .bed file", "an empty file"),
    "UCSC track": ({"folder": "hail", "bed": "example1.bed", "bim": "sex_mt_contigs.bim",
                    "fam": "sex_mt_contigs.fam"}, "odd.bed", "not a PLINK 1 .bed file", "74 72 61"),
    "truncated .bed": ({"bed": "small_too_short.bed"}, "odd.bed", "within variant 4 of 4",
                       "should have 7 bytes"),
    "bad mode": ({"bed": "smallmodebad.bed"}, "odd.bed", "mode byte", "found 30"),
    "no .bim": ({"bim": None}, "odd.bim", "is not there", ".bed, .bim and .fam"),
    "no .fam": ({"fam": None}, "odd.fam", "is not there", ".bed, .bim and .fam"),
    "no .bed": ({"bed": None}, "odd", "there is no cohort", "a PLINK 1 prefix"),
    "bad columns in .bim": ({"bim": "small.bad_bim"}, "odd.bim, line 3", "wanted 6 columns", "found 5"),
    "bad positions": ({"bim": "small.bim_bad_positions.bim"}, "odd.bim, line 2", "whole number", "'100.0'"),
    "bad columns in .fam": ({"fam": "small.fam_bad"}, "odd.fam, line 4", "wanted 6 columns", "found 1"),
    "fewer variants in .bim": ({"bim": "small.mib"}, "odd.bed", "belong together", ""),
    "repeated sample": ({"folder": "hail", "bed": "sex_mt_contigs.bed", "bim": "sex_mt_contigs.bim",
                         "fam": "duplicate_id.fam"}, "odd.fam", "rows 1 and 2 are equal", "must be unique"),
}  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize("kind", BAD_FILESETS)
def test_bad_fileset__is_refused(bed: Callable, refused: Refused, tmp_path: Path, kind: str) -> None:
    files, *expected = BAD_FILESETS[kind]
    prefix = bed(**files)
    if kind == "fewer variants in .bim":
        Path(f"{prefix}.bim").write_text("1\ta\t0\t1\tA\tC\n")
    for source in (prefix, f"{prefix}.bed"):
        if kind == "no .bed" and str(source).endswith(".bed"):
            continue
        message = refused("import", source, tmp_path / "out.vcz")
        assert str(tmp_path) in message
        for part in expected:
            assert part in message


@pytest.mark.real_data
@pytest.mark.parametrize("kind", ["badfile.bed", "small_too_short.bed"])
def test_bad_fileset__is_refused_by_a_run(bed: Callable, refused: Refused, tmp_path: Path, kind: str) -> None:
    prefix = bed(bed=kind)
    (tmp_path / "labels.tsv").write_text("id\tgroup\niid1\ta\niid2\ta\niid3\ta\n")
    config = tmp_path / "c.toml"
    config.write_text(f"[input]\npath = '{prefix}'\nancestry = '{tmp_path}/labels.tsv'\n")
    assert "odd.bed" in refused("run", config)
    assert "odd.bed" in refused("plan", config)


@pytest.mark.real_data
def test_sex_chromosomes_only__leave_no_variant(bed: Callable, refused: Refused, tmp_path: Path) -> None:
    prefix = bed("hail", bed="sex_mt_contigs.bed", bim="sex_mt_contigs.bim", fam="sex_mt_contigs.fam")
    lines = Path(f"{prefix}.bim").read_text().splitlines()
    Path(f"{prefix}.bim").write_text("\n".join(lines[1:]) + "\n")
    data = Path(f"{prefix}.bed").read_bytes()
    Path(f"{prefix}.bed").write_bytes(data[:3] + data[4:])
    message = refused("qc", prefix, "--out", tmp_path / "out.vcz")
    assert "no variant is left after 'not autosomal" in message
    assert "[qc]" in message


@pytest.mark.real_data
def test_unusual_chromosomes__are_left_out_by_qc(real_data: Path, tmp_path: Path) -> None:
    """pysnptools' .bim files with letters, X, Y and MT among the chromosomes open; QC drops these."""
    for name in ("pysnptools_toydata.5chrom.bad.bim", "pysnptools_toydata.5chrom.XYMT.bim"):
        shutil.copy(real_data / "odd/bed" / name, tmp_path / "odd.bim")
        chromosome = pd.read_csv(tmp_path / "odd.bim", sep="\t", header=None, dtype=str)[0]
        dosage = np.random.default_rng(1).integers(0, 3, (12, len(chromosome))).astype(np.int8)
        to_bed(tmp_path / "odd.bed", dosage, properties={"iid": [f"PERSON{i}" for i in range(12)]})
        shutil.copy(real_data / "odd/bed" / name, tmp_path / "odd.bim")
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "qc",
                    f"{tmp_path}/odd",
                    "--out",
                    f"{tmp_path}/out.vcz",
                    "--quiet",
                    "--hwe",
                    "0",
                    "--maf",
                    "0",
                ]
            )
        assert ended.value.code == 0
        steps = pd.read_csv(tmp_path / "out.vcz.qc.tsv", sep="\t").set_index("step")
        odd = int((~chromosome.isin([str(n) for n in range(1, 23)])).sum())
        assert odd >= 3
        assert steps.loc["not autosomal or not biallelic", "variants_removed"] == odd


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("io/field_type_combos.vcz.zip", "no genotypes (call_genotype)"),
        ("io/1kg_2020_chr20_annotations.vcz.zip", "no genotypes (call_genotype)"),
        ("odd/hail/hail_ex.vcf", "3 of 9 records have several ALT alleles"),
        ("odd/vcf/triploid.vcf.gz", "GT of sample number 1 has more than two alleles"),
        ("odd/vcf/empty.vcf", "has a header but no records"),
        ("README.md", "not a format that genoweave opens"),
        ("odd/bed/small.bim", "not a format that genoweave opens"),
        ("odd/bed", "is not a Zarr store that can be read"),
    ],
)
def test_bad_store__is_refused(
    real_data: Path, refused: Refused, tmp_path: Path, name: str, expected: str
) -> None:
    message = refused("import", real_data / name, tmp_path / "out.vcz")
    assert expected in message
    assert Path(name).name in message


@pytest.mark.real_data
def test_chunks_left_out__are_read_as_their_writer_meant(real_data: Path) -> None:
    """bio2zarr leaves out chunks of zeros; the VCF beside the store has reference calls only."""
    ds = open_cohort(real_data / "io/1kg_2020_chrM.vcz.zip")
    assert ds.sizes["variants"] == 23
    assert (ds["call_genotype"].values == 0).all()


@pytest.mark.real_data
def test_truncated_zip__is_refused(real_data: Path, refused: Refused, tmp_path: Path) -> None:
    data = (real_data / "io/chr22.vcz.zip").read_bytes()
    for name, size in (("half", len(data) // 2), ("start", 100), ("none", 0)):
        path = tmp_path / f"{name}.vcz.zip"
        path.write_bytes(data[:size])
        message = refused("import", path, tmp_path / "out.vcz")
        assert f"{name}.vcz.zip is not a Zarr store that can be read" in message


@pytest.mark.real_data
def test_multiallelic_sites__are_left_out_by_qc(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "qc",
                str(real_data / "io/chr22.vcz.zip"),
                "--out",
                f"{tmp_path}/out.vcz",
                "--quiet",
                "--maf",
                "0",
            ]
        )
    assert ended.value.code == 0
    kept = zarr.open_group(f"{tmp_path}/out.vcz", mode="r")
    assert kept["call_genotype"][...].max() == 1
    assert (kept["variant_allele"][:, 2:] == "").all()


def small_store(cohort: Cohort) -> xr.Dataset:
    return open_cohort(cohort.prefix).isel(variants=slice(0, 30), samples=slice(0, 20)).load()


def replaced(name: str, change: Callable[[np.ndarray], np.ndarray], dims: tuple[str, ...]) -> Callable:
    """An edit of a store: other values in one array, with other dimensions if need be."""

    def edit(group: zarr.Group) -> None:
        found = change(group[name][...])
        codec = {"object_codec": VLenUTF8()} if found.dtype == object else {}
        group.create_dataset(name, data=found, overwrite=True, **codec).attrs["_ARRAY_DIMENSIONS"] = list(
            dims
        )

    return edit


def removed(name: str) -> Callable:
    return lambda group: group.__delitem__(name)


def twice_the_same(ids: np.ndarray) -> np.ndarray:
    ids[7] = ids[3]
    return ids


CALLS = ("variants", "samples", "ploidy")
BAD_STORES = {
    "triploid": (replaced("call_genotype", lambda x: np.dstack([x, x[:, :, :1]]), CALLS), "diploid"),
    "haploid": (replaced("call_genotype", lambda x: x[:, :, :1], CALLS), "diploid"),
    "two dimensions": (replaced("call_genotype", lambda x: x[:, :, 0], CALLS[:2]), "diploid"),
    "repeated ids": (replaced("sample_id", twice_the_same, ("samples",)), "sample ids stand twice"),
    "other sizes": (replaced("sample_id", lambda x: x[:9], ("samples",)), "sample"),
    "contig beyond the list": (replaced("variant_contig", lambda x: x + 9, ("variants",)), "variant_contig"),
    "one allele": (replaced("variant_allele", lambda x: x[:, :1], ("variants", "alleles")), "variant_allele"),
    "no positions": (removed("variant_position"), "lacks variant_position"),
    "no contigs": (removed("contig_id"), "lacks contig_id"),
    "no ids of samples": (removed("sample_id"), "lacks sample_id"),
    "no genotypes": (removed("call_genotype"), "has no genotypes"),
}


@pytest.mark.parametrize("kind", BAD_STORES)
def test_bad_zarr_cohort__is_refused(cohort: Cohort, refused: Refused, tmp_path: Path, kind: str) -> None:
    edit, expected = BAD_STORES[kind]
    write(small_store(cohort), tmp_path / "bad.vcz", (16, 16))
    edit(zarr.open_group(str(tmp_path / "bad.vcz"), mode="r+"))
    message = refused("import", tmp_path / "bad.vcz", tmp_path / "out.vcz")
    assert expected in message
    assert "bad.vcz" in message


@pytest.mark.parametrize("dim", ["variants", "samples"])
def test_empty_cohort__is_refused(cohort: Cohort, refused: Refused, tmp_path: Path, dim: str) -> None:
    ds = small_store(cohort)
    ds = ds.isel({dim: slice(0, 0)})
    empty = ds.assign(call_genotype=(CALLS, np.zeros((*(ds.sizes[d] for d in CALLS[:2]), 2), np.int8)))
    empty.to_zarr(tmp_path / "bad.vcz", zarr_format=2)
    assert "at least one of each" in refused("import", tmp_path / "bad.vcz", tmp_path / "out.vcz")


def test_damaged_chunk__is_named_and_not_read_as_reference(
    cohort: Cohort, refused: Refused, tmp_path: Path
) -> None:
    write(small_store(cohort), tmp_path / "bad.vcz", (16, 16))
    chunk = tmp_path / "bad.vcz/call_genotype/1.0.0"
    good = chunk.read_bytes()
    for data in (good[: len(good) // 2], b"", b"\x00" * 40):
        chunk.write_bytes(data)
        message = refused("import", tmp_path / "bad.vcz", tmp_path / "out.vcz")
        assert "bad.vcz" in message or "call_genotype" in message
    chunk.unlink()
    assert "call_genotype" in refused("import", tmp_path / "bad.vcz", tmp_path / "out.vcz")


def test_allele_beyond_the_second__is_refused_where_it_is_used(
    cohort: Cohort, refused: Refused, tmp_path: Path
) -> None:
    ds = small_store(cohort)
    ds["call_genotype"][5, 4, 1] = 2
    write(ds, tmp_path / "bad.vcz", (16, 16))
    message = refused("king", tmp_path / "bad.vcz", "--out", tmp_path / "k")
    assert "allele code 2" in message
    assert "bcftools norm" in message


def changed_cohort(cohort: Cohort, folder: Path, change: Callable[[np.ndarray], None]) -> Path:
    """The cohort with other genotypes."""
    dosage = cohort.dosage.copy()
    change(dosage)
    to_bed(f"{folder}/other.bed", dosage, properties=cohort.properties)
    return folder / "other"


def set_all(value: int) -> Callable[[np.ndarray], None]:
    def change(dosage: np.ndarray) -> None:
        dosage[:] = value

    return change


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-127, "no sample is left after 'missingness of samples"), (0, "no variant is left after 'minor allele"),
     (2, "no variant is left after 'minor allele"), (1, "no variant is left after 'Hardy-Weinberg")],
)  # fmt: skip
def test_cohort_without_variation__is_refused(
    cohort: Cohort, refused: Refused, tmp_path: Path, value: int, expected: str
) -> None:
    prefix = changed_cohort(cohort, tmp_path, set_all(value))
    message = refused("qc", prefix, "--ancestry", cohort.labels, "--out", tmp_path / "out.vcz")
    assert expected in message
    assert "[qc]" in message


def test_all_missing_variants_and_samples__are_removed(cohort: Cohort, tmp_path: Path) -> None:
    def change(dosage: np.ndarray) -> None:
        dosage[7] = dosage[:, 40] = dosage[:, 41] = -127

    prefix = changed_cohort(cohort, tmp_path, change)
    with pytest.raises(SystemExit) as ended:
        main(["qc", str(prefix), "--out", f"{tmp_path}/out.vcz", "--quiet"])
    assert ended.value.code == 0
    kept = zarr.open_group(f"{tmp_path}/out.vcz", mode="r")
    assert cohort.sample_ids[7] not in set(kept["sample_id"][...])
    assert not {"rs1040", "rs1041"} & set(kept["variant_id"][...])


def test_all_missing_and_monomorphic_variants__do_no_harm_without_qc(cohort: Cohort, tmp_path: Path) -> None:
    """Commands that take a cohort as it is see variants without a frequency."""

    def change(dosage: np.ndarray) -> None:
        dosage[:, :5] = -127
        dosage[:, 5:9] = 2

    prefix = changed_cohort(cohort, tmp_path, change)
    synthetic = f"{tmp_path}/s.vcz"
    for arguments in (
        ["pca", str(prefix), "-k", "3", "--out", f"{tmp_path}/p"],
        ["king", str(prefix), "--out", f"{tmp_path}/k"],
        ["phenotype", str(prefix), "--out", f"{tmp_path}/t"],
        ["synthesize", str(prefix), "--ancestry", str(cohort.labels), "--per-group", "9", "--out", synthetic],
        ["export", synthetic, "--to", "csv", "--out", f"{tmp_path}/s.csv"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--quiet"])
        assert ended.value.code == 0, arguments
    scores = pd.read_csv(tmp_path / "p.eigenvec", sep="\t")
    assert np.isfinite(scores.iloc[:, 1:]).all(axis=None)
    table = pd.read_csv(tmp_path / "s.csv")
    assert table[["rs1000", "rs1004"]].isna().all(axis=None)
    assert set(np.unique(table[["rs1005", "rs1008"]])) <= {1, 2}


@pytest.mark.parametrize(
    ("components", "keep", "expected"),
    [(200, None, "n_components to at most"), (30, 20, "there are")],
)
def test_too_few_for_the_components__says_how_many_are_possible(
    cohort: Cohort, refused: Refused, tmp_path: Path, components: int, keep: int | None, expected: str
) -> None:
    source = cohort.prefix
    if keep is not None:
        write(open_cohort(source).isel(variants=slice(0, keep)).load(), tmp_path / "few.vcz", (16, 64))
        source = tmp_path / "few.vcz"
    message = refused("pca", source, "-k", components, "--out", tmp_path / "p")
    assert expected in message
    assert "[pca] n_components" in message


def test_run__that_fails_late_leaves_no_release(
    cohort: Cohort, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Finished stages stay, for the next run; nothing of the failed one or after it does."""
    config = write_config(tmp_path / "c.toml", values(cohort, pca={"n_components": 400}))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(config), "--quiet"])
    folder = tmp_path / "c.run"
    assert ended.value.code == 1
    assert "[pca] n_components" in capsys.readouterr().err
    assert (folder / "genotypes.vcz").exists()
    assert not any((folder / name).exists() for name in ("pca.zarr", "synthetic.vcz", "release", "report"))
