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
from genoweave.methods.watermark.diagnosis import Hypothesis, diagnose
from genoweave.methods.watermark.diagnosis_case import Observed
from genoweave.methods.watermark.key import Key
from genoweave.methods.watermark.power import unnoticed_share

Precision = Literal["auto", "exact", "approximate"]

# A value may be off by this many of the last printed place, and by this share of itself.
_LAST_PLACES = 3.0
_RELATIVE = 2e-6
# PLINK 2 fits case/control traits in single precision and ends when a step is below 1e-4 [measured: 2.3e-4].
_LOGISTIC_Z = 1e-3
# Exact mixed models differ in how finely the variance ratio was found.
_MIXED_Z = 5e-3
# Where the model cannot be made again: REGENIE's and SAIGE's predictions of the rest of the genome.
_APPROXIMATE_Z, _APPROXIMATE_SHARE, _APPROXIMATE_SE = 1.5, 0.3, 1.5
# Results printed with fewer digits than about four tell nothing.
_COARSEST = 1e-3
_CONFIDENCE = 0.95
_LN10 = math.log(10)
_SMALLEST_LOG10_P = -300.0


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
        association; "auto": approximate for REGENIE, SAIGE and, unless the key asked for a mixed model,
        GEMMA's, where they are not exact.

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
    return _dishonest(key, watermarks, used)


def _is_approximate(key: Key, program: str) -> bool:
    if program == "gemma":
        return key.asked not in ("mixed", "linear")
    return program in ("regenie", "saige")


def _honest(key: Key, watermarks: pd.DataFrame, precision: str) -> Verdict:
    n = len(watermarks)
    share = unnoticed_share(n, _CONFIDENCE)
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


def _of_samples(key: Key, watermarks: pd.DataFrame) -> list[str]:
    off = (watermarks["n"] != key.watermarks["called"]) & watermarks["n"].notna()
    if not off.any():
        return []
    return [f"the number of samples is not the key's at {int(off.sum())} watermarks"]


def _dishonest(key: Key, watermarks: pd.DataFrame, precision: str) -> Verdict:
    observed = _observed(watermarks)
    hypotheses = diagnose(key, observed, precision == "exact")
    best = hypotheses[0]
    counts = watermarks["state"].value_counts()
    seen = ", ".join(f"{count} {state}" for state, count in counts.items())
    evidence = [f"of {len(watermarks)} watermarks: {seen}", *best.evidence, *_of_samples(key, watermarks)]
    moved = int(watermarks["moved"].sum())
    if moved:
        evidence.append(f"{moved} watermarks came back at another position or with other alleles")
    return Verdict(
        best.name, best.statement, tuple(evidence), tuple(hypotheses), watermarks, precision, math.nan
    )


