"""Commands that each do one stage's work on a cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import xarray as xr

from genoweave import api
from genoweave.aggregate import cascade_lines, people
from genoweave.cli.options import Common, argument, arguments, option
from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.io.files import make_folder
from genoweave.io.release import write_tsv
from genoweave.io.tables import read_table
from genoweave.methods.ancestry import Ancestry
from genoweave.methods.ancestry import ancestry as compare_labels
from genoweave.methods.evaluation import Evaluation
from genoweave.methods.kinship import Kinship
from genoweave.methods.kinship import king as all_pairs
from genoweave.methods.pca import PCA, project
from genoweave.methods.pca import pca as fit
from genoweave.methods.phenotype import Phenotype
from genoweave.methods.phenotype import phenotype as simulate_trait
from genoweave.methods.qc import QC, usable_variants
from genoweave.methods.qc import qc as filter_cohort
from genoweave.methods.relatives import Relatives, related_pairs
from genoweave.methods.synthesis import Synthesis
from genoweave.methods.synthesis import synthesize as make_synthetic
from genoweave.methods.watermark import Watermark
from genoweave.pipeline.context import load_key
from genoweave.rng import Root

_COHORT = argument("cohort", metavar="COHORT")
_OUT = option("--out", required=True, type=click.Path(path_type=Path), help="what to write")
_ANCESTRY = option("--ancestry", type=click.Path(path_type=Path), help="table of sample id and group")
_COLUMN = option("--ancestry-column", help="the group's column, if it is not the second")
_KEY = option(
    "--noise-key", type=click.Path(path_type=Path),
    help="file with the private key; made if absent, drawn anew and not kept by default",
)  # fmt: skip
_PHENO = option(
    "--pheno",
    required=True,
    type=click.Path(path_type=Path),
    help="table of sample id and 0/1 status",
)


def _open(cohort: str, ancestry: Path | None = None, column: str | None = None) -> xr.Dataset:
    return api.labelled(api.open_cohort(cohort), ancestry, column)


def _autosomes(ds: xr.Dataset, common: Common) -> xr.Dataset:
    """Leave out what components and kinship must not see, as PLINK 2 does."""
    usable = usable_variants(ds, autosomes_only=True)
    if not usable.any():
        raise DataError(
            "no variant is autosomal (chromosomes 1 to 22) and biallelic; check the chromosome names"
        )
    if usable.all():
        return ds
    common.say(f"{int((~usable).sum())} variants that are not autosomal or not biallelic are left out")
    return select(ds, np.flatnonzero(usable))


def _key(noise_key: Path | None) -> Root:
    return Root.from_system() if noise_key is None else load_key(noise_key)


def _beside(prefix: Path, ending: str) -> Path:
    make_folder(prefix.parent)
    return prefix.with_name(prefix.name + ending)


@arguments(
    argument("source", metavar="SRC"),
    argument("out", metavar="OUT.vcz", type=click.Path(path_type=Path)),
    _ANCESTRY,
    _COLUMN,
)
def import_(
    source: str, out: Path, ancestry: Path | None, ancestry_column: str | None, common: Common
) -> None:
    """Convert a PLINK fileset or a VCF Zarr store to a chunked store."""
    with common.work("import"):
        api.import_cohort(source, out, ancestry, ancestry_column)
    common.say(f"wrote {out}")


@arguments(
    _COHORT, option("--to", required=True, type=click.Choice(api.FORMATS), help="format"), _OUT
)  # fmt: skip
def export(cohort: str, to: str, out: Path, common: Common) -> None:
    """Write COHORT as VCF Zarr (standard codec and chunks), PLINK 1 or CSV."""
    with common.work("export"):
        api.export(api.open_cohort(cohort), to, out)
    common.say(f"wrote {out}")


@arguments(
    argument("out", metavar="OUT.vcz", type=click.Path(path_type=Path)),
    option("--samples", type=click.IntRange(1), default=900, show_default=True, help="samples in all"),
    option("--variants", type=click.IntRange(1), default=6000, show_default=True, help="variants"),
    option("--populations", help="comma-separated, of EUR, AFR, AMR, EAS, SAS, WAS; all by default"),
)
def simulate(out: Path, samples: int, variants: int, populations: str | None, common: Common) -> None:
    """Simulate founders with realistic structure and linkage; OUT.vcz.ancestry.tsv holds the labels."""
    from genoweave.methods.simulate import Simulation
    from genoweave.methods.simulate import simulate as founders

    values: dict[str, Any] = {"n_samples": samples, "n_variants": variants} | (
        {} if common.seed is None else {"seed": common.seed}
    )
    if populations:
        values["populations"] = tuple(populations.split(","))
    ds = founders(Simulation(**values))
    with common.work("simulate"):
        api.save(ds, out)
    labels = {"sample_id": ds["sample_id"].values, "ancestry": ds["sample_ancestry"].values}
    write_tsv(pd.DataFrame(labels), _beside(out, ".ancestry.tsv"))
    common.say(f"wrote {out}")


@arguments(_COHORT, _OUT, _ANCESTRY, _COLUMN, flags=(QC,))
def qc(cohort: str, out: Path, ancestry: Path | None, ancestry_column: str | None, common: Common) -> None:
    """Filter COHORT in PLINK's order; the removals go to OUT.qc.tsv."""
    params = common.parameters(QC, "qc")
    ds = _open(cohort, ancestry, ancestry_column)
    with common.work("qc"):
        kept = filter_cohort(ds, params)
        api.save(kept, out)
    steps = pd.DataFrame(json.loads(kept.attrs["qc_steps"]))
    write_tsv(steps, _beside(out, ".qc.tsv"))
    for line in cascade_lines(steps):
        common.say(line)


