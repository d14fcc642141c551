"""What the command line does with files, as public calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.config import load
from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.io import release as files
from genoweave.io import store
from genoweave.io.cohort import open_cohort
from genoweave.io.files import make_folder
from genoweave.io.plink import write_plink
from genoweave.io.tables import add_ancestry, read_ancestry
from genoweave.methods import watermark as _watermark
from genoweave.methods.evaluation import Evaluation, compare_frequencies, embed, group_fidelity
from genoweave.methods.pca import PCA, pca
from genoweave.methods.relatives import Pedigree, Relatives, make_pedigree
from genoweave.methods.relatives import relatives as _descend
from genoweave.methods.synthesis.channel import mechanism
from genoweave.pipeline.run import run
from genoweave.rng import Root

__all__ = [
    "evaluate",
    "export",
    "import_cohort",
    "open_cohort",
    "relatives",
    "release",
    "save",
    "watermark",
]

_CHUNKS = (1024, 4096)
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
        store.write(ds, path, store.STANDARD_CHUNKS)
    elif to == "plink":
        write_plink(ds, path.with_suffix("") if path.suffix == ".bed" else path)
    elif to == "csv":
        make_folder(path.parent)
        columns = files.variant_columns(ds)
        files.write_genotype_csv(ds, path, columns, "", with_ancestry="sample_ancestry" in ds)
    else:
        raise ConfigError(f"there is no format {to!r} to export to; choose one of: {', '.join(FORMATS)}")


def watermark(
    ds: xr.Dataset,
    case: Any,
    params: _watermark.Watermark | None = None,
    *,
    key: Root | None = None,
) -> tuple[xr.Dataset, pd.DataFrame]:
    """Make watermark SNPs for a cohort's trait, and test them.

    Parameters
    ----------
    ds
        The cohort; its variant ids are not used again.
    case
        1 case, 0 control (samples,).
    params, key
        Shape of the watermarks; private root of who is drawn (from the operating system if None).

    Returns
    -------
    marks : xarray.Dataset
        See `genoweave.methods.watermark.watermark`.
    tests : pandas.DataFrame
        id and case with the columns of `watermark_tests`.
    """
    case = np.asarray(case, np.int8)
    ids = ds["variant_id"].values
    marks = _watermark.watermark(case, params or _watermark.Watermark(), key or Root.from_system(), ids)
    tests, reason = _watermark.watermark_tests(marks["watermark_genotype"].values, case)
    tests.insert(0, "id", marks["watermark_id"].values)
    tests.insert(1, "case", marks["watermark_case"].values)
    tests.attrs["joint_fit"] = reason
    return marks, tests


def relatives(
    ds: xr.Dataset, params: Relatives | None = None, *, key: Root | None = None, source: Any = None
) -> tuple[xr.Dataset, Pedigree]:
    """Make descendants of founders that are drawn from a cohort.

    Parameters
    ----------
    ds
        A cohort with ``sample_ancestry``.
    params, key
        Size of the trees; private root of the founders' choice (from the operating system if None).
    source
        int (samples,): equal for samples that are copies of one person; all different by default.

    Returns
    -------
    descendants : xarray.Dataset
        Lazy cohort.
    pedigree : Pedigree
        Its ``table`` names parents, generation and sex of everybody.
    """
    params = params or Relatives()
    own = np.arange(ds.sizes["samples"]) if source is None else np.asarray(source, np.int64)
    group = ds["sample_ancestry"].values if "sample_ancestry" in ds else np.full(len(own), "all", object)
    pedigree = make_pedigree(ds["sample_id"].values, group, own, params, key or Root.from_system())
    return _descend(ds, pedigree, params), pedigree


def evaluate(
    real: xr.Dataset,
    synthetic: xr.Dataset,
    params: Evaluation | None = None,
    *,
    model: xr.Dataset | None = None,
    mechanism_name: str = "syngen6",
    epsilon: float = 6.0,
) -> dict[str, pd.DataFrame]:
    """Compare a synthetic cohort with the real one.

    Parameters
    ----------
    real, synthetic
        Cohorts over the same variants, both with ``sample_ancestry``.
    params
        Settings of the embedding.
    model
        The real cohort's `pca`; computed if None.
    mechanism_name, epsilon
        The channel that the expectation is made of.

    Returns
    -------
    dict
        ``"maf"``, ``"groups"`` and ``"embedding"`` as DataFrames.
    """
    for which, ds in (("real", real), ("synthetic", synthetic)):
        if "sample_ancestry" not in ds:
            raise DataError(
                f"the {which} cohort has no ancestry labels (sample_ancestry); add them to compare groups"
            )
    params = params or Evaluation()
    if model is None:
        most = min(params.tsne_components, real.sizes["samples"] - 1, real.sizes["variants"])
        model = pca(real, PCA(n_components=max(1, most), ld_prune=False))
    maf = compare_frequencies(real, synthetic, mechanism(mechanism_name, epsilon))
    return {
        "maf": maf,
        "groups": group_fidelity(maf),
        "embedding": embed(real, synthetic, model, params),
    }


def release(folder: str | Path) -> Path:
    """Write the release of a run folder, and whatever of the run is missing for it.

    Returns
    -------
    pathlib.Path
        The release folder.
    """
    folder = Path(folder)
    if not (folder / "config.toml").is_file():
        raise StoreError(
            f"{folder} is not a run folder (no config.toml); give the folder that genoweave run wrote"
        )
    return run(load(folder / "config.toml"), folder) / "release"
