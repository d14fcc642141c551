"""Real genotypes in every format, as PLINK, bcftools, vcztools, bed-reader and sgkit read and write them."""

import gzip
import subprocess
from itertools import islice
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
import zarr

import genoweave
from genoweave.cohorts import export, import_cohort, open_cohort, save
from genoweave.errors import DataError
from genoweave.genotypes import select
from genoweave.io.consistency import contents
from genoweave.io.plink import chromosome_number
from genoweave.io.reading import Reading

pytestmark = [pytest.mark.oracle, pytest.mark.real_data]

FORMATS = ("plink", "pgen", "vcf", "bcf", "bgen", "vcz")
COHORTS = ("sisg", "phase1", "x", "trios")
PHASED = ("sisg", "phase1")
BEDS = ("x", "trios")
# How each program is told to read what we write.
PLINK2 = {
    "plink": ("--bfile", "{0}"),
    "pgen": ("--pfile", "{0}"),
    "vcf": ("--vcf", "{0}.vcf.gz"),
    "bcf": ("--bcf", "{0}.bcf"),
    "bgen": ("--bgen", "{0}.bgen", "ref-first"),
}


def first_records(source, out, n):
    """The header and the first records of a compressed VCF, as plain text."""
    with gzip.open(source, "rb") as file, out.open("wb") as copy:
        for line in file:
            copy.write(line)
            if line.startswith(b"#CHROM"):
                break
        copy.writelines(islice(file, n))
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@pytest.fixture(scope="module")
def cohorts(real_data, folder):
    """Phased people of chromosomes 1 and 22; people with chromosome X and sex; trios with missing calls."""
    sisg = first_records(real_data / "kg_sisg" / "chr1_phased.vcf.gz", folder / "sisg.source.vcf", 300)
    phase1 = first_records(
        real_data / "kgp1_chr22_phased" / "chr22_phased.vcf.gz", folder / "phase1.source.vcf", 300
    )
    whole = genoweave.open(real_data / "kgp3_uwgac" / "all")
    contig = whole["contig_id"].values[whole["variant_contig"].values]
    x = select(whole, np.flatnonzero((contig == "X") | (contig == "22"))[::7])
    trios = select(genoweave.open(real_data / "kgp_trios_akt" / "cgi433"), np.arange(0, 16_526, 50))
    return {"sisg": genoweave.open(sisg), "phase1": genoweave.open(phase1), "x": x, "trios": trios}


@pytest.fixture(scope="module")
def ours(cohorts, folder):
    """Prefix of each cohort in all formats, without families: a VCF has no place for them."""
    prefixes = {}
    for name, ds in cohorts.items():
        prefixes[name] = folder / f"{name}.ours"
        export(ds.drop_vars("sample_family_id", errors="ignore"), FORMATS, prefixes[name])
    return prefixes


