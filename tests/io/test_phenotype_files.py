"""Phenotypes, covariates and truth tables that other programs read."""

import gzip
import subprocess
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest

from genoweave.errors import ConfigError, DataError
from genoweave.io.phenotype_files import write_covariates, write_phenotypes, write_truth
from genoweave.io.plink import open_plink, write_plink
from genoweave.io.tables import case_control, match_ids, read_covariates, read_phenotypes

N = 5
NAN = float("nan")


@pytest.fixture
def cohort():
    """Five people with a status, a liability, a user's trait and batch, and two components."""
    rng = np.random.default_rng(3)
    return helpers.cohort(rng.integers(0, 3, (4, N)).astype(np.int8)).assign(
        sample_case=("samples", np.array([1, 0, -1, 0, 1], np.int8)),
        sample_liability=("samples", np.array([0.1 + 0.2, -1e-5, NAN, 3, -2.5])),
        sample_sex=("samples", np.array([1, 2, 0, 1, 2], np.int8)),
        height=("samples", np.array([1.5, 2.5, NAN, 3, 4])),
        batch=("samples", np.array(["x", "y", "", "x", "x"], object)),
        smoker=("samples", np.array([True, False, False, True, True])),
        sample_pca_projection=(("samples", "components"), rng.normal(size=(N, 2))),
    )


def in_families(ds):
    return ds.assign(sample_family_id=("samples", np.array(["f1", "f1", "f2", "0", "0"], object)))


def lines_of(path):
    return [line.split("\t") for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("style", "head", "status"),
    [
        ("plink2", ["#IID"], ["2", "1", "NA", "1", "2"]),
        ("plink1", ["FID", "IID"], ["2", "1", "NA", "1", "2"]),
        ("regenie", ["FID", "IID"], ["1", "0", "NA", "0", "1"]),
    ],
)
def test_write_phenotypes__styles(cohort, tmp_path, style, head, status):
    write_phenotypes(cohort, tmp_path / "y.tsv", style)
    first, *rows = lines_of(tmp_path / "y.tsv")
    assert first == [*head, "case", "liability"]
    assert [row[-2] for row in rows] == status
    assert [row[-1] for row in rows] == ["0.30000000000000004", "-1e-05", "NA", "3", "-2.5"]
    assert [row[len(head) - 1] for row in rows] == cohort["sample_id"].values.tolist()
    if len(head) == 2:
        assert {row[0] for row in rows} == {"0"}
    write_phenotypes(in_families(cohort), tmp_path / "z.tsv", style)
    first, *rows = lines_of(tmp_path / "z.tsv")
    assert first[:2] == ["#FID" if style == "plink2" else "FID", "IID"]
    assert [row[0] for row in rows] == ["f1", "f1", "f2", "0", "0"]


def test_write_phenotypes__chosen_columns(cohort, tmp_path):
    write_phenotypes(cohort, tmp_path / "y.tsv", columns=["height", "batch", "smoker", "sample_sex"])
    first, *rows = lines_of(tmp_path / "y.tsv")
    assert first == ["#IID", "height", "batch", "smoker", "sex"]
    assert rows[0][1:] == ["1.5", "x", "2", "1"]
    assert rows[2][1:] == ["NA", "NA", "1", "NA"]
    write_phenotypes(cohort, tmp_path / "y.tsv", "regenie", {"T2D": "smoker", "BMI": "height"})
    first, *rows = lines_of(tmp_path / "y.tsv")
    assert first[2:] == ["T2D", "BMI"]
    assert [row[2] for row in rows] == ["1", "0", "0", "1", "1"]


def test_write_covariates__components_and_others(cohort, tmp_path):
    write_covariates(cohort, tmp_path / "c.tsv")
    found = read_covariates(tmp_path / "c.tsv")
    assert found.columns.tolist() == ["PC1", "PC2"]
    assert (found.to_numpy() == cohort["sample_pca_projection"].values).all()
    names = ["sample_pca_projection", "smoker", "sample_case", "batch"]
    write_covariates(cohort, tmp_path / "c.tsv", "regenie", names)
    first, *rows = lines_of(tmp_path / "c.tsv")
    assert first == ["FID", "IID", "PC1", "PC2", "smoker", "case", "batch"]
    assert [row[-3:] for row in rows[1:3]] == [["0", "0", "y"], ["0", "NA", "NA"]]


