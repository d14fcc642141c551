"""Streams: named, addressed, uniform, and silent about their keys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from genoweave.identifiers import random_ids
from genoweave.rng import Root

ROOT = Root.from_seed(1)


def test_stream__a_name_and_a_root_give_the_same_words_each_time():
    again = Root.from_seed(1).stream("a")
    assert (ROOT.stream("a").words(3, np.arange(50)) == again.words(3, np.arange(50))).all()


@pytest.mark.parametrize(
    "other", [ROOT.stream("b"), Root.from_seed(2).stream("a"), Root.from_seed(11).stream("a")]
)
def test_stream__another_name_or_root_gives_other_words(other):
    # 64 chances of an equal 32-bit word: one false alarm in 67 million
    assert (ROOT.stream("a").words(0, np.arange(64)) != other.words(0, np.arange(64))).all()


def test_root__from_system_is_new_each_time():
    assert Root.from_system().value != Root.from_system().value
    assert len(Root.from_system().value) == 32


def test_repr__shows_no_key():
    root = Root.from_system()
    stream = root.stream("x")
    for text in (repr(root), str(root), repr(stream), str(stream)):
        assert root.value.hex() not in text
        assert repr(root.value) not in text
        assert str(stream.key[0]) not in text


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=30), st.integers(0, 2**40))
def test_stream__any_columns_give_their_own_numbers(columns, row):
    stream = ROOT.stream("columns")
    assert (stream.words64(row, np.array(columns)) == stream.words64(row, 1001)[columns]).all()
    assert (stream.normals(row, np.array(columns)) == stream.normals(row, 1001)[columns]).all()


def test_uniforms_and_normals__have_their_distributions():
    # Kolmogorov-Smirnov at 1e-6, twice
    stream = ROOT.stream("distribution")
    uniform, normal = stream.uniforms(0, 50_000), stream.normals(1, 50_000)
    assert uniform.min() > 0
    assert uniform.max() < 1
    assert kstest(uniform, "uniform").pvalue > 1e-6
    assert kstest(normal, "norm").pvalue > 1e-6
    assert np.isfinite(normal).all()


def test_permutation__is_uniform():
    # chi-square over the 24 orders of 4, at 1e-6
    stream = ROOT.stream("orders")
    orders = np.array([stream.permutation(row, 4) for row in range(6000)])
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    _, counts = np.unique(orders @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-6


def test_random_ids__are_unique_ten_digit_numbers():
    ids = random_ids(ROOT, 0, 5000)
    assert len(set(ids)) == 5000
    assert all(len(i) == 10 and i.isdigit() and i[0] != "0" for i in ids)


@given(st.integers(0, 400), st.integers(0, 200))
def test_random_ids__parts_of_one_sequence_do_not_overlap(start, count):
    whole = random_ids(ROOT, 0, 600)
    assert random_ids(ROOT, start, count).tolist() == whole[start : start + count].tolist()


def test_random_ids__hang_from_the_key():
    # 2,000 x 2,000 pairs of ids out of 9e9: a shared id has probability 4e-4 with any two keys
    assert not set(random_ids(ROOT, 0, 2000)) & set(random_ids(Root.from_seed(2), 0, 2000))
