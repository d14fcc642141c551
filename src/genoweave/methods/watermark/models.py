"""What the models of an association say of some variants: the results that a key expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from genoweave.errors import ConfigError
from genoweave.genotypes import PackedSource, as_dask, select
from genoweave.kernels.packed import PAD_BYTE, copy_codes, width
from genoweave.methods.gwas import GWAS, Trait, gwas
from genoweave.methods.gwas.parameters import METHODS
from genoweave.methods.watermark.key import RESULTS

# Programs that a server may be asked to run, and the model of a case/control and of a quantitative trait.
PROGRAMS = {
    "plink2": ("hybrid", "linear"),
    "regenie": ("score", "linear"),
    "saige": ("score", "linear"),
    "gemma": ("mixed", "mixed"),
}
_OF_BINARY = {
    "score": GWAS(test="score", refine_p=0.0),
    "wald": GWAS(test="wald"),
    "hybrid": GWAS(test="wald"),
    "firth": GWAS(test="firth"),
    "linear": GWAS(),
    # as GEMMA by default: no chromosome is left out of the kinship
    "mixed": GWAS(model="mixed", test="wald", loco=False),
}
_OF_QUANTITATIVE = ("linear", "mixed")
MODELS = tuple(_OF_BINARY)


def model_asked(asked: str, trait: Trait) -> str:
    """Return the model that a program, or a model itself, stands for.

    Raises
    ------
    ConfigError
        If it is not known, or is not one of the trait's.
    """
    model = PROGRAMS[asked][0 if trait.is_binary else 1] if asked in PROGRAMS else asked
    known = MODELS if trait.is_binary else _OF_QUANTITATIVE
    if model not in known:
        kind = "case/control" if trait.is_binary else "quantitative"
        raise ConfigError(
            f"the server cannot be asked for {asked!r} of a {kind} trait; choose one of: "
            f"{', '.join([*PROGRAMS, *known])}"
        )
    return model


class PackedRows(PackedSource):
    """Variants whose codes are in memory."""

    def __init__(self, packed: NDArray[np.uint8], n_samples: int) -> None:
        self.packed = packed
        self.shape = (len(packed), n_samples, 2)

    def read_packed(self, v0: int, v1: int, s0: int, s1: int) -> NDArray[np.uint8]:
        """Return codes; whole rows as they are."""
        if (s0, s1) == (0, self.shape[1]):
            return self.packed[v0:v1]
        out = np.full((v1 - v0, width(s1 - s0)), PAD_BYTE, np.uint8)
        copy_codes(np.ascontiguousarray(self.packed[v0:v1]), s0, s1 - s0, out, 0)
        return out


def table_of(
    ds: xr.Dataset,
    rows: NDArray[np.int64],
    trait: Trait,
    covariates: NDArray[np.float64],
    model: str,
) -> pd.DataFrame:
    """Return called, frequency, beta, se, statistic and log10_p of some variants of a cohort, ascending rows.

    NaN (called 0) where a variant is not tested or the model does not exist: "wald" has no result where
    "hybrid" has Firth's. Mixed models read the whole cohort, for its kinship.
    """
    part = ds if model == "mixed" else select(ds, rows)
    if model in ("linear", "mixed"):
        trait = replace(trait, is_binary=False)
    (found,) = gwas(part, [trait], covariates, _OF_BINARY[model])
    columns = ("called", "frequency", *RESULTS)
    table = pd.DataFrame({name: getattr(found.fits, name) for name in columns}, index=found.variants)
    if model == "wald":
        table.loc[found.fits.method == METHODS.index("firth"), list(RESULTS)] = np.nan
    table = table.reindex(rows if model == "mixed" else np.arange(len(rows))).reset_index(drop=True)
    table["called"] = table["called"].fillna(0).astype(np.int64)
    return table


def fitted(
    packed: NDArray[np.uint8], trait: Trait, covariates: NDArray[np.float64], model: str
) -> NDArray[np.float64]:
    """Return t or z of variants in memory by the model asked for.

    Linear regression stands for mixed; and Wald's test for hybrid, NaN where it does not exist: an associated
    watermark is to have a result also of a server that has no fallback.
    """
    n = len(trait.values)
    alleles = np.array([["A", "C"]] * len(packed), object).reshape(-1, 2)
    ds = xr.Dataset(
        {
            "call_genotype": (
                ("variants", "samples", "ploidy"),
                as_dask(PackedRows(packed, n), (len(packed), n)),
            ),
            "contig_id": ("contigs", np.array(["1"], object)),
            "variant_contig": ("variants", np.zeros(len(packed), np.int32)),
            "variant_allele": (("variants", "alleles"), alleles),
        }
    )
    rows = np.arange(len(packed))
    stand_in = {"mixed": "linear", "hybrid": "wald"}
    table = table_of(ds, rows, trait, covariates, stand_in.get(model, model))
    return table["statistic"].to_numpy()


def cheaper_models(asked: str, trait: Trait) -> Sequence[str]:
    """Return the models that a key knows beside the one asked for."""
    if not trait.is_binary:
        return [] if asked == "linear" else ["linear"]
    # hybrid is Wald's test with Firth's as fallback: they differ in that alone
    same = {"hybrid": "wald", "wald": "hybrid"}.get(asked, "hybrid")
    return [name for name in ("linear", "score", "wald", "firth") if name not in (asked, same)]
