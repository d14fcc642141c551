"""Every method gives the same bytes for any format, chunks and executor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genoweave import cluster
from genoweave.execution import use
from genoweave.genotypes import read_packed, select, source_of
from genoweave.io.cohort import open_cohort
from genoweave.io.store import open_store, write
from genoweave.methods import kinship
from genoweave.methods.biobank import BaldingNichols
from genoweave.methods.biobank import balding_nichols as biobank
from genoweave.methods.frequencies import count_genotypes, group_numbers
from genoweave.methods.kinship import Kinship, king, king_listed
from genoweave.methods.ld import prune
from genoweave.methods.pca import PCA, pca
from genoweave.methods.phenotype import Phenotype, phenotype
from genoweave.methods.qc import QC, qc
from genoweave.methods.relatives import Relatives, make_pedigree, relatives
from genoweave.methods.synthesis import Synthesis, synthesize
from genoweave.rng import Root
from tests import helpers
from tests.schedulers import Pickling, ProcessPool, threads
from tests.small_cohort import files_of, write_sample_major

KEY = Root(hashlib.sha256(b"only tests use this").digest())
# more than two tiles of 1,024 variants, the last one short; samples no multiple of 4
SMALL = {"per_group": 67, "n_variants": 2100}
# several strips of 512 and of 1,024 samples
WIDE = {"per_group": 433, "n_variants": 2100, "seed": 2}


def digest(*values: Any) -> str:
    """SHA-256 of arrays, tables and datasets, computed ones included."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, xr.Dataset):
            for name in sorted(map(str, value.variables)):
                total.update(f"{name} {value[name].dims}".encode())
                total.update(digest(value[name].values).encode())
        elif isinstance(value, pd.DataFrame):
            for name in value:
                total.update(f"{name} {digest(value[name].to_numpy())}".encode())
        elif value.dtype == object:
            total.update(repr(value.tolist()).encode())
        else:
            total.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    return total.hexdigest()


def read_all(ds: xr.Dataset) -> str:
    """Digest of computed genotypes, written to a store and read again."""
    source = source_of(ds)
    codes = [read_packed(source, v, min(v + 1024, source.shape[0])) for v in range(0, source.shape[0], 1024)]
    return digest(np.concatenate(codes), ds["sample_id"].values)


def counts(ds: xr.Dataset) -> str:
    _, group = group_numbers(ds["sample_ancestry"].values)
    return digest(*count_genotypes(ds, group))


def all_pairs(ds: xr.Dataset) -> str:
    result = king(ds, Kinship(min_kinship=0.02))
    first = np.arange(0, ds.sizes["samples"] - 7)
    return digest(result.pairs, result.histogram, king_listed(ds, first, first + 7))


def components(solver: str, n: int = 4, variants: int | None = None) -> Callable[[xr.Dataset], str]:
    def fit(ds: xr.Dataset) -> str:
        some = ds if variants is None else select(ds, np.arange(0, 7 * variants, 7))
        return digest(pca(some, PCA(n_components=n, solver=solver, ld_prune=False, max_passes=4)))

    return fit


def filtered(ds: xr.Dataset) -> str:
    kept = qc(ds, QC(king_cutoff=0.1, maf=0.05))
    return read_all(kept) + digest(kept.drop_vars("call_genotype"))


def pruned(ds: xr.Dataset) -> str:
    return digest(prune(ds, 0.05, 50_000))


def synthetic(ds: xr.Dataset) -> str:
    made = synthesize(ds, Synthesis(per_group=45, filter_components=3), key=KEY)
    return read_all(made) + digest(made["sample_ancestry"].values)


def trait(ds: xr.Dataset) -> str:
    return digest(phenotype(ds, Phenotype()))


def families(ds: xr.Dataset) -> str:
    params = Relatives(founders_per_group=16)
    people = np.arange(ds.sizes["samples"])
    pedigree = make_pedigree(ds["sample_id"].values, ds["sample_ancestry"].values, people, params, KEY)
    return read_all(relatives(ds, pedigree, params)) + digest(pedigree.table)


METHODS: dict[str, Callable[[xr.Dataset], str]] = {
    "counts": counts,
    "king": all_pairs,
    "pca by samples": components("exact"),
    "pca by variants": components("exact", variants=150),
    "pca in passes": components("randomized"),
    "qc": filtered,
    "ld": pruned,
    "synthesis": synthetic,
    "phenotype": trait,
    "relatives": families,
}


