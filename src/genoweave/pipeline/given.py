"""A cohort that is given as a dataset: kept in the run folder, so that the run can go on without it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import xarray as xr

from genoweave.config import RunConfig, replace
from genoweave.errors import ConfigError, StoreError
from genoweave.io import store
from genoweave.io.cohort import open_cohort
from genoweave.io.consistency import contents
from genoweave.io.release import write_tsv
from genoweave.schema import VARIABLES

_CALLS = ("call_genotype", "call_genotype_phased", "call_dosage")


def keep_given(ds: xr.Dataset, folder: Path, config: RunConfig) -> RunConfig:
    """Write a dataset to the run's ``input/``, unless it is there already, and let the run read it.

    Parameters
    ----------
    ds
        A cohort in sgkit's or VCF Zarr's layout; ``sample_ancestry`` (samples,), where it is there, takes the
        place of the table of labels.
    folder
        The run folder.
    config
        The run's configuration.

    Raises
    ------
    DataError
        If the dataset is not a cohort.
    ConfigError
        If nothing tells the groups.
    """
    ds = open_cohort(ds)
    ds = ds[[name for name in ds.variables if name in VARIABLES and name != "call_dosage"]]
    cohort, labels = folder / "input" / "cohort.vcz", folder / "input" / "ancestry.tsv"
    if not _holds(cohort, ds):
        store.write(ds, cohort, (config.storage.variant_chunk, config.storage.sample_chunk))
    if "sample_ancestry" in ds:
        _write_labels(ds, labels)
    elif not Path(config.input.ancestry).exists():
        raise ConfigError(
            "the dataset has no sample_ancestry, and there is no table "
            f"{config.input.ancestry}; add the variable or set [input] ancestry"
        )
    table = str(labels) if "sample_ancestry" in ds else config.input.ancestry
    return replace(config, "input", path=str(cohort), ancestry=table)


def _holds(path: Path, ds: xr.Dataset) -> bool:
    """Tell whether a store holds just this dataset; then it stays, and with it all that was made of it."""
    try:
        there = store.open_store(path)
    except StoreError:
        return False
    small, kept = (x.drop_vars(_CALLS, errors="ignore") for x in (ds, there))
    return small.equals(kept) and contents(ds) == contents(there)


def _write_labels(ds: xr.Dataset, path: Path) -> None:
    table = pd.DataFrame({"sample_id": ds["sample_id"].values, "ancestry": ds["sample_ancestry"].values})
    wanted = table.to_csv(sep="\t", index=False)
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        write_tsv(table, path)
