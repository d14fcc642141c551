"""Ancestry tables: read in the usual forms, refused with the line that is wrong."""

import helpers
import numpy as np
import pytest

from genoweave.errors import DataError, StoreError
from genoweave.io.tables import add_ancestry, read_ancestry, read_table


def table(folder, text, encoding="utf-8"):
    path = folder / "labels.tsv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
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
