"""The filter of packed calls: every int8 chunk comes back, and damaged bytes are refused."""

import subprocess
import sys

import helpers
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numcodecs.abc import Codec
from reference import packed_calls as reference

from genoweave.errors import DataError
from genoweave.genotypes import packed_calls
from genoweave.io import codec
from genoweave.kernels.packed import width

HEADER = 32
COUNT = slice(16, 20)  # the header's field of exceptions
rng = np.random.default_rng(0)


def with_calls(calls, share, call, seed=1):
    """Replace a share of the calls, and at least one."""
    out = calls.copy()
    where = np.random.default_rng(seed).random(calls.shape[:2]) < share
    where[-1, -1] = share > 0
    out[where] = call
    return out


UNPHASED = np.sort(rng.integers(0, 2, (37, 66, 2)).astype(np.int8), axis=2)
PHASED = rng.integers(0, 2, (37, 66, 2)).astype(np.int8)
# name -> calls, form, exceptions
CHUNKS = {
    "unphased": (UNPHASED, codec.UNPHASED, 0),
    "unphased, missing": (with_calls(UNPHASED, 0.3, -1), codec.UNPHASED, 0),
    "all missing": (np.full((5, 7, 2), -1, np.int8), codec.UNPHASED, 0),
    "one call": (np.array([[[0, 1]]], np.int8), codec.UNPHASED, 0),
    "one phased call": (np.array([[[1, 0]]], np.int8), codec.PHASED, 0),
    "half calls": (with_calls(UNPHASED, 0.001, (0, -1)), codec.UNPHASED, None),
    "a few 1/0": (with_calls(with_calls(UNPHASED, 0.3, -1), 0.001, (1, 0)), codec.UNPHASED, None),
    "a third allele": (with_calls(UNPHASED, 0.001, (0, 2)), codec.UNPHASED, None),
    "large alleles": (with_calls(UNPHASED, 0.001, (127, 126)), codec.UNPHASED, None),
    "mixed ploidy": (with_calls(UNPHASED, 0.001, (1, -2)), codec.UNPHASED, None),
    "phased": (PHASED, codec.PHASED, 0),
    "phased, missing": (with_calls(PHASED, 0.01, -1), codec.PHASED, None),
    "phased, multi-allelic": (with_calls(PHASED, 0.01, (3, 1)), codec.PHASED, None),
    "phased, half calls": (with_calls(PHASED, 0.01, (-1, 1)), codec.PHASED, None),
    "phased, much missing": (with_calls(PHASED, 0.4, -1), codec.UNPHASED, None),
    "phased, many half calls": (with_calls(PHASED, 0.4, (1, -1)), codec.PLAIN, 0),
    "multi-allelic": (rng.integers(-1, 4, (9, 10, 2)).astype(np.int8), codec.PLAIN, 0),
    "haploid": (rng.integers(-1, 2, (9, 10, 1)).astype(np.int8), codec.PLAIN, 0),
    "triploid": (rng.integers(-2, 2, (9, 10, 3)).astype(np.int8), codec.PLAIN, 0),
}


def exceptions(data):
    return int.from_bytes(data[COUNT], "little")


@pytest.mark.parametrize("name", CHUNKS)
def test_encode_calls__round_trip_in_the_smallest_form(name):
    calls, mode, wanted = CHUNKS[name]
    data = codec.encode_calls(calls)
    chunk = codec.decode(data)
    assert chunk.mode == data[5] == mode
    assert chunk.shape == calls.shape
    assert chunk.calls().dtype == np.int8
    assert (chunk.calls() == calls).all()
    assert wanted is None or exceptions(data) == wanted
    body = calls.size if mode == codec.PLAIN else len(calls) * width(calls.shape[1]) + 6 * exceptions(data)
    assert len(data) == HEADER + body
    assert len(data) <= HEADER + max(calls.size, len(calls) * width(calls.shape[1]))
    assert codec.encode_calls(calls.copy(order="F")) == data, "the same calls are the same bytes"


@pytest.mark.parametrize("name", CHUNKS)
def test_encode_calls__is_what_the_reference_decodes(name):
    calls = CHUNKS[name][0]
    assert reference.decode(codec.encode_calls(calls)) == calls.tolist()


@pytest.mark.parametrize("name", [name for name in CHUNKS if CHUNKS[name][0].shape[2] == 2])
def test_packed__equals_packing_the_calls(name):
    calls = CHUNKS[name][0]
    chunk = codec.decode(codec.encode_calls(calls))
    if calls.max() > 1:
        with pytest.raises(
            DataError, match=rf"variants 50 to {49 + len(calls)} an allele code {calls.max()}"
        ):
            chunk.packed(50)
    else:
        assert (chunk.packed(50) == packed_calls(calls)).all()


