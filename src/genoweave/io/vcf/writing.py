"""Cohorts written as VCF, bgzip-compressed VCF or BCF, in batches, with an index."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.execution import run_in_order
from genoweave.genotypes import source_of
from genoweave.io.files import AppendingFile, disk_errors, make_folder
from genoweave.io.vcf.bgzf import END_BLOCK
from genoweave.io.vcf.formatting import Table, batch_bytes, header_bytes
from genoweave.schema import validate

KINDS = ("vcf", "vcf.gz", "bcf")
_BATCH_CALLS = 16 * 2**20
_LAST_TBI_BASE = 2**29  # a .tbi index cannot address what lies behind
# What a name must not hold, and how to say so.
_BAD = {
    "sample_id": (re.compile(r"[\s\x00-\x1f\x7f]"), "white space or control characters"),
    "variant_id": (re.compile(r"[\s\x00-\x1f\x7f]"), "white space or control characters"),
    "variant_allele": (re.compile(r"[\s\x00-\x1f\x7f,]"), "white space, control characters or commas"),
    "contig_id": (
        re.compile(r"[\s\x00-\x1f\x7f,<>\"]|^[*=]"),
        "white space, control characters, commas, quotes, < or >, or begin with * or =",
    ),
}


def write_vcf(
    ds: xr.Dataset, path: Path, kind: Literal["vcf", "vcf.gz", "bcf"] = "vcf.gz", token: str = ""
) -> None:
    """Write a cohort as VCF 4.3 or BCF 2.2 with the one field GT.

    A call is phased (``|``) where ``call_genotype_phased`` says so. Compressed kinds get an index beside
    them: ``.tbi``, or ``.csi`` for BCF and where a position is above 2**29. An allele named "" or "0", as
    PLINK has it, is written as "." (alternate) or N (reference). Sex, pedigree and phenotypes have no place
    in a VCF.

    Parameters
    ----------
    ds
        ``call_genotype`` and what identifies variants and samples.
    path
        The file. It appears when it is complete; the index before it.
    kind
        Plain text, BGZF or BCF.
    token
        Identifies the work. A killed write with the same token is continued; without one, never.

    Raises
    ------
    DataError
        If a name cannot stand in a VCF, or, for a kind with an index, contigs are not contiguous or positions
        not ascending, for htslib indexes no other files. Plain ``vcf`` is written in any order.
    StoreError
        If the disk is full or the folder cannot be written.
    ConfigError
        If the kind is none of the three.

    Notes
    -----
    Memory: per task about 128 MiB, or one variant. The same dataset gives the same bytes, whatever the
    workers.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is one of {', '.join(KINDS)}; found {kind!r}")
    path = Path(path)
    table = _table(ds)
    samples = _names(ds, "sample_id")
    if len(set(samples)) < len(samples):
        raise DataError(f"{len(samples) - len(set(samples))} sample ids stand twice; a VCF needs unique ones")
    if kind != "vcf":
        _check_order(table)
    if kind == "bcf":
        _check_zeros(table)
    make_folder(path.parent)
    with AppendingFile(path, token) as out:
        for data in _batches(ds, table, list(samples), kind, out.batches):
            out.append(data)
        if kind != "vcf":
            _write_index(path, out.partial, _index_ending(table, kind))
        out.commit()


