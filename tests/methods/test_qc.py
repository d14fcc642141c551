"""Quality control: the order of the filters, their thresholds, and what each counts."""

import json

import helpers
import numpy as np
import pytest
from reference import hwe as reference_hwe

from genoweave.errors import ConfigError, DataError
from genoweave.methods.qc import QC, qc, variant_statistics

OPEN = {"mind": 1.0, "geno": 1.0, "hwe": 0.0, "maf": 0.0}
COMMON = [0] * 5 + [1] * 10 + [2] * 5  # f = 1/2, in equilibrium


def common_cohort(n_variants=20):
    """20 people at variants of frequency 1/2, each variant's people in another order."""
    rng = np.random.default_rng(0)
    return np.array([rng.permutation(COMMON) for _ in range(n_variants)], np.int8)


def steps(ds):
    rows = json.loads(ds.attrs["qc_steps"])
    return [(row["samples_removed"], row["variants_removed"]) for row in rows]


def ids(ds):
    return ds["variant_id"].values.tolist(), ds["sample_id"].values.tolist()


def plain_qc(dosage, *, mind, geno, hwe, maf, group):
    """Rows and columns that stay, by masked numpy in PLINK's order."""
    samples = np.flatnonzero((dosage < 0).mean(axis=0) <= mind)
    left = dosage[:, samples]
    variants = []
    for v, row in enumerate(left):
        called = row[row >= 0]
        if len(called) == 0 or (row < 0).mean() > geno:
            continue
        counts = [[int((row[group[samples] == k] == g).sum()) for g in range(3)] for k in set(group)]
        frequency = called.mean() / 2
        if min(reference_hwe.exact_p(*c) for c in counts) >= hwe and min(frequency, 1 - frequency) >= maf:
            variants.append(v)
    return variants, samples.tolist()


@pytest.mark.parametrize("hwe", [1e-3, 0.05])
def test_qc__equals_plain_numpy_on_a_cohort(small_cohort, hwe):
    params = QC(mind=0.015, geno=0.02, hwe=hwe, maf=0.1)
    labels = small_cohort["sample_ancestry"].values
    kept = qc(small_cohort, params)
    variants, samples = plain_qc(
        helpers.dosage_of(small_cohort), mind=0.015, geno=0.02, hwe=hwe, maf=0.1, group=labels
    )
    assert kept["variant_source_row"].values.tolist() == variants
    assert kept["sample_source_row"].values.tolist() == samples
    assert 0 < len(samples) < 180
    assert 0 < len(variants) < 690


def test_qc__cascade_counted_by_hand():
    dosage = common_cohort()
    dosage[:5, 0] = -1  # 25 % of sample 0: goes, and its missing calls go with it
    dosage[6, [0, 1]] = -1  # 1 of the 19 that are left: 5.3 %
    dosage[7, [0, 1, 2]] = -1  # 2 of 19: 10.5 %
    dosage[8] = [0] * 10 + [2] * 10  # no heterozygote: p = 2.7e-6 among the 19
    dosage[9] = [0] * 19 + [1]  # 1 of 38 alleles: 2.6 %
    dosage[10] = -1
    kept = qc(helpers.cohort(dosage), QC(mind=0.25, geno=0.06, hwe=1e-4, maf=0.05))
    assert steps(kept) == [(0, 0), (0, 0), (1, 0), (0, 2), (0, 1), (0, 1)]
    names, samples = ids(kept)
    assert set(range(1, 21)) - {int(name[2:]) for name in names} == {8, 9, 10, 11}
    assert "person0000" not in samples


def test_qc__samples_go_before_variants_are_counted():
    dosage = common_cohort()
    dosage[:, 0] = -1
    dosage[3, 1] = -1
    # with sample 0 still there, every variant would miss 5 % and variant 3 10 %
    kept = qc(helpers.cohort(dosage), QC(**OPEN | {"mind": 0.5, "geno": 0.02}))
    assert steps(kept)[2:4] == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("change", "at", "beyond"),
    [
        ({"mind": 0.1}, [(0, 0), (1, 0)], [(2, 0)]),  # 2 of 20 variants
        ({"geno": 0.05}, [(4, 7)], [(4, 8)]),  # 1 of 20 samples
        ({"geno": 0.15}, [(4, 7), (4, 8), (4, 9)], [(4, 10)]),  # 0.15 is no binary fraction
    ],
)
def test_qc__missingness_at_the_threshold_stays(change, at, beyond):
    dosage = common_cohort()
    for place in at:
        dosage[place] = -1
    whole = qc(helpers.cohort(dosage), QC(**OPEN | change))
    assert dict(whole.sizes)["variants"] == dict(whole.sizes)["samples"] == 20
    for place in beyond:
        dosage[place] = -1
    assert sum(sum(step) for step in steps(qc(helpers.cohort(dosage), QC(**OPEN | change)))) == 1


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize("counted", [0, 2])
def test_qc__maf_at_the_threshold_stays_for_either_allele(copies, counted):
    dosage = common_cohort()
    dosage[0] = 2 - counted
    dosage[0, :copies] = 1
    cohort = helpers.cohort(dosage)
    assert qc(cohort, QC(**OPEN | {"maf": copies / 40})).sizes["variants"] == 20
    assert qc(cohort, QC(**OPEN | {"maf": copies / 40 + 1e-9})).sizes["variants"] == 19


