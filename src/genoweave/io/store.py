"""Datasets in Zarr: open lazily, write in batches, commit whole.

A store is written as ``NAME.partial`` and renamed when it is complete. Genotypes go in batches of
one chunk of variants; a killed write goes on after its last whole batch.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc, VLenUTF8

from genoweave.chunks import ranges
from genoweave.errors import DataError, StoreError
from genoweave.execution import run_in_order
from genoweave.genotypes import ArraySource, Source, as_dask, source_of
from genoweave.io.calls import ZarrCalls, packed_encoding, read_filled, standard_encoding, write_block
from genoweave.io.files import disk_errors, remove, write_atomic
from genoweave.schema import VARIABLES, describe

VCF_ZARR_VERSION = "0.4"
# The layout of a store that others read: VCF Zarr's usual chunks, whatever a run worked in.
STANDARD_CHUNKS = (1000, 10_000)
# Arrays with a value per call; they are written in batches.
_CALLS = ("call_genotype", "call_genotype_phased")


def _encoding(dtype: np.dtype[Any], name: str, source: Source | None) -> dict[str, Any]:
    """Return filters and compressor; `source` is that of the calls to be packed."""
    if source is not None:
        return packed_encoding(source)
    if name in _CALLS:
        return standard_encoding()
    shuffle = Blosc.NOSHUFFLE if dtype.kind == "O" else Blosc.SHUFFLE
    return {"filters": None, "compressor": Blosc("zstd", clevel=3, shuffle=shuffle)}


def write(
    ds: xr.Dataset, path: Path, chunks: tuple[int, int], token: str = "", *, standard: bool = False
) -> None:
    """Write a dataset to a new Zarr store at `path`.

    Parameters
    ----------
    ds
        Any dataset; ``call_genotype`` (variants, samples, ploidy) is written in batches, read through its
        source; every other variable is written whole.
    path
        The store's folder. An earlier one is replaced only when the new one is complete.
    chunks
        (variants, samples) per chunk; every variable with these dimensions uses them.
    token
        Identifies the work. A partial store with the same token is continued; without one, never.
    standard
        Write ``call_genotype`` with VCF Zarr's usual codec, for readers without genoweave, instead of packed.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written.

    Notes
    -----
    Memory: per task at most 256 MiB of calls (of codes, where they are packed and unphased), or one chunk
    where that is larger.
    """
    partial = path.with_name(path.name + ".partial")
    with disk_errors(path):
        done = _batches_done(partial, token)
        if done is None:
            remove(partial)
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(ds, partial, chunks, standard=standard)
            _note_batches(partial, token, 0)
            done = 0
        _write_calls(ds, partial, chunks, token, done)
        _sweep(partial)
        _journal(partial).unlink()
        zarr.consolidate_metadata(str(partial))
        remove(path)
        os.replace(partial, path)


def _sweep(partial: Path) -> None:
    """Remove what zarr leaves of a chunk when its process is killed; readers would count it as a chunk."""
    for name in _CALLS:
        for scrap in (partial / name).glob("*.partial"):
            scrap.unlink()


def _journal(partial: Path) -> Path:
    return partial / ".batches.json"


def _batches_done(partial: Path, token: str) -> int | None:
    try:
        state = json.loads(_journal(partial).read_text())
    except (OSError, ValueError):
        return None
    return int(state["batches"]) if token and state["token"] == token else None


def _note_batches(partial: Path, token: str, batches: int) -> None:
    write_atomic(_journal(partial), json.dumps({"token": token, "batches": batches}))


def _create(ds: xr.Dataset, partial: Path, chunks: tuple[int, int], *, standard: bool) -> None:
    """Create all arrays and write all but the calls."""
    group = zarr.open_group(str(partial), mode="w")
    group.attrs.update({"vcf_zarr_version": VCF_ZARR_VERSION} | ds.attrs)
    group.attrs["source"] = f"genoweave-{version('genoweave')}"
    for name, variable in sorted(describe(ds).variables.items(), key=lambda item: str(item[0])):
        packed = _reader(ds, "call_genotype") if name == "call_genotype" and not standard else None
        _create_array(group, str(name), variable, chunks, packed)


def _create_array(
    group: Any, name: str, variable: xr.Variable, chunks: tuple[int, int], packed: Source | None
) -> None:
    sizes = {"variants": chunks[0], "samples": chunks[1]}
    shape = tuple(
        max(1, min(sizes.get(str(dim), length), length))
        for dim, length in zip(variable.dims, variable.shape, strict=True)
    )
    is_text = variable.dtype.kind in "OUS"
    dtype = np.dtype(object) if is_text else np.dtype(np.int8) if packed is not None else variable.dtype
    array = group.create_dataset(
        name,
        shape=variable.shape,
        chunks=shape,
        dtype=dtype,
        object_codec=VLenUTF8() if is_text else None,
        fill_value=None,
        **_encoding(dtype, name, packed),
    )
    array.attrs["_ARRAY_DIMENSIONS"] = list(variable.dims)
    array.attrs.update(variable.attrs)
    if name not in _CALLS:
        array[...] = np.asarray(variable.data, dtype=dtype)


def _write_calls(ds: xr.Dataset, partial: Path, chunks: tuple[int, int], token: str, done: int) -> None:
    """Write the arrays with a value per call, one chunk row of variants after another."""
    readers = {name: _reader(ds, name) for name in _CALLS if name in ds}
    if not readers:
        return
    batches = list(ranges(ds.sizes["variants"], chunks[0]))
    finished = run_in_order(
        _write_batch,
        batches[done:],
        shared=(readers, str(partial)),
        label="write",
        done=done,
        total=len(batches),
    )
    for count, _ in enumerate(finished, start=done + 1):
        _note_batches(partial, token, count)


def _reader(ds: xr.Dataset, name: str) -> Source:
    is_diploid = name == "call_genotype" and ds[name].shape[2:] == (2,)
    return source_of(ds) if is_diploid else ArraySource(ds[name].data)


def _write_batch(readers: dict[str, Source], store: str, v0: int, v1: int) -> None:
    """Task: write one chunk row of calls."""
    group = zarr.open_group(store, mode="r+")
    for name, source in readers.items():
        write_block(group[name], source, v0, v1)


def open_store(path: str | Path) -> xr.Dataset:
    """Open a Zarr store (folder, .zip, or URL) lazily.

    Arrays along one dimension, and allele names, are read at once; all else stays on disk.

    Raises
    ------
    StoreError
        If there is no such store.
    DataError
        If it has no genotypes, or they are not (variants, samples, ploidy).
    """
    group = _open_group(str(path))
    is_own = str(group.attrs.get("source", "")).startswith("genoweave")
    try:
        arrays = [(name, array) for name, array in sorted(group.arrays()) if is_own or name in VARIABLES]
        variables = {name: _variable(name, array, str(path), is_own=is_own) for name, array in arrays}
        return xr.Dataset({k: v for k, v in variables.items() if v is not None}, attrs=dict(group.attrs))
    except (DataError, ValueError) as error:  # ValueError: arrays of conflicting sizes
        raise DataError(f"{path}: {error}") from None


def _open_group(path: str) -> Any:
    if "://" not in path and not Path(path).exists():
        raise StoreError(f"there is no store {path}; check the path")
    try:
        store = zarr.ZipStore(path, mode="r") if path.endswith(".zip") else path
        return zarr.open_group(store, mode="r")
    except Exception as error:  # zarr, zipfile and fsspec each raise their own kinds
        raise StoreError(
            f"{path} is not a Zarr store that can be read ({type(error).__name__}: {error}); "
            "wanted a VCF Zarr folder, .zip or URL in Zarr format 2"
        ) from None


def _variable(name: str, array: Any, path: str, *, is_own: bool) -> xr.Variable | None:
    dims = array.attrs.get("_ARRAY_DIMENSIONS")
    if dims is None:
        return None
    attrs = {k: v for k, v in array.attrs.items() if k != "_ARRAY_DIMENSIONS"}
    lost = _lost_chunks(array)
    if lost and (is_own or array.dtype == object):  # zarr would hand out whatever stands in memory
        raise DataError(
            f"array {name} lacks {lost} of {array.nchunks} chunks: the store is incomplete; copy or "
            "convert it again"
        )
    if name == "call_genotype" and array.ndim == 3:
        return xr.Variable(
            dims, as_dask(ZarrCalls(array, path, lacks_chunks=bool(lost)), array.chunks[:2]), attrs
        )
    try:
        if array.ndim < 2 or name == "variant_allele":
            data: Any = read_filled(array, (slice(None),) * array.ndim) if lost else array[...]
        else:
            source = _ZeroFilled(array) if lost else array
            data = da.from_array(source, chunks=array.chunks, inline_array=True, asarray=False)
    except (ValueError, RuntimeError) as error:
        raise DataError(
            f"array {name} cannot be read ({error}): the store is damaged; convert it again"
        ) from None
    return xr.Variable(dims, data, attrs)


def _lost_chunks(array: Any) -> int:
    return max(0, int(array.nchunks - array.nchunks_initialized)) if array.fill_value is None else 0


class _ZeroFilled:
    """The face of an array whose absent chunks are 0, for dask."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, selection: tuple[slice, ...]) -> Any:
        return read_filled(self.array, selection)


