"""The truth tables of a release, held against the released genotypes."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from tests.small_cohort import FOUNDERS, PER_GROUP, USABLE, Cohort

TREES = FOUNDERS // 8 * len(USABLE)


class Release:
    """Genotypes by sample id, and truth tables."""

    def __init__(self, run_folder: Path) -> None:
        self.folder = run_folder / "release"
        snp, relatives = self.csv("snp"), self.csv("relative_snps")
        self.synthetic = snp.drop(columns="Ancestry").set_index("SampleID")
        self.relatives = relatives.set_index("SampleID")
        self.ancestry = snp.set_index("SampleID")["Ancestry"]
        self.everybody = pd.concat([self.synthetic, self.relatives])

    def csv(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / f"tiny_{name}.csv", dtype={"SampleID": str, "AncestorID": str})

    def truth(self, name: str) -> pd.DataFrame:
        text = dict.fromkeys(("SampleID", "SampleID1", "SampleID2", "FatherID", "MotherID"), str)
        return pd.read_csv(self.folder / f"truth/{name}.tsv", sep="\t", dtype=text)


@pytest.fixture(scope="module")
def release(finished: Path) -> Release:
    return Release(finished)


def test_pedigree__has_whole_trees(release: Release) -> None:
    people = release.truth("pedigree").set_index("SampleID")
    assert people.groupby("Generation").size().to_dict() == {
        0: 8 * TREES,
        1: 4 * TREES,
        2: 2 * TREES,
        3: TREES,
    }
    founders = people[people["Generation"] == 0]
    assert (founders[["FatherID", "MotherID"]] == "0").all(axis=None)
    assert set(founders.index) <= set(release.synthetic.index)
    assert set(people.index) - set(founders.index) == set(release.relatives.index)
    assert (founders["Ancestry"] == release.ancestry[founders.index]).all()
    children = people.drop(founders.index)
    assert (people.loc[children["FatherID"], "Sex"] == "male").all()
    assert (people.loc[children["MotherID"], "Sex"] == "female").all()
    for parent in ("FatherID", "MotherID"):
        assert not children[parent].duplicated().any()
        assert (people.loc[children[parent], "Generation"].to_numpy() + 1 == children["Generation"]).all()
        assert (people.loc[children[parent], "Ancestry"].to_numpy() == children["Ancestry"]).all()


def test_pedigree__children_are_possible(release: Release) -> None:
    """A child's dosage lies between what its parents must and may pass on; missing where a parent's is."""
    people = release.truth("pedigree").set_index("SampleID")
    children = people[people["Generation"] > 0]
    child, father, mother = (
        release.everybody.loc[ids].to_numpy(float)
        for ids in (children.index, children["FatherID"], children["MotherID"])
    )
    missing = np.isnan(father) | np.isnan(mother)
    np.testing.assert_array_equal(np.isnan(child), missing)
    lowest = (father == 2).astype(int) + (mother == 2)
    highest = (father >= 1).astype(int) + (mother >= 1)
    inside = (child >= lowest) & (child <= highest)
    assert inside[~missing].all()
    both = (father == 1) & (mother == 1)
    share = np.bincount(child[both].astype(int), minlength=3) / both.sum()
    np.testing.assert_allclose(share, [0.25, 0.5, 0.25], atol=5 * 0.5 / np.sqrt(both.sum()))


def pedigree_kinship(people: pd.DataFrame, source: dict[str, int]):
    """Kinship by the textbook recursion, from ids; founders with the same source count as one person."""
    generation, father, mother = (people[c].to_dict() for c in ("Generation", "FatherID", "MotherID"))

    @cache
    def kinship(a: str, b: str) -> float:
        if generation[a] < generation[b]:
            a, b = b, a
        if generation[a] == 0:
            same = a == b or (a in source and source[a] == source.get(b))
            return 0.5 if same else 0.0
        if a == b:
            return 0.5 * (1 + kinship(father[a], mother[a]))
        return 0.5 * (kinship(father[a], b) + kinship(mother[a], b))

    return kinship


def test_related_pairs__are_all_that_the_pedigree_implies(release: Release) -> None:
    people = release.truth("pedigree").set_index("SampleID")
    same = release.truth("same_source").set_index("SampleID")["Source"].to_dict()
    kinship = pedigree_kinship(people, same)
    expected = {}
    for _, members in people.groupby("Ancestry"):
        ids = sorted(members.index)
        for n, a in enumerate(ids):
            expected |= {(a, b): k for b in ids[n + 1 :] if (k := kinship(a, b)) > 0}
    pairs = release.truth("related_pairs")
    assert (pairs["SampleID1"] < pairs["SampleID2"]).all()
    found = {
        (a, b): k for a, b, k in zip(pairs["SampleID1"], pairs["SampleID2"], pairs["Kinship"], strict=True)
    }
    assert found == expected
    # each tree of 15: 14 parent-child pairs, 12 grandparents, 8 great-grandparents
    assert pairs["Degree"].value_counts().to_dict() == {
        "first": 14 * TREES,
        "second": 12 * TREES,
        "third": 8 * TREES,
    }


def test_kinship_file__lists_each_descendant_with_its_founders(release: Release) -> None:
    people = release.truth("pedigree").set_index("SampleID")
    names = {1: "first-degree", 2: "second-degree", 3: "third-degree"}

    def founders_of(person: str) -> list[str]:
        father, mother = people.loc[person, ["FatherID", "MotherID"]]
        return [person] if father == "0" else founders_of(father) + founders_of(mother)

    descendants = people.index[people["Generation"] > 0]
    expected = {(p, f, names[people.loc[p, "Generation"]]) for p in descendants for f in founders_of(p)}
    listed = release.csv("kinship_relatedness")
    assert set(zip(listed["SampleID"], listed["AncestorID"], listed["Relatedness"], strict=True)) == expected
    assert len(listed) == len(expected)


def king_robust(a: np.ndarray, b: np.ndarray) -> float:
    """KING-robust, between-family, from two rows of dosages with NaN."""
    called = ~(np.isnan(a) | np.isnan(b))
    a, b = a[called], b[called]
    both_het, opposite = ((a == 1) & (b == 1)).sum(), (np.abs(a - b) == 2).sum()
    het_a, het_b = (a == 1).sum(), (b == 1).sum()
    return (2 * both_het - 4 * opposite - abs(int(het_a) - int(het_b))) / (4 * min(het_a, het_b))


def test_kinship_file__coefficients_are_king_robust_of_the_genotypes(release: Release) -> None:
    listed = release.csv("kinship_relatedness")
    for row in listed.iloc[::7].itertuples():
        pair = release.everybody.loc[[row.SampleID, row.AncestorID]].to_numpy(float)
        assert row.Kinship_Coefficient == pytest.approx(king_robust(*pair), abs=5e-7)
    means = listed.groupby("Relatedness")["Kinship_Coefficient"].mean()
    # with 584 SNPs |n_i - n_j| alone lowers the estimate by 0.015; an average of 96 pairs varies by 0.01
    for degree, expected in (("first", 0.247), ("second", 0.123), ("third", 0.062)):
        assert means[f"{degree}-degree"] == pytest.approx(expected - 0.015, abs=0.035)


def genetic_values(genotypes: pd.DataFrame, effects: pd.DataFrame) -> np.ndarray:
    causal = genotypes[effects["column"]].to_numpy(float)
    centred = causal - 2 * effects["frequency"].to_numpy()
    return np.nan_to_num(centred) @ effects["effect_per_counted_allele"].to_numpy()


def test_causal_variants__effects_reproduce_the_liability(release: Release) -> None:
    effects = release.truth("causal_variants")
    trait = release.truth("phenotype").set_index("SampleID")
    assert list(trait.index) == list(release.synthetic.index)
    assert len(effects) == round(0.1 * release.synthetic.shape[1])
    frequency = release.synthetic[effects["column"]].mean().to_numpy() / 2
    np.testing.assert_allclose(effects["frequency"], frequency, rtol=1e-8)
    scale = np.sqrt(2 * frequency * (1 - frequency))
    np.testing.assert_allclose(
        effects["effect_per_counted_allele"] * scale, effects["effect_per_standardised_genotype"], rtol=1e-7
    )
    genetic = genetic_values(release.synthetic, effects)
    np.testing.assert_allclose(trait["genetic_value"], genetic - genetic.mean(), atol=1e-7)
    assert trait["genetic_value"].var(ddof=0) == pytest.approx(0.9)
    noise = trait["liability"] - trait["genetic_value"]
    assert noise.var(ddof=0) == pytest.approx(0.1)
    assert trait["liability"].mean() == pytest.approx(0, abs=1e-8)
    assert ((trait["liability"] >= trait["liability"].median()) == trait["case"]).all()
    released = release.csv("phenotype").set_index("SampleID")["PhenotypeCondition"]
    assert (released == trait["case"]).all()


def test_relatives_phenotype__same_effects_and_threshold(release: Release) -> None:
    effects, own = release.truth("causal_variants"), release.truth("phenotype")
    trait = release.truth("relatives_phenotype").set_index("SampleID")
    offset = genetic_values(release.synthetic, effects).mean()
    expected = genetic_values(release.relatives.loc[trait.index], effects) - offset
    np.testing.assert_allclose(trait["genetic_value"], expected, atol=1e-7)
    threshold = own.loc[own["case"] == 1, "liability"].min()
    assert ((trait["liability"] >= threshold) == trait["case"]).all()


def test_watermarks__counts_and_p_values_are_those_of_the_genotypes(release: Release) -> None:
    marks = pd.read_csv(release.folder / "tiny_watermark_snp.csv", index_col="SampleID")
    truth = release.truth("watermark").set_index("id")
    case = release.csv("phenotype")["PhenotypeCondition"].to_numpy()
    n = len(case)
    n2, n1 = int(n * 0.3), int(n * 0.49 * 0.7)
    assert set(truth.index) == set(marks.columns)
    assert not set(truth.index) & set(release.synthetic.columns)
    for name, row in truth.iterrows():
        genotype = marks[name].iloc[:-1].to_numpy()
        assert np.bincount(genotype.astype(int)).tolist() == [n - n1 - n2, n1, n2]
        assert [row["n0"], row["n1"], row["n2"]] == [n - n1 - n2, n1, n2]
        fit = sm.Logit(case, sm.add_constant(genotype)).fit(disp=0)
        assert row["beta"] == pytest.approx(fit.params[1], rel=1e-6)
        assert row["z"] == pytest.approx(fit.tvalues[1], rel=1e-6)
        assert 10 ** row["log10_p"] == pytest.approx(fit.pvalues[1], rel=1e-5)
        assert float(marks[name].iloc[-1]) == pytest.approx(fit.pvalues[1], rel=1e-5)


def test_same_source__declares_every_copy_of_a_donor(release: Release, finished: Path) -> None:
    donors = pd.read_parquet(finished / "private/donors.parquet").set_index("sample_id")["donor"]
    declared = release.truth("same_source").set_index("SampleID")["Source"]
    copied = donors[donors.duplicated(keep=False)]
    assert set(declared.index) == set(copied.index)
    together = pd.DataFrame({"donor": copied, "source": declared})
    assert (together.groupby("source")["donor"].nunique() == 1).all()
    assert (together.groupby("donor")["source"].nunique() == 1).all()
    # 80 records of at most 50 donors: nobody is used a third time unless a record was redrawn
    assert copied.groupby(copied).size().max() <= 3


def test_records__are_near_copies_of_their_donor(release: Release, finished: Path, cohort: Cohort) -> None:
    """At epsilon 6 about 99.5 % of a donor's genotypes are still there, and no 0 became a 2."""
    import zarr

    donors = pd.read_parquet(finished / "private/donors.parquet").set_index("sample_id")["donor"]
    kept = zarr.open_group(str(finished / "genotypes.vcz"), mode="r")["sample_id"][...]
    few = dict(zip(cohort.sample_ids, np.arange(len(cohort.sample_ids)) >= 150, strict=True))
    usable = [i for i in kept if not few[i]]
    rows = pd.Series(range(len(cohort.sample_ids)), index=cohort.sample_ids)[[usable[d] for d in donors]]
    columns = [cohort.properties["sid"].index(name) for name in release.synthetic.columns]
    real = cohort.dosage[np.ix_(rows.to_numpy(), columns)].astype(float)
    real[real < 0] = np.nan
    made = release.synthetic.loc[donors.index].to_numpy(float)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(real))
    assert np.nanmax(np.abs(made - real)) == 1
    changed = (made != real)[~np.isnan(real)].mean()
    expected = 2 / (np.exp(6) + 2)
    assert changed == pytest.approx(expected, abs=6 * np.sqrt(expected / made.size))


def test_groups__are_as_large_as_asked(release: Release) -> None:
    groups = release.truth("groups")
    assert dict(zip(groups["group"], groups["n_synthetic"], strict=True)) == dict.fromkeys(USABLE, PER_GROUP)
