"""BGEN files: read value by value as the reference reads them and as plink2 calls them, written for others to
read."""

import pickle
import random
import tracemalloc
from pathlib import Path

import helpers
import numpy as np
import pytest
from reference import bgen as reference

from genoweave.errors import ConfigError, DataError, GenoweaveError, StoreError
from genoweave.execution import ThreadExecutor, use
from genoweave.genotypes import select, source_of
from genoweave.io import streams
from genoweave.io.bgen import count_uncertain, open_bgen, writing
from genoweave.io.bgen.writing import write_bgen
from genoweave.io.plink import open_plink


def names(n):
    return [f"person{i:04d}" for i in range(n)]


def random_variant(rng, n, bits, *, phased=False, haploid=0.0, missing=0.1):
    """Values of which some are near a hard call and some anywhere."""
    top = (1 << bits) - 1
    ploidy = [1 if rng.random() < haploid else 2 for _ in range(n)]
    values = []
    for z in ploidy:
        near = rng.choice([0, top, max(0, top - rng.randint(0, top // 4 + 1))])
        a = near if rng.random() < 0.7 else rng.randint(0, top)
        b = rng.choice([0, top, rng.randint(0, top)])
        values.append((a,) if z == 1 else (a, b if phased else min(b, top - a)))
    return {
        "rsid": f"rs{rng.randint(1, 10**6)}",
        "chromosome": "01",
        "position": rng.randint(1, 10**6),
        "alleles": (rng.choice(["A", "ACGT"]), rng.choice(["C", "CTT"])),
        "ploidy": ploidy,
        "missing": [rng.random() < missing for _ in range(n)],
        "phased": phased,
        "bits": bits,
        "values": values,
    }


def expected(variants, n, *, ref="first", threshold=0.1):
    """Dosages of hard calls and expected copies, by the reference."""
    calls, copies = np.empty((len(variants), n), np.int8), np.empty((len(variants), n))
    for v, variant in enumerate(variants):
        for s in range(n):
            x = reference.dosage(variant, s)
            if ref == "last" and x is not None:
                x = 2 - x
            copies[v, s] = np.nan if x is None else float(x)
            calls[v, s] = reference.hard_call(x, threshold)
            if calls[v, s] == 1 and len(variant["values"][s]) == 1:
                calls[v, s] = -1
    return calls, copies


def written(path, variants, n, **options):
    path.write_bytes(reference.encode(variants, names(n), **options))
    return path


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8, 9, 16, 23, 31, 32])
@pytest.mark.parametrize("phased", [False, True])
def test_open_bgen__reads_what_the_reference_reads(tmp_path, bits, phased):
    rng = random.Random(bits)
    for n, haploid in ((1, 0), (5, 0), (13, 0.5)):
        variants = [random_variant(rng, n, bits, phased=phased, haploid=haploid) for _ in range(7)]
        for compression in (0, 1, 2):
            ref = rng.choice(["first", "last"])
            path = written(tmp_path / "x.bgen", variants, n, compression=compression)
            ids, read = reference.decode(path.read_bytes())
            assert ids == names(n)
            assert [r["values"] for r in read] == [v["values"] for v in variants]
            ds = open_bgen(path, ref=ref, dosages=True)
            calls, copies = expected(variants, n, ref=ref)
            assert (helpers.dosage_of(ds) == calls).all()
            np.testing.assert_allclose(ds["call_dosage"].values, copies, rtol=1e-6, atol=1e-6)
            assert ds["call_dosage"].dtype == np.float32
            assert ("call_genotype_phased" in ds) == phased
            order = slice(None) if ref == "first" else slice(None, None, -1)
            assert ds["variant_allele"].values.tolist() == [list(v["alleles"])[order] for v in variants]
            assert ds["variant_id"].values.tolist() == [v["rsid"] for v in variants]
            assert ds["variant_position"].values.tolist() == [v["position"] for v in variants]
            assert ds["contig_id"].values.tolist() == ["1"]
            assert ds["sample_id"].values.tolist() == names(n)


@pytest.mark.parametrize("compression", [0, 1])
def test_open_bgen__layout_1(tmp_path, compression):
    rng = random.Random(1)
    variants = [
        {"values": [rng.choice([(0, 0, 0), (k, 32768 - k, 0), (0, k, 32768 - k), (k, 0, k // 30)])
                    for k in (rng.randint(0, 4000) for _ in range(9))],
         "layout": 1}
        for _ in range(6)
    ]  # fmt: skip
    path = tmp_path / "x.bgen"
    path.write_bytes(reference.encode(variants, n=9, layout=1, compression=compression))
    (tmp_path / "x.sample").write_text("ID_1 ID_2 missing\n0 0 0\n" + "".join(f"f {i} 0\n" for i in range(9)))
    for ref in ("first", "last"):
        ds = open_bgen(path, ref=ref, dosages=True)
        calls, copies = expected(variants, 9, ref=ref)
        assert (helpers.dosage_of(ds) == calls).all()
        np.testing.assert_allclose(ds["call_dosage"].values, copies, rtol=1e-6, atol=1e-6)
    assert ds["sample_id"].values.tolist() == [str(i) for i in range(9)]
    assert ds["sample_family_id"].values.tolist() == ["f"] * 9


@pytest.mark.parametrize("threshold", [0, 0.05, 0.1, 0.25, 0.4999])
def test_open_bgen__threshold(tmp_path, threshold):
    variants = [{"values": [(255 - k, k) for k in range(256)]}, {"values": [(0, k) for k in range(256)]}]
    path = written(tmp_path / "x.bgen", variants, 256)
    ds = open_bgen(path, hard_call_threshold=threshold)
    assert (helpers.dosage_of(ds) == expected(variants, 256, threshold=threshold)[0]).all()


def test_open_bgen__phase(tmp_path):
    top = 255
    values = [(top, 0), (0, top), (top, top), (0, 0), (200, 50), (150, 105), (128, 127)]
    variants = [{"values": values, "phased": True, "missing": [False] * 6 + [True]}]
    path = written(tmp_path / "x.bgen", variants, 7)
    ds = open_bgen(path)
    half = [[0, 1], [-1, -1]]
    assert ds["call_genotype"].values.tolist() == [[[0, 1], [1, 0], [0, 0], [1, 1], [0, 1], *half]]
    assert ds["call_genotype_phased"].values.tolist() == [[True] * 5 + [False] * 2]
    swapped = open_bgen(path, ref="last")["call_genotype"].values.tolist()
    assert swapped == [[[1, 0], [0, 1], [1, 1], [0, 0], [1, 0], *half]]


def test_count_uncertain__and_haploid(tmp_path):
    variants = [
        {"values": [(255,), (128,), (100, 100), (0, 255)], "ploidy": [1, 1, 2, 2]},
        {"values": [(255, 0), (0, 0), (0, 230), (0, 229)]},
    ]
    ds = open_bgen(written(tmp_path / "x.bgen", variants, 4))
    assert count_uncertain(ds).tolist() == [[2, 2], [1, 0]]
    assert helpers.dosage_of(ds).tolist() == [[0, -1, -1, 1], [0, 2, 1, -1]]
    with pytest.raises(ConfigError, match="before any filter"):
        count_uncertain(select(ds, np.array([0])))


def test_open_bgen__any_block_by_itself(tmp_path):
    rng = random.Random(3)
    variants = [random_variant(rng, 11, rng.choice([8, 8, 5]), phased=k % 2 == 0) for k in range(9)]
    ds = open_bgen(written(tmp_path / "x.bgen", variants, 11), dosages=True)
    source = pickle.loads(pickle.dumps(source_of(ds)))
    calls = expected(variants, 11)[0]
    whole = source.read(0, 9, 0, 11)
    for v0, v1, s0, s1 in ((0, 9, 0, 11), (2, 5, 3, 8), (8, 9, 10, 11), (4, 4, 0, 11), (1, 3, 5, 5)):
        block = source.read(v0, v1, s0, s1)
        assert (block == whole[v0:v1, s0:s1]).all()
        dosage = np.where((block < 0).any(axis=2), -1, block.sum(axis=2))
        assert (dosage == calls[v0:v1, s0:s1]).all()
        packed = source.read_packed(v0, v1, s0, s1)
        codes = packed[:, :, None] >> np.arange(0, 8, 2) & 3
        codes = codes.reshape(v1 - v0, 4 * packed.shape[1])
        assert (np.array([2, -1, 1, 0])[codes[:, : s1 - s0]] == dosage).all()
        assert (codes[:, s1 - s0 :] == 1).all()
        for name in ("call_genotype_phased", "call_dosage"):
            part, all_of_it = ds[name].data[v0:v1, s0:s1].compute(), ds[name].values
            np.testing.assert_array_equal(part, all_of_it[v0:v1, s0:s1])


SAMPLE = "ID_1 ID_2 missing sex father mother case bmi\n0 0 0 D D D B P\n"


def test_open_bgen__sample_file(tmp_path):
    path = tmp_path / "x.bgen"
    path.write_bytes(reference.encode([{"values": [(255, 0)] * 3}], n=3))
    with pytest.raises(DataError, match=r"no sample ids, and there is no .*x\.sample"):
        open_bgen(path)
    rows = ["f1 a 0 1 0 0 0 20.5", "f1 b 0 2 a 0 1 NA", "f2 c 0 NA 0 0 NA -9"]
    table = tmp_path / "t.sample"
    table.write_text(SAMPLE + "\n".join(rows) + "\n")
    ds = open_bgen(path, sample_file=table)
    assert ds["sample_id"].values.tolist() == ["a", "b", "c"]
    assert ds["sample_family_id"].values.tolist() == ["f1", "f1", "f2"]
    assert ds["sample_sex"].values.tolist() == [1, 2, 0]
    assert ds["sample_paternal_id"].values.tolist() == ["0", "a", "0"]
    np.testing.assert_array_equal(ds["sample_phenotype"].values, [1, 2, np.nan])
    table.write_text(SAMPLE + "\n".join(rows[:2]) + "\n")
    with pytest.raises(DataError, match=r"t\.sample lists 2 samples, .*x\.bgen has 3"):
        open_bgen(path, sample_file=table)
    table.write_text(SAMPLE + "\n".join([*rows[:2], "f2 c 0"]) + "\n")
    with pytest.raises(DataError, match=r"t\.sample, line 5: wanted 8 columns"):
        open_bgen(path, sample_file=table)
    table.write_text(SAMPLE + "\n".join([*rows[:2], rows[0]]) + "\n")
    with pytest.raises(DataError, match="samples number 1 and 3 are equal"):
        open_bgen(path, sample_file=table)
    table.write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="begins with a line of names"):
        open_bgen(path, sample_file=table)
    with pytest.raises(StoreError, match="no table"):
        open_bgen(path, sample_file=tmp_path / "absent.sample")


def test_open_bgen__sample_file_in_another_order(tmp_path):
    path = written(tmp_path / "x.bgen", [{"values": [(255, 0)] * 3}], 3)
    table = tmp_path / "t.sample"
    table.write_text("ID_1 ID_2 missing\n0 0 0\n" + "".join(f"{i} {i} 0\n" for i in names(3)[::-1]))
    with pytest.raises(DataError, match="in another order"):
        open_bgen(path, sample_file=table)
    table.rename(tmp_path / "x.sample")  # one beside it, of other samples or none, is left alone
    assert open_bgen(path)["sample_id"].values.tolist() == names(3)
    (tmp_path / "x.sample").write_text("what\n")
    assert open_bgen(path)["sample_id"].values.tolist() == names(3)


def broken(change, **options):
    """The bytes of a file of two variants and three samples, changed at one place."""
    variants = [{"values": [(255, 0), (0, 255), (0, 0)]} | options.pop("variant", {})] * 2
    data = bytearray(reference.encode(variants, names(3), **options))
    change(data)
    return bytes(data)


def nothing(_):
    pass


def put(at, value):
    def change(data):
        start = at % len(data)
        data[start : start + len(value)] = value

    return change


U32 = (2**32 - 1).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least 24 bytes"),
        (broken(put(16, b"bgem")), "not a BGEN file"),
        (broken(put(0, U32)), "do not fit into a file"),
        (broken(put(4, U32)), "do not fit into a file"),
        (broken(put(8, U32)), "4294967295 variants are promised"),
        (broken(put(8, bytes(4))), "holds 0 variants"),
        (broken(put(12, U32)), "block of sample ids: it is to hold"),
        (broken(put(12, bytes(4))), "0 samples"),
        (broken(put(20, b"\x0d")), "layout 3"),
        (broken(put(20, b"\x0b")), "layout 2 with compression 3"),
        (broken(put(24, U32)), "block of sample ids: it is to hold"),
        (broken(put(32, b"\xff\xff")), "ends within its block of sample ids"),
        (broken(put(34, b"\xff")), "not UTF-8"),
        (broken(nothing, variant={"alleles": ("A", "C", "G")}), "variant number 1 of 2: it has 3 alleles"),
        (broken(nothing, variant={"position": 2**31}), "position is from 0"),
        (broken(nothing, count=3), "26 bytes|ends within its variant number 3 of 3|are promised"),
        (broken(nothing, variant={"bits": 0, "values": [(0, 0)] * 3}), "bits are 1 to 32, found 0 and 0"),
        (broken(nothing, variant={"bits": 33}), "data take 38 bytes when decompressed"),
        (broken(nothing, variant={"ploidy": [2, 3, 2], "values": [(0, 0)] * 3}), "number 2 has ploidy 3"),
        (broken(nothing, variant={"values": [(255, 0), (200, 100), (0, 0)]}), "sample number 2 sum to more"),
        (broken(nothing, variant={"values": [(1, 1), (1,), (1, 1)]}), r"have 18 bytes, .* take 19"),
        (broken(nothing, variant={"phased": 2}), "phased is 0 or 1"),
        (broken(put(-2, b"\xff\xff")), "damaged"),
        (broken(lambda data: put(data.rindex(b"\x28\xb5\x2f\xfd"), b"xx")(data), compression=2), "damaged"),
    ],
)  # fmt: skip
def test_open_bgen__refuses_in_words(tmp_path, data, message):
    path = tmp_path / "x.bgen"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        open_bgen(path)["call_genotype"].values  # noqa: B018
    assert str(path) in str(caught.value)
    assert "person" not in str(caught.value)


def test_open_bgen__ids_that_stand_twice(tmp_path):
    path = tmp_path / "x.bgen"
    path.write_bytes(reference.encode([{"values": [(255, 0)] * 3}], ["a", "b", "a"]))
    with pytest.raises(DataError, match="samples number 1 and 3 are equal"):
        open_bgen(path)


def test_open_bgen__options(tmp_path):
    path = written(tmp_path / "x.bgen", [{"values": [(255, 0)]}], 1)
    with pytest.raises(ConfigError, match="hard_call_threshold"):
        open_bgen(path, hard_call_threshold=0.5)
    with pytest.raises(ConfigError, match="'first' or 'last'"):
        open_bgen(path, ref="second")
    with pytest.raises(StoreError, match="no BGEN file"):
        open_bgen(tmp_path / "absent.bgen")


@pytest.mark.parametrize("compression", [0, 1, 2])
def test_open_bgen__damaged_bytes(tmp_path, compression):
    """Cut short or with flipped bits: an error in words or a read, within a bounded memory."""
    rng = random.Random(compression)
    variants = [random_variant(rng, 20, 8, phased=k == 3) for k in range(6)]
    whole = reference.encode(variants, names(20), compression=compression)
    path = tmp_path / "x.bgen"
    refused = 0
    tracemalloc.start()
    for k in range(250):
        data = bytearray(whole)
        if k % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.randint(1, 3)):
            if data:
                at = rng.randrange(len(data)) if k % 2 else rng.randrange(min(len(data), 60))
                data[at] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            ds = open_bgen(path, dosages=True)
            assert ds["call_genotype"].values.shape[1:] == (20, 2)
            assert ds["call_dosage"].values.shape[1] == 20
        except GenoweaveError:
            refused += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 100
    assert peak < 64 * 2**20


def phased_cohort(m, n, seed=1, *, some=True):
    """Random calls with missing ones; `some`: a few heterozygous calls are not phased."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 2, (m, n, 2)).astype(np.int8)
    calls[rng.random((m, n)) < 0.1] = -1
    ds = helpers.cohort(np.zeros((m, n), np.int8), contigs=("1", "2"))
    ds["call_genotype"][:] = calls
    phased = np.ones((m, n), bool)
    if some:
        phased[::3] = rng.random((len(phased[::3]), n)) < 0.8
    return ds.assign(call_genotype_phased=(("variants", "samples"), phased))


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 2), (5, 7), (40, 33)])
def test_write_bgen__round_trip(tmp_path, m, n, compression):
    ds = phased_cohort(m, n, some=False)
    write_bgen(ds, tmp_path / "a" / "x.bgen", compression=compression)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["x.bgen", "x.sample"]
    opened = open_bgen(tmp_path / "a" / "x.bgen")
    assert (opened["call_genotype"].values == ds["call_genotype"].values).all()
    missing = (ds["call_genotype"].values < 0).any(axis=2)
    if not missing.all():
        assert (opened["call_genotype_phased"].values == ~missing).all()
    for name in ("sample_id", "variant_id", "variant_allele", "variant_position", "variant_contig"):
        assert opened[name].values.tolist() == ds[name].values.tolist()
    assert opened["contig_id"].values.tolist() == ["1", "2"][: min(m, 2)]
    _, variants = reference.decode((tmp_path / "a" / "x.bgen").read_bytes())
    assert (expected(variants, n)[0] == helpers.dosage_of(ds)).all()


def test_write_bgen__unphased_and_partly_phased_variants(tmp_path):
    ds = phased_cohort(30, 12)
    write_bgen(ds, tmp_path / "x.bgen")
    _, variants = reference.decode((tmp_path / "x.bgen").read_bytes())
    calls, phased = ds["call_genotype"].values, ds["call_genotype_phased"].values
    het = (calls[..., 0] != calls[..., 1]) & (calls >= 0).all(axis=2)
    assert [v["phased"] for v in variants] == (~(het & ~phased).any(axis=1)).tolist()
    write_bgen(ds.drop_vars("call_genotype_phased"), tmp_path / "y.bgen")
    _, variants = reference.decode((tmp_path / "y.bgen").read_bytes())
    assert not any(v["phased"] for v in variants)
    assert (expected(variants, 12)[0] == helpers.dosage_of(ds)).all()


def test_write_bgen__sample_columns_come_back(tmp_path):
    ds = helpers.cohort(np.zeros((2, 4), np.int8)).assign(
        sample_sex=("samples", np.array([1, 2, 0, 1], np.int8)),
        sample_family_id=("samples", np.array(["f", "f", "g", "h"], object)),
        sample_paternal_id=("samples", np.array(["0", "0", "0", "person0000"], object)),
        sample_maternal_id=("samples", np.array(["0", "0", "0", "person0001"], object)),
        sample_phenotype=("samples", np.array([1.5, np.nan, 3, -2])),
    )
    write_bgen(ds, tmp_path / "x.bgen")
    opened = open_bgen(tmp_path / "x.bgen")
    for name in ("sex", "family_id", "paternal_id", "maternal_id", "phenotype"):
        np.testing.assert_array_equal(opened[f"sample_{name}"].values, ds[f"sample_{name}"].values)
    write_bgen(ds.drop_vars("sample_phenotype").assign(sample_case=("samples", np.array([0, 1, -1, 0]))),
               tmp_path / "y.bgen")  # fmt: skip
    case = open_bgen(tmp_path / "y.bgen")["sample_phenotype"].values
    np.testing.assert_array_equal(case, [1, 2, np.nan, 1])


def test_write_bgen__families_and_unknown_alleles_come_back(tmp_path):
    ds = helpers.cohort(np.zeros((2, 3), np.int8)).assign(
        sample_family_id=("samples", np.array(["f", "g", "g"], object)),
        sample_paternal_id=("samples", np.array(["0", "0", "g_a"], object)),
        sample_maternal_id=("samples", np.array(["0", "0", "0"], object)),
    )
    ds["sample_id"][:] = ["f_a", "g_a", "g_b"]
    ds["variant_allele"][1, 1] = ""
    ds.attrs["import_counts"] = {"sample_ids_with_family": 3}
    write_bgen(ds, tmp_path / "x.bgen")
    assert (tmp_path / "x.sample").read_text().splitlines()[2:] == [
        "f a 0 NA 0 0",
        "g a 0 NA 0 0",
        "g b 0 NA a 0",
    ]
    opened = open_bgen(tmp_path / "x.bgen")
    for name in ("sample_id", "sample_family_id", "sample_paternal_id", "variant_allele"):
        assert opened[name].values.tolist() == ds[name].values.tolist()
    assert opened.attrs == ds.attrs


def test_write_bgen__refuses(tmp_path):
    ds = helpers.cohort(np.zeros((2, 3), np.int8))
    ds["call_genotype"][1, 2] = [0, 2]
    with pytest.raises(DataError, match="allele code 2"):
        write_bgen(ds, tmp_path / "x.bgen")
    assert not (tmp_path / "x.bgen").exists()
    with pytest.raises(ConfigError, match="'zlib' or 'zstd'"):
        write_bgen(ds, tmp_path / "x.bgen", compression="gzip")
    ds["variant_id"][1] = "x" * 70_000
    with pytest.raises(DataError, match="variant_id, row 2"):
        write_bgen(ds, tmp_path / "x.bgen")


class Killed(BaseException):
    pass


def kill_at(module, task, monkeypatch, batch):
    """Let a task fail on the batch that begins with variant `batch`."""
    work = getattr(module, task)

    def fail(*arguments):
        if arguments[-1].v0 == batch:
            raise Killed
        return work(*arguments)

    monkeypatch.setattr(module, task, fail)


@pytest.mark.parametrize("workers", [1, 3])
def test_write_bgen__a_killed_write_goes_on(tmp_path, monkeypatch, workers):
    ds = phased_cohort(20, 9)
    write_bgen(ds, tmp_path / "whole.bgen")
    monkeypatch.setattr(streams, "BATCH_CALLS", 9 * 4)
    executor = ThreadExecutor(workers)
    with use(executor), monkeypatch.context() as patch:
        kill_at(writing, "_variants", patch, 12)
        with pytest.raises(Killed):
            write_bgen(ds, tmp_path / "x.bgen", "token")
    assert not (tmp_path / "x.bgen").exists()
    assert (tmp_path / "x.bgen.partial").stat().st_size > 0
    with use(executor), monkeypatch.context() as patch:
        kill_at(writing, "_variants", patch, 0)  # done already
        write_bgen(ds, tmp_path / "x.bgen", "token")
    executor.close()
    assert (tmp_path / "x.bgen").read_bytes() == (tmp_path / "whole.bgen").read_bytes()
    assert not list(tmp_path.glob("x.bgen.*"))


@pytest.mark.real_data
def test_open_bgen__the_same_data_as_a_bed(real_data):
    # PLINK wrote it: the counted allele stands first
    ds = open_bgen(real_data / "io" / "regenie_example.bgen", ref="last")
    bed = open_plink(real_data / "io" / "regenie_example")
    assert (ds["call_genotype"].values == bed["call_genotype"].values).all()
    for name in ("variant_allele", "variant_id", "variant_position", "contig_id"):
        assert ds[name].values.tolist() == bed[name].values.tolist()


@pytest.mark.real_data
def test_open_bgen__example_of_the_format(real_data):
    path = real_data / "io" / "example.32bits.bgen"
    ds = open_bgen(path, dosages=True)
    _, variants = reference.decode(path.read_bytes())
    calls, copies = expected(variants[:20], 500)
    assert (helpers.dosage_of(ds)[:20] == calls).all()
    np.testing.assert_allclose(ds["call_dosage"].values[:20], copies, rtol=1e-6, atol=1e-6)


def plink_calls(plink2, path, out, ref="ref-first", *options):
    plink2("--bgen", path, ref, *options, "--make-bed", out=out)
    return helpers.dosage_of(open_plink(out))


@pytest.mark.oracle
@pytest.mark.parametrize("bits", [8, 11, 16, 28])
@pytest.mark.parametrize("phased", [False, True])
def test_open_bgen__calls_as_plink2(tmp_path, plink2, bits, phased):
    rng = random.Random(bits)
    n = 600
    variants = [random_variant(rng, n, bits, phased=phased) | {"position": k + 1} for k in range(20)]
    path = written(tmp_path / "x.bgen", variants, n)
    for threshold in (0.1, 0.3):
        ds = open_bgen(path, hard_call_threshold=threshold)
        theirs = plink_calls(plink2, path, tmp_path / "x", "ref-first", "--hard-call-threshold", threshold)
        assert (helpers.dosage_of(ds) == theirs).all()


@pytest.mark.oracle
def test_open_bgen__phase_as_plink2(tmp_path, plink2):
    # ref-last: with ref-first PLINK 2 of August 2022 turns the haplotypes of heterozygous calls round
    pairs = [(a, b) for a in range(0, 256, 5) for b in range(0, 256, 5)]
    path = written(tmp_path / "x.bgen", [{"values": pairs, "phased": True, "chromosome": "1"}], len(pairs))
    plink2("--bgen", path, "ref-last", "--export", "vcf", out=tmp_path / "x")
    theirs = (tmp_path / "x.vcf").read_text().splitlines()[-1].split("\t")[9:]
    ds = open_bgen(path, ref="last")
    calls, phased = ds["call_genotype"].values[0], ds["call_genotype_phased"].values[0]
    ours = [f"{a}{'|' if p or a < 0 else '/'}{b}" for (a, b), p in zip(calls.tolist(), phased, strict=True)]
    assert [text.replace("-1", ".") for text in ours] == theirs


@pytest.mark.oracle
@pytest.mark.parametrize(
    "export", [("bgen-1.1",), ("bgen-1.2", "bits=8"), ("bgen-1.2", "bits=16"), ("bgen-1.3",)]
)
def test_open_bgen__what_plink2_exports(tmp_path, plink2, small_cohort, export):
    bed = helpers.write_bed(small_cohort, tmp_path / "bed")
    for ref in ("first", "last"):
        options = [*export, "ref-first"] if ref == "first" else export
        plink2("--bfile", bed, "--export", *options, out=tmp_path / "x")
        ds = open_bgen(tmp_path / "x.bgen", ref=ref)
        assert (helpers.dosage_of(ds) == helpers.dosage_of(small_cohort)).all()
        for name in ("variant_allele", "variant_id", "sample_id"):
            assert ds[name].values.tolist() == small_cohort[name].values.tolist()


@pytest.mark.oracle
@pytest.mark.parametrize("compression", ["zlib", "zstd"])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 5), (60, 81)])
def test_write_bgen__plink2_reads_it(tmp_path, plink2, m, n, compression):
    ds = phased_cohort(m, n)
    if m == 3:
        ds["call_genotype"][:] = -1
    write_bgen(ds, tmp_path / "x.bgen", compression=compression)
    theirs = plink_calls(plink2, tmp_path / "x.bgen", tmp_path / "x")
    assert (theirs == helpers.dosage_of(ds)).all()
    table = Path(f"{tmp_path / 'x'}.fam").read_text().split("\n")
    assert [row.split()[1] for row in table if row] == names(n)
