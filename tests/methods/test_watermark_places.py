"""Places and patterns of QC-proof watermarks: linked as they say, and as real variants are."""

import helpers
import numpy as np
import pytest
from linked import linked_cohort

from genoweave.errors import DataError
from genoweave.genotypes import read_dosage, source_of
from genoweave.methods.gwas import Trait
from genoweave.methods.qc import QC
from genoweave.methods.watermark import HiddenWatermark, watermark_cohort
from genoweave.methods.watermark.designed import draw_genotypes
from genoweave.methods.watermark.distinguish import distinguish, rows_of
from genoweave.methods.watermark.hiding import _Maker
from genoweave.methods.watermark.neighbours import read_variants
from genoweave.methods.watermark.panel import REACH, centred, read_panel
from genoweave.methods.watermark.patterns import N_NEIGHBOURS, patterns
from genoweave.methods.watermark.places import Places
from genoweave.rng import Root

KEY = Root(bytes(range(32)))


@pytest.fixture(scope="module")
def ds():
    return linked_cohort(per_group=1500, n_variants=400, missing=0.0, seed=11)


@pytest.fixture(scope="module")
def panel(ds):
    return read_panel(ds)


@pytest.fixture(scope="module")
def within(ds, panel):
    """Dosages less the means of their strata, float64 (variants, samples)."""
    columns = [np.flatnonzero(panel.stratum == k) for k in range(panel.n_strata)]
    return centred(read_dosage(source_of(ds), 0, ds.sizes["variants"]), columns), columns


def correlated(x, rows):
    scale = np.sqrt((x @ x) * np.einsum("ij,ij->i", rows, rows))
    return np.divide(rows @ x, scale, out=np.zeros(len(rows)), where=scale > 0)


def around(row, n):
    return np.arange(max(0, row - REACH), min(n, row + REACH + 1))


def made(ds, panel, words=None):
    rows = np.flatnonzero(panel.passes)
    rows = rows[(rows > 20) & (rows < ds.sizes["variants"] - 20)]
    words = np.arange(len(rows)).astype(np.uint64) * np.uint64(7919) if words is None else words
    return rows, patterns(panel, ds["variant_contig"].values, rows, words)


def test_variants__are_explained_as_by_least_squares(ds, panel, within):
    x, _ = within
    contig = ds["variant_contig"].values
    rows = np.arange(60, 140)
    known = read_variants(panel, contig, rows)
    for k, row in enumerate(rows):
        near = around(row, len(x))
        near = near[(near != row) & (contig[near] == contig[row])]
        found = known.linked[k][near - row + REACH]
        np.testing.assert_allclose(found, correlated(x[row], x[near]), atol=1e-9)
        fitted = x[near].T @ np.linalg.lstsq(x[near].T, x[row], rcond=None)[0]
        # a ridge of 0.02, and less what 30 regressors explain by chance of 3,000 people
        assert abs(known.explained[k] - (fitted @ fitted) / (x[row] @ x[row])) < 0.05


def test_patterns_of_one__are_linked_as_regression_on_the_neighbours_says(ds, panel, within):
    x, _ = within
    rows, found = made(ds, panel)
    for j in range(0, len(rows), 9):
        near = found.near[j][found.tells[j]]
        assert (np.diff(near) > 0).all()
        assert rows[j] not in near
        fitted = x[near].T @ np.linalg.lstsq(x[near].T, x[rows[j]], rcond=None)[0] if len(near) else None
        if fitted is None or fitted @ fitted < 0.05 * (x[rows[j]] @ x[rows[j]]):
            continue
        share = np.sqrt((fitted @ fitted) / (x[rows[j]] @ x[rows[j]]))
        everything = around(rows[j], len(x))
        everything = everything[ds["variant_contig"].values[everything] == 0]
        expected = share * correlated(fitted, x[everything])
        if ds["variant_contig"].values[rows[j]] == 0:
            np.testing.assert_allclose(found.linked[j][everything - rows[j] + REACH], expected, atol=0.01)


