"""Servers that cheat in every known way, on results of our own association; and how often they are caught.

Whether a diagnosis is right is asked 12 times of each kind of cheat and trait; eleven right are wanted.
"""

from collections import Counter
from dataclasses import replace
from math import comb

import numpy as np
import pandas as pd
import pytest
import watermark_keys as marks
from scipy.stats import binom

from genoweave.methods.gwas import Trait
from genoweave.methods.watermark.comparison import compare
from genoweave.methods.watermark.key import Key
from genoweave.methods.watermark.verification import verify

SEEDS = range(12)
NUMBERS = [*marks.NUMBERS, *(f"{name}_unit" for name in marks.NUMBERS), "n", "frequency"]


@pytest.fixture(scope="module", params=[False, True], ids=["linear", "logistic"])
def cohorts(request):
    return [marks.send(is_binary=request.param, seed=seed, n=800, missing=0) for seed in range(4)]


def again(sent, trait=None, covariates=None, test=None) -> pd.DataFrame:
    """What comes back of another trait, other covariates or another test."""
    covariates = sent.covariates if covariates is None else covariates
    return marks.returned(
        sent, marks.results(sent.ds, trait or sent.trait, covariates, test or sent.key.asked)
    )  # fmt: skip


def skips(sent, rng):
    rows = marks.returned(sent)
    return rows[rng.random(len(rows)) > 0.4]


def invents(sent, rng):
    rows = marks.returned(sent)
    skipped = rng.random(len(rows)) < 0.4
    return marks.with_z(rows, skipped, rng.normal(size=skipped.sum()))


def drops_samples(sent, rng):
    values = np.where(rng.random(800) < rng.uniform(0.4, 0.95), sent.trait.values, np.nan)
    rows = again(sent, Trait("pain", values, sent.trait.is_binary))
    rows["n"] = 800.0  # and says that it did not
    return rows


def drops_samples_openly(sent, rng):
    values = np.where(rng.random(800) < 0.8, sent.trait.values, np.nan)
    return again(sent, Trait("pain", values, sent.trait.is_binary))


def permutes_phenotype(sent, rng):
    return again(sent, Trait("pain", rng.permutation(sent.trait.values), sent.trait.is_binary))


def drops_covariates(sent, rng):
    return again(sent, covariates=sent.covariates[:, :0])


def drops_a_covariate(sent, rng):
    return again(sent, covariates=sent.covariates[:, [int(rng.integers(2))]])


def shifts_ids(sent, rng):
    rows = marks.returned(sent)
    return rows.assign(id=np.roll(rows["id"].to_numpy(), rng.choice([-3, -2, -1, 1, 2, 3])))


def shifts_numbers(sent, rng):
    rows = marks.returned(sent)
    rows[NUMBERS] = np.roll(rows[NUMBERS].to_numpy(), rng.choice([-2, -1, 1, 2]), axis=0)
    return rows


def mixes_ids(sent, rng):
    rows = marks.returned(sent)
    rows.loc[sent.at, NUMBERS] = rows.loc[rng.permutation(sent.at), NUMBERS].to_numpy()
    return rows


def forges_nulls(sent, rng):
    rows = marks.returned(sent)
    hits = rows["id"].isin(sent.key.watermarks["id"][sent.key.watermarks["role"] == "signal"])
    return marks.with_z(rows, hits.to_numpy(), rng.normal(size=hits.sum()))


CHEATS = {
    skips: "snps_skipped", invents: "snps_skipped", drops_samples: "samples_dropped",
    drops_samples_openly: "samples_dropped", permutes_phenotype: "wrong_phenotype",
    drops_covariates: "covariates_dropped", drops_a_covariate: "covariates_dropped",
    shifts_ids: "ids_shifted", shifts_numbers: "ids_shifted", mixes_ids: "ids_shifted",
    forges_nulls: "forged_nulls",
}  # fmt: skip


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_cheat__is_named(cohorts, cheat):
    named = Counter()
    for seed in SEEDS:
        sent = cohorts[seed % len(cohorts)]
        verdict = verify(sent.key, cheat(sent, np.random.default_rng(100 + seed)))
        named[verdict.diagnosis] += 1
        assert verdict.hypotheses[0].name == verdict.diagnosis
        assert not verdict.is_honest
    assert named[CHEATS[cheat]] >= 11, dict(named)


@pytest.mark.parametrize("test", ["linear", "score", "firth"])
def test_other_test__is_named(test):
    for seed in range(3):
        sent = marks.send(is_binary=True, seed=seed, n=800, missing=0)
        verdict = verify(sent.key, again(sent, test=test))
        assert verdict.diagnosis == "cheaper_test"
        assert verdict.hypotheses[0].estimates == {"test": test}


