"""Simulated founder cohorts for the demo, tests and benchmarks: real history, known faults.

A coalescent simulation (msprime) of six populations gives phased haplotypes with realistic
frequencies, differentiation and linkage disequilibrium. Relatives, duplicates, missing calls and
genotyping errors are then planted, and the dataset says where, so that quality control and kinship
have work to do and a truth to be held to.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import xarray as xr
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import model_validator

from genoweave.errors import ConfigError
from genoweave.methods.coalescent import (
    CHROMOSOME_LENGTH,
    POPULATIONS,
    RECOMBINATION_RATE,
    Coalescent,
    Population,
    choose_on_chromosome,
    demography,
    import_msprime,
)
from genoweave.methods.planted import Person, random_sex, units
from genoweave.parameters import Field, Parameters

__all__ = ["CHROMOSOME_LENGTH", "POPULATIONS", "Population", "Simulation", "simulate"]

logger = logging.getLogger(__name__)

MAX_VARIANTS_PER_CHROMOSOME = 30_000  # regions then nearly touch
BAD_MISSING = (0.08, 0.20)  # well above the usual limit of 0.05
HET_EXCESS = 0.95  # share of calls of a failing variant read as heterozygote
ONE_PER = {  # samples or variants for each planted one, where the user gives no number
    "n_bad_samples": 200,
    "n_bad_variants": 500,
    "n_related_pairs": 75,
    "n_duplicates": 300,
    "n_hwe_failures": 300,
}


class Simulation(Parameters):
    """Size of a simulated cohort and what is planted in it.

    Planted samples count towards the sizes asked for. A number to plant that is left at None is in
    proportion to the cohort.
    """

    n_samples: int = Field(900, ge=1, description="samples, shared out evenly over populations")
    populations: tuple[Population, ...] = Field(
        POPULATIONS, min_length=1, description="populations to sample, of the six simulated"
    )
    samples_per_population: dict[Population, Annotated[int, Field(ge=1)]] = Field(
        {}, description="samples of each population, in place of n_samples and populations"
    )
    n_variants: int = Field(6_000, ge=1, description="SNPs kept")
    n_chromosomes: int = Field(4, ge=1, le=22, description="autosomes, of 200 Mb each")
    rare_fraction: float = Field(
        0.05, ge=0, le=1, description="share of SNPs with pooled minor allele frequency < 0.005"
    )
    missing_rate: float = Field(
        0.005, ge=0, lt=0.05, description="share of calls missing in ordinary samples and variants"
    )
    n_bad_samples: int | None = Field(
        None, ge=0, description="samples with 8-20 % of calls missing (None: one per 200 samples)"
    )
    n_bad_variants: int | None = Field(
        None, ge=0, description="variants with 8-20 % of calls missing (None: one per 500 variants)"
    )
    n_related_pairs: int | None = Field(
        None,
        ge=0,
        description="first-degree pairs: a third or so full siblings without their parents, the "
        "rest a child with each of two parents (None: one per 75 samples)",
    )
    n_duplicates: int | None = Field(
        None, ge=0, description="samples that repeat another one (None: one per 300 samples)"
    )
    n_hwe_failures: int | None = Field(
        None,
        ge=0,
        description="variants with most calls misread as heterozygote (None: one per 300 variants)",
    )
    seed: int = Field(1, ge=0, description="the number that all randomness hangs from")

    @property
    def sizes(self) -> dict[Population, int]:
        """Number of samples of each population."""
        if self.samples_per_population:
            return dict(self.samples_per_population)
        shares = _even_shares(self.n_samples, len(self.populations))
        return dict(zip(self.populations, shares, strict=True))

    def planted(self, name: str) -> int:
        """Return the number to plant of field `name`, in proportion where the field is None."""
        value: int | None = getattr(self, name)
        if value is not None:
            return value
        of_variants = name in ("n_bad_variants", "n_hwe_failures")
        return (self.n_variants if of_variants else sum(self.sizes.values())) // ONE_PER[name]

    @model_validator(mode="after")
    def _check(self) -> Simulation:
        _check_populations(self)
        _check_variants(self)
        return self


def simulate(params: Simulation) -> xr.Dataset:
    """Simulate a cohort of up to six populations, with planted relatives and faults.

    History. AFR (constant size 14,474), its ancestor (7,310 before 5,920 generations ago) and the
    out-of-Africa bottleneck (1,861, from 2,040 generations ago) are those of Gravel et al. 2011,
    who refit the model of Gutenkunst et al. 2009; so is the split of western and eastern branches
    920 generations ago. Our extension: the western branch parts into SAS (520 generations ago), EUR
    and WAS (320), the eastern one into EAS and a native American branch (560); AMR is admixed 14
    generations ago, 50 % EUR, 35 % native and 15 % AFR, in the manner of Browning et al. 2018.
    Sizes and growth after 920, and all migration, are chosen to bring Hudson's Fst near published
    values: AFR-EUR 0.13, EUR-EAS 0.10, EUR-SAS 0.03, EUR-WAS 0.012.

    SNPs. Regions of about 60 kb (longer beyond 2,000 SNPs a chromosome) are simulated apart, with
    1e-8 mutations and recombinations per base pair, and spread evenly over chromosomes of 200 Mb.
    SNPs of a region are in linkage disequilibrium; regions are independent in founders and linked,
    at 1 cM per Mb, in planted meioses. SNPs are chosen as on an array, which favours common ones,
    except for a share `rare_fraction` with pooled minor allele frequency below 0.005.

    Parameters
    ----------
    params : Simulation
        Sizes, what to plant, and the seed.

    Returns
    -------
    xarray.Dataset
        Backed by numpy, samples in random order. ``call_genotype`` int8 (variants, samples,
        ploidy): 1 is the derived allele, -1 missing; ``call_genotype_phased`` bool (variants,
        samples), all true; ``variant_contig`` int32, ``variant_position`` int32 (base pairs from 1,
        increasing within a contig), ``variant_id``, ``variant_allele``, ``contig_id``;
        ``sample_id``, ``sample_ancestry``, ``sample_sex`` int8 (1 male, 2 female). And the truth:
        ``sample_planted`` (samples), "" or one of "child of A and B" (father, mother), "sibling of
        A", "duplicate of A", "missing calls"; ``variant_planted`` (variants), "" or one of "missing
        calls", "heterozygote excess". Those with "" are unrelated samples and clean variants.
        A child can come from its parents at every called variant without "heterozygote excess"; a
        duplicate's calls differ nowhere.

    Raises
    ------
    ConfigError
        If msprime is missing, or what is to be planted does not fit in the samples.

    Notes
    -----
    The same seed and version of msprime give the same cohort. Work grows with samples times
    regions; 900 samples and 6,000 variants take about 7 s on one core. Memory: about 6 bytes per
    sample and variant, and the trees of one chromosome. KING-robust kinship of unrelated samples of
    one group scatters with an SD of 0.024 at that size, since linked SNPs count for less. In groups
    of fewer than 24 samples, no exact test of heterozygote excess reaches p = 1e-6.
    """
    msprime = import_msprime()
    rng = np.random.default_rng(params.seed)
    people = _plan_people(params, rng)
    sites = _simulate_founders(msprime, params, people, rng)
    _transmit(sites, people, rng)
    variant_planted = _misread(sites.haplotypes, params, rng)
    _copy_duplicates(sites.haplotypes, people)
    order = rng.permutation([i for i, person in enumerate(people) if person.visible])
    calls = sites.haplotypes[:, order]
    bad = _pick_bad_samples([people[i] for i in order], params, rng)
    _erase(calls, bad, np.flatnonzero(variant_planted == "missing calls"), params.missing_rate, rng)
    logger.info("simulated %d variants on %d chromosomes", len(calls), params.n_chromosomes)
    variables = _variant_variables(sites, rng) | _sample_variables(people, order, bad)
    return xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), calls),
            "call_genotype_phased": (("variants", "samples"), np.ones(calls.shape[:2], bool)),
            "contig_id": ("contigs", _strings(range(1, params.n_chromosomes + 1))),
            "variant_planted": ("variants", variant_planted),
            **variables,
        }
    )


def _even_shares(total: int, parts: int) -> list[int]:
    return [total // parts + (part < total % parts) for part in range(parts)]


def _check_populations(params: Simulation) -> None:
    if params.samples_per_population and params.model_fields_set & {"n_samples", "populations"}:
        raise ConfigError(
            "[Simulation] samples_per_population was given together with n_samples or populations; "
            "give it alone, or only the other two"
        )
    if len(set(params.populations)) < len(params.populations):
        raise ConfigError(f"[Simulation] populations names one twice: {params.populations}")
    if min(params.sizes.values()) < 1:
        raise ConfigError(
            f"[Simulation] n_samples = {params.n_samples} is less than one for each of "
            f"{len(params.populations)} populations; raise it, or name fewer populations"
        )


def _check_variants(params: Simulation) -> None:
    most = params.n_chromosomes * MAX_VARIANTS_PER_CHROMOSOME
    if params.n_variants > most:
        raise ConfigError(
            f"[Simulation] n_variants = {params.n_variants}, but {params.n_chromosomes} "
            f"chromosomes hold {most}; lower it, or raise n_chromosomes (at most 22)"
        )
    n_planted = params.planted("n_bad_variants") + params.planted("n_hwe_failures")
    if n_planted > params.n_variants:
        raise ConfigError(
            f"[Simulation] n_bad_variants and n_hwe_failures make {n_planted}, more than "
            f"n_variants = {params.n_variants}; lower them, or raise n_variants"
        )


def _plan_people(params: Simulation, rng: Generator) -> list[Person]:
    """Place families and duplicates where there is most room, then fill up with single people."""
    free = params.sizes
    people: list[Person] = []
    for make_unit in units(params.planted("n_related_pairs"), params.planted("n_duplicates")):
        group = max(free, key=lambda name: free[name])
        unit = make_unit(group, len(people), [random_sex(rng), random_sex(rng)])
        free[group] -= sum(person.visible for person in unit)
        if free[group] < 0:
            raise ConfigError(
                f"[Simulation] {params.planted('n_related_pairs')} related pairs and "
                f"{params.planted('n_duplicates')} duplicates do not fit in samples of "
                f"{params.sizes}; lower n_related_pairs or n_duplicates, or raise the sizes"
            )
        people += unit
    for group, n in free.items():
        people += [Person(group, random_sex(rng), single=True) for _ in range(n)]
    return people


@dataclass(frozen=True)
class _Sites:
    """Variants in genome order, and haplotypes at them (variants, people, 2)."""

    contig: NDArray[np.int32]
    position: NDArray[np.int32]
    allele: NDArray[Any]
    haplotypes: NDArray[np.int8]


def _simulate_founders(msprime: Any, params: Simulation, people: list[Person], rng: Generator) -> _Sites:
    """Founders' haplotypes; the columns of children and duplicates are left to be filled."""
    founders = [i for i, one in enumerate(people) if not one.parents and one.copy_of is None]
    founders.sort(key=lambda i: POPULATIONS.index(people[i].population))
    groups = [people[i].population for i in founders]
    visible = np.repeat([people[i].visible for i in founders], 2)
    source = Coalescent(msprime, demography(msprime), groups, visible)
    counts = _even_shares(params.n_variants, params.n_chromosomes)
    position = np.empty(params.n_variants, np.int32)
    allele = np.empty((params.n_variants, 2), object)
    haplotypes = np.empty((params.n_variants, len(people), 2), np.int8)
    row = 0
    for count in filter(None, counts):
        for start, trees in choose_on_chromosome(source, count, params.rare_fraction, rng):
            for site in trees.variants():
                position[row] = start + int(site.site.position)
                allele[row] = site.alleles
                haplotypes[row, founders] = site.genotypes.reshape(-1, 2)
                row += 1
    contig = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return _Sites(contig, position, allele, haplotypes)


