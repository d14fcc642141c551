"""Counts of people as they may be shown: from 1 to 20 only as such (aggregate by default)."""

from __future__ import annotations

SMALLEST_SHOWN = 21


def people(n: int) -> str:
    """Return the text of a count of people: ``"<=20"`` for 1 to 20."""
    return "<=20" if 0 < n < SMALLEST_SHOWN else str(int(n))
