"""Users' tables: read in the usual forms, refused with the line that is wrong."""

import gzip

import helpers
import numpy as np
import pandas as pd
import pyarrow
import pytest

from genoweave.errors import DataError, StoreError
from genoweave.io.tables import (
    add_ancestry,
    case_control,
    is_case_control,
    match_ids,
    read_ancestry,
    read_covariates,
    read_pedigree,
    read_phenotypes,
    read_table,
)
from genoweave.io.tables import (
    text as reading,
)


def table(folder, text, encoding="utf-8"):
    path = folder / "labels.tsv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "#FID\tIID\tgroup\n0\ta\tX\n0\tb\tY Z\n",
        "id\tgroup\t\t\na\tX\nb\tY Z\t\t\n",
        "\n \nid\tgroup\na\tX\nb\tY Z\n",
        "id\tgroup\ra\tX\rb\tY Z\r",
        "id\tgroup\na\tX\nb\tY Z\n",
        "id,group\na,X\nb,Y Z\n",
        "\ufeffid\tgroup\r\na\tX\r\nb\tY Z\r\n",
        'id,group\n"a","X"\n"b","Y Z"\n',
        "id\tgroup\tmore\na\tX\t1\nb \t Y Z \t2",
    ],
)
def test_read_ancestry__usual_forms(tmp_path, text):
    assert read_ancestry(table(tmp_path, text)) == {"a": "X", "b": "Y Z"}


def test_read_ancestry__white_space_between_columns(tmp_path):
    assert read_ancestry(table(tmp_path, "id   group\na    X\nb  Y\n")) == {"a": "X", "b": "Y"}


def test_read_ancestry__cells_stay_text(tmp_path):
    text = "id\tgroup\n001\tNA\n1e3\tnull\nnan\t1.0\n"
    assert read_ancestry(table(tmp_path, text)) == {"001": "NA", "1e3": "null", "nan": "1.0"}


