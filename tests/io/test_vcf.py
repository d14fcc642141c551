from __future__ import annotations

import gzip
import pickle
import random
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from helpers import dosage_of, suffixed
from hypothesis import given
from hypothesis import strategies as st
from reference.vcf import Variants, read_vcf

from genoweave.errors import ConfigError, DataError, GenoweaveError, StoreError
from genoweave.execution import ThreadExecutor, use
from genoweave.genotypes import source_of
from genoweave.io.plink import open_plink
from genoweave.io.vcf import bgzf as vcf_bgzf
from genoweave.io.vcf import header as vcf_header
from genoweave.io.vcf import is_vcf, open_vcf
from genoweave.io.vcf import scan as vcf_scan
from genoweave.io.vcf import source as vcf_source
from genoweave.io.vcf.bgzf import END_BLOCK, compress
from genoweave.io.vcf.writing import write_vcf

HEAD = "##fileformat=VCFv4.2\n##contig=<ID=1>\n"
COLUMNS = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"


def vcf(*lines: str, samples: tuple[str, ...] = ("a", "b")) -> str:
    """A VCF of lines whose columns are separated by spaces."""
    header = HEAD + "\t".join([COLUMNS, *samples]) + "\n"
    return header + "".join(line.replace(" ", "\t") + "\n" for line in lines)


def record(*calls: str, pos: object = 5, alt: str = "T", form: str = "GT") -> str:
    return f"1 {pos} . A {alt} . . . {form} {' '.join(calls)}"


@pytest.fixture
def made(tmp_path):
    """Write text or bytes to a file, and return its path."""

    def make(content: str | bytes, name: str = "x.vcf") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


def bgzf(data: str | bytes, piece: int = 40) -> bytes:
    """BGZF in tiny blocks, so that lines lie across several."""
    data = data.encode() if isinstance(data, str) else data
    return b"".join(compress(data[i : i + piece]) for i in range(0, len(data), piece)) + END_BLOCK


def check(ds: xr.Dataset, wanted: Variants) -> None:
    """Compare a dataset with what the reference reads."""
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    assert contig.tolist() == wanted.contig
    assert ds["variant_position"].values.tolist() == wanted.position
    assert ds["variant_id"].values.tolist() == wanted.identifier
    assert ds["variant_allele"].values.tolist() == [list(p) for p in zip(wanted.ref, wanted.alt, strict=True)]
    assert ds["sample_id"].values.tolist() == wanted.samples
    assert ds["call_genotype"].dtype == np.int8
    assert np.array_equal(ds["call_genotype"].values, np.array(wanted.calls, np.int8))
    assert ("call_genotype_phased" in ds) == wanted.has_phase
    if wanted.has_phase:
        assert np.array_equal(ds["call_genotype_phased"].values, np.array(wanted.phased))


def same(a: xr.Dataset, b: xr.Dataset) -> bool:
    return set(a.variables) == set(b.variables) and all(
        np.array_equal(a[name].values, b[name].values) for name in a.variables
    )


ALLELES = st.sampled_from(["0", "1", "2", ".", "12"])
CALLS = st.one_of(
    st.tuples(ALLELES, st.sampled_from("/|"), ALLELES).map("".join), st.sampled_from(["0/0", "0|1", ".", "1"])
)
NAMES = st.text(
    st.characters(codec="utf-8", min_codepoint=33, exclude_characters="\x7f,\t\n\r"), min_size=1, max_size=40
)


