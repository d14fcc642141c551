"""Calls of stores as codes: any layout and writer reads the same, and damage is named."""

import pickle
import shutil
import zipfile

import fsspec
import helpers
import numcodecs
import numpy as np
import pytest
import sgkit
import xarray as xr
import zarr
from hypothesis import given
from hypothesis import strategies as st
from reference import packed_calls as reference
from zarr.core import Array

from genoweave import cohorts
from genoweave.errors import DataError
from genoweave.genotypes import ArraySource, SelectedSource, as_dask, packed_calls, read_rows, source_of
from genoweave.io import codec, packed_rows, store
from genoweave.io.calls import ZarrCalls, packed_encoding
from genoweave.io.cohort import open_cohort
from genoweave.io.files import digest
from genoweave.io.plink import open_plink
from genoweave.kernels.packed import PAD_BYTE, width

M, N = 90, 43
DIMS = ("variants", "samples", "ploidy")
DRAWS = np.random.default_rng(0)
COHORT = helpers.cohort(helpers.with_missing(DRAWS.integers(0, 3, (M, N)).astype(np.int8), 0.1, DRAWS))
PHASED = COHORT["call_genotype"].values
UNPHASED = np.sort(PHASED, axis=2)


def half_missing(calls, every=7):
    out = calls.copy()
    out[::every, ::5] = 0, -1
    return out


def of_every_kind(pairs):
    """Calls of which, in chunks of 28 samples, each row is nearly all one call, common, or between these."""
    draws = np.random.default_rng(2)
    calls = np.empty((M, N, 2), np.int8)
    for v in range(M):
        odd = N if v % 6 == 4 else 9 if v % 6 == 5 else v % 2
        calls[v] = pairs[v % 4]
        where = draws.permutation(N)[:odd]
        calls[v, where] = np.array(pairs)[draws.integers(0, 4, odd)]
    return calls


GENOTYPES = (1, 1), (-1, -1), (0, 1), (0, 0)
HAPLOTYPES = (0, 0), (1, 0), (0, 1), (1, 1)
# every form of a chunk: unphased, with exceptions, phased, plain
KINDS = {
    "unphased": UNPHASED,
    "half calls": half_missing(UNPHASED),
    "some phased": np.where(np.arange(N)[:, None] % 11 == 0, PHASED, UNPHASED),
    "phased": np.where(PHASED < 0, 0, PHASED),
    "phased, missing": np.where((PHASED < 0) & (np.arange(M) % 4 > 0)[:, None, None], 0, PHASED),
    "phased, much missing": half_missing(PHASED),
    "every kind of row": of_every_kind(GENOTYPES),
    "every kind of row, phased": of_every_kind(HAPLOTYPES),
    "plain": np.concatenate([PHASED[:40], np.where(np.arange(2), -1, PHASED[40:])]),
}


def with_calls(calls):
    return COHORT.assign(call_genotype=(DIMS, calls))


def calls_at(path):
    return source_of(store.open_store(path))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    for name, calls in KINDS.items():
        wide = name.startswith("every kind")
        store.write(with_calls(calls), folder / f"{name}, packed", (32, 28 if wide else 10))
        cohorts.export(with_calls(calls), "vcz", folder / f"{name}, standard")
        with_calls(calls).to_zarr(
            folder / f"{name}, other", encoding={"call_genotype": {"chunks": (20, 15, 2)}}
        )
    return folder


def ranges_of(n):
    return st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted)


@pytest.mark.parametrize("writer", ["packed", "standard", "other"])
@pytest.mark.parametrize("kind", KINDS)
@given(variants=ranges_of(M), samples=ranges_of(N))
def test_read_packed__equals_packing_what_is_read(stores, kind, writer, variants, samples):
    source = calls_at(stores / f"{kind}, {writer}")
    assert isinstance(source, ZarrCalls)
    assert source.is_packed == (writer == "packed")
    calls = KINDS[kind][slice(*variants), slice(*samples)]
    block = source.read(*variants, *samples)
    assert block.dtype == np.int8
    assert (block == calls).all()
    assert (source.read_packed(*variants, *samples) == packed_calls(calls)).all()