def compare(
    key: Key, rows: pd.DataFrame, *, program: str = "plink2", precision: str = "exact"
) -> pd.DataFrame:
    """Return the state of each watermark, with what was expected and returned; see `verify`."""
    wanted, expected = key.watermarks, key.expected[key.asked]
    at, repeated = _rows_of(wanted, rows)
    found = at >= 0
    mine = rows.take(np.maximum(at, 0)) if len(rows) else rows.reindex(range(len(at)))

    def column(name: str) -> NDArray[np.float64]:
        return np.where(found, mine[name].to_numpy(np.float64), np.nan)

    counted = np.where(found, mine["counted"].to_numpy(object), "")
    ref, alt = wanted["ref"].to_numpy(object), wanted["alt"].to_numpy(object)
    flipped = (counted == ref) & (ref != alt)
    signed = flipped | (counted == alt)
    sign = np.where(flipped, -1.0, 1.0)
    back = {name: column(name) * (sign if name == "beta" else 1) for name in ("beta", "se", "log10_p")}
    back["statistic"], unit_z = _statistic(column, sign)
    unit = {name: column(f"{name}_unit") for name in ("beta", "se", "log10_p")} | {"statistic": unit_z}
    hoped = {name: expected[name].to_numpy(np.float64) for name in back}
    _check_digits(back, unit)
    allowed = _tolerances(key, hoped, unit, column("n"), flipped, program, precision)
    table: dict[str, Any] = {
        "contig": wanted["contig"].to_numpy(object),
        "position": wanted["position"].to_numpy(),
        "id": wanted["id"].to_numpy(object),
        "role": wanted["role"].to_numpy(object),
        "state": None,
        "n": column("n"),
        "flipped": flipped,
        "moved": found & (~signed & (counted != "") | _moved(wanted, mine)),
        "signed": signed,
    }
    ok = np.ones(len(at), bool)
    for name in ("beta", "se", "statistic", "log10_p"):
        difference = _difference(hoped[name], back[name], ~signed & (name in ("beta", "statistic")))
        table |= {f"expected_{name}": hoped[name], f"returned_{name}": back[name]}
        table |= {f"difference_{name}": difference, f"tolerance_{name}": allowed[name]}
        with np.errstate(invalid="ignore"):
            ok &= ~(np.abs(difference) > allowed[name])
    has_result = np.isfinite(back["statistic"]) | ~np.isnan(back["log10_p"])
    ok &= (has_result == np.isfinite(hoped["statistic"])) & (signed | (counted == ""))
    state = np.where(ok, "as expected", np.where(has_result, "differs", "no result"))
    table["state"] = np.where(repeated, "repeated", np.where(found, state, "missing")).astype(object)
    return pd.DataFrame(table)


