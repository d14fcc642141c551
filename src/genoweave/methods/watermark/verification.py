"""Whether a server returned of the watermarks what an honest one would.

Each watermark's effect, standard error, statistic and p are compared with the key's, to the rounding of the
text and what is known of the program; what is not as expected goes to `diagnosis`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.watermark.comparison import compare
from genoweave.methods.watermark.diagnosis import Hypothesis, diagnose
from genoweave.methods.watermark.diagnosis_case import Observed
from genoweave.methods.watermark.key import Key

Precision = Literal["auto", "exact", "approximate"]

_INEXACT = ("regenie", "saige")
_CONFIDENCE = 0.95
# Chances of invented results below this are not counted.
_NEGLIGIBLE = 0.01
# If more are missing, the key may not be that of the cohort.
_MOST_MISSING = 0.8
_LN10 = math.log(10)


@dataclass(frozen=True)
class Verdict:
    """What a server's results say of its work.

    Attributes
    ----------
    diagnosis
        "honest", "snps_skipped", "forged_nulls", "samples_dropped", "wrong_phenotype",
        "covariates_dropped", "ids_shifted", "cheaper_test" or "unknown": the explanation that fits best.
    statement
        It in a sentence.
    evidence
        What else was seen, a sentence each.
    hypotheses
        All explanations, best first, with their log-likelihoods (nats) and estimates; empty if honest.
    watermarks
        A row per watermark of the key: state ("as expected", "differs", "missing", "no result", "repeated"),
        flipped (the other allele was counted), and expected, returned, difference and tolerance of beta, se,
        statistic and log10_p.
    precision
        "exact", or "approximate": the program's model is not the key's, and only gross lies show.
    unnoticed
        If honest: share of SNPs that may have been skipped or invented unnoticed (95 % confidence).
    """

    diagnosis: str
    statement: str
    evidence: tuple[str, ...]
    hypotheses: tuple[Hypothesis, ...]
    watermarks: pd.DataFrame
    precision: str
    unnoticed: float

    @property
    def is_honest(self) -> bool:
        """Whether every watermark came back as expected."""
        return self.diagnosis == "honest"

    def to_dict(self) -> dict[str, Any]:
        """Return all but the table of watermarks, as plain values for JSON."""
        return {
            "diagnosis": self.diagnosis,
            "statement": self.statement,
            "evidence": list(self.evidence),
            "precision": self.precision,
            "watermarks": {str(k): int(v) for k, v in self.watermarks["state"].value_counts().items()},
            "unnoticed_share": None if math.isnan(self.unnoticed) else self.unnoticed,
            "hypotheses": [h.to_dict() for h in self.hypotheses],
        }


def verify(
    key: Key, rows: pd.DataFrame, *, program: str = "plink2", precision: Precision = "auto"
) -> Verdict:
    """Compare what a server returned with what the key expects.

    Parameters
    ----------
    key
        The secret key of the cohort that was sent.
    rows
        What came back of the watermarks (`genoweave.io.gwas_results.Returned.rows`): contig, position, id,
        counted, n, frequency, beta, se, statistic, log10_p, and of the last four ``NAME_unit``, the worth of
        one in the last printed place. NaN where something is not there. Other variants are ignored.
    program
        Whose results: "plink2", "regenie", "gemma" or "saige".
    precision
        "exact": differences only of rounding are allowed; "approximate": those of another model of the same
        association; "auto": approximate where the key asked for REGENIE or SAIGE, the results are theirs,
        and are not exact. The results' header alone never lowers what is wanted.

    Returns
    -------
    Verdict

    Raises
    ------
    DataError
        If no row is of a watermark, or numbers have too few digits to compare.

    Notes
    -----
    Tolerances: three in the last printed place and 2e-6 of the value; of case/control traits also 1e-3 of a
    standard error for single precision, and, of PLINK 2, its standard error's own error at variants with
    missing calls (see the documentation). Of another model: the statistic within 1.5 + 0.3 abs(z), the
    standard error within a factor of 1.5. Cost: milliseconds.
    """
    watermarks = compare(key, rows, program=program, precision="exact")
    used = "exact"
    if precision == "approximate" or (precision == "auto" and _is_approximate(key, program)):
        as_exact = bool((watermarks["state"] == "as expected").all())
        if precision == "approximate" or not as_exact:
            watermarks, used = compare(key, rows, program=program, precision="approximate"), "approximate"
    states = watermarks["state"]
    if (states == "missing").all():
        raise DataError(
            "the results have none of the key's watermarks, by id or by position; check that they are of "
            "the cohort that this key was made with, and of all variants"
        )
    if (states == "as expected").all():
        return _honest(key, watermarks, used)
    return _dishonest(key, watermarks, used, program)


def _is_approximate(key: Key, program: str) -> bool:
    # the server writes the header: it must not choose by how much it may be off
    return key.program in _INEXACT and program in _INEXACT


def _honest(key: Key, watermarks: pd.DataFrame, precision: str) -> Verdict:
    n = len(watermarks)
    share = _unnoticed(watermarks)
    evidence = [
        f"had more than {share:.2%} of the SNPs been skipped or invented, one of the {n} watermarks would "
        f"have shown it with {_CONFIDENCE:.0%} confidence"
    ]
    if precision == "approximate":
        evidence.append(
            "the program's model is not the key's: only signs, sizes and standard errors were compared, so "
            "that dropped covariates, a cheaper test or a few dropped samples would not show"
        )
    evidence += _of_samples(key, watermarks)
    statement = f"all {n} watermarks came back as expected"
    return Verdict("honest", statement, tuple(evidence), (), watermarks, precision, share)


def _unnoticed(watermarks: pd.DataFrame) -> float:
    """Return the largest share of SNPs that may have been invented unnoticed, with 95 % confidence.

    An invented result (z of 0, or standard normal, whichever passes more often) of watermark i passes its
    tolerance with probability q_i: the share s solves prod(1 - s (1 - q_i)) = 0.05, and is that of
    `power.unnoticed_share` where no q_i matters.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = watermarks["expected_statistic"].to_numpy(np.float64)
    off = np.minimum(watermarks["tolerance_statistic"].to_numpy(np.float64), 100.0)
    z, off = z[np.isfinite(z)], off[np.isfinite(z)]
    passes = np.maximum(norm.cdf(z + off) - norm.cdf(z - off), np.abs(z) <= off)
    caught = 1 - np.where(passes < _NEGLIGIBLE, 0.0, passes)

    def excess(share: float) -> float:
        return float(np.prod(1 - share * caught)) - (1 - _CONFIDENCE)

    if not len(z) or excess(1.0) > 0:
        return 1.0
    return float(brentq(excess, 0.0, 1.0, xtol=1e-12))


