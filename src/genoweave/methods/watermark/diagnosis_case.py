"""How likely what came back of the watermarks is, by what is supposed of the server."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genoweave.methods.watermark.key import Key

Array = NDArray[np.float64]

# Share of watermarks that any explanation may leave unexplained.
STRAY = 0.02
# Standard deviation of log SE where nothing is known of it.
_BROAD_SE = 1.0


@dataclass(frozen=True)
class Observed:
    """What came back, an entry per watermark; NaN where nothing did.

    Attributes
    ----------
    z, log_se
        float64: statistic per copy of the key's counted allele, and log of its standard error.
    is_signed
        Whether the sign of z is known; else it is of no meaning.
    n
        Samples that the server says it used.
    z_tolerance, se_tolerance
        How far z, and relatively the standard error, of an honest server may be off.
    """

    z: Array
    log_se: Array
    is_signed: NDArray[np.bool_]
    n: Array
    z_tolerance: Array
    se_tolerance: Array


class Case:
    """Expected and observed in the forms that the explanations use; only watermarks that came back."""

    def __init__(self, key: Key, observed: Observed) -> None:
        self.key, self.observed = key, observed
        expected = key.expected[key.asked]
        self.all = np.isfinite(expected["statistic"].to_numpy(np.float64))
        self.back = self.all & np.isfinite(observed.z)
        self.n_all, self.n_back = int(self.all.sum()), int(self.back.sum())
        self.n_lost = self.n_all - self.n_back
        self.z, self.log_se = observed.z[self.back], observed.log_se[self.back]
        self.signed = observed.is_signed[self.back]
        self.z_sd, self.se_sd = observed.z_tolerance[self.back] / 2, observed.se_tolerance[self.back] / 2
        self.expected_z, self.expected_log_se = self.of(expected)
        self.is_signal = (key.watermarks["role"] == "signal").to_numpy()[self.back]
        frequency = key.watermarks["frequency"].to_numpy(np.float64)[self.back]
        n = max(1, key.n_complete)
        # of log SE over draws of n samples: half the relative one of the genotypes' variance, by the
        # binomial's kurtosis; that of the residual is common to all
        heterozygous = np.clip(2 * frequency * (1 - frequency), 1e-6, 0.5)
        self.se_noise = 0.5 * np.sqrt((1 / heterozygous - 1) / n)
        self.lost = self._lost()

    def of(self, table: pd.DataFrame) -> tuple[Array, Array]:
        """Return z and log SE of a table of the key, of the watermarks that came back."""
        with np.errstate(divide="ignore", invalid="ignore"):
            log_se = np.log(table["se"].to_numpy(np.float64))
        return table["statistic"].to_numpy(np.float64)[self.back], log_se[self.back]

    def _lost(self) -> float:
        """Log-likelihood of which watermarks are missing: their share is estimated."""
        a, b = self.n_lost, self.n_all
        return _binomial(a, b)

    def density(
        self, z: Array, z_sd: Array | float, log_se: Array, se_sd: Array | float, *, folded: bool = False
    ) -> Array:
        """Log density of z and log SE, normal; where the sign is not known, of the absolute z."""
        signed = self.signed & (not folded)
        straight = _normal(self.z, z, z_sd)
        mirrored = np.logaddexp(_normal(np.abs(self.z), z, z_sd), _normal(-np.abs(self.z), z, z_sd))
        out = np.where(signed, straight, mirrored - np.log(2))
        of_se = _normal(self.log_se, log_se, se_sd)
        out = out + np.where(np.isfinite(self.log_se), of_se, 0.0)
        return np.where(np.isnan(out), -np.inf, out)

    def broad(self) -> Array:
        """Log density of anything: hits or not, any standard error."""
        wide = self.density(0 * self.z, 1 + _root_mean_square(self.expected_z), *self._any_se())
        return np.logaddexp(wide, self.null()) - np.log(2)

    def null(self) -> Array:
        """Log density of a made-up null: z standard normal, any standard error."""
        return self.density(0 * self.z, 1.0, *self._any_se())

    def _any_se(self) -> tuple[Array, float]:
        return self.expected_log_se, _BROAD_SE

    def exact(self, z: Array, log_se: Array, *, folded: bool = False) -> Array:
        """Log density of a table's values, to rounding."""
        return self.density(z, self.z_sd, log_se, self.se_sd, folded=folded)

    def score(self, density: Array, n_parameters: int = 0) -> float:
        """Return the log-likelihood with a few strays, less the penalty of parameters."""
        mixed = _mixture(density, self.broad(), STRAY)
        return float(mixed.sum()) + self.lost - 0.5 * n_parameters * math.log(max(2, self.n_all))

    def is_as_expected(self, table: pd.DataFrame) -> bool:
        """Tell whether a table of the key is that of the model asked for, to rounding."""
        z, log_se = self.of(table)
        near = np.abs(z - self.expected_z) <= 2 * self.z_sd
        return bool((near & (np.abs(log_se - self.expected_log_se) <= 2 * self.se_sd)).all())

    def describe_lost(self) -> tuple[str, ...]:
        """Return a sentence on the watermarks without a result, if there are any."""
        return (f"{self.n_lost} watermarks have no result",) if self.n_lost else ()


def _binomial(a: int, n: int) -> float:
    share = a / max(1, n)
    return sum(k * math.log(q) for k, q in ((a, share), (n - a, 1 - share)) if k)


def _normal(x: Array, mean: Array | float, sd: Array | float) -> Array:
    sd = np.maximum(sd, 1e-9)
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2 - np.log(sd) - 0.5 * math.log(2 * math.pi))


def _mixture(a: Array, b: Array, share_b: float) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp(a + np.log1p(-share_b), b + np.log(share_b)))


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else 1.0
