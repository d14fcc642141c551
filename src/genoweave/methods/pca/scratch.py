"""A scratch copy of the genotypes that are used, laid out for many passes.

4,096 samples of all variants lie together, so that a task reads its variants and samples in a few long
pieces. Selecting variants, decompressing, and reading short pieces of a .bed file's rows is done once and not
in each pass (13 passes over 50,000 variants of 10,000 samples: 24 CPU s became 9). 2 bits a genotype.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genoweave.chunks import human_bytes, ranges, tiles
from genoweave.execution import run_in_order, scratch_folder
from genoweave.genotypes import PackedSource, Source, read_packed
from genoweave.kernels.packed import PAD_BYTE

log = logging.getLogger(__name__)

_SAMPLES = 4096


class PackedFile(PackedSource):
    """The copy. Reads return rows of whole 8-byte words where the last samples are wanted."""

    def __init__(self, path: Path, n_variants: int, n_samples: int) -> None:
        self.path = path
        self.shape = (n_variants, n_samples, 2)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        blocks, rest = divmod(self.shape[1], _SAMPLES)
        return self.shape[0] * (blocks * _SAMPLES // 4 + _row_bytes(rest))

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.uint8]:
        """Return the codes of a block that begins at a multiple of 32 samples; padded to whole words."""
        out = np.empty((v1 - v0, _row_bytes(s1 - s0)), np.uint8)
        for start, stop in ranges(self.shape[1], _SAMPLES):
            low, high = max(s0, start), min(s1, stop)
            if low < high:
                width = _row_bytes(stop - start)
                piece = np.fromfile(
                    self.path, np.uint8, (v1 - v0) * width, offset=self._place(start, width, v0)
                ).reshape(v1 - v0, width)
                a, b = (low - start) // 4, (low - start) // 4 + _row_bytes(high - low)
                if (start, stop) == (s0, s1):
                    return piece
                out[:, (low - s0) // 4 :][:, : b - a] = piece[:, a:b]
        return out

    def write_rows(self, v0: int, codes: NDArray[np.uint8]) -> None:
        """Write some variants of all samples."""
        with self.path.open("r+b") as file:  # buffered: an unbuffered write may stop short
            for start, stop in ranges(self.shape[1], _SAMPLES):
                width = _row_bytes(stop - start)
                piece = np.full((len(codes), width), PAD_BYTE, np.uint8)
                part = codes[:, start // 4 : -(-stop // 4)]
                piece[:, : part.shape[1]] = part
                file.seek(self._place(start, width, v0))
                file.write(piece.data)

    def _place(self, sample: int, width: int, variant: int) -> int:
        return sample // 4 * self.shape[0] + variant * width


def _row_bytes(n_samples: int) -> int:
    return -(-n_samples // 32) * 8


@contextmanager
def copied(source: Source, frequency: NDArray[np.float64]) -> Iterator[Source]:
    """Give a scratch copy of a source's genotypes, or the source itself where there is no room for one.

    Each block is read once, in the order of the variants. Memory: 1,024 variants of all samples per task.
    A killed run finds its copy again: the file is named by the frequencies of the variants.
    """
    with scratch_folder() as folder:
        name = f"{hashlib.blake2b(frequency.tobytes(), digest_size=8).hexdigest()}.codes"
        whole = PackedFile(folder / name, *source.shape[:2])
        if not whole.path.exists():
            partial = PackedFile(folder / f"{name}.partial", *source.shape[:2])
            if not _reserve(partial):
                yield source
                return
            items = tiles(source.shape[0])
            for _ in run_in_order(
                _copy_tile, items, shared=(source, partial), label="copy", total=len(items)
            ):
                pass
            partial.path.rename(whole.path)
        try:
            yield whole
        finally:
            whole.path.unlink(missing_ok=True)


def _copy_tile(source: Source, copy: PackedFile, v0: int, v1: int) -> None:
    copy.write_rows(v0, read_packed(source, v0, v1))


def _reserve(file: PackedFile) -> bool:
    """Claim the file's space; without room the work goes on, slower."""
    try:
        with file.path.open("wb") as handle:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, max(1, file.size))
    except OSError as error:
        file.path.unlink(missing_ok=True)
        log.warning(
            "no room for a scratch copy of %s at %s (%s): each pass reads the genotypes from their source",
            human_bytes(file.size),
            file.path.parent,
            error.strerror,
        )
        return False
    return True
