"""PLINK 1 filesets: opened lazily, read block by block, written in batches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import DataError, StoreError
from genoweave.execution import run_in_order
from genoweave.genotypes import Calls, Source, as_dask, read_dosage, source_of
from genoweave.io.files import AppendingFile, make_folder, write_atomic
from genoweave.kernels.bed import pack_variants, unpack_samples, unpack_variants

MAGIC = b"\x6c\x1b"
_HEADER = 3
_LAZY_CHUNKS = (1024, 16_384)
_CODES = {"X": "23", "Y": "24", "XY": "25", "MT": "26", "M": "26"}


class BedSource:
    """Calls of a .bed file in either orientation, read with plain file reads."""

    def __init__(self, path: str, n_variants: int, n_samples: int, *, sample_major: bool) -> None:
        self.path = path
        self.shape = (n_variants, n_samples, 2)
        self.sample_major = sample_major

    def read(self, v0: int, v1: int, s0: int, s1: int) -> Calls:
        """Decode the calls of variants v0..v1 and samples s0..s1."""
        out = np.empty((v1 - v0, s1 - s0, 2), np.int8)
        if out.size == 0:
            return out
        if self.sample_major:
            unpack_samples(self._bytes(self.shape[0], s0, s1, v0, v1), v0 & 3, out)
        else:
            unpack_variants(self._bytes(self.shape[1], v0, v1, s0, s1), s0 & 3, out)
        return out

    def _bytes(self, width: int, row0: int, row1: int, col0: int, col1: int) -> NDArray[np.uint8]:
        """Return the bytes of rows row0..row1 that hold the 2-bit columns col0..col1."""
        stride = (width + 3) // 4
        first, last = col0 >> 2, (col1 + 3) >> 2
        with open(self.path, "rb") as file:
            if last - first == stride:
                file.seek(_HEADER + row0 * stride)
                rows = np.fromfile(file, np.uint8, (row1 - row0) * stride)
                return rows.reshape(row1 - row0, stride)
            out = np.empty((row1 - row0, last - first), np.uint8)
            for i in range(row1 - row0):
                file.seek(_HEADER + (row0 + i) * stride + first)
                out[i] = np.fromfile(file, np.uint8, last - first)
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
    variants = _read_bim(bim)
    samples = _read_fam(fam)
    source = _open_bed(bed, len(variants["position"]), len(samples["sample_id"]))
    contigs, index = np.unique(variants["contig"], return_inverse=True)
    order = np.argsort([variants["contig"].index(name) for name in contigs], kind="stable")
    rank = np.argsort(order)
    return xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), as_dask(source, _LAZY_CHUNKS)),
            "contig_id": ("contigs", contigs[order].astype(object)),
            "variant_contig": ("variants", rank[index].astype(np.int32)),
            "variant_position": ("variants", np.array(variants["position"], np.int32)),
            "variant_id": ("variants", np.array(variants["id"], object)),
            "variant_allele": (
                ("variants", "alleles"),
                np.array([variants["a2"], variants["a1"]], object).T.copy(),
            ),
            "sample_id": ("samples", np.array(samples["sample_id"], object)),
            "sample_family_id": ("samples", np.array(samples["family"], object)),
            "sample_sex": ("samples", np.array(samples["sex"], np.int8)),
        }
    )


def _read_lines(path: Path, columns: str, parse: Callable[[list[str]], tuple[Any, ...]]) -> list:
    """Parse a whitespace-separated table of six columns, or say which line is wrong."""
    rows = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                fields = line.split()
                if not fields:
                    continue
                if len(fields) != 6:
                    raise DataError(
                        f"{path}, line {number}: wanted 6 columns ({columns}), found {len(fields)}"
                    )
                try:
                    rows.append(parse(fields))
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if not rows:
        raise DataError(f"{path} has no lines; wanted one per {columns.split(',')[0]}")
    return rows


def _parse_variant(fields: list[str]) -> tuple[str, str, int, str, str]:
    contig, identifier, _, position, a1, a2 = fields
    try:
        value = int(position)
    except ValueError:
        raise ValueError(f"position is a whole number, found {position!r}") from None
    if not 0 <= value < 2**31:
        raise ValueError(f"position is from 0 to 2147483647, found {value}")
    return contig, identifier, value, a1, a2


def _read_bim(path: Path) -> dict[str, list]:
    rows = _read_lines(path, "variant: chromosome, id, cM, position, A1, A2", _parse_variant)
    return dict(
        zip(
            ("contig", "id", "position", "a1", "a2"),
            map(list, zip(*rows, strict=True)),
            strict=True,
        )
    )


def _parse_sample(fields: list[str]) -> tuple[str, str, int]:
    family, identifier, _, _, sex, _ = fields
    return family, identifier, int(sex) if sex in ("1", "2") else 0


def _read_fam(path: Path) -> dict[str, list]:
    rows = _read_lines(path, "sample: family, id, father, mother, sex, phenotype", _parse_sample)
    seen: dict[str, int] = {}
    for number, (_, identifier, _) in enumerate(rows, start=1):
        if identifier in seen:
            raise DataError(
                f"{path}: the sample ids of rows {seen[identifier]} and {number} are equal; within-family "
                "ids (column 2) must be unique. Rename one (plink --update-ids)"
            )
        seen[identifier] = number
    return dict(zip(("family", "sample_id", "sex"), map(list, zip(*rows, strict=True)), strict=True))


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
    dosage = read_dosage(source, v0, v1)
    out = np.empty((v1 - v0, (dosage.shape[1] + 3) // 4), np.uint8)
    pack_variants(dosage, out)
    return out.tobytes()


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
