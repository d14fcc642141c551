"""Real programs as honest and dishonest servers: PLINK 2 and GEMMA on cohorts with watermarks."""

import subprocess
from dataclasses import replace
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
import watermark_keys

from genoweave.io.gwas_results import read_results
from genoweave.methods.gwas import Trait
from genoweave.methods.watermark import HiddenWatermark, watermark_cohort
from genoweave.methods.watermark.verification import Verdict, verify
from genoweave.rng import Root

HONEST = {
    "default": (),
    "alternate": ("omit-ref", "hide-covar"),
    "log10": ("log10", "cols=+a1freq,+ci"),
    "beta": ("hide-covar", "cols=+beta,-orbeta,-tz"),
    "zs": ("zs", "omit-ref"),
    "few columns": ("hide-covar", "cols=p"),
}


def write(sent: watermark_keys.Sent, folder: Path, values=None) -> None:
    """Write the cohort, its trait and its covariates, as a server gets them."""
    folder.mkdir(exist_ok=True)
    helpers.write_bed(sent.ds, folder / "x")
    values = sent.trait.values if values is None else values
    # PLINK's controls are 1, cases 2
    pheno = pd.DataFrame({"#IID": sent.ds["sample_id"].values, "pain": values + sent.trait.is_binary})
    pheno["pain"] = pheno["pain"].astype(int) if sent.trait.is_binary else pheno["pain"]
    pheno.to_csv(folder / "y.tsv", sep="\t", index=False)
    covariates = pd.DataFrame(sent.covariates, columns=list(sent.key.covariates))
    covariates.insert(0, "#IID", pheno["#IID"])
    covariates.to_csv(folder / "c.tsv", sep="\t", index=False)


def glm(plink2, folder: Path, *modifiers: str, covar: bool = True, more: tuple = ()) -> Path:
    """Run --glm, and return its table."""
    covariates = ("--covar", folder / "c.tsv") if covar else ()
    modifiers = modifiers if covar else (*modifiers, "allow-no-covars")
    out = plink2(
        "--bfile", folder / "x", "--pheno", folder / "y.tsv", *covariates, "--glm", *modifiers, *more,
        out=folder / f"r{abs(hash((modifiers, covar, more))) % 10**8}",
    )  # fmt: skip
    (table,) = (p for p in folder.glob(f"{out.name}.pain.glm.*") if not p.name.endswith(".id"))
    return table


def judged(sent: watermark_keys.Sent, path: Path, **settings) -> Verdict:
    returned = read_results(path, sent.key.watermarks, trait="pain")
    return verify(sent.key, returned.rows, program=returned.program, **settings)


@pytest.mark.oracle
@pytest.mark.parametrize("is_binary", [False, True], ids=["linear", "logistic"])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_plink2__honest_passes_every_time(tmp_path, plink2, is_binary, seed):
    """Calls are missing, so that PLINK 2's standard errors have an error of their own (see `_padding`)."""
    sent = watermark_keys.send(is_binary=is_binary, seed=seed, n=900 + seed, missing=0.02)
    write(sent, tmp_path)
    for name, modifiers in HONEST.items():
        verdict = judged(sent, glm(plink2, tmp_path, *modifiers))
        wrong = verdict.watermarks[verdict.watermarks["state"] != "as expected"]
        assert verdict.is_honest, f"{name}: {verdict.statement}\n{wrong.T.to_string()}"
        assert verdict.precision == "exact"
    assert verdict.unnoticed == pytest.approx(1 - 0.05 ** (1 / 20))


@pytest.mark.oracle
def test_plink2__honest_passes_with_few_cases_and_firths_fallback(tmp_path, plink2):
    sent = watermark_keys.send(is_binary=True, seed=5, n=1501, share=0.03, missing=0.02)
    write(sent, tmp_path)
    assert judged(sent, glm(plink2, tmp_path)).is_honest
    firth = replace(sent, key=replace(sent.key, asked="firth"))
    assert judged(firth, glm(plink2, tmp_path, "firth", "omit-ref")).is_honest
    assert judged(sent, glm(plink2, tmp_path, "firth", "omit-ref")).diagnosis == "cheaper_test"


@pytest.mark.oracle
@pytest.mark.parametrize("is_binary", [False, True], ids=["linear", "logistic"])
def test_plink2__cheating_is_named(tmp_path, plink2, is_binary):
    sent = watermark_keys.send(is_binary=is_binary, seed=6, n=1202, missing=0.01)
    write(sent, tmp_path)
    ids = sent.ds["sample_id"].values
    (tmp_path / "some.txt").write_text("\n".join(ids[np.random.default_rng(1).random(len(ids)) < 0.8]))
    fewer = judged(sent, glm(plink2, tmp_path, more=("--keep", tmp_path / "some.txt")))
    assert fewer.diagnosis == "samples_dropped"
    assert fewer.hypotheses[0].estimates["samples"] == pytest.approx(0.2 * len(ids), rel=0.2)
    without = judged(sent, glm(plink2, tmp_path, covar=False))
    assert without.diagnosis == "covariates_dropped"
    assert without.hypotheses[0].estimates == {"covariates": "all"}
    one = judged(sent, glm(plink2, tmp_path, more=("--covar-name", "c0")))
    assert one.hypotheses[0].estimates == {"covariates": "c1"}
    some = judged(sent, glm(plink2, tmp_path, more=("--thin-count", "40", "--seed", "1")))
    assert some.diagnosis == "snps_skipped"
    assert abs(some.hypotheses[0].estimates["share"] - 0.5) < 0.35
    write(sent, tmp_path / "p", np.random.default_rng(2).permutation(sent.trait.values))
    assert judged(sent, glm(plink2, tmp_path / "p")).diagnosis == "wrong_phenotype"


