"""From each format into each other and back: what both can hold comes back as it was."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import genoweave
from genoweave.cohorts import export, open_cohort, save
from genoweave.errors import DataError
from genoweave.execution import ThreadExecutor, use
from genoweave.io.consistency import Contents, contents
from genoweave.io.reading import Reading
from tests.cli.conftest import _quiet_logger as _quiet_logger
from tests.cli.conftest import call_main

# Name of a format's main file; "packed" is genoweave's own store.
ENDINGS = {
    "packed": ".packed.vcz",
    "vcz": ".vcz",
    "plink": ".bed",
    "pgen": ".pgen",
    "vcf": ".vcf",
    "vcf.gz": ".vcf.gz",
    "bcf": ".bcf",
    "bgen": ".bgen",
}
FORMATS = tuple(ENDINGS)
TEXTS = ("vcf", "vcf.gz", "bcf")
STORES = ("packed", "vcz")
PAIRS = [(a, b) for a in FORMATS for b in FORMATS]

Facts = dict[str, np.ndarray[Any, Any]]


def write(ds: xr.Dataset, folder: Path, to: str, *, check: bool = False) -> Path:
    """Write a cohort in one format; return the path to open."""
    path = folder / f"x{ENDINGS[to]}"
    if to == "packed":
        save(ds, path, chunks=(11, 13))  # no multiple of 4, and no divisor of any cohort here
    else:
        export(ds, to.removesuffix(".gz"), path, check=check)
    return path


def facts(ds: xr.Dataset) -> Facts:
    """All that a cohort says, with the same names and codes whether a variable is there or not."""
    n, m = ds.sizes["samples"], ds.sizes["variants"]
    calls, dosage = np.asarray(ds["call_genotype"].data), helpers.dosage_of(ds)
    phased = np.asarray(ds["call_genotype_phased"].data) if "call_genotype_phased" in ds else False

    def column(name: str, unknown: Any) -> Any:
        return ds[name].values if name in ds else np.full(n if name.startswith("sample") else m, unknown)

    return {
        "dosage": dosage,
        # the first allele of phased heterozygous calls: no format keeps phase of homozygous ones
        "phase": np.where((dosage == 1) & phased, calls[..., 0], -1),
        "contig": ds["contig_id"].values[ds["variant_contig"].values].astype(object),
        "position": ds["variant_position"].values.astype(np.int64),
        "identifier": ds["variant_id"].values.astype(object),
        "allele": ds["variant_allele"].values.astype(object),
        "centimorgans": np.nan_to_num(column("variant_genetic_position", 0).astype(float)),
        "sample": ds["sample_id"].values.astype(object),
        "sex": column("sample_sex", 0).astype(int),
        "family": column("sample_family_id", "0").astype(object),
        "father": column("sample_paternal_id", "0").astype(object),
        "mother": column("sample_maternal_id", "0").astype(object),
        "phenotype": column("sample_phenotype", np.nan).astype(float),
    }


def held(known: Facts, format: str) -> Facts:
    """What a format can hold of it."""
    out = dict(known)
    if format == "plink":
        out["phase"] = np.full_like(known["phase"], -1)
    if format == "bgen":  # phase belongs to a variant as a whole
        loose = ((known["dosage"] == 1) & (known["phase"] < 0)).any(axis=1)
        out["phase"] = np.where(loose[:, None], -1, known["phase"])
    if format in ("bgen", *TEXTS):
        out["centimorgans"] = np.zeros_like(known["centimorgans"])
    if format in TEXTS:
        out |= {name: np.full_like(known[name], "0") for name in ("family", "father", "mother")}
        out["sex"] = np.zeros_like(known["sex"])
        out["phenotype"] = np.full_like(known["phenotype"], np.nan)
    return out


def assert_same(found: Facts, wanted: Facts) -> None:
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, name)


def summary(ds: xr.Dataset, *, with_phase: bool) -> Contents:
    """The counts and checksums that `genoweave export` compares; no phase counts as phase of nothing."""
    found = contents(ds, with_phase=with_phase)
    return Contents(**{**vars(found), "phase": found.phase or 0})


def made(
    m: int, n: int, seed: int, *, missing: float = 0.1, contigs: tuple[str, ...] = ("1", "22")
) -> xr.Dataset:
    """A cohort with everything that a sample or a variant can have."""
    rng = np.random.default_rng(seed)
    dosage = helpers.with_missing(rng.integers(0, 3, (m, n)).astype(np.int8), missing, rng)
    ds = helpers.cohort(dosage, contigs=contigs)
    parents = np.array(["0", *ds["sample_id"].values], object)[: n + 1]
    return ds.assign(
        sample_sex=("samples", np.arange(n, dtype=np.int8) % 3),
        sample_family_id=("samples", np.array([f"F{i // 3}" for i in range(n)], object)),
        sample_paternal_id=("samples", parents[np.where(np.arange(n) % 3 == 2, np.arange(n) - 1, 0)]),
        sample_maternal_id=("samples", parents[np.where(np.arange(n) % 3 == 2, np.arange(n), 0)]),
        sample_phenotype=(
            "samples",
            np.where(np.arange(n) % 4 == 3, np.nan, np.round(rng.normal(size=n), 3)),
        ),
        variant_genetic_position=("variants", np.arange(m) / 64),
    )


def phased(ds: xr.Dataset, share: float, seed: int = 5) -> xr.Dataset:
    """Phase of all variants but some, and there of some calls."""
    rng = np.random.default_rng(seed)
    m, n = ds.sizes["variants"], ds.sizes["samples"]
    calls = rng.permuted(np.asarray(ds["call_genotype"].data), axis=2)
    flags = (rng.random((m, 1)) < share) | (rng.random((m, n)) < share)
    return ds.assign(
        call_genotype=(("variants", "samples", "ploidy"), calls),
        call_genotype_phased=(("variants", "samples"), flags),
    )


def renamed(ds: xr.Dataset, name: str, values: list[Any]) -> xr.Dataset:
    return ds.assign({name: (ds[name].dims, np.array(values, object))})


def sex_chromosomes() -> xr.Dataset:
    """And a phenotype of cases and controls."""
    names = ("1", "X", "Y", "XY", "MT", "PAR1", "chrX", "HLA-A*01:01", "GL000192.1")
    ds = made(18, 6, 6, contigs=names)
    return ds.assign(sample_phenotype=("samples", np.array([1, 2, np.nan, 1, 2, 2.0])))


def odd_names() -> xr.Dataset:
    ds = made(9, 5, 7, contigs=("染色体1", "scaffold_" + "9" * 90))
    ds = renamed(ds, "sample_id", ["Zoë", "наталья", "样本-4", "a;b,c:d|e\"f'", "s" * 5000])
    ds = ds.drop_vars(["sample_paternal_id", "sample_maternal_id"])
    ids = ["ß", "rs1;rs2", "1:1000[b37]A,C", "v" * 20_000, ".", "💩", "<x>", "a" * 14, "b" * 15]
    return renamed(ds, "variant_id", ids)


def alleles() -> xr.Dataset:
    """Indels, symbols, lower case; the last two have no name for an alternate allele that nobody carries."""
    ds = made(10, 9, 8)
    names = [["A", "ACGT" * 5000], ["ACGTACGT", "A"], ["N", "<DEL>"], ["A", "*"], ["G", "G[17:198982["],
             ["a", "c"], ["TTTT", "TT"], ["A", "C"], ["A", ""], ["GC", ""]]  # fmt: skip
    calls = np.asarray(ds["call_genotype"].data).copy()
    calls[-2:] = np.minimum(calls[-2:], 0)
    return renamed(ds.assign(call_genotype=(ds["call_genotype"].dims, calls)), "variant_allele", names)


def repeated_ids() -> xr.Dataset:
    """Ids that are unique only within families, as a .fam may have them."""
    ds = made(5, 9, 10).drop_vars(["sample_paternal_id", "sample_maternal_id"])
    ids = [f"{family}_{'abc'[i % 3]}" for i, family in enumerate(ds["sample_family_id"].values)]
    return renamed(ds, "sample_id", ids).assign_attrs(import_counts={"sample_ids_with_family": 9})


def far_positions() -> xr.Dataset:
    ds = made(7, 5, 12, contigs=("1",))
    return ds.assign(
        variant_position=("variants", np.array([0, 1, 1, 1, 2**29, 2**31 - 2, 2**31 - 2], np.int32))
    )


COHORTS: dict[str, Callable[[], xr.Dataset]] = {
    "one sample": lambda: made(9, 1, 1),
    "one variant": lambda: phased(made(1, 11, 2, contigs=("7",)), 1),
    "chunks that do not divide": lambda: helpers.rechunked(made(37, 33, 4), 5, 6),
    "all missing": lambda: phased(made(3, 6, 5, missing=1), 0.5),
    "phased with missing": lambda: phased(made(16, 13, 14), 0.5),
    "sex chromosomes": sex_chromosomes,
    "odd names": odd_names,
    "alleles": alleles,
    "repeated ids": repeated_ids,
    "far positions": far_positions,
}


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several batches even of a small cohort; and neither the disk nor new threads to wait for."""
    monkeypatch.setattr("genoweave.io.streams.BATCH_CALLS", 150)
    monkeypatch.setattr("os.fsync", lambda _: None)
    executor = ThreadExecutor(2)
    with use(executor):
        yield
    executor.close()


