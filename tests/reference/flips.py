"""The noise channel one genotype at a time: transition matrices, and the draws that apply them."""

from collections.abc import Iterator
from math import ceil, exp, expm1, log1p

from reference import chacha

BLOCK = 8192
LONGEST = 2048


def transition(epsilon: float, mechanism: str) -> list[list[float]]:
    """P[true][published]."""
    q = 1 / (exp(epsilon) + 2)
    if mechanism == "syngen6":
        return [[1 - 2 * q, 2 * q, 0], [q, 1 - 2 * q, q], [0, 2 * q, 1 - 2 * q]]
    return [[1 - 2 * q if i == j else q for j in range(3)] for i in range(3)]


def leaving(matrix: list[list[float]]) -> float:
    """The largest probability with which a genotype changes."""
    return min(1.0, max(sum(p for j, p in enumerate(row) if j != i) for i, row in enumerate(matrix)))


def draws(key: list[int], row: int, block: int, attempt: int) -> Iterator[tuple[int, int]]:
    """The pairs of 32-bit words of a block of slots: eight in each ChaCha20 block."""
    counter = 1024 * block
    while True:
        words = chacha.block(key, counter, [row & 0xFFFFFFFF, row >> 32, attempt])
        yield from zip(words[::2], words[1::2], strict=True)
        counter += 1


def visits(key: list[int], row: int, block: int, attempt: int, rate: float) -> Iterator[tuple[int, int]]:
    """The slots of a block that are looked at, in turn, and the word that decides there."""
    longest = LONGEST if rate == 0 else min(LONGEST, ceil(4 / rate))
    exceeded = [
        2**32 if rate == 1 else round(-expm1(k * log1p(-rate)) * 2**32) for k in range(1, longest + 1)
    ]
    slot = 0
    for first, second in draws(key, row, block, attempt):
        gap = sum(first >= threshold for threshold in exceeded)
        slot += gap
        if slot >= BLOCK:
            return
        if gap < longest:
            yield slot, second
            slot += 1


def published(true: int, word: int, row: list[float], rate: float) -> int:
    """What becomes of a genotype that is looked at: the others in ascending order, or no change."""
    if true < 0:
        return true
    total = 0.0
    for other, probability in enumerate(row):
        if other != true:
            total += probability
            if word < round(min(1.0, total / rate) * 2**32):
                return other
    return true


def perturbed(
    true: dict[int, int], key: list[int], row: int, attempt: int, matrix: list[list[float]]
) -> dict[int, int]:
    """The genotypes of some slots at one variant, after the channel."""
    out, rate = dict(true), leaving(matrix)
    for block in {slot // BLOCK for slot in true}:
        last = max(slot for slot in true if slot // BLOCK == block)
        for offset, word in visits(key, row, block, attempt, rate):
            slot = BLOCK * block + offset
            if slot > last:
                break
            if slot in true:
                out[slot] = published(true[slot], word, matrix[true[slot]], rate)
    return out
