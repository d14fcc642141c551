"""PLINK 2 filesets: every way of storing a record, tables in many forms, and what plink2 itself reads and
writes."""

import pickle
import random
import struct
import tracemalloc
from pathlib import Path

import helpers
import numpy as np
import pytest
from reference import pgen as reference

from genoweave.errors import DataError, GenoweaveError, StoreError
from genoweave.execution import ThreadExecutor, use
from genoweave.genotypes import source_of
from genoweave.io import streams
from genoweave.io.pgen import open_pgen, writing
from genoweave.io.pgen.tables import read_pvar
from genoweave.io.pgen.writing import write_pgen
from genoweave.io.plink import open_plink
from genoweave.io.sample_tables import read_psam

KINDS = (0, 1, 2, 3, 4, 6, 7)


def tables(prefix, m, n):
    Path(f"{prefix}.pvar").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tINFO\n"
        + "".join(f"{1 + v % 2}\t{v + 1}\trs{v}\tA\tC\tx=1\n" for v in range(m))
    )
    Path(f"{prefix}.psam").write_text("#IID\tSEX\n" + "".join(f"person{s:04d}\t{s % 3}\n" for s in range(n)))


def fileset(folder, data, m, n):
    (folder / "x.pgen").write_bytes(data)
    tables(folder / "x", m, n)
    return folder / "x"


def random_codes(rng, n, common):
    """Mostly one or two codes, so that every way of storing them is tried on what it is for."""
    rare = rng.choice([0, 0.02, 0.3])
    return [rng.randrange(4) if rng.random() < rare else rng.choice(common) for _ in range(n)]


def random_records(rng, m, n, *, phase=True, dosage=True):
    records = []
    for v in range(m):
        kind = rng.choice(KINDS) if v else rng.choice([0, 1, 4, 6, 7])
        common = [kind & 3] if kind > 3 else rng.sample(range(4), 2)
        codes = random_codes(rng, n, common)
        if kind in (2, 3):
            base = records[-1]["codes"]
            codes = [rng.randrange(4) if rng.random() < 0.05 else c for c in base]
            if kind == 3:
                codes = [{0: 2, 2: 0}.get(c, c) for c in codes]
        record = {"codes": codes, "kind": kind}
        if phase and v % 2:
            unknown = rng.choice([0, 0.4])
            record["phase"] = [None if rng.random() < unknown else rng.randrange(2) for c in codes if c == 1]
        if dosage and v % 3 == 1:
            record["dosage_kind"] = rng.choice([32, 64, 96])
            share = rng.choice([0, 0.1, 0.9])
            record["dosages"] = {s: rng.randint(0, 32768) for s in range(n) if rng.random() < share}
        records.append(record)
    return records


def expected(records, n):
    """Calls, phase and dosages."""
    calls = np.empty((len(records), n, 2), np.int8)
    phased = np.zeros((len(records), n), bool)
    dosage = np.full((len(records), n), np.nan, np.float32)
    for v, record in enumerate(records):
        phase = iter(record.get("phase", [None] * n))
        for s, code in enumerate(record["codes"]):
            calls[v, s] = [(0, 0), (0, 1), (1, 1), (-1, -1)][code]
            phased[v, s] = code in (0, 2)
            if code == 1 and (known := next(phase)) is not None:
                phased[v, s] = True
                calls[v, s] = (1, 0) if known else (0, 1)
            if code < 3:
                dosage[v, s] = code
        if record.get("dosage_kind") == 64:
            dosage[v] = np.nan
            for s, code in enumerate(record["codes"]):
                dosage[v, s] = np.nan if s not in record["dosages"] and code == 3 else code
        for s, value in record.get("dosages", {}).items():
            dosage[v, s] = value / 16384
    return calls, phased, dosage