def _of_samples(key: Key, watermarks: pd.DataFrame) -> list[str]:
    off = (watermarks["n"] != key.watermarks["called"]) & watermarks["n"].notna()
    if not off.any():
        return []
    return [f"the number of samples is not the key's at {int(off.sum())} watermarks"]


def _of_program(key: Key, program: str, precision: str) -> list[str]:
    if precision == "approximate" or program not in (*_INEXACT, "gemma") or program == key.program:
        return []
    asked = key.program or f"the model {key.asked!r}"
    return [
        f"the results are {program}'s, and {asked} was asked for; if that was agreed, --precision "
        "approximate compares them in the gross"
    ]


def _dishonest(key: Key, watermarks: pd.DataFrame, precision: str, program: str) -> Verdict:
    observed = _observed(watermarks)
    hypotheses = diagnose(key, observed, precision == "exact")
    best = hypotheses[0]
    counts = watermarks["state"].value_counts()
    seen = ", ".join(f"{count} {state}" for state, count in counts.items())
    evidence = [f"of {len(watermarks)} watermarks: {seen}", *best.evidence, *_of_samples(key, watermarks)]
    evidence += _of_program(key, program, precision)
    if (watermarks["state"] == "missing").mean() > _MOST_MISSING:
        evidence.append("so few are there that the key may be of another cohort, or results of a part of it")
    moved = int(watermarks["moved"].sum())
    if moved:
        evidence.append(f"{moved} watermarks came back at another position or with other alleles")
    return Verdict(
        best.name, best.statement, tuple(evidence), tuple(hypotheses), watermarks, precision, math.nan
    )


def _observed(watermarks: pd.DataFrame) -> Observed:
    """Return what the explanations are made of: z, log SE, and how finely they are known."""

    def column(name: str) -> NDArray[np.float64]:
        return watermarks[name].to_numpy(np.float64)

    z, se = column("returned_statistic"), column("returned_se")
    is_signed = watermarks["signed"].to_numpy(bool) & np.isfinite(z)
    z = np.where(np.isfinite(z), z, _z_of(column("returned_log10_p")))
    z = np.where(watermarks["state"] == "repeated", np.nan, z)  # which row would count is not known
    with np.errstate(divide="ignore", invalid="ignore"):
        fine = column("tolerance_se") / column("expected_se")
        log_se = np.log(se)
    return Observed(
        z, log_se, is_signed, column("n"),
        np.where(np.isfinite(column("tolerance_statistic")), column("tolerance_statistic"), 1.5),
        np.where(np.isfinite(fine), fine, 0.5),
    )  # fmt: skip


def _z_of(log10_p: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import ndtri_exp

    known = np.where(np.isnan(log10_p), 0.0, np.maximum(log10_p, -1e5))
    return np.where(np.isnan(log10_p), np.nan, -ndtri_exp(known * _LN10 - math.log(2)))
