"""Cohorts with watermarks, their keys made by our own association, and what servers return of them."""

from __future__ import annotations

from dataclasses import dataclass

import helpers
import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import norm

from genoweave.genotypes import select
from genoweave.methods.gwas import GWAS, Trait, gwas
from genoweave.methods.watermark.key import Key

NUMBERS = ("beta", "se", "statistic", "log10_p")


@dataclass(frozen=True)
class Sent:
    """What the owner sent, and its secret key."""

    ds: xr.Dataset
    trait: Trait
    covariates: np.ndarray
    at: np.ndarray
    key: Key


def results(ds, trait: Trait, covariates, test: str = "linear") -> pd.DataFrame:
    """Our association as a table, a row per variant of the cohort."""
    if test == "linear":
        trait = Trait(trait.name, trait.values, is_binary=False)
    test = {"hybrid": "wald", "linear": "score"}.get(test, test)
    found = gwas(ds, [trait], covariates, GWAS(test=test, refine_p=0))[0]
    assert len(found.variants) == ds.sizes["variants"]
    fits = found.fits
    columns = {"called": fits.called, "frequency": fits.frequency}
    return pd.DataFrame(columns | {name: getattr(fits, name) for name in NUMBERS})


def send(
    *, is_binary: bool, seed: int = 1, n: int = 1200, n_real: int = 60, n_signals: int = 12, n_nulls: int = 8,
    share: float = 0.5, missing: float = 0.01, n_covariates: int = 2,
) -> Sent:  # fmt: skip
    """Make a cohort whose watermarks stand among real SNPs; |z| of the signals is about 4 to 8."""
    rng = np.random.default_rng(seed)
    n_marks = n_signals + n_nulls
    frequency = rng.uniform(0.1, 0.9, n_real + n_marks)
    dosage = helpers.hardy_weinberg(frequency, n, rng)
    at = np.sort(3 + 3 * rng.choice((n_real + n_marks) // 3 - 2, n_marks, replace=False))
    role = np.array(["signal"] * n_signals + ["null"] * n_nulls, object)
    rng.shuffle(role)
    covariates = np.round(rng.normal(size=(n, n_covariates)), 6)
    wanted = rng.uniform(4, 8, n_marks) * rng.choice([-1, 1], n_marks) * (role == "signal")
    variance = share * (1 - share) if is_binary else 1
    effect = wanted / np.sqrt(n * variance * 2 * frequency[at] * (1 - frequency[at]))
    base = covariates @ np.resize([0.5, -0.3], n_covariates)
    base += effect @ (dosage[at] - 2.0 * frequency[at][:, None])
    values = base + (rng.logistic(size=n) if is_binary else rng.normal(size=n))
    if is_binary:
        values = (values > np.quantile(values, 1 - share)).astype(float)
    if missing:  # of every other variant
        dosage[::2] = helpers.with_missing(dosage[::2], missing, rng)
    ds = helpers.cohort(dosage, contigs=("1", "22"))
    trait = Trait("pain", np.round(values, 6), is_binary)
    return Sent(ds, trait, covariates, at, make_key(ds, trait, covariates, at, role))


def make_key(ds, trait: Trait, covariates, at, role) -> Key:
    """Make the key of watermarks at some rows."""
    asked = "hybrid" if trait.is_binary else "linear"
    marks = select(ds, at)
    tests = ("hybrid", "wald", "score", "firth", "linear") if trait.is_binary else ("linear",)
    expected = {test: results(marks, trait, covariates, test) for test in tests}
    expected["no_covariates"] = results(marks, trait, np.empty((len(covariates), 0)), asked)
    names = tuple(f"c{k}" for k in range(covariates.shape[1]))
    for k, name in enumerate(names):
        expected[f"without {name}"] = results(marks, trait, np.delete(covariates, k, axis=1), asked)
    table = named(marks).assign(role=role)
    table[["called", "frequency"]] = expected[asked][["called", "frequency"]]
    status = trait.values if trait.is_binary else np.zeros(len(trait.values))
    n, n_real = len(status), ds.sizes["variants"] - len(at)
    return Key(
        trait.name, trait.is_binary, n, n, int(status.sum()), n_real, names, asked, table, expected,
        neighbours(ds, trait, covariates, at, asked),
    )  # fmt: skip


def named(ds) -> pd.DataFrame:
    allele = ds["variant_allele"].values
    return pd.DataFrame(
        {
            "contig": ds["contig_id"].values[ds["variant_contig"].values],
            "position": ds["variant_position"].values.astype(np.int64),
            "id": ds["variant_id"].values,
            "ref": allele[:, 0],
            "alt": allele[:, 1],
        }
    )


def neighbours(ds, trait: Trait, covariates, at, asked: str) -> pd.DataFrame:
    parts = []
    for offset in (-3, -2, -1, 1, 2, 3):
        rows = at + offset
        here = (rows >= 0) & (rows < ds.sizes["variants"])
        part = select(ds, rows[here])
        found = results(part, trait, covariates, asked)
        front = {"watermark": np.flatnonzero(here), "offset": offset, "id": part["variant_id"].values}
        parts.append(pd.DataFrame(front).join(found[["frequency", *NUMBERS]]))
    return pd.concat(parts, ignore_index=True)


def returned(sent: Sent, table: pd.DataFrame | None = None, *, digits: int = 6) -> pd.DataFrame:
    """What an honest server returns of all variants (or `table`, a row per variant), to some digits."""
    asked = sent.key.asked
    table = results(sent.ds, sent.trait, sent.covariates, asked) if table is None else table
    names = named(sent.ds)
    out = pd.DataFrame(
        {"contig": names["contig"], "position": names["position"], "id": names["id"], "counted": names["alt"],
         "n": table["called"].astype(float), "frequency": table["frequency"]}
    )  # fmt: skip
    for name in NUMBERS:
        values = table[name].to_numpy(float)
        with np.errstate(divide="ignore"):
            size = np.maximum(np.floor(np.log10(np.abs(values))), -12)
            unit = 10.0 ** (size - digits + 1)
        out[name] = np.round(values / unit) * unit
        out[f"{name}_unit"] = unit
    return out


def with_z(rows: pd.DataFrame, which, z) -> pd.DataFrame:
    """Replace the statistics of some rows by made-up ones, their standard errors as they are."""
    rows = rows.copy()
    at = rows.index[which]
    rows.loc[at, "statistic"] = z
    rows.loc[at, "beta"] = z * rows.loc[at, "se"]
    rows.loc[at, "log10_p"] = (norm.logsf(np.abs(z)) + np.log(2)) / np.log(10)
    return rows
