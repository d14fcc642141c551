"""Sources read the same calls whatever lies behind them, and in any blocks."""

import pickle
from itertools import pairwise

import dask.array as da
import helpers
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from genoweave import genotypes as module
from genoweave.errors import DataError
from genoweave.kernels.packed import copy_codes, width

M, N = 70, 23
DOSAGE = np.random.default_rng(0).integers(-1, 3, (M, N)).astype(np.int8)
CALLS = helpers.calls(DOSAGE)


def subsets(n):
    return st.sets(st.integers(0, n - 1), min_size=1).map(sorted)


def ranges_of(n):
    return st.tuples(st.integers(0, n), st.integers(0, n)).map(sorted)


class Held(module.PackedSource):
    """Codes held in memory; `reads` notes the blocks that were asked for."""

    def __init__(self, dosage):
        self.codes = packed(dosage)
        self.shape = (*dosage.shape, 2)
        self.reads = []

    def read_packed(self, v0, v1, s0, s1):
        self.reads.append((v0, v1, s0, s1))
        out = np.full((v1 - v0, width(s1 - s0)), 0x55, np.uint8)
        copy_codes(self.codes[v0:v1], s0, s1 - s0, out, 0)
        return out


def packed(dosage):
    """Codes by plain numpy, padded with missing calls."""
    m, n = dosage.shape
    codes = np.ones((m, width(n), 4), np.uint8)
    codes.reshape(m, 4 * width(n))[:, :n] = np.array([1, 3, 2, 0], np.uint8)[dosage + 1]
    return (codes << np.array([0, 2, 4, 6], np.uint8)).sum(axis=2, dtype=np.uint8)


def zarr_array(calls, chunks):
    array = zarr.zeros(calls.shape, chunks=(*chunks, 2), dtype="i1")
    array[:] = calls
    return array


# the same calls, whose rows stand alone or come in chunks, phased or not
BASES = {
    "numpy": lambda: module.ArraySource(CALLS),
    "dask": lambda: module.ArraySource(da.from_array(CALLS, chunks=(16, 10, 2))),
    "zarr": lambda: module.ArraySource(zarr_array(CALLS, (32, 7))),
    "packed": lambda: Held(DOSAGE),
}


def assert_reads(source, dosage, calls, variants, samples):
    """A block equals numpy's as codes, as dosages and, but for phase, as int8 calls."""
    rows, columns = slice(*variants), slice(*samples)
    assert (module.read_packed(source, *variants, *samples) == packed(dosage[rows, columns])).all()
    if variants[0] < variants[1]:
        block = source.read(*variants, *samples)
        assert block.dtype == np.int8
        assert (np.sort(block, axis=2) == np.sort(calls[rows, columns], axis=2)).all()
        assert (module.read_dosage(source, *variants, *samples) == dosage[rows, columns]).all()


@pytest.mark.parametrize("base", BASES)
@settings(max_examples=15)
@given(variants=subsets(M), samples=subsets(N), data=st.data())
def test_selected_source__reads_what_numpy_takes(base, variants, samples, data):
    source = module.SelectedSource(BASES[base](), np.array(variants), np.array(samples))
    block = data.draw(ranges_of(len(variants))), data.draw(ranges_of(len(samples)))
    chosen = np.ix_(variants, samples)
    assert_reads(source, DOSAGE[chosen], CALLS[chosen], *block)
    if not source.is_unphased:
        (v0, v1), (s0, s1) = block
        assert (source.read(v0, v1, s0, s1) == CALLS[chosen][v0:v1, s0:s1]).all()


@settings(max_examples=15)
@given(subsets(M), subsets(N), st.data())
def test_selected_source__of_a_selection(variants, samples, data):
    inner = module.SelectedSource(module.ArraySource(CALLS), np.array(variants), np.array(samples))
    rows, columns = data.draw(subsets(len(variants))), data.draw(subsets(len(samples)))
    source = module.SelectedSource(inner, np.array(rows), np.array(columns))
    chosen = np.ix_(np.array(variants)[rows], np.array(samples)[columns])
    assert_reads(source, DOSAGE[chosen], CALLS[chosen], (0, len(rows)), (0, len(columns)))


