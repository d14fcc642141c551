"""Cohorts and small files that many tests build; nothing here uses the package's own methods."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray


def calls(dosage: NDArray[np.int8]) -> NDArray[np.int8]:
    """Diploid calls of a dosage; a heterozygote's alternate allele stands first or second in turn."""
    out = np.empty((*dosage.shape, 2), np.int8)
    turn = np.indices(dosage.shape).sum(axis=0) % 2
    out[..., 0] = np.where(dosage < 0, -1, (dosage == 2) | ((dosage == 1) & (turn == 0)))
    out[..., 1] = np.where(dosage < 0, -1, (dosage == 2) | ((dosage == 1) & (turn == 1)))
    return out


def dosage_of(ds: xr.Dataset) -> NDArray[np.int8]:
    """Copies of the alternate allele, -1 missing, by plain numpy."""
    values = np.asarray(ds["call_genotype"].data)
    return np.where((values < 0).any(axis=2), -1, values.sum(axis=2)).astype(np.int8)


def cohort(
    dosage: NDArray[np.int8],
    groups: Sequence[str] | None = None,
    *,
    contigs: Sequence[str] = ("1",),
    contig: NDArray[Any] | None = None,
    position: NDArray[Any] | None = None,
) -> xr.Dataset:
    """A cohort in the package's data model, variants on contigs of about equal size."""
    n_variants, n_samples = dosage.shape
    if contig is None:
        contig = np.arange(n_variants) * len(contigs) // n_variants
    if position is None:
        position = 1000 + 5000 * np.arange(n_variants)
    ds = xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), calls(dosage)),
            "contig_id": ("contigs", np.array(contigs, object)),
            "variant_contig": ("variants", np.asarray(contig, np.int32)),
            "variant_position": ("variants", np.asarray(position, np.int32)),
            "variant_id": ("variants", np.array([f"rs{i + 1}" for i in range(n_variants)], object)),
            "variant_allele": (
                ("variants", "alleles"),
                np.array([("AC", "GT", "CA")[i % 3] for i in range(n_variants)], object)
                .astype(str)
                .view("U1")
                .reshape(n_variants, 2)
                .astype(object),
            ),
            "sample_id": ("samples", np.array([f"person{i:04d}" for i in range(n_samples)], object)),
        }
    )
    if groups is not None:
        ds["sample_ancestry"] = ("samples", np.array(groups, object))
    return ds


def rechunked(ds: xr.Dataset, variants: int, samples: int) -> xr.Dataset:
    """The same cohort as a dask array in other chunks."""
    data = da.from_array(np.asarray(ds["call_genotype"].data), chunks=(variants, samples, 2))
    return ds.assign(call_genotype=(("variants", "samples", "ploidy"), data))


def with_missing(dosage: NDArray[np.int8], rate: float, rng: np.random.Generator) -> NDArray[np.int8]:
    return np.where(rng.random(dosage.shape) < rate, np.int8(-1), dosage).astype(np.int8)


def hardy_weinberg(frequency: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Dosages of n unrelated people, int8 (variants, n)."""
    return rng.binomial(2, frequency[:, None], (len(frequency), n)).astype(np.int8)


def balding_nichols(
    n_groups: int = 3,
    per_group: int = 60,
    n_variants: int = 700,
    *,
    fst: float = 0.1,
    missing: float = 0.01,
    monomorphic: int = 10,
    seed: int = 1,
) -> xr.Dataset:
    """Groups that drifted from one ancestral population, their members in turn along the file."""
    rng = np.random.default_rng(seed)
    ancestral = rng.uniform(0.1, 0.9, n_variants)
    a = ancestral * (1 - fst) / fst
    b = (1 - ancestral) * (1 - fst) / fst
    dosage = np.empty((n_variants, n_groups * per_group), np.int8)
    for k in range(n_groups):
        dosage[:, k::n_groups] = hardy_weinberg(rng.beta(a, b), per_group, rng)
    rows = rng.choice(n_variants, monomorphic, replace=False)
    dosage[rows] = 2 * (np.arange(monomorphic) % 2)[:, None]
    labels = np.array([f"group{k}" for k in range(n_groups)] * per_group, object)
    return cohort(with_missing(dosage, missing, rng), labels, contigs=("1", "2"))


def write_bed(ds: xr.Dataset, prefix: Path) -> Path:
    """Write a PLINK fileset with bed-reader, the alternate allele as A1."""
    from bed_reader import to_bed

    dosage = dosage_of(ds)
    allele = ds["variant_allele"].values
    properties = {
        "fid": ["0"] * dosage.shape[1],
        "iid": list(ds["sample_id"].values),
        "sex": [0] * dosage.shape[1],
        "chromosome": list(ds["contig_id"].values[ds["variant_contig"].values]),
        "sid": list(ds["variant_id"].values),
        "cm_position": [0] * len(dosage),
        "bp_position": ds["variant_position"].values.tolist(),
        "allele_1": list(allele[:, 1]),
        "allele_2": list(allele[:, 0]),
    }
    values = np.where(dosage < 0, -127, dosage).astype(np.int8).T
    to_bed(f"{prefix}.bed", values, properties, num_threads=1)
    return prefix


@dataclass(frozen=True)
class Program:
    """Another program, run in a folder of its own."""

    path: str

    def __call__(self, *arguments: object, out: Path) -> Path:
        """Run it with ``--out``, and return that prefix."""
        command = [self.path, *map(str, arguments), "--threads", "2", "--memory", "2000", "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return out


def suffixed(prefix: Path, ending: str) -> Path:
    """``prefix`` + ``ending``; unlike `Path.with_suffix`, a dot in the prefix stays."""
    return Path(f"{prefix}{ending}")
