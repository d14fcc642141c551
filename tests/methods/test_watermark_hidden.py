"""QC-proof watermarks: their statistics are as aimed at, and nothing else of them tells."""

import helpers
import numpy as np
import pytest
from linked import linked_cohort

from genoweave.errors import ConfigError, DataError
from genoweave.genotypes import as_dask, source_of
from genoweave.methods.gwas import GWAS, Trait, gwas
from genoweave.methods.qc import QC, qc
from genoweave.methods.watermark import HiddenWatermark, Key, watermark_cohort
from genoweave.methods.watermark.distinguish import distinguish, rows_of
from genoweave.methods.watermark.models import table_of
from genoweave.methods.watermark.naming import Names
from genoweave.methods.watermark.sorting import Drawn, sort_within
from genoweave.rng import Root

KEY = Root(bytes(range(32)))
N = 12


@pytest.fixture(scope="module")
def ds():
    return linked_cohort()


@pytest.fixture(scope="module")
def traits(ds):
    rng = np.random.default_rng(8)
    n = ds.sizes["samples"]
    covariates = rng.normal(size=(n, 2))
    liability = 0.5 * covariates[:, 0] + rng.normal(size=n)
    case = (liability > np.quantile(liability, 0.7)).astype(float)
    case[::50] = np.nan
    covariates[7, 1] = np.nan
    return {"case": Trait("case", case, True), "q": Trait("q", liability, False)}, covariates


@pytest.fixture(scope="module")
def sent(ds, traits):
    params = HiddenWatermark(n=N)
    return {
        name: watermark_cohort(ds, trait, traits[1], params, KEY, names=("one", "two"))
        for name, trait in traits[0].items()
    }


@pytest.mark.parametrize("name", ["case", "q"])
def test_watermarks__have_the_statistics_that_were_drawn(sent, traits, name):
    cohort, key = sent[name]
    z = key.expected[key.asked]["statistic"].to_numpy()
    is_signal = (key.watermarks["role"] == "signal").to_numpy()
    assert is_signal.sum() == N // 2
    assert (np.abs(z[is_signal]) > 3.9).all()
    assert (np.abs(z[is_signal]) < 8.1).all()
    # nulls are drawn without a look at the trait: 6 of N(0,1), one false alarm in 3 million seeds
    assert (np.abs(z[~is_signal]) < 5).all()
    (found,) = gwas(cohort, [traits[0][name]], traits[1], GWAS(test="wald"))
    rows = rows_of(cohort, key)
    np.testing.assert_array_equal(found.fits.statistic[rows], z)
    np.testing.assert_array_equal(found.fits.called[rows], key.watermarks["called"])
    near = key.neighbours
    assert set(near["offset"]) == {-3, -2, -1, 1, 2, 3}
    at = rows[near["watermark"]] + near["offset"].to_numpy()
    np.testing.assert_array_equal(found.fits.beta[at], near["beta"])
    assert (cohort["variant_id"].values[at] == near["id"]).all()


def test_key__knows_the_other_models(sent, traits):
    trait, covariates = traits[0]["case"], traits[1]
    cohort, key = sent["case"]
    assert key.asked == "hybrid"
    assert list(key.expected) == [
        "hybrid",
        "linear",
        "score",
        "firth",
        "no_covariates",
        "without one",
        "without two",
    ]
    assert list(sent["q"][1].expected) == ["linear", "no_covariates", "without one", "without two"]
    rows = rows_of(cohort, key)
    for name, some, params in (
        ("firth", covariates, GWAS(test="firth")), ("no_covariates", None, GWAS(test="wald")),
        ("without one", covariates[:, 1:], GWAS(test="wald")), ("score", covariates, GWAS(refine_p=0)),
    ):  # fmt: skip
        (found,) = gwas(cohort, [trait], some, params)
        np.testing.assert_array_equal(found.fits.statistic[rows], key.expected[name]["statistic"])
    used = np.isfinite(trait.values) & np.isfinite(covariates).all(axis=1)
    assert (key.n_samples, key.n_complete, key.n_variants) == (800, used.sum(), 600)
    assert key.n_cases == (trait.values[used] == 1).sum()
    assert Key.from_json(key.to_json()).to_json() == key.to_json()