def test_selected_source__rows_in_a_gap_are_not_read():
    base = Held(DOSAGE)
    variants, samples = np.array([0, 1, 30, 31, 32, 69]), np.array([2, 20])
    source = module.SelectedSource(base, variants, samples)
    assert (module.read_dosage(source, 0, 6) == DOSAGE[np.ix_(variants, samples)]).all()
    assert [(v0, v1) for v0, v1, _, _ in base.reads] == [(0, 2), (30, 33), (69, 70)]


@pytest.mark.parametrize("kind", [np.array([], np.int64), np.arange(3)])
def test_selected_source__nothing_or_nobody(kind):
    source = module.SelectedSource(module.ArraySource(CALLS), kind, np.array([], np.int64))
    assert source.read_packed(0, len(kind), 0, 0).shape == (len(kind), 0)
    assert source.read(0, len(kind), 0, 0).shape == (len(kind), 0, 2)


CUTS = st.sets(st.integers(1, N - 1), max_size=4).map(lambda cuts: [0, *sorted(cuts), N])


@given(ranges_of(M), ranges_of(N), CUTS, st.data())
def test_joined_source__reads_parts_side_by_side(variants, samples, cuts, data):
    parts = []
    for a, b in pairwise(cuts):
        is_held = data.draw(st.booleans())
        parts.append(Held(DOSAGE[:, a:b]) if is_held else module.ArraySource(CALLS[:, a:b]))
    source = module.JoinedSource(parts)
    assert source.shape == (M, N, 2)
    assert source.is_unphased == all(part.is_unphased for part in parts)
    assert set(cuts) <= set(source.sample_edges)
    assert_reads(source, DOSAGE, CALLS, variants, samples)
    if not any(part.is_unphased for part in parts):
        assert (source.read(*variants, *samples) == CALLS[slice(*variants), slice(*samples)]).all()


class Shaped(module.PackedSource):
    """A source of which only the shape and its cheap pieces matter."""

    sample_edges = None

    def __init__(self, shape, row_block, sample_edges):
        self.shape, self.row_block, self.sample_edges = (*shape, 2), row_block, sample_edges