@pytest.mark.parametrize("ploidy", [1, 3])
def test_packed__other_ploidy_is_refused(ploidy):
    chunk = codec.decode(codec.encode_calls(np.zeros((3, 5, ploidy), np.int8)))
    with pytest.raises(DataError, match="diploid"):
        chunk.packed(0)


SIDES = st.integers(1, 9)
ALLELES = st.sampled_from([0, 0, 0, 1, 1, -1, -2, 2, 127, -128])


@given(hnp.arrays(np.int8, st.tuples(SIDES, SIDES, st.sampled_from([1, 2, 2, 2, 3])), elements=ALLELES))
def test_encode_calls__any_chunk(calls):
    data = codec.encode_calls(calls)
    chunk = codec.decode(data)
    assert (chunk.calls() == calls).all()
    assert codec.encode_calls(chunk.calls()) == data
    assert reference.decode(data) == calls.tolist()
    if calls.shape[2] == 2 and calls.max() <= 1:
        assert (chunk.packed(0) == packed_calls(calls)).all()


@given(hnp.arrays(np.int8, st.tuples(SIDES, SIDES), elements=st.integers(-1, 2)))
def test_encode_packed__is_what_encode_calls_makes(dosage):
    calls = np.sort(helpers.calls(dosage), axis=2)
    assert codec.encode_packed(packed_calls(calls), dosage.shape[1]) == codec.encode_calls(calls)


HALF = np.zeros((2, 5, 2), np.int8)
HALF[0, :4] = [[0, 0], [0, 1], [1, 1], [-1, -1]]
HALF[1, 1] = 0, -1
TURNED = np.zeros((2, 5, 2), np.int8)
TURNED[:, :4] = [[0, 1], [1, 0], [1, 1], [1, 0]]
TURNED[1, 4] = -1


@pytest.mark.parametrize(
    ("calls", "wanted"),
    [
        (HALF, "01 00 0200 02000000 05000000 01000000 00*12  4b57 f757  06000000 00ff"),
        (TURNED, "01 01 0200 02000000 05000000 01000000 00*12  7600 7600  09000000 ffff"),
        (HALF[:1, :3, :1], "01 02 0100 01000000 03000000 00000000 00*12  000001"),
    ],
)
def test_encode_calls__byte_by_byte(calls, wanted):
    # version 1 stays readable: other bytes need another version
    data = b"GWPC" + bytes.fromhex(wanted.replace("00*12", "00" * 12))
    assert codec.encode_calls(calls) == data
    assert (codec.decode(data).calls() == calls).all()


def damage(data, place, value):
    out = bytearray(data)
    out[place] = value
    return bytes(out)


WHOLE = codec.encode_calls(CHUNKS["phased, missing"][0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a chunk of packed genotypes"),
        (WHOLE[:31], "not a chunk of packed genotypes"),
        (damage(WHOLE, 0, 0x67), "not a chunk of packed genotypes"),
        (damage(WHOLE, 4, 0), "version 0; this genoweave reads version 1"),
        (damage(WHOLE, 4, 2), "version 2; this genoweave reads version 1: install a newer one"),
        (damage(WHOLE, 5, 3), "mode|form"),
        (damage(WHOLE, 5, 255), "mode|form"),
        (damage(WHOLE, 6, 1), "ploidy"),
        (damage(WHOLE, 8, 38), "bytes, wanted"),
        (damage(WHOLE, 15, 1), "bytes, wanted"),
        (damage(WHOLE, 16, WHOLE[16] + 1), "bytes, wanted"),
        (WHOLE[:HEADER], f"has 0 bytes, wanted {len(WHOLE) - HEADER}"),
        (WHOLE[:-1], f"has {len(WHOLE) - HEADER - 1} bytes, wanted {len(WHOLE) - HEADER}"),
        (WHOLE + b"\0", f"has {len(WHOLE) - HEADER + 1} bytes, wanted {len(WHOLE) - HEADER}"),
        (damage(WHOLE, HEADER + 37 * 17 + 3, 1), "an exception lies outside the chunk"),
        (damage(codec.encode_calls(CHUNKS["haploid"][0]), 11, 1), "bytes, wanted"),
    ],
)
def test_decode__damaged_bytes_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        codec.decode(data)


