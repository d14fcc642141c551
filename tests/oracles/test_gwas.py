"""Association as PLINK 2's --glm on the same files, and GENESIS's order of hits on real genotypes."""

from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr

from genoweave.genotypes import select
from genoweave.io.plink import open_plink
from genoweave.methods.gwas import CODES, GWAS, METHODS, Fits, Trait, gwas


def as_printed(value, printed):
    """Whether `value` is what was printed with six digits, to three in the last."""
    size = np.floor(np.log10(np.maximum(np.abs(printed), 1e-300)))
    return np.abs(value - printed) <= 3 * 10 ** (size - 5)


def write_tables(folder: Path, ids, traits: dict, covariates: np.ndarray) -> None:
    pd.DataFrame({"#IID": ids} | traits).to_csv(folder / "y.tsv", sep="\t", index=False, na_rep="NA")
    names = {f"c{k}": covariates[:, k] for k in range(covariates.shape[1])}
    pd.DataFrame({"#IID": ids} | names).to_csv(folder / "c.tsv", sep="\t", index=False, na_rep="NA")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Autosomal variants, some rare, some with missing calls, and X; a common and a rare disease."""
    folder = tmp_path_factory.mktemp("gwas")
    rng = np.random.default_rng(4)
    n, m = 900, 260
    frequency = np.r_[rng.uniform(0.05, 0.95, 150), rng.uniform(0.002, 0.01, 48), 0.0, 0.0, np.full(60, 0.3)]
    dosage = helpers.hardy_weinberg(frequency, n, rng)
    dosage[:50] = helpers.with_missing(dosage[:50], 0.04, rng)
    sex = rng.integers(1, 3, n).astype(np.int8)
    x = np.arange(200, m)
    haploid = 2 * (rng.random((len(x), n)) < 0.3)
    dosage[x] = np.where(sex == 1, haploid, dosage[x]).astype(np.int8)
    dosage[x[:30]] = helpers.with_missing(dosage[x[:30]], 0.03, rng)
    covariates = np.round(rng.normal(size=(n, 3)) * [1, 3, 0.5] + [0, 10, 0], 6)
    liability = rng.logistic(size=n) + 0.5 * covariates[:, 0] + 0.5 * dosage[:1].clip(0).sum(axis=0)
    liability += 0.6 * sex
    common = (liability > np.quantile(liability, 0.55)) + 1.0
    rare = (liability > np.quantile(liability, 0.96)) + 1.0
    common[rng.random(n) < 0.05] = np.nan
    covariates[rng.random(n) < 0.02, 1] = np.nan
    for trait in (common, rare):
        used = np.flatnonzero(np.isfinite(trait) & np.isfinite(covariates).all(axis=1))
        trait[used[: len(used) % 4]] = np.nan  # a multiple of four: see `is_padded`
    ds = helpers.cohort(dosage, contigs=("1", "X"), contig=(np.arange(m) >= 200).astype(int))
    helpers.write_bed(ds, folder / "x")
    fam = pd.read_csv(folder / "x.fam", sep=r"\s+", header=None)
    fam[4] = sex
    fam.to_csv(folder / "x.fam", sep="\t", header=False, index=False)
    write_tables(folder, ds["sample_id"].values, {"common": common, "rare": rare, "q": liability}, covariates)
    return folder, {"common": common - 1, "rare": rare - 1, "q": liability}, covariates


def theirs_of(work, plink2, trait: str, *modifiers: str, ending: str) -> pd.DataFrame:
    folder = work[0]
    out = plink2(
        "--bfile", folder / "x", "--pheno", folder / "y.tsv", "--covar", folder / "c.tsv",
        "--pheno-name", trait, "--glm", "hide-covar", "omit-ref", *modifiers, "cols=+a1freq",
        out=folder / "-".join(["t", *modifiers, trait]),
    )  # fmt: skip
    return pd.read_csv(helpers.suffixed(out, f".{trait}.{ending}"), sep="\t")


def ours_of(work, trait: str, **settings) -> tuple[xr.Dataset, Fits]:
    folder, traits, covariates = work
    ds = open_plink(folder / "x")
    found = gwas(ds, [Trait.of(trait, traits[trait])], covariates, GWAS(**settings))[0]
    assert len(found.variants) == ds.sizes["variants"]
    return ds, found.fits


# PLINK 2's logistic fits are in single precision; a Firth fit ends where a step is below 1e-4.
OFF, FIRTH_OFF = 1e-4, 5e-3


def offs(fits: Fits) -> np.ndarray:
    """Return what a logistic fit of PLINK's may be off by."""
    return np.where(is_firth(fits), FIRTH_OFF, OFF)


