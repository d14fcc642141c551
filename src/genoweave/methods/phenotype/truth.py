"""What an association study of a simulated trait should find: effect, z, non-centrality and power."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri
from threadpoolctl import threadpool_limits

from genoweave.errors import DataError
from genoweave.methods.frequencies import group_numbers
from genoweave.methods.phenotype.covariances import local_covariances
from genoweave.methods.phenotype.genetic import GeneticModel
from genoweave.methods.phenotype.shares import ADDITIVE, BACKGROUND
from genoweave.methods.phenotype.status import WHOLE

GENOME_WIDE = 5e-8
_NOTHING_LEFT = 1e-9  # share of the variance that a fit leaves: rounding, and no regression
_NODES = 64  # of Gauss and Hermite, for a logit's risk given the covariates
Float = NDArray[np.float64]


def observed_r2(heritability: float, prevalence: float) -> float:
    """Return the share of case status that the genetic value explains: h2 z^2 / (K (1 - K)).

    z is the normal density at the threshold (Lee et al. 2011). 0.573 at h2 = 0.9, K = 0.5.
    """
    density = _density(ndtri(1 - prevalence))
    return float(heritability * density**2 / (prevalence * (1 - prevalence)))


def expected_auc(heritability: float, prevalence: float) -> float:
    """Return the area under the curve of the genetic value as a test of case status.

    The probability that a case has the larger genetic value of a case and a control, both normal before the
    threshold. 0.968 at h2 = 0.9, K = 0.5.
    """
    if heritability >= 1:
        return 1.0
    # in 4,001 steps over nine standard deviations the trapezoidal rule is exact to rounding
    g = np.linspace(-9, 9, 4001)
    risk = ndtr((np.sqrt(heritability) * g - ndtri(1 - prevalence)) / np.sqrt(1 - heritability))
    of_cases, of_controls = _density(g) * risk, _density(g) * (1 - risk)
    below = np.cumsum(of_controls) - of_controls / 2
    return float((of_cases * below).sum() / (of_cases.sum() * of_controls.sum()))


def expected_association(
    ds: xr.Dataset, trait: xr.Dataset, *, alpha: float = GENOME_WIDE, window_kb: int = 1000
) -> pd.DataFrame:
    """Return what an additive association study of a simulated trait should find at each causal variant.

    The study is of the samples that were drawn, complete, adjusted for the trait's covariates, for the
    ancestry groups if the cohort has labels (as principal components do), and for stratification.

    Parameters
    ----------
    ds
        The cohort that the trait was simulated on.
    trait
        From `phenotype`.
    alpha
        Level of the test for the power.
    window_kb
        Causal variants within this distance of each other act together through their correlation.

    Returns
    -------
    DataFrame
        A row a causal variant and trait: ``trait`` (name), ``variant`` (row in the cohort), ``n`` (samples in
        the study), ``beta`` and ``se`` per counted allele (of status log odds ratio, by one step from 0),
        ``r2`` (share of the trait explained, on the observed scale), ``ncp``, ``z`` (signed root of it) and
        ``power``. NaN where the trait is transformed, the variant does not vary or explains all of a
        quantitative trait.

    Notes
    -----
    With c the covariance within groups of the allele's dosage and the genetic value of causal variants
    nearby, and v the dosage's variance: a quantitative trait of residual variance s2 has b = c / v,
    r2 = b^2 v / s2 and ncp = (n - p - 1) r2 / (1 - r2). Of a status each sample with fitted liability m has
    the risk K = Phi((m - t) / s), in the study P = f1 K / (f1 K + f0 (1 - K)) if shares f1 of the cases and
    f0 of the controls were drawn, and the weight w = phi((m - t) / s) / s x P (1 - P) / (K (1 - K)); then
    z = sum(w c) / sqrt(sum(P (1 - P) v)). Without covariates that is the transformation of Lee et al. (2011),
    r2 = r2_liability x phi(t)^2 P (1 - P) / (K (1 - K))^2, and ncp = n r2 (Yang et al. 2010), for small
    effects. Of a logit, K and its derivative are means of expit over the residual liability.

    Dominance, epistasis and interactions are orthogonal to the additive part at Hardy-Weinberg frequencies.
    Infinitesimal effects count where they are of causal variants; those of others in linkage disequilibrium
    add noise of variance n h2bg / M times the LD score. Sources: Lee et al. 2011, *Am J Hum Genet* 88:294;
    Yang et al. 2010, *Genet Epidemiol* 34:254. One pass over the causal variants; memory and time:
    `local_covariances`.
    """
    setting = trait.attrs["trait"]
    causal = np.flatnonzero(trait["variant_is_causal"].values)
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        study = _Study.of(ds, trait)
    effect = _effects_by_group(trait, causal, study.labels)
    frequency = trait["variant_allele_frequency"].values[causal]
    variance, covariance = local_covariances(ds, causal, frequency, effect, study.group, window_kb * 1000)
    limit = ndtri(1 - alpha / 2)
    tables = []
    for k, name in enumerate(trait_names(trait)):
        rule = setting["rules"][k]
        if rule is None:
            found = study.linear(variance, covariance[..., k], k)
        else:
            found = study.of_status(variance, covariance[..., k], k, rule)
        table = pd.DataFrame({"trait": name, "variant": causal, **found})
        table["ncp"] = found["z"] ** 2
        table["power"] = ndtr(found["z"] - limit) + ndtr(-found["z"] - limit)
        if setting["transform"] != "none":
            table[["beta", "se", "r2", "z", "ncp", "power"]] = np.nan
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def trait_names(trait: xr.Dataset) -> list[str]:
    """Return the traits' names."""
    return [str(name) for name in trait["trait_id"].values] if "trait_id" in trait else ["trait1"]


