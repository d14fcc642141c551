"""The filter of packed calls: every int8 chunk comes back, and damaged bytes are refused."""

import struct
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
from genoweave.kernels.packed import PAD_BYTE, width

HEADER = 32
COUNT, PLAIN_ROWS = slice(16, 20), slice(20, 24)  # fields of the header
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
# rare and common variants in turn: three frames, and plain rows between their rows
FREQUENCY = np.where(np.arange(170) % 6 == 2, 0.4, 0.02)[:, None, None]
MIXED = (rng.random((170, 33, 2)) < FREQUENCY).astype(np.int8)
RARE = (rng.random((130, 33, 2)) < 0.01).astype(np.int8)
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
    "rare": (np.sort(RARE, axis=2), codec.UNPHASED, 0),
    "rare and common": (np.sort(MIXED, axis=2), codec.UNPHASED, 0),
    "rare and common, half calls": (with_calls(np.sort(MIXED, axis=2), 0.01, (0, -1)), codec.UNPHASED, None),
    "rare and common, phased": (MIXED, codec.PHASED, 0),
    "rare and common, phased, missing": (with_calls(MIXED, 0.01, -1), codec.PHASED, None),
    "multi-allelic": (rng.integers(-1, 4, (9, 10, 2)).astype(np.int8), codec.PLAIN, 0),
    "haploid": (rng.integers(-1, 2, (9, 10, 1)).astype(np.int8), codec.PLAIN, 0),
    "triploid": (rng.integers(-2, 2, (9, 10, 3)).astype(np.int8), codec.PLAIN, 0),
}


def field(data, place):
    return int.from_bytes(data[place], "little")


def most_bytes(shape, mode, exceptions):
    """Header, calls or codes and exceptions; a zstd frame adds up to 16 bytes, and takes 4 for its size."""
    if mode == codec.PLAIN:
        return HEADER + np.prod(shape) + 16
    frames = shape[0] // 64 + 1 + (exceptions > 0)
    return HEADER + (shape[0] + 7) // 8 + shape[0] * width(shape[1]) + 6 * exceptions + 20 * frames


@pytest.mark.parametrize("name", CHUNKS)
def test_encode_calls__round_trip_in_the_smallest_form(name):
    calls, mode, wanted = CHUNKS[name]
    data = codec.encode_calls(calls)
    chunk = codec.decode(data)
    assert chunk.mode == data[5] == mode
    assert chunk.shape == calls.shape
    assert chunk.calls().dtype == np.int8
    assert (chunk.calls() == calls).all()
    assert wanted is None or field(data, COUNT) == wanted == len(chunk.where)
    assert field(data, PLAIN_ROWS) == chunk.is_plain.sum()
    assert len(data) <= most_bytes(calls.shape, mode, field(data, COUNT))
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


def test_encode_packed__common_rows_stand_as_they_are_and_rare_ones_are_small():
    for name, plain_rows, frames in (("unphased", 37, 0), ("rare", 0, 3), ("rare and common", None, 3)):
        calls = CHUNKS[name][0]
        chunk = codec.decode(codec.encode_calls(calls))
        assert len(chunk.frames) == frames, name
        assert plain_rows is None or chunk.is_plain.sum() == plain_rows
        share = (
            np.array([np.unique(row, axis=0, return_counts=True)[1].max() for row in calls]) / calls.shape[1]
        )
        assert (share[~chunk.is_plain] > 0.5).all()
        assert (chunk.plain == packed_calls(calls)[chunk.is_plain]).all()
        stored = sum(len(frame) for frame in chunk.frames)
        assert stored <= 0.7 * (~chunk.is_plain).sum() * width(calls.shape[1])


def entropy(row, n_samples):
    """As docs/storage.md has it: of the codes other than 1, in bits a code of all."""
    counts = np.bincount((row[:, None] >> [0, 2, 4, 6] & 3).ravel()[:n_samples], minlength=4)[[0, 2, 3]]
    called = counts.sum()
    return sum(-k * np.log2(k / called) for k in counts if k) / (4 * len(row))


def drawn(n_variants, n_samples, frequency, seed=1):
    """Codes of unlinked variants of some frequencies."""
    draws = np.random.default_rng(seed)
    calls = draws.random((n_variants, n_samples, 2)) < np.resize(frequency, n_variants)[:, None, None]
    return packed_calls(np.sort(calls.astype(np.int8), axis=2))


def alike(codes, n_variants):
    """Rows that resemble each other, as neighbours in strong linkage do."""
    out = np.resize(codes[:4], (n_variants, codes.shape[1]))
    out[np.arange(n_variants), np.arange(n_variants) % codes.shape[1]] ^= 2
    return out


