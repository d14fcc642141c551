"""Commands around principal components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from genoweave.aggregate import people
from genoweave.cli.options import Common, arguments, option
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN, OUT, autosomes, beside, open_labelled
from genoweave.cohorts import open_cohort, save
from genoweave.errors import DataError
from genoweave.io.release import write_tsv
from genoweave.io.scores import write_scores
from genoweave.methods.ancestry import Ancestry
from genoweave.methods.ancestry import ancestry as compare_labels
from genoweave.methods.pca import PCA, project
from genoweave.methods.pca import pca as fit


@arguments(
    COHORT, OUT,
    option("--project", "other", metavar="COHORT", help="project these too: PREFIX.projected.eigenvec"),
    flags=(PCA,),
)  # fmt: skip
def pca(cohort: str, out: Path, other: str | None, common: Common) -> None:
    """Principal components: PREFIX.eigenvec, PREFIX.eigenval, PREFIX.loadings.zarr."""
    params = common.parameters(PCA, "pca")
    ds = autosomes(open_cohort(cohort), common)
    with common.work("pca"):
        model = fit(ds, params)
        save(model, beside(out, ".loadings.zarr"))
        scores = np.asarray(model["sample_pca_projection"].values)
        unit = 1 / np.sqrt(
            np.einsum("ij,ij->j", scores, scores)
        )  # columns of unit length, as PLINK's .eigenvec
        write_scores(model["sample_id"].values, scores, beside(out, ".eigenvec"), unit)
        beside(out, ".eigenval").write_text("".join(f"{v:.10g}\n" for v in model["pca_eigenvalue"].values))
        if other is not None:
            more = autosomes(open_cohort(other), common)
            write_scores(
                more["sample_id"].values, project(more, model), beside(out, ".projected.eigenvec"), unit
            )
    common.say(f"wrote {out}.eigenvec, {out}.eigenval and {out}.loadings.zarr")


@arguments(COHORT, OUT, ANCESTRY, COLUMN, flags=(Ancestry,))
def ancestry(
    cohort: str, out: Path, ancestry: Path | None, ancestry_column: str | None, common: Common
) -> None:
    """Compare COHORT's ancestry labels with its components; per sample to OUT, the rest to the terminal."""
    params = common.parameters(Ancestry, "ancestry")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    if "sample_ancestry" not in ds:
        raise DataError(
            f"{cohort} has no ancestry labels; give a table of sample id and group with --ancestry"
        )
    with common.work("ancestry"):
        most = min(params.n_components, ds.sizes["samples"] - 1, ds.sizes["variants"])
        scores = fit(ds, PCA(n_components=most))["sample_pca_projection"].values
        report = compare_labels(ds["sample_ancestry"].values, np.asarray(scores), params)
    samples = {"sample_id": ds["sample_id"].values, "ancestry": ds["sample_ancestry"].values}
    write_tsv(pd.DataFrame(samples | {"predicted": report.predicted}), out)
    write_tsv(report.confusion, beside(out, ".confusion.tsv"))
    for row in report.groups.to_dict("records"):
        note = "" if row["usable"] else f"; fewer than {params.min_group}: too small to use"
        common.say(f"{row['group']}: {people(row['n'])} samples, {row['agreement']:.1%} as labelled{note}")