def test_read_ancestry__a_named_column(tmp_path):
    path = table(tmp_path, "id\tsex\tpop\na\tm\tX\nb\tf\tY\n")
    assert read_ancestry(path, "pop") == {"a": "X", "b": "Y"}
    with pytest.raises(DataError, match=r"no column 'group'.*one of its 3 columns"):
        read_ancestry(path, "group")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id\na\n", "at least two columns"),
        ("id\tgroup\na\tX\nb\t\n", "line 3: 1 rows have no sample id"),
        ("id\tgroup\n\tX\nb\tY\n", "line 2: 1 rows have no sample id"),
        ("id\tgroup\na\tX\nb\tY\na\tX\n", "line 4: 1 rows repeat a sample id"),
        ("id\tgroup\na\tX\nb\tY\tmore\n", "line 3: wanted 2 columns as in the header, found 3"),
        ("id\tgroup\na\n", "line 2: wanted 2 columns"),
        ("", "is empty"),
        ("id\tgroup\n\na\tX\n\nb\t\n", "line 5: 1 rows have no sample id"),
        ("id\tgroup\tgroup\na\tX\tY\n", "two columns of the header have one name"),
    ],
)
def test_read_ancestry__malformed(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_ancestry(table(tmp_path, text))


def test_read_ancestry__a_long_row_does_not_shift_the_columns(tmp_path):
    # surplus cells must not be taken as an index, which moves each column by one
    for text in ("id\tgroup\na\tX\tmore\nb\tY\tmore\n", "id,group\na,X,\nb,Y,\n"):
        try:
            labels = read_ancestry(table(tmp_path, text))
        except DataError:
            continue
        assert labels == {"a": "X", "b": "Y"}


def test_read_table__not_there_or_not_text(tmp_path):
    with pytest.raises(StoreError, match="there is no table"):
        read_table(tmp_path / "none.tsv")
    with pytest.raises(DataError, match="not UTF-8"):
        read_table(table(tmp_path, "id\tgroup\nJörg\tX\n", "latin-1"))


@pytest.fixture
def cohort():
    return helpers.cohort(np.zeros((2, 3), np.int8))


PEOPLE = {"person0000": "X", "person0001": "Y", "person0002": "X"}


def test_add_ancestry__labels_go_to_their_samples(cohort, tmp_path):
    backwards = dict(reversed(PEOPLE.items()))
    ds = add_ancestry(cohort, backwards, tmp_path, drop_unlabelled=False)
    assert ds["sample_ancestry"].values.tolist() == ["X", "Y", "X"]


def test_add_ancestry__a_sample_without_a_label(cohort, tmp_path):
    labels = {k: v for k, v in PEOPLE.items() if k != "person0001"}
    with pytest.raises(DataError, match=r"<=20 of 3 samples .*sample number 2 .*drop_unlabelled = true"):
        add_ancestry(cohort, labels, tmp_path, drop_unlabelled=False)
    ds = add_ancestry(cohort, labels, tmp_path, drop_unlabelled=True)
    assert ds["sample_ancestry"].values.tolist() == ["X", "", "X"]


def test_add_ancestry__a_label_without_a_sample(cohort, tmp_path):
    labels = PEOPLE | {"stranger": "Z"}
    with pytest.raises(DataError, match=r"labels 1 samples that are not in the cohort \(first: row 4\)"):
        add_ancestry(cohort, labels, tmp_path, drop_unlabelled=False)
    ds = add_ancestry(cohort, labels, tmp_path, drop_unlabelled=True)
    assert ds["sample_ancestry"].values.tolist() == ["X", "Y", "X"]


@pytest.mark.parametrize("drop", [True, False])
def test_add_ancestry__no_sample_has_a_label(cohort, tmp_path, drop):
    with pytest.raises(DataError, match=r"none of the 1 sample ids .* cohort of 3"):
        add_ancestry(cohort, {"stranger": "Z"}, tmp_path, drop_unlabelled=drop)


def test_add_ancestry__messages_name_no_sample(cohort, tmp_path):
    for labels in ({"person0000": "X"}, PEOPLE | {"stranger": "Z"}, {"stranger": "Z"}):
        with pytest.raises(DataError) as caught:
            add_ancestry(cohort, labels, tmp_path, drop_unlabelled=False)
        assert "person0" not in str(caught.value)
        assert "stranger" not in str(caught.value)


PLAIN = "id\tgroup\na\tX\nb\tJörg\n"


def gz(data):
    return gzip.compress(data, mtime=0)


def zst(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


@pytest.mark.parametrize("compress", [gz, zst, lambda data: gz(data[:9]) + gz(data[9:])])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_read_table__compressed(tmp_path, compress, encoding):
    path = tmp_path / "labels"  # what it is, its first bytes tell
    path.write_bytes(compress(PLAIN.encode(encoding)))
    found = read_table(path)
    assert found.to_dict("list") == {"id": ["a", "b"], "group": ["X", "Jörg"]}
    assert found.index.tolist() == [2, 3]


@pytest.mark.parametrize("compress", [gz, zst])
def test_read_table__compressed_and_damaged(tmp_path, compress):
    path = tmp_path / "labels.tsv.x"
    data = compress(np.random.default_rng(1).bytes(4000).hex().encode() + b"\n")
    for wrong in (data[: len(data) // 2], data[:-2], data[:5] + b"\xff" * 40 + data[45:]):
        path.write_bytes(wrong)
        with pytest.raises(DataError, match=r"labels\.tsv\.x is damaged or cut short"):
            read_table(path)
    path.write_bytes(compress(b"id\tgroup\na\tX\nb\n"))
    with pytest.raises(DataError, match=r"line 3: wanted 2 columns as in the header, found 1"):
        read_table(path)


@pytest.mark.parametrize("compress", [gz, zst])
def test_read_table__expands_too_far(tmp_path, monkeypatch, compress):
    path = tmp_path / "bomb"
    path.write_bytes(compress(b"id\tgroup\n" + b"a\tX\n" * 2**20))
    assert path.stat().st_size < 20_000
    assert reading.LARGEST_EXPANDED == 4 * 2**30
    monkeypatch.setattr(reading, "LARGEST_EXPANDED", 2**21)
    with pytest.raises(DataError, match="bomb expands to more than 0 GiB"):
        read_table(path)


@pytest.mark.parametrize("compress", [gz, zst, bytes])
def test_read_table__a_line_that_is_too_long(tmp_path, monkeypatch, compress):
    path = tmp_path / "long"
    assert reading.LONGEST_LINE == 64 * 2**20
    monkeypatch.setattr(reading, "LONGEST_LINE", 2**20)
    path.write_bytes(compress(b"id\tgroup\na\tX\n" + b"a" * 2**21))
    with pytest.raises(DataError, match="long, line 3 is longer than 1 MiB"):
        read_table(path)


def test_read_table__a_line_that_is_not_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"labels\.tsv, line 3 is not UTF-8"):
        read_table(table(tmp_path, PLAIN, "latin-1"))
    with pytest.raises(DataError, match=r"line 1 is not UTF-8"):
        read_table(table(tmp_path, PLAIN, "utf-16"))


def test_read_table__quotes_of_a_csv(tmp_path):
    found = read_table(table(tmp_path, 'id,text\na,"x, ""y"""\nb,"two\nlines"\nc,=1+1\n'))
    assert found["text"].tolist() == ['x, "y"', "two\nlines", "=1+1"]
    with pytest.raises(DataError, match="line 5: wanted 2 columns"):
        read_table(table(tmp_path, 'id,text\na,x\nb,"two\nlines"\nc\n'))


def test_read_table__parquet(tmp_path):
    frame = pd.DataFrame(
        {
            "id": ["007", "b", None],
            "number": [0.1, 1.0, np.nan],
            "count": [1, 2, 3],
            "flag": [True, False, True],
            "kind": pd.Categorical(["x", "y", "x"]),
        }
    )
    frame.to_parquet(tmp_path / "x.parquet")
    found = read_table(tmp_path / "x.parquet")
    assert found.to_dict("list") == {
        "id": ["007", "b", ""],
        "number": ["0.1", "1", ""],
        "count": ["1", "2", "3"],
        "flag": ["1", "0", "1"],
        "kind": ["x", "y", "x"],
    }
    assert found.index.tolist() == [1, 2, 3]
    frame[["number"]].set_axis(["a", "b", "c"]).to_parquet(tmp_path / "y.parquet")
    assert read_table(tmp_path / "y.parquet").iloc[:, 0].tolist() == ["a", "b", "c"]


def test_read_table__parquet_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    pd.DataFrame({"id": ["a", "b"], "group": ["X", ""]}).to_parquet(path)
    with pytest.raises(DataError, match=r"x\.parquet, row 2: 1 rows have no sample id or no 'group'"):
        read_ancestry(path)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "LARGEST_EXPANDED", 20)
        with pytest.raises(DataError, match="expands to more than"):
            read_table(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"x\.parquet cannot be read as Parquet"):
        read_table(path)
    pd.DataFrame({"id": ["a"], "list": [[1, 2]]}).to_parquet(path)
    with pytest.raises(DataError, match=r"column 'list' is of type list"):
        read_table(path)


def test_read_table__a_workbook(tmp_path):
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match=r"x\.xlsx is a workbook"):
        read_table(tmp_path / "x.xlsx")


@pytest.mark.real_data
def test_read_ancestry__panel_of_1000_genomes(real_data):
    labels = read_ancestry(real_data / "integrated_call_samples_v3.20130502.ALL.panel", "super_pop")
    assert len(labels) == 2504
    assert labels["HG00096"] == "EUR"


def composed_cohort():
    ds = helpers.cohort(np.zeros((2, 3), np.int8)).assign(
        sample_id=("samples", np.array(["f1_a", "f2_a", "b"], object)),
        sample_family_id=("samples", np.array(["f1", "f2", "0"], object)),
    )
    return ds.assign_attrs(import_counts={"sample_ids_with_family": 3})


def test_add_ancestry__ids_that_repeat_between_families(tmp_path):
    path = table(tmp_path, "FID\tIID\tgroup\nf2\ta\tY\nf1\ta\tX\n0\tb\tZ\n")
    ds = add_ancestry(composed_cohort(), read_ancestry(path), path, drop_unlabelled=False)
    assert ds["sample_ancestry"].values.tolist() == ["X", "Y", "Z"]


NAN = float("nan")
FORMS = {
    "PLINK 1": "f a 1.5 -9\nf b NA 2\n",
    "PLINK 1, CRLF and tabs": "f\ta\t1.5\t-9\r\nf\tb\tnan\t2\r\n",
    "PLINK 1 with header": "FID IID PHENO1 PHENO2\nf a 1.5 -9\nf b -9 2\n",
    "PLINK 2": "#FID\tIID\tPHENO1\tPHENO2\nf\ta\t1.5\tNA\nf\tb\tNA\t2\n",
    "PLINK 2 without family": "#IID\tPHENO1\tPHENO2\na\t1.5\t-9\nb\tNA\t2\n",
    "PLINK 2 with SID": "#IID SID PHENO1 PHENO2\na s 1.5 -9\nb s NA 2\n",
    "CSV": "name,PHENO1,PHENO2\na,1.5,\nb,NA,2\n",
    "TSV": "name\tPHENO1\tPHENO2\na\t 1.5 \tNaN\nb\t\t2e0\n",
    "R": '"","PHENO1","PHENO2"\n"a",1.5,NA\n"b",NA,2\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_read_phenotypes__usual_forms(tmp_path, form):
    found = read_phenotypes(table(tmp_path, FORMS[form]))
    assert found.index.tolist() == ["a", "b"]
    np.testing.assert_array_equal(found[["PHENO1", "PHENO2"]], [[1.5, NAN], [NAN, 2]])
    if "FID" in FORMS[form] or form.startswith("PLINK 1"):
        assert found["FID"].tolist() == ["f", "f"]
    assert (found[["PHENO1", "PHENO2"]].dtypes == np.float64).all()


def test_read_phenotypes__parquet(tmp_path):
    frame = pd.DataFrame({"id": ["a", "b"], "y": [0.1 + 0.2, None], "case": [True, False]})
    frame.to_parquet(tmp_path / "x.parquet")
    found = read_phenotypes(tmp_path / "x.parquet")
    np.testing.assert_array_equal(found["y"], [0.1 + 0.2, NAN])
    assert found["case"].tolist() == [1, 0]


def test_read_phenotypes__numbers_keep_all_digits(tmp_path):
    values = np.random.default_rng(1).normal(size=200) * 10.0 ** np.arange(-100, 100)
    lines = "".join(f"s{k}\t{value!r}\n" for k, value in enumerate(values.tolist()))
    found = read_phenotypes(table(tmp_path, "id\ty\n" + lines))
    assert (found["y"].to_numpy() == values).all()


def test_read_covariates__names_and_text(tmp_path):
    found = read_covariates(table(tmp_path, "f a 1 -9\nf b 2 5\n"))
    assert found.columns.tolist() == ["FID", "COVAR1", "COVAR2"]
    np.testing.assert_array_equal(found["COVAR2"], [NAN, 5])
    found = read_covariates(table(tmp_path, "id,batch,age\n1,x,-9\n2,NONE,3\n"))
    assert found.index.tolist() == ["1", "2"]
    assert found["batch"].tolist() == ["x", ""]
    assert found["age"].tolist() == [-9, 3]  # no PLINK format: a number


def test_read_phenotypes__chosen_columns(tmp_path):
    path = table(tmp_path, "x\tid\tmix\ty\n1\ta\t2\t3\n4\tb\tq\t6\n")
    found = read_phenotypes(path, ["y", "x"], id_column="id")
    assert found.to_dict("list") == {"y": [3, 6], "x": [1, 4]}
    assert found.index.tolist() == ["a", "b"]
    assert read_phenotypes(path, id_column="id")["mix"].tolist() == ["2", "q"]
    with pytest.raises(DataError, match=r"line 3: column 'mix' is text here, but a number in line 2"):
        read_phenotypes(path, ["mix"], id_column="id")
    with pytest.raises(DataError, match="no column 'z'"):
        read_phenotypes(path, ["z"])
    with pytest.raises(DataError, match="no column 'z'"):
        read_phenotypes(path, id_column="z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FID IID y\nf a 1\nf b x\n", r"line 3: column 'y' is text here, but a number in line 2"),
        ("FID IID y\nf a 1\nf b inf\n", r"line 3: column 'y' is infinite"),
        ("FID IID y\nf a 1\nf b 1_0\n", r"line 3: column 'y' is text here"),
        ("FID IID y\nf a 1\nf b\n", r"line 3: wanted 3 columns as in the header, found 2"),
        ("f a 1\nf b 2 3\n", r"line 2: wanted 3 columns as in line 1, found 4"),
        ("FID IID y\nf a 1\nf a 2\n", r"line 3: 1 rows repeat a sample id"),
        ("#IID y\na 1\na 2\n", r"line 3: 1 rows repeat a sample id"),
        ("id\ty\na\t1\n\t2\n", r"line 3: 1 rows have no sample id"),
        ("FID IID\nf a\n", "at least one column of values"),
        ("a 1.5\nb 2.5\n", "line 1: wanted a header, found a number"),
        ("", "is empty"),
    ],
)
def test_read_phenotypes__malformed(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_phenotypes(table(tmp_path, text))


def test_read_phenotypes__one_id_in_two_families(tmp_path):
    found = read_phenotypes(table(tmp_path, "FID IID y\nf1 a 1\nf2 a 2\n"))
    assert found.index.tolist() == ["a", "a"]


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["pheno", "covar"])
@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("PLINK")])
def test_read_phenotypes__as_plink2_does(tmp_path, plink2, form, kind):
    if "SID" in form:
        pytest.skip("the fileset has no SID")
    helpers.write_bed(helpers.cohort(np.zeros((2, 2), np.int8)), tmp_path / "x")
    family = "f" if "FID" in FORMS[form] or form.startswith("PLINK 1") else "0"
    (tmp_path / "x.fam").write_text(f"{family} a 0 0 1 -9\n{family} b 0 0 2 -9\n")
    path = table(tmp_path, FORMS[form])
    what = {"pheno": ["--make-just-psam", "cols=phenos"], "covar": ["--write-covar", "cols="]}[kind]
    plink2("--bfile", tmp_path / "x", f"--{kind}", path, *what, out=tmp_path / "t")
    theirs = pd.read_csv(tmp_path / ("t.psam" if kind == "pheno" else "t.cov"), sep="\t").iloc[:, -2:]
    mine = (read_phenotypes if kind == "pheno" else read_covariates)(path).iloc[:, -2:]
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("values", "status"),
    [([1, 2, 0, -9, NAN], [0, 1, -1, -1, -1]), ([2, 2], [1, 1]), ([0, NAN], [-1, -1]), ([], [])],
)
def test_case_control__plinks_rule(values, status):
    found = case_control(values)
    assert found.dtype == np.int8
    assert found.tolist() == status
    assert is_case_control(values) == (1 in status or 0 in status)


