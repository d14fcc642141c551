"""Which misbehaviour of a server explains its results of the watermarks best.

Every explanation is a probability model of what comes back of a watermark: the statistic z and the logarithm
of its standard error. The one with the largest likelihood, less half the logarithm of the number of
watermarks for each estimated parameter (Schwarz's criterion), is named, unless it is hardly better than a
model that says nothing.

What an explanation by another table predicts (another test, other covariates, other SNPs) is matched to
rounding; what one by other samples predicts has their sampling error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.methods.watermark.diagnosis_case import STRAY, Array, Case, Observed
from genoweave.methods.watermark.key import Key

# An explanation must beat the one that says nothing by this (nats).
_MARGIN = 3.0
# Results this near to those expected (standard deviation of z), of this many, are of nearly the same model.
_NEAR, _FEWEST = 0.5, 5
# Nulls forged for hits must be this much (nats) likelier than numbers invented for any SNP.
_PRIOR_FORGED = 2.0


@dataclass(frozen=True)
class Hypothesis:
    """An explanation, how well it fits, and what it estimates.

    Attributes
    ----------
    name, statement
        Kind of misbehaviour; it in a sentence.
    score
        Log-likelihood less the penalty for its parameters, in nats.
    estimates
        Shares, numbers of samples, offsets.
    evidence
        Sentences.
    """

    name: str
    statement: str
    score: float
    estimates: dict[str, Any] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name, "statement": self.statement, "score": round(self.score, 3),
            "estimates": self.estimates, "evidence": list(self.evidence),
        }  # fmt: skip


def diagnose(key: Key, observed: Observed, is_exact: bool = True) -> list[Hypothesis]:
    """Return the explanations of results that are not as expected, best first.

    Parameters
    ----------
    key
        What was expected.
    observed
        What came back.
    is_exact
        Whether an honest server's results would be the key's to rounding; else only gross explanations
        (skipped, wrong phenotype, shifted) are tried.

    Returns
    -------
    list of Hypothesis
        "unknown" is among them; it is first if no other one is better by 3 nats.
    """
    case = Case(key, observed)
    found = [_skipped(case), _wrong_phenotype(case), *_shifted(case), _unknown(case)]
    if is_exact:
        found += [*_other_models(case), *_other_covariates(case), *_samples_dropped(case)]
    forged = _forged(case)
    found += [forged] if forged is not None else []
    floor = next(h.score for h in found if h.name == "unknown") + _MARGIN
    if case.n_back == 0:
        floor = -math.inf
    return sorted(found, key=lambda h: (h.score < floor and h.name != "unknown", -h.score))


def interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Clopper and Pearson's interval of a share of which `k` of `n` were seen."""
    from scipy.stats import beta

    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(1 - tail, k + 1, n - k))
    return low, high


def _unknown(case: Case) -> Hypothesis:
    return Hypothesis(
        "unknown", "the results are not those of the watermarks, and no known misbehaviour explains them",
        float(case.broad().sum()) + case.lost, {}, case.describe_lost(),
    )  # fmt: skip


def _posterior(case: Case, other: Array, who: NDArray[np.bool_]) -> tuple[float, Array]:
    """Estimate which watermarks of `who` are `other` and not as expected; return log-likelihood and shares.

    Expectation-maximisation of one share, from 1/2; the others are strays at most.
    """
    as_expected = case.exact(case.expected_z, case.expected_log_se)
    share, responsible = 0.5, np.zeros(len(other))
    for _ in range(100):
        here = np.where(who, np.clip(share, 1e-6, 1 - 1e-6), STRAY)
        with np.errstate(invalid="ignore"):
            odds = other + np.log(here) - np.logaddexp(other + np.log(here), as_expected + np.log1p(-here))
        responsible = np.exp(np.nan_to_num(odds, nan=0.0))
        new = float(responsible[who].mean()) if who.any() else 0.0
        if abs(new - share) < 1e-9:
            break
        share = new
    here = np.where(who, np.clip(share, 1e-6, 1 - 1e-6), STRAY)
    total = np.logaddexp(other + np.log(here), as_expected + np.log1p(-here)).sum()
    return float(total), responsible


