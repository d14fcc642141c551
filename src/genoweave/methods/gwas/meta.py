"""Meta-analysis of effects from several groups: inverse variance, fixed and random effects, heterogeneity.

Fixed effects: beta = sum w b / sum w, SE = 1 / sqrt(sum w), w = 1 / SE_i^2. Cochran's Q = sum w (b - beta)^2
has chi-squared's distribution with groups - 1 degrees of freedom where the effects are equal; I2 =
1 - (groups - 1) / Q, not below 0. Random effects add DerSimonian and Laird's variance between groups to each
SE^2 [1, 2].

[1] Cochran 1954, Biometrics 10:101; DerSimonian and Laird 1986, Control. Clin. Trials 7:177.
[2] Higgins and Thompson 2002, Stat. Med. 21:1539; Willer et al. 2010 (METAL), Bioinformatics 26:2190.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaincc, gammaln

from genoweave.errors import DataError
from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.logistic import z_log10_p

_SMALLEST_P = 1e-280


@dataclass(frozen=True)
class Effects:
    """One group's effects of the same variants' same alleles, from any program.

    Attributes
    ----------
    beta, se
        float64 (variants,): NaN, or an SE that is not above 0, where the group has no result.
    frequency, called
        float64 and int64 (variants,): the counted allele's frequency, and samples; None if not known.
    """

    beta: NDArray[np.float64]
    se: NDArray[np.float64]
    frequency: NDArray[np.float64] | None = None
    called: NDArray[np.int64] | None = None


def meta_analysis(groups: Sequence[Effects | Fits], *, random: bool = False) -> pd.DataFrame:
    """Combine groups' effects of each variant.

    Parameters
    ----------
    groups
        Effects of the same variants in the same order, on the same allele and in the same unit.
    random
        Whether to add DerSimonian and Laird's random effects.

    Returns
    -------
    pandas.DataFrame
        A row per variant:

        - A1_FREQ, OBS_CT: frequency, weighted by samples; samples in all. NaN and 0 if no group tells them
        - STUDIES: groups with a result
        - BETA, SE, Z_STAT, LOG10_P: fixed effects; LOG10_P is -log10 of the two-sided p
        - DIRECTION: of each group +, -, 0, or ? without a result, as METAL writes them
        - HET_Q, HET_LOG10_P, HET_I2: Cochran's Q, -log10 of its p, I2 from 0 to 1; NaN below two groups
        - BETA_RANDOM, SE_RANDOM, LOG10_P_RANDOM, TAU2 if ``random``

    Raises
    ------
    DataError
        If there is no group, or they differ in the number of variants.

    Notes
    -----
    No p underflows. Memory: 40 bytes a variant and group.
    """
    if not groups:
        raise DataError("a meta-analysis wants the results of at least one group, found none")
    lengths = {len(group.beta) for group in groups}
    if len(lengths) > 1:
        raise DataError(
            f"a meta-analysis wants the same variants of each group, found {min(lengths)} and "
            f"{max(lengths)}; bring the results into one order"
        )
    beta, se = (np.stack([getattr(group, name) for group in groups]) for name in ("beta", "se"))
    known = np.isfinite(beta) & np.isfinite(se) & (se > 0)
    b = np.where(known, beta, 0.0)
    weight = np.divide(1.0, se**2, out=np.zeros_like(se), where=known)
    studies = known.sum(axis=0)
    fixed, error, log10_p = _combined(b, weight)
    q = np.where(studies > 1, (weight * (b - fixed) ** 2).sum(axis=0), np.nan)
    frequency, called = _samples(groups, known)
    table = {
        "A1_FREQ": frequency,
        "OBS_CT": called,
        "STUDIES": studies,
        "BETA": fixed,
        "SE": error,
        "Z_STAT": fixed / error,
        "LOG10_P": -log10_p,
        "DIRECTION": _directions(beta, known),
        "HET_Q": q,
        "HET_LOG10_P": -chi_squared_log10_p(q, studies - 1),
        "HET_I2": np.maximum(1 - np.divide(studies - 1, q, out=np.full(len(q), np.nan), where=q > 0), 0.0),
    }
    table["HET_I2"] = np.where(q == 0, 0.0, table["HET_I2"])
    if random:
        tau2 = _between(weight, q, studies)
        with_tau = np.divide(weight, 1 + weight * tau2)
        table["BETA_RANDOM"], table["SE_RANDOM"], log10_p = _combined(b, with_tau)
        table |= {"LOG10_P_RANDOM": -log10_p, "TAU2": np.where(studies > 0, tau2, np.nan)}
    return pd.DataFrame(table)


def _combined(
    beta: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted mean (variants,), its standard error, and log10 p."""
    total = weight.sum(axis=0)
    none = np.full(len(total), np.nan)
    mean = np.divide((weight * beta).sum(axis=0), total, out=none.copy(), where=total > 0)
    error = np.divide(1.0, np.sqrt(total), out=none, where=total > 0)
    return mean, error, z_log10_p(mean / error)


def _between(
    weight: NDArray[np.float64], q: NDArray[np.float64], studies: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return DerSimonian and Laird's variance between groups, 0 with one group."""
    total = weight.sum(axis=0)
    spread = total - np.divide((weight**2).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    excess = np.where(studies > 1, q - (studies - 1), 0.0)
    return np.divide(np.maximum(excess, 0.0), spread, out=np.zeros_like(total), where=spread > 0)


def _samples(
    groups: Sequence[Effects | Fits], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the frequency weighted by samples, and samples, of the groups with a result."""
    n = known.shape[1]
    alleles, weighed, called = np.zeros(n), np.zeros(n), np.zeros(n, np.int64)
    for group, has in zip(groups, known, strict=True):
        if group.called is None:
            continue
        count = np.where(has, group.called, 0)
        called += count
        if group.frequency is not None:
            told = np.isfinite(group.frequency)
            alleles += np.where(told, count * group.frequency, 0.0)
            weighed += np.where(told, count, 0)
    return np.divide(alleles, weighed, out=np.full(n, np.nan), where=weighed > 0), called


def _directions(beta: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.object_]:
    signs = np.where(known, np.where(beta > 0, "+", np.where(beta < 0, "-", "0")), "?")
    joined = np.ascontiguousarray(signs.T).view(f"U{len(signs)}")[:, 0]
    return joined.astype(object)


def chi_squared_log10_p(x: NDArray[np.float64], df: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return log10 of chi-squared's upper tail, also below the smallest float; NaN where df is not > 0."""
    x, df = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(df, np.float64))
    out = np.full(x.shape, np.nan)
    known = np.isfinite(x) & (df > 0)
    a, half = df[known] / 2, x[known] / 2
    p = gammaincc(a, half)
    tiny = p < _SMALLEST_P
    with np.errstate(divide="ignore"):
        log_p = np.log(p)
    log_p[tiny] = _log_gammaincc(a[tiny], half[tiny])
    out[known] = log_p / np.log(10)
    return out


def _log_gammaincc(a: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ln Q(a, x) at a large x: continued fraction DLMF 8.9.2, Lentz's way."""
    b = x + 1 - a
    d = 1 / b
    c = np.full_like(b, np.inf)
    value = d.copy()
    for m in range(1, 500):
        term = -m * (m - a)
        b = b + 2
        d = 1 / (b + term * d)
        c = b + term / c
        value *= c * d
        if np.all(np.abs(c * d - 1) < 1e-15):
            break
    return np.asarray(-x + a * np.log(x) - gammaln(a) + np.log(value))
