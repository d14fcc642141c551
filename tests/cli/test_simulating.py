"""`genoweave simulate` with the model of Balding and Nichols: formats, truth, mistakes."""

from pathlib import Path

import pandas as pd
import pytest

from genoweave.genotypes import source_of
from genoweave.io.cohort import open_cohort
from genoweave.methods.biobank import BaldingNichols, balding_nichols
from tests.cli.conftest import Call
from tests.small_cohort import content_of

SIZE = ("--samples", 300, "--variants", 500)
MODEL = ("--model", "balding-nichols", *SIZE)


def tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t")


def packed(path: Path) -> bytes:
    source = source_of(open_cohort(path))
    return source.read_packed(0, source.shape[0], 0, source.shape[1]).tobytes()


def test_simulate__fileset_and_store_hold_the_same(call: Call, tmp_path: Path) -> None:
    flags = ("--related-share", 0.2, "--duplicate-share", 0.02, "--seed", 3, "--populations", "x=3e-1,y=.7")
    for out in ("a.vcz", "b.bed", "c"):
        to = ("--to", "plink") if out == "c" else ()
        assert call("simulate", tmp_path / out, *MODEL, *flags, *to).code == 0
    ds, _ = balding_nichols(
        BaldingNichols(
            n_samples=300,
            n_variants=500,
            related_share=0.2,
            duplicate_share=0.02,
            seed=3,
            group_shares={"x": 0.3, "y": 0.7},
        )
    )
    expected = source_of(ds).read_packed(0, 500, 0, 300).tobytes()
    assert packed(tmp_path / "a.vcz") == packed(tmp_path / "b.bed") == packed(tmp_path / "c.bed") == expected
    for prefix in ("a.vcz", "b", "c"):
        labels = tsv(tmp_path / f"{prefix}.ancestry.tsv")
        assert labels["ancestry"].tolist() == ds["sample_ancestry"].values.tolist()
        pairs = tsv(tmp_path / f"{prefix}.related_pairs.tsv")
        assert list(pairs.columns) == ["IID1", "IID2", "relation", "kinship"]
        assert set(pairs["relation"]) >= {"duplicate", "parent and child", "full siblings"}
        assert set(pairs["IID1"]) | set(pairs["IID2"]) <= set(labels["sample_id"])


def test_simulate__preset_gives_sizes_unless_they_are_given(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "p.bed"
    assert call("simulate", out, "--preset", "paper", "--samples", 2000, "--variants", 2000).code == 0
    planted = tsv(tmp_path / "p.planted.tsv")
    counts = pd.crosstab(planted["what"], planted["planted"])
    assert counts.loc["sample", "missing calls"] == 10
    assert counts.loc["variant"].to_dict() == {
        "missing calls": 10,
        "heterozygote excess": 3,
        "heterozygote deficit": 3,
    }
    assert set(tsv(tmp_path / "p.ancestry.tsv")["ancestry"]) == {"EUR", "AFR", "AMR", "EAS", "SAS", "WAS"}


def test_simulate__names_of_populations_have_the_paper_s_shares(call: Call, tmp_path: Path) -> None:
    out = tmp_path / "p.vcz"
    assert call("simulate", out, *MODEL, "--populations", "EUR,AFR").code == 0
    share = tsv(tmp_path / "p.vcz.ancestry.tsv")["ancestry"].value_counts(normalize=True)
    assert abs(share["EUR"] - 0.513 / (0.513 + 0.255)) < 0.14  # 5 standard errors of 300 people
    first = content_of(out)
    assert open_cohort(out).sizes["variants"] == 500
    assert call("simulate", out, *MODEL, "--populations", "EUR,AFR").code == 0
    assert content_of(out) == first


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--fst", 0.1), 2, "--fst goes with --model balding-nichols"),
        (("--preset", "paper", "--model", "coalescent"), 2, "--preset paper is of the model balding-nichols"),
        ((*MODEL, "--fst", 2), 1, "fst"),
        ((*MODEL, "--populations", "EUR,Mars"), 1, "found 'Mars'"),
        ((*MODEL, "--populations", "a=x"), 1, "found 'a=x'"),
        ((*MODEL, "--related-share", 0.44, "--duplicate-share", 0.39), 1, "families need"),
    ],
)
def test_simulate__mistakes_are_told(
    call: Call, tmp_path: Path, flags: tuple[object, ...], code: int, message: str
) -> None:
    answer = call("simulate", tmp_path / "x.vcz", *flags)
    assert answer.code == code
    assert message in answer.err
    assert not (tmp_path / "x.vcz").exists()