def trait_columns(variable: xr.DataArray) -> NDArray[Any]:
    """Return the values of a variable of one trait or of several with a last axis of traits."""
    return variable.values if variable.dims[-1] == "traits" else variable.values[..., None]


def _effects_by_group(trait: xr.Dataset, causal: NDArray[np.int64], labels: list[str]) -> Float:
    """Effects per counted allele, the infinitesimal ones too, (groups, causal, traits)."""
    model = GeneticModel.from_dataset(trait)
    shape = len(model.groups), len(causal), model.n_traits
    effects = np.zeros(shape)
    for term in model.terms:
        if term.name in ADDITIVE or term.name in BACKGROUND:
            effects += np.stack([term.scaled(k)[causal] for k in range(shape[0])])
    effects /= model.deviation[causal, None]
    if shape[0] == 1:
        return np.repeat(effects, len(labels), axis=0)
    return effects[[model.groups.index(name) for name in labels]]


@dataclass(frozen=True)
class _Study:
    """Who is studied, and the fit of the liability on groups and covariates.

    Attributes
    ----------
    labels, group
        Names of the groups, and int64 (samples,) the number of each sample's.
    included, case
        (samples, traits).
    fitted, residual
        float64 (samples, traits): liability by group and covariates, and what is left.
    columns
        Parameters of the fit.
    by_group
        Whether cases and controls were drawn by group.
    """

    labels: list[str]
    group: NDArray[np.int64]
    included: NDArray[np.bool_]
    case: NDArray[np.int8]
    fitted: Float
    residual: Float
    columns: int
    by_group: bool

    @classmethod
    def of(cls, ds: xr.Dataset, trait: xr.Dataset) -> _Study:
        liability = trait_columns(trait["sample_liability"])
        if len(liability) != ds.sizes["samples"]:
            raise DataError(
                f"the trait has {len(liability)} samples and the cohort {ds.sizes['samples']}; give the "
                "cohort that it was simulated on"
            )
        labels, group = _groups(ds)
        design = np.eye(len(labels))[group]
        included = trait_columns(trait["sample_is_ascertained"])
        if "sample_covariate" in trait:
            covariates = trait["sample_covariate"].values
            known = np.isfinite(covariates)
            included = included & known.all(axis=1)[:, None]
            design = np.column_stack([design, np.where(known, covariates, np.nanmean(covariates, axis=0))])
        fitted, columns = _fit(design, liability, _stratification(trait))
        nobody = np.full(liability.shape, -1, np.int8)
        case = trait_columns(trait["sample_case"]) if "sample_case" in trait else nobody
        return cls(
            labels, group, included, case, fitted, liability - fitted,
            columns, bool(trait.attrs["trait"]["ascertain_by_group"]),
        )  # fmt: skip

    def sums(self, values: Float) -> Float:
        """Sum over the samples of each group, (groups,)."""
        return np.bincount(self.group, values, minlength=len(self.labels)).astype(np.float64)

    def linear(self, variance: Float, covariance: Float, k: int) -> dict[str, Any]:
        """Linear regression of a quantitative trait."""
        included = self.included[:, k]
        n = int(included.sum())
        counts = self.sums(included.astype(np.float64))
        squares, products = counts @ variance, counts @ covariance
        total = (self.residual[included, k] ** 2).sum()
        freedom = n - self.columns - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            beta = products / squares
            r2 = beta**2 * squares / total
            r2[1 - r2 < _NOTHING_LEFT] = np.nan
            se = np.sqrt((1 - r2) * total / freedom / squares)
        return {"n": n, "beta": beta, "se": se, "r2": r2, "z": beta / se}

    def of_status(self, variance: Float, covariance: Float, k: int, rule: dict[str, Any]) -> dict[str, Any]:
        """Score test of a logistic regression of status."""
        included = self.included[:, k]
        risk, slope = self._risk(k, rule)
        drawn_cases, drawn_controls = self._shares_drawn(k)
        total = drawn_cases * risk + drawn_controls * (1 - risk)
        spread = np.where(included, drawn_cases * risk * drawn_controls * (1 - risk) / total**2, 0.0)
        weight = np.where(included, slope * drawn_cases * drawn_controls / total**2, 0.0)
        score, information = self.sums(weight) @ covariance, self.sums(spread) @ variance
        n = int(included.sum())
        with np.errstate(invalid="ignore", divide="ignore"):
            beta, se = score / information, 1 / np.sqrt(information)
        return {"n": n, "beta": beta, "se": se, "r2": (beta / se) ** 2 / n, "z": beta / se}

    def _risk(self, k: int, rule: dict[str, Any]) -> tuple[Float, Float]:
        """Each sample's probability of being a case, and its derivative by the liability."""
        sd = self._residual_sd(k)[self.group]
        elsewhere = rule["cut"].get(WHOLE, np.nan)
        cut = np.array([rule["cut"].get(name, elsewhere) for name in self.labels])[self.group]
        mean = self.fitted[:, k]
        if rule["status"] == "threshold":
            t = (cut - mean) / sd
            return ndtr(-t), _density(t) / sd
        risk, slope = np.zeros(len(mean)), np.zeros(len(mean))
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            p = expit(rule["slope"] * (mean + sd * node) - cut)
            risk += weight * p
            slope += weight * rule["slope"] * p * (1 - p)
        return risk, slope

    def _residual_sd(self, k: int) -> Float:
        """Standard deviation of the liability given the covariates in each group."""
        counts = np.maximum(self.sums(np.ones(len(self.group))), 1)
        return np.sqrt(np.maximum(self.sums(self.residual[:, k] ** 2) / counts, 1e-300))

    def _shares_drawn(self, k: int) -> tuple[Float, Float]:
        """Shares of the cases and of the controls that are in the study, of each sample's stratum."""
        stratum = self.group if self.by_group else np.zeros(len(self.group), np.int64)
        shares = []
        for status in (1, 0):
            there = np.bincount(stratum, self.case[:, k] == status)
            drawn = np.bincount(stratum, (self.case[:, k] == status) & self.included[:, k])
            shares.append((drawn / np.maximum(there, 1))[stratum])
        return shares[0], shares[1]


