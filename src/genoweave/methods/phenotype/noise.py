"""Noise: correlated between traits, and observational; uncorrelated with all else in the sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr

from genoweave.aggregate import people
from genoweave.errors import ConfigError, DataError
from genoweave.methods.phenotype.effects import correlation_root
from genoweave.methods.phenotype.parameters import Phenotype
from genoweave.methods.phenotype.shares import NOISE, Groups
from genoweave.rng import Root

Float = NDArray[np.float64]

_ROUNDING = 1e-9


def trait_correlation(params: Phenotype, covariance: Float | None) -> Float:
    """Return the correlations of correlated noise: pcorr^|i - j|, or a user's matrix.

    Raises
    ------
    ConfigError
        If the user's is of another size.
    """
    if covariance is None:
        distance = np.abs(np.subtract.outer(np.arange(params.traits), np.arange(params.traits)))
        return np.asarray(np.float64(params.pcorr) ** distance)
    covariance = np.asarray(covariance, np.float64)
    if covariance.shape != (params.traits, params.traits):
        raise ConfigError(
            f"the covariance of {params.traits} traits is a matrix of {params.traits} x {params.traits}, "
            f"found shape {covariance.shape}"
        )
    variances = np.diag(covariance)
    if not (np.isfinite(covariance).all() and (variances > 0).all()):
        raise ConfigError("a covariance matrix has finite values and variances above 0 on its diagonal")
    return np.asarray(covariance / np.sqrt(np.outer(variances, variances)))


def draw_noise(
    name: str, n_samples: int, params: Phenotype, covariance: Float | None, root: Root
) -> tuple[Float, Float]:
    """Draw a component of noise as factors f8 (samples, factors) and loadings f8 (factors, traits).

    Parameters
    ----------
    name
        correlated, noise, noise_shared or noise_independent.
    n_samples
        Number of samples; the draws of a factor are addressed by the sample's place in the cohort.
    params
        The setting.
    covariance
        f8 (traits, traits) of correlated noise, or None for pcorr^|i - j|. A user's variances are kept
        relative to each other only with ``scaling = "mean"``.
    root
        Of the public seed.
    """
    if name == "noise_shared":
        loading = root.stream("phenotype.loading.noise_shared").normals(0, params.traits)
        return root.stream("phenotype.noise-shared").normals(0, n_samples)[:, None], loading[None]
    stream = root.stream("phenotype.noise-correlated" if name == "correlated" else "phenotype.noise")
    factors = np.stack([stream.normals(t, n_samples) for t in range(params.traits)], axis=1)
    if name != "correlated":
        return factors, np.eye(params.traits)
    loading = correlation_root(trait_correlation(params, covariance)).T
    if covariance is not None:
        loading = loading * np.sqrt(np.diag(np.asarray(covariance, np.float64)))
    return factors, loading


def uncorrelated(noise: dict[str, Float], others: list[Float], groups: Groups) -> dict[str, Float]:
    """Take out of noise what correlates with other components, and of each kind what does with the former.

    Parameters
    ----------
    noise
        Factors f8 (samples, factors) of each component of noise, in order.
    others
        f8 (samples, columns), the other components.
    groups
        Within each of which it is done.

    Returns
    -------
    dict
        Factors with mean 0, orthogonal to all other components of all traits within each group.

    Raises
    ------
    DataError
        If a group has too few samples.

    Notes
    -----
    Memory: samples x (columns of all components) x 8 bytes. Residuals of normal factors on what is
    independent of them are normal within the space that is left; one factor that several traits share stays
    one factor.
    """
    found = {name: np.empty_like(factors) for name, factors in noise.items()}
    for k, rows in enumerate(groups.rows()):
        basis = np.full((len(rows), 1), 1 / np.sqrt(len(rows)))
        for other in others:
            basis = _extended(basis, other[rows])
        for name, factors in noise.items():
            _check_room(basis.shape[1], factors.shape[1], len(rows), groups.names[k])
            found[name][rows] = _residual(factors[rows], basis)
            if name != list(noise)[-1]:
                basis = _extended(basis, found[name][rows])
    return found


def _check_room(n_basis: int, n_factors: int, n_samples: int, group: str) -> None:
    if n_samples <= n_basis + n_factors:
        where = f"group {group} has" if group else "there are"
        raise DataError(
            f"noise without correlation to {n_basis} columns of the other components needs more than "
            f"{n_basis + n_factors} samples, {where} {people(n_samples)}; set [phenotype] orthogonal_noise = "
            "false, or take more samples or fewer traits"
        )


def _residual(columns: Float, basis: Float) -> Float:
    """Residuals of columns on an orthonormal basis; the second time takes out what rounding left."""
    for _ in range(2):
        columns = columns - basis @ (basis.T @ columns)
    return columns


def _extended(basis: Float, columns: Float) -> Float:
    """Add to an orthonormal basis what is new in the columns."""
    size = np.sqrt((columns**2).sum(axis=0))
    columns = columns[:, size > 0] / size[size > 0]
    rest = _residual(columns, basis)
    if rest.shape[1] == 0 or len(rest) == basis.shape[1]:
        return basis
    q, r, _ = qr(rest, mode="economic", pivoting=True)
    new = q[:, np.abs(np.diag(r)) > _ROUNDING]
    return np.hstack([basis, new])


def noise_names(parts: dict[str, Float]) -> list[str]:
    """Return the components of noise that have a share, in the order in which they are drawn."""
    return [name for name in NOISE if name in parts]