@given(
    m=st.integers(1, 90),
    edges=st.sets(st.integers(1, 60), min_size=1, max_size=6),
    row_block=st.integers(1, 40),
    limit=st.integers(1, 100),
    data=st.data(),
)
def test_blocks__cover_a_tile_once(m, edges, row_block, limit, data):
    source = Shaped((m, max(edges)), row_block, [0, *sorted(edges)])
    v0, v1 = data.draw(ranges_of(m))
    seen = np.zeros((m, max(edges)), int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK_BYTES", limit)
        cut = list(module.blocks(source, v0, v1))
    for a, b, s0, s1 in cut:
        seen[a:b, s0:s1] += 1
        assert a == v0 or a % row_block == 0, "no chunk is decoded twice"
        assert b == v1 or b % row_block == 0
        assert b - a <= row_block or (b - a) * width(s1 - s0) <= limit
    assert (seen[v0:v1] == 1).all()
    assert seen.sum() == (v1 - v0) * max(edges)


@pytest.mark.parametrize("base", BASES)
def test_blocks__of_real_sources(base):
    joined = module.JoinedSource([BASES[base](), Held(DOSAGE)])
    selected = module.SelectedSource(joined, np.arange(0, M, 3), np.arange(1, 2 * N, 2))
    wanted = np.hstack([DOSAGE, DOSAGE])
    for source, dosage in ((joined, wanted), (selected, wanted[::3, 1::2])):
        found = np.full(source.shape[:2], -9, np.int8)
        for v0, v1, s0, s1 in module.blocks(source, 0, len(dosage)):
            found[v0:v1, s0:s1] = module.read_dosage(source, v0, v1, s0, s1)
        assert (found == dosage).all()


def test_as_dask__is_lazy_and_finds_its_source_again():
    ds = helpers.cohort(DOSAGE)
    source = module.ArraySource(CALLS)
    lazy = ds.assign(call_genotype=(("variants", "samples", "ploidy"), module.as_dask(source, (16, 10))))
    assert module.source_of(lazy) is source
    assert (lazy["call_genotype"].values == CALLS).all()
    part = lazy.isel(variants=slice(5, 40), samples=slice(3, 9))
    assert (module.read_dosage(module.source_of(part), 0, 35) == DOSAGE[5:40, 3:9]).all()


@pytest.mark.parametrize("base", BASES)
def test_sources__can_be_sent_to_another_process(base):
    selected = module.SelectedSource(BASES[base](), np.array([3, 5]), np.array([0, 2]))
    for source in (BASES[base](), selected, module.JoinedSource([selected, selected])):
        copy = pickle.loads(pickle.dumps(source))
        assert copy.shape == source.shape
        assert copy.sample_edges == source.sample_edges
        assert (copy.read(0, 2, 0, 2) == source.read(0, 2, 0, 2)).all()
        assert (copy.read_packed(0, 2, 0, 2) == source.read_packed(0, 2, 0, 2)).all()


@pytest.mark.parametrize("chunks", [(1, 1), (7, 5), (64, 23), (70, 1), (1000, 1000)])
def test_read_dosage__any_chunks(chunks):
    ds = helpers.rechunked(helpers.cohort(DOSAGE), *chunks)
    assert (module.read_dosage(module.source_of(ds), 0, M) == DOSAGE).all()
    assert (module.read_dosage(module.source_of(ds), 3, 50, 2, 20) == DOSAGE[3:50, 2:20]).all()


def test_read_dosage__a_third_allele_is_refused():
    ds = helpers.cohort(DOSAGE)
    ds["call_genotype"][4, 4, 0] = 2
    with pytest.raises(DataError, match=r"among variants 2 to 9 an allele code 2 .* biallelic"):
        module.read_dosage(module.source_of(ds), 2, 10)


@pytest.mark.parametrize("allele", [128, 200, 255, 256, 257])
def test_array_source__an_allele_beyond_int8_is_refused_and_not_missing(allele):
    calls = np.zeros((2, 5, 2), np.int16)
    calls[1, 3, 0] = allele
    with pytest.raises(DataError, match="allele code"):
        module.read_packed(module.ArraySource(calls), 0, 2)


def test_selected_source__rows_are_ascending():
    for rows in ([1, 0], [0, 0, 1]):
        with pytest.raises(ValueError, match="ascending"):
            module.SelectedSource(module.ArraySource(CALLS), np.array(rows), np.arange(N))
        with pytest.raises(ValueError, match="ascending"):
            module.SelectedSource(module.ArraySource(CALLS), np.arange(M), np.array(rows))


@pytest.mark.parametrize("call", [(-1, 1), (1, -1), (-1, 0), (0, -2), (-2, -2)])
def test_read_packed__a_half_missing_call_is_missing(call):
    calls = np.zeros((2, 5, 2), np.int8)
    calls[1, 3] = call
    dosage = np.zeros((2, 5), np.int8)
    dosage[1, 3] = -1
    assert (module.read_packed(module.ArraySource(calls), 0, 2) == packed(dosage)).all()


def test_read_dosage__an_empty_block():
    source = Held(DOSAGE)
    assert module.read_dosage(source, 5, 5).shape == (0, N)
    assert source.read(5, 5, 0, N).shape == (0, N, 2)
    assert module.read_dosage(source, 0, 3, 4, 4).shape == (3, 0)


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


class Untouchable(module.PackedSource):
    """A source that must not be read."""

    shape = (M, N, 2)

    def read_packed(self, v0, v1, s0, s1):
        raise AssertionError("read too early")


def test_select__is_lazy():
    lazy = ("variants", "samples", "ploidy"), module.as_dask(Untouchable(), (16, 10))
    ds = helpers.cohort(DOSAGE).assign(call_genotype=lazy)
    part = module.select(ds, np.array([0, 5]), np.array([1]))
    assert part["call_genotype"].shape == (2, 1, 2)
    with pytest.raises(AssertionError, match="read too early"):
        part["call_genotype"].compute(scheduler="synchronous")