@pytest.mark.parametrize("is_binary", [False, True], ids=["linear", "logistic"])
def test_two_dropped_covariates__of_which_the_key_has_no_table_are_named(is_binary):
    named = Counter()
    for seed in range(6):
        sent = marks.send(is_binary=is_binary, seed=seed, n=800, n_covariates=4, missing=0)
        verdict = verify(sent.key, again(sent, covariates=sent.covariates[:, 2:]))
        named[verdict.diagnosis] += 1
    assert named["covariates_dropped"] >= 5, dict(named)


def test_dropped_samples__are_counted(cohorts):
    """The number that is estimated from the standard errors alone is right within a tenth of all."""
    for seed in range(4):
        sent = cohorts[seed % len(cohorts)]
        rng = np.random.default_rng(seed)
        dropped = int(rng.uniform(50, 400))
        values = sent.trait.values.copy()
        values[rng.choice(800, dropped, replace=False)] = np.nan
        rows = again(sent, Trait("pain", values, sent.trait.is_binary)).assign(n=800.0)
        found = verify(sent.key, rows).hypotheses[0]
        assert found.name == "samples_dropped"
        assert abs(found.estimates["samples"] - dropped) < 80


def test_skipped_share__is_in_its_interval(cohorts):
    """The interval has 95 % at least: 22 or fewer of 30 happen once in 10,000 keys."""
    held = 0
    for seed in range(30):
        sent = cohorts[seed % len(cohorts)]
        rng = np.random.default_rng(seed)
        rows = marks.returned(sent)
        share = rng.uniform(0.1, 0.8)
        skipped = rng.random(len(rows)) < share
        verdict = verify(sent.key, marks.with_z(rows, skipped, rng.normal(size=skipped.sum())))
        found = next(h for h in verdict.hypotheses if h.name == "snps_skipped")
        held += found.estimates["low"] <= share <= found.estimates["high"]
    assert held > 22


def test_shift__says_how_far(cohorts):
    sent = cohorts[0]
    rows = marks.returned(sent)
    for offset in (-2, -1, 1, 3):
        shifted = rows.assign(id=np.roll(rows["id"].to_numpy(), -offset))
        found = verify(sent.key, shifted).hypotheses[0]
        # the id of a SNP stands at the one before: its results are those of that SNP
        assert found.estimates == {"offset": -offset}


def test_nonsense__is_of_no_known_kind(cohorts):
    """Large z of the wrong sign and size, standard errors at random: no explanation fits."""
    sent = cohorts[0]
    rng = np.random.default_rng(5)
    rows = marks.returned(sent)
    rows["statistic"] = rng.normal(0, 15, len(rows))
    rows["se"] *= np.exp(rng.normal(0, 1.5, len(rows)))
    rows["beta"] = rows["statistic"] * rows["se"]
    rows["log10_p"] = np.nan
    assert verify(sent.key, rows).diagnosis == "unknown"


def servers(sent: marks.Sent, n: int) -> Key:
    """The key of that many servers at once: a watermark is judged by itself."""
    key = sent.key
    table = pd.concat([key.watermarks] * n, ignore_index=True)
    table["id"] = [f"{name}/{k // len(key.watermarks)}" for k, name in enumerate(table["id"])]
    expected = {key.asked: pd.concat([key.expected[key.asked]] * n, ignore_index=True)}
    return replace(key, watermarks=table, expected=expected)


def detected(n_real: int, n_marks: int, n_skipped: int) -> float:
    """1 - C(N, c) / C(N + W, c): some of c SNPs drawn from N + W is one of the W."""
    return 1 - comb(n_real, n_skipped) / comb(n_real + n_marks, n_skipped)


@pytest.mark.parametrize("n_marks", [6, 20])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_detection__rate_is_that_of_the_formula(n_marks, share):
    """2,000 servers that skip that share of the SNPs and invent their p.

    The number caught is binomial: both tails together are 1e-5 a case, so that one of the six fails by
    chance once in 16,000 keys. An invented z that is right to six digits would escape: one in 1e5.
    """
    n_servers, n_real = 2000, 500
    sent = marks.send(
        is_binary=False, seed=9, n=200, n_real=n_real, n_signals=n_marks // 2, n_nulls=n_marks // 2, missing=0
    )
    rng = np.random.default_rng(n_marks + round(1000 * share))
    n_all = n_real + n_marks
    n_skipped = round(share * n_all)
    hits = np.zeros((n_servers, n_all), bool)
    for row in hits:
        row[rng.choice(n_all, n_skipped, replace=False)] = True
    hits = hits[:, sent.at].ravel()
    key = servers(sent, n_servers)
    rows = pd.concat([marks.returned(sent).iloc[sent.at]] * n_servers, ignore_index=True)
    rows["id"] = key.watermarks["id"]
    states = compare(key, marks.with_z(rows, hits, rng.normal(size=hits.sum())))["state"]
    wrong = (states != "as expected").to_numpy()
    assert not wrong[~hits].any()
    caught = wrong.reshape(n_servers, n_marks).any(axis=1).sum()
    low, high = binom.ppf([5e-6, 1 - 5e-6], n_servers, detected(n_real, n_marks, n_skipped))
    assert low <= caught <= high