@dataclass(frozen=True)
class Written:
    path: Path
    facts: Facts


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Written]:
    """``first("indels", "bgen")`` is that cohort, in that format; written once."""
    known: dict[tuple[str, str], Written] = {}

    def get(cohort: str, to: str) -> Written:
        if (cohort, to) not in known:
            ds = COHORTS[cohort]()
            path = write(ds, tmp_path_factory.mktemp("first"), to, check=True)
            known[cohort, to] = Written(path, held(facts(ds), to))
        return known[cohort, to]

    return get


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("to", FORMATS)
def test_import__says_what_was_exported(first, cohort, to):
    written = first(cohort, to)
    assert_same(facts(genoweave.open(written.path)), written.facts)


# A format that reads what it wrote differs only in what no reader is told: whether a BGEN's variant of
# missing calls alone is phased.
OTHER_BYTES = {("bgen", "all missing")}
# Cohorts of which something is lost on the way, or is kept by means of attributes.
RETURNING = ("phased with missing", "alleles", "repeated ids")


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=[f"{a} to {b}" for a, b in PAIRS])
def test_round_trip__of_every_pair_of_formats(first, tmp_path, a, b):
    for cohort in COHORTS:
        written = first(cohort, a)
        folder = tmp_path / cohort
        imported = genoweave.open(written.path)
        path = write(imported, folder, b)
        there = genoweave.open(path)
        wanted = held(written.facts, b)
        assert_same(facts(there), wanted)
        keeps_phase = np.array_equal(wanted["phase"], written.facts["phase"])
        assert summary(there, with_phase=keeps_phase) == summary(imported, with_phase=keeps_phase)
        if a == b and a not in STORES and (a, cohort) not in OTHER_BYTES:
            assert path.read_bytes() == written.path.read_bytes(), cohort
        if a != b and cohort in RETURNING:
            back = genoweave.open(write(there, folder / "back", a))
            assert_same(facts(back), held(wanted, a))