def _stratification(trait: xr.Dataset) -> Float | None:
    """The part of the liability due to principal components, (samples, traits), or None."""
    names = trait["component_id"].values.astype(str).tolist()
    if "stratification" not in names:
        return None
    return np.asarray(trait_columns(trait["sample_component"])[:, names.index("stratification")])


def _fit(design: Float, liability: Float, stratification: Float | None) -> tuple[Float, int]:
    """Regress each trait on the design and on its own stratification; return fits and their rank."""
    if stratification is None:
        return design @ np.linalg.lstsq(design, liability, rcond=None)[0], int(np.linalg.matrix_rank(design))
    parts = [
        _fit(np.column_stack([design, stratification[:, k]]), liability[:, k : k + 1], None)
        for k in range(liability.shape[1])
    ]
    return np.column_stack([fitted for fitted, _ in parts]), parts[0][1]


def _groups(ds: xr.Dataset) -> tuple[list[str], NDArray[np.int64]]:
    """Names and numbers of the groups; samples without a label are one more."""
    if "sample_ancestry" not in ds:
        return [WHOLE], np.zeros(ds.sizes["samples"], np.int64)
    names, group = group_numbers(ds["sample_ancestry"].values)
    if (group < 0).any():
        return [*names, WHOLE], np.where(group < 0, len(names), group)
    return names, group


def _density(x: Any) -> Any:
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
