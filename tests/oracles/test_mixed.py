"""The mixed model as GEMMA 0.98.5 on the same files, and GEMMA's documented values of real mice."""

import os
import shutil
import subprocess
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from genoweave.genotypes import select
from genoweave.methods import grm
from genoweave.methods.gwas import GWAS, Fits, Trait, gwas
from genoweave.methods.gwas.fits import ARRAYS
from genoweave.methods.gwas.mixed import fit_mixed

TESTS = ("wald", "lrt", "score")
# GEMMA prints p with 7 digits, and stops looking for lambda when it changes by less than 1e-5 of itself: at
# some variants it ends that much before the maximum of the likelihood.
OFF = 2e-6


@pytest.fixture(scope="module")
def gemma():
    path = shutil.which("gemma")
    if path is None:
        pytest.skip("gemma is not installed")

    def run(*arguments: object, out: Path) -> Path:
        command = [path, *map(str, arguments), "-outdir", str(out.parent), "-o", out.name]
        # its threads wait for each other where others use the cores
        one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return out

    return run


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """900 people in families of three, 1,200 variants on two chromosomes, two covariates, missing values."""
    folder = tmp_path_factory.mktemp("mixed")
    rng = np.random.default_rng(17)
    n, m = 900, 1200
    frequency = rng.uniform(0.05, 0.95, m)
    dosage = helpers.hardy_weinberg(frequency, n, rng)
    shared = rng.random((m, n)) < 0.5  # with the first of the family
    dosage = np.where(shared, dosage[:, np.arange(n) // 3 * 3], dosage)
    dosage = helpers.with_missing(dosage, 0.01, rng)
    covariates = np.round(rng.normal(size=(n, 2)) * [1, 30] + [0, 100], 6)
    effects = rng.normal(size=m) * (rng.random(m) < 0.1)
    trait = np.round(0.15 * effects @ dosage + rng.normal(size=n) + covariates[:, 0], 6)
    trait[rng.random(n) < 0.03] = np.nan
    ds = helpers.cohort(dosage, contigs=("1", "2"))
    helpers.write_bed(ds, folder / "x")
    pd.Series(trait).to_csv(folder / "y.txt", header=False, index=False, na_rep="NA")
    np.savetxt(folder / "c.txt", np.column_stack([np.ones(n), covariates]), "%.6f")
    chromosome = ds["contig_id"].values[ds["variant_contig"].values]
    annotation = {"id": ds["variant_id"].values, "at": ds["variant_position"].values, "chr": chromosome}
    pd.DataFrame(annotation).to_csv(folder / "a.txt", sep="\t", header=False, index=False)
    # without a chromosome GEMMA computes from its own format alone
    mean = pd.DataFrame(dosage.astype(object)).mask(dosage < 0, "NA")
    for k, allele in ((0, "A"), (1, "C")):
        mean.insert(k, f"allele{k}", allele)
    mean.insert(0, "id", ds["variant_id"].values)
    mean.to_csv(folder / "g.txt", header=False, index=False)
    return folder, ds, trait, covariates


def genotypes(folder: Path, *more: object) -> list[object]:
    files = ["-g", folder / "g.txt"] if "-loco" in more else ["-bfile", folder / "x"]
    return [*files, "-p", folder / "y.txt"]


def kin_of(gemma, folder: Path, kind: str, *more: object) -> Path:
    name = f"k{kind}{more[-1] if more else ''}"
    number, ending = ("1", "cXX") if kind == "centred" else ("2", "sXX")
    return helpers.suffixed(
        gemma(*genotypes(folder, *more), "-gk", number, *more, out=folder / name), f".{ending}.txt"
    )


def theirs_of(gemma, work, kin: Path, *more: object, covariates: bool = True) -> pd.DataFrame:
    folder = work[0]
    files = [*genotypes(folder, *more), "-k", kin, "-lmm", 4, *more]
    files += ["-c", folder / "c.txt"] if covariates else []
    return pd.read_csv(helpers.suffixed(gemma(*files, out=folder / "fit"), ".assoc.txt"), sep="\t")


def ours_of(work, *, covariates: bool = True, **settings) -> Fits:
    _, ds, trait, columns = work
    columns = columns if covariates else columns[:, :0]
    return fit_mixed(ds, [Trait("t", trait, False)], columns, GWAS(model="mixed", **settings))[0]


def compare(theirs: pd.DataFrame, fits: Fits, test: str) -> None:
    """Assert that all variants were tested, and results equal to what GEMMA prints."""
    assert len(theirs) == len(fits)
    off = np.abs(fits.log10_p - np.log10(theirs[f"p_{test}"]))
    assert (off <= OFF).mean() > 0.99
    assert off.max() <= (5 if test == "wald" else 1) * OFF
    if test == "wald":
        np.testing.assert_allclose(fits.beta, theirs["beta"], rtol=2e-6, atol=2e-6)
        np.testing.assert_allclose(fits.se, theirs["se"], rtol=2e-6)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["centred", "standardised"])
def test_grm__equals_gemmas(work, gemma, kind):
    folder, ds, *_ = work
    theirs = np.loadtxt(kin_of(gemma, folder, kind))
    scaling = grm.scaling(ds, kind)
    assert len(scaling) == 1200
    gram = grm.add_products(np.zeros((900, 900)), ds, scaling, "all") / len(scaling)
    lower = np.tril_indices(900)
    np.testing.assert_allclose(gram[lower], theirs[lower], rtol=0, atol=1e-9)


@pytest.mark.oracle
@pytest.mark.parametrize(("kind", "covariates"), [("centred", True), ("standardised", False)])
def test_mixed__wald_lrt_and_score_equal_gemmas(work, gemma, kind, covariates):
    theirs = theirs_of(gemma, work, kin_of(gemma, work[0], kind), covariates=covariates)
    for test in TESTS:
        fits = ours_of(work, covariates=covariates, test=test, kinship=kind, loco=False)
        compare(theirs, fits, test)
    log = (work[0] / "fit.log.txt").read_text()
    printed = {line.split(" = ")[0][3:]: line.split(" = ")[1] for line in log.splitlines() if " = " in line}
    assert fits.notes["PVE"] == pytest.approx(float(printed["pve estimate in the null model"]), rel=1e-5)
    assert fits.notes["PVE_SE"] == pytest.approx(float(printed["se(pve) in the null model"]), rel=1e-5)


@pytest.mark.oracle
def test_loco__equals_gemmas(work, gemma):
    fits = {test: ours_of(work, covariates=False, test=test) for test in TESTS}
    for contig in ("1", "2"):
        loco = ("-a", work[0] / "a.txt", "-loco", contig)
        theirs = theirs_of(gemma, work, kin_of(gemma, work[0], "centred", *loco), *loco, covariates=False)
        rows = slice(0, 600) if contig == "1" else slice(600, 1200)
        assert (theirs["chr"].astype(str) == contig).all()
        for test in TESTS:
            part = Fits(**{name: getattr(fits[test], name)[rows] for name in ARRAYS})
            compare(theirs, part, test)


@pytest.fixture(scope="module")
def mice(real_data) -> tuple[xr.Dataset, pd.Series, np.ndarray]:
    """Genotypes, names and CD8 of 1,940 mice; also the variants without a position."""
    from bed_reader import open_bed

    prefix = real_data / "mouse_hs1940" / "hs1940"
    dosage = np.ascontiguousarray(open_bed(f"{prefix}.bed").read(dtype="int8", num_threads=1).T)
    bim = pd.read_csv(f"{prefix}.bim", sep=r"\s+", header=None)
    trait = pd.read_csv(real_data / "mouse_hs1940" / "mouse_hs1940.pheno.txt", sep="\t", header=None)[0]
    return helpers.cohort(np.maximum(dosage, -1).astype(np.int8)), bim[1], trait.to_numpy()


@pytest.mark.oracle
@pytest.mark.real_data
def test_mixed__finds_gemmas_results_of_mice(mice, real_data, monkeypatch):
    ds, names, trait = mice
    theirs = pd.read_csv(real_data / "mouse_hs1940" / "cd8_lmm_gemma0985.assoc.txt.gz", sep="\t")
    rows = np.flatnonzero(np.isin(names, theirs["rs"]))
    assert (names[rows].to_numpy() == theirs["rs"]).all()
    # its frequencies are those of the mice with the trait
    monkeypatch.setattr(grm, "LEAST_MAF", 0.0)
    settings = GWAS(model="mixed", test="wald", loco=False)
    fits = fit_mixed(select(ds, rows), [Trait("CD8", trait, False)], np.empty((1940, 0)), settings)[0]
    # documented with fractional dosages: 0.608801 (0.032774)
    assert fits.notes["PVE"] == pytest.approx(0.6092, abs=1e-4)
    assert fits.notes["PVE_SE"] == pytest.approx(0.032823, abs=1e-5)
    assert (fits.called == 1410).all()
    np.testing.assert_allclose(fits.beta, theirs["beta"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(fits.se, theirs["se"], rtol=2e-6)
    off = np.abs(fits.log10_p - np.log10(theirs["p_wald"]))
    assert off.max() < 5e-5  # at 1e-10
    assert (off < OFF).mean() > 0.99
    assert (fits.log10_p < np.log10(2e-6)).sum() == (theirs["p_wald"] < 2e-6).sum() > 20


@pytest.mark.oracle
@pytest.mark.real_data
def test_linear__gemmas_documented_p_of_a_mouse_variant(mice):
    ds, names, trait = mice
    row = np.flatnonzero(names == "rs3707673")
    fits = gwas(select(ds, row), [Trait("CD8", trait, False)])[0].fits
    assert f"{10 ** fits.log10_p[0]:.6e}" == "5.252187e-05"