def test_cohort__is_the_old_one_with_watermarks_between(ds, sent):
    cohort, key = sent["case"]
    rows = rows_of(cohort, key)
    own = np.setdiff1d(np.arange(cohort.sizes["variants"]), rows)
    calls = cohort["call_genotype"].values
    np.testing.assert_array_equal(calls[own].sum(axis=2), ds["call_genotype"].values.sum(axis=2))
    for name in ("variant_id", "variant_position", "variant_contig", "variant_allele"):
        np.testing.assert_array_equal(cohort[name].values[own], ds[name].values)
    np.testing.assert_array_equal(cohort["sample_id"], ds["sample_id"])
    np.testing.assert_array_equal(cohort["sample_ancestry"], ds["sample_ancestry"])
    for contig in (0, 1):
        some = cohort["variant_position"].values[cohort["variant_contig"].values == contig]
        assert (np.diff(some) > 0).all()
    assert len(np.unique(cohort["variant_id"].values)) == cohort.sizes["variants"]
    assert not cohort.attrs


def test_cohort__any_block_equals_the_whole(sent):
    cohort, key = sent["case"]
    source = source_of(cohort)
    whole = source.read(0, *source.shape[:1], 0, source.shape[1])
    row = int(rows_of(cohort, key)[0])
    for v0, v1, s0, s1 in (
        (row, row + 1, 0, 800),
        (row - 1, row + 2, 3, 77),
        (0, 612, 799, 800),
        (5, 5, 0, 9),
    ):
        np.testing.assert_array_equal(source.read(v0, v1, s0, s1), whole[v0:v1, s0:s1])
        dosage = helpers.dosage_of(cohort.isel(variants=slice(v0, v1), samples=slice(s0, s1)))
        np.testing.assert_array_equal(np.where((whole < 0).any(2), -1, whole.sum(2))[v0:v1, s0:s1], dosage)


def test_watermarks__do_not_depend_on_chunks_but_on_the_key(ds, traits, sent):
    trait, covariates = traits[0]["case"], traits[1]
    again = watermark_cohort(
        helpers.rechunked(ds, 37, 111), trait, covariates, HiddenWatermark(n=N), KEY, names=("one", "two")
    )
    assert again[1].to_json() == sent["case"][1].to_json()
    other = watermark_cohort(ds, trait, covariates, HiddenWatermark(n=N), Root(bytes(32)))
    assert not set(other[1].watermarks["id"]) & set(again[1].watermarks["id"])


def test_quality_control__keeps_every_watermark(ds, traits):
    trait, covariates = traits[0]["case"], traits[1]
    cohort, key = watermark_cohort(ds, trait, covariates, HiddenWatermark(n=60, z_max=6), KEY)
    for groups in ("within", "pooled"):
        kept = qc(cohort, QC(hwe_groups=groups))["variant_id"].values
        assert np.isin(key.watermarks["id"], kept).all()


def test_paper_kind__is_removed_by_quality_control(ds, traits):
    q = traits[0]["q"].values
    trait = Trait("case", (q > np.median(q)).astype(float), True)
    cohort, key = watermark_cohort(ds, trait, None, HiddenWatermark(n=25, kind="paper"), KEY)
    assert not np.isin(key.watermarks["id"], qc(cohort)["variant_id"].values).any()
    assert (key.expected["hybrid"]["statistic"].abs() > 8).all()
    found = distinguish(cohort, rows_of(cohort, key))
    assert found.auc["forest"] > 0.99


def test_distinguisher__hardly_tells_watermarks_but_tells_what_differs():
    """0.5 +- band holds 99.9 % of cohorts where nothing can be told; the seed is fixed."""
    ds = linked_cohort(per_group=300, n_variants=900, seed=5)
    case = (np.random.default_rng(1).random(600) < 0.5).astype(float)
    params = HiddenWatermark(n=60, z_min=3, z_max=5)
    cohort, key = watermark_cohort(ds, Trait("case", case, True), None, params, KEY)
    found = distinguish(cohort, rows_of(cohort, key))
    assert abs(found.auc["logistic"] - 0.5) < found.band
    assert abs(found.auc["forest"] - 0.5) < 1.5 * found.band
    assert max(found.single.values()) < 0.5 + 1.2 * found.band


