"""The command that simulates traits, and what other programs make of its files."""

from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest

from genoweave.cohorts import open_cohort
from genoweave.io.plink import write_plink
from genoweave.methods.phenotype import PRESETS, Phenotype, phenotype
from tests.cli.conftest import Call
from tests.small_cohort import strings


def tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype={"#IID": str, "IID": str})


@pytest.fixture(scope="module")
def unlinked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fileset of 1,500 people and 150 variants that are no neighbours."""
    rng = np.random.default_rng(12)
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, 150), 1500, rng)
    ds = helpers.cohort(dosage, position=1_200_000 * (1 + np.arange(150)))
    prefix = tmp_path_factory.mktemp("unlinked") / "x"
    write_plink(ds, prefix)
    return prefix


def test_phenotype__writes_trait_and_truth(call: Call, clean: Path, tmp_path: Path) -> None:
    flags = ("--prevalence", 0.2, "--causal-fraction", 0.05)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert call("phenotype", clean, "--out", tmp_path / name, *flags, "--seed", seed).code == 0
    trait, truth = tsv(tmp_path / "a.pheno.tsv"), tsv(tmp_path / "a.truth.tsv")
    assert list(trait.columns) == ["#IID", "case", "liability", "genetic_value", "additive", "noise"]
    assert trait["case"].sum() == round(0.2 * len(trait))
    assert list(truth.columns[:5]) == ["ID", "A1", "A1_FREQ", "EFFECT", "EFFECT_PER_ALLELE"]
    assert list(truth.columns[5:]) == ["N", "EXPECTED_BETA", "EXPECTED_SE", "R2", "NCP", "Z", "POWER"]
    assert len(truth) == round(0.05 * len(strings(clean, "variant_id")))
    pd.testing.assert_frame_equal(truth, pd.read_parquet(tmp_path / "a.truth.parquet"), rtol=1e-12)
    shares = tsv(tmp_path / "a.shares.tsv").set_index("component")
    assert shares.loc["additive", "realised"] == pytest.approx(0.9, abs=1e-9)
    written = {path.name for path in tmp_path.glob("a.*")}
    assert written == {f"a.{e}" for e in ("pheno", "pheno.tsv", "truth.tsv", "truth.parquet", "shares.tsv")}
    for name in written:
        same = (tmp_path / name).read_bytes() == (tmp_path / name.replace("a.", "b.", 1)).read_bytes()
        assert same, name
    assert not trait.equals(tsv(tmp_path / "c.pheno.tsv"))


def test_phenotype__without_what_a_gwas_should_find(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("phenotype", clean, "--out", tmp_path / "p", "--no-expected").code == 0
    assert tsv(tmp_path / "p.truth.tsv").columns[-1] == "EFFECT_PER_ALLELE"


def test_phenotype__an_ascertained_study(call: Call, clean: Path, tmp_path: Path) -> None:
    flags = ("--prevalence", 0.3, "--n-cases", 25, "--controls-per-case", 2)
    answer = call("phenotype", clean, "--out", tmp_path / "p", *flags)
    assert answer.code == 0
    assert "25 cases and 50 controls, drawn from" in answer.out
    ids = tsv(tmp_path / "p.ascertained.tsv")["IID"]
    pheno, samples = tsv(tmp_path / "p.pheno").set_index("IID"), tsv(tmp_path / "p.pheno.tsv")
    assert len(ids) == 75
    assert pheno["case"].notna().sum() == 75
    assert (pheno.loc[ids, "case"].value_counts().loc[[2, 1]] == [25, 50]).all()
    assert samples["case"].sum() == round(0.3 * len(samples)), "the truth has everybody's status"
    assert (samples["ascertained"].to_numpy() == pheno["case"].notna().to_numpy()).all()


def test_phenotype__an_ascertained_list_for_other_programs(call: Call, clean: Path, tmp_path: Path) -> None:
    flags = ("--n-controls", 30, "--style", "regenie")
    assert call("phenotype", clean, "--out", tmp_path / "p", *flags).code == 0
    lines = (tmp_path / "p.ascertained.tsv").read_text().splitlines()
    pheno = pd.read_csv(tmp_path / "p.pheno", sep="\t", dtype={"FID": str, "IID": str})
    kept = pheno[pheno["case"].notna()]
    assert lines == [f"{fid}\t{iid}" for fid, iid in zip(kept["FID"], kept["IID"], strict=True)]
    assert set(kept["case"]) == {0, 1}


MANY = (
    "--traits", 3, "--status-by-trait", "threshold,none,logit", "--prevalence-by-trait", "0.2,0.5,0.4",
    "--delta", 0.3, "--covariates", "age=normal,sex=binomial,place=categorical", "--h2s", 0.7,
    "--epistasis", 0.1, "--n-pairs", 5, "--dominance", 0.1,
)  # fmt: skip


def test_phenotype__several_traits_of_all_parts(call: Call, clean: Path, tmp_path: Path) -> None:
    answer = call("phenotype", clean, "--out", tmp_path / "p", *MANY)
    assert answer.code == 0
    assert "trait2: quantitative" in answer.out
    pheno = tsv(tmp_path / "p.pheno")
    n = len(pheno)
    assert list(pheno.columns) == ["#FID", "IID", "trait1", "trait2", "trait3"]
    assert [(pheno[f"trait{k}"] == 2).sum() for k in (1, 3)] == [round(0.2 * n), round(0.4 * n)]
    assert pheno["trait2"].nunique() == n
    assert list(tsv(tmp_path / "p.covar").columns) == ["#FID", "IID", "age", "sex", "place_2", "place_3"]
    truth = tsv(tmp_path / "p.truth.tsv")
    assert list(truth.columns[:3]) == ["TRAIT", "ID", "A1"]
    assert truth["TRAIT"].value_counts().nunique() == 1
    assert "DOMINANCE_EFFECT" in truth
    assert len(tsv(tmp_path / "p.pairs.tsv")) == 3 * 5
    assert len(pd.read_parquet(tmp_path / "p.background.parquet")) == len(strings(clean, "variant_id"))
    assert list(tsv(tmp_path / "p.covariates.tsv")["COVARIATE"]) == ["age", "sex", "place_2", "place_3"]
    samples = tsv(tmp_path / "p.pheno.tsv")
    for k in (1, 2, 3):
        parts = samples.filter(like=f"trait{k}.").drop(
            columns=[f"trait{k}.case", f"trait{k}.liability", f"trait{k}.genetic_value"], errors="ignore"
        )
        np.testing.assert_allclose(parts.sum(axis=1), samples[f"trait{k}.liability"], atol=1e-7)


def test_phenotype__presets_and_flags_over_them(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("phenotype", clean, "--out", tmp_path / "p", "--preset", "paper").code == 0
    assert call("phenotype", clean, "--out", tmp_path / "d").code == 0
    assert (tmp_path / "p.pheno.tsv").read_bytes() == (tmp_path / "d.pheno.tsv").read_bytes()
    quantitative = ("--preset", "quantitative", "--heritability", 0.25)
    assert call("phenotype", clean, "--out", tmp_path / "q", *quantitative).code == 0
    assert list(tsv(tmp_path / "q.pheno").columns) == ["#FID", "IID", "liability"]
    assert tsv(tmp_path / "q.pheno.tsv")["genetic_value"].var(ddof=0) == pytest.approx(0.25)
    assert Phenotype(**PRESETS["paper"]) == Phenotype()


def test_phenotype__takes_effects_and_gives_them_again(call: Call, clean: Path, tmp_path: Path) -> None:
    ids = strings(clean, "variant_id")[:3]
    assert call("phenotype", clean, "--out", tmp_path / "a", "--n-causal", 4).code == 0
    flags = ("--effects", tmp_path / "a.truth.tsv", "--seed", 5)
    assert call("phenotype", clean, "--out", tmp_path / "b", *flags).code == 0
    one, two = tsv(tmp_path / "a.truth.tsv"), tsv(tmp_path / "b.truth.tsv")
    assert list(one["ID"]) == list(two["ID"])
    np.testing.assert_allclose(two["EFFECT_PER_ALLELE"], one["EFFECT_PER_ALLELE"], rtol=1e-9)
    (tmp_path / "wrong.tsv").write_text("id\ta1\teffect\n" + "".join(f"{i}\tN\t1\n" for i in ids))
    answer = call("phenotype", clean, "--out", tmp_path / "c", "--effects", tmp_path / "wrong.tsv")
    assert answer.code == 1
    assert "allele N" in answer.err
    assert not list(tmp_path.glob("c.*"))


def test_phenotype__takes_effects_of_several_traits_again(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("phenotype", clean, "--out", tmp_path / "a", "--n-causal", 6, "--traits", 2).code == 0
    flags = ("--effects", tmp_path / "a.truth.tsv", "--traits", 2, "--no-rescale-effects")
    assert call("phenotype", clean, "--out", tmp_path / "b", *flags).code == 0
    one, two = tsv(tmp_path / "a.truth.tsv"), tsv(tmp_path / "b.truth.tsv")
    assert list(one["TRAIT"] + one["ID"]) == list(two["TRAIT"] + two["ID"])
    np.testing.assert_allclose(two["EFFECT_PER_ALLELE"], one["EFFECT_PER_ALLELE"], rtol=1e-9)


def test_phenotype__nothing_of_an_earlier_run_is_left(call: Call, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "p.more.covar").write_text("another's")
    assert call("phenotype", clean, "--out", tmp_path / "p", *MANY, "--n-cases", 5).code == 0
    more = {"covar", "covariates.tsv", "background.parquet", "pairs.tsv"}
    more |= {f"trait{k}.ascertained.tsv" for k in (1, 3)}
    assert more <= {path.name.removeprefix("p.") for path in tmp_path.glob("p.*")}
    answer = call("phenotype", clean, "--out", tmp_path / "p")
    assert answer.code == 0
    always = {"pheno", "pheno.tsv", "shares.tsv", "truth.tsv", "truth.parquet"}
    written = {path.name.removeprefix("p.") for path in tmp_path.glob("p.*")}
    assert written == always | {"more.covar"}
    assert all(f"p.{name}" in answer.out for name in always)


def test_phenotype__the_users_files_are_left_alone(call: Call, clean: Path, tmp_path: Path) -> None:
    ids = strings(clean, "sample_id")
    text = "#IID\tage\n" + "".join(f"{name}\t{k}\n" for k, name in enumerate(ids))
    (tmp_path / "p.covar").write_text(text)
    assert call("phenotype", clean, "--out", tmp_path / "p").code == 0
    assert (tmp_path / "p.covar").read_text() == text
    flags = ("--covar", tmp_path / "p.covar", "--covariates", "age=cohort", "--delta", 0.5)
    answer = call("phenotype", clean, "--out", tmp_path / "p", *flags)
    assert answer.code == 1
    assert "would be overwritten" in answer.err
    assert (tmp_path / "p.covar").read_text() == text


def test_phenotype__says_who_is_not_in_the_table_of_covariates(
    call: Call, clean: Path, tmp_path: Path
) -> None:
    ids = strings(clean, "sample_id")
    (tmp_path / "ages").write_text("#IID\tage\n" + "".join(f"{x}\t{k % 7}\n" for k, x in enumerate(ids[3:])))
    flags = ("--covar", tmp_path / "ages", "--covariates", "age=cohort", "--delta", 0.5)
    answer = call("phenotype", clean, "--out", tmp_path / "p", *flags)
    assert answer.code == 0
    assert "samples of the cohort are not in the table" in answer.out


def test_phenotype__the_samples_table_is_the_truth(call: Call, clean: Path, tmp_path: Path) -> None:
    assert call("phenotype", clean, "--out", tmp_path / "p", "--seed", 4).code == 0
    trait = phenotype(open_cohort(str(clean)), Phenotype(seed=4))
    samples = tsv(tmp_path / "p.pheno.tsv")
    assert list(samples["#IID"]) == list(trait["sample_id"].values)
    assert (samples["case"] == trait["sample_case"].values).all()
    np.testing.assert_allclose(samples["liability"], trait["sample_liability"], rtol=1e-7)


def test_phenotype__takes_the_users_covariate(call: Call, clean: Path, tmp_path: Path) -> None:
    ids = strings(clean, "sample_id")
    age = np.random.default_rng(1).normal(50, 8, len(ids)).round(3)
    pd.DataFrame({"#IID": ids, "age": age}).to_csv(tmp_path / "c.tsv", sep="\t", index=False)
    flags = ("--covar", tmp_path / "c.tsv", "--covariates", "age=cohort", "--delta", 0.8, "--status", "none",
             "--heritability", 0.2)  # fmt: skip
    assert call("phenotype", clean, "--out", tmp_path / "p", *flags).code == 0
    np.testing.assert_allclose(tsv(tmp_path / "p.covar")["age"], age)
    liability = tsv(tmp_path / "p.pheno")["liability"]
    assert np.corrcoef(age, liability)[0, 1] ** 2 == pytest.approx(0.64, abs=0.1)


def test_phenotype__settings_of_a_configuration(call: Call, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        "[phenotype]\ntraits = 2\ndelta = 0.5\nprevalence_by_trait = [0.1, 0.3]\n"
        '[[phenotype.covariates]]\nname = "age"\nmean = 50\nsd = 10\n'
    )
    assert call("phenotype", clean, "--out", tmp_path / "p", "--config", tmp_path / "c.toml").code == 0
    pheno = tsv(tmp_path / "p.pheno")
    assert (pheno[["trait1", "trait2"]] == 2).sum().tolist() == [round(k * len(pheno)) for k in (0.1, 0.3)]
    assert tsv(tmp_path / "p.covar")["age"].mean() == pytest.approx(50, abs=5)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--n-cases", 100_000), "100000 cases are to be drawn"),
        (("--prevalence-by-group", "nowhere=0.5"), "groups that the cohort has not: nowhere"),
        (("--prevalence-by-trait", "0.1,0.2"), "2 entries for 1 traits"),
        (("--n-controls", 5, "--controls-per-case", 1), "give one of them"),
        (("--status-by-trait", "maybe"), "status_by_trait"),
        (("--prevalence", 0.00001), "no case"),
        (("--effects", "nothing.tsv"), "nothing.tsv"),
        (("--covariates", "IID=normal", "--delta", 0.5), "IID"),
        (("--covariates", "place=categorical,place_2=normal", "--delta", 0.5), "place_2"),
        (("--covariates", "age=cohort", "--delta", 0.5), "--covar"),
        (("--status", "none", "--n-cases", 5), "n_cases"),
    ],
)
def test_phenotype__what_cannot_be_is_refused(
    call: Call, clean: Path, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    answer = call("phenotype", clean, "--out", tmp_path / "p", *flags)
    assert answer.code == 1
    assert says in answer.err
    assert not list(tmp_path.glob("p.*"))


@pytest.mark.oracle
def test_phenotype__plink2_finds_the_effects(
    call: Call, unlinked: Path, plink2: helpers.Program, tmp_path: Path
) -> None:
    # 8 causal variants of a quantitative trait, each within 4 standard errors: with random seeds one false
    # alarm in 2,000
    flags = ("--status", "none", "--n-causal", 8, "--heritability", 0.5, "--delta", 0.5,
             "--covariates", "age=normal,smoker=binomial,place=categorical")  # fmt: skip
    assert call("phenotype", unlinked, "--out", tmp_path / "p", *flags, "--seed", 3).code == 0
    out = plink2(
        "--bfile", unlinked, "--pheno", tmp_path / "p.pheno", "--covar", tmp_path / "p.covar",
        "--covar-variance-standardize", "--glm", "hide-covar", out=tmp_path / "g",
    )  # fmt: skip
    truth = tsv(tmp_path / "p.truth.tsv")
    found = tsv(helpers.suffixed(out, ".liability.glm.linear")).set_index("ID").loc[truth["ID"]].reset_index()
    assert (found["OBS_CT"] == 1500).all()
    sign = np.where(found["A1"] == truth["A1"], 1, -1)
    for column in ("EFFECT_PER_ALLELE", "EXPECTED_BETA"):
        assert (np.abs(sign * found["BETA"] - truth[column]) < 4 * found["SE"]).all(), column
    np.testing.assert_allclose(found["SE"], truth["EXPECTED_SE"], rtol=0.1)


@pytest.mark.oracle
def test_phenotype__plink2_reads_status_study_and_list(
    call: Call, unlinked: Path, plink2: helpers.Program, tmp_path: Path
) -> None:
    flags = ("--n-causal", 5, "--prevalence", 0.2, "--n-cases", 250, "--n-controls", 400)
    assert call("phenotype", unlinked, "--out", tmp_path / "p", *flags, "--seed", 4).code == 0
    out = plink2(
        "--bfile", unlinked, "--pheno", tmp_path / "p.pheno", "--keep", tmp_path / "p.ascertained.tsv",
        "--glm", "allow-no-covars", out=tmp_path / "g",
    )  # fmt: skip
    truth = tsv(tmp_path / "p.truth.tsv")
    found = tsv(helpers.suffixed(out, ".case.glm.logistic.hybrid")).set_index("ID").loc[truth["ID"]]
    assert (found["OBS_CT"] == 650).all()
    assert (truth["N"] == 650).all()
    log = helpers.suffixed(out, ".log").read_text()
    assert "250 cases and 400 controls" in log or "250 cases, 400 controls" in log
    sign = np.where(found["A1"].to_numpy() == truth["A1"].to_numpy(), 1, -1)
    assert np.corrcoef(sign * found["Z_STAT"], truth["Z"])[0, 1] > 0.9
