"""How blocks of genotypes are read: one small interface over stores, files, arrays and computed cohorts.

A `Source` answers ``read_packed(v0, v1, s0, s1)`` with 2-bit codes (see `kernels.packed`), on which the
engine works, and ``read`` with int8 calls, which keep phase. `as_dask` shows a source to users as a lazy
dask array; `source_of` finds it again behind a dataset, so that a task reads its block without a dask
graph (a graph over every chunk costs 20 times the tile's own work, and pickles with each task).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol
from weakref import WeakValueDictionary

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import TILE_VARIANTS, ranges
from genoweave.errors import DataError
from genoweave.kernels.gather import take_samples
from genoweave.kernels.packed import (
    PAD_BYTE,
    copy_codes,
    pack_calls,
    pack_dosages,
    unpack_calls,
    unpack_dosages,
    width,
)
from genoweave.schema import validate

Calls = NDArray[np.int8]
Packed = NDArray[np.uint8]

# Blocks that are read, counted and thrown away are about this large, so that they stay in the caches.
_BLOCK_BYTES = 4 * 2**20


class Source(Protocol):
    """Diploid calls read by ranges; picklable.

    Attributes
    ----------
    shape
        (variants, samples, 2).
    is_unphased
        Every call is 0/0, 0/1, 1/1 or wholly missing, so that the packed form says all.
    row_block
        Variants that are decoded together, whatever range is asked for; 1 where each stands by itself.
    sample_edges
        Ascending samples, from 0 to the number of them, between which reading is cheapest.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """See above."""

    @property
    def is_unphased(self) -> bool:
        """See above."""

    @property
    def row_block(self) -> int:
        """See above."""

    @property
    def sample_edges(self) -> list[int]:
        """See above."""

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Return the calls of variants v0..v1 and samples s0..s1, int8 (v1-v0, s1-s0, 2)."""

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Return the codes of the same block, uint8 (v1-v0, ceil((s1-s0) / 4)), not to be written to.

        A half-missing call is missing.

        Raises
        ------
        DataError
            If an allele code is above 1: the variant is not biallelic.
        """


class PackedSource:
    """Base of unphased sources that compute or hold codes; `read` follows from `read_packed`."""

    shape: tuple[int, int, int]
    is_unphased = True
    row_block = 1

    @property
    def sample_edges(self) -> list[int]:
        """Any range of samples is as good as another."""
        return [0, self.shape[1]]

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Return the codes of a block; see `Source`."""
        raise NotImplementedError

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Unpack the codes of a block; see `Source`."""
        return unpack_calls(self.read_packed(v0, v1, s0, s1), s1 - s0)


def packed_calls(calls: Calls, v0: int = 0) -> Packed:
    """Pack int8 calls (variants, samples, 2); `v0` is the first variant's number, for the message.

    Raises
    ------
    DataError
        If an allele code is above 1.
    """
    if calls.shape[2] != 2:
        raise DataError(f"call_genotype has ploidy {calls.shape[2]}; genoweave works on diploid calls")
    out = np.empty((calls.shape[0], width(calls.shape[1])), np.uint8)
    refuse_alleles(int(pack_calls(calls, out)), v0, v0 + len(calls))
    return out


def refuse_alleles(largest: int, v0: int, v1: int) -> None:
    """Raise if the largest allele code of variants v0..v1 is above 1."""
    if largest > 1:
        raise DataError(
            f"among variants {v0} to {v1 - 1} an allele code {largest} was found; genoweave works on "
            "biallelic variants. Split multi-allelic sites (bcftools norm -m -) before import"
        )


def narrow_calls(calls: NDArray[Any]) -> Calls:
    """Return calls as int8; an allele beyond its range stays one that is refused, not one that is missing."""
    if calls.dtype != np.int8:
        calls = np.clip(calls, -2, 127).astype(np.int8)
    return np.ascontiguousarray(calls)


class ArraySource:
    """Calls behind anything that is sliced like a numpy array: numpy, zarr, dask."""

    is_unphased = False

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape: tuple[int, int, int] = tuple(array.shape)
        chunks = getattr(array, "chunksize", None) or getattr(array, "chunks", None) or (1, self.shape[1])
        self.row_block = int(chunks[0])
        self.sample_edges = [*range(0, self.shape[1], max(1, int(chunks[1]))), self.shape[1]]

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Slice the array; a dask slice is computed in this thread."""
        block = self.array[v0:v1, s0:s1]
        if hasattr(block, "compute"):
            block = block.compute(scheduler="synchronous")
        return narrow_calls(np.asarray(block))

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Pack a slice of the array."""
        return packed_calls(self.read(v0, v1, s0, s1), v0)


