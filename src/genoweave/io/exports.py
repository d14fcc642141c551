"""Exports: a cohort in several formats at once, each opened again and compared with the cohort."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.genotypes import source_of
from genoweave.io import store
from genoweave.io.bgen import BgenSource, open_bgen
from genoweave.io.bgen.writing import bgen_stream
from genoweave.io.call_fields import as_matrix, row_chunks
from genoweave.io.consistency import (
    Contents,
    Sums,
    contents,
    csv_contents,
    described,
    digest_of,
    read_sums,
    require_same,
    sums_stream,
)
from genoweave.io.files import disk_errors, make_folder, remove, write_json
from genoweave.io.pgen import open_pgen
from genoweave.io.pgen.writing import pgen_stream
from genoweave.io.plink import open_plink, plink_stream
from genoweave.io.release import csv_header, unguarded, variant_columns, write_genotype_csv
from genoweave.io.streams import Stream, write_streams
from genoweave.io.tables.ids import within_family
from genoweave.io.vcf import open_vcf
from genoweave.io.vcf.writing import vcf_stream

FORMATS = ("vcz", "plink", "pgen", "vcf", "bcf", "bgen", "csv")
# Endings that a path may have already; the first is added where it has none. A prefix has none.
_ENDINGS = {
    "vcz": (".vcz", ""),
    "plink": (".bed",),
    "pgen": (".pgen",),
    "vcf": (".vcf.gz", ".vcf"),
    "bcf": (".bcf",),
    "bgen": (".bgen",),
    "csv": (".csv", ".csv.gz", ".csv.zst", ""),
}
_BESIDE = {
    "plink": (".bim", ".fam"),
    "pgen": (".pvar", ".psam"),
    "bgen": (".sample",),
    "bcf": (".bcf.csi",),
}
_INDICES = (".tbi", ".csi")
# How a file says that an allele is not known; the cohort that is read back says "".
_UNKNOWN_ALLELE = {"plink": ["0"], "pgen": [".", "0"], "bgen": ["."], "vcf": [".", "0"], "bcf": [".", "0"]}
_WITH_PHASE = ("vcz", "pgen", "vcf", "bcf", "bgen")
_WITH_FAMILIES = ("plink", "pgen", "bgen")


@dataclass(frozen=True)
class Output:
    """A format and its files; the first holds the genotypes."""

    format: str
    files: tuple[Path, ...]

    @property
    def path(self) -> Path:
        """The file, or store, of the genotypes."""
        return self.files[0]


def plan(formats: Sequence[str], path: Path) -> list[Output]:
    """Return the files of an export: of one format to `path`, of several to `path` with each one's ending.

    Raises
    ------
    ConfigError
        If a format is not known, or none is given.
    StoreError
        If a folder stands where a file is to be.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(
            f"there is no format {', '.join(unknown) or '(none given)'} to export to; choose of: "
            f"{', '.join(FORMATS)}"
        )
    chosen = list(dict.fromkeys(formats))
    outputs = [place(name, path, may_have_ending=len(chosen) == 1) for name in chosen]
    for output in outputs:
        if output.format != "vcz" and output.path.is_dir():
            raise StoreError(f"{output.path} is a folder; choose another name with --out")
    return outputs


def place(name: str, path: Path, *, may_have_ending: bool = False) -> Output:
    """Return the files of a format at a prefix, or, of one alone, at a path that may have its ending."""
    endings = _ENDINGS[name] if may_have_ending else ()
    ending = next((e for e in sorted(endings, key=len, reverse=True) if path.name.endswith(e)), None)
    main = Path(f"{path}{_ENDINGS[name][0]}") if ending is None else path
    stem = str(main).removesuffix(ending or _ENDINGS[name][0])
    beside = [stem + other for other in _BESIDE.get(name, ())]
    if main.suffix == ".gz" and name == "vcf":
        beside = [f"{main}{index}" for index in _INDICES]
    return Output(name, (main, *map(Path, beside)))


