"""Contents of cohorts, and the check of what an export has written."""

import gzip
from pathlib import Path

import helpers
import numpy as np
import pytest
import xarray as xr

from genoweave import cohorts
from genoweave.errors import ConfigError, DataError, StoreError
from genoweave.genotypes import select
from genoweave.io import consistency, exports, store, streams
from genoweave.io.consistency import contents, csv_contents, read_sums, require_same, sums_stream
from genoweave.io.plink import open_plink
from genoweave.io.streams import write_streams

PHASED = ("vcz", "pgen", "vcf", "bcf", "bgen")
STREAMED = ("plink", "pgen", "vcf", "bcf", "bgen")


def phased_cohort(m: int = 37, n: int = 70, seed: int = 3) -> xr.Dataset:
    """Missing and half-missing calls, phase of all calls, of some or of none, by variant."""
    rng = np.random.default_rng(seed)
    calls = rng.integers(0, 2, (m, n, 2)).astype(np.int8)
    calls[rng.random((m, n)) < 0.1] = -1
    calls[rng.random((m, n)) < 0.05, 1] = -1
    calls[:, -1] = [0, 1]
    phased = np.ones((m, n), bool)
    phased[::3] = rng.random((len(phased[::3]), n)) < 0.8
    phased[1::5] = False
    ds = helpers.cohort(np.zeros((m, n), np.int8), contigs=("1", "02"))
    ds["call_genotype"].values[:] = calls
    return ds.assign(call_genotype_phased=(("variants", "samples"), phased))


def reference_phase(ds: xr.Dataset) -> set[tuple[int, int, int]]:
    """Variant, sample and first allele of each phased heterozygous call, by plain numpy."""
    calls, phased = np.asarray(ds["call_genotype"]), np.asarray(ds["call_genotype_phased"])
    het = (np.sort(calls, axis=2) == [0, 1]).all(axis=2) & phased
    return {(int(v), int(s), int(calls[v, s, 0])) for v, s in zip(*np.nonzero(het), strict=True)}


@pytest.mark.parametrize("chunks", [(1, 64), (5, 32), (37, 70), (10, 7)])
def test_contents__are_the_same_for_any_chunks(chunks):
    ds = phased_cohort()
    assert contents(helpers.rechunked(ds, *chunks)) == contents(ds)


def test_contents__tell_every_difference():
    ds = phased_cohort()
    wanted, seen = contents(ds), set()
    for v, s in ((0, 0), (36, 69), (20, 33)):
        for call in ([0, 0], [0, 1], [1, 0], [1, 1], [-1, -1]):
            other = ds.copy(deep=True)
            other["call_genotype"].values[v, s] = call
            other["call_genotype_phased"].values[v, s] = True
            found = contents(other)
            seen.add((found.genotypes, found.phase))
            same_phase = reference_phase(other) == reference_phase(ds)
            assert (found.phase == wanted.phase) == same_phase
            same_calls = (helpers.dosage_of(other) == helpers.dosage_of(ds)).all()
            assert (found.genotypes == wanted.genotypes) == same_calls
    assert len(seen) >= 3 * 4
    assert contents(ds, with_phase=False).phase is None
    assert contents(ds.assign(call_genotype_phased=ds["call_genotype_phased"] & False)).phase == 0