def _skipped(case: Case) -> Hypothesis:
    """Some watermarks are missing or made up, whichever they are; the rest is as expected."""
    likelihood, responsible = _posterior(case, case.broad(), np.ones(case.n_back, bool))
    invented = int((responsible > 0.5).sum())
    k = case.n_lost + invented
    low, high = interval(k, case.n_all)
    # share missing and share invented
    score = likelihood + case.lost - 0.5 * math.log(max(2, case.n_all))
    if k == 0:
        score = -math.inf  # what is wrong is not in z or the standard error
    elif k == case.n_all and case.n_back:
        score -= _MARGIN  # nothing of the expected is left to tell this from other explanations
    statement = f"about {k / max(1, case.n_all):.0%} of the SNPs were skipped ({low:.1%} to {high:.1%})"
    statement += ", and results invented for them" if invented > case.n_lost else ""
    estimates = {"share": k / max(1, case.n_all), "low": low, "high": high, "missing": case.n_lost,
                 "invented": invented}  # fmt: skip
    evidence = [f"{case.n_all - k} of {case.n_all} watermarks are as expected to rounding"]
    if invented:
        evidence.append(f"{invented} watermarks have numbers that are not of their genotypes")
    return Hypothesis("snps_skipped", statement, score, estimates, (*evidence, *case.describe_lost()))


def _forged(case: Case) -> Hypothesis | None:
    """Some of the signals came back as nulls; the nulls are as expected."""
    n_signals = int(case.is_signal.sum())
    if not n_signals or n_signals == case.n_back:
        return None  # without nulls it cannot be told from invented results
    likelihood, responsible = _posterior(case, case.null(), case.is_signal)
    k = int((responsible[case.is_signal] > 0.5).sum())
    low, high = interval(k, n_signals)
    statement = f"null results were forged for about {k / n_signals:.0%} of the associated SNPs"
    estimates = {"share": k / n_signals, "low": low, "high": high, "forged": k}
    evidence = (
        f"{k} of {n_signals} associated watermarks look like draws without association "
        f"(interval of the share {low:.1%} to {high:.1%})",
        f"{int((responsible[~case.is_signal] <= 0.5).sum())} of {case.n_back - n_signals} watermarks without "
        "association are as expected to rounding",
        *case.describe_lost(),
    )
    score = likelihood + case.lost - 0.5 * math.log(max(2, case.n_all)) - _PRIOR_FORGED
    score = score if k else -math.inf
    return Hypothesis("forged_nulls", statement, score, estimates, evidence)


def _other_models(case: Case) -> Iterator[Hypothesis]:
    """The values are those of another model of the key: a cheaper test, or fewer covariates."""
    for name, table in case.key.expected.items():
        if name == case.key.asked or case.is_as_expected(table):
            continue  # what it predicts is the same, to rounding
        density = case.exact(*case.of(table))
        matched = int((density > case.broad()).sum())
        evidence = (
            f"{matched} of {case.n_back} watermarks are those of {_model(name)} to rounding",
            *case.describe_lost(),
        )
        if name == "no_covariates" or name.startswith("without "):
            which = "all" if name == "no_covariates" else name.removeprefix("without ")
            statement = (
                "the covariates were dropped" if which == "all" else f"the covariate {which} was dropped"
            )
            estimates: dict[str, Any] = {"covariates": which}
            yield Hypothesis("covariates_dropped", statement, case.score(density), estimates, evidence)
        else:
            statement = f"another test was run: {_model(name)}, and not {_model(case.key.asked)}"
            yield Hypothesis("cheaper_test", statement, case.score(density), {"test": name}, evidence)