@pytest.mark.parametrize("style", ["plink2", "plink1", "regenie"])
def test_write_phenotypes__what_is_written_is_read(cohort, tmp_path, style):
    ds = in_families(cohort)
    write_phenotypes(ds, tmp_path / "y.tsv", style)
    found = read_phenotypes(tmp_path / "y.tsv")
    index, matching = match_ids(ds, found, tmp_path / "y.tsv", "a phenotype")
    assert index.tolist() == list(range(N))
    assert matching.n_matched == N
    np.testing.assert_array_equal(found["liability"], ds["sample_liability"].values)
    status = case_control(found["case"], zero_one=style == "regenie")
    assert (status == ds["sample_case"].values).all()


def test_write_phenotypes__ids_of_families_agree_with_the_fam(tmp_path):
    write_plink(helpers.cohort(np.zeros((2, 3), np.int8)), tmp_path / "x")
    (tmp_path / "x.fam").write_text("f1 a 0 0 1 1.5\nf2 a 0 0 2 2.5\n0 b 0 0 1 7\n")
    ds = open_plink(tmp_path / "x")
    assert ds["sample_id"].values.tolist() == ["f1_a", "f2_a", "b"]
    write_phenotypes(ds, tmp_path / "y.tsv")
    assert lines_of(tmp_path / "y.tsv")[1:] == [["f1", "a", "1.5"], ["f2", "a", "2.5"], ["0", "b", "7"]]
    found = read_phenotypes(tmp_path / "y.tsv")
    index, matching = match_ids(ds, found, tmp_path / "y.tsv", "a phenotype")
    assert (index.tolist(), matching.by) == ([0, 1, 2], "FID+IID")


ODD_IDS = ["=1+1", "+a", "-b", "@c", "../../etc/passwd"]


@pytest.mark.parametrize("style", ["plink2", "plink1", "regenie"])
def test_ids__are_exact_and_only_text(cohort, tmp_path, style):
    ds = cohort.assign(sample_id=("samples", np.array(ODD_IDS, object)))
    folder = tmp_path / "deep" / "er"
    write_phenotypes(ds, folder / "y.tsv", style)
    write_covariates(ds, folder / "c.tsv", style)
    write_plink(ds, folder / "x")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {f"deep/er/{name}" for name in ("y.tsv", "c.tsv", "x.bed", "x.bim", "x.fam")}
    assert read_phenotypes(folder / "y.tsv").index.tolist() == ODD_IDS
    assert open_plink(folder / "x")["sample_id"].values.tolist() == ODD_IDS


@pytest.mark.parametrize(
    ("style", "columns", "error", "message"),
    [
        ("plink3", None, ConfigError, "no style 'plink3'"),
        ("plink2", ["weight"], ConfigError, "no variable 'weight'"),
        ("plink2", ["variant_id"], ConfigError, "of dimension samples"),
        ("plink2", [], ConfigError, "nothing to write"),
        ("plink2", ["height", "height"], ConfigError, "'height' cannot be the name"),
        ("plink2", {"IID": "height"}, ConfigError, "'IID' cannot be the name"),
        ("plink2", {"a b": "height"}, ConfigError, "'a b' cannot be the name"),
        ("plink1", ["batch"], DataError, "batch is text"),
        ("regenie", ["batch"], DataError, "batch is text"),
        ("plink2", ["zero_one"], DataError, "zero_one has no values but 0, 1 and 2"),
        ("plink1", ["minus_nine"], DataError, "minus_nine is -9 at sample number 4"),
        ("plink2", ["infinite"], DataError, "infinite is infinite at sample number 5"),
        ("plink2", ["spaced"], DataError, "spaced holds white space .* at sample number 2"),
        ("plink2", ["digit"], DataError, "digit holds white space or begins with a digit"),
    ],
)
def test_write_phenotypes__refuses(cohort, tmp_path, style, columns, error, message):
    ds = cohort.assign(
        zero_one=("samples", np.array([0, 1, 1, 0, 0])),
        minus_nine=("samples", np.array([0.5, 1, 1, -9, 0])),
        infinite=("samples", np.array([0.5, 1, 1, 0, np.inf])),
        spaced=("samples", np.array(["a", "b c", "", "d", "e"], object)),
        digit=("samples", np.array(["a", "b", "", "4d", "e"], object)),
    )
    with pytest.raises(error, match=message):
        write_phenotypes(ds, tmp_path / "y.tsv", style, columns)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", "", "a\tb", "a\n"])
def test_write_phenotypes__an_id_with_white_space(cohort, tmp_path, name):
    cohort["sample_id"][1] = name
    with pytest.raises(DataError, match="sample_id, row 2: 1 ids are empty or hold white space"):
        write_phenotypes(cohort, tmp_path / "y.tsv")


