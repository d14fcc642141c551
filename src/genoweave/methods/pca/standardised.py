"""The standardised genotype matrix X: blocks of it, and its products with blocks of columns.

Products run on packed genotypes by table look-up (`kernels.lookup`) in float32, added up in float64 every
1,024 genotypes; a relative error of about 1e-6 of the largest result. Each row of a result is summed by one
task in one order, so that its bits depend on nothing but the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.execution import fold
from genoweave.genotypes import Source, read_packed
from genoweave.kernels.lookup import COLUMNS, add_products, add_rows_at
from genoweave.kernels.missing import missing_lists, whole_words
from genoweave.kernels.packed import unpack_dosages
from genoweave.kernels.transpose import transpose_codes

Float = NDArray[np.float64]

# Samples read at a time: with 1,024 variants a megabyte of codes, and a chunk of a store.
_SAMPLES = 4096
# Rows of a product that share the tables of a task: 2,048 rows spend a third of their time on tabling, more
# of them less, fewer leave cores without a task.
_LEAST_ROWS, _MOST_ROWS = 2048, 4096
_TASKS = 16


class Standardised:
    """A source with the centre and scale of each of its variants.

    Attributes
    ----------
    mean, scale
        float64 (variants,): mean of x = dosage - 1, and 1 / sqrt(2p(1-p)).
    shape
        Variants and samples.
    """

    def __init__(self, source: Source, frequency: Float) -> None:
        self.source = source
        self.mean = 2 * frequency - 1
        self.scale = 1 / np.sqrt(2 * frequency * (1 - frequency))
        self.shape = source.shape[:2]

    def codes(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.uint8]:
        """Return packed genotypes whose rows are whole 8-byte words, padded with missing calls."""
        return whole_words(read_packed(self.source, v0, v1, s0, s1))

    def block(self, v0: int, v1: int, s0: int, s1: int) -> Float:
        """Return rows v0..v1 and columns s0..s1 of X."""
        dosage = unpack_dosages(read_packed(self.source, v0, v1, s0, s1), s1 - s0)
        x = dosage - (1 + self.mean[v0:v1, None])
        x *= self.scale[v0:v1, None]
        x[dosage < 0] = 0
        return x

    def weights(self) -> NDArray[np.float32]:
        """Return the values of X for the four codes of each variant, float32 (variants, 4)."""
        x = np.array([1.0, 0.0, 0.0, -1.0]) - self.mean[:, None]
        x[:, 1] = 0
        return (x * self.scale[:, None]).astype(np.float32)


def image(matrix: Standardised, right: Float, label: str) -> Float:
    """Return X @ right, float64 (variants, columns of right); one pass over the genotypes."""
    columns = _column_blocks(right)
    state = {"product": np.empty((matrix.shape[0], right.shape[1]))}
    shared = (matrix, columns, columns.sum(axis=1, dtype=np.float64))
    items = list(ranges(matrix.shape[0], _rows_of_task(matrix.shape[0])))
    return fold(label, _image_rows, items, state, _place, shared=shared)["product"]


def scores(matrix: Standardised, left: Float, label: str) -> Float:
    """Return X' @ left, float64 (samples, columns of left); one pass over the genotypes."""
    state = {"product": np.empty((matrix.shape[1], left.shape[1]))}
    shared = (matrix, _column_blocks(left), matrix.weights())
    items = list(ranges(matrix.shape[1], _rows_of_task(matrix.shape[1])))
    return fold(label, _score_rows, items, state, _place, shared=shared)["product"]


def block_image(matrix: Standardised, right: Float, label: str) -> Float:
    """Return X @ right in float64, for few samples: a task decodes 1,024 variants of all of them."""
    state = {"product": np.empty((matrix.shape[0], right.shape[1]))}
    # numpy multiplies other strides in another order, and a worker gets a contiguous copy
    shared = (matrix, np.ascontiguousarray(right))
    return fold(label, _block_rows, tiles(matrix.shape[0]), state, _place_rows, shared=shared)["product"]


def _block_rows(matrix: Standardised, right: Float, v0: int, v1: int) -> tuple[int, Float]:
    return v0, matrix.block(v0, v1, 0, matrix.shape[1]) @ right


def _place_rows(state: dict[str, Any], _: int, result: tuple[int, Float]) -> None:
    v0, rows = result
    state["product"][v0 : v0 + len(rows)] = rows


def _rows_of_task(rows: int) -> int:
    wanted = -(-rows // _TASKS // _LEAST_ROWS) * _LEAST_ROWS
    return min(max(wanted, _LEAST_ROWS), _MOST_ROWS)


def _place(state: dict[str, Any], _: int, result: tuple[int, Float]) -> None:
    """Put a task's rows, (blocks of columns, rows, 32), in their place."""
    first, blocks = result
    product = state["product"]
    for i, block in enumerate(blocks):
        rows = product[first : first + len(block), i * COLUMNS : (i + 1) * COLUMNS]
        rows[:] = block[:, : rows.shape[1]]


def _column_blocks(columns: Float) -> NDArray[np.float32]:
    """Return float32 (blocks, rows, 32), filled up with zeros."""
    n_rows, n = columns.shape
    blocks = np.zeros((-(-n // COLUMNS), n_rows, COLUMNS), np.float32)
    for i, block in enumerate(blocks):
        part = columns[:, i * COLUMNS : (i + 1) * COLUMNS]
        block[:, : part.shape[1]] = part
    return blocks


def _image_rows(
    matrix: Standardised, columns: NDArray[np.float32], totals: Float, v0: int, v1: int
) -> tuple[int, Float]:
    """Task: scale (sum of x q - mean (sum of q - sum of q over missing calls))."""
    mean, scale = matrix.mean[v0:v1], matrix.scale[v0:v1]
    out = np.zeros((len(columns), v1 - v0, COLUMNS))
    weights = np.tile(np.array([1, 0, 0, -1], np.float32), (_SAMPLES, 1))
    for s0, s1 in ranges(matrix.shape[1], _SAMPLES):
        codes = matrix.codes(v0, v1, s0, s1)
        starts, index = missing_lists(codes, s1 - s0)
        for block, part in zip(columns, out, strict=True):
            add_products(codes, weights, block[s0:s1], part)
            add_rows_at(starts, index, block[s0:s1], mean, part)
    out -= mean[:, None] * totals[:, None, :]
    out *= scale[:, None]
    return v0, out


def _score_rows(
    matrix: Standardised,
    columns: NDArray[np.float32],
    weights: NDArray[np.float32],
    s0: int,
    s1: int,
) -> tuple[int, Float]:
    """Task: sums over variants of the values that a sample's codes have."""
    out = np.zeros((len(columns), s1 - s0, COLUMNS))
    for v0, v1 in tiles(matrix.shape[0]):
        words = matrix.codes(v0, v1, s0, s1).view(np.uint64)
        turned = np.empty((32 * words.shape[1], -(-(v1 - v0) // 32)), np.uint64)
        transpose_codes(words, turned)
        codes = turned.view(np.uint8)[: s1 - s0]
        for block, part in zip(columns, out, strict=True):
            add_products(codes, weights[v0:v1], block[v0:v1], part)
    return s0, out
