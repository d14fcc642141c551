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
from genoweave.io import store, streams
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
    monkeypatch.setattr(streams, "BATCH_CALLS", batch)
    write_plink(small_cohort, tmp_path / "x")
    assert contents(tmp_path / "x")[0] == contents(fileset)[0]


def break_after(monkeypatch, batches):
    """Let the writing of a .bed die after so many batches."""
    append = streams.AppendingFile.append

    def dying(self, data):
        if self.batches > batches:
            raise KeyboardInterrupt
        append(self, data)

    monkeypatch.setattr(streams.AppendingFile, "append", dying)


def test_write_plink__interrupted_goes_on_with_the_same_token(small_cohort, fileset, tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_CALLS", 50 * 180)
    with monkeypatch.context() as patch:
        break_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            write_plink(small_cohort, tmp_path / "x", "token")
    assert not (tmp_path / "x.bed").exists()
    write_plink(small_cohort, tmp_path / "x", "token")
    assert contents(tmp_path / "x")[0] == contents(fileset)[0]


@pytest.mark.parametrize("tokens", [("one", "two"), ("", "")])
def test_write_plink__other_work_is_not_continued(small_cohort, fileset, tmp_path, monkeypatch, tokens):
    monkeypatch.setattr(streams, "BATCH_CALLS", 50 * 180)
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
        (".bim", "1 rs9 x 100 A C", r"line 7: genetic position .* is a number, found 'x'"),
        (".bim", "1 rs9 nan 100 A C", r"line 7: genetic position .* is a number, found 'nan'"),
        (".bim", "1 rs9 0 3000000000 A C", r"line 7: position is from 0 to 2147483647"),
        (".fam", "f i 0 0 1 -9 extra", r"real\.fam, line 7: wanted 6 columns .*found 7"),
        (".fam", "0 person0002 0 0 1 -9", r"ids of rows 3 and 7 are equal"),
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
        ("\ufefff a 0 0 1 -9\nf b 0 0 2 -9\n", ["a", "b"]),
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
    assert "\ufeff" not in opened["sample_family_id"].values[0]
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


ROWS = 4  # variants of `small`


@pytest.fixture
def small(tmp_path):
    """``small(bim=..., fam=...)`` writes a fileset of 4 variants and 3 samples with these tables."""

    def write(bim="", fam="", name="x"):
        dosage = np.array([[0, 1, 2], [2, -1, 0], [1, 1, 0], [0, 0, 2]], np.int8)
        prefix = tmp_path / name
        write_plink(helpers.cohort(dosage), prefix)
        for suffix, text in ((".bim", bim), (".fam", fam)):
            if text:
                Path(f"{prefix}{suffix}").write_text(text)
        return prefix

    return write


def fam_of(phenotypes):
    return "".join(f"0\ti{k}\t0\t0\t0\t{y}\n" for k, y in enumerate(phenotypes))


def bim_of(*lines):
    return "".join(line.replace(" ", "\t") + "\n" for line in lines)


NAN = float("nan")


@pytest.mark.parametrize(
    ("cells", "values", "written"),
    [
        (["1", "2", "0"], [1, 2, NAN], ["1", "2", "-9"]),
        (["2", "-9", "NA"], [2, NAN, NAN], ["2", "-9", "-9"]),
        (["1.0", "-9.0", "nan"], [1, NAN, NAN], ["1", "-9", "-9"]),
        (["0", "1.5", "-9"], [0, 1.5, NAN], ["0", "1.5", "-9"]),
        (["0", "2", "3"], [0, 2, 3], ["0", "2", "3"]),
        (["-1", "0", "1"], [-1, 0, 1], ["-1", "0", "1"]),
        (["1e-05", "0.1234567890123456", "12345678901"], [1e-5, 0.1234567890123456, 12345678901], None),
    ],
)
def test_open_plink__phenotypes_by_plinks_rule(small, cells, values, written, tmp_path):
    ds = open_plink(small(fam=fam_of(cells)))
    np.testing.assert_array_equal(ds["sample_phenotype"].values, values)
    assert "import_counts" not in ds.attrs
    write_plink(ds, tmp_path / "y")
    assert (tmp_path / "y.fam").read_text() == fam_of(written or cells)


@pytest.mark.parametrize("cells", [["-9", "-9", "-9"], ["0", "0", "0"], ["0", "-9", "NA"]])
def test_open_plink__no_phenotype_is_no_variable(small, cells):
    assert "sample_phenotype" not in open_plink(small(fam=fam_of(cells)))


def test_open_plink__phenotypes_of_text_are_missing_and_counted(small):
    ds = open_plink(small(fam=fam_of(["red", "inf", "2"])))
    np.testing.assert_array_equal(ds["sample_phenotype"].values, [NAN, NAN, 2])
    assert ds.attrs["import_counts"] == {"phenotypes_not_numbers": 2}


@pytest.mark.oracle
@pytest.mark.parametrize(
    "cells", [["1", "2", "0"], ["0", "1.5", "-9"], ["0", "2", "3"], ["2", "2", "NA"], ["0.25", "-9", "1e-05"]]
)
def test_open_plink__plink_has_the_same_phenotypes(small, plink19, tmp_path, cells):
    prefix = small(fam=fam_of(cells).replace("\t0\t0\t0\t", "\t0\t0\t1\t"))
    theirs = plink19("--bfile", prefix, "--make-just-fam", out=tmp_path / "theirs")
    rows = [line.split() for line in Path(f"{theirs}.fam").read_text().splitlines()]
    printed = np.array([NAN if row[5] == "-9" else float(row[5]) for row in rows])
    np.testing.assert_array_equal(open_plink(prefix)["sample_phenotype"].values, printed)


FAMILIES = "f1\ti1\t0\t0\t1\t-9\nf1\ti2\t0\t0\t2\t-9\nf1\ti3\ti1\ti2\t0\t-9\n"


def test_open_plink__families_and_parents_go_round(small, tmp_path):
    prefix = small(fam=FAMILIES)
    ds = open_plink(prefix)
    assert ds["sample_family_id"].values.tolist() == ["f1"] * 3
    assert ds["sample_paternal_id"].values.tolist() == ["0", "0", "i1"]
    assert ds["sample_maternal_id"].values.tolist() == ["0", "0", "i2"]
    assert ds["sample_sex"].values.tolist() == [1, 2, 0]
    write_plink(ds, tmp_path / "y")
    assert contents(tmp_path / "y") == contents(prefix)
    store.write(ds, tmp_path / "x.vcz", (2, 2))
    write_plink(store.open_store(tmp_path / "x.vcz"), tmp_path / "z")
    assert contents(tmp_path / "z") == contents(prefix)


REPEATED = "f1\ta\t0\t0\t1\t-9\nf2\ta\t0\t0\t2\t-9\n0\tb\t0\t0\t0\t-9\n"


def test_open_plink__ids_that_repeat_between_families(small, tmp_path):
    prefix = small(fam=REPEATED)
    ds = open_plink(prefix)
    assert ds["sample_id"].values.tolist() == ["f1_a", "f2_a", "b"]
    assert ds.attrs["import_counts"] == {"sample_ids_with_family": 3}
    write_plink(ds, tmp_path / "y")
    assert contents(tmp_path / "y") == contents(prefix)
    store.write(ds, tmp_path / "x.vcz", (2, 2))
    write_plink(select(store.open_store(tmp_path / "x.vcz"), samples=np.array([1, 2])), tmp_path / "z")
    assert (tmp_path / "z.fam").read_text() == "".join(REPEATED.splitlines(keepends=True)[1:])


def test_open_plink__parents_of_ids_that_repeat(small, tmp_path):
    fam = "f1\ta\t0\t0\t1\t-9\nf2\ta\t0\t0\t2\t-9\nf2\tb\t0\ta\t0\t-9\n"
    prefix = small(fam=fam)
    ds = open_plink(prefix)
    assert ds["sample_maternal_id"].values.tolist() == ["0", "0", "f2_a"]
    write_plink(ds, tmp_path / "y")
    assert contents(tmp_path / "y") == contents(prefix)


@pytest.mark.parametrize(
    ("fam", "rows"),
    [
        ("f a 0 0 1 -9\ng b 0 0 1 -9\nf a 0 0 1 -9\n", "1 and 3"),
        ("f a 0 0 1 -9\nf_a b 0 0 1 -9\nf a_b 0 0 1 -9\n", None),
        ("f_a b 0 0 1 -9\nf a_b 0 0 1 -9\nf b 0 0 1 -9\n", "1 and 2"),
    ],
)
def test_open_plink__ids_that_stay_equal_are_refused(small, fam, rows):
    prefix = small(fam=fam)
    if rows is None:
        assert open_plink(prefix)["sample_id"].values.tolist() == ["a", "b", "a_b"]
        return
    with pytest.raises(DataError, match=rf"rows {rows} are equal; .* must be unique") as caught:
        open_plink(prefix)
    assert "a_b" not in str(caught.value)


def test_open_plink__centimorgans_go_round(small, tmp_path):
    bim = bim_of("1 a 0 10 A C", "1 b 0.001 20 A C", "1 c 0.12345679 30 A C", "1 d 1e-05 40 A C")
    prefix = small(bim=bim)
    ds = open_plink(prefix)
    assert ds["variant_genetic_position"].values.tolist() == [0, 0.001, 0.12345679, 1e-5]
    write_plink(ds, tmp_path / "y")
    assert (tmp_path / "y.bim").read_text() == bim
    unknown = ds.assign(variant_genetic_position=("variants", np.full(ROWS, NAN)))
    write_plink(unknown, tmp_path / "z")
    assert {line.split()[2] for line in (tmp_path / "z.bim").read_text().splitlines()} == {"0"}


def test_open_plink__no_centimorgans(small):
    bim = bim_of("1 a 10 A C", "1 b 20 A C", "X c 30 A C", "MT d 40 A C")
    ds = open_plink(small(bim=bim))
    assert "variant_genetic_position" not in ds
    assert ds["variant_position"].values.tolist() == [10, 20, 30, 40]
    with_zeros = bim_of("1 a 0.0 10 A C", "1 b 0 20 A C", "X c 0 30 A C", "MT d 0.00 40 A C")
    assert "variant_genetic_position" not in open_plink(small(bim=with_zeros))
    with pytest.raises(DataError, match=r"line 3: wanted 5 columns .*found 6"):
        open_plink(small(bim=bim.replace("c\t30", "c\t0\t30")))


def test_open_plink__an_unknown_allele(small, tmp_path):
    bim = bim_of("1 a 0 10 0 C", "1 b 0 20 A C", "1 c 0 30 0 0", "1 d 0 40 T 0")
    prefix = small(bim=bim)
    ds = open_plink(prefix)
    assert ds["variant_allele"].values.tolist() == [["C", ""], ["C", "A"], ["", ""], ["", "T"]]
    assert ds.attrs["import_counts"] == {"variants_without_allele": 3}
    write_plink(ds, tmp_path / "y")
    assert contents(tmp_path / "y") == contents(prefix)


def test_open_plink__a_negative_position_leaves_a_variant_out(small):
    bim = bim_of("1 a 0 10 A C", "1 b 0 -9 A C", "1 c 0 30 A C", "1 d 0 40 A C")
    ds = open_plink(small(bim=bim))
    assert ds["variant_id"].values.tolist() == ["a", "c", "d"]
    assert helpers.dosage_of(ds).tolist() == [[0, 1, 2], [1, 1, 0], [0, 0, 2]]
    assert ds.attrs["import_counts"] == {"variants_left_out": 1}
    with pytest.raises(DataError, match="every position is negative"):
        open_plink(small(bim=bim.replace("0\t", "0\t-").replace("--", "-")))


@pytest.mark.parametrize(
    "names", [["1", "chr2", "X", "MT"], ["23", "24", "25", "26"], ["chrX", "Y", "XY", "0"]]
)
def test_open_plink__chromosomes_keep_their_names(small, tmp_path, names):
    bim = bim_of(*(f"{name} v{k} 0 {k} A C" for k, name in enumerate(names)))
    ds = open_plink(small(bim=bim))
    assert ds["contig_id"].values.tolist() == names
    write_plink(ds, tmp_path / "y")
    assert (tmp_path / "y.bim").read_text() == bim


def test_open_plink__three_paths(small, tmp_path):
    prefix = small(fam=FAMILIES)
    (tmp_path / "genotypes.bin").write_bytes(contents(prefix)[0])
    (tmp_path / "v.txt").write_bytes(contents(prefix)[1])
    (tmp_path / "s.txt").write_bytes(contents(prefix)[2])
    ds = open_plink(tmp_path / "genotypes.bin", tmp_path / "v.txt", tmp_path / "s.txt")
    assert (helpers.dosage_of(ds) == helpers.dosage_of(open_plink(prefix))).all()
    assert open_plink(prefix, fam=tmp_path / "s.txt").sizes == ds.sizes
    assert open_plink(Path(f"{prefix}.bed"), bim=tmp_path / "v.txt").sizes == ds.sizes
    with pytest.raises(StoreError, match=r"none\.txt is not there"):
        open_plink(prefix, fam=tmp_path / "none.txt")


def test_open_plink__more_columns_of_a_fam(small):
    ds = open_plink(small(fam="f a 0 0 1 1.5 7 x\nf b 0 0 2 2.5 8 y\nf c 0 0 0 -9 9 z\n"))
    assert ds["sample_id"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(ds["sample_phenotype"].values, [1.5, 2.5, NAN])
    assert ds.attrs["import_counts"] == {"fam_columns_not_read": 2}
    with pytest.raises(DataError, match=r"line \d: wanted 6 columns"):
        open_plink(small(fam="f a 0 0 1 1.5 7\nf b 0 0 2 2.5\nf c 0 0 0 -9 9\n"))


@pytest.mark.parametrize(
    ("values", "message"),
    [([1.5, -9, 2], "is -9 at sample number 2"), ([0, 1, NAN], "PLINK takes 0 for missing")],
)
def test_write_plink__a_phenotype_that_plink_takes_for_missing(tmp_path, values, message):
    ds = helpers.cohort(np.zeros((1, 3), np.int8)).assign(sample_phenotype=("samples", np.array(values)))
    with pytest.raises(DataError, match=message):
        write_plink(ds, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_write_plink__status_goes_before_phenotype_and_may_be_missing(tmp_path):
    ds = helpers.cohort(np.zeros((1, 3), np.int8)).assign(
        sample_case=("samples", np.array([1, -1, 0], np.int8)),
        sample_phenotype=("samples", np.array([1.5, 2.5, 3.5])),
    )
    write_plink(ds, tmp_path / "x")
    assert [line.split()[5] for line in (tmp_path / "x.fam").read_text().splitlines()] == ["2", "-9", "1"]


@pytest.mark.parametrize("name", ["sample_family_id", "sample_paternal_id"])
def test_write_plink__a_family_that_a_fileset_cannot_bear(tmp_path, name):
    ds = helpers.cohort(np.zeros((1, 3), np.int8))
    write_plink(ds.assign({name: ("samples", np.array(["", "f", "0"], object))}), tmp_path / "x")
    column = 0 if name == "sample_family_id" else 2
    assert [line.split()[column] for line in (tmp_path / "x.fam").read_text().splitlines()] == ["0", "f", "0"]
    with pytest.raises(DataError, match=f"{name}, row 2: 1 names"):
        write_plink(ds.assign({name: ("samples", np.array(["", "f g", "0"], object))}), tmp_path / "y")


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["kg_sisg/chr1", "kgp_trios_akt/cgi433", "mouse_cfw/cfw_chr11"])
def test_real_fileset__goes_round(real_data, tmp_path, name):
    write_plink(open_plink(real_data / name), tmp_path / "y")
    for mine, theirs in zip(contents(tmp_path / "y"), contents(real_data / name), strict=True):
        assert mine.split() == theirs.split()


@pytest.mark.oracle
@pytest.mark.real_data
def test_real_fileset__of_plink_goes_round_byte_for_byte(real_data, plink2, plink19, tmp_path):
    plink2("--bfile", real_data / "mouse_cfw/cfw_chr11", "--make-bed", out=tmp_path / "two")
    plink19(
        "--bfile",
        real_data / "kgp_trios_akt/cgi433",
        "--make-bed",
        "--thin-count",
        "500",
        out=tmp_path / "one",
    )
    for name in ("one", "two"):
        write_plink(open_plink(tmp_path / name), tmp_path / "mine")
        bed, bim, fam = contents(tmp_path / name)
        assert contents(tmp_path / "mine")[:2] == [bed, bim]
        assert contents(tmp_path / "mine")[2] == fam.replace(b" ", b"\t")  # PLINK 1.9's .fam has blanks


@pytest.mark.oracle
@pytest.mark.real_data
def test_real_fileset__with_unplaced_variants(real_data, plink2, tmp_path):
    prefix = real_data / "mouse_hs1940/hs1940"
    ds = open_plink(prefix)
    theirs = plink2("--bfile", prefix, "--chr-set", "19", "--make-just-pvar", "cols=", out=tmp_path / "t")
    lines = Path(f"{theirs}.pvar").read_text().splitlines()
    assert ds["variant_id"].values.tolist() == [line.split("\t")[2] for line in lines if line[0] != "#"]
    assert ds.attrs["import_counts"]["variants_left_out"] == 1926


@pytest.mark.real_data
def test_odd_fileset__of_three_names(real_data):
    odd = real_data / "odd" / "bed"
    ds = open_plink(odd / "small.deb", odd / "small.mib", odd / "small.maf")
    assert ds["sample_id"].values.tolist() == ["iid1", "iid2", "iid3"]
    assert ds["variant_allele"].values.tolist() == [["A2", "A1"]] * 4
    assert (helpers.dosage_of(ds) == helpers.dosage_of(open_plink(odd / "small"))).all()


@pytest.mark.real_data
def test_odd_fileset__says_all_it_has(real_data):
    ds = open_plink(real_data / "odd" / "bed" / "small")
    assert ds["variant_genetic_position"].values.tolist() == [100.4, 2000.5, 4000.7, 7000.9]
    assert ds["sample_paternal_id"].values.tolist() == ["iid23", "iid23", "iid22"]
    assert ds["sample_family_id"].values.tolist() == ["fid1", "fid1", "fid2"]
    assert ds.attrs["import_counts"] == {"phenotypes_not_numbers": 3}
    turned = open_plink(real_data / "odd" / "bed" / "smallmode0")
    assert turned["sample_sex"].values.tolist() == [1, 2, 0, 0]
    assert turned["sample_family_id"].values.tolist() == ["fid1", "fid1", "fid2", "fid2"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("importFamQPheno.space.m9.fam", [1, 2, 0, NAN, 3]),
        ("importFamCaseControlNumericException.fam", [1, 2, 3, NAN, NAN]),
    ],
)
def test_odd_fam__phenotypes(real_data, tmp_path, name, values):
    write_plink(helpers.cohort(np.zeros((2, 5), np.int8)), tmp_path / "x")
    ds = open_plink(tmp_path / "x", fam=real_data / "odd" / "hail" / name)
    np.testing.assert_array_equal(ds["sample_phenotype"].values, values)
    assert ds["sample_maternal_id"].values.tolist() == ["D", "D", "0", "0", "0"]


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("bim", "fam", "message"),
    [
        ("bed/small.bad_bim", "bed/small.fam", r"small\.bad_bim, line 3: wanted 6 columns .*found 5"),
        ("bed/small.bim_bad_positions.bim", "bed/small.fam", r"line 2: position is a whole number"),
        ("bed/small.bim", "bed/small.fam_bad", r"small\.fam_bad, line 4: wanted 6 columns .*found 1"),
        ("bed/small.bim", "hail/duplicate_id.fam", r"rows 1 and 2 are equal; .* must be unique"),
        ("bed/small.fam", "bed/small.fam", r"small\.fam, line 1: position is a whole number, found 'iid34'"),
        ("bed/small.bim", "hail/hail_mendel.fam", r"should have .* check that|belong together"),
        ("hail/hail_ex.vcf", "bed/small.fam", r"hail_ex\.vcf, line 1: wanted 6 columns"),
        ("bed/small.bed", "bed/small.fam", r"small\.bed"),
        ("bed/some_missing.val.npy", "bed/small.fam", r"not UTF-8"),
    ],
)
def test_odd_fileset__of_three_names_is_refused(real_data, bim, fam, message):
    odd = real_data / "odd"
    with pytest.raises(DataError, match=message):
        open_plink(odd / "bed" / "small.bed", odd / bim, odd / fam)
