"""PLINK 1 filesets: opened lazily, read block by block, written in batches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError, StoreError
from genoweave.genotypes import Packed, PackedSource, as_dask, select
from genoweave.io.plink_tables import read_bim, read_fam
from genoweave.io.streams import Block, Stream, write_streams
from genoweave.io.tables.chromosomes import chromosome_number as chromosome_number
from genoweave.io.tables.ids import family_ids, within_family
from genoweave.io.tables.phenotypes import MISSING_CODE
from genoweave.kernels.packed import copy_codes, pack_dosages, pad_tail, unpack_dosages, width

MAGIC = b"\x6c\x1b"
_HEADER = 3
_LAZY_CHUNKS = (1024, 16_384)


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


def fileset_paths(path: Path, bim: Path | None = None, fam: Path | None = None) -> tuple[Path, Path, Path]:
    """Return the .bed, .bim and .fam of a prefix or of a .bed file.

    With `bim` or `fam`, `path` may be a .bed file of any name; the one that is not given lies beside it.

    Raises
    ------
    StoreError
        If one of them is not there.
    """
    is_bed = path.suffix == ".bed" or ((bim or fam) is not None and path.is_file())
    bed = path if is_bed else Path(f"{path}.bed")
    files = bed, bim or bed.with_suffix(".bim"), fam or bed.with_suffix(".fam")
    if bed.exists():
        _check_header(bed)
    for file in files:
        if not file.exists():
            raise StoreError(
                "a PLINK fileset needs .bed, .bim and .fam with one name, or a path to each; "
                f"{file} is not there"
            )
    return files


def open_plink(path: Path, bim: Path | None = None, fam: Path | None = None) -> xr.Dataset:
    """Open a PLINK 1 fileset lazily; nothing is converted.

    The counted allele is A1 (column 5 of the .bim) and becomes the alternate allele; an allele ``0``
    (unknown, as of a monomorphic variant) becomes ``""``. Chromosomes keep their names in the file
    (`chromosome_number` compares them). Only if any is known: ``variant_genetic_position`` (cM),
    ``sample_paternal_id`` and ``sample_maternal_id``, ``sample_phenotype``.

    A phenotype is case/control, by PLINK's rule, if each value is 1 (control), 2 (case) or a missing code: 0,
    -9, NA or text; it keeps 1 and 2. In any other, 0 is a value, and -9, NA and text are missing.

    Variants of negative position are left out, as PLINK has it.

    Where within-family ids (IID) repeat, ``sample_id`` is ``FID_IID``, and parents are named so too;
    `write_plink` takes them apart again. ``ds.attrs["import_counts"]`` counts these samples
    (``sample_ids_with_family``), phenotypes that are text (``phenotypes_not_numbers``), .fam columns beyond
    the sixth (``fam_columns_not_read``), variants with an unknown allele (``variants_without_allele``) and
    those left out (``variants_left_out``).

    Parameters
    ----------
    path
        The prefix, or the .bed file.
    bim, fam
        The other two, if they have other names.

    Raises
    ------
    StoreError
        If a file of the three is missing.
    DataError
        If a file is malformed, naming file and line, or does not fit the others.
    """
    bed, bim, fam = fileset_paths(path, bim, fam)
    variants = read_bim(bim)
    samples, counts = read_fam(fam)
    source = _open_bed(bed, len(variants), len(samples))
    alleles = variants[["a2", "a1"]].to_numpy(object)
    placed = np.flatnonzero(variants["position"] >= 0)
    unknown = alleles == "0"
    if unknown.any():
        alleles[unknown] = ""
        counts["variants_without_allele"] = int(unknown.any(axis=1).sum())
    if len(placed) < len(variants):
        counts["variants_left_out"] = len(variants) - len(placed)
    index, contigs = pd.factorize(variants["contig"])
    ds = xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), as_dask(source, _LAZY_CHUNKS)),
            "contig_id": ("contigs", np.asarray(contigs, object)),
            "variant_contig": ("variants", index.astype(np.int32)),
            "variant_position": ("variants", variants["position"].to_numpy(np.int32)),
            "variant_id": ("variants", variants["id"].to_numpy(object)),
            "variant_allele": (("variants", "alleles"), alleles),
            "sample_id": ("samples", samples["id"].to_numpy(object)),
            "sample_family_id": ("samples", samples["family"].to_numpy(object)),
            "sample_sex": ("samples", samples["sex"].to_numpy(np.int8)),
        },
        attrs={"import_counts": counts} if counts else None,
    )
    ds = ds.assign(_optional(variants, samples))
    if not len(placed):
        raise DataError(f"{bim}: every position is negative, which leaves a variant out; give positions")
    return select(ds, placed) if len(placed) < len(variants) else ds


def _optional(variants: pd.DataFrame, samples: pd.DataFrame) -> dict[str, tuple[str, Any]]:
    """Return those variables of the tables that say anything."""
    father, mother = samples["father"].to_numpy(object), samples["mother"].to_numpy(object)
    cm, phenotype = variants["cm"].to_numpy(np.float64), samples["phenotype"].to_numpy(np.float64)
    found: dict[str, tuple[str, Any]] = {}
    if cm.any():
        found["variant_genetic_position"] = ("variants", cm)
    if (father != "0").any() or (mother != "0").any():
        found |= {"sample_paternal_id": ("samples", father), "sample_maternal_id": ("samples", mother)}
    if not np.isnan(phenotype).all():
        found["sample_phenotype"] = ("samples", phenotype)
    return found


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


def write_plink(ds: xr.Dataset, prefix: Path, token: str = "") -> None:
    """Write ``prefix.bed``, ``.bim`` and ``.fam``; the alternate allele is A1.

    The .bim carries ``variant_genetic_position``; the .fam families, parents, sex, and ``sample_case`` as 1/2
    or else ``sample_phenotype``, each where there is one. What `open_plink` opened is written as it was,
    byte for byte if PLINK had written it. The .bed is written in batches, and a killed write with the same
    token is continued; the other two appear just before it.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written.
    DataError
        If a name is empty or holds white space, or PLINK would take a phenotype for missing.
    """
    write_streams(ds, [plink_stream(ds, prefix)], token, "write .bed")


def plink_stream(ds: xr.Dataset, prefix: Path) -> Stream:
    """Return what `write_plink` writes, checked, for a pass that writes other files too."""
    _check_names(ds)
    tables = {Path(f"{prefix}.bim"): bim_text(ds), Path(f"{prefix}.fam"): fam_text(ds)}
    return Stream(Path(f"{prefix}.bed"), _bed_bytes, head=lambda: MAGIC + b"\x01", beside=tables)


_NAMES = ("sample_id", "variant_id", "contig_id")
_NAMES_OR_EMPTY = ("variant_allele", "sample_family_id", "sample_paternal_id", "sample_maternal_id")


def _check_names(ds: xr.Dataset) -> None:
    """Refuse names that a table separated by white space cannot bear.

    Raises
    ------
    DataError
        Naming the variable and the first row.
    """
    for name in (*_NAMES, *(name for name in _NAMES_OR_EMPTY if name in ds)):
        values = ds[name].values
        words = np.array([len(text.split()) if (text := str(value)) else -1 for value in values.ravel()])
        bad = np.flatnonzero((words != 1) & ((words != -1) | (name in _NAMES)))
        if len(bad):
            row = int(bad[0]) // max(1, values.size // len(values)) + 1
            raise DataError(
                f"{name}, row {row}: {len(bad)} names are empty or hold white space, which a PLINK "
                "fileset cannot "
                "bear; rename them, or export to vcz"
            )


def _bed_bytes(block: Block) -> bytes:
    """Return a block's rows of a .bed."""
    codes = block.packed
    if block.n_samples & 3:  # PLINK pads with 0
        codes = codes.copy()
        codes[:, -1] &= np.uint8((1 << 2 * (block.n_samples & 3)) - 1)
    return codes.tobytes()


