"""Reads what the programs write, and compares it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray


@dataclass(frozen=True)
class Check:
    """Whether the results of two programs agree, and how far."""

    passed: bool
    text: str


def column(path: Path, number: int) -> list[str]:
    """Return one column, from 0, of a table without a header (.bim, .fam)."""
    return [line.split()[number] for line in path.read_text().splitlines()]


def kin0(path: Path) -> pd.Series:
    """Return KINSHIP of a .kin0 table, indexed by the two sample ids in sorted order."""
    table = pd.read_csv(path, sep="\t", dtype={"IID1": str, "IID2": str}).rename(columns={"#IID1": "IID1"})
    table["IID1"] = table["IID1"].astype(str)
    swapped = table["IID1"] > table["IID2"]
    first = table["IID1"].where(~swapped, table["IID2"])
    second = table["IID2"].where(~swapped, table["IID1"])
    return pd.Series(table["KINSHIP"].to_numpy(float), index=pd.MultiIndex.from_arrays([first, second]))


def eigenvalues(path: Path) -> NDArray[np.float64]:
    """Return the numbers of an .eigenval file."""
    return np.loadtxt(path, ndmin=1)


def glm(path: Path) -> pd.Series:
    """Return the t or z statistics of regressions by variant id; covariates' own rows are dropped."""
    table = pd.read_csv(path, sep="\t", dtype={"ID": str})
    if "TEST" in table:
        table = table[table["TEST"] == "ADD"]
    t = table["T_STAT" if "T_STAT" in table else "Z_STAT"].to_numpy(float)
    flipped = table["A1"].to_numpy() != table["ALT"].to_numpy() if {"A1", "ALT"} <= set(table) else False
    return pd.Series(np.where(flipped, -t, t), index=table["ID"])


def stored_names(store: Path, name: str) -> list[str]:
    """Return the strings of a variable of a Zarr store."""
    return [str(value) for value in zarr.open(str(store), mode="r")[name][:]]


def same_names(what: str, ours: list[str], theirs: list[str]) -> Check:
    """Compare two lists of names, order included."""
    if ours == theirs:
        return Check(True, f"the same {len(ours):,} {what}")
    differ = len(set(ours) ^ set(theirs))
    return Check(False, f"{what}: {len(ours):,} against {len(theirs):,}, {differ:,} in one only")


def same_numbers(what: str, ours: pd.Series, theirs: pd.Series, tolerance: float) -> Check:
    """Compare numbers with the same index in any order; NaN where both have none."""
    if len(ours.index) != len(theirs.index) or len(ours.index.symmetric_difference(theirs.index)):
        only = len(ours.index.symmetric_difference(theirs.index))
        return Check(False, f"{what}: {len(ours):,} against {len(theirs):,}, {only:,} in one only")
    other = theirs.reindex(ours.index)
    gap = (ours - other).abs()
    unlike = int((ours.isna() != other.isna()).sum())
    largest = float(gap.max()) if gap.notna().any() else 0.0
    text = f"{len(ours):,} {what}, largest difference {largest:.2g}"
    return Check(
        unlike == 0 and largest <= tolerance, text + (f", {unlike} without a number" if unlike else "")
    )


def both(*checks: Check) -> Check:
    """Join checks."""
    return Check(all(check.passed for check in checks), "; ".join(check.text for check in checks))


def stored_calls(ours: Path, theirs: Path, rows: int = 200) -> Check:
    """Compare the dosages of the first and last variants of two VCF Zarr stores, as any reader sees them."""
    ends = [zarr.open(str(store), mode="r")["call_genotype"] for store in (ours, theirs)]
    shapes = [array.shape for array in ends]
    if shapes[0] != shapes[1]:
        return Check(False, f"call_genotype {shapes[0]} against {shapes[1]}")
    for part in (slice(0, rows), slice(max(0, shapes[0][0] - rows), None)):
        a, b = (np.sort(array[part], axis=2) for array in ends)
        if (a != b).any():
            return Check(False, f"call_genotype differs at {int((a != b).any(axis=2).sum()):,} calls")
    return Check(True, f"the same calls of the first and last {rows} variants")