def missing_as_calls(records):
    """With dosages of all samples a missing one is missing, whatever the call: tell the expectation so."""
    for record in records:
        if record.get("dosage_kind") == 64:
            called = {s: 16384 * c for s, c in enumerate(record["codes"]) if c < 3}
            record["dosages"] = {s: record["dosages"].get(s, x) for s, x in called.items()}
    return records


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 64, 300, 1000])
def test_open_pgen__every_kind_of_record(tmp_path, n):
    rng = random.Random(n)
    for _ in range(4):
        records = missing_as_calls(random_records(rng, 30, n))
        prefix = fileset(tmp_path, reference.encode(records, n, length_bytes=rng.choice([2, 3, 4])), 30, n)
        ds = open_pgen(prefix, dosages=True)
        calls, phased, dosage = expected(records, n)
        assert (ds["call_genotype"].values == calls).all()
        assert (ds["call_genotype_phased"].values == phased).all()
        np.testing.assert_allclose(ds["call_dosage"].values, dosage, atol=1e-6)
        source = pickle.loads(pickle.dumps(source_of(ds)))
        for _ in range(6):
            v0, s0 = rng.randrange(30), rng.randrange(n)
            v1, s1 = rng.randint(v0, 30), rng.randint(s0, n)
            assert (source.read(v0, v1, s0, s1) == calls[v0:v1, s0:s1]).all()
            assert (source.read_phased(v0, v1, s0, s1) == phased[v0:v1, s0:s1]).all()
            np.testing.assert_allclose(source.read_dosage(v0, v1, s0, s1), dosage[v0:v1, s0:s1], atol=1e-6)
            codes = source.read_packed(v0, v1, s0, s1)[:, :, None] >> np.arange(0, 8, 2) & 3
            codes = codes.reshape(v1 - v0, (s1 - s0 + 3) // 4 * 4)
            wanted = np.array([3, 2, 0])[np.where((c := calls[v0:v1, s0:s1].sum(axis=2)) < 0, 0, c)]
            assert (codes[:, : s1 - s0] == np.where(c < 0, 1, wanted)).all()
            assert (codes[:, s1 - s0 :] == 1).all()


def test_open_pgen__the_difference_list_of_the_specification():
    # 79 samples of 488,377, the worked example of the specification
    data = reference.difflist(list(range(5000, 395_001, 5000)), 488_377, [1] * 79)
    assert data[:8].hex(" ") == "4f 88 13 00 88 f5 04 3f"
    assert len(data) == 8 + 20 + 154


@pytest.mark.parametrize("n", [70_000, 2**24 + 5])
def test_open_pgen__many_samples(tmp_path, n):
    """Samples' numbers of 3 and of 4 bytes."""
    from genoweave.kernels.pgen import decode_rows

    carriers = [0, 5, 300, 66_000, 69_000, n - 1]
    record = reference.difflist(carriers, n, [1, 2, 3, 1, 2, 3])
    rows, behind = np.empty((1, (n + 3) // 4), np.uint8), np.empty(1, np.int64)
    data = np.frombuffer(record, np.uint8).copy()
    ids, base = np.empty(n, np.uint32), np.zeros(rows.shape[1], np.uint8)
    assert decode_rows(data, np.array([len(data)]), np.array([4], np.uint8), n, base, ids, rows, behind) == -1
    codes = (rows[0][:, None] >> np.arange(0, 8, 2, dtype=np.uint8) & 3).ravel()
    assert np.flatnonzero(codes).tolist() == carriers
    assert codes[carriers].tolist() == [1, 2, 3, 1, 2, 3]


def test_open_pgen__headers_of_other_forms(tmp_path):
    rng = random.Random(1)
    records = random_records(rng, 20, 9, phase=False, dosage=False)
    wanted = expected(records, 9)[0]
    for options in ({"nibbles": True}, {"length_bytes": 1}, {"flags": [1, 0] * 10}, {"length_bytes": 3}):
        ds = open_pgen(fileset(tmp_path, reference.encode(records, 9, **options), 20, 9))
        assert (ds["call_genotype"].values == wanted).all()
        assert "call_genotype_phased" not in ds
    plain = [reference.bits(r["codes"], 2) for r in records]
    for form, bits in ((8, 2), (9, 4)):
        head = b"\x6c\x1b\x10" + struct.pack("<IIB", 20, 9, form | 64)
        listed = bytes((20 * bits + 7) // 8)
        data = head + struct.pack("<Q", len(head) + 8 + len(listed)) + listed + b"".join(plain)
        assert (open_pgen(fileset(tmp_path, data, 20, 9))["call_genotype"].values == wanted).all()


def test_open_pgen__modes_of_fixed_width(tmp_path):
    rng = random.Random(2)
    codes = [[rng.randrange(4) for _ in range(7)] for _ in range(5)]
    records = [{"codes": c, "kind": 0} for c in codes]
    calls, _, dosage = expected(records, 7)
    rows = [reference.bits(c, 2) for c in codes]
    head = struct.pack("<IIB", 5, 7, 64)
    flagged = struct.pack("<IIB", 5, 7, 192) + b"\x15"
    values = [struct.pack("<7H", *(65535 if c == 3 else 16384 * c for c in row)) for row in codes]
    for data in (
        b"\x6c\x1b\x02" + head + b"".join(rows),
        b"\x6c\x1b\x02" + flagged + b"".join(rows),
        b"\x6c\x1b\x03" + head + b"".join(a + b for a, b in zip(rows, values, strict=True)),
        b"\x6c\x1b\x04" + head + b"".join(a + b + bytes(14) for a, b in zip(rows, values, strict=True)),
    ):
        ds = open_pgen(fileset(tmp_path, data, 5, 7), dosages=True)
        assert (ds["call_genotype"].values == calls).all()
        np.testing.assert_array_equal(ds["call_dosage"].values, dosage)


def test_open_pgen__a_bed_by_another_name(tmp_path, small_cohort):
    prefix = helpers.write_bed(small_cohort, tmp_path / "x")
    Path(f"{prefix}.bed").rename(f"{prefix}.pgen")
    ds = open_pgen(prefix, dosages=True)
    dosage = helpers.dosage_of(small_cohort)
    assert (helpers.dosage_of(ds) == dosage).all()
    np.testing.assert_array_equal(ds["call_dosage"].values, np.where(dosage < 0, np.nan, dosage))
    for name in (
        "variant_allele",
        "variant_position",
        "variant_contig",
        "contig_id",
        "sample_id",
        "variant_id",
    ):
        assert ds[name].values.tolist() == small_cohort[name].values.tolist()


def one_record(record, n=4, **options):
    return reference.encode([{"codes": [0, 1, 2, 3][:n]} | record], n, **options)


def at(data, place, value):
    data = bytearray(data)
    data[place : place + len(value)] = value
    return bytes(data)


GOOD = reference.encode([{"codes": [0, 1, 2, 3]}, {"codes": [0, 1, 2, 2], "kind": 2}], 4)
TYPES = 12 + 8


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"\x6c\x1c\x10", "must begin with bytes 6c 1b, found 6c 1c"),
        (b"\x6c\x1b\x20" + bytes(20), "storage mode 0x20"),
        (b"\x6c\x1b\x00" + bytes(20), "storage mode 0x00"),
        (GOOD[:9], "ends within its header"),
        (at(GOOD, 7, b"\x05"), "has 5 samples, its table of samples 4"),
        (at(GOOD, 3, b"\0"), "holds no variants"),
        (at(GOOD, 3, b"\xff\xff\xff\xff"), "its header for 4294967295 variants takes"),
        (at(GOOD, 11, b"\x4c"), "header is of form 12"),
        (at(GOOD, 12, b"\0"), r"variants 1 to 2 should lie in bytes 0"),
        (at(GOOD, 19, b"\xff"), "variants 1 to 2 should lie in bytes"),
        (GOOD[:-1], "variants 1 to 2 should lie in bytes"),
        (at(GOOD, TYPES, b"\x05"), "variant number 1: its record is of type 0x05"),
        (at(GOOD, TYPES, b"\x02"), "variant number 1: its record is of type 0x02"),
        (at(GOOD, TYPES, b"\x80"), "type 0x80"),
        (at(GOOD, TYPES + 1, b"\x08"), "variant number 2: 1 variants here have more than two alleles"),
        (at(GOOD, TYPES, b"\x07"), "variant number 1 of 2: its record of 1 bytes cannot be decoded"),
        (at(GOOD, TYPES, b"\x10"), "variant number 1 of 2: its record of 1 bytes cannot be decoded"),
        (at(GOOD, TYPES, b"\x20"), "variant number 1 of 2: its record of 1 bytes cannot be decoded"),
        (b"\x6c\x1b\x02" + struct.pack("<IIB", 2, 4, 64) + b"\0", "should have 14 bytes for 2 variants"),
        (b"\x6c\x1b\x01", "not those of whole variants"),
    ],
)
def test_open_pgen__refuses_in_words(tmp_path, data, message):
    prefix = fileset(tmp_path, data, 2, 4)
    with pytest.raises(DataError, match=message):
        open_pgen(prefix, dosages=True)[["call_genotype", "call_dosage"]].compute()


def test_open_pgen__more_alleles_than_two(tmp_path):
    head = b"\x6c\x1b\x10" + struct.pack("<IIB", 2, 4, 64 | 16 | 4)
    listed = bytes(2) + b"\1\1" + b"\2\3"
    data = head + struct.pack("<Q", len(head) + 8 + len(listed)) + listed + bytes(2)
    with pytest.raises(DataError, match="variant number 2: 1 variants here have more than two alleles"):
        open_pgen(fileset(tmp_path, data, 2, 4))


def test_open_pgen__files_that_are_not_there(tmp_path):
    with pytest.raises(StoreError, match=r"wanted a \.pgen or the prefix"):
        open_pgen(tmp_path / "x")
    prefix = fileset(tmp_path, GOOD, 2, 4)
    Path(f"{prefix}.psam").unlink()
    with pytest.raises(StoreError, match=r"x\.psam is not there \(nor \.fam\)"):
        open_pgen(prefix)
    Path(f"{prefix}.pvar").unlink()
    with pytest.raises(StoreError, match=r"x\.pvar is not there \(nor \.pvar\.zst, \.bim\)"):
        open_pgen(Path(f"{prefix}.pgen"))


def test_open_pgen__damaged_bytes(tmp_path):
    """Cut short or with flipped bits: an error in words or a read, within a bounded memory."""
    rng = random.Random(5)
    n, m = 90, 40
    whole = reference.encode(random_records(rng, m, n), n)
    prefix = fileset(tmp_path, whole, m, n)
    path = Path(f"{prefix}.pgen")
    open_pgen(prefix, dosages=True)["call_genotype"].values  # noqa: B018  (what is compiled is not counted)
    refused = 0
    tracemalloc.start()
    for k in range(240):
        data = bytearray(whole)
        if k % 4 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randint(1, 4)):
            if data:
                place = rng.randrange(len(data)) if k % 3 else rng.randrange(min(len(data), 30))
                data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            ds = open_pgen(prefix, dosages=True)
            assert set(np.unique(ds["call_genotype"].values)) <= {-1, 0, 1}
            dosage = ds["call_dosage"].values
            assert (np.isnan(dosage) | ((dosage >= 0) & (dosage <= 2))).all()
        except GenoweaveError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 60
    assert peak < 64 * 2**20