def warnings_of(program, *arguments):
    done = subprocess.run([program.path, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Warning")]


@pytest.mark.oracle
@pytest.mark.parametrize("style", ["plink2", "plink1", "regenie"])
@pytest.mark.parametrize("families", [False, True])
def test_plink2__reads_what_is_written(cohort, plink2, tmp_path, style, families):
    ds = in_families(cohort) if families else cohort
    write_plink(ds.drop_vars("sample_case"), tmp_path / "x")
    names = ["sample_liability", "height"] + ["sample_case"] * (style != "regenie")
    write_phenotypes(ds, tmp_path / "y.tsv", style, names)
    write_covariates(ds, tmp_path / "c.tsv", style, ["sample_pca_projection", "smoker"])
    found = warnings_of(
        plink2, "--bfile", tmp_path / "x", "--pheno", tmp_path / "y.tsv", "--covar", tmp_path / "c.tsv",
        "--make-pgen", "--write-covar", "cols=", "--threads", 1, "--out", tmp_path / "t",
    )  # fmt: skip
    assert not found
    psam = pd.read_csv(tmp_path / "t.psam", sep="\t")
    assert psam.iloc[:, -len(names) :].columns.tolist() == [name.removeprefix("sample_") for name in names]
    np.testing.assert_allclose(psam["liability"], ds["sample_liability"].values, rtol=1e-5)
    np.testing.assert_array_equal(psam["height"], ds["height"].values)
    if "case" in psam:
        assert (case_control(psam["case"]) == ds["sample_case"].values).all()
    covar = pd.read_csv(tmp_path / "t.cov", sep="\t")
    np.testing.assert_allclose(covar[["PC1", "PC2"]], ds["sample_pca_projection"].values, rtol=1e-5)
    assert (covar["smoker"] == ds["smoker"].values).all()


@pytest.mark.oracle
def test_plink19__reads_what_is_written(cohort, plink19, tmp_path):
    ds = in_families(cohort).assign(sample_sex=("samples", np.array([1, 2, 2, 1, 2], np.int8)))
    write_plink(ds.drop_vars("sample_case"), tmp_path / "x")
    write_phenotypes(ds, tmp_path / "y.tsv", "plink1")
    for name in ("case", "liability"):
        found = warnings_of(
            plink19, "--bfile", tmp_path / "x", "--pheno", tmp_path / "y.tsv", "--pheno-name", name,
            "--make-just-fam", "--threads", 1, "--out", tmp_path / "t",
        )  # fmt: skip
        assert not found
        theirs = np.array(
            [float(line.split()[5]) for line in Path(tmp_path / "t.fam").read_text().splitlines()]
        )
        theirs[theirs == -9] = NAN
        wanted = ds[f"sample_{name}"].values.astype(float)
        wanted = np.where(wanted < 0, NAN, wanted + 1) if name == "case" else wanted
        np.testing.assert_allclose(theirs, wanted, rtol=1e-5)


TRUTH = pd.DataFrame(
    {
        "id": ["=rs1", "../x", "c"],
        "effect": [0.1 + 0.2, NAN, -1e-300],
        "n": [1, 2, 3],
        "is": [True, False, True],
    }
)


def read(path):
    return (
        pd.read_parquet(path)
        if path.suffix == ".parquet"
        else pd.read_csv(path, sep="\t", float_precision="round_trip")
    )


@pytest.mark.parametrize("name", ["t.tsv", "t.tsv.gz", "t.parquet"])
def test_write_truth__comes_back_whole(tmp_path, name):
    path = tmp_path / "truth" / name
    write_truth(TRUTH, path)
    found = read(path)
    pd.testing.assert_frame_equal(found, TRUTH, check_exact=True)
    first = path.read_bytes()
    write_truth(TRUTH, path)
    assert path.read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == [name]


def test_write_truth__text(tmp_path):
    write_truth(TRUTH, tmp_path / "t.tsv.gz")
    text = gzip.decompress((tmp_path / "t.tsv.gz").read_bytes()).decode()
    assert text.splitlines()[1:3] == ["=rs1\t0.30000000000000004\t1\tTrue", "../x\tNA\t2\tFalse"]
    with pytest.raises(ConfigError, match=r"\.tsv, \.tsv\.gz or \.parquet, found t\.csv"):
        write_truth(TRUTH, tmp_path / "t.csv")
