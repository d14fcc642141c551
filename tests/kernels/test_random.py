"""Random words are ChaCha20's, and depend on their address alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import chacha

from genoweave.kernels.random import chacha20_block, words_at

U32 = st.integers(0, 2**32 - 1)
KEYS = st.lists(U32, min_size=8, max_size=8)
KEY = np.arange(8, dtype=np.uint32) * np.uint32(0x9E3779B1)


def block(key, counter, nonce):
    work, out = np.empty(16, np.uint32), np.empty(16, np.uint32)
    words = (np.uint32(x) for x in (counter, *nonce))
    chacha20_block(np.array(key, np.uint32), *words, work, out)
    return out


def words(row, columns, attempt=0, key=KEY):
    columns = np.asarray(columns, np.int64)
    out = np.empty(len(columns), np.uint32)
    words_at(key, row, columns, attempt, out)
    return out


def test_chacha20_block__rfc_8439_section_2_3_2():
    key = np.frombuffer(bytes(range(32)), "<u4")
    nonce = np.frombuffer(bytes.fromhex("000000090000004a00000000"), "<u4")
    expected = """
        e4e7f110 15593bd1 1fdd0f50 c47120a3 c7f4d1c7 0368c033 9aaa2204 4e6cd4c3
        466482d2 09aa9f07 05d7c214 a2028bd9 d19c12b5 b94e16de e883d0cb 4e3c50a2
    """
    assert [f"{word:08x}" for word in block(key, 1, nonce)] == expected.split()
    assert [f"{word:08x}" for word in chacha.block(key.tolist(), 1, nonce.tolist())] == expected.split()


@given(KEYS, U32, st.tuples(U32, U32, U32))
def test_chacha20_block__equals_the_reference(key, counter, nonce):
    assert block(key, counter, nonce).tolist() == chacha.block(key, counter, list(nonce))


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**36 - 1), U32)
def test_words_at__address_is_row_column_attempt(row, column, attempt):
    nonce = [row & 0xFFFFFFFF, row >> 32, attempt]
    expected = chacha.block(KEY.tolist(), column >> 4, nonce)[column & 15]
    assert words(row, [column], attempt).tolist() == [expected]


@given(st.lists(st.integers(0, 200), max_size=60))
def test_words_at__any_columns_in_any_order_give_their_own_words(columns):
    whole = words(7, np.arange(201))
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
