"""Ancestry tables, groups, keys and configurations that cannot be used."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from bed_reader import to_bed

from genoweave.cli import main
from genoweave.config import build, load
from genoweave.errors import ConfigError
from tests.small_cohort import Cohort, files_of, make_cohort, off, values, write_config

Refused = Callable[..., str]
OFF = off("relatives", "kinship", "watermark", "evaluation")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort"))


def message_of(code: int, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    written = capsys.readouterr()
    assert ended.value.code == code, written.err
    assert "Traceback" not in written.err
    assert "HOSPITAL" not in written.err + written.out, "no sample id in a message"
    return written.err


@pytest.fixture
def table(cohort: Cohort) -> pd.DataFrame:
    return pd.read_csv(cohort.labels, sep="\t")


@pytest.fixture
def refused(cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Refused:
    """``refused(table, **sections)`` gives the message of a run that must fail before it made anything."""

    def call(labels: pd.DataFrame | str | bytes | Path | None = None, **sections: dict) -> str:
        path = tmp_path / "labels.tsv"
        if isinstance(labels, pd.DataFrame):
            labels.to_csv(path, sep="\t", index=False)
        elif isinstance(labels, (str, bytes)):
            path.write_bytes(labels.encode() if isinstance(labels, str) else labels)
        else:
            path = cohort.labels if labels is None else labels
        settings = values(cohort, **(OFF | sections))
        settings["input"] = {**settings["input"], "ancestry": str(path)}
        config = write_config(tmp_path / "c.toml", settings)
        message = message_of(1, capsys, "run", config, "--out", tmp_path / "run", "--quiet")
        made = {p.name for p in (tmp_path / "run").glob("*")} if (tmp_path / "run").exists() else set()
        assert not made & {"release", "report", "synthetic.vcz", "phenotype.zarr"}
        assert message.startswith("genoweave: error: ")
        return message

    return call


def test_labels_of_unknown_samples__are_refused(table: pd.DataFrame, refused: Refused) -> None:
    more = pd.DataFrame(
        {"sample_id": ["HOSPITAL-UNKNOWN1", "HOSPITAL-UNKNOWN2"], "group": ["North", "North"]}
    )
    message = refused(pd.concat([table, more]))
    assert "labels.tsv" in message
    assert "not in the cohort" in message
    assert re.search(f"line {len(table) + 2}|row {len(table) + 1}", message)
    assert "drop_unlabelled = true" in message


def test_labels_missing__are_refused(table: pd.DataFrame, refused: Refused) -> None:
    message = refused(table.drop(index=[3, 8]))
    assert "have no ancestry label" in message
    assert "sample number 4" in message
    assert "drop_unlabelled = true" in message


def test_labels_of_others__are_refused(table: pd.DataFrame, refused: Refused) -> None:
    message = refused(table.assign(sample_id=[f"X{i}" for i in range(len(table))]))
    assert "none of the" in message
    assert "compare the first column" in message


def test_labels_empty__are_refused(table: pd.DataFrame, refused: Refused) -> None:
    table.loc[[5, 9], "group"] = "  "
    message = refused(table)
    assert "labels.tsv, line 7" in message


def test_labels_twice__are_refused(table: pd.DataFrame, refused: Refused) -> None:
    message = refused(pd.concat([table, table.iloc[[0, 1]]]))
    assert f"line {len(table) + 2}" in message
    assert "one row per sample" in message


BAD_TABLES = {
    "empty": ("", "wanted a header"),
    "one column": ("sample_id\nHOSPITAL-A\n", "two columns"),
    "one column, no header": ("HOSPITAL-A\nHOSPITAL-B\n", "two columns"),
    "header only": ("sample_id\tgroup\n", "none of the"),
    "ragged": ("sample_id\tgroup\nHOSPITAL-A\tx\ty\tz\n", "line 2: wanted 2 columns"),
    "not text": (b"\xff\xfe\x00\x01\n\x80\x81", "UTF-8"),
    "workbook": (b"PK\x03\x04\x14\x00\x06\x00\x08\x00\x00\x00!\x00\x9c\xd0", "labels.tsv"),
    "gzip cut short": (gzip.compress(b"sample_id\tgroup\n" * 50)[:-6], "damaged or cut short"),
    "ragged in gzip": (gzip.compress(b"sample_id\tgroup\nHOSPITAL-A\n"), "line 2: wanted 2 columns"),
    "no zstd": (b"\x28\xb5\x2f\xfd" + bytes(40), "damaged or cut short"),
    "no Parquet": (b"PAR1" + bytes(40), "cannot be read as Parquet"),
    "UTF-16": ("sample_id\tgroup\n".encode("utf-16"), "line 1 is not UTF-8"),
    "Latin-1 in line 3": (b"sample_id\tgroup\nHOSPITAL-A\tx\nHOSPITAL-B\t\xf6\n", "line 3 is not UTF-8"),
    "open quote": (
        b'sample_id,group\nHOSPITAL-A,"x\nHOSPITAL-B,y\n' + b"HOSPITAL-C,y\n" * 20_000,
        "cannot be read",
    ),
    "zeros": (b"\x00" * 50 + b"\n" + b"\x00" * 50, "labels.tsv"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_table_that_is_none__is_refused(refused: Refused, kind: str) -> None:
    text, expected = BAD_TABLES[kind]
    message = refused(text)
    assert expected in message
    assert "labels.tsv" in message


@pytest.mark.parametrize("kind", ["gzip", "zstd", "Parquet", "PLINK's columns"])
def test_table_of_another_kind__is_read(
    table: pd.DataFrame, refused: Refused, tmp_path: Path, kind: str
) -> None:
    text = table.to_csv(sep="\t", index=False).encode()
    labels: Path | bytes | pd.DataFrame
    if kind == "Parquet":
        labels = tmp_path / "labels.parquet"
        table.to_parquet(labels)
    elif kind == "gzip":
        labels = gzip.compress(text)
    elif kind == "zstd":
        labels = pyarrow.compress(text, codec="zstd", asbytes=True)
    else:
        labels = table.set_axis(["IID", "group"], axis=1)
        labels.insert(0, "FID", "FAM0")
    # the table is read, then the group of 6 is too small
    assert "at least 51 samples" in refused(labels, ancestry={"classifier": "centroid", "min_group": 51})


def test_table_that_is_missing__is_refused(refused: Refused, tmp_path: Path) -> None:
    assert "there is no table" in refused(tmp_path / "none.tsv")
    assert "there is no table" in refused(tmp_path)


@pytest.mark.parametrize("header", [True, False])
def test_wrong_column__names_it_and_no_sample(table: pd.DataFrame, refused: Refused, header: bool) -> None:
    text = table.to_csv(sep="\t", index=False, header=header)
    message = refused(text, input={"ancestry_column": "population"})
    assert "'population'" in message
    assert ("group" in message) == header or "header" in message


def test_table_without_header__is_explained(table: pd.DataFrame, refused: Refused) -> None:
    refused(table.to_csv(sep="\t", index=False, header=False))


def test_status_table__that_does_not_fit_is_refused(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("watermark", cohort.prefix, "--out", tmp_path / "w", "--pheno", tmp_path / "p.tsv")
    ids = list(cohort.sample_ids)
    tables = {
        "wanted sample ids and at least one column": pd.DataFrame({"id": ids}),
        "other values in all": pd.DataFrame({"id": ids, "case": 3}),
        "samples have no status": pd.DataFrame({"id": ids[:-1], "case": 1}),
        "cases and controls": pd.DataFrame({"id": ids, "case": 1}),
    }
    for expected, wrong in tables.items():
        wrong.to_csv(tmp_path / "p.tsv", sep="\t", index=False)
        assert expected in message_of(1, capsys, *base)
        assert not (tmp_path / "w").exists()


def test_small_groups__are_named(refused: Refused) -> None:
    message = refused(ancestry={"classifier": "centroid", "min_group": 51})
    for name in ("North", "South", "West", "Few"):
        assert name in message
    assert "at least 51 samples" in message
    assert "min_group" in message


def test_group_that_loses_everybody__is_named(cohort: Cohort, table: pd.DataFrame, tmp_path: Path) -> None:
    """All of `West` are badly typed: quality control removes them, and the reader must hear of it."""
    dosage = cohort.dosage.copy()
    west = (table["group"] == "West").to_numpy()
    rng = np.random.default_rng(2)
    dosage[np.ix_(west, np.arange(dosage.shape[1]))] = np.where(
        rng.random((west.sum(), dosage.shape[1])) < 0.5, -127, dosage[west]
    )
    to_bed(f"{tmp_path}/other.bed", dosage, properties=cohort.properties)
    on = OFF | {"evaluation": {"enabled": True}}
    settings = values(cohort, **on, input={"path": f"{tmp_path}/other"})
    with pytest.raises(SystemExit) as ended:
        main(["run", str(write_config(tmp_path / "c.toml", settings)), "--quiet"])
    assert ended.value.code == 0
    summary = json.loads((tmp_path / "c.run/evaluation.json").read_text())
    assert summary["groups"] == ["North", "South"]
    assert summary["unused_groups"] == ["Few", "West"]
    log = (tmp_path / "c.run/log.txt").read_text()
    assert re.search(r"WARNING .*West", log)


WRONG_VALUES = {
    "qc": [("maf", 0.6), ("maf", -0.1), ("maf", "small"), ("mind", 2), ("hwe", [1e-6]),
           ("hwe_groups", "none"), ("king_cutoff", 0.7), ("king_cutoff", True), ("hwe_midp", 3)],
    "pca": [("n_components", 0), ("n_components", 2.5), ("solver", "fast"), ("ld_window", -1)],
    "ancestry": [("min_group", 1)],
    "synthesis": [("epsilon", 0), ("epsilon", -6), ("epsilon", 99), ("per_group", 0), ("per_group", 10.5),
                  ("mechanism", "magic"), ("filter_quantile", 1.0)],
    "phenotype": [("heritability", 1.2), ("prevalence", 0), ("causal_fraction", 0)],
    "watermark": [("n", 0), ("eps", 1), ("kind", "own")],
    "relatives": [("founders_per_group", 12), ("founders_per_group", 0), ("seed", -1)],
    "kinship": [("min_kinship", 0.5)],
    "evaluation": [("tsne_samples", 3), ("enabled", "perhaps")],
    "release": [("name", "../up"), ("name", ""), ("name", "a b"), ("formats", ["xlsx"]), ("formats", "csv")],
    "storage": [("variant_chunk", 0)],
    "cluster": [("workers", -1), ("workers", "two")],
    "input": [("path", 7), ("convert", "maybe")],
}  # fmt: skip
CASES = [(section, key, value) for section, pairs in WRONG_VALUES.items() for key, value in pairs]
NUMBERS = [("qc", "maf"), ("phenotype", "heritability"), ("synthesis", "epsilon"), ("kinship", "min_kinship"),
           ("evaluation", "tsne_perplexity")]  # fmt: skip


@pytest.mark.parametrize(("section", "key", "value"), CASES)
def test_wrong_value__names_section_key_and_value(
    cohort: Cohort, tmp_path: Path, section: str, key: str, value: object
) -> None:
    path = write_config(tmp_path / "c.toml", values(cohort, **{section: {key: value}}))
    with pytest.raises(ConfigError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert f"[{section}] {key}" in message
    assert re.search(r"found|not known", message)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("section", "key"), NUMBERS)
def test_value_that_is_no_number__is_refused(tmp_path: Path, section: str, key: str, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"[{section}]\n{key} = {text}\n")
    with pytest.raises(ConfigError, match=rf"\[{section}\] {key}"):
        load(path)


BAD_CONFIGS = {
    "unknown section": ("[qualitycontrol]\nmaf = 0.1\n",
                        r"unknown section \[qualitycontrol\]; the sections are .*\[qc\]"),
    "unknown key": ("[qc]\nmafs = 0.1\n", r"\[qc\] has no key 'mafs'; it has .*maf"),
    "not TOML": ("[qc\nmaf = 0.1", r"cannot be read as TOML: .*line 1"),
    "twice": ("[qc]\nmaf = 0.1\nmaf = 0.2\n", "cannot be read as TOML"),
    "section as value": ("qc = 3\n", r"\[qc\] is a section"),
    "seed": ("seed = -1\n", "seed is a whole number from 0, found -1"),
    "seed as text": ("seed = 'x'\n", "seed is a whole number"),
    "founders": ("[synthesis]\nper_group = 100\n[relatives]\nfounders_per_group = 160\n",
                 r"founders_per_group = 160 is more than \[synthesis\] per_group = 100; lower"),
    "watermark without trait": ("[phenotype]\nenabled = false\n", r"\[watermark\] needs \[phenotype\]"),
    "both": ("[cluster]\nworkers = 2\nscheduler = 'tcp://x:1'\n", "workers or scheduler, not both"),
    "memory": ("[cluster]\nmemory_limit = '4 quarts'\n", "memory_limit: '4 quarts'.*4GiB"),
    "memory without number": ("[cluster]\nmemory_limit = 'GiB'\n", "memory_limit: 'GiB'.*4GiB"),
    "memory below nothing": ("[cluster]\nmemory_limit = '-4GiB'\n", "memory_limit: '-4GiB'"),
    "not UTF-8": (b"\xff\xfe", "cannot be read as TOML"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_CONFIGS)
def test_bad_config__is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = BAD_CONFIGS[kind]
    path = tmp_path / "c.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for command in ("run", "plan"):
        message = message_of(1, capsys, command, path)
        assert re.search(expected, message, re.DOTALL), message
        if not kind.startswith("memory"):
            assert str(path) in message
    assert list(tmp_path.iterdir()) == [path]


def test_missing_config__says_how_to_write_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = message_of(1, capsys, "run", tmp_path / "none.toml")
    assert "genoweave init" in message
    assert str(tmp_path / "none.toml") in message
    assert "TOML" in message_of(1, capsys, "run", tmp_path)


def test_config__may_be_a_dictionary_and_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"\[qc\] has no key 'x'"):
        build({"qc": {"x": 1}})
    with pytest.raises(ConfigError, match="unknown section"):
        build({"nothing": {}})


def test_no_scheduler__leaves_nothing_behind(refused: Refused, tmp_path: Path) -> None:
    message = refused(cluster={"scheduler": "nonsense:1:2"})
    assert "no Dask scheduler answers at nonsense:1:2" in message
    assert "tcp://host:port" in message
    assert not [p for p in (tmp_path / "run").glob("*.vcz")]


@pytest.mark.parametrize("content", [b"", b"hello\n", b"ab" * 31, b"\xff\x00" * 32, b"zz" * 32])
def test_corrupt_key__is_refused_and_left_alone(
    refused: Refused, cohort: Cohort, tmp_path: Path, content: bytes
) -> None:
    private = tmp_path / "run/private"
    private.mkdir(parents=True)
    (private / "noise.key").write_bytes(content)
    message = refused()
    assert "is not a noise key: wanted 64 hexadecimal digits" in message
    assert str(private / "noise.key") in message
    assert (private / "noise.key").read_bytes() == content
    if content.strip():
        assert content.decode(errors="replace").strip() not in message


def test_unreadable_inputs__leave_a_finished_run_alone(
    cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error in the configuration must not cost the results that are there."""
    short = OFF | off("phenotype", "release")
    folder = tmp_path / "run"
    good = write_config(tmp_path / "good.toml", values(cohort, **short))
    assert message_of(0, capsys, "run", good, "--out", folder, "--quiet") == ""
    before = files_of(folder)
    wrong = write_config(
        tmp_path / "wrong.toml", values(cohort, **short, input={"path": f"{cohort.prefix}-not"})
    )
    message = message_of(1, capsys, "run", wrong, "--out", folder)
    assert "there is no cohort" in message
    assert files_of(folder) == before
