"""The simulator holds what it says it planted, and looks like people of six populations."""

from __future__ import annotations

import sys
from math import lgamma, log

import numpy as np
import pytest
import xarray as xr

from genoweave.errors import ConfigError
from genoweave.methods import coalescent
from genoweave.methods import simulate as module
from genoweave.methods.simulate import POPULATIONS, Simulation, simulate

pytest.importorskip("msprime")

PER_GROUP = 50
N_VARIANTS = 1_200
PLANTED = Simulation(
    n_samples=6 * PER_GROUP,
    n_variants=N_VARIANTS,
    n_chromosomes=3,
    n_bad_samples=5,
    n_bad_variants=10,
    n_related_pairs=12,
    n_duplicates=4,
    n_hwe_failures=8,
    seed=20,
)
PLAIN = {
    "n_bad_samples": 0,
    "n_bad_variants": 0,
    "n_related_pairs": 0,
    "n_duplicates": 0,
    "n_hwe_failures": 0,
    "missing_rate": 0.0,
}


@pytest.fixture(scope="module")
def planted() -> xr.Dataset:
    return simulate(PLANTED)


@pytest.fixture(scope="module")
def plain() -> xr.Dataset:
    return simulate(Simulation(n_samples=300, n_variants=N_VARIANTS, seed=4, **PLAIN))


def dosage(ds: xr.Dataset) -> np.ndarray:
    calls = ds["call_genotype"].to_numpy()
    return np.where((calls < 0).any(axis=2), -1, calls.sum(axis=2))


def clean_variants(ds: xr.Dataset) -> np.ndarray:
    return ds["variant_planted"].to_numpy() != "heterozygote excess"


def noted(ds: xr.Dataset, note: str) -> list[tuple[int, list[int]]]:
    """Columns (sample, the samples that its note names) of every sample with a note."""
    column = {name: i for i, name in enumerate(ds["sample_id"].to_numpy())}
    return [
        (i, [column[name] for name in text.removeprefix(note).strip().split(" and ")])
        for i, text in enumerate(ds["sample_planted"].to_numpy())
        if text.startswith(note)
    ]


