"""A cohort of 156 people that tests of runs and commands share, and how to look at a run."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import zarr
from bed_reader import to_bed

GROUPS = {"North": 50, "South": 50, "West": 50, "Few": 6}
USABLE = ("North", "South", "West")
N_VARIANTS = 600
PER_GROUP, FOUNDERS = 80, 32
STAGES = ("import", "qc", "pca", "ancestry", "synthesis", "phenotype", "watermark", "relatives", "kinship",
          "validate", "release")  # fmt: skip
STORES = ("source.vcz", "genotypes.vcz", "pca.zarr", "synthetic.vcz", "phenotype.zarr", "watermark.zarr",
          "relatives.vcz")  # fmt: skip
KEY = hashlib.sha256(b"a key that only tests use").digest()
RUN_MAIN = "import sys; from genoweave.cli import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Cohort:
    """Where the cohort lies, and what it holds."""

    prefix: Path
    labels: Path
    sample_ids: tuple[str, ...]
    dosage: np.ndarray  # (samples, variants), -127 missing, of A1
    properties: dict

    @property
    def folder(self) -> Path:
        return self.prefix.parent


def draw_dosages(rng: np.random.Generator) -> np.ndarray:
    """Balding-Nichols groups; a few variants and one pair of people that quality control must remove."""
    ancestral = rng.uniform(0.06, 0.94, N_VARIANTS)
    fst = 0.08
    parts = []
    for size in GROUPS.values():
        f = rng.beta(ancestral * (1 - fst) / fst, (1 - ancestral) * (1 - fst) / fst)
        parts.append(rng.binomial(2, f, (size, N_VARIANTS)))
    dosage = np.concatenate(parts).astype(np.int8)
    dosage[1] = dosage[0]  # the same person twice
    dosage[:, 10] = 0  # monomorphic
    dosage[:, 20] = np.where(rng.random(len(dosage)) < 0.5, 0, 2)  # no heterozygotes
    dosage[rng.random(dosage.shape) < 0.004] = -127
    dosage[rng.random(len(dosage)) < 0.3, 30] = -127
    dosage[60, rng.random(N_VARIANTS) < 0.4] = -127  # a badly typed person
    return dosage


def make_cohort(folder: Path) -> Cohort:
    """Write the PLINK fileset ``people`` and its ancestry table to `folder`."""
    rng = np.random.default_rng(20240611)
    dosage = draw_dosages(rng)
    n = len(dosage)
    ids = tuple("HOSPITAL-" + "".join(rng.choice(list("BCDFGHJKLMNPQRSTVWXZ"), 8)) for _ in range(n))
    contig = np.repeat(["1", "2", "22", "X"], [250, 200, 140, 10])
    properties = {
        "fid": ["FAM0"] * n,
        "iid": list(ids),
        "sex": list(1 + np.arange(n) % 2),
        "chromosome": list(contig),
        "sid": [f"rs{1000 + i}" for i in range(N_VARIANTS)],
        "bp_position": list(10_000 * (1 + np.arange(N_VARIANTS))),
        "allele_1": ["A"] * N_VARIANTS,
        "allele_2": ["G"] * N_VARIANTS,
    }
    prefix = folder / "people"
    to_bed(f"{prefix}.bed", dosage, properties=properties)
    labels = folder / "ancestry.tsv"
    names = np.repeat(list(GROUPS), list(GROUPS.values()))
    pd.DataFrame({"sample_id": ids, "group": names}).to_csv(labels, sep="\t", index=False)
    return Cohort(prefix, labels, ids, dosage, properties)


def make_tiled_cohort(folder: Path) -> Cohort:
    """Write a fileset of 150 people and 2,400 variants: folds have three tiles."""
    from tests import helpers

    ds = helpers.balding_nichols(per_group=50, n_variants=2400)
    prefix, labels = helpers.write_bed(ds, folder / "tiled"), folder / "tiled.tsv"
    ids = ds["sample_id"].values
    pd.DataFrame({"sample_id": ids, "group": ds["sample_ancestry"].values}).to_csv(
        labels, sep="\t", index=False
    )
    return Cohort(prefix, labels, tuple(ids), helpers.dosage_of(ds).T, {})


def write_sample_major(dosage: np.ndarray, prefix: Path, turned: Path) -> Path:
    """Write a fileset again with the .bed in sample-major order, as PLINK 1.0 did by default.

    `dosage` is (samples, variants) of A1, negative where missing.
    """
    codes = np.array([3, 2, 0, 1], np.uint8)  # A1 count 0, 1, 2 and missing
    packed = codes[np.where(dosage < 0, 3, dosage)]
    padded = np.zeros((len(packed), -(-packed.shape[1] // 4) * 4), np.uint8)
    padded[:, : packed.shape[1]] = packed
    quads = padded.reshape(len(packed), -1, 4)
    rows = (quads << np.array([0, 2, 4, 6], np.uint8)).sum(axis=2).astype(np.uint8)
    Path(f"{turned}.bed").write_bytes(b"\x6c\x1b\x00" + rows.tobytes())
    for ending in (".bim", ".fam"):
        shutil.copy(f"{prefix}{ending}", f"{turned}{ending}")
    return turned


def values(cohort: Cohort, **sections: dict) -> dict:
    """A configuration of a run of a few seconds, with some values changed."""
    base = {
        "seed": 3,
        "input": {"path": str(cohort.prefix), "ancestry": str(cohort.labels)},
        "pca": {"n_components": 5},
        "ancestry": {"classifier": "centroid"},
        "synthesis": {"per_group": PER_GROUP},
        "watermark": {"n": 4},
        "relatives": {"founders_per_group": FOUNDERS},
        "evaluation": {"tsne_samples": 20, "tsne_perplexity": 5.0},
        "release": {"name": "tiny"},
        "storage": {"variant_chunk": 128, "sample_chunk": 64},
    }
    for name, changes in sections.items():
        base[name] = {**base.get(name, {}), **changes}
    return base


def off(*stages: str) -> dict[str, dict]:
    """Sections of a configuration that leave these stages out."""
    return {name: {"enabled": False} for name in stages}


def write_config(path: Path, settings: dict) -> Path:
    """Write a nested dictionary as TOML, with no help of genoweave's."""
    lines = [f"seed = {settings.get('seed', 0)}"]
    for name, section in settings.items():
        if name == "seed":
            continue
        lines.append(f"[{name}]")
        # a JSON number, boolean, string or list of these is TOML too
        lines += [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def place_key(folder: Path, key: bytes = KEY) -> Path:
    """Give a run folder a noise key, so that runs can be compared."""
    private = folder / "private"
    private.mkdir(parents=True, mode=0o700)
    (private / "noise.key").write_text(key.hex() + "\n")
    (private / "noise.key").chmod(0o600)
    return folder


def run_command(*arguments: object, cores: int | None = None, **settings) -> subprocess.CompletedProcess:
    """Run ``genoweave ARGUMENTS`` as its own process."""
    command = [sys.executable, "-c", RUN_MAIN, *map(str, arguments)]
    if cores is not None:
        available = sorted(os.sched_getaffinity(0))[:cores]
        settings["preexec_fn"] = lambda: os.sched_setaffinity(0, available)
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **settings)


