"""Linear regression as PLINK 2's --glm on the same files."""

import helpers
import numpy as np
import pandas as pd
import pytest

from genoweave.io.plink import open_plink
from genoweave.methods.linear import CODES, linear


def as_printed(value, printed):
    """Whether `value` is what was printed with six digits, to one in the last (values near zero cancel)."""
    size = np.floor(np.log10(np.maximum(np.abs(printed), 1e-300)))
    return np.abs(value - printed) <= 10 ** (size - 5)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A fileset with degenerate variants, two traits with their own missing values, three covariates."""
    folder = tmp_path_factory.mktemp("linear")
    rng = np.random.default_rng(11)
    n = 600
    frequency = np.r_[rng.uniform(0.02, 0.98, 300), np.zeros(4)]
    dosage = helpers.hardy_weinberg(frequency, n, rng)
    dosage[:100] = helpers.with_missing(dosage[:100], 0.03, rng)
    dosage[100:200] = helpers.with_missing(dosage[100:200], 0.4, rng)
    dosage[301] = 2
    dosage[302] = np.where(np.arange(n) < 6, rng.integers(0, 3, n), -1)
    covariates = rng.normal(size=(n, 3)) * [1, 3, 0.5] + [0, 10, 0]
    dosage[303] = rng.integers(0, 3, n)
    covariates[:, 0] += 12 * dosage[303]
    traits = rng.normal(size=(n, 2)) + 0.3 * dosage[:1].T + covariates[:, :1]
    traits = np.round(traits, 6)
    covariates = np.round(covariates, 6)
    traits[rng.random(n) < 0.1, 1] = np.nan
    covariates[rng.random(n) < 0.05, 2] = np.nan
    ds = helpers.cohort(dosage)
    helpers.write_bed(ds, folder / "x")
    for name, table in (("y", traits), ("c", covariates)):
        frame = pd.DataFrame(table, columns=[f"{name}{k}" for k in range(table.shape[1])])
        frame.insert(0, "#IID", ds["sample_id"].values)
        frame.to_csv(folder / f"{name}.tsv", sep="\t", index=False, na_rep="NA")
    return folder, traits, covariates


@pytest.mark.oracle
@pytest.mark.parametrize("trait", [0, 1])
def test_linear__equals_plink2_to_the_printed_digits(work, plink2, trait):
    folder, traits, covariates = work
    out = plink2(
        "--bfile", folder / "x", "--pheno", folder / "y.tsv", "--covar", folder / "c.tsv",
        "--glm", "hide-covar", "omit-ref", "cols=+a1freq", out=folder / "theirs",
    )  # fmt: skip
    theirs = pd.read_csv(helpers.suffixed(out, f".y{trait}.glm.linear"), sep="\t")
    fits = linear(open_plink(folder / "x"), traits, covariates).isel(traits=trait)
    code = np.array(CODES)[fits["variant_fit_code"].values]
    refused = theirs["ERRCODE"].to_numpy() != "."
    assert (refused == (code != "ok")).all()
    assert refused.sum() == 4
    assert (theirs["OBS_CT"] == fits["variant_n_called"].values).all()
    ok = ~refused
    for column, name in (("A1_FREQ", "counted_frequency"), ("BETA", "beta"), ("SE", "se"), ("T_STAT", "t")):
        found, printed = fits[f"variant_{name}"].values[ok], theirs[column].to_numpy()[ok]
        assert as_printed(found, printed).all(), column
    # six digits of p are 2e-6 in its logarithm
    log10_p = np.log10(theirs["P"].to_numpy()[ok])
    np.testing.assert_allclose(fits["variant_log10_p"].values[ok], log10_p, atol=4e-6)
