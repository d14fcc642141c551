"""The low-quality filter: what it rejects, what it must leave alone, and that it says so."""

import tracemalloc

import helpers
import numpy as np
import pytest
from scipy.stats import chi2

from genoweave.errors import StageError
from genoweave.genotypes import PackedSource, as_dask, select
from genoweave.kernels.packed import pack_dosages, unpack_dosages
from genoweave.methods.pca import PCA, pca, project
from genoweave.methods.synthesis import Synthesis, choose_donors, synthesize
from genoweave.methods.synthesis.channel import flip_probability, mechanism
from genoweave.methods.synthesis.filter import Axes, Candidates, Spread, judge_candidates, real_records
from genoweave.rng import Root

KEY = Root(bytes(range(32)))


def columns(dosage):
    return {record.tobytes() for record in np.ascontiguousarray(dosage.T)}


@pytest.fixture(scope="module")
def few_variants():
    """3 groups x 40 people over 200 variants, where 37 % of all copies have no flip."""
    return helpers.balding_nichols(3, 40, 200, monomorphic=0, missing=0.01, seed=12)


def test_synthesize__no_record_is_identical_to_a_real_one(few_variants):
    made = synthesize(few_variants, Synthesis(per_group=200), key=KEY)
    assert not columns(helpers.dosage_of(made)) & columns(helpers.dosage_of(few_variants))


def test_choose_donors__identical_records_are_counted_as_often_as_they_should_be(few_variants):
    model = pca(few_variants, PCA(n_components=2, ld_prune=False))
    groups = choose_donors(few_variants, model, Synthesis(per_group=200), KEY).groups
    called = (helpers.dosage_of(few_variants) >= 0).sum(axis=0)
    p = np.mean((1 - 2 * flip_probability(6)) ** called)
    # negative binomial over 600 records; |z| < 5: one false alarm in 1.7 million
    expected, error = 600 * p / (1 - p), np.sqrt(600 * p) / (1 - p)
    assert abs(groups["rejected_identical"].sum() - expected) < 5 * error
    assert (groups["n_synthetic"] == 200).all()


