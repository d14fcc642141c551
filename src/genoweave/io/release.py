"""The released files: five CSV tables, the cohort as PLINK and VCF Zarr, truth tables, manifest."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.execution import run_in_order
from genoweave.genotypes import Source, read_dosage, source_of
from genoweave.io.files import AppendingFile, digest, size, write_atomic, write_json
from genoweave.kernels.text import csv_rows

# A task formats so many genotypes: 3 bytes each, with the block read.
_BLOCK_CALLS = 16 * 2**20
_GZIP_LEVEL, _ZSTD_LEVEL = 6, 3


def variant_columns(ds: xr.Dataset) -> NDArray[Any]:
    """Return a unique name for each variant: its id, or contig:position:ref:alt where the id is not unique.

    Ids that a CSV header cannot bear (commas, quotes, leading = + - @) are replaced so too.
    """
    ids = ds["variant_id"].values.astype(str)
    names, counts = np.unique(ids, return_counts=True)
    repeated = set(names[counts > 1])
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    position, allele = ds["variant_position"].values, ds["variant_allele"].values
    columns = [
        f"{c}:{p}:{a[0]}:{a[1]}" if i in repeated or not _plain_id(i) else i
        for i, c, p, a in zip(ids, contig, position, allele, strict=True)
    ]
    used: set[str] = set()
    for n, name in enumerate(columns):
        count = 1
        while columns[n] in used:  # the same site and alleles twice
            count += 1
            columns[n] = f"{name}:{count}"
        used.add(columns[n])
    return np.array(columns, object)


def _plain_id(text: str) -> bool:
    return bool(text) and text != "." and text[0] not in "=+-@" and not any(c in text for c in ',"\r\n')


# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")


def unguarded(cell: str) -> str:
    """Take away the apostrophe of `csv_text`."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell


