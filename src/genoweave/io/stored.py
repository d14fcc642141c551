"""Datasets in Zarr, opened lazily: everything is checked before it is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
import zarr

from genoweave.errors import DataError, StoreError
from genoweave.execution import machine_memory
from genoweave.genotypes import as_dask
from genoweave.io.calls import StoredMatrix, ZarrCalls, read_filled
from genoweave.io.checked_store import opened
from genoweave.schema import VARIABLES

# What a cohort must have beside its calls.
REQUIRED = ("sample_id", "variant_contig", "variant_position", "variant_allele", "contig_id")
_KINDS = {"i": "whole numbers", "f": "numbers", "b": "true and false", "O": "text"}
_LARGEST_POSITION = 2**31 - 1
# Of an array that is read at once.
_MOST_CHUNKS = 2**20


def open_store(path: str | Path) -> xr.Dataset:
    """Open a Zarr store (folder, .zip, or URL) lazily.

    Arrays along one dimension, and allele names, are read at once; all else stays on disk. Metadata are
    checked before anything is decoded, see `checked_store`. Of a store that is not genoweave's, arrays that
    are not in the data model, or not as it has them, are left out.

    Raises
    ------
    StoreError
        If there is no such store.
    DataError
        If an array is damaged, its sizes contradict those of others or cannot be held in memory, or it is
        stored with a codec that is not opened.
    """
    group = _open_group(str(path))
    try:
        attrs = _attributes(group)
        is_own = str(attrs.get("source", "")).startswith("genoweave")
        names = sorted(name for name in group.array_keys() if is_own or name in VARIABLES)
        arrays = {name: array for name in names if "_ARRAY_DIMENSIONS" in (array := group[name]).attrs}
        dims = {name: _dims(name, array) for name, array in arrays.items()}
        dims = {
            name: found
            for name, found in dims.items()
            if _is_kept(name, found, arrays[name].dtype, is_own=is_own)
        }
        _check_sizes(dims, arrays)
        return xr.Dataset(
            {name: _variable(name, arrays[name], dims[name], str(path), is_own=is_own) for name in dims},
            attrs=attrs,
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except MemoryError:
        raise DataError(f"{path} promises more than the memory holds: the store is damaged") from None
    except Exception as error:  # of zarr, its codecs and xarray, each of their own kinds
        raise DataError(f"{path}: {_reason(error)}: the store is damaged; convert it again") from None


def _open_group(path: str) -> Any:
    if "://" not in path and not Path(path).exists():
        raise StoreError(f"there is no store {path}; check the path")
    if "://" not in path and (Path(path) / "zarr.json").exists():
        raise StoreError(
            f"{path} is a Zarr store of format 3, and genoweave reads format 2; write it anew in that "
            "(vcf2zarr --zarr-format 2)"
        )
    try:
        return zarr.open_group(opened(path), mode="r")
    except Exception as error:  # zarr, zipfile and fsspec each raise their own kinds
        raise StoreError(
            f"{path} is not a Zarr store that can be read ({_reason(error)}); "
            "wanted a VCF Zarr folder, .zip or URL in Zarr format 2"
        ) from None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _attributes(group: Any) -> dict[str, Any]:
    """Return the store's attributes, counts of the import only if they are counts.

    The fingerprint of an import's source stays with that store: what is made of it is not the import.
    """
    attrs = dict(group.attrs)
    attrs.pop("source_fingerprint", None)
    counts = attrs.get("import_counts", {})
    if not isinstance(counts, dict) or not all(type(count) is int for count in counts.values()):
        del attrs["import_counts"]
    return attrs


def _dims(name: str, array: Any) -> tuple[str, ...]:
    dims = array.attrs["_ARRAY_DIMENSIONS"]
    is_list = isinstance(dims, list) and all(isinstance(dim, str) for dim in dims)
    if not is_list or len(set(dims)) != array.ndim or len(dims) != array.ndim:
        raise DataError(
            f"array {name} names its {array.ndim} dimensions {str(dims)[:80]}: the store is damaged; convert "
            "it again"
        )
    return tuple(dims)


def _is_kept(name: str, dims: tuple[str, ...], dtype: np.dtype[Any], *, is_own: bool) -> bool:
    """Tell whether an array is as the data model has it; those that a cohort must have are refused later.

    Raises
    ------
    DataError
        If one of genoweave's own is not.
    """
    if name not in VARIABLES or name in ("call_genotype", *REQUIRED):
        return True
    wanted = VARIABLES[name]
    is_kept = dims == wanted.dims and _is_of_kind(dtype, wanted.kind)
    if is_own and not is_kept:
        raise _misfit(name, dims, dtype)
    return is_kept


def _misfit(name: str, dims: tuple[Any, ...], dtype: np.dtype[Any]) -> DataError:
    wanted = VARIABLES[name]
    return DataError(
        f"{name} is of type {dtype} along {', '.join(map(str, dims))[:80]}; wanted {_KINDS[wanted.kind]} "
        f"along {', '.join(wanted.dims)}. Convert it again"
    )


def _is_of_kind(dtype: np.dtype[Any], kind: str) -> bool:
    return dtype.kind in {"i": "iu", "O": "OSU"}.get(kind, kind)


def _check_sizes(dims: dict[str, tuple[str, ...]], arrays: dict[str, Any]) -> None:
    """Refuse arrays that contradict each other, or that are read at once and are too large, unread."""
    sizes: dict[str, int] = {}
    total = 0
    for name, array in arrays.items():
        if name not in dims:
            continue
        for dim, size in zip(dims[name], array.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise DataError(
                    f"array {name} has {size} {dim}, another array {sizes[dim]}: the store is damaged; "
                    "convert it again"
                )
        if _is_read_at_once(name, array):
            total += array.nbytes
            if array.nchunks > _MOST_CHUNKS:
                raise DataError(f"array {name} is cut into {array.nchunks} chunks; rechunk it")
    if total > machine_memory():
        raise DataError(
            f"its tables of variants and samples take {total / 2**30:.0f} GiB, more than the memory holds: "
            "the store is damaged, or needs a larger machine"
        )


def _is_read_at_once(name: str, array: Any) -> bool:
    return name != "call_genotype" and (array.ndim < 2 or name == "variant_allele")


def _variable(name: str, array: Any, dims: tuple[str, ...], path: str, *, is_own: bool) -> xr.Variable:
    attrs = {k: v for k, v in array.attrs.items() if k != "_ARRAY_DIMENSIONS"}
    lost = _lost_chunks(array)
    if lost and (is_own or array.dtype == object):  # zarr would hand out whatever stands in memory
        raise DataError(
            f"array {name} lacks {lost} of {array.nchunks} chunks: the store is incomplete; copy or "
            "convert it again"
        )
    if not lost and not _has_fill(array):
        array.store.require_chunks(name)
    if name == "call_genotype" and array.ndim == 3:
        return xr.Variable(
            dims, as_dask(ZarrCalls(array, path, lacks_chunks=bool(lost)), array.chunks[:2]), attrs
        )
    try:
        if _is_read_at_once(name, array):
            data: Any = _text(read_filled(array, (slice(None),) * array.ndim) if lost else array[...])
        else:
            source = StoredMatrix(array, name, path, lacks_chunks=bool(lost))
            data = da.from_array(source, chunks=array.chunks, inline_array=True, asarray=False)
    except (ValueError, RuntimeError) as error:
        raise DataError(
            f"array {name} cannot be read ({error}): the store is damaged; convert it again"
        ) from None
    return xr.Variable(dims, data, attrs)


def _text(values: Any) -> Any:
    """Return text of fixed width as texts; they must be such as UTF-8 can say."""
    if np.asarray(values).dtype.kind not in "SU":
        return values
    texts = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
    out = texts.astype(object)
    "".join(out.ravel().tolist()).encode()
    return out


def _has_fill(array: Any) -> bool:
    return isinstance(array.fill_value, str) if array.dtype == object else array.fill_value is not None


def _lost_chunks(array: Any) -> int:
    """Return how many chunks are not there, of an array that does not say what stands in their place."""
    return 0 if _has_fill(array) else max(0, int(array.nchunks - array.nchunks_initialized))


def require_calls(ds: xr.Dataset, path: str | Path) -> xr.Dataset:
    """Check that an opened store is a cohort: diploid calls with sample and variant names.

    Raises
    ------
    DataError
        Naming what is missing.
    """
    if "call_genotype" not in ds:
        raise DataError(f"{path} has no genotypes (call_genotype); export it with its GT field")
    for name in REQUIRED:
        if name not in ds:
            raise DataError(f"{path} lacks {name}, which VCF Zarr requires; convert it again")
    if ds["call_genotype"].ndim != 3 or ds.sizes.get("ploidy") != 2:
        raise DataError(
            f"{path}: call_genotype has dimensions {dict(ds['call_genotype'].sizes)}; genoweave works on "
            "diploid calls (ploidy 2). Keep the diploid (autosomal) part of the data"
        )
    if 0 in ds["call_genotype"].shape:
        raise DataError(
            f"{path} holds {ds.sizes['variants']} variants and {ds.sizes['samples']} samples; "
            "at least one of each is needed"
        )
    for name in ("call_genotype", *REQUIRED):
        found, wanted = ds[name], VARIABLES[name]
        if found.dims != wanted.dims or not _is_of_kind(found.dtype, wanted.kind):
            raise DataError(f"{path}: {_misfit(name, found.dims, found.dtype)}")
    contig, position = ds["variant_contig"].values, ds["variant_position"].values
    if position.min(initial=0) < 0 or position.max(initial=0) > _LARGEST_POSITION:
        raise DataError(
            f"{path}: a position is from 0 to {_LARGEST_POSITION}, found {position.min()} to "
            f"{position.max()}; convert it again"
        )
    if (
        contig.min(initial=0) < 0
        or contig.max(initial=0) >= ds.sizes["contigs"]
        or ds.sizes.get("alleles", 0) < 2
    ):
        raise DataError(
            f"{path}: variant_contig points beyond contig_id, or variant_allele has no alternate allele; "
            "convert it again"
        )
    return ds
