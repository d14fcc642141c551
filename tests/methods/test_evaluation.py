"""The comparison of synthetic with real: calibrated scores, and eyes for a group made of other people."""

import helpers
import numpy as np
import pytest
from scipy.stats import chi2, norm

from genoweave.genotypes import select
from genoweave.io.plink import open_plink
from genoweave.io.tables import read_ancestry
from genoweave.methods.evaluation import Evaluation, compare_frequencies, embed, group_fidelity
from genoweave.methods.pca import PCA, pca, project
from genoweave.methods.synthesis import Synthesis, mechanism, synthesize
from genoweave.rng import Root

KEY = Root(bytes(range(32)))


@pytest.fixture(scope="module")
def cohort():
    return helpers.balding_nichols(3, 40, 2000, missing=0.0, monomorphic=20, seed=21)


def made_of(ds, per_group, epsilon=6.0):
    components = PCA(n_components=4, ld_prune=False)
    return synthesize(ds, Synthesis(per_group=per_group, epsilon=epsilon), key=KEY, model=pca(ds, components))


@pytest.mark.parametrize("per_group", [50, 120, 400])
@pytest.mark.parametrize("epsilon", [3.0, 6.0])
def test_compare_frequencies__scores_are_standard_normal(cohort, per_group, epsilon):
    maf = compare_frequencies(cohort, made_of(cohort, per_group, epsilon), mechanism("syngen6", epsilon))
    assert len(maf) == 3 * 2000
    for _, part in maf.groupby("group"):
        z = part["z"].to_numpy()
        # 18 cases: the mean is out of bounds once in 1e6, and a score beyond 6 has probability 2e-5 in all.
        # A score made of one flip more or less is no normal number: the spread may be off by a tenth
        assert abs(z.mean()) < norm.isf(5e-7) / np.sqrt(2000)
        assert np.abs(z).max() < 6
        assert 0.9**2 * chi2.isf(1 - 1e-6, 2000) < (z**2).sum() < 1.1**2 * chi2.isf(1e-6, 2000)


def test_compare_frequencies__columns_by_hand():
    real = helpers.cohort(np.array([[0, 1, 2, 2], [0, 0, 0, -1]], np.int8), ["a", "a", "a", "b"])
    made = helpers.cohort(np.array([[1, 1, 2], [0, 1, 0]], np.int8), ["a"] * 3)
    table = compare_frequencies(real, made, mechanism("syngen6", 6.0))
    q = 1 / (np.exp(6) + 2)
    assert table["group"].tolist() == ["a", "a"]
    assert table["variant_id"].tolist() == ["rs1", "rs2"]
    np.testing.assert_allclose(table["maf_real"], [0.5, 0])
    np.testing.assert_allclose(table["maf_synthetic"], [1 / 3, 1 / 6])
    np.testing.assert_allclose(table["frequency_synthetic"], [2 / 3, 1 / 6])
    np.testing.assert_allclose(table["frequency_expected"], [0.5, q])
    assert (table["z"] > 0).all()


def test_compare_frequencies__a_group_made_of_other_people_is_seen(cohort):
    made = made_of(cohort, 200)
    labels = made["sample_ancestry"].values
    swapped = np.where(labels == "group0", "group1", np.where(labels == "group1", "group0", labels))
    maf = compare_frequencies(
        cohort, made.assign(sample_ancestry=("samples", swapped.astype(object))), mechanism("syngen6", 6.0)
    )
    worst = maf["z"].abs().groupby(maf["group"]).max()
    assert worst["group0"] > 20
    assert worst["group1"] > 20
    assert worst["group2"] < 6


def test_group_fidelity__by_hand(cohort):
    maf = compare_frequencies(cohort, made_of(cohort, 120), mechanism("syngen6", 6.0))
    summary = group_fidelity(maf).set_index("group")
    for name, part in maf.groupby("group"):
        real, made = part["maf_real"], part["maf_synthetic"]
        assert summary.loc[name, "maf_rmse"] == pytest.approx(np.sqrt(np.mean((real - made) ** 2)))
        assert summary.loc[name, "maf_r2"] == pytest.approx(np.corrcoef(real, made)[0, 1] ** 2)
        assert summary.loc[name, "max_abs_z"] == np.abs(part["z"]).max()
        assert summary.loc[name, "maf_r2"] > 0.99


def test_embed__real_and_synthetic_share_one_picture(cohort):
    made = made_of(cohort, 60)
    model = pca(cohort, PCA(n_components=4, ld_prune=False))
    table = embed(cohort, made, model, Evaluation(tsne_samples=25, tsne_perplexity=5))
    assert table.groupby(["group", "kind"]).size().to_dict() == {
        (f"group{k}", kind): n for k in range(3) for kind, n in (("real", 40), ("synthetic", 60))
    }
    scores = project(made, model, 2)
    for k in range(3):
        part = table[(table["group"] == f"group{k}") & (table["kind"] == "synthetic")]
        own = scores[made["sample_ancestry"].values == f"group{k}"]
        np.testing.assert_allclose(part[["pc1", "pc2"]], own, atol=1e-9)
    placed = table.dropna(subset=["tsne1"]).groupby(["group", "kind"]).size()
    assert (placed == 25).all()
    assert set(table.columns) == {"group", "kind", "pc1", "pc2", "tsne1", "tsne2"}, "no sample ids"


@pytest.mark.real_data
def test_synthesize__real_groups_keep_their_own_frequencies(real_data):
    whole = open_plink(real_data / "kg_sisg" / "chr1")
    ds = select(whole, np.arange(0, whole.sizes["variants"], 12)).load()
    labels = read_ancestry(real_data / "kg_sisg" / "pheno_pop.tsv", "super_pop")
    ds["sample_ancestry"] = ("samples", np.array([labels[i] for i in ds["sample_id"].values], object))
    made = made_of(ds, 330)
    maf = compare_frequencies(ds, made, mechanism("syngen6", 6.0))
    assert sorted(set(maf["group"])) == ["AFR", "AMR", "EAS", "EUR", "SAS"]
    # 15,600 scores: one beyond 6 has probability 3e-5
    assert maf["z"].abs().max() < 6
    # other groups' people would show: between these, frequencies differ by 20 standard errors and more
    assert (group_fidelity(maf)["maf_r2"] > 0.99).all()
