"""Inputs made to do harm: archives that expand without end, codecs that run programs, names that are paths or
formulas."""

import csv
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from fuzz import seeds
from fuzz.mutate import resealed
from numcodecs import GZip, Pickle, VLenUTF8, Zstd

from genoweave.cli import main
from genoweave.cohorts import FORMATS, export, import_cohort
from genoweave.errors import DataError, GenoweaveError
from genoweave.genotypes import source_of
from genoweave.io import bounded, checked_store, codec
from genoweave.io.cohort import open_cohort
from genoweave.io.pgen.tables import read_pvar
from genoweave.io.store import open_store, write
from genoweave.io.tables import text

MIB = 2**20


@pytest.fixture(params=["folder", "zip"])
def hostile(request, tmp_path):
    """``hostile({name: change})`` writes a store with changed files, and returns its path."""

    def make(changes, *, standard=False):
        folder = tmp_path / "made" / "case.vcz"
        write(seeds.cohort(), folder, (4, 8), standard=standard)
        for name, change in changes.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            data = file.read_bytes() if file.exists() else b""
            file.write_bytes(change(data) if callable(change) else change)
        return folder if request.param == "folder" else zipped(folder, tmp_path / "case.vcz.zip")

    return make


def zipped(folder, path, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder))
    return path


def meta(**values):
    """A change of JSON."""
    return lambda data: json.dumps(json.loads(data) | values).encode()


def refused(path, match, *, limit=64 * MIB):
    """Opening and reading everything must fail in words, and in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(GenoweaveError, match=match) as caught:
            everything(open_cohort(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert path.name in text
    assert "\n" not in text
    assert peak < limit, f"{peak / MIB:.0f} MiB for {path}"


def everything(ds):
    source = source_of(ds)
    source.read(0, source.shape[0], 0, source.shape[1])
    source.read_packed(0, source.shape[0], 0, source.shape[1])
    return {name: ds[name].values for name in ds.variables}


class Trap:
    """What pickle would run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["filter", "compressor", "fill value", "two filters"])
@pytest.mark.parametrize("name", ["sample_id", "variant_position", "call_genotype"])
def test_open_cohort__pickle_is_never_run(hostile, tmp_path, name, place):
    program = pickle.dumps(Trap(tmp_path / "harm"))
    pickled = {"id": "pickle", "protocol": 5}
    change = {
        "filter": {"dtype": "|O", "filters": [pickled]},
        "compressor": {"compressor": pickled},
        "fill value": {"dtype": [["a", "|O"]], "filters": [pickled], "fill_value": "gASVIAAAAA=="},
        "two filters": {"dtype": "|O", "filters": [{"id": "vlen-utf8"}, pickled]},
    }[place]
    first = "0.0.0" if name == "call_genotype" else "0"
    path = hostile({f"{name}/.zarray": meta(**change), f"{name}/{first}": program})
    refused(path, rf"array {name} (is stored with codec 'pickle'|is of type)")
    assert not (tmp_path / "harm").exists()


def test_open_cohort__pickle_in_a_store_made_with_it(tmp_path):
    path = tmp_path / "case.vcz"
    write(seeds.cohort(), path, (4, 8))
    group = zarr.open_group(str(path), mode="r+")
    ids = group["sample_id"][...]
    del group["sample_id"]
    array = group.create_dataset("sample_id", data=ids, dtype=object, object_codec=Pickle())
    array.attrs["_ARRAY_DIMENSIONS"] = ["samples"]
    refused(path, "codec 'pickle', which is not opened: such codecs can run programs")


@pytest.mark.parametrize(
    "codec_id", ["n5_wrapper", "zfpy", "msgpack2", "genoweave_bounded", "no-such", "../x"]
)
def test_open_cohort__codecs_that_are_not_known_to_be_harmless(hostile, codec_id):
    path = hostile({"variant_position/.zarray": meta(compressor={"id": codec_id})})
    refused(path, "which is not opened")