@pytest.fixture(scope="module")
def fileset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PLINK fileset; its .bed in sample-major order stands beside it as ``turned``."""
    folder = tmp_path_factory.mktemp("fileset")
    ds = helpers.balding_nichols(**SMALL)
    helpers.write_bed(ds, folder / "people")
    write_sample_major(helpers.dosage_of(ds).T, folder / "people", folder / "turned")
    return folder / "people"


def with_labels(ds: xr.Dataset) -> xr.Dataset:
    labels = np.array([f"group{i % 3}" for i in range(ds.sizes["samples"])], object)
    return ds.assign(sample_ancestry=("samples", labels))


@pytest.fixture(scope="module")
def plain(fileset: Path) -> xr.Dataset:
    return with_labels(open_cohort(fileset))


@pytest.fixture(scope="module")
def wanted(plain: xr.Dataset) -> dict[str, str]:
    """Results of each method from the genotypes as one array in memory, by one thread."""
    ds = plain.assign(call_genotype=(plain["call_genotype"].dims, plain["call_genotype"].values))
    with threads(1):
        return {name: method(ds) for name, method in METHODS.items()}


def stored(ds: xr.Dataset, folder: Path, chunks: tuple[int, int], *, standard: bool = False) -> xr.Dataset:
    write(ds, folder / "people.vcz", chunks, standard=standard)
    return open_store(folder / "people.vcz")


def with_order(ds: xr.Dataset) -> xr.Dataset:
    """The same genotypes where heterozygotes are 0/1 or 1/0 in turn, which packed stores keep too."""
    dosage = helpers.dosage_of(ds)
    return ds.assign(call_genotype=(ds["call_genotype"].dims, helpers.calls(dosage)))


FORMATS: dict[str, Callable[[xr.Dataset, Path, Path, tuple[int, int]], xr.Dataset]] = {
    ".bed": lambda ds, fileset, folder, chunks: ds,
    "sample-major .bed": lambda ds, fileset, folder, chunks: with_labels(
        open_cohort(fileset.with_name("turned"))
    ),
    "dask": lambda ds, fileset, folder, chunks: helpers.rechunked(ds, *chunks),
    "packed store": lambda ds, fileset, folder, chunks: stored(ds, folder, chunks),
    "packed store with order": lambda ds, fileset, folder, chunks: stored(with_order(ds), folder, chunks),
    "int8 store": lambda ds, fileset, folder, chunks: stored(ds, folder, chunks, standard=True),
}
ODD = [1, 3, 5, 63, 64, 66, 127, 201, 250, 1023, 1024, 1025, 2100, 5000]


@pytest.mark.parametrize("kind", FORMATS)
def test_methods__give_the_same_bytes_for_any_format(
    plain: xr.Dataset, fileset: Path, wanted: dict[str, str], tmp_path: Path, kind: str
) -> None:
    ds = FORMATS[kind](plain, fileset, tmp_path, (333, 50))
    with threads(2):
        assert {name: method(ds) for name, method in METHODS.items()} == wanted


# (variants, samples) a chunk; a store of very many files would only be slow
SHAPES = st.tuples(st.sampled_from(ODD), st.sampled_from(ODD)).filter(
    lambda shape: -(-2100 // shape[0]) * -(-201 // shape[1]) <= 400
)


@settings(max_examples=8)
@given(
    chunks=SHAPES,
    kind=st.sampled_from(["packed store", "packed store with order", "int8 store", "dask"]),
    slots=st.sampled_from([1, 2, 5]),
    names=st.lists(st.sampled_from(sorted(METHODS)), min_size=3, max_size=3, unique=True),
)
@example(chunks=(1, 5000), kind="packed store", slots=2, names=["counts", "king", "synthesis"])
@example(chunks=(5000, 1), kind="packed store", slots=5, names=["counts", "relatives", "phenotype"])
def test_methods__give_the_same_bytes_for_any_chunks_and_threads(
    plain: xr.Dataset, fileset: Path, wanted: dict[str, str], tmp_path_factory: pytest.TempPathFactory,
    chunks: tuple[int, int], kind: str, slots: int, names: list[str],
) -> None:  # fmt: skip
    ds = FORMATS[kind](plain, fileset, tmp_path_factory.mktemp("chunks"), chunks)
    with threads(slots):
        for name in names:
            assert METHODS[name](ds) == wanted[name], name


@settings(max_examples=15)
@given(
    first=st.integers(0, 2099), length=st.integers(1, 1500),
    left=st.integers(0, 200), people=st.integers(1, 201),
    chunks=SHAPES, direct=st.booleans(),
)  # fmt: skip
def test_blocks__of_a_store_are_those_of_the_file(
    plain: xr.Dataset, tmp_path_factory: pytest.TempPathFactory,
    first: int, length: int, left: int, people: int, chunks: tuple[int, int], direct: bool,
) -> None:  # fmt: skip
    """Any block, packed and as calls; `direct` codes go to chunks without becoming calls."""
    given_ = plain if direct else with_order(plain)
    ds = stored(given_, tmp_path_factory.mktemp("blocks"), chunks)
    last, right = min(2100, first + length), min(201, left + people)
    one, other = source_of(given_), source_of(ds)
    np.testing.assert_array_equal(one.read(first, last, left, right), other.read(first, last, left, right))
    np.testing.assert_array_equal(
        read_packed(one, first, last, left, right), read_packed(other, first, last, left, right)
    )


@pytest.fixture(scope="module")
def wide() -> xr.Dataset:
    return helpers.balding_nichols(**WIDE)


LARGE = ("counts", "king", "pca by samples", "pca by variants", "pca in passes", "synthesis")


@pytest.fixture(scope="module")
def wanted_of_wide(wide: xr.Dataset) -> dict[str, str]:
    with threads(1):
        return {name: METHODS[name](wide) for name in LARGE}


@pytest.fixture(scope="module")
def wide_store(wide: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    return stored(wide, tmp_path_factory.mktemp("wide"), (512, 250))


@pytest.mark.parametrize("slots", [2, 5])
def test_methods__give_the_same_bytes_on_any_number_of_threads(
    wide_store: xr.Dataset, wanted_of_wide: dict[str, str], slots: int
) -> None:
    with threads(slots):
        assert {name: METHODS[name](wide_store) for name in LARGE} == wanted_of_wide


def test_king__gives_the_same_bytes_for_any_order_of_blocks(
    wide_store: xr.Dataset, wanted_of_wide: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks of one strip, and segments of one tile, as large cohorts have."""
    for name, value in (("_BLOCK_STRIPS", 1), ("_BLOCK_STRIPS_OF_SEGMENTS", 2), ("_SEGMENT_TILES", 1)):
        monkeypatch.setattr(kinship, name, value)
    with threads(2):
        assert all_pairs(wide_store) == wanted_of_wide["king"]


