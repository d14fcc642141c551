"""Datasets written to Zarr: in batches, committed whole.

A store is written as ``NAME.partial`` and renamed when it is complete. Genotypes go in batches of
one chunk of variants; a killed write goes on after its last whole batch.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from numcodecs import Blosc, VLenUTF8

from genoweave.chunks import ranges
from genoweave.execution import run_in_order
from genoweave.genotypes import ArraySource, Source, source_of
from genoweave.io.calls import packed_encoding, standard_encoding, write_block
from genoweave.io.files import disk_errors, remove, write_atomic
from genoweave.io.stored import open_store, require_calls
from genoweave.schema import describe

__all__ = ["STANDARD_CHUNKS", "open_store", "require_calls", "write"]

VCF_ZARR_VERSION = "0.4"
# The layout of a store that others read: VCF Zarr's usual chunks, whatever a run worked in.
STANDARD_CHUNKS = (1000, 10_000)
# Arrays with a value per call; they are written in batches.
_CALLS = ("call_genotype", "call_genotype_phased", "call_dosage")


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
    if name == "call_dosage":
        return _Numbers(ds[name].data)
    is_diploid = name == "call_genotype" and ds[name].shape[2:] == (2,)
    return source_of(ds) if is_diploid else ArraySource(ds[name].data)


class _Numbers(ArraySource):
    """An array of numbers, which are not made int8."""

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Any:
        """Slice the array; a dask slice is computed in this thread."""
        block = self.array[v0:v1, s0:s1]
        return np.asarray(block.compute(scheduler="synchronous") if hasattr(block, "compute") else block)


def _write_batch(readers: dict[str, Source], store: str, v0: int, v1: int) -> None:
    """Task: write one chunk row of calls."""
    group = zarr.open_group(store, mode="r+")
    for name, source in readers.items():
        write_block(group[name], source, v0, v1)
