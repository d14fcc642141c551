"""Genetic relationship matrices of all pairs of samples, out of core, whole or without a chromosome.

K = X'X / p, X the genotypes of p variants less their means (centred), or divided by their standard deviations
too (standardised); a missing call counts as the mean. GEMMA's -gk 1 and -gk 2 [1]. Sums are kept before
the division, so that the variants of a chromosome can be taken out of them.

[1] Zhou and Stephens 2012, Nat. Genet. 44:821.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.chunks import ranges, tiles
from genoweave.errors import DataError
from genoweave.execution import fold
from genoweave.genotypes import Source, read_packed, select, source_of
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.frequencies import allele_frequency, count_genotypes

Float = NDArray[np.float64]

# GEMMA's defaults: rarer variants, and those with more missing calls, make no kinship.
LEAST_MAF = 0.01
MOST_MISSING = 0.05
# Samples of a task's strip, and of the blocks that it is multiplied with.
_STRIP = 1024
_SPAN = 4096


@dataclass(frozen=True)
class Scaling:
    """The variants that make a relationship matrix.

    Attributes
    ----------
    rows
        int64 (variants,), rows of the cohort, ascending.
    mean, scale
        float64 (variants,): of the dosages of all samples, and 1 or one over the standard deviation.
    contig
        Their chromosomes, as ``variant_contig``.
    """

    rows: NDArray[np.int64]
    mean: Float
    scale: Float
    contig: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def on(self, contig: int) -> Scaling:
        """Keep the variants of one chromosome."""
        keep = self.contig == contig
        return Scaling(self.rows[keep], self.mean[keep], self.scale[keep], self.contig[keep])


def scaling(ds: xr.Dataset, kind: Literal["centred", "standardised"]) -> Scaling:
    """Choose the variants of a relationship matrix, in one pass.

    Parameters
    ----------
    ds
        A cohort of diploid variants.
    kind
        Whether genotypes are divided by their standard deviation.

    Raises
    ------
    DataError
        If no variant has a minor allele frequency of `LEAST_MAF` and at most `MOST_MISSING` missing calls.
    """
    counts = count_genotypes(ds, label="counts of the kinship")[0][:, 0]
    n = ds.sizes["samples"]
    called = counts.sum(axis=1)
    frequency = allele_frequency(counts)
    usable = (np.minimum(frequency, 1 - frequency) >= LEAST_MAF) & (n - called <= MOST_MISSING * n)
    mean = 2 * frequency
    squares = counts[:, 1] + 4 * counts[:, 2] + (n - called) * mean**2
    with np.errstate(invalid="ignore"):
        variance = squares / n - mean**2
        usable &= variance > 1e-12  # heterozygotes alone have a frequency and no variance
    rows = np.flatnonzero(usable)
    if not len(rows):
        raise DataError(
            f"no variant can make a kinship: wanted a minor allele frequency of {LEAST_MAF:g} and at most "
            f"{100 * MOST_MISSING:g} % missing calls, found none among {len(counts)}; see the missing calls "
            "of samples and variants (genoweave qc)"
        )
    scale = np.ones(len(rows)) if kind == "centred" else 1 / np.sqrt(variance[rows])
    return Scaling(rows, mean[rows], scale, np.asarray(ds["variant_contig"].values[rows], np.int64))


def add_products(gram: Float, ds: xr.Dataset, of: Scaling, label: str, *, subtract: bool = False) -> Float:
    """Add X'X of some variants to the lower triangle of `gram`, or subtract it.

    Parameters
    ----------
    gram
        float64 (samples, samples), in C order; changed in place. What is above the diagonal means nothing.
    ds
        The cohort with these samples.
    of
        Its variants. Their means may be those of more samples.
    label
        What the progress calls it.

    Returns
    -------
    ndarray
        `gram`, or what a checkpoint has kept of it.

    Notes
    -----
    Fixed tiles of variants are added in their order: the same bits for any chunks and workers. Work: one
    product of matrices, samples^2 x variants additions. Memory: a strip of 1,024 x samples a task.
    """
    source = source_of(select(ds, of.rows))
    sign = -1.0 if subtract else 1.0

    def add(state: dict[str, Any], _: int, result: tuple[int, Float]) -> None:
        first, rows = result
        part = state["gram"][first : first + len(rows), : rows.shape[1]]
        part += sign * rows

    items = list(ranges(source.shape[1], _STRIP))
    return fold(label, _strip, items, {"gram": gram}, add, shared=(source, of.mean, of.scale))["gram"]


def _strip(source: Source, mean: Float, scale: Float, s0: int, s1: int) -> tuple[int, Float]:
    """Task: rows s0..s1 of X'X up to the diagonal's block."""
    rows = np.zeros((s1 - s0, s1))
    for v0, v1 in tiles(source.shape[0]):
        left = _block(source, mean, scale, v0, v1, s0, s1).T
        for a, b in ranges(s1, _SPAN):
            rows[:, a:b] += left @ _block(source, mean, scale, v0, v1, a, b)
    return s0, rows


def _block(source: Source, mean: Float, scale: Float, v0: int, v1: int, s0: int, s1: int) -> Float:
    """Return rows v0..v1 and columns s0..s1 of X."""
    dosage = unpack_dosages(read_packed(source, v0, v1, s0, s1), s1 - s0)
    x = dosage - mean[v0:v1, None]
    x *= scale[v0:v1, None]
    x[dosage < 0] = 0
    return x