def test_qc__hwe_p_at_the_threshold_stays():
    dosage = common_cohort()
    dosage[0] = [0] * 10 + [2] * 10
    p = reference_hwe.exact_p(10, 0, 10)
    assert qc(helpers.cohort(dosage), QC(**OPEN | {"hwe": p})).sizes["variants"] == 20
    assert qc(helpers.cohort(dosage), QC(**OPEN | {"hwe": p * (1 + 1e-9)})).sizes["variants"] == 19


def test_qc__a_frequency_difference_between_groups_fails_only_the_pooled_test():
    # Wahlund: each group of 100 in exact equilibrium, at f = 0.1 and 0.9
    low, high = [0] * 81 + [1] * 18 + [2], [0] + [1] * 18 + [2] * 81
    other = [0] * 25 + [1] * 50 + [2] * 25
    ds = helpers.cohort(np.array([low + high, other + other], np.int8), ["a"] * 100 + ["b"] * 100)
    within = qc(ds, QC())
    assert ids(within)[0] == ["rs1", "rs2"]
    assert within["variant_hwe_p_value"].values[0] == pytest.approx(reference_hwe.exact_p(81, 18, 1))
    pooled = qc(ds, QC(hwe_groups="pooled"))
    assert ids(pooled)[0] == ["rs2"]
    assert qc(ds.drop_vars("sample_ancestry"), QC()).sizes["variants"] == 1


def test_qc__people_without_a_label_are_not_tested_but_counted():
    bad = [0] * 60 + [2] * 60
    good = [0] * 25 + [1] * 50 + [2] * 25
    ds = helpers.cohort(np.array([good + bad], np.int8), ["a"] * 100 + [""] * 120)
    kept = qc(ds, QC())
    assert kept["variant_hwe_p_value"].values[0] == 1
    assert kept["variant_allele_frequency"].values[0] == 0.5
    with pytest.raises(DataError, match="Hardy-Weinberg"):
        qc(ds, QC(hwe_groups="pooled"))


def test_qc__a_cohort_with_only_empty_labels_is_tested_pooled_or_refused_plainly():
    ds = helpers.cohort(common_cohort(), [""] * 20)
    try:
        kept = qc(ds, QC())
    except DataError:
        return
    assert kept.sizes["variants"] == 20


def test_qc__midp_is_smaller():
    counts = np.array([[[95, 4, 1]], [[5, 10, 5]]])
    exact = variant_statistics(counts, 100)["variant_hwe_p_value"]
    mid = variant_statistics(counts, 100, midp=True)["variant_hwe_p_value"]
    assert exact == pytest.approx([0.0742310, 1], abs=1e-6)
    assert mid == pytest.approx([0.0376875, 0.827069], abs=1e-6)


def test_qc__other_chromosomes_go_unless_asked_for():
    ds = helpers.cohort(common_cohort(), contigs=("chr1", "22", "X", "chrY", "MT", "0", "23", "GL000192.1"))
    kept = qc(ds, QC(**OPEN))
    assert {str(kept["contig_id"].values[i]) for i in kept["variant_contig"].values} == {"chr1", "22"}
    assert qc(ds, QC(**OPEN, autosomes_only=False)).sizes["variants"] == 20


def test_qc__sites_of_three_alleles_go():
    ds = helpers.cohort(common_cohort(4))
    allele = np.array([["A", "C", ""], ["A", "C", "G"], ["A", "C", ""], ["A", "C", "T"]], object)
    ds = ds.drop_vars("variant_allele").assign(variant_allele=(("variants", "alleles"), allele))
    ds["call_genotype"][1, 0, 0] = 2
    assert ids(qc(ds, QC(**OPEN)))[0] == ["rs1", "rs3"]


