"""Genotype counts of a watermark SNP by case status (Wang, Jiang & Vaidya 2021, first method)."""

from fractions import Fraction
from math import floor


def totals(n: int, epsilon: Fraction, z0: Fraction) -> tuple[int, int, int]:
    """N0, N1, N2: people with genotype 0, 1 and 2."""
    n2 = floor(n * epsilon)
    n1 = floor(n * z0 * (1 - epsilon))
    return n - n1 - n2, n1, n2


def counts(cases: int, controls: int, epsilon: Fraction, z0: Fraction) -> tuple[str, list[list[int]]]:
    """The case of the method and [[controls with 0, 1, 2], [cases with 0, 1, 2]]."""
    _, n1, n2 = totals(cases + controls, epsilon, z0)
    r1 = cases - n1
    r0 = n2 - r1
    if r1 >= 0 and r0 >= 0:
        return "a", [[controls - r0, 0, r0], [0, cases - r1, r1]]
    if r1 < 0:
        return "b", [[controls - r0, -r1, r0 + r1], [0, cases, 0]]
    return "c", [[controls, 0, 0], [-r0, cases - r1, r1 + r0]]
