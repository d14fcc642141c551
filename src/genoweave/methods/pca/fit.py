"""Fit of the components, and projection of other samples on them."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.errors import DataError
from genoweave.genotypes import select, source_of
from genoweave.methods.frequencies import allele_frequency, count_genotypes
from genoweave.methods.ld import prune
from genoweave.methods.pca.eigen import by_lapack, top_eigen
from genoweave.methods.pca.gram import samples_gram, variants_gram
from genoweave.methods.pca.scratch import copied
from genoweave.methods.pca.standardised import Standardised, block_image, scores
from genoweave.methods.pca.streaming import divide, streaming_pca
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root, Stream

log = logging.getLogger(__name__)

Float = NDArray[np.float64]

# Gram matrices of 128 MB of samples, in float64 by BLAS, and of 256 MB of variants, in float32 from integers.
_EXACT_SAMPLES = 4000
_EXACT_VARIANTS = 8192


class PCA(Parameters):
    """How many components, and how they are found."""

    n_components: int = Field(200, ge=1, description="leading components")
    solver: Literal["auto", "exact", "randomized"] = Field(
        "auto",
        description="exact Gram matrix of the samples or of the variants, or randomized block Krylov "
        "iteration; auto is exact up to 4,000 samples or 8,192 variants",
    )
    tolerance: float = Field(
        1e-3, gt=0, lt=1, description="relative error of the randomized solver's eigenvalues, estimated"
    )
    max_passes: int = Field(
        100,
        ge=2,
        description="passes over the genotypes after which the randomized solver stops at the latest",
    )
    ld_prune: bool = Field(
        True, description="leave out variants in linkage disequilibrium with an earlier one"
    )
    ld_r2: float = Field(0.2, gt=0, le=1, description="largest squared correlation of two variants that stay")
    ld_window: int = Field(
        500_000, ge=1, description="distance within which variants are compared (base pairs)"
    )
    seed: int = Field(0, ge=0, description="public seed of the block that iterations start from")


@threadpool_limits.wrap(limits=1)  # the bits must not depend on the number of cores
def pca(ds: xr.Dataset, params: PCA | None = None) -> xr.Dataset:
    """Compute the leading principal components of a cohort.

    Parameters
    ----------
    ds
        A cohort after quality control.
    params
        Number of components and solver.

    Returns
    -------
    xarray.Dataset
        ``sample_pca_projection`` f8 (samples, components), ``variant_pca_loading`` f8 (variants,
        components; 0 where a variant was not used), ``pca_eigenvalue`` f8 (components,),
        ``variant_pca_frequency`` f8 (variants,), ``sample_id``. A component's sign makes its largest
        loading positive.

    Raises
    ------
    DataError
        If there are fewer samples or usable variants than components.

    Notes
    -----
    The result has the same bits for any chunking and number of workers.

    Exact, by samples: one pass, a float64 matrix of samples squared. Exact, by variants: a pass for every
    1,024 variants, integer counts, a float32 matrix of variants squared (float64 up to 2,000 variants);
    eigenvalues to 1e-6. Randomized: block Lanczos on the smaller side, passes until no eigenvalue changes by
    more than `tolerance` while the space grows by a sixth; the smaller side x all columns multiplied x 8
    bytes. All of them first copy the genotypes that are used to a scratch file, 2 bits each.

    Scores are sums in float32, added in float64 every 1,024 variants: to about 1e-6 of the largest.
    """
    params = params or PCA()
    counts, _ = count_genotypes(ds, label="frequencies")
    frequency = allele_frequency(counts[:, 0])
    used = (frequency > 0) & (frequency < 1)
    if params.ld_prune:
        used[used] = prune(select(ds, np.flatnonzero(used)), params.ld_r2, params.ld_window)
    rows = np.flatnonzero(used)
    _check_size(len(rows), ds.sizes["samples"], params)
    with copied(source_of(select(ds, rows)), frequency[rows]) as source:
        matrix = Standardised(source, frequency[rows])
        loading, singular = _solve(matrix, params)
        projection = scores(matrix, loading, "projection")
    log.info("%d components of %d variants and %d samples", params.n_components, *matrix.shape)
    full = np.zeros((len(used), params.n_components))
    full[rows] = loading
    return xr.Dataset(
        {
            "variant_pca_loading": (("variants", "components"), full),
            "variant_pca_frequency": ("variants", np.where(used, frequency, np.nan)),
            "pca_eigenvalue": ("components", singular**2 / len(rows)),
            "sample_id": ("samples", ds["sample_id"].values),
            "sample_pca_projection": (("samples", "components"), projection),
        }
    )


@threadpool_limits.wrap(limits=1)
def project(ds: xr.Dataset, model: xr.Dataset, n_components: int | None = None) -> Float:
    """Project samples on a fit, with the fit's own centre and scale.

    Parameters
    ----------
    ds
        A cohort with the fit's variants, in the fit's order and with the same counted alleles.
    model
        What `pca` returned.
    n_components
        Only the leading ones.

    Returns
    -------
    ndarray
        f8 (samples, components), comparable with ``sample_pca_projection``.

    Raises
    ------
    DataError
        If the number of variants differs from the fit's.

    Notes
    -----
    One pass; a task holds the scores of 2,048 samples. A sample's scores do not depend on who is projected
    with it, to the last bit.
    """
    frequency = model["variant_pca_frequency"].values
    if ds.sizes["variants"] != len(frequency):
        raise DataError(
            f"the fit has {len(frequency)} variants, the cohort {ds.sizes['variants']}; "
            "project a cohort with the variants that the fit was made of"
        )
    rows = np.flatnonzero(np.isfinite(frequency))
    loading = np.asarray(model["variant_pca_loading"].values[rows, :n_components])
    matrix = Standardised(source_of(select(ds, rows)), frequency[rows])
    return scores(matrix, loading, "projection")


def _check_size(n_variants: int, n_samples: int, params: PCA) -> None:
    k = params.n_components
    if n_variants < k or n_samples <= k:
        what, have = ("variants", n_variants) if n_variants < k else ("samples", n_samples)
        hint = "" if not params.ld_prune else ", or set [pca] ld_prune = false to keep variants in LD"
        raise DataError(
            f"{k} components need at least {k} polymorphic variants and {k + 1} samples; "
            f"there are {have} {what}. Set [pca] n_components to at most "
            f"{max(1, min(n_variants, n_samples - 1))}{hint}"
        )


def _solve(matrix: Standardised, params: PCA) -> tuple[Float, Float]:
    """Return loadings (variants, k) with fixed signs and singular values (k,)."""
    stream = Root.from_seed(params.seed).stream("pca.test-matrix")
    route = _route(*matrix.shape, params.solver)
    log.debug("PCA of %s: solver by %s", matrix.shape, route)
    if route == "streaming":
        loading, singular = streaming_pca(
            matrix, params.n_components, stream, params.tolerance, params.max_passes
        )
    elif route == "samples":
        loading, singular = _by_samples(matrix, params.n_components, stream)
    else:
        loading, singular = _by_variants(matrix, params.n_components, stream)
    largest = np.argmax(np.abs(loading), axis=0)
    return loading * np.where(loading[largest, np.arange(loading.shape[1])] < 0, -1.0, 1.0), singular


def _route(n_variants: int, n_samples: int, solver: str) -> Literal["samples", "variants", "streaming"]:
    """Choose the cheapest way: integers make a Gram matrix of variants cheaper than one of samples."""
    if solver == "randomized":
        return "streaming"
    if n_samples <= min(n_variants, _EXACT_SAMPLES):
        return "samples"
    if n_variants <= _EXACT_VARIANTS:
        return "variants"
    if solver == "auto":
        return "streaming"
    return "samples" if n_samples <= n_variants else "variants"


def _by_samples(matrix: Standardised, k: int, stream: Stream) -> tuple[Float, Float]:
    """Eigenvectors V of X'X, then U = X V / S."""
    vectors, singular = top_eigen(samples_gram(matrix), k, stream)
    return divide(block_image(matrix, vectors, "loadings"), singular), singular


def _by_variants(matrix: Standardised, k: int, stream: Stream) -> tuple[Float, Float]:
    """Eigenvectors U of XX'."""
    dtype = np.float64 if by_lapack(matrix.shape[0], k) else np.float32
    return top_eigen(variants_gram(matrix, dtype), k, stream)