@st.composite
def files(draw) -> tuple[str, str]:
    """The text of a VCF, and a name for its line ends."""
    samples = draw(st.lists(NAMES, min_size=1, max_size=9, unique=True))
    lines = [HEAD + "\t".join([COLUMNS, *samples])]
    for _ in range(draw(st.integers(1, 12))):
        several = ",".join(f"{'C' * (i + 1)}" for i in range(12))
        before, after = draw(st.sampled_from([([], []), ([], ["DP"]), (["DP", "GQ"], []), (["AD"], ["DP"])]))
        calls = draw(st.lists(CALLS, min_size=len(samples), max_size=len(samples)))
        alt = several
        if not any("2" in call for call in calls):
            alt = draw(st.sampled_from(["T", "<DEL>", "*", several]))
        cells = [":".join(["7,1"] * len(before) + [call] + ["3"] * len(after)) for call in calls]
        fixed = [
            draw(st.sampled_from(["1", "chrX", "HLA-A*01:01"])),
            str(draw(st.integers(0, 2**31 - 1))),
            draw(st.one_of(st.just("."), NAMES)),
            draw(st.sampled_from(["A", "ACGT" * 30])),
            alt,
            *(".", "PASS", "AC=1;DB"),
            ":".join([*before, "GT", *after]),
        ]
        lines.append("\t".join(fixed + cells))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join(lines) + draw(st.sampled_from(["", end, end + end])), end


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vcf")


