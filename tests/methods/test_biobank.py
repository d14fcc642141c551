"""A simulated biobank is the same however it is cut, and holds what it says."""

import pickle

import numpy as np
import pytest

from genoweave.errors import ConfigError
from genoweave.genotypes import source_of
from genoweave.kernels.packed import unpack_dosages
from genoweave.kernels.simulate import BLOCK_SAMPLES
from genoweave.methods.biobank import PRESETS, BaldingNichols, balding_nichols
from genoweave.methods.biobank.families import DUPLICATE, FAMILIES, links, plan_block
from genoweave.methods.qc import QC, qc_filters

SMALL = BaldingNichols(
    n_samples=BLOCK_SAMPLES + 1_003,
    n_variants=40,
    related_share=0.2,
    duplicate_share=0.01,
    bad_sample_share=0.02,
    common_share=0.6,
    hwe_failure_share=0.1,
    bad_variant_share=0.1,
    seed=5,
)
FAMILIAL = BaldingNichols(n_samples=900, n_variants=3_000, related_share=0.25, duplicate_share=0.02, seed=2)


def dosages(ds):
    source = source_of(ds)
    return unpack_dosages(source.read_packed(0, source.shape[0], 0, source.shape[1]), source.shape[1])


@pytest.fixture(scope="module")
def familial():
    ds, pairs = balding_nichols(FAMILIAL)
    return ds, pairs, dosages(ds)


@pytest.mark.parametrize(
    "samples", [(0, 1), (5, 6), (4, 900), (8_191, 8_195), (8_000, 9_195), (8_192, 9_195), (7, 7)]
)
@pytest.mark.parametrize("variants", [(0, 40), (17, 19), (39, 40)])
def test_read_packed__any_block_is_cut_from_the_same_matrix(variants, samples):
    source = source_of(balding_nichols(SMALL)[0])
    whole = unpack_dosages(source.read_packed(0, 40, 0, source.shape[1]), source.shape[1])
    part = unpack_dosages(source.read_packed(*variants, *samples), samples[1] - samples[0])
    assert (part == whole[slice(*variants), slice(*samples)]).all()


def test_read_packed__padding_is_missing_and_copies_are_equal():
    source = source_of(balding_nichols(SMALL)[0])
    packed = source.read_packed(0, 40, 0, source.shape[1])
    assert source.shape[1] % 4 == 3
    assert (packed[:, -1] >> 6 == 1).all()
    assert (
        pickle.loads(pickle.dumps(source)).read_packed(2, 9, 30, 900) == source.read_packed(2, 9, 30, 900)
    ).all()


