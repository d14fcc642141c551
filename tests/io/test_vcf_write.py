from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from helpers import cohort, dosage_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference.vcf import read_vcf

from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.execution import ThreadExecutor, use
from genoweave.io import streams
from genoweave.io.plink import open_plink
from genoweave.io.vcf import open_vcf, writing
from genoweave.io.vcf.bgzf import END_BLOCK, compress
from genoweave.io.vcf.writing import KINDS, write_vcf

INDEX = {"vcf.gz": ".tbi", "bcf": ".csi"}


def small(n_variants: int = 20, n_samples: int = 7, *, phased: bool = True, seed: int = 3) -> xr.Dataset:
    """A cohort with missing calls, ids that are odd, and phase where asked."""
    rng = np.random.default_rng(seed)
    dosage = rng.integers(-1, 3, (n_variants, n_samples)).astype(np.int8)
    ds = cohort(dosage, contigs=("1", "HLA-A*01:01"))
    ds["variant_id"].values[:3] = [".", "é" * 300, "x" * 40_000]
    ds["variant_allele"].values[1] = ["ACGT" * 50, "<DEL>"]
    if phased:
        ds["call_genotype_phased"] = (("variants", "samples"), rng.random(dosage.shape) < 0.5)
    return ds


def check_same(ours: xr.Dataset, ds: xr.Dataset) -> None:
    """Whether a written and opened cohort is the one that was written."""
    for name in ("variant_position", "variant_id", "variant_allele", "sample_id", "call_genotype"):
        assert np.array_equal(ours[name].values, ds[name].values), name
    contigs = [d["contig_id"].values[d["variant_contig"].values].tolist() for d in (ours, ds)]
    assert contigs[0] == contigs[1]
    assert ("call_genotype_phased" in ours) == ("call_genotype_phased" in ds)
    if "call_genotype_phased" in ds:
        assert np.array_equal(ours["call_genotype_phased"].values, ds["call_genotype_phased"].values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("phased", [True, False])
@pytest.mark.parametrize("n_samples", [1, 4, 7])
def test_write_vcf__what_is_written_is_opened(tmp_path, kind, phased, n_samples):
    ds, path = small(n_samples=n_samples, phased=phased), tmp_path / "new" / f"x.{kind}"
    write_vcf(ds, path, kind)
    check_same(open_vcf(path), ds)
    wanted = {path.name} | ({path.name + INDEX[kind]} if kind in INDEX else set())
    assert {file.name for file in path.parent.iterdir()} == wanted


@given(
    arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2)), elements=st.integers(-1, 1))
)
def test_write_vcf__any_calls(tmp_path_factory, calls):
    folder = tmp_path_factory.mktemp("any")
    ds = cohort(np.zeros(calls.shape[:2], np.int8)).assign(
        call_genotype=(("variants", "samples", "ploidy"), calls),
        call_genotype_phased=(("variants", "samples"), calls[:, :, 0] == 0),
    )
    for kind in ("vcf", "bcf"):
        path = folder / f"x.{kind}"
        write_vcf(ds, path, kind)
        opened = open_vcf(path, half_calls="keep")
        assert np.array_equal(opened["call_genotype"].values, calls)
        phased = opened.get("call_genotype_phased", np.zeros(calls.shape[:2], bool))
        assert np.array_equal(np.asarray(phased), calls[:, :, 0] == 0)
    wanted = read_vcf(folder / "x.vcf", half_calls="keep")
    assert np.array_equal(np.array(wanted.calls), calls)


