"""genoweave watermark: what is sent, what is kept, and what is refused."""

import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from linked import linked_cohort

import genoweave
from genoweave.cohorts import open_cohort, save
from genoweave.io.tables import read_covariates, read_phenotypes
from genoweave.methods.watermark import Key
from genoweave.methods.watermark.distinguish import rows_of
from tests.cli.conftest import Call

N = 4


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort, its status and covariates, and a noise key."""
    folder = tmp_path_factory.mktemp("given")
    ds = linked_cohort(per_group=250, n_variants=200)
    save(ds.drop_vars("sample_ancestry"), folder / "c.vcz")
    rng = np.random.default_rng(4)
    ids = ds["sample_id"].values
    status = 1 + (rng.random(500) < 0.4)
    table = pd.DataFrame({"#IID": ids, "sick": status, "height": rng.normal(170, 9, 500)})
    table.to_csv(folder / "p.tsv", sep="\t", index=False)
    table = pd.DataFrame({"#IID": ids, "age": rng.integers(20, 90, 500), "PC1": rng.normal(size=500)})
    table.to_csv(folder / "c.tsv", sep="\t", index=False)
    table = pd.DataFrame({"#IID": ids, "group": ds["sample_ancestry"].values})
    table.to_csv(folder / "a.tsv", sep="\t", index=False)
    (folder / "noise.key").write_text(bytes(range(32)).hex() + "\n")
    return folder


def arguments(given: Path, *more: object) -> list[object]:
    return ["watermark", given / "c.vcz", "--pheno", given / "p.tsv", "--noise-key", given / "noise.key",
            "--z-max", 5, "--n", N, *more]  # fmt: skip


def test_watermark__writes_what_to_send_and_a_key_to_keep(call: Call, given: Path, tmp_path: Path) -> None:
    out, key_file = tmp_path / "send/s.vcz", tmp_path / "keep/k.json"
    more = ("--covar", given / "c.tsv", "--ancestry", given / "a.tsv", "--out", out, "--key", key_file)
    answer = call(*arguments(given, *more))
    assert answer.code == 0, answer.err
    assert f"{N} watermarks among 200 variants: 2 associated with sick" in answer.out
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    key = Key.from_json(key_file.read_text())
    assert (key.trait, key.asked, key.covariates, key.n_variants) == ("sick", "hybrid", ("age", "PC1"), 200)
    sent = open_cohort(str(out))
    assert sent.sizes["variants"] == 200 + N
    rows_of(sent, key)
    assert {p.name for p in out.parent.iterdir()} == {"s.vcz", "s.pheno", "s.covar"}
    assert set(read_phenotypes(out.with_name("s.pheno"))["sick"]) == {1, 2}
    assert list(read_covariates(out.with_name("s.covar"))) == ["age", "PC1"]
    # nothing that is sent names the key or what it holds
    secret = [bytes(range(32)).hex(), "watermark", str(key_file)]
    for path in (p for p in out.parent.rglob("*") if p.is_file()):
        text = path.read_bytes()
        assert not any(word.encode() in text for word in secret), path.name
    again = tmp_path / "again.json"
    assert call(*arguments(given, *more[:4], "--out", tmp_path / "b.vcz", "--key", again)).code == 0
    assert again.read_text() == key_file.read_text()


@pytest.mark.parametrize("ending", [".bed", ".pgen", ".vcf.gz"])
def test_watermark__in_other_formats_and_for_numbers(
    call: Call, given: Path, tmp_path: Path, ending: str
) -> None:
    out, key_file = tmp_path / f"s{ending}", tmp_path / "k.json"
    answer = call(*arguments(given, "--pheno-name", "height", "--out", out, "--key", key_file))
    assert answer.code == 0, answer.err
    key = Key.from_json(key_file.read_text())
    assert (key.trait, key.asked) == ("height", "linear")
    sent = open_cohort(str(out))
    assert len(rows_of(sent, key)) == N
    assert (tmp_path / "s.pheno").exists()


def test_watermark__refuses_to_lose_or_to_send_a_key(call: Call, given: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "k.json"
    key_file.write_text("mine")
    answer = call(*arguments(given, "--out", tmp_path / "s.vcz", "--key", key_file))
    assert answer.code == 1
    assert "exists; a key cannot be made again" in answer.err
    assert key_file.read_text() == "mine"
    answer = call(*arguments(given, "--out", tmp_path / "s.vcz", "--key", tmp_path / "s.vcz/k.json"))
    assert answer.code == 1
    assert "is inside" in answer.err
    assert [p.name for p in tmp_path.iterdir()] == ["k.json"]
    answer = call(*arguments(given, "--out", tmp_path / "s.vcz", "--key", key_file, "--force"))
    assert answer.code == 0, answer.err
    assert Key.from_json(key_file.read_text()).trait == "sick"


def test_watermark__refuses_a_key_among_what_is_sent_and_to_write_over_what_is_read(
    call: Call, given: Path, tmp_path: Path
) -> None:
    for name in ("s.pheno", "s.bim", "s.bed"):
        answer = call(*arguments(given, "--out", tmp_path / "s.bed", "--key", tmp_path / name))
        assert answer.code == 1
        assert "which is sent away" in answer.err
    before = (given / "p.tsv").read_bytes()
    (given / "x.pheno").write_bytes(before)
    more = ("--pheno", given / "x.pheno", "--key", tmp_path / "k.json")
    for out in (given / "x.bed", given / "c.vcz"):
        answer = call(*arguments(given, *more, "--out", out))
        assert answer.code == 1
        assert "would write over" in answer.err
    assert (given / "x.pheno").read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_watermark__replaces_a_key_only_when_all_is_written(call: Call, given: Path, tmp_path: Path) -> None:
    (tmp_path / "s.bed").mkdir()
    key_file = tmp_path / "k.json"
    key_file.write_text("of a cohort that was sent")
    answer = call(*arguments(given, "--out", tmp_path / "s.bed", "--key", key_file, "--force"))
    assert answer.code == 1
    assert key_file.read_text() == "of a cohort that was sent"
    # as a killed run leaves them
    key_file.rename(tmp_path / "k.json.former")
    key_file.write_text("half made")
    assert call(*arguments(given, "--out", tmp_path / "s.bed", "--key", key_file, "--force")).code == 1
    assert key_file.read_text() == "of a cohort that was sent"
    (tmp_path / "s.bed").rmdir()
    assert call(*arguments(given, "--out", tmp_path / "s.bed", "--key", key_file, "--force")).code == 0
    assert Key.from_json(key_file.read_text()).program == "plink2"
    assert not list(tmp_path.glob("*.former"))


def test_watermark__that_cannot_be_written_leaves_no_key(call: Call, given: Path, tmp_path: Path) -> None:
    (tmp_path / "s.bed").mkdir()
    answer = call(*arguments(given, "--out", tmp_path / "s.bed", "--key", tmp_path / "k.json"))
    assert answer.code == 1
    assert not (tmp_path / "k.json").exists()


def test_watermark__alone_is_the_papers(call: Call, given: Path, tmp_path: Path) -> None:
    answer = call(*arguments(given, "--out", tmp_path / "w.zarr"))
    assert answer.code == 0
    assert "wrote 4 watermark SNPs" in answer.out
    assert len(pd.read_csv(tmp_path / "w.zarr.tests.tsv", sep="\t")) == N


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--kind", "qc-proof"), "needs --key"),
        (("--asked", "nobody"), "Invalid value for '--asked'"),
    ],
)
def test_watermark__wrong_usage_exits_2(
    call: Call, given: Path, tmp_path: Path, more: tuple, message: str
) -> None:
    answer = call(*arguments(given, "--out", tmp_path / "w", *more))
    assert answer.code == 2
    assert message in answer.err
    answer = call("watermark", "--pheno", given / "p.tsv", "--out", tmp_path / "w")
    assert answer.code == 2
    assert "Missing argument 'COHORT'" in answer.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--pheno-name", "sick,height"), "for one trait"),
        (("--pheno-name", "weight"), "no trait 'weight'"),
        (("--pheno-name", "height", "--asked", "firth"), "quantitative trait"),
        (("--z-min", 90, "--z-max", 95), "lower z_min"),
    ],
)
def test_watermark__impossible_wishes_exit_1(
    call: Call, given: Path, tmp_path: Path, more: tuple, message: str
) -> None:
    answer = call(*arguments(given, "--out", tmp_path / "s.vcz", "--key", tmp_path / "k.json", *more))
    assert answer.code == 1
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []


def test_power__needs_no_cohort(call: Call) -> None:
    answer = call("watermark", "--power")
    assert answer.code == 0
    assert "20 watermarks among many SNPs" in answer.out
    assert "5.00% skipped: detected with probability 0.6415; 59 watermarks for 0.95" in answer.out
    answer = call("watermark", "--power", "--n", 10, "--variants", 100, "--skipped", 0.5)
    assert "50.00% skipped: detected with probability 0.9994 (approximately 0.9990)" in answer.out
    answer = call("watermark", "--power", "--skipped", 2)
    assert answer.code == 1
    assert "rho" in answer.err


def test_distinguish__is_reported(call: Call, given: Path, tmp_path: Path) -> None:
    more = ("--n", 24, "--nulls", 1, "--out", tmp_path / "s.vcz", "--key", tmp_path / "k.json")
    answer = call(*arguments(given), *more, "--distinguish")
    assert answer.code == 0, answer.err
    assert "AUC: logistic 0." in answer.out


def test_verify__finds_our_own_association_honest_and_another_trait_not(
    call: Call, given: Path, tmp_path: Path
) -> None:
    out, key_file = tmp_path / "s.vcz", tmp_path / "k.json"
    made = call(*arguments(given, "--n", 12, "--nulls", 0, "--out", out, "--key", key_file))
    assert made.code == 0, made.err
    table = pd.read_csv(tmp_path / "s.pheno", sep="\t")
    table["sick"] = np.random.default_rng(3).permutation(table["sick"])
    table.to_csv(tmp_path / "other.pheno", sep="\t", index=False)
    for pheno, is_honest in ((tmp_path / "s.pheno", True), (tmp_path / "other.pheno", False)):
        tests = call("gwas", out, "--pheno", pheno, "--test", "wald", "--out", tmp_path / "g", "--quiet")
        assert tests.code == 0, tests.err
        (results,) = tmp_path.glob("g.sick.glm.*")
        assert genoweave.verify(key_file, results).is_honest == is_honest
        assert call("verify", key_file, results).code == (0 if is_honest else 3)