def _batches(ds: xr.Dataset, table: Table, samples: list[str], kind: str, done: int) -> Iterator[bytes]:
    """Yield the parts of the file after the first `done`: header, batches of variants, end."""
    source = source_of(ds)
    phased = None
    if "call_genotype_phased" in ds:
        validate(ds, "call_genotype_phased")
        phased = ds["call_genotype_phased"].data
    bounds = list(ranges(source.shape[0], max(1, _BATCH_CALLS // max(1, source.shape[1]))))
    if done == 0:
        yield header_bytes(table.contigs, samples, kind)
    written = max(0, done - 1)
    items = ((_rows(table, a, b), kind, a, b) for a, b in bounds[written:])
    yield from run_in_order(
        batch_bytes, items, shared=(source, phased), label=f"write {kind}", done=written, total=len(bounds)
    )
    if kind != "vcf" and done < len(bounds) + 2:
        yield END_BLOCK


def _rows(table: Table, a: int, b: int) -> Table:
    return Table(
        table.contig[a:b],
        table.position[a:b],
        table.identifier[a:b],
        table.ref[a:b],
        table.alt[a:b],
        table.contigs,
    )


def _table(ds: xr.Dataset) -> Table:
    """Return what identifies the variants, checked.

    Raises
    ------
    DataError
        If something cannot stand in a VCF.
    """
    validate(ds, "variant_contig", "variant_position", "variant_allele", "contig_id", "sample_id")
    n = ds.sizes["variants"]
    identifier = (
        _names(ds, "variant_id", may_be_empty=True) if "variant_id" in ds else np.full(n, ".", object)
    )
    identifier[identifier == ""] = "."
    allele = _names(ds, "variant_allele", may_be_empty=True)
    if allele.shape[1] != 2:
        raise DataError(f"variant_allele has {allele.shape[1]} alleles a variant; genoweave writes two")
    ref, alt = allele.T.copy()
    ref[np.isin(ref, ["", ".", "0"])] = "N"
    alt[np.isin(alt, [".", "0"])] = ""
    contigs = _names(ds, "contig_id")
    position = ds["variant_position"].values
    bad = np.flatnonzero((position < 0) | (position > 2**31 - 1))
    if len(bad):
        raise DataError(f"variant_position, row {bad[0] + 1}: from 0 to 2147483647, found {position[bad[0]]}")
    contig = ds["variant_contig"].values.astype(np.int32)
    if n and not 0 <= contig.min() <= contig.max() < len(contigs):
        raise DataError("variant_contig points beyond contig_id; import the cohort again")
    return Table(contig, position.astype(np.int32), identifier, ref, alt, list(contigs))


def _names(ds: xr.Dataset, name: str, *, may_be_empty: bool = False) -> NDArray[Any]:
    """Return a variable's names as strings.

    Raises
    ------
    DataError
        If one holds what separates columns, or is empty.
    """
    pattern, signs = _BAD[name]
    values = ds[name].values
    text = np.array([str(value) for value in values.ravel()], object).reshape(values.shape)
    wrong = [i for i, value in enumerate(text.flat) if pattern.search(value) or not (value or may_be_empty)]
    if wrong:
        row = wrong[0] // max(1, text.size // len(text)) + 1
        raise DataError(
            f"{name}, row {row}: {len(wrong)} names are empty or hold {signs}, which a VCF cannot bear; "
            "rename them, or export to vcz"
        )
    return text


def _check_order(table: Table) -> None:
    """Refuse an order that cannot be indexed.

    Raises
    ------
    DataError
        Naming the first variant out of order.
    """
    contig, position = table.contig, table.position
    is_new = np.append(True, np.diff(contig) != 0)
    starts = np.flatnonzero(is_new)
    _, first = np.unique(contig[starts], return_index=True)
    again = np.setdiff1d(np.arange(len(starts)), first)
    back = np.flatnonzero(~is_new[1:] & (np.diff(position) < 0)) + 1
    if len(again) or len(back):
        row = min([*starts[again[:1]], *back[:1]])
        raise DataError(
            f"variant {row + 1} ({table.contigs[contig[row]]}:{position[row]}) is out of order: an indexed "
            "VCF or BCF needs the variants of a contig together, by position. Sort the cohort (plink2 "
            "--sort-vars), or write kind 'vcf' and sort that (bcftools sort)"
        )


def _check_zeros(table: Table) -> None:
    """Refuse what htslib cannot index in a BCF.

    Raises
    ------
    DataError
        If a contig has several variants at position 0.
    """
    at_zero = table.contig[table.position == 0]
    if len(at_zero) > len(np.unique(at_zero)):
        raise DataError(
            f"{len(at_zero)} variants have position 0, and a BCF index bears one a contig at most; "
            "write kind 'vcf.gz', or remove these variants"
        )


def _index_ending(table: Table, kind: str) -> str:
    length = np.array([len(ref) for ref in table.ref], np.int64)
    last = int((table.position + length).max(initial=0))
    return ".csi" if kind == "bcf" or last > _LAST_TBI_BASE else ".tbi"


def _write_index(path: Path, data: Path, ending: str) -> None:
    """Index the finished bytes with htslib, whose indices others read; no other kind of index stays."""
    import pysam
    import pysam.bcftools
    from pysam.utils import SamtoolsError

    index = path.with_name(path.name + ending)
    partial = path.with_name(path.name + ending + ".partial")
    options = "--tbi" if ending == ".tbi" else "--csi"
    loudness = pysam.set_verbosity(0)  # it would warn of each position 0
    try:
        pysam.bcftools.index(options, "--force", "--output", str(partial), str(data), catch_stdout=False)
    except SamtoolsError as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"cannot write {index}: {error}; check the disk and run again") from None
    finally:
        pysam.set_verbosity(loudness)
    with disk_errors(index):
        os.replace(partial, index)
        for other in {".tbi", ".csi"} - {ending}:
            path.with_name(path.name + other).unlink(missing_ok=True)
