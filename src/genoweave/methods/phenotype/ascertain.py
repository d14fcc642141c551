"""Case/control samples drawn from a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.errors import ConfigError, DataError
from genoweave.rng import Stream


@dataclass(frozen=True)
class Sizes:
    """How many cases and controls a study has.

    Attributes
    ----------
    n_cases, n_controls
        Numbers; None takes all.
    controls_per_case
        Controls for each case drawn, instead of `n_controls`.
    by_group
        Whether these are the numbers within each group.
    """

    n_cases: int | None = None
    n_controls: int | None = None
    controls_per_case: float | None = None
    by_group: bool = False

    def __post_init__(self) -> None:
        if self.n_controls is not None and self.controls_per_case is not None:
            raise ConfigError("give n_controls or controls_per_case, not both: each says how many controls")

    @property
    def takes_all(self) -> bool:
        """Whether nobody is left out."""
        return self.n_cases is None and self.n_controls is None and self.controls_per_case is None


def ascertain(
    case: NDArray[np.int8], sizes: Sizes, labels: NDArray[Any] | None, stream: Stream, trait: int = 0
) -> NDArray[np.bool_]:
    """Draw cases and controls without replacement.

    Parameters
    ----------
    case
        int8 (samples,), 1 case, 0 control.
    sizes
        How many.
    labels
        Group of each sample; wanted if the sizes are by group. Samples without one are not drawn then.
    stream, trait
        The rank of sample i is the word at row `trait`, column i: a smaller study is part of a larger one.

    Returns
    -------
    ndarray
        bool (samples,): who is in the study.

    Raises
    ------
    DataError
        If there are too few cases or controls, or none of them, or groups are wanted and there are none.
    """
    if sizes.takes_all:
        return np.ones(len(case), bool)
    rank = stream.words64(trait, len(case))
    chosen = np.zeros(len(case), bool)
    for name, members in _groups(len(case), sizes, labels):
        cases = _draw(members[case[members] == 1], sizes.n_cases, rank, "cases", name)
        wanted = sizes.n_controls
        if sizes.controls_per_case is not None:
            wanted = round(sizes.controls_per_case * len(cases))
        controls = _draw(members[case[members] == 0], wanted, rank, "controls", name)
        chosen[cases] = chosen[controls] = True
    if case[chosen].sum() in (0, chosen.sum()):
        raise DataError(
            f"a study of {people(int(chosen.sum()))} samples without a case, or without a control, is none; "
            "draw more"
        )
    return chosen


def _groups(n: int, sizes: Sizes, labels: NDArray[Any] | None) -> list[tuple[str, NDArray[np.int64]]]:
    if not sizes.by_group:
        return [("", np.arange(n))]
    names = [] if labels is None else sorted(set(labels.astype(str)) - {""})
    if labels is None or not names:
        raise DataError(
            "cases and controls are to be drawn by group, and the cohort has no sample_ancestry; import it "
            "with --ancestry, or draw from all"
        )
    return [(name, np.flatnonzero(labels.astype(str) == name)) for name in names]


def _draw(
    members: NDArray[np.int64], wanted: int | None, rank: NDArray[np.uint64], what: str, group: str
) -> NDArray[np.int64]:
    if wanted is None:
        return members
    if wanted > len(members):
        where = f" in group {group}" if group else ""
        raise DataError(
            f"{wanted} {what} are to be drawn{where}, and there are {len(members)}; draw fewer, change the "
            "prevalence, or make more samples"
        )
    return members[np.argsort(rank[members], kind="stable")[:wanted]]