def test_distinguisher__compares_like_with_like_in_groups_that_differ():
    """Real variants, drawn at random, are told from the others of a structured cohort by nothing.

    0.5 +- band holds 99.9 %, and it is the largest of two; the seed is fixed.
    """
    ds = helpers.balding_nichols(n_groups=3, per_group=400, n_variants=700, fst=0.5, seed=2)
    kept = np.flatnonzero(np.isin(ds["variant_id"].values, qc(ds)["variant_id"].values))
    some = np.sort(np.random.default_rng(4).permutation(kept)[:60])
    found = distinguish(ds, some)
    assert max(abs(x - 0.5) for x in found.auc.values()) < 1.2 * found.band
    assert found.single["between"] < 0.5 + found.band


def test_sorting__changes_nothing_but_who():
    rng = np.random.default_rng(0)
    dosage = rng.integers(-1, 3, 500).astype(np.int8)
    cell = rng.integers(0, 7, 500)
    rest = rng.normal(size=500)
    rest[:20] = np.nan
    drawn = Drawn(dosage, cell, rng.normal(size=500))
    made = sort_within(drawn, rest, 3.0)
    fixed = (dosage < 0) | np.isnan(rest)
    np.testing.assert_array_equal(made[fixed], dosage[fixed])
    for k in range(7):
        np.testing.assert_array_equal(np.bincount(made[cell == k] + 1), np.bincount(dosage[cell == k] + 1))
    assert np.corrcoef(made[~fixed], rest[~fixed])[0, 1] > 0.5
    assert np.corrcoef(sort_within(drawn, rest, -3.0)[~fixed], rest[~fixed])[0, 1] < -0.5


def test_phased_cohort__stays_phased(ds, traits):
    n = ds.sizes["samples"]
    calls = ds["call_genotype"].values.copy()
    phased = np.ones(calls.shape[:2], bool)
    phased[:, 5] = False
    haploid = ds.assign(call_genotype=(("variants", "samples", "ploidy"), calls),
                        call_genotype_phased=(("variants", "samples"), phased))  # fmt: skip
    cohort, key = watermark_cohort(haploid, traits[0]["q"], None, HiddenWatermark(n=4), KEY)
    rows = rows_of(cohort, key)
    own = np.setdiff1d(np.arange(cohort.sizes["variants"]), rows)
    np.testing.assert_array_equal(cohort["call_genotype"].values[own], calls)
    np.testing.assert_array_equal(cohort["call_genotype_phased"].values[:, 5], False)
    assert cohort["call_genotype_phased"].values[:, np.arange(n) != 5].all()
    marks = cohort["call_genotype"].values[rows]
    het = (marks.sum(axis=2) == 1) & (marks >= 0).all(axis=2)
    share = marks[..., 0][het].mean()
    # about 1,000 fair coins, one false alarm in 1.7 million seeds
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(het.sum())


def test_statistics_of_variants__do_not_tell(ds, traits):
    noted = ds.assign(
        variant_maf=("variants", np.zeros(600)), variant_source_row=("variants", np.arange(600)),
        variant_genetic_position=("variants", np.arange(600.0)),
    ).assign(
        sample_missing_rate=("samples", np.zeros(800)),
        sample_pca_projection=(("samples", "k"), np.zeros((800, 2))),
        sample_sex=("samples", np.ones(800, np.int8)),
    ).assign_attrs(qc_steps="[]")  # fmt: skip
    cohort, key = watermark_cohort(noted, traits[0]["q"], None, HiddenWatermark(n=4), KEY)
    assert "variant_maf" not in cohort
    assert "variant_source_row" not in cohort
    # sums over the own variants: less those over what is sent, they are the watermarks'
    assert "sample_missing_rate" not in cohort
    assert "sample_pca_projection" not in cohort
    assert {"sample_id", "sample_sex", "sample_ancestry"} <= set(cohort.variables)
    cm = cohort["variant_genetic_position"].values
    rows = rows_of(cohort, key)
    assert ((cm[rows] > cm[rows - 1]) & (cm[rows] < cm[rows + 1])).all()