@given(
    files(),
    st.sampled_from(["missing", "reference", "haploid", "keep"]),
    st.sampled_from(["double", "missing"]),
    st.integers(20, 400),
)
def test_open_vcf__says_what_a_plain_parser_says(folder, file, half_calls, haploid, piece):
    plain, blocks, gz = folder / "x.vcf", folder / "y.vcf.gz", folder / "z.vcf.gz"
    plain.write_bytes(file[0].encode())
    blocks.write_bytes(bgzf(file[0], piece))
    gz.write_bytes(gzip.compress(file[0].encode()))
    rules = {"half_calls": half_calls, "haploid": haploid}
    wanted = read_vcf(plain, **rules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf_bgzf, "_PIECE", piece)
        patch.setattr(vcf_scan, "_SPAN", 1)
        patch.setattr(vcf_scan, "_GROUP", 2 * piece)
        patch.setattr(vcf_source, "_BATCH", 3 * piece)
        for path in (plain, blocks, gz):
            ds = open_vcf(path, multiallelic="split", scratch=folder, **rules)
            check(ds, wanted)
            source = source_of(ds)
            n, m, _ = source.shape
            calls = source.read(0, n, 0, m)
            assert np.array_equal(
                source.read(n // 3, n - n // 4, m // 2, m), calls[n // 3 : n - n // 4, m // 2 :]
            )
            if source.is_unphased:
                assert ((calls[..., 0] <= calls[..., 1]) & ((calls >= 0).all(2) | (calls < 0).all(2))).all()


def test_open_vcf__counts_what_the_rules_changed(made):
    text = vcf(
        record("0/1", "./1"),
        record("1", ".", pos=6),
        record(".|.", "1|0", pos=7),
        record("1/2", "0/0", pos=8, alt="C,G"),
        record("0/0", "0/.", pos=9, alt="."),
    )
    assert open_vcf(made(text), multiallelic="split").attrs["import_counts"] == {
        "records": 5,
        "variants": 6,
        "split_records": 1,
        "records_without_alt": 1,
        "half_calls": 2,
        "haploid_calls": 1,
        "missing_calls": 2,
        "phased_calls": 2,
    }


def test_open_vcf__first_phase_of_vcf_44(made):
    ds = open_vcf(made(vcf(record("|0|1", "/0|1"), record("/1/1", "|1", pos=6))))
    assert ds["call_genotype"].values.tolist() == [[[0, 1], [0, 1]], [[1, 1], [1, 1]]]
    assert ds["call_genotype_phased"].values.tolist() == [[True, False], [False, True]]


def test_open_vcf__symbolic_alleles_and_missing_names_are_kept(made):
    ds = open_vcf(made(vcf("1 0 . N <DEL> . . END=9 GT 0/1 0/0", "1 7 rs1;rs2 ACG . . . . GT 0/0 ./.")))
    assert ds["variant_allele"].values.tolist() == [["N", "<DEL>"], ["ACG", ""]]
    assert ds["variant_id"].values.tolist() == [".", "rs1;rs2"]
    assert ds["variant_position"].values.tolist() == [0, 7]


def test_open_vcf__contigs_are_in_the_order_of_the_file(made):
    line = "{} 5 . A T . . . GT 0/1 0/0"
    ds = open_vcf(made(vcf(*(line.format(c) for c in ("9", "1", "9", "X")))))
    assert ds["contig_id"].values.tolist() == ["9", "1", "X"]
    assert ds["variant_contig"].values.tolist() == [0, 1, 0, 2]


@pytest.mark.parametrize("n_variants", [1, 5])
@pytest.mark.parametrize("n_samples", [1, 7])
def test_open_vcf__all_missing(made, n_variants, n_samples):
    samples = tuple(f"s{i}" for i in range(n_samples))
    lines = [record(*["./."] * n_samples, pos=i) for i in range(n_variants)]
    source = source_of(open_vcf(made(vcf(*lines, samples=samples))))
    assert source.is_unphased
    assert (source.read(0, n_variants, 0, n_samples) == -1).all()
    assert (source.read_packed(0, n_variants, 0, n_samples) == 0x55).all()
    assert source.read(0, 0, 0, n_samples).shape == (0, n_samples, 2)


def test_open_vcf__source_is_pickled(made):
    ds = open_vcf(
        made(bgzf(vcf(record("0/1", "1/1"), record("1/2", "0/0", alt="C,G"))), "x.gz"), multiallelic="split"
    )
    source = pickle.loads(pickle.dumps(source_of(ds)))
    assert source.read(0, 3, 0, 2).tolist() == ds["call_genotype"].values.tolist()


def test_open_vcf__same_whatever_the_workers(made):
    lines = [record("0/1", f"{i % 2}|0", pos=i) for i in range(300)]
    path = made(bgzf(vcf(*lines), 200), "x.vcf.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf_scan, "_SPAN", 1)
        opened = []
        for slots in (1, 4):
            with use(ThreadExecutor(slots)):
                opened.append(open_vcf(path))
    assert same(*opened)


def fails(path: Path, match: str, kind: type[Exception] = DataError, **options) -> None:
    with pytest.raises(kind, match=match):
        open_vcf(path, **options)


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ([record("0/1")], "line 4: wanted 11 columns as in the header, found 10"),
        ([record("0/1", "0/1", "0/1")], "wanted 11 columns as in the header, found more"),
        (["1 5 . A"], "wanted 11 columns separated by tabs, found 4"),
        ([record("0/1", "")], "GT of sample number 2 is not a genotype"),
        ([record("0/1", "x/1")], "GT of sample number 2 is not a genotype"),
        ([record("0/1", "0/")], "GT of sample number 2 is not a genotype"),
        ([record("0/1", "0/1x")], "GT of sample number 2 is not a genotype"),
        ([record("0\\1", "0/1")], "GT of sample number 1 is not a genotype"),
        ([record("0/1", "0/2")], "line 4: GT of sample number 2 has an allele beyond"),
        ([record("0/0", "0/1", alt=".")], "has an allele beyond"),
        ([record("0/0", "99999999999999999999/1")], "has an allele beyond"),
        ([record("0/0", "0/0"), record("0/0", "0/0/0")], "line 5: GT of sample number 2 has more than two"),
        ([record("0/0", "0/0", pos="-5")], "POS is not a whole number"),
        ([record("0/0", "0/0", pos="5e3")], "POS is not a whole number"),
        ([record("0/0", "0/0", pos="")], "POS is not a whole number"),
        ([record("0/0", "0/0", pos=2**31)], "POS is not a whole number"),
        ([record("0/0", "0/0", pos=10**30)], "POS is not a whole number"),
        (["1 5 . A C, . . . GT 0/0 0/0"], "an allele is empty"),
        (["1 5 . A,C T . . . GT 0/0 0/0"], "REF holds a comma"),
        (["1 5 .  T . . . GT 0/0 0/0"], "line 4: REF is empty"),
        (["1 5 .\x01 A T . . . GT 0/0 0/0"], "control characters"),
        ([record("0/1", "0/0"), record("3", "4", form="DP"), record("3", "4", pos=8, form="DP")],
         "2 of 3 records have no GT in FORMAT, first 1:5"),
        ([record("3", "4", form="GTX")], "has no genotypes: no record has GT"),
        ([record("0/1", "0/0"), record("0/1", "0/0", alt="C,G", pos=9)],
         r"1 of 2 records have several ALT alleles, first 1:9.*bcftools norm"),
        ([], "has a header but no records"),
    ],
)  # fmt: skip
def test_open_vcf__malformed_records_are_named(made, lines, match):
    fails(made(vcf(*lines)), match)
    fails(made(bgzf(vcf(*lines)), "x.vcf.gz"), match)