def test_case_control__zero_and_one():
    assert case_control([0, 1, -9, NAN], zero_one=True).tolist() == [0, 1, -1, -1]
    with pytest.raises(DataError, match=r"0 \(control\), 1 \(case\) .* found 2 at sample number 2"):
        case_control([0, 2], zero_one=True)


@pytest.mark.parametrize("values", [[1, 2, 3], [1.5], [1, np.inf]])
def test_case_control__other_values_are_refused(values):
    assert not is_case_control(values)
    with pytest.raises(DataError, match=rf"found {values[-1]:g} at sample number {len(values)}"):
        case_control(values)
    with pytest.raises(DataError, match="found text"):
        case_control(np.array(["case", "control"], object))


def test_match_ids__reports_both_sides(cohort, tmp_path):
    ids = pd.DataFrame({"y": [1.0, 2.0, 3.0]}, ["person0002", "stranger", "person0000"])
    index, matching = match_ids(cohort, ids, tmp_path / "x.tsv", "a phenotype")
    assert index.dtype == np.int64
    assert index.tolist() == [2, -1, 0]
    assert (matching.n_table, matching.n_cohort, matching.n_matched) == (3, 3, 2)
    assert (matching.not_in_cohort, matching.first_row) == (1, 2)
    assert (matching.not_in_table, matching.first_sample) == (1, 2)
    assert matching.by == "IID"
    assert str(matching) == (
        f"{tmp_path / 'x.tsv'}: <=20 of 3 samples have a phenotype; "
        "<=20 samples of the cohort are not in the table (first: sample number 2 of the cohort); "
        "<=20 rows of the table are not in the cohort (first: row 2)"
    )
    whole = match_ids(cohort, cohort["sample_id"].values.tolist(), tmp_path, "x")[1]
    assert (whole.not_in_cohort, whole.not_in_table, whole.first_row, whole.first_sample) == (
        0,
        0,
        None,
        None,
    )


