# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Traits, association, and proof that it was computed
#
# The cohort is 1,040 people of 1000 Genomes, chromosome 1, with the results of GENESIS for one trait, where
# `GENOWEAVE_TEST_DATA` names the folder that holds them (`kg_sisg`). Elsewhere it is a simulated one, and
# the comparison with GENESIS is left out.

# %%
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Image, display
from scipy.stats import norm

import genoweave
from genoweave.methods.gwas import clumps, lambda_gc
from genoweave.report.gwas_figures import figure_bytes, manhattan_figure, qq_figure


def show(*figures):
    """Show figures, also where no backend of Jupyter's is set."""
    display(*(Image(figure_bytes(figure, dpi=100)) for figure in figures))


data = Path(os.environ.get("GENOWEAVE_TEST_DATA", "absent")) / "kg_sisg"
if data.is_dir():
    people = genoweave.open(data / "chr1")
    table = pd.read_csv(data / "pheno_pop.tsv", sep="\t").set_index("sample.id")
    groups = table["super_pop"].loc[people["sample_id"].values].to_numpy(object)
    people = people.assign(sample_ancestry=("samples", groups))
else:
    people = genoweave.simulate(genoweave.Simulation(n_samples=900, n_variants=6000, seed=5))
cohort = genoweave.qc(people, genoweave.QC(maf=0.01))
print(dict(cohort.sizes), "groups:", sorted(set(cohort["sample_ancestry"].values)))

# %% [markdown]
# ## A trait whose truth is known
#
# A quantitative trait of four causal variants; half of its variance is theirs, and a fifth of the rest is that
# of the first principal components: an association study that does not adjust for ancestry is misled.

# %%
setting = genoweave.Phenotype(
    n_causal=4, heritability=0.5, effect="fixed", stratification=0.2, stratification_components=4,
    status="none", seed=11,
)  # fmt: skip
trait = genoweave.phenotype(cohort, setting)
causal = np.flatnonzero(trait["variant_is_causal"].values)
pd.DataFrame(
    {
        "position": cohort["variant_position"].values[causal],
        "effect per allele": trait["variant_effect_per_allele"].values[causal],
        "allele frequency": trait["variant_allele_frequency"].values[causal],
    }
)

# %% [markdown]
# ## Association, without and with components

# %%
contig = cohort["contig_id"].values[cohort["variant_contig"].values]
position = cohort["variant_position"].values
liability = genoweave.Trait.of("trait", trait["sample_liability"].values)
for components in (0, 7):
    (found,) = genoweave.gwas(cohort, [liability], params=genoweave.GWAS(pca=components))
    log10_p = found.fits.log10_p
    title = f"simulated trait, {components} components"
    at = found.variants
    show(manhattan_figure(contig[at], position[at], log10_p, title))
    show(qq_figure(log10_p, lambda_gc(log10_p), title))

# %% [markdown]
# The loci, and how far the nearest causal variant is from each (kb).

# %%
loci = clumps(cohort, found)
near = np.abs(loci["POS"].to_numpy()[:, None] - position[causal])
loci.assign(NEAREST_CAUSAL_KB=near.min(axis=1, initial=10**9) // 1000)[
    ["CHROM", "POS", "ID", "BETA", "SE", "LOG10_P", "VARIANTS", "NEAREST_CAUSAL_KB"]
]

# %% [markdown]
# ## Beside GENESIS
#
# The trait that came with the data, by least squares with seven components, beside GENESIS's mixed model.

# %%
if data.is_dir():
    components = pd.read_csv(data / "pcs.tsv", sep="\t").set_index("sample.id")
    covariates = components.loc[people["sample_id"].values, [f"PC{k}" for k in range(1, 8)]].to_numpy()
    given = table.loc[people["sample_id"].values, "trait_1"].to_numpy()
    (ours,) = genoweave.gwas(people, [genoweave.Trait.of("trait_1", given)], covariates)
    genesis = pd.read_csv(data / "genesis_assoc_chr1_trait_1.tsv.gz", sep="\t").dropna(subset="Score.pval")
    theirs = np.log10(genesis["Score.pval"].to_numpy())
    place, chromosome = people["variant_position"].values, np.full(people.sizes["variants"], "1")
    names = {"genoweave, least squares": (place[ours.variants], ours.fits.log10_p),
             "GENESIS, mixed model": (genesis["pos"].to_numpy(), theirs)}  # fmt: skip
    for name, (at, log10_p) in names.items():
        show(manhattan_figure(np.full(len(at), "1"), at, log10_p, f"trait_1: {name}"))
        show(qq_figure(log10_p, lambda_gc(log10_p), name))
    both = pd.Series(theirs, genesis["pos"])
    both = pd.DataFrame({"theirs": both[~both.index.duplicated()]}).join(
        pd.Series(ours.fits.log10_p, place[ours.variants], name="ours").groupby(level=0).first()
    )
    agreement = both.dropna().corr().iloc[0, 1]
    print(f"correlation of log10 p: {agreement:.4f} over {len(both.dropna()):,} variants")
    assert agreement > 0.99
    assert place[ours.variants][np.nanargmin(ours.fits.log10_p)] == genesis["pos"].iloc[np.argmin(theirs)]