def write(ds: xr.Dataset, outputs: Sequence[Output], token: str = "", *, check: bool = True) -> None:
    """Write a cohort in several formats, all but VCF Zarr and CSV in one pass over its genotypes.

    Parameters
    ----------
    ds
        The cohort.
    outputs
        See `plan`.
    token
        Identifies the work. A killed export with the same token is continued; without one, never.
    check
        Open everything again and compare it with what was to be written.

    Raises
    ------
    DataError
        If a format cannot hold the cohort; nothing is written then. If what was written is something else:
        it is called NAME.rejected.
    StoreError
        If the disk is full or a folder cannot be written.
    """
    streams = [_stream(ds, output) for output in outputs if output.format not in ("vcz", "csv")]
    for output in outputs:
        make_folder(output.path.parent)
    journal = _Journal(outputs[0].path.with_name(outputs[0].path.name + ".export"), token)
    summed: dict[str, int] | None = None
    if streams:
        name = f"{'+'.join(stream.path.name for stream in streams)}, check: {check}"
        paths = [stream.path for stream in streams]
        summed = journal.step(name, paths, partial(_write_streams, ds, streams, token, check=check))
    for output in outputs:
        if output.format in ("vcz", "csv"):
            work = _write_store if output.format == "vcz" else _write_csv
            journal.step(output.format, [output.path], partial(work, ds, output.path, token))
    if check:
        try:
            _check(ds, outputs, None if summed is None else Sums(**summed))
        except DataError:
            journal.close()
            raise
    journal.close()


