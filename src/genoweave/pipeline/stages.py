"""The pipeline as a list: read this first.

Each stage reads and writes named artifacts of the run folder, and depends on named sections of the
configuration. Its function is short: open, call the method, write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from genoweave.aggregate import cascade_lines
from genoweave.execution import scratch_folder
from genoweave.genotypes import JoinedSource, as_dask, select, source_of
from genoweave.io.cohort import open_cohort
from genoweave.io.tables import add_ancestry, read_ancestry
from genoweave.methods.ancestry import ancestry
from genoweave.methods.kinship import king, king_listed
from genoweave.methods.pca import pca
from genoweave.methods.phenotype import phenotype
from genoweave.methods.qc import apply_filters, qc_filters
from genoweave.methods.relatives import (
    Pedigree,
    listed_pairs,
    make_pedigree,
    related_pairs,
    relatives,
)
from genoweave.methods.synthesis import apply_donors, choose_donors
from genoweave.methods.watermark import watermark, watermark_tests
from genoweave.pipeline.context import Context, sources
from genoweave.pipeline.hiding import forget_key, hide, is_hidden
from genoweave.pipeline.releasing import PUBLISHED, release
from genoweave.pipeline.validation import validate
from genoweave.schema import VARIABLES

log = logging.getLogger(__name__)

Counts = dict[str, Any]


def import_genotypes(run: Context) -> Counts:
    """Bring the cohort and its labels into the run's own chunked store, or note where it lies."""
    with scratch_folder() as scratch:
        return _import(run, scratch)


def _import(run: Context, scratch: Path) -> Counts:
    given = run.config.input
    ds = open_cohort(given.path, given, scratch=scratch if given.convert else None)
    for rule, count in ds.attrs.get("import_counts", {}).items():
        log.info("import, %s: %d", rule.replace("_", " "), count)
    table = Path(given.ancestry)
    labels = read_ancestry(table, given.ancestry_column)
    ds = add_ancestry(ds, labels, table, drop_unlabelled=given.drop_unlabelled)
    ds = ds[[name for name in ds.variables if name in VARIABLES and name != "call_dosage"]]
    n_all = ds.sizes["samples"]
    if given.convert:
        labelled = np.flatnonzero(ds["sample_ancestry"].values != "")
        kept = ds if len(labelled) == n_all else select(ds, samples=labelled)
        run.write(kept.assign(sample_source_row=("samples", labelled)), "source.vcz")
    else:
        small = ds.drop_vars(["call_genotype", "call_genotype_phased"], errors="ignore")
        # so that qc is redone when the genotypes change
        attrs = {"original_fingerprint": "".join(sources(given).values())}
        run.write(small.assign_attrs(attrs), "source.vcz")
    return {"samples": n_all, "variants": ds.sizes["variants"],
            "samples_without_label": int((ds["sample_ancestry"].values == "").sum())}  # fmt: skip


def quality_control(run: Context) -> Counts:
    """Filter samples and variants, and write how many each filter removed."""
    ds = run.open("source.vcz")
    labelled = np.flatnonzero(ds["sample_ancestry"].values != "")
    if len(labelled) < ds.sizes["samples"]:
        ds = select(
            ds.assign(sample_source_row=("samples", np.arange(ds.sizes["samples"]))),
            samples=labelled,
        )
    result = qc_filters(ds, run.config.qc)
    for line in cascade_lines(result.steps):
        log.info("qc, %s", line)
    run.write_table(result.steps, "qc.parquet")
    kept = apply_filters(ds, result)
    kept.attrs.pop("original_fingerprint", None)
    run.write(kept, "genotypes.vcz")
    return {"samples": len(result.samples), "variants": len(result.variants)}


def principal_components(run: Context) -> Counts:
    """Fit the principal components of the cohort."""
    model = pca(run.open("genotypes.vcz"), run.config.pca)
    run.write(model, "pca.zarr")
    used = int(np.isfinite(model["variant_pca_frequency"].values).sum())
    return {"components": model.sizes["components"], "variants_used": used}


def ancestry_groups(run: Context) -> Counts:
    """Report what the components say of the labels, and name the groups that are too small."""
    ds, model = run.open("genotypes.vcz"), run.open("pca.zarr")
    labels = ds["sample_ancestry"].values
    scores = model["sample_pca_projection"][:, : run.config.ancestry.n_components].values
    report = ancestry(labels, np.asarray(scores), run.config.ancestry)
    samples = pd.DataFrame(
        {"sample_id": ds["sample_id"].values, "ancestry": labels, "predicted": report.predicted}
    )
    run.write_table(samples, "ancestry/samples.parquet")
    run.write_table(report.confusion, "ancestry/confusion.parquet")
    groups = _with_lost_groups(report.groups, run.open("source.vcz")["sample_ancestry"].values)
    run.write_table(groups, "ancestry/groups.parquet")
    unused = list(groups.loc[~groups["usable"], "group"])
    if unused:
        log.warning("groups with fewer than %d samples after quality control are not used: %s",
                    run.config.ancestry.min_group, ", ".join(unused))  # fmt: skip
    return {"groups": int(groups["usable"].sum()), "groups_too_small": len(unused)}