def test_sums_stream__is_the_checksum_of_contents(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BATCH_CALLS", 5 * 70)
    ds = phased_cohort()
    write_streams(ds, [sums_stream(tmp_path / "sums", reads_calls=True)])
    sums, wanted = read_sums(tmp_path / "sums"), contents(ds)
    assert (sums.genotypes, sums.phase) == (wanted.genotypes, wanted.phase)
    calls, phased = ds["call_genotype"].values, ds["call_genotype_phased"].values
    unordered = (np.sort(calls, axis=2) == [0, 1]).all(axis=2) & ~phased
    kept = phased & ~unordered.any(axis=1)[:, None]
    of_rows = contents(ds.assign(call_genotype_phased=(("variants", "samples"), kept))).phase
    assert sums.phase_of_rows == of_rows
    assert sums.phase_of_rows not in (0, sums.phase)


def test_require_same__names_file_and_field(tmp_path):
    ds = phased_cohort()
    wanted = contents(ds)
    require_same(wanted, contents(ds), tmp_path)
    other = contents(select(ds, np.arange(30)))
    with pytest.raises(DataError, match=r"x\.bed .*differs in variants \(wanted 37, found 30\)"):
        require_same(wanted, other, Path("x.bed"))


def odd_cohort() -> xr.Dataset:
    """Families whose within-family ids repeat, unknown alleles and ids, one sample beyond a word."""
    ds = phased_cohort(12, 33)
    n = ds.sizes["samples"]
    family = np.array([f"f{i // 3}" for i in range(n)], object)
    ds["sample_id"].values[:] = [f"{f}_{'abc'[i % 3]}" for i, f in enumerate(family)]
    ds["variant_allele"].values[3] = ["", "C"]
    ds["variant_allele"].values[4] = ["A", ""]
    ds["variant_allele"].values[5] = ["0", "T"]
    ds["call_genotype"].values[4] = np.minimum(ds["call_genotype"].values[4], 0)
    ds["variant_id"].values[7] = "."
    return ds.assign(
        sample_family_id=("samples", family),
        sample_sex=("samples", np.arange(n, dtype=np.int8) % 3),
        sample_phenotype=("samples", np.where(np.arange(n) % 5, np.arange(n) + 0.5, np.nan)),
        sample_paternal_id=("samples", np.array(["0"] * n, object)),
        sample_maternal_id=("samples", np.array(["0"] * n, object)),
    ).assign_attrs(import_counts={"sample_ids_with_family": n})


@pytest.mark.parametrize("make", [phased_cohort, odd_cohort])
@pytest.mark.parametrize("to", exports.FORMATS)
def test_export__what_every_format_holds_passes_the_check(tmp_path, make, to):
    ds = make()
    assert cohorts.export(ds, to, tmp_path / "x") == [exports.plan([to], tmp_path / "x")[0].path]
    few = select(
        ds, np.arange(2, 9), np.arange(0, ds.sizes["samples"], 3)
    )  # within-family ids are unique now
    cohorts.export(few, to, tmp_path / "few")
    cohorts.export(ds.drop_vars("call_genotype_phased"), to, tmp_path / "unphased")
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".rejected", ".export", ".checksums")]


def test_export__haploid_calls_pass_the_check(tmp_path):
    ds = phased_cohort()
    ds["call_genotype"].values[::4, :, 1] = -2
    cohorts.export(ds, ["plink", "pgen", "vcf", "bcf", "bgen", "csv", "vcz"], tmp_path / "x")


def test_export__sample_columns_go_where_there_is_a_place(tmp_path):
    ds = odd_cohort()
    cohorts.export(ds, ["plink", "pgen", "bgen"], tmp_path / "x")
    for ending in (".bed", ".pgen", ".bgen"):
        opened = cohorts.open_cohort(tmp_path / f"x{ending}")
        for name in ("sex", "family_id", "phenotype"):
            np.testing.assert_array_equal(opened[f"sample_{name}"].values, ds[f"sample_{name}"].values)
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.bed", "x.bim", "x.fam", "x.pgen", "x.pvar", "x.psam", "x.bgen", "x.sample"}  # fmt: skip


def changed(ds: xr.Dataset, what: str) -> xr.Dataset:
    """The cohort with one thing that is not so."""
    other = ds.copy(deep=True)
    if what == "variants":
        return select(other, np.arange(ds.sizes["variants"] - 1))
    if what == "samples":
        return select(other, samples=np.arange(ds.sizes["samples"] - 1))
    if what == "sample ids":
        other["sample_id"].values[[0, 1]] = other["sample_id"].values[[1, 0]]
    if what == "alleles":
        other["variant_position"].values[3] += 1
    if what == "genotypes":
        other["call_genotype"].values[5, 0] = np.where(ds["call_genotype"].values[5, 0].sum() > 0, 0, 1)
    if what == "phase":
        other["call_genotype"].values[5, -1] = [1, 0]
    return other


@pytest.fixture
def writes_something_else(monkeypatch):
    """Let the streams of an export hold another cohort than the one that was to be written."""

    def patch(other: xr.Dataset, outputs: list[exports.Output]) -> None:
        write = exports._write_streams

        def both(ds, chosen, token, *, check):
            sums = write(ds, chosen, token, check=check)
            write_streams(other, [exports._stream(other, output) for output in outputs])
            return sums

        monkeypatch.setattr(exports, "_write_streams", both)

    return patch


