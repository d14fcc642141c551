"""Watermarks of the kind qc-proof in a run: hidden in the released cohort, their key private."""

from __future__ import annotations

import numpy as np
import xarray as xr

from genoweave.execution import checkpoint_to
from genoweave.genotypes import read_rows, source_of
from genoweave.io.files import remove, write_atomic
from genoweave.kernels.packed import pack_dosages, unpack_dosages, width
from genoweave.methods.gwas import Trait
from genoweave.methods.watermark import watermark_cohort
from genoweave.methods.watermark.distinguish import rows_of
from genoweave.methods.watermark.interleaved import Rows, interleave
from genoweave.pipeline.context import Context

KEY_OF_WATERMARKS = "private/watermark_key.json"


def is_hidden(run: Context) -> bool:
    """Whether the run's watermarks are hidden in its cohort."""
    return run.config.watermark.enabled and run.config.watermark.kind == "qc-proof"


def hide(run: Context, ds: xr.Dataset, case: np.ndarray) -> xr.Dataset:
    """Make watermarks in the synthetic cohort, write their key (mode 600), and return them as a dataset.

    A run has no relatives then: their genotypes have no watermarks, and so would tell which SNPs are.
    """
    trait = Trait("PhenotypeCondition", case.astype(np.float64), is_binary=True)
    # the same folds run many times, on other variants: what one has done is nothing for the next
    with checkpoint_to(None):
        sent, key = watermark_cohort(ds, trait, None, run.config.watermark, run.key)
    path = run.path(KEY_OF_WATERMARKS)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(path, key.to_json(), mode=0o600)
    rows = np.sort(rows_of(sent, key))
    n = sent.sizes["samples"]
    marks = {
        "watermark_genotype": (
            ("watermarks", "samples"), unpack_dosages(read_rows(source_of(sent), rows, 0, n), n)
        ),
        "watermark_left": ("watermarks", rows - 1 - np.arange(len(rows))),
        "watermark_allele": (("watermarks", "alleles"), sent["variant_allele"].values[rows]),
    }  # fmt: skip
    for name in ("id", "contig", "position", "genetic_position"):
        if f"variant_{name}" in sent:
            marks[f"watermark_{name}"] = ("watermarks", sent[f"variant_{name}"].values[rows])
    return xr.Dataset(marks)


def forget_key(run: Context) -> None:
    """Remove the key of earlier watermarks."""
    remove(run.path(KEY_OF_WATERMARKS))


def with_watermarks(ds: xr.Dataset, marks: xr.Dataset) -> xr.Dataset:
    """Return the synthetic cohort with the watermarks at their places."""
    dosage = marks["watermark_genotype"].values
    packed = np.empty((len(dosage), width(dosage.shape[1])), np.uint8)
    pack_dosages(np.ascontiguousarray(dosage, np.int8), packed)
    n = len(dosage)
    has_map = "watermark_genetic_position" in marks
    rows = Rows(
        left=marks["watermark_left"].values,
        packed=packed,
        on_second=None,
        contig=marks["watermark_contig"].values,
        position=marks["watermark_position"].values,
        id=marks["watermark_id"].values,
        allele=marks["watermark_allele"].values,
        genetic_position=marks["watermark_genetic_position"].values if has_map else np.full(n, np.nan),
    )
    return interleave(ds, rows)


def own_variants(marks: xr.Dataset, n: int) -> np.ndarray:
    """Return which of `n` variants of the released cohort are not watermarks."""
    own = np.ones(n, bool)
    left = marks["watermark_left"].values
    own[left + 1 + np.arange(len(left))] = False
    return own
