"""Identifiers of watermarks in the style of the cohort's own."""

from __future__ import annotations

import re
from typing import Any

from numpy.typing import NDArray

from genoweave.rng import Stream

_NUMBERED = re.compile(r"^(.*?\D)(\d+)$")
_PLACED = re.compile(r"^(?P<contig>(?:chr)?[^:_]+)(?P<sep>[:_])(?P<position>\d+)(?P<rest>[:_].*)?$")
_TRIES = 200
_REACH = 5000


class Names:
    """Gives free identifiers like that of a real variant.

    One that holds its position (1:12345:A:G, chr1_12345) is made of the watermark's place and alleles; one
    that ends in a number (rs12345) gets another number near it; "." stays ".". A cohort numbered without
    gaps (rs1, rs2, rs3, ...) has no free number within the range: the watermark gets one above.
    """

    def __init__(self, taken: NDArray[Any], stream: Stream) -> None:
        self.taken = {str(name) for name in taken}
        self.stream = stream

    def like(
        self, row: int, left: tuple[str, int], template: tuple[str, int], position: int,
        allele: tuple[str, str],
    ) -> str:  # fmt: skip
        """Return an identifier for watermark `row`.

        `left` and `template` are identifier and position of the variant before it, in whose style its own
        is written, and of the one that it imitates, near whose number it gets its own.
        """
        if left[0] in (".", ""):
            return left[0]
        made = _placed(*left, position, allele)
        if made is not None and made not in self.taken:
            self.taken.add(made)
            return made
        own, other = _NUMBERED.match(left[0]), _NUMBERED.match(template[0])
        if own is None:
            return self._numbered(row, f"{left[0]}_", "1")
        # of a cohort with ids of several styles, the template's may be of another
        alike = other is not None and other[1] == own[1] and _placed(*template, position, allele) is None
        number = other[2] if other is not None and alike else own[2]
        return self._numbered(row, own[1], number)

    def _numbered(self, row: int, head: str, number: str) -> str:
        width = len(number) if number.startswith("0") else 0
        for k, word in enumerate(self.stream.words64(row, _TRIES).tolist()):
            reach = _REACH * (1 + k // 10) ** 2
            near = int(number) + word % (2 * reach + 1) - reach
            made = f"{head}{near:0{width}d}" if near > 0 else ""
            if made and made not in self.taken:
                break
        else:
            near = max((int(m[2]) for m in map(_NUMBERED.match, self.taken) if m and m[1] == head), default=0)
            made = f"{head}{near + 1:0{width}d}"
        self.taken.add(made)
        return made


def _placed(name: str, at: int, position: int, allele: tuple[str, str]) -> str | None:
    match = _PLACED.match(name)
    if match is None or int(match["position"]) != at:
        return None
    rest = match["rest"] or ""
    if rest:
        parts = re.split(r"([:_])", rest)  # "", separator, allele, separator, allele, ...
        both = iter(allele)
        parts = [next(both, part) if k and k % 2 == 0 else part for k, part in enumerate(parts)]
        rest = "".join(parts)
    return f"{match['contig']}{match['sep']}{position}{rest}"