def files_of(folder: Path) -> dict[str, str]:
    """Relative name -> SHA-256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content_of(store: Path) -> dict[str, str]:
    """Array name -> digest of its values, whatever the chunks."""
    group = zarr.open_group(str(store), mode="r")
    content = {}
    for name, array in group.arrays():
        values = array[...]
        data = json.dumps(values.tolist()).encode() if values.dtype == object else values.tobytes()
        content[name] = f"{values.dtype} {values.shape} {hashlib.sha256(data).hexdigest()}"
    return content


def dosage_of(store: Path) -> np.ndarray:
    """(samples, variants), -127 missing."""
    calls = zarr.open_group(str(store), mode="r")["call_genotype"][...]
    return np.where((calls < 0).any(axis=2), -127, calls.sum(axis=2)).T


def strings(store: Path, name: str) -> list[str]:
    return list(zarr.open_group(str(store), mode="r")[name][...])


def check_same_run(one: Path, other: Path, *, same_chunks: bool = True) -> None:
    """The release is the same to the byte, and so is what every store and table of the run holds."""
    assert files_of(one / "release") == files_of(other / "release")
    for name in STORES:
        assert content_of(one / name) == content_of(other / name), name
        if same_chunks:
            assert files_of(one / name) == files_of(other / name), name
    tables = {p.relative_to(one) for p in one.rglob("*.parquet")}
    assert tables == {p.relative_to(other) for p in other.rglob("*.parquet")}
    for name in tables:
        pd.testing.assert_frame_equal(
            pd.read_parquet(one / name), pd.read_parquet(other / name), check_exact=True
        )


def manifests(folder: Path) -> dict[str, dict]:
    """Stage -> manifest."""
    return {p.stem: json.loads(p.read_text()) for p in sorted((folder / "manifest").glob("*.json"))}