def test_match_ids__by_family_too(tmp_path):
    ids = pd.DataFrame({"FID": ["f2", "0", "f1", "f3"], "y": range(4)}, ["a", "b", "a", "a"])
    index, matching = match_ids(composed_cohort(), ids, tmp_path, "x")
    assert index.tolist() == [2, 0, 1]
    assert (matching.by, matching.not_in_cohort, matching.first_row) == ("FID+IID", 1, 4)
    some = match_ids(composed_cohort(), ids.iloc[:2], tmp_path, "x")[0]  # unique in the table alone
    assert some.tolist() == [-1, 0, 1]
    names = match_ids(composed_cohort(), ["b", "f2_a", "f1_a"], tmp_path, "x")[0]
    assert names.tolist() == [2, 1, 0]


def test_match_ids__a_family_is_not_compared_where_ids_are_unique(cohort, tmp_path):
    ids = pd.DataFrame({"FID": ["x", "y"]}, ["person0001", "person0000"])
    assert match_ids(cohort, ids, tmp_path, "x")[0].tolist() == [1, 0, -1]


def test_match_ids__refuses(cohort, tmp_path):
    with pytest.raises(DataError, match=r"none of the 1 sample ids .* cohort of 3"):
        match_ids(cohort, ["stranger"], tmp_path, "x")
    with pytest.raises(DataError, match="rows 1 and 3 have equal IID") as caught:
        match_ids(cohort, ["person0001", "x", "person0001"], tmp_path, "x")
    assert "person" not in str(caught.value)