# %% [markdown]
# ## Proof that an association was computed
#
# The owner hides 24 watermark SNPs in a case/control study: real-looking SNPs whose results she knows, half of
# them associated. The key stays with her. The server is asked for PLINK 2's logistic regression with four
# components.

# %%
study = genoweave.phenotype(
    cohort, genoweave.Phenotype(n_causal=40, heritability=0.5, prevalence=0.4, seed=12)
)
status = study["sample_case"].values
scores = genoweave.pca(cohort, genoweave.PCA(n_components=4))["sample_pca_projection"].values
names = [f"PC{k + 1}" for k in range(4)]
sent, key = genoweave.watermark_cohort(
    cohort,
    genoweave.Trait.of("case", status),
    scores,
    genoweave.HiddenWatermark(kind="qc-proof", n=24),
    key=genoweave.Root.from_seed(1),  # for an example: leave it out, and a secret one is drawn
    names=names,
)
genoweave.export(sent, "plink", "sent")
print(f"{sent.sizes['variants']} variants sent, {len(key.watermarks)} of them watermarks")
for skipped in (0.05, 0.2):
    print(f"a server that skips {skipped:.0%} of the SNPs is found out with probability",
          f"{genoweave.detection_probability(24, skipped, cohort.sizes['variants']):.3f}")  # fmt: skip


# %%
def write_tables(prefix, case):
    """Write the tables of a study for PLINK 2."""
    people = sent.assign(
        sample_case=("samples", case), sample_pca_projection=(("samples", "components"), scores)
    )
    genoweave.write_phenotypes(people, Path(f"{prefix}.pheno"), columns={"case": "sample_case"})
    genoweave.write_covariates(people, Path(f"{prefix}.covar"))


def server(prefix):
    """Run the association: by PLINK 2 if it is installed, else by genoweave."""
    tables = ["--pheno", f"{prefix}.pheno", "--covar", f"{prefix}.covar", "--out", prefix]
    if shutil.which("plink2"):
        command = ["plink2", "--bfile", "sent", "--glm", "hide-covar", *tables]
    else:
        command = ["genoweave", "gwas", "sent.bed", "--test", "wald", *tables]
    subprocess.run(command, check=True, capture_output=True)
    return Path(f"{prefix}.case.glm.logistic.hybrid")


def verdict(results):
    """Judge results with the key."""
    found = genoweave.verify(key, results)
    print("HONEST" if found.is_honest else f"NOT AS EXPECTED ({found.diagnosis})", "-", found.statement)
    return found


# %% [markdown]
# An honest server; one that permutes the trait; and one that computes 70 % of the SNPs and makes up the rest.

# %%
write_tables("honest", status)
assert verdict(server("honest")).is_honest

# %%
write_tables("permuted", np.random.default_rng(3).permutation(status))
assert not verdict(server("permuted")).is_honest

# %%
rng = np.random.default_rng(4)
lazy = pd.read_csv("honest.case.glm.logistic.hybrid", sep="\t", dtype=str, keep_default_na=False)
skipped = np.flatnonzero(rng.random(len(lazy)) < 0.3)
z = rng.normal(size=len(skipped))
error = lazy.loc[skipped, "LOG(OR)_SE"].replace("NA", "0.1").astype(float)
lazy.loc[skipped, "OR"] = [f"{value:.6g}" for value in np.exp(z * error)]
lazy.loc[skipped, "Z_STAT"] = [f"{value:.6g}" for value in z]
lazy.loc[skipped, "P"] = [f"{value:.6g}" for value in 2 * norm.sf(np.abs(z))]
lazy.to_csv("lazy.glm.logistic.hybrid", sep="\t", index=False)
found = verdict("lazy.glm.logistic.hybrid")
assert not found.is_honest

# %% [markdown]
# What the key says of each watermark, and what the lazy server returned.

# %%
found.watermarks[["id", "role", "expected_statistic", "returned_statistic", "state"]]
