"""Commands that filter samples and variants, and find relatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from genoweave.aggregate import cascade_lines
from genoweave.cli.options import Common, arguments
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN, OUT, autosomes, beside, open_labelled
from genoweave.cohorts import open_cohort, save
from genoweave.io.files import make_folder
from genoweave.io.release import write_tsv
from genoweave.methods.kinship import Kinship
from genoweave.methods.kinship import king as all_pairs
from genoweave.methods.qc import QC
from genoweave.methods.qc import qc as filter_cohort


@arguments(COHORT, OUT, ANCESTRY, COLUMN, flags=(QC,))
def qc(cohort: str, out: Path, ancestry: Path | None, ancestry_column: str | None, common: Common) -> None:
    """Filter COHORT in PLINK's order; the removals go to OUT.qc.tsv."""
    params = common.parameters(QC, "qc")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    with common.work("qc"):
        kept = filter_cohort(ds, params)
        steps = pd.DataFrame(json.loads(kept.attrs["qc_steps"]))
        write_tsv(steps, beside(out, ".qc.tsv"))
        save(kept, out)
    for line in cascade_lines(steps):
        common.say(line)


@arguments(COHORT, OUT, flags=(Kinship,))
def king(cohort: str, out: Path, common: Common) -> None:
    """KING-robust kinship of all pairs above a cut-off, in PLINK 2's columns; OUT.histogram.tsv has all."""
    params = common.parameters(Kinship, "kinship")
    ds = autosomes(open_cohort(cohort), common)
    with common.work("king"):
        result = all_pairs(ds, params)
    ids = ds["sample_id"].values
    families = ds["sample_family_id"].values if "sample_family_id" in ds else np.full(len(ids), "0", object)
    pairs = result.pairs
    a, b = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    table = {"#FID1": families[a], "IID1": ids[a], "FID2": families[b], "IID2": ids[b],
             "NSNP": pairs["n_snp"],
             "HETHET": pairs["het_het"] / pairs["n_snp"], "IBS0": pairs["ibs0"] / pairs["n_snp"],
             "KINSHIP": pairs["kinship"]}  # fmt: skip
    make_folder(out.parent)
    write_tsv(pd.DataFrame(table), out)
    write_tsv(result.histogram, beside(out, ".histogram.tsv"))
    common.say(
        f"{len(pairs)} pairs above {params.min_kinship:g} of {int(result.histogram['pairs'].sum())}; "
        f"wrote {out}"
    )
