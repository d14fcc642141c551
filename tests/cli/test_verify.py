"""The command `verify`: what it prints, writes and returns."""

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import watermark_keys as marks

from genoweave.io.gwas_files import Results, write_results
from tests.cli.conftest import Call


@pytest.fixture(scope="module")
def sent():
    return marks.send(is_binary=True, n=400, n_real=40, n_signals=6, n_nulls=4)


@pytest.fixture
def key(sent, tmp_path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(sent.key.to_json())
    return path


def give(sent, path: Path, change=None, **settings) -> Path:
    """Write results as a server would, of a table that `change` may have changed."""
    table = marks.results(sent.ds, sent.trait, sent.covariates, "hybrid")
    names = marks.named(sent.ds)
    table = pd.concat([names, table], axis=1)
    table = table if change is None else change(table)
    n = len(table)
    columns = [table[name].to_numpy() for name in ("contig", "position", "id", "ref", "alt", "frequency")]
    numbers = [table[name].to_numpy() for name in (*marks.NUMBERS, "called")]
    codes = np.zeros(n, np.uint8)
    results = Results(*columns, *numbers, codes, codes, ("ok",), ("wald",), is_binary=True)
    write_results(results, path, **settings)
    return path


def test_honest__exits_0_and_prints_each_watermark(call: Call, sent, key, tmp_path):
    answer = call("verify", key, give(sent, tmp_path / "r.tsv"))
    assert answer.code == 0
    assert answer.err == ""
    for name in sent.key.watermarks["id"]:
        assert f"\n{name} " in answer.out
    assert answer.out.count("as expected") >= 10
    assert "HONEST: all 10 watermarks came back as expected [honest]" in answer.out
    assert "had more than 25.89% of the SNPs been skipped" in answer.out
    assert "plink2: 50 rows, 0 without a result, 0 with the id of another; compared as exact" in answer.out


@pytest.mark.parametrize("style", ["plink2", "regenie"])
@pytest.mark.parametrize("ending", [".gz", ".parquet"])
def test_forms__are_told_by_their_header(call: Call, sent, key, tmp_path, style, ending):
    path = give(sent, tmp_path / f"r{ending}", style=style)
    assert call("verify", key, path, "--format", style).code == 0
    answer = call("verify", key, path)
    assert answer.code == 0
    assert f"{style}: 50 rows" in answer.out
    assert call("verify", key, path, "--format", "gemma").code == 1


def test_dishonest__exits_3_and_says_what_fits(call: Call, sent, key, tmp_path):
    path = give(sent, tmp_path / "r.tsv", lambda table: table.drop(index=sent.at[[2, 5, 7]]))
    answer = call("verify", key, path, "--out", tmp_path / "out/x")
    assert answer.code == 3
    assert answer.err == ""
    assert "NOT AS EXPECTED: about 30% of the SNPs were skipped (6.7% to 65.2%) [snps_skipped]" in answer.out
    assert answer.out.count("missing") >= 3
    table = pd.read_csv(tmp_path / "out/x.watermarks.tsv", sep="\t")
    assert table["state"].value_counts().to_dict() == {"as expected": 7, "missing": 3}
    verdict = json.loads((tmp_path / "out/x.verdict.json").read_text())
    assert verdict["diagnosis"] == "snps_skipped"
    assert verdict["hypotheses"][0]["estimates"]["missing"] == 3
    assert verdict["rows"] == 47
    for name in ("x.watermarks.tsv", "x.verdict.json"):
        assert stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) == 0o600


def test_quiet__leaves_the_exit_code(call: Call, sent, key, tmp_path):
    path = give(sent, tmp_path / "r.tsv", lambda table: table.drop(index=sent.at[:4]))
    answer = call("verify", key, path, "--quiet")
    assert (answer.code, answer.out, answer.err) == (3, "", "")


def test_files__of_chromosomes_are_taken_together(call: Call, sent, key, tmp_path):
    one = give(sent, tmp_path / "1", lambda table: table[table["contig"] == "1"])
    two = give(sent, tmp_path / "22", lambda table: table[table["contig"] == "22"])
    assert call("verify", key, one, two).code == 0
    assert call("verify", key, one).code == 3


def test_precision__may_be_chosen(call: Call, sent, key, tmp_path):
    def worse(table):
        return table.assign(statistic=table["statistic"] * 1.1, beta=table["beta"] * 1.1)

    path = give(sent, tmp_path / "r.regenie", worse, style="regenie")
    # plink2, or no program, was asked for: the header does not lower what is wanted
    answer = call("verify", key, path)
    assert answer.code == 3
    assert "if that was agreed, --precision approximate" in answer.out
    assert call("verify", key, path, "--precision", "approximate").code == 0
    key.write_text(replace(sent.key, program="regenie").to_json())
    assert call("verify", key, path).code == 0
    assert call("verify", key, path, "--precision", "exact").code == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{}", "it is another file"),
        ('{"genoweave-watermark-key": 99}', "of version 99"),
        (b"\xff\xfe", "it is not text"),
    ],
)
def test_wrong_key__exits_1_with_a_message(call: Call, sent, key, tmp_path, text, message):
    path = give(sent, tmp_path / "r.tsv")
    key.write_bytes(text if isinstance(text, bytes) else text.encode())
    answer = call("verify", key, path, "--out", tmp_path / "x")
    assert answer.code == 1
    assert answer.out == ""
    assert answer.err.startswith(f"genoweave: error: {key}")
    assert message in answer.err
    assert not list(tmp_path.glob("x*"))


def test_wrong_results__exit_1_with_a_message(call: Call, sent, key, tmp_path):
    path = tmp_path / "r.tsv"
    path.write_text("a b\n1 2\n")
    answer = call("verify", key, path)
    assert answer.code == 1
    assert "no program known here" in answer.err
    other = give(sent, tmp_path / "o.tsv", lambda table: table.drop(index=sent.at))
    assert "none of the key's watermarks" in call("verify", key, other).err
    assert call("verify", key).code == 2