@given(st.sampled_from(sorted(CHUNKS)), st.data())
def test_decode__any_damage_is_refused_or_read_within_bounds(name, data):
    whole = bytearray(codec.encode_calls(CHUNKS[name][0]))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, min(len(whole), HEADER + 8) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    try:
        chunk = codec.decode(bytes(whole[:cut]))
    except ValueError:
        return
    assert chunk.calls().size == np.prod(chunk.shape)


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.float32])
def test_filter__refuses_what_it_cannot_give_back(dtype):
    # plain calls of another width would have a wrong length, and no reader
    with pytest.raises(ValueError, match="int8"):
        codec.PackedCalls().encode(np.zeros((3, 4, 2), dtype))


def test_filter__refuses_another_order(tmp_path):
    # zarr would fold the calls of a decoded chunk in the other order
    array = zarr.open_array(
        str(tmp_path / "x"),
        mode="w",
        shape=PHASED.shape,
        chunks=(16, 10, 2),
        dtype="i1",
        order="F",
        filters=[codec.PackedCalls()],
    )
    with pytest.raises(ValueError, match="C order"):
        array[...] = PHASED


def test_filter__is_made_from_its_configuration():
    one = codec.PackedCalls(unphased=True)
    assert one.get_config() == {"id": "genoweave_packed_calls", "version": 1, "unphased": True}
    again: Codec = numcodecs.get_codec(one.get_config())
    assert again == one
    with pytest.raises(ValueError, match="version 2; this genoweave reads version 1"):
        codec.PackedCalls(version=2)


@pytest.mark.parametrize("name", CHUNKS)
def test_filter__decodes_into_a_given_array(name):
    calls = CHUNKS[name][0]
    out = np.empty_like(calls)
    assert codec.PackedCalls().decode(codec.encode_calls(calls), out) is out
    assert (out == calls).all()


def new_array(path, calls, chunks, *, unphased=False):
    return zarr.open_array(
        str(path),
        mode="w",
        shape=calls.shape,
        chunks=chunks,
        dtype="i1",
        filters=[codec.PackedCalls(unphased=unphased)],
        compressor=numcodecs.Zstd(1),
        fill_value=None,
    )


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("chunks", [(1, 1), (4, 3), (16, 16), (100, 100)])
def test_zarr__chunks_that_divide_nothing(name, chunks, tmp_path):
    calls = CHUNKS[name][0]
    if min(chunks) == 1:
        calls = calls[:5, :6]
    array = new_array(tmp_path / "x", calls, (*chunks, calls.shape[2]))
    array[...] = calls
    again = zarr.open_array(str(tmp_path / "x"), mode="r")
    assert (again[...] == calls).all()
    assert (again[2:5, 1:4] == calls[2:5, 1:4]).all()


def test_zarr__partial_writes(tmp_path):
    calls = CHUNKS["phased, missing"][0]
    array = new_array(tmp_path / "x", calls, (16, 10, 2))
    for s in range(0, 66, 7):
        for v in range(0, 37, 5):
            array[v : v + 5, s : s + 7] = calls[v : v + 5, s : s + 7]
    array[3, 4] = 2, 1
    wanted = calls.copy()
    wanted[3, 4] = 2, 1
    assert (zarr.open_array(str(tmp_path / "x"), mode="r")[...] == wanted).all()


@pytest.mark.parametrize("call", [(1, 0), (0, -1), (0, 2), (1, -2)])
def test_zarr__a_promise_of_unphased_calls_is_kept(call, tmp_path):
    array = new_array(tmp_path / "x", UNPHASED, (16, 10, 2), unphased=True)
    array[...] = UNPHASED
    with pytest.raises(ValueError, match="this array holds unphased calls only"):
        array[3, 4] = call
    assert (array[...] == UNPHASED).all(), "what was there is still there"


def test_zarr__a_promise_counts_for_plain_chunks_too(tmp_path):
    array = new_array(tmp_path / "x", PHASED, (16, 10, 2), unphased=True)
    with pytest.raises(ValueError, match="unphased calls only"):
        array[...] = PHASED
    with pytest.raises(ValueError, match="unphased calls only"):
        array[...] = CHUNKS["phased, many half calls"][0]


def test_zarr__finds_the_filter_without_an_import_of_ours(tmp_path):
    calls = CHUNKS["phased, missing"][0]
    new_array(tmp_path / "x", calls, (16, 10, 2))[...] = calls
    program = (
        "import sys, zarr; before = 'genoweave' in sys.modules; a = zarr.open_array(sys.argv[1], mode='r');"
        "print(before, a.dtype, a[...].astype(int).sum())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x")], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["False", "int8", str(calls.astype(int).sum())], done.stderr
