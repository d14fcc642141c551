"""Leading eigenvectors of a Gram matrix that is there as a whole."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.execution import ThreadExecutor, report_to, run_in_order, use
from genoweave.methods.pca.lanczos import leading_eigenpairs
from genoweave.rng import Stream

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

# LAPACK reduces the whole matrix to a tridiagonal one, in one thread and at the speed of memory: 38 CPU s at
# 7,180 variants, where block Lanczos takes 16 for 200 eigenvectors. Below this it is as fast.
_LAPACK_SIZE = 2000
_LAPACK_SHARE = 25  # and so it is for more than a 25th of all eigenvectors
# 16 columns a product: 2,350 in all for 200 eigenvalues of 7,180; 3,040 by 32, and more by 64.
_WIDTH = 16
_SPACING = 1.15
_STRIP = 512
_TOLERANCE = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-6}


def top_eigen(gram: NDArray[Any], k: int, stream: Stream) -> tuple[Float, Float]:
    """Return the k leading eigenvectors, float64 (size, k), and singular values, largest first.

    Parameters
    ----------
    gram
        Symmetric positive semidefinite, float64 or (to 1e-6 of the largest entry) float32.
    stream
        Draws the block that Lanczos starts from.
    """
    size = len(gram)
    if by_lapack(size, k):
        values, vectors = _lapack(gram, k)
    else:
        values, vectors = _lanczos(gram, k, stream)
    # below this the eigenvalue is rounding noise: the data have fewer dimensions than components
    values = np.where(values > values[0] * size * np.finfo(float).eps, values, 0.0)
    return vectors, np.sqrt(values)


def by_lapack(size: int, k: int) -> bool:
    """Tell whether LAPACK solves a problem of this size, in double precision."""
    return size <= _LAPACK_SIZE or _LAPACK_SHARE * k > size


def start_block(stream: Stream, size: int, width: int) -> Float:
    """Return normal deviates (size, width)."""
    return np.stack([stream.normals(column, size) for column in range(width)], axis=1)


def _lapack(gram: NDArray[Any], k: int) -> tuple[Float, Float]:
    n = len(gram)
    values, vectors = scipy.linalg.eigh(gram.astype(np.float64, copy=False), subset_by_index=[n - k, n - 1])
    return values[::-1], np.ascontiguousarray(vectors[:, ::-1])


def _lanczos(gram: NDArray[Any], k: int, stream: Stream) -> tuple[Float, Float]:
    size = len(gram)
    threads = ThreadExecutor()

    def multiply(block: Float, _: int) -> Float:
        shared = (gram, np.ascontiguousarray(block, gram.dtype))
        with use(threads), report_to(None):
            rows = list(run_in_order(_times_strip, ranges(size, _STRIP), shared=shared))
        return np.concatenate(rows).astype(np.float64)

    try:
        found = leading_eigenpairs(
            multiply,
            start_block(stream, size, _WIDTH),
            k,
            tolerance=_TOLERANCE[gram.dtype],
            max_products=2 * size // (3 * _WIDTH),
            spacing=_SPACING,
        )
    finally:
        threads.close()
    if not found.converged:
        log.info("Lanczos did not converge in %d columns; LAPACK takes over", _WIDTH * found.products)
        return _lapack(gram, k)
    return found.values, found.vectors


def _times_strip(gram: NDArray[Any], block: NDArray[Any], a: int, b: int) -> NDArray[Any]:
    return gram[a:b] @ block