def _with_lost_groups(groups: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """Add the groups of which quality control left nobody."""
    lost = sorted(set(labels.astype(str)) - set(groups["group"]) - {""})
    rows = pd.DataFrame({"group": lost, "n": 0, "agreement": np.nan, "usable": False})
    return pd.concat([groups, rows], ignore_index=True) if lost else groups


def usable_cohort(run: Context) -> xr.Dataset:
    """Open the cohort after quality control, without the groups that are too small."""
    ds = run.open("genotypes.vcz")
    groups = run.read_table("ancestry/groups.parquet")
    usable = np.isin(ds["sample_ancestry"].values.astype(str), groups.loc[groups["usable"], "group"])
    return ds if usable.all() else select(ds, samples=np.flatnonzero(usable))


def synthesis(run: Context) -> Counts:
    """Draw donors, perturb, redraw, and write the synthetic cohort."""
    params = run.config.synthesis
    ds, model = usable_cohort(run), run.components(params.filter_components)
    position = pd.Series(np.arange(model.sizes["samples"]), index=model["sample_id"].values)
    own = model.isel(samples=position[ds["sample_id"].values].to_numpy())
    donors = choose_donors(ds, own, params, run.key)
    run.write_table(donors.groups, "synthesis.parquet")
    run.write_table(donors.table, "private/donors.parquet")
    run.write(apply_donors(ds, donors, params, run.key), "synthetic.vcz")
    totals = donors.groups.sum(numeric_only=True)
    return {"synthetic_samples": int(totals["n_synthetic"]), "donors": int(totals["n_donors"]),
            "same_source_pairs": int(totals["same_source_pairs"]),
            "records_rejected": int(totals["rejected_identical"] + totals["rejected_outside"])}  # fmt: skip


def simulated_phenotype(run: Context) -> Counts:
    """Simulate the trait and keep its truth."""
    trait = phenotype(run.open("synthetic.vcz"), run.config.phenotype)
    run.write(trait, "phenotype.zarr")
    return {"synthetic_cases": int(trait["sample_case"].values.sum()),
            "causal_variants": int(trait["variant_is_causal"].values.sum())}  # fmt: skip


def watermark_snps(run: Context) -> Counts:
    """Make the watermark SNPs and test them."""
    trait, ds = run.open("phenotype.zarr"), run.open("synthetic.vcz")
    case = trait["sample_case"].values
    forget_key(run)
    if is_hidden(run):
        marks = hide(run, ds, case)
        run.write(marks, "watermark.zarr")
        return {"watermark_snps": marks.sizes["watermarks"]}
    marks = watermark(case, run.config.watermark, run.key, ds["variant_id"].values)
    tests, reason = watermark_tests(marks["watermark_genotype"].values, case)
    for name, column in tests.items():
        marks[f"watermark_{name}"] = ("watermarks", column.to_numpy())
    run.write(marks.assign_attrs(joint_fit=reason), "watermark.zarr")
    return {"watermark_snps": len(tests)}


def family_relatives(run: Context) -> Counts:
    """Make descendants of synthetic founders, and write every true relationship."""
    ds = run.open("synthetic.vcz")
    donors = run.read_table("private/donors.parquet")
    params = run.config.relatives
    pedigree = make_pedigree(
        ds["sample_id"].values,
        ds["sample_ancestry"].values,
        donors["donor"].to_numpy(),
        params,
        run.key,
    )
    truth = related_pairs(pedigree)
    run.write_table(pedigree.table.drop(columns="source"), "relatives/pedigree.parquet")
    run.write_table(truth, "relatives/related_pairs.parquet")
    founders = pd.DataFrame({"column": pedigree.founders})
    run.write_table(founders, "relatives/founders.parquet")
    run.write(relatives(ds, pedigree, params), "relatives.vcz")
    return {"synthetic_founders": pedigree.n_founders,
            "synthetic_relatives": len(pedigree.table) - pedigree.n_founders,
            "related_pairs": len(truth), "listed_pairs": len(listed_pairs(pedigree))}  # fmt: skip


def with_relatives(run: Context) -> xr.Dataset:
    """Join the synthetic cohort and its relatives, if there are any, sample by sample."""
    ds = run.open("synthetic.vcz")
    if not run.config.relatives.enabled:
        return ds
    more = run.open("relatives.vcz")
    joined = JoinedSource([source_of(ds), source_of(more)])
    ids = np.concatenate([ds["sample_id"].values, more["sample_id"].values])
    variants = [str(n) for n, v in ds.variables.items() if v.dims and v.dims[0] in ("variants", "contigs")]
    both = ds[variants].drop_vars("call_genotype")
    return both.assign(
        call_genotype=(("variants", "samples", "ploidy"), as_dask(joined, run.chunks)),
        sample_id=("samples", ids),
    )


def kinship(run: Context) -> Counts:
    """KING-robust kinship of the listed pairs and of all pairs."""
    ds = with_relatives(run)
    result = king(ds, run.config.kinship)
    ids = ds["sample_id"].values
    pairs = result.pairs
    named = pd.DataFrame({"IID1": ids[pairs["first"]], "IID2": ids[pairs["second"]]})
    named = named.assign(
        NSNP=pairs["n_snp"], HETHET=pairs["het_het"] / pairs["n_snp"], IBS0=pairs["ibs0"] / pairs["n_snp"],
        KINSHIP=pairs["kinship"],
    )  # fmt: skip
    run.write_table(named, "kinship.parquet")
    run.write_table(result.histogram, "kinship_histogram.parquet")
    listed = listed_kinship(run, ds) if run.config.relatives.enabled else _no_listed_pairs()
    run.write_table(listed, "kinship_listed.parquet")
    return {
        "pairs_above_cutoff": len(named),
        "pairs": int(result.histogram["pairs"].sum()),
        "listed_pairs": len(listed),
    }


def _no_listed_pairs() -> pd.DataFrame:
    return pd.DataFrame(columns=["sample_id", "ancestor_id", "group", "degree", "kinship"])


def listed_kinship(run: Context, ds: xr.Dataset) -> pd.DataFrame:
    """Compute kinship of every descendant with each of its founders."""
    table = run.read_table("relatives/pedigree.parquet")
    pairs = listed_pairs(Pedigree(table, run.read_table("relatives/founders.parquet")["column"].to_numpy()))
    position = pd.Series(np.arange(ds.sizes["samples"]), index=ds["sample_id"].values)
    people_ids = table["sample_id"].to_numpy()
    sample, ancestor = people_ids[pairs["sample"]], people_ids[pairs["ancestor"]]
    values = king_listed(ds, position[sample].to_numpy(), position[ancestor].to_numpy())
    return pd.DataFrame(
        {"sample_id": sample, "ancestor_id": ancestor, "group": table["group"].to_numpy()[pairs["sample"]],
         "degree": pairs["degree"], "kinship": values["kinship"]}
    )  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One stage: what it depends on, what it leaves, and its function.

    `sections` of the configuration, `reads` and `writes` artifacts of the run folder; `optional` stages
    are left
    out by ``enabled = false`` in their section. A stage that `uses_key` depends on the noise key.
    """

    name: str
    run: Callable[[Context], Counts]
    sections: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    optional: str | None = None
    uses_key: bool = False


STAGES = (
    Stage("import", import_genotypes, ("input",), (), ("source.vcz",)),
    Stage("qc", quality_control, ("qc",), ("source.vcz",), ("genotypes.vcz", "qc.parquet")),
    Stage("pca", principal_components, ("pca",), ("genotypes.vcz",), ("pca.zarr",)),
    Stage("ancestry", ancestry_groups, ("ancestry",), ("source.vcz", "genotypes.vcz", "pca.zarr"),
          ("ancestry",)),
    Stage("synthesis", synthesis, ("synthesis",), ("genotypes.vcz", "pca.zarr", "ancestry"),
          ("synthetic.vcz", "synthesis.parquet", "private/donors.parquet"), uses_key=True),
    Stage("phenotype", simulated_phenotype, ("phenotype",), ("synthetic.vcz",), ("phenotype.zarr",),
          optional="phenotype"),
    Stage("watermark", watermark_snps, ("watermark",), ("synthetic.vcz", "phenotype.zarr"),
          ("watermark.zarr",), optional="watermark", uses_key=True),
    Stage("relatives", family_relatives, ("relatives",), ("synthetic.vcz", "private/donors.parquet"),
          ("relatives.vcz", "relatives"), optional="relatives", uses_key=True),
    Stage("kinship", kinship, ("kinship",), ("synthetic.vcz", "relatives.vcz", "relatives"),
          ("kinship.parquet", "kinship_histogram.parquet", "kinship_listed.parquet"), optional="kinship"),
    Stage("validate", validate, ("evaluation", *PUBLISHED),
          ("qc.parquet", "genotypes.vcz", "pca.zarr", "ancestry", "synthetic.vcz", "synthesis.parquet",
           "phenotype.zarr", "watermark.zarr", "relatives", "kinship_histogram.parquet",
           "kinship_listed.parquet"),
          ("evaluation", "evaluation.json"), optional="evaluation"),
    Stage("release", release, PUBLISHED,
          ("synthetic.vcz", "phenotype.zarr", "watermark.zarr", "relatives.vcz", "relatives",
           "kinship_listed.parquet", "synthesis.parquet", "private/donors.parquet"),
          ("release",), optional="release", uses_key=True),
)  # fmt: skip


def enabled_stages(run: Context) -> list[Stage]:
    """Return the stages that the configuration asks for, in order."""
    return [s for s in STAGES if s.optional is None or getattr(run.config, s.optional).enabled]
