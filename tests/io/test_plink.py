"""PLINK filesets: read lazily in either orientation, written byte for byte, refused with a reason."""

from pathlib import Path

import helpers
import numpy as np
import pytest
from bed_reader import open_bed
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import bed as reference

from genoweave import cohorts
from genoweave.errors import DataError, StoreError
from genoweave.genotypes import select
from genoweave.io import plink, store
from genoweave.io.cohort import open_cohort
from genoweave.io.plink import chromosome_number, open_plink, write_plink

SUFFIXES = (".bed", ".bim", ".fam")


def contents(prefix):
    return [Path(f"{prefix}{suffix}").read_bytes() for suffix in SUFFIXES]


@pytest.fixture
def fileset(small_cohort, tmp_path):
    return helpers.write_bed(small_cohort, tmp_path / "real")


def test_open_plink__reads_what_bed_reader_wrote(small_cohort, fileset):
    opened = open_plink(fileset)
    assert (helpers.dosage_of(opened) == helpers.dosage_of(small_cohort)).all()
    for name in (
        "sample_id",
        "variant_id",
        "variant_allele",
        "variant_position",
        "contig_id",
        "variant_contig",
    ):
        assert opened[name].values.tolist() == small_cohort[name].values.tolist()
    for path in (fileset, Path(f"{fileset}.bed"), str(fileset)):
        assert open_cohort(path).sizes == opened.sizes


def test_write_plink__round_trip_is_byte_identical(fileset, tmp_path):
    opened = open_plink(fileset)
    write_plink(opened, tmp_path / "one")
    bed, bim, fam = contents(tmp_path / "one")
    assert bed == contents(fileset)[0]
    # bed-reader writes 0 centimorgans as 0.0
    assert bim == contents(fileset)[1].replace(b"\t0.0\t", b"\t0\t")
    assert [line.split()[1] for line in fam.decode().splitlines()] == opened["sample_id"].values.tolist()
    write_plink(open_plink(tmp_path / "one"), tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@settings(max_examples=25)
@given(m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 1000))
def test_write_plink__others_read_it(tmp_path_factory, m, n, seed):
    dosage = np.random.default_rng(seed).integers(-1, 3, (m, n)).astype(np.int8)
    prefix = tmp_path_factory.mktemp("plink") / "x"
    write_plink(helpers.cohort(dosage), prefix)
    assert Path(f"{prefix}.bed").read_bytes() == reference.encode(dosage.tolist())
    with open_bed(f"{prefix}.bed", num_threads=1) as bed:
        values = bed.read(dtype="int8")
        assert bed.iid.tolist() == [f"person{i:04d}" for i in range(n)]
        assert bed.sid.tolist() == [f"rs{i + 1}" for i in range(m)]
    assert (dosage == np.where(values == -127, -1, values).T).all()


@settings(max_examples=15)
@given(m=st.integers(1, 12), n=st.integers(1, 12), seed=st.integers(0, 1000), data=st.data())
def test_write_plink__from_stores_and_selections(tmp_path_factory, m, n, seed, data):
    dosage = np.random.default_rng(seed).integers(-1, 3, (m, n)).astype(np.int8)
    folder = tmp_path_factory.mktemp("plink")
    chunks = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    store.write(helpers.cohort(dosage), folder / "x.vcz", chunks)
    rows = np.array(sorted(data.draw(st.sets(st.integers(0, m - 1), min_size=1))))
    columns = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))
    write_plink(store.open_store(folder / "x.vcz"), folder / "all")
    write_plink(select(open_plink(folder / "all"), rows, columns), folder / "some")
    assert (folder / "all.bed").read_bytes() == reference.encode(dosage.tolist())
    assert (folder / "some.bed").read_bytes() == reference.encode(dosage[np.ix_(rows, columns)].tolist())


def test_write_plink__a_half_missing_call_is_missing(tmp_path):
    ds = helpers.cohort(np.zeros((2, 5), np.int8))
    ds["call_genotype"][1, 3] = [-1, 1]
    write_plink(ds, tmp_path / "x")
    wanted = [[0] * 5, [0, 0, 0, -1, 0]]
    assert (tmp_path / "x.bed").read_bytes() == reference.encode(wanted)


def test_write_plink__a_third_allele_is_refused(tmp_path):
    ds = helpers.cohort(np.zeros((2, 5), np.int8))
    ds["call_genotype"][1, 3] = [0, 2]
    with pytest.raises(DataError, match="allele code 2 was found"):
        write_plink(ds, tmp_path / "x")
    assert not (tmp_path / "x.bed").exists()


