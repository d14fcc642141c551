"""Columns of association results: which program wrote a table, what they are called there, their numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.errors import ConfigError, DataError
from genoweave.io.files import shown
from genoweave.io.tables.chromosomes import chromosome_number

Program = Literal["plink2", "regenie", "gemma", "saige"]

# What a column holds -> its names in each program's header, the first that is there.
NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "plink2": {  # and genoweave, which writes these columns
        "contig": ("CHROM",), "position": ("POS",), "id": ("ID",), "counted": ("A1",), "test": ("TEST",),
        "n": ("OBS_CT",), "frequency": ("A1_FREQ",), "beta": ("BETA",), "odds_ratio": ("OR",),
        "se": ("LOG(OR)_SE", "SE"), "statistic": ("T_STAT", "Z_STAT"), "p": ("P",),
        "minus_log10_p": ("LOG10_P", "NEG_LOG10_P"), "error": ("ERRCODE",),
    },
    "regenie": {
        "contig": ("CHROM",), "position": ("GENPOS",), "id": ("ID",), "counted": ("ALLELE1",),
        "test": ("TEST",), "n": ("N",), "frequency": ("A1FREQ",), "beta": ("BETA",), "se": ("SE",),
        "chisq": ("CHISQ",), "minus_log10_p": ("LOG10P",),
    },
    "gemma": {
        "contig": ("chr",), "position": ("ps",), "id": ("rs",), "counted": ("allele1",), "n": ("n_obs",),
        "frequency": ("af",), "beta": ("beta",), "se": ("se",), "p": ("p_wald", "p_lrt", "p_score"),
    },
    "saige": {
        "contig": ("CHR",), "position": ("POS",), "id": ("MarkerID", "SNPID", "rsid"),
        "counted": ("Allele2",), "n": ("N",), "n_cases": ("N_case", "N.Cases"),
        "n_controls": ("N_ctrl", "N.Controls"), "frequency": ("AF_Allele2",), "beta": ("BETA",),
        "se": ("SE",), "p": ("p.value",),
    },
}  # fmt: skip
# Columns that only this program's tables have together.
_SIGNATURES: dict[str, set[str]] = {
    "regenie": {"GENPOS", "ID", "ALLELE1"},
    "gemma": {"rs", "allele1", "allele0"},
    "saige": {"Allele1", "Allele2", "p.value"},
    "plink2": {"ID", "A1"},
}
_TRAIT_COLUMNS = ("TRAIT", "PHENO", "PHENOTYPE")
_NOT_THERE = {"", ".", "na", "nan", "-nan", "null", "none", "inf", "-inf", "+inf"}
_LN10 = math.log(10)
_NUMBER = re.compile(r"([+-]?)(\d{0,400})(?:\.(\d{0,400}))?(?:[eE]([+-]?\d{1,6}))?", re.ASCII)


@dataclass(frozen=True)
class Columns:
    """Whose table it is, and where its columns stand.

    Attributes
    ----------
    program
        One of `NAMES`.
    at
        What a column holds -> its number in the header, from 0.
    header
        Names in the file.
    """

    program: str
    at: dict[str, int]
    header: tuple[str, ...]


def find_columns(header: Sequence[str], program: str, trait: str | None, where: object) -> Columns:
    """Tell a table's program by its header (``"auto"``), and find its columns.

    Raises
    ------
    DataError
        If the header is no program's, names a column twice, or has no id, or nothing to compare.
    """
    names = [name.strip().removeprefix("#") for name in header]
    if program == "auto":
        program = _program(names, where)
    at: dict[str, int] = {}
    for kind, choices in NAMES[program].items():
        found = _first(names, choices, trait)
        if found is not None:
            at[kind] = found
    trait_column = _first([name.upper() for name in names], _TRAIT_COLUMNS, None)
    if trait_column is not None:
        at["trait"] = trait_column
    repeated = {names[k] for k in at.values() if names.count(names[k]) > 1}
    if repeated:
        raise DataError(
            f"{where}: the header names {shown(min(repeated))} twice; give each column a name of its own"
        )
    _check(names, program, at, trait, where)
    return Columns(program, at, tuple(names))


def _first(names: Sequence[str], choices: Iterable[str], trait: str | None) -> int | None:
    """Return where the first of some names stands; REGENIE's ``--no-split`` appends ``.TRAIT``."""
    for choice in choices:
        for name in (choice, f"{choice}.{trait}"):
            if name in names:
                return names.index(name)
    return None