def test_choose_donors__many_variants_make_no_identical_records(small_cohort):
    model = pca(small_cohort, PCA(n_components=2, ld_prune=False))
    groups = choose_donors(small_cohort, model, Synthesis(per_group=100, epsilon=3.0), KEY).groups
    # (1 - 2q)^690 = 1e-28
    assert groups["rejected_identical"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("quantile", [0.9, 0.999])
def test_choose_donors__few_records_lie_outside(small_cohort, quantile):
    model = pca(small_cohort, PCA(n_components=10, ld_prune=False))
    params = Synthesis(per_group=600, filter_quantile=quantile)
    groups = choose_donors(small_cohort, model, params, KEY).groups
    # a record has to pass a bound that its quantile of the copies keeps, so at most 1 - quantile are lost;
    # 1,800 records, with five standard errors to spare
    lost = groups["rejected_outside"].sum() / 1800
    assert lost < (1 - quantile) + 5 * np.sqrt((1 - quantile) / 1800)


@pytest.mark.parametrize("quantile", [0.9, 0.999])
@pytest.mark.parametrize("epsilon", [3.0, 6.0])
def test_synthesize__the_filter_leaves_every_groups_frequencies_alone(epsilon, quantile):
    # one group holds admixed people, who lie far out: losing them would move its frequencies
    rng = np.random.default_rng(4)
    a, b = rng.uniform(0.1, 0.9, (2, 1200))
    share = np.r_[np.zeros(35), 0.9, 0.7, 0.6, 0.5, 0.4]
    mixed = rng.binomial(2, a[:, None] * (1 - share) + b[:, None] * share).astype(np.int8)
    plain = helpers.hardy_weinberg(b, 40, rng)
    ds = helpers.cohort(np.stack([mixed, plain], axis=2).reshape(1200, 80), ["mixed", "plain"] * 40)
    model = pca(ds, PCA(n_components=6, ld_prune=False))
    params = Synthesis(per_group=400, epsilon=epsilon, filter_quantile=quantile)
    made = synthesize(ds, params, key=KEY, model=model)
    dosage, q = helpers.dosage_of(made), flip_probability(epsilon)
    for name, real in (("mixed", mixed), ("plain", plain)):
        synthetic = dosage[:, made["sample_ancestry"].values == name]
        g = real.astype(float)
        expected = 10 * (2 * q + (1 - 2 * q) * g).sum(axis=1)
        variance = 10 * np.where(g == 1, 2 * q, 2 * q - 4 * q**2).sum(axis=1)
        z = (synthetic.sum(axis=1) - expected) / np.sqrt(variance)
        # 1,200 variants: mean and sum of squares out of bounds once in 1e6 each; at epsilon 6 there are
        # two flips a variant, and their excess kurtosis of 1/2 widens the sum of squares by an eighth
        assert abs(z.mean()) < 4.9 / np.sqrt(1200)
        assert chi2.isf(1 - 1e-8, 1200) < (z**2).sum() < chi2.isf(1e-8, 1200)
        # what the filter could move is the leading axes: weighted by the loadings, |z| < 5 on each
        for axis in model["variant_pca_loading"].values[:, :3].T:
            assert abs(axis @ z) < 5


def test_choose_donors__people_far_from_their_group_are_copied_like_the_others(small_cohort):
    labels = small_cohort["sample_ancestry"].values.copy()
    labels[0] = "group1"  # born in group0
    ds = small_cohort.assign(sample_ancestry=("samples", labels))
    model = pca(ds, PCA(n_components=5, ld_prune=False))
    donors = choose_donors(ds, model, Synthesis(per_group=180), KEY)
    copies = donors.table["donor"].value_counts()
    # 180 of 61, 60 and 59 people: everybody is used two to four times
    assert copies[0] in (2, 3)
    assert copies.between(2, 4).all()
    assert len(copies) == 180


def test_synthesize__copies_lie_near_their_donors(small_cohort):
    model = pca(small_cohort, PCA(n_components=2, ld_prune=False))
    params = Synthesis(per_group=120)
    donors = choose_donors(small_cohort, model, params, KEY)
    made = synthesize(small_cohort, params, key=KEY, model=model)
    distance = project(made, model) - model["sample_pca_projection"].values[donors.table["donor"]]
    between = np.ptp(model["sample_pca_projection"].values, axis=0)
    assert (np.abs(distance).max(axis=0) < 0.2 * between).all()


def test_spread__distances_are_mahalanobis():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 3)) + [5, -2, 1]
    spread = Spread.of(scores, 0.99)
    x = scores - scores.mean(axis=0)
    expected = np.sqrt((x @ np.linalg.inv(np.cov(scores.T)) * x).sum(axis=1))
    np.testing.assert_allclose(spread.distances(scores), expected, rtol=1e-10)
    assert spread.limit >= np.sqrt(chi2.ppf(0.99, 3))
    assert spread.limit >= np.quantile(expected, 0.99) * (1 - 1e-12)


def some_axes(n_variants, n_components=10):
    rng = np.random.default_rng(9)
    return Axes(rng.uniform(0.1, 0.9, n_variants), rng.normal(size=(n_variants, n_components)))


@pytest.mark.parametrize("n_components", [1, 10, 35])
def test_real_records__are_expected_copies_on_the_axes(small_cohort, n_components):
    channel, axes = mechanism("syngen6", 3.0), some_axes(700, n_components)
    dosage = helpers.dosage_of(small_cohort)
    image = np.where(dosage < 0, 0, (channel.transition @ np.arange(3))[dosage] - 2 * axes.frequency[:, None])
    real = real_records(small_cohort, axes, channel)
    np.testing.assert_allclose(real.images, image.T @ axes.loading, rtol=1e-9, atol=1e-9)
    assert len(real.known) == len(columns(dosage)) == 180


