"""Counts of people as they may be shown: from 1 to 20 only as such (aggregate by default)."""

from __future__ import annotations

import pandas as pd

SMALLEST_SHOWN = 21


def people(n: int) -> str:
    """Return the text of a count of people: ``"<=20"`` for 1 to 20."""
    return "<=20" if 0 < n < SMALLEST_SHOWN else str(int(n))


def rounded(n: int) -> str:
    """Return a count of people to the nearest 50, where another count would tell a hidden one."""
    return people(n) if n < SMALLEST_SHOWN else f"about {round(n / 50) * 50}"


def cascade_lines(steps: pd.DataFrame) -> list[str]:
    """Return quality control's cascade in words; samples left are rounded if a removal is hidden."""
    removed = steps["samples_removed"]
    left = rounded if ((removed > 0) & (removed < SMALLEST_SHOWN)).any() else people
    return [
        f"{row['step']}: {people(row['samples_removed'])} samples and {row['variants_removed']} variants "
        "removed; "
        f"{left(row['samples_left'])} and {row['variants_left']} left"
        for row in steps.to_dict("records")
    ]