def hwe_exact(n_het: int, n_hom: tuple[int, int]) -> float:
    """Exact test, from the probability of each heterozygote count (Wigginton 2005)."""
    n = n_het + sum(n_hom)
    n_a = n_het + 2 * min(n_hom)
    hets = np.arange(n_a % 2, n_a + 1, 2)

    def log_p(h: int) -> float:
        homs = lgamma((n_a - h) // 2 + 1) + lgamma((2 * n - n_a - h) // 2 + 1)
        total = lgamma(n + 1) + lgamma(n_a + 1) + lgamma(2 * n - n_a + 1) - lgamma(2 * n + 1)
        return h * log(2) + total - homs - lgamma(h + 1)

    p = np.exp([log_p(int(h)) for h in hets])
    return float(p[p <= p[hets == n_het] * (1 + 1e-9)].sum())


def smallest_hwe_p(ds: xr.Dataset) -> np.ndarray:
    """Smallest exact p over the ancestry groups, of each variant."""
    g, group = dosage(ds), ds["sample_ancestry"].to_numpy()
    out = np.ones(len(g))
    for name in POPULATIONS:
        counts = np.stack([(g[:, group == name] == k).sum(axis=1) for k in range(3)], axis=1)
        p = [hwe_exact(int(het), (int(ref), int(alt))) for ref, het, alt in counts]
        out = np.minimum(out, p)
    return out


def hudson_fst(ds: xr.Dataset, one: str, two: str) -> float:
    """Hudson's Fst as a ratio of averages (Bhatia et al. 2013, eq. 10)."""
    group = ds["sample_ancestry"].to_numpy()
    haplotypes = ds["call_genotype"].to_numpy()
    (p, n), (q, m) = (
        (haplotypes[:, group == name].mean(axis=(1, 2)), 2 * (group == name).sum()) for name in (one, two)
    )
    within = p * (1 - p) / (n - 1) + q * (1 - q) / (m - 1)
    return float(((p - q) ** 2 - within).sum() / (p * (1 - q) + q * (1 - p)).sum())


def king(g: np.ndarray, i: int, j: int) -> float:
    """KING-robust kinship between families, over the variants called in both."""
    a, b = (g[:, column][(g[:, i] >= 0) & (g[:, j] >= 0)] for column in (i, j))
    n_i, n_j = (a == 1).sum(), (b == 1).sum()
    shared, opposite = ((a == 1) & (b == 1)).sum(), (np.abs(a - b) == 2).sum()
    return float((2 * shared - 4 * opposite - abs(n_i - n_j)) / (4 * min(n_i, n_j)))


def test_simulate__layout_is_that_of_the_data_model(planted):
    assert planted.sizes == {
        "variants": N_VARIANTS,
        "samples": 6 * PER_GROUP,
        "ploidy": 2,
        "alleles": 2,
        "contigs": 3,
    }
    assert planted["call_genotype"].dtype == np.int8
    assert set(np.unique(planted["call_genotype"])) == {-1, 0, 1}
    assert planted["call_genotype_phased"].dtype == bool
    assert planted["call_genotype_phased"].all()
    assert planted["variant_position"].dtype == np.int32
    assert planted["sample_sex"].dtype == np.int8
    assert set(np.unique(planted["sample_sex"])) == {1, 2}
    assert planted["contig_id"].to_numpy().tolist() == ["1", "2", "3"]
    for name in ("variant_id", "variant_allele", "sample_id", "sample_ancestry", "contig_id"):
        assert planted[name].dtype == object
        assert all(type(text) is str for text in planted[name].to_numpy().ravel())


def test_simulate__variants_are_snps_in_genome_order(planted):
    contig, position = planted["variant_contig"].to_numpy(), planted["variant_position"].to_numpy()
    assert np.bincount(contig).tolist() == [400, 400, 400]
    assert (np.diff(contig * 1_000_000_000 + position.astype(np.int64)) > 0).all()
    assert position.min() >= 1
    assert position.max() <= module.CHROMOSOME_LENGTH
    alleles = planted["variant_allele"].to_numpy()
    assert set(alleles.ravel()) == set("ACGT")
    assert (alleles[:, 0] != alleles[:, 1]).all()
    assert len(set(planted["variant_id"].to_numpy())) == N_VARIANTS
    assert all(name.startswith("rs") for name in planted["variant_id"].to_numpy())
    assert len(set(planted["sample_id"].to_numpy())) == 6 * PER_GROUP


def test_simulate__a_call_misses_both_alleles_or_none(planted):
    missing = planted["call_genotype"].to_numpy() < 0
    assert (missing[..., 0] == missing[..., 1]).all()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"n_samples": 13, "populations": ("EUR", "AFR")}, {"EUR": 7, "AFR": 6}),
        ({"n_samples": 12}, dict.fromkeys(POPULATIONS, 2)),
        ({"samples_per_population": {"WAS": 1, "EUR": 30}}, {"WAS": 1, "EUR": 30}),
        ({"n_samples": 1, "populations": ("EAS",)}, {"EAS": 1}),
    ],
)
def test_simulate__populations_and_sizes_as_asked(asked, expected):
    ds = simulate(Simulation(n_variants=7, n_chromosomes=2, **asked))
    names, counts = np.unique(ds["sample_ancestry"].to_numpy().astype(str), return_counts=True)
    assert dict(zip(names.tolist(), counts.tolist(), strict=True)) == expected
    assert ds.sizes["variants"] == 7


def test_simulate__more_chromosomes_than_variants():
    ds = simulate(Simulation(n_samples=12, n_variants=2, n_chromosomes=5))
    assert ds["variant_contig"].to_numpy().tolist() == [0, 1]
    assert ds.sizes["contigs"] == 5


