"""Nonlinear transforms of the liability, PhenotypeSimulator's: (1 - a) y + a f(y)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.methods.phenotype.parameters import Phenotype

Float = NDArray[np.float64]

_LOG_OF_ZERO = 1e-5


def transformed(values: Float, params: Phenotype) -> Float:
    """Return (1 - a) y + a f(y) of traits f8 (samples, traits), centred and of variance 1.

    Parameters
    ----------
    values
        f8 (samples, traits).
    params
        ``transform`` and its parameters. As in PhenotypeSimulator f takes |y|, or y with 0 (1e-5 for log)
        for negative values, whatever f is.

    Raises
    ------
    DataError
        If the result is infinite or does not vary.
    """
    if params.transform == "none":
        return values
    if params.transform_negative == "abs":
        positive = np.abs(values)
    else:
        positive = np.where(values < 0, _LOG_OF_ZERO if params.transform == "log" else 0.0, values)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        a = params.transform_share
        mixed = (1 - a) * values + a * _function(positive, params)
        spread = mixed.std(axis=0)
    if not (np.isfinite(spread).all() and (spread > 0).all()):
        raise DataError(
            f"the transform {params.transform} gives infinite values or a trait that does not vary; take "
            "another base, power or transform_negative"
        )
    return np.asarray((mixed - mixed.mean(axis=0)) / spread)


def _function(x: Float, params: Phenotype) -> Float:
    base = params.transform_base
    if params.transform == "exp":
        return np.asarray(np.exp(x) if base is None else np.float64(base) ** x)
    if params.transform == "log":
        return np.asarray(np.log10(x) if base is None else np.log(x) / np.log(base))
    if params.transform == "poly":
        return np.asarray(x**params.transform_power)
    return np.asarray(np.sqrt(x))