@pytest.mark.parametrize("batch", [1, 180, 1000])
def test_write_plink__batches_make_the_same_file(small_cohort, fileset, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(plink, "_BATCH_CALLS", batch)
    write_plink(small_cohort, tmp_path / "x")
    assert contents(tmp_path / "x")[0] == contents(fileset)[0]


def break_after(monkeypatch, batches):
    """Let the writing of a .bed die after so many batches."""
    append = plink.AppendingFile.append

    def dying(self, data):
        if self.batches > batches:
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(plink.AppendingFile, "append", dying)


def test_write_plink__interrupted_goes_on_with_the_same_token(small_cohort, fileset, tmp_path, monkeypatch):
    monkeypatch.setattr(plink, "_BATCH_CALLS", 50 * 180)
    with monkeypatch.context() as patch:
        break_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            write_plink(small_cohort, tmp_path / "x", "token")
    assert not (tmp_path / "x.bed").exists()
    write_plink(small_cohort, tmp_path / "x", "token")
    assert contents(tmp_path / "x")[0] == contents(fileset)[0]


@pytest.mark.parametrize("tokens", [("one", "two"), ("", "")])
def test_write_plink__other_work_is_not_continued(small_cohort, fileset, tmp_path, monkeypatch, tokens):
    monkeypatch.setattr(plink, "_BATCH_CALLS", 50 * 180)
    other = helpers.balding_nichols(seed=77)
    with monkeypatch.context() as patch:
        break_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            write_plink(other, tmp_path / "x", tokens[0])
    write_plink(small_cohort, tmp_path / "x", tokens[1])
    assert contents(tmp_path / "x")[0] == contents(fileset)[0]


def test_write_plink__sex_and_case_stand_in_the_fam(tmp_path):
    ds = helpers.cohort(np.zeros((1, 3), np.int8)).assign(
        sample_sex=("samples", np.array([1, 2, 0], np.int8)),
        sample_case=("samples", np.array([1, 0, 1], np.int8)),
    )
    write_plink(ds, tmp_path / "x")
    lines = (tmp_path / "x.fam").read_text().splitlines()
    assert [line.split()[4:] for line in lines] == [["1", "2"], ["2", "1"], ["0", "2"]]
    write_plink(ds.drop_vars(["sample_case", "sample_sex"]), tmp_path / "y")
    assert (tmp_path / "y.fam").read_text().splitlines()[0].split()[4:] == ["0", "-9"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("sample_id", "Ann Lee"), ("variant_id", "rs 1"), ("sample_id", ""), ("variant_id", "")],
)
def test_write_plink__an_id_that_a_fileset_cannot_bear_is_refused_or_mended(name, value, tmp_path):
    ds = helpers.cohort(np.zeros((2, 3), np.int8))
    ds[name][1] = value
    try:
        write_plink(ds, tmp_path / "x")
    except DataError:
        return
    assert open_plink(tmp_path / "x").sizes == ds.sizes


def test_open_plink__a_selection_reads_the_same(small_cohort, fileset):
    rows, columns = np.array([0, 5, 6, 699]), np.array([1, 2, 77, 179])
    part = select(open_plink(fileset), rows, columns)
    assert (helpers.dosage_of(part) == helpers.dosage_of(small_cohort)[np.ix_(rows, columns)]).all()


def test_open_plink__contigs_stand_in_the_order_of_the_file(tmp_path):
    ds = helpers.cohort(np.zeros((6, 3), np.int8), contigs=("10", "2", "X"))
    helpers.write_bed(ds, tmp_path / "x")
    opened = open_plink(tmp_path / "x")
    assert opened["contig_id"].values.tolist() == ["10", "2", "X"]
    assert opened["variant_contig"].values.tolist() == [0, 0, 1, 1, 2, 2]


def change_line(path, number, new):
    lines = path.read_text().splitlines()
    lines[number - 1] = new
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("suffix", "line", "message"),
    [
        (".bim", "1 rs9 0 100 A", r"real\.bim, line 7: wanted 6 columns .*found 5"),
        (".bim", "1 rs9 0 12x A C", r"line 7: position is a whole number, found '12x'"),
        (".bim", "1 rs9 0 -5 A C", r"line 7: position is from 0"),
        (".bim", "1 rs9 0 3000000000 A C", r"line 7: position is from 0 to 2147483647"),
        (".fam", "f i 0 0 1 -9 extra", r"real\.fam, line 7: wanted 6 columns .*found 7"),
        (".fam", "f person0002 0 0 1 -9", r"ids of rows 3 and 7 are equal"),
    ],
)
def test_open_plink__malformed_lines_are_named(fileset, suffix, line, message):
    change_line(Path(f"{fileset}{suffix}"), 7, line)
    with pytest.raises(DataError, match=message):
        open_plink(fileset)


