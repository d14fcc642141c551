"""What a whole scan says: genomic inflation, loci, and their best variants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri_exp

from genoweave.chunks import ranges
from genoweave.genotypes import read_rows, source_of
from genoweave.kernels.packed import unpack_dosages
from genoweave.methods.gwas.parameters import GWAS
from genoweave.methods.gwas.run import Association

GENOME_WIDE = np.log10(5e-8)
# Genotypes that are compared with a locus's best variant at a time, as float32.
_BLOCK_CALLS = 8 * 2**20


def lambda_gc(log10_p: NDArray[np.float64]) -> float:
    """Return the genomic inflation factor: median chi-squared (1 df) of the p-values over its expectation.

    `log10_p` float64, NaN left out; NaN if nothing is left.
    """
    known = log10_p[np.isfinite(log10_p)]
    if not len(known):
        return float("nan")
    # by the two-sided normal, from the logarithm: no p underflows
    z = ndtri_exp(np.median(known) * np.log(10) - np.log(2))
    return float(z**2 / chdtri(1, 0.5))


def summary_row(ds: xr.Dataset, found: Association) -> dict[str, Any]:
    """Return one trait's line of the summary: samples, variants, inflation, best variant."""
    fits = found.fits
    tested = np.isfinite(fits.log10_p)
    row: dict[str, Any] = {
        "TRAIT": found.trait,
        "MODEL": found.model,
        "N": found.n_samples,
        "N_CASES": found.n_cases if found.is_binary else None,
        "N_CONTROLS": found.n_samples - found.n_cases if found.is_binary else None,
        "VARIANTS": len(fits),
        "NOT_TESTED": int((~tested).sum()),
        "LAMBDA_GC": lambda_gc(fits.log10_p),
        "GENOME_WIDE": int((fits.log10_p < GENOME_WIDE)[tested].sum()),
    }
    best = int(np.nanargmin(fits.log10_p)) if tested.any() else None
    names = variant_names(ds, found.variants[[] if best is None else [best]])
    for name in ("CHROM", "POS", "ID"):
        row[f"TOP_{name}"] = None if best is None else names[name].iloc[0]
    row["TOP_LOG10_P"] = None if best is None else -fits.log10_p[best]
    return row | fits.notes


def variant_names(ds: xr.Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return CHROM, POS, ID, REF, ALT of some variants."""
    allele = ds["variant_allele"].values[rows]
    return pd.DataFrame(
        {
            "CHROM": ds["contig_id"].values[ds["variant_contig"].values[rows]],
            "POS": ds["variant_position"].values[rows],
            "ID": ds["variant_id"].values[rows] if "variant_id" in ds else np.full(len(rows), ".", object),
            "REF": allele[:, 0],
            "ALT": allele[:, 1],
        }
    )


def clumps(ds: xr.Dataset, found: Association, params: GWAS | None = None) -> pd.DataFrame:
    """Group the variants with small p into loci, each named after its best variant.

    Greedily, by p: the best variant that is in no locus yet takes with it those within ``clump_kb`` whose
    squared correlation with it is at least ``clump_r2``.

    Parameters
    ----------
    ds
        The cohort.
    found
        A trait's results.
    params
        ``locus_p``, ``clump_r2``, ``clump_kb``.

    Returns
    -------
    pandas.DataFrame
        CHROM, POS, ID, REF, ALT, A1, A1_FREQ, OBS_CT, BETA, SE, LOG10_P (-log10 p) of the best variants by
        ascending p, and VARIANTS, START, END of their loci.

    Notes
    -----
    Correlations are over all samples of the cohort, missing calls at the variant's mean. Reads the variants
    with a small p once for each locus near them; 64 MiB.
    """
    params = params or GWAS()
    fits = found.fits
    small = np.flatnonzero(fits.log10_p <= np.log10(params.locus_p))
    rows = found.variants[small]
    contig, position = ds["variant_contig"].values[rows], ds["variant_position"].values[rows]
    free = np.ones(len(small), bool)
    loci = []
    for best in np.argsort(fits.log10_p[small], kind="stable"):
        if not free[best]:
            continue
        near = free & (contig == contig[best])
        near &= np.abs(position.astype(np.int64) - position[best]) <= 1000 * params.clump_kb
        members = np.flatnonzero(near)
        members = members[_correlations(ds, rows[best], rows[members]) >= params.clump_r2]
        members = np.union1d(members, [best])
        free[members] = False
        loci.append((best, len(members), position[members].min(), position[members].max()))
    order = np.array([locus[0] for locus in loci], np.int64)
    at = small[order]
    table = variant_names(ds, rows[order])
    return table.assign(
        A1=table["ALT"], A1_FREQ=fits.frequency[at], OBS_CT=fits.called[at], BETA=fits.beta[at],
        SE=fits.se[at], LOG10_P=-fits.log10_p[at],
        **{name: np.array([locus[k] for locus in loci], np.int64)
           for k, name in enumerate(("VARIANTS", "START", "END"), start=1)},
    )  # fmt: skip


def _correlations(ds: xr.Dataset, row: np.int64, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the squared correlation of a variant with others, ascending rows."""
    one = _centred(ds, np.array([row]))[0]
    out = np.empty(len(rows))
    for a, b in ranges(len(rows), max(1, _BLOCK_CALLS // len(one))):
        others = _centred(ds, rows[a:b])
        square = np.einsum("ij,ij->i", others, others) * (one @ one)
        out[a:b] = np.divide((others @ one) ** 2, square, out=np.zeros(b - a), where=square > 0)
    return out


def _centred(ds: xr.Dataset, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return dosages less their mean, float32 (rows, samples), 0 where missing."""
    n = ds.sizes["samples"]
    dosage = unpack_dosages(read_rows(source_of(ds), rows, 0, n), n)
    called = dosage >= 0
    mean = np.where(called, dosage, 0).sum(axis=1) / np.maximum(called.sum(axis=1), 1)
    return np.where(called, dosage - mean[:, None], 0).astype(np.float32)
