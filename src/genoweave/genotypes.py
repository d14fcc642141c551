"""How blocks of genotypes are read: one small interface over stores, files, arrays and computed cohorts.

A `Source` answers ``read(v0, v1, s0, s1)`` with int8 calls. `as_dask` shows it to users as a lazy
dask array; `source_of` finds it again behind a dataset, so that a task reads its block without a dask
graph (a graph over every chunk costs 20 times the tile's own work, and pickles with each task).
"""

from __future__ import annotations

import uuid
from typing import Any, Protocol
from weakref import WeakValueDictionary

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.kernels.counts import dosages, unphased_calls
from genoweave.schema import validate

Calls = NDArray[np.int8]

# Reading and taking run over pieces of about this many calls, so that a block's scratch is small.
_PIECE_CALLS = 32 * 2**20


class Source(Protocol):
    """Diploid calls, int8 (variants, samples, 2), read by ranges; picklable."""

    shape: tuple[int, int, int]

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Return the calls of variants v0..v1 and samples s0..s1, shape (v1-v0, s1-s0, 2)."""


class ArraySource:
    """Calls behind anything that is sliced like a numpy array: numpy, zarr, dask."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape: tuple[int, int, int] = tuple(array.shape)

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Slice the array; a dask slice is computed in this thread."""
        block = self.array[v0:v1, s0:s1]
        if hasattr(block, "compute"):
            block = block.compute(scheduler="synchronous")
        return np.ascontiguousarray(block, dtype=np.int8)


class SelectedSource:
    """Some variants and samples of another source, both in ascending order."""

    def __init__(self, base: Source, variants: NDArray[np.int64], samples: NDArray[np.int64]) -> None:
        self.base = base
        self.variants = np.ascontiguousarray(variants, np.int64)
        self.samples = np.ascontiguousarray(samples, np.int64)
        self.shape = (len(self.variants), len(self.samples), 2)

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Read the rows that are wanted, piece by piece, and take the samples' columns."""
        rows, columns = self.variants[v0:v1], self.samples[s0:s1]
        out = np.empty((len(rows), len(columns), 2), np.int8)
        if out.size == 0:
            return out
        first, last = int(columns[0]), int(columns[-1]) + 1
        step = max(1, _PIECE_CALLS // (last - first))
        start = 0
        while start < len(rows):
            low = int(rows[start])
            stop = int(np.searchsorted(rows, low + step))
            piece = self.base.read(low, int(rows[stop - 1]) + 1, first, last)
            out[start:stop] = piece[np.ix_(rows[start:stop] - low, columns - first)]
            start = stop
        return out


class JoinedSource:
    """The samples of several sources over the same variants, side by side."""

    def __init__(self, parts: list[Source]) -> None:
        self.parts = parts
        self.ends = np.cumsum([part.shape[1] for part in parts])
        self.shape = (parts[0].shape[0], int(self.ends[-1]), 2)

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Read the overlap with each part."""
        blocks, start = [], 0
        for part, end in zip(self.parts, self.ends.tolist(), strict=True):
            low, high = max(s0, start), min(s1, end)
            if low < high:
                blocks.append(part.read(v0, v1, low - start, high - start))
            start = end
        return np.concatenate(blocks, axis=1) if blocks else np.empty((v1 - v0, 0, 2), np.int8)


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
    return da.from_array(face, (*sizes, 2), name=name, asarray=False, fancy=False, meta=meta)


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


def read_dosage(source: Source, v0: int, v1: int, s0: int = 0, s1: int | None = None) -> Calls:
    """Return the counts of the alternate allele, int8 (v1-v0, s1-s0), -1 where an allele is missing.

    Memory: the result and one piece of calls.

    Raises
    ------
    DataError
        If an allele code is above 1: the variant is not biallelic.
    """
    s1 = source.shape[1] if s1 is None else s1
    out = np.empty((v1 - v0, s1 - s0), np.int8)
    for a, b in ranges(s1 - s0, max(1, _PIECE_CALLS // max(1, v1 - v0))):
        largest = dosages(source.read(v0, v1, s0 + a, s0 + b), out[:, a:b])
        if largest > 1:
            raise DataError(
                f"among variants {v0} to {v1 - 1} an allele code {largest} was found; genoweave works on "
                "biallelic variants. Split multi-allelic sites (bcftools norm -m -) before import"
            )
    return out


def calls_of(dosage: Calls) -> Calls:
    """Return unphased calls int8 (v, s, 2) of a dosage int8 (v, s): 0/0, 0/1, 1/1 or missing."""
    calls = np.empty((*dosage.shape, 2), np.int8)
    unphased_calls(dosage, calls)
    return calls


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
