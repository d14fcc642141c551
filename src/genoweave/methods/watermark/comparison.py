"""What came back of each watermark against the key, to rounding and to what is known of programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.watermark.key import Key

# A value may be off by this many of the last printed place, and by this share of itself.
_LAST_PLACES = 3.0
_RELATIVE = 2e-6
# A statistic near 0 is the rest of larger numbers.
_ROUNDING_Z = 1e-6
# PLINK 2 fits case/control traits in single precision and ends when a step is below 1e-4 [measured: 2.3e-4].
_LOGISTIC_Z = 1e-3
# Its Firth regression ends earlier where carriers are few [measured: 4e-4].
_FIRTH = 1e-3
# Exact mixed models differ in how finely the variance ratio was found.
_MIXED_Z = 5e-3
# Where the model cannot be made again: REGENIE's and SAIGE's predictions of the rest of the genome.
_APPROXIMATE_Z, _APPROXIMATE_SHARE, _APPROXIMATE_SE = 1.5, 0.3, 1.5
# Results whose last printed place is worth more than this (and this share of z) tell nothing.
_COARSEST_Z, _COARSEST_SHARE = 0.02, 0.002
_LN10 = math.log(10)
_SMALLEST_LOG10_P = -300.0


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
    _check_digits(hoped, back, unit)
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
        made_unit = np.hypot(column("beta_unit"), np.abs(made) * column("se_unit")) / se
    given = np.isfinite(z)
    return np.where(given, z, made) * sign, np.where(given, column("statistic_unit"), made_unit)


def _check_digits(
    hoped: dict[str, NDArray[np.float64]], back: dict[str, NDArray[np.float64]],
    unit: dict[str, NDArray[np.float64]],
) -> None:  # fmt: skip
    """Refuse results of which no column tells the statistic: a server could print what anything agrees with.

    The standard error does not count: it is known without the trait.
    """
    z, se = np.abs(hoped["statistic"]), hoped["se"]
    worth: dict[str, Any] = {"statistic": 1.0, "beta": 1 / se, "log10_p": 1 / _slope(z)}
    finest = np.full(len(z), np.inf)
    for name, factor in worth.items():
        is_there = ~np.isnan(back[name]) & np.isfinite(unit[name])
        finest = np.fmin(finest, np.where(is_there, unit[name] * factor, np.inf))
    share = finest[np.isfinite(finest)] / (_COARSEST_Z + _COARSEST_SHARE * z[np.isfinite(finest)])
    if len(share) and share.max() > 1:
        raise DataError(
            "the results' numbers have too few digits to be compared (the last place is worth up to "
            f"{finest[np.isfinite(finest)].max():.2g} standard errors of the effect); ask the server for "
            "results with four digits or more"
        )


def _slope(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much log10 p changes with z, at most."""
    return (z + 0.8) / _LN10


def _tolerances(
    key: Key, hoped: dict[str, NDArray[np.float64]], unit: dict[str, NDArray[np.float64]],
    n: NDArray[np.float64], flipped: NDArray[np.bool_], program: str, precision: str,
) -> dict[str, NDArray[np.float64]]:  # fmt: skip
    """Return how far each number of each watermark may be off; infinity where it is not compared."""
    z, se = np.abs(hoped["statistic"]), hoped["se"]
    slope = _slope(z)
    if precision == "approximate":
        off = _APPROXIMATE_Z + _APPROXIMATE_SHARE * z
        everything = np.full(len(z), np.inf)
        return {
            "beta": everything, "se": se * (_APPROXIMATE_SE - 1), "statistic": off, "log10_p": off * slope * 2
        }  # fmt: skip
    off_z, off_se = np.full(len(z), _ROUNDING_Z), np.zeros(len(z))
    if key.asked == "mixed":
        off_z, off_se = _MIXED_Z * (1 + z), np.full(len(z), _MIXED_Z)
    elif key.is_binary and key.asked != "linear":
        off_z, off_se = np.full(len(z), _LOGISTIC_Z), np.full(len(z), _LOGISTIC_Z)
        if key.asked == "firth":
            off_z, off_se = off_z + _FIRTH * z, off_se + _FIRTH
        if program == "plink2":
            padded = _padding(key, n, flipped)
            off_se = off_se + padded / 2
            off_z = off_z + z * padded / 2 + 0.1 * padded
    if program == "gemma" and key.asked == "linear" and not key.program:
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