def test_missing_calls__are_as_many_as_others_and_of_the_same_people(traits):
    """Missing calls of a tenth of the people: the watermarks' are of them too, in numbers of their own."""
    ds = linked_cohort(per_group=400, n_variants=600, missing=0)
    rng = np.random.default_rng(3)
    calls = ds["call_genotype"].values.copy()
    bad = rng.random(800) < 0.1
    calls[(rng.random((600, 800)) < 0.2) & bad] = -1
    ds = ds.assign(call_genotype=(ds["call_genotype"].dims, calls))
    cohort, key = watermark_cohort(ds, traits[0]["q"], None, HiddenWatermark(n=40), KEY)
    is_missing = (cohort["call_genotype"].values < 0).any(axis=2)
    rows = rows_of(cohort, key)
    marks, others = is_missing[rows], np.delete(is_missing, rows, axis=0)
    assert not marks[:, ~bad].any()
    # about 16 of 800 a variant; the mean of 40 within 5 standard errors, one false alarm in 1.7 million seeds
    n = marks.sum(axis=1)
    assert abs(n.mean() - others.sum(axis=1).mean()) < 5 * others.sum(axis=1).std() * np.sqrt(2 / 40)
    group = ds["sample_ancestry"].values == "group0"
    pairs = {tuple(row) for row in np.stack([others[:, group].sum(1), others[:, ~group].sum(1)], axis=1)}
    # copied numbers would all be among the real ones'
    assert not all((int(row[group].sum()), int(row[~group].sum())) in pairs for row in marks)


def test_missing_calls__are_not_of_women_because_they_have_no_y(traits):
    """A third of the variants are on Y, where half of the people have no call."""
    ds = linked_cohort(per_group=400, n_variants=600, missing=0.02)
    women = np.arange(800) % 4 < 2
    calls = ds["call_genotype"].values.copy()
    calls[np.ix_(np.arange(400, 600), women)] = -1
    ds = ds.assign(
        call_genotype=(ds["call_genotype"].dims, calls), contig_id=("contigs", np.array(["1", "Y"], object)),
        variant_contig=("variants", (np.arange(600) >= 400).astype(np.int32)),
    )  # fmt: skip
    cohort, key = watermark_cohort(ds, traits[0]["q"], None, HiddenWatermark(n=30, nulls=1), KEY)
    is_missing = (cohort["call_genotype"].values[rows_of(cohort, key)] < 0).any(axis=2)
    # about 480 missing calls, half of them of women: one false alarm in 1.7 million seeds
    n = is_missing.sum()
    assert abs(is_missing[:, women].sum() - n / 2) < 5 * np.sqrt(n) / 2


def test_watermarks__vary_even_where_no_frequency_is_asked_for(traits):
    ds = linked_cohort(n_variants=200)
    calls = ds["call_genotype"].values.copy()
    calls[::3] = 0
    ds = ds.assign(call_genotype=(ds["call_genotype"].dims, calls))
    params = HiddenWatermark(n=20, nulls=1)
    _, key = watermark_cohort(ds, traits[0]["q"], None, params, KEY, qc=QC(maf=0))
    assert key.expected["linear"].notna().all(axis=None)


def test_wald__has_no_result_where_hybrid_has_firths_and_signals_have_both():
    ds = linked_cohort(per_group=150, n_variants=300, seed=3)
    values = np.zeros(300)
    values[np.random.default_rng(1).permutation(300)[:8]] = 1
    trait = Trait("case", values, True)
    some = np.arange(300)
    wald, hybrid = (table_of(ds, some, trait, np.empty((300, 0)), name) for name in ("wald", "hybrid"))
    separated = wald["statistic"].isna() & hybrid["statistic"].notna()
    assert 5 < separated.sum() < 250
    np.testing.assert_array_equal(wald["beta"][~separated], hybrid["beta"][~separated])
    params = HiddenWatermark(n=8, z_min=1.5, z_max=2, nulls=0)
    cohort, key = watermark_cohort(ds, trait, None, params, KEY)
    again = table_of(cohort, np.sort(rows_of(cohort, key)), trait, np.empty((300, 0)), "wald")
    np.testing.assert_array_equal(again["statistic"], key.expected["hybrid"]["statistic"])


