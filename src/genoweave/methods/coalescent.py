"""Coalescent simulation of six populations: their history, and variants chosen as for an array."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from genoweave.errors import ConfigError

Population = Literal["EUR", "AFR", "AMR", "EAS", "SAS", "WAS"]
POPULATIONS: tuple[Population, ...] = get_args(Population)

RECOMBINATION_RATE = 1e-8  # per base pair and generation: 1 cM per Mb
MUTATION_RATE = 1e-8  # per base pair and generation
CHROMOSOME_LENGTH = 200_000_000
REGION_VARIANTS = 10  # kept in one simulated region; with 50, unrelated pairs passed for relatives
BASES_PER_VARIANT = 6_000  # about 20 common SNPs to choose each kept variant from
MIN_REGION_LENGTH = 20_000
MIN_REGIONS, MAX_REGIONS = 10, 200  # of a chromosome; beyond, regions get longer
COMMON_MAF = 0.005
PANEL_HAPLOTYPES = 8


def import_msprime() -> Any:
    """Import msprime, or say how to get it."""
    try:
        import msprime
    except ImportError as error:
        raise ConfigError(
            "simulating a cohort needs msprime, which is not installed; run: pip install 'genoweave[demo]'"
        ) from error
    return msprime


# name, size at the start of the branch, growth per generation, generations since that start
_BRANCHES = (
    ("AFR", 14_474, 0.0, 0),
    ("EUR", 5_000, 0.006, 320),
    ("WAS", 5_000, 0.006, 320),
    ("SAS", 4_000, 0.004, 520),
    ("EAS", 1_500, 0.005, 560),
    ("NATIVE", 2_000, 0.0, 0),
    ("AMR", 20_000, 0.0, 0),
    ("NEAR_WEST", 5_000, 0.0, 0),
    ("WEST", 4_000, 0.0, 0),
    ("EAST", 2_000, 0.0, 0),
    ("OUT", 1_861, 0.0, 0),
    ("ORIGIN", 14_474, 0.0, 0),
)
# share of migrants per generation, each way
_MIGRATION = {
    ("AFR", "EUR"): 2.5e-5,
    ("AFR", "WAS"): 5e-5,
    ("AFR", "EAS"): 0.8e-5,
    ("EUR", "WAS"): 2e-4,
    ("EUR", "SAS"): 5e-5,
    ("WAS", "SAS"): 1e-4,
    ("SAS", "EAS"): 1e-4,
    ("EUR", "EAS"): 3e-5,
}
# generations ago, branches, the branch they come from
_SPLITS = (
    (320, ["EUR", "WAS"], "NEAR_WEST"),
    (520, ["NEAR_WEST", "SAS"], "WEST"),
    (560, ["EAS", "NATIVE"], "EAST"),
    (920, ["WEST", "EAST"], "OUT"),
    (2_040, ["AFR", "OUT"], "ORIGIN"),
)


def demography(msprime: Any) -> Any:
    """Build the history that `genoweave.methods.simulate.simulate` describes."""
    history = msprime.Demography()
    for name, start, growth, since in _BRANCHES:
        size = start * math.exp(growth * since)
        history.add_population(name=name, initial_size=size, growth_rate=growth)
    for pair, rate in _MIGRATION.items():
        history.set_symmetric_migration_rate(pair, rate)
    history.add_admixture(
        time=14, derived="AMR", ancestral=["EUR", "NATIVE", "AFR"], proportions=[0.5, 0.35, 0.15]
    )
    for time, derived, ancestral in _SPLITS:
        history.add_population_split(time=time, derived=derived, ancestral=ancestral)
    history.add_symmetric_migration_rate_change(time=920, populations=["OUT", "AFR"], rate=3e-4)
    history.add_population_parameters_change(time=5_920, population="ORIGIN", initial_size=7_310)
    history.sort_events()
    return history


class Coalescent:
    """What regions are simulated from: the history and the founders, ordered by population.

    `groups` names each founder's population; `visible` tells which of their haplotypes the cohort holds.
    """

    def __init__(
        self, msprime: Any, history: Any, groups: list[Population], visible: NDArray[np.bool_]
    ) -> None:
        self.msprime = msprime
        self.history = history
        self.samples = [
            msprime.SampleSet(groups.count(name), population=name) for name in POPULATIONS if name in groups
        ]
        self.visible = np.flatnonzero(visible)

    def regions(self, n: int, length: int, rng: Generator) -> list[Any]:
        """Return the trees and mutations of `n` independent regions."""
        # kappa 4 makes about two transitions for each transversion, as in people
        model = self.msprime.HKY(kappa=4.0)
        replicates = self.msprime.sim_ancestry(
            self.samples,
            demography=self.history,
            sequence_length=length,
            recombination_rate=RECOMBINATION_RATE,
            num_replicates=n,
            random_seed=int(rng.integers(1, 2**31)),
        )
        seeds = rng.integers(1, 2**31, n).tolist()
        return [
            self.msprime.sim_mutations(trees, rate=MUTATION_RATE, model=model, random_seed=seed)
            for trees, seed in zip(replicates, seeds, strict=True)
        ]


def choose_on_chromosome(
    source: Coalescent, n: int, rare_fraction: float, rng: Generator
) -> list[tuple[int, Any]]:
    """Return (first position, trees with the chosen sites only) of each region."""
    n_regions = max(min(n, MIN_REGIONS), min(math.ceil(n / REGION_VARIANTS), MAX_REGIONS))
    length = max(MIN_REGION_LENGTH, math.ceil(n / n_regions) * BASES_PER_VARIANT)
    regions = source.regions(n_regions, length, rng)
    mafs = [_cohort_maf(trees, source.visible) for trees in regions]
    chosen = _choose_sites(np.concatenate(mafs), n, rare_fraction, rng)
    per_region = np.split(chosen, np.cumsum([len(maf) for maf in mafs])[:-1])
    spacing = CHROMOSOME_LENGTH // n_regions
    return [
        (number * spacing + 1, trees.delete_sites(np.flatnonzero(~keep)))
        for number, (trees, keep) in enumerate(zip(regions, per_region, strict=True))
    ]


def _cohort_maf(trees: Any, visible: NDArray[np.int64]) -> NDArray[np.float64]:
    """Minor allele frequency of each site in the cohort; 0 where more than one mutation fell.

    Counted on the trees: decoding all sites to keep a few took half of the time.
    """
    site, node = trees.mutations_site, trees.mutations_node
    ends = np.searchsorted(trees.sites_position[site], trees.breakpoints(as_array=True))
    count = np.zeros(trees.num_sites)
    for tree in trees.trees(tracked_samples=visible):
        here = slice(ends[tree.index], ends[tree.index + 1])
        count[site[here]] = [tree.num_tracked_samples(u) for u in node[here]]
    count[np.bincount(site, minlength=trees.num_sites) != 1] = 0
    return np.minimum(count, len(visible) - count) / len(visible)


def _choose_sites(
    maf: NDArray[np.float64], n: int, rare_fraction: float, rng: Generator
) -> NDArray[np.bool_]:
    """Choose `n` polymorphic sites, a share of them rare, the others as for an array.

    A common site is drawn in proportion to the chance that it varies in a discovery panel of k
    haplotypes, 1 - f^k - (1 - f)^k, which flattens the neutral spectrum.
    """
    rare = np.flatnonzero((maf > 0) & (maf < COMMON_MAF))
    common = np.flatnonzero(maf >= COMMON_MAF)
    if len(rare) + len(common) < n:
        raise ConfigError(
            f"[Simulation] only {len(rare) + len(common)} SNPs vary where {n} are wanted; raise n_samples"
        )
    # a small cohort has no rare sites, so each kind makes up for a lack of the other
    n_rare = max(min(round(n * rare_fraction), len(rare)), n - len(common))
    f = maf[common]
    panel = 1 - f**PANEL_HAPLOTYPES - (1 - f) ** PANEL_HAPLOTYPES
    chosen = np.zeros(len(maf), bool)
    chosen[rng.choice(rare, n_rare, replace=False)] = True
    chosen[rng.choice(common, n - n_rare, replace=False, p=panel / panel.sum())] = True
    return chosen
