"""Cohorts of biobank size by the model of Balding and Nichols (1995), computed where they are read.

Variants are unlinked. A group's allele frequency is Beta distributed around the variant's, with variance
Fst f (1 - f). Genotypes depend on (seed, variant, sample) alone: nothing holds the matrix, and any block
of it is the same whenever and wherever it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.random import Generator
from numpy.typing import NDArray

from genoweave.chunks import ranges
from genoweave.errors import ConfigError
from genoweave.genotypes import PackedSource, as_dask
from genoweave.kernels.packed import PAD_BYTE, copy_codes, width
from genoweave.kernels.simulate import BLOCK_SAMPLES, simulate_variants
from genoweave.methods.biobank.families import DUPLICATE, FAMILIES, Block, links, plan_block, related_pairs
from genoweave.methods.biobank.parameters import BaldingNichols
from genoweave.methods.biobank.variants import BAD_SAMPLES, Variants, plan_variants, scaled, sites

FAULT_SHARE = 0.3  # of the calls of a variant that fails Hardy-Weinberg, misread
_CHUNKS = (1024, 16_384)


@dataclass(frozen=True)
class _People:
    """Bit masks and pedigree links of one block; see the kernel."""

    size: int
    groups: NDArray[np.uint64]
    classes: NDArray[np.uint64]
    links: NDArray[np.int64]
    first_link: NDArray[np.int64]
    link_of: NDArray[np.int64]


class BaldingNicholsSource(PackedSource):
    """Genotypes that are drawn where they are read; pickles what they are drawn from."""

    def __init__(self, seed: int, n_samples: int, variants: Variants, people: list[_People]) -> None:
        self.seed = np.uint64(seed)
        self.shape = (len(variants.allele), n_samples, 2)
        self.variants = variants
        self.people = people

    @property
    def sample_edges(self) -> list[int]:
        """The borders of blocks, which are drawn as a whole."""
        return [*range(0, self.shape[1], BLOCK_SAMPLES), self.shape[1]]

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.uint8]:
        """Draw the codes of variants v0..v1 and samples s0..s1, uint8 (v1-v0, ceil((s1-s0) / 4))."""
        out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
        if s0 == s1:
            return out
        for number in range(s0 // BLOCK_SAMPLES, (s1 - 1) // BLOCK_SAMPLES + 1):
            start = number * BLOCK_SAMPLES
            low, high = max(s0, start), min(s1, start + self.people[number].size)
            codes = self._block(number, v0, v1)
            copy_codes(codes, low - start, high - low, out, low - s0)
        return out

    def _block(self, number: int, v0: int, v1: int) -> NDArray[np.uint8]:
        one, rows = self.people[number], slice(v0, v1)
        fault = self.variants.fault[rows]
        share = np.full(v1 - v0, scaled(np.float64(FAULT_SHARE)), np.uint32)
        out = np.empty((v1 - v0, width(one.size)), np.uint8)
        simulate_variants(
            self.seed, v0, self.variants.allele[rows], self.variants.missing[rows], fault, share,
            number, one.groups, one.classes, one.links, one.first_link, one.link_of, out,
        )  # fmt: skip
        return out


def balding_nichols(params: BaldingNichols) -> tuple[xr.Dataset, pd.DataFrame]:
    """Simulate a cohort of biobank size; its genotypes are computed where they are read.

    Parameters
    ----------
    params
        Sizes, what to plant, and the seed.

    Returns
    -------
    xarray.Dataset
        ``call_genotype`` int8 (variants, samples, ploidy), lazy, unphased, -1 missing;
        ``variant_contig``, ``variant_position``, ``variant_id``, ``variant_allele``, ``contig_id``;
        ``sample_id``, ``sample_ancestry``, ``sample_sex`` int8 (1 male, 2 female). And the truth:
        ``sample_planted``, "" or "missing calls"; ``variant_planted``, one of "", "rare", "missing calls",
        "heterozygote excess", "heterozygote deficit".
    pandas.DataFrame
        All related pairs: columns ``first`` and ``second`` of the cohort, ``relation`` ("duplicate",
        "parent and child", "full siblings", "second degree", "third degree") and ``kinship``. In
        duplicates only missing calls and misread variants differ.

    Raises
    ------
    ConfigError
        If families and duplicates do not fit in the samples.

    Notes
    -----
    Memory: about 60 bytes a variant and 200 a sample; blocks as they are read. Reading took 8 s of CPU per
    10**10 genotypes of rare SNPs and 20 s of common ones on a Zen 4 core. Neighbouring SNPs are independent.

    References
    ----------
    .. [1] Balding DJ, Nichols RA (1995). Genetica 96:3-12.
    """
    rng = np.random.default_rng([params.seed, 1])
    blocks = _plan_blocks(params, np.random.default_rng([params.seed, 2]))
    variants = plan_variants(params, rng)
    bad = [_bad_samples(params, block) for block in blocks]
    n_groups = len(params.group_shares)
    people = [_people(block, classes, n_groups) for block, classes in zip(blocks, bad, strict=True)]
    source = BaldingNicholsSource(params.seed, params.n_samples, variants, people)
    ds = xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), as_dask(source, _CHUNKS)),
            "variant_planted": ("variants", variants.planted),
            **sites(params.n_variants, rng),
            **_samples(params, blocks, bad),
        }
    )
    return ds, _pairs(blocks)


def _plan_blocks(params: BaldingNichols, rng: Generator) -> list[Block]:
    shares = np.array(list(params.group_shares.values()))
    ends = [end for _, end in ranges(params.n_samples, BLOCK_SAMPLES)]
    per_family = sum(family.share * family.removed for family in FAMILIES)
    rates = [(family, params.related_share * family.share / per_family) for family in FAMILIES]
    rates.append((DUPLICATE, params.duplicate_share))
    blocks, before = [], 0
    for end in ends:
        wanted = [(family, round(end * rate) - round(before * rate)) for family, rate in rates]
        try:
            blocks.append(plan_block(end - before, wanted, shares / shares.sum(), rng))
        except ValueError as error:
            raise ConfigError(
                f"[BaldingNichols] {error} ({before + 1} to {end}); lower related_share or duplicate_share"
            ) from None
        before = end
    return blocks


def _bad_samples(params: BaldingNichols, block: Block) -> NDArray[np.uint8]:
    """Return each sample's class of missingness, 0 for ordinary ones; relatives are ordinary."""
    classes = np.zeros(block.size, np.uint8)
    n = min(round(params.bad_sample_share * block.size), len(block.free))
    classes[block.free[:n]] = 1 + np.arange(n) % len(BAD_SAMPLES)
    return classes