@pytest.mark.parametrize("writer", ["packed", "standard", "other"])
@pytest.mark.parametrize("kind", KINDS)
@given(variants=st.sets(st.integers(0, M - 1), min_size=1), samples=ranges_of(N))
def test_read_rows__equals_rows_of_the_block(stores, kind, writer, variants, samples):
    source = calls_at(stores / f"{kind}, {writer}")
    rows = np.array(sorted(variants))
    wanted = packed_calls(KINDS[kind][rows, slice(*samples)])
    assert (source.read_rows(rows, *samples) == wanted).all()
    assert (read_rows(source, rows, *samples) == wanted).all()


def test_read_rows__only_the_chunks_that_hold_them(stores, tmp_path):
    shutil.copytree(stores / "phased, missing, packed", tmp_path / "x")
    source = calls_at(tmp_path / "x")
    for name in ("1.0.0", "1.1.0", "2.4.0"):
        (tmp_path / "x" / "call_genotype" / name).unlink()
    rows = np.array([3, 31, 64, 89])
    wanted = packed_calls(KINDS["phased, missing"][rows, 7:39])
    assert (source.read_rows(rows, 7, 39) == wanted).all()
    with pytest.raises(DataError, match="variants 64 to 89 cannot be read"):
        source.read_rows(rows, 7, 41)


def counted(calls):
    """The calls with 0, 1, 2 alternate alleles of each variant, and of each sample those that are missing."""
    alleles = np.where((calls < 0).any(axis=2), -1, calls.sum(axis=2))
    return np.stack([(alleles == k).sum(axis=1) for k in range(3)], axis=1), (alleles < 0).sum(axis=0)


def assert_counts(found, calls):
    for numbers, wanted in zip(found, counted(calls), strict=True):
        assert numbers.dtype == np.int64
        assert numbers.tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", KINDS)
@given(variants=ranges_of(M), samples=ranges_of(N))
def test_counts__are_those_of_the_block_or_not_there(stores, kind, variants, samples):
    found = calls_at(stores / f"{kind}, packed").counts(*variants, *samples)
    if found is not None:
        assert_counts(found, KINDS[kind][slice(*variants), slice(*samples)])


@pytest.mark.parametrize("block", [(0, 64, 0, 40), (32, 64, 0, 10), (0, 32, 20, 40), (32, 64, 10, 40)])
def test_counts__of_whole_chunks_are_there(stores, block):
    calls = UNPHASED[slice(*block[:2]), slice(*block[2:])]
    assert_counts(calls_at(stores / "unphased, packed").counts(*block), calls)


@pytest.mark.parametrize(
    "block", [(0, 64, 0, 43), (0, 90, 0, 40), (0, 33, 0, 10), (1, 32, 0, 10), (0, 32, 1, 10)]
)
def test_counts__of_parts_of_chunks_are_not(stores, block):
    assert calls_at(stores / "unphased, packed").counts(*block) is None


@pytest.mark.parametrize(
    "name", ["half calls, packed", "phased, packed", "plain, packed", "unphased, standard", "unphased, other"]
)
def test_counts__of_other_chunks_are_not(stores, name):
    assert calls_at(stores / name).counts(0, 64, 0, 40) is None


def test_counts__of_a_store_without_an_edge(tmp_path):
    ds = with_calls(UNPHASED).isel(variants=slice(64), samples=slice(40))
    store.write(ds, tmp_path / "x", (16, 8))
    assert_counts(calls_at(tmp_path / "x").counts(0, 64, 0, 40), UNPHASED[:64, :40])


def test_counts__decode_no_calls(stores, monkeypatch):
    source = calls_at(stores / "unphased, packed")
    monkeypatch.setattr(codec.Chunk, "codes", None)
    assert_counts(source.counts(0, 32, 0, 40), UNPHASED[:32, :40])


@pytest.mark.parametrize(
    "source", [ArraySource(PHASED), SelectedSource(ArraySource(PHASED), np.arange(M), np.arange(N))]
)
@pytest.mark.parametrize("rows", [[0], [5, 6, 7], [0, 40, 89]])
def test_read_rows__of_sources_that_cannot(source, rows):
    wanted = packed_calls(PHASED[rows, 3:20])
    assert (read_rows(source, np.array(rows), 3, 20) == wanted).all()


