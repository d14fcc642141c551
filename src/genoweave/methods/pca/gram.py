"""Exact Gram matrices of X, strip by strip, so that a task holds a strip and not a square.

A task gives rows H of a matrix with H + H' the Gram matrix: what of an entry is cheap on either side of the
diagonal is computed there once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.execution import fold
from genoweave.kernels.dots import add_dots, new_planes, variant_planes
from genoweave.kernels.missing import TILE, half_gram, missing_lists, sums_over_missing
from genoweave.methods.pca.standardised import Standardised

# Samples whose planes are multiplied at a time: 256 words a row, what `add_dots` tiles for; and samples
# whose missing calls are summed at a time, so that their rows stay in the L2 cache.
_DOT_SAMPLES = 16_384
_SUM_SAMPLES = 4096
# Rows of a task's strip. A strip of variants reads all genotypes: at 8,192 variants that is 8 times.
_STRIP = 1024


def variants_gram(matrix: Standardised, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    """Return X X', (variants, variants), from integer counts, the same for any order of adding.

    Memory: the result; per task three int32 strips of 1,024 x variants and 16,384 samples of all variants.
    Work: two popcounts a word of 64 pairs of genotypes, and two additions of a byte for every missing call
    and variant (1 % missing: a third of the whole; work grows with the missing calls).
    """
    m = matrix.shape[0]
    state = {"gram": np.zeros((m, m), dtype)}
    items = list(ranges(m, _even_strip(m)))
    shared = (matrix, dtype)
    return fold("covariance of variants", _variant_strip, items, state, _add_strip, shared=shared)["gram"]


def samples_gram(matrix: Standardised) -> NDArray[np.float64]:
    """Return X' X, float64 (samples, samples), summed over fixed tiles of variants in their order.

    Memory: the result, and per task a strip of 1,024 x samples.
    """
    n = matrix.shape[1]
    state = {"gram": np.zeros((n, n))}
    items = list(ranges(n, _STRIP))
    return fold("relationship matrix", _sample_strip, items, state, _add_strip, shared=(matrix,))["gram"]


def _even_strip(m: int) -> int:
    """Return a strip of whole tiles so that strips are about equal: integers do not care where they end."""
    strips = -(-m // _STRIP)
    return -(-m // strips // TILE) * TILE


def _add_strip(state: dict[str, Any], _: int, result: tuple[int, NDArray[Any]]) -> None:
    """Add H and its transpose. An entry is a sum of two terms: either order gives the same bits."""
    first, rows = result
    gram = state["gram"]
    gram[first : first + len(rows)] += rows
    for a, b in ranges(len(gram), _STRIP):
        gram[a:b, first : first + len(rows)] += rows[:, a:b].T


def _variant_strip(
    matrix: Standardised, dtype: type[np.floating[Any]], v0: int, v1: int
) -> tuple[int, NDArray[Any]]:
    """Task: rows v0..v1 of H for `variants_gram`."""
    m, n = matrix.shape
    dots = np.zeros((v1 - v0, m - v0), np.int32)
    sums = np.zeros((-(-(v1 - v0) // TILE), m, 2 * TILE), np.int32)
    lost = np.zeros(m, np.int64)
    for s0, s1 in ranges(n, _DOT_SAMPLES):
        codes = matrix.codes(0, m, s0, s1)
        _add_strip_dots(codes[v0:], s1 - s0, dots)
        for a, b in ranges(s1 - s0, _SUM_SAMPLES):
            piece = np.ascontiguousarray(codes[:, a // 4 : -(-b // 32) * 8])
            starts, index = missing_lists(piece, b - a)
            lost += np.diff(starts)
            sums_over_missing(starts, index, piece[v0:v1], sums)
    rows = np.empty((v1 - v0, m), dtype)
    half_gram(dots, sums, lost, matrix.mean, matrix.scale, n, v0, rows)
    return v0, rows


def _add_strip_dots(codes: NDArray[np.uint8], n_samples: int, dots: NDArray[np.int32]) -> None:
    """Add the dot products of the first rows, as many as `dots` has, with all rows."""
    left = None
    for a, b in ranges(dots.shape[1], len(dots)):
        right = new_planes(b - a, n_samples)
        variant_planes(codes[a:b], right)
        left = right if left is None else left
        add_dots(left, right, dots[:, a:b])


def _sample_strip(matrix: Standardised, s0: int, s1: int) -> tuple[int, NDArray[np.float64]]:
    """Task: rows s0..s1 of H for `samples_gram`; half of the square on the diagonal."""
    m, n = matrix.shape
    rows = np.zeros((s1 - s0, n))
    for v0, v1 in tiles(m):
        left = matrix.block(v0, v1, s0, s1)
        rows[:, s0:s1] += left.T @ left
        for a, b in ranges(n - s1, _SUM_SAMPLES):
            rows[:, s1 + a : s1 + b] += left.T @ matrix.block(v0, v1, s1 + a, s1 + b)
    rows[:, s0:s1] /= 2
    return s0, rows