def disjoint_cohort():
    """Every third variant's carriers are those of neither of the two before it, and theirs are disjoint."""
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, (150, 900, 2))
    alleles = np.stack([kind == 0, kind == 1, kind != 2], axis=1).reshape(450, 900, 2)
    noise = rng.random(alleles.shape) < 0.0005
    return helpers.cohort((alleles ^ noise).sum(axis=2).astype(np.int8))


def test_patterns_of_two__are_of_sums_that_are_alleles():
    ds = disjoint_cohort()
    panel = read_panel(ds)
    x = centred(read_dosage(source_of(ds), 0, 450), [np.arange(900)])
    rows, found = made(ds, panel)
    pairs = np.arange(len(rows), len(found.rows))
    assert len(pairs) > 0.9 * len(rows)
    assert (found.tells[pairs].sum(axis=1) == 2).all()
    assert (found.explained[pairs] > 0.4).all()
    assert (found.explained[pairs] <= 1).all()
    for j in pairs[::11]:
        one, two = found.near[j, :2]
        assert 0 < two - one <= 6
        sums = {
            (a, b, c): a * x[one] + b * x[two] for a, b, c in ((1, 1, 0), (1, -1, 0), (-1, 1, 0), (1, 1, -1))
        }
        means = {s: s[0] * panel.mean[one] + s[1] * panel.mean[two] + s[2] for s in sums}
        fits = [s for s in sums if abs(means[s] - found.frequency[j, 0]) < 1e-9]
        r = np.sqrt(found.explained[j]) * correlated(sums[fits[0]], x[around(found.rows[j], 450)])
        # standard deviations are of Hardy-Weinberg proportions: 900 people, five standard errors
        window = found.linked[j][around(found.rows[j], 450) - found.rows[j] + REACH]
        np.testing.assert_allclose(window, r, atol=0.06)


def test_alleles__are_linked_and_as_frequent_as_planned(ds, panel, within):
    """120 draws of 3,000 people: errors of correlations have a standard deviation of at most 0.018."""
    x, columns = within
    contig, position = ds["variant_contig"].values, ds["variant_position"].values
    places = Places(panel, contig, position, KEY)
    stream = KEY.stream("test")
    errors, followed = [], []
    for row in range(120):
        place = places.draw(row, 0)
        assert position[place.left] < place.position < position[place.left + 1]
        assert len(place.near) <= N_NEIGHBOURS
        g = (
            np.stack([read_dosage(source_of(ds), v, v + 1)[0] for v in place.near])
            if len(place.near)
            else None
        )
        g = np.empty((0, ds.sizes["samples"]), np.int8) if g is None else g
        dosage = draw_genotypes(g, place, panel, stream, row).dosage
        drawn = centred(dosage[None], columns)[0]
        errors += (correlated(drawn, x[place.near]) - place.r).tolist()
        followed.append(len(place.near))
        for k, some in enumerate(columns):
            p = place.frequency[k]
            error = np.sqrt(p * (1 - p) / (2 * len(some)))
            assert abs(dosage[some].mean() / 2 - p) < 6 * error + 1e-12
    assert np.mean(followed) > 2
    assert np.sqrt(np.mean(np.square(errors))) < 0.04
    assert abs(np.mean(errors)) < 0.01


def test_places__are_never_beside_each_other_and_free_again(ds, panel):
    places = Places(panel, ds["variant_contig"].values, ds["variant_position"].values, KEY)
    before = places.free.copy()
    drawn = [places.draw(row, 0) for row in range(40)]
    left = np.sort([place.left for place in drawn])
    assert (np.diff(left) > 1).all()
    for place in drawn:
        places.give_back(place)
    np.testing.assert_array_equal(places.free, before)


