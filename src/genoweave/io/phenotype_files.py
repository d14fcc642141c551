"""Phenotypes, covariates and truth tables as other programs read them."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import ConfigError, DataError
from genoweave.io.files import make_folder, write_atomic
from genoweave.io.plink import check_phenotype, number_text
from genoweave.io.tables.ids import family_ids, within_family
from genoweave.io.tables.phenotypes import MISSING_CODE

STYLES = ("plink2", "plink1", "regenie")
_PHENOTYPES = ("sample_case", "sample_phenotype", "sample_liability")
_COMPONENTS = "sample_pca_projection"
Columns = Sequence[str] | Mapping[str, str]


def write_phenotypes(
    ds: xr.Dataset, path: Path, style: str = "plink2", columns: Columns | None = None
) -> None:
    """Write phenotypes for PLINK 2, PLINK 1 or REGENIE: TSV, ids exact, missing as NA.

    A status (``sample_case``, a variable whose name begins so, or one of booleans) is 1 control, 2 case for
    PLINK and 0 control, 1 case for REGENIE. Numbers keep all their digits.

    Parameters
    ----------
    ds
        Variables of dimension ``samples``, and ``sample_id``. Families (``sample_family_id``) are written
        where they are known, as `write_plink` writes them, so that both files have the same ids.
    path
        The file.
    style
        ``"plink2"`` (#FID IID, or #IID where no family is known), ``"plink1"`` or ``"regenie"`` (FID IID).
    columns
        Variables to write, their names without ``sample_``; or a mapping from names in the file to
        variables. ``sample_pca_projection`` becomes PC1, PC2, ... By default status, phenotype and
        liability, those that `ds` has.

    Raises
    ------
    ConfigError
        If the style is not known, or `columns` names what is no variable of samples.
    DataError
        If a value is infinite, an id or category holds white space, a phenotype of text is to be written
        for PLINK 1 or REGENIE, or PLINK would take a phenotype for missing (-9, or 0 among 0, 1 and 2).
    StoreError
        If the file cannot be written.
    """
    chosen = [name for name in _PHENOTYPES if name in ds] if columns is None else columns
    _write(ds, path, style, chosen, text_for=("plink2",), is_phenotype=True)


def write_covariates(
    ds: xr.Dataset, path: Path, style: str = "plink2", columns: Columns | None = None
) -> None:
    """Write covariates, as `write_phenotypes`; by default the principal components, PC1 to PCk.

    Categories may be written for REGENIE too (``--catCovarList``). ``sample_sex`` is 1 or 2, NA unknown. A
    covariate may be 0 and 1; it is written so in each style, also booleans.
    """
    chosen = [_COMPONENTS] if columns is None else columns
    _write(ds, path, style, chosen, text_for=("plink2", "regenie"), is_phenotype=False)


def write_tables(ds: xr.Dataset, prefix: Path, style: str = "plink2") -> list[Path]:
    """Write PREFIX.pheno and PREFIX.covar with all phenotypes and covariates that a cohort has.

    Those are ``sample_case``, ``sample_phenotype`` and the columns of ``sample_trait``; the columns of
    ``sample_covariate``. A file without a column is not written.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ConfigError, DataError, StoreError
        As `write_phenotypes`.
    """
    columns = {name.removeprefix("sample_"): name for name in _PHENOTYPES[:2] if name in ds}
    ds, traits = _columns_of(ds, "trait")
    written = []
    if columns | traits:
        written.append(Path(f"{prefix}.pheno"))
        write_phenotypes(ds, written[-1], style, columns | traits)
    ds, covariates = _columns_of(ds, "covariate")
    if covariates:
        written.append(Path(f"{prefix}.covar"))
        write_covariates(ds, written[-1], style, covariates)
    return written


def _columns_of(ds: xr.Dataset, kind: str) -> tuple[xr.Dataset, dict[str, str]]:
    """Give each column of a matrix of samples a variable; return them by their names in a file."""
    if f"sample_{kind}" not in ds:
        return ds, {}
    values = np.asarray(ds[f"sample_{kind}"].values)
    names = [str(name) for name in ds[f"{kind}_id"].values]
    single = {f"{kind}_{k}": ("samples", values[:, k]) for k in range(len(names))}
    return ds.assign(single), {name: f"{kind}_{k}" for k, name in enumerate(names)}


def write_truth(table: pd.DataFrame, path: Path) -> None:
    """Write a truth table by its suffix: .tsv, .tsv.gz or .parquet.

    Numbers keep all their digits, missing is NA in text; ids are exact. The same table gives the same bytes.

    Raises
    ------
    ConfigError
        If the suffix is another.
    StoreError
        If the file cannot be written.
    """
    if path.name.endswith(".parquet"):
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        data = buffer.getvalue()
    elif path.name.endswith((".tsv", ".tsv.gz")):
        data = table.to_csv(sep="\t", index=False, na_rep="NA", lineterminator="\n").encode()
        if path.suffix == ".gz":
            data = gzip.compress(data, mtime=0)
    else:
        raise ConfigError(f"a truth table is written as .tsv, .tsv.gz or .parquet, found {path.name}")
    make_folder(path.parent)
    write_atomic(path, data)


def write_samples(ds: xr.Dataset, path: Path, style: str = "plink2") -> None:
    """Write the ids of the samples as a list for ``--keep``: with a header for PLINK 2, else FID and IID.

    Raises
    ------
    ConfigError
        If the style is not known.
    DataError
        If an id is empty or holds white space.
    StoreError
        If the file cannot be written.
    """
    _check_style(style)
    ids = _ids(ds, style)
    lines = ["\t".join(ids)] if style == "plink2" else []
    lines += map("\t".join, zip(*ids.values(), strict=True))
    make_folder(path.parent)
    write_atomic(path, "\n".join(lines) + "\n")


def _check_style(style: str) -> None:
    if style not in STYLES:
        raise ConfigError(
            f"there is no style {style!r} of phenotype files; choose one of: {', '.join(STYLES)}"
        )


def _write(
    ds: xr.Dataset, path: Path, style: str, columns: Columns, *, text_for: Sequence[str], is_phenotype: bool
) -> None:
    _check_style(style)
    cells: dict[str, list[str]] = {}
    for name, variable in _expand(ds, columns):
        if name in cells or name in ("FID", "IID", "SID") or not _is_word(name):
            raise ConfigError(
                f"{name!r} cannot be the name of a column (it stands twice, is FID, IID or SID, or holds "
                "white space); give columns as a mapping from names to variables"
            )
        if variable.dtype.kind in "OUS" and style not in text_for:
            raise DataError(f"{name} is text, which is no phenotype or covariate for {style}; write numbers")
        cells[name] = _cells(variable, name, style, is_phenotype=is_phenotype)
    if not cells:
        raise ConfigError(f"there is nothing to write to {path}; name columns that the dataset has")
    table = _ids(ds, style) | cells
    lines = map("\t".join, zip(*table.values(), strict=True))
    make_folder(path.parent)
    write_atomic(path, "\n".join(["\t".join(table), *lines]) + "\n")


def _expand(ds: xr.Dataset, columns: Columns) -> list[tuple[str, xr.DataArray]]:
    """Return name in the file and variable of each column."""
    pairs = columns.items() if isinstance(columns, Mapping) else ((None, name) for name in columns)
    found = []
    for name, variable in pairs:
        if variable not in ds or ds[variable].dims[:1] != ("samples",):
            raise ConfigError(f"the dataset has no variable {variable!r} of dimension samples")
        if variable == _COMPONENTS:
            values = ds[variable]
            found += [(f"{name or 'PC'}{k + 1}", values[:, k]) for k in range(values.shape[1])]
        elif ds[variable].ndim > 1:
            raise ConfigError(f"{variable!r} has dimensions {ds[variable].dims}; wanted samples alone")
        else:
            found.append((name or variable.removeprefix("sample_"), ds[variable]))
    return found


def _ids(ds: xr.Dataset, style: str) -> dict[str, list[str]]:
    families = family_ids(ds)
    ids = within_family(ds, ds["sample_id"].values)
    for name, values in (("sample_id", ids), ("sample_family_id", families)):
        bad = [n for n, value in enumerate(values, start=1) if not _is_word(value)]
        if bad:
            raise DataError(
                f"{name}, row {bad[0]}: {len(bad)} ids are empty or hold white space, which {style} cannot "
                "read; rename them"
            )
    if style == "plink2" and (families == "0").all():
        return {"#IID": list(ids)}
    return {"#FID" if style == "plink2" else "FID": list(families), "IID": list(ids)}


def _is_word(text: str) -> bool:
    return len(text.split()) == 1 and text == text.strip()


def _cells(variable: xr.DataArray, name: str, style: str, *, is_phenotype: bool) -> list[str]:
    values = variable.values
    if values.dtype.kind in "OUS":
        return _categories(values, name)
    is_status = str(variable.name).startswith("sample_case")
    if is_phenotype and (is_status or values.dtype.kind == "b"):
        return _status(values, offset=0 if style == "regenie" else 1)
    numbers: NDArray[np.float64] = values.astype(np.float64)
    if is_status:
        numbers = np.where(numbers < 0, np.nan, numbers)
    if variable.name == "sample_sex":
        numbers = np.where(numbers == 0, np.nan, numbers)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise DataError(f"{name} is infinite at sample number {infinite[0] + 1}; make it NaN")
    if style != "regenie" and is_phenotype and variable.name != "sample_sex":
        check_phenotype(numbers, name)
    elif style != "regenie" and (numbers == MISSING_CODE).any():
        row = int(np.flatnonzero(numbers == MISSING_CODE)[0]) + 1
        raise DataError(f"{name} is -9 at sample number {row}, which PLINK takes for missing; make it NaN")
    return [number_text(x, "NA") for x in numbers]


def _status(values: NDArray[Any], offset: int) -> list[str]:
    return [str(int(x) + offset) if x in (0, 1) else "NA" for x in values]


def _categories(values: NDArray[Any], name: str) -> list[str]:
    cells = ["" if value is None or value != value else str(value) for value in values]  # NaN is not itself
    bad = [n for n, cell in enumerate(cells, start=1) if cell and not _is_category(cell)]
    if bad:
        raise DataError(
            f"{name} holds white space or begins with a digit or sign at sample number {bad[0]} ({len(bad)} "
            "in all), which PLINK and REGENIE do not read as a category; rename these"
        )
    return [cell or "NA" for cell in cells]


def _is_category(text: str) -> bool:
    return _is_word(text) and text[0] not in "0123456789+-."