def test_names__follow_the_style_of_others():
    def names(*taken):
        return Names(np.array(taken, object), KEY.stream("x"))

    made = names("rs100").like(0, ("rs7", 5), ("rs12345678", 6), 9, ("A", "G"))
    assert made.startswith("rs123")
    assert made != "rs12345678"
    assert names().like(0, (".", 5), ("rs7", 6), 9, ("A", "G")) == "."
    assert names().like(0, ("1:55:C:T", 55), ("rs7", 6), 9, ("A", "G")) == "1:9:A:G"
    assert names().like(0, ("chr1_55_C_T_b38", 55), ("rs7", 6), 9, ("A", "G")) == "chr1_9_A_G_b38"
    assert names().like(0, ("1:55", 55), ("rs7", 6), 9, ("A", "G")) == "1:9"
    assert names().like(0, ("AX-0055", 5), ("AX-0055", 5), 9, ("A", "G")).startswith("AX-")
    # several styles in one cohort: that of the variant before it
    assert names().like(0, ("rs7000", 5), (".", 6), 9, ("A", "G")).startswith("rs")
    assert int(names().like(0, ("rs7000", 5), ("1:55", 55), 9, ("A", "G"))[2:]) < 13_000
    assert int(names().like(0, ("rs7000", 5), ("1:55:C:T", 55), 9, ("A", "G"))[2:]) < 13_000
    assert names().like(0, ("1:5", 5), ("rs7000", 55), 9, ("A", "G")) == "1:9"
    assert names().like(0, ("exm", 5), ("rs7000", 55), 9, ("A", "G")).startswith("exm_")
    full = [f"rs{k}" for k in range(1, 400)]
    assert names(*full).like(0, ("rs5", 5), ("rs5", 5), 9, ("A", "G")) not in full


def test_impossible_wishes__are_refused(ds, traits, small_cohort):
    trait = traits[0]["case"]
    with pytest.raises(DataError, match="lower z_min"):
        watermark_cohort(ds, trait, None, HiddenWatermark(n=2, z_min=60, z_max=70), KEY)
    with pytest.raises(ConfigError, match="below z_min"):
        HiddenWatermark(z_min=9)
    with pytest.raises(ConfigError, match="'firth' of a quantitative trait"):
        watermark_cohort(ds, traits[0]["q"], None, HiddenWatermark(n=2), KEY, asked="firth")
    with pytest.raises(DataError, match="needs cases and controls"):
        watermark_cohort(ds, Trait("x", np.ones(800), True), None, HiddenWatermark(n=2), KEY)
    with pytest.raises(DataError, match="a trait that varies, found 1 in all 800"):
        watermark_cohort(ds, Trait("x", np.ones(800), False), None, HiddenWatermark(n=2), KEY)
    with pytest.raises(DataError, match="no sample has it"):
        watermark_cohort(ds, Trait("x", np.full(800, np.nan), False), None, HiddenWatermark(n=2), KEY)
    few, part = (ds.isel(variants=slice(0, n)) for n in (20, 60))
    with pytest.raises(DataError, match="whose neighbours do"):
        watermark_cohort(few, trait, None, HiddenWatermark(n=2), KEY)
    with pytest.raises(DataError, match="more watermarks than places"):
        watermark_cohort(part, trait, None, HiddenWatermark(n=60, nulls=1), KEY)
    with pytest.raises(ConfigError, match="names of covariates"):
        watermark_cohort(ds, trait, traits[1], HiddenWatermark(n=2), KEY, names=("one",))
    with pytest.raises(DataError, match="every sample"):
        watermark_cohort(ds, trait, None, HiddenWatermark(n=2, kind="paper"), KEY)


def test_places__of_watermarks_that_fail_are_free_again(ds, traits):
    """Eight cases reach no such z: that is said, and not that there are too few places."""
    values = np.zeros(800)
    values[:8] = 1
    part = ds.isel(variants=slice(0, 120))
    with pytest.raises(DataError, match="after 20 attempts"):
        watermark_cohort(part, Trait("x", values, True), None, HiddenWatermark(n=6, z_min=8), KEY)


def test_lazy_cohort__is_shown_in_the_old_chunks(ds, traits):
    chunked = ds.assign(call_genotype=(("variants", "samples", "ploidy"), as_dask(source_of(ds), (100, 200))))
    cohort, _ = watermark_cohort(chunked, traits[0]["q"], None, HiddenWatermark(n=3), KEY)
    assert cohort["call_genotype"].data.chunksize == (100, 200, 2)
