"""A mixed-model association: which kinship, which samples, which chromosome is left out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genoweave.chunks import human_bytes
from genoweave.errors import ConfigError, DataError, MemoryBudgetError
from genoweave.execution import available_cores, machine_memory
from genoweave.genotypes import select
from genoweave.methods import grm
from genoweave.methods.gwas.fits import Fits
from genoweave.methods.gwas.mixed.spectrum import decompose, fit_null, submatrix
from genoweave.methods.gwas.mixed.variants import Work, fit_variants
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.gwas.samples import Trait, complete
from genoweave.methods.linear import orthonormal

log = logging.getLogger(__name__)

Float = NDArray[np.float64]
TESTS = ("score", "wald", "lrt")

# Eigendecompositions of more take days.
MOST_SAMPLES = 40_000
_ADVICE = "use a whole-genome regression for more (export --tables writes what REGENIE and BOLT-LMM read)"


def fit_mixed(
    ds: xr.Dataset,
    traits: list[Trait],
    covariates: Float,
    params: GWAS,
    tested: xr.Dataset | None = None,
) -> list[Fits]:
    """Test each variant by a linear mixed model, as GEMMA does.

    Parameters
    ----------
    ds
        A cohort's diploid variants: they make the kinship, and are tested.
    traits
        Case/control traits are taken for the numbers 0 and 1.
    covariates
        float64 (samples, covariates) without an intercept; NaN where one is missing.
    params
        ``test`` (score, wald or lrt), ``kinship``, ``loco``, ``max_vif``.
    tested
        Test these variants of the same samples instead (chromosome X), with the whole kinship of `ds`.

    Returns
    -------
    list of Fits
        One a trait. ``notes`` has ``PVE`` and ``PVE_SE``, the share of variance that the whole kinship
        explains, and ``LAMBDA_NULL``, its ratio to residual variance; restricted likelihood. A sample
        without a call counts as the mean of the others, and as ``called``.

    Raises
    ------
    ConfigError
        If the test or the coding is none of a mixed model.
    DataError
        If no variant makes a kinship, no other chromosome is left (``loco``), too few samples are complete,
        or a trait or covariates are constant or collinear.
    MemoryBudgetError
        If there are more samples than the machine's memory, or `MOST_SAMPLES`, allow.

    Notes
    -----
    Samples without the trait or a covariate are left out; traits that lack the same samples share the
    eigendecompositions. Memory: 8 n^2 bytes three times, once more with ``loco``, and once more where traits
    lack different samples. Results are the same bits for any chunks and workers.

    References
    ----------
    Zhou and Stephens 2012, Nat. Genet. 44:821; Yang et al. 2014, Nat. Genet. 46:100 (leaving out the
    chromosome).
    """
    check_options(params)
    leave_out = params.loco and tested is None
    groups = _by_samples(traits, covariates)
    either = np.any([group.used for group in groups], axis=0)
    _check_memory(int(either.sum()), copies=3 + leave_out + (len(groups) > 1))
    with threadpool_limits(1):  # the bits of a product depend on the threads of BLAS
        groups = [_without_others(group, either, covariates, params.max_vif) for group in groups]
    scaling = grm.scaling(ds, params.kinship)
    samples = np.flatnonzero(either)
    ds, tested = select(ds, samples=samples), None if tested is None else select(tested, samples=samples)
    contigs = _contigs(ds, scaling) if leave_out else {}
    gram = grm.add_products(np.zeros((len(samples),) * 2), ds, scaling, "kinship")
    out = [Fits.empty((ds if tested is None else tested).sizes["variants"]) for _ in traits]
    for k, group in enumerate(groups):
        work = _work(group, gram, len(scaling), keep=leave_out or k + 1 < len(groups))
        for trait, null in zip(group.traits, work.nulls, strict=True):
            out[trait].notes.update(PVE=null.pve, PVE_SE=null.pve_se, LAMBDA_NULL=null.ratio)
        if not leave_out:
            found = fit_variants(ds if tested is None else tested, work, params, f"mixed model {k + 1}")
            _put(out, group, slice(None), found)
        del work  # the next eigenvectors need its room
    for contig, rows in contigs.items():
        _leave_out(ds, gram, scaling, contig, rows, groups, params, out)
    return out


@dataclass(frozen=True)
class _Group:
    """Traits that have the same samples.

    Attributes
    ----------
    traits
        Their places.
    used
        bool (samples,).
    values
        float64 (samples used, traits).
    basis
        float64 (samples used, covariates), orthonormal, the intercept first.
    """

    traits: list[int]
    used: NDArray[np.bool_]
    values: Float
    basis: Float


def _by_samples(traits: list[Trait], covariates: Float) -> list[_Group]:
    """Bring together the traits that have the same complete samples."""
    groups: dict[bytes, _Group] = {}
    for place, trait in enumerate(traits):
        used = complete(trait.values, covariates)
        group = groups.setdefault(used.tobytes(), _Group([], used, np.empty((0, 0)), np.empty((0, 0))))
        group.traits.append(place)
    return [
        replace(group, values=np.column_stack([traits[k].values[group.used] for k in group.traits]))
        for group in groups.values()
    ]


def _without_others(group: _Group, either: NDArray[np.bool_], covariates: Float, max_vif: float) -> _Group:
    """Make the covariates' basis, take it out of the traits, and keep the samples of `either`."""
    n = int(group.used.sum())
    basis = orthonormal(covariates[group.used], max_vif) / np.sqrt(n)
    values = group.values
    spread = values.std(axis=0)
    for _ in range(2):  # once more takes out what rounding left of the covariates
        values = values - basis @ (basis.T @ values)
    left = np.sqrt((values**2).mean(axis=0))
    rounding = np.maximum(1e-7 * spread, 1e-12 * np.abs(group.values).max(axis=0))
    explained = np.flatnonzero(~(left > rounding))
    if len(explained):
        raise DataError(
            f"trait {group.traits[explained[0]] + 1} is constant or is explained by the covariates among its "
            f"{n} complete samples; there is nothing to regress"
        )
    return _Group(group.traits, group.used[either], values, basis)