@pytest.mark.parametrize("kind", KINDS)
@given(
    variants=st.sets(st.integers(0, M - 1), min_size=1, max_size=12),
    samples=st.sets(st.integers(0, N - 1), min_size=1),
    data=st.data(),
)
def test_selected_source__sparse_rows_of_several_chunks(stores, kind, variants, samples, data):
    rows, columns = np.array(sorted(variants)), np.array(sorted(samples))
    source = SelectedSource(calls_at(stores / f"{kind}, packed"), rows, columns)
    wanted = KINDS[kind][np.ix_(rows, columns)]
    (v0, v1), (s0, s1) = data.draw(ranges_of(len(rows))), data.draw(ranges_of(len(columns)))
    assert (source.read_packed(v0, v1, s0, s1) == packed_calls(wanted[v0:v1, s0:s1])).all()
    assert (source.read(v0, v1, s0, s1) == wanted[v0:v1, s0:s1]).all()
    some = np.array(sorted(data.draw(st.sets(st.integers(0, len(rows) - 1), min_size=1))))
    assert (read_rows(source, some, s0, s1) == packed_calls(wanted[some, s0:s1])).all()


def test_selected_source__decompresses_only_frames_that_hold_its_rows(tmp_path, monkeypatch):
    calls = np.zeros((300, N, 2), np.int8)  # five frames in one chunk: 6 codes are too many to list
    for k in range(6):
        calls[np.arange(300), np.arange(300) * (k + 1) % 7 + 7 * k, 1] = 1
    source = ZarrCalls(zarr.array(calls, chunks=(300, N, 2), **packed_encoding(ArraySource(calls))), "x")
    read = []
    decompressed = packed_rows.decompressed
    monkeypatch.setattr(packed_rows, "decompressed", lambda *it: read.append(it) or decompressed(*it))
    rows, columns = np.array([3, 60, 130, 131, 290]), np.array([0, 4, 5, 41])
    found = SelectedSource(source, rows, columns).read_packed(0, 5, 0, 4)
    assert (found == packed_calls(calls[np.ix_(rows, columns)])).all()
    assert len(read) == 3


@pytest.mark.parametrize(("kind", "form"), [("every kind of row", 0), ("every kind of row, phased", 1)])
def test_stores__hold_every_kind_of_row(stores, kind, form):
    kinds = set()
    for path in (stores / f"{kind}, packed" / "call_genotype").glob("*.*.0"):
        data = path.read_bytes()
        assert data[5] == form
        kinds |= set(codec.decode(data).rows.kinds.tolist())
    assert kinds == {0, 1, 2, 3, 4, 5}


def test_read_rows__none(stores):
    source = calls_at(stores / "phased, missing, packed")
    for some in (source, ArraySource(PHASED), SelectedSource(source, np.arange(0, M, 2), np.arange(N))):
        assert read_rows(some, np.empty(0, np.int64), 3, 20).shape == (0, 5)


def test_stores__hold_every_form_of_a_chunk(stores):
    modes = set()
    for path in stores.glob("*, packed/call_genotype/*.*.0"):
        chunk = codec.decode(path.read_bytes())
        modes.add((chunk.mode, len(chunk.where) > 0))
    assert modes == {(0, False), (0, True), (1, False), (1, True), (2, False)}


