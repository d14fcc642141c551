"""Nothing secret leaves private/, and what others read begins with what the release does not promise."""

import base64
import json
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from genoweave.methods.synthesis.channel import SYNGEN6_STATEMENT
from genoweave.pipeline.run import run
from genoweave.rng import Root
from tests.small_cohort import KEY, USABLE, Cohort, off, values

# What is given away or looked at; stores, tables and private/ stay with the owner of the data.
OPEN = (
    "release",
    "report",
    "manifest",
    "log.txt",
    "status.json",
    "config.toml",
    "evaluation",
    "evaluation.json",
)


def open_files(run_folder: Path) -> dict[str, bytes]:
    """Name -> bytes of every file that others may see."""
    places = [run_folder / name for name in OPEN]
    files = [f for p in places for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()]
    return {f.relative_to(run_folder).as_posix(): f.read_bytes() for f in files}


def unpacked(run_folder: Path) -> dict[str, bytes]:
    """Name -> text of every array of the released store, which is compressed on disk."""
    found = {}
    for store in (run_folder / "release").glob("*.vcz"):
        for name, array in zarr.open_group(str(store), mode="r").arrays():
            values = array[...]
            found[f"{store.name}/{name}"] = (
                "\n".join(map(str, values)).encode() if values.dtype == object else values.tobytes()
            )
    for name in (run_folder / "evaluation").glob("*.parquet"):
        found[f"text of {name.name}"] = pd.read_parquet(name).to_csv().encode()
    return found


@pytest.fixture(scope="module")
def seen(finished: Path) -> dict[str, bytes]:
    files = open_files(finished) | unpacked(finished)
    assert len(files) > 60
    return files


def holders(seen: dict[str, bytes], needle: bytes) -> list[str]:
    return [name for name, data in seen.items() if needle in data]


def derived_keys(finished: Path) -> list[bytes]:
    """The keys of the private streams: each of them undoes a part of the privacy too."""
    root = Root(KEY)
    names = [
        f"{kind}/{g}" for kind in ("synthesis.flip", "synthesis.donors", "relatives.founders") for g in USABLE
    ]
    names += ["release.sample-id", "release.same-source", "watermark.subjects", "watermark.id"]
    return [root.stream(name).key.astype("<u4").tobytes() for name in names]


def test_key__is_nowhere_to_be_seen(finished: Path, seen: dict) -> None:
    assert (finished / "private/noise.key").read_text().strip() == KEY.hex()
    for secret in [KEY, *derived_keys(finished)]:
        for form in (secret, secret.hex().encode(), secret.hex().upper().encode(), base64.b64encode(secret),
                     repr(secret)[2:-1].encode()):  # fmt: skip
            assert holders(seen, form) == []


def test_sample_ids__of_the_real_cohort_are_nowhere_to_be_seen(seen: dict, cohort: Cohort) -> None:
    assert holders(seen, b"HOSPITAL") == []
    for sample_id in cohort.sample_ids:
        assert holders(seen, sample_id.removeprefix("HOSPITAL-").encode()) == []


def test_donors__numbers_are_in_no_released_table(finished: Path) -> None:
    """No column of a released table gives away which donor a record is of."""
    donors = pd.read_parquet(finished / "private/donors.parquet").set_index("sample_id")
    numbers = [name for name in donors.columns.drop("group") if donors[name].nunique() > 20]
    assert "donor" in numbers
    tables = [p for p in (finished / "release").rglob("*") if p.suffix in (".tsv", ".csv", ".fam")]
    assert len(tables) == 15
    for path in tables:
        separator = {".tsv": "\t", ".csv": ",", ".fam": "\t"}[path.suffix]
        table = pd.read_csv(path, sep=separator, dtype=str, header=None if path.suffix == ".fam" else "infer")
        for column in table.columns[table.isin(set(donors.index)).any()]:
            one = table[table[column].isin(set(donors.index))]
            for private in numbers:
                number = donors.loc[one[column], private].astype(str).to_numpy()
                same = (one.to_numpy() == number[:, None]).mean(axis=0)
                assert same.max() < 0.5, (path.name, private)


def test_source_numbers__tell_nothing_of_the_donor(finished: Path) -> None:
    """Ranks of copied donors are in a random order: they don't follow the donors' places in the cohort."""
    declared = pd.read_csv(finished / "release/truth/same_source.tsv", sep="\t", dtype={"SampleID": str})
    donors = pd.read_parquet(finished / "private/donors.parquet").set_index("sample_id")["donor"]
    pairs = declared.drop_duplicates("Source")
    correlation = np.corrcoef(pairs["Source"], donors[pairs["SampleID"]])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(len(pairs))


def test_log__has_no_small_counts_of_people(finished: Path) -> None:
    """Quality control removed 1 and a few people: neither number stands there, nor two that differ by it."""
    steps = pd.read_parquet(finished / "qc.parquet")
    small = steps["samples_removed"].between(1, 20)
    assert small.sum() >= 2
    log = (finished / "log.txt").read_text()
    lines = [line for line in log.splitlines() if "samples and" in line]
    assert len(lines) == len(steps)
    left = [line.split("removed; ")[1].split(" and ")[0] for line in lines]
    for n in np.flatnonzero(small):
        assert "<=20 samples" in lines[n]
        before, after = left[n - 1], left[n]
        exact = [int(text) for text in (before, after) if text.isdigit()]
        assert len(exact) < 2 or exact[0] - exact[1] not in range(1, 21), f"{before} - {after} tells how many"


def test_private__is_closed_to_others(finished: Path) -> None:
    private = finished / "private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "noise.key").stat().st_mode) == 0o600
    assert {p.name for p in private.iterdir()} == {"noise.key", "donors.parquet"}


def test_private__is_closed_again_by_the_next_run(cohort: Cohort, copied: Path) -> None:
    (copied / "private").chmod(0o755)
    run(values(cohort), copied)
    assert stat.S_IMODE((copied / "private").stat().st_mode) == 0o700


def test_private__new_key_comes_from_the_system(cohort: Cohort, tmp_path: Path) -> None:
    last = off("phenotype", "watermark", "relatives", "kinship", "evaluation", "release")
    keys = []
    for name in ("one", "two"):
        run(values(cohort, **last), tmp_path / name)
        file = tmp_path / name / "private/noise.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        keys.append(bytes.fromhex(file.read_text()))
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("name", ["release/README.md", "report/index.html"])
def test_privacy_statement__is_the_first_thing_said(finished: Path, name: str) -> None:
    text = " ".join((finished / name).read_text().replace("&#39;", "'").split())
    assert SYNGEN6_STATEMENT in text
    assert "none" in text[: text.index(SYNGEN6_STATEMENT)]
    sizes = text.find("synthetic samples")
    assert sizes == -1 or name.endswith("html") or text.index(SYNGEN6_STATEMENT) < sizes


def test_privacy_statement__is_in_the_manifest(finished: Path) -> None:
    facts = json.loads((finished / "release/manifest.json").read_text())
    assert facts["privacy"] == {"guarantee": "none", "statement": SYNGEN6_STATEMENT}


def test_release__names_no_place_of_this_machine(finished: Path, cohort: Cohort) -> None:
    seen = {name: data for name, data in open_files(finished).items() if name.startswith("release/")}
    for place in (finished, cohort.folder, Path.home(), Path(__file__).parents[2]):
        assert holders(seen, str(place).encode() + b"/") == []
