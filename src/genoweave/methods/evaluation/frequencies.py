"""Allele frequencies of each synthetic group against what the channel makes of that group's real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import gamma, norm

from genoweave.methods.frequencies import allele_frequency, count_genotypes, group_numbers
from genoweave.methods.synthesis import Mechanism


def compare_frequencies(real: xr.Dataset, synthetic: xr.Dataset, channel: Mechanism) -> pd.DataFrame:
    """Compare counted allele frequencies, group by group.

    Parameters
    ----------
    real, synthetic
        Cohorts over the same variants, with ``sample_ancestry``; groups of `synthetic` are compared.
    channel
        The mechanism that made the synthetic cohort.


    Returns
    -------
    pandas.DataFrame
        One row per group and variant: group, variant_id, maf_real, maf_synthetic, frequency_expected,
        frequency_synthetic, frequency_se (standard error of the difference), z. `z` is the normal score
        of the distance from the expectation, given the
        channel's own noise and the donors' unequal use; see `normal_scores`.

    Notes
    -----
    One pass over each cohort.
    """
    names, group = group_numbers(synthetic["sample_ancestry"].values)
    index = {name: k for k, name in enumerate(names)}
    own = np.array([index.get(str(label), -1) for label in real["sample_ancestry"].values], np.int64)
    before, _ = count_genotypes(real, own, label="real frequencies")
    after, _ = count_genotypes(synthetic, group, label="synthetic frequencies")
    ids = real["variant_id"].values
    sizes = zip(np.bincount(own[own >= 0], minlength=len(names)), np.bincount(group), strict=True)
    parts = [
        _compare_group(
            name,
            ids,
            before[:, k],
            after[:, k],
            _Noise(channel, int(n_real), int(n_synthetic)),
        )
        for (k, name), (n_real, n_synthetic) in zip(enumerate(names), sizes, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _compare_group(
    name: str, ids: NDArray[Any], before: NDArray[np.int64], after: NDArray[np.int64], noise: _Noise
) -> pd.DataFrame:
    real, synthetic = allele_frequency(before), allele_frequency(after)
    expected = noise.channel.expected_frequency(before)
    variance, skewness = noise.cumulants(before)
    return pd.DataFrame(
        {
            "group": name,
            "variant_id": ids,
            "maf_real": np.fmin(real, 1 - real),
            "maf_synthetic": np.fmin(synthetic, 1 - synthetic),
            "frequency_expected": expected,
            "frequency_synthetic": synthetic,
            "frequency_se": np.sqrt(variance),
            "z": normal_scores(synthetic - expected, variance, skewness),
        }
    )


@dataclass(frozen=True)
class _Noise:
    """What moves a synthetic group's allele frequency from its expectation."""

    channel: Mechanism
    n_real: int
    n_synthetic: int

    def cumulants(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return variance and skewness of the frequency, given real genotype counts (variants, 3).

        Every donor is used floor(T / n) times and T mod n of them once more, drawn without replacement; so
        the donors' part is that of a sample of T mod n out of n. The channel's own part is that of T draws.
        """
        called = np.maximum(counts.sum(axis=-1), 1)
        transition, values = self.channel.transition, np.arange(3)
        image = transition @ values  # expected dosage after the channel
        spread = counts @ image**2 / called - (counts @ image / called) ** 2
        extra = self.n_synthetic % self.n_real
        uneven = extra * (1 - extra / self.n_real) * self.n_real / max(1, self.n_real - 1)
        own = self.n_synthetic * self.channel.dosage_variance(counts)
        variance = own + uneven * spread
        third = (transition * (values - image[:, None]) ** 3).sum(axis=1)
        skewness = np.divide(
            self.n_synthetic * (counts @ third) / called,
            variance**1.5,
            out=np.zeros(len(variance)),
            where=variance > 0,
        )
        return variance / (2 * self.n_synthetic) ** 2, skewness


def normal_scores(
    difference: NDArray[np.float64], variance: NDArray[np.float64], skewness: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return signed normal scores of differences with a known variance and skewness.

    At a rare variant a few flips make all the noise, and its long tail is Poisson's, not normal: 9 flips
    where 1.3 are expected lie 6.7 standard deviations out and happen once in 100,000. On the long side the
    tail is taken from the gamma distribution with the same three moments (Pearson's type III), on the
    short side from the normal one.
    """
    x = np.divide(difference, np.sqrt(variance), out=np.full(len(variance), np.nan), where=variance > 0)
    shape = 4 / np.maximum(np.abs(skewness), 0.01) ** 2
    far = np.abs(x)
    long_tail = -norm.ppf(np.clip(gamma.sf(shape + far * np.sqrt(shape), shape), 1e-300, 0.5))
    return np.where(x * skewness > 0, np.sign(x) * long_tail, x)


def group_fidelity(maf: pd.DataFrame) -> pd.DataFrame:
    """Summarise `compare_frequencies` by group: maf_rmse, maf_r2, max_abs_z, sd_z."""
    rows = []
    for name, part in maf.groupby("group", sort=True):
        difference = part["maf_synthetic"] - part["maf_real"]
        spread = part["maf_real"].std() * part["maf_synthetic"].std()
        r2 = part["maf_real"].corr(part["maf_synthetic"]) ** 2 if spread > 0 else np.nan
        rows.append(
            {
                "group": name,
                "maf_rmse": float(np.sqrt((difference**2).mean())),
                "maf_r2": float(r2),
                "max_abs_z": float(part["z"].abs().max()),
                "sd_z": float(part["z"].std()),
            }
        )
    return pd.DataFrame(rows)
