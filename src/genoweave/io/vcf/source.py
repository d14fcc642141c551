"""Calls of a VCF or BCF file, read by ranges of variants."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.genotypes import Calls, Packed, packed_calls
from genoweave.io.vcf.bgzf import Bytes
from genoweave.io.vcf.header import Header
from genoweave.io.vcf.scan import Index, Ints, Rules, lines_of
from genoweave.kernels.packed import width
from genoweave.kernels.vcf_binary import read_records, record_ends
from genoweave.kernels.vcf_text import OK, read_lines

Flags = NDArray[np.bool_]

_BATCH = 4 * 2**20


class VcfSource:
    """Calls of a VCF or BCF file that was scanned.

    Parameters
    ----------
    file, header, index, rules
        What the scan used and gave.
    record, alt
        int64 (variants,): the record of each variant, ascending, and which of its alternate alleles is
        counted; None where each record is one variant.
    is_unphased
        See `genotypes.Source`.

    Notes
    -----
    A read decompresses the groups of records that hold the block, 256 KiB of text or one record each, and
    looks at the samples before the block too.
    """

    def __init__(
        self,
        file: Bytes,
        header: Header,
        index: Index,
        rules: Rules,
        *,
        record: Ints | None = None,
        alt: Ints | None = None,
        is_unphased: bool = False,
    ) -> None:
        self.file = file
        self.is_binary, self.gt_key = header.is_binary, header.gt_key
        self.index, self.rules = index, rules
        self.record, self.alt = record, alt
        n_records = int(index.first[-1])
        n_variants = n_records if record is None else len(record)
        self.shape = (n_variants, len(header.samples), 2)
        self.is_unphased = is_unphased
        self.row_block = max(1, n_variants // len(index.place))

    @property
    def sample_edges(self) -> list[int]:
        """A line is read from its beginning, so that all samples at once are cheapest."""
        return [0, self.shape[1]]

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Read a block of calls.

        Raises
        ------
        DataError
            If the file is not what it was when it was opened.
        """
        out = np.empty((v1 - v0, s1 - s0, 2), np.int8)
        for a, b, calls, _ in self._batches(v0, v1, s0, s1):
            out[a - v0 : b - v0] = calls
        return out

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Read a block of codes; see `genotypes.Source`."""
        out = np.empty((v1 - v0, width(s1 - s0)), np.uint8)
        for a, b, calls, _ in self._batches(v0, v1, s0, s1):
            out[a - v0 : b - v0] = packed_calls(calls, a)
        return out

    def read_phased(self, v0: int, v1: int, s0: int, s1: int) -> Flags:
        """Tell which calls of a block are phased, bool (v1-v0, s1-s0)."""
        out = np.empty((v1 - v0, s1 - s0), np.bool_)
        for a, b, _, phased in self._batches(v0, v1, s0, s1):
            out[a - v0 : b - v0] = phased
        return out

    def _batches(self, v0: int, v1: int, s0: int, s1: int) -> Iterator[tuple[int, int, Calls, Flags]]:
        """Yield (first variant, last + 1, calls, phased) for stretches of about 4 MiB of text."""
        if v0 >= v1 or s0 >= s1:
            return
        first, offset = self.index.first, self.index.offset
        r0, r1 = self._record(v0), self._record(v1 - 1) + 1
        g, last = int(np.searchsorted(first, r0, "right")) - 1, int(np.searchsorted(first, r1, "left"))
        while g < last:
            end = min(last, max(g + 1, int(np.searchsorted(offset, offset[g] + _BATCH, "right")) - 1))
            a = v0 if first[g] <= r0 else self._variant(int(first[g]))
            b = v1 if first[end] >= r1 else self._variant(int(first[end]))
            yield a, b, *self._rows(g, end, a, b, s0, s1)
            g = end

    def _record(self, variant: int) -> int:
        return variant if self.record is None else int(self.record[variant])

    def _variant(self, record: int) -> int:
        """Return the first variant of a record."""
        return record if self.record is None else int(np.searchsorted(self.record, record))

    def _rows(self, g: int, end: int, a: int, b: int, s0: int, s1: int) -> tuple[Calls, Flags]:
        """Read variants a..b, which lie in groups g..end."""
        data = self._bytes(int(self.index.place[g]), int(self.index.offset[end] - self.index.offset[g]))
        n_records = int(self.index.first[end] - self.index.first[g])
        starts, ends = self._records_of(data, n_records)
        variants = np.arange(a, b)
        rows = (variants if self.record is None else self.record[a:b]) - int(self.index.first[g])
        alts = np.ones(b - a, np.int64) if self.alt is None else self.alt[a:b]
        calls = np.empty((b - a, s1 - s0, 2), np.int8)
        phased = np.empty((b - a, s1 - s0), np.bool_)
        where = data, starts[rows], ends[rows], alts, self.shape[1]
        rules = self.rules.half, self.rules.haploid
        if self.is_binary:
            _, fault, _ = read_records(*where, self.gt_key, s0, s1, *rules, calls, phased)
        else:
            _, fault, _ = read_lines(*where, s0, s1, *rules, calls, phased)
        if fault != OK:
            raise self._changed()
        return calls, phased

    def _records_of(self, data: NDArray[np.uint8], wanted: int) -> tuple[Ints, Ints]:
        """Return the bounds of the records in a stretch of bytes."""
        if self.is_binary:
            ends = np.empty(wanted, np.int64)
            found, _ = record_ends(data, ends)
            starts = np.append(0, ends[:-1])
        else:
            starts, ends = lines_of(data)
            kept = ends > starts
            starts, ends = starts[kept], ends[kept]
            found = len(starts)
        if found != wanted:
            raise self._changed()
        return starts, ends

    def _bytes(self, place: int, size: int) -> NDArray[np.uint8]:
        parts, left = [], size
        try:
            for _, data in self.file.pieces(place):
                parts.append(data[:left])
                left -= len(parts[-1])
                if not left:
                    break
        except (DataError, OSError):
            raise self._changed() from None
        if left:
            raise self._changed()
        return np.frombuffer(b"".join(parts), np.uint8)

    def _changed(self) -> DataError:
        return DataError(
            f"{self.file.name} is not what it was when it was opened; it must not change during a run. "
            "Open it again"
        )
