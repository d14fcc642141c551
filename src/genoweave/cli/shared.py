"""What commands that work on one cohort share: arguments, opening, names beside the output."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import xarray as xr

from genoweave.cli.options import Common, argument, option
from genoweave.cohorts import labelled, open_cohort
from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.io.files import make_folder
from genoweave.methods.qc import usable_variants
from genoweave.pipeline.keys import load_key
from genoweave.rng import Root

COHORT = argument("cohort", metavar="COHORT")
OUT = option("--out", required=True, type=click.Path(path_type=Path), help="what to write")
ANCESTRY = option("--ancestry", type=click.Path(path_type=Path), help="table of sample id and group")
COLUMN = option("--ancestry-column", help="the group's column, if it is not the second")
KEY = option(
    "--noise-key", type=click.Path(path_type=Path),
    help="file with the private key; made if absent, drawn anew and not kept by default",
)  # fmt: skip


def open_labelled(cohort: str, ancestry: Path | None = None, column: str | None = None) -> xr.Dataset:
    """Open a cohort, with the labels of a table if there is one."""
    return labelled(open_cohort(cohort), ancestry, column)


def autosomes(ds: xr.Dataset, common: Common) -> xr.Dataset:
    """Leave out what components and kinship must not see, as PLINK 2 does."""
    usable = usable_variants(ds, autosomes_only=True)
    if not usable.any():
        raise DataError(
            "no variant is autosomal (chromosomes 1 to 22) and biallelic; check the chromosome names"
        )
    if usable.all():
        return ds
    common.say(f"{int((~usable).sum())} variants that are not autosomal or not biallelic are left out")
    return select(ds, np.flatnonzero(usable))


def key_of(noise_key: Path | None) -> Root:
    """Read the private root of a file, or draw a new one."""
    return Root.from_system() if noise_key is None else load_key(noise_key)


def beside(prefix: Path, ending: str) -> Path:
    """Return PREFIX + ending, in a folder that exists."""
    make_folder(prefix.parent)
    return prefix.with_name(prefix.name + ending)
