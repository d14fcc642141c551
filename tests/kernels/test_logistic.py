"""Whole logistic fits against closed forms of two-by-two tables."""

import numpy as np
import pytest

from genoweave.kernels.linear import OK
from genoweave.kernels.logistic import homozygotes
from genoweave.kernels.logistic_fits import FIRTH, FIRTH_LRT, LRT, WALD, fit_variants


def fit(case, dosages, *, always_firth=False):
    """Fit on an intercept alone."""
    beta, se, _, code, method = fit_with(case, dosages, FIRTH if always_firth else WALD)
    return beta, se, code, method


def fit_with(case, dosages, test, largest=2):
    n = len(case)
    design = np.zeros((n, 8))
    design[:, 0] = 1
    m = len(dosages)
    beta, se, statistic = np.full(m, np.nan), np.full(m, np.nan), np.full(m, np.nan)
    code, method = np.zeros(m, np.uint8), np.zeros(m, np.uint8)
    start = np.array([np.log(case.mean() / (1 - case.mean())), 0.0])
    columns = np.ascontiguousarray(design[:, :1].T)
    fit_variants(
        design, columns, case.astype(float), np.asarray(dosages, np.int8), start,
        test, largest, beta, se, statistic, code, method,
    )  # fmt: skip
    return beta, se, statistic, code, method


def table(a, b, c, d):
    """Cases and controls without (a, b) and with (c, d) an allele."""
    case = np.repeat([1, 0, 1, 0], [a, b, c, d])
    return case, np.repeat([0, 0, 1, 1], [a, b, c, d])


@pytest.mark.parametrize("cells", [(30, 40, 20, 10), (500, 3, 2, 700), (35, 861, 1, 3), (400, 400, 1, 1)])
def test_wald__is_the_log_odds_ratio_of_a_table(cells):
    case, dosage = table(*cells)
    beta, se, code, method = fit(case, [dosage])
    a, b, c, d = cells
    assert beta[0] == pytest.approx(np.log(c * b / (a * d)), abs=1e-8)
    assert se[0] == pytest.approx(np.sqrt(sum(1 / x for x in cells)), rel=1e-6)
    assert (code[0], method[0]) == (OK, WALD)


@pytest.mark.parametrize("cells", [(3, 94, 3, 0), (30, 40, 0, 10), (30, 40, 20, 10), (35, 861, 0, 1)])
def test_firth__adds_a_half_to_each_cell(cells):
    """Firth's estimate of a saturated model; its error is the information's at the estimate."""
    case, dosage = table(*cells)
    beta, se, _, method = fit(case, [dosage], always_firth=True)
    a, b, c, d = (x + 0.5 for x in cells)
    assert beta[0] == pytest.approx(np.log(c * b / (a * d)), abs=1e-5)
    n0, n1 = cells[0] + cells[1], cells[2] + cells[3]
    p0, p1 = a / (a + b), c / (c + d)
    assert se[0] == pytest.approx(np.sqrt(1 / (n0 * p0 * (1 - p0)) + 1 / (n1 * p1 * (1 - p1))), rel=1e-5)
    assert method[0] == FIRTH


def test_firth__known_answer_of_logistf():
    case, dosage = table(3, 94, 3, 0)
    beta, se, _, _ = fit(case, [dosage])
    assert beta[0] == pytest.approx(5.24175, abs=5e-6)
    assert se[0] == pytest.approx(1.82947, abs=5e-6)


def test_wald__falls_back_to_firth_where_a_cell_is_empty():
    case, dosage = table(30, 40, 0, 10)
    for dosages in ([dosage], [1 - dosage]):
        _, _, code, method = fit(case, dosages)
        assert (code[0], method[0]) == (OK, FIRTH)


def test_fits__pass_over_missing_calls_and_refused_variants():
    case, dosage = table(30, 40, 20, 10)
    with_missing = np.r_[dosage, [-1] * 5]
    beta, se, _, _ = fit(case, [dosage])
    other = fit(np.r_[case, [1, 0, 1, 0, 1]], [with_missing, with_missing])
    assert other[0] == pytest.approx(beta[[0, 0]], abs=1e-8)
    assert other[1] == pytest.approx(se[[0, 0]], rel=1e-7)


def test_homozygotes__are_marked():
    codes = np.array([[0b10_01_00_10]], np.uint64)
    homozygotes(codes, codes)
    assert codes[0, 0] == 0b01_00_00_01


@pytest.mark.parametrize("cells", [(30, 40, 20, 10), (500, 3, 2, 700), (400, 390, 1, 2)])
def test_lrt__is_the_g_statistic_of_a_table(cells):
    case, dosage = table(*cells)
    beta, _, statistic, code, method = fit_with(case, [dosage], LRT)
    observed = np.array(cells, float).reshape(2, 2)
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0) / observed.sum()
    g = 2 * (observed * np.log(observed / expected)).sum()
    assert statistic[0] == pytest.approx(np.sign(beta[0]) * np.sqrt(g), rel=1e-7)
    assert (code[0], method[0]) == (OK, LRT)


def test_lrt__is_firths_where_carriers_are_all_cases():
    case, dosage = table(30, 40, 10, 0)
    for largest in (1, 2):
        beta, _, statistic, code, method = fit_with(case, [dosage], LRT, largest)
        assert (code[0], method[0]) == (OK, FIRTH_LRT)
        assert 0 < statistic[0] < beta[0] * 5