@pytest.mark.parametrize("to", STREAMED)
@pytest.mark.parametrize("what", ["variants", "samples", "sample ids", "alleles", "genotypes", "phase"])
def test_export__the_check_sees(tmp_path, writes_something_else, to, what):
    if what == "phase" and to == "plink":
        pytest.skip("a .bed holds no phase")
    ds = phased_cohort()
    assert ds["call_genotype_phased"].values[5].all()
    outputs = exports.plan([to], tmp_path / "x")
    writes_something_else(changed(ds, what), outputs)
    main = outputs[0].path
    with pytest.raises(DataError, match=rf"{main.name} does not hold .*differs in {what} .*\.rejected now"):
        cohorts.export(ds, to, tmp_path / "x")
    left = {path.name for path in tmp_path.iterdir()}
    assert f"{main.name}.rejected" in left
    assert all(name.endswith(".rejected") for name in left)
    cohorts.export(ds, to, tmp_path / "x", check=False)  # nobody looks
    assert main.exists()


def test_export__one_wrong_file_of_several(tmp_path, writes_something_else):
    ds = phased_cohort()
    outputs = exports.plan(["plink", "pgen", "csv"], tmp_path / "x")
    writes_something_else(changed(ds, "genotypes"), outputs[1:2])
    with pytest.raises(DataError, match=r"x\.pgen does not hold"):
        cohorts.export(ds, ["plink", "pgen", "csv"], tmp_path / "x")
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.bed", "x.bim", "x.fam", "x.csv", "x.pgen.rejected", "x.pvar.rejected", "x.psam.rejected",
    }  # fmt: skip


@pytest.mark.parametrize("to", STREAMED)
def test_export__a_damaged_file_is_seen(tmp_path, monkeypatch, to):
    write = exports._write_streams
    ds = phased_cohort()
    main = exports.plan([to], tmp_path / "x")[0].path

    def cut(*arguments, **options):
        sums = write(*arguments, **options)
        main.write_bytes(main.read_bytes()[:-40])
        return sums

    monkeypatch.setattr(exports, "_write_streams", cut)
    with pytest.raises(DataError, match=rf"{main.name} .*\.rejected now"):
        cohorts.export(ds, to, tmp_path / "x")
    assert not main.exists()