@pytest.mark.parametrize(
    ("text", "position", "genetic"),
    [
        ("#CHROM\tPOS\tID\tREF\tALT\n1\t7\tx\tA\tC\nX\t8\ty\tG\t.\n", [7, 8], None),
        ("##a\n##b <c\n#CHROM POS ID REF ALT QUAL FILTER INFO CM\n1 7 x A C . . . 1.5\nX 8 y G . 3 . a=b 2\n",
         [7, 8], [1.5, 2]),
        ("##VCF\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tINFO\tFORMAT\ts\n1\t7\tx\tA\tC\t.\t.\tGT\t0/1\n"
         "X\t8\ty\tG\t.\t.\t.\tGT\t0/1\n", [7, 8], None),
        ("#CHROM ID POS ALT REF\r\n1 x 7 C A\r\n\r\nX y 8 . G\r\n", [7, 8], None),
        ("1 x 0.25 7 C A\nX y 0 8 . G\n", [7, 8], [0.25, 0]),
        ("1 x 7 C A\nX y 8 . G", [7, 8], None),
    ],
)  # fmt: skip
def test_read_pvar__forms(tmp_path, text, position, genetic):
    import pyarrow as pa

    path = tmp_path / "x.pvar"
    path.write_text(text, newline="")
    packed = tmp_path / "x.pvar.zst"
    with pa.CompressedOutputStream(str(packed), "zstd") as out:
        out.write(text.encode())
    for file in (path, packed):
        table = read_pvar(file, 2)
        assert table["variant_position"].tolist() == position
        assert table["contig_id"].tolist() == ["1", "X"]
        assert table["variant_id"].tolist() == ["x", "y"]
        assert table["variant_allele"].tolist() == [["A", "C"], ["G", ""]]
        assert table.get("variant_genetic_position", np.array(None)).tolist() == genetic


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t7\tx\tA\tC,G", "line 3: variant x has 3 alleles"),
        ("1\tx\tx\tA\tC", "line 3: position is a whole number"),
        ("1\t-1\tx\tA\tC", "line 3: position is a whole number"),
        ("1\t9999999999\tx\tA\tC", "line 3: position is a whole number"),
        ("1\t7\tx\tA", "line 3: wanted 5 columns"),
        ("1\t7\tJ\udcf6rg\tA\tC", "line 3 is not UTF-8"),
        ("1\t7\tx\tA\tC\n1\t8\tx\tA\tC", "should list 2 variants.*found more"),
        ("", "should list 2 variants.*found 1"),
    ],
)
def test_read_pvar__malformed_lines_are_named(tmp_path, line, message):
    path = tmp_path / "x.pvar"
    text = f"#CHROM\tPOS\tID\tREF\tALT\n1\t7\tw\tA\tC\n{line}\n"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message):
        read_pvar(path, 2)