@arguments(
    _COHORT, _OUT,
    option("--project", "other", metavar="COHORT", help="project these too: PREFIX.projected.eigenvec"),
    flags=(PCA,),
)  # fmt: skip
def pca(cohort: str, out: Path, other: str | None, common: Common) -> None:
    """Principal components: PREFIX.eigenvec, PREFIX.eigenval, PREFIX.loadings.zarr."""
    params = common.parameters(PCA, "pca")
    ds = _autosomes(api.open_cohort(cohort), common)
    with common.work("pca"):
        model = fit(ds, params)
        api.save(model, _beside(out, ".loadings.zarr"))
        scores = np.asarray(model["sample_pca_projection"].values)
        write_tsv(_scores(model["sample_id"].values, _unit(scores, scores)), _beside(out, ".eigenvec"))
        _beside(out, ".eigenval").write_text("".join(f"{v:.10g}\n" for v in model["pca_eigenvalue"].values))
        if other is not None:
            more = _autosomes(api.open_cohort(other), common)
            projected = _unit(project(more, model), scores)
            write_tsv(_scores(more["sample_id"].values, projected), _beside(out, ".projected.eigenvec"))
    common.say(f"wrote {out}.eigenvec, {out}.eigenval and {out}.loadings.zarr")


def _unit(scores: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Scale scores so that the fitted samples' columns have unit length, as PLINK's .eigenvec."""
    return np.asarray(scores / np.sqrt((fitted**2).sum(axis=0)))


def _scores(ids: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(scores, columns=[f"PC{i + 1}" for i in range(scores.shape[1])])
    table.insert(0, "#IID", ids)
    return table


@arguments(_COHORT, _OUT, _ANCESTRY, _COLUMN, flags=(Ancestry,))
def ancestry(
    cohort: str, out: Path, ancestry: Path | None, ancestry_column: str | None, common: Common
) -> None:
    """Compare COHORT's ancestry labels with its components; per sample to OUT, the rest to the terminal."""
    params = common.parameters(Ancestry, "ancestry")
    ds = _open(cohort, ancestry, ancestry_column)
    if "sample_ancestry" not in ds:
        raise DataError(
            f"{cohort} has no ancestry labels; give a table of sample id and group with --ancestry"
        )
    with common.work("ancestry"):
        most = min(params.n_components, ds.sizes["samples"] - 1, ds.sizes["variants"])
        scores = fit(ds, PCA(n_components=most))["sample_pca_projection"].values
        report = compare_labels(ds["sample_ancestry"].values, np.asarray(scores), params)
    samples = {"sample_id": ds["sample_id"].values, "ancestry": ds["sample_ancestry"].values}
    write_tsv(pd.DataFrame(samples | {"predicted": report.predicted}), out)
    write_tsv(report.confusion, _beside(out, ".confusion.tsv"))
    for row in report.groups.to_dict("records"):
        note = "" if row["usable"] else f"; fewer than {params.min_group}: too small to use"
        common.say(f"{row['group']}: {people(row['n'])} samples, {row['agreement']:.1%} as labelled{note}")


@arguments(_COHORT, _OUT, _ANCESTRY, _COLUMN, _KEY, flags=(Synthesis,))
def synthesize(
    cohort: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Make synthetic samples of every ancestry group of COHORT (after quality control)."""
    params = common.parameters(Synthesis, "synthesis")
    ds = _open(cohort, ancestry, ancestry_column)
    with common.work("synthesize"):
        made = make_synthetic(ds, params, key=_key(noise_key))
        api.save(made, out)
    common.say(f"wrote {made.sizes['samples']} synthetic samples to {out}; privacy guarantee: none")


@arguments(_COHORT, _OUT, flags=(Phenotype,))
def phenotype(cohort: str, out: Path, common: Common) -> None:
    """Simulate a case/control trait: PREFIX.pheno.tsv and PREFIX.truth.tsv."""
    params = common.parameters(Phenotype, "phenotype")
    ds = api.open_cohort(cohort)
    with common.work("phenotype"):
        trait = simulate_trait(ds, params)
    samples = {"#IID": trait["sample_id"].values, "case": trait["sample_case"].values,
               "liability": trait["sample_liability"].values,
               "genetic_value": trait["sample_genetic_value"].values}  # fmt: skip
    write_tsv(pd.DataFrame(samples), _beside(out, ".pheno.tsv"))
    causal = trait["variant_is_causal"].values
    truth = {"ID": ds["variant_id"].values, "A1": ds["variant_allele"].values[:, 1],
             "A1_FREQ": trait["variant_allele_frequency"].values, "EFFECT": trait["variant_effect"].values,
             "EFFECT_PER_ALLELE": trait["variant_effect_per_allele"].values}  # fmt: skip
    write_tsv(pd.DataFrame(truth)[causal], _beside(out, ".truth.tsv"))
    common.say(f"wrote {out}.pheno.tsv and {out}.truth.tsv")


def _read_status(path: Path, ids: np.ndarray) -> np.ndarray:
    """Return 0/1 status in the order of `ids`."""
    table = read_table(path)
    if table.shape[1] < 2:
        raise DataError(
            f"{path}: wanted a header and two columns, sample id and 0/1 status; found {table.shape[1]} "
            "column"
        )
    status = dict(zip(table.iloc[:, 0], table.iloc[:, 1], strict=True))
    found = [status.get(str(i)) for i in ids]
    wrong = [n for n, value in enumerate(found) if value not in ("0", "1")]
    if wrong:
        raise DataError(
            f"{path}: {len(wrong)} of {len(ids)} samples have no status 0 or 1 (first: sample number "
            f"{wrong[0] + 1} of the cohort)"
        )
    return np.array(found).astype(np.int8)


@arguments(_COHORT, _PHENO, _OUT, _KEY, flags=(Watermark,))
def watermark(cohort: str, pheno: Path, out: Path, noise_key: Path | None, common: Common) -> None:
    """Make watermark SNPs for a trait: OUT (Zarr) and OUT.tests.tsv."""
    params = common.parameters(Watermark, "watermark")
    ds = api.open_cohort(cohort)
    case = _read_status(pheno, ds["sample_id"].values)
    marks, tests = api.watermark(ds, case, params, key=_key(noise_key))
    api.save(marks.assign(sample_id=("samples", ds["sample_id"].values)), out)
    write_tsv(tests, _beside(out, ".tests.tsv"))
    common.say(f"wrote {len(tests)} watermark SNPs to {out}; joint fit: {tests.attrs['joint_fit']}")


@arguments(_COHORT, _OUT, _ANCESTRY, _COLUMN, _KEY, flags=(Relatives,))
def relatives(
    cohort: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    noise_key: Path | None,
    common: Common,
) -> None:
    """Make relatives of founders in COHORT: OUT, OUT.pedigree.tsv and OUT.related_pairs.tsv."""
    params = common.parameters(Relatives, "relatives")
    ds = _open(cohort, ancestry, ancestry_column)
    with common.work("relatives"):
        made, pedigree = api.relatives(ds, params, key=_key(noise_key))
        api.save(made, out)
    table = pedigree.table
    ids = np.append(table["sample_id"].to_numpy(), "0")
    people_table = {"sample_id": ids[:-1], "father_id": ids[table["father"]],
                    "mother_id": ids[table["mother"]], "sex": table["sex"],
                    "generation": table["generation"], "group": table["group"]}  # fmt: skip
    write_tsv(pd.DataFrame(people_table), _beside(out, ".pedigree.tsv"))
    pairs = related_pairs(pedigree)
    named = {
        "IID1": ids[pairs["first"]],
        "IID2": ids[pairs["second"]],
        "degree": pairs["degree"],
        "kinship": pairs["kinship"],
    }
    write_tsv(pd.DataFrame(named), _beside(out, ".related_pairs.tsv"))
    common.say(f"wrote {made.sizes['samples']} relatives to {out}")


@arguments(_COHORT, _OUT, flags=(Kinship,))
def king(cohort: str, out: Path, common: Common) -> None:
    """KING-robust kinship of all pairs above a cut-off, in PLINK 2's columns; OUT.histogram.tsv has all."""
    params = common.parameters(Kinship, "kinship")
    ds = _autosomes(api.open_cohort(cohort), common)
    with common.work("king"):
        result = all_pairs(ds, params)
    ids = ds["sample_id"].values
    families = ds["sample_family_id"].values if "sample_family_id" in ds else np.full(len(ids), "0", object)
    pairs = result.pairs
    a, b = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    table = {"#FID1": families[a], "IID1": ids[a], "FID2": families[b], "IID2": ids[b],
             "NSNP": pairs["n_snp"],
             "HETHET": pairs["het_het"] / pairs["n_snp"], "IBS0": pairs["ibs0"] / pairs["n_snp"],
             "KINSHIP": pairs["kinship"]}  # fmt: skip
    make_folder(out.parent)
    write_tsv(pd.DataFrame(table), out)
    write_tsv(result.histogram, _beside(out, ".histogram.tsv"))
    common.say(
        f"{len(pairs)} pairs above {params.min_kinship:g} of {int(result.histogram['pairs'].sum())}; "
        f"wrote {out}"
    )


@arguments(
    argument("real", metavar="REAL"), argument("synthetic", metavar="SYNTHETIC"), _OUT, _ANCESTRY, _COLUMN,
    option("--epsilon", type=float, default=6.0, show_default=True, help="epsilon of the synthetic cohort"),
    flags=(Evaluation,),
)  # fmt: skip
def evaluate(
    real: str,
    synthetic: str,
    out: Path,
    ancestry: Path | None,
    ancestry_column: str | None,
    epsilon: float,
    common: Common,
) -> None:
    """Compare SYNTHETIC with REAL, group by group; tables go to the folder OUT."""
    params = common.parameters(Evaluation, "evaluation")
    ds = _open(real, ancestry, ancestry_column)
    with common.work("evaluate"):
        tables = api.evaluate(ds, api.open_cohort(synthetic), params, epsilon=epsilon)
    make_folder(out)
    for name, table in tables.items():
        write_tsv(table, out / f"{name}.tsv")
    for row in tables["groups"].to_dict("records"):
        common.say(
            f"{row['group']}: MAF RMSE {row['maf_rmse']:.4f}, r2 {row['maf_r2']:.4f}, largest |z| "
            f"{row['max_abs_z']:.2f}"
        )
