"""Block Lanczos on a matrix that is read anew for every product."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from genoweave.methods.pca.eigen import start_block
from genoweave.methods.pca.lanczos import leading_eigenpairs
from genoweave.methods.pca.standardised import Standardised, image, scores
from genoweave.rng import Stream

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

# Narrow blocks need fewer products in all (10,000 samples, 20 components to 1e-3: 350 columns of X'X by
# blocks of 32, 480 by 48, 576 by 64), wide ones fewer passes.
_WIDTH, _WIDE = 32, 64
_MANY_COMPONENTS = 64


def streaming_pca(
    matrix: Standardised, k: int, stream: Stream, tolerance: float, max_passes: int
) -> tuple[Float, Float]:
    """Return loadings (variants, k) and singular values of X, largest first.

    A pass multiplies X'X (or XX', if variants are fewer) with a block of 32 or 64 columns; it reads the
    genotypes twice. Memory: the smaller side x columns of all passes x 8 bytes; a task holds only the rows
    that it owns.
    """
    m, n = matrix.shape
    width = min(_WIDTH if k <= _MANY_COMPONENTS else _WIDE, m, n)
    samples_side = n <= m

    def multiply(block: Float, number: int) -> Float:
        if samples_side:
            return scores(matrix, image(matrix, block, f"pass {number}, variants"), f"pass {number}, samples")
        return image(matrix, scores(matrix, block, f"pass {number}, samples"), f"pass {number}, variants")

    start = start_block(stream, min(m, n), width)
    passes = max(max_passes, -(-k // width))
    found = leading_eigenpairs(multiply, start, k, tolerance=tolerance, max_products=passes, spacing=1.05)
    if not found.converged:
        log.warning(
            "the eigenvalues still changed by more than tolerance = %g after max_passes = %d passes; "
            "set [pca] max_passes higher, or tolerance",
            tolerance,
            passes,
        )
    log.debug("%d passes", found.products)
    values = np.where(found.values > found.values[0] * np.finfo(np.float32).eps, found.values, 0.0)
    singular = np.sqrt(values)
    if not samples_side:
        return found.vectors, singular
    return divide(image(matrix, found.vectors, "loadings"), singular), singular


def divide(columns: Float, singular: Float) -> Float:
    """Divide by singular values; a component that does not exist has loadings 0."""
    return np.divide(columns, singular, out=np.zeros_like(columns), where=singular > 0)
