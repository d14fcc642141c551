"""Zarr stores: what goes in comes out, and nothing half-written looks whole."""

import helpers
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.base import is_dask_collection
from hypothesis import given, settings
from hypothesis import strategies as st

from genoweave import cohorts
from genoweave.errors import DataError, StoreError
from genoweave.genotypes import ArraySource, as_dask
from genoweave.io import store
from genoweave.io.cohort import open_cohort
from genoweave.io.files import digest

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)


def same(opened, written):
    """Every variable that was written is there with its dimensions, kind and values."""
    for name, variable in written.variables.items():
        assert opened[name].dims == variable.dims, name
        assert opened[name].dtype.kind == variable.dtype.kind, name
        np.testing.assert_array_equal(opened[name].values, variable.values, err_msg=str(name))


@pytest.fixture
def cohort():
    ds = helpers.balding_nichols(2, 20, 90, missing=0.1, monomorphic=2, seed=3)
    rng = np.random.default_rng(0)
    return ds.assign(
        call_genotype_phased=(("variants", "samples"), rng.random((90, 40)) < 0.5),
        sample_liability=("samples", np.r_[np.nan, rng.normal(size=39)]),
        variant_pca_loading=(("variants", "components"), rng.normal(size=(90, 3))),
        sample_sex=("samples", np.arange(40, dtype=np.int8) % 3),
    )


@settings(max_examples=25)
@given(data=st.data(), m=st.integers(1, 20), n=st.integers(1, 20))
def test_write__round_trip(tmp_path_factory, data, m, n):
    dosage = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-1, 3, (m, n)).astype(np.int8)
    if data.draw(st.booleans()):
        dosage[:] = -1
    ids = np.array(data.draw(st.lists(TEXT, min_size=n, max_size=n, unique=True)), object)
    ds = helpers.cohort(dosage, contigs=("1", "2")[: min(2, m)]).assign(sample_id=("samples", ids))
    chunks = data.draw(st.integers(1, 25)), data.draw(st.integers(1, 25))
    path = tmp_path_factory.mktemp("store") / "x.vcz"
    store.write(ds, path, chunks)
    same(store.open_store(path), ds)
    assert zarr.open_group(str(path))["call_genotype"].chunks == (min(chunks[0], m), min(chunks[1], n), 2)


def test_write__all_kinds_of_variables(cohort, tmp_path):
    cohort.attrs["qc_steps"] = '[{"step": "input"}]'
    store.write(cohort, tmp_path / "x.vcz", (32, 7))
    opened = open_cohort(tmp_path / "x.vcz")
    same(opened, cohort)
    assert opened.attrs["vcf_zarr_version"] == "0.4"
    assert opened.attrs["qc_steps"] == cohort.attrs["qc_steps"]


def test_write__others_read_it(cohort, tmp_path):
    store.write(cohort, tmp_path / "x.vcz", (32, 7))
    theirs = xr.open_zarr(tmp_path / "x.vcz", consolidated=True, mask_and_scale=False)
    same(theirs.load(), cohort)


def test_open_store__is_lazy_and_slices(cohort, tmp_path):
    store.write(cohort, tmp_path / "x.vcz", (32, 7))
    opened = store.open_store(tmp_path / "x.vcz")
    assert is_dask_collection(opened["call_genotype"].data)
    part = opened["call_genotype"].data[33:70, 5:9]
    np.testing.assert_array_equal(
        part.compute(scheduler="synchronous"), cohort["call_genotype"].values[33:70, 5:9]
    )


def test_write__chunks_change_the_files_only(cohort, tmp_path):
    for number, chunks in enumerate([(90, 40), (9, 5), (64, 64), (7, 40), (90, 3)]):
        store.write(cohort, tmp_path / f"{number}.vcz", chunks)
        same(store.open_store(tmp_path / f"{number}.vcz"), cohort)


def test_write__twice_gives_the_same_bytes(cohort, tmp_path):
    for name in ("a.vcz", "b.vcz"):
        store.write(cohort, tmp_path / name, (32, 7))
    assert digest(tmp_path / "a.vcz") == digest(tmp_path / "b.vcz")


class Failing(ArraySource):
    """A source whose disk breaks at variant `at`, until it is mended."""

    def __init__(self, calls, at):
        super().__init__(calls)
        self.at, self.reads = at, []

    def read(self, v0, v1, s0, s1):
        self.reads.append(v0)
        if self.at is not None and v1 > self.at:
            raise OSError("the disk is gone")
        return super().read(v0, v1, s0, s1)


def failing(ds, at, kind=Failing):
    source = kind(np.ascontiguousarray(ds["call_genotype"].values), at)
    lazy = ("variants", "samples", "ploidy"), as_dask(source, (32, 40))
    return ds.drop_vars("call_genotype_phased", errors="ignore").assign(call_genotype=lazy), source