def bim_text(ds: xr.Dataset) -> str:
    """Return the .bim of a dataset: chromosome, id, cM, position, A1 (alternate), A2 (reference).

    Centimorgans are 0 where unknown, and so is an allele.
    """
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    allele = ds["variant_allele"].values
    cm = ["0"] * len(contig)
    if "variant_genetic_position" in ds:
        cm = [number_text(x, "0") for x in ds["variant_genetic_position"].values]
    rows = zip(contig, ds["variant_id"].values, cm, ds["variant_position"].values, allele, strict=True)
    return "".join(f"{c}\t{i}\t{g}\t{p}\t{a[1] or 0}\t{a[0] or 0}\n" for c, i, g, p, a in rows)


def fam_text(ds: xr.Dataset) -> str:
    """Return the .fam of a dataset: family, id within it, father, mother (0 unknown), sex, phenotype.

    The phenotype is ``sample_case`` as 1 control, 2 case, else ``sample_phenotype``; -9 where it is missing.

    Raises
    ------
    DataError
        If PLINK would take a value of ``sample_phenotype`` for missing: -9, or 0 where it is coded 0/1.
    """
    n = ds.sizes["samples"]
    nobody = np.full(n, "0", object)
    ids = within_family(ds, ds["sample_id"].values)
    parents = [
        within_family(ds, ds[name].values) if name in ds else nobody
        for name in ("sample_paternal_id", "sample_maternal_id")
    ]
    sex = ds["sample_sex"].values if "sample_sex" in ds else np.zeros(n, np.int8)
    rows = zip(family_ids(ds), ids, *parents, sex, _phenotype_cells(ds), strict=True)
    return "".join(f"{f}\t{i}\t{p or 0}\t{m or 0}\t{s}\t{y}\n" for f, i, p, m, s, y in rows)


def _phenotype_cells(ds: xr.Dataset) -> list[str]:
    if "sample_case" in ds:
        return [{0: "1", 1: "2"}.get(int(status), "-9") for status in ds["sample_case"].values]
    if "sample_phenotype" not in ds:
        return ["-9"] * ds.sizes["samples"]
    values = ds["sample_phenotype"].values.astype(np.float64)
    check_phenotype(values, "sample_phenotype")
    return [number_text(value, "-9") for value in values]


def check_phenotype(values: NDArray[np.float64], name: str) -> None:
    """Refuse phenotypes of which PLINK would take values for missing.

    Raises
    ------
    DataError
        If a value is -9, or 0 where all are 0, 1 or 2.
    """
    known = values[~np.isnan(values)]
    if (known == MISSING_CODE).any():
        row = int(np.flatnonzero(values == MISSING_CODE)[0]) + 1
        raise DataError(
            f"{name} is -9 at sample number {row}, which PLINK takes for missing; make it NaN or shift it"
        )
    if np.isin(known, (0, 1, 2)).all() and (known == 0).any():
        raise DataError(
            f"{name} has no values but 0, 1 and 2, of which PLINK takes 0 for missing; if it is 0 control, 1 "
            "case, give it as sample_case"
        )


def number_text(value: float, missing: str) -> str:
    """Return a number with the digits that tell it from all others, as PLINK writes whole ones."""
    if np.isnan(value):
        return missing
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
