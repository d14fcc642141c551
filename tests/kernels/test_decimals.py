"""Numbers as text against Python's own %.8g."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genoweave.kernels.decimals import LONGEST, decimal_rows


def written(values):
    values = np.atleast_2d(np.asarray(values, float))
    out = np.empty((len(values), values.shape[1] * LONGEST), np.uint8)
    lengths = np.empty(len(values), np.int64)
    decimal_rows(values, out, lengths)
    return [bytes(row[:n]).decode().split("\t")[1:] for row, n in zip(out, lengths, strict=True)]


def test_decimal_rows__known_numbers():
    values = [
        0.0,
        1,
        -1,
        0.5,
        12345678,
        123456789,
        -0.0001,
        0.00001234,
        1e-300,
        1.5e300,
        np.nan,
        99999999.9,
        1200,
    ]
    text = ["0", "1", "-1", "0.5", "12345678", "1.2345679e+08", "-0.0001", "1.234e-05", "1e-300", "1.5e+300"]
    assert written(values) == [[*text, "NA", "1e+08", "1200"]]


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=20))
def test_decimal_rows__equals_python_to_half_a_digit(values):
    for value, text in zip(values, written(values)[0], strict=True):
        assert abs(float(text) - value) <= 5.01e-8 * abs(value) or abs(value) < 1e-300
        assert len(text) < LONGEST


def test_decimal_rows__many_random_numbers_are_the_same_text():
    values = np.random.default_rng(0).standard_normal((50, 40)) * 10.0 ** np.arange(-20, 20)
    # none of these lies halfway between two numbers of 8 digits
    assert written(values) == [[f"{x:.8g}" for x in row] for row in values]