PEDIGREES = {
    ".fam": "f c a b 1 -9\nf a 0 0 1 -9\nf b 0 0 2 -9\n",
    ".ped with genotypes": "f c a b 1 -9 A A C C\nf a 0 0 1 -9 A A C C\nf b 0 0 2 -9 A A C C\n",
    "1000 Genomes": "Family ID\tIndividual ID\tPaternal ID\tMaternal ID\tGender\tOther\n"
    "f\tc\ta\tb\t1\t\nf\ta\t0\t0\t1\t\nf\tb\t0\t0\t2\tx\n",
    "genoweave": "sex\tsample_id\tfather_id\tmother_id\tfamily_id\nM\tc\ta\tb\tf\n"
    "male\ta\t\tNA\tf\nFemale\tb\t.\t0\tf\n",
    ".psam": "#FID\tIID\tPAT\tMAT\tSEX\nf\tc\ta\tb\t1\nf\ta\t0\t0\t1\nf\tb\t0\t0\t2\n",
}


@pytest.mark.parametrize("form", PEDIGREES)
def test_read_pedigree__usual_forms(tmp_path, form):
    found = read_pedigree(table(tmp_path, PEDIGREES[form]))
    assert found.to_dict("list") == {
        "family_id": ["f"] * 3,
        "sample_id": ["c", "a", "b"],
        "paternal_id": ["a", "0", "0"],
        "maternal_id": ["b", "0", "0"],
        "sex": [1, 1, 2],
    }
    assert found["sex"].dtype == np.int8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f c a b 1 -9\nf a 0 0 2 -9\n", r"line 1: the father is female by line 2"),
        ("f c a b 1 -9\nf b 0 0 1 -9\n", r"line 1: the mother is male by line 2"),
        ("f c a a 1 -9\n", r"line 1: the mother is also given as a father"),
        ("f a 0 0 0 -9\nf c a 0 0 -9\nf d 0 a 0 -9\n", r"line 3: the mother is also given as a father"),
        ("f a a 0 0 -9\n", r"line 1: this person is their own ancestor"),
        ("f x 0 0 0 0\nf e a 0 0 0\nf a b 0 0 0\nf b c 0 0 0\nf c 0 a 0 0\n", "own ancestor|also given"),
        ("f e a 0 0 0\nf a b 0 0 0\nf b c 0 0 0\nf c a 0 0 0\n", r"line [234]: this .* own ancestor"),
        ("f a 0 0 1 0\nf b 0 0 1 0\nf a 0 0 1 0\n", r"line 3: 1 rows repeat a person"),
        ("id\tfather\n\t0\n", r"line 2: 1 people have no id"),
        ("sample_id\tsex\na\t1\n", "wanted columns of father and mother"),
        ("a b c\n", "line 1: wanted a header with sample_id"),
        ("f a 0 0 1 0\nf b 0 0\n", "line 2: wanted 6 columns as in line 1"),
    ],
)
def test_read_pedigree__that_cannot_be(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_pedigree(table(tmp_path, text))


def test_read_pedigree__ids_within_families(tmp_path):
    # person a of family g is a woman, which does not touch the father a of family f
    found = read_pedigree(table(tmp_path, "f c a 0 1 0\nf a 0 0 1 0\ng a 0 0 2 0\n"))
    assert len(found) == 3


def test_read_pedigree__many_generations(tmp_path):
    n = 3000
    lines = "".join(f"f p{k} {f'p{k - 1}' if k else 0} 0 1 0\n" for k in range(n))
    assert len(read_pedigree(table(tmp_path, lines))) == n


@pytest.mark.real_data
def test_read_pedigree__of_1000_genomes(real_data):
    found = read_pedigree(real_data / "20130606_g1k.ped")
    assert len(found) == 3501
    assert found["sex"].value_counts().to_dict() == {1: 1740, 2: 1761}
    child = found.set_index("sample_id").loc["HG00405"]
    assert child.tolist() == [
        "SH001",
        "HG00403",
        "HG00404",
        2,
    ]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["duplicate_id.fam", "hail_mendel.fam", "pedigreeWithExtraSample.fam"])