def _program(names: list[str], where: object) -> str:
    for program, wanted in _SIGNATURES.items():
        if wanted <= set(names):
            return program
    raise DataError(
        f"{where}: the header is that of no program known here (found {shown(' '.join(names))}); wanted "
        "results of PLINK 2 --glm (ID, A1), REGENIE step 2 (GENPOS, ALLELE1), GEMMA (rs, allele1), SAIGE "
        "(Allele1, Allele2, p.value) or genoweave gwas; name the program with --format"
    )


def _check(names: list[str], program: str, at: dict[str, int], trait: str | None, where: object) -> None:
    if "id" not in at:
        raise DataError(
            f"{where}: {program} calls the variants' names {NAMES[program]['id'][0]}, but the header has no "
            f"such column (found {shown(' '.join(names))}); choose another --format"
        )
    effect = {"beta", "odds_ratio"} & set(at) and "se" in at
    if not effect and not {"p", "minus_log10_p"} & set(at):
        split = [n for n in names if n.startswith(("LOG10P.", "BETA."))]
        advice = (
            f"it has several traits; name one of {shown(' '.join(sorted(split)))} with --trait"
            if split
            else "ask the server for effects and standard errors, or p"
        )
        raise DataError(f"{where}: no column has an effect with its standard error, or a p; {advice}")


@dataclass(frozen=True)
class Numbers:
    """A column's numbers, and how finely they are printed.

    Attributes
    ----------
    values, unit
        float64: NaN where there is none; the worth of one in the last printed place.
    log10
        float64, log10 of the absolute values, also of those below the smallest float.
    """

    values: NDArray[np.float64]
    unit: NDArray[np.float64]
    log10: NDArray[np.float64]


def is_missing(text: str) -> bool:
    """Tell whether a cell says that there is no number."""
    return text.strip().lower() in _NOT_THERE


def numbers(cells: Sequence[str], name: str, places: Sequence[str]) -> Numbers:
    """Read a column's cells; `places` say where each stands, for the message.

    Raises
    ------
    DataError
        If a cell is neither a number nor one of NA, nan, inf, a dot or nothing.
    """
    values, log10 = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
    digits, decimals = np.zeros(len(cells), np.int64), np.full(len(cells), -1)
    for i, cell in enumerate(cells):
        text = cell.strip()
        if is_missing(text):
            continue
        found = _NUMBER.fullmatch(text)
        if found is None or not (found[2] or found[3]):
            raise DataError(f"{places[i]}, column {shown(name)}: wanted a number, found {shown(text)}")
        sign, whole, fraction, exponent = found[1], found[2] or "", found[3] or "", found[4]
        significant = (whole + fraction).lstrip("0")
        digits[i] = len(significant)
        decimals[i] = len(fraction) if exponent is None else -1
        log10[i] = _log10(significant, int(exponent or 0) - len(fraction))
        value = float(f"{sign}{text.lstrip('+-')}")
        values[i] = value if math.isfinite(value) else math.nan  # no float is that large
    return Numbers(values, _units(log10, digits, decimals), log10)


def _log10(significant: str, exponent: int) -> float:
    """Return log10 of digits times ten to a power, -inf of 0."""
    if not significant:
        return -math.inf
    lead = significant[:18]
    return math.log10(int(lead)) + len(significant) - len(lead) + exponent


