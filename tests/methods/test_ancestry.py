"""Labels against components: agreement, groups that are too small, labels that are wrong."""

import numpy as np
import pytest

from genoweave.errors import DataError
from genoweave.methods.ancestry import Ancestry, ancestry

CLASSIFIERS = pytest.mark.parametrize("classifier", ["forest", "centroid"])


def clouds(sizes, distance=8.0, seed=0):
    """Labels and scores of groups around distant centres."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[name] * n for name, n in sizes.items()]).astype(object)
    centre = {name: rng.normal(0, distance, 5) for name in sizes}
    scores = rng.normal(size=(len(labels), 5)) + np.array([centre[label] for label in labels])
    order = rng.permutation(len(labels))
    return labels[order], scores[order]


@CLASSIFIERS
def test_ancestry__distant_groups_agree(classifier):
    labels, scores = clouds({"a": 60, "b": 40, "c": 25})
    report = ancestry(labels, scores, Ancestry(classifier=classifier))
    assert (report.predicted == labels).all()
    assert report.groups["agreement"].tolist() == [1, 1, 1]
    assert report.groups["group"].tolist() == ["a", "b", "c"]
    assert report.groups["n"].tolist() == [60, 40, 25]
    assert report.unused == []


@CLASSIFIERS
def test_ancestry__permuted_labels_agree_by_chance(classifier):
    labels, scores = clouds({"a": 100, "b": 100, "c": 100})
    wrong = np.random.default_rng(1).permutation(labels)
    report = ancestry(wrong, scores, Ancestry(classifier=classifier))
    # binomial(300, 1/3): a share above 0.47 has probability below 1e-6
    assert (report.predicted == wrong).mean() < 0.47


@CLASSIFIERS
def test_ancestry__the_confusion_table_holds_everybody(classifier):
    labels, scores = clouds({"a": 50, "b": 30, "c": 6}, distance=1.0)
    report = ancestry(labels, scores, Ancestry(classifier=classifier))
    table = report.confusion.pivot(index="label", columns="predicted", values="n")
    assert table.sum(axis=1).to_dict() == {"a": 50, "b": 30, "c": 6}
    agreement = {name: table.loc[name, name] / table.loc[name].sum() for name in "abc"}
    assert report.groups.set_index("group")["agreement"].to_dict() == pytest.approx(agreement)
    for name in "abc":
        assert table.loc["a", name] == ((labels == "a") & (report.predicted == name)).sum()


def test_ancestry__a_label_that_is_wrong_is_predicted_right():
    labels, scores = clouds({"a": 60, "b": 60})
    wrong = labels.copy()
    wrong[0] = "a" if labels[0] == "b" else "b"
    for classifier in ("forest", "centroid"):
        report = ancestry(wrong, scores, Ancestry(classifier=classifier))
        assert (report.predicted == labels).all()


def test_ancestry__small_groups_are_named_and_not_used():
    labels, scores = clouds({"big": 40, "few": 19, "just": 20})
    report = ancestry(labels, scores)
    assert report.unused == ["few"]
    assert report.groups["usable"].tolist() == [True, False, True]


def test_ancestry__no_group_is_large_enough():
    labels, scores = clouds({"a": 10, "b": 12})
    with pytest.raises(DataError, match=r"at least 20 samples .*groups: a, b.*merge groups"):
        ancestry(labels, scores)


@pytest.mark.parametrize("labels", [["a"] * 29 + [""], [""] * 30])
def test_ancestry__everybody_needs_a_label(labels):
    with pytest.raises(DataError, match="a label for every sample"):
        ancestry(np.array(labels, object), np.zeros((30, 3)))


def test_ancestry__one_group_agrees_with_itself():
    report = ancestry(np.array(["all"] * 30, object), np.zeros((30, 3)))
    assert report.groups["agreement"].tolist() == [1]


def test_centroid__leaves_each_sample_out_of_its_own_mean():
    labels, scores = clouds({"a": 8, "b": 5, "c": 4}, distance=0.7, seed=3)
    report = ancestry(labels, scores, Ancestry(classifier="centroid", min_group=2))
    for i in range(len(labels)):
        others = np.arange(len(labels)) != i
        distance = {
            name: ((scores[i] - scores[others & (labels == name)].mean(axis=0)) ** 2).sum() for name in "abc"
        }
        assert report.predicted[i] == min(distance, key=distance.get)


def test_forest__sees_the_leading_components_only_and_repeats():
    labels, scores = clouds({"a": 40, "b": 40})
    noisy = np.hstack([np.zeros((80, 2)), scores])
    blind = ancestry(labels, noisy, Ancestry(n_components=2))
    assert (blind.predicted == labels).mean() < 0.8
    one, two = (ancestry(labels, scores, Ancestry(seed=4)) for _ in range(2))
    assert (one.predicted == two.predicted).all()
