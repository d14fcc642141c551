"""The association command: its files, in the dialects of PLINK 2 and REGENIE."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genoweave.cli.association_files import check_names
from genoweave.errors import ConfigError
from genoweave.io.gwas_files import p_text
from genoweave.methods.gwas import GWAS, Trait, gwas
from genoweave.report.gwas_figures import figure_bytes, manhattan_figure, qq_figure
from tests.cli.conftest import Call
from tests.small_cohort import Cohort, strings

PLINK2 = ["#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "TEST", "OBS_CT"]


@pytest.fixture(scope="module")
def tables(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with y.tsv (status, height, other) and c.tsv (age, batch)."""
    folder = tmp_path_factory.mktemp("tables")
    ids = strings(clean, "sample_id")
    rng = np.random.default_rng(3)
    n = len(ids)
    traits = pd.DataFrame({"#IID": ids, "status": rng.integers(1, 3, n), "height": rng.normal(170, 8, n)})
    traits.loc[[1, 5], "status"] = -9
    traits["zero/one"] = traits["status"].map({1: 0, 2: 1}).astype("Int64")
    traits.to_csv(folder / "y.tsv", sep="\t", index=False, na_rep="NA")
    more = traits.assign(words="tall", **{"zero one": traits["zero/one"]})
    more.to_csv(folder / "words.tsv", sep="\t", index=False, na_rep="NA")
    batch = np.array(["a", "b", "c"])[rng.integers(0, 3, n)]
    covariates = pd.DataFrame({"#IID": ids, "age": rng.normal(50, 10, n), "batch": batch})
    covariates.to_csv(folder / "c.tsv", sep="\t", index=False)
    return folder


def command(clean: Path, tables: Path, out: Path, traits: str) -> tuple[object, ...]:
    """Test some traits without covariates."""
    return "gwas", clean, "--pheno", tables / "y.tsv", "--pheno-name", traits, "--out", out


def read(path: Path, **settings: object) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype={"#CHROM": str}, **settings)


