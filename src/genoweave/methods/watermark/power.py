"""How many watermarks find a server that did not test every SNP."""

from __future__ import annotations

import math

from scipy.special import gammaln

from genoweave.errors import ConfigError


def detection_probability(n_watermarks: int, rho: float, n_variants: int | None = None) -> float:
    """Return the probability that at least one watermark is among the SNPs that a server skipped.

    Parameters
    ----------
    n_watermarks
        Watermarks W among the SNPs sent.
    rho
        Share of all SNPs that are skipped, or whose results are invented, chosen blindly.
    n_variants
        Real SNPs N. The skipped are c = round(rho (N + W)) of them all, and the probability is
        1 - C(N, c) / C(N + W, c); without N its limit for many SNPs, 1 - (1 - rho)**W.

    Raises
    ------
    ConfigError
        If `rho` is not in [0, 1], or a number is negative.
    """
    _check(rho, n_watermarks, n_variants)
    if n_variants is None:
        return -math.expm1(n_watermarks * math.log1p(-rho)) if rho < 1 else float(n_watermarks > 0)
    skipped = round(rho * (n_variants + n_watermarks))
    if skipped > n_variants:
        return float(n_watermarks > 0)
    log_missed = _log_choose(n_variants, skipped) - _log_choose(n_variants + n_watermarks, skipped)
    return float(-math.expm1(min(0.0, log_missed)))


def watermarks_needed(rho: float, wanted: float = 0.95, n_variants: int | None = None) -> int:
    """Return the fewest watermarks that find a share `rho` of skipped SNPs with probability `wanted`.

    Raises
    ------
    ConfigError
        If `rho` or `wanted` is not strictly between 0 and 1.
    """
    for name, value in (("rho", rho), ("wanted", wanted)):
        if not 0 < value < 1:
            raise ConfigError(f"{name} is a share strictly between 0 and 1, found {value:g}")
    low, high = 0, 1
    while detection_probability(high, rho, n_variants) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if detection_probability(middle, rho, n_variants) < wanted:
            low = middle
        else:
            high = middle
    # c is rounded, so that the probability is not quite monotone in W
    while high > 1 and detection_probability(high - 1, rho, n_variants) >= wanted:
        high -= 1
    return high


def unnoticed_share(n_watermarks: int, confidence: float = 0.95) -> float:
    """Return the largest share of SNPs that W intact watermarks leave possible: 1 - (1 - confidence)**(1/W).

    1 without watermarks.
    """
    return 1.0 if n_watermarks == 0 else -math.expm1(math.log1p(-confidence) / n_watermarks)


def _check(rho: float, n_watermarks: int, n_variants: int | None) -> None:
    if not 0 <= rho <= 1:
        raise ConfigError(f"rho is the share of SNPs that were skipped, from 0 to 1, found {rho:g}")
    if n_watermarks < 0 or (n_variants is not None and n_variants < 0):
        raise ConfigError("numbers of watermarks and of SNPs are not negative")


def _log_choose(n: int, k: int) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