def hidden(*, is_binary: bool, asked: str = "plink2", seed: int = 11) -> watermark_keys.Sent:
    """A structured cohort with the QC-proof watermarks that `genoweave watermark` hides."""
    small = helpers.balding_nichols(n_groups=2, per_group=451, n_variants=900, missing=0.01, seed=seed)
    rng = np.random.default_rng(seed)
    covariates = np.round(rng.normal(size=(902, 2)), 6)
    values = covariates @ [0.4, -0.4] + (rng.logistic(size=902) if is_binary else rng.normal(size=902))
    values = (values > 0.3).astype(float) if is_binary else np.round(values, 6)
    trait = Trait("pain", values, is_binary)
    ds, key = watermark_cohort(
        small, trait, covariates, HiddenWatermark(n=20), Root.from_seed(seed), asked=asked, names=("c0", "c1")
    )
    return watermark_keys.Sent(ds, trait, covariates, np.empty(0, np.int64), key)


@pytest.mark.oracle
@pytest.mark.parametrize("is_binary", [False, True], ids=["linear", "logistic"])
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_hidden_watermarks__through_honest_and_cheating_plink2(tmp_path, plink2, is_binary, seed):
    sent = hidden(is_binary=is_binary, seed=seed)
    write(sent, tmp_path)
    for modifiers in HONEST.values():
        verdict = judged(sent, glm(plink2, tmp_path, *modifiers))
        assert verdict.is_honest, verdict.watermarks.T.to_string()
    assert judged(sent, glm(plink2, tmp_path, covar=False)).diagnosis == "covariates_dropped"
    table = pd.read_csv(glm(plink2, tmp_path, "hide-covar"), sep="\t", dtype=str, keep_default_na=False)
    table["ID"] = np.roll(table["ID"].to_numpy(), 1)
    table.to_csv(tmp_path / "shifted", sep="\t", index=False)
    assert judged(sent, tmp_path / "shifted").diagnosis == "ids_shifted"
    write(sent, tmp_path / "p", np.random.default_rng(2).permutation(sent.trait.values))
    assert judged(sent, glm(plink2, tmp_path / "p")).diagnosis == "wrong_phenotype"


@pytest.fixture(scope="module")
def gemma():
    import shutil

    path = shutil.which("gemma")
    if path is None:
        pytest.skip("gemma is not installed")

    def run(folder: Path, name: str, *arguments: object) -> Path:
        command = [path, "-bfile", "x", *map(str, arguments), "-outdir", "out", "-o", name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-1000:]
        return folder / "out" / f"{name}.assoc.txt"

    return run


@pytest.mark.oracle
def test_gemma__linear_and_mixed_models_are_read_and_judged(tmp_path, gemma):
    sent = watermark_keys.send(is_binary=False, seed=7, n=801, n_real=1500, missing=0.01)
    write(sent, tmp_path)
    fam = pd.read_csv(tmp_path / "x.fam", sep=r"\s+", header=None)
    fam[5] = sent.trait.values
    fam.to_csv(tmp_path / "x.fam", sep=" ", header=False, index=False)
    np.savetxt(tmp_path / "c.txt", np.column_stack([np.ones(len(fam)), sent.covariates]))
    everything = ("-miss", "1", "-maf", "0")
    for test in (1, 4):
        linear = gemma(tmp_path, f"lm{test}", "-lm", test, "-c", "c.txt", *everything)
        verdict = judged(sent, linear)
        assert verdict.is_honest
        assert verdict.precision == "exact"
    bare = judged(sent, gemma(tmp_path, "bare", "-lm", 1, *everything))
    assert bare.diagnosis == "covariates_dropped"
    gemma(tmp_path, "k", "-gk", 1)
    mixed = gemma(tmp_path, "lmm", "-lmm", 4, "-k", "out/k.cXX.txt", "-c", "c.txt", *everything)
    verdict = judged(sent, mixed, precision="approximate")
    assert verdict.is_honest, verdict.watermarks.to_string()
    assert verdict.precision == "approximate"


@pytest.mark.oracle
def test_gemma__mixed_model_of_hidden_watermarks_is_exact(tmp_path, gemma):
    """GEMMA's own kinship, of the cohort that was sent with the watermarks in it."""
    sent = hidden(is_binary=False, asked="gemma")
    write(sent, tmp_path)
    fam = pd.read_csv(tmp_path / "x.fam", sep=r"\s+", header=None)
    fam[5] = sent.trait.values
    fam.to_csv(tmp_path / "x.fam", sep=" ", header=False, index=False)
    np.savetxt(tmp_path / "c.txt", np.column_stack([np.ones(len(fam)), sent.covariates]))
    everything = ("-miss", "1", "-maf", "0")
    gemma(tmp_path, "k", "-gk", 1, *everything)
    mixed = ("-lmm", 1, "-k", "out/k.cXX.txt", *everything)
    verdict = judged(sent, gemma(tmp_path, "all", *mixed, "-c", "c.txt"))
    assert verdict.is_honest, verdict.watermarks.T.to_string()
    assert verdict.precision == "exact"
    bare = judged(sent, gemma(tmp_path, "bare", *mixed))
    assert bare.hypotheses[0].estimates == {"covariates": "all"}
    linear = gemma(tmp_path, "lm", "-lm", 1, "-c", "c.txt", *everything)
    assert judged(sent, linear).diagnosis == "cheaper_test"
