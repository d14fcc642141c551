"""VCF and BCF files: scanned once, then opened lazily and read by blocks of variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr

from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import as_dask
from genoweave.io.call_fields import as_matrix, row_chunks
from genoweave.io.vcf.bgzf import open_bytes
from genoweave.io.vcf.header import read_header
from genoweave.io.vcf.scan import Ints, Records, Rules, scan
from genoweave.io.vcf.source import VcfSource
from genoweave.kernels import vcf_text

_SUFFIXES = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")


def is_vcf(path: Path) -> bool:
    """Tell by its name whether a file is VCF or BCF."""
    return path.name.lower().endswith(_SUFFIXES)


def open_vcf(
    path: Path,
    *,
    multiallelic: Literal["refuse", "split"] = "refuse",
    half_calls: Literal["missing", "reference", "haploid", "error", "keep"] = "missing",
    haploid: Literal["double", "missing", "refuse"] = "double",
    scratch: Path | None = None,
) -> xr.Dataset:
    """Open a VCF or BCF file lazily, whether plain, BGZF or gzip.

    One pass over the file, in parallel, checks every genotype and notes what the variants are and where they
    lie. Blocks of variants are then read by seeking. Contigs are in the order in which they first appear.

    Parameters
    ----------
    path
        The file. What it is, is told by its first bytes.
    multiallelic
        What to do with records of several ALT alleles: refuse the file, or split each into one variant for
        each allele, in the order of ALT. In such a variant the allele is 1 and every other allele 0, as with
        ``bcftools norm --multiallelics -``.
    half_calls
        What to do with a call of two alleles of which one is missing: make it missing; take the missing
        allele for the reference; take the known allele twice; refuse the file; or keep it as it is, with -1.
    haploid
        What to do with a call of one allele, on any contig: store it homozygous, as PLINK does; make it
        missing; or refuse the file.
    scratch
        Folder for a BGZF copy of a file that is compressed with plain gzip. The dataset reads the copy.

    Returns
    -------
    xarray.Dataset
        ``call_genotype`` int8 (variants, samples, ploidy=2), lazy, -1 missing; ``call_genotype_phased`` bool
        (variants, samples), lazy, where any call has a ``|``; ``contig_id``, ``variant_contig``,
        ``variant_position``, ``variant_id`` and ``variant_allele`` (reference, alternate; "" where ALT is
        "."), ``sample_id``. A call that was haploid counts as phased. Attribute ``import_counts`` says how
        often each rule was used.

    Raises
    ------
    StoreError
        If the file is missing, or is plain gzip and there is no `scratch`.
    DataError
        If it is damaged or malformed or holds what the rules refuse, naming the first record; or if it has no
        genotypes or no records.
    ConfigError
        If an option is none of those above.

    Notes
    -----
    Memory: names, positions and alleles of the variants, and some spans of text of 4 to 64 MiB a task. Time:
    about 0.3 s for 100 MB of text a core to open, and as much to read; BCF is scanned by one core.
    """
    _check_option("multiallelic", multiallelic, ("refuse", "split"))
    _check_option("half_calls", half_calls, tuple(vcf_text.HALF_RULES))
    _check_option("haploid", haploid, tuple(vcf_text.HAPLOID_RULES))
    file = open_bytes(Path(path), scratch)
    header = read_header(file)
    rules = Rules(vcf_text.HALF_RULES[half_calls], vcf_text.HAPLOID_RULES[haploid])
    records, index = scan(file, header, rules)
    _check_records(records, str(path), split=multiallelic == "split")
    record, alt = _split(records)
    counts = records.counts
    is_plain = counts[vcf_text.N_PHASED] == counts[vcf_text.N_SWAPPED] == 0
    is_kept = half_calls == "keep" and counts[vcf_text.N_HALF] > 0
    source = VcfSource(
        file, header, index, rules, record=record, alt=alt, is_unphased=bool(is_plain and not is_kept)
    )
    ds = xr.Dataset(_variables(source, header.samples, records))
    ds.attrs["import_counts"] = _counts(records, source.shape[0])
    return ds


def _check_option(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is one of {', '.join(choices)}; found {value!r}")


def _check_records(records: Records, path: str, *, split: bool) -> None:
    """Refuse records without GT, and those of several ALT alleles unless they are split."""
    has_gt = np.concatenate(records.has_gt)
    if not has_gt.any():
        raise DataError(f"{path} has no genotypes: no record has GT in FORMAT")
    lacking = np.flatnonzero(~has_gt)
    if len(lacking):
        raise DataError(
            f"{path}: {len(lacking)} of {len(has_gt)} records have no GT in FORMAT, first "
            f"{records.name(int(lacking[0]))}; remove these records"
        )
    several = np.flatnonzero(np.concatenate(records.n_alts) > 1)
    if len(several) and not split:
        raise DataError(
            f"{path}: {len(several)} of {len(has_gt)} records have several ALT alleles, first "
            f"{records.name(int(several[0]))}; genoweave works on biallelic variants. Open with "
            "multiallelic='split', or split them first (bcftools norm --multiallelics -)"
        )


def _split(records: Records) -> tuple[Ints | None, Ints | None]:
    """Return the record and the counted ALT allele of each variant, or None where each record is one."""
    n_alts = np.concatenate(records.n_alts)
    if n_alts.max() <= 1:
        return None, None
    rows = np.maximum(n_alts, 1)
    record = np.repeat(np.arange(len(rows)), rows)
    first = np.cumsum(rows) - rows
    return record, np.arange(len(record)) - first[record] + 1


def _variables(source: VcfSource, samples: list[str], records: Records) -> dict[str, Any]:
    n_variants, n_samples, _ = source.shape
    take = slice(None) if source.record is None else source.record
    alleles = np.empty((n_variants, 2), object)
    alleles[:, 0] = np.array(records.ref, object)[take]
    if source.record is None:
        alleles[:, 1] = ["" if alt == "." else alt for alt in records.alt]
    else:
        alleles[:, 1] = ["" if name == "." else name for alt in records.alt for name in alt.split(",")]
    chunks = row_chunks(n_samples)
    variables: dict[str, Any] = {
        "call_genotype": (("variants", "samples", "ploidy"), as_dask(source, chunks)),
        "contig_id": ("contigs", np.array(list(records.contigs), object)),
        "variant_contig": ("variants", np.array(records.contig, np.int32)[take]),
        "variant_position": ("variants", np.concatenate(records.position).astype(np.int32)[take]),
        "variant_id": ("variants", np.array(records.identifier, object)[take]),
        "variant_allele": (("variants", "alleles"), alleles),
        "sample_id": ("samples", np.array(samples, object)),
    }
    if records.counts[vcf_text.N_PHASED]:
        is_all = records.counts[vcf_text.N_UNPHASED] == 0
        phased = _phased(source, chunks, is_all=bool(is_all))
        variables["call_genotype_phased"] = (("variants", "samples"), phased)
    return variables


def _phased(source: VcfSource, chunks: tuple[int, int], *, is_all: bool) -> da.Array:
    """Return which calls are phased, lazily; nothing is read where all are."""
    if is_all:
        return da.ones(source.shape[:2], chunks=chunks, dtype=np.bool_)
    shape = source.shape[:2]
    return as_matrix("call_genotype_phased", source.read_phased, shape, np.bool_, chunks)


def _counts(records: Records, n_variants: int) -> dict[str, int]:
    n_alts, counts = np.concatenate(records.n_alts), records.counts
    return {
        "records": len(n_alts),
        "variants": n_variants,
        "split_records": int((n_alts > 1).sum()),
        "records_without_alt": int((n_alts == 0).sum()),
        "half_calls": int(counts[vcf_text.N_HALF]),
        "haploid_calls": int(counts[vcf_text.N_HAPLOID]),
        "missing_calls": int(counts[vcf_text.N_MISSING]),
        "phased_calls": int(counts[vcf_text.N_PHASED]),
    }
