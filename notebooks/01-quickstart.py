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
# # Quickstart
#
# From a founder cohort to a synthetic release, on simulated people. Takes about half a minute.

# %%
import json

import matplotlib.pyplot as plt
import pandas as pd

import genoweave

# %% [markdown]
# Simulate three populations. The simulator plants relatives, duplicates and bad variants, so that quality
# control has work to do.

# %%
founders = genoweave.simulate(
    genoweave.Simulation(n_samples=300, n_variants=2000, populations=("AFR", "EUR", "EAS"), seed=1)
)
founders

# %% [markdown]
# A run starts from files: a store (or a PLINK fileset), and a table of sample id and ancestry group.

# %%
genoweave.save(founders, "founders.vcz")
labels = pd.DataFrame({"sample": founders["sample_id"].values, "group": founders["sample_ancestry"].values})
labels.to_csv("labels.tsv", sep="\t", index=False)

# %% [markdown]
# What is not said here has the paper's value. The same dictionary as a TOML file drives the command line.

# %%
settings = {
    "seed": 1,
    "input": {"path": "founders.vcz", "ancestry": "labels.tsv"},
    "qc": {"king_cutoff": 0.1768},
    "pca": {"n_components": 10},
    "synthesis": {"per_group": 150},
    "relatives": {"founders_per_group": 80},
    "evaluation": {"tsne_samples": 50, "tsne_perplexity": 15},
    "release": {"name": "first"},
}
run = genoweave.run(settings, "first.run")
genoweave.status(run)["stages"]

# %% [markdown]
# The files to give away, under the access controls of the source:

# %%
sorted(path.name for path in (run / "release").iterdir())

# %%
facts = json.loads((run / "evaluation.json").read_text())
print(facts["privacy"]["statement"])

# %% [markdown]
# Run it again, and nothing is done twice.

# %%
genoweave.run(settings, "first.run")
assert set(genoweave.status(run)["stages"].values()) == {"kept"}

# %% [markdown]
# Real and synthetic people on the same axes: components fitted on the real ones.

# %%
points = pd.read_parquet(run / "evaluation" / "embedding.parquet")
figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
for axis, (kind, part) in zip(axes, points.groupby("kind"), strict=True):
    for group, members in part.groupby("group"):
        axis.scatter(members["pc1"], members["pc2"], s=8, label=group)
    axis.set(title=f"{kind} ({len(part)})", xlabel="PC 1", ylabel="PC 2")
axes[0].legend()
figure.tight_layout()

# %%
groups = pd.read_parquet(run / "evaluation" / "groups.parquet")
print(groups[["group", "n_synthetic", "max_copies", "maf_rmse", "maf_r2"]])
assert facts["n_synthetic"] == 450
assert (groups["maf_r2"] > 0.98).all()
