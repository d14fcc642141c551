"""The command that simulates cohorts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr

from genoweave.cli.options import Common, argument, arguments, option
from genoweave.cohorts import export, save
from genoweave.errors import ConfigError
from genoweave.io.files import make_folder
from genoweave.io.release import write_tsv
from genoweave.methods.biobank import PRESETS, SHARES, BaldingNichols, balding_nichols

_NUMBERS = ("fst", "common_share", "maf_limit", "missing_rate", "bad_sample_share", "bad_variant_share",
            "hwe_failure_share", "related_share", "duplicate_share")  # fmt: skip


def _number(name: str) -> click.Parameter:
    field = BaldingNichols.model_fields[name]
    text = f"Balding-Nichols: {field.description}  [default: {field.default}]"
    return option(f"--{name.replace('_', '-')}", type=float, help=text)


@arguments(
    argument("out", metavar="OUT", type=click.Path(path_type=Path)),
    option("--model", type=click.Choice(["coalescent", "balding-nichols"]),
           help="coalescent: up to some thousand founders with linkage; balding-nichols: biobank size, "
           "unlinked SNPs  [default: coalescent, or balding-nichols with --preset]"),
    option("--preset", type=click.Choice(list(PRESETS)),
           help="Balding-Nichols: sizes, shares and faults of the paper's input; options change them"),
    option("--samples", type=click.IntRange(1), help="samples in all  [default: 900, or 10,000]"),
    option("--variants", type=click.IntRange(1), help="variants  [default: 6,000, or 20,000]"),
    option("--populations", metavar="NAMES",
           help="comma-separated, of EUR, AFR, AMR, EAS, SAS, WAS; all by default. Balding-Nichols: any, "
           "as EUR=0.7,AFR=0.3 with shares; those of the paper where they are not given"),
    option("--to", type=click.Choice(["vcz", "plink"]),
           help="format  [default: plink where OUT ends in .bed, else vcz]"),
    *(_number(name) for name in _NUMBERS),
)  # fmt: skip
def simulate(
    out: Path, model: str | None, preset: str | None, samples: int | None, variants: int | None,
    populations: str | None, to: str | None, common: Common, **numbers: float | None,
) -> None:  # fmt: skip
    """Simulate a cohort, as a Zarr store or a PLINK fileset, with its truth.

    Beside OUT stand OUT.ancestry.tsv with the labels and, of the model balding-nichols, OUT.related_pairs.tsv
    with all related pairs and OUT.planted.tsv with the samples and variants that quality control should
    remove; of a fileset, without .bed in the names.
    """
    sizes = {"n_samples": samples, "n_variants": variants, "seed": common.seed}
    values = {name: value for name, value in (sizes | numbers).items() if value is not None}
    prefix = out.with_suffix("") if out.suffix == ".bed" else out
    make_folder(prefix.parent)
    if preset or model == "balding-nichols":
        if model == "coalescent":
            raise click.UsageError(f"--preset {preset} is of the model balding-nichols")
        ds = _biobank(values, preset, populations, prefix)
    else:
        unused = sorted(set(values) & set(_NUMBERS))
        if unused:
            raise click.UsageError(f"--{unused[0].replace('_', '-')} goes with --model balding-nichols")
        ds = _founders(values, populations)
    labels = {"sample_id": ds["sample_id"].values, "ancestry": ds["sample_ancestry"].values}
    write_tsv(pd.DataFrame(labels), Path(f"{prefix}.ancestry.tsv"))
    with common.work("simulate"):
        if to == "plink" or (to is None and out.suffix == ".bed"):
            export(ds, "plink", prefix)
        else:
            save(ds, out)
    common.say(f"wrote {out}")


def _founders(values: dict[str, Any], populations: str | None) -> xr.Dataset:
    from genoweave.methods.simulate import Simulation, simulate

    if populations:
        values["populations"] = tuple(populations.split(","))
    return simulate(Simulation(**{"n_samples": 900, "n_variants": 6000} | values))


def _biobank(values: dict[str, Any], preset: str | None, populations: str | None, prefix: Path) -> xr.Dataset:
    if populations:
        values["group_shares"] = _shares(populations)
    ds, pairs = balding_nichols(BaldingNichols(**(PRESETS[preset] if preset else {}) | values))
    ids = ds["sample_id"].values
    named = {"IID1": ids[pairs["first"]], "IID2": ids[pairs["second"]], "relation": pairs["relation"],
             "kinship": pairs["kinship"]}  # fmt: skip
    write_tsv(pd.DataFrame(named), Path(f"{prefix}.related_pairs.tsv"))
    write_tsv(_planted(ds), Path(f"{prefix}.planted.tsv"))
    return ds


def _shares(populations: str) -> dict[str, float]:
    """Read ``EUR=0.7,AFR=0.3`` or ``EUR,AFR``."""
    shares: dict[str, float] = {}
    for part in populations.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name] = float(share) if share else SHARES[name]
        except (ValueError, KeyError):
            raise ConfigError(
                f"--populations: wanted names of {', '.join(SHARES)}, or any names with shares as EUR=0.7, "
                f"found {part!r}"
            ) from None
    return shares


def _planted(ds: xr.Dataset) -> pd.DataFrame:
    """List the samples and variants with faults; rare variants are too many to list."""
    parts = []
    for what in ("sample", "variant"):
        planted = ds[f"{what}_planted"].values
        rows = np.flatnonzero((planted != "") & (planted != "rare"))
        parts.append(
            pd.DataFrame({"what": what, "id": ds[f"{what}_id"].values[rows], "planted": planted[rows]})
        )
    return pd.concat(parts, ignore_index=True)
