"""Which samples and variants an association uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import DataError
from genoweave.genotypes import Packed, PackedSource, Source, as_dask, select, source_of, store_chunks
from genoweave.kernels.packed import width
from genoweave.methods.qc import usable_variants

_X = {"X", "23"}
_HAPLOID = {"Y", "24", "MT", "M", "26"}
_LOW_BITS = 0x55


@dataclass(frozen=True)
class Trait:
    """A trait of each sample of a cohort.

    Attributes
    ----------
    name
        Its name.
    values
        float64 (samples,), NaN missing; of a case/control trait 1 case, 0 control.
    is_binary
        Whether it is case/control: the regression is logistic.
    """

    name: str
    values: NDArray[np.float64]
    is_binary: bool

    @classmethod
    def of(cls, name: str, values: NDArray[np.float64], model: str = "auto") -> Trait:
        """Make a trait of numbers; by ``"auto"`` it is case/control if all that are known are 0 or 1.

        Raises
        ------
        DataError
            If ``model`` is ``"logistic"`` and there are other values.
        """
        values = np.asarray(values, np.float64)
        is_zero_one = bool(np.isin(values[~np.isnan(values)], (0, 1)).all())
        if model == "logistic" and not is_zero_one:
            raise DataError(
                f"trait {name}: logistic regression wants 1 for cases and 0 for controls, found other values"
            )
        return cls(name, values, model == "logistic" or (model == "auto" and is_zero_one))


@dataclass(frozen=True)
class Groups:
    """Rows of a cohort's variants by how they are inherited, ascending.

    Attributes
    ----------
    diploid
        Autosomes, pseudoautosomal regions, and chromosomes of other names.
    x
        X outside of those regions.
    skipped
        Y and mitochondria, of which people have one copy, and variants with three alleles or more.
    """

    diploid: NDArray[np.int64]
    x: NDArray[np.int64]
    skipped: NDArray[np.int64]


def group_variants(ds: xr.Dataset) -> Groups:
    """Sort a cohort's variants by chromosome."""
    kinds = np.array([_kind(str(name)) for name in ds["contig_id"].values], np.int64)
    kind = np.where(usable_variants(ds, autosomes_only=False), kinds[ds["variant_contig"].values], 2)
    return Groups(*(np.flatnonzero(kind == k) for k in range(3)))


def _kind(contig: str) -> int:
    bare = (contig[3:] if contig.lower().startswith("chr") else contig).upper()
    return 1 if bare in _X else 2 if bare in _HAPLOID else 0


def complete(values: NDArray[np.float64], covariates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which samples have a trait (samples,) and all covariates (samples, covariates)."""
    return np.asarray(np.isfinite(values) & np.isfinite(covariates).all(axis=1))


def check_traits(
    traits: Sequence[Trait], covariates: NDArray[np.float64], names: Sequence[str] | None
) -> None:
    """Refuse traits and covariates that no regression can have, by their names.

    Raises
    ------
    DataError
        If two traits have the same name, too few samples are complete, or a quantitative trait, or a
        covariate, is constant among them.
    """
    if len({trait.name for trait in traits}) < len(traits):
        raise DataError("two traits have the same name; rename one")
    k = covariates.shape[1]
    for trait in traits:
        used = complete(trait.values, covariates)
        n = int(used.sum())
        if n < k + 3:
            raise DataError(
                f"{n} samples have trait {trait.name} and all covariates; {k} covariates and the intercept "
                f"need at least {k + 3}. Compare the tables' sample ids and missing values"
            )
        if not trait.is_binary and not np.ptp(trait.values[used]) > 0:
            raise DataError(
                f"trait {trait.name} is constant among its {n} complete samples; there is nothing to regress"
            )
        constant = np.flatnonzero(~(np.ptp(covariates[used], axis=0) > 0))
        if len(constant):
            name = names[constant[0]] if names else constant[0] + 1
            raise DataError(
                f"covariate {name} is constant among the {n} complete samples of trait {trait.name}; leave "
                "it out (the intercept is added)"
            )


def for_x(
    trait: Trait, covariates: NDArray[np.float64], sex: NDArray[np.int8], max_vif: float
) -> tuple[Trait, NDArray[np.float64]]:
    """Return trait and covariates for X: without samples of unknown sex, and sex (1, 2) as a covariate.

    Sex is no covariate where the complete samples are all of one, or the covariates tell it: its variance
    inflation on them is above `max_vif`.
    """
    known = np.isin(sex, (1, 2))
    trait = Trait(trait.name, np.where(known, trait.values, np.nan), trait.is_binary)
    used = complete(trait.values, covariates)
    if used.any() and np.ptp(sex[used]) > 0 and not _tells(covariates[used], sex[used], max_vif):
        covariates = np.column_stack([covariates, sex])
    return trait, covariates


def _tells(covariates: NDArray[np.float64], sex: NDArray[np.int8], max_vif: float) -> bool:
    """Tell whether sex is nearly a combination of covariates."""
    centred, left = covariates - covariates.mean(axis=0), sex - sex.mean()
    spread = centred.std(axis=0)
    basis = centred[:, spread > 0] / spread[spread > 0]
    rest = left - basis @ np.linalg.lstsq(basis, left, rcond=None)[0]
    return bool((rest @ rest) * max_vif < left @ left)


class HaploidMales(PackedSource):
    """Variants of X: a male has 0 or 2 copies of an allele; his heterozygous calls are missing."""

    def __init__(self, base: Source, is_male: NDArray[np.bool_]) -> None:
        self.base = base
        self.is_male = is_male
        self.shape = base.shape
        self.row_block = base.row_block

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> Packed:
        """Read codes; those of heterozygous males become missing."""
        codes = self.base.read_packed(v0, v1, s0, s1)
        bits = np.zeros(4 * width(s1 - s0), np.uint8)
        bits[: s1 - s0] = self.is_male[s0:s1]
        male = np.packbits(np.stack([bits, np.zeros_like(bits)], axis=1).ravel(), bitorder="little")
        het = (codes >> 1) & ~codes & _LOW_BITS & male  # het is 2 (10), missing 1 (01)
        return np.asarray(codes ^ (het * 3), np.uint8)


def on_x(ds: xr.Dataset, rows: NDArray[np.int64], sex: NDArray[np.int8]) -> xr.Dataset:
    """Return a cohort's variants of X, lazily, as `HaploidMales`."""
    part = select(ds, rows)
    source = HaploidMales(source_of(part), sex == 1)
    return part.assign(call_genotype=(("variants", "samples", "ploidy"), as_dask(source, store_chunks(part))))
