"""Relatives: Mendel's laws, the right numbers of pairs, and a truth that names every one of them."""

import helpers
import numpy as np
import pytest
from reference import inheritance

from genoweave import execution
from genoweave.errors import StageError
from genoweave.genotypes import source_of
from genoweave.methods.kinship import king_listed
from genoweave.methods.relatives import (
    Relatives,
    listed_pairs,
    make_pedigree,
    pedigree_kinship,
    related_pairs,
    relatives,
)
from genoweave.rng import Root

KEY = Root(bytes(range(32)))


def pedigree_of(groups, per_group, params, sources=None, key=KEY):
    labels = np.array(groups * per_group, object)
    ids = np.array([f"S{i:05d}" for i in range(len(labels))], object)
    sources = np.arange(len(labels)) if sources is None else np.asarray(sources)
    return make_pedigree(ids, labels, sources, params, key)


def reference_kinship(table):
    """Kinship by names of rows, from the recursive definition."""
    parents = {
        str(i): (str(f), str(m))
        for i, (f, m) in enumerate(zip(table["father"], table["mother"], strict=True))
        if f >= 0
    }
    first_copy: dict = {}
    same = {
        str(i): first_copy.setdefault(source, str(i))
        for i, source in enumerate(table["source"])
        if table["generation"][i] == 0
    }
    return inheritance.pedigree_kinship(parents, same)


@pytest.fixture(scope="module")
def paper():
    """The paper's trees for two groups of 450 synthetic samples, interleaved."""
    return pedigree_of(["x", "y"], 450, Relatives())


def test_make_pedigree__generations_of_the_paper(paper):
    table = paper.table
    for name in ("x", "y"):
        own = table[table["group"] == name]
        assert own["generation"].value_counts().to_dict() == {0: 400, 1: 200, 2: 100, 3: 50}
    assert paper.n_founders == 800
    assert (paper.founders % 2 == (table["group"][:800] == "y")).all(), "founders are of their own group"
    assert len(set(paper.founders)) == 800


def test_make_pedigree__everybody_is_a_parent_once_of_the_right_sex(paper):
    table = paper.table
    children = table[table["generation"] > 0]
    assert (table["sex"].to_numpy()[children["father"]] == 1).all()
    assert (table["sex"].to_numpy()[children["mother"]] == 2).all()
    parents = np.concatenate([children["father"], children["mother"]])
    assert sorted(parents) == np.flatnonzero(table["generation"] < 3).tolist()
    for side in ("father", "mother"):
        rows = children[side].to_numpy()
        assert (table["group"].to_numpy()[rows] == children["group"]).all()
        assert (table["generation"].to_numpy()[rows] == children["generation"] - 1).all()
        assert (rows < children.index).all()
    last = table.loc[table["generation"] == 3, "sex"]
    # fair coins: 100 people, |z| < 5
    assert abs((last == 1).sum() - 50) < 25


def test_listed_pairs__four_hundred_of_each_degree_in_each_group(paper):
    listed = listed_pairs(paper)
    group = paper.table["group"].to_numpy()[listed["sample"]]
    counts = listed.groupby([group, "degree"]).size()
    assert counts.to_dict() == {(g, d): 400 for g in "xy" for d in ("first", "second", "third")}
    assert (paper.table["generation"].to_numpy()[listed["ancestor"]] == 0).all()
    kinship = reference_kinship(paper.table)
    expected = {"first": 1 / 4, "second": 1 / 8, "third": 1 / 16}
    for row in listed.iloc[::7].itertuples():
        assert kinship(str(row.sample), str(row.ancestor)) == expected[row.degree]


def test_related_pairs__all_pairs_of_the_paper(paper):
    pairs = related_pairs(paper)
    group = paper.table["group"].to_numpy()
    assert (group[pairs["first"]] == group[pairs["second"]]).all()
    counts = pairs.groupby([group[pairs["first"]], "degree"]).size()
    expected = {"first": 700, "second": 600, "third": 400}
    assert counts.to_dict() == {(g, d): n for g in "xy" for d, n in expected.items()}
    assert not pairs.duplicated(["first", "second"]).any()
    assert (pairs["first"] < pairs["second"]).all()


def copied_pedigree(key=KEY):
    """16 founders that are copies of 13 donors, three of them twice, in two trees."""
    return pedigree_of(["all"], 16, Relatives(founders_per_group=16), [*range(13), 12, 11, 10], key)


