"""Names of chromosomes."""

from __future__ import annotations

_CODES = {"X": "23", "Y": "24", "XY": "25", "MT": "26", "M": "26"}


def chromosome_number(name: str) -> str:
    """Return PLINK's code of a chromosome: without ``chr``, X Y XY MT as 23 24 25 26."""
    bare = name[3:] if name.lower().startswith("chr") else name
    return _CODES.get(bare.upper(), bare)