def test_write__interrupted_goes_on_and_gives_the_same_bytes(cohort, tmp_path):
    whole, _ = failing(cohort, None)
    store.write(whole, tmp_path / "whole.vcz", (10, 7), "token")
    ds, source = failing(cohort, 55)
    with pytest.raises(StoreError, match="cannot write"):
        store.write(ds, tmp_path / "x.vcz", (10, 7), "token")
    assert not (tmp_path / "x.vcz").exists()
    with pytest.raises(StoreError, match="there is no store"):
        store.open_store(tmp_path / "x.vcz")
    source.at, source.reads = None, []
    store.write(ds, tmp_path / "x.vcz", (10, 7), "token")
    assert min(source.reads) > 0, "finished batches are not read again"
    assert digest(tmp_path / "x.vcz") == digest(tmp_path / "whole.vcz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["whole.vcz", "x.vcz"]


class FailingCodes(Failing):
    """The same of an unphased source, whose codes go to disk as they are."""

    is_unphased = True

    def __init__(self, calls, at):
        super().__init__(np.sort(calls, axis=2), at)


@pytest.mark.parametrize("chunks", [(10, 7), (10, 8), (32, 40)])
def test_write__interrupted_codes_go_on_and_give_the_same_bytes(cohort, tmp_path, chunks):
    whole, _ = failing(cohort, None, FailingCodes)
    store.write(whole, tmp_path / "whole.vcz", chunks, "token")
    ds, source = failing(cohort, 75, FailingCodes)
    with pytest.raises(StoreError, match="cannot write"):
        store.write(ds, tmp_path / "x.vcz", chunks, "token")
    source.at, source.reads = None, []
    store.write(ds, tmp_path / "x.vcz", chunks, "token")
    assert min(source.reads) > 0, "finished batches are not read again"
    assert digest(tmp_path / "x.vcz") == digest(tmp_path / "whole.vcz")
    same(store.open_store(tmp_path / "x.vcz"), whole)


@pytest.mark.parametrize("ploidy", [1, 3])
def test_write__other_ploidy_is_kept(cohort, tmp_path, ploidy):
    calls = np.concatenate([cohort["call_genotype"].values] * 2, axis=2)[:, :, :ploidy]
    ds = cohort.drop_vars("call_genotype").assign(call_genotype=(("variants", "samples", "ploidy"), calls))
    store.write(ds, tmp_path / "x.vcz", (32, 7))
    same(store.open_store(tmp_path / "x.vcz"), ds)


def test_write__another_token_starts_anew(cohort, tmp_path):
    ds, _ = failing(cohort, 55)
    with pytest.raises(StoreError):
        store.write(ds, tmp_path / "x.vcz", (10, 7), "token")
    other = helpers.balding_nichols(2, 20, 90, seed=99)
    store.write(other, tmp_path / "x.vcz", (10, 7), "another token")
    same(store.open_store(tmp_path / "x.vcz"), other)


def test_write__a_nameless_write_is_never_continued(cohort, tmp_path):
    # without a token nobody knows what the partial store was made of
    ds, _ = failing(cohort, 55)
    with pytest.raises(StoreError):
        cohorts.save(ds, tmp_path / "x.vcz", (10, 7))
    other = helpers.balding_nichols(2, 20, 90, seed=99)
    cohorts.save(other, tmp_path / "x.vcz", (10, 7))
    same(store.open_store(tmp_path / "x.vcz"), other)


def test_write__a_store_is_replaced_only_when_the_new_one_is_whole(cohort, tmp_path):
    old = helpers.balding_nichols(1, 5, 20, seed=1)
    store.write(old, tmp_path / "x.vcz", (10, 7))
    ds, source = failing(cohort, 55)
    with pytest.raises(StoreError):
        store.write(ds, tmp_path / "x.vcz", (10, 7), "token")
    same(store.open_store(tmp_path / "x.vcz"), old)
    source.at = None
    store.write(ds, tmp_path / "x.vcz", (10, 7), "token")
    same(store.open_store(tmp_path / "x.vcz"), cohort.drop_vars("call_genotype_phased"))


def test_save__does_not_replace_what_is_no_store(cohort, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(StoreError, match="is not a Zarr store; choose another name"):
        cohorts.save(cohort, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "years of work"


@pytest.mark.parametrize("kind", ["missing", "empty folder", "text file"])
def test_open_cohort__says_what_is_not_a_cohort(kind, tmp_path):
    path = tmp_path / "x"
    if kind == "empty folder":
        path.mkdir()
    elif kind == "text file":
        path.write_text("hello")
    with pytest.raises((StoreError, DataError), match=r"PLINK|not a Zarr store"):
        open_cohort(path)


@pytest.mark.parametrize(
    "name",
    ["call_genotype", "sample_id", "variant_contig", "variant_position", "variant_allele", "contig_id"],
)
def test_open_cohort__names_what_is_missing(cohort, name, tmp_path):
    store.write(cohort.drop_vars([name, "call_genotype_phased"]), tmp_path / "x.vcz", (32, 7))
    with pytest.raises(DataError, match=name):
        open_cohort(tmp_path / "x.vcz")


def test_open_cohort__repeated_sample_ids(cohort, tmp_path):
    cohort["sample_id"][3] = cohort["sample_id"].values[2]
    store.write(cohort, tmp_path / "x.vcz", (32, 7))
    with pytest.raises(DataError, match="1 sample ids stand twice"):
        open_cohort(tmp_path / "x.vcz")


def test_open_cohort__haploid_calls_are_refused(cohort, tmp_path):
    cohort.isel(ploidy=[0]).to_zarr(tmp_path / "x.vcz")
    with pytest.raises(DataError, match="diploid"):
        open_cohort(tmp_path / "x.vcz")


@pytest.mark.parametrize("chunk", ["call_genotype/1.0.0", "variant_position/0", "sample_id/1"])
def test_open_cohort__a_lost_chunk_is_noticed(cohort, tmp_path, chunk):
    # without a fill value, zarr shows the memory that happened to be there
    store.write(cohort.drop_vars("call_genotype_phased"), tmp_path / "x.vcz", (32, 20))
    (tmp_path / "x.vcz" / chunk).unlink()
    with pytest.raises(DataError, match=chunk.split("/")[0]):
        open_cohort(tmp_path / "x.vcz")


def test_open_store__format_3_is_named(tmp_path):
    (tmp_path / "three.vcz").mkdir()
    (tmp_path / "three.vcz" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(StoreError, match="format 3"):
        store.open_store(tmp_path / "three.vcz")
