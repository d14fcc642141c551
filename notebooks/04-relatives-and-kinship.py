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
# # Relatives and kinship

# %%
import matplotlib.pyplot as plt
import numpy as np

import genoweave
from genoweave.methods.kinship import DEGREE_CUTS
from genoweave.methods.relatives import listed_pairs, related_pairs

# %%
founders = genoweave.simulate(
    genoweave.Simulation(n_samples=240, n_variants=6000, populations=("AFR", "EUR"), seed=4)
)
real = genoweave.qc(founders, genoweave.QC(king_cutoff=0.0884))
key = genoweave.Root.from_seed(1)  # for an example: a real run's key is secret
synthetic = genoweave.synthesize(real, genoweave.Synthesis(per_group=96), key=key)

# %% [markdown]
# Founders pair off for three generations: eight founders make a tree of 15 people.

# %%
people, pedigree = genoweave.relatives(synthetic, genoweave.Relatives(founders_per_group=96), key=key)
pedigree.table.groupby(["group", "generation"]).size().unstack()

# %% [markdown]
# The list of the paper: every descendant with each founder that it comes from. All related pairs are more.

# %%
listed = listed_pairs(pedigree)
print(listed["degree"].value_counts().to_dict())
print(related_pairs(pedigree)["degree"].value_counts().to_dict())

# %% [markdown]
# KING-robust kinship of all pairs of founders and descendants, from one store of them all.

# %%
ids = pedigree.table["sample_id"].values
columns = synthetic.isel(samples=np.sort(pedigree.founders))
calls = np.concatenate([columns["call_genotype"].values, people["call_genotype"].values], axis=1)
everybody = np.concatenate([columns["sample_id"].values, people["sample_id"].values])
family = columns.drop_dims("samples").assign(
    call_genotype=(("variants", "samples", "ploidy"), calls), sample_id=("samples", everybody)
)
result = genoweave.king(family, genoweave.Kinship(min_kinship=0.0442))
result.pairs.head()

# %% [markdown]
# And of the listed pairs alone.

# %%
place = {name: i for i, name in enumerate(everybody)}
first = np.array([place[ids[i]] for i in listed["sample"]])
second = np.array([place[ids[i]] for i in listed["ancestor"]])
listed["kinship"] = genoweave.king_listed(family, first, second)["kinship"]
listed.groupby("degree")["kinship"].agg(["size", "mean", "std"])

# %% [markdown]
# A child takes one allele from each parent, so that IBS0 with a parent is 0.

# %%
parents = genoweave.king_listed(
    family, first[listed["degree"] == "first"], second[listed["degree"] == "first"]
)
assert (parents["ibs0"] == 0).all()

# %%
figure, axis = plt.subplots(figsize=(7, 4))
for degree, part in listed.groupby("degree"):
    axis.hist(part["kinship"], bins=np.arange(-0.02, 0.3, 0.005), alpha=0.7, label=degree)
for cut in DEGREE_CUTS[1:4]:
    axis.axvline(cut, color="grey", linewidth=1)
axis.set(xlabel="KING-robust kinship", ylabel="listed pairs")
axis.legend()
figure.tight_layout()

# %% [markdown]
# The flips and the smaller count of heterozygotes in the estimator take a little from 1/4, 1/8 and 1/16.

# %%
means = listed.groupby("degree")["kinship"].mean()
assert abs(means["first"] - 0.2466) < 0.01
assert abs(means["second"] - 0.1233) < 0.015
assert abs(means["third"] - 0.0617) < 0.015
