"""The header of a .pgen: where each record lies, how long it is and of which type.

Sizes that a file promises are held against its length before anything is allocated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.kernels.packed import width
from genoweave.kernels.pgen import HAS_DOSAGE, HAS_DOSAGE_PHASE, LD, LD_INVERTED, MULTIALLELIC

MAGIC = b"\x6c\x1b"
BED_MODE, FIXED_MODE, DOSAGE_MODE, PHASED_DOSAGE_MODE, STANDARD_MODE = 1, 2, 3, 4, 16
# Types of the records of fixed-width modes.
_FIXED_TYPES = {FIXED_MODE: 0, DOSAGE_MODE: 64, PHASED_DOSAGE_MODE: 192}
# Records of a block, which the header lists together.
BLOCK = 2**16
HEADER = struct.Struct("<2sBIIB")


@dataclass(frozen=True)
class Records:
    """Where the records lie.

    `starts` int64, `lengths` uint32, `types` uint8 (variants,); empty where the file is a .bed.
    """

    mode: int
    n_variants: int
    starts: NDArray[np.int64]
    lengths: NDArray[np.uint32]
    types: NDArray[np.uint8]


def read_records(path: Path, n_samples: int) -> Records:
    """Read and check the header of a .pgen of `n_samples` samples.

    Raises
    ------
    DataError
        If it is malformed, of a mode that is not read, or of another number of samples, or if a variant has
        more than two alleles.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEADER.size)
        if len(head) < 3 or head[:2] != MAGIC:
            raise DataError(
                f"{path} is not a .pgen: it must begin with bytes 6c 1b, found "
                f"{head[:2].hex(' ') or 'an empty file'}"
            )
        if head[2] == BED_MODE:
            return _bed_records(path, size, n_samples)
        if head[2] not in (*_FIXED_TYPES, STANDARD_MODE):
            raise DataError(
                f"{path} has storage mode 0x{head[2]:02x}; 0x01 to 0x04 and 0x10 are read. Write it again "
                "with plink2 --make-pgen"
            )
        if len(head) < HEADER.size:
            raise DataError(f"{path} ends within its header of {HEADER.size} bytes; it was cut short")
        _, mode, n_variants, found, form = HEADER.unpack(head)
        if found != n_samples:
            raise DataError(
                f"{path} has {found} samples, its table of samples {n_samples}; check that .pgen, .pvar and "
                ".psam belong together"
            )
        if n_variants == 0:
            raise DataError(f"{path} holds no variants; at least one is needed")
        reader = _fixed_records if mode != STANDARD_MODE else _standard_records
        return reader(file, path, size, mode, n_variants, n_samples, form)


def _bed_records(path: Path, size: int, n_samples: int) -> Records:
    n_variants, rest = divmod(size - 3, width(n_samples))
    if rest or n_variants == 0:
        raise DataError(
            f"{path} has {size} bytes, which are not those of whole variants of {n_samples} samples; it was "
            "cut short, or belongs to another table of samples"
        )
    return Records(BED_MODE, n_variants, np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint8))


