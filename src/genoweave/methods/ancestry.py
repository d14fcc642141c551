"""Ancestry groups: the labels decide; the principal components say how well they fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.frequencies import group_numbers
from genoweave.parameters import Field, Parameters

log = logging.getLogger(__name__)

_TREES = 300
# Of more samples than this a tree sees only some, and nearly all trees vote on each: 60 trees of
# 10,000 take 4 CPU s for 184,712 samples with 20 components, and were right on as many (99.4 %) as 100 trees.
_LARGE = 20_000
_FEWER_TREES, _TREE_SAMPLES = 60, 10_000


class Ancestry(Parameters):
    """How labels are reported on, and which groups are large enough to use."""

    min_group: int = Field(20, ge=2, description="smallest number of samples with which a group is used")
    classifier: Literal["forest", "centroid"] = Field(
        "forest",
        description="random forest (out-of-bag predictions) or nearest centroid (leave-one-out)",
    )
    n_components: int = Field(20, ge=1, description="leading components that the classifier sees")
    seed: int = Field(0, ge=0, description="public seed of the forest")


@dataclass(frozen=True)
class AncestryReport:
    """What the components say of the labels.

    Attributes
    ----------
    predicted
        object (samples,): the group that the components suggest.
    confusion
        DataFrame with columns label, predicted, n.
    groups
        DataFrame with columns group, n, agreement (share of members predicted as their own group), usable.
    """

    predicted: NDArray[Any]
    confusion: pd.DataFrame
    groups: pd.DataFrame

    @property
    def unused(self) -> list[str]:
        """Names of the groups that are too small."""
        return list(self.groups.loc[~self.groups["usable"], "group"])


def ancestry(
    labels: NDArray[Any], scores: NDArray[np.float64], params: Ancestry | None = None
) -> AncestryReport:
    """Compare ancestry labels with the principal components.

    Parameters
    ----------
    labels
        object (samples,): group of each sample; every one must have a label.
    scores
        f8 (samples, components).
    params
        Classifier and smallest group.

    Notes
    -----
    The forest has 300 trees; beyond 20,000 samples 60 trees of 10,000 samples each.

    Raises
    ------
    DataError
        If no group is large enough; the message names the groups.
    """
    params = params or Ancestry()
    names, group = group_numbers(labels)
    if not names or (group < 0).any():
        raise DataError(
            "ancestry needs a label for every sample; give [input] ancestry, a table of sample id and group"
        )
    sizes = np.bincount(group, minlength=len(names))
    usable = sizes >= params.min_group
    if not usable.any():
        listed = ", ".join(names)
        raise DataError(
            f"no ancestry group has at least {params.min_group} samples after quality control (groups: "
            f"{listed}); "
            "merge groups in the ancestry table or lower [ancestry] min_group"
        )
    x = scores[:, : params.n_components]
    classify = _forest if params.classifier == "forest" else _centroid
    predicted = classify(x, group, params.seed) if len(names) > 1 else np.zeros(len(group), np.int64)
    table = np.zeros((len(names), len(names)), np.int64)
    np.add.at(table, (group, predicted), 1)
    return AncestryReport(
        predicted=np.array(names, object)[predicted],
        confusion=_confusion(names, table),
        groups=pd.DataFrame(
            {"group": names, "n": sizes, "agreement": np.diag(table) / sizes, "usable": usable}
        ),
    )


def _confusion(names: list[str], table: NDArray[np.int64]) -> pd.DataFrame:
    rows = [
        {"label": a, "predicted": b, "n": int(table[i, j])}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    return pd.DataFrame(rows)


def _forest(x: NDArray[np.float64], group: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Out-of-bag votes: no tree votes on a sample that it has seen."""
    from sklearn.ensemble import RandomForestClassifier

    large = len(x) > _LARGE
    forest = RandomForestClassifier(
        _FEWER_TREES if large else _TREES,
        oob_score=True,
        class_weight="balanced_subsample",
        max_samples=_TREE_SAMPLES if large else None,
        random_state=seed,
        n_jobs=1,
    )
    forest.fit(x, group)
    return np.argmax(np.nan_to_num(forest.oob_decision_function_), axis=1)


def _centroid(x: NDArray[np.float64], group: NDArray[np.int64], _: int) -> NDArray[np.int64]:
    """Nearest centroid, each sample left out of its own group's mean."""
    n = np.bincount(group)
    means = np.stack([x[group == k].mean(axis=0) for k in range(len(n))])
    distance = ((x[:, None] - means[None]) ** 2).sum(axis=2)
    own = np.arange(len(x)), group
    others = np.maximum(n[group] - 1, 1)
    distance[own] *= (n[group] / others) ** 2  # x - mean without x = (x - mean) n / (n - 1)
    return np.argmin(distance, axis=1)
