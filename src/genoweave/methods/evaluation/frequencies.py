"""Allele frequencies of each synthetic group against what the channel makes of that group's real ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

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
        frequency_synthetic, z. `z` is the distance from the expectation in standard errors: the channel's own noise, and the
        choice of donors where they are not used equally often.

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
        _compare_group(name, ids, before[:, k], after[:, k], channel, int(n_real), int(n_synthetic))
        for (k, name), (n_real, n_synthetic) in zip(enumerate(names), sizes, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _compare_group(
    name: str,
    ids: NDArray,
    before: NDArray[np.int64],
    after: NDArray[np.int64],
    channel: Mechanism,
    n_real: int,
    n_synthetic: int,
) -> pd.DataFrame:
    real, synthetic = allele_frequency(before), allele_frequency(after)
    expected = channel.expected_frequency(before.astype(float))
    variance = frequency_variance(before, channel, n_real, n_synthetic)
    z = np.divide(synthetic - expected, np.sqrt(variance), out=np.full(len(ids), np.nan), where=variance > 0)
    return pd.DataFrame(
        {
            "group": name,
            "variant_id": ids,
            "maf_real": np.fmin(real, 1 - real),
            "maf_synthetic": np.fmin(synthetic, 1 - synthetic),
            "frequency_expected": expected,
            "frequency_synthetic": synthetic,
            "z": z,
        }
    )


def frequency_variance(
    counts: NDArray[np.int64], channel: Mechanism, n_real: int, n_synthetic: int
) -> NDArray[np.float64]:
    """Return the variance of a synthetic group's allele frequency around its expectation.

    Every donor is used floor(T / n) times and T mod n of them once more, drawn without replacement; so the
    donors' part is that of a sample of T mod n out of n, and the channel's own part that of T draws.
    """
    called = np.maximum(counts.sum(axis=-1), 1)
    image = channel.transition @ np.arange(3)  # expected dosage after the channel
    mean = counts @ image / called
    spread = counts @ image**2 / called - mean**2
    extra = n_synthetic % n_real
    donors = extra * (1 - extra / n_real) * spread * n_real / max(1, n_real - 1)
    return (n_synthetic * channel.dosage_variance(counts) + donors) / (2 * n_synthetic) ** 2


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
