"""Simulated cohorts of biobank size, whose genotypes are computed where they are read."""

from genoweave.methods.biobank.cohort import balding_nichols
from genoweave.methods.biobank.parameters import PRESETS, SHARES, BaldingNichols

__all__ = ["PRESETS", "SHARES", "BaldingNichols", "balding_nichols"]
