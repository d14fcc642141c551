"""A slow and plain reader of VCF text: split lines at tabs, cells at colons, calls at their separators."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass, field
from pathlib import Path

Call = tuple[int, int]


@dataclass
class Variants:
    """Columns, one entry a variant; `calls` and `phased` one list of samples each."""

    samples: list[str]
    contig: list[str] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    identifier: list[str] = field(default_factory=list)
    ref: list[str] = field(default_factory=list)
    alt: list[str] = field(default_factory=list)
    calls: list[list[Call]] = field(default_factory=list)
    phased: list[list[bool]] = field(default_factory=list)
    has_phase: bool = False


def read_vcf(path: Path, *, half_calls: str = "missing", haploid: str = "double") -> Variants:
    """Read a file, splitting records of several alternate alleles."""
    blob = path.read_bytes()
    text = (gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob).decode()
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    header = next(line for line in lines if line.startswith("#CHROM"))
    out = Variants(header.split("\t")[9:])
    for line in lines:
        if line and not line.startswith("#"):
            _add(out, line.split("\t"), half_calls, haploid)
    return out


def _add(out: Variants, cells: list[str], half_calls: str, haploid: str) -> None:
    names = [] if cells[4] == "." else cells[4].split(",")
    place = cells[8].split(":").index("GT")
    raw = [(cell.split(":") + ["."] * place)[place] for cell in cells[9:]]
    out.has_phase |= any("|" in call for call in raw)
    for number in range(1, max(1, len(names)) + 1):
        out.contig.append(cells[0])
        out.position.append(int(cells[1]))
        out.identifier.append(cells[2])
        out.ref.append(cells[3])
        out.alt.append(names[number - 1] if names else "")
        pairs = [_call(call, number, half_calls, haploid) for call in raw]
        out.calls.append([pair for pair, _ in pairs])
        out.phased.append([is_phased for _, is_phased in pairs])


def _call(text: str, number: int, half_calls: str, haploid: str) -> tuple[Call, bool]:
    alleles = [None if a == "." else int(int(a) == number) for a in re.split(r"[/|]", text)]
    if len(alleles) == 1:
        if alleles[0] is None or haploid == "missing":
            return (-1, -1), False
        return (alleles[0], alleles[0]), True
    is_phased = "|" in text
    known = [a for a in alleles if a is not None]
    if len(known) == 2:
        return (known[0], known[1]), is_phased
    if not known or half_calls == "missing":
        return (-1, -1), is_phased
    if half_calls == "haploid":
        return (known[0], known[0]), is_phased
    fill = {"reference": 0, "keep": -1}[half_calls]
    first, second = (fill if a is None else a for a in alleles)
    return (first, second), is_phased