@pytest.mark.parametrize("change", [-1, -17, 1])
def test_open_plink__a_bed_of_the_wrong_length(fileset, change):
    bed = Path(f"{fileset}.bed")
    data = bed.read_bytes()
    bed.write_bytes(data[:change] if change < 0 else data + b"\0")
    with pytest.raises(DataError, match="too long" if change > 0 else "ends within variant 700 of 700"):
        open_plink(fileset)


@pytest.mark.parametrize("head", [b"", b"\x6c\x1b", b"\x00\x1b\x01", b"\x6c\x1b\x02"])
def test_open_plink__a_bed_with_the_wrong_head(fileset, head):
    bed = Path(f"{fileset}.bed")
    bed.write_bytes(head + bed.read_bytes()[3:] if len(head) == 3 else head)
    with pytest.raises(DataError, match=r"6c 1b|mode byte"):
        open_plink(fileset)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_open_plink__a_missing_file_is_named(fileset, suffix):
    Path(f"{fileset}{suffix}").unlink()
    with pytest.raises(StoreError, match=rf"real\{suffix} is not there"):
        open_plink(Path(f"{fileset}.bed"))


@pytest.mark.parametrize(
    ("fam", "ids"),
    [
        ("NA NA 0 0 NA NA\nnan null 0 0 1 -9\n", ["NA", "null"]),
        ('f "a 0 0 1 -9\nf b" 0 0 2 -9\n', ['"a', 'b"']),
        ("  f a 0 0 1 -9\n\tf b 0 0 2 -9\t \n", ["a", "b"]),
        ("f\ta\t0\t0\t1\t-9\r\nf\tb\t0\t0\t2\t-9\r\n", ["a", "b"]),
        ("\nf a 0 0 1 -9\n\n \t\nf b 0 0 2 -9", ["a", "b"]),
        ("#f #a 0 0 1 -9\nf\\ b\\ 0 0 2 -9\n", ["#a", "b\\"]),
        ("001 007 0 0 1 -9\n1e5 1.0 0 0 2 -9\n", ["007", "1.0"]),
        ("0 True 0 0 1 -9\n0 Zoë 0 0 2 -9\n", ["True", "Zoë"]),
    ],
)
def test_open_plink__odd_tables_are_read_as_text(fam, ids, tmp_path):
    helpers.write_bed(helpers.cohort(np.zeros((3, 2), np.int8)), tmp_path / "x")
    (tmp_path / "x.fam").write_text(fam, encoding="utf-8", newline="")
    opened = open_plink(tmp_path / "x")
    assert opened["sample_id"].values.tolist() == ids
    assert opened["sample_sex"].dtype == np.int8


@pytest.mark.parametrize("name", ["NA", "nan", "007", "1e5", "True", '"x"', "#x"])
def test_open_plink__odd_variants_are_read_as_text(name, tmp_path):
    helpers.write_bed(helpers.cohort(np.zeros((1, 2), np.int8)), tmp_path / "x")
    (tmp_path / "x.bim").write_text(f"{name} {name} 0 0012 {name} T\n")
    opened = open_plink(tmp_path / "x")
    assert opened["contig_id"].values.tolist() == opened["variant_id"].values.tolist() == [name]
    assert opened["variant_allele"].values.tolist() == [["T", name]]
    assert opened["variant_position"].values.tolist() == [12]


@pytest.mark.parametrize("suffix", [".bim", ".fam"])
def test_open_plink__an_empty_table(fileset, suffix):
    Path(f"{fileset}{suffix}").write_text("\n")
    with pytest.raises(DataError, match=r"has no lines"):
        open_plink(fileset)


def test_open_plink__text_that_is_not_utf8(fileset):
    path = Path(f"{fileset}.fam")
    path.write_bytes(path.read_bytes().replace(b"person0003", b"J\xf6rg"))
    with pytest.raises(DataError, match="not UTF-8"):
        open_plink(fileset)


def test_export__plink_takes_the_prefix_or_the_bed(small_cohort, fileset, tmp_path):
    cohorts.export(small_cohort, "plink", tmp_path / "out" / "a.b")
    cohorts.export(small_cohort, "plink", tmp_path / "out" / "c.bed")
    for prefix in ("a.b", "c"):
        assert contents(tmp_path / "out" / prefix)[0] == contents(fileset)[0]


@pytest.mark.parametrize(
    ("name", "code"),
    [("chr1", "1"), ("22", "22"), ("chrX", "23"), ("MT", "26"), ("chrM", "26"), ("GL1", "GL1")],
)
def test_chromosome_number__codes(name, code):
    assert chromosome_number(name) == code
