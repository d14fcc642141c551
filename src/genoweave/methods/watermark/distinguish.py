"""Whether a server could tell watermarks from real SNPs by what every SNP shows of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import DataError
from genoweave.genotypes import read_rows, source_of
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.qc import QC, usable_variants, variant_statistics
from genoweave.methods.watermark.key import Key
from genoweave.methods.watermark.panel import centred, strata_of

# Real SNPs that watermarks are compared with, times their number.
_REAL_PER_MARK = 5
_FOLDS = 5
_FEWEST = 20
_MOST_SAMPLES = 20_000
_ROWS_AT_ONCE = 64
# Linkage is looked for up to so many variants away.
_FAR = 15
# Features that take all of them together.
_TOGETHER = ("r2_second_most", "r2_together")
_RIDGE = 0.01


@dataclass(frozen=True)
class Distinguished:
    """How well classifiers tell watermarks from real SNPs.

    Attributes
    ----------
    auc
        Cross-validated area under the curve by classifier: 0.5 cannot tell, 1 always can.
    auc_together
        The same with two features more, which take all 30 variants around together: a server that regresses
        each variant on them.
    band
        Half width about 0.5 within which an AUC lies in 99.9 % of cohorts if nothing can be told.
    single
        Area under the curve of each feature by itself, the larger of both directions.
    """

    auc: dict[str, float]
    auc_together: dict[str, float]
    band: float
    single: dict[str, float]


def distinguish(ds: xr.Dataset, marks: NDArray[np.int64], seed: int = 0) -> Distinguished:
    """Try to tell some variants of a cohort from the others.

    Logistic regression and a random forest are cross-validated in 5 folds on `features`,
    of the `marks` and of five times as many other autosomal variants that pass quality control.

    Parameters
    ----------
    ds
        The cohort as it is sent.
    marks
        int64, rows of the watermarks.
    seed
        Of the comparison's draws.

    Raises
    ------
    DataError
        If there are fewer than 20 watermarks or too few other variants.

    Notes
    -----
    Reads 31 rows of genotypes for each variant compared, of at most 20,000 samples.
    """
    from sklearn.metrics import roc_auc_score

    marks = np.asarray(marks, np.int64)
    others = _others(ds, marks, seed)
    if len(marks) < _FEWEST or len(others) < _FEWEST:
        raise DataError(
            f"{len(marks)} watermarks and {len(others)} other variants are too few to compare; wanted at "
            f"least {_FEWEST} of both"
        )
    rows = np.concatenate([marks, others])
    table = features(ds, rows).fillna(0)
    is_mark = np.arange(len(rows)) < len(marks)
    alone = table.drop(columns=list(_TOGETHER))
    auc, auc_together = (_cross_validated(some, is_mark, seed) for some in (alone, table))
    single = {str(name): float(roc_auc_score(is_mark, table[name])) for name in table}
    single = {name: max(x, 1 - x) for name, x in single.items()}
    return Distinguished(auc, auc_together, 3.29 * _null_error(len(marks), len(others)), single)


def _cross_validated(table: pd.DataFrame, is_mark: NDArray[np.bool_], seed: int) -> dict[str, float]:
    """Return the area under the curve by classifier."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    n_quantiles = min(100, len(table) * (_FOLDS - 1) // _FOLDS)
    classifiers = {
        "logistic": make_pipeline(
            QuantileTransformer(n_quantiles=n_quantiles, random_state=seed), LogisticRegression()
        ),
        "forest": RandomForestClassifier(200, min_samples_leaf=3, random_state=seed),
    }
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    out = {}
    for name, one in classifiers.items():
        chance = cross_val_predict(one, table, is_mark, cv=folds, method="predict_proba")[:, 1]
        out[name] = float(roc_auc_score(is_mark, chance))
    return out


def rows_of(ds: xr.Dataset, key: Key) -> NDArray[np.int64]:
    """Return the rows of a sent cohort that are watermarks, in the order of the key."""
    contig = ds["contig_id"].values[ds["variant_contig"].values].astype(str)
    place = pd.MultiIndex.from_arrays([contig, ds["variant_position"].values])
    wanted = pd.MultiIndex.from_frame(key.watermarks[["contig", "position"]])
    # no variant stands at a watermark's position
    rows = pd.Series(np.arange(len(contig)), place)[lambda s: ~s.index.duplicated()].reindex(wanted)
    if rows.isna().any():
        raise DataError("the cohort does not hold the watermarks of this key; give the one that was sent")
    return rows.to_numpy().astype(np.int64)


def _null_error(n: int, m: int) -> float:
    """Standard error of an AUC of n against m if nothing can be told (Mann and Whitney)."""
    return float(np.sqrt((n + m + 1) / (12 * n * m)))


