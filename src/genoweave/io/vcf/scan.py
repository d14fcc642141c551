"""One pass over a VCF or BCF file: what its variants are, where their records lie, whether all is well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.execution import run_in_order
from genoweave.io.vcf.bgzf import Bytes
from genoweave.io.vcf.faults import CUT_OFF, NOT_UTF8, TOO_LONG, fault_error
from genoweave.io.vcf.header import Header
from genoweave.kernels import vcf_binary, vcf_text
from genoweave.kernels.vcf_text import N_COUNTS, OK

Ints = NDArray[np.int64]

# Records that are found and read together: as much text, or one record where that is longer.
_GROUP = 256 * 2**10
_SPAN, _LARGEST_SPAN = 4 * 2**20, 64 * 2**20
_LONGEST = 2**30


@dataclass(frozen=True)
class Rules:
    """How calls are read: codes of `HALF_RULES` and `HAPLOID_RULES`."""

    half: int
    haploid: int


@dataclass
class Index:
    """Where records lie. Group g holds records first[g] to first[g + 1].

    Attributes
    ----------
    first
        int64 (groups + 1,), number of the first record.
    place
        int64 (groups,), see `bgzf`.
    offset
        int64 (groups + 1,), uncompressed bytes before the group, from the first record on.
    """

    first: Ints
    place: Ints
    offset: Ints


@dataclass
class Records:
    """What a scan gathered, one entry a record, in the order of the file."""

    contigs: dict[str, int] = field(default_factory=dict)
    contig: list[int] = field(default_factory=list)
    identifier: list[str] = field(default_factory=list)
    ref: list[str] = field(default_factory=list)
    alt: list[str] = field(default_factory=list)
    position: list[Ints] = field(default_factory=list)
    n_alts: list[NDArray[np.int32]] = field(default_factory=list)
    has_gt: list[NDArray[np.bool_]] = field(default_factory=list)
    counts: Ints = field(default_factory=lambda: np.zeros(N_COUNTS, np.int64))

    def name(self, record: int) -> str:
        """Return CHROM:POS of a record."""
        position = np.concatenate(self.position)[record]
        return f"{list(self.contigs)[self.contig[record]][:60]}:{position}"


@dataclass
class _Part:
    """What one span or batch of records gave; places and offsets are those of its groups."""

    heads: bytes
    position: Ints
    n_alts: NDArray[np.int32]
    has_gt: NDArray[np.bool_]
    counts: Ints
    lines: int
    size: int
    first: Ints
    place: Ints
    offset: Ints
    fault: tuple[int, int, int] | None  # (code, detail, line)
    contig: Ints | None = None


def longest_record(n_samples: int) -> int:
    """Return the bytes above which a record is taken for damage: 64 MiB, and 1 KiB a sample."""
    return min(_LONGEST, 64 * 2**20 + 1024 * n_samples)


def span_bytes(n_samples: int) -> int:
    """Return the text that one task checks: 4 MiB, or several records of many samples."""
    return max(_SPAN, min(_LARGEST_SPAN, 32 * n_samples))


def scan(file: Bytes, header: Header, rules: Rules) -> tuple[Records, Index]:
    """Check every record and index the file.

    Memory: a few spans of text, and what identifies the variants.

    Raises
    ------
    DataError
        Naming the first record that is malformed or that the rules refuse.
    """
    parts = _scan_binary(file, header, rules) if header.is_binary else _scan_text(file, header, rules)
    records = Records()
    groups: list[tuple[Ints, Ints, Ints]] = []
    line, count, size = header.lines, 0, 0
    for part in parts:
        groups.append((part.first + count, part.place, part.offset + size))
        _gather(records, part, file.name, header, line)
        count += len(part.position)
        line += part.lines
        size += part.size
    if not count:
        raise DataError(f"{file.name} has a header but no records; at least one variant is needed")
    first, place, offset = (np.concatenate(column) for column in zip(*groups, strict=True))
    index = Index(np.append(first, count), place, np.append(offset, size))
    return records, index


def _gather(records: Records, part: _Part, path: str, header: Header, line: int) -> None:
    """Add a part to the records, or raise what is wrong with it."""
    if part.fault is not None:
        code, detail, number = part.fault
        where = (
            f"record {len(records.contig) + number + 1}" if header.is_binary else f"line {line + number + 1}"
        )
        raise fault_error(path, where, code, detail, len(header.samples))
    if not len(part.position):
        return
    heads = part.heads.decode().split("\n")[:-1]
    columns = list(zip(*(head.split("\t") for head in heads), strict=True))
    if part.contig is not None:
        names = [header.contigs.get(int(number), "") for number in part.contig]
        if "" in names:
            number = len(records.contig) + names.index("") + 1
            raise DataError(f"{path}, record {number}: its contig is not in the header; the file is damaged")
        columns = [tuple(names), *columns]
    contigs = records.contigs
    records.contig += [contigs.setdefault(name, len(contigs)) for name in columns[0]]
    records.identifier += columns[1]
    records.ref += columns[2]
    records.alt += columns[3]
    records.position.append(part.position)
    records.n_alts.append(part.n_alts)
    records.has_gt.append(part.has_gt)
    records.counts += part.counts


def _scan_text(file: Bytes, header: Header, rules: Rules) -> Iterator[_Part]:
    n_samples = len(header.samples)
    yield from run_in_order(
        _scan_span,
        file.spans(header.start, span_bytes(n_samples)),
        shared=(file, header.start, n_samples, rules),
        label="scan VCF",
    )


def _scan_span(file: Bytes, begin: int, n_samples: int, rules: Rules, a: int, b: int) -> _Part:
    """Task: check the lines that begin after a newline in a..b, and the first one of all."""
    text = _span_text(file, a, b, is_first=a == begin, limit=longest_record(n_samples))
    starts, ends = lines_of(text.data)
    own = starts >= text.own
    starts, ends = starts[own], ends[own]
    number = len(starts)
    if text.is_cut:
        starts, ends = starts[:-1], ends[:-1]
    kept = np.flatnonzero(ends > starts)
    part = _check_lines(text.data, starts[kept], ends[kept], n_samples, rules)
    if part.fault is not None:
        code, detail, line = part.fault
        part.fault = code, detail, int(kept[line])
    elif text.is_cut:
        part.fault = TOO_LONG, 0, number - 1
    part.lines, part.size = number, text.size
    _add_groups(part, starts[kept], text.at, text.place)
    return part


@dataclass
class _Text:
    """Bytes from the beginning of a span on.

    Attributes
    ----------
    at, place
        int64: where pieces of `data` begin, and their places.
    own
        The first byte of the first line that belongs to the span.
    size
        Bytes of the span; what is behind them completes its last line.
    is_cut
        The last line is not whole, for it is too long.
    """

    data: NDArray[np.uint8]
    at: Ints
    place: Ints
    own: int
    size: int
    is_cut: bool


def _span_text(file: Bytes, a: int, b: int, *, is_first: bool, limit: int) -> _Text:
    """Read a..b and on to the end of the line that begins there or before."""
    parts, places, is_cut, has_line = [], [], False, is_first
    size = behind = 0
    for place, data in file.pieces(a):
        if place >= b and (not has_line or is_cut):
            break
        places.append(place)
        if place < b:
            parts.append(data)
            size += len(data)
            has_line = has_line or b"\n" in data
            continue
        end = data.find(b"\n") + 1
        parts.append(data[:end] if end else data)
        if end:
            break
        behind += len(data)
        is_cut = behind > limit
    text = b"".join(parts)
    own = 0 if is_first else text.find(b"\n") + 1 or len(text)
    at = np.cumsum([0, *map(len, parts)])[:-1]
    return _Text(np.frombuffer(text, np.uint8), at, np.array(places, np.int64), own, size, is_cut)


def lines_of(data: NDArray[np.uint8]) -> tuple[Ints, Ints]:
    """Return the first byte of each line, and the last + 1 without its end; a last line may have none."""
    ends = np.flatnonzero(data == 10)
    starts = np.append(0, ends + 1)
    if starts[-1] == len(data):
        starts = starts[:-1]
    else:
        ends = np.append(ends, len(data))
    ends -= (ends > starts) & (data[np.maximum(ends, 1) - 1] == 13)
    return starts, ends


def _check_lines(data: NDArray[np.uint8], starts: Ints, ends: Ints, n_samples: int, rules: Rules) -> _Part:
    part = _empty_part(len(starts))
    heads = np.empty(len(data), np.uint8)
    scratch = np.empty((n_samples, 2), np.int8), np.empty(n_samples, np.bool_)
    done, fault, detail, size = vcf_text.scan_lines(
        data, starts, ends, n_samples, rules.half, rules.haploid,
        heads, part.position, part.n_alts, part.has_gt, part.counts, *scratch,
    )  # fmt: skip
    _finish(part, heads[:size].tobytes(), done, fault, detail)
    return part


def _empty_part(count: int) -> _Part:
    none = np.empty(0, np.int64)
    return _Part(
        heads=b"",
        position=np.zeros(count, np.int64),
        n_alts=np.zeros(count, np.int32),
        has_gt=np.zeros(count, np.bool_),
        counts=np.zeros(N_COUNTS, np.int64),
        lines=count,
        size=0,
        first=none,
        place=none,
        offset=none,
        fault=None,
    )


def _finish(part: _Part, heads: bytes, done: int, fault: int, detail: int) -> None:
    """Note what the kernel found."""
    part.heads = heads
    if fault != OK:
        part.fault = fault, detail, done
        return
    try:
        heads.decode()
    except UnicodeDecodeError as error:
        part.fault = NOT_UTF8, 0, heads.count(b"\n", 0, error.start)


def _add_groups(part: _Part, starts: Ints, at: Ints, place: Ints) -> None:
    """Begin a group at the first record, and then where one begins in another stretch of `_GROUP` bytes."""
    stretch = starts // _GROUP
    part.first = np.flatnonzero(np.append(True, np.diff(stretch) > 0)[: len(starts)])
    part.offset = starts[part.first]
    piece = np.searchsorted(at, part.offset, side="right") - 1
    part.place = place[piece] + part.offset - at[piece]


def _scan_binary(file: Bytes, header: Header, rules: Rules) -> Iterator[_Part]:
    """Find the records one after another, for only their lengths tell where they begin."""
    n_samples = len(header.samples)
    spans = run_in_order(
        _inflate, file.spans(header.start, span_bytes(n_samples)), shared=(file,), label="scan BCF"
    )
    waiting: list[tuple[int, bytes]] = []
    total, wanted = 0, 1
    for pieces in spans:
        waiting += pieces
        total += sum(len(data) for _, data in pieces)
        if total < wanted:
            continue
        part, wanted = _check_records(waiting, header, rules)
        if wanted > longest_record(n_samples):
            part.fault = part.fault or (TOO_LONG, 0, len(part.position))
        waiting = _behind(waiting, part.size)
        total -= part.size
        yield part
    if total:
        part = _empty_part(0)
        part.fault = CUT_OFF, 0, 0
        yield part


def _inflate(file: Bytes, a: int, b: int) -> list[tuple[int, bytes]]:
    """Task: return the pieces of a..b."""
    out = []
    for place, data in file.pieces(a):
        if place >= b:
            break
        out.append((place, data))
    return out


def _behind(pieces: list[tuple[int, bytes]], used: int) -> list[tuple[int, bytes]]:
    """Return what is left of pieces behind the first `used` bytes."""
    out = []
    for place, data in pieces:
        if used < len(data):
            out.append((place + used, data[used:]))
        used = max(0, used - len(data))
    return out


def _check_records(pieces: list[tuple[int, bytes]], header: Header, rules: Rules) -> tuple[_Part, int]:
    """Check the whole records of some bytes; returns them and the bytes that the next one needs."""
    n_samples = len(header.samples)
    data = np.frombuffer(b"".join(piece for _, piece in pieces), np.uint8)
    ends = np.empty(len(data) // 32 + 1, np.int64)
    count, wanted = vcf_binary.record_ends(data, ends)
    ends = ends[:count]
    starts = np.append(0, ends)[:count]
    part = _empty_part(count)
    part.contig = np.zeros(count, np.int64)
    part.size = int(ends[-1]) if count else 0
    heads = np.empty(2 * len(data), np.uint8)
    scratch = np.empty((n_samples, 2), np.int8), np.empty(n_samples, np.bool_)
    done, fault, detail, size = vcf_binary.scan_records(
        data, starts, ends, n_samples, header.gt_key, rules.half, rules.haploid,
        heads, part.contig, part.position, part.n_alts, part.has_gt, part.counts, *scratch,
    )  # fmt: skip
    _finish(part, heads[:size].tobytes(), done, fault, detail)
    at = np.cumsum([0, *(len(piece) for _, piece in pieces)])[:-1]
    _add_groups(part, starts, at, np.array([place for place, _ in pieces], np.int64))
    return part, wanted