def test_simulate__same_seed_same_cohort():
    def run(seed: int) -> xr.Dataset:
        return simulate(
            Simulation(
                n_samples=80,
                n_variants=60,
                n_related_pairs=3,
                n_duplicates=1,
                n_bad_samples=1,
                n_hwe_failures=1,
                n_bad_variants=1,
                seed=seed,
            )
        )

    first, again, other = run(5), run(5), run(6)
    xr.testing.assert_identical(first, again)
    assert not first["call_genotype"].equals(other["call_genotype"])
    assert not first["variant_id"].equals(other["variant_id"])


def test_simulate__nothing_planted_if_not_asked(plain):
    assert (plain["call_genotype"] >= 0).all()
    assert (plain["sample_planted"] == "").all()
    assert (plain["variant_planted"] == "").all()


def test_simulate__missing_calls_where_planted(planted):
    missing = planted["call_genotype"].to_numpy()[..., 0] < 0
    bad = planted["sample_planted"].to_numpy() == "missing calls"
    gappy = planted["variant_planted"].to_numpy() == "missing calls"
    assert (bad.sum(), gappy.sum()) == (5, 10)
    assert ((missing.mean(axis=0) > 0.05) == bad).all()
    # the order of quality control: variants are judged by the samples that are left
    assert ((missing[:, ~bad].mean(axis=1) > 0.05) == gappy).all()


def test_simulate__missing_rate_of_ordinary_calls(planted):
    missing = planted["call_genotype"].to_numpy()[..., 0] < 0
    bad = planted["sample_planted"].to_numpy() == "missing calls"
    gappy = planted["variant_planted"].to_numpy() == "missing calls"
    ordinary = missing[~gappy][:, ~bad]
    n, rate = ordinary.size, PLANTED.missing_rate
    z = (ordinary.sum() - n * rate) / np.sqrt(n * rate * (1 - rate))
    assert abs(z) < 5  # one false alarm in 1.7 million seeds


def test_simulate__duplicates_are_identical_where_called(planted):
    g = dosage(planted)
    pairs = noted(planted, "duplicate of")
    assert len(pairs) == 4
    for copy, (original,) in pairs:
        called = (g[:, copy] >= 0) & (g[:, original] >= 0)
        assert called.mean() > 0.9
        assert (g[called, copy] == g[called, original]).all()
        assert (g[:, copy] != g[:, original]).any()  # each lost calls of its own
        assert planted["sample_sex"][copy] == planted["sample_sex"][original]
        assert planted["sample_ancestry"][copy] == planted["sample_ancestry"][original]


def test_simulate__bad_samples_are_not_related_or_duplicated():
    asked = {"n_samples": 12, "populations": ("EUR",), "n_duplicates": 5, "n_bad_samples": 2}
    ds = simulate(Simulation(n_variants=30, **asked))
    touched = {i for copy, of in noted(ds, "duplicate of") for i in (copy, *of)}
    bad = np.flatnonzero(ds["sample_planted"].to_numpy() == "missing calls").tolist()
    assert (len(touched), len(bad)) == (10, 2)
    assert not touched & set(bad)


@pytest.mark.parametrize("n_pairs", [0, 1, 2, 3, 8, 12])
def test_simulate__plants_exactly_the_pairs_asked_for(n_pairs):
    params = Simulation(n_samples=60, n_variants=2, n_chromosomes=1, n_related_pairs=n_pairs)
    ds = simulate(params)
    children, siblings = noted(ds, "child of"), noted(ds, "sibling of")
    assert 2 * len(children) + len(siblings) == n_pairs
    members = [i for child, of in children + siblings for i in (child, *of)]
    assert len(members) == len(set(members))  # no one is in two families


