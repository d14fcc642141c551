"""Cohorts and files: open, save, import, export."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import xarray as xr

from genoweave.errors import StoreError
from genoweave.genotypes import source_of
from genoweave.io import exports, store
from genoweave.io.cohort import fingerprint, open_cohort
from genoweave.io.exports import FORMATS
from genoweave.io.files import remove, source_fingerprint
from genoweave.io.reading import Reading
from genoweave.io.tables.joining import Tables, join_tables

log = logging.getLogger(__name__)

__all__ = ["FORMATS", "Reading", "export", "import_cohort", "labelled", "open_cohort", "save"]

_CHUNKS = (1024, 8192)


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


def export(
    ds: xr.Dataset | str | Path,
    to: str | Sequence[str],
    path: str | Path,
    *,
    check: bool = True,
    reading: Reading | None = None,
) -> list[Path]:
    """Write a cohort for other tools, in one format or several, and check what was written.

    All formats but two are written in one pass over the genotypes; VCF Zarr and CSV, whose chunks and rows
    go over samples, in a pass each. Sex, parents, families and phenotype go where a format has a place for
    them: .fam, .psam, .sample, VCF Zarr.

    Parameters
    ----------
    ds
        The cohort: a dataset, or a path (see `open_cohort`). An export from a path that was killed goes on
        where it was.
    to
        One or several of ``"vcz"`` (VCF Zarr in the standard chunks and codec), ``"plink"`` (.bed, .bim,
        .fam), ``"pgen"`` (.pgen, .pvar, .psam), ``"vcf"`` (compressed, with an index, unless the path ends
        in .vcf), ``"bcf"``, ``"bgen"`` (with .sample), ``"csv"`` (SampleID, Ancestry if known, one column a
        variant; compressed if the path ends in .gz or .zst).
    path
        Where. Of one format: its file, with or without the ending. Of several: a prefix, to which each adds
        its ending.
    check
        Open every file again, and compare samples, variants, alleles, calls and phase with what was read: a
        pass over each file. What a format cannot hold (phase, the missing half of a call) is not compared.
    reading
        Rules for what the files of a path leave open.

    Returns
    -------
    list of Path
        The file, or store, of each format; a .bed for PLINK 1, a .pgen for PLINK 2.

    Raises
    ------
    ConfigError
        If a format is not known.
    DataError
        If a format cannot hold the cohort. If what was written is not what was to be written: it is called
        NAME.rejected then.
    StoreError
        If the disk is full or the folder cannot be written.

    Notes
    -----
    Memory: see `io.streams.write_streams`. What was read is summed while it is written, so that the check
    does not read the cohort again.
    """
    path = Path(path)
    outputs = exports.plan([to] if isinstance(to, str) else list(to), path)
    for output in outputs:
        if output.format == "vcz":
            _refuse_other(output.path)
    scratch = path.with_name(path.name + ".scratch")
    token = ""
    if not isinstance(ds, xr.Dataset):
        source, ds = ds, open_cohort(ds, reading, scratch=scratch)
        if "://" not in str(source):
            work = version("genoweave"), fingerprint(source, reading)
            token = hashlib.sha256(repr(work).encode()).hexdigest()
    exports.write(ds, outputs, token, check=check)
    remove(scratch)
    return [output.path for output in outputs]