class _Journal:
    """Notes the parts of an export that are whole, so that a killed one does not write them again."""

    def __init__(self, path: Path, token: str) -> None:
        self.path, self.token = path, token
        self.results: dict[str, Any] = {}
        try:
            state = json.loads(path.read_text())
            if token and state["token"] == token:
                self.results = state["results"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def step(self, name: str, paths: list[Path], work: Callable[[], Any]) -> Any:
        """Do a part, or return what it returned when it was done, if its files are still there."""
        if name not in self.results or not all(path.exists() for path in paths):
            self.results[name] = work()
            if self.token:
                write_json(self.path, {"token": self.token, "results": self.results})
        return self.results[name]

    def close(self) -> None:
        """Forget it all: the export is whole."""
        self.path.unlink(missing_ok=True)


def _stream(ds: xr.Dataset, output: Output) -> Stream:
    if output.format == "plink":
        return plink_stream(ds, output.path.with_suffix(""))
    if output.format == "pgen":
        return pgen_stream(ds, output.path.with_suffix(""))
    if output.format == "bgen":
        return bgen_stream(ds, output.path)
    kind = output.format if output.path.suffix != ".gz" else "vcf.gz"
    return vcf_stream(ds, output.path, kind)


def _write_streams(
    ds: xr.Dataset, streams: list[Stream], token: str, *, check: bool
) -> dict[str, int] | None:
    if not check:
        write_streams(ds, streams, token, "export")
        return None
    first = streams[0].path
    path = first.with_name(first.name + ".checksums")
    reads_calls = "call_genotype_phased" in ds
    write_streams(ds, [*streams, sums_stream(path, reads_calls=reads_calls)], token, "export")
    sums = asdict(read_sums(path))
    path.unlink()
    return sums


def _write_store(ds: xr.Dataset, path: Path, token: str) -> None:
    store.write(ds, path, store.STANDARD_CHUNKS, token, standard=True)


def _write_csv(ds: xr.Dataset, path: Path, token: str) -> None:
    write_genotype_csv(ds, path, variant_columns(ds), token, with_ancestry="sample_ancestry" in ds)


def _check(ds: xr.Dataset, outputs: Sequence[Output], sums: Sums | None) -> None:
    """Compare all outputs with the cohort, and set aside those that differ.

    Raises
    ------
    DataError
        Naming files and fields.
    """
    if sums is None:
        read = contents(ds, "check: what is to be written", with_phase=_phase_is_held(ds, outputs))
        sums = Sums(read.genotypes, read.phase or 0, 0)
    wrong = []
    for output in outputs:
        try:
            require_same(_wanted(ds, output, sums), _found(ds, output), output.path)
        except (DataError, StoreError) as error:
            _reject(output)
            wrong.append(f"{error}; it is called {output.path.name}.rejected now")
    if wrong:
        raise DataError(". ".join(wrong))


def _phase_is_held(ds: xr.Dataset, outputs: Sequence[Output]) -> bool:
    return "call_genotype_phased" in ds and any(output.format in _WITH_PHASE for output in outputs)


def _wanted(ds: xr.Dataset, output: Output, sums: Sums) -> Contents:
    """Return what a file should hold of the cohort."""
    phase = None
    if _phase_is_held(ds, [output]):
        phase = sums.phase_of_rows if output.format == "bgen" else sums.phase
    found = described(_as_read(ds, output.format), sums.genotypes, phase)
    if output.format == "csv":
        header = csv_header(variant_columns(ds), with_ancestry="sample_ancestry" in ds)
        ids = digest_of(unguarded(str(name)) for name in ds["sample_id"].values)
        found = replace(found, sample_ids=ids, columns=digest_of(map(unguarded, header)))
    if output.format in _WITH_FAMILIES:
        found = replace(found, sample_ids=digest_of(within_family(ds, ds["sample_id"].values)))
    return found


def _as_read(ds: xr.Dataset, format: str) -> xr.Dataset:
    """Return the cohort with the alleles and chromosomes that a reader of the format makes of them."""
    if format not in _UNKNOWN_ALLELE:
        return ds
    allele = ds["variant_allele"].values.astype(object)
    allele[np.isin(allele, _UNKNOWN_ALLELE[format])] = ""
    if format in ("vcf", "bcf"):
        allele[allele[:, 0] == "", 0] = "N"
    contig = [str(name) for name in ds["contig_id"].values]
    if format == "bgen":
        contig = [name[1:] if re.fullmatch("0[1-9]", name) else name for name in contig]
    return ds.assign(
        variant_allele=(("variants", "alleles"), allele), contig_id=("contigs", np.array(contig, object))
    )


def _found(ds: xr.Dataset, output: Output) -> Contents:
    """Return what a file holds."""
    label = f"check {output.format}"
    if output.format == "csv":
        n_names = len(csv_header([], with_ancestry="sample_ancestry" in ds))
        return csv_contents(output.path, ds.sizes["variants"], n_names)
    try:
        opened = _open(output)
    except (DataError, StoreError) as error:
        raise DataError(f"{output.path} cannot be read again: {error}") from None
    with_phase = _phase_is_held(ds, [output])
    source = source_of(opened)
    if with_phase and isinstance(
        source, BgenSource
    ):  # it looks at some variants only to tell if any has phase
        shape = source.shape[:2]
        read = as_matrix("phase", source.read_phased, shape, np.bool_, row_chunks(shape[1]))
        opened = opened.assign(call_genotype_phased=(("variants", "samples"), read))
    found = contents(opened, label, with_phase=with_phase)
    if output.format in _WITH_FAMILIES:
        found = replace(found, sample_ids=digest_of(within_family(opened, opened["sample_id"].values)))
    return replace(found, phase=found.phase or 0) if with_phase else found


def _open(output: Output) -> xr.Dataset:
    if output.format == "plink":
        return open_plink(output.path)
    if output.format == "pgen":
        return open_pgen(output.path)
    if output.format == "bgen":
        return open_bgen(output.path)
    if output.format == "vcz":
        return store.open_store(output.path)
    return open_vcf(output.path, half_calls="keep", haploid="missing")


def _reject(output: Output) -> None:
    """Rename the files of a format, so that none takes them for good."""
    for file in output.files:
        if file.exists():
            rejected = file.with_name(file.name + ".rejected")
            with disk_errors(rejected):
                remove(rejected)
                os.replace(file, rejected)
