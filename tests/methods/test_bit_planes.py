"""The scratch file of bits: written in blocks, read in strips."""

import helpers
import numpy as np
import pytest

from genoweave.errors import StoreError
from genoweave.methods import bit_planes as module
from genoweave.methods.bit_planes import BitPlanes, write_bit_planes


@pytest.fixture
def dosage():
    rng = np.random.default_rng(3)
    out = rng.integers(-1, 3, (1100, 1030)).astype(np.int8)
    out[:, 1000] = -1
    return out


def bits(words):
    return np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little")


@pytest.mark.parametrize("block", [512, 1024, 64 * 512])
def test_read_strips__give_what_was_written(tmp_path, monkeypatch, dosage, block):
    monkeypatch.setattr(module, "_BLOCK_SAMPLES", block)
    planes = write_bit_planes(helpers.cohort(dosage), tmp_path / "planes.bin")
    assert (planes.strips, planes.tiles) == (3, 2)
    assert planes.path.stat().st_size == planes.size
    for strip, read in enumerate(planes.read_strips(range(3), 0, 2)):
        part = dosage[:, 512 * strip : 512 * strip + 512]
        n = part.shape[1]
        nonzero, sign = bits(read.planes[:n, 0]), bits(read.planes[:n, 1])
        assert (np.isin(part, [0, 2]) == nonzero[:, :1100].T).all()
        assert (np.isin(part, [2, -1]) == sign[:, :1100].T).all()
        assert (bits(read.rows[:1100, 0])[:, :n] == (part == 1)).all()
        assert not read.rows[1100:].any()
        assert read.totals[0, :n].tolist() == (part == 1).sum(axis=0).tolist()
        assert not read.totals[:, n:].any()
        for s in range(n):
            missed = read.missing[read.starts[s] : read.starts[s + 1]]
            assert missed[missed < 1100].tolist() == np.flatnonzero(part[:, s] < 0).tolist()


def test_read_strips__one_tile(tmp_path, dosage):
    planes = write_bit_planes(helpers.cohort(dosage), tmp_path / "planes.bin")
    (whole,), (last,) = planes.read_strips([1], 0, 2), planes.read_strips([1], 1, 2)
    assert last.planes.shape[2] == 8  # 76 variants: one vector
    assert (last.planes[:, :, :2] == whole.planes[:, :, 16:18]).all()
    assert (last.rows[:76] == whole.rows[1024:1100]).all()


def test_write_bit_planes__a_finished_file_is_kept(tmp_path, dosage):
    ds = helpers.cohort(dosage)
    first = write_bit_planes(ds, tmp_path / "planes.bin")
    written = first.path.stat().st_mtime_ns
    assert write_bit_planes(ds, first.path) == first
    assert first.path.stat().st_mtime_ns == written
    assert [p.name for p in tmp_path.iterdir()] == ["planes.bin"]


def test_write_bit_planes__without_room_it_says_so(tmp_path, dosage, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "posix_fallocate", full)
    with pytest.raises(StoreError, match=r"cannot write .*bytes of bit-planes\): No space left.*free space"):
        write_bit_planes(helpers.cohort(dosage), tmp_path / "planes.bin")
    assert not list(tmp_path.iterdir())


def test_read_strips__a_short_file_is_an_error(tmp_path, dosage):
    planes = write_bit_planes(helpers.cohort(dosage), tmp_path / "planes.bin")
    with planes.path.open("r+b") as file:
        file.truncate(planes.size // 2)
    with pytest.raises(StoreError, match="is shorter than its"):
        planes.read_strips([0], 0, 2)


def test_bit_planes__size_is_four_bits_a_genotype():
    planes = BitPlanes(path=None, n_variants=2048, n_samples=1024)
    assert planes.size == 2048 * 1024 // 2