@pytest.mark.parametrize("a", TEXTS)
@pytest.mark.parametrize("b", [*TEXTS, *STORES])
def test_round_trip__half_missing_calls_where_both_hold_them(tmp_path, a, b):
    ds = phased(made(12, 9, 15), 0.5)
    ds["call_genotype"].values[::2, ::3, 1] = -1
    ds["call_genotype"].values[1::2, ::3, 0] = -1
    keep = Reading(half_calls="keep")
    (tmp_path / "there").mkdir()
    imported = open_cohort(write(ds, tmp_path, a), keep)
    there = open_cohort(write(imported, tmp_path / "there", b), keep)
    np.testing.assert_array_equal(there["call_genotype"].values, ds["call_genotype"].values)
    np.testing.assert_array_equal(there["call_genotype_phased"].values, ds["call_genotype_phased"].values)


TEXT = st.text(
    st.characters(exclude_categories=["Z", "C"], exclude_characters=',<>"*=0.'), min_size=1, max_size=8
)


@st.composite
def cohorts(draw: st.DrawFn) -> xr.Dataset:
    """Any calls, phase and names that all formats can bear."""
    m, n = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    codes = np.array(draw(st.lists(st.integers(0, 7), min_size=m * n, max_size=m * n)), np.int8).reshape(m, n)
    table = np.array([[-1, -1], [0, 0], [0, 1], [1, 0], [1, 1], [0, 1], [1, 0], [-1, -1]], np.int8)
    positions = sorted(draw(st.lists(st.integers(1, 2**31 - 10), min_size=m, max_size=m)))
    ds = helpers.cohort(np.zeros((m, n), np.int8), contigs=("1",), position=np.array(positions))
    ds = ds.assign(
        call_genotype=(ds["call_genotype"].dims, table[codes]),
        call_genotype_phased=(("variants", "samples"), codes <= 4),
        sample_sex=("samples", np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int8)),
    )
    ds = renamed(ds, "sample_id", draw(st.lists(TEXT, min_size=n, max_size=n, unique=True)))
    return renamed(ds, "variant_id", draw(st.lists(TEXT, min_size=m, max_size=m)))