def test_read_pedigree__of_hail(real_data, name):
    message = "repeat a person" if name == "duplicate_id.fam" else "the father is female"
    with pytest.raises(DataError, match=message):
        read_pedigree(real_data / "odd" / "hail" / name)


@pytest.mark.parametrize("separator", ["\t", ",", " "])
@pytest.mark.parametrize("spoil", [("\n", "\r\n"), ("s7777", "\n\ns7777"), ("s7777", "süß")])
def test_read_covariates__in_blocks_and_by_line_are_the_same(tmp_path, separator, spoil):
    values = np.random.default_rng(1).normal(size=(20_000, 3)).round(9)
    lines = [separator.join([f"s{k}", *map(repr, map(float, row))]) for k, row in enumerate(values)]
    lines[100] = separator.join(["s100", "NA", "nan", "-9"])
    text = "\n".join([separator.join(["IID", "COV1", "COV2", "COV3"]), *lines]) + "\n"
    plain, other = tmp_path / "plain.txt", tmp_path / "other.txt"
    plain.write_text(text)
    other.write_text(text.replace(*spoil), newline="")
    values[100] = np.nan
    for found in (read_covariates(plain), read_covariates(other)):
        assert np.array_equal(found.to_numpy(), values, equal_nan=True)
    assert (read_covariates(plain).index != found.index).sum() == (spoil[1] == "süß")