@pytest.mark.parametrize("missing", [0, 0.1, 0.3])
def test_encode_packed__unlinked_rows_are_plain_by_their_entropy(missing):
    n = 402
    codes = drawn(170, n, np.linspace(0.02, 0.5, 17))
    calls = with_calls(codec.decode(codec.encode_packed(codes, n)).calls(), missing, -1)
    codes = packed_calls(calls)
    chunk = codec.decode(codec.encode_packed(codes, n))
    assert 0 < chunk.is_plain.sum() < 170
    assert chunk.is_plain.tolist() == [bool(entropy(row, n) > 0.9) for row in codes]


def test_encode_packed__linked_rows_are_compressed():
    unlinked = drawn(200, 800, 0.4)
    codes = alike(unlinked, 200)
    data = codec.encode_packed(codes, 800)
    chunk = codec.decode(data)
    assert not chunk.is_plain.any()
    assert len(chunk.frames) == 4
    assert len(data) < 0.2 * codes.nbytes
    assert reference.decode(data) == chunk.calls().tolist()
    assert (chunk.codes(np.array([0, 63, 64, 199])) == codes[[0, 63, 64, 199]]).all()
    assert codec.decode(codec.encode_packed(unlinked, 800)).is_plain.all()


@pytest.mark.parametrize(("n_alike", "is_plain"), [(8, True), (64, False), (80, False)])
def test_encode_packed__the_first_64_common_rows_tell_linkage(n_alike, is_plain):
    common = drawn(150, 800, 0.4)
    common[:n_alike] = alike(common[-4:], n_alike)
    assert (len(numcodecs.Zstd(1).encode(common[:64])) >= 0.6 * 64 * 200) == is_plain
    rare = drawn(90, 800, 0.01)
    chunk = codec.decode(codec.encode_packed(np.concatenate([rare, common]), 800))
    assert chunk.is_plain.tolist() == [False] * 90 + [is_plain] * 150
    last_alike = np.concatenate([common[::-1], rare])  # only behind the first 64
    assert codec.decode(codec.encode_packed(last_alike, 800)).is_plain[:150].all()


def test_encode_packed__a_chunk_that_is_mostly_padding_is_about_a_bed():
    codes = np.full((128, 500), PAD_BYTE, np.uint8)
    codes[:, :125] = drawn(128, 500, 0.4)
    data = codec.encode_packed(codes, 2000)
    assert codec.decode(data).is_plain.sum() == 0
    assert len(data) < 1.1 * 128 * 125


def test_encode_calls__missing_calls_of_phased_data_cost_little():
    calls = with_calls((np.random.default_rng(1).random((300, 800, 2)) < 0.3).astype(np.int8), 0.01, -1)
    data, count = codec.encode_calls(calls), (calls < 0).all(axis=2).sum()
    without = codec.encode_calls(np.where(calls < 0, 0, calls))
    assert data[5] == codec.PHASED
    assert field(data, COUNT) == count
    assert len(data) - len(without) < 2 * count
    assert (codec.decode(data).calls() == calls).all()


CODED = [name for name in CHUNKS if CHUNKS[name][1] != codec.PLAIN]
DIPLOID = [name for name in CHUNKS if CHUNKS[name][0].shape[2] == 2 and CHUNKS[name][0].max() <= 1]


def some_rows(data, n):
    return np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1))))


@pytest.mark.parametrize("name", CODED)
@given(data=st.data())
def test_codes__of_some_rows_are_those_of_all(name, data):
    chunk = codec.decode(codec.encode_calls(CHUNKS[name][0]))
    rows = some_rows(data, chunk.shape[0])
    assert (chunk.codes(rows) == chunk.codes()[rows]).all()


@pytest.mark.parametrize("name", DIPLOID)
@given(data=st.data())
def test_packed__of_some_rows_are_those_of_all(name, data):
    chunk = codec.decode(codec.encode_calls(CHUNKS[name][0]))
    rows = some_rows(data, chunk.shape[0])
    wanted = packed_calls(CHUNKS[name][0])[rows]
    assert (chunk.packed(7, 7 + chunk.shape[0], rows) == wanted).all()
    assert (chunk.packed(7, None, rows) == wanted).all(), "and again: nothing of the chunk was written to"


def test_codes__no_rows():
    chunk = codec.decode(codec.encode_calls(CHUNKS["rare and common"][0]))
    assert chunk.codes(np.empty(0, np.int64)).shape == (0, 9)


