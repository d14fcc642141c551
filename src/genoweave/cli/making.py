"""Commands that make synthetic samples, traits, watermarks and relatives, and judge them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from genoweave import api
from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cli.shared import ANCESTRY, COHORT, COLUMN, KEY, OUT, beside, key_of, open_labelled
from genoweave.cohorts import open_cohort, save
from genoweave.io.files import make_folder
from genoweave.io.release import write_tsv
from genoweave.methods.evaluation import Evaluation
from genoweave.methods.relatives import Relatives, related_pairs
from genoweave.methods.synthesis import Synthesis
from genoweave.methods.synthesis import synthesize as make_synthetic


@arguments(COHORT, OUT, ANCESTRY, COLUMN, KEY, flags=(Synthesis,))
def synthesize(
    cohort: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Make synthetic samples of every ancestry group of COHORT (after quality control)."""
    params = common.parameters(Synthesis, "synthesis")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    with common.work("synthesize"):
        made = make_synthetic(ds, params, key=key_of(noise_key))
        save(made, out)
    common.say(f"wrote {made.sizes['samples']} synthetic samples to {out}; privacy guarantee: none")


@arguments(COHORT, OUT, ANCESTRY, COLUMN, KEY, flags=(Relatives,))
def relatives(
    cohort: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Make relatives of founders in COHORT: OUT, OUT.pedigree.tsv and OUT.related_pairs.tsv."""
    params = common.parameters(Relatives, "relatives")
    ds = open_labelled(cohort, ancestry, ancestry_column)
    with common.work("relatives"):
        made, pedigree = api.relatives(ds, params, key=key_of(noise_key))
        save(made, out)
    table = pedigree.table
    ids = np.append(table["sample_id"].to_numpy(), "0")
    people_table = {"sample_id": ids[:-1], "father_id": ids[table["father"]],
                    "mother_id": ids[table["mother"]], "sex": table["sex"],
                    "generation": table["generation"], "group": table["group"]}  # fmt: skip
    write_tsv(pd.DataFrame(people_table), beside(out, ".pedigree.tsv"))
    pairs = related_pairs(pedigree)
    named = {
        "IID1": ids[pairs["first"]],
        "IID2": ids[pairs["second"]],
        "degree": pairs["degree"],
        "kinship": pairs["kinship"],
    }
    write_tsv(pd.DataFrame(named), beside(out, ".related_pairs.tsv"))
    common.say(f"wrote {made.sizes['samples']} relatives to {out}")


@arguments(
    argument("real", metavar="REAL"), argument("synthetic", metavar="SYNTHETIC"), OUT, ANCESTRY, COLUMN,
    option("--epsilon", type=float, default=6.0, show_default=True, help="epsilon of the synthetic cohort"),
    flags=(Evaluation,),
)  # fmt: skip
def evaluate(
    real: str,
    synthetic: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    epsilon: float,
    common: Common,
) -> None:
    """Compare SYNTHETIC with REAL, group by group; tables go to the folder OUT."""
    params = common.parameters(Evaluation, "evaluation")
    ds = open_labelled(real, ancestry, ancestry_column)
    with common.work("evaluate"):
        tables = api.evaluate(ds, open_cohort(synthetic), params, epsilon=epsilon)
    make_folder(out)
    for name, table in tables.items():
        write_tsv(table, out / f"{name}.tsv")
    for row in tables["groups"].to_dict("records"):
        common.say(
            f"{row['group']}: MAF RMSE {row['maf_rmse']:.4f}, r2 {row['maf_r2']:.4f}, largest |z| "
            f"{row['max_abs_z']:.2f}"
        )
