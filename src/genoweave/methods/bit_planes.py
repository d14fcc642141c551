"""A cohort's genotypes as bits in a scratch file, for work on pairs of samples.

A strip is 512 samples. For each strip and tile of 1024 variants the file holds two pieces of 128 KiB: the
planes of each sample along the variants (kernels.dots), and each variant's heterozygotes and homozygotes
along the samples (kernels.king). That is 4 bits a genotype. Tasks read and write pieces: a mapped file
would count as memory, page by page, until all of it did.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import TILE_VARIANTS, ranges, tiles
from genoweave.errors import StoreError
from genoweave.execution import run_in_order
from genoweave.genotypes import Source, read_packed, source_of
from genoweave.kernels.dots import empty_planes, new_planes, sample_planes
from genoweave.kernels.king import STRIP, join_pieces, missing_lists, sample_totals, variant_rows

Words = NDArray[np.uint64]

_TILE_WORDS = TILE_VARIANTS // 64
_PIECE_BYTES = 2 * STRIP * TILE_VARIANTS // 8

# Samples that one task packs over a tile: 3 x 8 MiB with its results.
_BLOCK_SAMPLES = 64 * STRIP


@dataclass(frozen=True)
class Strip:
    """512 samples over some tiles of variants.

    Attributes
    ----------
    planes
        uint64 (512, 2, words), along the variants; samples after the last are missing.
    rows
        uint64 (variants + 1, 2, 8), along the samples; the last row is empty.
    totals
        int32 (2, 512): heterozygotes and homozygotes of each sample.
    starts, missing
        int64 (513,) and int32: lists of the variants that each sample misses, padded with the empty row.
    """

    planes: Words
    rows: Words
    totals: NDArray[np.int32]
    starts: NDArray[np.int64]
    missing: NDArray[np.int32]


@dataclass(frozen=True)
class BitPlanes:
    """The scratch file: where what is; picklable."""

    path: Path
    n_variants: int
    n_samples: int

    @property
    def strips(self) -> int:
        """Strips of samples, the last may be short."""
        return -(-self.n_samples // STRIP)

    @property
    def tiles(self) -> int:
        """Tiles of variants, the last may be short."""
        return -(-self.n_variants // TILE_VARIANTS)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return 2 * self.strips * self.tiles * _PIECE_BYTES

    def read_strips(self, strips: Sequence[int], tile0: int, tile1: int) -> list[Strip]:
        """Return strips over some tiles, with their totals and lists of missing calls.

        Whole vectors of padding are left out of the planes. All strips share two large arrays: memory that is
        asked for at once comes in huge pages (2.1 -> 1.2 ms a strip of 7,180 SNPs).
        """
        n_tiles = tile1 - tile0
        n_variants = min(self.n_variants, tile1 * TILE_VARIANTS) - tile0 * TILE_VARIANTS
        planes = empty_planes(len(strips) * STRIP, n_variants).reshape(len(strips), STRIP, 2, -1)
        rows = np.empty((len(strips), n_tiles * TILE_VARIANTS + 1, 2, STRIP // 64), np.uint64)
        pieces = np.empty((n_tiles, STRIP, 2, _TILE_WORDS), np.uint64)
        with self.path.open("rb", buffering=0) as file:
            for k, strip in enumerate(strips):
                self._read(file, strip, tile0, 0, pieces)
                join_pieces(pieces, planes[k])
                self._read(file, strip, tile0, self.size // 2, rows[k, :-1])
                rows[k, -1] = 0
        return [_strip(planes[k], rows[k], n_variants) for k in range(len(strips))]

    def _read(self, file: FileIO, strip: int, tile: int, half: int, out: Words) -> None:
        file.seek(self._place(strip, tile) + half)
        if file.readinto(out.data.cast("B")) != out.nbytes:
            raise StoreError(f"{self.path} is shorter than its {self.size} bytes; delete it, then run again")

    def mapped(self) -> Words:
        """Return the planes of all samples, mapped: uint64 (strips, tiles, 512, 2, 16)."""
        shape = (self.strips, self.tiles, STRIP, 2, _TILE_WORDS)
        return np.memmap(self.path, np.uint64, "r", shape=shape)

    def write_pieces(self, tile: int, strip: int, planes: Words, rows: Words) -> None:
        """Write what a block of samples has in one tile: uint64 (strips, ...) each."""
        with self.path.open("r+b") as file:  # buffered: an unbuffered write may stop short
            for k in range(len(rows)):
                for half, pieces in ((0, planes), (self.size // 2, rows)):
                    file.seek(self._place(strip + k, tile) + half)
                    file.write(pieces[k].data.cast("B"))

    def _place(self, strip: int, tile: int) -> int:
        return (strip * self.tiles + tile) * _PIECE_BYTES


def _strip(planes: Words, rows: Words, n_variants: int) -> Strip:
    totals = np.empty((2, STRIP), np.int32)
    sample_totals(planes, totals)
    starts = np.empty(STRIP + 1, np.int64)
    missing = np.empty(STRIP * (16 + n_variants // 50), np.int32)  # a guess; the first call tells
    room = missing_lists(planes, n_variants, len(rows) - 1, starts, missing)
    if room > len(missing):
        missing = np.empty(room, np.int32)
        missing_lists(planes, n_variants, len(rows) - 1, starts, missing)
    return Strip(planes, rows, totals, starts, missing[: starts[-1]])


def write_bit_planes(ds: xr.Dataset, path: Path) -> BitPlanes:
    """Write the bits of a cohort's genotypes to a file, unless it is there.

    Each block of genotypes is read once, in the order of the variants. Disk: 4 bits a genotype, rounded up
    to 512 samples by 1024 variants. Memory: 25 MiB a task.

    Raises
    ------
    StoreError
        If there is no room for the file.
    """
    source = source_of(ds)
    n_variants, n_samples, _ = source.shape
    if path.exists():
        return BitPlanes(path, n_variants, n_samples)
    partial = BitPlanes(path.with_name(path.name + ".partial"), n_variants, n_samples)
    _reserve(partial.path, partial.size)
    items = [(v0, v1, *s) for v0, v1 in tiles(n_variants) for s in ranges(n_samples, _BLOCK_SAMPLES)]
    for _ in run_in_order(
        _write_block, items, shared=(partial, source), label="bit-planes", total=len(items)
    ):
        pass
    partial.path.rename(path)
    return BitPlanes(path, n_variants, n_samples)


def _write_block(file: BitPlanes, source: Source, v0: int, v1: int, s0: int, s1: int) -> None:
    """Task: one tile of some strips."""
    packed = np.ascontiguousarray(read_packed(source, v0, v1, s0, s1))
    strips = -(-(s1 - s0) // STRIP)
    planes = new_planes(strips * STRIP, TILE_VARIANTS)
    sample_planes(packed, planes, 0)
    rows = np.zeros((strips, TILE_VARIANTS, 2, STRIP // 64), np.uint64)
    variant_rows(packed, rows)
    file.write_pieces(v0 // TILE_VARIANTS, s0 // STRIP, planes.reshape(strips, STRIP, 2, -1), rows)


def _reserve(path: Path, size: int) -> None:
    """Claim the file's space before the work that fills it.

    Raises
    ------
    StoreError
        If there is no room.
    """
    try:
        with path.open("wb") as file:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise StoreError(
            f"cannot write {path} ({size} bytes of bit-planes): {error.strerror}; free space, then run "
            "again: what is finished is kept"
        ) from error