def _transmit(sites: _Sites, people: list[Person], rng: Generator) -> None:
    """Fill the haplotypes of children, paternal first."""
    switch = _switch_probability(sites)
    for i, person in enumerate(people):
        for copy, parent in enumerate(person.parents):
            sites.haplotypes[:, i, copy] = _gamete(sites.haplotypes[:, parent], switch, rng)


def _switch_probability(sites: _Sites) -> NDArray[np.float64]:
    """Chance of an odd number of crossovers since the variant before (Haldane); 1/2 at a start."""
    distance = np.diff(sites.position, prepend=0)
    odd = (1 - np.exp(-2 * RECOMBINATION_RATE * distance)) / 2
    new_chromosome = np.diff(sites.contig, prepend=-1) != 0
    return np.where(new_chromosome, 0.5, odd)


def _gamete(parent: NDArray[np.int8], switch: NDArray[np.float64], rng: Generator) -> NDArray[np.int8]:
    """Copy a parent's two haplotypes (variants, 2) in turn."""
    strand = np.cumsum(rng.random(len(parent)) < switch) % 2
    return np.take_along_axis(parent, strand[:, np.newaxis], axis=1)[:, 0]


def _misread(haplotypes: NDArray[np.int8], params: Simulation, rng: Generator) -> NDArray[Any]:
    """Misread calls as heterozygotes; return what is planted, or will be, in each variant."""
    n_failing = params.planted("n_hwe_failures")
    n_planted = n_failing + params.planted("n_bad_variants")
    rows = rng.choice(len(haplotypes), n_planted, replace=False)
    planted = np.full(len(haplotypes), "", object)
    planted[rows[:n_failing]] = "heterozygote excess"
    planted[rows[n_failing:]] = "missing calls"
    for row in rows[:n_failing]:
        wrong = np.flatnonzero(rng.random(haplotypes.shape[1]) < HET_EXCESS)
        first = rng.integers(0, 2, len(wrong))
        haplotypes[row, wrong] = np.stack([first, 1 - first], axis=1)
    return planted


