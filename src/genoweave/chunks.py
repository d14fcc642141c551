"""Pure arithmetic of chunks: ranges, fixed tiles, bytes. Imports no array library."""

from __future__ import annotations

from collections.abc import Iterator

# Floating-point sums run over tiles of this many variants, whatever the chunks of a store, so that a
# result is the same to the last bit for every chunk size. A multiple of 64: one tile is whole
# words of a bit-plane.
TILE_VARIANTS = 1024


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) that cover ``0..length`` in steps; the last may be short."""
    for start in range(0, length, step):
        yield start, min(start + step, length)


def tiles(n_variants: int) -> list[tuple[int, int]]:
    """Return the fixed tiles of the variants' axis."""
    return list(ranges(n_variants, TILE_VARIANTS))


def human_bytes(n: float) -> str:
    """``1536`` -> ``'1.5 KiB'``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(n) < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} TiB"


def parse_bytes(text: str) -> int:
    """``'4GiB'``, ``'500 MB'`` or ``'1e9'`` -> bytes.

    Raises
    ------
    ValueError
        If the text is not a number with a known unit.
    """
    units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
    units |= {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    units |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
    compact = text.strip().lower().replace(" ", "")
    number = compact.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = compact[len(number) :]
    try:
        value = float(number) * units[unit]
    except (ValueError, KeyError):
        value = 0
    if not 0 < value < 2**63:
        raise ValueError(f"{text!r} is not a size of memory; write for example 4GiB or 500MB")
    return int(value)