def test_read_pvar__headers_and_compressed_nonsense(tmp_path):
    path = tmp_path / "x.pvar"
    path.write_text("#CHROM POS ID REF\n1 7 x A\n")
    with pytest.raises(DataError, match=r"line 1: the header .* lacking: ALT"):
        read_pvar(path, 1)
    path.write_text("#CHROM. POS ID REF ALT\n1 7 x A C\n")
    with pytest.raises(DataError, match="lacking: CHROM"):
        read_pvar(path, 1)
    path.write_text("##only\n")
    with pytest.raises(DataError, match="no variants"):
        read_pvar(path, 1)
    packed = tmp_path / "x.pvar.zst"
    packed.write_bytes(b"(\xb5/\xfdnonsense")
    with pytest.raises(DataError, match="is damaged"):
        read_pvar(packed, 1)
    import pyarrow as pa

    with pa.CompressedOutputStream(str(packed), "zstd") as out:
        for _ in range(40):
            out.write(b"1" * 2**20)
    with pytest.raises(DataError, match=r"expands more than 1000 times|wanted"):
        read_pvar(packed, 1)


@pytest.mark.parametrize(
    ("text", "ids", "sex", "phenotype"),
    [
        ("#IID\na\nb\n", ["a", "b"], [0, 0], None),
        ("##x\n#FID IID SID SEX\n1 a 0 F\n1 b 0 m\n", ["a", "b"], [2, 1], None),
        (
            "#FID\tIID\tPAT\tMAT\tSEX\tPHENO1\nf\ta\t0\t0\t1\t-9\nf\tb\ta\t0\tNA\t2\n",
            ["a", "b"],
            [1, 0],
            [np.nan, 2],
        ),
        ("#IID SEX POP bmi\na 1 GBR 21.5\nb 2 YRI NA\n", ["a", "b"], [1, 2], [21.5, np.nan]),
        ("f a 0 0 1 0\nf b 0 0 2 1\n", ["a", "b"], [1, 2], [np.nan, 1]),
        ("f a 0 0 1\nf b 0 0 2\n", ["a", "b"], [1, 2], None),
        ("f a 0 0 1 0.5\nf b 0 0 2 0\n", ["a", "b"], [1, 2], [0.5, 0]),
    ],
)
def test_read_psam__forms(tmp_path, text, ids, sex, phenotype):
    path = tmp_path / "x.psam"
    path.write_text(text)
    found = read_psam(path).variables()
    assert found["sample_id"][1].tolist() == ids
    assert found["sample_sex"][1].tolist() == sex
    assert found["sample_sex"][1].dtype == np.int8
    assert ("sample_phenotype" in found) == (phenotype is not None)
    if phenotype is not None:
        np.testing.assert_array_equal(found["sample_phenotype"][1], phenotype)
    assert ("sample_paternal_id" in found) == ("\ta\t0" in text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("#IID SEX\n", "lists no samples"),
        ("#IID SEX\na\n", "line 2: wanted 2 columns"),
        ("#FID SEX\na 1\n", "line 1: the header is #IID or"),
        ("#IID SEX SEX\na 1 1\n", "each once"),
        ("a b\n", "line 1: wanted 6 columns"),
    ],
)
def test_read_psam__refuses_in_words(tmp_path, text, message):
    path = tmp_path / "x.psam"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_psam(path)


