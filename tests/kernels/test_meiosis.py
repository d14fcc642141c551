"""Inheritance of one generation: Mendel's shares, and only possible children."""

import numpy as np
import pytest
from reference import inheritance
from scipy.stats import chi2

from genoweave.kernels.meiosis import add_children

KEY = np.arange(3, 11, dtype=np.uint32)


def family(father, mother, n_variants=40_000, n_children=3, rows=None):
    dosage = np.empty((n_variants, 2 + n_children), np.int8)
    dosage[:, 0], dosage[:, 1] = father, mother
    fathers = np.array([-1, -1] + [0] * n_children)
    mothers = np.array([-1, -1] + [1] * n_children)
    add_children(dosage, fathers, mothers, 2, KEY, np.arange(n_variants) if rows is None else rows)
    return dosage[:, 2:]


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


def test_add_children__grandchildren_come_from_children():
    rng = np.random.default_rng(0)
    dosage = np.full((5000, 7), -9, np.int8)
    dosage[:, :4] = rng.integers(-1, 3, (5000, 4))
    parents = {4: (0, 1), 5: (2, 3), 6: (4, 5)}
    fathers = np.array([parents.get(i, (-1, -1))[0] for i in range(7)])
    mothers = np.array([parents.get(i, (-1, -1))[1] for i in range(7)])
    add_children(dosage, fathers, mothers, 4, KEY, np.arange(5000))
    for child, (father, mother) in parents.items():
        trio = dosage[:, [child, father, mother]]
        assert not any(inheritance.is_mendel_error(*row) for row in trio.tolist())
        assert ((trio[:, 0] == -1) == (trio[:, 1:] == -1).any(axis=1)).all()
