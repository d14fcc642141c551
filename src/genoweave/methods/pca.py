"""Principal components of standardised genotypes, out of core.

x = (g - 2p) / sqrt(2p(1-p)), missing calls at 0, p the counted allele's frequency in the cohort. X has
a row per variant and a column per sample; X = U S V'. A sample's scores are X'U = V S, a variant's
loadings are U, and an eigenvalue is S**2 / m, with m the number of variants used: that of the
genetic relationship matrix X'X / m.
"""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.chunks import TILE_VARIANTS, ranges, tiles
from genoweave.errors import DataError
from genoweave.execution import fold
from genoweave.genotypes import Source, read_dosage, select, source_of
from genoweave.methods.frequencies import allele_frequency, count_genotypes
from genoweave.methods.ld import prune
from genoweave.parameters import Field, Parameters
from genoweave.rng import Root

log = logging.getLogger(__name__)

# Up to this many samples or variants, the smaller side's Gram matrix is exact and cheap: 128 MB.
_EXACT_LIMIT = 4000
_OVERSAMPLING = 20
_SAMPLES_PER_TASK = 4096


class PCA(Parameters):
    """How many components, and how they are found."""

    n_components: int = Field(200, ge=1, description="leading components")
    solver: Literal["auto", "exact", "randomized"] = Field(
        "auto",
        description="exact Gram matrix of the smaller side, or randomized subspace iteration; "
        "auto is exact up to 4,000 samples or variants",
    )
    n_passes: int = Field(8, ge=2, description="passes over the genotypes of the randomized solver")
    ld_prune: bool = Field(
        True, description="leave out variants in linkage disequilibrium with an earlier one"
    )
    ld_r2: float = Field(0.2, gt=0, le=1, description="largest squared correlation of two variants that stay")
    ld_window: int = Field(
        500_000, ge=1, description="distance within which variants are compared (base pairs)"
    )
    seed: int = Field(0, ge=0, description="public seed of the randomized solver's test matrix")


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
    Floating-point sums run over fixed tiles of 1,024 variants in a fixed order, so that the result has
    the same bits
    for any chunking and number of workers. Exact: two passes, memory of the smaller side squared.
    Randomized: `n_passes` + 1 passes, memory samples x (components + 20) x 8 bytes a task.
    """
    params = params or PCA()
    counts, _ = count_genotypes(ds, label="frequencies")
    frequency = allele_frequency(counts[:, 0])
    used = (frequency > 0) & (frequency < 1)
    if params.ld_prune:
        used[used] = prune(select(ds, np.flatnonzero(used)), params.ld_r2, params.ld_window)
    rows = np.flatnonzero(used)
    _check_size(len(rows), ds.sizes["samples"], params)
    matrix = _Standardised(source_of(select(ds, rows)), frequency[rows])
    loading, singular = _solve(matrix, params)
    log.info("%d components of %d variants and %d samples", params.n_components, *matrix.shape)
    full = np.zeros((len(used), params.n_components))
    full[rows] = loading
    model = xr.Dataset(
        {
            "variant_pca_loading": (("variants", "components"), full),
            "variant_pca_frequency": ("variants", np.where(used, frequency, np.nan)),
            "pca_eigenvalue": ("components", singular**2 / len(rows)),
            "sample_id": ("samples", ds["sample_id"].values),
        }
    )
    model["sample_pca_projection"] = (("samples", "components"), project(ds, model))
    return model


def project(ds: xr.Dataset, model: xr.Dataset, n_components: int | None = None) -> NDArray[np.float64]:
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
    """
    frequency = model["variant_pca_frequency"].values
    if ds.sizes["variants"] != len(frequency):
        raise DataError(
            f"the fit has {len(frequency)} variants, the cohort {ds.sizes['variants']}; "
            "project a cohort with the variants that the fit was made of"
        )
    rows = np.flatnonzero(np.isfinite(frequency))
    loading = model["variant_pca_loading"].values[rows, :n_components]
    matrix = _Standardised(source_of(select(ds, rows)), frequency[rows])
    n = ds.sizes["samples"]
    state = {"scores": np.zeros((n, loading.shape[1]))}
    shared = (matrix, np.ascontiguousarray(loading))
    return fold("projection", _scores_tile, tiles(len(rows)), state, _add_to("scores"), shared=shared)[
        "scores"
    ]


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


class _Standardised:
    """Blocks of the standardised genotype matrix."""

    def __init__(self, source: Source, frequency: NDArray[np.float64]) -> None:
        self.source = source
        self.frequency = frequency
        self.scale = 1 / np.sqrt(2 * frequency * (1 - frequency))
        self.shape = source.shape[:2]

    def block(self, v0: int, v1: int, s0: int = 0, s1: int | None = None) -> NDArray[np.float64]:
        """Return rows v0..v1 and columns s0..s1 of X."""
        dosage = read_dosage(self.source, v0, v1, s0, s1)
        x = dosage.astype(np.float64)
        x -= 2 * self.frequency[v0:v1, None]
        x *= self.scale[v0:v1, None]
        x[dosage < 0] = 0
        return x