def _fixed_records(
    file: Any, path: Path, size: int, mode: int, n_variants: int, n_samples: int, form: int
) -> Records:
    length = width(n_samples) + 2 * n_samples * (mode - FIXED_MODE)
    first = HEADER.size + ((n_variants + 7) // 8 if form >> 6 == 3 else 0)
    if size != first + n_variants * length:
        raise DataError(
            f"{path} should have {first + n_variants * length} bytes for {n_variants} variants and "
            f"{n_samples} samples, found {size}; it was cut short or is damaged"
        )
    starts = first + length * np.arange(n_variants, dtype=np.int64)
    types = np.full(n_variants, _FIXED_TYPES[mode], np.uint8)
    return Records(mode, n_variants, starts, np.full(n_variants, length, np.uint32), types)


@dataclass(frozen=True)
class _Form:
    """What the header lists: bits of a type and of a length, bytes of an allele count, and flags."""

    type_bits: int
    length_bits: int
    allele_bytes: int
    has_flags: bool

    @classmethod
    def of(cls, form: int, path: Path) -> _Form:
        low = form & 15
        if low > 9:
            raise DataError(
                f"{path}: its header is of form {low}; 0 to 9 are known. Write it again with plink2 "
                "--make-pgen"
            )
        type_bits, length_bits = (4, 8 * (low + 1)) if low < 4 else (8, 8 * (low - 3))
        if low > 7:
            type_bits, length_bits = 0, 2 if low == 8 else 4
        return cls(type_bits, length_bits, form >> 4 & 3, form >> 6 == 3)

    def sizes(self, count: int) -> tuple[int, int, int, int]:
        """Return the bytes of a block's four parts."""
        bits = self.type_bits, self.length_bits, 8 * self.allele_bytes, int(self.has_flags)
        types, lengths, alleles, flags = ((count * b + 7) // 8 for b in bits)
        return types, lengths, alleles, flags


def _standard_records(
    file: Any, path: Path, size: int, mode: int, n_variants: int, n_samples: int, form: int
) -> Records:
    layout = _Form.of(form, path)
    n_blocks = -(-n_variants // BLOCK)
    whole, last = divmod(n_variants, BLOCK)
    body = whole * sum(layout.sizes(BLOCK)) + sum(layout.sizes(last))
    end = HEADER.size + 8 * n_blocks + body
    if end > size:
        raise DataError(
            f"{path} has {size} bytes, its header for {n_variants} variants takes {end}; it was cut short "
            "or is damaged"
        )
    offsets = np.frombuffer(file.read(8 * n_blocks), "<u8")
    starts = np.empty(n_variants, np.int64)
    lengths = np.empty(n_variants, np.uint32)
    types = np.empty(n_variants, np.uint8)
    for b in range(n_blocks):
        part = slice(b * BLOCK, min(n_variants, (b + 1) * BLOCK))
        types[part], lengths[part] = _read_block(file, path, layout, part, n_samples)
        ends = int(offsets[b]) + int(lengths[part].sum(dtype=np.uint64))
        if int(offsets[b]) < end or ends > size:
            raise DataError(
                f"{path}: variants {part.start + 1} to {part.stop} should lie in bytes {offsets[b]} to "
                f"{ends}, behind the header of {end} bytes and within the file of {size}; it was cut short "
                "or is damaged"
            )
        starts[part] = int(offsets[b]) + np.cumsum(lengths[part], dtype=np.int64) - lengths[part]
        end = ends
    _check_types(path, types)
    return Records(mode, n_variants, starts, lengths, types)


def _read_block(
    file: Any, path: Path, layout: _Form, part: slice, n_samples: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Return the types and lengths of a block's records, and refuse variants of more than two alleles."""
    count = part.stop - part.start
    sizes = layout.sizes(count)
    raw_types, raw_lengths, alleles, _ = (np.frombuffer(file.read(s), np.uint8) for s in sizes)
    types = _small(raw_types, layout.type_bits, count)
    if layout.length_bits < 8:
        extra = _small(raw_lengths, layout.length_bits, count)
        lengths = np.asarray(extra + np.uint32(width(n_samples)), np.uint32)
        types = np.where(extra > 0, MULTIALLELIC, 0).astype(np.uint8)
    else:
        lengths = _numbers(raw_lengths, layout.length_bits // 8)
    many = _numbers(alleles, layout.allele_bytes) > 2 if layout.allele_bytes else (types & MULTIALLELIC) != 0
    many |= (types & MULTIALLELIC) != 0
    if many.any():
        raise DataError(
            f"{path}, variant number {part.start + int(many.argmax()) + 1}: {int(many.sum())} variants here "
            "have more than two alleles; genoweave works on biallelic variants. Split them (plink2 "
            "--make-pgen multiallelics=-, or bcftools norm -m -)"
        )
    return types, lengths


def _small(raw: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """Return numbers of 0, 2, 4 or 8 bits, the first in the lowest bits."""
    if bits == 0:
        return np.zeros(count, np.uint8)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return np.asarray((raw[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(-1)[:count])


def _numbers(raw: NDArray[np.uint8], n_bytes: int) -> NDArray[np.uint32]:
    """Return little-endian numbers of 1 to 4 bytes."""
    out = np.zeros((len(raw) // n_bytes, 4), np.uint8)
    out[:, :n_bytes] = raw.reshape(-1, n_bytes)
    return out.view("<u4").ravel()


def _check_types(path: Path, types: NDArray[np.uint8]) -> None:
    kind = types & 7
    refers = (kind == LD) | (kind == LD_INVERTED)
    first = np.arange(len(types)) % BLOCK == 0
    bad = (kind == 5) | (refers & first) | ((types & HAS_DOSAGE_PHASE > 0) & (types & HAS_DOSAGE == 0))
    if bad.any():
        v = int(bad.argmax())
        raise DataError(
            f"{path}, variant number {v + 1}: its record is of type 0x{types[v]:02x}, which may not stand "
            "there; the file is damaged or of a later format. Write it again with plink2 --make-pgen"
        )