def test_simulate__child_takes_a_haplotype_from_each_parent(planted):
    clean = clean_variants(planted)
    calls = planted["call_genotype"].to_numpy()[clean]
    trios = noted(planted, "child of")
    assert len(trios) == 4
    for child, parents in trios:
        for copy, parent in enumerate(parents):
            called = (calls[:, child, copy] >= 0) & (calls[:, parent, 0] >= 0)
            passed = calls[called, child, copy]
            assert (passed[:, np.newaxis] == calls[called, parent]).any(axis=1).all()
            assert planted["sample_sex"][parent] == copy + 1
            assert planted["sample_ancestry"][parent] == planted["sample_ancestry"][child]
            # of 6 Morgans; unlinked inheritance would switch at half of the heterozygous variants
            informative = calls[called, parent, 0] != calls[called, parent, 1]
            strand = passed[informative] == calls[called, parent, 1][informative]
            assert np.diff(strand).sum() < 20 < 0.2 * informative.sum()


def test_simulate__first_degree_pairs_have_kinship_of_a_quarter(planted):
    g = dosage(planted)[clean_variants(planted)]
    pairs = noted(planted, "child of") + noted(planted, "sibling of")
    kinship = [king(g, child, other) for child, others in pairs for other in others]
    assert len(kinship) == 12
    # SD of one pair about 0.07 here: 1,200 linked SNPs, three chromosomes
    assert abs(np.mean(kinship) - 0.25) < 5 * 0.07 / np.sqrt(12)
    assert min(kinship) > 0.0884


def test_gamete__crossovers_follow_the_map():
    n_variants, n_gametes = 500, 400
    position = np.linspace(1, module.CHROMOSOME_LENGTH, n_variants).astype(np.int32)
    sites = module._Sites(
        np.repeat(np.arange(2, dtype=np.int32), n_variants),
        np.tile(position, 2),
        np.empty((2 * n_variants, 2), object),
        np.empty((2 * n_variants, 0, 2), np.int8),
    )
    switch = module._switch_probability(sites)
    parent = np.tile(np.array([0, 1], np.int8), (2 * n_variants, 1))
    rng = np.random.default_rng(1)
    gametes = np.stack([module._gamete(parent, switch, rng) for _ in range(n_gametes)])
    switches = np.abs(np.diff(gametes, axis=1))
    within = np.delete(switches, n_variants - 1, axis=1).sum(axis=1)
    # 2 Morgans a chromosome, less the double crossovers between neighbours
    assert abs(within.mean() - 4) < 5 * np.sqrt(4 / n_gametes)
    for free in (gametes[:, 0], switches[:, n_variants - 1]):
        assert abs(free.mean() - 0.5) < 5 * 0.5 / np.sqrt(n_gametes)


def test_simulate__hwe_failures_and_no_others(planted):
    failing = planted["variant_planted"].to_numpy() == "heterozygote excess"
    assert failing.sum() == 8
    assert ((smallest_hwe_p(planted) < 1e-6) == failing).all()
    g = dosage(planted)[failing]
    assert ((g == 1).sum(axis=1) / (g >= 0).sum(axis=1) > 0.8).all()


@pytest.mark.parametrize(
    ("one", "two", "low", "high"),
    [
        ("AFR", "EUR", 0.10, 0.16),
        ("EUR", "EAS", 0.07, 0.13),
        ("EUR", "SAS", 0.01, 0.04),
        ("EUR", "WAS", 0.005, 0.02),
        ("AMR", "EUR", 0.01, 0.04),
    ],
)
def test_simulate__fst_is_in_the_published_range(plain, one, two, low, high):
    assert low < hudson_fst(plain, one, two) < high


def test_simulate__genotypes_belong_to_the_population_named(planted):
    """Each AFR and EAS sample, in a family or not, is likelier under its own frequencies."""
    clean = planted["variant_planted"].to_numpy() == ""
    g, group = dosage(planted)[clean], planted["sample_ancestry"].to_numpy()
    score = {}
    for name in ("AFR", "EAS"):
        alleles = np.where(g < 0, 0, g)[:, group == name].sum(axis=1)
        f = (alleles + 0.5) / (2 * (g[:, group == name] >= 0).sum(axis=1) + 1)
        score[name] = np.where(g < 0, 0, g * np.log(f)[:, None] + (2 - g) * np.log1p(-f)[:, None])
    african = (score["AFR"] - score["EAS"]).sum(axis=0)
    assert (african[group == "AFR"] > 0).all()
    assert (african[group == "EAS"] < 0).all()


