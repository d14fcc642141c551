"""One run from a PLINK fileset to a release: every artifact, and the exact layout of the released files."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed

from genoweave.pipeline.run import run
from tests.small_cohort import (
    FOUNDERS,
    PER_GROUP,
    STAGES,
    STORES,
    USABLE,
    Cohort,
    files_of,
    manifests,
    off,
    place_key,
    values,
)

N_SYNTHETIC = PER_GROUP * len(USABLE)
N_RELATIVES = FOUNDERS * 7 // 8 * len(USABLE)
N_LISTED = FOUNDERS * 3 * len(USABLE)
ARTIFACTS = (
    "config.toml", "log.txt", "status.json", "qc.parquet", "ancestry", "synthesis.parquet",
    "kinship.parquet", "kinship_histogram.parquet", "kinship_listed.parquet", "relatives", "evaluation.json",
    "report/index.html", "private/noise.key", "private/donors.parquet", "release/README.md",
    "release/manifest.json",
    "release/variants.tsv", *STORES,
)  # fmt: skip
EVALUATION = {
    "maf": ["group", "variant_id", "maf_real", "maf_synthetic", "frequency_expected",
            "frequency_synthetic", "z"],
    "embedding": ["group", "kind", "pc1", "pc2", "tsne1", "tsne2"],
    "kinship_listed": ["group", "degree", "kinship"],
    "kinship_histogram": ["left", "right", "pairs"],
    "watermark": ["id", "case", "n0", "n1", "n2", "beta", "se", "z", "log10_p", "joint_beta", "joint_se",
                  "joint_log10_p"],
    "qc": ["step", "samples_removed", "variants_removed", "samples_left", "variants_left"],
    "groups": ["group", "n_real", "n_synthetic", "n_donors", "max_copies", "same_source_pairs",
               "rejected_identical", "rejected_outside", "maf_rmse", "maf_r2", "max_abs_z",
               "confusion_agreement"],
    "confusion": ["label", "predicted", "n"],
    "pca": ["component", "eigenvalue"],
}  # fmt: skip
CSV_FILES = ("snp", "phenotype", "watermark_snp", "kinship_relatedness", "relative_snps")


def table(run_folder: Path, name: str) -> pd.DataFrame:
    """A released CSV with every cell as text."""
    return pd.read_csv(run_folder / "release" / f"tiny_{name}.csv", dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def five(finished: Path) -> dict[str, pd.DataFrame]:
    return {name: table(finished, name) for name in CSV_FILES}


@pytest.fixture(scope="module")
def variant_ids(finished: Path) -> list[str]:
    return list(pd.read_csv(finished / "release/variants.tsv", sep="\t")["id"])


@pytest.mark.parametrize("name", ARTIFACTS)
def test_run__leaves_artifact(finished: Path, name: str) -> None:
    assert (finished / name).exists()


def test_run__leaves_nothing_half_written(finished: Path) -> None:
    scraps = [
        p
        for p in finished.rglob("*")
        if p.name.endswith((".partial", ".journal", ".deleting", ".batches.json"))
    ]
    assert not scraps
    assert not list((finished / ".work").glob("*"))


def test_run__every_stage_has_a_manifest(finished: Path) -> None:
    found = manifests(finished)
    assert set(found) == set(STAGES)
    for stage, manifest in found.items():
        assert manifest["stage"] == stage
        assert manifest["wall_seconds"] > 0
        assert manifest["peak_memory_bytes"] > 0
        assert manifest["versions"]["genoweave"]
        for name, output in manifest["outputs"].items():
            assert (finished / name).exists()
            assert output["bytes"] > 0
            assert len(output["digest"]) == 64


@pytest.mark.parametrize("name", EVALUATION)
def test_run__evaluation_table_has_its_columns(finished: Path, name: str) -> None:
    found = pd.read_parquet(finished / f"evaluation/{name}.parquet")
    assert set(EVALUATION[name]) <= set(found.columns)
    assert len(found)


def test_run__evaluation_agrees_with_what_was_made(finished: Path) -> None:
    summary = json.loads((finished / "evaluation.json").read_text())
    assert summary["groups"] == list(USABLE)
    assert summary["unused_groups"] == ["Few"]
    assert summary["n_synthetic"] == N_SYNTHETIC
    assert summary["n_relatives"] == N_RELATIVES
    assert summary["n_listed_pairs"] == N_LISTED
    assert summary["n_causal"] == round(0.1 * summary["n_variants"])
    assert summary["privacy"]["guarantee"] == "none"
    assert summary["name"] == "tiny"
    maf = pd.read_parquet(finished / "evaluation/maf.parquet")
    assert len(maf) == summary["n_variants"] * len(USABLE)
    assert maf["z"].abs().max() < 6
    listed = pd.read_parquet(finished / "evaluation/kinship_listed.parquet")
    means = listed.groupby("degree")["kinship"].mean()
    assert means["first"] > means["second"] > means["third"] > 0


def test_run__quality_control_removed_what_was_planted(finished: Path) -> None:
    steps = pd.read_parquet(finished / "qc.parquet").set_index("step")
    removed = steps["variants_removed"]
    assert removed["not autosomal or not biallelic"] == 10
    assert removed["missingness of variants > 0.05"] == 1
    assert removed["Hardy-Weinberg p < 1e-06 (within)"] == 1
    assert steps.loc["missingness of samples > 0.05", "samples_removed"] == 1
    assert steps.loc["kinship > 0.0884", "samples_removed"] >= 1
    assert steps["variants_left"].iloc[-1] > 500


def test_release__five_files_have_their_rows_and_columns(five: dict, variant_ids: list[str]) -> None:
    assert list(five["snp"].columns) == ["SampleID", "Ancestry", *variant_ids]
    assert len(five["snp"]) == N_SYNTHETIC
    assert five["snp"]["Ancestry"].value_counts().to_dict() == dict.fromkeys(USABLE, PER_GROUP)
    assert list(five["phenotype"].columns) == ["SampleID", "PhenotypeCondition"]
    assert len(five["phenotype"]) == N_SYNTHETIC
    assert five["phenotype"]["PhenotypeCondition"].value_counts().to_dict() == {
        "0": N_SYNTHETIC // 2,
        "1": N_SYNTHETIC // 2,
    }
    assert five["watermark_snp"].shape == (N_SYNTHETIC + 1, 1 + 4)
    assert list(five["kinship_relatedness"].columns) == [
        "SampleID",
        "AncestorID",
        "Relatedness",
        "Kinship_Coefficient",
    ]
    assert five["kinship_relatedness"]["Relatedness"].value_counts().to_dict() == dict.fromkeys(
        ("first-degree", "second-degree", "third-degree"), N_LISTED // 3
    )
    assert list(five["relative_snps"].columns) == ["SampleID", *variant_ids]
    assert len(five["relative_snps"]) == N_RELATIVES


def test_release__genotypes_are_dosages_or_na(five: dict) -> None:
    for name, first in (("snp", 2), ("relative_snps", 1)):
        assert set(np.unique(five[name].iloc[:, first:])) == {"0", "1", "2", "NA"}
    assert set(np.unique(five["watermark_snp"].iloc[:-1, 1:])) == {"0", "1", "2"}


def test_release__variants_bear_real_ids_in_real_order(variant_ids: list[str], cohort: Cohort) -> None:
    real = cohort.properties["sid"]
    assert [i for i in real if i in set(variant_ids)] == variant_ids
    removed = set(real) - set(variant_ids)
    assert {"rs1010", "rs1020", "rs1030"} <= removed


def test_release__last_watermark_row_is_the_p_value(five: dict) -> None:
    marks = five["watermark_snp"]
    assert list(marks["SampleID"].iloc[:-1]) == list(five["snp"]["SampleID"])
    assert marks["SampleID"].iloc[-1] == "p-value"
    p = marks.iloc[-1, 1:].astype(float)
    assert ((p > 0) & (p < 1e-3)).all()


def test_release__ids_are_random_unique_and_sorted(five: dict, cohort: Cohort) -> None:
    synthetic, relatives = five["snp"]["SampleID"], five["relative_snps"]["SampleID"]
    everybody = [*synthetic, *relatives]
    assert len(set(everybody)) == len(everybody) == N_SYNTHETIC + N_RELATIVES
    assert all(len(i) == 10 and i.isdigit() for i in everybody)
    assert list(synthetic) == sorted(synthetic)
    assert list(relatives) == sorted(relatives)
    assert list(five["phenotype"]["SampleID"]) == list(synthetic)
    listed = five["kinship_relatedness"]
    assert listed["SampleID"].is_monotonic_increasing
    assert set(listed["SampleID"]) == set(relatives)
    assert set(listed["AncestorID"]) <= set(synthetic)
    assert not set(everybody) & set(cohort.sample_ids)


def test_release__order_tells_nothing_of_the_group(five: dict) -> None:
    place = five["snp"].groupby("Ancestry").apply(lambda g: g.index.to_numpy().mean(), include_groups=False)
    # the mean place of 80 of 240 has a standard deviation of 6.3
    assert np.abs(place - (N_SYNTHETIC - 1) / 2).max() < 5 * 6.3


def test_release__plink_and_zarr_say_the_same_as_csv(
    finished: Path, five: dict, variant_ids: list[str]
) -> None:
    import sgkit

    csv = five["snp"].iloc[:, 2:].replace("NA", "-1").astype(int).to_numpy()
    with open_bed(finished / "release/tiny.bed") as bed:
        assert list(bed.iid) == list(five["snp"]["SampleID"])
        assert list(bed.sid) == variant_ids
        assert set(bed.allele_1) == {"A"}
        assert set(bed.allele_2) == {"G"}
        dosage = bed.read(dtype="int8")
    np.testing.assert_array_equal(np.where(dosage == -127, -1, dosage), csv)
    fam = pd.read_csv(finished / "release/tiny.fam", sep=r"\s+", header=None, dtype=str)
    assert list(fam[5].astype(int) - 1) == list(five["phenotype"]["PhenotypeCondition"].astype(int))
    ds = sgkit.load_dataset(str(finished / "release/tiny.vcz"))
    calls = ds["call_genotype"].values
    np.testing.assert_array_equal(np.where((calls < 0).any(axis=2), -1, calls.sum(axis=2)).T, csv)
    assert list(ds["sample_id"].values) == list(five["snp"]["SampleID"])
    assert "variant_source_row" not in ds


def independent_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of what sha256sum prints of its files, sorted by name."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    lines = [f"{independent_digest(p)}  {p.relative_to(path).as_posix()}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_release__manifest_checksums_are_right_and_complete(finished: Path) -> None:
    release = finished / "release"
    listed = json.loads((release / "manifest.json").read_text())["files"]
    for name, facts in listed.items():
        path = release / name
        assert independent_digest(path) == facts["sha256"], name
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        assert sum(p.stat().st_size for p in files) == facts["bytes"], name
    for file in files_of(release):
        covered = any(file == name or file.startswith(f"{name}/") for name in listed)
        assert covered or file == "manifest.json", file


@pytest.mark.parametrize("formats", [["csv"], ["plink"], ["vcz"], []])
def test_release__formats_are_chosen(cohort: Cohort, copied: Path, formats: list[str]) -> None:
    run(values(cohort, release={"formats": formats}, **off("evaluation")), copied)
    found = {p.name for p in (copied / "release").iterdir()}
    assert ("tiny_snp.csv" in found) == ("csv" in formats)
    assert ("tiny.bed" in found) == ("plink" in formats)
    assert ("tiny.vcz" in found) == ("vcz" in formats)
    assert {"truth", "README.md", "variants.tsv", "manifest.json"} <= found


def test_run__without_a_key_draws_a_new_one(cohort: Cohort, tmp_path: Path, finished: Path) -> None:
    left_out = off("relatives", "kinship", "evaluation", "watermark")
    found = run(values(cohort, **left_out), tmp_path / "new")
    other = run(values(cohort, **left_out), place_key(tmp_path / "other", bytes(32)))
    same = run(values(cohort, **left_out), place_key(tmp_path / "same"))
    first, second, third = (table(folder, "snp") for folder in (found, other, same))
    assert not set(first["SampleID"]) & set(second["SampleID"])
    assert third.equals(table(finished, "snp"))


def test_report__judges_the_frequencies_of_every_group(finished: Path) -> None:
    """The page reads the columns that the validation writes: none is left unmeasured."""
    text = (finished / "report" / "tables" / "frequencies.tsv").read_text()
    assert "Not measured" not in text
    assert text.count("Good") + text.count("Check") == len(text.splitlines()) - 1