@pytest.mark.parametrize("kind", KINDS)
def test_packed_store__others_read_int8(stores, kind):
    path = stores / f"{kind}, packed"
    for theirs in (
        xr.open_zarr(path, mask_and_scale=False)["call_genotype"],
        sgkit.load_dataset(str(path))["call_genotype"],
        zarr.open_group(str(path), mode="r")["call_genotype"],
    ):
        assert theirs.dtype == np.int8
        assert (np.asarray(theirs[...]) == KINDS[kind]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_packed_store__a_copy_by_xarray_reads_the_same(stores, kind, tmp_path):
    ds = xr.open_zarr(stores / f"{kind}, packed", mask_and_scale=False)
    for variable in ds.variables.values():
        if variable.dtype == object:  # xarray would encode text twice
            variable.encoding = {}
    ds.to_zarr(tmp_path / "copy")
    source = calls_at(tmp_path / "copy")
    assert source.is_packed
    assert (source.read(0, M, 0, N) == KINDS[kind]).all()
    assert (source.read_packed(0, M, 0, N) == packed_calls(KINDS[kind])).all()


def test_standard_store__needs_nothing_of_ours(stores):
    for kind in KINDS:
        array = zarr.open_group(str(stores / f"{kind}, standard"), mode="r")["call_genotype"]
        assert not array.filters
        assert array.compressor.codec_id == "blosc"


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    return open_plink(helpers.write_bed(COHORT, tmp_path_factory.mktemp("bed") / "x"))


CHUNKS = [(90, 43), (32, 10), (7, 4), (16, 6), (1, 43), (90, 1), (1000, 1000)]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_write__a_bed_and_a_computed_source_give_the_same_bytes(bed, chunks, tmp_path):
    held = COHORT.assign({name: bed[name] for name in bed.variables})
    held = held.assign(call_genotype=(DIMS, as_dask(Computed(UNPHASED), (8, 8))))
    for name, ds in (("bed", bed), ("computed", held)):
        store.write(ds, tmp_path / name, chunks)
    assert digest(tmp_path / "bed") == digest(tmp_path / "computed")
    source = calls_at(tmp_path / "bed")
    assert source.is_unphased
    assert (source.read(0, M, 0, N) == UNPHASED).all()
    # and again from the store itself, in other batches
    store.write(store.open_store(tmp_path / "bed"), tmp_path / "again", chunks)
    assert digest(tmp_path / "again") == digest(tmp_path / "bed")


class Computed(ArraySource):
    """An unphased source that is no file."""

    is_unphased = True


@pytest.mark.parametrize("chunks", CHUNKS)
def test_write__the_bytes_are_those_of_the_filter(bed, chunks, tmp_path):
    store.write(bed, tmp_path / "x", chunks)
    array = zarr.open_group(str(tmp_path / "x"), mode="r")["call_genotype"]
    assert array.compressor is None
    for name in array.chunk_store.listdir("call_genotype"):
        if name.startswith("."):
            continue
        data = bytes(array.chunk_store[f"call_genotype/{name}"])
        chunk = codec.decode(data)
        assert chunk.shape == array.chunks
        assert codec.encode_calls(chunk.calls()) == data
        behind = chunk.packed(0)[:, -1] >> 2 * (array.chunks[1] - 1) % 8 >> 2
        assert (behind == PAD_BYTE & (1 << 2 * (-array.chunks[1] % 4)) - 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_write__any_chunks_read_the_same(kind, tmp_path):
    for number, chunks in enumerate(CHUNKS):
        store.write(with_calls(KINDS[kind]), tmp_path / str(number), chunks)
        source = calls_at(tmp_path / str(number))
        assert source.row_block == min(chunks[0], M)
        assert source.sample_edges == [*range(0, N, min(chunks[1], N)), N]
        assert (source.read(0, M, 0, N) == KINDS[kind]).all()
        assert (source.read_packed(3, M, 2, N) == packed_calls(KINDS[kind][3:, 2:])).all()


@pytest.mark.parametrize("batch", [1, 1000, 10_000])
def test_write__batches_change_nothing(bed, batch, tmp_path, monkeypatch):
    store.write(bed, tmp_path / "x", (32, 10))
    monkeypatch.setattr("genoweave.io.calls._BATCH_BYTES", batch)
    store.write(bed, tmp_path / "y", (32, 10))
    store.write(with_calls(PHASED), tmp_path / "z", (32, 10))
    assert digest(tmp_path / "x") == digest(tmp_path / "y")
    assert (calls_at(tmp_path / "z").read(0, M, 0, N) == PHASED).all()


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint8])
def test_write__calls_of_any_integer_type_are_stored_as_int8(dtype, tmp_path):
    calls = np.where(PHASED < 0, 0, PHASED).astype(dtype)
    store.write(with_calls(calls), tmp_path / "x", (32, 10))
    assert (calls_at(tmp_path / "x").read(0, M, 0, N) == calls).all()
    assert zarr.open_group(str(tmp_path / "x"))["call_genotype"].dtype == np.int8


def test_read_packed__a_third_allele_is_refused(tmp_path):
    calls = PHASED.copy()
    calls[85, 3] = 2, 0
    for name, write in (("packed", store.write), ("standard", _write_standard)):
        write(with_calls(calls), tmp_path / name, (32, 10))
        source = calls_at(tmp_path / name)
        with pytest.raises(DataError, match=r"among variants \d+ to 89 an allele code 2 .*bcftools norm"):
            source.read_packed(64, M, 0, N)
        assert (source.read(0, M, 0, N) == calls).all()


