"""PLINK 2 filesets: a .pgen opened lazily with its .pvar and .psam.

The format is read from its published specification, with kernels that check every length, rather than through
Pgenlib: a damaged file is refused in words where Pgenlib may end the process, and nothing has to be
installed. Memory: names, positions and 9 bytes for each variant.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError, StoreError
from genoweave.genotypes import Calls, Packed, as_dask
from genoweave.io.call_fields import as_matrix, row_chunks
from genoweave.io.pgen.index import BED_MODE, Records, read_records
from genoweave.io.pgen.tables import read_pvar
from genoweave.io.plink import BedSource
from genoweave.io.sample_tables import read_psam
from genoweave.kernels import pgen as kernels
from genoweave.kernels.bgen import PHASED, calls_of_states
from genoweave.kernels.packed import copy_codes, pad_tail, unpack_dosages, width

_PVARS = (".pvar", ".pvar.zst", ".bim")
_PSAMS = (".psam", ".fam")


def is_pgen(path: Path) -> bool:
    """Tell whether `path` is a .pgen file or the prefix of a PLINK 2 fileset."""
    return path.suffix == ".pgen" or Path(f"{path}.pgen").is_file()


def pgen_paths(path: Path) -> tuple[Path, Path, Path]:
    """Return the .pgen, the table of variants and that of samples, of a prefix or of a .pgen.

    Raises
    ------
    StoreError
        If one of them is not there.
    """
    pgen = path if path.suffix == ".pgen" else Path(f"{path}.pgen")
    if not pgen.is_file():
        raise StoreError(f"there is no {pgen}; wanted a .pgen or the prefix of a PLINK 2 fileset")
    stem = str(pgen).removesuffix(".pgen")
    found = []
    for endings in (_PVARS, _PSAMS):
        there = [file for ending in endings if (file := Path(f"{stem}{ending}")).is_file()]
        if not there:
            raise StoreError(
                f"a PLINK 2 fileset needs .pgen, .pvar and .psam with one name; {stem}{endings[0]} is not "
                f"there (nor {', '.join(endings[1:])})"
            )
        found.append(there[0])
    return pgen, found[0], found[1]


def open_pgen(path: Path, *, dosages: bool = False) -> xr.Dataset:
    """Open a PLINK 2 fileset lazily; nothing is converted.

    Parameters
    ----------
    path
        A prefix, or the .pgen; beside it .pvar, .pvar.zst or .bim, and .psam or .fam.
    dosages
        Add ``call_dosage``.

    Returns
    -------
    xarray.Dataset
        The data model, ALT counted, with parents and phenotype where the .psam has them. Where some record is
        phased, with ``call_genotype_phased``: phased heterozygous calls and all homozygous ones, for which
        the format keeps no phase. ``call_dosage`` is float32 (variants, samples), lazy: expected copies of
        the alternate allele, that of the call where no other is stored, NaN missing.

    Raises
    ------
    StoreError
        If a file of the three is missing.
    DataError
        If one is malformed, naming line or variant, or does not fit the others, or a variant has more than
        two alleles; when blocks are read, if a record cannot be decoded.
    """
    pgen, pvar, psam = pgen_paths(path)
    samples = read_psam(psam)
    samples.require_unique(psam)
    records = read_records(pgen, len(samples.ids))
    variants = read_pvar(pvar, records.n_variants)
    n = len(samples.ids)
    chunks = row_chunks(n)
    source: BedSource | PgenSource
    if records.mode == BED_MODE:
        source = BedSource(str(pgen), records.n_variants, n, sample_major=False)
    else:
        source = PgenSource(pgen, records, n)
    ds = xr.Dataset({"call_genotype": (("variants", "samples", "ploidy"), as_dask(source, chunks))})
    for name, values in variants.items():
        dims = ("contigs",) if name == "contig_id" else ("variants", "alleles")[: values.ndim]
        ds[name] = (dims, values)
    ds = ds.assign(samples.variables()).assign_attrs(samples.attributes())
    shape = source.shape[:2]
    if isinstance(source, PgenSource) and not source.is_unphased:
        phased = as_matrix("call_genotype_phased", source.read_phased, shape, np.bool_, chunks)
        ds["call_genotype_phased"] = (("variants", "samples"), phased)
    if dosages:
        read = source.read_dosage if isinstance(source, PgenSource) else _CallDosage(source)
        ds["call_dosage"] = (
            ("variants", "samples"),
            as_matrix("call_dosage", read, shape, np.float32, chunks),
        )
    return ds


@dataclass(frozen=True)
class _CallDosage:
    """Dosages of a file that holds calls only."""

    source: BedSource

    def __call__(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.float32]:
        return _as_dosage(self.source.read_packed(v0, v1, s0, s1), s1 - s0)


def _as_dosage(codes: Packed, n_samples: int) -> NDArray[np.float32]:
    dosage = unpack_dosages(codes, n_samples).astype(np.float32)
    dosage[dosage < 0] = np.nan
    return dosage


@dataclass(frozen=True)
class _Rows:
    """Decoded records: .bed codes of all samples, the bytes themselves, where their further tracks are."""

    codes: Packed
    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    behind: NDArray[np.int64]


class PgenSource:
    """Calls of a .pgen; see `genotypes.Source`."""

    row_block = 1

    def __init__(self, path: Path, records: Records, n_samples: int) -> None:
        self.path = str(path)
        self.shape = (records.n_variants, n_samples, 2)
        self.starts, self.types, self.lengths = records.starts, records.types, records.lengths
        self.is_unphased = not bool((self.types & kernels.HAS_PHASE).any())

    @property
    def sample_edges(self) -> list[int]:
        """A record is decoded as a whole."""
        return [0, self.shape[1]]

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Return the codes of a block; see `Source`."""
        codes = self._decoded(v0, v1).codes
        if (s0, s1) == (0, self.shape[1]):
            return codes
        out = np.full((v1 - v0, width(s1 - s0)), 0x55, np.uint8)
        copy_codes(codes, s0, s1 - s0, out, 0)
        return out

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Return the calls of a block; see `Source`."""
        return calls_of_states(self._states(v0, v1, s0, s1))

    def read_phased(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.bool_]:
        """Tell which calls of a block are phased, bool (v1-v0, s1-s0)."""
        return (self._states(v0, v1, s0, s1) & PHASED) != 0

    def read_dosage(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.float32]:
        """Return the expected copies of the alternate allele, float32 (v1-v0, s1-s0), NaN missing."""
        rows = self._decoded(v0, v1)
        ids = np.empty(self.shape[1], np.uint32)
        out = np.empty((v1 - v0, s1 - s0), np.float32)
        for i, kind in enumerate(self.types[v0:v1].tolist()):
            row = _as_dosage(rows.codes[i : i + 1], self.shape[1])[0]
            if kind & kernels.HAS_DOSAGE:
                at = int(rows.behind[i])
                if kind & kernels.HAS_PHASE:
                    at = self._phase(rows, i, v0, np.empty(self.shape[1], np.uint8))
                if kernels.dosage_tracks(rows.data, at, rows.ends[i], kind, ids, row) < 0:
                    raise self._damaged(v0 + i)
            out[i] = row[s0:s1]
        return out

    def _states(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.uint8]:
        """Return the states of a block's calls, see `kernels.bgen`."""
        rows = self._decoded(v0, v1)
        out = np.empty((v1 - v0, s1 - s0), np.uint8)
        row = np.empty(self.shape[1], np.uint8)
        for i, kind in enumerate(self.types[v0:v1].tolist()):
            if kind & kernels.HAS_PHASE:
                self._phase(rows, i, v0, row)
            else:
                kernels.states_of_codes(rows.codes[i], row)
            out[i] = row[s0:s1]
        return out

    def _phase(self, rows: _Rows, i: int, v0: int, row: NDArray[np.uint8]) -> int:
        """Write the states of a phased record; return where its phase ends."""
        kernels.states_of_codes(rows.codes[i], row)
        at = int(kernels.phase_track(rows.data, rows.behind[i], rows.ends[i], row))
        if at < 0:
            raise self._damaged(v0 + i)
        return at

    def _decoded(self, v0: int, v1: int) -> _Rows:
        """Read and decode records, together with the one that the first of them refers to."""
        n = self.shape[1]
        rows = np.empty((v1 - v0, width(n)), np.uint8)
        behind = np.empty(v1 - v0, np.int64)
        if v0 >= v1:
            return _Rows(rows, np.empty(0, np.uint8), behind, behind)
        base = np.zeros(width(n), np.uint8)
        ids = np.empty(n, np.uint32)
        with open(self.path, "rb", buffering=0) as file:
            first = self._base(v0)
            if first < v0:
                self._decode(file, first, first + 1, base, ids, np.empty((1, width(n)), np.uint8), behind[:1])
            data, ends = self._decode(file, v0, v1, base, ids, rows, behind)
        codes = kernels.to_bed(rows)
        pad_tail(codes, n)
        return _Rows(codes, data, ends, behind)

    def _base(self, v: int) -> int:
        """Return the record that record v refers to, or v itself."""
        while (self.types[v] & 7) in (kernels.LD, kernels.LD_INVERTED):  # the first of a block never is
            v -= 1
        return v

    def _decode(
        self,
        file: Any,
        v0: int,
        v1: int,
        base: NDArray[np.uint8],
        ids: NDArray[np.uint32],
        rows: NDArray[np.uint8],
        behind: NDArray[np.int64],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Read records v0..v1, which lie together but for the borders of blocks, and decode them."""
        starts, lengths = self.starts[v0:v1], self.lengths[v0:v1].astype(np.int64)
        ends = np.cumsum(lengths)
        data = np.empty(int(ends[-1]), np.uint8)
        cuts = [0, *(np.flatnonzero(starts[1:] != starts[:-1] + lengths[:-1]) + 1).tolist(), v1 - v0]
        at = 0
        for a, b in pairwise(cuts):
            size = int(lengths[a:b].sum())
            data[at : at + size] = self._bytes(file, int(starts[a]), size)
            at += size
        bad = int(kernels.decode_rows(data, ends, self.types[v0:v1], self.shape[1], base, ids, rows, behind))
        if bad >= 0:
            raise self._damaged(v0 + bad)
        return data, ends

    def _bytes(self, file: Any, at: int, size: int) -> NDArray[np.uint8]:
        parts = []
        while size and (data := os.pread(file.fileno(), min(size, 2**30), at)):
            parts.append(np.frombuffer(data, np.uint8))
            at, size = at + len(data), size - len(data)
        if size:
            raise DataError(f"{self.path} ended while it was read; it must not change during a run")
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def _damaged(self, v: int) -> DataError:
        return DataError(
            f"{self.path}, variant number {v + 1} of {self.shape[0]}: its record of {self.lengths[v]} bytes "
            "cannot be decoded; the file is damaged. Copy or write it again (plink2 --validate)"
        )