def test_related_pairs__equal_the_recursive_reference_with_copies():
    pedigree = copied_pedigree()
    table = pedigree.table
    kinship = reference_kinship(table)
    n = len(table)
    expected = {
        (i, j): float(kinship(str(i), str(j)))
        for i in range(n)
        for j in range(i + 1, n)
        if kinship(str(i), str(j)) > 0
    }
    pairs = related_pairs(pedigree)
    found = {(row.first, row.second): row.kinship for row in pairs.itertuples()}
    assert found == expected
    copies = pairs[pairs["degree"] == "same source"]
    source = table["source"].to_numpy()
    assert len(copies) == 3
    assert (source[copies["first"]] == source[copies["second"]]).all()
    assert (copies["kinship"] == 0.5).all()


def test_pedigree_kinship__whole_matrix_equals_the_reference():
    table = copied_pedigree().table
    columns = [table[name].to_numpy() for name in ("father", "mother", "source")]
    kinship = reference_kinship(table)
    n = len(table)
    expected = [[float(kinship(str(i), str(j))) for j in range(n)] for i in range(n)]
    phi = pedigree_kinship(*columns)
    assert phi.tolist() == expected
    assert (phi == phi.T).all()


def test_pedigree_kinship__of_cousins_and_an_inbred_child():
    # 0 x 1 -> 4, 5; 4 x 2 -> 6; 5 x 3 -> 7; cousins 6 x 7 -> 8
    father = np.array([-1, -1, -1, -1, 0, 0, 4, 5, 6])
    mother = np.array([-1, -1, -1, -1, 1, 1, 2, 3, 7])
    phi = pedigree_kinship(father, mother, np.r_[0:4, [-1] * 5])
    assert phi[4, 5] == 1 / 4
    assert phi[6, 7] == 1 / 16
    assert phi[8, 8] == 1 / 2 + 1 / 32


def test_make_pedigree__no_tree_holds_two_copies_of_one_donor():
    # 13 donors for two trees of eight: the three copies can always be kept apart
    for number in range(40):
        pedigree = copied_pedigree(Root(bytes([number]) * 32))
        trees = pedigree.table["source"].to_numpy()[:16].reshape(2, 8)
        assert [len(set(tree)) for tree in trees] == [8, 8], f"key {number}"


def test_make_pedigree__first_all_donors_then_their_copies():
    # 20 donors, two copies each, 24 founders: everybody once, four twice
    pedigree = pedigree_of(["all"], 40, Relatives(founders_per_group=24), np.arange(40) % 20)
    copies = np.bincount(pedigree.table["source"].to_numpy()[:24], minlength=20)
    assert copies.min() == 1
    assert copies.sum() == 24
    trees = pedigree.table["source"].to_numpy()[:24].reshape(3, 8)
    assert [len(set(tree)) for tree in trees] == [8, 8, 8]


def test_make_pedigree__ids_are_new_and_unique(paper):
    ids = paper.table["sample_id"].to_numpy()
    assert len(set(ids)) == len(ids)
    assert all(i.startswith("S") for i in ids[:800])
    assert all(len(i) == 10 and i.isdigit() for i in ids[800:])


def test_make_pedigree__the_key_chooses_the_founders():
    params = Relatives(founders_per_group=16)
    one, same, other = (
        pedigree_of(["x"], 40, params, key=k) for k in (KEY, Root(KEY.value), Root(bytes(32)))
    )
    assert one.table.equals(same.table)
    assert set(one.founders) != set(other.founders)


@pytest.mark.parametrize(("n", "sources"), [(15, None), (16, [0, 1, 2, 3, 4, 5, 6] * 2 + [0, 1])])
def test_make_pedigree__too_few_people_or_donors(n, sources):
    with pytest.raises(
        StageError, match=r"group all: 16 founders need .* at least 8 donors.*founders_per_group"
    ):
        pedigree_of(["all"], n, Relatives(founders_per_group=16), sources)