def test_open_vcf__rules_that_refuse(made):
    path = made(vcf(record("0/1", "0/0"), record("0/1", "./0"), record("1", "0/0")))
    fails(path, "line 5: GT of sample number 2 is half missing", half_calls="error")
    fails(path, "line 6: GT of sample number 1 is haploid", haploid="refuse")
    fails(path, "half_calls is one of missing, reference", ConfigError, half_calls="m")
    fails(path, "haploid is one of", ConfigError, haploid="yes")
    fails(path, "multiallelic is one of", ConfigError, multiallelic="keep")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"hello", "is not a VCF or BCF file"),
        (b"\x00" * 100, "is not a VCF or BCF file"),
        (b"##fileformat=VCFv3.3\n", "wanted ##fileformat=VCFv4.0 to 4.5"),
        (b"BCF\x04\x00", "is not BCF version 2"),
        (HEAD.encode(), "wanted the header's last line"),
        ((HEAD + COLUMNS + "\n").encode(), "has no genotypes: no sample is named"),
        ((HEAD + COLUMNS.replace("\t", " ") + " a\n").encode(), "separated by tabs"),
        ((HEAD + COLUMNS + "\ta\tb\ta\n").encode(), "samples number 1 and 3 have the same name"),
        ((HEAD + COLUMNS + "\ta\t\n").encode(), "name of sample number 2 is empty"),
        ((HEAD + COLUMNS + "\t").encode() + b"\xff\xfe\n", "sample names are not UTF-8"),
        (vcf().encode() + b"1\t5\t\xe9\tA\tT\t.\t.\t.\tGT\t0/0\t0/0\n", "line 4: .*not UTF-8"),
        (b"BCF\x02\x02\xff\xff\xff\xff", "promises 4294967295 bytes"),
        (b"BCF\x02\x02\xff\x00\x00\x00##file", "ends within its header"),
    ],
)
def test_open_vcf__no_vcf(made, content, match):
    fails(made(content), match)


def test_open_vcf__text_that_is_latin_1_in_info_does_no_harm(made):
    blob = (
        HEAD.encode()
        + b"##INFO=\xe9\n"
        + f"{COLUMNS}\ta\n".encode()
        + b"1\t5\t.\tA\tT\t.\t.\tX=\xe9\tGT\t0/1\n"
    )
    assert open_vcf(made(blob))["call_genotype"].values.tolist() == [[[0, 1]]]


def test_open_vcf__no_file(tmp_path):
    fails(tmp_path / "x.vcf", "there is no file", StoreError)


def test_open_vcf__plain_gzip_needs_a_scratch_folder(made, tmp_path):
    text = vcf(record("0/1", "0/0"))
    path = made(gzip.compress(text[:50].encode()) + gzip.compress(text[50:].encode()) + bytes(99), "x.vcf.gz")
    fails(path, "bgzip", StoreError)
    ds = open_vcf(path, scratch=tmp_path / "new" / "scratch")
    assert ds["call_genotype"].values.tolist() == [[[0, 1], [0, 0]]]
    assert len(list((tmp_path / "new" / "scratch").iterdir())) == 1
    whole = path.read_bytes().rstrip(b"\0")
    for blob, match in (
        (whole[:-3], "cut off"),
        (whole + b"junk", "damaged"),
        (whole[:-5] + bytes(5), "damaged"),
    ):
        fails(made(blob, "y.vcf.gz"), match, scratch=tmp_path / "s2")
    assert not list((tmp_path / "s2").iterdir())