def _difference(
    hoped: NDArray[np.float64], back: NDArray[np.float64], unsigned: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what came back less what was expected; a p of 0 is any below the smallest float."""
    with np.errstate(invalid="ignore"):
        difference = np.where(unsigned, np.abs(back) - np.abs(hoped), back - hoped)
    return np.where(np.isinf(back) & (hoped < _SMALLEST_LOG10_P), 0.0, difference)


def _rows_of(wanted: pd.DataFrame, rows: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the row of each watermark (-1 missing), and whether several rows of it contradict each other.

    By id; where no row has the id (or it is ``.``), by chromosome, position and counted allele.
    """
    by_id: dict[str, list[int]] = {}
    by_place: dict[tuple[str, int], list[int]] = {}
    places = zip(rows["id"], rows["contig"], rows["position"], strict=True)
    for k, (name, contig, position) in enumerate(places):
        by_id.setdefault(str(name), []).append(k)
        by_place.setdefault((_bare(str(contig)), int(position)), []).append(k)
    counted = rows["counted"].tolist()
    values = rows[["beta", "se", "statistic", "log10_p"]].to_numpy(np.float64)
    at = np.full(len(wanted), -1, np.int64)
    repeated = np.zeros(len(wanted), bool)
    fields = (wanted[name] for name in ("id", "contig", "position", "ref", "alt"))
    for i, (name, contig, position, ref, alt) in enumerate(zip(*fields, strict=True)):
        mine = by_id.get(str(name), []) if name != "." else []
        if not mine:
            near = by_place.get((_bare(str(contig)), int(position)), [])
            mine = [k for k in near if counted[k] in (ref, alt)]
        if mine:
            at[i] = mine[0]
            repeated[i] = not np.array_equal(values[mine], np.tile(values[mine[0]], (len(mine), 1)), True)
    return at, repeated


def _bare(contig: str) -> str:
    bare = contig[3:] if contig.lower().startswith("chr") else contig
    return {"X": "23", "Y": "24", "XY": "25", "MT": "26", "M": "26"}.get(bare.upper(), bare)


def _moved(wanted: pd.DataFrame, mine: pd.DataFrame) -> NDArray[np.bool_]:
    position = mine["position"].to_numpy(np.float64)
    return np.asarray((position >= 0) & (position != wanted["position"].to_numpy(np.float64)))


def _statistic(column: Any, sign: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return t or z as returned, else made of effect and standard error, and its unit."""
    z, beta, se = column("statistic"), column("beta"), column("se")
    with np.errstate(divide="ignore", invalid="ignore"):
        made = beta / se
        made_unit = np.abs(made) * np.hypot(
            column("beta_unit") / np.maximum(np.abs(beta), 1e-300), column("se_unit") / se
        )
    given = np.isfinite(z)
    return np.where(given, z, made) * sign, np.where(given, column("statistic_unit"), made_unit)


def _check_digits(back: dict[str, NDArray[np.float64]], unit: dict[str, NDArray[np.float64]]) -> None:
    finest = math.inf
    for name, values in back.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = (unit[name] / np.abs(values))[np.isfinite(values) & (values != 0)]
        if len(relative):
            finest = min(finest, float(np.median(relative)))
    if math.isfinite(finest) and finest > _COARSEST:
        raise DataError(
            "the results' numbers have too few digits to be compared (about "
            f"{max(1, round(-math.log10(finest)))}); ask the server for results with four digits or more"
        )


def _tolerances(
    key: Key, hoped: dict[str, NDArray[np.float64]], unit: dict[str, NDArray[np.float64]],
    n: NDArray[np.float64], flipped: NDArray[np.bool_], program: str, precision: str,
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """Return how far each number of each watermark may be off; infinity where it is not compared."""
    z, se = np.abs(hoped["statistic"]), hoped["se"]
    slope = (z + 0.8) / _LN10  # of log10 p in z, at most
    if precision == "approximate":
        off = _APPROXIMATE_Z + _APPROXIMATE_SHARE * z
        everything = np.full(len(z), np.inf)
        return {
            "beta": everything, "se": se * (_APPROXIMATE_SE - 1), "statistic": off, "log10_p": off * slope * 2
        }  # fmt: skip
    off_z, off_se = np.zeros(len(z)), np.zeros(len(z))
    if key.asked == "mixed":
        off_z, off_se = _MIXED_Z * (1 + z), np.full(len(z), _MIXED_Z)
    elif key.is_binary and key.asked != "linear":
        off_z, off_se = np.full(len(z), _LOGISTIC_Z), np.full(len(z), _LOGISTIC_Z)
        if program == "plink2":
            padded = _padding(key, n, flipped)
            off_se = off_se + padded / 2
            off_z = off_z + z * padded / 2 + 0.1 * padded
    if program == "gemma" and key.asked == "linear":
        off_z, off_se = off_z + _mean_imputed(key) * (1 + z), off_se + _mean_imputed(key)
    model = {"beta": off_z * se, "se": off_se * se, "statistic": off_z, "log10_p": off_z * slope}
    return {
        name: _LAST_PLACES * np.nan_to_num(unit[name]) + _RELATIVE * np.abs(hoped[name]) + model[name]
        for name in model
    }


def _padding(key: Key, n: NDArray[np.float64], flipped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return by what share PLINK 2 (alpha 3.5, AVX2) can overstate a case/control variant's information.

    Of a variant with missing calls it pads the samples to a multiple of four; the added ones may count in
    the information matrix as samples of genotype 0 and fitted probability 1/2: a quarter of the squared
    mean genotype each. That mean is weighted by the fitted variances, in which carriers count for more by up
    to the odds ratio; covariates move it a little.
    """
    table = key.expected[key.asked]
    se = table["se"].to_numpy(np.float64)
    beta = np.where(flipped, -1, 1) * table["beta"].to_numpy(np.float64)
    frequency = key.watermarks["frequency"].to_numpy(np.float64)
    frequency = np.where(flipped, 1 - frequency, frequency)
    is_missing = key.watermarks["called"].to_numpy() < key.n_complete
    added = is_missing * np.where(np.isfinite(n), -n % 4, 3)
    odds = np.exp(np.clip(beta, 0, 10))
    mean = 2 * frequency * odds / (1 - frequency + frequency * odds) + 0.15
    return added * 0.25 * mean**2 * se**2 * 1.1


def _mean_imputed(key: Key) -> NDArray[np.float64]:
    """Return what mean imputation of missing calls, GEMMA's, can change: five times their share."""
    called = key.watermarks["called"].to_numpy(np.float64)
    return 5 * (1 - called / max(1, key.n_complete))


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