def is_firth(fits: Fits) -> np.ndarray:
    return np.char.startswith(np.array(METHODS)[fits.method], "firth")


def assert_close(ours: np.ndarray, printed: np.ndarray, off: np.ndarray, name: str) -> None:
    close = np.abs(ours - printed) <= off * np.maximum(np.abs(printed), 1)
    assert (close | (np.isnan(ours) & np.isnan(printed))).all(), name


def compare(theirs: pd.DataFrame, fits: Fits) -> int:
    """Assert equality where PLINK 2 has a result; return how many are without one."""
    refused = (theirs["ERRCODE"] != ".").to_numpy()
    code = np.array(CODES)[fits.code]
    assert (refused == (code != "ok")).all()
    assert (theirs["OBS_CT"] == fits.called).all()
    ok = ~refused
    is_logistic = "OR" in theirs
    pairs = {"A1_FREQ": fits.frequency, "T_STAT": fits.statistic, "Z_STAT": fits.statistic, "BETA": fits.beta,
             "OR": np.exp(fits.beta), "SE": fits.se, "LOG(OR)_SE": fits.se}  # fmt: skip
    for name, values in pairs.items():
        if name not in theirs:
            continue
        printed = theirs[name].to_numpy()[ok]
        if is_logistic:
            assert_close(values[ok], printed, offs(fits)[ok], name)
        else:
            assert as_printed(values[ok], printed).all(), name
    return int(refused.sum())


@pytest.mark.oracle
def test_linear__equals_plink2_also_on_x(work, plink2):
    theirs = theirs_of(work, plink2, "q", ending="glm.linear")
    _, fits = ours_of(work, "q")
    assert compare(theirs, fits) == 2
    assert (fits.method == METHODS.index("linear")).all()


@pytest.mark.oracle
@pytest.mark.parametrize("trait", ["common", "rare"])
def test_wald__equals_plink2_and_falls_back_to_firth_where_it_does(work, plink2, trait):
    theirs = theirs_of(work, plink2, trait, ending="glm.logistic.hybrid")
    _, fits = ours_of(work, trait, test="wald")
    assert compare(theirs, fits) == 2
    assert ((theirs["FIRTH?"] == "Y").to_numpy() == is_firth(fits))[fits.code == 0].all()
    assert is_firth(fits).sum() >= (20 if trait == "rare" else 1)


@pytest.mark.oracle
def test_firth__equals_plink2(work, plink2):
    theirs = theirs_of(work, plink2, "rare", "firth", ending="glm.firth")
    _, fits = ours_of(work, "rare", test="firth")
    assert compare(theirs, fits) == 2


@pytest.mark.oracle
def test_score__is_close_to_plink2s_wald_and_equal_where_it_is_made_again(work, plink2):
    theirs = theirs_of(work, plink2, "common", ending="glm.logistic.hybrid")
    _, fits = ours_of(work, "common", refine_p=0.05)
    common = (theirs["A1_FREQ"].between(0.05, 0.95) & (theirs["ERRCODE"] == ".")).to_numpy()
    again = common & (fits.method == METHODS.index("wald"))
    np.testing.assert_allclose(fits.statistic[again], theirs["Z_STAT"][again], atol=2e-3)
    assert 5 < again.sum() < 60
    rest = common & (fits.method == METHODS.index("score"))
    # Wald and score differ by the third order of the effect: |z| < 2 here
    np.testing.assert_allclose(fits.statistic[rest], theirs["Z_STAT"][rest], atol=0.02)


