"""Genotypes as the cells of a CSV line."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from genoweave.kernels.text import csv_rows


@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=st.integers(-1, 2)))
def test_csv_rows__are_the_joined_cells(dosage):
    out = np.zeros((dosage.shape[1], 3 * len(dosage)), np.uint8)
    lengths = np.zeros(dosage.shape[1], np.int64)
    csv_rows(dosage, out, lengths)
    for s in range(dosage.shape[1]):
        cells = ["NA" if g < 0 else str(g) for g in dosage[:, s]]
        assert out[s, : lengths[s]].tobytes().decode() == "".join("," + cell for cell in cells)