def _write_standard(ds, path, chunks):
    store.write(ds, path, chunks, standard=True)


def test_read_packed__chunks_that_cut_the_calls(tmp_path):
    with_calls(PHASED).drop_vars("call_genotype").to_zarr(tmp_path / "x")
    array = zarr.open_group(str(tmp_path / "x")).create_dataset(
        "call_genotype",
        shape=PHASED.shape,
        chunks=(32, 10, 1),
        dtype="i1",
        filters=[codec.PackedCalls()],
        fill_value=None,
    )
    array.attrs["_ARRAY_DIMENSIONS"] = list(DIMS)
    array[...] = PHASED
    source = calls_at(tmp_path / "x")
    assert (source.read(0, M, 0, N) == PHASED).all()
    assert (source.read_packed(0, M, 0, N) == packed_calls(PHASED)).all()


def other_chunk(n_variants, n_samples, byte=PAD_BYTE):
    codes = np.full((n_variants, width(n_samples)), byte, np.uint8)
    return codec.encode_packed(codes, n_samples)


def promising(data, place, value):
    """A chunk whose head says something else, with a checksum that does not show it."""
    return reference.sealed(data[:place] + value + data[place + len(value) :])


def rebuilt(data, rows, exceptions=b""):
    """A chunk of unphased calls, 32 variants and as many samples as there were, of other parts."""
    whole_rows = width(int.from_bytes(data[12:16], "little")).to_bytes(4, "little")
    head = data[:5] + b"\0\2\0\x20\0\0\0" + data[12:16] + bool(exceptions).to_bytes(4, "little") + whole_rows
    return reference.sealed(head + bytes(8) + bytes(4) + exceptions + rows)


def with_frame(data, frame):
    """A chunk of 32 variants whose only frame holds something else, or of plain calls likewise."""
    if data[5] == codec.PLAIN:
        return reference.sealed(data[:32] + frame)
    return rebuilt(data, b"\5" * 32 + len(frame).to_bytes(4, "little") + frame)


def with_list(data, *numbers):
    """A chunk of 32 sparse variants, the ninth of which is listed so."""
    sizes = [len(numbers) if v == 8 else 0 for v in range(32)]
    return rebuilt(data, b"\3" * 32 + np.array(sizes, "<u2").tobytes() + bytes(numbers))


def with_exceptions(data, frame):
    """A chunk of 32 sparse variants whose frame of one exception holds something else."""
    return rebuilt(data, b"\3" * 32 + bytes(64), len(frame).to_bytes(4, "little") + frame)


def huge_frame(size):
    return b"\x28\xb5\x2f\xfd\xe0" + size.to_bytes(8, "little") + b"\x21\x00\x00" + b"\xff" * 4


