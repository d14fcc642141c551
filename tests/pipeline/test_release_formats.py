"""Releases in every format hold one cohort."""

from pathlib import Path

import pandas as pd

import genoweave
from genoweave.io.consistency import contents
from genoweave.pipeline.run import run
from tests.small_cohort import Cohort, values

FORMATS = ["plink", "pgen", "vcf", "bcf", "bgen", "vcz"]


def test_release__every_format_holds_the_same(cohort: Cohort, copied: Path) -> None:
    settings = values(cohort)
    settings["release"] = settings.get("release", {}) | {"formats": FORMATS, "name": "all"}
    folder = run(settings, copied, quiet=True) / "release"
    wanted = contents(genoweave.open(folder / "all.vcz"))
    for name in ("all.bed", "all.pgen", "all.vcf.gz", "all.bcf", "all.bgen"):
        assert contents(genoweave.open(folder / name)) == wanted, name
    assert not list(folder.glob("*.csv"))
    table = pd.read_csv(folder / "truth/phenotype.tsv", sep="\t", dtype={"SampleID": str})
    status = table.set_index("SampleID")["case"]
    plink = genoweave.read_phenotypes(folder / "all.pheno")["case"]
    regenie = genoweave.read_phenotypes(folder / "all.regenie.pheno")["case"]
    assert (plink == status[plink.index] + 1).all()
    assert (regenie == status[regenie.index]).all()
    truth = pd.read_parquet(folder / "truth/causal_variants.parquet")
    pd.testing.assert_frame_equal(
        truth, pd.read_csv(folder / "truth/causal_variants.tsv", sep="\t"), check_dtype=False, rtol=1e-9
    )