def _other_covariates(case: Case) -> Iterator[Hypothesis]:
    """A set of covariates that the key has no table of: all z and standard errors near the expected."""
    ratio = case.log_se - case.expected_log_se
    known = np.isfinite(ratio) & case.signed
    if not case.key.covariates or known.sum() < _FEWEST:
        return
    # medians, for strays
    factor = float(np.median(ratio[known]))
    spread = 1.48 * float(np.median(np.abs(ratio[known] - factor)))
    # fewer samples scatter the standard errors by this, fewer covariates by much less
    sampling = float(np.median(case.se_noise)) * math.sqrt(max(0.0, math.expm1(2 * factor)))
    if factor > 0 and spread > 0.5 * sampling:
        return
    best = (-math.inf, math.inf)
    # with the residual variance the standard error changes and the effect stays; or both in proportion
    for centre in (case.expected_z * math.exp(-factor), case.expected_z):
        wide = 1.48 * float(np.median(np.abs(case.z - centre)[known]))
        density = case.density(
            centre, np.hypot(case.z_sd, wide), case.expected_log_se + factor, np.hypot(case.se_sd, spread)
        )
        best = max(best, (case.score(density, 3), wide))
    if best[1] > _NEAR:
        return
    evidence = (
        f"z is off by about {best[1]:.2g}, standard errors are {math.exp(factor):.4f} times those expected",
        "no single covariate left out explains it",
        *case.describe_lost(),
    )
    yield Hypothesis(
        "covariates_dropped", "some of the covariates were dropped or changed", best[0],
        {"covariates": "some"}, evidence,
    )  # fmt: skip


_MODELS = {
    "linear": "linear regression", "score": "the score test", "wald": "the Wald test",
    "firth": "Firth's regression", "hybrid": "PLINK 2's Wald test with Firth's as fallback",
    "lrt": "the likelihood ratio test", "mixed": "the mixed model",
    "no_covariates": "the model without covariates",
}  # fmt: skip


def _model(name: str) -> str:
    if name.startswith("without "):
        return f"the model {name}"
    return _MODELS.get(name, f"the model {name!r}")


def _shifted(case: Case) -> Iterator[Hypothesis]:
    """The values are those of other SNPs: at an offset, of the other watermarks, or of SNPs anywhere."""
    rows = np.flatnonzero(case.back)
    neighbours = case.key.neighbours
    for offset in sorted(set(neighbours["offset"].tolist())):
        table = neighbours[neighbours["offset"] == offset]
        at = pd.Series(np.arange(len(table)), table["watermark"].to_numpy())
        at = at[~at.index.duplicated()].reindex(rows)
        here = at.notna().to_numpy()
        mine = table.iloc[at.fillna(0).astype(int).to_numpy()]
        with np.errstate(divide="ignore", invalid="ignore"):
            log_se = np.log(mine["se"].to_numpy(np.float64))
        # the sign depends on which allele the server counts of the neighbour
        density = case.exact(mine["statistic"].to_numpy(np.float64), log_se, folded=True)
        density = np.where(here, density, case.broad())
        matched = int((here & (density > case.broad())).sum())
        statement = f"the ids are shifted by {offset:+d} against the results"
        evidence = (f"{matched} of {int(here.sum())} watermarks have the values of the SNP {offset:+d} away",)
        yield Hypothesis(
            "ids_shifted", statement, case.score(density), {"offset": offset},
            evidence + case.describe_lost(),
        )  # fmt: skip
    yield from _exchanged(case)
    yield _elsewhere(case)


def _exchanged(case: Case) -> Iterator[Hypothesis]:
    """The watermarks' values came back in another order."""
    if case.n_back < 2:
        return
    density = np.full(case.n_back, -np.inf)
    n_others = max(1, case.n_back - 1)
    for shift in range(1, case.n_back):
        z, log_se = np.roll(case.expected_z, shift), np.roll(case.expected_log_se, shift)
        density = np.logaddexp(density, case.exact(z, log_se, folded=True))
    density -= math.log(n_others)
    matched = int((density > case.broad()).sum())
    statement = "the ids are mixed up among the SNPs: watermarks have the values of other watermarks"
    evidence = (f"{matched} of {case.n_back} watermarks have the values of another one to rounding",)
    yield Hypothesis("ids_shifted", statement, case.score(density), {}, evidence + case.describe_lost())