class SelectedSource:
    """Some variants and samples of another source, both strictly ascending."""

    def __init__(self, base: Source, variants: NDArray[np.int64], samples: NDArray[np.int64]) -> None:
        self.base = base
        self.variants = np.ascontiguousarray(variants, np.int64)
        self.samples = np.ascontiguousarray(samples, np.int64)
        if (np.diff(self.variants) <= 0).any() or (np.diff(self.samples) <= 0).any():
            raise ValueError("variants and samples are selected in ascending order, each once")
        self.shape = (len(self.variants), len(self.samples), 2)
        self.is_unphased = base.is_unphased
        every_row = len(self.variants) == base.shape[0]
        self.row_block = base.row_block if every_row or base.row_block == 1 else TILE_VARIANTS
        self.sample_edges = np.unique(np.searchsorted(self.samples, base.sample_edges)).tolist()

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Read the rows that are wanted, piece by piece, and take the samples' columns."""
        out = np.empty((v1 - v0, s1 - s0, 2), np.int8)
        for a, b, c, d in self._blocks(v0, v1, s0, s1):
            rows, columns = self.variants[a:b], self.samples[c:d]
            piece = self.base.read(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
            out[a - v0 : b - v0, c - s0 : d - s0] = piece[np.ix_(rows - rows[0], columns - columns[0])]
        return out

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Do the same with codes."""
        out = None
        for a, b, c, d in self._blocks(v0, v1, s0, s1):
            codes = self._taken(self.variants[a:b], self.samples[c:d])
            if (a, b, c, d) == (v0, v1, s0, s1):
                return codes
            if out is None:
                out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
            copy_codes(codes, 0, d - c, out[a - v0 : b - v0], c - s0)
        return np.empty((v1 - v0, width(s1 - s0)), np.uint8) if out is None else out

    def _taken(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Packed:
        """Read the rows from the first to the last column, and take the columns."""
        codes = read_rows(self.base, rows, int(columns[0]), int(columns[-1]) + 1)
        if columns[-1] - columns[0] < len(columns):
            return codes
        taken = np.empty((len(codes), width(len(columns))), np.uint8)
        take_samples(codes, columns - columns[0], taken)
        return taken

    def _blocks(self, v0: int, v1: int, s0: int, s1: int) -> Iterator[tuple[int, int, int, int]]:
        """Cut a block where the base's own pieces end; rows that stand alone are read in runs."""
        edges = [s0, *(e for e in self.sample_edges if s0 < e < s1), s1]
        rows = self.variants[v0:v1]
        if self.base.row_block == 1:
            cuts = np.flatnonzero(np.diff(rows) > 1) + 1
        else:
            cuts = np.flatnonzero(np.diff(rows // self.base.row_block)) + 1
        bounds = [v0, *(v0 + cuts).tolist(), v1]
        for a, b in pairwise(bounds):
            for c, d in pairwise(edges):
                if a < b and c < d:
                    yield a, b, c, d


class JoinedSource:
    """The samples of several sources over the same variants, side by side."""

    def __init__(self, parts: list[Source]) -> None:
        self.parts = parts
        self.ends = np.cumsum([part.shape[1] for part in parts]).tolist()
        self.shape = (parts[0].shape[0], self.ends[-1], 2)
        self.is_unphased = all(part.is_unphased for part in parts)
        self.row_block = max(part.row_block for part in parts)
        starts = [0, *self.ends[:-1]]
        edges = {a + e for a, part in zip(starts, parts, strict=True) for e in part.sample_edges}
        self.sample_edges = sorted(edges)

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Read the overlap with each part."""
        blocks = [part.read(v0, v1, a, b) for part, a, b, _ in self._overlaps(s0, s1)]
        return np.concatenate(blocks, axis=1) if blocks else np.empty((v1 - v0, 0, 2), np.int8)

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Do the same with codes."""
        out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
        for part, a, b, at in self._overlaps(s0, s1):
            copy_codes(part.read_packed(v0, v1, a, b), 0, b - a, out, at - s0)
        return out

    def _overlaps(self, s0: int, s1: int) -> Iterator[tuple[Source, int, int, int]]:
        """Yield (part, first and last sample of it, place among all samples)."""
        start = 0
        for part, end in zip(self.parts, self.ends, strict=True):
            low, high = max(s0, start), min(s1, end)
            if low < high:
                yield part, low - start, high - start, low
            start = end


class _Sliceable:
    """The face of a source that dask slices."""

    dtype = np.dtype(np.int8)
    ndim = 3

    def __init__(self, source: Source) -> None:
        self.source = source
        self.shape = source.shape

    def __getitem__(self, key: Any) -> Calls:
        v, s, p = (slice(*item.indices(n)) for item, n in zip(key, self.shape, strict=True))
        return self.source.read(v.start, v.stop, s.start, s.stop)[:, :, p]


_sources: WeakValueDictionary[str, _Sliceable] = WeakValueDictionary()


def as_dask(source: Source, chunks: tuple[int, int]) -> da.Array:
    """Show a source as a lazy dask array, int8 (variants, samples, 2), in the given chunks."""
    face = _Sliceable(source)
    name = f"call_genotype-{uuid.uuid4().hex}"
    _sources[name] = face
    sizes = tuple(max(1, min(c, n)) for c, n in zip(chunks, source.shape[:2], strict=True))
    meta = np.empty((0, 0, 0), np.int8)
    return da.from_array(face, (*sizes, source.shape[2]), name=name, asarray=False, fancy=False, meta=meta)


def source_of(ds: xr.Dataset) -> Source:
    """Return the source of ``call_genotype``: its own reader where it has one, else the array.

    Raises
    ------
    DataError
        If the dataset has no diploid calls.
    """
    validate(ds, "call_genotype")
    data = ds["call_genotype"].data
    if data.shape[2] != 2:
        raise DataError(
            f"call_genotype has ploidy {data.shape[2]}; genoweave works on diploid calls. "
            "Keep the diploid (autosomal) part of the data"
        )
    face = _sources.get(getattr(data, "name", ""))
    return ArraySource(data) if face is None else face.source


def read_packed(source: Source, v0: int, v1: int, s0: int = 0, s1: int | None = None) -> Packed:
    """Return the codes of a block, uint8 (v1-v0, ceil((s1-s0) / 4)); see `Source.read_packed`."""
    return source.read_packed(v0, v1, s0, source.shape[1] if s1 is None else s1)


def read_rows(source: Source, variants: NDArray[np.int64], s0: int, s1: int) -> Packed:
    """Return the codes of some variants, ascending; a source that can read them apart has `read_rows`."""
    if len(variants) == 0:
        return np.empty((0, width(s1 - s0)), np.uint8)
    first, last = int(variants[0]), int(variants[-1]) + 1
    if last - first == len(variants):
        return source.read_packed(first, last, s0, s1)
    if hasattr(source, "read_rows"):
        return np.asarray(source.read_rows(variants, s0, s1))
    return source.read_packed(first, last, s0, s1)[variants - first]


def known_counts(
    source: Source, v0: int, v1: int, s0: int, s1: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the counts of a block if its source holds them, else None.

    Calls with 0, 1, 2 alternate alleles, int64 (v1-v0, 3), and variants without a call, int64 (s1-s0,).
    """
    return source.counts(v0, v1, s0, s1) if hasattr(source, "counts") else None


def read_dosage(source: Source, v0: int, v1: int, s0: int = 0, s1: int | None = None) -> Calls:
    """Return the counts of the alternate allele, int8 (v1-v0, s1-s0), -1 where an allele is missing.

    Raises
    ------
    DataError
        If an allele code is above 1: the variant is not biallelic.
    """
    s1 = source.shape[1] if s1 is None else s1
    return unpack_dosages(source.read_packed(v0, v1, s0, s1), s1 - s0)


def blocks(source: Source, v0: int, v1: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut variants v0..v1 into blocks (v0, v1, s0, s1) that are cheap to read and small, one by one."""
    edges = source.sample_edges
    for s0, s1 in pairwise(edges):
        step = max(1, _BLOCK_BYTES // max(1, width(s1 - s0)) // source.row_block) * source.row_block
        first = v0 // step * step
        for a, b in ranges(v1 - first, step):
            yield max(v0, first + a), first + b, s0, s1


def calls_of(dosage: Calls) -> Calls:
    """Return unphased calls int8 (v, s, 2) of a dosage int8 (v, s): 0/0, 0/1, 1/1 or missing."""
    packed = np.empty((dosage.shape[0], width(dosage.shape[1])), np.uint8)
    pack_dosages(dosage, packed)
    return unpack_calls(packed, dosage.shape[1])


def source_rows(ds: xr.Dataset, dim: str = "variants") -> NDArray[np.int64]:
    """Return the rows of the source that the variants (or samples) come from.

    They address random draws, so that a filter upstream that keeps a variant keeps its draws.
    """
    name = f"{dim[:-1]}_source_row"
    if name in ds:
        return np.asarray(ds[name].values, np.int64)
    return np.arange(ds.sizes[dim], dtype=np.int64)


def select(
    ds: xr.Dataset,
    variants: NDArray[np.int64] | None = None,
    samples: NDArray[np.int64] | None = None,
) -> xr.Dataset:
    """Keep the rows `variants` and columns `samples` (ascending), lazily."""
    n_variants, n_samples = ds.sizes["variants"], ds.sizes["samples"]
    variants = np.arange(n_variants) if variants is None else np.asarray(variants)
    samples = np.arange(n_samples) if samples is None else np.asarray(samples)
    if len(variants) == n_variants and len(samples) == n_samples:
        return ds.copy()
    chosen = SelectedSource(source_of(ds), variants, samples)
    small = ds.drop_vars("call_genotype").isel(
        {"variants": variants, "samples": samples}, missing_dims="ignore"
    )
    chunks = store_chunks(ds)
    small["call_genotype"] = (("variants", "samples", "ploidy"), as_dask(chosen, chunks))
    return small


def store_chunks(ds: xr.Dataset) -> tuple[int, int]:
    """Return the chunk shape (variants, samples) of ``call_genotype``."""
    data = ds["call_genotype"].data
    if hasattr(data, "chunksize"):
        return data.chunksize[0], data.chunksize[1]
    return data.shape[0], data.shape[1]
