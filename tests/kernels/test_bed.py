"""The .bed codec against a plain decoder and against bed-reader."""

import numpy as np
import pytest
from bed_reader import open_bed, to_bed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference import bed as reference

from genoweave.io.plink import BedSource
from genoweave.kernels import bed as kernels

DOSAGES = hnp.arrays(
    np.int8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=13), elements=st.integers(-1, 2)
)
AWKWARD = [(1, 1), (1, 3), (3, 1), (4, 4), (5, 4), (4, 5), (7, 9), (9, 7), (2, 16), (16, 2)]


def packed(dosage):
    out = np.full((len(dosage), (dosage.shape[1] + 3) // 4), 0xFF, np.uint8)
    kernels.pack_variants(dosage, out)
    return out


def random_dosage(n_variants, n_samples):
    rng = np.random.default_rng(100 * n_variants + n_samples)
    return rng.integers(-1, 3, (n_variants, n_samples)).astype(np.int8)


def as_dosage(calls):
    return np.where(calls[..., 0] < 0, -1, calls.sum(axis=2))


@given(DOSAGES)
def test_pack_variants__equals_the_reference_byte_for_byte(dosage):
    assert reference.MAGIC + packed(dosage).tobytes() == reference.encode(dosage.tolist())


@given(DOSAGES)
def test_pack_variants__is_what_the_reference_decodes(dosage):
    data = reference.MAGIC + packed(dosage).tobytes()
    assert reference.decode(data, *dosage.shape) == dosage.tolist()


@given(DOSAGES, st.integers(0, 3))
def test_unpack__undoes_packing_from_any_shift(dosage, shift):
    shift = min(shift, dosage.shape[1] - 1)
    want = dosage[:, shift:]
    variants = np.empty((*want.shape, 2), np.int8)
    kernels.unpack_variants(packed(dosage), shift, variants)
    assert (as_dosage(variants) == want).all()
    samples = np.empty((*want.T.shape, 2), np.int8)
    kernels.unpack_samples(packed(dosage), shift, samples)
    assert (as_dosage(samples) == want.T).all()
    assert (samples.transpose(1, 0, 2) == variants).all()


@pytest.mark.parametrize("shape", AWKWARD)
@pytest.mark.parametrize("major", ["SNP", "individual"])
def test_bed_source__reads_what_bed_reader_wrote(shape, major, tmp_path):
    dosage = random_dosage(*shape)
    path = tmp_path / "x.bed"
    to_bed(path, np.where(dosage < 0, -127, dosage).astype(np.int8).T, major=major, num_threads=1)
    source = BedSource(str(path), *shape, sample_major=major == "individual")
    m, n = shape
    assert (as_dosage(source.read(0, m, 0, n)) == dosage).all()
    for v0, v1 in ((0, m), (m // 2, m), (m // 3, m // 3 + 1), (0, 0)):
        for s0, s1 in ((0, n), (n // 2, n), (n // 3, n // 3 + 1), (0, 0)):
            assert (as_dosage(source.read(v0, v1, s0, s1)) == dosage[v0:v1, s0:s1]).all()


@pytest.mark.parametrize("shape", AWKWARD)
def test_pack_variants__is_what_bed_reader_reads(shape, tmp_path):
    dosage = random_dosage(*shape)
    (tmp_path / "x.bed").write_bytes(reference.MAGIC + packed(dosage).tobytes())
    with open_bed(tmp_path / "x.bed", iid_count=shape[1], sid_count=shape[0], num_threads=1) as bed:
        values = bed.read(dtype="int8")
    assert (dosage == np.where(values == -127, -1, values).T).all()