@pytest.fixture(scope="module")
def family():
    """The descendants of 64 founders of 3,000 variants, in the order of their ids; and all 120 together."""
    rng = np.random.default_rng(3)
    dosage = helpers.hardy_weinberg(rng.uniform(0.1, 0.9, 3000), 70, rng)
    founders = helpers.cohort(helpers.with_missing(dosage, 0.01, rng), ["all"] * 70, contigs=("1", "2"))
    params = Relatives(founders_per_group=64)
    pedigree = make_pedigree(
        founders["sample_id"].values, founders["sample_ancestry"].values, np.arange(70), params, KEY
    )
    return founders, pedigree, relatives(founders, pedigree, params)


def everybody(family):
    """Dosages of all people in the order of the pedigree's table."""
    founders, pedigree, descendants = family
    own = helpers.dosage_of(descendants)
    place = {name: i for i, name in enumerate(descendants["sample_id"].values)}
    order = [place[name] for name in pedigree.table["sample_id"][64:]]
    return np.hstack([helpers.dosage_of(founders)[:, pedigree.founders], own[:, order]])


def test_relatives__no_mendel_errors(family):
    dosage, table = everybody(family), family[1].table
    for child in range(64, len(table)):
        trio = dosage[:, [child, table["father"][child], table["mother"][child]]]
        assert not any(inheritance.is_mendel_error(*row) for row in trio.tolist())
        assert ((trio[:, 0] < 0) == (trio[:, 1:] < 0).any(axis=1)).all()


def test_relatives__heterozygous_couples_have_a_quarter_a_half_a_quarter(family):
    dosage, table = everybody(family), family[1].table
    children = table.index[table["generation"] > 0]
    both = (dosage[:, table["father"][children]] == 1) & (dosage[:, table["mother"][children]] == 1)
    found = np.bincount(dosage[:, children][both], minlength=3)
    n = found.sum()
    # |z| < 5, three times: one false alarm in 600,000
    assert n > 20_000
    for k, p in enumerate((0.25, 0.5, 0.25)):
        assert abs(found[k] - n * p) < 5 * np.sqrt(n * p * (1 - p))


def test_relatives__king_finds_the_true_kinship(family):
    dosage, pedigree = everybody(family), family[1]
    pairs = related_pairs(pedigree)
    n_samples = dosage.shape[1]
    ds = helpers.cohort(dosage, ["all"] * n_samples)
    found = king_listed(ds, pairs["first"].to_numpy(), pairs["second"].to_numpy())["kinship"]
    difference = found - pairs["kinship"]
    # 3,000 unlinked variants: SD about 0.012 a pair; pairs share founders, so that a mean is known to 0.002.
    # The smaller heterozygosity in the denominator takes E|n_i - n_j| / (4 min) off: some 30 of 4 x 1,050.
    for _, part in difference.groupby(pairs["degree"]):
        assert -0.007 - 0.01 < part.mean() < -0.007 + 0.01
        assert part.abs().max() < 0.06


def test_relatives__are_sorted_and_described(family):
    founders, pedigree, descendants = family
    ids = descendants["sample_id"].values
    assert ids.tolist() == sorted(pedigree.table["sample_id"][64:])
    by_id = pedigree.table.set_index("sample_id")
    assert descendants["sample_sex"].values.tolist() == by_id.loc[ids, "sex"].tolist()
    assert descendants["sample_ancestry"].values.tolist() == by_id.loc[ids, "group"].tolist()
    assert (descendants["variant_id"].values == founders["variant_id"].values).all()


@pytest.mark.parametrize("chunks", [(3000, 70), (100, 7), (1024, 70)])
def test_relatives__the_same_bits_for_any_chunks_and_workers(family, chunks):
    founders, pedigree, descendants = family
    executor = execution.ThreadExecutor(3)
    with execution.use(executor):
        again = relatives(helpers.rechunked(founders, *chunks), pedigree, Relatives(founders_per_group=64))
        assert (helpers.dosage_of(again) == helpers.dosage_of(descendants)).all()
    executor.close()
    part = source_of(again).read(1500, 1510, 3, 9)
    assert (part == descendants["call_genotype"].values[1500:1510, 3:9]).all()


def test_relatives__the_seed_decides_the_inheritance(family):
    founders, pedigree, descendants = family
    other = relatives(founders, pedigree, Relatives(founders_per_group=64, seed=1))
    assert other["sample_id"].values.tolist() == descendants["sample_id"].values.tolist()
    assert (helpers.dosage_of(other) != helpers.dosage_of(descendants)).any(axis=0).all()
