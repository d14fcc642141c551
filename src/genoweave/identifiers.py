"""Random identifiers that tell nothing of group or origin, unique over a whole release."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.rng import Root

_FIRST = 10**9
_SPAN = 9 * 10**9


def random_ids(key: Root, start: int, count: int) -> NDArray[Any]:
    """Return ids `start` to `start + count` of one endless sequence of distinct 10-digit numbers.

    Stages that name samples of one release take disjoint parts of the sequence.

    Returns
    -------
    ndarray
        object str (count,), in the order of the draws (not sorted).
    """
    stream = key.stream("release.sample-id")
    total = start + count
    drawn = 0
    ids: dict[int, None] = {}
    while len(ids) < total:
        more = total - len(ids) + 16
        words = stream.words64(0, np.arange(drawn, drawn + more))
        drawn += more
        ids |= dict.fromkeys((words % np.uint64(_SPAN)).tolist())
    chosen = list(ids)[start:total]
    return np.array([str(_FIRST + number) for number in chosen], object)
