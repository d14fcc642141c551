"""What came back of watermarks against what was expected: states, tolerances, signs, digits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import watermark_keys as marks

from genoweave.errors import DataError
from genoweave.methods.gwas import Trait
from genoweave.methods.watermark.comparison import compare
from genoweave.methods.watermark.diagnosis import interval
from genoweave.methods.watermark.verification import verify


@pytest.fixture(scope="module", params=[False, True], ids=["linear", "logistic"])
def sent(request):
    return marks.send(is_binary=request.param, n=601)


@pytest.fixture(scope="module")
def linear():
    return marks.send(is_binary=False, n=601)


def of_mark(rows: pd.DataFrame, sent, k: int) -> int:
    return int(np.flatnonzero(rows["id"] == sent.key.watermarks["id"].iloc[k])[0])


def state(sent, rows, k: int) -> str:
    return compare(sent.key, rows)["state"].iloc[k]


@pytest.mark.parametrize("digits", [4, 6, 8, 15])
def test_honest__passes_at_any_rounding(sent, digits):
    verdict = verify(sent.key, marks.returned(sent, digits=digits))
    assert verdict.is_honest
    assert verdict.diagnosis == "honest"
    assert verdict.hypotheses == ()
    assert (verdict.watermarks["state"] == "as expected").all()
    assert verdict.unnoticed == pytest.approx(1 - 0.05 ** (1 / 20))


def test_rows__may_come_in_any_order_with_others_between(sent):
    rows = marks.returned(sent)
    assert verify(sent.key, rows.iloc[::-1]).is_honest
    assert verify(sent.key, rows[rows["id"].isin(sent.key.watermarks["id"])]).is_honest


def test_key__read_from_its_file_judges_the_same(sent):
    again = type(sent.key).from_json(sent.key.to_json())
    rows = marks.returned(sent).drop(index=sent.at[3])
    one, two = verify(sent.key, rows), verify(again, rows)
    assert one.to_dict() == two.to_dict()
    pd.testing.assert_frame_equal(one.watermarks, two.watermarks)


def test_other_allele__changes_the_sign_and_is_no_difference(sent):
    rows = marks.returned(sent)
    named = marks.named(sent.ds)
    rows["counted"] = np.where(np.arange(len(rows)) % 2, named["ref"], named["alt"])
    for name in ("beta", "statistic"):
        rows[name] = np.where(np.arange(len(rows)) % 2, -rows[name], rows[name])
    verdict = verify(sent.key, rows)
    assert verdict.is_honest
    assert verdict.watermarks["flipped"].tolist() == [bool(k % 2) for k in sent.at]
    rows["statistic"] = -rows["statistic"]
    assert not verify(sent.key, rows).is_honest


def test_alleles__of_another_variant_differ_and_none_are_compared_without_sign(linear):
    rows = marks.returned(linear)
    k = of_mark(rows, linear, 4)
    rows.loc[k, "counted"] = "N"
    assert state(linear, rows, 4) == "differs"
    assert compare(linear.key, rows)["moved"].tolist() == [i == 4 for i in range(20)]
    rows["counted"] = ""
    rows["statistic"] *= -1
    rows["beta"] *= -1
    assert verify(linear.key, rows).is_honest


@pytest.mark.parametrize("column", ["beta", "se", "statistic", "log10_p"])
def test_tolerance__is_that_of_the_rounding(linear, column):
    """A value two in the last of six places off passes, one twenty off does not."""
    for places, wanted in ((2, "as expected"), (-2, "as expected"), (20, "differs"), (-20, "differs")):
        rows = marks.returned(linear)
        k = of_mark(rows, linear, 0)
        rows.loc[k, column] += places * rows.loc[k, f"{column}_unit"]
        assert state(linear, rows, 0) == wanted


def test_statistic__near_zero_may_be_off_by_rounding_of_larger_numbers(linear):
    expected = {name: table.copy() for name, table in linear.key.expected.items()}
    expected["linear"].loc[0, ["beta", "statistic", "log10_p"]] = 1e-4 * expected["linear"]["se"][0], 1e-4, 0
    rows = marks.returned(linear)
    k = of_mark(rows, linear, 0)
    for off, wanted in ((5e-7, "as expected"), (5e-6, "differs")):
        rows.loc[k, "statistic"] = 1e-4 + off
        rows.loc[k, "beta"] = rows.loc[k, "statistic"] * expected["linear"]["se"][0]
        rows.loc[k, ["beta_unit", "statistic_unit"]] = 1e-10
        rows.loc[k, ["log10_p", "log10_p_unit"]] = np.nan
        assert compare(replace(linear.key, expected=expected), rows)["state"].iloc[0] == wanted


@pytest.mark.parametrize("columns", [("beta", "se"), ("statistic",), ("log10_p",), ("beta", "se", "log10_p")])
def test_columns__that_are_there_are_enough(sent, columns):
    rows = marks.returned(sent)
    for name in {"beta", "se", "statistic", "log10_p"} - set(columns):
        rows[[name, f"{name}_unit"]] = np.nan
    assert verify(sent.key, rows).is_honest
    k = of_mark(rows, sent, 2)
    rows.loc[k, list(columns)] *= 1.2
    assert state(sent, rows, 2) == "differs"


def test_few_digits__cannot_be_judged(sent):
    with pytest.raises(DataError, match=r"too few digits .*four digits or more"):
        verify(sent.key, marks.returned(sent, digits=2))


@pytest.mark.parametrize("column", ["beta", "statistic", "log10_p"])
def test_coarse_results__do_not_pass_for_a_standard_error_that_is_exact(linear, column):
    """The standard error is known without the trait; a statistic printed as 0e1 agrees with everything."""
    rows = marks.returned(linear)
    rows[["beta", "statistic", "log10_p"]] = np.nan
    rows[column], rows[f"{column}_unit"] = 0.0, 10.0
    with pytest.raises(DataError, match="too few digits"):
        verify(linear.key, rows)
    # nor do digits of one column make up for those of a row
    rows = marks.returned(linear)
    k = of_mark(rows, linear, 0)
    rows.loc[k, ["beta", "statistic"]] = np.nan
    rows.loc[k, "log10_p_unit"] = 5.0
    with pytest.raises(DataError, match="too few digits"):
        verify(linear.key, rows)


def test_firth__may_be_off_by_a_thousandth_and_wald_not():
    sent = marks.send(is_binary=True, n=601, missing=0)
    strong = sent.key.expected["hybrid"]["statistic"].abs() > 4
    assert strong.sum() > 3
    for asked, wanted in (("firth", True), ("hybrid", False)):
        key = replace(sent.key, asked=asked)
        rows = marks.returned(sent, marks.results(sent.ds, sent.trait, sent.covariates, asked))
        rows.loc[sent.at[strong], "statistic"] *= 1.0007
        rows[["log10_p", "log10_p_unit", "beta", "beta_unit"]] = np.nan
        assert verify(key, rows).is_honest == wanted


def test_other_results__cannot_be_judged(sent):
    rows = marks.returned(sent).drop(index=sent.at)
    with pytest.raises(DataError, match="none of the key's watermarks"):
        verify(sent.key, rows)
    with pytest.raises(DataError, match="none of the key's watermarks"):
        verify(sent.key, rows.iloc[:0])


def test_states__of_watermarks(linear):
    rows = marks.returned(linear)
    a, b, c, d = (of_mark(rows, linear, k) for k in range(4))
    rows.loc[b, ["beta", "se", "statistic", "log10_p"]] = np.nan
    rows.loc[c, "statistic"] = 1.5
    twice = rows.loc[[d]].assign(beta=0.1)
    rows = pd.concat([rows.drop(index=a), twice, rows.loc[[of_mark(rows, linear, 5)]]])
    table = compare(linear.key, rows)
    assert table["state"].tolist()[:5] == ["missing", "no result", "differs", "repeated", "as expected"]
    assert table["state"].iloc[5] == "as expected"  # the same row twice
    verdict = verify(linear.key, rows)
    assert verdict.diagnosis == "snps_skipped"
    assert verdict.hypotheses[0].estimates["missing"] == 3
    assert verdict.hypotheses[0].estimates["invented"] == 1
    assert verdict.to_dict()["watermarks"] == {
        "as expected": 16, "missing": 1, "no result": 1, "differs": 1, "repeated": 1
    }  # fmt: skip


def test_watermark__without_an_expected_result_wants_none(linear):
    expected = {name: table.copy() for name, table in linear.key.expected.items()}
    expected["linear"].loc[0, ["beta", "se", "statistic", "log10_p"]] = np.nan
    key = replace(linear.key, expected=expected)
    rows = marks.returned(linear)
    assert compare(key, rows)["state"].iloc[0] == "differs"
    rows.loc[of_mark(rows, linear, 0), ["beta", "se", "statistic", "log10_p"]] = np.nan
    assert verify(key, rows).is_honest


def test_nameless__are_found_by_position_and_allele(linear):
    table = linear.key.watermarks.copy()
    table["id"] = "."
    key = replace(linear.key, watermarks=table)
    rows = marks.returned(linear)
    rows["id"] = "."
    rows["contig"] = ["chr" + str(name) for name in rows["contig"]]
    assert verify(key, rows).is_honest
    # another variant at the same place, of other alleles
    other = rows.iloc[linear.at].assign(counted="N", beta=9.0, statistic=99.0)
    assert verify(key, pd.concat([other, rows])).is_honest


def test_p__of_zero_is_below_the_smallest_float(linear):
    expected = {name: table.copy() for name, table in linear.key.expected.items()}
    expected["linear"].loc[0, ["beta", "statistic", "log10_p"]] = [5.0, 50.0, -340.0]
    key = replace(linear.key, expected=expected)
    rows = marks.returned(linear)
    k = of_mark(rows, linear, 0)
    rows.loc[k, ["beta", "statistic", "log10_p"]] = [5.0, 50.0, -np.inf]
    assert compare(key, rows)["state"].iloc[0] == "as expected"
    k = of_mark(rows, linear, 1)
    rows.loc[k, "log10_p"] = -np.inf
    assert compare(key, rows)["state"].iloc[1] == "differs"


def test_plink2s_padding__is_allowed_where_calls_are_missing_and_no_multiple_of_four_is_left():
    """PLINK 2 counts up to three samples of genotype 0 that are not there, in the information only."""
    sent = marks.send(is_binary=True, n=601, missing=0)
    assert not _is_allowed(sent)
    short = sent.key.watermarks.assign(called=601)
    assert _is_allowed(replace(sent, key=replace(sent.key, n_complete=602, watermarks=short)))


def _is_allowed(sent) -> bool:
    rows = marks.returned(sent)
    table = sent.key.expected["hybrid"]
    frequency = sent.key.watermarks["frequency"].to_numpy()
    se = table["se"].to_numpy()
    padded = se / np.sqrt(1 + 3 * 0.25 * (2 * frequency) ** 2 * se**2)
    assert (padded < 0.99 * se).any()
    rows.loc[sent.at, "se"] = padded
    rows.loc[sent.at, "statistic"] = table["beta"].to_numpy() / padded
    rows.loc[sent.at, "log10_p"] = np.nan
    assert not verify(sent.key, rows.assign(n=600.0)).is_honest
    assert not verify(sent.key, rows, program="saige", precision="exact").is_honest
    return verify(sent.key, rows).is_honest


@pytest.mark.parametrize("program", ["regenie", "saige"])
def test_approximate__allows_another_model_and_names_gross_lies(program):
    """Results of 10,000 samples less a polygenic prediction: other z by some tenths, and less noise."""
    sent = marks.send(is_binary=False, n=1500, missing=0)
    rng = np.random.default_rng(3)
    asked = replace(sent.key, program=program)
    less = Trait("pain", sent.trait.values - 0.5 * rng.normal(size=1500), is_binary=False)
    rows = marks.returned(sent, marks.results(sent.ds, less, sent.covariates))
    verdict = verify(asked, rows, program=program)
    assert verdict.is_honest
    assert verdict.precision == "approximate"
    assert "not the key's" in " ".join(verdict.evidence)
    # nulls tell nothing then, and half of the twenty are associated
    assert 1 - 0.05 ** (1 / 12) < verdict.unnoticed < 0.3
    assert not verify(asked, rows, program="plink2").is_honest
    # a header alone, which the server writes, lowers nothing
    for other in (sent.key, replace(sent.key, program="plink2")):
        said = verify(other, rows, program=program)
        assert not said.is_honest
        assert "--precision approximate" in " ".join(said.evidence)
    exact = verify(asked, marks.returned(sent), program=program)
    assert exact.precision == "exact"
    order = Trait("pain", rng.permutation(less.values), is_binary=False)
    rows = marks.returned(sent, marks.results(sent.ds, order, sent.covariates))
    assert verify(asked, rows, program=program).diagnosis == "wrong_phenotype"
    rows = marks.returned(sent).drop(index=sent.at[:5])
    assert verify(asked, rows, program=program).diagnosis == "snps_skipped"


def test_key__of_another_cohort_is_thought_of(linear):
    rows = marks.returned(linear).drop(index=linear.at[:19])
    assert "another cohort" in " ".join(verify(linear.key, rows).evidence)
    rows = marks.returned(linear).drop(index=linear.at[:10])
    assert "another cohort" not in " ".join(verify(linear.key, rows).evidence)


def test_interval__is_exact():
    """Clopper and Pearson: none of 20 leaves up to 1 - 0.025^(1/20); 5 of 20 by scipy's binomial tails."""
    from scipy.stats import binom

    assert interval(0, 20) == (0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert interval(20, 20) == (pytest.approx(0.025 ** (1 / 20)), 1)
    low, high = interval(5, 20)
    assert binom.sf(4, 20, low) == pytest.approx(0.025)
    assert binom.cdf(5, 20, high) == pytest.approx(0.025)
