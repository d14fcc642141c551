"""Headers of VCF and BCF: sample names, where records begin, and BCF's dictionaries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from genoweave.errors import DataError
from genoweave.io.vcf.bgzf import Bytes

# A header of 5 million samples with ids of 20 bytes fits; a file that never ends its header does not.
_LARGEST_HEADER = 128 * 2**20
_MOST_SAMPLES = 2**24 - 1  # as many as BCF can count
_COLUMNS = ("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT")
_BCF_MAGIC = b"BCF\x02"
_ENTRY = re.compile(r"^##(FILTER|INFO|FORMAT|contig)=<(?:.*?,)??ID=([^,>]+)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NUMBER = re.compile(r",IDX=([0-9]{1,9})")


@dataclass(frozen=True)
class Header:
    """What the header says.

    Attributes
    ----------
    samples
        Their names.
    start
        The place of the first record.
    lines
        Lines before the first record.
    is_binary
        Whether the records are BCF.
    contigs
        BCF: name of each contig number.
    gt_key
        BCF: number of the key GT, -1 if there is none.
    """

    samples: list[str]
    start: int
    lines: int
    is_binary: bool = False
    contigs: dict[int, str] = field(default_factory=dict)
    gt_key: int = -1


class _Reader:
    """Bytes one after another, and the place of the next one."""

    def __init__(self, file: Bytes) -> None:
        self.name = file.name
        self.pieces: Iterator[tuple[int, bytes]] = file.pieces(0)
        self.place, self.data, self.used = 0, b"", 0
        self.total = 0

    def _more(self) -> bool:
        place, data = next(self.pieces, (self.place + self.used, b""))
        self.place, self.data, self.used = place, data, 0
        self.total += len(data)
        if self.total > _LARGEST_HEADER + 2**20:
            raise DataError(
                f"{self.name}: its header is longer than {_LARGEST_HEADER} bytes or has no line #CHROM; "
                "this is not a VCF file, or it is damaged"
            )
        return bool(data)

    def peek(self, size: int) -> bytes:
        """Return the next bytes without moving on; only at the beginning."""
        if not self.data:
            self._more()
        return self.data[self.used : self.used + size]

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end of the file."""
        parts = []
        while size:
            if self.used == len(self.data) and not self._more():
                break
            part = self.data[self.used : self.used + size]
            self.used += len(part)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def line(self) -> bytes:
        """Return a line without its end; at the end of the file what is left."""
        parts = []
        while self.used < len(self.data) or self._more():
            end = self.data.find(b"\n", self.used)
            if end >= 0:
                parts.append(self.data[self.used : end])
                self.used = end + 1
                break
            parts.append(self.data[self.used :])
            self.used = len(self.data)
        return b"".join(parts).removesuffix(b"\r")

    def tell(self) -> int:
        """Return the place of the next byte, that of the next block where a block is used up."""
        if self.used == len(self.data):
            self._more()
        return self.place + self.used


def read_header(file: Bytes) -> Header:
    """Read the header of a VCF or BCF file.

    Raises
    ------
    DataError
        If it is not one, is malformed, or names no samples or one of them twice.
    """
    reader = _Reader(file)
    magic = reader.peek(5)
    if magic[:4] == _BCF_MAGIC:
        return _read_binary(reader)
    if magic[:3] == b"BCF":
        raise DataError(f"{file.name} is not BCF version 2; convert it with bcftools view")
    if not b"##fileformat=".startswith(magic) or not magic:
        raise DataError(
            f"{file.name} is not a VCF or BCF file: it must begin with ##fileformat=VCFv4, found {magic!r}"
        )
    first = reader.line()
    _check_version(first, file.name)
    lines = 1
    while (line := reader.line()).startswith(b"##"):
        lines += 1
    samples = _sample_names(line, f"{file.name}, line {lines + 1}")
    return Header(samples, reader.tell(), lines + 1)


def _check_version(line: bytes, path: str) -> None:
    if not line.startswith(b"##fileformat=VCFv4."):
        raise DataError(
            f"{path}, line 1: wanted ##fileformat=VCFv4.0 to 4.5, found {line[:60]!r}; convert the file to "
            "VCF 4 (vcf-convert of vcftools)"
        )


def _sample_names(line: bytes, where: str) -> list[str]:
    if line.count(b"\t") > _MOST_SAMPLES:
        raise DataError(f"{where}: more than {_MOST_SAMPLES} samples; the file is damaged, copy it again")
    try:
        names = line.decode().split("\t")
    except UnicodeDecodeError:
        raise DataError(f"{where}: the sample names are not UTF-8 text; save the file as UTF-8") from None
    wanted = len(_COLUMNS)
    if tuple(names[: wanted - 1]) != _COLUMNS[:-1]:
        raise DataError(
            f"{where}: wanted the header's last line, {' '.join(_COLUMNS)} and the samples, separated by "
            f"tabs, found {line[:60]!r}"
        )
    if len(names) <= wanted:
        raise DataError(f"{where}: the file has no genotypes: no sample is named after the column FORMAT")
    if names[wanted - 1] != "FORMAT":
        raise DataError(f"{where}: column 9 is FORMAT, found {names[wanted - 1][:60]!r}")
    samples = names[wanted:]
    seen: dict[str, int] = {}
    for number, name in enumerate(samples, start=1):
        if not name or _CONTROL.search(name):
            raise DataError(f"{where}: the name of sample number {number} is empty or has control characters")
        if name in seen:
            raise DataError(
                f"{where}: samples number {seen[name]} and {number} have the same name; sample ids must be "
                "unique. Rename one (bcftools reheader --samples)"
            )
        seen[name] = number
    return samples


def _read_binary(reader: _Reader) -> Header:
    path = reader.name
    head = reader.read(9)
    length = int.from_bytes(head[5:9], "little")
    if len(head) < 9 or length > _LARGEST_HEADER:
        raise DataError(f"{path}: the BCF header promises {length} bytes; the file is damaged, copy it again")
    data = reader.read(length)
    if len(data) < length:
        raise DataError(
            f"{path} ends within its header: {length} bytes were promised, {len(data)} found; copy it again"
        )
    lines = data.rstrip(b"\0").rstrip(b"\r\n").split(b"\n")
    _check_version(lines[0], path)
    samples = _sample_names(lines[-1], f"{path}, header line {len(lines)}")
    contigs, keys = _dictionaries(lines)
    return Header(samples, reader.tell(), len(lines), True, contigs, keys.get("GT", -1))


def _dictionaries(lines: list[bytes]) -> tuple[dict[int, str], dict[str, int]]:
    """Return contig number -> name, and key -> number; lines may state numbers, else they count."""
    contigs: dict[int, str] = {}
    keys = {"PASS": 0}
    for line in lines:
        text = line.decode(errors="replace")
        entry = _ENTRY.match(text)
        if entry is None:
            continue
        kind, name = entry.groups()
        number = _NUMBER.findall(text)
        if kind == "contig":
            contigs[int(number[-1]) if number else len(contigs)] = name
        elif name not in keys:
            keys[name] = int(number[-1]) if number else len(keys)
    return contigs, keys
