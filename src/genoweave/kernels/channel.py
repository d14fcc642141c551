"""The genotype channel: each dosage is replaced by a draw from its row of a 3 x 3 matrix."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel
from genoweave.kernels.random import words_at


@kernel
def perturb(dosage, donors, thresholds, key, rows, columns, attempt, targets, out):
    """out[v, targets[j]] = the channel's draw for dosage[v, donors[j]]; a missing call (-1) stays.

    `dosage` int8 (variants, samples); `donors` int64 (records,) columns of it; `thresholds` uint64
    (3, 2): a word below thresholds[g, 0] gives 0, below thresholds[g, 1] gives 1, otherwise 2;
    the word is drawn at (rows[v], columns[j], attempt); `rows` int64 (variants,); `columns` int64
    (records,), fast where they ascend; `targets` int64 (records,) columns of `out` int8 (variants, ...).
    """
    words = np.empty(columns.shape[0], np.uint32)
    for v in range(dosage.shape[0]):
        words_at(key, rows[v], columns, attempt, words)
        for j in range(columns.shape[0]):
            g = dosage[v, donors[j]]
            if g < 0:
                out[v, targets[j]] = -1
            else:
                w = np.uint64(words[j])
                out[v, targets[j]] = np.int8(w >= thresholds[g, 0]) + np.int8(w >= thresholds[g, 1])