IMPOSSIBLE = {
    "shape of 2**60": {"shape": [2**60]},
    "chunks of 2**60": {"chunks": [2**60]},
    "negative shape": {"shape": [-9]},
    "negative chunks": {"chunks": [-4]},
    "chunks of 0": {"chunks": [0]},
    "more dimensions": {"shape": [9, 9], "chunks": [4]},
    "shape is true": {"shape": [True]},
    "shape is text": {"shape": "9"},
    "shape as large as allowed": {"shape": [2**31 - 1]},
    "chunks of one": {"shape": [2**31 - 1], "chunks": [1], "fill_value": 0},
    "chunk too large": {"shape": [2**31 - 1], "chunks": [2**31 - 1], "fill_value": 0},
    "dates": {"dtype": "<M8[ns]"},
    "a structure": {"dtype": [["a", "<i4"]]},
    "long text": {"dtype": "<U1000000000"},
    "no type": {"dtype": None},
    "no order": {"order": None},
    "odd separator": {"dimension_separator": "../"},
    "fill value": {"fill_value": {"a": 1}},
    "filters are no list": {"filters": {"id": "delta"}},
    "filter of objects": {"filters": [{"id": "delta", "dtype": "|O"}]},
    "compressor of odd parameters": {"compressor": {"id": "zstd", "harm": 1}},
    "format 3": {"zarr_format": 3},
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_open_cohort__impossible_metadata(hostile, kind):
    refused(
        hostile({"variant_position/.zarray": meta(**IMPOSSIBLE[kind])}), "variant_position|memory holds|zarr"
    )


@pytest.mark.parametrize("size", [2**60, 2**31 - 1])
def test_open_cohort__calls_of_impossible_shape(hostile, size):
    path = hostile({"call_genotype/.zarray": meta(shape=[size, size, 2])})
    refused(path, "call_genotype|another array")


DEEP = 100_000
BAD_JSON = {
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep in an object": b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
    "a list": b"[1, 2]",
    "not JSON": b"\xff\x00",
    "empty": b"",
    "a long number": b'{"a": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("file", [".zgroup", ".zattrs", "sample_id/.zattrs", "sample_id/.zarray"])
@pytest.mark.parametrize("kind", BAD_JSON)
def test_open_cohort__json_that_is_none(hostile, file, kind):
    refused(hostile({file: BAD_JSON[kind]}), "JSON object|read as JSON")


def test_open_cohort__odd_attributes_do_no_harm(hostile):
    attributes = {"a": float("nan"), "b": 1e308, "c": "x" * MIB, "import_counts": [1], "source": "genoweave"}
    path = hostile({".zattrs": json.dumps(attributes).encode()})
    assert "import_counts" not in open_cohort(path).attrs


def bomb(size):
    """zstd data of a few bytes that expand."""
    return bytes(Zstd(1).encode(bytes(size)))


def test_open_cohort__chunks_that_expand_too_much(hostile):
    for compressor, data in (
        ({"id": "zstd", "level": 1}, bomb(80 * MIB)),
        ({"id": "gzip", "level": 1}, bytes(GZip(1).encode(bytes(80 * MIB)))),
        ({"id": "blosc"}, b"\x02\x01\x96\x01" + struct.pack("<III", 2**31 - 20, 2**20, 16)),
        ({"id": "blosc"}, b"\x02\x01\x96"),
        ({"id": "lz4"}, struct.pack("<I", 2**31 - 1) + b"\0" * 20),
    ):
        path = hostile({"variant_position/.zarray": meta(compressor=compressor), "variant_position/0": data})
        refused(path, "variant_position cannot be read")


def test_open_cohort__texts_that_promise_billions(hostile):
    data = bytes(Zstd(1).encode(struct.pack("<I", 2**32 - 1) + bytes(100)))
    path = hostile({"sample_id/.zarray": meta(compressor={"id": "zstd"}), "sample_id/0": data})
    refused(path, "sample_id cannot be read")


def test_open_cohort__calls_that_expand_too_much(hostile):
    changes = {
        "call_genotype/.zarray": meta(compressor={"id": "zstd"}),
        "call_genotype/0.0.0": bomb(99 * MIB),
    }
    path = hostile(changes, standard=True)
    refused(path, "call_genotype of variants 0 to 8 cannot be read")


def sized(frame):
    """A frame behind its size."""
    return struct.pack("<I", len(frame)) + frame


def packed(mode, shape, *, stored=0, exceptions=0, body=b""):
    head = struct.pack(
        "<4sBBHIIIIQ", b"GWPC", codec.VERSION, mode, shape[2], *shape[:2], exceptions, stored, 0
    )
    return resealed(head + body)


@pytest.mark.parametrize(
    "chunk",
    [
        packed(2, (2**31, 2**31, 1), body=bomb(MIB)),
        packed(2, (1024, 100 * 1024, 2), body=bomb(80 * MIB)),
        packed(0, (2**32 - 1, 2**32 - 1, 2), stored=2**30),
        packed(1, (4, 8, 2), exceptions=2**32 - 1, body=struct.pack("<I", 0) + sized(bomb(9))),
        packed(1, (4, 8, 2), exceptions=2**23, body=struct.pack("<I", 0) + sized(bomb(6 * 2**23))),
        packed(0, (4, 8, 2), stored=2, body=struct.pack("<I", 0) + b"\5" * 4 + sized(bomb(99 * MIB))),
    ],
)
def test_open_cohort__packed_chunks_that_expand_too_much(hostile, chunk):
    refused(hostile({"call_genotype/0.0.0": chunk}), "call_genotype of variants 0 to 3 cannot be read")
    with pytest.raises(ValueError, match=r"frame|bytes|shape|chunk|wanted"):
        codec.decode(chunk, (4, 8, 2)).calls()


def test_packed_calls__of_2_gib_and_more_are_not_expanded():
    for chunk in (packed(0, (2**16, 2**16, 2)), packed(2, (2**31, 2**31, 1), body=bomb(MIB))):
        with pytest.raises(ValueError, match=r"frame|bytes"):
            codec.PackedCalls().decode(chunk)


@pytest.mark.parametrize(
    "name", ["variant_position/0", "call_genotype/0.0.0", ".zattrs", "sample_id/.zarray"]
)
def test_open_cohort__entries_of_an_archive_that_expand_too_much(tmp_path, name):
    write(seeds.cohort(), tmp_path / "case.vcz", (4, 8))
    (tmp_path / "case.vcz" / name).write_bytes(bytes(20 * MIB))
    path = zipped(tmp_path / "case.vcz", tmp_path / "case.vcz.zip")
    assert path.stat().st_size < MIB // 4
    refused(path, "has 20971520 bytes, where at most", limit=8 * MIB)


def test_bounded__every_compressor(tmp_path):
    data = bytes(1000)
    for kind in ("blosc", "zstd", "zlib", "gzip", "lz4", "bz2"):
        whole = bounded.get_codec({"id": kind}).encode(data)
        assert bytes(bounded.Bounded({"id": kind}, 1000, is_exact=True).decode(whole)) == data
        out = np.full(1000, 7, np.uint8)
        bounded.Bounded({"id": kind}, 1000, is_exact=True).decode(whole, out)
        assert not out.any()
        for size in (999, 1001, 1):
            with pytest.raises(ValueError, match="expands to"):
                bounded.Bounded({"id": kind}, size, is_exact=True).decode(whole)
        for end in range(len(whole) - 1):
            with pytest.raises(ValueError, match=r"."):
                bounded.Bounded({"id": kind}, 1000, is_exact=True).decode(whole[:end])


def test_checked_store__is_not_written_to(tmp_path):
    write(seeds.cohort(), tmp_path / "case.vcz", (4, 8))
    store = checked_store.opened(str(tmp_path / "case.vcz"))
    with pytest.raises(ValueError, match="not written to"):
        store["x"] = b"1"
    again = pickle.loads(pickle.dumps(store))
    assert again[".zgroup"] == store[".zgroup"]
    assert len(again) == len(list(again))


@pytest.mark.parametrize("name", ["call_genotype/1.0.0", "variant_allele/1.0", "variant_position/1"])
@pytest.mark.parametrize("standard", [False, True])
def test_open_cohort__a_folder_in_place_of_a_chunk(tmp_path, name, standard):
    """A listing shows it, so that no chunk seems to lack; zarr would hand out what stood in memory."""
    path = tmp_path / "case.vcz"
    write(seeds.cohort(), path, (4, 8), standard=standard)
    (path / name).unlink()
    (path / name).mkdir()
    refused(path, "is not there")


def test_read_table__larger_than_the_memory(tmp_path, monkeypatch):
    rows = b"id\tgroup\n" + b"".join(b"S%d\tA\n" % i for i in range(2 * 2**16))
    (tmp_path / "case.tsv.zst").write_bytes(bytes(Zstd(1).encode(rows)))
    pd.DataFrame({"id": ["x"] * 2**17, "group": "A"}).to_parquet(tmp_path / "case.parquet")
    for name in ("case.tsv.zst", "case.parquet"):
        monkeypatch.setattr(text, "machine_memory", lambda: 2**34)
        assert len(text.read_table(tmp_path / name)) == 2**17
        monkeypatch.setattr(text, "machine_memory", lambda: 2**23)
        with pytest.raises(DataError, match=rf"{name}: .* rows of 2 columns take more than the memory holds"):
            text.read_table(tmp_path / name)


def test_read_pvar__a_line_without_an_end(tmp_path):
    noise = np.random.default_rng(1).integers(32, 127, 70 * MIB, np.uint8).tobytes()
    (tmp_path / "case.pvar.zst").write_bytes(bytes(Zstd(1).encode(b"##" + noise)))
    with pytest.raises(DataError, match=r"case\.pvar\.zst has a line longer than 64 MiB"):
        read_pvar(tmp_path / "case.pvar.zst", 3)


def files_below(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*")}


@pytest.mark.parametrize(
    "name",
    [
        "../evil/.zarray",
        "/evil/.zarray",
        "sample_id/../../evil",
        "a/../../../evil/.zarray",
        "..\\evil/.zarray",
    ],
)
def test_import__names_of_an_archive_that_lead_outside(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    write(seeds.cohort(), tmp_path / "case.vcz", (4, 8))
    path = zipped(tmp_path / "case.vcz", inside / "case.vcz.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, (tmp_path / "case.vcz/sample_id/.zarray").read_bytes())
    before = files_below(tmp_path)
    out = inside / "out.vcz"
    try:
        import_cohort(path, out)
    except GenoweaveError as error:
        assert "case.vcz.zip" in str(error)  # noqa: PT017  (either will do, if nothing is written elsewhere)
    after = files_below(tmp_path)
    assert {k for k in after if after[k] != before.get(k)} <= {"inside"} | {
        k for k in after if k.startswith("inside/out.vcz")
    }
    assert not [k for k in files_below(out) if "evil" in k]


def test_import__links_of_a_store_are_only_read(tmp_path):
    write(seeds.cohort(), tmp_path / "case.vcz", (4, 8))
    outside = tmp_path / "outside"
    (tmp_path / "case.vcz/sample_id").rename(outside)
    (tmp_path / "case.vcz/sample_id").symlink_to(outside)
    before = files_below(outside)
    import_cohort(tmp_path / "case.vcz", tmp_path / "out.vcz")
    assert files_below(outside) == before
    assert not (tmp_path / "out.vcz/sample_id").is_symlink()
    assert (
        open_cohort(tmp_path / "out.vcz")["sample_id"].values.tolist()
        == seeds.cohort()["sample_id"].values.tolist()
    )


def test_import__a_link_in_place_of_the_output_is_not_followed(tmp_path):
    write(seeds.cohort(), tmp_path / "case.vcz", (4, 8))
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("mine")
    (tmp_path / "out.vcz").symlink_to(tmp_path / "precious")
    with pytest.raises(GenoweaveError):
        import_cohort(tmp_path / "case.vcz", tmp_path / "out.vcz")
    assert (tmp_path / "precious/file").read_text() == "mine"


NASTY = [
    '=HYPERLINK("http://x","y")', "+cmd|' /C calc'!A0", "-1", "@SUM(1)", "../../etc/passwd", "/etc/passwd",
    "%s%n", "C:\\x", "a;b", "'=1", "$(x)", "`x`", "x",
]  # fmt: skip


def nasty_cohort():
    ds = seeds.cohort(9, len(NASTY))
    plain = [name.replace(" ", "_") for name in NASTY]
    ids = np.array(plain, object)
    return ds.assign(
        sample_id=("samples", ids),
        sample_family_id=("samples", ids[::-1].copy()),
        variant_id=("variants", ids[:9]),
        contig_id=("contigs", np.array(["-22", "../1"], object)),
    )


@pytest.mark.parametrize("to", FORMATS)
def test_export__names_that_are_paths_or_formulas(tmp_path, to):
    write(nasty_cohort(), tmp_path / "case.vcz", (4, 8))
    inside = tmp_path / "inside"
    inside.mkdir()
    import_cohort(tmp_path / "case.vcz", inside / "own.vcz")
    before = {k for k in files_below(tmp_path) if not k.startswith("inside")}
    ds = open_cohort(inside / "own.vcz")
    assert ds["sample_id"].values.tolist() == nasty_cohort()["sample_id"].values.tolist()
    out = inside / ("case.vcz" if to == "vcz" else "case.csv" if to == "csv" else "case")
    try:
        export(ds, to, out)
    except DataError as error:
        assert "rename" in str(error)  # noqa: PT017  (a format that cannot bear such names says so)
    assert {k for k in files_below(tmp_path) if not k.startswith("inside")} == before
    if to == "csv":
        with out.open(newline="") as file:
            rows = list(csv.reader(file))
        assert len(rows) == len(NASTY) + 1
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]


ODD = {
    "badfile.bed": "is not a PLINK 1 .bed file",
    "empty.bed": "an empty file",
    "small_no_bim.bed": "small_no_bim.bim is not there",
    "small_no_fam.bed": "small_no_fam.fam is not there",
    "small_too_short.bed": "ends within variant 4 of 4",
    "smallmodebad.bed": "mode byte",
    "example1.bed": "is not a PLINK 1 .bed file",
    "plink_sim_10s_100v_10pmiss.bed": (100, 10),
    "small.bed": (4, 3),
    "smallmode0.bed": (3, 4),
    "some_missing.bed": (100, 100),
    "sparse.bed": (20, 10),
    "sex_mt_contigs.bed": (5, 1),
    "skip_invalid_loci.bed": (5, 1),
    "skip_invalid_loci.bgen": (5, 1),
    "skip_invalid_loci.vcf": (5, 1),
    "bad_flag_number.vcf": "no sample is named",
    "duplicate_ids.vcf": "samples number 5 and 6 have the same name",
    "hail_33alleles.vcf": "no sample is named",
    "hail_ex.vcf": "3 of 9 records have several ALT alleles",
    "hail_invalid_base.vcf": (2, 100),
    "hail_malformed.vcf": "line 54: GT of sample number 48 has an allele beyond",
    "hail_mendel.vcf": (30, 11),
    "hail_missingInfoArray.vcf": "1 of 2 records have several ALT alleles",
    "hail_test_set_field_missing.vcf": (1, 2),
    "hail_undeclaredinfo.vcf": (1, 1),
    "haploid.vcf": "1 of 2 records have several ALT alleles",
    "trioDup.vcf": "wanted ##fileformat=VCFv4.0 to 4.5",
    "x-chromosome.vcf": (7, 54),
    "chr_m_indels.vcf.gz": "53 of 155 records have several ALT alleles",
    "cyvcf2_no-seq-names.vcf": (1, 5),
    "cyvcf2_test-haploidX.vcf": (777, 3),
    "cyvcf2_test-hemi.vcf": (2, 27),
    "cyvcf2_test-invalid-header.vcf": "the name of sample number 2 is empty",
    "cyvcf2_test-multiallelic-homozygous-alt.vcf.gz": "1 of 1 records have several ALT alleles",
    "cyvcf2_test-no-genotypes.vcf": "has no genotypes",
    "empty.vcf": "no records",
    "empty.vcf.gz": "no records",
    "field_type_combos.vcf.gz": "has no genotypes",
    "issue_251.vcf.gz": "has no genotypes",
    "mixed_ploidy.vcf.gz": "more than two alleles",
    "multi_contig.vcf.gz": "no sample is named",
    "out_of_order_contigs.vcf.gz": "no sample is named",
    "sample_all_missing_gts.vcf.gz": "1 of 9 records have no GT",
    "sample_missing_contig.vcf.gz": "3 of 9 records have several ALT alleles",
    "sample_missing_contig_csi.vcf.gz": "3 of 9 records have several ALT alleles",
    "sample_missing_filter.vcf.gz": "3 of 9 records have several ALT alleles",
    "sample_no_genotypes.vcf.gz": "no sample is named",
    "sample_no_genotypes_with_gt_header.vcf.gz": "no sample is named",
    "triploid.vcf.gz": "more than two alleles",
    "triploid2.vcf.gz": "more than two alleles",
    "triploid3.vcf.gz": "more than two alleles",
}  # fmt: skip
TABLES = (
    ".bim", ".fam", ".bad_bim", ".bim_bad_positions.bim", ".deb", ".fam_bad", ".maf", ".mib", ".memmap",
    ".npz", ".npy", ".gen", ".sample",
)  # fmt: skip


@pytest.mark.real_data
def test_import__every_odd_file_by_command(real_data, tmp_path, capsys):
    """Each is converted, or refused with exit code 1 and a message; nothing is left that looks whole."""
    files = sorted(p for p in (real_data / "odd").rglob("*") if p.is_file())
    assert {p.name for p in files if not p.name.endswith(TABLES)} == set(ODD)
    for number, file in enumerate(files):
        expected = ODD.get(file.name, "is not a format that genoweave opens")
        out = tmp_path / f"{number}.vcz"
        with pytest.raises(SystemExit) as ended:
            main(["import", str(file), str(out), "--quiet"])
        written = capsys.readouterr().err
        assert "Traceback" not in written
        if isinstance(expected, tuple):
            assert ended.value.code == 0, written
            ds = open_store(out)
            assert (ds.sizes["variants"], ds.sizes["samples"]) == expected, file
            continue
        assert ended.value.code == 1
        assert written.startswith("genoweave: error: "), file
        assert expected in written, f"{file}: {written}"
        assert Path(file).stem.split(".")[0] in written
        assert not [p for p in tmp_path.rglob("*") if f"{number}.vcz" == p.name], file


def test_read_text__strings_of_fixed_width_that_are_no_text(tmp_path):
    ids = seeds.cohort()["sample_id"].values.astype("<U4")
    for name, values in (
        ("surrogates", np.where(ids == ids[2], "a\ud800", ids)),
        ("bytes", np.array([b"\xff"] * 13)),
    ):
        path = tmp_path / f"{name}.vcz"
        write(seeds.cohort(), path, (4, 8))
        group = zarr.open_group(str(path), mode="r+")
        del group["sample_id"]
        group.create_dataset("sample_id", data=values).attrs["_ARRAY_DIMENSIONS"] = ["samples"]
        refused(path, "sample_id cannot be read")
    assert VLenUTF8  # the form that our own stores have
