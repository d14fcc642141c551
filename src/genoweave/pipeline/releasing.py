"""The release stage: what others get, with the privacy statement first and nothing secret."""

from __future__ import annotations

from importlib.resources import files as files_of_package
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import xarray as xr

from genoweave.io import exports
from genoweave.io import release as files
from genoweave.io.files import remove, write_atomic
from genoweave.io.phenotype_files import write_phenotypes, write_truth
from genoweave.methods.phenotype import relatives_trait
from genoweave.methods.synthesis.channel import flip_probability, mechanism
from genoweave.pipeline.context import Context
from genoweave.pipeline.hiding import is_hidden, own_variants, with_watermarks
from genoweave.pipeline.manifest import versions

# Sections of the configuration that the release's manifest tells.
PUBLISHED = (
    "qc",
    "pca",
    "ancestry",
    "synthesis",
    "phenotype",
    "watermark",
    "relatives",
    "kinship",
    "release",
)


def release(run: Context) -> dict[str, Any]:
    """Write every released file, then the manifest."""
    folder = run.path("release")
    building = folder.with_name("release.partial")
    _start(building, run.token)
    ds = _cohort(run)
    columns = files.variant_columns(ds)
    _write_cohort(run, ds, building)
    if "csv" in run.config.release.formats:
        _write_tables(run, ds, columns, building / run.config.release.name)
    _write_truth(run, ds, columns, building / "truth")
    files.write_tsv(files.variants_table(ds, columns), building / "variants.tsv")
    write_atomic(building / "README.md", first_page(run, ds))
    _sweep(building)
    files.write_manifest(building, _facts(run, ds))
    remove(folder)
    building.rename(folder)
    return {"files": sum(1 for _ in folder.iterdir())}


def _sweep(building: Path) -> None:
    """Remove the token, and the journals of a run that was killed as it ended a file."""
    for journal in (*building.glob("*.journal"), *building.glob("*.export")):
        journal.unlink()
    (building / ".token").unlink()


def _start(building: Path, token: str) -> None:
    """Continue a half-made release of the same inputs, or begin anew."""
    mark = building / ".token"
    if not (mark.exists() and mark.read_text() == token):
        remove(building)
        building.mkdir(parents=True)
        (building / "truth").mkdir()
        write_atomic(mark, token)


def _cohort(run: Context) -> xr.Dataset:
    ds = run.open("synthetic.vcz")
    if run.config.phenotype.enabled:
        ds = ds.assign(sample_case=("samples", run.open("phenotype.zarr")["sample_case"].values))
    return with_watermarks(ds, run.open("watermark.zarr")) if is_hidden(run) else ds


def _write_cohort(run: Context, ds: xr.Dataset, folder: Path) -> None:
    """Write the synthetic cohort in every format, and compare what was written with it."""
    name, formats = run.config.release.name, run.config.release.formats
    places = {"csv": folder / f"{name}_snp.{run.config.release.csv}"}
    outputs = [
        exports.Output(form, (places[form],)) if form in places else exports.place(form, folder / name)
        for form in formats
    ]
    if outputs:
        exports.write(ds.drop_vars("variant_source_row", errors="ignore"), outputs, run.token)
    if run.config.phenotype.enabled and {"pgen", "vcf", "bcf", "bgen"} & set(formats):
        write_phenotypes(ds, folder / f"{name}.pheno", "plink2", ["sample_case"])
        write_phenotypes(ds, folder / f"{name}.regenie.pheno", "regenie", ["sample_case"])


def _write_tables(run: Context, ds: xr.Dataset, columns: Any, prefix: Path) -> None:
    """Write the other four of the five files, those of stages that were left out excepted."""
    ending = run.config.release.csv
    if run.config.phenotype.enabled:
        files.write_phenotype_csv(ds, run.open("phenotype.zarr"), Path(f"{prefix}_phenotype.{ending}"))
    if run.config.watermark.enabled and not is_hidden(run):
        files.write_watermark_csv(ds, run.open("watermark.zarr"), Path(f"{prefix}_watermark_snp.{ending}"))
    if not run.config.relatives.enabled:
        return
    if run.config.kinship.enabled:
        listed = run.read_table("kinship_listed.parquet")
        files.write_kinship_csv(listed, Path(f"{prefix}_kinship_relatedness.{ending}"))
    relatives = Path(f"{prefix}_relative_snps.{ending}")
    if not relatives.exists():
        people = run.open("relatives.vcz")
        files.write_genotype_csv(people, relatives, columns, run.token, with_ancestry=False)


def _write_truth(run: Context, ds: xr.Dataset, columns: Any, folder: Path) -> None:
    if run.config.phenotype.enabled:
        own = own_variants(run.open("watermark.zarr"), len(columns)) if is_hidden(run) else slice(None)
        _write_trait_truth(run, columns[own], folder)
    if run.config.watermark.enabled and not is_hidden(run):
        marks = run.open("watermark.zarr")
        names = [str(n) for n, v in marks.variables.items() if v.dims == ("watermarks",)]
        table = pd.DataFrame({n.removeprefix("watermark_"): marks[n].values for n in names})
        _truth(table.sort_values("id"), folder / "watermark")
    if run.config.relatives.enabled:
        _write_pedigree_truth(run, folder)
    _truth(same_source(run), folder / "same_source")
    groups = run.read_table("synthesis.parquet")
    public = ["group", "n_synthetic"]
    _truth(groups[public], folder / "groups")


