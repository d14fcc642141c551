"""Cholesky factors of small matrices, row by row, and equations with them."""

from __future__ import annotations

import numpy as np

from genoweave.kernels._compile import kernel


@kernel
def factor(matrix, n, smallest, lower):
    """Cholesky factor of the first n rows of a matrix given by its upper triangle; False if singular."""
    for i in range(n):
        for j in range(i + 1):
            total = matrix[j, i]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = total / lower[j, j]
            elif total > smallest:
                lower[i, i] = np.sqrt(total)
            else:
                return False
    return True


@kernel
def forward(lower, n, x):
    """Solve lower z = x in place; return z'z."""
    square = 0.0
    for i in range(n):
        total = x[i]
        for k in range(i):
            total -= lower[i, k] * x[k]
        x[i] = total / lower[i, i]
        square += x[i] * x[i]
    return square


@kernel
def backward(lower, n, x):
    """Solve lower' z = x in place."""
    for i in range(n - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, n):
            total -= lower[k, i] * x[k]
        x[i] = total / lower[i, i]
