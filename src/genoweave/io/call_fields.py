"""Arrays with a value per call beside ``call_genotype``, shown lazily: phase, dosages."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

Read = Callable[[int, int, int, int], NDArray[Any]]
# A block of rows that dask reads at a time, int8 calls of two alleles.
_CHUNK_BYTES = 32 * 2**20
_MOST_ROWS = 1024


class _Matrix:
    """The face of a (variants, samples) reader that dask slices."""

    ndim = 2

    def __init__(self, read: Read, shape: tuple[int, int], dtype: type[np.generic]) -> None:
        self.read = read
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        v, s = (slice(*item.indices(n)) for item, n in zip(key, self.shape, strict=True))
        return self.read(v.start, v.stop, s.start, s.stop)


def row_chunks(n_samples: int) -> tuple[int, int]:
    """Return chunks of whole rows, for files in which a variant is read as a whole."""
    return max(1, min(_MOST_ROWS, _CHUNK_BYTES // (2 * max(1, n_samples)))), max(1, n_samples)


def as_matrix(
    name: str, read: Read, shape: tuple[int, int], dtype: type[np.generic], chunks: tuple[int, int]
) -> da.Array:
    """Show ``read(v0, v1, s0, s1)`` as a lazy dask array (variants, samples); `read` must be picklable."""
    face = _Matrix(read, shape, dtype)
    sizes = tuple(max(1, min(c, n)) for c, n in zip(chunks, shape, strict=True))
    meta = np.empty((0, 0), dtype)
    return da.from_array(
        face, sizes, name=f"{name}-{uuid.uuid4().hex}", asarray=False, fancy=False, meta=meta
    )
