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
# # Synthesis and privacy
#
# Synthetic records have the right allele frequencies because they are near-copies of people. Both halves of
# that sentence are shown here.

# %%
import matplotlib.pyplot as plt
import numpy as np

import genoweave

# %%
founders = genoweave.simulate(
    genoweave.Simulation(n_samples=300, n_variants=2000, populations=("AFR", "EUR", "EAS"), seed=3)
)
real = genoweave.qc(founders, genoweave.QC(king_cutoff=0.1768))

# %% [markdown]
# The flips hang from a private key. `from_seed` makes one that anybody can guess: for an example only.

# %%
key = genoweave.Root.from_seed(1)
synthetic = genoweave.synthesize(real, genoweave.Synthesis(epsilon=6, per_group=100), key=key)
synthetic

# %% [markdown]
# ## Faithful: each group has the frequencies that the flips predict

# %%
tables = genoweave.evaluate(real, synthetic, genoweave.Evaluation(tsne_samples=30))
tables["groups"]

# %% [markdown]
# ## Revealing: a record and its donor never have opposite homozygotes

# %%
x, y = real["call_genotype"].values, synthetic["call_genotype"].values
people = np.where((x < 0).any(axis=2), -1, x.sum(axis=2)).T
records = np.where((y < 0).any(axis=2), -1, y.sum(axis=2)).T
opposite = ((people == 0).astype(int) @ (records == 2).T) + ((people == 2).astype(int) @ (records == 0).T)
donor = opposite.argmin(axis=0)
print("opposite homozygotes with the donor:", opposite.min(axis=0).max())
print("with the next person, at least:", np.sort(opposite, axis=0)[1].min())

# %%
same = (people[donor] == records).mean()
print(f"{same:.2%} of a record are its donor's genotypes")
assert 0.99 < same < 0.997

# %% [markdown]
# ## How many SNPs of a person are enough to find the record?

# %%
rng = np.random.default_rng(1)
sizes = np.array([2, 5, 10, 15, 20, 30, 50])
found = np.zeros(len(sizes))
for i, size in enumerate(sizes):
    snps = rng.choice(people.shape[1], size, replace=False)
    matches = (people[:, None, snps] == records[None, :, snps]).sum(axis=2)
    found[i] = (matches.argmax(axis=0) == donor).mean()

# %% [markdown]
# A larger ε makes fewer flips, and no ε makes the mechanism private, since 2 never becomes 0.

# %%
maf = tables["maf"]
figure, axes = plt.subplots(1, 2, figsize=(9, 4))
axes[0].plot(maf["frequency_expected"], maf["frequency_synthetic"], ".", markersize=2)
axes[0].set(xlabel="frequency that the flips predict", ylabel="frequency in the synthetic group")
axes[1].plot(sizes, found, "o-")
axes[1].set(xlabel="SNPs that an attacker knows", ylabel="records linked to their donor", ylim=(0, 1.05))
figure.tight_layout()

# %%
print(dict(zip(sizes.tolist(), found.round(3).tolist(), strict=True)))
assert found[list(sizes).index(30)] > 0.95
assert abs(maf["frequency_synthetic"] - maf["frequency_expected"]).mean() < 0.005