def test_codes__of_plain_rows_decompress_nothing(monkeypatch):
    chunk = codec.decode(codec.encode_calls(CHUNKS["rare and common"][0]))
    whole = chunk.codes()
    read = []
    decompressed = codec._decompressed
    monkeypatch.setattr(codec, "_decompressed", lambda *it: read.append(it) or decompressed(*it))
    plain, rest = np.flatnonzero(chunk.is_plain), np.flatnonzero(~chunk.is_plain)
    assert (chunk.codes(plain) == whole[plain]).all()
    assert not read
    for rows, frames in ((rest[64:128], [1]), (rest[[0, 63, -1]], [0, 2]), (None, [0, 1, 2])):
        chunk.codes(rows)
        assert [frame.tobytes() for frame, _ in read] == [chunk.frames[i].tobytes() for i in frames]
        read.clear()


def test_packed__a_third_allele_among_some_rows_names_the_chunk():
    calls = CHUNKS["multi-allelic"][0]
    chunk = codec.decode(codec.encode_calls(calls))
    with pytest.raises(DataError, match=r"variants 50 to 58 an allele code"):
        chunk.packed(50, 59, np.array([2, 7]))


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


HALF = np.zeros((2, 7, 2), np.int8)
HALF[:, :] = [[0, 0], [0, 1], [1, 1], [-1, -1], [0, 0], [0, 1], [1, 1]]
HALF[1, 1] = 0, -1
TURNED = np.zeros((2, 5, 2), np.int8)
TURNED[:, :4] = [[0, 1], [1, 0], [1, 1], [1, 0]]
TURNED[0, 4], TURNED[1, 4] = (-1, 1), -1


RARELY = np.zeros((3, 8, 2), np.int8)
RARELY[0, 4], RARELY[1, :4] = -1, HALF[0, :4]


@pytest.mark.parametrize(
    ("calls", "wanted"),
    [
        (  # header; checksum; rows 0 and 1 are plain; exceptions: size, frame; plain rows
            HALF,
            "01 00 0200 02000000 07000000 01000000 02000000  4cc962d19ca033a8 03"
            "  0f000000  28b52ffd 20 06 310000 08000000 00ff  4b4b 474b",
        ),
        (  # two exceptions, at 4 and 4 + 5: all lowest bytes, and so on; the calls
            TURNED,
            "01 01 0200 02000000 05000000 02000000 02000000  4acfb577552cbe48 03"
            "  15000000  28b52ffd 20 0c 610000 0405 0000 0000 0000 ff01 ffff  7602 7600",
        ),
        (  # row 1 is plain; one frame of 13 bytes; plain row; the frame, whose block is not compressed
            RARELY,
            "01 00 0200 03000000 08000000 00000000 01000000  6ce947a62fae0129"
            " 02  0d000000  4bff  28b52ffd 20 04 210000 fffdffff",
        ),
        (
            HALF[:1, :3, :1],
            "01 02 0100 01000000 03000000 00000000 00000000  720c80432b051a00  28b52ffd 20 03 190000 000001",
        ),
    ],
)
def test_encode_calls__byte_by_byte(calls, wanted):
    # version 1 stays readable: other bytes need another version
    data = b"GWPC" + bytes.fromhex(wanted)
    assert codec.encode_calls(calls).hex(" ") == data.hex(" ")
    assert (codec.decode(data).calls() == calls).all()


def damage(data, place, value):
    out = bytearray(data)
    out[place] = value
    return bytes(out)


def resealed(data, place, value):
    """Damage that the checksum does not show: what a wrong writer could make."""
    return reference.sealed(damage(data, place, value))


WHOLE = codec.encode_calls(CHUNKS["phased, missing"][0])  # 37 plain rows
FRAMES = codec.encode_calls(CHUNKS["rare and common, phased, missing"][0])
BITMAP = HEADER + (170 + 7) // 8
FIRST_FRAME = FRAMES.index(b"\x28\xb5\x2f\xfd", BITMAP)
HAPLOID = codec.encode_calls(CHUNKS["haploid"][0])
EXCEPTIONS = HEADER + 5  # of WHOLE, the size of their frame
TURNED_BYTES = codec.encode_calls(TURNED)
A_FRAME, TORN = r"a frame holds \d+ bytes, wanted \d+", "input|frame|size|checksum|bytes"
EARLY, LATE, SUM = "ends \\d+ bytes early", "has \\d+ bytes too many", "the checksum of a chunk is wrong"


# what a decompressor raises at a size that no memory holds; a store makes a DataError of each
HUGE = ValueError, MemoryError, SystemError