def _truth(table: pd.DataFrame, path: Path) -> None:
    """Write a truth table as text and as Parquet."""
    files.write_tsv(table, path.with_suffix(".tsv"))
    write_truth(table, path.with_suffix(".parquet"))


def _write_trait_truth(run: Context, columns: Any, folder: Path) -> None:
    trait = run.open("phenotype.zarr")
    causal = trait["variant_is_causal"].values
    effects = pd.DataFrame(
        {
            "column": columns,
            "frequency": trait["variant_allele_frequency"].values,
            "effect_per_standardised_genotype": trait["variant_effect"].values,
            "effect_per_counted_allele": trait["variant_effect_per_allele"].values,
        }
    )
    _truth(effects[causal], folder / "causal_variants")
    samples = {"SampleID": trait["sample_id"].values} | {
        name: trait[f"sample_{name}"].values for name in ("case", "liability", "genetic_value")
    }
    _truth(pd.DataFrame(samples), folder / "phenotype")
    if run.config.relatives.enabled:
        people = run.open("relatives.vcz")
        theirs = relatives_trait(people, trait)
        samples = {"SampleID": people["sample_id"].values} | {
            name: theirs[f"sample_{name}"].values for name in ("case", "liability", "genetic_value")
        }
        _truth(pd.DataFrame(samples), folder / "relatives_phenotype")


def _write_pedigree_truth(run: Context, folder: Path) -> None:
    people = run.read_table("relatives/pedigree.parquet")
    ids = np.append(people["sample_id"].to_numpy(), "0")
    pedigree = pd.DataFrame({"SampleID": ids[:-1], "FatherID": ids[people["father"]]})
    pedigree["MotherID"] = ids[people["mother"]]
    pedigree["Sex"] = people["sex"].map({1: "male", 2: "female"})
    pedigree["Generation"], pedigree["Ancestry"] = people["generation"], people["group"]
    _truth(pedigree.sort_values("SampleID"), folder / "pedigree")
    pairs = run.read_table("relatives/related_pairs.parquet")
    first, second = ids[pairs["first"]], ids[pairs["second"]]
    swapped = first > second
    table = pd.DataFrame(
        {"SampleID1": np.where(swapped, second, first), "SampleID2": np.where(swapped, first, second),
         "Degree": pairs["degree"], "Kinship": pairs["kinship"]}
    )  # fmt: skip
    _truth(table.sort_values(["SampleID1", "SampleID2"]), folder / "related_pairs")


def same_source(run: Context) -> pd.DataFrame:
    """Declare near-copies: samples of one donor share a random number; others are not listed.

    KING finds these pairs anyway; the numbers tell nothing of the donor.
    """
    donors = run.read_table("private/donors.parquet")
    copies = donors.groupby("donor")["sample_id"].transform("size")
    shared = donors[copies > 1]
    order = run.key.stream("release.same-source").permutation(0, int(donors["donor"].max()) + 1)
    rank = pd.Series(order[shared["donor"]]).rank(method="dense").astype(int).to_numpy()
    table = pd.DataFrame({"SampleID": shared["sample_id"].to_numpy(), "Source": rank})
    return table.sort_values(["Source", "SampleID"])


def _facts(run: Context, ds: xr.Dataset) -> dict[str, Any]:
    """Facts of the manifest: parameters of the science; no secrets, no paths, no times."""
    config = run.config
    channel = mechanism(config.synthesis.mechanism, config.synthesis.epsilon)
    return {
        "name": config.release.name,
        "privacy": {"guarantee": channel.guarantee, "statement": channel.statement},
        "samples": ds.sizes["samples"],
        "variants": ds.sizes["variants"],
        "groups": sorted(set(ds["sample_ancestry"].values)),
        "seed": config.seed,
        "parameters": {
            name: getattr(config, name).model_dump()
            for name in PUBLISHED
            if not (name == "watermark" and is_hidden(run))
        },
        "versions": versions(),
    }


def first_page(run: Context, ds: xr.Dataset) -> str:
    """Return the release's README: the privacy statement, then what each file holds."""
    synthesis = run.config.synthesis
    channel = mechanism(synthesis.mechanism, synthesis.epsilon)
    q = flip_probability(synthesis.epsilon)
    text = files_of_package("genoweave.pipeline").joinpath("templates/release.md.j2").read_text("utf-8")
    # the page is Markdown, not HTML; names of groups are the only text that a user gives
    return jinja2.Template(text, keep_trailing_newline=True).render(
        name=run.config.release.name,
        csv=run.config.release.csv,
        guarantee=channel.guarantee,
        statement=channel.statement,
        mechanism=channel.name,
        epsilon=f"{synthesis.epsilon:g}",
        flip_homozygote=f"{2 * q:.6g}",
        flip_heterozygote=f"{q:.6g}",
        samples=ds.sizes["samples"],
        variants=ds.sizes["variants"],
        groups=sorted(set(ds["sample_ancestry"].values)),
    )
