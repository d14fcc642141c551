"""Several files in one pass: what is read, what is written, and how a killed pass goes on."""

from functools import partial
from pathlib import Path

import helpers
import numpy as np
import pytest
import xarray as xr
from schedulers import Pickling, ProcessPool, threads

from genoweave.errors import DataError, StoreError
from genoweave.execution import use
from genoweave.genotypes import ArraySource, as_dask
from genoweave.io import streams
from genoweave.io.bgen.writing import bgen_stream, write_bgen
from genoweave.io.consistency import read_sums, sums_stream
from genoweave.io.pgen.writing import pgen_stream, write_pgen
from genoweave.io.plink import plink_stream, write_plink
from genoweave.io.streams import Stream, write_streams
from genoweave.io.vcf.writing import vcf_stream, write_vcf

N_VARIANTS, N_SAMPLES = 43, 13
BATCH = 4 * N_SAMPLES
N_BATCHES = 11


class CountingSource(ArraySource):
    """Notes each read."""

    def __init__(self, array: np.ndarray, *, is_unphased: bool = False) -> None:
        super().__init__(array)
        self.is_unphased = is_unphased
        self.row_block = 1
        self.reads: list[tuple[int, int]] = []

    def read(self, v0: int, v1: int, s0: int, s1: int) -> np.ndarray:
        assert (s0, s1) == (0, self.shape[1])
        self.reads.append((v0, v1))
        return super().read(v0, v1, s0, s1)


