"""Quantitative traits: `genoweave.methods.linear` in the terms of an association."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.parameters import GWAS, METHODS
from genoweave.methods.linear import Linear, linear


def fit_linear(
    ds: xr.Dataset, traits: NDArray[np.float64], covariates: NDArray[np.float64], params: GWAS
) -> list[Fits]:
    """Regress traits (samples, traits) on all variants in one pass; return the results of each trait."""
    found = linear(ds, traits, covariates, Linear(max_vif=params.max_vif))
    method = np.full(ds.sizes["variants"], METHODS.index("linear"), np.uint8)

    def column(name: str, t: int) -> NDArray:
        return np.ascontiguousarray(found[f"variant_{name}"].values[:, t])

    return [
        Fits(
            called=column("n_called", t),
            frequency=column("counted_frequency", t),
            beta=column("beta", t),
            se=column("se", t),
            statistic=column("t", t),
            log10_p=column("log10_p", t),
            code=column("fit_code", t),
            method=method,
        )
        for t in range(traits.shape[1])
    ]
