"""The readers that are tried: how each is fed, what a correct read is, what an error must look like."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from fuzz import mutate, seeds

from genoweave.errors import GenoweaveError

ERROR, READ = "error", "read"
IMPORTS = 8  # one input in so many goes through import too


class FailureError(AssertionError):
    """An input did what none may do."""


@dataclass(frozen=True)
class Reader:
    """What to try: seeds, how to build a case, and how to open it."""

    seeds: Callable[[], list[mutate.Files]]
    read: Callable[[Path, random.Random], None]
    target: str = ""
    is_archive: bool = False


class Cases:
    """Inputs of one reader; each is told by its number alone."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed = name, seed
        self.reader = READERS[name]
        self.seeds = self.reader.seeds()

    def files(self, number: int) -> mutate.Files:
        """Return the files of an input; the first ones are the seeds themselves."""
        rng = self._rng(number)
        if number < len(self.seeds):
            files = self.seeds[number]
        else:
            files = mutate.mutated(rng.choice(self.seeds), self.seeds, rng)
        if self.reader.is_archive:
            inside = {name.partition("/")[2]: data for name, data in files.items()}
            other = next(iter(files.values()))
            if number < len(self.seeds):
                return {"case.vcz.zip": mutate.zipped(inside, _Calm(), other)}
            return {"case.vcz.zip": mutate.zipped(inside, rng, other)}
        return files

    def run(self, number: int, folder: Path) -> tuple[str, str]:
        """Read an input; return what came of it, and its message.

        Raises
        ------
        FailureError
            If it is neither a correct read nor an error in words. Anything else that is raised is one too.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files = self.files(number)
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        path = folder / (self.reader.target or sorted(files)[0])
        rng = _Calm() if number < len(self.seeds) else self._rng(-number - 1)
        try:
            self.reader.read(path, rng)
        except GenoweaveError as error:
            check_message(str(error), folder)
            if number < len(self.seeds):
                raise FailureError(f"a valid input is refused: {error}") from error
            return ERROR, str(error)
        return READ, ""

    def _rng(self, number: int) -> random.Random:
        return random.Random(f"{self.seed}/{self.name}/{number}")


class _Calm(random.Random):
    """Draws that change nothing, take what is offered first, and import."""

    def random(self) -> float:
        return 0.99

    def choice(self, seq):
        return seq[0]

    def randrange(self, *_: int) -> int:
        return 0


def check_message(text: str, folder: Path) -> None:
    """An error is one paragraph (of a configuration, one a key), names the file and holds no traceback."""
    if (
        not text.strip()
        or ("\n" in text and "case.toml" not in text)
        or "Traceback" in text
        or 'File "' in text
    ):
        raise FailureError(f"not a message: {text!r}")
    if "case" not in text.replace(str(folder.parent), ""):
        raise FailureError(f"no file is named: {text!r}")
    if len(text) > 2000 + len(str(folder)) and "case.toml" not in text:  # which quotes the user's own values
        raise FailureError(f"a message of {len(text)} characters: {text[:300]!r}")


def read_cohort(path: Path, rng: random.Random) -> None:
    """Open a cohort, read all of it, and at times import it."""
    from genoweave.io.cohort import open_cohort
    from genoweave.io.reading import Reading

    reading = Reading(
        multiallelic=rng.choice(("split", "split", "refuse")),
        half_calls=rng.choice(("missing", "reference", "haploid", "error", "keep")),
        haploid=rng.choice(("double", "missing", "refuse")),
        hard_call_threshold=rng.choice((0.1, 0, 0.49)),
        bgen_ref=rng.choice(("first", "last")),
    )
    scratch = path.parent / "scratch"
    if rng.randrange(IMPORTS) == 0:
        _import(path, reading)
    check_cohort(open_cohort(path, reading, scratch=scratch), rng)


def check_cohort(ds: xr.Dataset, rng: random.Random) -> None:
    """Read every value of a cohort and check that it is one."""
    from genoweave.genotypes import source_of
    from genoweave.kernels.packed import unpack_calls, width

    n_variants, n_samples = ds.sizes["variants"], ds.sizes["samples"]
    _require(ds["call_genotype"].shape == (n_variants, n_samples, 2), "shape")
    _require(ds["call_genotype"].dtype == np.int8, "type of calls")
    for name in ds.variables:
        values = np.asarray(ds[name].values)
        _require(values.shape == ds[name].shape, f"shape of {name}")
        if name in ("contig_id", "variant_id", "variant_allele", "sample_id", "sample_family_id"):
            _require(all(isinstance(x, str) for x in values.ravel().tolist()), f"text of {name}")
    _require(len(set(ds["sample_id"].values.tolist())) == n_samples, "ids twice")
    contig = ds["variant_contig"].values
    _require(contig.dtype.kind in "iu" and contig.min() >= 0 and contig.max() < ds.sizes["contigs"], "contig")
    position = ds["variant_position"].values
    _require(position.dtype.kind in "iu" and position.min() >= 0, "position")
    source = source_of(ds)
    calls = source.read(0, n_variants, 0, n_samples)
    _require((calls == ds["call_genotype"].values).all() and calls.min() >= -2, "calls twice")
    if "call_genotype_phased" in ds:
        _require(ds["call_genotype_phased"].values.dtype == bool, "phase")
    packed = source.read_packed(0, n_variants, 0, n_samples)
    _require(packed.shape == (n_variants, width(n_samples)), "packed shape")
    missing = (calls < 0).any(axis=2)
    dosage = np.where(missing, -1, calls.sum(axis=2))
    codes = unpack_calls(packed, n_samples)
    _require((dosage == np.where((codes < 0).any(axis=2), -1, codes.sum(axis=2))).all(), "packed calls")
    v0, s0 = rng.randrange(n_variants), rng.randrange(n_samples)
    v1, s1 = rng.randint(v0 + 1, n_variants), rng.randint(s0 + 1, n_samples)
    _require((source.read(v0, v1, s0, s1) == calls[v0:v1, s0:s1]).all(), "a block differs")
    block = unpack_calls(source.read_packed(v0, v1, s0, s1), s1 - s0)
    _require((block == codes[v0:v1, s0:s1]).all(), "a packed block differs")


def _require(is_true: bool, what: str) -> None:
    if not is_true:
        raise FailureError(f"not a cohort: {what}")


def _import(path: Path, reading) -> None:
    from genoweave.cohorts import import_cohort
    from genoweave.io.cohort import open_cohort

    folder = path.parent
    out = folder / "out.vcz"
    before = {p for p in folder.rglob("*") if p.is_file()}
    try:
        import_cohort(path, out, reading=reading, chunks=(4, 8))
    except GenoweaveError:
        left = [p for p in folder.rglob("*") if p.is_file() and p not in before]
        whole = [p for p in left if not any(x in str(p) for x in (".partial", ".scratch", ".journal"))]
        _require(not whole, f"a refused import left {whole}")
        raise
    again = open_cohort(out)
    there = open_cohort(path, reading, scratch=folder / "scratch")
    _require((again["call_genotype"].values == there["call_genotype"].values).all(), "import changed calls")


def read_ancestry(path: Path, rng: random.Random) -> None:
    from genoweave.io.tables import add_ancestry
    from genoweave.io.tables import read_ancestry as read

    labels = read(path, rng.choice((None, None, None, "group")))
    _require(all(isinstance(x, str) and x for pair in labels.items() for x in pair), "labels")
    add_ancestry(seeds.cohort(2), labels, path, drop_unlabelled=rng.random() < 0.8)


def read_values(path: Path, rng: random.Random) -> None:
    from genoweave.io.tables import match_ids, read_covariates, read_phenotypes

    table = rng.choice((read_phenotypes, read_covariates))(path)
    for name in table.columns:
        values = table[name]
        if values.dtype == object:
            _require(all(isinstance(x, str) for x in values), "text")
        else:
            _require(values.dtype == np.float64 and not np.isinf(values).any(), "numbers")
    match_ids(seeds.cohort(2), table, path, "a value")


def read_pedigree(path: Path, rng: random.Random) -> None:
    from genoweave.io.tables import read_pedigree as read

    table = read(path)
    _require(len(table) == 0 or set(table["sex"]) <= {0, 1, 2}, "sex")


def read_map(path: Path, rng: random.Random) -> None:
    from genoweave.io.tables import add_genetic_positions, read_genetic_map

    table = read_genetic_map(path, rng.choice((None, None, "1")))
    _require(bool(np.isfinite(table["cM"]).all()), "cM")
    try:
        add_genetic_positions(seeds.cohort(2), table)
    except GenoweaveError as error:
        raise type(error)(f"{path}: {error}") from None


def read_config(path: Path, rng: random.Random) -> None:
    import tomllib

    from genoweave.config import build, load, to_toml

    config = load(path)
    _require(build(tomllib.loads(to_toml(config))) is not None, "configuration")


READERS = {
    "plink": Reader(seeds.plink, read_cohort, "case.bed"),
    "vcf": Reader(seeds.vcf_text, read_cohort, "case.vcf"),
    "bgzip": Reader(seeds.vcf_bgzip, read_cohort, "case.vcf.gz"),
    "gzip": Reader(seeds.vcf_gzip, read_cohort, "case.vcf.gz"),
    "bcf": Reader(seeds.bcf, read_cohort, "case.bcf"),
    "bgen": Reader(seeds.bgen, read_cohort, "case.bgen"),
    "pgen": Reader(seeds.pgen, read_cohort, "case.pgen"),
    "zarr": Reader(seeds.zarr_folder, read_cohort, "case.vcz"),
    "zip": Reader(seeds.zarr_folder, read_cohort, "case.vcz.zip", is_archive=True),
    "ancestry": Reader(seeds.ancestry, read_ancestry),
    "values": Reader(seeds.values, read_values),
    "pedigree": Reader(seeds.pedigree, read_pedigree),
    "map": Reader(seeds.genetic_map, read_map),
    "config": Reader(seeds.config, read_config, "case.toml"),
}
