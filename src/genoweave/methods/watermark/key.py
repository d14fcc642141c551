"""The secret key file of a cohort with watermarks: which they are, and what an honest server returns."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genoweave.errors import DataError

FORMAT = "genoweave-watermark-key"
VERSION = 1
# Names of the results that a key holds of each watermark, and of each neighbour.
RESULTS = ("beta", "se", "statistic", "log10_p")
ROLES = ("signal", "null")

_WATERMARKS: dict[str, type] = {
    "contig": str, "position": int, "id": str, "ref": str, "alt": str, "role": str, "called": int,
    "frequency": float,
}  # fmt: skip
_EXPECTED: dict[str, type] = dict.fromkeys(RESULTS, float)
_NEIGHBOURS: dict[str, type] = {"watermark": int, "offset": int, "id": str, "frequency": float} | _EXPECTED
_ONE: dict[str, type] = {
    "trait": str, "is_binary": bool, "n_samples": int, "n_complete": int, "n_cases": int, "n_variants": int,
    "asked": str, "program": str,
}  # fmt: skip
_ADVICE = "use the file that `genoweave watermark --key` wrote, unchanged"


@dataclass(frozen=True)
class Key:
    """What the owner of the data keeps, and compares a server's results with.

    Attributes
    ----------
    trait, is_binary
        Name of the trait; whether it is case/control.
    n_samples, n_complete, n_cases
        Samples sent, those of them with trait and covariates, and cases among these (0 if quantitative).
    n_variants
        Real variants among which the watermarks hide.
    covariates
        Names of the covariates sent.
    asked
        Model of `expected` that the server was asked to run: linear, score, wald, firth, hybrid or mixed.
    watermarks
        A row per watermark, in the order sent: contig, position, id, ref, alt (the counted allele), role
        ("signal" or "null"), called (samples in the regression), frequency (of alt among them).
    expected
        By model, rows as `watermarks`: beta, se, statistic (t or z), log10_p (log10 of p, so negative);
        NaN where the model does not exist. Among them `asked`, the other tests, "no_covariates" (the
        asked test without any) and "without NAME".
    neighbours
        watermark (row of `watermarks`), offset (-3 to 3 without 0, in the order of the variants sent), id,
        frequency, and the results of the asked model: what a shifted table would return.
    program
        That the server was asked to run (plink2, regenie, saige, gemma); "" if only the model is agreed.
    """

    trait: str
    is_binary: bool
    n_samples: int
    n_complete: int
    n_cases: int
    n_variants: int
    covariates: tuple[str, ...]
    asked: str
    watermarks: pd.DataFrame
    expected: dict[str, pd.DataFrame]
    neighbours: pd.DataFrame
    program: str = ""

    def to_json(self) -> str:
        """Return the text of the key file; floats with the digits that tell them apart, NaN as null."""
        content = {
            FORMAT: VERSION,
            **{name: kind(getattr(self, name)) for name, kind in _ONE.items()},
            "covariates": list(self.covariates),
            "watermarks": _columns(self.watermarks, _WATERMARKS),
            "expected": {name: _columns(table, _EXPECTED) for name, table in self.expected.items()},
            "neighbours": _columns(self.neighbours, _NEIGHBOURS),
        }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Key:
        """Read a key file's text.

        Raises
        ------
        DataError
            If it is no key file, of another version, or damaged.
        """
        content = _content(text)
        watermarks = _table(content, "watermarks", _WATERMARKS)
        expected = content.get("expected")
        if not isinstance(expected, dict):
            raise _damaged("has no table of expected results by model")
        key = cls(
            **{name: _one(content, name, kind) for name, kind in _ONE.items()},
            covariates=tuple(_texts(content, "covariates")),
            watermarks=watermarks,
            expected={name: _table(expected, name, _EXPECTED) for name in expected},
            neighbours=_table(content, "neighbours", _NEIGHBOURS),
        )
        _check(key)
        return key


def _columns(table: pd.DataFrame, kinds: dict[str, type]) -> dict[str, list[Any]]:
    return {name: [_written(kind(value)) for value in table[name]] for name, kind in kinds.items()}


def _written(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _damaged(what: str) -> DataError:
    return DataError(f"the watermark key {what}; {_ADVICE}")


def _content(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged("is not JSON: it is cut short, changed or another file") from None
    if not isinstance(content, dict) or FORMAT not in content:
        raise _damaged(f"has no {FORMAT!r}: it is another file")
    if content[FORMAT] != VERSION:
        raise DataError(
            f"the watermark key is of version {content[FORMAT]!r}, this genoweave reads {VERSION}; use the "
            "genoweave that wrote it"
        )
    return content


def _one(content: dict[str, Any], name: str, kind: type) -> Any:
    value = content.get(name)
    if type(value) is not kind:
        raise _damaged(f"has no {name} of type {kind.__name__}")
    if isinstance(value, int) and value < 0:
        raise _damaged(f"has a negative {name}")
    return value


def _texts(content: dict[str, Any], name: str) -> list[str]:
    value = content.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _damaged(f"has no list of names {name}")
    return value


def _table(content: dict[str, Any], name: str, kinds: dict[str, type]) -> pd.DataFrame:
    found = content.get(name)
    if not isinstance(found, dict) or not all(isinstance(found.get(c), list) for c in kinds):
        raise _damaged(f"has no table {name} with columns {', '.join(kinds)}")
    if len({len(found[column]) for column in kinds}) != 1:
        raise _damaged(f"has columns of different lengths in {name}")
    return pd.DataFrame(
        {column: _values(found[column], kind, f"{name}.{column}") for column, kind in kinds.items()}
    )


def _values(values: list[Any], kind: type, where: str) -> np.ndarray:
    if kind is float:
        values = [math.nan if value is None else value for value in values]
    wanted = (int, float) if kind is float else (kind,)
    wrong = next((k for k, value in enumerate(values) if type(value) not in wanted), None)
    if wrong is not None:
        raise _damaged(f"has in {where}, entry {wrong + 1}, something that is not {kind.__name__}")
    try:
        return np.array(values, {str: object, int: np.int64, float: np.float64}[kind])
    except OverflowError:
        raise _damaged(f"has in {where} a number that is too large") from None


def _check(key: Key) -> None:
    """Refuse a key whose parts do not fit each other."""
    n = len(key.watermarks)
    if not n:
        raise _damaged("has no watermarks")
    if key.asked not in key.expected:
        raise _damaged(f"has no expected results of the model asked for, {key.asked!r}")
    if any(len(table) != n for table in key.expected.values()):
        raise _damaged("has another number of expected results than watermarks")
    if not key.watermarks["role"].isin(ROLES).all():
        raise _damaged(f"has a role other than {' and '.join(ROLES)}")
    if key.watermarks[["contig", "position", "id"]].duplicated().any():
        raise _damaged("names a watermark twice")
    if not key.neighbours["watermark"].between(0, n - 1).all():
        raise _damaged("has a neighbour of a watermark that it does not have")
