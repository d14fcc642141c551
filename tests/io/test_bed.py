"""Codes of .bed files against a plain decoder and against bed-reader."""

import pickle

import numpy as np
import pytest
from bed_reader import open_bed, to_bed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import bed as reference

from genoweave.errors import DataError
from genoweave.io.plink import BedSource
from genoweave.kernels.packed import pack_dosages, pad_tail, width

DOSAGES = hnp.arrays(
    np.int8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=13), elements=st.integers(-1, 2)
)
AWKWARD = [(1, 1), (1, 3), (3, 1), (4, 4), (5, 4), (4, 5), (7, 9), (9, 7), (2, 16), (16, 2), (33, 66)]


def packed(dosage):
    out = np.empty((dosage.shape[0], width(dosage.shape[1])), np.uint8)
    pack_dosages(np.ascontiguousarray(dosage), out)
    return out


def random_dosage(n_variants, n_samples):
    rng = np.random.default_rng(100 * n_variants + n_samples)
    return rng.integers(-1, 3, (n_variants, n_samples)).astype(np.int8)


def as_dosage(calls):
    return np.where(calls[..., 0] < 0, -1, calls.sum(axis=2))


@given(DOSAGES)
def test_codes__are_those_of_the_reference(dosage):
    codes = np.frombuffer(reference.encode(dosage.tolist()), np.uint8)[3:].reshape(len(dosage), -1).copy()
    pad_tail(codes, dosage.shape[1])  # PLINK pads with 0
    assert (packed(dosage) == codes).all()


@given(DOSAGES)
def test_codes__are_what_the_reference_decodes(dosage):
    data = reference.MAGIC + packed(dosage).tobytes()
    assert reference.decode(data, *dosage.shape) == dosage.tolist()


@pytest.mark.parametrize("shape", AWKWARD)
def test_codes__are_what_bed_reader_reads(shape, tmp_path):
    dosage = random_dosage(*shape)
    (tmp_path / "x.bed").write_bytes(reference.MAGIC + packed(dosage).tobytes())
    with open_bed(tmp_path / "x.bed", iid_count=shape[1], sid_count=shape[0], num_threads=1) as bed:
        values = bed.read(dtype="int8")
    assert (dosage == np.where(values == -127, -1, values).T).all()


def bed_source(path, dosage, major):
    to_bed(path, np.where(dosage < 0, -127, dosage).astype(np.int8).T, major=major, num_threads=1)
    return BedSource(str(path), *dosage.shape, sample_major=major == "individual")


@pytest.mark.parametrize("shape", AWKWARD)
@pytest.mark.parametrize("major", ["SNP", "individual"])
def test_bed_source__reads_what_bed_reader_wrote(shape, major, tmp_path):
    dosage = random_dosage(*shape)
    source = bed_source(tmp_path / "x.bed", dosage, major)
    m, n = shape
    assert source.is_unphased
    assert (as_dosage(source.read(0, m, 0, n)) == dosage).all()
    for v0, v1 in ((0, m), (m // 2, m), (m // 3, m // 3 + 1), (0, 0), (m, m)):
        for s0, s1 in ((0, n), (n // 2, n), (n // 3, n // 3 + 1), (1, n), (0, 0), (n, n)):
            part = dosage[v0:v1, s0:s1]
            assert (as_dosage(source.read(v0, v1, s0, s1)) == part).all()
            assert (source.read_packed(v0, v1, s0, s1) == packed(part)).all()


@pytest.mark.parametrize("major", ["SNP", "individual"])
def test_bed_source__every_offset_of_both_axes(major, tmp_path):
    dosage = random_dosage(11, 14)
    source = bed_source(tmp_path / "x.bed", dosage, major)
    for v0 in range(5):
        for v1 in range(v0 + 1, 12):
            for s0 in range(5):
                for s1 in range(s0 + 1, 15):
                    assert (source.read_packed(v0, v1, s0, s1) == packed(dosage[v0:v1, s0:s1])).all()


def test_bed_source__can_be_sent_to_another_process(tmp_path):
    dosage = random_dosage(7, 9)
    source = pickle.loads(pickle.dumps(bed_source(tmp_path / "x.bed", dosage, "SNP")))
    assert (source.read_packed(0, 7, 0, 9) == packed(dosage)).all()


@pytest.mark.parametrize("major", ["SNP", "individual"])
def test_bed_source__a_file_that_shrank_is_told(major, tmp_path):
    path = tmp_path / "x.bed"
    source = bed_source(path, random_dosage(7, 9), major)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"x\.bed ended while it was read; it must not change during a run"):
        source.read_packed(0, 7, 0, 9)
