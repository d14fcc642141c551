"""BGEN 1.1, 1.2 and 1.3: opened lazily, any block of variants decoded by itself.

One pass over the headers of the variants notes where their probabilities lie; these are decompressed and
called when they are asked for.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.execution import run_in_order
from genoweave.genotypes import Calls, Packed, as_dask, source_of
from genoweave.io.bgen.index import ZLIB, ZSTD, Header, Index, Window, read_header, read_index, read_samples
from genoweave.io.call_fields import as_matrix, row_chunks
from genoweave.io.sample_tables import Samples
from genoweave.kernels import bgen as kernels
from genoweave.kernels.packed import width

# Variants whose data are looked at to learn whether the file is phased.
_PROBES = 16
_HEAD = struct.Struct("<IH")


def is_bgen(path: Path) -> bool:
    """Tell whether `path` is named as a BGEN file."""
    return path.suffix == ".bgen"


def open_bgen(
    path: Path,
    *,
    hard_call_threshold: float = 0.1,
    ref: Literal["first", "last"] = "first",
    sample_file: Path | None = None,
    dosages: bool = False,
) -> xr.Dataset:
    """Open a BGEN file lazily; nothing is converted, and no .bgi is needed.

    A call is the nearest of 0, 1 and 2 copies if the dosage (expected copies) is within the threshold of it,
    else missing: PLINK 2's rule. A heterozygous call of phased data is phased where the haplotypes'
    probabilities differ by more than a half. A haploid sample is doubled, and missing where its doubled
    dosage is near 1.

    Parameters
    ----------
    path
        The .bgen: layout 1 or 2, 1 to 32 bits, zlib, zstd or no compression.
    hard_call_threshold
        From 0 to less than 0.5.
    ref
        Which of the two alleles is the reference; the other one is counted. "first" is the convention of
        UK Biobank, bgenix and QCTOOL; files that PLINK 2 exports without its ``ref-first`` need "last".
    sample_file
        A .sample table; its ids replace those in the file. Without it, the file's own ids count, or
        else the .sample of the same name beside it.
    dosages
        Add ``call_dosage``.

    Returns
    -------
    xarray.Dataset
        The data model; where data are phased, with ``call_genotype_phased`` (a file's first and last variants
        and some between them decide; phase of others is not kept). ``call_dosage`` is float32 (variants,
        samples), lazy: expected copies of the alternate allele, NaN missing. A variant's id is its rsid, or
        else its other id. Chromosomes 01 to 09 become 1 to 9.

    Raises
    ------
    StoreError
        If the file is not there.
    DataError
        If it is malformed, has no sample ids, or a variant has not two alleles; when blocks are read, if one
        cannot be decoded or holds a sample that is neither haploid nor diploid.
    ConfigError
        If the threshold or `ref` is impossible.

    Notes
    -----
    Memory: names, positions and 24 bytes for each variant. Every read decodes whole variants, whatever
    samples are asked for.
    """
    if not 0 <= hard_call_threshold < 0.5:
        raise ConfigError(f"hard_call_threshold is from 0 to less than 0.5, found {hard_call_threshold}")
    if ref not in ("first", "last"):
        raise ConfigError(f"ref is 'first' or 'last', found {ref!r}")
    if not path.is_file():
        raise StoreError(f"there is no BGEN file {path}; check the path")
    with path.open("rb", buffering=0) as file:
        reader = Window(file, path)
        header = read_header(reader)
        samples = read_samples(reader, header, path, sample_file)
        index = read_index(reader, header)
    source = BgenSource(path, header, index, ref == "first", kernels.steps_of(hard_call_threshold))
    return _dataset(source, index, samples, dosages=dosages)


def _dataset(source: BgenSource, index: Index, samples: Samples, *, dosages: bool) -> xr.Dataset:
    contig, contigs = pd.factorize(np.asarray(index.contigs, object))
    alleles = np.array(index.alleles, object).reshape(-1, 2)
    chunks = row_chunks(source.shape[1])
    ds = xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), as_dask(source, chunks)),
            "contig_id": ("contigs", np.asarray(contigs, object)),
            "variant_contig": ("variants", contig.astype(np.int32)),
            "variant_position": ("variants", np.array(index.positions, np.int32)),
            "variant_id": ("variants", np.array(index.ids, object)),
            "variant_allele": (("variants", "alleles"), alleles if source.first_is_ref else alleles[:, ::-1]),
        }
        | samples.variables(),
        attrs=samples.attributes(),
    )
    shape = source.shape[:2]
    if not source.is_unphased:
        phased = as_matrix("call_genotype_phased", source.read_phased, shape, np.bool_, chunks)
        ds["call_genotype_phased"] = (("variants", "samples"), phased)
    if dosages:
        dosage = as_matrix("call_dosage", source.read_dosage, shape, np.float32, chunks)
        ds["call_dosage"] = (("variants", "samples"), dosage)
    return ds


class BgenSource:
    """Calls of a BGEN file; see `genotypes.Source`."""

    row_block = 1

    def __init__(self, path: Path, header: Header, index: Index, first_is_ref: bool, limit: int) -> None:
        self.path = str(path)
        self.shape = (header.n_variants, header.n_samples, 2)
        self.compression, self.layout = header.compression, header.layout
        self.places = index.places
        self.first_is_ref, self.limit = first_is_ref, limit
        self.is_unphased = self.layout == 1 or not self._any_phased()

    def _any_phased(self) -> bool:
        probes = np.unique(np.linspace(0, self.shape[0] - 1, _PROBES).astype(int))
        with open(self.path, "rb", buffering=0) as file:
            return any(self._block(file, int(v)).is_phased for v in probes)

    @property
    def sample_edges(self) -> list[int]:
        """A variant is decompressed as a whole."""
        return [0, self.shape[1]]

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Return the codes of a block; see `Source`."""
        out = np.empty((v1 - v0, width(s1 - s0)), np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            for v in range(v0, v1):
                kernels.pack_states(self._states(file, v, s0, s1), out[v - v0])
        return out

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Return the calls of a block; see `Source`."""
        return kernels.calls_of_states(self._rows(v0, v1, s0, s1))

    def read_phased(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.bool_]:
        """Tell which calls of a block are phased, bool (v1-v0, s1-s0)."""
        return (self._rows(v0, v1, s0, s1) & kernels.PHASED) != 0

    def read_dosage(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.float32]:
        """Return the expected copies of the alternate allele, float32 (v1-v0, s1-s0), NaN missing."""
        out = np.empty((v1 - v0, s1 - s0), np.float32)
        with open(self.path, "rb", buffering=0) as file:
            for v, row in zip(range(v0, v1), out, strict=True):
                block = self._block(file, v)
                if self.layout == 1:
                    kernels.alt_dosages_1(block.values_1(s0, s1), self.first_is_ref, row)
                else:
                    values, ploidy = block.values(s0, s1), block.ploidy[s0:s1]
                    kernels.alt_dosages(values, ploidy, block.top, block.is_phased, self.first_is_ref, row)
        return out

    def count(self, v0: int, v1: int) -> NDArray[np.int64]:
        """Return (calls missing as uncertain, haploid calls) of each variant, int64 (v1-v0, 2)."""
        out = np.zeros((v1 - v0, 2), np.int64)
        with open(self.path, "rb", buffering=0) as file:
            for v in range(v0, v1):
                kernels.count_states(self._states(file, v, 0, self.shape[1]), out[v - v0])
        return out

    def _rows(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.uint8]:
        out = np.empty((v1 - v0, s1 - s0), np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            for v in range(v0, v1):
                out[v - v0] = self._states(file, v, s0, s1)
        return out

    def _states(self, file: Any, v: int, s0: int, s1: int) -> NDArray[np.uint8]:
        """Return the states of a variant's calls, see `kernels.bgen`."""
        block = self._block(file, v)
        out = np.empty(s1 - s0, np.uint8)
        if self.layout == 1:
            kernels.call_states_1(block.values_1(s0, s1), self.first_is_ref, self.limit, out)
            return out
        ploidy = block.ploidy[s0:s1]
        if block.bits == 8 and block.is_diploid:
            table = kernels.state_table(block.is_phased, self.first_is_ref, self.limit)
            kernels.call_states_8(block.pairs(s0, s1), ploidy, table, out)
        else:
            values = block.values(s0, s1)
            kernels.call_states(
                values, ploidy, block.top, block.is_phased, self.first_is_ref, self.limit, out
            )
        if not block.is_phased:
            invalid = kernels.count_states(out, np.zeros(2, np.int64))
            if invalid >= 0:
                raise self._damaged(
                    v, f"probabilities of sample number {s0 + invalid + 1} sum to more than 1"
                )
        return out

    def _block(self, file: Any, v: int) -> _Block:
        """Read and decompress a variant's data, and check that they are whole."""
        offset, size, raw = (int(x) for x in self.places[v])
        data = os.pread(file.fileno(), size, offset)
        if len(data) < size:
            raise DataError(f"{self.path} ended while it was read; it must not change during a run")
        try:
            data = _decompressed(data, self.compression, raw)
            return _Block.parse(data, self.shape[1], self.layout)
        except ValueError as error:
            raise self._damaged(v, str(error)) from None

    def _damaged(self, v: int, reason: str) -> DataError:
        return DataError(
            f"{self.path}, variant number {v + 1} of {self.shape[0]}: {reason}; copy or convert the file "
            "again"
        )


def _decompressed(data: bytes, compression: int, size: int) -> bytes:
    """Decompress to a known size, and never to more.

    Raises
    ------
    ValueError
        If the data are damaged or of another size.
    """
    try:
        if compression == ZLIB:
            inflate = zlib.decompressobj()
            data = inflate.decompress(data, size + 1)
            if len(data) == size and not inflate.eof:
                raise ValueError("its compressed data are damaged (no end)")
        elif compression == ZSTD:
            data = pa.Codec("zstd").decompress(data, decompressed_size=size, asbytes=True)
    except (zlib.error, OSError) as error:
        raise ValueError(f"its compressed data are damaged ({error})") from None
    if len(data) != size:
        raise ValueError(f"its data are not of the {size} bytes that it promises")
    return data


@dataclass(frozen=True)
class _Block:
    """A variant's data, decompressed; `bits` is 16 in layout 1."""

    data: NDArray[np.uint8]
    ploidy: NDArray[np.uint8]
    is_diploid: bool
    is_phased: bool
    bits: int

    @classmethod
    def parse(cls, data: bytes, n: int, layout: int) -> _Block:
        """Check the data's own header and length.

        Raises
        ------
        ValueError
            Saying what is wrong.
        """
        raw = np.frombuffer(data, np.uint8).copy()  # kernels are compiled for arrays that may be written to
        if layout == 1:
            return cls(raw, np.empty(0, np.uint8), True, False, 16)
        if _HEAD.unpack_from(data) != (n, 2):
            raise ValueError(f"its data are not those of {n} samples and 2 alleles")
        ploidy = raw[8 : 8 + n]
        phased, bits = int(raw[8 + n]), int(raw[9 + n])
        haplotypes, odd = kernels.ploidy_counts(ploidy)
        if odd >= 0:
            raise ValueError(
                f"sample number {odd + 1} has ploidy {ploidy[odd] & 127}; genoweave works on diploid calls "
                "(haploid ones are doubled)"
            )
        if phased > 1 or not 1 <= bits <= 32:
            raise ValueError(f"phased is 0 or 1 and bits are 1 to 32, found {phased} and {bits}")
        wanted = 10 + n + (haplotypes * bits + 7) // 8
        if len(raw) != wanted:
            raise ValueError(f"its data have {len(raw)} bytes, {n} samples with {bits} bits take {wanted}")
        return cls(raw[10 + n :], ploidy, haplotypes == 2 * n, phased == 1, bits)

    @property
    def top(self) -> int:
        """The stored value that means 1."""
        return (1 << self.bits) - 1

    def pairs(self, s0: int, s1: int) -> NDArray[np.uint16]:
        """Return the two 8-bit values of diploid samples as one number each."""
        out = np.empty(s1 - s0, np.uint16)
        out.view(np.uint8)[:] = self.data[2 * s0 : 2 * s1]
        return out

    def values(self, s0: int, s1: int) -> NDArray[np.uint32]:
        """Return the stored values, uint32 (s1-s0, 2); the second of a haploid sample is 0."""
        out = np.empty((s1 - s0, 2), np.uint32)
        kernels.stored_values(self.data, self.ploidy, s0, self.bits, out)
        return out

    def values_1(self, s0: int, s1: int) -> NDArray[np.uint16]:
        """Return the stored values of layout 1, uint16 (s1-s0, 3)."""
        out = np.empty((s1 - s0, 3), np.uint16)
        out.reshape(-1).view(np.uint8)[:] = self.data[6 * s0 : 6 * s1]
        return out


def count_uncertain(ds: xr.Dataset) -> NDArray[np.int64]:
    """Count what hard-calling lost in a dataset of `open_bgen`, in one pass over the file.

    Returns
    -------
    ndarray
        int64 (variants, 2): calls that are missing because the dosage is not near a whole number, and haploid
        calls, which were doubled.

    Raises
    ------
    ConfigError
        If the dataset is not one that `open_bgen` returned.
    """
    source = source_of(ds)
    if not isinstance(source, BgenSource):
        raise ConfigError(
            "uncertain calls are counted in a dataset as open_bgen returns it, before any filter"
        )
    batches = list(ranges(source.shape[0], row_chunks(source.shape[1])[0]))
    counts = run_in_order(
        _count, batches, shared=(source,), label="count uncertain calls", total=len(batches)
    )
    return np.concatenate(list(counts))


def _count(source: BgenSource, v0: int, v1: int) -> NDArray[np.int64]:
    return source.count(v0, v1)