def _others(ds: xr.Dataset, marks: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Draw real variants; those beside a watermark are no neighbours as others are."""
    free = usable_variants(ds, autosomes_only=True).copy()
    near = marks[:, None] + np.arange(-2, 3)
    free[np.clip(near, 0, len(free) - 1).ravel()] = False
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(free))
    rows = np.sort(rows[: 2 * _REAL_PER_MARK * len(marks)])
    found = _statistics(ds, rows)
    params = QC()
    within = (found["hwe_within"] >= np.log10(params.hwe)) & (found["maf"] >= params.maf)
    within &= found["missing"] <= params.geno
    # as watermarks are made: pooled only where most are in equilibrium so (see `Panel.checks_pooled`)
    pooled = within & (found["hwe"] >= np.log10(params.hwe))
    kept = rows[(pooled if 2 * pooled.sum() >= within.sum() else within).to_numpy()]
    some = np.random.default_rng(seed + 1).permutation(len(kept))[: _REAL_PER_MARK * len(marks)]
    return np.asarray(np.sort(kept[some]), np.int64)


def features(ds: xr.Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return what a server sees of variants without a trait, a row per variant, in the order of `rows`.

    Minor allele frequency, whether the counted allele is the rarer one, log10 of the exact Hardy-Weinberg p
    pooled and smallest within strata, missing rate, variance of the frequency between strata over p(1-p),
    squared correlation with the previous and the next variant (pooled, and within strata), with the second
    ones to both sides, the largest with one 3 to 15 variants away (within strata), the second largest with
    any up to 15 away and the share of variance that a ridge regression on all of these explains, whether the
    alleles are a transition, and log10 distances to both neighbours.
    """
    order = np.argsort(rows, kind="stable")
    table = _statistics(ds, rows[order]).join(_linkage(ds, rows[order])).join(_places(ds, rows[order]))
    return table.iloc[np.argsort(order, kind="stable")].reset_index(drop=True)


def _dosages(ds: xr.Dataset, rows: NDArray[np.int64]) -> NDArray[np.int8]:
    n = min(ds.sizes["samples"], _MOST_SAMPLES)
    return unpack_dosages(read_rows(source_of(ds), rows, 0, n), n)


def _statistics(ds: xr.Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    stratum, n_strata = strata_of(ds)
    counts = np.zeros((len(rows), n_strata, 3), np.int64)
    flat = 3 * stratum[: min(len(stratum), _MOST_SAMPLES)]
    for a, b in ranges(len(rows), _ROWS_AT_ONCE):
        for at, dosage in enumerate(_dosages(ds, rows[a:b]), start=a):
            called = dosage >= 0
            cells = np.bincount(flat[called] + dosage[called], minlength=3 * n_strata)
            counts[at] = cells.reshape(n_strata, 3)
    n = min(ds.sizes["samples"], _MOST_SAMPLES)
    within = variant_statistics(counts, n, tested=n_strata)
    pooled = variant_statistics(counts.sum(axis=1, keepdims=True), n)
    called = counts.sum(axis=2)
    p = (counts[..., 1] + 2 * counts[..., 2]) / np.maximum(2 * called, 1)
    mean = within["variant_allele_frequency"]
    between = (called * (p - np.nan_to_num(mean)[:, None]) ** 2).sum(axis=1) / np.maximum(
        called.sum(axis=1), 1
    )
    floor = 1e-300
    return pd.DataFrame(
        {
            "maf": within["variant_maf"],
            "is_minor": (mean <= 0.5).astype(float),
            "hwe": np.log10(np.maximum(pooled["variant_hwe_p_value"], floor)),
            "hwe_within": np.log10(np.maximum(within["variant_hwe_p_value"], floor)),
            "missing": within["variant_missing_rate"],
            "between": between / np.maximum(mean * (1 - mean), 1e-12),
        }
    )


def _linkage(ds: xr.Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    stratum, n_strata = strata_of(ds)
    stratum = stratum[:_MOST_SAMPLES]
    columns = [np.flatnonzero(stratum == k) for k in range(n_strata)]
    contig, last = ds["variant_contig"].values, ds.sizes["variants"] - 1
    found: dict[str, list[float]] = {}
    for row in rows:
        near = np.arange(max(0, row - _FAR), min(last, row + _FAR) + 1)
        dosage = _dosages(ds, near)
        own = int(row - near[0])
        for kind, x in (("pooled", centred(dosage, [np.arange(dosage.shape[1])])),
                        ("within", centred(dosage, columns))):  # fmt: skip
            for name, offset in (("previous", -1), ("next", 1), ("second_before", -2), ("second_after", 2)):
                at = own + offset
                is_there = 0 <= at < len(near) and contig[near[at]] == contig[row]
                value = _squared(x[own], x[at]) if is_there else 0.0
                found.setdefault(f"r2_{name}_{kind}", []).append(value)
        farther = np.flatnonzero((np.abs(near - row) > 2) & (contig[near] == contig[row]))
        found.setdefault("r2_farther", []).append(max((_squared(x[own], x[k]) for k in farther), default=0.0))
        others = np.flatnonzero((near != row) & (contig[near] == contig[row]))
        for name, value in zip(_TOGETHER, _together(x[own], x[others]), strict=True):
            found.setdefault(name, []).append(value)
    return pd.DataFrame(found)


def _together(x: NDArray[np.float64], others: NDArray[np.float64]) -> tuple[float, float]:
    """Return the second largest squared correlation, and the share of variance that all others explain."""
    if not len(others):
        return 0.0, 0.0
    length = np.sqrt(np.einsum("ij,ij->i", others, others))
    z = others / np.where(length > 0, length, 1)[:, None]
    r = z @ x / max(float(np.sqrt(x @ x)), 1e-12)
    beta = np.linalg.solve(z @ z.T + _RIDGE * np.eye(len(z)), r)
    return float(np.sort(r * r)[-2:][0]), float(beta @ r)


def _squared(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    scale = (x @ x) * (y @ y)
    return float((x @ y) ** 2 / scale) if scale > 0 else 0.0


def _places(ds: xr.Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    position = ds["variant_position"].values.astype(np.float64)
    contig, allele = ds["variant_contig"].values, ds["variant_allele"].values
    table = {}
    for name, offset in (("gap_before", -1), ("gap_after", 1)):
        other = np.clip(rows + offset, 0, len(position) - 1)
        gap = np.where(contig[other] == contig[rows], np.abs(position[other] - position[rows]), 0)
        table[name] = np.log10(gap + 1)
    pairs = ["".join(sorted(map(str, pair[:2]))) for pair in allele[rows]]
    table["transition"] = np.array([pair in ("AG", "CT") for pair in pairs], float)
    return pd.DataFrame(table)