def _copy_duplicates(haplotypes: NDArray[np.int8], people: list[Person]) -> None:
    for i, person in enumerate(people):
        if person.copy_of is not None:
            haplotypes[:, i] = haplotypes[:, person.copy_of]


def _pick_bad_samples(cohort: list[Person], params: Simulation, rng: Generator) -> NDArray[np.int64]:
    """Columns of samples that will lose calls, none of them related or duplicated."""
    single = np.flatnonzero([person.single for person in cohort])
    n = params.planted("n_bad_samples")
    if n > len(single):
        raise ConfigError(
            f"[Simulation] n_bad_samples = {n}, but {len(single)} samples are neither related nor "
            "duplicated; lower it, or raise the number of samples"
        )
    return rng.choice(single, n, replace=False)


def _erase(
    calls: NDArray[np.int8],
    bad: NDArray[np.int64],
    gappy: NDArray[np.int64],
    rate: float,
    rng: Generator,
) -> None:
    """Set calls to missing: a high share of bad samples and variants, about `rate` elsewhere."""
    n_variants, n_samples = calls.shape[:2]
    # drawn with replacement: cells hit twice lower the rate by a share of rate / 2
    cells = rng.integers(0, n_variants * n_samples, rng.binomial(n_variants * n_samples, rate))
    calls[cells // n_samples, cells % n_samples] = -1
    for column in bad:
        calls[_share_of(np.arange(n_variants), rng), column] = -1
    # of the good samples, so that a variant still fails when the bad ones have been removed
    good = np.setdiff1d(np.arange(n_samples), bad)
    for row in gappy:
        calls[row, _share_of(good, rng)] = -1


def _share_of(indices: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
    size = math.ceil(rng.uniform(*BAD_MISSING) * len(indices))
    return rng.choice(indices, size, replace=False)


def _variant_variables(sites: _Sites, rng: Generator) -> dict[str, Any]:
    numbers = rng.choice(1_000_000_000, len(sites.position), replace=False)
    return {
        "variant_contig": ("variants", sites.contig),
        "variant_position": ("variants", sites.position),
        "variant_id": ("variants", _strings(f"rs{number + 1}" for number in numbers)),
        "variant_allele": (("variants", "alleles"), sites.allele),
    }


def _sample_variables(
    people: list[Person], order: NDArray[np.int64], bad: NDArray[np.int64]
) -> dict[str, Any]:
    ids = {person: f"S{column + 1:06d}" for column, person in enumerate(order.tolist())}
    cohort = [people[person] for person in ids]
    planted = _strings(
        f"{one.note} {' and '.join(ids[other] for other in one.note_of)}".strip() for one in cohort
    )
    planted[bad] = "missing calls"
    return {
        "sample_id": ("samples", _strings(ids.values())),
        "sample_ancestry": ("samples", _strings(one.population for one in cohort)),
        "sample_sex": ("samples", np.array([one.sex for one in cohort], np.int8)),
        "sample_planted": ("samples", planted),
    }


def _strings(values: Any) -> NDArray[Any]:
    return np.array([str(value) for value in values], object)