@settings(max_examples=30)
@given(cohorts(), st.lists(st.sampled_from(FORMATS), min_size=2, max_size=4))
def test_round_trip__through_formats_in_a_row(tmp_path_factory, ds, chain):
    wanted = facts(ds)
    for to in chain:
        ds = genoweave.open(write(ds, tmp_path_factory.mktemp("chain"), to))
        wanted = held(wanted, to)
        assert_same(facts(ds), wanted)


@pytest.mark.parametrize(
    "chain", [("plink", "vcf.gz", "pgen"), ("bgen", "vcz", "bcf"), ("vcf", "bgen", "plink")], ids=" to ".join
)
def test_round_trip__through_the_command_line(tmp_path, chain):
    """Each step imports a file to a store and exports the store in the next format."""
    ds = COHORTS["phased with missing"]()
    path, wanted = write(ds, tmp_path, chain[0]), held(facts(ds), chain[0])
    for to in chain[1:]:
        store, out = tmp_path / f"{to}.imported.vcz", tmp_path / f"y{ENDINGS[to]}"
        assert call_main("import", path, store, "--quiet") == 0
        assert call_main("export", store, "--to", to.removesuffix(".gz"), "--out", out, "--quiet") == 0
        path, wanted = out, held(wanted, to)
        assert_same(facts(genoweave.open(path)), wanted)


WORDS = {"plink", "pgen", "bgen", *TEXTS}
REFUSED = {
    "a sample id with a space": ("sample_id", "a b", WORDS),
    "a variant id with a tab": ("variant_id", "a\tb", WORDS),
    "an empty sample id": ("sample_id", "", WORDS),
    "a contig with a space": ("contig_id", "chr 1", WORDS),
    "a contig that VCF reserves": ("contig_id", "<1>", set(TEXTS)),
    "an allele with a comma": ("variant_allele", "A,C", WORDS - {"plink"}),
    "a name of 70,000 bytes": ("variant_id", "v" * 70_000, {"bgen"}),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("to", FORMATS)
def test_export__names_that_a_format_cannot_hold_are_refused(tmp_path, what, to):
    name, value, refusing = REFUSED[what]
    ds = made(3, 4, 16, contigs=("1",)).drop_vars(["sample_paternal_id", "sample_maternal_id"])
    values = ds[name].values.copy()
    values[(0,) * values.ndim] = value
    ds = renamed(ds, name, values.tolist())
    if to in refusing:
        with pytest.raises(DataError, match=f"{name}, row 1: "):
            write(ds, tmp_path, to)
        assert not list(tmp_path.iterdir())
    else:
        assert_same(facts(genoweave.open(write(ds, tmp_path, to))), held(facts(ds), to))


@pytest.mark.parametrize("to", FORMATS)
def test_export__variants_out_of_order(tmp_path, to):
    ds = made(6, 4, 17).isel(variants=[3, 1, 0, 5, 4, 2])
    if to in ("vcf.gz", "bcf"):
        with pytest.raises(DataError, match=r"variant 3 .* is out of order: .*Sort the cohort"):
            write(ds, tmp_path, to)
    else:
        assert_same(facts(genoweave.open(write(ds, tmp_path, to))), held(facts(ds), to))
