"""A cohort with linkage disequilibrium, for tests of what imitates it."""

import helpers
import numpy as np
import xarray as xr
from scipy.stats import norm


def linked_cohort(
    n_groups: int = 2, per_group: int = 400, n_variants: int = 600, *, missing: float = 0.005, seed: int = 2
) -> xr.Dataset:
    """Haplotypes cut out of a normal process that forgets over some variants, at frequencies by group."""
    rng = np.random.default_rng(seed)
    ancestral = rng.beta(1, 2, n_variants) * 0.45 + 0.04
    keep = rng.beta(2, 1, n_variants)
    n = n_groups * per_group
    group = np.arange(n) % n_groups
    frequency = np.clip(ancestral[:, None] + rng.normal(0, 0.02, (n_variants, n_groups)), 0.02, 0.98)
    alleles = np.empty((n_variants, n, 2), np.int8)
    latent = rng.normal(size=(n, 2))
    for v in range(n_variants):
        latent = keep[v] * latent + np.sqrt(1 - keep[v] ** 2) * rng.normal(size=(n, 2))
        alleles[v] = latent < norm.ppf(frequency[v, group])[:, None]
    dosage = helpers.with_missing(alleles.sum(axis=2).astype(np.int8), missing, rng)
    position = 10_000 + np.cumsum(rng.exponential(3000, n_variants).astype(int) + 2)
    ds = helpers.cohort(dosage, [f"group{k}" for k in group], contigs=("1", "2"), position=position)
    number = rng.choice(np.arange(10**6, 10**8), n_variants, replace=False)
    return ds.assign(variant_id=("variants", np.array([f"rs{k}" for k in number], object)))
