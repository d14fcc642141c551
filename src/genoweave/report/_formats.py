"""How a value is written on the page, and what a table is.

Counts of people from 1 to 20 are never written, nor numbers from which one could work them out:
beside a hidden count, the other counts of its row or column are rounded.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

SMALL_COUNT = 20
MISSING = "–"
HIDDEN = "not shown"
_ROUND_TO = 50

Format = Callable[[object], str]


def missing(value: object) -> bool:
    """Whether ``value`` stands for no value: None, NaN or NA."""
    return value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value))  # type: ignore[call-overload]


def text(value: object) -> str:
    """Write a name or a value that is already written."""
    return MISSING if missing(value) else str(value)


def count(value: object) -> str:
    """Write a count of things (variants, pairs, records), thousands apart."""
    return text(value) if not _numeric(value) else f"{_integer(value):,}"


def masked_count(value: object) -> str:
    """Write a count of people; 1 to 20 becomes "≤20"."""
    if _numeric(value) and is_small(value):
        return f"≤{SMALL_COUNT}"
    return count(value)


def rounded_count(value: object) -> str:
    """Write a count of people to the nearest 50, so that no hidden count follows from it."""
    if not _numeric(value) or _integer(value) == 0 or is_small(value):
        return masked_count(value)
    nearest = max(_ROUND_TO, _ROUND_TO * round(_integer(value) / _ROUND_TO))
    return f"≈{nearest:,}"


def masked_share(part: object, total: object) -> str:
    """Write a share of ``total`` people as %, with a bound where it would tell of 1 to 20 people.

    Parameters
    ----------
    part : float
        Between 0 and 1; NaN gives a dash.
    total : int
        People that the share is of.
    """
    if not _numeric(part) or not _numeric(total):
        return MISSING
    fraction, whole = float(part), _integer(total)  # type: ignore[arg-type]
    if whole <= SMALL_COUNT:
        return HIDDEN
    bound = 100 * SMALL_COUNT / whole
    if is_small(round((1 - fraction) * whole)):
        return f"≥{100 - math.ceil(10 * bound) / 10:.1f} %"
    if is_small(round(fraction * whole)):
        return f"≤{math.ceil(10 * bound) / 10:.1f} %"
    return share(fraction)


def is_small(value: object) -> bool:
    """Whether ``value`` is a count from 1 to 20."""
    return _numeric(value) and 0 < float(value) <= SMALL_COUNT  # type: ignore[arg-type]


def decimal(places: int) -> Format:
    """Return a format with ``places`` decimals and a proper minus sign."""

    def write(value: object) -> str:
        if not _numeric(value):
            return text(value)
        number = float(value)  # type: ignore[arg-type]
        return f"{number:,.{places}f}".replace("-", "−") if math.isfinite(number) else str(number)

    return write


def share(value: object) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{100 * float(value):.1f} %" if _numeric(value) else text(value)  # type: ignore[arg-type]


def percent(value: object) -> str:
    """Write a share as a percentage with as many decimals as it needs (at most three)."""
    if not _numeric(value):
        return text(value)
    return f"{round(100 * float(value), 3):g} %"  # type: ignore[arg-type]


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(log10_p: object) -> str:
    """Write the p-value whose log10 is given, e.g. "1.0×10⁻¹¹⁹⁸": a float would show 0."""
    if not _numeric(log10_p):
        return text(log10_p)
    log10 = float(log10_p)  # type: ignore[arg-type]
    if not math.isfinite(log10):
        return MISSING if log10 > 0 else "0"
    if log10 > -3:
        return f"{10**log10:.2g}"
    exponent = math.floor(log10)
    mantissa = round(10 ** (log10 - exponent), 1)
    if mantissa >= 10:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:.1f}×10{str(exponent).translate(_SUPERSCRIPT)}"


def duration(seconds: object) -> str:
    """Write a time in seconds in the units that a reader would choose."""
    if not _numeric(seconds):
        return text(seconds)
    value = float(seconds)  # type: ignore[arg-type]
    if value < 60:
        return f"{value:.1f} s"
    if value < 600:
        return f"{round(value) // 60} min {round(value) % 60:02d} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(n_bytes: object) -> str:
    """Write a number of bytes in binary units."""
    if not _numeric(n_bytes):
        return text(n_bytes)
    value = float(n_bytes)  # type: ignore[arg-type]
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


@dataclass(frozen=True)
class Table:
    """A table of the page and of ``report/tables``.

    ``columns`` maps each heading to how its cells are written; ``rows`` hold the values. A cell
    that begins with "Good:" or "Check:" is a reading of its row, and is coloured by it.
    """

    name: str
    caption: str
    columns: Mapping[str, Format]
    rows: Sequence[Sequence[object]]

    @property
    def headings(self) -> list[tuple[str, bool]]:
        """Heading and whether its column holds words (left-aligned)."""
        return [(heading, write is text) for heading, write in self.columns.items()]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as written on the page."""
        formats = list(self.columns.values())
        return [[f(v) for f, v in zip(formats, row, strict=True)] for row in self.rows]

    def tsv(self) -> str:
        """Return the table as tab-separated text, masked as on the page; NA where missing."""
        formats = list(self.columns.values())
        lines = [[_flat(heading) for heading in self.columns]]
        for row in self.rows:
            lines.append([_machine(v, f) for f, v in zip(formats, row, strict=True)])
        return "".join("\t".join(line) + "\n" for line in lines)


def _machine(value: object, write: Format) -> str:
    """Cell for programs: full precision, no thousands separators, hidden counts still hidden."""
    if missing(value):
        return "NA"
    if isinstance(value, str) or write in (masked_count, rounded_count):
        return _flat(write(value).replace(",", "") if not isinstance(value, str) else value)
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def _flat(value: str) -> str:
    return " ".join(value.split())


def _numeric(value: object) -> bool:
    if isinstance(value, (str, bool)) or missing(value):
        return False
    return hasattr(value, "__float__")


def _integer(value: object) -> int:
    number = float(value)  # type: ignore[arg-type]
    return round(number) if math.isfinite(number) else 0
