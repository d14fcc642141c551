"""Cohorts and files: open, save, import, export."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from genoweave.errors import ConfigError, StoreError
from genoweave.io import store
from genoweave.io.cohort import open_cohort
from genoweave.io.files import make_folder

__all__ = ["FORMATS", "export", "import_cohort", "labelled", "open_cohort", "save"]

_CHUNKS = (1024, 8192)
FORMATS = ("vcz", "plink", "csv")


def save(ds: xr.Dataset, path: str | Path, chunks: tuple[int, int] = _CHUNKS) -> None:
    """Write a dataset to a Zarr store; lazy genotypes are computed in batches.

    Parameters
    ----------
    ds
        A cohort, or the result of a method.
    path
        The new store. An earlier store of the same name is replaced when the new one is complete.
    chunks
        (variants, samples) per chunk.

    Raises
    ------
    StoreError
        If the path holds something that is not a Zarr store, or cannot be written.
    """
    _refuse_other(Path(path))
    store.write(ds, Path(path), chunks)


def _refuse_other(path: Path) -> None:
    """Only a store may be replaced by a store."""
    if path.exists() and not ((path / ".zgroup").exists() or (path / "zarr.json").exists()):
        raise StoreError(f"{path} exists and is not a Zarr store; choose another name with --out")


def labelled(ds: xr.Dataset, ancestry: str | Path | None, column: str | None = None) -> xr.Dataset:
    """Add the labels of a table to a cohort, if one is given."""
    if ancestry is None:
        return ds
    from genoweave.io.tables import add_ancestry, read_ancestry

    return add_ancestry(ds, read_ancestry(Path(ancestry), column), Path(ancestry), drop_unlabelled=False)


def import_cohort(
    source: str | Path,
    out: str | Path,
    ancestry: str | Path | None = None,
    column: str | None = None,
) -> None:
    """Convert a PLINK fileset or VCF Zarr store to a chunked store of genoweave's.

    Parameters
    ----------
    source, out
        The cohort, and the new store.
    ancestry, column
        Table of sample id and group, and the group's column if it is not the second.
    """
    save(labelled(open_cohort(source), ancestry, column), out)


def export(ds: xr.Dataset, to: str, path: str | Path) -> None:
    """Write a cohort for other tools.

    Parameters
    ----------
    ds
        The cohort.
    to
        ``"vcz"`` (VCF Zarr in the standard chunks and codec), ``"plink"`` (path is the prefix), or
        ``"csv"`` (SampleID, Ancestry if known, one column a variant).
    path
        Where.

    Raises
    ------
    ConfigError
        If the format is not known.
    """
    path = Path(path)
    if to == "vcz":
        _refuse_other(path)
        store.write(ds, path, store.STANDARD_CHUNKS, standard=True)
    elif to == "plink":
        from genoweave.io.plink import write_plink

        write_plink(ds, path.with_suffix("") if path.suffix == ".bed" else path)
    elif to == "csv":
        from genoweave.io import release as files

        make_folder(path.parent)
        columns = files.variant_columns(ds)
        files.write_genotype_csv(ds, path, columns, "", with_ancestry="sample_ancestry" in ds)
    else:
        raise ConfigError(f"there is no format {to!r} to export to; choose one of: {', '.join(FORMATS)}")
