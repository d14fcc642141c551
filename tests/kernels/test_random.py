"""Random words are ChaCha20's, and depend on their address alone."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import chacha

from genoweave.kernels.random import LANES, chacha20_lanes, words_at

U32 = st.integers(0, 2**32 - 1)
KEYS = st.lists(U32, min_size=8, max_size=8)
SIXTEEN = st.lists(U32, min_size=LANES, max_size=LANES)
KEY = np.arange(8, dtype=np.uint32) * np.uint32(0x9E3779B1)


@numba.njit
def _lanes(key, counter, n0, n1, n2, out):
    chacha20_lanes(key, counter, n0, n1, np.uint32(n2), out)


def blocks(key, counter, n0, n1, n2):
    """The 16 blocks of 16 lanes, a row each."""
    out = np.empty(256, np.uint32)
    lanes = [np.array(x, np.uint32) for x in (counter, n0, n1)]
    _lanes(np.array(key, np.uint32), *lanes, n2, out)
    return out.reshape(16, LANES).T


def words(row, columns, attempt=0, key=KEY):
    columns = np.asarray(columns, np.int64)
    out = np.empty(len(columns), np.uint32)
    words_at(key, row, columns, attempt, out)
    return out


def test_chacha20_lanes__rfc_8439_section_2_3_2():
    key = np.frombuffer(bytes(range(32)), "<u4")
    nonce = np.frombuffer(bytes.fromhex("000000090000004a00000000"), "<u4")
    expected = """
        e4e7f110 15593bd1 1fdd0f50 c47120a3 c7f4d1c7 0368c033 9aaa2204 4e6cd4c3
        466482d2 09aa9f07 05d7c214 a2028bd9 d19c12b5 b94e16de e883d0cb 4e3c50a2
    """
    made = blocks(key, [1] * LANES, [nonce[0]] * LANES, [nonce[1]] * LANES, nonce[2])
    for lane in made:
        assert [f"{word:08x}" for word in lane] == expected.split()
    assert [f"{word:08x}" for word in chacha.block(key.tolist(), 1, nonce.tolist())] == expected.split()


@given(KEYS, SIXTEEN, SIXTEEN, SIXTEEN, U32)
def test_chacha20_lanes__each_equals_the_reference(key, counter, n0, n1, n2):
    made = blocks(key, counter, n0, n1, n2)
    for lane in range(LANES):
        assert made[lane].tolist() == chacha.block(key, counter[lane], [n0[lane], n1[lane], n2])


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**36 - 1), U32)
def test_words_at__address_is_row_column_attempt(row, column, attempt):
    nonce = [row & 0xFFFFFFFF, row >> 32, attempt]
    expected = chacha.block(KEY.tolist(), column >> 4, nonce)[column & 15]
    assert words(row, [column], attempt).tolist() == [expected]


@given(st.lists(st.integers(0, 700), max_size=60))
def test_words_at__any_columns_in_any_order_give_their_own_words(columns):
    whole = words(7, np.arange(701))
    assert words(7, columns).tolist() == whole[columns].tolist()


@pytest.mark.parametrize("change", ["row", "high row", "attempt", "key", "column"])
def test_words_at__each_part_of_the_address_matters(change):
    before = words(5, np.arange(64))
    after = {
        "row": lambda: words(6, np.arange(64)),
        "high row": lambda: words(5 + 2**32, np.arange(64)),
        "attempt": lambda: words(5, np.arange(64), attempt=1),
        "key": lambda: words(5, np.arange(64), key=KEY ^ np.uint32(1)),
        "column": lambda: words(5, np.arange(64, 128)),
    }[change]()
    # 64 pairs of 32-bit words: one chance equality in 67 million
    assert (before != after).all()