def with_frame(content, n_variants=3, n_samples=5):
    """A chunk of rare variants whose only frame holds something else."""
    frame = numcodecs.Zstd(1).encode(content) if isinstance(content, bytes) else bytes(content)
    head = b"GWPC" + struct.pack("<BBHIIIIQ", 1, 0, 2, n_variants, n_samples, 0, 0, 0)
    return reference.sealed(head + bytes((n_variants + 7) // 8) + struct.pack("<I", len(frame)) + frame)


def exceptions_at(*steps):
    """The content of the exceptions' frame."""
    return np.array(steps, "<u4").view(np.uint8).reshape(-1, 4).T.tobytes() + b"\xff" * 2 * len(steps)


def with_exceptions(content):
    """The chunk TURNED with another frame of its two exceptions."""
    frame = numcodecs.Zstd(1).encode(content) if isinstance(content, bytes) else bytes(content)
    return reference.sealed(TURNED_BYTES[:33] + struct.pack("<I", len(frame)) + frame + TURNED_BYTES[-4:])


def huge_frame(size):
    """A frame that says its content to have this size."""
    return bytearray(
        b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x21\x00\x00" + b"\xff\x57\xff\x57"
    )


def test_with_frame__makes_a_chunk_that_is_read():
    assert (codec.decode(with_frame(b"\xff\x57" * 3)).calls() == 0).all()
    assert (codec.decode(with_frame(huge_frame(4), 2)).calls() == 0).all()


def test_with_exceptions__makes_a_chunk_that_is_read():
    wanted = TURNED.copy()
    wanted[0, 4] = wanted[0, 3] = -1
    wanted[1, 4] = 0
    assert (codec.decode(with_exceptions(exceptions_at(3, 1))).calls() == wanted).all()


@pytest.mark.parametrize("size", [11, 13, 2**40, 2**62, 2**64 - 12])
def test_decode__exceptions_that_promise_another_size_are_refused(size):
    with pytest.raises(HUGE):
        codec.decode(with_exceptions(huge_frame(size)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a chunk of packed genotypes"),
        (WHOLE[:31], "not a chunk of packed genotypes"),
        (damage(WHOLE, 0, 0x67), "not a chunk of packed genotypes"),
        (damage(WHOLE, 4, 0), "version 0; this genoweave reads version 1"),
        (damage(WHOLE, 4, 2), "version 2; this genoweave reads version 1: install a newer one"),
        (damage(WHOLE, 5, 3), "form 3 with ploidy 2"),
        (damage(WHOLE, 5, 255), "form 255 with ploidy 2"),
        (damage(WHOLE, 6, 1), "form 1 with ploidy 1"),
        (damage(WHOLE, 24, WHOLE[24] ^ 1), SUM),
        (WHOLE[:HEADER], SUM),
        (WHOLE[:-1], SUM),
        (WHOLE + b"\1", SUM),
        (reference.sealed(WHOLE[:HEADER]), EARLY),
        (reference.sealed(WHOLE[:-1]), "ends 1 bytes early"),
        (WHOLE + b"\0", "has 1 bytes too many"),
        (reference.sealed(FRAMES[:-1]), "ends 1 bytes early"),
        (reference.sealed(FRAMES + b"\0"), "has 1 bytes too many"),
        (resealed(WHOLE, 8, 40), rf"{EARLY}|outside the chunk"),  # variants, up to 2**32
        (resealed(WHOLE, 11, 255), EARLY),
        (resealed(WHOLE, 15, 255), EARLY),  # samples
        (resealed(WHOLE, 16, WHOLE[16] - 1), A_FRAME),  # exceptions
        (resealed(WHOLE, 16, WHOLE[16] + 1), A_FRAME),
        (resealed(WHOLE, 19, 255), A_FRAME),
        (resealed(resealed(WHOLE, 16, 0), 17, 0), LATE),
        (resealed(TURNED_BYTES, 16, 0), "has 25 bytes too many"),
        (resealed(codec.encode_calls(PHASED), 16, 1), EARLY),
        (resealed(WHOLE, EXCEPTIONS, WHOLE[EXCEPTIONS] - 1), TORN),  # size of their frame
        (resealed(WHOLE, EXCEPTIONS, WHOLE[EXCEPTIONS] + 1), TORN),
        (resealed(WHOLE, EXCEPTIONS + 3, 1), "ends \\d+ bytes early"),
        (reference.sealed(WHOLE[: EXCEPTIONS + 2]), "ends 2 bytes early"),
        (resealed(WHOLE, 20, 36), "count of plain rows"),
        (resealed(WHOLE, 23, 255), "count of plain rows"),
        (resealed(WHOLE, HEADER, 0xFE), "count of plain rows"),
        (resealed(FRAMES, 20, FRAMES[20] + 1), "count of plain rows"),
        (resealed(FRAMES, BITMAP, FRAMES[BITMAP] + 1), "ends 1 bytes early"),  # sizes of frames
        (resealed(FRAMES, BITMAP, FRAMES[BITMAP] - 1), "has 1 bytes too many"),
        (resealed(FRAMES, BITMAP + 3, 255), EARLY),
        (with_exceptions(exceptions_at(4, 6)), "an exception lies outside the chunk"),
        (with_exceptions(exceptions_at(10, 0)), "an exception lies outside the chunk"),
        (with_exceptions(exceptions_at(4, 2**32 - 1)), "an exception lies outside the chunk"),
        (with_exceptions(exceptions_at(4)), "a frame holds 6 bytes, wanted 12"),
        (with_exceptions(exceptions_at(4, 1, 1)), "a frame holds 18 bytes, wanted 12"),
        (with_exceptions(b""), "input"),
        (with_exceptions(bytearray(b"no frame")), "input"),
        (with_exceptions(bytearray()), "input"),
        (resealed(HAPLOID, 11, 255), "a frame holds 90 bytes, wanted"),
        (resealed(HAPLOID, 11, 1), "a frame holds 90 bytes, wanted"),
        (resealed(HAPLOID, 12, 11), "a frame holds 90 bytes, wanted"),
        (resealed(HAPLOID, 12, 9), "a frame holds 90 bytes, wanted"),
        (reference.sealed(HAPLOID[:HEADER]), "invalid input"),
    ],
)
def test_decode__damaged_bytes_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        codec.decode(data)


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\x57" * 2,
        b"\xff\x57" * 4,
        b"\xff",
        b"",
        huge_frame(7),
        huge_frame(5),
        huge_frame(2**40),
        huge_frame(2**62),
        huge_frame(2**64 - 2),
        bytearray(b"no frame"),
        bytearray(),
    ],
)
def test_codes__a_frame_of_another_size_is_refused(frame):
    chunk = codec.decode(with_frame(frame))
    for rows in (None, np.array([1])):
        with pytest.raises(HUGE):
            chunk.codes(rows)


