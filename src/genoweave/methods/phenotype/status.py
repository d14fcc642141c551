"""Case/control status of a liability: by a threshold, or by a logit.

Both are one rule, that the cases are the samples with the largest scores. The score is the liability itself,
or ``slope`` times the liability plus logistic noise, so that P(case) = expit(slope x liability - cut).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from genoweave.errors import DataError
from genoweave.rng import Stream

WHOLE = ""  # name of the stratum of all samples, or of those whose group has no prevalence of its own


@dataclass(frozen=True)
class Rule:
    """How the status of one trait follows from its liability.

    Attributes
    ----------
    status
        ``"threshold"`` or ``"logit"``.
    slope
        Logit per unit of the liability; not used by a threshold.
    prevalence, cut
        Share of cases wanted, and smallest score of a case, by group; the key ``""`` is everybody else.
    """

    status: str
    slope: float
    prevalence: dict[str, float]
    cut: dict[str, float]

    def scores(self, liability: NDArray[np.float64], stream: Stream, trait: int) -> NDArray[np.float64]:
        """Return the scores that are compared with the cut, float64 (samples,).

        The logistic noise of sample i is at row `trait`, column i of the stream.
        """
        if self.status == "threshold":
            return liability
        uniform = stream.uniforms(trait, len(liability))
        return self.slope * liability + np.log(uniform / (1 - uniform))

    def cases(
        self, liability: NDArray[np.float64], labels: NDArray[Any] | None, stream: Stream, trait: int
    ) -> NDArray[np.int8]:
        """Return the status of other samples by the same cuts, int8 (samples,)."""
        cut = np.empty(len(liability))
        for name, rows in strata(len(liability), labels, self.cut):
            cut[rows] = self.cut[name]
        return (self.scores(liability, stream, trait) >= cut).astype(np.int8)

    def to_attrs(self) -> dict[str, Any]:
        """Return the rule as JSON's types."""
        return asdict(self)


def strata(
    n: int, labels: NDArray[Any] | None, named: dict[str, float]
) -> list[tuple[str, NDArray[np.int64]]]:
    """Return the name and samples of each stratum: each named group, and everybody else, where not empty.

    Raises
    ------
    DataError
        If groups are named and the samples have no labels, or belong to none that is named.
    """
    groups = sorted(set(named) - {WHOLE})
    if not groups:
        return [(WHOLE, np.arange(n))]
    if labels is None:
        raise DataError(
            "a prevalence by group wants groups, and the cohort has no sample_ancestry; import it with "
            "--ancestry, or set one prevalence"
        )
    text = labels.astype(str)
    parts = [(name, np.flatnonzero(text == name)) for name in groups]
    parts.append((WHOLE, np.flatnonzero(~np.isin(text, groups))))
    found = [(name, rows) for name, rows in parts if len(rows)]
    strange = [name for name, _ in found if name not in named]
    if strange:
        raise DataError(
            f"{len(parts[-1][1])} samples belong to none of the groups with a prevalence "
            f"({', '.join(groups)}); label them"
        )
    return found


def check_groups(labels: NDArray[Any] | None, named: dict[str, float]) -> None:
    """Refuse a prevalence of a group that a labelled cohort does not have.

    Raises
    ------
    DataError
        Naming the groups that are not there, and those that are.
    """
    known = set() if labels is None else set(labels.astype(str)) - {""}
    unknown = sorted(set(named) - {WHOLE} - known)
    if unknown and labels is not None:
        raise DataError(
            f"a prevalence is given of groups that the cohort has not: {', '.join(unknown)}; its groups are: "
            f"{', '.join(sorted(known)) or 'none'}"
        )


def assign(
    liability: NDArray[np.float64],
    rule: Rule,
    labels: NDArray[Any] | None,
    stream: Stream,
    trait: int = 0,
    *,
    exact: bool = True,
) -> tuple[NDArray[np.int8], Rule]:
    """Decide who is a case.

    Parameters
    ----------
    liability
        float64 (samples,).
    rule
        Status, slope and prevalences; its cuts are found here.
    labels
        Group of each sample, or None.
    stream, trait
        Address of the logistic noise of a logit.
    exact
        In a stratum of n the round(n K) largest scores are cases. Of a threshold that is the sample quantile;
        of a logit, Pareto sampling: its probabilities are those of the logit up to O(1/n). Without, the cut
        is that of the model and the number of cases varies: mean + sd x Phi^-1(1 - K) of the stratum's
        liability, or the cut with a mean of expit(slope x liability - cut) equal to K.

    Returns
    -------
    case, rule
        int8 (samples,), 1 case, 0 control; the rule with its cuts.

    Raises
    ------
    DataError
        If there is no case or no control, or the groups are not those of the cohort.

    References
    ----------
    Rosen 1997, *J Stat Plan Inference* 62:135 (Pareto sampling).
    """
    n = len(liability)
    case = np.zeros(n, np.int8)
    check_groups(labels, rule.prevalence)
    scores = rule.scores(liability, stream, trait)
    cuts = {}
    for name, rows in strata(n, labels, rule.prevalence):
        prevalence = rule.prevalence[name]
        if exact:
            case[rows], cuts[name] = _largest(scores[rows], prevalence)
        else:
            cuts[name] = _model_cut(liability[rows], rule, prevalence)
            case[rows] = scores[rows] >= cuts[name]
    if not 0 < case.sum() < n:
        given = ", ".join(f"{k:g}" for k in sorted(set(rule.prevalence.values())))
        raise DataError(
            f"a prevalence of {given} makes no case, or no control, among {n} samples; "
            "change [phenotype] prevalence or make more samples"
        )
    return case, Rule(rule.status, rule.slope, rule.prevalence, cuts)


def _largest(scores: NDArray[np.float64], prevalence: float) -> tuple[NDArray[np.int8], float]:
    """Take the round(n K) largest scores, ties in order; the cut lies above all where that is nobody."""
    wanted = round(prevalence * len(scores))
    order = np.argsort(-scores, kind="stable")
    case = np.zeros(len(scores), np.int8)
    case[order[:wanted]] = 1
    cut = scores[order[wanted - 1]] if wanted else np.nextafter(scores[order[0]], np.inf)
    return case, float(cut)


def _model_cut(liability: NDArray[np.float64], rule: Rule, prevalence: float) -> float:
    if rule.status == "threshold":
        return float(liability.mean() + liability.std() * ndtri(1 - prevalence))
    logit = float(np.log(prevalence / (1 - prevalence)))
    low, high = (float(rule.slope * end) - logit for end in (liability.min(), liability.max()))

    def excess(cut: float) -> float:
        return float(expit(rule.slope * liability - cut).mean()) - prevalence

    # rounding may put an end of the bracket on the wrong side of the root
    return float(brentq(excess, low - 1e-6, high + 1e-6, xtol=1e-12))
