"""Open a cohort of any kind that genoweave reads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import xarray as xr

from genoweave.errors import DataError, StoreError
from genoweave.io import bgen, pgen, plink, store
from genoweave.io.files import source_fingerprint
from genoweave.io.reading import Reading
from genoweave.io.vcf import is_vcf, open_vcf

KINDS = (
    "a PLINK 1 prefix or .bed, a PLINK 2 prefix or .pgen, a .vcf, .vcf.gz or .bcf, a .bgen, or a VCF Zarr "
    "store (folder, .zip or URL)"
)


def open_cohort(
    path: str | Path | xr.Dataset, reading: Reading | None = None, *, scratch: Path | None = None
) -> xr.Dataset:
    """Open a cohort lazily, without conversion.

    Parameters
    ----------
    path
        A PLINK 1 prefix or .bed file; a PLINK 2 prefix or .pgen; a VCF, bgzip-compressed VCF or BCF; a BGEN;
        a VCF Zarr store (folder, .zip or URL); or a dataset in memory, which is checked and returned. A
        prefix of both PLINK filesets is PLINK 1's.
    reading
        Rules for what the files leave open.
    scratch
        Folder for a copy that can be read from any place, which a VCF compressed with plain gzip needs; it
        has to last as long as the dataset.

    Returns
    -------
    xarray.Dataset
        With ``call_genotype`` int8 (variants, samples, ploidy), lazy; see the data model. Attribute
        ``import_counts``, where there is one, says how often each rule was used.

    Raises
    ------
    StoreError
        If nothing readable is there.
    DataError
        If what is there is malformed or is not a diploid cohort with unique sample ids.

    Notes
    -----
    A VCF is read once to learn what it holds; the others' tables and indices only. Every pass of a method
    decodes VCF, BGEN and PGEN anew: import what is used often.
    """
    if isinstance(path, xr.Dataset):
        return _checked(path, "the dataset")
    reading = reading or Reading()
    text = str(path)
    if "://" in text:
        return _checked(store.open_store(text), text)
    file = Path(text)
    if _is_plink(file, reading):
        return plink.open_plink(file, _path(reading.bim), _path(reading.fam))
    if pgen.is_pgen(file):
        return pgen.open_pgen(file, dosages=reading.dosages)
    if not file.exists():
        raise StoreError(f"there is no cohort {path}; wanted {KINDS}")
    if is_vcf(file):
        rules = reading.model_dump(include={"multiallelic", "half_calls", "haploid"})
        return open_vcf(file, scratch=scratch, **rules)
    if bgen.is_bgen(file):
        return bgen.open_bgen(
            file,
            hard_call_threshold=reading.hard_call_threshold,
            ref=reading.bgen_ref,
            sample_file=_path(reading.sample_file),
            dosages=reading.dosages,
        )
    if file.is_file() and file.suffix != ".zip":
        raise DataError(f"{path} is not a format that genoweave opens; wanted {KINDS}")
    return _checked(store.open_store(text), text)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _is_plink(file: Path, reading: Reading) -> bool:
    return plink.is_fileset(file) or (reading.bim is not None or reading.fam is not None)


def _checked(ds: xr.Dataset, name: str) -> xr.Dataset:
    """Check that a dataset is a cohort, and give its variants ids if they have none."""
    ds = store.require_calls(ds, name)
    if "variant_id" not in ds:
        ds = ds.assign(variant_id=("variants", np.full(ds.sizes["variants"], ".", object)))
    repeated = ds.sizes["samples"] - len(set(ds["sample_id"].values))
    if repeated:
        raise DataError(f"{name}: {repeated} sample ids stand twice; make them unique and convert again")
    return ds


def cohort_files(path: str | Path, reading: Reading | None = None) -> list[Path]:
    """Return the files, or the folder, that a cohort is read from; none for a URL."""
    reading = reading or Reading()
    if "://" in str(path):
        return []
    file = Path(path)
    if _is_plink(file, reading):
        return list(plink.fileset_paths(file, _path(reading.bim), _path(reading.fam)))
    if pgen.is_pgen(file):
        return list(pgen.pgen_paths(file))
    if not file.exists():
        raise StoreError(f"there is no cohort {path}; wanted {KINDS}")
    beside = _path(reading.sample_file) or file.with_suffix(".sample")
    return [file, beside] if bgen.is_bgen(file) and beside.exists() else [file]


def fingerprint(path: str | Path, reading: Reading | None = None) -> str:
    """Tell a cohort on disk, and how it is read, from others; see `files.source_fingerprint`."""
    reading = reading or Reading()
    total = hashlib.sha256(reading.model_dump_json().encode())
    total.update(str(path).encode() if "://" in str(path) else b"")
    for file in cohort_files(path, reading):
        total.update(source_fingerprint(file).encode())
    return total.hexdigest()
