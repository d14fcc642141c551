"""Genetic maps: centimorgans along chromosomes, in the formats of HapMap, PLINK, SHAPEIT and Eagle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from genoweave.errors import DataError
from genoweave.io.files import shown
from genoweave.io.tables.chromosomes import chromosome_number
from genoweave.io.tables.text import Layout, place, read_columns

_CONTIG = {"chromosome", "chr", "chrom", "contig"}
_POSITION = {"position", "pos", "bp", "positionbp", "physicalposition", "physicalpositionbp"}
_MAP = {"mapcm", "map", "cm", "geneticmapcm", "geneticmap", "geneticposition", "positioncm"}
_IN_NAME = re.compile(r"chr(?:omosome)?[_.]?([0-9]{1,2}|XY|X|Y|MT|M)(?![A-Za-z0-9])", re.IGNORECASE)
_LARGEST_POSITION = 2**31 - 1


def read_genetic_map(path: Path, contig: str | None = None) -> pd.DataFrame:
    """Read a genetic map.

    With a header: HapMap (Chromosome, Position(bp), Rate(cM/Mb), Map(cM)), Eagle (chr, position, rate,
    Genetic_Map(cM)), SHAPEIT (pos, rate, cM, or pos, chr, cM), in any order of columns. Without: PLINK's .map
    (chromosome, id, cM, position) and .bim (six columns), or three columns position, rate, cM. Text may be
    .gz or .zst. Rates are not used: the map itself is.

    Parameters
    ----------
    path
        The file.
    contig
        Chromosome of a map that does not say it; else taken from the name of the file (``chr22``).

    Returns
    -------
    DataFrame
        Columns contig (text, as in the file), position (int64, base pairs), cM (float64), one row per
        position; rows that PLINK leaves out (chromosome 0, negative position) are not there.

    Raises
    ------
    StoreError, DataError
        If it cannot be read; naming the line, if a number is none, positions of a chromosome do not ascend,
        or centimorgans fall.
    """
    table = read_columns(path, lambda first: _layout(path, first))
    if "contig" not in table:
        table["contig"] = contig or _contig_of_name(path)
    position = _numbers(path, table, "position", "a position in base pairs")
    cm = _numbers(path, table, "cM", "a genetic position in centimorgans")
    odd = np.flatnonzero((position != np.floor(position)) | (np.abs(position) > _LARGEST_POSITION))
    if len(odd):
        raise DataError(
            f"{place(path, table, odd[0])}: a position is a whole number from 0 to {_LARGEST_POSITION}, "
            f"found {shown(table['position'].iloc[odd[0]])}"
        )
    table = table[["contig"]].assign(position=position.astype(np.int64), cM=cm)
    table = table[(table["contig"] != "0") & (table["position"] >= 0)]
    if not table["cM"].any():
        raise DataError(f"{path} has no genetic positions: every one is 0 or without a chromosome")
    for _, part in table.groupby(table["contig"].map(chromosome_number), sort=False):
        _check_ascending(path, part)
    return table.drop_duplicates(["contig", "position"]).reset_index(drop=True)


def _layout(path: Path, first: list[str]) -> Layout:
    cells = ["".join(c for c in cell.casefold() if c.isalnum()) for cell in first]
    found = {
        name: k
        for name, known in (("contig", _CONTIG), ("position", _POSITION), ("cM", _MAP))
        for k, cell in reversed([*enumerate(cells)])
        if cell in known
    }
    if "position" in found and "cM" in found:
        return Layout(list(found), list(found.values()))
    headless = {3: (None, 0, 2), 4: (0, 3, 2), 6: (0, 3, 2)}.get(len(first))
    if headless is None or not _starts_with_data(first, headless):
        raise DataError(
            f"{path}, line 1: wanted a genetic map with columns of position and centimorgans (HapMap, PLINK "
            f".map or .bim, SHAPEIT or Eagle), found {len(first)} columns that are none of these"
        )
    at = {name: k for name, k in zip(("contig", "position", "cM"), headless, strict=True) if k is not None}
    return Layout(list(at), list(at.values()), has_header=False)


def _starts_with_data(first: list[str], headless: tuple[int | None, int, int]) -> bool:
    """Tell a first line without a header; a number that is wrong there is named when it is read."""
    _, position, cm = headless
    return any(re.match(r"[-+.]?[0-9]", first[k].strip()) for k in (position, cm))


def _contig_of_name(path: Path) -> str:
    found = _IN_NAME.search(path.name)
    if found is None:
        raise DataError(
            f"{path} does not say which chromosome it is of; give contig, or a name with chr and number"
        )
    return found[1]


def _numbers(path: Path, table: pd.DataFrame, name: str, what: str) -> NDArray[np.float64]:
    values = np.full(len(table), np.nan)
    for row, cell in enumerate(table[name]):
        with suppress(ValueError):
            values[row] = float(cell)
        if not np.isfinite(values[row]):
            raise DataError(f"{place(path, table, row)}: wanted {what}, found {shown(cell)}")
    return values


def _check_ascending(path: Path, part: pd.DataFrame) -> None:
    """Check one chromosome; a position may stand again with the same centimorgans (two variants there)."""
    step, climb = np.diff(part["position"]), np.diff(part["cM"])
    back = np.flatnonzero(step < 0)
    if len(back):
        raise DataError(
            f"{place(path, part, back[0] + 1)}: the position is below that of the line before on the same "
            "chromosome; sort the map"
        )
    falls = np.flatnonzero((climb < 0) | ((step == 0) & (climb != 0)))
    if len(falls):
        raise DataError(
            f"{place(path, part, falls[0] + 1)}: the genetic position is "
            f"{part['cM'].iloc[falls[0] + 1]:g} cM after {part['cM'].iloc[falls[0]]:g} cM; along a "
            "chromosome it rises with the position (0 is not a missing value)"
        )


def interpolate_map(
    genetic_map: pd.DataFrame, contig: str | Sequence[str] | NDArray[np.object_], position: ArrayLike
) -> NDArray[np.float64]:
    """Return centimorgans at positions: linear between the map's, at a flat rate beyond its ends.

    The flat rate is the chromosome's mean, (last - first cM) / (last - first position), so that a position
    before the first may be below 0 cM; a map of one position has rate 0 there. Chromosome names are compared
    without ``chr`` and with X, Y, XY, MT as 23, 24, 25, 26.

    Parameters
    ----------
    genetic_map
        Of `read_genetic_map`.
    contig
        Chromosome of all positions, or one per position.
    position
        Base pairs.

    Returns
    -------
    ndarray
        float64, as long as `position`.

    Raises
    ------
    DataError
        If a chromosome is not in the map.
    """
    where = np.atleast_1d(np.asarray(position, np.float64))
    names = np.full(len(where), contig, object) if isinstance(contig, str) else np.asarray(contig, object)
    codes, contigs = pd.factorize(np.array([str(name) for name in names], object))
    maps = _by_number(genetic_map)
    out = np.empty(len(where))
    for k, name in enumerate(contigs):
        if chromosome_number(name) not in maps:
            known = ", ".join(sorted(maps)[:30])[:300]
            raise DataError(f"the genetic map has no chromosome {name[:60]}; it has {known}")
        bp, cm = maps[chromosome_number(name)]
        out[codes == k] = _interpolate(bp, cm, where[codes == k])
    return out


def _by_number(genetic_map: pd.DataFrame) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    numbers = genetic_map["contig"].astype(str).map(chromosome_number)
    return {
        str(number): (part["position"].to_numpy(np.float64), part["cM"].to_numpy(np.float64))
        for number, part in genetic_map.groupby(numbers, sort=False)
    }


def _interpolate(
    bp: NDArray[np.float64], cm: NDArray[np.float64], where: NDArray[np.float64]
) -> NDArray[np.float64]:
    rate = (cm[-1] - cm[0]) / (bp[-1] - bp[0]) if bp[-1] > bp[0] else 0.0
    beyond = np.where(where < bp[0], where - bp[0], np.maximum(where - bp[-1], 0))
    return np.asarray(np.interp(where, bp, cm) + rate * beyond)


def add_genetic_positions(ds: xr.Dataset, genetic_map: pd.DataFrame) -> xr.Dataset:
    """Add ``variant_genetic_position``: centimorgans of each variant, NaN on chromosomes without a map.

    Raises
    ------
    DataError
        If no variant is on a chromosome of the map.
    """
    names = ds["contig_id"].values
    maps = _by_number(genetic_map)
    has_map = np.array([chromosome_number(str(name)) in maps for name in names], bool)
    contig = ds["variant_contig"].values
    known = has_map[contig]
    if not known.any():
        raise DataError(
            f"no variant is on a chromosome of the genetic map; it has {', '.join(sorted(maps)[:30])[:300]}, "
            f"the cohort {', '.join(sorted(map(str, names))[:30])[:300]}"
        )
    cm = np.full(len(contig), np.nan)
    position = ds["variant_position"].values
    cm[known] = interpolate_map(genetic_map, names[contig[known]], position[known])
    return ds.assign(variant_genetic_position=("variants", cm))