def _work(group: _Group, gram: Float, count: int, *, keep: bool) -> Work:
    """Decompose a group's kinship, rotate its traits and fit them alone; `gram` is lost if it is not kept."""
    with threadpool_limits(1):
        spectrum = decompose(submatrix(gram, group.used, count, keep=keep), group.basis)
        traits = np.ascontiguousarray((spectrum.vectors.T @ group.values).T)
        nulls = [fit_null(spectrum, trait) for trait in traits]
    return Work(spectrum, group.used, traits, nulls)


def _leave_out(
    ds: xr.Dataset, gram: Float, scaling: grm.Scaling, contig: int, rows: NDArray[np.int64],
    groups: list[_Group], params: GWAS, out: list[Fits],
) -> None:  # fmt: skip
    """Test the variants of a chromosome by the kinship of the others."""
    name = str(ds["contig_id"].values[contig])
    on = scaling.on(contig)
    others = gram.copy()
    if len(on):
        others = grm.add_products(others, ds, on, f"kinship without {name}", subtract=True)
    part = select(ds, rows)
    for k, group in enumerate(groups):
        work = _work(group, others, len(scaling) - len(on), keep=k + 1 < len(groups))
        log.debug("chromosome %s: lambda %s", name, [null.ratio for null in work.nulls])
        _put(out, group, rows, fit_variants(part, work, params, f"mixed model {k + 1}, {name}"))
        del work


def _put(out: list[Fits], group: _Group, rows: slice | NDArray[np.int64], found: list[Fits]) -> None:
    for trait, fits in zip(group.traits, found, strict=True):
        out[trait].put(rows, fits)


def _contigs(ds: xr.Dataset, scaling: grm.Scaling) -> dict[int, NDArray[np.int64]]:
    """Return the rows of each chromosome, and refuse one that leaves no kinship when it is left out."""
    contig = ds["variant_contig"].values
    out = {int(number): np.flatnonzero(contig == number) for number in np.unique(contig)}
    for number in out:
        if len(scaling.on(number)) == len(scaling):
            raise DataError(
                f"all {len(scaling)} variants that make the kinship are on chromosome "
                f"{ds['contig_id'].values[number]}: leaving it out leaves none. Test it with the whole "
                "kinship (--no-loco; loco = false), or give the genotypes of other chromosomes too"
            )
    return out


def check_options(params: GWAS) -> None:
    """Refuse a test or a coding that is none of a mixed model, with a ConfigError."""
    if params.test not in TESTS:
        raise ConfigError(
            f"a mixed model has the tests {', '.join(TESTS)}; found test = {params.test!r}. "
            "Choose --test wald"
        )
    if params.coding != "additive":
        raise ConfigError(
            f"a mixed model tests additive effects; found coding = {params.coding!r}. Leave it out, or use "
            "--model linear"
        )


def _check_memory(n: int, copies: int) -> None:
    """Refuse more samples than can be decomposed; `copies` are matrices of n x n at the same time."""
    strips = 3 * 8 * 1024 * n * available_cores()
    needed, limit = copies * 8 * n**2 + strips, machine_memory()
    if n > MOST_SAMPLES:
        raise MemoryBudgetError(
            f"an exact mixed model takes at most {MOST_SAMPLES:,} samples, found {n:,}; {_ADVICE}"
        )
    if needed > limit:
        raise MemoryBudgetError(
            f"a mixed model of {n:,} samples needs {human_bytes(needed)} of memory ({copies} matrices of all "
            f"pairs), there are {human_bytes(limit)}; test fewer samples, give --no-loco, which needs one "
            f"matrix less, take a larger machine, or {_ADVICE}"
        )
