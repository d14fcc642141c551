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
from zarr.core import Array

from genoweave import cohorts
from genoweave.errors import DataError
from genoweave.genotypes import ArraySource, as_dask, packed_calls, source_of
from genoweave.io import codec, store
from genoweave.io.calls import ZarrCalls
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


# every form of a chunk: unphased, with exceptions, phased, plain
KINDS = {
    "unphased": UNPHASED,
    "half calls": half_missing(UNPHASED),
    "some phased": np.where(np.arange(N)[:, None] % 11 == 0, PHASED, UNPHASED),
    "phased": np.where(PHASED < 0, 0, PHASED),
    "phased, missing": np.where((PHASED < 0) & (np.arange(M) % 4 > 0)[:, None, None], 0, PHASED),
    "phased, much missing": half_missing(PHASED),
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
        store.write(with_calls(calls), folder / f"{name}, packed", (32, 10))
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


def test_stores__hold_every_form_of_a_chunk(stores):
    modes = set()
    for path in stores.glob("*, packed/call_genotype/*.*.0"):
        chunk = codec.decode(numcodecs.Zstd().decode(path.read_bytes()))
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
    for name in array.chunk_store.listdir("call_genotype"):
        if name.startswith("."):
            continue
        data = bytes(array.compressor.decode(array.chunk_store[f"call_genotype/{name}"]))
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
    return numcodecs.Zstd(1).encode(codec.encode_packed(codes, n_samples))


DAMAGE = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-5],
    "no frame": lambda data: b"\0" + data[1:],
    "not packed": lambda data: numcodecs.Zstd(1).encode(b"some other bytes, and enough of them"),
    "short": lambda data: numcodecs.Zstd(1).encode(bytes(numcodecs.Zstd().decode(data))[:-1]),
    "other shape": lambda data: other_chunk(32, 11),
    "newer": lambda data: numcodecs.Zstd(1).encode(b"GWPC\x02" + bytes(27)),
    # one bit of the frame's head makes its length that of the next 8 bytes
    "huge frame": lambda data: data[:4] + b"\xe0" + bytes(7) + b"\x40" + data[6:],
    "negative frame": lambda data: data[:4] + b"\xe0" + bytes(7) + b"\xf0" + data[6:],
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


@pytest.mark.parametrize("kind", ["unphased", "phased"])
def test_damaged_chunk__no_flipped_bit_changes_a_call(kind, tmp_path):
    calls = KINDS[kind][:6, :7]
    ds = with_calls(KINDS[kind]).isel(variants=slice(0, 6), samples=slice(0, 7))
    store.write(ds, tmp_path / "x", (6, 7))
    source = calls_at(tmp_path / "x")
    chunk = tmp_path / "x" / "call_genotype" / "0.0.0"
    whole = chunk.read_bytes()
    refused = 0
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        chunk.write_bytes(damaged)
        try:  # a few bits of a frame mean nothing
            assert (source.read_packed(0, 6, 0, 7) == packed_calls(calls)).all(), f"bit {bit}"
        except DataError:
            refused += 1
    assert refused > 7 * len(whole)


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