def test_methods__give_the_same_bytes_from_pickled_arguments(
    wide_store: xr.Dataset, wanted_of_wide: dict[str, str], plain: xr.Dataset, wanted: dict[str, str]
) -> None:
    """A product of matrices depends on their strides, which a process does not get."""
    executor = Pickling(2)
    with use(executor):
        assert {name: METHODS[name](wide_store) for name in LARGE} == wanted_of_wide
        assert {name: method(plain) for name, method in METHODS.items()} == wanted
    executor.close()


@pytest.mark.distributed
def test_methods__give_the_same_bytes_on_a_process_pool(
    wide_store: xr.Dataset, wanted_of_wide: dict[str, str]
) -> None:
    """Anything that has `slots`, `submit` and `share` will do."""
    pool = ProcessPool(2)
    with use(pool):
        assert {name: METHODS[name](wide_store) for name in LARGE} == wanted_of_wide
    pool.close()


@pytest.mark.distributed
@pytest.mark.parametrize("workers", [1, 2])
def test_methods__give_the_same_bytes_on_dask_workers(
    plain: xr.Dataset, wanted: dict[str, str], wide_store: xr.Dataset,
    wanted_of_wide: dict[str, str], workers: int,
) -> None:  # fmt: skip
    with cluster.executor(workers=workers, memory_limit=workers << 30) as executor, use(executor):
        assert {name: METHODS[name](wide_store) for name in LARGE} == wanted_of_wide
        for name in sorted(set(METHODS) - set(LARGE)):
            assert METHODS[name](plain) == wanted[name], name


@pytest.mark.parametrize(("slots", "chunks"), [(1, (1024, 8192)), (5, (100, 70))])
def test_biobank__is_the_same_wherever_and_in_whatever_blocks_it_is_drawn(
    tmp_path: Path, slots: int, chunks: tuple[int, int]
) -> None:
    ds, _ = biobank(BaldingNichols(n_samples=1301, n_variants=1500, related_share=0.05, duplicate_share=0.01))
    source = source_of(ds)
    whole = source.read(0, 1500, 0, 1301)
    for block in ((0, 1, 0, 1301), (7, 1400, 511, 514), (1023, 1025, 3, 1300), (1499, 1500, 1300, 1301)):
        v0, v1, s0, s1 = block
        np.testing.assert_array_equal(source.read(*block), whole[v0:v1, s0:s1])
    with threads(slots):
        again = stored(ds, tmp_path, chunks)
    np.testing.assert_array_equal(source_of(again).read(0, 1500, 0, 1301), whole)


def test_stores__of_any_number_of_threads_are_the_same_files(plain: xr.Dataset, tmp_path: Path) -> None:
    found = []
    for slots in (1, 2, 5):
        with threads(slots):
            write(plain, tmp_path / f"{slots}.vcz", (130, 60))
        found.append(files_of(tmp_path / f"{slots}.vcz"))
    assert found[0] == found[1] == found[2]