def test_places__are_on_the_chromosome_of_what_they_follow(ds, panel):
    contig = ds["variant_contig"].values
    assert len(np.unique(contig)) == 2
    places = Places(panel, contig, ds["variant_position"].values, KEY)
    assert (contig[places.left] == contig[places.patterns.rows[places.pattern]]).all()
    for j in range(len(places.patterns.rows)):
        near = places.patterns.near[j][places.patterns.tells[j]]
        assert (contig[near] == contig[places.patterns.rows[j]]).all()


def test_panel__has_a_frequency_where_nobody_of_a_stratum_is_called():
    ds = linked_cohort(per_group=200, n_variants=100, missing=0.0)
    calls = ds["call_genotype"].values.copy()
    calls[5, ds["sample_ancestry"].values == "group1"] = -1
    filled = read_panel(ds.assign(call_genotype=(ds["call_genotype"].dims, calls)))
    before = read_panel(ds)
    assert filled.frequency[5, 0] == filled.frequency[5, 1] == before.frequency[5, 0]
    assert filled.missing[5].tolist() == [0, 200]
    np.testing.assert_array_equal(np.delete(filled.frequency, 5, 0), np.delete(before.frequency, 5, 0))


def test_places__without_room_are_counted(ds, panel):
    adjacent = np.arange(5, 5 + ds.sizes["variants"])
    with pytest.raises(DataError, match=r"wanted 30 of them and of gaps between such, found 3\d\d and 0"):
        Places(panel, ds["variant_contig"].values, adjacent, KEY)


def test_unlinked_variants__are_imitated_by_unlinked_alleles():
    """Neighbours that tell nothing are not followed: linkage by chance would be there twice."""
    ds = helpers.balding_nichols(n_groups=3, per_group=500, n_variants=600, fst=0.05, seed=9)
    position = np.sort(np.random.default_rng(8).choice(10**7, 600, replace=False)) + 1
    ds = ds.assign(variant_position=("variants", position.astype(np.int32)))
    panel = read_panel(ds)
    places = Places(panel, ds["variant_contig"].values, ds["variant_position"].values, KEY)
    followed = [len(places.draw(row, 0).near) for row in range(60)]
    # of 30 around, one in 500 variants has one by chance
    assert np.mean(np.array(followed) > 0) < 0.1
    case = (np.random.default_rng(1).random(1500) < 0.5).astype(float)
    params = HiddenWatermark(n=60, z_min=3, z_max=5)
    cohort, key = watermark_cohort(ds, Trait("case", case, True), None, params, KEY)
    found = distinguish(cohort, rows_of(cohort, key))
    assert max(abs(x - 0.5) for x in (*found.auc.values(), *found.auc_together.values())) < 1.2 * found.band


def test_nulls__are_those_whose_neighbours_leave_nothing_to_an_association():
    """A third of the variants have a copy beside them: nothing is left to a watermark made after them."""
    base = linked_cohort(per_group=400, n_variants=260, missing=0.0, seed=4)
    twice = np.sort(np.concatenate([np.arange(260), np.arange(0, 240, 4)]))
    dosage = base["call_genotype"].values.sum(axis=2).astype(np.int8)[twice]
    position = 1 + np.cumsum(np.random.default_rng(5).exponential(3000, len(twice)).astype(int) + 2)
    ds = helpers.cohort(dosage, base["sample_ancestry"].values.tolist(), position=position)
    q = np.random.default_rng(2).normal(size=ds.sizes["samples"])
    params = HiddenWatermark(n=40, z_min=4, z_max=6)
    maker = _Maker(ds, Trait("q", q, False), np.empty((len(q), 0)), params, KEY, "linear", QC())
    targets = maker._targets()
    explained = maker.places.known.explained[[maker.places.template(row, 0) for row in range(40)]]
    tight = explained > maker.most_told
    assert (targets == 0).sum() == 20
    assert 5 < tight.sum() <= 20
    assert (targets[tight] == 0).all()
    _, key = watermark_cohort(ds, Trait("q", q, False), None, params, KEY)
    z = key.expected["linear"]["statistic"].abs()
    assert (z[key.watermarks["role"] == "signal"] > 3.9).all()
