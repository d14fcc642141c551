"""The exact test of Hardy-Weinberg equilibrium: known answers, and enumeration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import hwe

from genoweave.kernels.hwe import hwe_exact, hwe_exact_all

# AA, Aa, aa, exact p, mid-p, to the digits given
KNOWN = [
    (298, 489, 213, "0.655663", "0.633097"),
    (1469, 138, 5, "0.382519", "0.318131"),
    (57, 14, 50, "5.56205e-19", "3.01085e-19"),
    (5, 10, 5, "1", "0.827069"),
    (25, 50, 25, "1", "0.920709"),
    (0, 20, 0, "8.94714e-06", "5.14372e-06"),
    (10, 0, 10, "1.3403e-06", "6.70151e-07"),
    (95, 4, 1, "0.074231", "0.0376875"),
    (81, 17, 2, "0.284042", "0.176809"),
]
COUNTS = st.tuples(*[st.integers(0, 40)] * 3)


@pytest.mark.parametrize(("a", "h", "b", "exact", "mid"), KNOWN)
def test_hwe_exact__known_answers(a, h, b, exact, mid):
    assert f"{hwe_exact(a, h, b, False):.6g}" == exact
    assert f"{hwe_exact(a, h, b, True):.6g}" == mid
    assert f"{hwe.exact_p(a, h, b):.6g}" == exact
    assert f"{hwe.exact_p(a, h, b, midp=True):.6g}" == mid


@given(COUNTS, st.booleans())
def test_hwe_exact__equals_enumeration_in_fractions(counts, midp):
    if sum(counts) == 0:
        return
    assert hwe_exact(*counts, midp) == pytest.approx(hwe.exact_p(*counts, midp=midp), rel=1e-11)


@given(COUNTS, st.booleans())
def test_hwe_exact__naming_the_other_allele_changes_nothing(counts, midp):
    a, h, b = counts
    assert hwe_exact(a, h, b, midp) == hwe_exact(b, h, a, midp)


@pytest.mark.parametrize(
    "pair", [[(1, 2, 3), (0, 4, 2)], [(3, 10, 11), (2, 12, 10)], [(90, 214, 129), (89, 216, 128)]]
)
def test_hwe_exact__exact_ties_count_from_either_side(pair):
    # the two likeliest counts of heterozygotes are equally likely: everything else is rarer
    for counts in pair:
        assert hwe.exact_p(*counts) == 1
        assert hwe_exact(*counts, False) == pytest.approx(1, abs=1e-12)
        assert hwe_exact(*counts, True) == pytest.approx(hwe.exact_p(*counts, midp=True), rel=1e-12)


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 0), (0, 0, 7), (100_000, 0, 0), (0, 1, 0), (9, 1, 0)])
def test_hwe_exact__without_a_choice_p_is_one(counts):
    assert hwe_exact(*counts, False) == 1


@pytest.mark.parametrize(
    "counts",
    [
        (49_000, 900, 100),
        (99_000, 999, 1),
        (30_000, 15_300, 2000),
        (10_000, 30_000, 22_000),
        (50_000, 12, 0),
        (400, 200, 400),
        (0, 501, 0),
        (300, 1, 300),
    ],
)
def test_hwe_exact__large_and_extreme_counts(counts):
    # lgamma of 1e5 is right to 1e-10, and the kernel multiplies some 1e4 rounded factors
    assert hwe_exact(*counts, False) == pytest.approx(hwe.exact_p_large(*counts), rel=1e-6, abs=1e-290)


@pytest.mark.parametrize("counts", [(10_000, 0, 10_000), (0, 20_000, 0), (40_000, 10, 50_000)])
def test_hwe_exact__below_the_smallest_float_p_is_zero(counts):
    assert hwe_exact(*counts, False) == 0
    assert hwe_exact(*counts, True) == 0


def test_hwe_exact_all__is_each_variant_alone():
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 200, (300, 3))
    counts[:3] = [[0, 0, 0], [50, 0, 0], [0, 0, 50]]
    out = np.empty(300)
    hwe_exact_all(counts, True, out)
    assert out.tolist() == [hwe_exact(*row, True) for row in counts]
