"""What the command line does on top of the methods, as public calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.config import load
from genoweave.errors import DataError, StoreError
from genoweave.io.gwas_results import read_results
from genoweave.methods import watermark as _watermark
from genoweave.methods.evaluation import Evaluation, compare_frequencies, embed, group_fidelity
from genoweave.methods.pca import PCA, pca
from genoweave.methods.relatives import Pedigree, Relatives, make_pedigree
from genoweave.methods.relatives import relatives as _descend
from genoweave.methods.synthesis.channel import mechanism
from genoweave.methods.watermark.hiding import watermark_cohort
from genoweave.methods.watermark.key import Key
from genoweave.methods.watermark.verification import Precision, Verdict
from genoweave.methods.watermark.verification import verify as compare_with
from genoweave.pipeline.run import run
from genoweave.rng import Root

__all__ = [
    "evaluate",
    "read_key",
    "relatives",
    "release",
    "verify",
    "watermark",
    "watermark_cohort",
]

_LARGEST_KEY = 2**30


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


def verify(
    key: Key | str | Path,
    results: str | Path | Sequence[str | Path],
    *,
    trait: str | None = None,
    program: str = "auto",
    precision: Precision = "auto",
) -> Verdict:
    """Tell from a server's results whether it did the association that it was asked for.

    Parameters
    ----------
    key
        The secret key that came with the watermarked cohort, or its file.
    results
        Table of PLINK 2, REGENIE, GEMMA, SAIGE or genoweave, or several (a file per chromosome).
    trait
        Of results with several traits, which one; the key's by default.
    program
        Whose results: plink2, regenie, gemma or saige; by the header if ``"auto"``.
    precision
        See `genoweave.methods.watermark.verification.verify`.

    Returns
    -------
    Verdict
        ``is_honest``, ``diagnosis``, ``statement`` and ``evidence``; ``watermarks``, a row each of what was
        expected and returned.

    Raises
    ------
    StoreError, DataError
        If a file cannot be read, is no key or no results, or has none of the watermarks.
    """
    secret = key if isinstance(key, Key) else read_key(Path(key))
    returned = read_results(results, secret.watermarks, program=program, trait=trait or secret.trait)
    return compare_with(secret, returned.rows, program=returned.program, precision=precision)


def read_key(path: Path) -> Key:
    """Read a watermark key file.

    Raises
    ------
    StoreError, DataError
        If it cannot be read, or is no key.
    """
    if not path.is_file():
        raise StoreError(f"there is no watermark key {path}; check the path")
    if path.stat().st_size > _LARGEST_KEY:
        raise DataError(f"{path} is no watermark key: it is larger than 1 GiB; check the path")
    try:
        return Key.from_json(path.read_text("utf-8"))
    except UnicodeDecodeError:
        raise DataError(f"{path} is no watermark key: it is not text; check the path") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror or error}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


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
