"""The noise channel one genotype at a time: SynGen6's transition matrix, and strict randomised response."""

from math import exp


def transition(epsilon: float, mechanism: str) -> list[list[float]]:
    """P[true][published]."""
    q = 1 / (exp(epsilon) + 2)
    if mechanism == "syngen6":
        return [[1 - 2 * q, 2 * q, 0], [q, 1 - 2 * q, q], [0, 2 * q, 1 - 2 * q]]
    return [[1 - 2 * q if i == j else q for j in range(3)] for i in range(3)]


def published(true: int, word: int, row: list[float]) -> int:
    """The value that a uniform 32-bit word gives: its place among the row's cumulative probabilities."""
    first = round(row[0] * 2**32)
    second = round((row[0] + row[1]) * 2**32)
    if true < 0:
        return -1
    return 0 if word < first else 1 if word < second else 2
