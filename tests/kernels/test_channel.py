"""Flips: draw by draw against the reference; rates and independence against the transition matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import flips
from scipy.stats import chi2

from genoweave.kernels.channel import BLOCK_SLOTS, flip, slot_blocks, tables_of
from genoweave.kernels.gather import take_samples
from genoweave.kernels.packed import pack_dosages, unpack_dosages, width

KEY = np.arange(1, 9, dtype=np.uint32)
SKEWED = [[0.9, 0.07, 0.03], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]]


def packed_of(dosage):
    out = np.empty((len(dosage), width(dosage.shape[1])), np.uint8)
    pack_dosages(dosage, out)
    return out


def perturbed(dosage, matrix, slots=None, donors=None, rows=None, attempt=0, columns=None, key=KEY):
    """Dosages of copies of the donors, in the order of the slots, after the channel."""
    slots = np.arange(dosage.shape[1]) if slots is None else np.asarray(slots)
    donors = np.arange(len(slots)) if donors is None else np.asarray(donors)
    rows = np.arange(len(dosage)) if rows is None else np.asarray(rows, np.int64)
    columns = np.arange(len(slots)) if columns is None else np.asarray(columns)
    out = np.full((len(dosage), width(len(slots))), 0x55, np.uint8)
    source = np.empty(len(slots), np.int64)
    source[columns] = donors
    take_samples(packed_of(dosage), source, out)
    flip(out, rows, key, attempt, *slot_blocks(slots, columns), tables_of(np.array(matrix)))
    return unpack_dosages(out, len(slots))[:, columns]


def syngen6(epsilon):
    return flips.transition(epsilon, "syngen6")


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.3, 12), st.sampled_from(["syngen6", "strict"]))
def test_flip__equals_the_reference_draw_by_draw(seed, epsilon, mechanism):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(-1, 3, (18, 9)).astype(np.int8)
    first = BLOCK_SLOTS * int(rng.integers(0, 1000)) - int(rng.integers(0, 60))
    slots = max(0, first) + rng.permutation(120)[:60]  # across the border of two blocks
    donors, attempt = rng.integers(0, 9, 60), int(rng.integers(0, 2**32))
    rows = rng.integers(0, 2**62, 18)
    matrix = flips.transition(epsilon, mechanism)
    found = perturbed(dosage, matrix, slots, donors, rows, attempt)
    for v in (0, 7, 17):
        true = dict(zip(slots.tolist(), dosage[v, donors].tolist(), strict=True))
        expected = flips.perturbed(true, KEY.tolist(), int(rows[v]), attempt, matrix)
        assert found[v].tolist() == [expected[slot] for slot in slots.tolist()]


@pytest.mark.parametrize(
    "matrix", [SKEWED, syngen6(0.01), syngen6(6.0), np.roll(np.eye(3), 1, axis=1).tolist()],
    ids=["skewed", "often", "seldom", "always"],
)  # fmt: skip
def test_flip__a_whole_block_equals_the_reference(matrix):
    # far more draws than are made ahead, and gaps longer than the table
    dosage = np.random.default_rng(5).integers(-1, 3, (2, 1500)).astype(np.int8)
    slots = np.random.default_rng(6).permutation(1500)
    found = perturbed(dosage, matrix, slots)
    for v in range(2):
        true = dict(zip(slots.tolist(), dosage[v].tolist(), strict=True))
        expected = flips.perturbed(true, KEY.tolist(), v, 0, matrix)
        assert found[v].tolist() == [expected[slot] for slot in slots.tolist()]


@pytest.mark.parametrize("matrix", [SKEWED, *(syngen6(e) for e in (0.5, 2.0, 6.0))])
@pytest.mark.parametrize("true", [0, 1, 2])
def test_flip__rates_are_those_of_the_matrix(matrix, true):
    # chi-square at 1e-6: one false alarm in 1e6 choices of key, 12 cases
    n = 4_000_000
    found = np.bincount(perturbed(np.full((200, n // 200), true, np.int8), matrix).ravel(), minlength=3)
    probability = np.array(matrix[true])
    possible = probability > 0
    assert (found[~possible] == 0).all(), "0 and 2 never become each other"
    expected = n * probability[possible]
    statistic = ((found[possible] - expected) ** 2 / expected).sum()
    assert statistic <= chi2.isf(1e-6, max(1, possible.sum() - 1))


@pytest.mark.parametrize("epsilon", [1.0, 6.0])
def test_flip__every_slot_is_hit_alike(epsilon):
    # 20,000 slots from the first of a block to the last, 2,000 variants: chi-square at 1e-6 for each
    rate = flips.leaving(syngen6(epsilon))
    changed = perturbed(np.zeros((2000, 20_000), np.int8), syngen6(epsilon)) != 0
    for axis, n in ((0, 2000), (1, 20_000)):
        hits = changed.sum(axis=axis)
        statistic = ((hits - n * rate) ** 2 / (n * rate * (1 - rate))).sum()
        assert chi2.isf(1 - 5e-7, hits.size) < statistic < chi2.isf(5e-7, hits.size)


@pytest.mark.parametrize("epsilon", [1.0, 6.0])
@pytest.mark.parametrize(("variants", "slots"), [(0, 1), (0, 2), (1, 0), (1, 1), (16, 0), (0, 8), (0, 500)])
def test_flip__neighbours_are_independent(epsilon, variants, slots):
    # pairs at this distance that both changed: |z| < 5, one false alarm in 1.7 million each
    rate = flips.leaving(syngen6(epsilon))
    changed = perturbed(np.ones((2000, 20_000), np.int8), syngen6(epsilon)) != 1
    one = changed[: len(changed) - variants, : changed.shape[1] - slots]
    other = changed[variants:, slots:]
    together = int((one & other).sum())
    # by inclusion of both margins: the variance of a count of products of independent indicators
    expected = one.size * rate**2
    error = np.sqrt(one.size * rate**2 * (1 - rate**2) + 4 * one.size * rate**3)
    assert abs(together - expected) < 5 * error


def test_flip__the_choice_does_not_depend_on_the_gap():
    # heterozygotes become 0 or 2 with equal chances whatever the distance to the last change; |z| < 5 for
    # each of 10 classes of distance: one false alarm in 170,000
    found = perturbed(np.ones((4000, 8192), np.int8), syngen6(6.0))
    rows, places = np.nonzero(found != 1)
    gap = np.diff(places)[np.diff(rows) == 0]
    upward = (found[rows, places] == 2)[1:][np.diff(rows) == 0]
    for part in np.array_split(np.argsort(gap), 10):
        assert abs(upward[part].sum() - len(part) / 2) < 2.5 * np.sqrt(len(part))


@pytest.mark.parametrize("epsilon", [1e-3, 1.0, 6.0, 50.0])
def test_flip__missing_stays_missing_and_nothing_else_goes_missing(epsilon):
    dosage = np.tile(np.array([-1, 0, 1, 2], np.int8), (50, 100))
    assert ((perturbed(dosage, syngen6(epsilon)) == -1) == (dosage == -1)).all()


@pytest.mark.parametrize("matrix", [syngen6(50.0), np.eye(3).tolist()])
def test_flip__what_should_not_change_does_not(matrix):
    dosage = np.tile(np.array([0, 1, 2], np.int8), (50, 100))
    assert (perturbed(dosage, matrix) == dosage).all()


@given(st.integers(0, 10_000), st.integers(1, 39), st.integers(0, 3))
def test_flip__any_part_of_variants_and_slots_in_any_order_gives_the_same(seed, n, attempt):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 3, (40, 40)).astype(np.int8)
    slots = BLOCK_SLOTS - 20 + np.arange(40)
    whole = perturbed(dosage, syngen6(1.0), slots, attempt=attempt)
    chosen, rows = rng.permutation(40)[:n], np.sort(rng.permutation(40)[:n])
    part = perturbed(
        dosage[rows], syngen6(1.0), slots[chosen], chosen, rows, attempt, columns=rng.permutation(n)
    )
    assert (part == whole[np.ix_(rows, chosen)]).all()


def test_flip__copies_of_one_donor_have_their_own_noise():
    changed = perturbed(np.ones((5000, 1), np.int8), syngen6(2.0), slots=[0, 1], donors=[0, 0]) != 1
    share = 2 / (np.exp(2) + 2)
    together = (changed[:, 0] & changed[:, 1]).mean()
    # |z| < 5: one false alarm in 1.7 million
    assert abs(together - share**2) < 5 * np.sqrt(share**2 / 5000)


@pytest.mark.parametrize(
    "other", [{"attempt": 1}, {"key": KEY ^ np.uint32(1)}, {"rows": np.arange(2000) + 2**32}]
)
def test_flip__another_attempt_key_or_row_is_another_draw(other):
    dosage = np.ones((2000, 1), np.int8)
    first, second = perturbed(dosage, syngen6(0.5)), perturbed(dosage, syngen6(0.5), **other)
    q = 1 / (np.exp(0.5) + 2)
    same = 2 * q**2 + (1 - 2 * q) ** 2
    # |z| < 5: one false alarm in 1.7 million
    assert abs((first == second).mean() - same) < 5 * np.sqrt(same * (1 - same) / 2000)


def test_flip__changes_the_columns_of_its_slots_only():
    dosage = np.ones((300, 9), np.int8)
    packed = packed_of(dosage)
    tables = tables_of(np.array([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]]))
    flip(packed, np.arange(300), KEY, 0, *slot_blocks(np.array([7, 3]), np.array([8, 2])), tables)
    found = unpack_dosages(packed, 9)
    assert (found[:, [2, 8]] != 1).all()
    assert (np.delete(found, [2, 8], axis=1) == 1).all()
    assert (packed[:, 2] >> 2 == 0x55 >> 2).all(), "padding stays missing"


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 6.0, 8.0, 12.0])
def test_tables_of__probabilities_are_within_two_to_the_minus_32(epsilon):
    matrix = np.array(syngen6(epsilon))
    tables = tables_of(matrix)
    longest = len(tables.cumulative) - 1
    exact = 1 - (1 - tables.rate) ** np.arange(1, longest + 1)
    np.testing.assert_allclose(tables.cumulative[:-1] / 2**32, exact, rtol=0, atol=2**-33 * 1.001 + 1e-15)
    assert tables.accept.tolist() == [[0, 2**32], [0, 0], [2**31, 2**32], [2**32, 2**32]]
    cells = np.arange(len(tables.guide), dtype=np.uint64) << np.uint64(32 - 12)
    assert tables.guide.tolist() == [int((tables.cumulative <= c).sum()) for c in cells]
