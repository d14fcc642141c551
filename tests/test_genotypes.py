"""Sources read the same calls whatever lies behind them, and in any blocks."""

import pickle

import helpers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genoweave import genotypes as module
from genoweave.errors import DataError

M, N = 70, 23
DOSAGE = np.random.default_rng(0).integers(-1, 3, (M, N)).astype(np.int8)
CALLS = helpers.calls(DOSAGE)


def subsets(n):
    return st.sets(st.integers(0, n - 1), min_size=1).map(sorted)


def ranges_of(n):
    return st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted)


@given(subsets(M), subsets(N), st.data())
def test_selected_source__reads_what_numpy_takes(variants, samples, data):
    source = module.SelectedSource(module.ArraySource(CALLS), np.array(variants), np.array(samples))
    v0, v1 = data.draw(ranges_of(len(variants)))
    s0, s1 = data.draw(ranges_of(len(samples)))
    expected = CALLS[np.ix_(variants, samples)][v0:v1, s0:s1]
    assert (source.read(v0, v1, s0, s1) == expected).all()


def test_selected_source__pieces_of_a_wide_gap(monkeypatch):
    monkeypatch.setattr(module, "_PIECE_CALLS", 40)
    variants, samples = np.array([0, 1, 30, 31, 32, 69]), np.array([2, 20])
    source = module.SelectedSource(module.ArraySource(CALLS), variants, samples)
    assert (source.read(0, 6, 0, 2) == CALLS[np.ix_(variants, samples)]).all()
    assert (module.read_dosage(source, 0, 6) == DOSAGE[np.ix_(variants, samples)]).all()


@given(ranges_of(M), ranges_of(N))
def test_joined_source__reads_parts_side_by_side(variants, samples):
    parts = [module.ArraySource(CALLS[:, a:b]) for a, b in ((0, 5), (5, 6), (6, N))]
    source = module.JoinedSource(parts)
    assert source.shape == (M, N, 2)
    block = source.read(*variants, *samples)
    assert (block == CALLS[slice(*variants), slice(*samples)]).all()


def test_as_dask__is_lazy_and_finds_its_source_again():
    ds = helpers.cohort(DOSAGE)
    source = module.ArraySource(CALLS)
    lazy = ds.assign(call_genotype=(("variants", "samples", "ploidy"), module.as_dask(source, (16, 10))))
    assert module.source_of(lazy) is source
    assert (lazy["call_genotype"].values == CALLS).all()
    part = lazy.isel(variants=slice(5, 40), samples=slice(3, 9))
    assert (module.read_dosage(module.source_of(part), 0, 35) == DOSAGE[5:40, 3:9]).all()


def test_sources__can_be_sent_to_another_process():
    source = module.SelectedSource(module.ArraySource(CALLS), np.array([3, 5]), np.array([0, 2]))
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.read(0, 2, 0, 2) == source.read(0, 2, 0, 2)).all()


@pytest.mark.parametrize("chunks", [(1, 1), (7, 5), (64, 23), (70, 1), (1000, 1000)])
def test_read_dosage__any_chunks(chunks):
    ds = helpers.rechunked(helpers.cohort(DOSAGE), *chunks)
    assert (module.read_dosage(module.source_of(ds), 0, M) == DOSAGE).all()
    assert (module.read_dosage(module.source_of(ds), 3, 50, 2, 20) == DOSAGE[3:50, 2:20]).all()


def test_read_dosage__a_third_allele_is_refused():
    ds = helpers.cohort(DOSAGE)
    ds["call_genotype"][4, 4, 0] = 2
    with pytest.raises(DataError, match=r"allele code 2 .* biallelic"):
        module.read_dosage(module.source_of(ds), 0, M)


def test_source_of__other_ploidy_is_refused():
    ds = helpers.cohort(DOSAGE).isel(ploidy=[0])
    with pytest.raises(DataError, match="ploidy 1"):
        module.source_of(ds)


def test_source_of__no_calls():
    with pytest.raises(DataError, match="no variable call_genotype"):
        module.source_of(helpers.cohort(DOSAGE).drop_vars("call_genotype"))


def test_select__keeps_what_belongs_to_variants_and_samples():
    ds = helpers.cohort(DOSAGE, ["x", "y"] * 11 + ["x"])
    part = module.select(ds, np.array([1, 4]), np.array([0, 3, 22]))
    assert part["variant_id"].values.tolist() == ["rs2", "rs5"]
    assert part["sample_ancestry"].values.tolist() == ["x", "y", "x"]
    assert (helpers.dosage_of(part) == DOSAGE[np.ix_([1, 4], [0, 3, 22])]).all()
    again = module.select(part, samples=np.array([1, 2]))
    assert (helpers.dosage_of(again) == DOSAGE[np.ix_([1, 4], [3, 22])]).all()


@given(st.lists(st.integers(-1, 2), min_size=6, max_size=6))
def test_calls_of__and_back(values):
    dosage = np.array(values, np.int8).reshape(2, 3)
    ds = helpers.cohort(dosage).assign(
        call_genotype=(("variants", "samples", "ploidy"), module.calls_of(dosage))
    )
    assert (helpers.dosage_of(ds) == dosage).all()


class Untouchable:
    """A source that must not be read."""

    shape = (M, N, 2)

    def read(self, v0, v1, s0, s1):
        raise AssertionError("read too early")


def test_select__is_lazy():
    lazy = ("variants", "samples", "ploidy"), module.as_dask(Untouchable(), (16, 10))
    ds = helpers.cohort(DOSAGE).assign(call_genotype=lazy)
    part = module.select(ds, np.array([0, 5]), np.array([1]))
    assert part["call_genotype"].shape == (2, 1, 2)
    with pytest.raises(AssertionError, match="read too early"):
        part["call_genotype"].compute(scheduler="synchronous")