def terms_of(work, trait: str, **settings) -> dict[str, Fits]:
    """Our results of autosomal variants by test."""
    folder, traits, covariates = work
    ds = open_plink(folder / "x")
    found = gwas(ds, [Trait.of(trait, traits[trait])], covariates, GWAS(**settings))[0]
    assert len(found.variants) == 200
    return found.tests


def columns_of(theirs: pd.DataFrame, fits: Fits) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return our values and theirs by the names of one of their tests' columns."""
    letter = "Z" if "OR" in theirs else "T"
    statistic = f"{letter}_STAT" if f"{letter}_STAT" in theirs else f"{letter}_OR_F_STAT"
    pairs = {"A1_FREQ": fits.frequency, statistic: fits.statistic, "BETA": fits.beta,
             "OR": np.exp(fits.beta), "SE": fits.se, "LOG(OR)_SE": fits.se}  # fmt: skip
    return {name: (values, theirs[name].to_numpy()) for name, values in pairs.items() if name in theirs}


@pytest.mark.oracle
@pytest.mark.parametrize("coding", ["dominant", "recessive", "genotypic", "hethom"])
def test_linear__codings_equal_plink2(work, plink2, coding):
    theirs = theirs_of(work, plink2, "q", coding, ending="glm.linear")
    tests = terms_of(work, "q", coding=coding)
    assert set(theirs["TEST"]) == set(tests)
    for name, fits in tests.items():
        own = theirs[theirs["TEST"] == name].reset_index(drop=True)
        refused = (own["ERRCODE"] != ".").to_numpy()
        assert (refused == (fits.code != 0)).all()
        assert (~refused).sum() > 100
        assert (own["OBS_CT"] == fits.called).all()
        for column, (ours, printed) in columns_of(own, fits).items():
            same = as_printed(ours, printed) | (np.isnan(ours) & np.isnan(printed))
            # a fixed point of 31 bits is good to 1e-7 standard errors where two columns are correlated
            assert (same | (np.abs(ours - printed) < 1e-7 * fits.se))[~refused].all(), column


@pytest.mark.oracle
def test_joint__plink2s_p_has_the_samples_for_degrees_of_freedom(work, plink2):
    """PLINK 2.00a3.5 takes F's second degrees of freedom as the samples, ours are n - covariates - 3."""
    theirs = theirs_of(work, plink2, "q", "genotypic", ending="glm.linear")
    own = theirs[theirs["TEST"] == "GENO_2DF"].reset_index(drop=True)
    fits = terms_of(work, "q", coding="genotypic")["GENO_2DF"]
    ok = fits.code == 0
    f, n = fits.statistic[ok], fits.called[ok]
    np.testing.assert_allclose(np.exp(-n / 2 * np.log1p(2 * f / n)), own["P"][ok], rtol=1e-4)
    df = n - 3 - 3
    np.testing.assert_allclose(fits.log10_p[ok], -df / 2 * np.log1p(2 * f / df) / np.log(10), rtol=1e-9)


def is_padded(coding: str, fits: Fits) -> np.ndarray:
    """Tell which of PLINK 2.00a3.5's fits have wrong standard errors.

    It pads the samples of a variant to a multiple of four. Where it recodes the genotypes the padding has
    weights too: standard errors of Newton's fits are too small, coefficients are right.
    """
    recoded = coding in ("dominant", "recessive", "hethom")
    return recoded & (fits.called % 4 > 0) & ~is_firth(fits)