def kinship_cohort():
    """Person 0 is a parent of 1, 2 and 3; 4 and 5 are duplicates; the rest are unrelated."""
    rng = np.random.default_rng(5)
    dosage = helpers.hardy_weinberg(rng.uniform(0.2, 0.8, 3000), 15, rng)
    parents = dosage[:, [0, 0, 0, 12, 13, 14]]
    gametes = np.where(parents == 1, rng.integers(0, 2, parents.shape), parents // 2)
    dosage[:, 1:4] = gametes[:, :3] + gametes[:, 3:]
    dosage[:, 5] = dosage[:, 4]
    dosage[:20, 4] = -1  # of the duplicates, the one with more missing calls
    return helpers.cohort(dosage[:, :12])


def test_qc__who_has_most_relatives_goes_then_who_has_most_missing_calls():
    kept = qc(kinship_cohort(), QC(**OPEN | {"king_cutoff": 0.1768}))
    gone = {f"person{i:04d}" for i in range(12)} - set(ids(kept)[1])
    assert gone == {"person0000", "person0004"}
    assert steps(kept)[-1] == (2, 0)


def test_qc__without_a_cutoff_relatives_stay():
    assert qc(kinship_cohort(), QC(**OPEN)).sizes["samples"] == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mind": 0.0}, "no sample is left after 'missingness of samples > 0'"),
        ({"geno": 0.0}, "no variant is left after 'missingness of variants > 0'"),
        ({"hwe": 0.999}, "no variant is left after 'Hardy-Weinberg p < 0.999"),
        ({"maf": 0.4}, "no variant is left after 'minor allele frequency < 0.4'"),
    ],
)
def test_qc__nothing_left_names_the_filter(change, message):
    rng = np.random.default_rng(2)
    dosage = helpers.with_missing(np.tile(np.array([[0, 0, 1, 0, 2, 0]], np.int8), (30, 5)), 0.3, rng)
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        qc(helpers.cohort(dosage), QC(**OPEN | change))


def test_qc__no_autosome_is_said_too():
    with pytest.raises(DataError, match="no variant is left after 'not autosomal"):
        qc(helpers.cohort(common_cohort(), contigs=("X",)), QC())


@pytest.mark.parametrize("geno", [0.05, 1.0])
def test_qc__variants_and_samples_without_any_call(geno):
    dosage = common_cohort()
    dosage[3] = -1
    dosage[:, 7] = -1
    kept = qc(helpers.cohort(dosage), QC(geno=geno, mind=0.9, maf=0.01))
    assert "rs4" not in ids(kept)[0]
    assert "person0007" not in ids(kept)[1]


def test_qc__statistics_are_those_of_the_samples_that_are_left(small_cohort):
    kept = qc(small_cohort, QC(mind=0.015))
    dosage = helpers.dosage_of(kept)
    called = np.ma.masked_less(dosage, 0)
    frequency = called.mean(axis=1).filled(np.nan) / 2
    np.testing.assert_allclose(kept["variant_allele_frequency"], frequency, rtol=1e-14)
    np.testing.assert_allclose(kept["variant_maf"], np.minimum(frequency, 1 - frequency), rtol=1e-13)
    np.testing.assert_allclose(kept["variant_missing_rate"], (dosage < 0).mean(axis=1), atol=1e-14)
    whole = helpers.dosage_of(small_cohort)[:, kept["sample_source_row"].values]
    np.testing.assert_allclose(kept["sample_missing_rate"], (whole < 0).mean(axis=0), atol=1e-14)


@pytest.mark.parametrize("chunks", [(1, 180), (64, 7), (100, 100), (700, 1)])
def test_qc__any_chunks_give_the_same(small_cohort, chunks):
    params = QC(mind=0.015, geno=0.02, hwe=1e-3, maf=0.1)
    one, other = qc(small_cohort, params), qc(helpers.rechunked(small_cohort, *chunks), params)
    assert one.attrs == other.attrs
    assert other.drop_vars("call_genotype").identical(one.drop_vars("call_genotype"))
    assert (helpers.dosage_of(one) == helpers.dosage_of(other)).all()


def test_qc__twice_keeps_the_first_rows_as_addresses(small_cohort):
    first = qc(small_cohort, QC(**OPEN | {"maf": 0.05, "mind": 0.015}))
    second = qc(first, QC(**OPEN | {"maf": 0.2, "mind": 0.011}))
    rows, columns = second["variant_source_row"].values, second["sample_source_row"].values
    assert second.sizes["samples"] < first.sizes["samples"] < 180
    assert set(rows) < set(first["variant_source_row"].values)
    assert (helpers.dosage_of(second) == helpers.dosage_of(small_cohort)[np.ix_(rows, columns)]).all()


@pytest.mark.parametrize(
    "bad", [{"maf": 0.5}, {"mind": -0.1}, {"hwe": 1.0}, {"king_cutoff": 0}, {"mafs": 0.1}]
)
def test_qc__impossible_thresholds_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        QC(**bad)
