"""Inheritance of one generation: Mendel's shares, and only possible children."""

import numpy as np
import pytest
from reference import chacha, inheritance
from scipy.stats import chi2

from genoweave.kernels.meiosis import add_children
from genoweave.kernels.packed import pack_dosages, unpack_dosages, width

KEY = np.arange(3, 11, dtype=np.uint32)


def descend(founders, fathers, mothers, rows, wanted=None):
    """Dosages of people of a pedigree, all by default."""
    packed = np.empty((len(founders), width(founders.shape[1])), np.uint8)
    pack_dosages(founders, packed)
    wanted = np.arange(len(fathers)) if wanted is None else np.asarray(wanted)
    out = np.full((len(founders), width(len(wanted))), 0x55, np.uint8)
    add_children(packed, fathers, mothers, KEY, rows, wanted, out)
    return unpack_dosages(out, len(wanted))


def family(father, mother, n_variants=40_000, n_children=3, rows=None):
    founders = np.empty((n_variants, 2), np.int8)
    founders[:, 0], founders[:, 1] = father, mother
    fathers = np.array([-1, -1] + [0] * n_children)
    mothers = np.array([-1, -1] + [1] * n_children)
    rows = np.arange(n_variants) if rows is None else rows
    return descend(founders, fathers, mothers, rows)[:, 2:]


@pytest.mark.parametrize("father", [0, 1, 2])
@pytest.mark.parametrize("mother", [0, 1, 2])
def test_add_children__shares_are_mendels(father, mother):
    # chi-square at 1e-6 in each of 9 crosses
    children = family(father, mother)
    found = np.bincount(children.ravel(), minlength=3)
    shares = inheritance.possible_children(father, mother)
    assert set(np.flatnonzero(found)) == set(shares), "only possible children"
    expected = np.array([float(share) * children.size for share in shares.values()])
    statistic = ((found[list(shares)] - expected) ** 2 / expected).sum()
    assert statistic <= chi2.isf(1e-6, max(1, len(shares) - 1))


def test_possible_children__two_heterozygotes_have_a_quarter_a_half_a_quarter():
    assert {g: float(p) for g, p in inheritance.possible_children(1, 1).items()} == {0: 0.25, 1: 0.5, 2: 0.25}


@pytest.mark.parametrize(("father", "mother"), [(-1, 0), (2, -1), (-1, -1)])
def test_add_children__a_missing_parent_makes_a_missing_child(father, mother):
    assert (family(father, mother, n_variants=10) == -1).all()


def test_add_children__siblings_and_gametes_are_independent():
    # |z| < 5, twice: one false alarm in 900,000
    children = family(1, 1)
    for a, b in ((0, 1), (1, 2)):
        r = np.corrcoef(children[:, a], children[:, b])[0, 1]
        assert abs(r) < 5 / np.sqrt(len(children))


def test_add_children__draws_hang_from_the_row_not_the_block():
    whole = family(1, 1, n_variants=300)
    part = family(1, 1, n_variants=100, rows=np.arange(100, 200))
    assert (part == whole[100:200]).all()


def test_add_children__coins_are_two_bits_of_the_childs_word():
    children = family(1, 1, n_variants=20, n_children=40)
    for v in (0, 19):
        for child in range(2, 42):
            word = chacha.block(KEY.tolist(), 0, [v, 0, 0])[child // 16]
            coins = word >> (2 * (child % 16)) & 3
            assert children[v, child - 2] == (coins & 1) + (coins >> 1)


def test_add_children__many_siblings_are_independent():
    # 90 siblings share the words of six: mean product of deviations of each two, |z| < 6 of 4,005 pairs,
    # one false alarm in 100,000
    children = family(1, 1, n_variants=20_000, n_children=90).astype(float) - 1
    z = (children.T @ children) / (np.sqrt(20_000) * 0.5)
    assert np.abs(z[np.triu_indices(90, 1)]).max() < 6


def test_add_children__people_may_be_taken_in_any_order():
    founders = np.ones((50, 2), np.int8)
    parents = np.array([-1, -1, 0, 0, 0]), np.array([-1, -1, 1, 1, 1])
    whole = descend(founders, *parents, np.arange(50))
    wanted = [4, 0, 3, 2, 1]
    assert (descend(founders, *parents, np.arange(50), wanted) == whole[:, wanted]).all()


def test_add_children__grandchildren_come_from_children():
    founders = np.random.default_rng(0).integers(-1, 3, (5000, 4)).astype(np.int8)
    parents = {4: (0, 1), 5: (2, 3), 6: (4, 5)}
    fathers = np.array([parents.get(i, (-1, -1))[0] for i in range(7)])
    mothers = np.array([parents.get(i, (-1, -1))[1] for i in range(7)])
    dosage = descend(founders, fathers, mothers, np.arange(5000))
    assert (dosage[:, :4] == founders).all()
    for child, (father, mother) in parents.items():
        trio = dosage[:, [child, father, mother]]
        assert not any(inheritance.is_mendel_error(*row) for row in trio.tolist())
        assert ((trio[:, 0] == -1) == (trio[:, 1:] == -1).any(axis=1)).all()
