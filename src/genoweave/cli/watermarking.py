"""The commands that make watermark SNPs, and read what a server says of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from genoweave import api
from genoweave.cli.options import Common, arguments
from genoweave.cli.shared import COHORT, KEY, OUT, PHENO, beside, key_of
from genoweave.cohorts import open_cohort, save
from genoweave.errors import DataError
from genoweave.io.release import write_tsv
from genoweave.io.tables import case_control, match_ids, read_phenotypes
from genoweave.methods.watermark import Watermark


@arguments(COHORT, PHENO, OUT, KEY, flags=(Watermark,))
def watermark(cohort: str, pheno: Path, out: Path, noise_key: Path | None, common: Common) -> None:
    """Make watermark SNPs for a trait: OUT (Zarr) and OUT.tests.tsv."""
    params = common.parameters(Watermark, "watermark")
    ds = open_cohort(cohort)
    case = _read_status(pheno, ds)
    marks, tests = api.watermark(ds, case, params, key=key_of(noise_key))
    save(marks.assign(sample_id=("samples", ds["sample_id"].values)), out)
    write_tsv(tests, beside(out, ".tests.tsv"))
    common.say(f"wrote {len(tests)} watermark SNPs to {out}; joint fit: {tests.attrs['joint_fit']}")


def _read_status(path: Path, ds: xr.Dataset) -> np.ndarray:
    """Return the status of each sample, 0 or 1, of the first phenotype of a table."""
    table = read_phenotypes(path)
    index, _ = match_ids(ds, table, path, "a status")
    values = table.drop(columns="FID", errors="ignore").iloc[:, 0].to_numpy()
    is_zero_one = values.dtype.kind == "f" and not (values == 2).any()
    status = np.where(index >= 0, case_control(values, zero_one=is_zero_one)[index], -1).astype(np.int8)
    wrong = np.flatnonzero(status < 0)
    if len(wrong):
        raise DataError(
            f"{path}: {len(wrong)} of {len(index)} samples have no status (first: sample number "
            f"{wrong[0] + 1} of the cohort); wanted 0 or 1, or 1 control and 2 case as in PLINK"
        )
    return status