def test_open_vcf__damaged_blocks(made):
    whole = bgzf(vcf(*(record("0/1", "0/0", pos=i) for i in range(50))), 500)
    fails(made(whole[: -len(END_BLOCK)], "a.gz"), "does not end with the empty block")
    fails(made(whole[: len(whole) // 2], "a.gz"), "the file ends within it|does not begin")
    fails(made(whole[:-40] + whole[-28:], "a.gz"), "damaged")
    changed = bytearray(whole)
    changed[len(whole) // 2] ^= 64
    fails(made(bytes(changed), "a.gz"), "damaged")
    body = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = body.compress(bytes(2**25)) + body.flush()
    head = END_BLOCK[:16] + struct.pack("<H", len(bomb) + 25)
    fails(
        made(whole[: -len(END_BLOCK)] + head + bomb + struct.pack("<II", 0, 10) + END_BLOCK, "a.gz"),
        "damaged",
    )
    fails(
        made(whole[: -len(END_BLOCK)] + head + bomb + struct.pack("<II", 0, 2**25) + END_BLOCK, "a.gz"),
        "promises",
    )


def test_open_vcf__a_line_without_end(made):
    text = vcf(record("0/0", "0/0")) + "1\t5\t.\tA\t"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf_scan, "longest_record", lambda n: 2**16)
        patch.setattr(vcf_scan, "_SPAN", 1)
        path = made(text.encode() + b"C" * 10**6 + b"\n" + text.encode(), "x.vcf")
        fails(path, "line 5: it is longer than a record")
        path = made(bgzf(text.encode() + b"C" * 10**6, 2**16), "x.vcf.gz")
        fails(path, "line 5: it is longer than a record")


def test_open_vcf__a_line_in_blocks_of_a_byte_is_no_hang(made):
    blob = compress(vcf(record("0/0", "0/0")).encode() + b"1\t") + compress(b"C") * 100_000 + END_BLOCK
    fails(made(blob, "x.vcf.gz"), "line 5: wanted 11 columns separated by tabs, found 2")


def test_open_vcf__a_header_without_end(made):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf_header, "_LARGEST_HEADER", 10**6)
        fails(made("##fileformat=VCFv4.2\n##" + "x" * 5 * 10**6), "header is longer than")
        fails(made("##fileformat=VCFv4.2\n" + "##x\n" * 10**6), "header is longer than")


def test_vcf_source__a_file_that_changed_is_refused(made):
    lines = [record("0/1", "0/0", pos=i) for i in range(20)]
    path = made(vcf(*lines))
    ds = open_vcf(path)
    for text in (
        vcf(*lines[:-1]),
        vcf(*lines[:-1]) + "x" * 100,
        vcf(*lines).replace("\tGT\t0/1", "\tGT\t0?1"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="must not change during a run"):
            ds["call_genotype"].load()


def test_is_vcf():
    assert all(is_vcf(Path(name)) for name in ("a.vcf", "a.VCF.gz", "a.bcf", "b.vcf.bgz"))
    assert not is_vcf(Path("a.vcz"))


def raw_bcf(*records: bytes, samples: int = 2) -> bytes:
    """An uncompressed BCF with one contig and the keys PASS 0 and GT 1."""
    names = "\t".join([COLUMNS, *(f"s{i}" for i in range(samples))])
    text = f'{HEAD}##FORMAT=<ID=GT,Number=1,Type=String,Description="a,ID=DP">\n{names}\n'.encode() + b"\0"
    return b"BCF\x02\x02" + struct.pack("<I", len(text)) + text + b"".join(records)


def raw_record(
    gt: bytes,
    *,
    n_samples: int = 2,
    contig: int = 0,
    pos: int = 4,
    alleles: tuple[bytes, ...] = (b"\x17A", b"\x17T"),
    key: bytes = b"\x11\x01",
    extra: bytes = b"",
) -> bytes:
    shared = struct.pack("<iiifHHI", contig, pos, 1, 0.0, 0, len(alleles), n_samples | 1 << 24)
    shared += b"\x07" + b"".join(alleles) + b"\x00"
    return struct.pack("<II", len(shared), len(key + gt + extra)) + shared + key + gt + extra


def test_open_vcf__bcf_of_every_width_and_ploidy(made):
    path = made(
        raw_bcf(
            raw_record(b"\x21\x02\x05\x04\x02"),
            raw_record(b"\x11\x04\x00", pos=5),
            raw_record(b"\x22" + struct.pack("<4h", 2, 4, 4, -(2**15) + 1), pos=6),
            raw_record(b"\x23" + struct.pack("<4i", 0, 1, -(2**31), 4), pos=7),
            raw_record(b"\x31\x02\x04\x81\x04\x81\x81", pos=8),
            raw_record(b"\x21\x02\x02\x00\x02", pos=9, alleles=(b"\xf7\x11\x14" + b"ACGT" * 5,)),
        ),
        "x.bcf",
    )
    ds = open_vcf(path, half_calls="keep")
    assert ds["call_genotype"].values.tolist() == [
        [[0, 1], [1, 0]],
        [[1, 1], [-1, -1]],
        [[0, 1], [1, 1]],
        [[-1, -1], [-1, 1]],
        [[0, 1], [1, 1]],
        [[0, 0], [-1, 0]],
    ]
    flags = ds["call_genotype_phased"].values.astype(int)
    assert flags.tolist() == [[1, 0], [1, 0], [0, 1], [1, 0], [0, 1], [0, 0]]
    assert ds["variant_allele"].values[5].tolist() == ["ACGT" * 5, ""]
    assert ds["variant_position"].values.tolist() == [5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("blob", "match"),
    [
        (raw_record(b"\x31\x02\x04\x04\x04\x02\x81"), "record 2: GT of sample number 1 has more than two"),
        (raw_record(b"\x21\x02\x07\x04\x02"), "GT of sample number 1 has an allele beyond"),
        (raw_record(b"\x21\x02\x05\x04"), "contradict"),
        (raw_record(b"\xf1\x13\xff\xff\xff\x7f\x02\x02"), "contradict"),
        (raw_record(b"\x27abcd"), "contradict"),
        (raw_record(b"\x21\x02\x05\x04\x02", n_samples=3), "wanted 2 samples"),
        (raw_record(b"\x21\x02\x05\x04\x02", contig=7), "record 2: its contig is not in the header"),
        (raw_record(b"\x21\x02\x05\x04\x02", pos=-9), "POS is not"),
        (raw_record(b"\x21\x02\x05\x04\x02", alleles=()), "contradict"),
        (raw_record(b"\x21\x02\x05\x04\x02", alleles=(b"\x17A", b"\xf7\x13\xff\xff\xff\x7f")), "contradict"),
        (raw_record(b"\x21\x02\x05\x04\x02", alleles=(b"\x17A", b"\x27\tT")), "control characters"),
        (raw_record(b"\x21\x02\x05\x04\x02", alleles=(b"\x17A", b"\x17\xe9")), "not UTF-8"),
        (raw_record(b"\x21\x02\x05\x04\x02", key=b"\x11\x05"), "1 of 2 records have no GT"),
        (raw_record(b"\x21\x02\x05\x04\x02")[:-1], "the file ends within it"),
        (b"\xff" * 8 + bytes(50), "longer than a record"),
        (bytes(60), "contradict"),
    ],
)
def test_open_vcf__malformed_bcf(made, blob, match):
    good = raw_record(b"\x21\x02\x05\x04\x02")
    fails(made(raw_bcf(good, blob), "x.bcf"), match)
    fails(made(bgzf(raw_bcf(good, blob)), "y.bcf"), match)


def test_open_vcf__fuzzed_bytes_end_in_an_error_or_a_cohort(made, tmp_path):
    rng = random.Random(20)
    text = vcf(
        *(
            record(rng.choice(["0/1", "1|0", ".", "./1", "2/1:9,1"]), "0/0", pos=i + 1, alt="T,<DEL>")
            for i in range(40)
        )
    )
    ds = open_vcf(made(text), multiallelic="split")
    write_vcf(ds, tmp_path / "x.bcf", "bcf")
    bcf = gzip.decompress((tmp_path / "x.bcf").read_bytes())
    whole = {"vcf": text.encode(), "vcf.gz": bgzf(text, 300), "bcf": bcf}
    until = time.monotonic() + 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf_scan, "_SPAN", 1)
        for turn in range(800):
            kind = ("vcf", "vcf.gz", "bcf", "bcf")[turn % 4]
            blob = bytearray(whole[kind])
            for _ in range(rng.choice([1, 1, 3, 20])):
                blob[rng.randrange(len(blob))] = rng.choice([0, 1, 9, 10, 255, rng.randrange(256)])
            if turn % 5 == 0:
                del blob[rng.randrange(len(blob)) :]
            if kind != "vcf.gz" and turn % 3 == 0:
                blob = bytearray(bgzf(bytes(blob), 700))
            path = made(bytes(blob), f"fuzz.{kind}")
            try:
                with use(ThreadExecutor(1)):
                    opened = open_vcf(path, multiallelic="split", scratch=tmp_path / "scratch")
                assert np.abs(opened["call_genotype"].values).max() <= 1
            except GenoweaveError as error:
                assert "fuzz" in str(error)  # noqa: PT017
            if time.monotonic() > until:
                break


ODD = {
    "chr_m_indels.vcf.gz": "several ALT alleles, first chrM:41",
    "cyvcf2_no-seq-names.vcf": {"half_calls": 4, "missing_calls": 1},
    "cyvcf2_test-haploidX.vcf": {"records": 777, "haploid_calls": 1713, "missing_calls": 618},
    "cyvcf2_test-hemi.vcf": {"half_calls": 3, "missing_calls": 12},
    "cyvcf2_test-invalid-header.vcf": "line 2: the name of sample number 2 is empty",
    "cyvcf2_test-multiallelic-homozygous-alt.vcf.gz": "several ALT alleles, first 3:81262",
    "cyvcf2_test-no-genotypes.vcf": "no record has GT in FORMAT",
    "empty.vcf": "has a header but no records",
    "empty.vcf.gz": "has a header but no records",
    "field_type_combos.vcf.gz": "no record has GT in FORMAT",
    "issue_251.vcf.gz": "no record has GT in FORMAT",
    "mixed_ploidy.vcf.gz": "line 11: GT of sample number 1 has more than two alleles",
    "multi_contig.vcf.gz": "no sample is named",
    "out_of_order_contigs.vcf.gz": "no sample is named",
    "sample_all_missing_gts.vcf.gz": "1 of 9 records have no GT in FORMAT, first 19:112",
    "sample_missing_contig.vcf.gz": "3 of 9 records have several ALT alleles, first 20:1110696",
    "sample_missing_contig_csi.vcf.gz": "3 of 9 records have several ALT alleles",
    "sample_missing_filter.vcf.gz": "3 of 9 records have several ALT alleles",
    "sample_no_genotypes.vcf.gz": "no sample is named",
    "sample_no_genotypes_with_gt_header.vcf.gz": "no sample is named",
    "triploid.vcf.gz": "line 8: GT of sample number 1 has more than two alleles",
    "triploid2.vcf.gz": "more than two alleles",
    "triploid3.vcf.gz": "more than two alleles",
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", ODD)
def test_open_vcf__odd_files(real_data, name):
    path, outcome = real_data / "odd" / "vcf" / name, ODD[name]
    if isinstance(outcome, str):
        fails(path, outcome)
    else:
        counts = open_vcf(path).attrs["import_counts"]
        assert {key: counts[key] for key in outcome} == outcome


REAL = [
    "io/1kg_2020_chrM.vcf.gz",
    "io/chr22.vcf.gz",
    "io/kgp3_100_chrX.vcf.gz",
    "odd/vcf/chr_m_indels.vcf.gz",
    "odd/vcf/cyvcf2_test-haploidX.vcf",
    "odd/vcf/cyvcf2_test-hemi.vcf",
    "odd/vcf/cyvcf2_test-multiallelic-homozygous-alt.vcf.gz",
    "odd/vcf/sample_missing_contig.vcf.gz",
]


# The others use a FILTER or a contig that their headers do not define, which BCF needs.
BCFTOOLS_READS = [name for name in REAL if "100_chrX" not in name and "missing_contig" not in name]


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_open_vcf__real_files_as_a_plain_parser_reads_them(real_data, tmp_path, name):
    path = real_data / name
    check(open_vcf(path, multiallelic="split", scratch=tmp_path), read_vcf(path))


@pytest.mark.real_data
@pytest.mark.oracle
@pytest.mark.parametrize("name", BCFTOOLS_READS)
def test_open_vcf__bcf_of_bcftools_and_its_splitting(real_data, tmp_path, bcftools, name):
    path, bcf, split = real_data / name, tmp_path / "x.bcf", tmp_path / "split.vcf"
    text = open_vcf(path, multiallelic="split", scratch=tmp_path)
    bcftools("view", "-Ob", "-o", bcf, path)
    assert same(open_vcf(bcf, multiallelic="split"), text)
    bcftools("view", "-Ou", "-o", bcf, path)
    assert same(open_vcf(bcf, multiallelic="split"), text)
    bcftools("norm", "-m-", "-Ov", "-o", split, path)
    assert same(open_vcf(split), text)


@pytest.mark.real_data
def test_open_vcf__agrees_with_vcf_zarr(real_data):
    theirs = zarr.open_group(zarr.ZipStore(str(real_data / "io" / "chr22.vcz.zip"), mode="r"), mode="r")
    ds = open_vcf(real_data / "io" / "chr22.vcf.gz", multiallelic="split")
    position = theirs["variant_position"][...]
    alleles = (theirs["variant_allele"][...] != "").sum(axis=1)
    kept = alleles == 2
    ours = np.isin(ds["variant_position"].values, position[kept])
    assert kept.sum() == ours.sum() == 96
    assert np.array_equal(ds["call_genotype"].values[ours], theirs["call_genotype"][...][kept])


@pytest.mark.real_data
@pytest.mark.oracle
@pytest.mark.parametrize("name", ["kgp1_chr22_phased/chr22_phased.vcf.gz", "io/chr22.vcf.gz"])
def test_open_vcf__agrees_with_plink2(real_data, tmp_path, plink2, name):
    plink2("--vcf", real_data / name, "--max-alleles", 2, "--make-bed", out=tmp_path / "p")
    theirs = open_plink(tmp_path / "p")
    ds = open_vcf(real_data / name, multiallelic="split")
    alone = ~np.isin(np.arange(ds.sizes["variants"]), [])
    if ds.attrs["import_counts"]["split_records"]:
        position = ds["variant_position"].values
        alone = np.isin(position, theirs["variant_position"].values)
    assert np.array_equal(dosage_of(ds)[alone], dosage_of(theirs))
    assert np.array_equal(ds["variant_allele"].values[alone], theirs["variant_allele"].values)


@pytest.mark.oracle
@pytest.mark.parametrize("half_calls", ["missing", "reference", "haploid"])
def test_open_vcf__half_calls_as_plink2_reads_them(made, tmp_path, plink2, half_calls):
    path = made(vcf(record("./1", "0/."), record("0|.", "1/.", pos=7), record("1/1", "./.", pos=9)))
    plink2("--vcf", path, "--vcf-half-call", half_calls, "--make-bed", out=tmp_path / "p")
    assert suffixed(tmp_path / "p", ".bed").exists()
    ds = open_vcf(path, half_calls=half_calls)
    assert np.array_equal(dosage_of(ds), dosage_of(open_plink(tmp_path / "p")))


@pytest.mark.real_data
@pytest.mark.oracle
def test_open_vcf__half_calls_of_x_as_plink2_reads_them(real_data, tmp_path, plink2):
    path = real_data / "io" / "kgp3_100_chrX.vcf.gz"
    plink2("--vcf", path, "--vcf-half-call", "haploid", "--max-alleles", 2, "--make-bed", out=tmp_path / "p")
    theirs = open_plink(tmp_path / "p")
    ds = open_vcf(path, multiallelic="split", half_calls="haploid", scratch=tmp_path)
    assert ds.attrs["import_counts"]["half_calls"] > 1000
    position, counts = np.unique(ds["variant_position"].values, return_counts=True)
    alone = np.isin(ds["variant_position"].values, position[counts == 1])
    kept = np.isin(theirs["variant_position"].values, position[counts == 1])
    assert kept.sum() > 1000
    assert np.array_equal(dosage_of(ds)[alone], dosage_of(theirs)[kept])
