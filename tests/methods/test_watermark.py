"""Watermark SNPs: exact counts for every share of cases, and tests that hold what was built in."""

from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from reference import watermark as reference

from genoweave.errors import DataError
from genoweave.io.release import decimal_p
from genoweave.methods.watermark import Watermark, watermark, watermark_tests
from genoweave.rng import Root

KEY = Root(bytes(range(32)))
DEFAULT = Fraction(3, 10), Fraction(49, 100)


def status(cases, controls, seed=0):
    return np.random.default_rng(seed).permutation([1] * cases + [0] * controls).astype(np.int8)


def table(genotype, case):
    """[[controls with 0, 1, 2], [cases with 0, 1, 2]]."""
    return [[int(((genotype == g) & (case == c)).sum()) for g in range(3)] for c in (0, 1)]


@pytest.mark.parametrize("cases", [1, 2, 100, 342, 343, 344, 500, 642, 643, 644, 900, 998, 999])
def test_watermark__counts_are_exact_for_every_share_of_cases(cases):
    case = status(cases, 1000 - cases)
    made = watermark(case, Watermark(n=3), KEY)
    branch, expected = reference.counts(cases, 1000 - cases, *DEFAULT)
    assert made["watermark_case"].values.tolist() == [branch] * 3
    for genotype in made["watermark_genotype"].values:
        assert np.bincount(genotype, minlength=3).tolist() == [357, 343, 300]
        assert table(genotype, case) == expected


@given(st.integers(2, 400), st.data())
def test_watermark__counts_are_exact_for_every_shape(n, data):
    cases = data.draw(st.integers(1, n - 1))
    eps = Fraction(data.draw(st.integers(1, 99)), 100)
    z0 = Fraction(data.draw(st.integers(1, 99)), 100)
    case = status(cases, n - cases)
    made = watermark(case, Watermark(n=1, eps=float(eps), z0=float(z0)), KEY)
    _, expected = reference.counts(cases, n - cases, eps, z0)
    assert table(made["watermark_genotype"].values[0], case) == expected