def require_calls(ds: xr.Dataset, path: str | Path) -> xr.Dataset:
    """Check that an opened store is a cohort: diploid calls with sample and variant names.

    Raises
    ------
    DataError
        Naming what is missing.
    """
    if "call_genotype" not in ds:
        raise DataError(f"{path} has no genotypes (call_genotype); export it with its GT field")
    for name in ("sample_id", "variant_contig", "variant_position", "variant_allele", "contig_id"):
        if name not in ds:
            raise DataError(f"{path} lacks {name}, which VCF Zarr requires; convert it again")
    if ds["call_genotype"].ndim != 3 or ds.sizes.get("ploidy") != 2:
        raise DataError(
            f"{path}: call_genotype has dimensions {dict(ds['call_genotype'].sizes)}; genoweave works on "
            "diploid calls (ploidy 2). Keep the diploid (autosomal) part of the data"
        )
    if ds["variant_contig"].values.max(initial=0) >= ds.sizes["contigs"] or ds.sizes.get("alleles", 0) < 2:
        raise DataError(
            f"{path}: variant_contig points beyond contig_id, or variant_allele has no alternate allele; "
            "convert it again"
        )
    if 0 in ds["call_genotype"].shape:
        raise DataError(
            f"{path} holds {ds.sizes['variants']} variants and {ds.sizes['samples']} samples; "
            "at least one of each is needed"
        )
    return ds