def _solve(matrix: _Standardised, params: PCA) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return loadings (variants, k) with fixed signs and singular values (k,)."""
    exact = params.solver == "exact" or (params.solver == "auto" and min(matrix.shape) <= _EXACT_LIMIT)
    log.debug("PCA of %s: %s solver", matrix.shape, "exact" if exact else "randomized")
    if not exact:
        loading, singular = _randomized(matrix, params)
    elif matrix.shape[1] <= matrix.shape[0]:
        loading, singular = _exact_by_samples(matrix, params.n_components)
    else:
        loading, singular = _exact_by_variants(matrix, params.n_components)
    largest = np.argmax(np.abs(loading), axis=0)
    return loading * np.where(loading[largest, np.arange(loading.shape[1])] < 0, -1.0, 1.0), singular


def _top_eigen(gram: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the k leading eigenvectors and singular values of a Gram matrix, largest first."""
    n = len(gram)
    values, vectors = scipy.linalg.eigh(gram, subset_by_index=[n - k, n - 1])
    values = values[::-1]
    # below this the eigenvalue is rounding noise: the data have fewer dimensions than components
    values = np.where(values > values[0] * n * np.finfo(float).eps, values, 0.0)
    return vectors[:, ::-1], np.sqrt(values)


def _exact_by_samples(matrix: _Standardised, k: int) -> tuple[NDArray, NDArray]:
    """Eigenvectors V of X'X, then U = X V / S."""
    m, n = matrix.shape
    state = {"gram": np.zeros((n, n))}
    state = fold("relationship matrix", _gram_tile, tiles(m), state, _add_to("gram"), shared=(matrix,))
    v, singular = _top_eigen(state["gram"], k)
    return _divide(_times(matrix, v, "loadings"), singular), singular


def _divide(columns: NDArray[np.float64], singular: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide by singular values; a component that does not exist has loadings 0."""
    return np.divide(columns, singular, out=np.zeros_like(columns), where=singular > 0)


def _exact_by_variants(matrix: _Standardised, k: int) -> tuple[NDArray, NDArray]:
    """Eigenvectors U of XX', where variants are the smaller side."""
    m, n = matrix.shape
    state = {"gram": np.zeros((m, m))}
    items = list(ranges(n, _SAMPLES_PER_TASK))
    state = fold("covariance of variants", _covariance, items, state, _add_to("gram"), shared=(matrix,))
    return _top_eigen(state["gram"], k)


def _randomized(matrix: _Standardised, params: PCA) -> tuple[NDArray, NDArray]:
    """Subspace iteration on the samples' side (Halko, Martinsson & Tropp 2011), Rayleigh-Ritz at the end.

    Each pass reads a tile once and forms X't (X q) from it.
    """
    m, n = matrix.shape
    width = min(params.n_components + max(_OVERSAMPLING, params.n_components // 2), m, n)
    stream = Root.from_seed(params.seed).stream("pca.test-matrix")
    q = np.stack([stream.normals(sample, width) for sample in range(n)])
    for i in range(params.n_passes):
        q, _ = np.linalg.qr(q)
        state = {"z": np.zeros((n, width))}
        state = fold(f"subspace pass {i + 1}", _power_tile, tiles(m), state, _add_to("z"), shared=(matrix, q))
        q = state["z"]
    q, _ = np.linalg.qr(q)
    image = _times(matrix, q, "subspace image")
    w, singular = _top_eigen(image.T @ image, params.n_components)
    return _divide(image @ w, singular), singular


def _times(matrix: _Standardised, right: NDArray[np.float64], label: str) -> NDArray[np.float64]:
    """Return X @ right, shape (variants, columns of right)."""
    state = {"product": np.zeros((matrix.shape[0], right.shape[1]))}
    shared = (matrix, np.ascontiguousarray(right))
    return fold(label, _product_tile, tiles(matrix.shape[0]), state, _place, shared=shared)["product"]


def _place(state: dict[str, Any], index: int, rows: NDArray[np.float64]) -> None:
    state["product"][index * TILE_VARIANTS :][: len(rows)] = rows


def _add_to(name: str) -> Any:
    def add(state: dict[str, Any], _: int, part: NDArray[np.float64]) -> None:
        state[name] += part

    return add


def _gram_tile(matrix: _Standardised, v0: int, v1: int) -> NDArray[np.float64]:
    x = matrix.block(v0, v1)
    return x.T @ x


def _covariance(matrix: _Standardised, s0: int, s1: int) -> NDArray[np.float64]:
    x = matrix.block(0, matrix.shape[0], s0, s1)
    return x @ x.T


def _product_tile(matrix: _Standardised, right: NDArray, v0: int, v1: int) -> NDArray[np.float64]:
    return matrix.block(v0, v1) @ right


def _power_tile(matrix: _Standardised, q: NDArray, v0: int, v1: int) -> NDArray[np.float64]:
    x = matrix.block(v0, v1)
    return x.T @ (x @ q)


def _scores_tile(matrix: _Standardised, loading: NDArray, v0: int, v1: int) -> NDArray[np.float64]:
    return matrix.block(v0, v1).T @ loading[v0:v1]
