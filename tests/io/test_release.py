"""The released files, to the byte: headers, missing calls, the p-value row, names that a table can bear."""

import hashlib
import json
import shutil
import subprocess

import helpers
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from genoweave import cohorts
from genoweave.io import release
from genoweave.methods.watermark import Watermark, watermark, watermark_tests
from genoweave.rng import Root

DOSAGE = np.array([[0, 1, -1], [2, 0, 1], [2, 2, 0], [-1, -1, 1]], np.int8)


@pytest.fixture
def cohort():
    return helpers.cohort(DOSAGE, ["AFR", "EUR", "EUR"]).assign(
        sample_id=("samples", np.array(["1000000001", "2000000002", "3000000003"], object))
    )


def test_write_genotype_csv__exact_layout(cohort, tmp_path):
    columns = release.variant_columns(cohort)
    release.write_genotype_csv(cohort, tmp_path / "x.csv", columns, "", with_ancestry=True)
    assert (tmp_path / "x.csv").read_bytes() == (
        b"SampleID,Ancestry,rs1,rs2,rs3,rs4\n"
        b"1000000001,AFR,0,2,2,NA\n"
        b"2000000002,EUR,1,0,2,NA\n"
        b"3000000003,EUR,NA,1,0,1\n"
    )
    release.write_genotype_csv(cohort, tmp_path / "y.csv", columns, "", with_ancestry=False)
    assert (tmp_path / "y.csv").read_text().splitlines()[:2] == [
        "SampleID,rs1,rs2,rs3,rs4",
        "1000000001,0,2,2,NA",
    ]


def test_write_genotype_csv__pandas_reads_it_back(small_cohort, tmp_path):
    release.write_genotype_csv(
        small_cohort, tmp_path / "x.csv", release.variant_columns(small_cohort), "", with_ancestry=True
    )
    table = pd.read_csv(tmp_path / "x.csv", dtype={"SampleID": str})
    assert table.columns[:2].tolist() == ["SampleID", "Ancestry"]
    assert table["Ancestry"].tolist() == small_cohort["sample_ancestry"].values.tolist()
    values = table.iloc[:, 2:].fillna(-1).to_numpy(np.int8).T
    assert (values == helpers.dosage_of(small_cohort)).all()


@pytest.mark.parametrize("block", [700, 7000, 10**7])
def test_write_genotype_csv__any_blocks_make_the_same_file(small_cohort, tmp_path, monkeypatch, block):
    columns = release.variant_columns(small_cohort)
    release.write_genotype_csv(small_cohort, tmp_path / "x.csv", columns, "", with_ancestry=True)
    monkeypatch.setattr(release, "_BLOCK_CALLS", block)
    other = helpers.rechunked(small_cohort, 99, 13)
    release.write_genotype_csv(other, tmp_path / "y.csv", columns, "", with_ancestry=True)
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()