def runner(path):
    """A function that runs a program and returns what it writes to stdout."""

    def run(*given):
        done = subprocess.run([path, *map(str, given)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture
def bcftools(bcftools):
    return runner(bcftools)


@pytest.fixture
def vcztools(vcztools):
    return runner(vcztools)


@pytest.fixture(params=COHORTS)
def name(request):
    return request.param


def arguments(format, prefix, *, sexes=False):
    """How plink2 opens a file of ours; a VCF knows no sexes."""
    more = ("--update-sex", f"{prefix}.psam") if sexes and format in ("vcf", "bcf", "bgen") else ()
    return [part.format(prefix) for part in PLINK2[format]] + list(more)


def expected_counts(ds):
    """Columns of --geno-counts, int64 (variants, 6), by plain numpy."""
    dosage, male = helpers.dosage_of(ds), np.zeros(ds.sizes["samples"], bool)
    if "sample_sex" in ds:
        male = ds["sample_sex"].values == 1
    contig = ds["contig_id"].values[ds["variant_contig"].values]
    haploid = (contig == "X")[:, None] & male
    columns = [(dosage == k) & ~haploid for k in range(3)]
    columns += [(dosage == 0) & haploid, (dosage == 2) & haploid]
    columns.append((dosage < 0) | ((dosage == 1) & haploid))
    return np.stack([column.sum(axis=1) for column in columns], axis=1)


COUNTS = ["HOM_REF_CT", "HET_REF_ALT_CTS", "TWO_ALT_GENO_CTS", "HAP_REF_CT", "HAP_ALT_CTS", "MISSING_CT"]


@pytest.mark.parametrize("format", PLINK2)
def test_plink2__counts_the_same_genotypes(cohorts, ours, plink2, tmp_path, name, format):
    given = arguments(format, ours[name], sexes=name == "x")
    out = plink2(*given, "--geno-counts", out=tmp_path / "x")
    table = pd.read_csv(f"{out}.gcount", sep="\t", dtype={"#CHROM": str, "ID": str})
    ds = cohorts[name]
    np.testing.assert_array_equal(table[COUNTS].to_numpy(), expected_counts(ds))
    assert table["ID"].tolist() == ds["variant_id"].values.tolist()
    assert table[["REF", "ALT"]].to_numpy().tolist() == ds["variant_allele"].values.tolist()


@pytest.mark.parametrize("format", PLINK2)
def test_plink2__finds_no_difference(ours, plink2, real_data, tmp_path, name, format, folder):
    """Between the source, as PLINK 2 itself reads it, and what we wrote."""
    source = ["--vcf", folder / f"{name}.source.vcf"]
    if name in BEDS:
        bed = {"x": real_data / "kgp3_uwgac" / "all", "trios": real_data / "kgp_trios_akt" / "cgi433"}[name]
        (tmp_path / "ids").write_text("".join(f"{i}\n" for i in ids_of(ours[name])))
        source = ["--bfile", bed, "--extract", tmp_path / "ids"]
    plink2(*source, "--make-pgen", "psam-cols=sex", out=tmp_path / "theirs")
    plink2(
        *arguments(format, ours[name], sexes=name == "x"),
        "--make-pgen",
        "psam-cols=sex",
        out=tmp_path / "ours",
    )
    for prefix in ("ours", "theirs"):  # a .bed has families
        table = pd.read_csv(tmp_path / f"{prefix}.psam", sep="\t", dtype=str, keep_default_na=False)
        table = table.rename(columns={"IID": "#IID"})[["#IID", "SEX"]]
        table.to_csv(tmp_path / f"{prefix}.psam", sep="\t", index=False)
    plink2(
        "--pfile",
        tmp_path / "ours",
        "--pgen-diff",
        tmp_path / "theirs",
        "include-missing",
        out=tmp_path / "d",
    )
    log = (tmp_path / "d.log").read_text()
    n_samples, n_variants = shape_of(ours[name])
    assert f"{n_samples} samples and {n_variants} variants compared, 0 differences" in log


def ids_of(prefix):
    return pd.read_csv(f"{prefix}.bim", sep="\t", header=None, dtype=str)[1].tolist()


def shape_of(prefix):
    return tuple(len(Path(f"{prefix}{ending}").read_text().splitlines()) for ending in (".fam", ".bim"))


def genotypes(vcf):
    """The columns GT of a plain VCF, str (variants, samples)."""
    lines = [line for line in Path(vcf).read_text().splitlines() if not line.startswith("#")]
    return np.array([[cell.split(":")[0] for cell in line.split("\t")[9:]] for line in lines])


@pytest.mark.parametrize("format", ["pgen", "vcf", "bcf", "bgen"])
@pytest.mark.parametrize("name", PHASED)
def test_plink2__reads_the_same_haplotypes(ours, folder, plink2, tmp_path, name, format):
    wanted = genotypes(folder / f"{name}.source.vcf")
    given = arguments(format, ours[name])
    if format == "bgen":  # PLINK 2 of 2022 turns haplotypes round with ref-first, so alleles are turned here
        given[-1] = "ref-last"
        wanted = np.vectorize(lambda gt: gt.translate(str.maketrans("01", "10")))(wanted)
    plink2(*given, "--export", "vcf", out=tmp_path / "x")
    np.testing.assert_array_equal(genotypes(tmp_path / "x.vcf"), wanted)


def test_plink19__writes_the_same_bed(ours, plink19, tmp_path, name):
    more = ["--keep-allele-order", "--allow-no-sex", "--output-chr", "MT", "--make-bed"]
    plink19("--bfile", ours[name], *more, out=tmp_path / "x")
    for ending in (".bed", ".bim"):
        assert (tmp_path / f"x{ending}").read_bytes() == helpers.suffixed(ours[name], ending).read_bytes()
    theirs, ours_fam = (
        pd.read_csv(f"{path}.fam", sep=r"\s+", header=None, dtype={k: str for k in range(5)})
        for path in (tmp_path / "x", ours[name])
    )
    assert theirs.iloc[:, :5].equals(ours_fam.iloc[:, :5])
    np.testing.assert_allclose(theirs[5], ours_fam[5], rtol=1e-5)  # it prints six digits


# What PLINK 2 writes, and how that is opened again.
WRITTEN = {
    "plink": (["--make-bed"], ".bed", {}),
    "pgen": (["--make-pgen"], ".pgen", {}),
    "pvar.zst": (["--make-pgen", "vzs"], ".pgen", {}),
    "vcf": (["--export", "vcf"], ".vcf", {}),
    "vcf.gz": (["--export", "vcf", "bgz"], ".vcf.gz", {}),
    "bcf": (["--export", "bcf"], ".bcf", {}),
    "bgen 1.1": (["--export", "bgen-1.1", "ref-first"], ".bgen", {}),
    "bgen 1.2": (["--export", "bgen-1.2", "ref-first", "bits=8"], ".bgen", {}),
    "bgen 1.3": (["--export", "bgen-1.3", "bits=16"], ".bgen", {"bgen_ref": "last"}),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", ["sisg", "trios"])
def test_open__what_plink2_writes(cohorts, ours, plink2, tmp_path, name, written):
    flags, ending, rules = WRITTEN[written]
    plink2("--pfile", ours[name], *flags, out=tmp_path / "x")
    found = open_cohort(tmp_path / f"x{ending}", Reading(**rules))
    wanted = cohorts[name]
    holds_phase = not written.startswith(("plink", "bgen"))  # as for the latter, see above
    assert contents(found, with_phase=holds_phase) == contents(wanted, with_phase=holds_phase)
    np.testing.assert_array_equal(found["variant_id"].values, wanted["variant_id"].values)
    if "sample_paternal_id" in wanted and written in ("plink", "pgen", "pvar.zst"):
        for variable in ("sample_sex", "sample_paternal_id", "sample_maternal_id"):
            np.testing.assert_array_equal(found[variable].values, wanted[variable].values)


@pytest.mark.parametrize("ending", [".vcf.gz", ".bcf"])
@pytest.mark.parametrize("name", PHASED)
def test_bcftools__reads_the_same_records(ours, folder, bcftools, name, ending):
    source, copy = folder / f"{name}.source.vcf", f"{ours[name]}{ending}"
    form = "%CHROM\t%POS\t%ID\t%REF\t%ALT[\t%GT]\n"
    assert bcftools("query", "-f", form, copy) == bcftools("query", "-f", form, source)
    assert bcftools("query", "-l", copy) == bcftools("query", "-l", source)
    stats = [bcftools("stats", "--samples", "-", path).split(b"\n") for path in (copy, source)]
    ours_stats, theirs = (
        [line for line in s if line and line[:1] != b"#" and line[:2] != b"ID"] for s in stats
    )
    assert ours_stats == theirs
    position = bcftools("query", "-f", "%CHROM:%POS\n", source).decode().split()[150]
    records = bcftools("view", "-H", "-r", position, copy)
    assert records.count(b"\n") >= 1
    assert all(line.split(b"\t")[1] == position.split(":")[1].encode() for line in records.splitlines())


def test_bcftools__finds_the_samples_identical(ours, bcftools):
    """Of trios, with missing calls: no call of a sample differs from that of the same sample."""
    files = f"{ours['trios']}.vcf.gz", f"{ours['trios']}.bcf"
    people = bcftools("query", "-l", files[0]).decode().split()[:4]
    pairs = ",".join(f"{i},{i}" for i in people)
    out = bcftools("gtcheck", "-u", "GT,GT", "-e", 0, "-p", pairs, "-g", *files).decode()
    rows = [line.split("\t") for line in out.splitlines() if line.startswith("DC")]
    assert [row[1] for row in rows] == people
    assert all(float(row[3]) == 0 and int(row[5]) > 300 for row in rows)


def records(vcf):
    """Cells of a VCF's records and of their header, without FILTER, of which a cohort says nothing."""
    lines = [line.split("\t") for line in vcf.decode().splitlines() if not line.startswith("##")]
    return [line[:6] + line[7:] for line in lines]


def test_vcztools__shows_what_bcftools_shows(ours, vcztools, bcftools, name):
    ours_vcf = bcftools("view", "--no-version", f"{ours[name]}.vcf.gz")
    assert records(vcztools("view", "--no-version", f"{ours[name]}.vcz")) == records(ours_vcf)
    people = ",".join(bcftools("query", "-l", f"{ours[name]}.bcf").decode().split()[3:9:2])
    some = [
        program("view", "--no-version", "--no-update", "-s", people, path)
        for program, path in ((vcztools, f"{ours[name]}.vcz"), (bcftools, f"{ours[name]}.vcf.gz"))
    ]
    assert records(some[0]) == records(some[1])


def test_bed_reader__reads_the_same(cohorts, ours, name):
    from bed_reader import open_bed

    ds = cohorts[name]
    with open_bed(f"{ours[name]}.bed") as bed:
        found = bed.read(dtype="int8", num_threads=1).T
        assert bed.iid.tolist() == ds["sample_id"].values.tolist()
        assert bed.allele_1.tolist() == ds["variant_allele"].values[:, 1].tolist()
        sexes = ds["sample_sex"].values if "sample_sex" in ds else np.zeros(len(bed.iid))
        np.testing.assert_array_equal(bed.sex, sexes)
    np.testing.assert_array_equal(np.where(found == -127, -1, found), helpers.dosage_of(ds))


@pytest.mark.parametrize("kind", ["packed", "standard"])
def test_sgkit__reads_the_same(cohorts, ours, tmp_path, name, kind):
    import sgkit

    ds = cohorts[name]
    path = f"{ours[name]}.vcz"
    if kind == "packed":
        path = str(tmp_path / "x.vcz")
        save(ds, path, chunks=(128, 256))
        assert zarr.open_group(path, mode="r")["call_genotype"].filters
    found = sgkit.load_dataset(path)
    calls = found["call_genotype"].values
    assert calls.dtype == np.int8
    np.testing.assert_array_equal(helpers.dosage_of(found), helpers.dosage_of(ds))
    counts = sgkit.count_variant_alleles(found)["variant_allele_count"].values
    dosage = helpers.dosage_of(ds)
    np.testing.assert_array_equal(counts[:, 1], np.where(dosage < 0, 0, dosage).sum(axis=1))
    if name in PHASED:
        assert found["call_genotype_phased"].values.all()
        np.testing.assert_array_equal(calls, ds["call_genotype"].values)


# The rules of reading, against PLINK 2's own.


def test_rules__which_allele_of_a_bgen_is_the_reference(real_data, plink2, tmp_path):
    path = real_data / "io" / "regenie_example.bgen"
    for ref in ("first", "last"):
        plink2("--bgen", path, f"ref-{ref}", "--make-bed", out=tmp_path / ref)
        found, theirs = open_cohort(path, Reading(bgen_ref=ref)), genoweave.open(tmp_path / ref)
        assert contents(found) == contents(theirs)


@pytest.mark.parametrize("rule", ["missing", "reference", "haploid", "error"])
def test_rules__half_calls(cohorts, plink2, tmp_path, rule):
    """Half-calls put into real genotypes."""
    ds = select(cohorts["sisg"], np.arange(100), np.arange(60)).load()
    ds["call_genotype"].values[::3, ::4, 1] = -1
    ds["call_genotype"].values[1::3, 1::4, 0] = -1
    path = export(ds, "vcf", tmp_path / "half.vcf")[0]
    command = ["--vcf", path, "--vcf-half-call", rule, "--make-bed"]
    if rule == "error":
        with pytest.raises(AssertionError, match=r"half-call|Half"):
            plink2(*command, out=tmp_path / "x")
        with pytest.raises(DataError, match="half"):
            open_cohort(path, Reading(half_calls=rule))
        return
    plink2(*command, out=tmp_path / "x")
    counts = import_cohort(path, tmp_path / "x.vcz", reading=Reading(half_calls=rule))
    assert contents(genoweave.open(tmp_path / "x.vcz"), with_phase=False) == contents(
        genoweave.open(tmp_path / "x")
    )
    assert counts["half_calls"] == 34 * 15 + 33 * 15


def test_rules__haploid_calls_of_x(cohorts, plink2, tmp_path):
    """Men's calls of X as one allele, as callers write them: PLINK 2 and genoweave store them homozygous."""
    ds = cohorts["x"]
    lines = Path(export(ds, "vcf", tmp_path / "x.vcf")[0]).read_text().splitlines()
    men = np.flatnonzero(ds["sample_sex"].values == 1) + 9
    haploid = 0
    for row, line in enumerate(lines):
        cells = line.split("\t")
        if cells[0] == "X":
            for k in men:
                if cells[k] in ("0/0", "1/1"):
                    cells[k], haploid = cells[k][0], haploid + 1
            lines[row] = "\t".join(cells)
    path = tmp_path / "haploid.vcf"
    path.write_text("\n".join(lines) + "\n")
    sexes = tmp_path / "sexes.txt"
    rows = zip(ds["sample_id"].values, ds["sample_sex"].values, strict=True)
    sexes.write_text("#IID\tSEX\n" + "".join(f"{i}\t{s}\n" for i, s in rows))
    plink2("--vcf", path, "--update-sex", sexes, "--make-bed", out=tmp_path / "theirs")
    found = genoweave.open(path)
    assert found.attrs["import_counts"]["haploid_calls"] == haploid > 1000
    assert contents(found, with_phase=False) == contents(genoweave.open(tmp_path / "theirs"))
    missing = open_cohort(path, Reading(haploid="missing"))
    assert (helpers.dosage_of(missing) < 0).sum() == haploid + (helpers.dosage_of(ds) < 0).sum()
    with pytest.raises(DataError, match="haploid"):
        open_cohort(path, Reading(haploid="refuse"))


CODES = [
    ("1", "chr2", "22", "X", "Y", "XY", "MT"),
    ("chr1", "chr10", "chrX", "chrM"),
    ("2", "23", "24", "25", "26"),
]
ENDINGS = {"plink": ".bed", "pgen": ".pgen", "vcf": ".vcf.gz", "bgen": ".bgen"}


@pytest.mark.parametrize("codes", CODES, ids=" ".join)
@pytest.mark.parametrize("format", ENDINGS)
def test_rules__chromosome_codes(plink2, tmp_path, format, codes):
    """Names are kept; two names are one chromosome for us where they are one for PLINK."""
    dosage = np.random.default_rng(1).integers(0, 3, (len(codes), 9)).astype(np.int8)
    ds = helpers.cohort(dosage, contigs=codes).assign(sample_sex=("samples", np.full(9, 2, np.int8)))
    (path,) = export(ds, format, tmp_path / f"x{ENDINGS[format]}")
    flags = ["--output-chr", "26", "--make-just-pvar"]
    plink2(*arguments(format, tmp_path / "x"), *flags, out=tmp_path / "y")
    rows = [line.split("\t") for line in (tmp_path / "y.pvar").read_text().splitlines()]
    assert [row[0] for row in rows if not row[0].startswith("#")] == [
        chromosome_number(code) for code in codes
    ]
    assert genoweave.open(path)["contig_id"].values.tolist() == list(codes)
