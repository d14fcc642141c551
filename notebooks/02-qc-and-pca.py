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
# # Quality control and principal components

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import genoweave

# %% [markdown]
# A simulated cohort says what was planted in it.

# %%
cohort = genoweave.simulate(genoweave.Simulation(n_samples=420, n_variants=3000, seed=2))
pd.Series(cohort["variant_planted"].values).value_counts()

# %%
pd.Series(cohort["sample_planted"].values).str.replace(r"S\d+", "...", regex=True).value_counts()

# %% [markdown]
# Filters run in PLINK's order. Filters are computed at once; the genotypes stay lazy.

# %%
clean = genoweave.qc(cohort, genoweave.QC(king_cutoff=0.1768))
pd.DataFrame(json.loads(clean.attrs["qc_steps"]))

# %% [markdown]
# Every planted fault is found, and what is left knows its place in the source.

# %%
kept = clean["variant_source_row"].values
assert (cohort["variant_planted"].values[kept] == "").all()

# %% [markdown]
# A Hardy-Weinberg test of all groups pooled would also remove variants whose frequency differs between
# groups.

# %%
pooled = genoweave.qc(cohort, genoweave.QC(hwe_groups="pooled"))
within = genoweave.qc(cohort, genoweave.QC(hwe_groups="within"))
print(f"pooled {pooled.sizes['variants']}, within groups {within.sizes['variants']} variants left")
assert pooled.sizes["variants"] < within.sizes["variants"]

# %% [markdown]
# Components of LD-pruned variants.

# %%
model = genoweave.pca(clean, genoweave.PCA(n_components=10))
used = np.isfinite(model["variant_pca_frequency"].values).sum()
print(f"{used} of {clean.sizes['variants']} variants used")

# %% [markdown]
# Projection puts any sample on the same axes; for the fit's own samples it gives the fit's own scores.

# %%
assert np.allclose(genoweave.project(clean, model), model["sample_pca_projection"])

# %% [markdown]
# What do the components say of the labels?

# %%
report = genoweave.ancestry(clean["sample_ancestry"].values, model["sample_pca_projection"].values)
report.confusion.pivot(index="label", columns="predicted", values="n")

# %%
scores, labels = model["sample_pca_projection"].values, clean["sample_ancestry"].values
figure, axes = plt.subplots(1, 2, figsize=(9, 4))
for group in sorted(set(labels)):
    axes[0].scatter(*scores[labels == group, :2].T, s=8, label=group)
axes[0].set(xlabel="PC 1", ylabel="PC 2")
axes[0].legend(fontsize="small")
axes[1].bar(np.arange(1, 11), model["pca_eigenvalue"])
axes[1].set(xlabel="component", ylabel="eigenvalue")
figure.tight_layout()

# %%
agreement = report.groups["agreement"].min()
print(f"smallest agreement of a group: {agreement:.1%}")
assert agreement > 0.9
