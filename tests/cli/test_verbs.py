"""Each command that does one stage's work, on a small cohort."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from tests.cli.conftest import Call
from tests.small_cohort import USABLE, Cohort, content_of, dosage_of, strings


def tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype={"IID1": str, "IID2": str, "#IID": str})


def test_import__keeps_genotypes_ids_and_labels(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "x.vcz"
    answer = call("import", cohort.prefix, out, "--ancestry", cohort.labels)
    assert (answer.code, answer.out) == (0, f"wrote {out}\n")
    np.testing.assert_array_equal(dosage_of(out), cohort.dosage)
    assert strings(out, "sample_id") == list(cohort.sample_ids)
    labels = pd.read_csv(cohort.labels, sep="\t")
    assert strings(out, "sample_ancestry") == list(labels["group"])
    group = zarr.open_group(str(out), mode="r")
    assert list(group["variant_allele"][0]) == ["G", "A"]
    assert strings(out, "contig_id") == ["1", "2", "22", "X"]


def test_import__takes_another_column(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    table = pd.read_csv(cohort.labels, sep="\t").assign(other="one")
    table.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "x.vcz"
    assert (
        call(
            "import", cohort.prefix, out, "--ancestry", tmp_path / "t.csv", "--ancestry-column", "other"
        ).code
        == 0
    )
    assert set(strings(out, "sample_ancestry")) == {"one"}


def test_import__replaces_a_store_but_nothing_else(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    for _ in range(2):
        assert call("import", cohort.prefix, tmp_path / "x.vcz").code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("mine", "file"):
        answer = call("import", cohort.prefix, tmp_path / name)
        assert answer.code == 1
        assert "not a Zarr store" in answer.err
    assert (tmp_path / "mine/thesis.txt").read_text() == "x"


def test_qc__filters_and_reports(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    out = tmp_path / "x.vcz"
    answer = call("qc", cohort.prefix, "--out", out, "--ancestry", cohort.labels)
    assert answer.code == 0
    steps = tsv(tmp_path / "x.vcz.qc.tsv")
    assert list(steps.columns) == [
        "step",
        "samples_removed",
        "variants_removed",
        "samples_left",
        "variants_left",
    ]
    assert steps["step"].iloc[0] == "input"
    assert len(strings(out, "variant_id")) == steps["variants_left"].iloc[-1] < 590
    assert len(strings(out, "sample_id")) == steps["samples_left"].iloc[-1] == 155
    assert "<=20 samples" in answer.out
    assert "155" not in answer.out


def test_qc__flags_win_over_the_configuration(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[qc]\nmaf = 0.3\nmind = 1.0\nking_cutoff = false\n")
    base = ("qc", cohort.prefix, "--config", config, "--quiet", "--out")
    assert call(*base, tmp_path / "configured").code == 0
    assert call(*base, tmp_path / "flagged", "--maf", 0.0).code == 0
    assert call("qc", cohort.prefix, "--quiet", "--out", tmp_path / "default").code == 0

    def left(name: str) -> tuple[int, int]:
        last = tsv(tmp_path / f"{name}.qc.tsv").iloc[-1]
        return last["samples_left"], last["variants_left"]

    assert left("configured")[0] == left("flagged")[0] == 156
    assert left("default")[0] == 155
    assert left("configured")[1] < left("default")[1] < left("flagged")[1]
    steps = tsv(tmp_path / "configured.qc.tsv")["step"]
    assert "minor allele frequency < 0.3" in list(steps)


def test_qc__flags_have_the_same_meaning_as_keys(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    flags = (
        "--mind",
        0.5,
        "--geno",
        0.4,
        "--hwe",
        0,
        "--maf",
        0.0,
        "--no-autosomes-only",
        "--hwe-groups",
        "pooled",
    )
    assert call("qc", cohort.prefix, "--out", tmp_path / "all", *flags, "--quiet").code == 0
    last = tsv(tmp_path / "all.qc.tsv").iloc[-1]
    assert (last["samples_left"], last["variants_left"]) == (156, 600)


def test_pca__writes_plinks_files(call: Call, clean: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "p"
    assert call("pca", clean, "-k", 4, "--out", prefix, "--project", clean).code == 0
    scores = tsv(tmp_path / "p.eigenvec")
    assert list(scores.columns) == ["#IID", "PC1", "PC2", "PC3", "PC4"]
    assert list(scores["#IID"]) == strings(clean, "sample_id")
    np.testing.assert_allclose((scores.iloc[:, 1:] ** 2).sum(), 1, rtol=1e-6)
    values = np.loadtxt(tmp_path / "p.eigenval")
    assert values.shape == (4,)
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(
        tsv(tmp_path / "p.projected.eigenvec").iloc[:, 1:], scores.iloc[:, 1:], atol=1e-8
    )
    assert zarr.open_group(f"{prefix}.loadings.zarr", mode="r")["variant_pca_loading"].shape[1] == 4


def test_pca__opens_a_url(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("pca", f"file://{clean}", "-k", 2, "--out", tmp_path / "p", "--quiet").code == 0
    assert call("pca", clean, "-k", 2, "--out", tmp_path / "q", "--quiet").code == 0
    assert (tmp_path / "p.eigenvec").read_bytes() == (tmp_path / "q.eigenvec").read_bytes()
    answer = call("pca", "memory://nothing/there.vcz", "-k", 2, "--out", tmp_path / "r")
    assert answer.code == 1
    assert "memory://nothing/there.vcz is not a Zarr store that can be read" in answer.err


def test_pca__takes_components_and_seed_from_the_configuration(
    call: Call, clean: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text('seed = 5\n[pca]\nn_components = 3\nsolver = "randomized"\n')
    assert call("pca", clean, "--config", tmp_path / "c.toml", "--out", tmp_path / "a", "--quiet").code == 0
    assert len(np.loadtxt(tmp_path / "a.eigenval")) == 3
    exact = call("pca", clean, "-k", 3, "--solver", "exact", "--out", tmp_path / "b", "--quiet")
    assert exact.code == 0
    np.testing.assert_allclose(
        np.loadtxt(tmp_path / "a.eigenval"), np.loadtxt(tmp_path / "b.eigenval"), rtol=0.02
    )


def test_ancestry__compares_labels_with_components(call: Call, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.tsv"
    answer = call("ancestry", clean, "--out", out, "--classifier", "centroid", "-k", 5)
    assert answer.code == 0
    table = tsv(out)
    assert list(table.columns) == ["sample_id", "ancestry", "predicted"]
    assert list(table["sample_id"]) == strings(clean, "sample_id")
    assert (table["ancestry"] == table["predicted"]).mean() > 0.8
    assert "Few: <=20 samples" in answer.out
    assert "too small to use" in answer.out
    confusion = tsv(tmp_path / "a.tsv.confusion.tsv")
    assert confusion["n"].sum() == len(table)


def test_ancestry__needs_labels(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    answer = call("ancestry", cohort.prefix, "--out", tmp_path / "a.tsv")
    assert answer.code == 1
    assert "no ancestry labels; give a table" in answer.err


def test_synthesize__with_one_key_repeats_itself(call: Call, clean: Path, tmp_path: Path) -> None:
    base = ("synthesize", clean, "--per-group", 20, "--epsilon", 5, "--out")
    key = tmp_path / "secret/noise.key"
    first = call(*base, tmp_path / "a", "--noise-key", key)
    assert first.code == 0
    assert "guarantee: none" in first.out
    assert len(bytes.fromhex(key.read_text())) == 32
    assert key.stat().st_mode & 0o077 == 0
    assert call(*base, tmp_path / "b", "--noise-key", key).code == 0
    assert call(*base, tmp_path / "c").code == 0
    assert content_of(tmp_path / "a") == content_of(tmp_path / "b") != content_of(tmp_path / "c")
    labels, counts = np.unique(strings(tmp_path / "a", "sample_ancestry"), return_counts=True)
    assert dict(zip(labels, counts.tolist(), strict=True)) == dict.fromkeys([*USABLE, "Few"], 20)
    assert not set(strings(tmp_path / "a", "sample_id")) & set(strings(clean, "sample_id"))
    assert key.read_text().strip() not in first.out + first.err


def test_watermark__is_made_for_a_trait(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("phenotype", clean, "--out", tmp_path / "p", "--quiet").code == 0
    out = tmp_path / "w.zarr"
    answer = call("watermark", clean, "--pheno", tmp_path / "p.pheno.tsv", "--n", 3, "--out", out)
    assert answer.code == 0
    assert "wrote 3 watermark SNPs" in answer.out
    tests = tsv(tmp_path / "w.zarr.tests.tsv")
    assert len(tests) == 3
    assert (tests["log10_p"] < -5).all()
    genotype = zarr.open_group(str(out), mode="r")["watermark_genotype"][...]
    assert genotype.shape == (3, len(strings(clean, "sample_id")))


def test_relatives__have_a_pedigree(call: Call, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.vcz"
    assert call("synthesize", clean, "--per-group", 24, "--out", tmp_path / "s.vcz", "--quiet").code == 0
    answer = call("relatives", tmp_path / "s.vcz", "--founders-per-group", 16, "--out", out)
    assert answer.code == 0
    assert "56 relatives" in answer.out
    pedigree = tsv(tmp_path / "r.vcz.pedigree.tsv")
    assert list(pedigree.columns) == ["sample_id", "father_id", "mother_id", "sex", "generation", "group"]
    assert (pedigree["generation"] > 0).sum() == len(strings(out, "sample_id")) == 4 * 14
    pairs = tsv(tmp_path / "r.vcz.related_pairs.tsv")
    assert list(pairs.columns) == ["IID1", "IID2", "degree", "kinship"]
    assert (pairs["degree"] == "first").sum() == 4 * 2 * 14


KIN0 = ["#FID1", "IID1", "FID2", "IID2", "NSNP", "HETHET", "IBS0", "KINSHIP"]


def test_king__writes_plink_2s_columns(call: Call, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep/k.kin0"
    answer = call("king", clean, "--min-kinship", -0.9, "--out", out)
    assert answer.code == 0
    table = tsv(out)
    n = len(strings(clean, "sample_id"))
    assert list(table.columns) == KIN0
    assert len(table) == n * (n - 1) // 2
    histogram = tsv(tmp_path / "deep/k.kin0.histogram.tsv")
    assert histogram["pairs"].sum() == len(table)
    assert f"{len(table)} pairs above -0.9 of {len(table)}" in answer.out


@pytest.mark.oracle
def test_king__is_the_table_of_plink_2(call: Call, cohort: Cohort, tmp_path: Path, plink2) -> None:
    # plink2 leaves chromosome X out, as quality control does
    assert (
        call(
            "qc", cohort.prefix, "--mind", 1, "--geno", 1, "--hwe", 0, "--maf", 0, "--out", tmp_path / "a.vcz"
        ).code
        == 0
    )
    assert call("king", tmp_path / "a.vcz", "--min-kinship", 0.0213, "--out", tmp_path / "own.kin0").code == 0
    subprocess.run(
        ["plink2", "--bfile", str(cohort.prefix), "--make-king-table",
         "--king-table-filter", "0.0213", "--out",
         str(tmp_path / "plink")], check=True, capture_output=True,
    )  # fmt: skip
    own, theirs = tsv(tmp_path / "own.kin0"), tsv(tmp_path / "plink.kin0")
    assert list(own.columns) == list(theirs.columns)
    # plink2 writes the later sample first
    swapped = theirs.rename(columns={"IID1": "IID2", "IID2": "IID1"})
    both = own.merge(swapped, on=["IID1", "IID2"], suffixes=("", "_plink"))
    assert len(both) == len(own) == len(theirs)
    assert (both["NSNP"] == both["NSNP_plink"]).all()
    for name in ("HETHET", "IBS0", "KINSHIP"):
        np.testing.assert_allclose(both[name], both[f"{name}_plink"], rtol=2e-5, atol=2e-6)


def test_evaluate__writes_tables(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("synthesize", clean, "--per-group", 30, "--out", tmp_path / "s.vcz", "--quiet").code == 0
    out = tmp_path / "e"
    flags = ("--tsne-samples", 12, "--tsne-perplexity", 4, "--epsilon", 6)
    answer = call("evaluate", clean, tmp_path / "s.vcz", "--out", out, *flags)
    assert answer.code == 0
    assert {p.name for p in out.iterdir()} == {"maf.tsv", "groups.tsv", "embedding.tsv"}
    assert len(tsv(out / "groups.tsv")) == 4
    assert answer.out.count("MAF RMSE") == 4
    assert tsv(out / "maf.tsv")["z"].abs().max() < 6.5


def test_evaluate__needs_labels_on_both_sides(
    call: Call, clean: Path, cohort: Cohort, tmp_path: Path
) -> None:
    for which, cohorts in (("real", (cohort.prefix, clean)), ("synthetic", (clean, cohort.prefix))):
        answer = call("evaluate", *cohorts, "--out", tmp_path / "e")
        assert answer.code == 1
        assert f"the {which} cohort has no ancestry labels" in answer.err
    assert not (tmp_path / "e").exists()


def test_simulate__writes_founders_and_labels(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "f.vcz"
    base = ("simulate", out, "--samples", 24, "--variants", 60, "--populations", "EUR,AFR")
    answer = call(*base, "--seed", 2)
    assert answer.code == 0
    assert len(strings(out, "variant_id")) == 60
    assert len(strings(out, "sample_id")) == 24
    labels = tsv(tmp_path / "f.vcz.ancestry.tsv")
    assert set(labels["ancestry"]) == {"EUR", "AFR"}
    first = content_of(out)
    assert call(*base, "--seed", 2).code == 0
    assert content_of(out) == first


def test_verbose__shows_the_log_and_quiet_nothing(
    call: Call, cohort: Cohort, clean: Path, tmp_path: Path
) -> None:
    base = ("pca", clean, "-k", 2, "--out", tmp_path / "p")
    assert call(*base).err == ""
    assert "2 components of" in call(*base, "-v").err
    assert "solver" in call(*base, "-vv").err
    quiet = call(*base, "--quiet")
    assert (quiet.out, quiet.err) == ("", "")


def test_memory_limit__is_checked(call: Call, clean: Path, tmp_path: Path) -> None:
    answer = call("pca", clean, "-k", 2, "--out", tmp_path / "p", "--memory-limit", "lots")
    assert answer.code == 1
    assert "lots" in answer.err
    assert not list(tmp_path.iterdir())


def test_config__without_the_section_gives_defaults(call: Call, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[storage]\nvariant_chunk = 50\n")
    assert call("phenotype", clean, "--config", tmp_path / "c.toml", "--out", tmp_path / "p").code == 0
    (tmp_path / "bad.toml").write_text("[fenotype]\n")
    answer = call("phenotype", clean, "--config", tmp_path / "bad.toml", "--out", tmp_path / "q")
    assert answer.code == 1
    assert "fenotype" in answer.err
