"""The validate stage: tables that say how the synthetic cohort compares with the real one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from genoweave.io.files import remove, write_json
from genoweave.methods.evaluation import compare_frequencies, embed, group_fidelity
from genoweave.methods.synthesis.channel import flip_probability, mechanism
from genoweave.pipeline.context import Context
from genoweave.pipeline.hiding import is_hidden
from genoweave.pipeline.manifest import versions


def validate(run: Context) -> dict[str, Any]:
    """Compare frequencies and embeddings, gather kinship and watermarks, and write the evaluation."""
    remove(run.path("evaluation"))  # it may hold tables of stages that were switched off since
    real, synthetic = run.open("genotypes.vcz"), run.open("synthetic.vcz")
    model = run.components(max(2, run.config.evaluation.tsne_components))
    channel = mechanism(run.config.synthesis.mechanism, run.config.synthesis.epsilon)
    maf = compare_frequencies(real, synthetic, channel)
    run.write_table(maf, "evaluation/maf.parquet")
    run.write_table(embed(real, synthetic, model, run.config.evaluation), "evaluation/embedding.parquet")
    run.write_table(_groups(run, maf), "evaluation/groups.parquet")
    eigenvalue = run.open("pca.zarr")["pca_eigenvalue"].values
    numbers = np.arange(1, len(eigenvalue) + 1)
    scree = pd.DataFrame({"component": numbers, "eigenvalue": eigenvalue})
    run.write_table(scree, "evaluation/pca.parquet")
    run.write_table(run.read_table("qc.parquet"), "evaluation/qc.parquet")
    run.write_table(run.read_table("ancestry/confusion.parquet"), "evaluation/confusion.parquet")
    _copy_kinship(run)
    _write_watermarks(run)
    summary = _summary(run, real.sizes["samples"], dict(synthetic.sizes))
    write_json(run.path("evaluation.json"), summary)
    return {"groups": len(summary["groups"]), "variants": synthetic.sizes["variants"]}


def _groups(run: Context, maf: pd.DataFrame) -> pd.DataFrame:
    labels = run.read_table("ancestry/groups.parquet").rename(columns={"agreement": "confusion_agreement"})
    table = run.read_table("synthesis.parquet").merge(group_fidelity(maf), on="group")
    return table.merge(labels[["group", "confusion_agreement"]], on="group")


def _copy_kinship(run: Context) -> None:
    if not run.config.kinship.enabled:
        return
    listed = run.read_table("kinship_listed.parquet")
    run.write_table(listed[["group", "degree", "kinship"]], "evaluation/kinship_listed.parquet")
    run.write_table(run.read_table("kinship_histogram.parquet"), "evaluation/kinship_histogram.parquet")


def _shows_watermarks(run: Context) -> bool:
    """Whether there are watermarks that others may know of."""
    return run.config.watermark.enabled and not is_hidden(run)


def _write_watermarks(run: Context) -> None:
    if not _shows_watermarks(run):
        return
    marks = run.open("watermark.zarr")
    names = (
        "id",
        "case",
        "n0",
        "n1",
        "n2",
        "beta",
        "se",
        "z",
        "log10_p",
        "joint_beta",
        "joint_se",
        "joint_log10_p",
    )
    run.write_table(
        pd.DataFrame({n: marks[f"watermark_{n}"].values for n in names}),
        "evaluation/watermark.parquet",
    )


def _summary(run: Context, n_real: int, sizes: dict[Any, int]) -> dict[str, Any]:
    config = run.config
    channel = mechanism(config.synthesis.mechanism, config.synthesis.epsilon)
    groups = run.read_table("ancestry/groups.parquet")
    q = flip_probability(config.synthesis.epsilon)
    facts: dict[str, Any] = {
        "name": config.release.name,
        "mechanism": channel.name,
        "epsilon": config.synthesis.epsilon,
        "flip_probability": q,
        "flips_per_record": 2 * q * sizes["variants"],
        "kept_share": 1 - 2 * q,
        "n_real": n_real,
        "n_synthetic": sizes["samples"],
        "n_variants": sizes["variants"],
        "groups": list(groups.loc[groups["usable"], "group"]),
        "unused_groups": list(groups.loc[~groups["usable"], "group"]),
        "privacy": {"guarantee": channel.guarantee, "statement": channel.statement},
        "versions": versions(),
    }
    facts |= _trait_facts(run) | _relatives_facts(run)
    return facts | {"warnings": _warnings(run, facts)}


def _trait_facts(run: Context) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "n_causal": 0,
        "heritability": None,
        "prevalence": None,
        "joint_fit": "not asked for",
    }
    if run.config.phenotype.enabled:
        trait = run.open("phenotype.zarr")
        facts["n_causal"] = int(trait["variant_is_causal"].values.sum())
        facts["heritability"] = run.config.phenotype.heritability
        facts["prevalence"] = run.config.phenotype.prevalence
    if _shows_watermarks(run):
        facts["joint_fit"] = run.open("watermark.zarr").attrs["joint_fit"]
    return facts


def _relatives_facts(run: Context) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "n_relatives": 0,
        "n_related_pairs": 0,
        "n_listed_pairs": 0,
        "kinship_means": {},
    }
    if run.config.relatives.enabled:
        people = run.read_table("relatives/pedigree.parquet")
        facts["n_relatives"] = int((people["generation"] > 0).sum())
        facts["n_related_pairs"] = len(run.read_table("relatives/related_pairs.parquet"))
    if run.config.relatives.enabled and run.config.kinship.enabled:
        listed = run.read_table("kinship_listed.parquet")
        facts["n_listed_pairs"] = len(listed)
        facts["kinship_means"] = {
            str(degree): {"n": len(x), "mean": float(x.mean()), "sd": float(x.std())}
            for degree, x in listed.groupby("degree")["kinship"]
        }
    return facts


def _warnings(run: Context, facts: dict[str, Any]) -> list[str]:
    """Things that a reader must know, without counts of few people."""
    found = []
    if facts["unused_groups"]:
        found.append(f"Groups too small to use: {', '.join(facts['unused_groups'])}.")
    groups = run.read_table("synthesis.parquet")
    copied = groups.loc[groups["max_copies"] > 1, "group"]
    if len(copied):
        found.append(
            f"Donors were used more than once in: {', '.join(copied)}. Such records are near-copies of "
            "one person; all of "
            "these pairs are declared in the release's truth tables."
        )
    if _shows_watermarks(run) and (run.open("watermark.zarr")["watermark_case"].values != "a").any():
        found.append(
            "At this share of cases the paper's watermark construction leaves its usual form: the "
            "watermarks are weak where cases "
            "are few, and separate cases from controls, so that no test exists, where cases are many."
        )
    if facts["joint_fit"] not in ("ok", "not asked for"):
        found.append(f"The joint watermark fit does not exist: {facts['joint_fit']}.")
    return found
