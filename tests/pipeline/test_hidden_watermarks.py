"""[watermark] kind = "qc-proof": hidden in the release, their key private."""

import json
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genoweave
from genoweave.errors import ConfigError
from genoweave.methods.gwas import GWAS, Trait, gwas
from genoweave.methods.watermark import Key
from genoweave.methods.watermark.distinguish import rows_of
from genoweave.pipeline.run import run
from tests.small_cohort import Cohort, off, values

N = 6


def settings_of(cohort: Cohort, *left_out: str) -> dict:
    settings = values(cohort, **off(*left_out))
    settings["watermark"] = {"kind": "qc-proof", "n": N, "z_min": 2, "z_max": 3}
    return settings


def test_release__has_them_among_its_snps_and_says_nothing_of_them(cohort: Cohort, copied: Path) -> None:
    folder = run(settings_of(cohort, "relatives", "kinship"), copied, quiet=True)
    key_file = folder / "private/watermark_key.json"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = Key.from_json(key_file.read_text())
    release = folder / "release"
    (store,) = release.glob("*.vcz")
    ds = genoweave.open(store)
    assert ds.sizes["variants"] == key.n_variants + N
    rows = rows_of(ds, key)
    status = pd.read_csv(release / "truth/phenotype.tsv", sep="\t")["case"].to_numpy(float)
    (found,) = gwas(ds, [Trait("case", status, True)], None, GWAS(test="wald"))
    np.testing.assert_array_equal(found.fits.statistic[rows], key.expected["hybrid"]["statistic"])
    (table,) = release.glob("*_snp.csv")
    assert len(pd.read_csv(table, nrows=1).columns) == 2 + key.n_variants + N
    causal = pd.read_csv(release / "truth/causal_variants.tsv", sep="\t")["column"]
    assert not set(causal) & set(key.watermarks["id"])
    names = {p.name for p in release.rglob("*")}
    assert not any("watermark" in name for name in names)
    assert "watermark" not in json.loads((release / "manifest.json").read_text())["parameters"]
    secret = f"{key.expected['hybrid']['beta'][0]:.6f}".encode()
    for path in (p for p in release.rglob("*") if p.is_file()):
        assert secret not in path.read_bytes(), path.name
    assert not (folder / "evaluation/watermark.parquet").exists()
    run(values(cohort), copied, quiet=True)
    assert not key_file.exists()


def test_relatives__would_tell_and_are_refused(cohort: Cohort, copied: Path) -> None:
    with pytest.raises(ConfigError, match="relatives"):
        run(settings_of(cohort), copied, quiet=True)