def assert_errors_are_statsmodels(work, trait: str, coding: str, tests: dict[str, Fits], rows) -> None:
    folder, traits, covariates = work
    dosage = helpers.dosage_of(open_plink(folder / "x"))
    weights = {"dominant": [[0, 1, 1]], "recessive": [[0, 0, 1]], "hethom": [[0, 0, 1], [0, 1, 0]]}[coding]
    used = np.isfinite(traits[trait]) & np.isfinite(covariates).all(axis=1)
    for v in rows:
        called = used & (dosage[v] >= 0)
        coded = np.array(weights, float)[:, dosage[v, called]]
        x = np.column_stack([*coded, np.ones(called.sum()), covariates[called]])
        # ours is of the step before the last one, which is below 1e-5 errors
        model = sm.Logit(traits[trait][called], x).fit(disp=0, tol=1e-13)
        for fits, error in zip(list(tests.values())[: len(weights)], model.bse, strict=False):
            assert fits.se[v] == pytest.approx(error, rel=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("coding", ["dominant", "recessive", "genotypic", "hethom"])
@pytest.mark.parametrize("trait", ["common", "rare"])
def test_wald__codings_equal_plink2_where_it_does_not_pad_and_statsmodels_elsewhere(
    work, plink2, coding, trait
):
    theirs = theirs_of(work, plink2, trait, coding, ending="glm.logistic.hybrid")
    tests = terms_of(work, trait, coding=coding, test="wald")
    assert set(theirs["TEST"]) == set(tests)
    padded = np.zeros(200, bool)
    for name, fits in tests.items():
        own = theirs[theirs["TEST"] == name].reset_index(drop=True)
        assert (own["OBS_CT"] == fits.called).all()
        # UNFINISHED is PLINK's fit without a maximum: ours is Firth's there
        assert not fits.code[own["ERRCODE"].isin([".", "UNFINISHED"])].any()
        ok = (own["ERRCODE"] == ".").to_numpy()
        other = ok & ((own["FIRTH?"] == "Y") != is_firth(fits)).to_numpy()
        assert other.sum() <= 2  # PLINK's fit has nearly no maximum
        ok &= ~other
        wrong = ok & is_padded(coding, fits)
        assert (ok & ~wrong).sum() > 60
        for column, (ours, printed) in columns_of(own, fits).items():
            at = ok if column in ("A1_FREQ", "OR") else ok & ~wrong
            assert_close(ours[at], printed[at], offs(fits)[at], column)
        assert not (own["LOG(OR)_SE"][wrong] > fits.se[wrong] * (1 + OFF)).any()
        padded |= wrong
    assert padded.any() == (coding != "genotypic")
    if padded.any():
        assert_errors_are_statsmodels(work, trait, coding, tests, np.flatnonzero(padded))


@pytest.mark.oracle
@pytest.mark.real_data
def test_linear__finds_genesis_order_of_hits(real_data):
    """GENESIS's mixed model, and least squares with seven components, on 1,040 people of 1000 Genomes."""
    folder = real_data / "kg_sisg"
    theirs = pd.read_csv(folder / "genesis_assoc_chr1_trait_1.tsv.gz", sep="\t")
    ds = open_plink(folder / "chr1")
    table = pd.read_csv(folder / "pheno_pop.tsv", sep="\t").set_index("sample.id").loc[ds["sample_id"].values]
    pcs = pd.read_csv(folder / "pcs.tsv", sep="\t").set_index("sample.id").loc[ds["sample_id"].values]
    rows = np.flatnonzero(np.isin(ds["variant_position"].values, theirs["pos"]))
    part = select(ds, rows)
    covariates = pcs[[f"PC{k}" for k in range(1, 8)]].to_numpy()
    found = gwas(part, [Trait.of("trait_1", table["trait_1"].to_numpy())], covariates)[0]
    ours = pd.Series(-found.fits.log10_p, part["variant_position"].values[found.variants])
    ours = ours[~ours.index.duplicated()].dropna()
    score = -np.log10(theirs.drop_duplicates("pos").set_index("pos")["Score.pval"])
    both = ours.index.intersection(score.dropna().index)
    assert len(both) > 20_000
    assert np.corrcoef(ours[both], score[both])[0, 1] > 0.99
    assert ours.idxmax() == score.idxmax() == 212_956_321
    assert len(set(ours.nlargest(20).index) & set(score.nlargest(20).index)) >= 15
    top = score[both].nlargest(20).index
    assert ours[top].rank().corr(score[top].rank()) > 0.9