def test_write_vcf__text(tmp_path):
    ds = cohort(np.array([[0, 1, -1], [2, 1, 0]], np.int8), contigs=("1", "2")).assign(
        call_genotype_phased=(("variants", "samples"), np.array([[True, False, False], [True, True, False]]))
    )
    ds["variant_allele"].values[1] = ["0", ""]
    ds["call_genotype"].values[1] = [[0, 0], [0, -2], [-1, -2]]
    write_vcf(ds, tmp_path / "x.vcf", "vcf")
    assert (tmp_path / "x.vcf").read_text() == (
        "##fileformat=VCFv4.3\n"
        '##FILTER=<ID=PASS,Description="All filters passed">\n'
        "##source=genoweave\n"
        "##contig=<ID=1>\n"
        "##contig=<ID=2>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tperson0000\tperson0001\tperson0002\n"
        "1\t1000\trs1\tA\tC\t.\t.\t.\tGT\t0|0\t0/1\t./.\n"
        "2\t6000\trs2\tN\t.\t.\t.\t.\tGT\t0|0\t0\t.\n"
    )
    write_vcf(ds, tmp_path / "x.bcf", "bcf")
    assert open_vcf(tmp_path / "x.bcf")["call_genotype"].values.tolist() == [
        [[0, 0], [0, 1], [-1, -1]],
        [[0, 0], [0, 0], [-1, -1]],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_write_vcf__same_bytes_whatever_the_workers(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_CALLS", 40)
    ds = small(60)
    for slots in (1, 3):
        with use(ThreadExecutor(slots)):
            write_vcf(ds, tmp_path / f"{slots}", kind)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failing", [0, 1, 4, 10, 12])
def test_write_vcf__a_killed_write_goes_on(tmp_path, kind, failing, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_CALLS", 40)
    ds = small(50)
    write_vcf(ds, tmp_path / "whole", kind)
    append, index = streams.AppendingFile.append, writing._write_index
    written = []

    def counted(file, data):
        if len(written) == failing:
            raise KeyboardInterrupt
        written.append(data)
        append(file, data)

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(streams.AppendingFile, "append", counted)
        patch.setattr(writing, "_write_index", stopped)
        patch.setattr(streams.AppendingFile, "commit", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_vcf(ds, tmp_path / "cut", kind, token="t")
    assert not (tmp_path / "cut").exists()
    before = len(written)
    monkeypatch.setattr(streams.AppendingFile, "append", lambda f, d: (written.append(d), append(f, d)))
    monkeypatch.setattr(writing, "_write_index", index)
    write_vcf(ds, tmp_path / "cut", kind, token="t")
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert before == min(failing, 11 + (kind != "vcf"))
    assert len(written) == 11 + (kind != "vcf")


def test_write_vcf__no_older_index_stays(tmp_path):
    path = tmp_path / "x.vcf.gz"
    near, far = small(), small()
    far["variant_position"].values[-1] = 2**29
    write_vcf(near, path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["x.vcf.gz", "x.vcf.gz.tbi"]
    write_vcf(far, path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["x.vcf.gz", "x.vcf.gz.csi"]


def refused(ds: xr.Dataset, match: str, path: Path, kind: str = "vcf.gz") -> None:
    with pytest.raises(DataError, match=match):
        write_vcf(ds, path, kind)
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("sample_id", "a b", "sample_id, row 2: 1 names"),
        ("sample_id", "a\tb", "sample_id, row 2: 1 names"),
        ("sample_id", "", "sample_id, row 2: 1 names are empty"),
        ("sample_id", "person0000", "1 sample ids stand twice"),
        ("variant_id", "a\nb", "variant_id, row 2"),
        ("contig_id", "a,b", "contig_id, row 2"),
        ("contig_id", "<a>", "contig_id, row 2"),
        ("variant_allele", ["A", "C,G"], "variant_allele, row 2: 1 names .*commas"),
        ("variant_allele", ["A", "C G"], "variant_allele, row 2"),
        ("variant_allele", ["A", "0"], "variant 2 has no name for its alternate allele"),
        ("variant_position", -1, "variant_position, row 2: from 0"),
        ("variant_contig", 5, "variant_contig points beyond"),
        ("call_genotype", 2, "an allele code 2"),
    ],
)
def test_write_vcf__what_a_vcf_cannot_bear_is_refused(tmp_path, name, value, match):
    ds = small()
    ds[name].values[1] = value
    refused(ds, match, tmp_path / "x.vcf", "vcf")


def test_write_vcf__order(tmp_path):
    back, again, zeros = small(), small(), small()
    back["variant_position"].values[5] = 1
    again["variant_contig"].values[-1] = 0
    zeros["variant_position"].values[:2] = 0
    refused(back, r"variant 6 \(1:1\) is out of order.*Sort", tmp_path / "x")
    refused(again, r"variant 20 .* is out of order", tmp_path / "x", "bcf")
    refused(zeros, "2 variants have position 0", tmp_path / "x", "bcf")
    write_vcf(zeros, tmp_path / "z.vcf.gz")
    for ds in (back, again):
        write_vcf(ds, tmp_path / "x.vcf", "vcf")
        check_same(open_vcf(tmp_path / "x.vcf"), ds)


def test_write_vcf__options_and_folders(tmp_path):
    with pytest.raises(ConfigError, match=r"kind is one of vcf, vcf\.gz, bcf"):
        write_vcf(small(), tmp_path / "x", "vcz")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        write_vcf(small(), tmp_path / "file" / "x.vcf.gz")


def test_compress__blocks_that_gzip_reads():
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 256, 200_000).astype(np.uint8).tobytes()
    for data in (b"", b"a", noise, bytes(10**6)):
        assert gzip.decompress(compress(data) + END_BLOCK) == data


@pytest.mark.oracle
@pytest.mark.parametrize("n_samples", [1, 7])
def test_write_vcf__bcftools_reads_all_kinds_alike(tmp_path, bcftools, n_samples):
    ds = small(n_samples=n_samples)
    ds["variant_id"].values[4] = "y" * 14 + "z"
    text = {}
    for kind in KINDS:
        path = tmp_path / f"x.{kind}"
        write_vcf(ds, path, kind)
        text[kind] = bcftools("view", "--no-version", path)
    assert text["vcf"] == text["vcf.gz"] == text["bcf"] == (tmp_path / "x.vcf").read_bytes()
    for kind, ending in INDEX.items():
        assert (tmp_path / f"x.{kind}{ending}").exists()
        path = tmp_path / f"x.{kind}"
        assert bcftools("index", "--nrecords", path).strip() == b"20"
        assert bcftools("view", "-H", "-r", "1:6000-11000", path).count(b"\n") == 2
    # byte for byte the records that bcftools makes of the text
    bcftools("view", "--no-version", "-Ob", "-o", tmp_path / "theirs.bcf", tmp_path / "x.vcf")
    ours, theirs = (gzip.decompress((tmp_path / name).read_bytes()) for name in ("x.bcf", "theirs.bcf"))
    assert ours == theirs


@pytest.mark.oracle
def test_write_vcf__plink2_reads_it(tmp_path, plink2, small_cohort):
    write_vcf(small_cohort, tmp_path / "x.vcf.gz")
    write_vcf(small_cohort, tmp_path / "x.bcf", "bcf")
    for option, path in (("--vcf", "x.vcf.gz"), ("--bcf", "x.bcf")):
        plink2(option, tmp_path / path, "--make-bed", out=tmp_path / "p")
        theirs = open_plink(tmp_path / "p")
        assert np.array_equal(dosage_of(theirs), dosage_of(small_cohort))
        assert np.array_equal(theirs["variant_allele"].values, small_cohort["variant_allele"].values)


@pytest.mark.real_data
@pytest.mark.oracle
@pytest.mark.parametrize("kind", KINDS)
def test_write_vcf__real_phased_file_and_back(real_data, tmp_path, bcftools, kind):
    source = real_data / "kgp1_chr22_phased" / "chr22_phased.vcf.gz"
    path = tmp_path / "x"
    write_vcf(open_vcf(source), path, kind)
    form = "%CHROM\t%POS\t%ID\t%REF\t%ALT[\t%GT]\n"
    assert bcftools("query", "-f", form, path) == bcftools("query", "-f", form, source)


@pytest.mark.real_data
def test_write_vcf__real_haploid_and_unphased_files_and_back(real_data, tmp_path):
    for name in ("io/kgp3_100_chrX.vcf.gz", "io/chr22.vcf.gz", "odd/vcf/cyvcf2_test-haploidX.vcf"):
        ds = open_vcf(real_data / name, multiallelic="split", scratch=tmp_path)
        for kind in KINDS:
            write_vcf(ds, tmp_path / f"x.{kind}", kind)
            check_same(open_vcf(tmp_path / f"x.{kind}"), ds)
