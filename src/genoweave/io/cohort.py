"""Open a cohort of any kind that genoweave reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from genoweave.errors import DataError, StoreError
from genoweave.io import plink, store


def open_cohort(path: str | Path) -> xr.Dataset:
    """Open a cohort lazily, without conversion.

    Parameters
    ----------
    path
        A PLINK 1 prefix or .bed file, or a VCF Zarr store (folder, .zip or URL).

    Returns
    -------
    xarray.Dataset
        With ``call_genotype`` int8 (variants, samples, ploidy), lazy; see the data model.

    Raises
    ------
    StoreError
        If nothing readable is there.
    DataError
        If what is there is malformed or is not a diploid cohort with unique sample ids.
    """
    text = str(path)
    if "://" not in text and plink.is_fileset(Path(text)):
        return plink.open_plink(Path(text))
    if "://" not in text and not Path(text).exists():
        raise StoreError(
            f"there is no cohort {path}; wanted a PLINK prefix ({path}.bed is not there), a .bed file, or "
            "a VCF Zarr store (folder, .zip or URL)"
        )
    if Path(text).is_file() and not text.endswith(".zip"):
        raise DataError(
            f"{path} is not a format that genoweave opens; wanted a PLINK .bed or a VCF Zarr store. "
            "Convert a VCF with bio2zarr (vcf2zarr) or plink2 --make-bed"
        )
    ds = store.require_calls(store.open_store(text), text)
    if "variant_id" not in ds:
        ds["variant_id"] = ("variants", np.full(ds.sizes["variants"], ".", object))
    repeated = ds.sizes["samples"] - len(set(ds["sample_id"].values))
    if repeated:
        raise DataError(f"{path}: {repeated} sample ids stand twice; make them unique and convert again")
    return ds