def phased_cohort(seed: int = 1) -> xr.Dataset:
    """Random calls: missing ones, half-missing ones, phase in part."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 2, (N_VARIANTS, N_SAMPLES, 2)).astype(np.int8)
    calls[rng.random(calls.shape[:2]) < 0.1] = -1
    calls[rng.random(calls.shape[:2]) < 0.03, 1] = -1
    phased = rng.random(calls.shape[:2]) < 0.7
    phased[::3] = True
    phased[1::5] = False
    ds = helpers.cohort(np.zeros(calls.shape[:2], np.int8), contigs=("1", "2"))
    ds["call_genotype"].values[:] = calls
    return ds.assign(call_genotype_phased=(("variants", "samples"), phased))


def over(ds: xr.Dataset, source: ArraySource) -> xr.Dataset:
    lazy = as_dask(source, (7, N_SAMPLES))
    return ds.assign(call_genotype=(("variants", "samples", "ploidy"), lazy))


def all_streams(ds: xr.Dataset, folder: Path) -> list[Stream]:
    return [
        plink_stream(ds, folder / "x"),
        pgen_stream(ds, folder / "x"),
        vcf_stream(ds, folder / "x.vcf", "vcf"),
        vcf_stream(ds, folder / "x.vcf.gz"),
        vcf_stream(ds, folder / "x.bcf", "bcf"),
        bgen_stream(ds, folder / "x.bgen"),
        sums_stream(folder / "x.sums", reads_calls=True),
    ]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(streams, "BATCH_CALLS", BATCH)


@pytest.fixture
def wanted(tmp_path, small_batches) -> dict[str, bytes]:
    """Each file written by itself."""
    ds, folder = phased_cohort(), tmp_path / "alone"
    write_plink(ds, folder / "x")
    write_pgen(ds, folder / "x")
    for kind in ("vcf", "vcf.gz", "bcf"):
        write_vcf(ds, folder / f"x.{kind}", kind)
    write_bgen(ds, folder / "x.bgen")
    return files_of(folder)


def without_sums(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if name != "x.sums"}


@pytest.mark.parametrize("slots", [1, 2])
def test_write_streams__together_as_alone(tmp_path, wanted, slots):
    ds = phased_cohort()
    with threads(slots):
        write_streams(ds, all_streams(ds, tmp_path / "out"))
    found = files_of(tmp_path / "out")
    assert without_sums(found) == wanted
    assert sorted(wanted) == ["x.bcf", "x.bcf.csi", "x.bed", "x.bgen", "x.bim", "x.fam", "x.pgen", "x.psam",
                              "x.pvar", "x.sample", "x.vcf", "x.vcf.gz", "x.vcf.gz.tbi"]  # fmt: skip


@pytest.mark.parametrize("chunks", [(1, 13), (9, 5), (43, 13)])
def test_write_streams__any_chunks_make_the_same_bytes(tmp_path, wanted, chunks):
    """Where a chunk has more variants than a batch, a task reads several batches together."""
    ds = helpers.rechunked(phased_cohort(), *chunks)
    write_streams(ds, all_streams(ds, tmp_path / "out"))
    assert without_sums(files_of(tmp_path / "out")) == wanted


@pytest.mark.parametrize("pool", [Pickling, ProcessPool])
def test_write_streams__tasks_travel_to_other_processes(tmp_path, wanted, pool):
    ds = phased_cohort()
    executor = pool(2)
    try:
        with use(executor):
            write_streams(ds, all_streams(ds, tmp_path / "out"))
    finally:
        executor.close()
    assert without_sums(files_of(tmp_path / "out")) == wanted


@pytest.mark.parametrize("is_unphased", [False, True])
def test_write_streams__each_variant_is_read_once(tmp_path, small_batches, is_unphased):
    ds = helpers.cohort(np.random.default_rng(1).integers(-1, 3, (N_VARIANTS, N_SAMPLES)).astype(np.int8))
    source = CountingSource(ds["call_genotype"].values, is_unphased=is_unphased)
    ds = over(ds, source)
    with threads(2):
        write_streams(ds, all_streams(ds, tmp_path))
    starts = range(0, N_VARIANTS, 4)
    assert sorted(source.reads) == [(a, min(a + 4, N_VARIANTS)) for a in starts]


def test_write_streams__a_third_allele_leaves_no_file(tmp_path, small_batches):
    ds = phased_cohort()
    ds["call_genotype"].values[30, 3] = [0, 2]
    with pytest.raises(DataError, match="variants 28 to 31 an allele code 2"):
        write_streams(ds, all_streams(ds, tmp_path))
    assert not [path for path in tmp_path.iterdir() if path.suffix not in (".partial", ".journal")]


def test_write_streams__small_files_appear_with_the_large_one(tmp_path, monkeypatch):
    """An older fileset is whole until the new one is."""
    write_plink(helpers.cohort(np.zeros((3, 5), np.int8)), tmp_path / "x")
    before = files_of(tmp_path)

    def full(*_):
        raise StoreError("full")

    with monkeypatch.context() as patch:
        patch.setattr(streams.AppendingFile, "append", full)
        with pytest.raises(StoreError):
            write_plink(phased_cohort(), tmp_path / "x")
    after = files_of(tmp_path)
    assert {name: after[name] for name in before} == before


class Killed(BaseException):
    pass


def killing(monkeypatch, n_appends: int) -> list[str]:
    """Die at the append of that number; the list tells what was appended."""
    append, appended = streams.AppendingFile.append, []

    def counted(self, data):
        if len(appended) == n_appends:
            raise Killed
        appended.append(self.path.name)
        append(self, data)

    monkeypatch.setattr(streams.AppendingFile, "append", counted)
    return appended


def n_appends() -> int:
    """Seven heads, batches, and the tails of the two compressed files."""
    return 7 * (1 + N_BATCHES) + 2


@pytest.mark.parametrize("at", [0, 3, 7, *np.random.default_rng(5).integers(8, 84, 6).tolist(), 84, 85])
def test_write_streams__a_killed_pass_goes_on(tmp_path, wanted, monkeypatch, at):
    """Whatever file it was at: those that were ahead get nothing twice, and every file is whole."""
    ds = phased_cohort()
    with monkeypatch.context() as patch:
        first = killing(patch, at)
        with pytest.raises(Killed), threads(2):
            write_streams(ds, all_streams(ds, tmp_path / "out"), "token")
    assert not set(files_of(tmp_path / "out")) & set(wanted)
    with monkeypatch.context() as patch:
        second = killing(patch, 10**6)
        source = CountingSource(ds["call_genotype"].values)
        write_streams(over(ds, source), all_streams(ds, tmp_path / "out"), "token")
    assert len(first) == at
    assert len(first) + len(second) == n_appends()
    found = files_of(tmp_path / "out")
    assert without_sums(found) == wanted
    whole = (at - 7) // 7 if at >= 7 else 0
    assert len(source.reads) == max(0, N_BATCHES - whole)
    write_streams(ds, [sums_stream(tmp_path / "y.sums", reads_calls=True)])
    assert read_sums(tmp_path / "out" / "x.sums") == read_sums(tmp_path / "y.sums")


@pytest.mark.parametrize("tokens", [("one", "two"), ("", "")])
def test_write_streams__other_work_is_not_continued(tmp_path, wanted, monkeypatch, tokens):
    other = phased_cohort(seed=2)
    with monkeypatch.context() as patch:
        killing(patch, 40)
        with pytest.raises(Killed):
            write_streams(other, all_streams(other, tmp_path / "out"), tokens[0])
    ds = phased_cohort()
    write_streams(ds, all_streams(ds, tmp_path / "out"), tokens[1])
    assert without_sums(files_of(tmp_path / "out")) == wanted


def test_write_streams__a_killed_index_costs_no_second_pass(tmp_path, wanted, monkeypatch):
    ds = phased_cohort()

    def die(_):
        raise Killed

    chosen = all_streams(ds, tmp_path / "out")
    doomed = [
        Stream(s.path, s.encode, s.head, s.tail, die, s.beside, s.reads_calls, s.reads_names) for s in chosen
    ]
    with pytest.raises(Killed):
        write_streams(ds, doomed, "token")
    source = CountingSource(ds["call_genotype"].values)
    write_streams(over(ds, source), chosen, "token")
    assert source.reads == []
    assert without_sums(files_of(tmp_path / "out")) == wanted


def test_block__forms_are_made_of_what_was_read():
    ds = phased_cohort()
    source = ArraySource(ds["call_genotype"].values)
    flags = ds["call_genotype_phased"].values
    for reads_calls in (False, True):
        block = streams.read_block(source, streams.Phase(flags), 8, 20, reads_calls=reads_calls)
        part = block.part(2, 5)
        assert (part.v0, len(part), part.names) == (10, 3, None)
        np.testing.assert_array_equal(part.packed, source.read_packed(10, 13, 0, N_SAMPLES))
        np.testing.assert_array_equal(part.phased, flags[10:13])
        assert part.calls is part.calls
    np.testing.assert_array_equal(part.calls, source.read(10, 13, 0, N_SAMPLES))  # half-missing calls too


def test_write_streams__nothing_to_write(tmp_path):
    ds = phased_cohort().isel(variants=slice(0, 0))
    write_streams(ds, [Stream(tmp_path / "x", partial(bytes.__add__, b""), head=lambda: b"head")])
    assert (tmp_path / "x").read_bytes() == b"head"