@pytest.mark.parametrize(("tokens", "resumes"), [(("a", "a"), True), (("a", "b"), False), (("", ""), False)])
def test_write_genotype_csv__goes_on_with_the_same_token_only(
    small_cohort, tmp_path, monkeypatch, tokens, resumes
):
    monkeypatch.setattr(release, "_BLOCK_CALLS", 700 * 20)
    columns = release.variant_columns(small_cohort)
    append, done = release.AppendingFile.append, []

    def counting(self, data):
        done.append(len(data))
        if len(done) == 5:
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(release.AppendingFile, "append", counting)
    first = small_cohort if resumes else helpers.balding_nichols(seed=50)
    with pytest.raises(KeyboardInterrupt):
        release.write_genotype_csv(first, tmp_path / "x.csv", columns, tokens[0], with_ancestry=True)
    assert not (tmp_path / "x.csv").exists()
    release.write_genotype_csv(small_cohort, tmp_path / "x.csv", columns, tokens[1], with_ancestry=True)
    assert len(done) == 5 + (6 if resumes else 10)
    release.write_genotype_csv(small_cohort, tmp_path / "y.csv", columns, "new", with_ancestry=True)
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_write_genotype_csv__compressed_goes_on_and_others_read_it(
    small_cohort, tmp_path, monkeypatch, ending
):
    monkeypatch.setattr(release, "_BLOCK_CALLS", 700 * 20)
    columns = release.variant_columns(small_cohort)

    def write(name, token=""):
        release.write_genotype_csv(small_cohort, tmp_path / name, columns, token, with_ancestry=True)

    write("plain.csv")
    append, done = release.AppendingFile.append, []

    def dying(self, data):
        done.append(data)
        if len(done) == 5:
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(release.AppendingFile, "append", dying)
    with pytest.raises(KeyboardInterrupt):
        write(f"x.csv{ending}", "token")
    write(f"x.csv{ending}", "token")
    assert len(done) == 5 + 6
    monkeypatch.setattr(release.AppendingFile, "append", append)
    write(f"y.csv{ending}")
    assert (tmp_path / f"x.csv{ending}").read_bytes() == (tmp_path / f"y.csv{ending}").read_bytes()
    command = {".gz": "gzip", ".zst": "zstd"}[ending]
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed")
    plain = subprocess.run([command, "-dc", tmp_path / f"x.csv{ending}"], capture_output=True, check=True)
    assert plain.stdout == (tmp_path / "plain.csv").read_bytes()


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_csv__no_name_is_a_formula(cohort, tmp_path, sign):
    cohort["sample_id"][0] = f"{sign}cmd|'/c calc'!A0"
    cohort["sample_ancestry"][0] = f"{sign}SUM(1)"
    cohort["variant_id"][0] = f"{sign}1+1"
    cohorts.export(cohort, "csv", tmp_path / "x.csv")
    table = pd.read_csv(tmp_path / "x.csv", dtype=str, keep_default_na=False)
    cells = [*table.columns, *table["SampleID"], *table["Ancestry"]]
    assert not any(cell[0] in "=+-@" for cell in cells)
    assert table["SampleID"][0] == f"'{sign}cmd|'/c calc'!A0"


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb", "a\rb", "plain"])
def test_csv__names_with_separators_are_quoted(cohort, tmp_path, name):
    cohort["sample_id"][1] = name
    cohort["variant_id"][1] = name
    cohorts.export(cohort, "csv", tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        table = pd.read_csv(file, dtype=str, lineterminator="\n" if "\r" in name else None)
    assert table["SampleID"][1] == name
    assert table.shape == (3, 6)


def test_variant_columns__ids_where_they_are_unique_and_plain(cohort):
    cohort["variant_id"][:] = np.array(["rs1", "rs1", ".", "=x"], object)
    found = release.variant_columns(cohort).tolist()
    site = [
        f"1:{p}:{a[0]}:{a[1]}"
        for p, a in zip(cohort["variant_position"].values, cohort["variant_allele"].values, strict=True)
    ]
    assert found == site


def test_variant_columns__the_same_site_twice(cohort):
    cohort["variant_id"][:] = "."
    cohort["variant_position"][:] = 5
    cohort["variant_allele"][:] = np.array(["A", "C"], object)
    assert release.variant_columns(cohort).tolist() == ["1:5:A:C", "1:5:A:C:2", "1:5:A:C:3", "1:5:A:C:4"]


@given(
    st.lists(
        st.sampled_from([".", "", "rs1", "rs2", "a,b", "=1", "1:5:A:C", "1:5:A:C:2"]), min_size=4, max_size=4
    )
)
def test_variant_columns__are_unique_whatever_the_ids(ids):
    ds = helpers.cohort(DOSAGE).assign(
        variant_id=("variants", np.array(ids, object)),
        variant_position=("variants", np.full(4, 5, np.int32)),
        variant_allele=(("variants", "alleles"), np.array([["A", "C"]] * 4, object)),
    )
    columns = release.variant_columns(ds).tolist()
    assert len(set(columns)) == 4
    assert not any(set(name) & set(',"\n') or name[0] in "=+-@" for name in columns)


def test_write_phenotype_csv__exact_layout(cohort, tmp_path):
    trait = xr.Dataset({"sample_case": ("samples", np.array([1, 0, 1], np.int8))})
    release.write_phenotype_csv(cohort, trait, tmp_path / "x.csv")
    expected = "SampleID,PhenotypeCondition\n1000000001,1\n2000000002,0\n3000000003,1\n"
    assert (tmp_path / "x.csv").read_text() == expected


def test_write_watermark_csv__exact_layout(cohort, tmp_path):
    marks = xr.Dataset(
        {
            "watermark_genotype": (("watermarks", "samples"), np.array([[0, 1, 2], [2, 2, 0]], np.int8)),
            "watermark_id": ("watermarks", np.array(["rs7", "rs8"], object)),
            "watermark_log10_p": ("watermarks", np.array([-1198.308461, np.nan])),
        }
    )
    release.write_watermark_csv(cohort, marks, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == (
        "SampleID,rs7,rs8\n1000000001,0,2\n2000000002,1,2\n3000000003,2,0\np-value,4.915175e-1199,NA\n"
    )


def test_write_watermark_csv__of_a_real_construction(tmp_path):
    case = np.tile(np.array([0, 1], np.int8), 500)
    ds = helpers.cohort(np.zeros((1, 1000), np.int8))
    marks = watermark(case, Watermark(), Root(bytes(32)))
    tests, _ = watermark_tests(marks["watermark_genotype"].values, case)
    marks = marks.assign(watermark_log10_p=("watermarks", tests["log10_p"].to_numpy()))
    release.write_watermark_csv(ds, marks, tmp_path / "x.csv")
    lines = (tmp_path / "x.csv").read_text().splitlines()
    assert len(lines) == 1 + 1000 + 1
    last = lines[-1].split(",")
    assert last[0] == "p-value"
    np.testing.assert_allclose([float(p) for p in last[1:]], 10 ** tests["log10_p"], rtol=1e-6)


@pytest.mark.parametrize(
    ("log10", "text"),
    [
        (0.0, "1.000000e+00"),
        (np.log10(0.5), "5.000000e-01"),
        (-1e-17, "1.000000e+00"),
        (-5.0, "1.000000e-05"),
        (np.log10(9.9999999e-8), "1.000000e-07"),
        (-307.5, "3.162278e-308"),
        (-1198.308461, "4.915175e-1199"),
        (np.nan, "NA"),
        (-np.inf, "NA"),
    ],
)
def test_decimal_p__text(log10, text):
    assert release.decimal_p(log10) == text


@given(st.floats(1e-300, 1))
def test_decimal_p__is_the_number(p):
    assert float(release.decimal_p(np.log10(p))) == pytest.approx(p, rel=1e-6)


def test_write_kinship_csv__exact_layout(tmp_path):
    listed = pd.DataFrame(
        {
            "sample_id": ["30", "20", "20"],
            "ancestor_id": ["1", "9", "1"],
            "degree": ["third", "first", "second"],
            "kinship": [np.nan, 0.25, -0.0123456789],
        }
    )
    release.write_kinship_csv(listed, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == (
        "SampleID,AncestorID,Relatedness,Kinship_Coefficient\n"
        "20,1,second-degree,-0.012346\n"
        "20,9,first-degree,0.250000\n"
        "30,1,third-degree,NA\n"
    )


def test_variants_table__says_which_allele_is_counted(cohort, tmp_path):
    columns = release.variant_columns(cohort)
    release.write_tsv(release.variants_table(cohort, columns), tmp_path / "variants.tsv")
    lines = (tmp_path / "variants.tsv").read_text().splitlines()
    assert lines[0] == "chromosome\tposition\tid\tref\talt\tcounted_allele\tcolumn"
    ref, alt = cohort["variant_allele"].values[0]
    assert lines[1] == f"1\t1000\trs1\t{ref}\t{alt}\t{alt}\trs1"
    assert len(lines) == 5


def test_write_manifest__sizes_and_checksums_of_every_file(tmp_path):
    (tmp_path / "truth").mkdir()
    for name in ("a.csv", "truth/b.tsv"):
        (tmp_path / name).write_text(name)
    release.write_manifest(tmp_path, {"name": "x"})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["name"] == "x"
    assert manifest["files"] == {
        name: {"bytes": len(name), "sha256": hashlib.sha256(name.encode()).hexdigest()}
        for name in ("a.csv", "truth/b.tsv")
    }
