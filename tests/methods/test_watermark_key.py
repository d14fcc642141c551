"""The key file: what is read is what was written, and nothing else is taken for a key."""

import json

import numpy as np
import pandas as pd
import pytest

from genoweave.errors import DataError
from genoweave.methods.watermark import Key


def results(n, seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame({name: rng.normal(size=n) for name in ("beta", "se", "statistic", "log10_p")})


@pytest.fixture
def key():
    marks = pd.DataFrame(
        {
            "contig": np.array(["1", "X"], object), "position": [10, 2**40],
            "id": np.array(["rs1", "."], object), "ref": np.array(["A", "C"], object),
            "alt": np.array(["G", "CTT"], object), "role": np.array(["signal", "null"], object),
            "called": [99, 100], "frequency": [0.1, 1 / 3],
        }
    )  # fmt: skip
    firth = results(2, 2)
    firth.loc[1] = np.nan
    near = pd.DataFrame({"watermark": [0, 1], "offset": [-1, 3], "id": np.array(["a", "b"], object),
                         "frequency": [0.5, np.nan]}).join(results(2, 3))  # fmt: skip
    expected = {"wald": results(2, 1), "firth": firth}
    return Key("a trait", True, 101, 100, 40, 500, ("PC1", "age"), "wald", marks, expected, near)


def test_key__comes_back_to_the_last_bit(key):
    again = Key.from_json(key.to_json())
    assert again.to_json() == key.to_json()
    pd.testing.assert_frame_equal(again.watermarks, key.watermarks, check_exact=True)
    pd.testing.assert_frame_equal(again.neighbours, key.neighbours, check_exact=True)
    assert again.covariates == ("PC1", "age")
    assert again.asked == "wald"
    for name, table in key.expected.items():
        pd.testing.assert_frame_equal(again.expected[name], table, check_exact=True)
    # NaN is no JSON
    assert "NaN" not in key.to_json()


def test_key__cut_anywhere_is_refused(key):
    text = key.to_json()
    for end in range(0, len(text) - 2, 37):
        with pytest.raises(DataError, match="watermark key"):
            Key.from_json(text[:end])


def set_to(*path, value):
    def change(content):
        *parents, last = path
        for name in parents:
            content = content[name]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return change


DAMAGES = {
    "another file": set_to("genoweave-watermark-key", value=None),
    "of version 2": set_to("genoweave-watermark-key", value=2),
    "no trait of type str": set_to("trait", value=3),
    "no n_samples of type int": set_to("n_samples", value=True),
    "a negative n_cases": set_to("n_cases", value=-1),
    "no list of names covariates": set_to("covariates", value="PC1"),
    "no table watermarks": set_to("watermarks", value=[]),
    "columns of different lengths": set_to("watermarks", "id", value=["rs1"]),
    "not float": set_to("expected", "wald", "beta", value=["1", 2]),
    "not int": set_to("watermarks", "position", value=[1.5, 2]),
    "too large": set_to("watermarks", "position", value=[10**30, 2]),
    "a role other than": set_to("watermarks", "role", value=["signal", "spy"]),
    "no expected results of the model asked for": set_to("asked", value="mixed"),
    "by model": set_to("expected", value=None),
    "a neighbour of a watermark that it does not have": set_to("neighbours", "watermark", value=[0, 2]),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_key__damaged_is_refused_by_name(key, message):
    content = json.loads(key.to_json())
    DAMAGES[message](content)
    with pytest.raises(DataError, match=message):
        Key.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "[]", "null", "[" * 100_000, "\x00", "{}"])
def test_key__foreign_text_is_refused(text):
    with pytest.raises(DataError, match="watermark key"):
        Key.from_json(text)
