"""Named random streams from two roots: a public seed and a private key.

Whatever must be repeatable by anyone (phenotype, pedigree, test matrices) hangs from the public
seed. Whatever would undo privacy if it were known (donors, flips, identifiers, watermarks) hangs
from 32 random bytes of the operating system, kept in a file of their own. A draw is addressed by
(root, stream name, row, column, attempt) and by nothing else.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from genoweave.kernels.random import words_at

KEY_BYTES = 32


@dataclass(frozen=True)
class Stream:
    """One named stream of addressed random words."""

    name: str
    key: NDArray[np.uint32] = field(repr=False, compare=False)

    def words(self, row: int, columns: NDArray[np.int64], attempt: int = 0) -> NDArray[np.uint32]:
        """Return the uint32 words at (row, columns, attempt), shape (columns,)."""
        out = np.empty(len(columns), np.uint32)
        words_at(self.key, row, np.ascontiguousarray(columns, np.int64), attempt, out)
        return out

    def words64(self, row: int, columns: int | NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return uint64 words at the columns, or at columns 0..n of a number n."""
        places = np.arange(columns) if isinstance(columns, int) else np.asarray(columns, np.int64)
        pairs = self.words(row, np.stack([2 * places, 2 * places + 1], axis=1).ravel()).reshape(-1, 2)
        return pairs[:, 0].astype(np.uint64) << np.uint64(32) | pairs[:, 1].astype(np.uint64)

    def uniforms(self, row: int, columns: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return uniforms in the open interval (0, 1), 53 bits each."""
        mantissa = (self.words64(row, columns) >> np.uint64(11)).astype(np.float64)
        return np.asarray((mantissa + 0.5) * 2.0**-53)

    def normals(self, row: int, columns: int | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return standard normals, by inversion."""
        return np.asarray(ndtri(self.uniforms(row, columns)))

    def permutation(self, row: int, n: int) -> NDArray[np.int64]:
        """Return a uniform permutation of ``0..n``; depends on `n` and the address only."""
        # Sorting 64-bit words; a tie (probability n**2 / 2**65) is broken by position.
        return np.argsort(self.words64(row, n), kind="stable")


@dataclass(frozen=True)
class Root:
    """A secret or a seed from which streams are named; its value never shows in a repr."""

    value: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, seed: int) -> Root:
        """Make the public root of an integer seed."""
        return cls(hashlib.blake2b(str(seed).encode(), digest_size=KEY_BYTES).digest())

    @classmethod
    def from_system(cls) -> Root:
        """Draw a new private root from the operating system's generator."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def stream(self, name: str) -> Stream:
        """Return the stream of a name; different names give independent streams."""
        digest = hashlib.blake2b(name.encode(), key=self.value, digest_size=KEY_BYTES).digest()
        return Stream(name, np.frombuffer(digest, "<u4").astype(np.uint32))
