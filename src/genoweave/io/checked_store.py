"""Zarr stores of unknown origin: what they say is checked before zarr acts on it.

The metadata of an array name the codecs that decode it. One of them, pickle, runs whatever program is in a
chunk; and sizes that they state are allocated. So only codecs that are known to be harmless are let through,
sizes are bounded, and compressors are replaced by `Bounded`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from zarr.storage import DirectoryStore, FSStore, Store, ZipStore

from genoweave.errors import DataError
from genoweave.io.bounded import Bounded
from genoweave.io.codec import CODEC_ID

LARGEST_METADATA = 16 * 2**20
_DEEPEST = 64
LARGEST_CHUNK = 2**31 - 1  # as Blosc has it
_LONGEST_AXIS = 2**31 - 1
_MOST_CHUNKS = 2**22  # along an axis
_METADATA = (".zarray", ".zattrs", ".zgroup", ".zmetadata")
_COMPRESSORS = {"blosc", "zstd", "zlib", "gzip", "lz4", "bz2"}
_TEXT = "vlen-utf8"
_FILTERS = {_TEXT, CODEC_ID, "packbits", "delta", "fixedscaleoffset", "astype", "quantize", "bitround"}
# Chunks of text have no size of their own: so much, and so much more a text.
_TEXT_BYTES, _BYTES_A_TEXT = 64 * 2**20, 4096
_ALLOWED = f"wanted compressor {', '.join(sorted(_COMPRESSORS))} and filters {', '.join(sorted(_FILTERS))}"


class CheckedStore(Store):  # type: ignore[misc]
    """A store that is read only, with metadata as they are checked; picklable."""

    _writeable = False
    _erasable = False

    def __init__(self, base: Any) -> None:
        self.base = base
        self._largest: dict[str, int] = {}
        self._whole: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        name = key.rpartition("/")[2]
        if name not in _METADATA:
            try:
                self._check_size(key, self._largest.get(key.partition("/")[0], LARGEST_CHUNK))
            except DataError as error:
                raise ValueError(str(error)) from None  # whoever reads the array names it
            return self._read(key)
        self._check_size(key, LARGEST_METADATA)
        data = self._read(key)
        values = _parsed(data, key)
        if name != ".zarray":
            return data
        array = key.rpartition("/")[0]
        changed, self._largest[array] = checked_array(values, array)
        return json.dumps(changed).encode()

    def require_chunks(self, array: str) -> None:
        """Make a chunk of an array that is not there an error: without a fill value zarr hands out memory."""
        self._whole.add(array)

    def getitems(self, keys: Iterable[str], *, contexts: Any) -> dict[str, Any]:
        """Return the values of the keys that are there, or have to be."""
        return {key: self[key] for key in keys if key.partition("/")[0] in self._whole or key in self}

    def _read(self, key: str) -> Any:
        try:
            return self.base[key]
        except KeyError:
            if key.partition("/")[0] in self._whole and key.rpartition("/")[2] not in _METADATA:
                raise ValueError(f"chunk {key} is not there") from None
            raise
        except Exception as error:  # of zipfile, its decompressors, the file system, fsspec
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ValueError(f"{key}: {reason}") from None

    def _check_size(self, key: str, limit: int) -> None:
        size = self._size(key)
        if size > limit:
            raise DataError(
                f"{key} has {size} bytes, where at most {limit} can be: the store is damaged or made to do "
                "harm; do not open it, or convert it again"
            )

    def _size(self, key: str) -> int:
        """Return the bytes that reading takes, 0 where that is not known or nothing is there."""
        try:
            if isinstance(self.base, ZipStore):
                return int(self.base.zf.getinfo(key).file_size)
            if isinstance(self.base, DirectoryStore):
                return os.path.getsize(os.path.join(self.base.path, key))
        except (KeyError, OSError, ValueError):
            pass
        return 0

    def __contains__(self, key: object) -> bool:
        return key in self.base

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)

    def __setitem__(self, key: str, value: Any) -> None:
        raise ValueError("a store that is opened for reading is not written to")

    __delitem__ = __setitem__

    def listdir(self, path: str = "") -> list[str]:
        """Return the names in a folder of the store."""
        return list(self.base.listdir(path))

    def close(self) -> None:
        """Close the archive."""
        self.base.close()


def _parsed(data: Any, key: str) -> dict[str, Any]:
    """Return metadata, an object of JSON that is not nested deep."""
    try:
        values = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{key} cannot be read as JSON ({str(error)[:200]}): the store is damaged") from None
    level, depth = [values], 0
    while level and depth <= _DEEPEST:
        level = [inner for value in level for inner in _inside(value)]
        depth += 1
    if not isinstance(values, dict) or level:
        raise DataError(f"{key} is not a JSON object, or is nested too deep: the store is damaged")
    return values


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def checked_array(values: dict[str, Any], name: str) -> tuple[dict[str, Any], int]:
    """Check the metadata of an array; return them with a bounded compressor, and the largest stored chunk.

    Raises
    ------
    DataError
        If a size, type or codec is impossible or not allowed.
    """
    shape, chunks = (_sizes(values.get(key), name, key) for key in ("shape", "chunks"))
    dtype = _dtype(values.get("dtype"), name)
    if len(shape) != len(chunks) or min(chunks, default=1) < 1:
        raise DataError(f"array {name} has shape {shape} in chunks of {chunks}: the store is damaged")
    if any(-(-n // chunk) > _MOST_CHUNKS for n, chunk in zip(shape, chunks, strict=True)):
        raise DataError(f"array {name} is cut into more than {_MOST_CHUNKS} chunks along an axis; rechunk it")
    compressor, filters = values.get("compressor"), values.get("filters") or []
    _check_codecs(compressor, filters, name)
    _check_rest(values, name)
    kinds = [entry["id"] for entry in filters]
    _check_filters(kinds, dtype, len(shape), name)
    count = math.prod(chunks)
    size = count * dtype.itemsize
    if size // (8 if CODEC_ID in kinds else 1) > LARGEST_CHUNK:
        raise DataError(
            f"a chunk of array {name} takes {size} bytes, at most {LARGEST_CHUNK} can be; rechunk it"
        )
    is_text = _TEXT in kinds
    if is_text:
        size = min(LARGEST_CHUNK, _TEXT_BYTES + _BYTES_A_TEXT * count)
    elif kinds:
        size = min(LARGEST_CHUNK, 16 * size + 2**20)
    if compressor is not None or CODEC_ID not in kinds:
        bounded = _bounded(compressor, size, not kinds, count if is_text else -1, name)
        values = values | {"compressor": bounded}
    return values, size + size // 8 + 2**16


def _check_filters(kinds: list[str], dtype: np.dtype[Any], ndim: int, name: str) -> None:
    """Refuse filters that an array of such a type cannot have."""
    is_text = dtype.hasobject
    if is_text != (_TEXT in kinds) or (is_text and len(kinds) > 1):
        raise DataError(
            f"array {name} of type {dtype} has filters {', '.join(kinds) or 'none'}; wanted {_TEXT} for text "
            "alone"
        )
    is_call = name == "call_genotype" and kinds == [CODEC_ID] and ndim == 3 and dtype == np.int8
    if CODEC_ID in kinds and not is_call:
        raise DataError(f"array {name} cannot have filter {CODEC_ID}: the store is damaged; convert it again")


def _bounded(compressor: Any, size: int, is_exact: bool, texts: int, name: str) -> dict[str, Any]:
    try:
        return dict(Bounded(compressor, size, is_exact, texts).get_config())
    except Exception as error:  # each codec has its own parameters
        raise DataError(
            f"array {name}: its compressor cannot be used ({error}); convert the store again"
        ) from None


def _sizes(value: Any, name: str, what: str) -> list[int]:
    if (
        isinstance(value, list)
        and len(value) <= 8
        and all(type(n) is int and 0 <= n <= _LONGEST_AXIS for n in value)
    ):
        return value
    raise DataError(
        f"array {name}: {what} is up to 8 whole numbers from 0 to {_LONGEST_AXIS}, found {str(value)[:80]}: "
        "the store is damaged; convert it again"
    )


def _dtype(value: Any, name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value) if isinstance(value, str) and len(value) < 20 else None
    except (TypeError, ValueError, SyntaxError):
        dtype = None
    if dtype is None or dtype.kind not in "biufOSU":
        raise DataError(
            f"array {name} is of type {str(value)[:80]}; wanted numbers or text: the store is damaged or of "
            "another kind; convert it again"
        )
    return dtype


def _check_codecs(compressor: Any, filters: Any, name: str) -> None:
    """Refuse codecs that may run a program, or that are not known not to."""
    if not isinstance(filters, list):
        raise DataError(f"array {name} has filters that are no list: the store is damaged; convert it again")
    for allowed, codec in ((_COMPRESSORS, compressor), *((_FILTERS, entry) for entry in filters)):
        if codec is None and allowed is _COMPRESSORS:
            continue
        kind = codec.get("id") if isinstance(codec, dict) else None
        if not isinstance(kind, str) or kind not in allowed:
            raise DataError(
                f"array {name} is stored with codec {str(kind)[:40]!r}, which is not opened: such codecs can "
                f"run programs; {_ALLOWED}. Convert the store again"
            )
        types = (
            codec.get("dtype"),
            codec.get("astype"),
            codec.get("encode_dtype"),
            codec.get("decode_dtype"),
        )
        for value in types:
            if value is not None and _dtype(value, name).kind not in "biuf":
                raise DataError(f"array {name}: filter {kind} is of type {str(value)[:80]}, wanted numbers")


def _check_rest(values: dict[str, Any], name: str) -> None:
    fill = values.get("fill_value")
    if values.get("order") not in ("C", "F") or values.get("dimension_separator", ".") not in (".", "/"):
        raise DataError(f"array {name}: order is C or F and dimension_separator . or /: the store is damaged")
    if isinstance(fill, (dict, list)) or (isinstance(fill, str) and len(fill) > 1000):
        raise DataError(
            f"array {name}: fill_value is a number or text: the store is damaged; convert it again"
        )


def opened(path: str) -> CheckedStore:
    """Open a folder, a .zip or a URL.

    Raises
    ------
    Exception
        Of its library's own kind, if that is not possible.
    """
    if "://" in path:
        return CheckedStore(FSStore(path, mode="r"))
    return CheckedStore(ZipStore(path, mode="r") if path.endswith(".zip") else DirectoryStore(path))
