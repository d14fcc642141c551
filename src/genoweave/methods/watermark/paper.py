"""Watermark SNPs, associated with the trait by construction (Wang, Jiang & Vaidya 2021, first method).

`eps` is the share of subjects with genotype 2 and `z0` the share of genotype 1 among the rest:
N2 = floor(n eps), N1 = floor(n z0 (1 - eps)), N0 = n - N1 - N2, met exactly for every share of cases.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.aggregate import people
from genoweave.errors import DataError
from genoweave.methods.association import logistic
from genoweave.methods.watermark.parameters import Watermark
from genoweave.rng import Root, Stream


def watermark(
    case: NDArray[np.int8], params: Watermark, key: Root, taken: NDArray | None = None
) -> xr.Dataset:
    """Make watermark SNPs for a case/control vector.

    Parameters
    ----------
    case
        1 case, 0 control (samples,).
    params
        Number and shape.
    key
        Private root: who is drawn, and the SNPs' random ids.
    taken
        Variant ids that a watermark must not have.

    Returns
    -------
    xarray.Dataset
        ``watermark_genotype`` int8 (watermarks, samples), ``watermark_id`` (watermarks,),
        ``watermark_case`` ("a", "b" or "c": the branch of the construction).

    Raises
    ------
    DataError
        If there is no case or no control.
    """
    n_cases = int((case == 1).sum())
    if n_cases in (0, len(case)):
        raise DataError(
            f"a watermark needs cases and controls, found {people(n_cases)} cases of {len(case)} samples"
        )
    stream = key.stream("watermark.subjects")
    made = [_one(case == 1, params, stream, row) for row in range(params.n)]
    return xr.Dataset(
        {
            "watermark_genotype": (("watermarks", "samples"), np.stack([g for g, _ in made])),
            "watermark_id": ("watermarks", _ids(key, params.n, taken)),
            "watermark_case": ("watermarks", np.array([branch for _, branch in made], object)),
        }
    )


def _one(
    is_case: NDArray[np.bool_], params: Watermark, stream: Stream, row: int
) -> tuple[NDArray[np.int8], str]:
    """Start from s = y; r1 cases and r0 controls become 2, or 1 and 0 where there are too few of a kind."""
    n = len(is_case)
    eps, z0 = Fraction(str(params.eps)), Fraction(str(params.z0))  # a float product may fall below its floor
    n2 = math.floor(n * eps)
    n1 = math.floor(n * z0 * (1 - eps))
    order = stream.permutation(row, n)
    cases, controls = order[is_case[order]], order[~is_case[order]]
    s = is_case.astype(np.int8)
    r1 = len(cases) - n1
    r0 = n2 - r1
    if r1 < 0:  # (b) too few cases for N1: some controls become 1
        s[controls[:-r1]] = 1
        s[controls[-r1 : n2 - r1]] = 2
        return s, "b"
    if r0 < 0:  # (c) too many cases: some become 0
        s[cases[:-r0]] = 0
        s[cases[-r0 : n2 - r0]] = 2
        return s, "c"
    s[cases[:r1]] = 2
    s[controls[:r0]] = 2
    return s, "a"


def _ids(key: Root, n: int, taken: NDArray | None) -> NDArray:
    """Random ids in the form of real ones."""
    used = set() if taken is None else {str(i) for i in taken}
    ids: list[str] = []
    for word in key.stream("watermark.id").words64(0, 4 * n + 64).tolist():
        name = f"rs{10**8 + word % (9 * 10**8)}"
        if name not in used:
            used.add(name)
            ids.append(name)
    return np.array(ids[:n], object)


def watermark_tests(genotype: NDArray[np.int8], case: NDArray[np.int8]) -> tuple[pd.DataFrame, str]:
    """Test each watermark by itself (additive logistic, Wald) and all in one joint model.

    Parameters
    ----------
    genotype
        int8 (watermarks, samples).
    case
        0 or 1 (samples,).

    Returns
    -------
    table : pandas.DataFrame
        n0, n1, n2, beta, se, z, log10_p, joint_beta, joint_se, joint_log10_p; one row a watermark.
    reason : str
        ``"ok"``, or why the joint fit does not exist.
    """
    y = case.astype(float)
    rows = [_single_test(g, case) for g in genotype]
    joint = logistic(np.column_stack([np.ones(len(y)), genotype.T]), y)
    table = pd.DataFrame(rows)
    table["joint_beta"], table["joint_se"] = joint.beta[1:], joint.se[1:]
    table["joint_log10_p"] = joint.log10_p[1:]
    return table, joint.reason


def _single_test(genotype: NDArray[np.int8], case: NDArray[np.int8]) -> dict[str, float]:
    """Fit on the six cells of genotype by status: the same estimate as on all samples."""
    cells = np.array([[np.sum((genotype == g) & (case == c)) for c in (0, 1)] for g in range(3)])
    x = np.column_stack([np.ones(6), np.repeat([0.0, 1.0, 2.0], 2)])
    fit = logistic(x, np.tile([0.0, 1.0], 3), cells.ravel().astype(float))
    n0, n1, n2 = cells.sum(axis=1).tolist()
    return {
        "n0": n0, "n1": n1, "n2": n2,
        "beta": fit.beta[1], "se": fit.se[1], "z": fit.z[1], "log10_p": fit.log10_p[1],
    }  # fmt: skip