def _elsewhere(case: Case) -> Hypothesis:
    """The values are those of SNPs somewhere: no association, standard errors like any."""
    known = case.expected_log_se[np.isfinite(case.expected_log_se)]
    centre, spread = (float(known.mean()), float(known.std()) + 0.1) if len(known) else (0.0, 1.0)
    density = case.density(0 * case.z, 1.0, np.full(case.n_back, centre), spread)
    statement = "the ids belong to other SNPs: no association, and standard errors that are not theirs"
    evidence = ("standard errors do not follow the watermarks' frequencies", *case.describe_lost())
    return Hypothesis("ids_shifted", statement, case.score(density, 2), {}, evidence)


def _wrong_phenotype(case: Case) -> Hypothesis:
    """Another trait, or this one in another order: no association, standard errors off by one factor."""
    ratio = case.log_se - case.expected_log_se
    known = np.isfinite(ratio)
    factor = float(np.median(ratio[known])) if known.any() else 0.0

    def density(width: float) -> Array:
        sd = np.hypot(case.se_sd, width * np.maximum(case.se_noise, 0.01))
        return case.density(0 * case.z, 1.0, case.expected_log_se + factor, sd)

    score = _best(case, density, 2) - abs(factor) / 0.3
    z = case.z[case.is_signal]
    seen = f"{len(z)} associated watermarks have z of mean square {np.mean(z**2):.2f}" if len(z) else ""
    wanted = case.expected_z[case.is_signal]
    evidence = [f"{seen}; expected {np.mean(wanted**2):.1f}, without association 1"] if len(z) else []
    evidence += [f"standard errors are {math.exp(factor):.3f} times those expected", *case.describe_lost()]
    return Hypothesis(
        "wrong_phenotype", "the phenotype was another one, or in another order", score,
        {"se_factor": math.exp(factor)}, tuple(evidence),
    )  # fmt: skip


def _best(case: Case, density: Callable[[float], Array], n_parameters: int) -> float:
    """Return the best score over how well standard errors are predicted."""
    return max(case.score(density(width), n_parameters) for width in (1.0, 2.0, 4.0))


def _samples_dropped(case: Case) -> Iterator[Hypothesis]:
    """Part of the samples: standard errors larger by the root, effects off by the sampling of the part [1].

    [1] The difference of an efficient estimate and one from a part has the difference of their variances:
    Hausman 1978, Econometrica 46:1251.
    """
    n = max(1, case.key.n_complete)
    shares = {float(s): "standard errors" for s in 1 - np.geomspace(0.001, 0.95, 40)}
    ratio = case.expected_log_se - case.log_se
    if np.isfinite(ratio).any():
        shares[float(np.exp(2 * np.median(ratio[np.isfinite(ratio)])))] = "standard errors"
    told = case.observed.n[case.back] / case.key.watermarks["called"].to_numpy(np.float64)[case.back]
    if np.isfinite(told).any():
        shares[float(np.median(told[np.isfinite(told)]))] = "the number of samples in the results"
    scored = [
        (_best(case, lambda width, s=share: _of_share(case, s, width), 2), share)  # type: ignore[misc]
        for share in shares
        if 0.01 < share < 1 - 0.5 / n
    ]
    if not scored:
        return
    score, share = max(scored)
    dropped = round(n * (1 - share))
    yield Hypothesis(
        "samples_dropped", f"about {dropped} of {n} samples were dropped ({1 - share:.1%})", score,
        {"share": 1 - share, "samples": dropped, "from": shares[share]},
        (f"standard errors are {1 / math.sqrt(share):.4f} times those expected, and effects vary as they "
         "would", *case.describe_lost()),
    )  # fmt: skip


def _of_share(case: Case, share: float, width: float) -> Array:
    """Log density where that share of the samples was used."""
    z_sd = np.hypot(case.z_sd, math.sqrt(1 - share))
    se_sd = np.hypot(case.se_sd, width * case.se_noise * math.sqrt((1 - share) / share))
    return case.density(
        case.expected_z * math.sqrt(share), z_sd, case.expected_log_se - 0.5 * math.log(share), se_sd
    )