def csv_text(text: str) -> str:
    """Quote a CSV cell where it needs it; a leading formula sign is made harmless with an apostrophe."""
    if text[:1] in _FORMULA:
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def write_genotype_csv(
    ds: xr.Dataset, path: Path, columns: NDArray[Any], token: str, *, with_ancestry: bool
) -> None:
    """Stream genotypes to a CSV: SampleID, Ancestry if asked, one column a variant (0, 1, 2 or NA).

    A name that ends in ``.gz`` or ``.zst`` makes it gzip or zstd: members, or frames, one behind the other,
    which most programs read as one file.

    Memory: a block of samples over all variants per task, 16 Mi genotypes. A killed write with the
    same token is continued.
    """
    source = source_of(ds)
    n_variants, n_samples, _ = source.shape
    blocks = list(ranges(n_samples, max(1, _BLOCK_CALLS // max(1, n_variants))))
    names = [csv_text(str(i)) for i in ds["sample_id"].values]
    if with_ancestry:
        labels = ds["sample_ancestry"].values
        names = [f"{name},{csv_text(str(label))}" for name, label in zip(names, labels, strict=True)]
    with AppendingFile(path, token) as out:
        if out.batches == 0:
            cells = map(csv_text, csv_header(columns, with_ancestry=with_ancestry))
            out.append(_compressed((",".join(cells) + "\n").encode(), path.suffix))
        done = out.batches - 1
        items = [(names[a:b], path.suffix, a, b) for a, b in blocks[done:]]
        lines = run_in_order(
            _csv_block, items, shared=(source,), label=path.name, done=done, total=len(blocks)
        )
        for text in lines:
            out.append(text)
        out.commit()


def csv_header(columns: Iterable[Any], *, with_ancestry: bool) -> list[str]:
    """Return the header of a genotype CSV, cell by cell."""
    return ["SampleID", *(["Ancestry"] if with_ancestry else []), *map(str, columns)]


def _csv_block(source: Source, names: list[str], suffix: str, s0: int, s1: int) -> bytes:
    """Task: the lines of some samples, compressed as the file's name says."""
    dosage = np.empty((source.shape[0], s1 - s0), np.int8)
    for v0, v1 in tiles(source.shape[0]):
        dosage[v0:v1] = read_dosage(source, v0, v1, s0, s1)
    text = np.empty((s1 - s0, 3 * len(dosage)), np.uint8)
    lengths = np.empty(s1 - s0, np.int64)
    csv_rows(dosage, text, lengths)
    lines = (
        name.encode() + row[:length].tobytes() + b"\n"
        for name, row, length in zip(names, text, lengths, strict=True)
    )
    return _compressed(b"".join(lines), suffix)


def _compressed(data: bytes, suffix: str) -> bytes:
    """Return data as a gzip member without a time, as a zstd frame, or as it is."""
    if suffix == ".gz":
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        return packer.compress(data) + packer.flush()
    if suffix == ".zst":
        return pa.Codec("zstd", compression_level=_ZSTD_LEVEL).compress(data, asbytes=True)
    return data


def _write_text(path: Path, text: str) -> None:
    """Write a whole table, compressed as its name says."""
    write_atomic(path, _compressed(text.encode(), path.suffix))


def write_phenotype_csv(ds: xr.Dataset, trait: xr.Dataset, path: Path) -> None:
    """Write SampleID, PhenotypeCondition (0 or 1)."""
    table = pd.DataFrame(
        {"SampleID": ds["sample_id"].values, "PhenotypeCondition": trait["sample_case"].values}
    )
    _write_text(path, table.to_csv(index=False))


def write_watermark_csv(ds: xr.Dataset, marks: xr.Dataset, path: Path) -> None:
    """Write SampleID and one column a watermark SNP; the last row, ``p-value``, holds the per-SNP p."""
    genotype = marks["watermark_genotype"].values
    head = ",".join(["SampleID", *map(str, marks["watermark_id"].values)])
    rows = (
        f"{i},{','.join(map(str, g))}"
        for i, g in zip(ds["sample_id"].values, genotype.T.tolist(), strict=True)
    )
    last = ",".join(["p-value", *(decimal_p(x) for x in marks["watermark_log10_p"].values)])
    _write_text(path, "\n".join([head, *rows, last]) + "\n")


def decimal_p(log10_p: float) -> str:
    """Write a p-value from its decimal logarithm, also where it is below the smallest float."""
    if not np.isfinite(log10_p):
        return "NA"
    exponent = int(np.floor(log10_p))
    mantissa = f"{10 ** (log10_p - exponent):.6f}"
    if mantissa.startswith("10"):
        mantissa, exponent = "1.000000", exponent + 1
    return f"{mantissa}e{exponent:+03d}"


def write_kinship_csv(listed: pd.DataFrame, path: Path) -> None:
    """Write SampleID, AncestorID, Relatedness, Kinship_Coefficient of the listed pairs, sorted by ids."""
    table = pd.DataFrame(
        {
            "SampleID": listed["sample_id"],
            "AncestorID": listed["ancestor_id"],
            "Relatedness": listed["degree"] + "-degree",
            "Kinship_Coefficient": [f"{x:.6f}" if np.isfinite(x) else "NA" for x in listed["kinship"]],
        }
    ).sort_values(["SampleID", "AncestorID"])
    _write_text(path, table.to_csv(index=False))


def variants_table(ds: xr.Dataset, columns: NDArray[Any]) -> pd.DataFrame:
    """Return chromosome, position, id, ref, alt, counted_allele, column (name in the CSV files)."""
    allele = ds["variant_allele"].values
    return pd.DataFrame(
        {
            "chromosome": ds["contig_id"].values[ds["variant_contig"].values],
            "position": ds["variant_position"].values,
            "id": ds["variant_id"].values,
            "ref": allele[:, 0],
            "alt": allele[:, 1],
            "counted_allele": allele[:, 1],
            "column": columns,
        }
    )


def write_tsv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, floats to 10 digits, missing as NA."""
    write_atomic(path, table.to_csv(sep="\t", index=False, na_rep="NA", float_format="%.10g"))


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``manifest.json``: the facts, and size and SHA-256 of every file or store of the release."""
    entries = sorted(p for p in folder.iterdir() if p.name != "manifest.json")
    files = [q for p in entries for q in (sorted(p.iterdir()) if p.name == "truth" else [p])]
    checksums = {str(p.relative_to(folder)): {"bytes": size(p), "sha256": digest(p)} for p in files}
    write_json(folder / "manifest.json", facts | {"files": checksums})
