"""Other people's awkward files: read as bed-reader reads them, or refused in words."""

from pathlib import Path

import helpers
import numpy as np
import pytest
import zarr
from bed_reader import open_bed

from genoweave.errors import DataError, GenoweaveError, StoreError
from genoweave.io.cohort import open_cohort
from genoweave.methods.qc import QC, qc

pytestmark = pytest.mark.real_data

READABLE = [
    "bed/small.bed",
    "bed/smallmode0.bed",
    "bed/some_missing.bed",
    "bed/sparse.bed",
    "bed/plink_sim_10s_100v_10pmiss.bed",
    "hail/sex_mt_contigs.bed",
    "hail/skip_invalid_loci.bed",
]


@pytest.mark.parametrize("name", READABLE)
def test_open_cohort__reads_what_bed_reader_reads(real_data, name):
    path = real_data / "odd" / name
    opened = open_cohort(path)
    with open_bed(path, num_threads=1) as bed:
        values = bed.read(dtype="int8")
        assert opened["sample_id"].values.tolist() == bed.iid.tolist()
        assert opened["variant_id"].values.tolist() == bed.sid.tolist()
        assert opened["variant_allele"].values[:, 1].tolist() == bed.allele_1.tolist()
    assert (helpers.dosage_of(opened) == np.where(values == -127, -1, values).T).all()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("bed/badfile.bed", DataError, "must begin with bytes 6c 1b"),
        ("bed/empty.bed", DataError, "an empty file"),
        ("bed/smallmodebad.bed", DataError, "mode byte"),
        ("bed/small_too_short.bed", DataError, "ends within variant"),
        ("bed/small_no_bim.bed", StoreError, r"small_no_bim\.bim is not there"),
        ("bed/small_no_fam.bed", StoreError, r"small_no_fam\.fam is not there"),
        ("hail/example1.bed", GenoweaveError, "."),
        ("hail/haploid.vcf", DataError, "1 of 2 records have several ALT alleles, first X:16061250"),
        ("vcf/triploid.vcf.gz", DataError, "line 8: GT of sample number 1 has more than two alleles"),
        ("bed/small.maf", DataError, "not a format that genoweave opens"),
        ("bed", StoreError, "not a Zarr store"),
    ],
)
def test_open_cohort__refuses_in_words(real_data, name, error, message):
    with pytest.raises(error, match=message):
        open_cohort(real_data / "odd" / name)


@pytest.mark.parametrize(
    ("suffix", "bad", "message"),
    [
        (".bim", "bed/small.bim_bad_positions.bim", r"x\.bim, line \d+: position is a whole number"),
        (".bim", "bed/small.bad_bim", r"x\.bim, line \d+: wanted 6 columns"),
        (".fam", "bed/small.fam_bad", r"x\.fam, line \d+: wanted 6 columns"),
        (".fam", "hail/duplicate_id.fam", "ids of rows .* are equal"),
    ],
)
def test_open_cohort__names_the_bad_line(real_data, tmp_path, suffix, bad, message):
    for ending in (".bed", ".bim", ".fam"):
        source = real_data / "odd" / (bad if ending == suffix else f"bed/small{ending}")
        (tmp_path / f"x{ending}").write_bytes(source.read_bytes())
    with pytest.raises(DataError, match=message):
        open_cohort(tmp_path / "x")


def test_qc__sex_and_mitochondrial_variants_are_left_out(real_data):
    ds = open_cohort(real_data / "odd" / "hail" / "sex_mt_contigs.bed")
    numbers = {str(name): k for k, name in enumerate(ds["contig_id"].values)}
    here = ds["variant_contig"].values
    autosomal = sum((here == k).sum() for name, k in numbers.items() if name in map(str, range(1, 23)))
    assert 0 < autosomal < len(here)
    kept = qc(ds, QC(mind=1, geno=1, hwe=0, maf=0))
    assert kept.sizes["variants"] == autosomal


def test_open_cohort__vcf_zarr_of_bio2zarr(real_data):
    # its call_genotype is whole; flags that are false throughout have no chunks
    path = str(real_data / "io" / "chr22.vcz.zip")
    ds = open_cohort(path)
    theirs = zarr.open_group(zarr.ZipStore(path, mode="r"), mode="r")
    assert (ds["call_genotype"].values == theirs["call_genotype"][...]).all()
    assert ds["sample_id"].values.tolist() == theirs["sample_id"][...].tolist()
    assert not ds["call_genotype_phased"].values.any()


def test_open_cohort__vcf_zarr_without_genotypes(real_data):
    with pytest.raises(DataError, match="no genotypes"):
        open_cohort(real_data / "io" / "1kg_2020_chr20_annotations.vcz.zip")


def test_open_cohort__chunks_that_are_not_there_are_never_read_from_memory(real_data):
    # zarr-python 3 leaves out chunks of zeros and means 0 by a null fill value; zarr 2 hands out what stood
    # in memory. The VCF of this store holds 0/0 throughout, so that call_genotype has no chunk
    junk = [np.full(23 * 3 * 2, 77, np.int8) for _ in range(1000)]
    del junk
    try:
        ds = open_cohort(real_data / "io" / "1kg_2020_chrM.vcz.zip")
    except DataError as error:
        assert "call_genotype" in str(error)  # noqa: PT017  (either answer will do)
        return
    assert (ds["call_genotype"].values == 0).all()
    assert (ds["call_genotype"].data[:5, :2].compute(scheduler="synchronous") == 0).all()


def test_open_cohort__an_archive_cut_short(real_data, tmp_path):
    whole = (real_data / "io" / "chr22.vcz.zip").read_bytes()
    Path(tmp_path / "x.vcz.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GenoweaveError, match="not a Zarr store that can be read"):
        open_cohort(tmp_path / "x.vcz.zip")
