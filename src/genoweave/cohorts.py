"""Cohorts and files: open, save, import, export."""

from __future__ import annotations

import hashlib
import json
import logging
from importlib.metadata import version
from pathlib import Path

import xarray as xr

from genoweave.errors import ConfigError, StoreError
from genoweave.genotypes import source_of
from genoweave.io import store
from genoweave.io.cohort import fingerprint, open_cohort
from genoweave.io.files import make_folder, remove, source_fingerprint
from genoweave.io.reading import Reading
from genoweave.io.tables.joining import Tables, join_tables

log = logging.getLogger(__name__)

__all__ = ["FORMATS", "Reading", "export", "import_cohort", "labelled", "open_cohort", "save"]

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
    reading: Reading | None = None,
    tables: Tables | None = None,
    chunks: tuple[int, int] = _CHUNKS,
) -> dict[str, int]:
    """Convert a cohort of any kind to a chunked store of genoweave's.

    A killed import goes on where it was, and one that is whole is not made again: the store's attribute
    ``source_fingerprint`` tells of which files it was made, and how.

    Parameters
    ----------
    source, out
        The cohort (see `open_cohort`), and the new store.
    ancestry, column
        Table of sample id and group, and the group's column if it is not the second.
    reading
        Rules for what the files leave open.
    tables
        Phenotypes, covariates, a pedigree, a genetic map; see `join_tables`.
    chunks
        (variants, samples) per chunk.

    Returns
    -------
    dict
        How often each rule was used: half-calls, haploid calls, split records and the like.

    Raises
    ------
    StoreError, DataError
        If the source cannot be read, or the store not be written.

    Notes
    -----
    Memory: the tables of variants and samples, and 256 MiB a task. A VCF compressed with plain gzip needs
    disk for a copy, beside the store, while it is imported.
    """
    out = Path(out)
    _refuse_other(out)
    tables = tables or Tables()
    token = _work(source, reading, [*tables.paths, *([Path(ancestry)] if ancestry else [])], column, chunks)
    if token and (counts := _counts_of(out, token)) is not None:
        log.info("%s is whole already", out)
        return counts
    scratch = out.with_name(out.name + ".scratch")
    ds = labelled(open_cohort(source, reading, scratch=scratch), ancestry, column)
    ds, matchings = join_tables(ds, tables)
    for matching in matchings:
        log.log(logging.WARNING if matching.not_in_table else logging.INFO, "%s", matching)
    counts = ds.attrs.get("import_counts", {}) | _uncertain_calls(ds)
    marks = {"source_fingerprint": token, "import_counts": counts}
    store.write(ds.assign_attrs(marks), out, chunks, token)
    remove(scratch)
    return counts


def _work(
    source: str | Path,
    reading: Reading | None,
    tables: list[Path],
    column: str | None,
    chunks: tuple[int, int],
) -> str:
    """Return what tells this import from others; nothing where the source may change unseen."""
    if "://" in str(source):
        return ""
    prints = [source_fingerprint(path) if path.exists() else "" for path in tables]
    parts = version("genoweave"), fingerprint(source, reading), prints, column, chunks
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _counts_of(out: Path, token: str) -> dict[str, int] | None:
    """Return the counts of a whole store of the same work, or None."""
    try:
        attributes = json.loads((out / ".zattrs").read_text())
    except (OSError, ValueError):
        return None
    return attributes.get("import_counts", {}) if attributes.get("source_fingerprint") == token else None


def _uncertain_calls(ds: xr.Dataset) -> dict[str, int]:
    """Return what hard-calling lost, of a BGEN."""
    from genoweave.io.bgen import BgenSource, count_uncertain

    if not isinstance(source_of(ds), BgenSource):
        return {}
    uncertain, haploid = count_uncertain(ds).sum(axis=0)
    return {"uncertain_calls": int(uncertain), "haploid_calls": int(haploid)}


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
