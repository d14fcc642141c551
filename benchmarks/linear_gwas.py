"""Regress the traits of a table on every variant of a cohort and write a TSV: a whole process to time.

python benchmarks/linear_gwas.py COHORT TRAITS.tsv COVARIATES.tsv OUT.tsv

The tables are PLINK's: a header, a column IID, other columns numbers (FID is passed over). The same work as
``plink2 --bfile COHORT --glm hide-covar omit-ref --pheno TRAITS.tsv --covar COVARIATES.tsv``. Mind that
Debian's plink2 runs on whichever BLAS is installed: with the reference one it takes five times the CPU of
OpenBLAS.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.io.cohort import open_cohort
from genoweave.methods.linear import CODES, linear

_NAMES = {
    "n_called": "OBS_CT",
    "counted_frequency": "A1_FREQ",
    "beta": "BETA",
    "se": "SE",
    "t": "T_STAT",
    "log10_p": "LOG10_P",
}


def read_columns(path: Path, sample_id: NDArray) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names and values (samples, columns) of a table, in the order of the cohort."""
    table = pd.read_csv(
        path,
        sep="\t",
        na_values=["NA", "-9"],
        dtype={"IID": object, "#IID": object},
        usecols=lambda name: name.lstrip("#") != "FID",
    ).rename(columns=lambda name: name.lstrip("#"))
    table = table.set_index("IID")
    if not np.array_equal(table.index.to_numpy(object), sample_id):
        table = table.reindex(sample_id.astype(str))
    return list(table.columns), table.to_numpy(np.float64)


def table_of(ds: xr.Dataset, fits: xr.Dataset, trait: int) -> pd.DataFrame:
    """Return one trait's results as a table."""
    columns = {"ID": ds["variant_id"].values, "A1": ds["variant_allele"].values[:, 1]}
    columns |= {title: fits[f"variant_{name}"].values[:, trait] for name, title in _NAMES.items()}
    columns["ERRCODE"] = np.array(CODES, object)[fits["variant_fit_code"].values[:, trait]]
    return pd.DataFrame(columns)


def main(arguments: list[str]) -> int:
    """Open, regress, write; print the CPU seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("cohort", "traits", "covariates", "out"):
        parser.add_argument(name, type=Path)
    paths = parser.parse_args(arguments)
    marks = [("imports", time.process_time())]
    ds = open_cohort(paths.cohort)
    marks.append(("open", time.process_time()))
    names, traits = read_columns(paths.traits, ds["sample_id"].values)
    _, covariates = read_columns(paths.covariates, ds["sample_id"].values)
    marks.append(("tables", time.process_time()))
    fits = linear(ds, traits, covariates)
    marks.append(("linear", time.process_time()))
    parts = [table_of(ds, fits, trait).assign(TRAIT=name) for trait, name in enumerate(names)]
    pd.concat(parts).to_csv(paths.out, sep="\t", index=False, na_rep="NA", float_format="%.9g")
    marks.append(("write", time.process_time()))
    before = 0.0
    for name, at in marks:
        print(f"{name} {at - before:.2f}", end="  ")
        before = at
    print(f"total {before:.2f} CPU s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
