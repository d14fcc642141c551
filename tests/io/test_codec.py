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
from genoweave.io import codec, packed_rows
from genoweave.kernels.packed import PAD_BYTE, width

HEADER = 32
COUNT, STORED = slice(16, 20), slice(20, 24)  # fields of the header
SPARSE, PLAIN_ROW, FRAMED = range(4), 4, 5  # kinds of rows
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


def nearly_all(*usual, other=(0, 1), every=29, n_samples=130):
    """Rows of which each is nearly all one call."""
    calls = np.empty((len(usual), n_samples, 2), np.int8)
    calls[:] = np.array(usual, np.int8)[:, None]
    for v in range(len(usual)):
        calls[v, v % every :: every] = other
    return calls


def middling(n_variants, n_samples=67):
    """Rows with a seventh of heterozygotes: too many to list, too few to stand as they are."""
    calls = np.zeros((n_variants, n_samples, 2), np.int8)
    for v in range(n_variants):
        calls[v, np.random.default_rng(v).permutation(n_samples)[: n_samples // 7], 1] = 1
    return calls


# variants of all frequencies in turn: some are sparse, some plain, and the others make three frames
FREQUENCY = np.array([0.09, 0.005, 0.4, 0.09, 0.09])[np.arange(350) % 5, None, None]
MIXED = (rng.random((350, 67, 2)) < FREQUENCY).astype(np.int8)
RARE = (rng.random((130, 67, 2)) < 0.01).astype(np.int8)
GENOTYPES = (0, 0), (0, 1), (1, 1), (-1, -1)
HAPLOTYPES = (0, 0), (0, 1), (1, 0), (1, 1)
AT_EDGE = UNPHASED[:, :50].copy()
AT_EDGE[:, 21:] = -1
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
    "middling": (middling(130), codec.UNPHASED, 0),
    "all frequencies": (np.sort(MIXED, axis=2), codec.UNPHASED, 0),
    "all frequencies, half calls": (with_calls(np.sort(MIXED, axis=2), 0.01, (0, -1)), codec.UNPHASED, None),
    "all frequencies, phased": (MIXED, codec.PHASED, 0),
    "all frequencies, phased, missing": (with_calls(MIXED, 0.01, -1), codec.PHASED, None),
    "nearly all one genotype": (nearly_all(*GENOTYPES * 3, other=(1, 1)), codec.UNPHASED, 0),
    "nearly all one haplotype pair": (nearly_all(*HAPLOTYPES * 3, other=(1, 0)), codec.PHASED, 0),
    "one genotype": (nearly_all(*GENOTYPES, other=(0, 0))[:, 1:29], codec.UNPHASED, 0),
    "at the edge": (AT_EDGE, codec.UNPHASED, 0),
    "at the edge, phased": (np.where(np.arange(66)[:, None] < 21, PHASED, 0), codec.PHASED, 0),
    "at the edge, half calls": (with_calls(AT_EDGE, 0.001, (0, -1)), codec.UNPHASED, None),
    "at the edge, phased, missing": (
        with_calls(np.where(np.arange(66)[:, None] < 21, PHASED, 0), 0.01, -1),
        codec.PHASED,
        None,
    ),
    "multi-allelic": (rng.integers(-1, 4, (9, 10, 2)).astype(np.int8), codec.PLAIN, 0),
    "haploid": (rng.integers(-1, 2, (9, 10, 1)).astype(np.int8), codec.PLAIN, 0),
    "triploid": (rng.integers(-2, 2, (9, 10, 3)).astype(np.int8), codec.PLAIN, 0),
}


def field(data, place):
    return int.from_bytes(data[place], "little")


def kinds_of(data):
    """The kinds of a chunk's rows, from its bytes."""
    at = kinds_at(data)
    return list(data[at : at + field(data, slice(8, 12))])


def kinds_at(data):
    """Where the kinds begin, behind counts and exceptions."""
    at = HEADER + 4 + field(data, slice(HEADER, HEADER + 4))
    return at + (4 + field(data, slice(at, at + 4)) if field(data, COUNT) else 0)


def most_bytes(shape, mode, exceptions):
    """Header, calls or codes and exceptions; a zstd frame adds up to 16 bytes, and takes 4 for its size."""
    if mode == codec.PLAIN:
        return HEADER + np.prod(shape) + 16
    frames = shape[0] // 64 + 2 + (exceptions > 0)
    counts = 4 * (3 * shape[0] + shape[1]) if mode == codec.UNPHASED else 0
    return HEADER + 3 * shape[0] + shape[0] * width(shape[1]) + 6 * exceptions + counts + 20 * frames


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
    assert len(data) <= most_bytes(calls.shape, mode, field(data, COUNT))
    assert codec.encode_calls(calls.copy(order="F")) == data, "the same calls are the same bytes"


@pytest.mark.parametrize("name", CHUNKS)
def test_encode_calls__is_what_the_reference_decodes(name):
    calls = CHUNKS[name][0]
    assert reference.decode(codec.encode_calls(calls)) == calls.tolist()


@pytest.mark.parametrize("name", CHUNKS)
def test_encode_calls__makes_the_bytes_of_the_reference(name):
    calls = CHUNKS[name][0]
    assert codec.encode_calls(calls).hex(" ") == reference.encode(calls.tolist()).hex(" ")


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


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("unphased", {PLAIN_ROW}),
        ("rare", {3}),
        ("middling", {FRAMED}),
        ("all frequencies", {3, PLAIN_ROW, FRAMED}),
        ("all frequencies, phased, missing", {0, PLAIN_ROW, FRAMED}),
        ("nearly all one genotype", set(SPARSE)),
        ("nearly all one haplotype pair", set(SPARSE)),
        ("one genotype", set(SPARSE)),
    ],
)
def test_encode_calls__each_row_has_the_kind_that_suits_it(name, kinds):
    calls = CHUNKS[name][0]
    data = codec.encode_calls(calls)
    found = np.array(kinds_of(data))
    assert set(found) == kinds
    chunk = codec.decode(data)
    assert len(chunk.rows.frames) == -(-(found == FRAMED).sum() // 64)
    for v in np.flatnonzero(found < PLAIN_ROW):
        codes, counts = np.unique(reference.four_a_byte(chunk.codes()[v].tobytes()), return_counts=True)
        assert codes[counts.argmax()] == found[v]


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


def entropy(row):
    """Bits a code."""
    share = np.bincount((row[:, None] >> [0, 2, 4, 6] & 3).ravel()) / (4 * len(row))
    return -sum(p * np.log2(p) for p in share if p)


@pytest.mark.parametrize(
    ("missing", "wanted"), [(0, {3, PLAIN_ROW, FRAMED}), (0.05, {3, PLAIN_ROW, FRAMED}), (0.3, {PLAIN_ROW})]
)
def test_encode_packed__unlinked_rows_are_plain_by_their_entropy(missing, wanted):
    n = 402
    codes = drawn(170, n, np.linspace(0.02, 0.5, 17))
    codes = packed_calls(with_calls(codec.decode(codec.encode_packed(codes, n)).calls(), missing, -1))
    kinds = np.array(kinds_of(codec.encode_packed(codes, n)))
    not_listed = kinds > 3
    assert (kinds[not_listed] == PLAIN_ROW).tolist() == [entropy(row) > 0.9 for row in codes[not_listed]]
    assert set(kinds) == wanted


def test_encode_packed__linked_rows_are_compressed():
    unlinked = drawn(200, 800, 0.4)
    codes = alike(unlinked, 200)
    data = codec.encode_packed(codes, 800)
    chunk = codec.decode(data)
    assert set(kinds_of(data)) == {FRAMED}
    assert len(chunk.rows.frames) == 4
    assert len(data) < 0.2 * codes.nbytes
    assert reference.decode(data) == chunk.calls().tolist()
    assert (chunk.codes(np.array([0, 63, 64, 199])) == codes[[0, 63, 64, 199]]).all()
    assert set(kinds_of(codec.encode_packed(unlinked, 800))) == {PLAIN_ROW}


@pytest.mark.parametrize(("n_alike", "kind"), [(8, PLAIN_ROW), (64, FRAMED), (80, FRAMED)])
def test_encode_packed__the_first_64_common_rows_tell_linkage(n_alike, kind):
    common = drawn(150, 800, 0.4)
    common[:n_alike] = alike(common[-4:], n_alike)
    assert (len(numcodecs.Zstd(1).encode(common[:64])) >= 0.6 * 64 * 200) == (kind == PLAIN_ROW)
    rare = drawn(90, 800, 0.01)
    assert kinds_of(codec.encode_packed(np.concatenate([rare, common]), 800)) == [3] * 90 + [kind] * 150
    last_alike = np.concatenate([common[::-1], rare])  # only behind the first 64
    assert kinds_of(codec.encode_packed(last_alike, 800)) == [PLAIN_ROW] * 150 + [3] * 90


def test_encode_packed__six_tenths_are_worth_a_frame():
    unlike = drawn(64, 800, 0.4)
    found = set()
    for n_alike in range(2, 64, 2):
        codes = np.concatenate([alike(unlike, n_alike), unlike[n_alike:]])
        ratio = len(numcodecs.Zstd(1).encode(codes)) / codes.nbytes
        assert set(kinds_of(codec.encode_packed(codes, 800))) == {FRAMED if ratio < 0.6 else PLAIN_ROW}
        found.add(round(ratio, 2))
    assert found & {0.57, 0.58, 0.59}
    assert found & {0.6, 0.61, 0.62}


def nearly_one_code(kind, places, n_samples, code=None):
    """A row of codes of which only some are not its kind."""
    row = np.full((1, width(n_samples)), 0x55 * kind, np.uint8)
    others = [other for other in range(4) if other != kind] if code is None else [code]
    for i, place in enumerate(places):
        row[0, place // 4] ^= (kind ^ others[i % len(others)]) << 2 * (place % 4)
    return row


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("places", [[], [0], [399], [0, 1, 2, 3], [0, 399], [5, 8, 100, 131, 132, 396, 399]])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_encode_packed__a_sparse_row_lists_its_other_codes(kind, places, n_rows):
    row = nearly_one_code(kind, places, 400)
    codes = np.concatenate([row, *[nearly_one_code(2, [7, 399], 400)] * (n_rows - 1)])  # nothing is left out
    data = codec.encode_packed(codes, 400)
    chunk = codec.decode(data)
    assert (chunk.codes() == codes).all()
    assert (chunk.packed() == codes).all()
    if kind != 1 or n_rows > 1 or 399 in places:
        assert kinds_of(data) == [kind, 2, 2][:n_rows]
        assert field(data, STORED) == (100 if n_rows == 3 or kind != 1 or 399 in places else 0)
    assert reference.decode(data) == chunk.calls().tolist()


@pytest.mark.parametrize("kind", SPARSE)
def test_encode_calls__sparse_rows_of_phased_calls(kind):
    pair = [(0, 0), (1, 0), (0, 1), (1, 1)]
    calls = np.empty((5, 399, 2), np.int8)
    calls[...] = pair[kind]
    for v in range(5):
        calls[v, v::101] = pair[kind ^ 3]
        calls[v, v + 50 :: 202] = pair[kind ^ 1]
        calls[v, v + 60 :: 202] = pair[kind ^ 2]
    data = codec.encode_calls(calls)
    assert (data[5], kinds_of(data)) == (codec.PHASED, [kind] * 5)
    assert (codec.decode(data).calls() == calls).all()
    assert (codec.decode(data).packed() == packed_calls(calls)).all()
    assert reference.encode(calls.tolist()) == data


@pytest.mark.parametrize(
    ("between", "size"),
    [(0, 1), (31, 1), (32, 2), (63, 2), (4095, 2), (4096, 3), (524_287, 3), (524_288, 4), (1_000_003, 4)],
)
@pytest.mark.parametrize("kind", [3, 0])
def test_encode_packed__numbers_of_several_bytes(between, size, kind):
    n_samples = 2 * between + 66  # the least whose limit lets two short numbers in
    places = between, 2 * between + 1
    row = nearly_one_code(kind, places, n_samples, code=2)
    data = codec.encode_packed(row, n_samples)
    assert kinds_of(data) == [kind]
    assert len(data) == kinds_at(data) + 1 + 2 + 2 * size
    number = between << 2 | 2
    wanted = bytes([*(number >> 7 * i & 127 | 128 for i in range(size - 1)), number >> 7 * (size - 1)])
    assert data[-2 * size :] == 2 * wanted
    _, (codes,), _, _ = reference.parts(data[HEADER:], 1, width(n_samples), 0)
    assert np.flatnonzero(np.array(codes) != kind).tolist() == list(places)
    assert (codec.decode(data).codes() == row).all()
    assert (codec.decode(data).codes(np.array([0])) == row).all()


def test_encode_packed__a_number_of_five_bytes():
    n_samples = 2**26 + 4
    row = nearly_one_code(3, [2**26], n_samples, code=0)
    stored, rows = packed_rows.encode_rows(row, PAD_BYTE)
    assert rows == bytes.fromhex("03 0500 8080808001")
    head = b"GWPC" + struct.pack("<BBHIIIIQ", 1, 0, 2, 1, n_samples, 0, stored, 0)  # counts left out
    assert (codec.decode(reference.sealed(head + bytes(4) + rows)).codes() == row).all()


@pytest.mark.parametrize(("n_listed", "kind"), [(27, 3), (28, 3), (29, FRAMED)])
def test_encode_packed__a_list_takes_at_most_seven_sixteenths(n_listed, kind):
    row = nearly_one_code(3, range(2, 2 + n_listed), 256, code=2)
    data = codec.encode_packed(row, 256)
    assert kinds_of(data) == [kind]
    assert (codec.decode(data).codes() == row).all()
    assert reference.encode(codec.decode(data).calls().tolist()) == data


def test_encode_packed__numbers_of_two_bytes_count_as_two():
    for last, kind in ((27 + 31, 3), (27 + 32, FRAMED)):  # takes the 28th byte, or the 28th and 29th
        row = nearly_one_code(3, [*range(27), last], 256, code=2)
        assert kinds_of(codec.encode_packed(row, 256)) == [kind]


@pytest.mark.parametrize(("n_listed", "kind"), [(65_535, 3), (65_536, FRAMED)])
def test_encode_packed__a_list_takes_at_most_65535_bytes(n_listed, kind):
    n_samples = 600_000
    row = nearly_one_code(3, np.arange(n_listed) * 7, n_samples, code=2)
    data = codec.encode_packed(np.concatenate([row, row]), n_samples)
    assert kinds_of(data) == [kind, kind]
    assert kind == FRAMED or data[kinds_at(data) + 2 :][:4] == b"\xff" * 4
    assert (codec.decode(data).codes() == row).all()
    assert (codec.decode(data).codes(np.array([1])) == row).all()


@pytest.mark.parametrize(
    ("name", "stored", "byte"),
    [
        ("at the edge", 6, PAD_BYTE),
        ("at the edge, half calls", 6, PAD_BYTE),
        ("at the edge, phased", 6, 0),
        ("at the edge, phased, missing", 6, 0),  # exceptions stand behind it
        ("all missing", 0, PAD_BYTE),
    ],
)
def test_encode_calls__bytes_that_say_nothing_are_not_stored(name, stored, byte):
    calls = CHUNKS[name][0]
    data = codec.encode_calls(calls)
    chunk = codec.decode(data)
    assert field(data, STORED) == stored
    assert (chunk.codes()[:, stored:] == byte).all()
    assert (chunk.calls() == calls).all()
    assert (chunk.packed() == packed_calls(calls)).all()
    rows = np.array([0, len(calls) - 1])
    assert (chunk.packed(0, None, rows) == packed_calls(calls)[rows]).all()


@pytest.mark.parametrize("place", [0, 3, 4, 18, 19, 20, 39, 40])
@pytest.mark.parametrize("n_variants", [1, 6])
def test_encode_calls__stored_reaches_to_the_last_byte_of_any_row(place, n_variants):
    unphased, phased = np.full((n_variants, 41, 2), -1, np.int8), np.zeros((n_variants, 41, 2), np.int8)
    unphased[-1, place] = phased[-1, place] = 1
    phased[-1, 0] = 1, 0
    for calls, form in ((unphased, codec.UNPHASED), (phased, codec.PHASED)):
        data = codec.encode_calls(calls)
        assert (data[5], field(data, STORED)) == (form, place // 4 + 1)
        assert (codec.decode(data).calls() == calls).all()
        assert reference.encode(calls.tolist()) == data


def test_encode_packed__a_chunk_that_is_mostly_padding_is_a_bed():
    codes = np.full((128, 500), PAD_BYTE, np.uint8)
    codes[:, :125] = drawn(128, 500, 0.4)
    data = codec.encode_packed(codes, 2000)
    assert set(kinds_of(data)) == {PLAIN_ROW}
    assert len(data) == kinds_at(data) + 128 + 128 * 125
    assert (codec.decode(data).codes() == codes).all()


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
    chunk = codec.decode(codec.encode_calls(CHUNKS["all frequencies"][0]))
    assert chunk.codes(np.empty(0, np.int64)).shape == (0, 17)


def test_codes__decompresses_only_frames_that_hold_the_rows(monkeypatch):
    data = codec.encode_calls(CHUNKS["all frequencies"][0])
    chunk, kinds = codec.decode(data), np.array(kinds_of(data))
    whole = chunk.codes()
    read = []
    decompressed = packed_rows.decompressed
    monkeypatch.setattr(packed_rows, "decompressed", lambda *it: read.append(it) or decompressed(*it))
    framed, others = np.flatnonzero(kinds == FRAMED), np.flatnonzero(kinds != FRAMED)
    assert (chunk.codes(others) == whole[others]).all()
    assert not read
    for rows, frames in ((framed[64:128], [1]), (framed[[0, 63, -1]], [0, 2]), (None, [0, 1, 2])):
        chunk.codes(rows)
        assert [frame.tobytes() for frame, _ in read] == [chunk.rows.frames[i].tobytes() for i in frames]
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
    assert reference.encode(calls.tolist()) == data
    if calls.shape[2] == 2 and calls.max() <= 1:
        assert (chunk.packed(0) == packed_calls(calls)).all()


@given(hnp.arrays(np.int8, st.tuples(SIDES, SIDES), elements=st.integers(-1, 2)))
def test_encode_packed__is_what_encode_calls_makes(dosage):
    calls = np.sort(helpers.calls(dosage), axis=2)
    assert codec.encode_packed(packed_calls(calls), dosage.shape[1]) == codec.encode_calls(calls)


LONG = st.integers(1, 300)


@given(st.integers(1, 5), LONG, st.sampled_from([codec.UNPHASED, codec.PHASED]), st.data())
def test_encode_calls__any_long_rows(n_variants, n_samples, form, data):
    usual = data.draw(hnp.arrays(np.uint8, (n_variants, 1), elements=st.integers(0, 3)))
    codes = np.repeat(usual, n_samples, axis=1)
    for _ in range(data.draw(st.integers(0, 12))):
        v, s = data.draw(st.integers(0, n_variants - 1)), data.draw(st.integers(0, n_samples - 1))
        codes[v, s] = data.draw(st.integers(0, 3))
    alleles = np.array([reference.CALL[form][code] for code in range(4)], np.int8)
    calls = alleles[codes]
    made = codec.encode_calls(calls)
    chunk = codec.decode(made)
    assert (chunk.calls() == calls).all()
    if form == made[5] == codec.UNPHASED:
        assert (chunk.counts()[0] == counts_of(calls)[0]).all()
        assert (chunk.counts()[1] == counts_of(calls)[1]).all()
    rows = some_rows(data, n_variants)
    assert (chunk.packed(0, None, rows) == packed_calls(calls)[rows]).all()
    assert reference.encode(calls.tolist()) == made
    assert reference.decode(made) == calls.tolist()


@given(st.integers(1, 9), st.integers(1, 70), st.sampled_from([codec.UNPHASED, codec.PHASED]), st.data())
def test_decode__reads_any_choice_of_kinds(n_variants, n_samples, form, data):
    codes = data.draw(hnp.arrays(np.uint8, (n_variants, 4 * width(n_samples)), elements=st.integers(0, 3)))
    codes[:, n_samples:] = reference.FILL[form]
    least = reference.least_stored(codes.tolist(), form)
    stored = data.draw(st.integers(least, width(n_samples)))
    kind = st.integers(0, FRAMED if stored else PLAIN_ROW)
    kinds = data.draw(st.lists(kind, min_size=n_variants, max_size=n_variants))
    chunk = codec.decode(reference.chunk(form, n_samples, codes.tolist(), kinds, stored))
    wanted = np.array([list(reference.four_in_a_byte(row)) for row in codes.tolist()], np.uint8)
    assert (chunk.codes() == wanted).all()
    rows = some_rows(data, n_variants)
    assert (chunk.codes(rows) == wanted[rows]).all()


def test_decode__reads_frames_between_rows_of_other_kinds():
    codes = np.random.default_rng(1).integers(0, 4, (300, 16)).tolist()
    kinds = [(5, 5, 0, 5, 4, 5, 3, 1, 2)[v % 9] for v in range(300)]
    chunk = codec.decode(reference.chunk(codec.PHASED, 16, codes, kinds, 4))
    wanted = np.array([list(reference.four_in_a_byte(row)) for row in codes], np.uint8)
    assert len(chunk.rows.frames) == 3
    assert (chunk.codes() == wanted).all()
    for some in (slice(200, 210), slice(1, 300, 7), slice(5, 6), slice(299, 300)):
        assert (chunk.codes(np.arange(300)[some]) == wanted[some]).all()


HALF = np.zeros((2, 7, 2), np.int8)
HALF[:, :] = [[0, 0], [0, 1], [1, 1], [-1, -1], [0, 0], [0, 1], [1, 1]]
HALF[1, 1] = 0, -1
TURNED = np.zeros((2, 5, 2), np.int8)
TURNED[:, :4] = [[0, 1], [1, 0], [1, 1], [1, 0]]
TURNED[0, 4], TURNED[1, 4] = (-1, 1), -1


RARELY = np.zeros((3, 8, 2), np.int8)
RARELY[0, 4], RARELY[1, :4] = -1, HALF[0, :4]
# rows of kind 3, 0 and 3, and 40 more samples without a call
LISTED = np.full((3, 80, 2), -1, np.int8)
LISTED[:, :40] = np.array([0, 1, 0])[:, None, None]
LISTED[0, [5, 39]] = 0, 1
LISTED[1, 39] = -1
HAPLOTYPE = np.zeros((2, 25, 2), np.int8)
HAPLOTYPE[1, :12], HAPLOTYPE[1, 3] = 1, (1, 0)


@pytest.mark.parametrize(
    ("calls", "wanted"),
    [
        (  # header; checksum; no counts; exceptions: size, frame; both rows are plain; these
            HALF,
            "01 00 0200 02000000 07000000 01000000 02000000  e6abee2da1149019"
            " 00000000  0f000000  28b52ffd 20 06 310000 08000000 00ff  04 04  4b4b 474b",
        ),
        (  # two exceptions, at 4 and 4 + 5: all lowest bytes, and so on; the calls
            TURNED,
            "01 01 0200 02000000 05000000 02000000 02000000  e1a90a349248413b"
            " 00000000  15000000  28b52ffd 20 0c 610000 0405 0000 0000 0000 ff01 ffff  04 04  7602 7600",
        ),
        (  # counts: size, frame; framed, plain, sparse; sizes of list and frame; plain row; stored frame
            RARELY,
            "01 00 0200 03000000 08000000 00000000 02000000  f0f0ad8b87e703e9"
            " 1e000000  28b52ffd 20 44 ad0000 7807000005010108000000000001010001003a411d"
            " 05 04 03  0000  0b000000  4bff  28b52ffd 20 02 110000 fffd",
        ),
        (  # 5 between and code 2, 33 between and code 2; 39 between and code 1; nothing
            LISTED,
            "01 00 0200 03000000 50000000 00000000 0a000000  c3d936d6028e0c69"
            " 1f000000  28b52ffd 60 6400 ad0000 58260200000027280001030003100007aa50e22517"
            " 03 00 03  0300 0200 0000  16 8601  9d01",
        ),
        (  # the second row: 3 between and code 1
            HAPLOTYPE,
            "01 01 0200 02000000 19000000 00000000 03000000  505777435b040200 00000000  00 03  0000 0100  0d",
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
ALL_KINDS = codec.encode_calls(CHUNKS["all frequencies, phased, missing"][0])
N_SPARSE = sum(kind < PLAIN_ROW for kind in kinds_of(ALL_KINDS))
LISTS = kinds_at(ALL_KINDS) + 350  # where the sizes of lists begin, and those of frames
FRAMES = LISTS + 2 * N_SPARSE
RARE_BYTES = codec.encode_calls(CHUNKS["rare"][0])
HAPLOID = codec.encode_calls(CHUNKS["haploid"][0])
KINDS = kinds_at(WHOLE)
TURNED_BYTES = codec.encode_calls(TURNED)
A_FRAME, TORN = r"a frame holds \d+ bytes, wanted \d+", "input|frame|size|checksum|bytes"
EARLY, LATE, SUM = "ends \\d+ bytes early", "has \\d+ bytes too many", "the checksum of a chunk is wrong"


# what a decompressor raises at a size that no memory holds; a store makes a DataError of each
HUGE = ValueError, MemoryError, SystemError


def with_frame(content, n_variants=3, n_samples=5):
    """A chunk of rows in one frame that holds something else."""
    frame = numcodecs.Zstd(1).encode(content) if isinstance(content, bytes) else bytes(content)
    head = b"GWPC" + struct.pack("<BBHIIIIQ", 1, 0, 2, n_variants, n_samples, 0, width(n_samples), 0)
    return reference.sealed(
        head + bytes(4) + bytes([FRAMED] * n_variants) + struct.pack("<I", len(frame)) + frame
    )


def with_list(numbers, *, kind=3, stored=3, form=0, n_samples=20, size=None):
    """A chunk whose second row is sparse, and listed by these bytes."""
    head = b"GWPC" + struct.pack("<BBHIIIIQ", 1, form, 2, 3, n_samples, 0, stored, 0)
    sizes = struct.pack("<HH", len(numbers) if size is None else size, 1)
    return reference.sealed(
        head + bytes(4) + bytes([PLAIN_ROW, kind, 3]) + sizes + b"\xe4" * stored + numbers + b"\0"
    )


def exceptions_at(*steps):
    """The content of the exceptions' frame."""
    return np.array(steps, "<u4").view(np.uint8).reshape(-1, 4).T.tobytes() + b"\xff" * 2 * len(steps)


def with_exceptions(content):
    """The chunk TURNED with another frame of its two exceptions."""
    frame = numcodecs.Zstd(1).encode(content) if isinstance(content, bytes) else bytes(content)
    return reference.sealed(
        TURNED_BYTES[: HEADER + 4] + struct.pack("<I", len(frame)) + frame + TURNED_BYTES[-6:]
    )


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
        (reference.sealed(ALL_KINDS[:-1]), "ends 1 bytes early"),
        (reference.sealed(ALL_KINDS + b"\0"), "has 1 bytes too many"),
        (resealed(WHOLE, 8, 38), "unknown kind"),  # variants, up to 2**32
        (resealed(WHOLE, 11, 255), EARLY),
        (resealed(WHOLE, 12, 64), "a chunk of 64 samples has no rows of 17 bytes"),
        (resealed(WHOLE, 16, WHOLE[16] - 1), A_FRAME),  # exceptions
        (resealed(WHOLE, 16, WHOLE[16] + 1), A_FRAME),
        (resealed(WHOLE, 19, 255), A_FRAME),
        (resealed(resealed(WHOLE, 16, 0), 17, 0), "unknown kind"),
        (resealed(TURNED_BYTES, 16, 0), "unknown kind 21"),
        (resealed(codec.encode_calls(PHASED), 16, 1), EARLY),
        (resealed(WHOLE, HEADER + 4, WHOLE[HEADER + 4] - 1), TORN),  # size of their frame
        (resealed(WHOLE, HEADER + 4, WHOLE[HEADER + 4] + 1), TORN),
        (resealed(WHOLE, HEADER + 7, 1), EARLY),
        (reference.sealed(WHOLE[: HEADER + 6]), "ends 2 bytes early"),
        (resealed(RARE_BYTES, HEADER + 3, 1), EARLY),  # size of the counts' frame
        (reference.sealed(RARE_BYTES[: HEADER + 3]), "ends 1 bytes early"),
        (reference.sealed(RARE_BYTES[: HEADER + 20]), EARLY),
        (resealed(WHOLE, 20, 18), "a chunk of 66 samples has no rows of 18 bytes"),  # stored
        (resealed(WHOLE, 23, 255), "a chunk of 66 samples has no rows of 4278190097 bytes"),
        (resealed(WHOLE, 20, 16), "has 37 bytes too many"),
        (resealed(ALL_KINDS, 20, 16), LATE),
        (resealed(WHOLE, KINDS, 6), "a row of unknown kind 6"),
        (resealed(WHOLE, KINDS + 36, 255), "a row of unknown kind 255"),
        (resealed(WHOLE, KINDS, 0), EARLY),
        (resealed(WHOLE, KINDS, FRAMED), EARLY),
        (resealed(ALL_KINDS, LISTS, ALL_KINDS[LISTS] + 1), "ends 1 bytes early"),
        (resealed(ALL_KINDS, LISTS + 2, ALL_KINDS[LISTS + 2] - 1), "has 1 bytes too many"),
        (resealed(ALL_KINDS, FRAMES - 1, 255), EARLY),
        (resealed(ALL_KINDS, FRAMES, ALL_KINDS[FRAMES] + 1), "ends 1 bytes early"),
        (resealed(ALL_KINDS, FRAMES, ALL_KINDS[FRAMES] - 1), "has 1 bytes too many"),
        (resealed(ALL_KINDS, FRAMES + 3, 255), EARLY),
        (with_list(b"\6", size=2), "ends 1 bytes early"),
        (with_list(b"\6", size=65_535), EARLY),
        (with_list(b"\6", size=0), "has 1 bytes too many"),
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


LISTING = [b"", b"\2", b"\2\1\0", b"\x2e", b"\xae\0", b"\xae\x80\x80\x80\0", b"\2\x2a", b"\2" * 12]


@pytest.mark.parametrize("numbers", LISTING)
@pytest.mark.parametrize("stored", [3, 4, 5])
def test_with_list__makes_a_chunk_that_is_read(numbers, stored):
    data = with_list(numbers, stored=stored)
    chunk = codec.decode(data)
    assert chunk.calls().tolist() == reference.decode(data)
    assert (chunk.codes(np.array([1])) == chunk.codes()[1]).all()


@pytest.mark.parametrize(
    ("numbers", "stored"),
    [
        (b"\x32", 3),  # 12 between, of 12 codes that are stored
        (b"\x2e\2", 3),
        (b"\2\x2e", 3),
        (b"\2" * 13, 3),
        (b"\x4e\2", 5),
        (b"\2", 0),
        (b"\xb2\0", 3),
        (b"\xff\xff\xff\xff\x0e", 3),
        (b"\xfe\xff\xff\xff\x7f", 3),
        (b"\xfe\xff\xff\xff\x7f\2", 3),
        (b"\xfe\xff\xff\xff\x7f" * 60, 3),
        (b"\x80", 3),  # cut off: the next byte is another row's
        (b"\2\x80", 3),
        (b"\x82\x80", 3),
        (b"\2\x82\x80\x80\x80", 3),
        (b"\x82\x80\x80\x80\x80", 3),
        (b"\x82\x80\x80\x80\x80\0", 3),  # 6 bytes
        (b"\x82\x80\x80\x80\x80\x80\0", 3),
        (b"\x82\x80\x80\x80\x80\x80\x80\x80\x80\x80\0", 3),
        (b"\3", 3),  # the row's own kind
        (b"\2\2\3", 3),
        (b"\x83\0", 3),
    ],
)
def test_codes__a_damaged_list_is_refused(numbers, stored):
    data = with_list(numbers, stored=stored)
    with pytest.raises((AssertionError, IndexError)):
        reference.decode(data)
    for rows in (None, np.array([1]), np.array([0, 1, 2])):
        with pytest.raises(ValueError, match="the list of a sparse row is damaged"):
            codec.decode(data).codes(rows)


@pytest.mark.parametrize("kind", SPARSE)
def test_codes__a_list_of_its_own_kind_is_refused(kind):
    for code in SPARSE:
        chunk = codec.decode(with_list(bytes([4 | code]), kind=kind, form=1))
        if code == kind:
            with pytest.raises(ValueError, match="list of a sparse row"):
                chunk.calls()
        else:
            assert chunk.calls()[1, :3].tolist() == [list(reference.CALL[1][c]) for c in (kind, code, kind)]


def test_codes__frames_that_changed_places_are_refused():
    whole = codec.encode_calls(CHUNKS["middling"][0])  # frames of 64, 64 and 2 rows
    at = kinds_at(whole) + 130
    first, middle, last = struct.unpack_from("<3I", whole, at)
    frames = whole[at + 12 :]
    body = frames[first + middle :] + frames[first : first + middle] + frames[:first]
    chunk = codec.decode(reference.sealed(whole[:at] + struct.pack("<3I", last, middle, first) + body))
    with pytest.raises(ValueError, match="a frame holds 34 bytes, wanted 1088"):
        chunk.codes()


def counts_of(calls):
    """The calls 0/0, 0/1, 1/1 of each variant, and the variants at which each sample has none."""
    alleles = calls.sum(axis=2)
    return np.stack([(alleles == k).sum(axis=1) for k in range(3)], axis=1), (alleles < 0).sum(axis=0)


@pytest.mark.parametrize("name", CHUNKS)
def test_counts__are_those_of_the_calls(name):
    calls, mode, exceptions = CHUNKS[name]
    found = codec.decode(codec.encode_calls(calls)).counts()
    if mode == codec.UNPHASED and exceptions == 0:
        for numbers, wanted in zip(found, counts_of(calls), strict=True):
            assert numbers.dtype == np.int64
            assert numbers.tolist() == wanted.tolist()
    else:
        assert found is None


@pytest.mark.parametrize(
    ("n_variants", "n_samples"), [(2, 255), (2, 256), (2, 257), (256, 3), (300, 3), (1, 70_001)]
)
def test_counts__of_several_bytes(n_variants, n_samples):
    calls = np.zeros((n_variants, n_samples, 2), np.int8)
    calls[:, 1] = -1
    calls[-1, 2:] = 1
    (genotypes, missing) = codec.decode(codec.encode_calls(calls)).counts()
    wanted = counts_of(calls)
    assert (genotypes == wanted[0]).all()
    assert (missing == wanted[1]).all()


def test_counts__may_be_left_out():
    codes = np.random.default_rng(1).integers(0, 4, (9, 40)).tolist()
    chunk = codec.decode(reference.chunk(codec.UNPHASED, 40, codes, [PLAIN_ROW] * 9, 10, with_counts=False))
    assert chunk.counts() is None
    assert chunk.codes().tolist() == [list(reference.four_in_a_byte(row)) for row in codes]


def with_counts(content):
    """The chunk RARELY, of 3 variants and 8 samples, with another frame of counts."""
    frame = numcodecs.Zstd(1).encode(content) if isinstance(content, bytes) else bytes(content)
    whole = codec.encode_calls(RARELY)
    return reference.sealed(whole[:HEADER] + struct.pack("<I", len(frame)) + frame + whole[kinds_at(whole) :])


def test_with_counts__makes_a_chunk_that_is_read():
    genotypes, missing = codec.decode(with_counts(bytes(range(68)))).counts()
    assert genotypes[2, 2] == 8 | 25 << 8 | 42 << 16 | 59 << 24
    assert missing[0] == 9 | 26 << 8 | 43 << 16 | 60 << 24
    with pytest.raises(AssertionError):
        reference.decode(with_counts(bytes(range(68))))


@pytest.mark.parametrize(
    "content",
    [bytes(67), bytes(69), bytes(17), bytes(1), huge_frame(2**40), huge_frame(2**62), bytearray(b"none")],
)
def test_counts__a_frame_of_another_size_is_refused(content):
    chunk = codec.decode(with_counts(content))
    with pytest.raises(HUGE):
        chunk.counts()
    assert (chunk.calls() == RARELY).all()


DAMAGED = [
    "all missing",
    "half calls",
    "rare",
    "middling",
    "nearly all one genotype",
    "phased, missing",
    "haploid",
]


@pytest.mark.parametrize("name", DAMAGED)
def test_decode__every_flipped_bit_is_refused(name):
    whole = codec.encode_calls(CHUNKS[name][0][:70, :30])
    for bit in range(8 * len(whole)):
        with pytest.raises(ValueError, match=r"checksum|not a chunk|version|form"):
            codec.decode(damage(whole, bit // 8, whole[bit // 8] ^ 1 << bit % 8))


@pytest.mark.parametrize("name", DAMAGED)
def test_decode__every_cut_is_refused(name):
    whole = codec.encode_calls(CHUNKS[name][0][:70, :30])
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"checksum|not a chunk|early"):
            codec.decode(whole[:end])


def calls_within_bounds(data):
    try:
        chunk = codec.decode(data)
        if np.prod([float(n) for n in chunk.shape]) > 1e7:
            return  # a store refuses it by its shape
        assert chunk.calls().size == np.prod(chunk.shape)
        chunk.counts()
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
    if min(chunks) < 16:  # that would be thousands of chunks
        calls = calls[:5, :6] if min(chunks) == 1 else calls[:50, :40]
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