@pytest.mark.parametrize("to", ["csv", "vcz"])
def test_export__other_passes_are_checked_too(tmp_path, monkeypatch, to):
    ds, name = phased_cohort(), {"csv": "_write_csv", "vcz": "_write_store"}[to]
    write = getattr(exports, name)
    other = changed(ds, "genotypes")
    monkeypatch.setattr(exports, name, lambda _, path, token: write(other, path, token))
    with pytest.raises(DataError, match="differs in genotypes"):
        cohorts.export(ds, to, tmp_path / "x")
    cohorts.export(ds, ["plink", to], tmp_path / "y", check=False)
    with pytest.raises(DataError, match="differs in genotypes"):  # the sums are those of the streams
        cohorts.export(ds, ["plink", to], tmp_path / "y")
    assert [p.name for p in tmp_path.glob("*.rejected")]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_csv_contents__of_plain_and_compressed_files(tmp_path, ending, monkeypatch):
    ds = phased_cohort().assign(sample_ancestry=("samples", np.array(["a,b", 'c"d'] * 35, object)))
    ds["sample_id"].values[:4] = ["=x", "a,b", "a\nb", "'=y"]
    path = tmp_path / f"x.csv{ending}"
    monkeypatch.setattr("genoweave.io.release._BLOCK_CALLS", 37 * 20)
    monkeypatch.setattr(consistency, "_READ_BYTES", 100)
    cohorts.export(ds, "csv", path)
    found = csv_contents(path, 37, 2)
    assert (found.samples, found.variants, found.genotypes) == (70, 37, contents(ds).genotypes)
    with pytest.raises(DataError, match="line 2: wanted 37 genotypes"):
        csv_contents(path, 37, 1)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * 9 + data[len(data) // 2 :])
    with pytest.raises(DataError, match=r"x\.csv"):
        csv_contents(path, 37, 2)
    path.write_bytes(b"")
    assert csv_contents(path, 37, 2).samples == 0


def test_csv_contents__the_header_counts(tmp_path):
    ds = phased_cohort()
    cohorts.export(ds, "csv", tmp_path / "x.csv")
    text = (tmp_path / "x.csv").read_text()
    found = csv_contents(tmp_path / "x.csv", 37, 1)
    (tmp_path / "x.csv").write_text(text.replace("rs3,", "rs03,", 1))
    assert csv_contents(tmp_path / "x.csv", 37, 1).columns != found.columns


@pytest.mark.parametrize(
    ("formats", "path", "wanted"),
    [
        (["plink"], "x", ["x.bed", "x.bim", "x.fam"]),
        (["plink"], "a.b.bed", ["a.b.bed", "a.b.bim", "a.b.fam"]),
        (["pgen"], "x.y", ["x.y.pgen", "x.y.pvar", "x.y.psam"]),
        (["pgen"], "x.pgen", ["x.pgen", "x.pvar", "x.psam"]),
        (["vcf"], "x", ["x.vcf.gz", "x.vcf.gz.tbi", "x.vcf.gz.csi"]),
        (["vcf"], "x.vcf.gz", ["x.vcf.gz", "x.vcf.gz.tbi", "x.vcf.gz.csi"]),
        (["vcf"], "x.vcf", ["x.vcf"]),
        (["bcf"], "x.bcf", ["x.bcf", "x.bcf.csi"]),
        (["bgen"], "x", ["x.bgen", "x.sample"]),
        (["csv"], "x", ["x"]),
        (["csv"], "x.csv.zst", ["x.csv.zst"]),
        (["vcz"], "x", ["x"]),
        (["vcz", "csv"], "x", ["x.vcz", "x.csv"]),
        (["vcf", "vcf", "bcf"], "x.vcf", ["x.vcf.vcf.gz", "x.vcf.vcf.gz.tbi", "x.vcf.vcf.gz.csi",
                                          "x.vcf.bcf", "x.vcf.bcf.csi"]),
    ],
)  # fmt: skip
def test_plan__paths(formats, path, wanted):
    outputs = exports.plan(formats, Path("folder") / path)
    assert [str(file) for output in outputs for file in output.files] == [f"folder/{name}" for name in wanted]


def test_plan__refuses(tmp_path):
    with pytest.raises(ConfigError, match=r"no format ped.*choose of: vcz, plink"):
        exports.plan(["plink", "ped"], tmp_path / "x")
    with pytest.raises(ConfigError, match="none given"):
        exports.plan([], tmp_path / "x")
    (tmp_path / "x.bed").mkdir()
    with pytest.raises(StoreError, match=r"x\.bed is a folder"):
        exports.plan(["plink"], tmp_path / "x")


def test_export__what_a_format_cannot_hold_stops_all_before_anything_is_written(tmp_path):
    ds = phased_cohort()
    ds["sample_id"].values[1] = "a b"
    with pytest.raises(DataError, match="sample_id, row 2"):
        cohorts.export(ds, ["csv", "vcz", "plink"], tmp_path / "x")
    assert not list(tmp_path.iterdir())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", ["streams", "csv", "check"])
def test_export__a_killed_export_of_a_path_goes_on(tmp_path, monkeypatch, at):
    """What is whole is not written again."""
    helpers.write_bed(phased_cohort(), tmp_path / "in")
    to, calls = ["plink", "bgen", "csv"], []
    names = {"streams": "write_streams", "csv": "write_genotype_csv", "check": "_check"}
    works = {name: getattr(exports, function) for name, function in names.items()}

    def noted(name):
        def work(*arguments, **options):
            calls.append(name)
            if name == at and not is_second:
                raise Killed
            return works[name](*arguments, **options)

        return work

    for name, function in names.items():
        monkeypatch.setattr(exports, function, noted(name))
    for is_second in (False, True):
        calls.clear()
        if is_second:
            cohorts.export(tmp_path / "in", to, tmp_path / "x")
        else:
            with pytest.raises(Killed):
                cohorts.export(tmp_path / "in", to, tmp_path / "x")
    assert calls == list(names)[list(names).index(at) :]
    cohorts.export(open_plink(tmp_path / "in"), to, tmp_path / "y")
    for ending in (".bed", ".bgen", ".csv"):
        assert (tmp_path / f"x{ending}").read_bytes() == (tmp_path / f"y{ending}").read_bytes()
    assert not list(tmp_path.glob("*.export"))


def test_export__csv_is_the_same_in_every_compression(tmp_path):
    import pyarrow as pa

    ds = phased_cohort()
    for ending in ("", ".gz", ".zst"):
        cohorts.export(ds, "csv", tmp_path / f"x.csv{ending}")
    plain = (tmp_path / "x.csv").read_bytes()
    assert gzip.decompress((tmp_path / "x.csv.gz").read_bytes()) == plain
    with pa.input_stream(str(tmp_path / "x.csv.zst"), compression="zstd") as file:
        assert file.read() == plain
    assert (tmp_path / "x.csv.gz").read_bytes()[4:8] == bytes(4)  # no time


def test_export__phase_of_a_store_is_checked(tmp_path):
    ds = phased_cohort()
    cohorts.export(ds, "vcz", tmp_path / "x.vcz")
    assert contents(store.open_store(tmp_path / "x.vcz")).phase == contents(ds).phase