def test_codes__frames_that_changed_places_are_refused():
    whole = codec.encode_calls(CHUNKS["rare"][0])  # frames of 64, 64 and 2 rows
    first, _, last = struct.unpack_from("<3I", whole, HEADER + 17)
    at = HEADER + 17 + 12
    sizes = struct.pack("<3I", last, *struct.unpack_from("<2I", whole, HEADER + 17)[1:], first)
    body = whole[len(whole) - last :] + whole[at + first : len(whole) - last] + whole[at : at + first]
    chunk = codec.decode(reference.sealed(whole[: HEADER + 17] + sizes + body))
    with pytest.raises(ValueError, match="a frame holds 18 bytes, wanted 576"):
        chunk.codes()


@pytest.mark.parametrize("name", ["all missing", "half calls", "rare", "phased, missing", "haploid"])
def test_decode__every_flipped_bit_is_refused(name):
    whole = codec.encode_calls(CHUNKS[name][0][:70, :9])
    for bit in range(8 * len(whole)):
        with pytest.raises(ValueError, match=r"checksum|not a chunk|version|form"):
            codec.decode(damage(whole, bit // 8, whole[bit // 8] ^ 1 << bit % 8))


@pytest.mark.parametrize("name", ["all missing", "half calls", "rare", "phased, missing", "haploid"])
def test_decode__every_cut_is_refused(name):
    whole = codec.encode_calls(CHUNKS[name][0][:70, :9])
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"checksum|not a chunk|early"):
            codec.decode(whole[:end])


def calls_within_bounds(data):
    try:
        chunk = codec.decode(data)
        if np.prod([float(n) for n in chunk.shape]) > 1e7:
            return  # a store refuses it by its shape
        assert chunk.calls().size == np.prod(chunk.shape)
    except HUGE:
        pass


@given(st.sampled_from(sorted(CHUNKS)), st.data())
def test_decode__any_damage_is_refused_or_read_within_bounds(name, data):
    whole = bytearray(codec.encode_calls(CHUNKS[name][0]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(4, min(len(whole), HEADER + 60) - 1) | st.integers(4, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(HEADER, len(whole)) | st.just(len(whole)))
    calls_within_bounds(bytes(whole[:cut]))
    calls_within_bounds(reference.sealed(bytes(whole[:cut])))


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
        compressor=None,
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