def _units(
    log10: NDArray[np.float64], digits: NDArray[np.int64], decimals: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the last place's worth: of a fixed number of decimals, else of the column's most digits.

    Programs drop zeros at the end, so that a cell by itself does not tell how finely it is printed.
    """
    known = ~np.isnan(log10)
    if not known.any():
        return np.full(len(log10), np.nan)
    fixed = np.unique(decimals[known])
    if len(fixed) == 1 and fixed[0] > 0:
        return np.where(known, 10.0 ** -float(fixed[0]), np.nan)
    most = int(digits[known].max())
    size = np.where(np.isfinite(log10), np.floor(log10 + 1e-12), 0.0)
    with np.errstate(under="ignore"):
        return np.where(known, 10.0 ** np.maximum(size - most + 1, -300), np.nan)


def numbered(columns: Columns, rows: list[dict[str, str]], places: list[str]) -> pd.DataFrame:
    """Turn a file's kept cells, by what they hold, into the rows that `gwas_results.Returned` describes."""

    def read(kind: str) -> Numbers:
        name = columns.header[columns.at[kind]] if kind in columns.at else kind
        return numbers([row.get(kind, "") for row in rows], name, places)

    def words(kind: str) -> list[str]:
        return [row.get(kind, "").strip() for row in rows]

    beta, se, statistic = read("beta"), read("se"), read("statistic")
    if "odds_ratio" in columns.at and "beta" not in columns.at:
        beta = _log_odds(read("odds_ratio"))
    if "chisq" in columns.at:
        statistic = _root(read("chisq"), beta)
    n = read("n").values
    if "n_cases" in columns.at and "n" not in columns.at:
        n = read("n_cases").values + read("n_controls").values
    log10_p, p_unit = _log10_p(read("p"), read("minus_log10_p"), places)
    is_wrong = np.flatnonzero(se.values < 0)
    if len(is_wrong):
        raise DataError(f"{places[is_wrong[0]]}: wanted a standard error, found a negative one")
    return pd.DataFrame(
        {
            "contig": [chromosome_number(name) for name in words("contig")],
            "position": _positions(read("position").values),
            "id": words("id"),
            "counted": words("counted"),
            "n": n,
            "frequency": read("frequency").values,
            "beta": beta.values, "beta_unit": beta.unit,
            "se": np.where(se.values > 0, se.values, np.nan), "se_unit": se.unit,
            "statistic": statistic.values, "statistic_unit": statistic.unit,
            "log10_p": log10_p, "log10_p_unit": p_unit,
            "place": places,
        }
    )  # fmt: skip


def _positions(values: NDArray[np.float64]) -> NDArray[np.int64]:
    whole = np.isfinite(values) & (values >= 0) & (values < 2**53)
    return np.where(whole, values, -1).astype(np.int64)


def _log_odds(ratio: Numbers) -> Numbers:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        beta = np.log(ratio.values)
        return Numbers(np.where(np.isfinite(beta), beta, np.nan), ratio.unit / ratio.values, beta)


def _root(chisq: Numbers, beta: Numbers) -> Numbers:
    """Return chi-squared as a normal statistic of the effect's sign."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt(chisq.values)
        # near 0 the root of what is left out by rounding
        unit = np.minimum(chisq.unit / (2 * size), np.sqrt(chisq.unit))
    return Numbers(np.where(beta.values < 0, -size, size), unit, chisq.log10)


def _log10_p(
    p: Numbers, minus_log10: Numbers, places: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log10 p, and its unit; a p of 0 is -inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = np.flatnonzero((p.values < 0) | (p.log10 > 1e-9) | (minus_log10.values < -1e-9))
        if len(wrong):
            raise DataError(f"{places[wrong[0]]}: wanted a p between 0 and 1, found another number")
        given = ~np.isnan(minus_log10.values)
        relative = np.where(p.values > 1e-290, p.unit / p.values, 1e-5)
        return (
            np.where(given, -minus_log10.values, p.log10),
            np.where(given, minus_log10.unit, relative / _LN10),
        )


def check_program(program: str) -> None:
    """Refuse a format that is not known."""
    if program != "auto" and program not in NAMES:
        raise ConfigError(f"format {program!r} is not known; choose auto or one of {', '.join(NAMES)}")
