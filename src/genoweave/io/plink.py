"""PLINK 1 filesets: opened lazily, read block by block, written in batches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.chunks import ranges
from genoweave.errors import DataError, StoreError
from genoweave.execution import run_in_order
from genoweave.genotypes import Packed, PackedSource, Source, as_dask, read_packed, source_of
from genoweave.io.files import AppendingFile, make_folder, write_atomic
from genoweave.io.plink_tables import read_bim, read_fam
from genoweave.kernels.packed import copy_codes, pack_dosages, pad_tail, unpack_dosages, width

MAGIC = b"\x6c\x1b"
_HEADER = 3
_LAZY_CHUNKS = (1024, 16_384)
_CODES = {"X": "23", "Y": "24", "XY": "25", "MT": "26", "M": "26"}


class BedSource(PackedSource):
    """Calls of a .bed file in either orientation, read with plain file reads."""

    def __init__(self, path: str, n_variants: int, n_samples: int, *, sample_major: bool) -> None:
        self.path = path
        self.shape = (n_variants, n_samples, 2)
        self.sample_major = sample_major

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Read the codes of a block: the file's own bytes, where it is variant-major."""
        if v0 >= v1 or s0 >= s1:
            return np.empty((v1 - v0, width(s1 - s0)), np.uint8)
        if self.sample_major:
            return self._transposed(v0, v1, s0, s1)
        codes = self._bytes(self.shape[1], v0, v1, s0, s1)
        if s0 & 3:
            out = np.empty((v1 - v0, width(s1 - s0)), np.uint8)
            copy_codes(codes, s0 & 3, s1 - s0, out, 0)
            codes = out
        pad_tail(codes, s1 - s0)
        return codes

    def _transposed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Read rows of samples and turn them into rows of variants."""
        rows = self._bytes(self.shape[0], s0, s1, v0, v1)
        dosage = unpack_dosages(rows, 4 * rows.shape[1])[:, v0 & 3 :][:, : v1 - v0]
        out = np.empty((v1 - v0, width(s1 - s0)), np.uint8)
        pack_dosages(np.ascontiguousarray(dosage.T), out)
        return out

    def _bytes(self, length: int, row0: int, row1: int, col0: int, col1: int) -> Packed:
        """Return the bytes of rows row0..row1 that hold the 2-bit columns col0..col1."""
        stride = width(length)
        first, last = col0 >> 2, (col1 + 3) >> 2
        with open(self.path, "rb", buffering=0) as file:
            if last - first == stride:
                file.seek(_HEADER + row0 * stride)
                return self._fill(file, np.empty((row1 - row0, stride), np.uint8))
            out = np.empty((row1 - row0, last - first), np.uint8)
            for i in range(row1 - row0):
                file.seek(_HEADER + (row0 + i) * stride + first)
                self._fill(file, out[i])
            return out

    def _fill(self, file: Any, out: Packed) -> Packed:
        view = out.reshape(-1).data
        while len(view):
            count = file.readinto(view)
            if not count:
                raise DataError(f"{self.path} ended while it was read; it must not change during a run")
            view = view[count:]
        return out


def is_fileset(path: Path) -> bool:
    """Tell whether `path` is a .bed file or the prefix of a PLINK 1 fileset."""
    return path.suffix == ".bed" or Path(f"{path}.bed").exists()


def fileset_paths(path: Path) -> tuple[Path, Path, Path]:
    """Return the .bed, .bim and .fam of a prefix or of a .bed file.

    Raises
    ------
    StoreError
        If one of them is not there.
    """
    bed = path if path.suffix == ".bed" else Path(f"{path}.bed")
    files = bed, bed.with_suffix(".bim"), bed.with_suffix(".fam")
    if bed.exists():
        _check_header(bed)
    for file in files:
        if not file.exists():
            raise StoreError(f"a PLINK fileset needs .bed, .bim and .fam with one name; {file} is not there")
    return files


def open_plink(path: Path) -> xr.Dataset:
    """Open a PLINK 1 fileset lazily; nothing is converted.

    The counted allele is A1 (column 5 of the .bim) and becomes the alternate allele.

    Raises
    ------
    StoreError
        If a file of the three is missing.
    DataError
        If a file is malformed, naming file and line, or does not fit the others.
    """
    bed, bim, fam = fileset_paths(path)
    variants, samples = read_bim(bim), read_fam(fam)
    source = _open_bed(bed, len(variants), len(samples))
    index, contigs = pd.factorize(variants["contig"])
    return xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), as_dask(source, _LAZY_CHUNKS)),
            "contig_id": ("contigs", np.asarray(contigs, object)),
            "variant_contig": ("variants", index.astype(np.int32)),
            "variant_position": ("variants", variants["position"].to_numpy(np.int32)),
            "variant_id": ("variants", variants["id"].to_numpy(object)),
            "variant_allele": (("variants", "alleles"), variants[["a2", "a1"]].to_numpy(object)),
            "sample_id": ("samples", samples["id"].to_numpy(object)),
            "sample_family_id": ("samples", samples["family"].to_numpy(object)),
            "sample_sex": ("samples", samples["sex"].to_numpy(np.int8)),
        }
    )


def _open_bed(path: Path, n_variants: int, n_samples: int) -> BedSource:
    header = _check_header(path)
    rows, width, what = (
        (n_samples, n_variants, "sample") if header[2] == 0 else (n_variants, n_samples, "variant")
    )
    stride = (width + 3) // 4
    wanted, found = _HEADER + rows * stride, os.path.getsize(path)
    if found != wanted:
        where = (
            f"it ends within {what} {max(0, found - _HEADER) // stride + 1} of {rows}"
            if found < wanted
            else "it is too long"
        )
        raise DataError(
            f"{path} should have {wanted} bytes for {n_variants} variants and {n_samples} samples, found "
            f"{found}: {where}. Check that .bed, .bim and .fam belong together and are whole"
        )
    return BedSource(str(path), n_variants, n_samples, sample_major=header[2] == 0)


def _check_header(path: Path) -> bytes:
    with path.open("rb") as file:
        header = file.read(_HEADER)
    if len(header) < _HEADER or header[:2] != MAGIC:
        raise DataError(
            f"{path} is not a PLINK 1 .bed file: it must begin with bytes 6c 1b 00 or 6c 1b 01, found "
            f"{header.hex(' ') or 'an empty file'}"
        )
    if header[2] not in (0, 1):
        raise DataError(f"{path}: the mode byte is 00 (sample-major) or 01 (variant-major), "
                        f"found {header[2]:02x}; the file is damaged")  # fmt: skip
    return header


_BATCH_CALLS = 64 * 2**20


def write_plink(ds: xr.Dataset, prefix: Path, token: str = "") -> None:
    """Write ``prefix.bed``, ``.bim`` and ``.fam``; the alternate allele is A1.

    The .fam carries ``sample_sex`` and, where there is one, ``sample_case`` as 1/2. The .bed is
    written last, in batches, and a killed write with the same token is continued.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written.
    DataError
        If a name is empty or holds white space.
    """
    _check_names(ds)
    make_folder(prefix.parent)
    write_atomic(Path(f"{prefix}.bim"), bim_text(ds))
    write_atomic(Path(f"{prefix}.fam"), fam_text(ds))
    source = source_of(ds)
    batches = list(ranges(source.shape[0], max(1, _BATCH_CALLS // source.shape[1])))
    with AppendingFile(Path(f"{prefix}.bed"), token) as out:
        if out.batches == 0:
            out.append(MAGIC + b"\x01")
        done = out.batches - 1
        packed = run_in_order(
            _packed_batch,
            batches[done:],
            shared=(source,),
            label="write .bed",
            done=done,
            total=len(batches),
        )
        for data in packed:
            out.append(data)
        out.commit()


def _check_names(ds: xr.Dataset) -> None:
    """Refuse names that a table separated by white space cannot bear.

    Raises
    ------
    DataError
        Naming the variable and the first row.
    """
    for name in ("sample_id", "variant_id", "contig_id", "variant_allele"):
        values = ds[name].values
        bad = np.flatnonzero([len(str(value).split()) != 1 for value in values.ravel()])
        if len(bad):
            row = int(bad[0]) // max(1, values.size // len(values)) + 1
            raise DataError(
                f"{name}, row {row}: {len(bad)} names are empty or hold white space, which a PLINK "
                "fileset cannot "
                "bear; rename them, or export to vcz"
            )


def _packed_batch(source: Source, v0: int, v1: int) -> bytes:
    codes = read_packed(source, v0, v1)
    if source.shape[1] & 3:  # PLINK pads with 0
        codes = codes.copy()
        codes[:, -1] &= np.uint8((1 << 2 * (source.shape[1] & 3)) - 1)
    return codes.tobytes()


def bim_text(ds: xr.Dataset) -> str:
    """Return the .bim of a dataset: chromosome, id, 0, position, A1 (alternate), A2 (reference)."""
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    allele = ds["variant_allele"].values
    rows = zip(contig, ds["variant_id"].values, ds["variant_position"].values, allele, strict=True)
    return "".join(f"{c}\t{i}\t0\t{p}\t{a[1]}\t{a[0]}\n" for c, i, p, a in rows)


def fam_text(ds: xr.Dataset) -> str:
    """Return the .fam of a dataset; family 0, no parents, phenotype -9 where there is none."""
    n = ds.sizes["samples"]
    sex = ds["sample_sex"].values if "sample_sex" in ds else np.zeros(n, np.int8)
    case = ds["sample_case"].values + 1 if "sample_case" in ds else np.full(n, -9)
    rows = zip(ds["sample_id"].values, sex, case, strict=True)
    return "".join(f"0\t{i}\t0\t0\t{s}\t{c}\n" for i, s, c in rows)


def chromosome_number(name: str) -> str:
    """Return PLINK's code of a chromosome: without ``chr``, X Y XY MT as 23 24 25 26."""
    bare = name[3:] if name.lower().startswith("chr") else name
    return _CODES.get(bare.upper(), bare)