def test_open_pgen__ids_that_stand_twice(tmp_path):
    prefix = fileset(tmp_path, GOOD, 2, 4)
    table = Path(f"{prefix}.psam")
    text = "#FID\tIID\tPAT\tMAT\tSEX\n1\ta\t0\t0\t1\n1\tb\ta\t0\t2\n2\ta\t0\t0\t1\n0\tc\t0\t0\tNA\n"
    table.write_text(text)
    ds = open_pgen(prefix)
    assert ds["sample_id"].values.tolist() == ["1_a", "1_b", "2_a", "c"]
    assert ds["sample_paternal_id"].values.tolist() == ["0", "1_a", "0", "0"]
    assert ds.attrs["import_counts"] == {"sample_ids_with_family": 4}
    write_pgen(ds, tmp_path / "w")
    assert (tmp_path / "w.psam").read_text() == text
    table.write_text("#FID IID\n1 a\n1 b\n1 a\n2 c\n")
    with pytest.raises(DataError, match="samples number 1 and 3 are equal"):
        open_pgen(prefix)
    table.write_text("#IID\na\nb\na\nc\n")
    with pytest.raises(DataError, match="samples number 1 and 3 are equal"):
        open_pgen(prefix)


def phased_cohort(m, n, seed=1):
    """Random calls with missing ones; a third of the variants have a few unphased heterozygous calls."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 2, (m, n, 2)).astype(np.int8)
    calls[rng.random((m, n)) < 0.1] = -1
    ds = helpers.cohort(np.zeros((m, n), np.int8))
    phased = np.ones((m, n), bool)
    phased[::3] = rng.random((len(phased[::3]), n)) < 0.8
    phased[1::5] = False
    unordered = ~phased & (calls >= 0).all(axis=2)
    calls[unordered] = np.sort(calls[unordered], axis=1)
    ds["call_genotype"][:] = calls
    return ds.assign(call_genotype_phased=(("variants", "samples"), phased))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 2), (5, 7), (41, 33), (9, 300)])
def test_write_pgen__round_trip(tmp_path, m, n):
    ds = phased_cohort(m, n)
    write_pgen(ds, tmp_path / "a" / "x.y")
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["x.y.pgen", "x.y.psam", "x.y.pvar"]
    opened = open_pgen(tmp_path / "a" / "x.y")
    calls = ds["call_genotype"].values
    assert (opened["call_genotype"].values == calls).all()
    called, het = (calls >= 0).all(axis=2), calls[..., 0] != calls[..., 1]
    if "call_genotype_phased" in opened:
        wanted = called & (ds["call_genotype_phased"].values | ~het)
        assert (opened["call_genotype_phased"].values == wanted).all()
    else:
        assert not (called & het & ds["call_genotype_phased"].values).any()
    write_pgen(ds.drop_vars("call_genotype_phased"), tmp_path / "u")
    assert (helpers.dosage_of(open_pgen(tmp_path / "u")) == helpers.dosage_of(ds)).all()
    assert (tmp_path / "u.pgen").stat().st_size == 12 + m * ((n + 3) // 4)


def test_write_pgen__columns_come_back(tmp_path):
    ds = helpers.cohort(np.zeros((2, 4), np.int8)).assign(
        sample_sex=("samples", np.array([1, 2, 0, 1], np.int8)),
        sample_family_id=("samples", np.array(["f", "f", "g", "h"], object)),
        sample_paternal_id=("samples", np.array(["0", "0", "0", "person0000"], object)),
        sample_maternal_id=("samples", np.array(["0", "0", "0", "person0001"], object)),
        sample_phenotype=("samples", np.array([1.5, np.nan, 3, -2])),
        variant_genetic_position=("variants", np.array([0.125, 3])),
    )
    write_pgen(ds, tmp_path / "x")
    opened = open_pgen(tmp_path / "x")
    for name in ds.variables:
        np.testing.assert_array_equal(opened[name].values, ds[name].values)
    plain = helpers.cohort(np.zeros((2, 4), np.int8)).assign(sample_case=("samples", np.array([0, 1, -1, 0])))
    write_pgen(plain, tmp_path / "y")
    assert (tmp_path / "y.psam").read_text().split("\n")[:3] == [
        "#IID\tSEX\tPHENO1", "person0000\tNA\t1", "person0001\tNA\t2"]  # fmt: skip
    np.testing.assert_array_equal(open_pgen(tmp_path / "y")["sample_phenotype"].values, [1, 2, np.nan, 1])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("variant_id", "a b", "variant_id, row 2"), ("sample_id", "", "sample_id, row 2"),
     ("variant_allele", "A,C", "variant_allele, row 2")],
)  # fmt: skip
def test_write_pgen__refuses_names(tmp_path, name, value, message):
    ds = helpers.cohort(np.zeros((3, 3), np.int8))
    ds[name][1] = value
    with pytest.raises(DataError, match=message):
        write_pgen(ds, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_write_pgen__a_third_allele_is_refused(tmp_path):
    ds = helpers.cohort(np.zeros((2, 3), np.int8))
    ds["call_genotype"][1, 2] = [0, 2]
    with pytest.raises(DataError, match="allele code 2"):
        write_pgen(ds, tmp_path / "x")
    assert not (tmp_path / "x.pgen").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("keep_phase", [False, True])
def test_write_pgen__a_killed_write_goes_on(tmp_path, monkeypatch, workers, keep_phase):
    ds = phased_cohort(20, 9)
    if not keep_phase:
        ds = ds.drop_vars("call_genotype_phased")
    write_pgen(ds, tmp_path / "whole")
    monkeypatch.setattr(streams, "BATCH_CALLS", 9 * 4)
    work = writing._records
    executor = ThreadExecutor(workers)
    for killed in (12, 0):  # the second time, the first batches are done already

        def fail(block, killed=killed):
            if block.v0 == killed:
                raise Killed
            return work(block)

        monkeypatch.setattr(writing, "_records", fail)
        with use(executor):
            if killed:
                with pytest.raises(Killed):
                    write_pgen(ds, tmp_path / "x", "token")
                assert not (tmp_path / "x.pgen").exists()
            else:
                write_pgen(ds, tmp_path / "x", "token")
    executor.close()
    assert (tmp_path / "x.pgen").read_bytes() == (tmp_path / "whole.pgen").read_bytes()
    assert not list(tmp_path.glob("x.pgen.*"))


def vcf_calls(path):
    """The first columns and the calls of each variant of a VCF."""
    rows = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [(row[:5], row[9:]) for row in rows]


@pytest.mark.oracle
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 5), (61, 83), (9, 300)])
@pytest.mark.parametrize("keep_phase", [False, True])
def test_write_pgen__plink2_reads_it(tmp_path, plink2, m, n, keep_phase):
    ds = phased_cohort(m, n)
    if m == 3:
        ds["call_genotype"][:] = -1
    if not keep_phase:
        ds = ds.drop_vars("call_genotype_phased")
    write_pgen(ds, tmp_path / "x")
    plink2("--pfile", tmp_path / "x", "--validate", out=tmp_path / "v")
    plink2("--pfile", tmp_path / "x", "--export", "vcf", out=tmp_path / "v")
    calls = ds["call_genotype"].values
    for v, (_, texts) in enumerate(vcf_calls(tmp_path / "v.vcf")):
        for s, text in enumerate(texts):
            a, b = calls[v, s]
            if a == b:
                assert text[0] == text[2] == ("." if a < 0 else str(a))
            elif keep_phase and ds["call_genotype_phased"].values[v, s]:
                assert text == f"{a}|{b}"
            else:
                assert text == "0/1"


@pytest.mark.oracle
@pytest.mark.real_data
@pytest.mark.parametrize(
    "source",
    [
        ("--bfile", "kg_sisg/chr1"),
        ("--bfile", "kgp_trios_akt/cgi433"),
        ("--bfile", "kgp3_uwgac/all"),
        ("--vcf", "kgp1_chr22_phased/chr22_phased.vcf.gz"),
    ],
)
def test_open_pgen__what_plink2_makes(tmp_path, plink2, real_data, source):
    option, name = source
    out = tmp_path / "x"
    zipped = ["vzs"] if option == "--bfile" else []
    plink2(option, real_data / name, "--make-pgen", *zipped, out=out)
    plink2("--pfile", out, *zipped, "--make-bed", out=tmp_path / "bed")
    ds, bed = open_pgen(out), open_plink(tmp_path / "bed")
    ours, theirs = source_of(ds), source_of(bed)
    assert ours.shape == theirs.shape
    whole = theirs.read_packed(0, theirs.shape[0], 0, theirs.shape[1])
    assert (ours.read_packed(0, ours.shape[0], 0, ours.shape[1]) == whole).all()
    for field in ("variant_id", "variant_position", "variant_allele", "contig_id", "sample_id", "sample_sex"):
        assert ds[field].values.tolist() == bed[field].values.tolist()
    write_pgen(ds, tmp_path / "w")
    plink2("--pfile", tmp_path / "w", "--make-bed", out=tmp_path / "wbed")
    assert (tmp_path / "wbed.bed").read_bytes() == (tmp_path / "bed.bed").read_bytes()


@pytest.mark.oracle
@pytest.mark.real_data
def test_open_pgen__phase_of_a_vcf(tmp_path, plink2, real_data):
    plink2("--vcf", real_data / "kg_sisg" / "chr1_phased.vcf.gz", "--from-bp", 1, "--to-bp", 3_000_000,
    "--chr", 1,
           "--make-pgen", out=tmp_path / "x")  # fmt: skip
    plink2("--pfile", tmp_path / "x", "--export", "vcf", out=tmp_path / "x")
    ds = open_pgen(tmp_path / "x")
    write_pgen(ds, tmp_path / "w")
    plink2("--pfile", tmp_path / "w", "--export", "vcf", out=tmp_path / "w")
    theirs = vcf_calls(tmp_path / "x.vcf")
    assert theirs == vcf_calls(tmp_path / "w.vcf")
    calls = ds["call_genotype"].values
    assert ds["call_genotype_phased"].values.all()
    for v, (_, texts) in enumerate(theirs):
        wanted = np.array([[int(t[0]), int(t[2])] for t in texts])
        assert (calls[v] == wanted).all()


@pytest.mark.oracle
def test_open_pgen__dosages_of_plink2(tmp_path, plink2):
    from reference import bgen

    rng = random.Random(4)
    n = 200
    values = [[(a, rng.randint(0, 255 - a)) for a in (rng.choice([0, 255, rng.randint(0, 255)]) for _ in
    range(n))]
              for _ in range(12)]  # fmt: skip
    variants = [{"values": row, "chromosome": "1", "position": k + 1} for k, row in enumerate(values)]
    (tmp_path / "x.bgen").write_bytes(bgen.encode(variants, [f"s{i}" for i in range(n)]))
    plink2("--bgen", tmp_path / "x.bgen", "ref-first", "--make-pgen", out=tmp_path / "x")
    ds = open_pgen(tmp_path / "x", dosages=True)
    wanted = [[float(bgen.dosage(v, s)) for s in range(n)] for v in variants]
    np.testing.assert_allclose(ds["call_dosage"].values, wanted, atol=1 / 16384)
    calls = [[bgen.hard_call(bgen.dosage(v, s)) for s in range(n)] for v in variants]
    assert (helpers.dosage_of(ds) == calls).all()