def _people(block: Block, classes: NDArray[np.uint8], n_groups: int) -> _People:
    hidden_words = -(-block.hidden // 64)
    words = -(-block.size // 64)
    n_bits = 64 * (hidden_words + words)
    gap = 64 * hidden_words - block.hidden
    table = links(block)
    table = np.where(table >= block.hidden, table + gap, table)
    group = np.full(n_bits, -1)
    group[64 * hidden_words : 64 * hidden_words + block.size] = block.group
    for planted in block.families:
        hidden = planted.places[:, planted.family.hidden]
        group[-1 - hidden] = planted.group[:, None]
    group[table[:, 0]] = -1  # not founders: their alleles come by the links
    kind = np.full(64 * words, -1)
    kind[: block.size] = classes
    ends = np.concatenate([table[:, 1], table[:, 2]])
    number = np.tile(np.arange(len(table)), 2)
    order = np.lexsort((number, ends))
    order = order[ends[order] >= 0]
    return _People(
        block.size,
        groups=_bits(group, n_groups),
        classes=_bits(kind, 1 + len(BAD_SAMPLES)),
        links=np.ascontiguousarray(table),
        first_link=np.searchsorted(ends[order], np.arange(n_bits + 1)),
        link_of=number[order],
    )


def _bits(number: NDArray[np.int64], n: int) -> NDArray[np.uint64]:
    """Return the members of each number 0..n as bits, uint64 (n, words)."""
    members = number == np.arange(n)[:, None]
    return np.packbits(members, axis=1, bitorder="little").view(np.uint64)


def _samples(params: BaldingNichols, blocks: list[Block], bad: list[NDArray[np.uint8]]) -> dict[str, Any]:
    names = np.array(list(params.group_shares), object)
    planted = np.array(["", "missing calls"], object)
    return {
        "sample_id": ("samples", np.array([f"S{i + 1:06d}" for i in range(params.n_samples)], object)),
        "sample_ancestry": ("samples", names[np.concatenate([block.group for block in blocks])]),
        "sample_sex": ("samples", np.concatenate([block.sex for block in blocks])),
        "sample_planted": ("samples", planted[(np.concatenate(bad) > 0).astype(np.int64)]),
    }


def _pairs(blocks: list[Block]) -> pd.DataFrame:
    parts = []
    for number, block in enumerate(blocks):
        for first, second, relation, kinship in related_pairs(block, number * BLOCK_SAMPLES):
            parts.append(
                pd.DataFrame({"first": first, "second": second, "relation": relation, "kinship": kinship})
            )
    columns = {"first": np.int64, "second": np.int64, "relation": object, "kinship": np.float64}
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(columns))
    return table.astype(columns).sort_values(["first", "second"], ignore_index=True)