def test_gwas__writes_plinks_columns(call: Call, clean: Path, tables: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "g"
    answer = call("gwas", clean, "--pheno", tables / "y.tsv", "--covar", tables / "c.tsv", "--out", out)
    assert answer.code == 0
    linear = read(tmp_path / "new/g.height.glm.linear")
    assert list(linear.columns) == [*PLINK2, "BETA", "SE", "T_STAT", "P", "ERRCODE"]
    logistic = read(tmp_path / "new/g.status.glm.logistic.hybrid")
    middle = [*PLINK2[:7], "FIRTH?", *PLINK2[7:]]
    assert list(logistic.columns) == [*middle, "OR", "LOG(OR)_SE", "Z_STAT", "P", "ERRCODE", "METHOD"]
    assert list(linear["ID"]) == strings(clean, "variant_id")
    np.testing.assert_allclose(np.log(logistic["OR"]) / logistic["LOG(OR)_SE"], logistic["Z_STAT"], atol=1e-5)
    # the same status in the other coding
    again = read(tmp_path / "new/g.zero_one.glm.logistic.hybrid")
    pd.testing.assert_frame_equal(again, logistic)
    summary = read(tmp_path / "new/g.summary.tsv")
    assert list(summary["TRAIT"]) == ["status", "height", "zero/one"]
    assert list(summary["MODEL"]) == ["logistic", "linear", "logistic"]
    assert summary["LAMBDA_GC"].between(0.6, 1.5).all()
    assert summary["N"][0] == summary["N_CASES"][0] + summary["N_CONTROLS"][0] == summary["N"][1] - 2
    assert np.isnan(summary["N_CASES"][1])
    assert "height: linear, " in answer.out
    assert not [path for path in (tmp_path / "new").iterdir() if "partial" in path.name]
    assert (tmp_path / "new/g.height.loci.tsv").exists()


def test_gwas__writes_regenies_columns(call: Call, clean: Path, tables: Path, tmp_path: Path) -> None:
    base = ("gwas", clean, "--pheno", tables / "y.tsv", "--pheno-name", "height", "--out")
    assert call(*base, tmp_path / "p").code == 0
    assert call(*base, tmp_path / "r", "--format", "regenie").code == 0
    theirs = pd.read_csv(tmp_path / "r_height.regenie", sep=" ")
    ours = read(tmp_path / "p.height.glm.linear")
    names = "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA"
    assert list(theirs.columns) == names.split()
    np.testing.assert_allclose(theirs["BETA"], ours["BETA"])
    np.testing.assert_allclose(theirs["CHISQ"], ours["T_STAT"] ** 2, rtol=1e-6)
    np.testing.assert_allclose(10 ** -theirs["LOG10P"], ours["P"], rtol=1e-6)
    assert (theirs["ALLELE1"] == ours["A1"]).all()


def test_gwas__other_forms_have_the_same_numbers(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    base = ("gwas", clean, "--pheno", tables / "y.tsv", "--pheno-name", "status", "--quiet", "--out")
    beta = ("--effect", "beta", "--log10")
    assert call(*base, tmp_path / "t", *beta).code == 0
    assert call(*base, tmp_path / "z", *beta, "--table", "gz").code == 0
    assert call(*base, tmp_path / "q", *beta, "--table", "parquet").code == 0
    text = tmp_path / "t.status.glm.logistic.hybrid"
    assert gzip.decompress((tmp_path / "z.status.glm.logistic.hybrid.gz").read_bytes()) == text.read_bytes()
    table = read(text, na_values=[], keep_default_na=True)
    columns = pd.read_parquet(tmp_path / "q.status.glm.logistic.hybrid.parquet")
    assert list(table.columns) == list(columns.columns)
    assert {"BETA", "SE", "LOG10_P"} <= set(columns)
    for name in ("BETA", "SE", "Z_STAT", "LOG10_P", "OBS_CT"):
        np.testing.assert_allclose(table[name], columns[name], rtol=1e-7)
    assert call(*base, tmp_path / "t2", *beta, "--workers", 2).code == 0
    assert (tmp_path / "t2.status.glm.logistic.hybrid").read_bytes() == text.read_bytes()


def test_gwas__chooses_columns_models_and_tests(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    base = ("gwas", clean, "--pheno", tables / "y.tsv", "--covar", tables / "c.tsv", "--out", tmp_path / "g",
            "--pheno-name", "status", "--covar-name")  # fmt: skip
    assert call(*base, "batch", "--test", "wald").code == 0
    wald = read(tmp_path / "g.status.glm.logistic.hybrid")
    assert "METHOD" not in wald
    assert call(*base, "batch", "--test", "firth").code == 0
    firth = read(tmp_path / "g.status.glm.firth")
    assert "FIRTH?" not in firth
    assert call(*base, "age,batch", "--model", "linear").code == 0
    linear = read(tmp_path / "g.status.glm.linear")
    ok = (wald["ERRCODE"] == ".") & (firth["ERRCODE"] == ".") & (linear["ERRCODE"] == ".")
    assert ok.mean() > 0.9
    assert np.corrcoef(wald["Z_STAT"][ok], linear["T_STAT"][ok])[0, 1] > 0.9
    # Firth's estimates are shrunken
    assert np.abs(np.log(firth["OR"])[ok]).mean() < np.abs(np.log(wald["OR"])[ok]).mean()


def test_gwas__draws(call: Call, clean: Path, tables: Path, tmp_path: Path) -> None:
    base = command(clean, tables, tmp_path / "g", "height")
    assert call(*base, "--plot").code == 0
    assert call(*base, "--plot", "svg").code == 0
    for name in ("manhattan", "qq"):
        assert (tmp_path / f"g.height.{name}.png").read_bytes().startswith(b"\x89PNG")
        assert b"<svg" in (tmp_path / f"g.height.{name}.svg").read_bytes()


def test_gwas__takes_the_traits_that_the_cohort_was_imported_with(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    tables_given = ("--pheno", tables / "y.tsv", "--covar", tables / "c.tsv")
    assert call("import", clean, tmp_path / "with.vcz", *tables_given).code == 0
    assert call("gwas", tmp_path / "with.vcz", "--out", tmp_path / "a").code == 0
    assert call("gwas", clean, *tables_given, "--out", tmp_path / "b").code == 0
    chosen = (*tables_given, "--pheno-name", "status", "--out")
    assert call("gwas", clean, *chosen, tmp_path / "c").code == 0
    name = "status.glm.logistic.hybrid"
    first = (tmp_path / f"a.{name}").read_bytes()
    assert first == (tmp_path / f"b.{name}").read_bytes() == (tmp_path / f"c.{name}").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--pheno-name", "weight"), "there is no trait 'weight'"),
        (("--covar-name", "weight"), "there is no covariate 'weight'"),
        (("--pheno-name", "height", "--model", "logistic"), "trait height: a case/control phenotype has"),
        (("--max-vif", "1"), "max_vif"),
        (
            ("--pheno-name", "words"),
            "there is no trait 'words'; check the table's header, and that the",
        ),
        (("--pheno-name", ","), "wanted names with commas between them, found ','"),
        (("--pheno-name", "height", "--random-effects"), "give --by-ancestry too"),
        (
            ("--pheno-name", "zero/one,zero one"),
            "trait 'zero/one' and trait 'zero one' would be written to the",
        ),
    ],
)
def test_gwas__says_what_is_wrong(
    call: Call, clean: Path, tables: Path, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    answer = call("gwas", clean, "--pheno", tables / "words.tsv", "--out", tmp_path / "g", *flags)
    assert answer.code == 1
    assert message in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [
        (["a b", "c", "a/b"], [], "trait 'a b' and trait 'a/b' would be written to the same files, a_b"),
        (["c"], ["A B", "A_B"], "trait 'c' of group 'A B' and trait 'c' of group 'A_B' would"),
        (["E", "meta"], ["E"], "trait 'meta' of group 'E' and trait 'E' would"),
    ],
)
def test_check_names__no_file_is_written_twice(names: list[str], groups: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_names(names, groups)
    check_names(["a b", "c"], ["A B", "c"])


def test_gwas__needs_a_trait(call: Call, cohort: Cohort, tmp_path: Path) -> None:
    answer = call("gwas", cohort.prefix, "--out", tmp_path / "g")
    assert answer.code == 1
    assert "the cohort has no trait; give a table of phenotypes with --pheno" in answer.err


def test_gwas__writes_a_line_per_term_of_two_and_says_which_test(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    base = command(clean, tables, tmp_path / "g", "status,height")
    assert call(*base, "--coding", "genotypic", "--test", "lrt").code == 0
    linear = read(tmp_path / "g.height.glm.linear")
    assert list(linear.columns) == [*PLINK2, "BETA", "SE", "T_OR_F_STAT", "P", "ERRCODE"]
    logistic = read(tmp_path / "g.status.glm.logistic.hybrid")
    assert list(logistic.columns[-4:]) == ["Z_OR_F_STAT", "P", "ERRCODE", "METHOD"]
    ids = strings(clean, "variant_id")
    for table in (linear, logistic):
        assert list(table["TEST"]) == ["ADD", "DOMDEV", "GENO_2DF"] * len(ids)
        assert list(table["ID"][::3]) == ids
        joint = table[(table["TEST"] == "GENO_2DF") & (table["ERRCODE"] == ".")]
        assert len(joint) > 100
        assert joint["P"].between(0, 1).all()
        assert joint["LOG(OR)_SE" if "OR" in table else "SE"].isna().all()
    # F = 0 has p = 1
    chi2 = 2 * logistic["Z_OR_F_STAT"][2::3]
    np.testing.assert_allclose(np.exp(-chi2 / 2), logistic["P"][2::3], rtol=1e-6)
    assert set(logistic["METHOD"]) <= {"lrt", "firth_lrt", "score"}
    assert call(*base, "--coding", "dominant", "--format", "regenie").code == 0
    assert set(pd.read_csv(tmp_path / "g_height.regenie", sep=" ")["TEST"]) == {"DOM"}


@pytest.mark.parametrize("form", ["text", "gz", "parquet"])
def test_gwas__by_ancestry_writes_each_group_and_the_meta_analysis(
    call: Call, clean: Path, tables: Path, tmp_path: Path, form: str
) -> None:
    base = command(clean, tables, tmp_path / "g", "status,height")
    answer = call(*base, "--by-ancestry", "--random-effects", "--min-cases", "5", "--table", form)
    assert answer.code == 0
    assert "Few: status is left out, with <=20 cases and <=20 controls; min_cases is 5" in answer.out
    summary = read(tmp_path / "g.summary.tsv")
    groups = sorted(set(strings(clean, "sample_ancestry")) - {"Few"})
    of_height = list(summary["GROUP"][summary["TRAIT"] == "height"])
    assert list(summary["GROUP"][summary["TRAIT"] == "status"]) == [*groups, "meta"]
    assert of_height == [*groups, "meta"]
    assert "Few: height is left out, with <=20 samples" in answer.out
    if form == "parquet":
        meta = pd.read_parquet(tmp_path / "g.height.meta.parquet")
    else:
        meta = read(tmp_path / f"g.height.meta.tsv{'.gz' if form == 'gz' else ''}")
    assert list(meta.columns) == [
        "#CHROM", "POS", "ID", "REF", "ALT", "A1", "A1_FREQ", "OBS_CT", "STUDIES", "BETA", "SE", "Z_STAT",
        "LOG10_P", "DIRECTION", "HET_Q", "HET_LOG10_P", "HET_I2", "BETA_RANDOM", "SE_RANDOM",
        "LOG10_P_RANDOM", "TAU2",
    ]  # fmt: skip
    assert list(meta["ID"]) == strings(clean, "variant_id")
    assert set("".join(meta["DIRECTION"])) <= set("+-?0")
    if form == "text":
        tables_of = [read(tmp_path / f"g.{group}.height.glm.linear") for group in of_height[:-1]]
        beta, se = (np.stack([one[name] for one in tables_of]) for name in ("BETA", "SE"))
        weight = np.nan_to_num(1 / se**2)
        expected = (weight * np.nan_to_num(beta)).sum(axis=0) / weight.sum(axis=0)
        np.testing.assert_allclose(meta["BETA"], expected, rtol=1e-5, atol=1e-6)
        assert (
            meta["OBS_CT"] == sum(np.where(b.notna(), t["OBS_CT"], 0) for t in tables_of for b in [t["BETA"]])
        ).all()
        assert (tmp_path / "g.height.meta.loci.tsv").exists()
        assert "meta, height: meta, " in answer.out


def test_gwas__mixed_takes_case_control_as_a_number(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    base = command(clean, tables, tmp_path / "g", "status,height")
    assert call(*base, "--model", "mixed", "--test", "wald", "--no-loco").code == 0
    table = read(tmp_path / "g.status.glm.mixed")
    assert list(table.columns) == [*PLINK2, "BETA", "SE", "T_STAT", "P", "ERRCODE"]
    summary = read(tmp_path / "g.summary.tsv")
    assert list(summary["MODEL"]) == ["mixed", "mixed"]
    assert summary["PVE"].between(0, 1).all()


def test_gwas__takes_defaults_of_a_configuration_file(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    (tmp_path / "c.toml").write_text('[gwas]\ncoding = "recessive"\n')
    base = command(clean, tables, tmp_path / "g", "height")
    assert call(*base, "--config", tmp_path / "c.toml").code == 0
    assert set(read(tmp_path / "g.height.glm.linear")["TEST"]) == {"REC"}


def test_p_text__keeps_any_exponent() -> None:
    log10_p = np.array([np.nan, 0.0, np.log10(0.05), -299.5, -400.2, -12345.0, -400 - 1e-12])
    assert p_text(log10_p) == ["NA", "1", "0.05", "3.1622777e-300", "6.309573e-401", "1e-12345", "1e-400"]


def test_figures__of_nothing_and_of_much() -> None:
    nothing = np.full(3, np.nan)
    for figure in (manhattan_figure(["1"] * 3, np.arange(3), nothing), qq_figure(nothing, np.nan)):
        assert figure_bytes(figure).startswith(b"\x89PNG")
    rng = np.random.default_rng(1)
    n = 200_000
    log10_p = np.log10(rng.random(n))
    log10_p[5] = -500
    contig = np.repeat([f"chr{k}" for k in range(1, 21)], n // 20)
    first = figure_bytes(manhattan_figure(contig, np.arange(n), log10_p, "a $ name"), "svg")
    assert first == figure_bytes(manhattan_figure(contig, np.arange(n), log10_p, "a $ name"), "svg")
    assert len(first) < 2e6


def test_gwas__results_do_not_depend_on_the_command_line(
    call: Call, clean: Path, tables: Path, tmp_path: Path
) -> None:
    from genoweave.cohorts import open_cohort

    assert call("gwas", clean, "--pheno", tables / "y.tsv", "--out", tmp_path / "g").code == 0
    ds = open_cohort(clean)
    height = read(tables / "y.tsv")["height"].to_numpy()
    fits = gwas(ds, [Trait.of("height", height)], params=GWAS())[0].fits
    np.testing.assert_allclose(read(tmp_path / "g.height.glm.linear")["BETA"], fits.beta, rtol=1e-6)
