"""A cohort with further variants at places among its own, read lazily."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.genotypes import Calls, Packed, Source, as_dask, source_of, store_chunks
from genoweave.kernels.packed import PAD_BYTE, copy_codes, unpack_calls, width

# Variables that a sent cohort keeps. Others would show what was put in: statistics and truths of variants;
# missing calls, components and scores of samples, which are sums over the own variants only.
_KEPT = ("variant_contig", "variant_position", "variant_id", "variant_allele", "variant_genetic_position")
_KEPT_OF_SAMPLES = frozenset(
    f"sample_{name}"
    for name in (
        "id", "family_id", "paternal_id", "maternal_id", "sex", "ancestry", "phenotype", "case", "trait",
        "covariate",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Variants in memory.

    Attributes
    ----------
    left
        int64 (rows,), ascending: the cohort's variant after which each comes.
    packed
        uint8 (rows, bytes), codes; see `kernels.packed`.
    on_second
        uint8 (rows, bytes), bits: where a heterozygote's alternate allele is on the second haplotype. None
        of an unphased cohort.
    contig, position, id, allele, genetic_position
        Of each, as the cohort's variables; the last NaN where it is not known.
    """

    left: NDArray[np.int64]
    packed: NDArray[np.uint8]
    on_second: NDArray[np.uint8] | None
    contig: NDArray[np.integer]
    position: NDArray[np.integer]
    id: NDArray[Any]
    allele: NDArray[Any]
    genetic_position: NDArray[np.float64]


class InterleavedSource:
    """The variants of a source and rows in memory, in the order of a sent cohort."""

    def __init__(self, base: Source, rows: Rows) -> None:
        self.base = base
        self.packed, self.on_second = rows.packed, rows.on_second
        self.at = places_of(rows.left)
        self.shape = (base.shape[0] + len(self.at), base.shape[1], 2)
        self.is_unphased = base.is_unphased
        self.row_block = base.row_block
        self.sample_edges = base.sample_edges

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Read a run of the base's calls, and put the further rows' between them."""
        (a, b), own, others, from_base = self._split(v0, v1)
        out = np.empty((v1 - v0, s1 - s0, 2), np.int8)
        out[from_base] = self.base.read(a, b, s0, s1)
        for k, row in zip(own, others, strict=True):
            out[row] = self._calls(k, s0, s1)
        return out

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Do the same with codes."""
        (a, b), own, others, from_base = self._split(v0, v1)
        codes = self.base.read_packed(a, b, s0, s1)
        if not len(own):
            return codes
        out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
        out[from_base] = codes
        mine = np.full((len(own), out.shape[1]), PAD_BYTE, np.uint8)
        copy_codes(np.ascontiguousarray(self.packed[own]), s0, s1 - s0, mine, 0)
        out[others] = mine
        return out

    def _split(
        self, v0: int, v1: int
    ) -> tuple[tuple[int, int], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return the base's range, the further rows, their places in the block, and those of the base."""
        first, last = np.searchsorted(self.at, [v0, v1]).tolist()
        others = self.at[first:last] - v0
        from_base = np.ones(v1 - v0, bool)
        from_base[others] = False
        return (v0 - first, v1 - last), np.arange(first, last), others, from_base

    def _calls(self, k: int, s0: int, s1: int) -> Calls:
        calls = unpack_calls(self.packed[k : k + 1], self.shape[1])[0, s0:s1]
        if self.on_second is None:
            return calls
        second = np.unpackbits(self.on_second[k], bitorder="little")[s0:s1].astype(bool)
        het = calls.sum(axis=1) == 1
        calls[het, 0], calls[het, 1] = ~second[het], second[het]
        return calls


def places_of(left: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows, in the sent cohort, of further variants behind rows `left` of the cohort."""
    return left + 1 + np.arange(len(left))


def interleave(ds: xr.Dataset, rows: Rows) -> xr.Dataset:
    """Return a lazy cohort with further variants; ids, sex, families, groups and traits of samples stay.

    Statistics of variants and of samples go, and attributes: counts in them would tell what was put in.
    """
    at = places_of(rows.left)
    n = ds.sizes["variants"] + len(at)
    own = np.ones(n, bool)
    own[at] = False
    gone = [
        str(name)
        for name, v in ds.variables.items()
        if "variants" in v.dims or ("samples" in v.dims and name not in _KEPT_OF_SAMPLES)
    ]
    out = ds.drop_vars(gone).drop_attrs(deep=False)
    out["call_genotype"] = (
        ("variants", "samples", "ploidy"),
        as_dask(InterleavedSource(source_of(ds), rows), store_chunks(ds)),
    )
    for name in _KEPT:
        if name in ds:
            out[name] = _mixed(ds[name], getattr(rows, name.removeprefix("variant_")), own)
    if "call_genotype_phased" in ds:
        out["call_genotype_phased"] = (("variants", "samples"), _phase(ds, rows, at))
    return out


def _mixed(variable: xr.DataArray, more: NDArray[Any], own: NDArray[np.bool_]) -> xr.Variable:
    values = np.empty((len(own), *variable.shape[1:]), variable.dtype)
    values[own] = variable.values
    if more.ndim == 2 and more.shape[1] < values.shape[1]:
        more = np.pad(more, ((0, 0), (0, values.shape[1] - more.shape[1])), constant_values="")
    values[~own] = more
    return xr.Variable(variable.dims, values, variable.attrs)


class _PhasedFace:
    """The face of whether calls are phased, that dask slices: a further variant is as the one before it."""

    ndim = 2
    dtype = np.dtype(bool)

    def __init__(self, base: Any, at: NDArray[np.int64]) -> None:
        self.base = base
        self.at = at
        self.shape = (base.shape[0] + len(at), base.shape[1])

    def __getitem__(self, key: Any) -> NDArray[np.bool_]:
        v, s = (slice(*item.indices(n)) for item, n in zip(key, self.shape, strict=True))
        rows = np.arange(v.start, v.stop)
        rows = rows - np.searchsorted(self.at, rows, side="right")
        block = self.base[rows.min() : rows.max() + 1, s] if len(rows) else self.base[:0, s]
        if hasattr(block, "compute"):
            block = block.compute(scheduler="synchronous")
        return np.asarray(block, bool)[rows - rows.min() if len(rows) else rows]


def _phase(ds: xr.Dataset, rows: Rows, at: NDArray[np.int64]) -> da.Array:
    face = _PhasedFace(ds["call_genotype_phased"].data, at)
    chunks = tuple(min(c, n) for c, n in zip(store_chunks(ds), face.shape, strict=True))
    name = f"call_genotype_phased-{uuid.uuid4().hex}"
    return da.from_array(face, chunks, name=name, asarray=False, fancy=False, meta=np.empty((0, 0), bool))
