"""Cohorts written as VCF, bgzip-compressed VCF or BCF, in batches, with an index."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.io.files import disk_errors
from genoweave.io.streams import Names, Stream, write_streams
from genoweave.io.vcf.bgzf import END_BLOCK
from genoweave.io.vcf.formatting import Table, batch_bytes, header_bytes, table_of
from genoweave.schema import validate

KINDS = ("vcf", "vcf.gz", "bcf")
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
    Memory: see `streams.write_streams`. The same dataset gives the same bytes, whatever the
    workers.
    """
    write_streams(ds, [vcf_stream(ds, Path(path), kind)], token, f"write {kind}")


def vcf_stream(ds: xr.Dataset, path: Path, kind: str = "vcf.gz") -> Stream:
    """Return what `write_vcf` writes, checked, for a pass that writes other files too."""
    if kind not in KINDS:
        raise ConfigError(f"kind is one of {', '.join(KINDS)}; found {kind!r}")
    table = _table(ds)
    samples = [str(name) for name in _checked(ds, "sample_id")]
    if len(set(samples)) < len(samples):
        raise DataError(f"{len(samples) - len(set(samples))} sample ids stand twice; a VCF needs unique ones")
    if kind != "vcf":
        _check_order(table)
    if kind == "bcf":
        _check_zeros(table)
    return Stream(
        path,
        partial(batch_bytes, table.contigs, kind),
        head=partial(header_bytes, table.contigs, samples, kind),
        tail=b"" if kind == "vcf" else END_BLOCK,
        finish=None if kind == "vcf" else partial(_write_index, path, index_ending(table, kind)),
        reads_calls=True,
        reads_names=True,
    )


def _table(ds: xr.Dataset) -> Table:
    """Return what identifies the variants, checked.

    Raises
    ------
    DataError
        If something cannot stand in a VCF.
    """
    validate(ds, "variant_contig", "variant_position", "variant_allele", "contig_id", "sample_id")
    names = Names.of(ds)
    if "variant_id" in ds:
        _checked(ds, "variant_id", may_be_empty=True)
    if _checked(ds, "variant_allele", may_be_empty=True).shape[1] != 2:
        raise DataError(f"variant_allele has {names.allele.shape[1]} alleles a variant; genoweave writes two")
    contigs = tuple(str(name) for name in _checked(ds, "contig_id"))
    contig, position = names.contig, names.position
    bad = np.flatnonzero((position < 0) | (position > 2**31 - 1))
    if len(bad):
        raise DataError(f"variant_position, row {bad[0] + 1}: from 0 to 2147483647, found {position[bad[0]]}")
    if len(contig) and not 0 <= contig.min() <= contig.max() < len(contigs):
        raise DataError("variant_contig points beyond contig_id; import the cohort again")
    return table_of(names, contigs)


def _checked(ds: xr.Dataset, name: str, *, may_be_empty: bool = False) -> NDArray[Any]:
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


def index_ending(table: Table, kind: str) -> str:
    """Return the ending of the index that can address the variants."""
    length = np.array([len(ref) for ref in table.ref], np.int64)
    last = int((table.position + length).max(initial=0))
    return ".csi" if kind == "bcf" or last > _LAST_TBI_BASE else ".tbi"


def _write_index(path: Path, ending: str, data: Path) -> Callable[[], None]:
    """Index the finished bytes with htslib, whose indices others read; return what gives it its name."""
    import pysam
    import pysam.bcftools
    from pysam.utils import SamtoolsError

    index = path.with_name(path.name + ending)
    partial_index = path.with_name(path.name + ending + ".partial")
    options = "--tbi" if ending == ".tbi" else "--csi"
    loudness = pysam.set_verbosity(0)  # it would warn of each position 0
    try:
        pysam.bcftools.index(
            options, "--force", "--output", str(partial_index), str(data), catch_stdout=False
        )
    except SamtoolsError as error:
        partial_index.unlink(missing_ok=True)
        raise StoreError(f"cannot write {index}: {error}; check the disk and run again") from None
    finally:
        pysam.set_verbosity(loudness)
    return partial(_publish_index, path, ending)


def _publish_index(path: Path, ending: str) -> None:
    """Give the index its name; no other kind of index stays."""
    index = path.with_name(path.name + ending)
    with disk_errors(index):
        os.replace(index.with_name(index.name + ".partial"), index)
        for other in {".tbi", ".csi"} - {ending}:
            path.with_name(path.name + other).unlink(missing_ok=True)
