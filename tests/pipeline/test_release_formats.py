"""Releases in every format hold one cohort."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

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


@pytest.mark.parametrize(("ending", "codec"), [("csv.gz", "gzip"), ("csv.zst", "zstd")])
def test_release__the_five_files_compressed_hold_the_same(
    cohort: Cohort, finished: Path, copied: Path, ending: str, codec: str
) -> None:
    settings = values(cohort)
    settings["release"] |= {"formats": ["csv"], "csv": ending}
    folder = run(settings, copied, quiet=True) / "release"
    plain = sorted((finished / "release").glob("*.csv"))
    assert len(plain) == 5
    assert not list(folder.glob("*.csv"))
    for file in plain:
        packed = folder / file.name.replace(".csv", f".{ending}")
        with pa.input_stream(str(packed), compression=codec) as data:
            found = pd.read_csv(data, dtype=str, keep_default_na=False)
        assert found.equals(pd.read_csv(file, dtype=str, keep_default_na=False)), file.name
        assert f"`{packed.name}`" in (folder / "README.md").read_text()