@pytest.mark.parametrize("n", [1000, 2000, 11_000, 21_000, 30_000, 42_000, 100_000])
def test_watermark__totals_are_exact_at_round_numbers(n):
    made = watermark(status(n // 2, n - n // 2), Watermark(n=1), KEY)
    found = np.bincount(made["watermark_genotype"].values[0], minlength=3).tolist()
    assert found == [n * 357 // 1000, n * 343 // 1000, n * 300 // 1000]


def test_watermark__known_answers_at_thirty_thousand():
    case = status(15_000, 15_000)
    made = watermark(case, Watermark(), KEY)
    tests, reason = watermark_tests(made["watermark_genotype"].values, case)
    assert reason == "ok"
    for genotype in made["watermark_genotype"].values:
        assert table(genotype, case) == [[10_710, 0, 4290], [0, 10_290, 4710]]
    for row in tests.to_dict("records"):
        assert (row["n0"], row["n1"], row["n2"]) == (10_710, 10_290, 9000)
        assert round(row["beta"], 4) == 1.2884
        assert round(row["se"], 5) == 0.01736
        assert round(row["z"], 1) == 74.2
        assert round(row["log10_p"]) == -1198
        # 10 ** -1198.308
        assert decimal_p(row["log10_p"]).startswith("4.9")
        assert decimal_p(row["log10_p"]).endswith("e-1199")
    # each p of the joint fit is given 19 near-copies: their mean is about 1e-34
    mean = np.log10(np.mean(10 ** tests["joint_log10_p"]))
    assert -37 < mean < -31


def test_watermark_tests__equal_statsmodels():
    case = status(1000, 1000)
    made = watermark(case, Watermark(), KEY)["watermark_genotype"].values
    tests, reason = watermark_tests(made, case)
    assert reason == "ok"
    joint = sm.Logit(case, sm.add_constant(made.T.astype(float))).fit(disp=0, tol=1e-12)
    np.testing.assert_allclose(tests["joint_beta"], joint.params[1:], rtol=1e-6)
    np.testing.assert_allclose(tests["joint_se"], joint.bse[1:], rtol=1e-6)
    np.testing.assert_allclose(tests["joint_log10_p"], np.log10(joint.pvalues[1:]), rtol=1e-5)
    for genotype, row in zip(made, tests.to_dict("records"), strict=True):
        single = sm.Logit(case, sm.add_constant(genotype.astype(float))).fit(disp=0, tol=1e-12)
        assert row["beta"] == pytest.approx(single.params[1], rel=1e-7)
        assert row["se"] == pytest.approx(single.bse[1], rel=1e-7)
        assert row["log10_p"] == pytest.approx(np.log10(single.pvalues[1]), rel=1e-7)
    assert tests["z"].round(2).tolist() == [19.16] * 20
    assert tests["log10_p"].round(1).tolist() == [-81.1] * 20


def test_watermark_tests__too_many_cases_separate_and_that_is_said():
    # branch (c): every carrier is a case, so that no maximum exists
    case = status(700, 300)
    made = watermark(case, Watermark(n=2), KEY)["watermark_genotype"].values
    tests, reason = watermark_tests(made, case)
    assert "separate" in reason
    assert tests[["beta", "se", "z", "log10_p", "joint_beta", "joint_log10_p"]].isna().all(axis=None)
    assert tests[["n0", "n1", "n2"]].to_numpy().tolist() == [[357, 343, 300]] * 2


@pytest.mark.parametrize("cases", [40, 300])
def test_watermark_tests__equal_statsmodels_with_few_cases(cases):
    case = status(cases, 1000 - cases)
    made = watermark(case, Watermark(n=2), KEY)["watermark_genotype"].values
    tests, _ = watermark_tests(made, case)
    single = sm.Logit(case, sm.add_constant(made[0].astype(float))).fit(disp=0, tol=1e-12, maxiter=100)
    assert tests["beta"][0] == pytest.approx(single.params[1], rel=1e-6)
    assert tests["se"][0] == pytest.approx(single.bse[1], rel=1e-6)


def test_watermark_tests__a_joint_fit_that_does_not_exist_is_said():
    case = np.array([0, 0, 0, 1, 1, 1] * 10, np.int8)
    separated = np.stack([2 * case, 1 - case])
    tests, reason = watermark_tests(separated.astype(np.int8), case)
    assert "separate" in reason
    assert tests["joint_beta"].isna().all()
    assert tests["joint_log10_p"].isna().all()


def test_watermark__each_snp_draws_its_own_people():
    case = status(500, 500)
    made = watermark(case, Watermark(), KEY)["watermark_genotype"].values
    twos = made == 2
    # hypergeometric within cases and controls: 157 and 143 people of 500 each; |z| < 5, 190 pairs: 1e-4
    for i in range(20):
        for j in range(i):
            together = (twos[i] & twos[j]).sum()
            expected = 157**2 / 500 + 143**2 / 500
            variance = sum(k**2 * (500 - k) ** 2 / (500**2 * 499) for k in (157, 143))
            assert abs(together - expected) < 5 * np.sqrt(variance)


def test_watermark__the_key_decides_alone():
    case = status(50, 50)
    one, same, other = (watermark(case, Watermark(), key) for key in (KEY, Root(KEY.value), Root(bytes(32))))
    assert one.identical(same)
    assert (one["watermark_genotype"].values != other["watermark_genotype"].values).any(axis=1).all()
    assert not set(one["watermark_id"].values) & set(other["watermark_id"].values)


def test_watermark__ids_look_real_and_are_free():
    case = status(50, 50)
    first = watermark(case, Watermark(n=100), KEY)["watermark_id"].values
    assert all(name.startswith("rs") and name[2:].isdigit() for name in first)
    assert len(set(first)) == 100
    second = watermark(case, Watermark(n=100), KEY, taken=first)["watermark_id"].values
    assert len(second) == 100
    assert not set(first) & set(second)


@pytest.mark.parametrize("case", [[1, 1, 1], [0, 0, 0]])
def test_watermark__needs_cases_and_controls(case):
    with pytest.raises(DataError, match="needs cases and controls"):
        watermark(np.array(case, np.int8), Watermark(), KEY)