def test_simulate__neighbours_are_in_linkage_disequilibrium(plain):
    g = dosage(plain)[:, plain["sample_ancestry"].to_numpy() == "EUR"].astype(float)
    varies = g.std(axis=1) > 0.3
    g, position = g[varies], plain["variant_position"].to_numpy()[varies]
    g = (g - g.mean(axis=1, keepdims=True)) / g.std(axis=1, keepdims=True)

    def r2(lag: int) -> np.ndarray:
        return (g[lag:] * g[:-lag]).mean(axis=1) ** 2

    near = np.abs(np.diff(position)) < 10_000
    # unlinked SNPs of 50 samples have r2 of 1/49 in the mean
    assert r2(200).mean() < 0.03
    assert r2(1)[near].mean() > 0.2


def test_simulate__spectrum_is_mostly_common_with_the_rare_share_asked(plain):
    frequency = plain["call_genotype"].to_numpy().mean(axis=(1, 2))
    maf = np.minimum(frequency, 1 - frequency)
    assert (maf > 0).all()
    assert (maf < 0.005).sum() == round(0.05 * N_VARIANTS)
    assert 0.1 < np.median(maf) < 0.25
    assert (frequency > 0.5).any()


def test_simulation__planted_numbers_follow_the_size():
    names = ("n_bad_samples", "n_bad_variants", "n_related_pairs", "n_duplicates", "n_hwe_failures")
    assert [Simulation().planted(name) for name in names] == [4, 12, 12, 3, 20]
    tiny = Simulation(n_samples=20, n_variants=50)
    assert [tiny.planted(name) for name in names] == [0] * 5
    assert Simulation(n_duplicates=0).planted("n_duplicates") == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_samples": 5}, "less than one for each of 6 populations"),
        ({"populations": ("EUR", "EUR")}, "names one twice"),
        ({"populations": ("FIN",)}, "populations"),
        ({"populations": ()}, "populations"),
        ({"samples_per_population": {"EUR": 0}}, "samples_per_population"),
        ({"samples_per_population": {"EUR": 9}, "n_samples": 9}, "give it alone"),
        ({"n_variants": 30_001, "n_chromosomes": 1}, "hold 30000; lower it, or raise n_chrom"),
        ({"n_variants": 9, "n_hwe_failures": 6, "n_bad_variants": 4}, "make 10, more than"),
        ({"missing_rate": 0.05}, "missing_rate"),
        ({"n_sample": 5}, "no parameter 'n_sample'"),
    ],
)
def test_simulation__refuses_what_cannot_be(values, message):
    with pytest.raises(ConfigError, match=message):
        Simulation(**values)


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        ({"n_related_pairs": 9}, "9 related pairs and 0 duplicates do not fit"),
        ({"n_duplicates": 7}, "0 related pairs and 7 duplicates do not fit"),
        ({"n_duplicates": 5, "n_bad_samples": 3}, "2 samples are neither related"),
    ],
)
def test_simulate__refuses_what_does_not_fit(planted, message):
    with pytest.raises(ConfigError, match=message):
        simulate(Simulation(n_samples=12, populations=("EUR", "AFR"), n_variants=3, **planted))


def test_choose_sites__says_when_too_few_vary():
    with pytest.raises(ConfigError, match="only 2 SNPs vary where 3 are wanted"):
        coalescent._choose_sites(np.array([0.0, 0.001, 0.2]), 3, 0.1, np.random.default_rng(1))


def test_simulate__says_how_to_install_msprime(monkeypatch):
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(ConfigError, match=r"pip install 'genoweave\[demo\]'"):
        simulate(Simulation(n_samples=6, n_variants=3))