@pytest.mark.parametrize(
    "rebuild", [lambda data: with_list(data, 2, 0x2A), lambda data: rebuilt(data, b"\4" * 32 + bytes(96))]
)
def test_rebuilt__makes_a_chunk_that_is_read(stores, rebuild):
    data = (stores / "unphased, packed" / "call_genotype" / "1.2.0").read_bytes()
    assert codec.decode(rebuild(data)).packed().shape == (32, 3)


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-5],
    "cut head": lambda data: data[:20],
    "no frame": lambda data: b"\0" + data[1:],
    "not packed": lambda data: b"some other bytes, and enough of them",
    "short": lambda data: reference.sealed(data[:-1]),
    "other shape": lambda data: other_chunk(32, 11),
    "newer": lambda data: b"GWPC\x02" + bytes(27),
    "zero": lambda data: bytes(len(data)),
    "other frame": lambda data: with_frame(data, numcodecs.Zstd(1).encode(bytes(90))),
    "small frame": lambda data: with_frame(data, numcodecs.Zstd(1).encode(b"1")),
    "huge frame": lambda data: with_frame(data, huge_frame(2**62)),
    "large frame": lambda data: with_frame(data, huge_frame(2**40)),
    "negative frame": lambda data: with_frame(data, huge_frame(2**64 - 16)),
    "no exceptions": lambda data: with_exceptions(data, b""),
    "other exceptions": lambda data: with_exceptions(data, numcodecs.Zstd(1).encode(bytes(12))),
    "exception outside": lambda data: with_exceptions(data, numcodecs.Zstd(1).encode(b"\xff" * 6)),
    "huge exception": lambda data: with_exceptions(data, huge_frame(2**62)),
    "large exception": lambda data: with_exceptions(data, huge_frame(2**40)),
    "huge variants": lambda data: promising(data, 8, b"\xff" * 4),
    "huge samples": lambda data: promising(data, 12, b"\xff" * 4),
    "huge shape": lambda data: promising(data, 8, b"\xff" * 8),
    "huge exceptions": lambda data: promising(data, 16, b"\xff" * 4) if data[5] < 2 else b"",
    "much stored": lambda data: promising(data, 20, b"\4") if data[5] < 2 else b"",
    "huge stored": lambda data: promising(data, 20, b"\xff" * 4) if data[5] < 2 else b"",
    "list outside": lambda data: with_list(data, 2, 0x2E),
    "list cut": lambda data: with_list(data, 2, 0x82),
    "long number": lambda data: with_list(data, *b"\x82\x80\x80\x80\x80\0"),
    "list of its own kind": lambda data: with_list(data, 3),
    "huge list": lambda data: with_list(data, *b"\xfe\xff\xff\xff\x7f" * 99),
    "unknown kind": lambda data: rebuilt(data, b"\6" * 32),
}