def test_simulate__seed_matters_and_chunks_do_not():
    first, again, other = (
        np.asarray(
            balding_nichols(SMALL.model_copy(update={"seed": seed}))[0]["call_genotype"][:3, :500].data
        )
        for seed in (5, 5, 6)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_frequencies__are_those_of_the_groups():
    params = BaldingNichols(
        n_samples=20_000, n_variants=60, group_shares={"a": 0.75, "b": 0.25}, missing_rate=0, fst=0.2
    )
    ds, _ = balding_nichols(params)
    g, group = dosages(ds), ds["sample_ancestry"].values
    wanted = source_of(ds).variants.allele / 2**32
    for k, name in enumerate(("a", "b")):
        n = 2 * (group == name).sum()
        f = g[:, group == name].sum(axis=1) / n
        z = (f - wanted[:, k]) / np.sqrt(np.maximum(wanted[:, k] * (1 - wanted[:, k]), 1e-9) / n)
        assert np.abs(z).max() < 5.5  # 120 tests
    assert abs((group == "a").mean() - 0.75) < 0.02


def test_missing__rates_of_samples_and_variants():
    params = BaldingNichols(
        n_samples=3_000,
        n_variants=2_000,
        common_share=0.95,
        bad_sample_share=0.02,
        bad_variant_share=0.05,
        missing_rate=0.01,
    )
    ds, _ = balding_nichols(params)
    missing = dosages(ds) < 0
    bad = ds["variant_planted"].values == "missing calls"
    poor = ds["sample_planted"].values == "missing calls"
    assert (bad.sum(), poor.sum()) == (100, 60)
    rate = missing[:, ~poor].mean(axis=1)
    assert rate[bad].min() > 0.06
    assert rate[~bad].max() < 0.05
    assert abs(rate[~bad].mean() - 0.01) < 0.001  # exponential rates: SD 0.01 over 1,900 variants
    assert missing[:, poor].mean(axis=0).min() > 0.07
    assert missing[:, ~poor].mean(axis=0).max() < 0.04


def test_children__can_come_from_their_parents(familial):
    ds, pairs, g = familial
    parental = pairs[pairs["relation"] == "parent and child"]
    assert len(parental) > 200
    a, b = g[:, parental["first"]], g[:, parental["second"]]
    assert not ((a >= 0) & (b >= 0) & (np.abs(a - b) == 2)).any()
    copies = pairs[pairs["relation"] == "duplicate"]
    a, b = g[:, copies["first"]], g[:, copies["second"]]
    assert len(copies) == 18
    assert ((a == b) | (a < 0) | (b < 0)).all()
    sex = ds["sample_sex"].values
    assert (sex[copies["first"]] == sex[copies["second"]]).all()


def king(g, i, j):
    a, b = g[:, i], g[:, j]
    both = (a >= 0) & (b >= 0)
    a, b = np.where(both, a, 3), np.where(both, b, 3)
    n_i, n_j = (a == 1).sum(axis=0), (b == 1).sum(axis=0)
    shared = ((a == 1) & (b == 1)).sum(axis=0)
    opposite = (both & (np.abs(a - b) == 2)).sum(axis=0)
    return (2 * shared - 4 * opposite - np.abs(n_i - n_j)) / (4 * np.minimum(n_i, n_j))


def test_pairs__have_the_kinship_that_is_listed(familial):
    _, pairs, g = familial
    found = king(g, pairs["first"], pairs["second"])
    assert set(pairs["relation"]) >= {"duplicate", "parent and child", "full siblings", "second degree"}
    assert np.abs(found - pairs["kinship"]).max() < 0.08  # SD about 0.016 at 3,000 SNPs
    for _, rows in pairs.groupby("relation"):
        mean = (found[rows.index] - rows["kinship"]).mean()
        assert abs(mean) < 5 * 0.016 / np.sqrt(len(rows)) + 0.005  # |n_i - n_j| pulls it down a little


def test_pairs__removing_one_of_each_takes_the_share(familial):
    _, pairs, _ = familial
    close = pairs[pairs["kinship"] > 0.0884]
    related = {}
    for i, j in zip(close["first"], close["second"], strict=True):
        related.setdefault(i, set()).add(j)
        related.setdefault(j, set()).add(i)
    removed = 0
    while any(related.values()):
        worst = max(related, key=lambda i: len(related[i]))
        removed += 1
        for other in related.pop(worst):
            related[other].discard(worst)
    assert abs(removed - (0.25 + 0.02) * 900) <= 12  # each kind of family is rounded


@pytest.mark.parametrize("family", [*FAMILIES, DUPLICATE], ids=lambda family: family.name)
def test_families__parents_come_first_and_everyone_has_a_place(family):
    block = plan_block(200, [(family, 7)], np.array([0.5, 0.5]), np.random.default_rng(1))
    table = links(block)
    assert (table[:, 1:] < table[:, :1]).all()
    assert (np.diff(table[:, 0]) > 0).all()
    places = block.families[0].places
    assert len(np.unique(places)) == places.size
    assert len(block.free) == 200 - 7 * len(family.visible)
    assert not np.isin(block.free, places).any()


def test_preset__paper_passes_the_share_of_variants_and_samples():
    params = BaldingNichols(**PRESETS["paper"] | {"n_samples": 8_000, "n_variants": 4_000})
    ds, _ = balding_nichols(params)
    steps = qc_filters(ds, QC()).steps.set_index("step")
    planted = ds["variant_planted"].values
    assert (planted == "").sum() == round(4_000 * 7_180 / 202_959)
    assert (planted == "missing calls").sum() == 20
    assert steps["samples_removed"].sum() == 40
    removed = steps["variants_removed"]
    assert removed.filter(like="missingness").sum() == 20
    assert removed.filter(like="Hardy").sum() >= 11  # 12 are planted
    # a rare SNP may just pass, and one of the 142 common ones just fail
    assert abs(int(steps["variants_left"].iloc[-1]) - 142) <= 3


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"common_share": 0.9, "hwe_failure_share": 0.2}, "add up to 1.1"),
        ({"related_share": 0.44, "duplicate_share": 0.39}, "families need"),
        ({"group_shares": {}}, "group_shares"),
        ({"fst": 0}, "fst"),
    ],
)
def test_parameters__mistakes_are_told(values, message):
    with pytest.raises(ConfigError, match=message):
        balding_nichols(BaldingNichols(n_samples=500, n_variants=10, **values))