def test_real_records__equal_records_have_one_fingerprint(small_cohort):
    twice = np.repeat(helpers.dosage_of(small_cohort)[:, :50], 2, axis=1)
    real = real_records(helpers.cohort(twice), some_axes(700), mechanism("syngen6", 3.0))
    assert len(real.known) == 50


@pytest.mark.parametrize("chunks", [(700, 180), (100, 7), (1, 180), (700, 1)])
def test_real_records__the_same_bits_for_any_chunks(small_cohort, chunks):
    axes, channel = some_axes(700), mechanism("syngen6", 3.0)
    whole = real_records(small_cohort, axes, channel)
    again = real_records(helpers.rechunked(small_cohort, *chunks), axes, channel)
    assert (again.images == whole.images).all()
    assert (again.known == whole.known).all()


class _ManyPeople(PackedSource):
    """300,000 heterozygotes over a tile of variants, made when read."""

    shape = (1024, 300_000, 2)

    def read_packed(self, v0, v1, s0, s1):
        return np.full((v1 - v0, (s1 - s0 + 3) // 4), 0b10101010, np.uint8)


def test_real_records__memory_does_not_hold_a_tile_of_a_large_cohort():
    calls = as_dask(_ManyPeople(), (1024, 4096))
    ds = select(helpers.cohort(np.zeros((1024, 1), np.int8)), samples=np.arange(0)).drop_dims("samples")
    ds["call_genotype"] = (("variants", "samples", "ploidy"), calls)
    axes, channel = some_axes(1024), mechanism("syngen6", 6.0)
    tracemalloc.start()
    real = real_records(ds, axes, channel)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(real.known) == 1
    # 96 bytes a sample are the result, as much again its sorting; a tile in float64 would be 2.5 GB
    assert peak < 200e6


def test_judge_candidates__scores_are_those_of_the_perturbed_records(small_cohort):
    rng = np.random.default_rng(2)
    axes, channel = some_axes(700), mechanism("syngen6", 1.0)
    batches = [
        Candidates(rng.integers(0, 180, n), rng.permutation(20_000)[:n], attempt, KEY.stream("x"), channel)
        for n, attempt in ((9000, 0), (3, 4))
    ]
    judged = judge_candidates(small_cohort, axes, batches, np.array([], "u8,u8"), "judge")
    source = helpers.dosage_of(small_cohort)
    packed = np.empty((700, 45), np.uint8)
    pack_dosages(source, packed)
    for batch, (identical, scores) in zip(batches, judged, strict=True):
        made = unpack_dosages(batch.packed(packed, np.arange(700)), len(batch.slots))
        assert ((made < 0) == (source[:, batch.donors] < 0)).all()
        expected = np.where(made < 0, 0, made - 2 * axes.frequency[:, None]).T @ axes.loading
        np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)
        assert not identical.any()


def test_synthesize__gives_up_with_advice_that_helps():
    ds = helpers.balding_nichols(2, 20, 150, monomorphic=0, seed=1)
    with pytest.raises(StageError, match=r"group0, group1.*rejected in each of 3 draws") as caught:
        synthesize(ds, Synthesis(per_group=20, epsilon=50.0, max_rounds=3), key=KEY)
    # every record was identical to its donor: still fewer flips cannot help
    assert "raise [synthesis] epsilon" not in " ".join(str(caught.value).split())


def test_synthesize__without_a_model_it_fits_its_own(small_cohort):
    part = select(small_cohort, np.arange(0, 700, 2))
    made = synthesize(part, Synthesis(per_group=20), key=KEY)
    assert dict(made.sizes) | {"variants": 350, "samples": 60} == dict(made.sizes)


def test_synthesize__samples_without_a_label_are_no_donors(small_cohort):
    labels = small_cohort["sample_ancestry"].values.copy()
    labels[::2] = ""
    ds = small_cohort.assign(sample_ancestry=("samples", labels))
    model = pca(ds, PCA(n_components=2, ld_prune=False))
    donors = choose_donors(ds, model, Synthesis(per_group=50), KEY)
    assert (donors.table["donor"] % 2 == 1).all()
    assert set(donors.table["group"]) == {"group0", "group1", "group2"}