@pytest.mark.parametrize("kind", ["unphased", "phased, missing", "plain"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_chunk__is_named(stores, kind, damage, tmp_path):
    shutil.copytree(stores / f"{kind}, packed", tmp_path / "x")
    source = calls_at(tmp_path / "x")
    chunk = tmp_path / "x" / "call_genotype" / "1.2.0"
    chunk.write_bytes(DAMAGE[damage](chunk.read_bytes()))
    message = r"x: call_genotype of variants 32 to 63 cannot be read \(.+\): .* (copy|install)"
    with pytest.raises(DataError, match=message):
        source.read_packed(40, 41, 25, 26)
    with pytest.raises(DataError, match=r"x: call_genotype of variants 32 to 63 cannot be read"):
        source.read(40, 41, 25, 26)
    whole = KINDS[kind][:, :20]
    assert (source.read_packed(0, M, 0, 20) == packed_calls(whole)).all(), "other chunks are still read"


SMALL = ["unphased", "half calls", "phased", "phased, missing", "plain"]


def read_with_flipped(kind, folder):
    """Yield what is read of a small store while one bit of its chunk is another."""
    ds = with_calls(KINDS[kind]).isel(variants=slice(36, 48), samples=slice(0, 7))
    store.write(ds, folder / "x", (12, 7))
    source = calls_at(folder / "x")
    chunk = folder / "x" / "call_genotype" / "0.0.0"
    whole = chunk.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        chunk.write_bytes(damaged)
        try:
            yield bit, source.read_packed(0, 12, 0, 7)
        except DataError as error:
            yield bit, str(error)


@pytest.mark.parametrize("kind", SMALL)
def test_damaged_chunk__no_flipped_bit_changes_a_call(kind, tmp_path):
    for bit, found in read_with_flipped(kind, tmp_path):
        assert isinstance(found, str), f"bit {bit}"
        assert "x: call_genotype of variants 0 to 11 cannot be read" in found


@pytest.mark.parametrize(
    "frame",
    [b"", b"no frame", numcodecs.Zstd(1).encode(bytes(4 * 106 - 1)), huge_frame(2**40), huge_frame(2**62)],
)
def test_damaged_counts__are_named(stores, frame, tmp_path):
    shutil.copytree(stores / "unphased, packed", tmp_path / "x")
    chunk = tmp_path / "x" / "call_genotype" / "1.2.0"
    whole = chunk.read_bytes()
    size = int.from_bytes(whole[32:36], "little")
    chunk.write_bytes(
        reference.sealed(whole[:32] + len(frame).to_bytes(4, "little") + frame + whole[36 + size :])
    )
    source = calls_at(tmp_path / "x")
    if frame:
        with pytest.raises(DataError, match=r"x: call_genotype of variants 32 to 63 cannot be read \(.+\)"):
            source.counts(32, 64, 20, 30)
    else:
        assert source.counts(32, 64, 20, 30) is None
    assert_counts(source.counts(0, 32, 20, 30), UNPHASED[:32, 20:30])
    assert (source.read_packed(0, M, 0, N) == packed_calls(UNPHASED)).all()


def test_damaged_chunk__of_a_standard_store_is_named(stores, tmp_path):
    shutil.copytree(stores / "phased, standard", tmp_path / "x")
    source = calls_at(tmp_path / "x")
    chunk = tmp_path / "x" / "call_genotype" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"variants 3 to 8 cannot be read \(.+\): the store is damaged"):
        source.read_packed(3, 9, 0, N)


def test_missing_chunk__is_named(stores, tmp_path):
    shutil.copytree(stores / "phased, packed", tmp_path / "x")
    source = calls_at(tmp_path / "x")
    (tmp_path / "x" / "call_genotype" / "2.4.0").unlink()
    with pytest.raises(DataError, match=r"variants 64 to 89 cannot be read .*the store is damaged; copy"):
        source.read_packed(80, 90, 0, N)
    with pytest.raises(DataError, match="call_genotype lacks 1 of 15 chunks"):
        store.open_store(tmp_path / "x")


def as_zip(folder, path):
    with zipfile.ZipFile(path, "w") as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("kind", ["unphased", "phased, missing", "plain"])
def test_zip_and_memory__read_the_same(stores, kind, tmp_path):
    folder = stores / f"{kind}, packed"
    url = "memory://test_calls.vcz"
    fsspec.filesystem("memory").put(f"{folder}/", url, recursive=True)
    places = as_zip(folder, tmp_path / "x.zip"), url
    for place in places:
        source = source_of(open_cohort(place))
        assert source.is_packed
        assert (source.read_packed(1, M, 1, N) == packed_calls(KINDS[kind][1:, 1:])).all()
        assert (source.read(0, M, 0, N) == KINDS[kind]).all()
    fsspec.filesystem("memory").rm(url, recursive=True)


def test_nested_chunks__are_found(tmp_path):
    # other writers put chunk 1.2.0 into call_genotype/1/2/0
    with_calls(PHASED).drop_vars("call_genotype").to_zarr(tmp_path / "x")
    array: Array = zarr.open_group(str(tmp_path / "x")).create_dataset(
        "call_genotype",
        shape=PHASED.shape,
        chunks=(32, 10, 2),
        dtype="i1",
        filters=[codec.PackedCalls()],
        compressor=None,
        fill_value=None,
        dimension_separator="/",
    )
    array.attrs["_ARRAY_DIMENSIONS"] = list(DIMS)
    array[...] = PHASED
    assert (tmp_path / "x" / "call_genotype" / "1" / "2" / "0").exists()
    assert (calls_at(tmp_path / "x").read_packed(0, M, 0, N) == packed_calls(PHASED)).all()


@pytest.mark.parametrize("fill", [-1, 0])
def test_absent_chunks__are_the_fill_value_of_another_writer(fill, tmp_path):
    with_calls(PHASED).drop_vars("call_genotype").to_zarr(tmp_path / "x")
    array = zarr.open_group(str(tmp_path / "x")).create_dataset(
        "call_genotype",
        shape=PHASED.shape,
        chunks=(32, 10, 2),
        dtype="i1",
        filters=[codec.PackedCalls()],
        fill_value=fill,
        write_empty_chunks=False,
    )
    array.attrs["_ARRAY_DIMENSIONS"] = list(DIMS)
    array[:50] = PHASED[:50]
    wanted = PHASED.copy()
    wanted[50:] = fill
    source = calls_at(tmp_path / "x")
    assert (source.read(0, M, 0, N) == wanted).all()
    assert (source.read_packed(0, M, 0, N) == packed_calls(wanted)).all()


@pytest.mark.parametrize("writer", ["packed", "standard"])
def test_sources__can_be_sent_to_another_process(stores, writer, tmp_path):
    for path in (stores / f"plain, {writer}", as_zip(stores / f"plain, {writer}", tmp_path / "x.zip")):
        source = pickle.loads(pickle.dumps(calls_at(path)))
        assert (source.read_packed(0, M, 0, N) == packed_calls(KINDS["plain"])).all()
