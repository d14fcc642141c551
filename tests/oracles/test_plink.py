"""The same numbers as PLINK 1.9 and PLINK 2 on the same files."""

import helpers
import numpy as np
import pandas as pd
import pytest

from genoweave.genotypes import select
from genoweave.io.plink import open_plink, write_plink
from genoweave.kernels.hwe import hwe_exact
from genoweave.methods.frequencies import count_genotypes
from genoweave.methods.kinship import Kinship, king
from genoweave.methods.pca import PCA, pca
from genoweave.methods.qc import QC, qc

pytestmark = [pytest.mark.oracle, pytest.mark.real_data]

SAMPLES = slice(0, 1040, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("oracle")


@pytest.fixture(scope="module")
def chr1(real_data, folder):
    """260 people of chromosome 1, written anew with bed-reader, and the same as a dataset."""
    whole = open_plink(real_data / "kg_sisg" / "chr1")
    ds = select(whole, np.arange(0, whole.sizes["variants"], 2), np.arange(1040)[SAMPLES]).load()
    return helpers.write_bed(ds, folder / "chr1"), ds


@pytest.fixture(scope="module")
def trios(real_data):
    """433 people in trios and duos, 16,526 variants, 0.46 % missing."""
    prefix = real_data / "kgp_trios_akt" / "cgi433"
    return prefix, open_plink(prefix).load()


@pytest.fixture(params=["chr1", "trios"])
def fileset(request):
    return request.getfixturevalue(request.param)


def read(prefix, ending):
    table = pd.read_csv(helpers.suffixed(prefix, ending), sep=r"\s+", dtype=str, keep_default_na=False)
    return table.rename(columns=lambda name: name.lstrip("#"))


def ids(path, column):
    return [line.split()[column] for line in path.read_text().splitlines()]


def kept(prefix):
    """Variants and samples of a .bim and .fam."""
    return ids(helpers.suffixed(prefix, ".bim"), 1), ids(helpers.suffixed(prefix, ".fam"), 1)


def as_printed(value, printed):
    """Whether `value` is the number behind `printed`, which has six digits at most."""
    return abs(value - float(printed)) <= 0.51 * 10 ** (np.floor(np.log10(max(abs(value), 1e-300))) - 5)


def test_counts__of_alleles_and_missing_calls_equal_plink2(fileset, plink2, tmp_path):
    prefix, ds = fileset
    # --freq counts founders by default; the trios' children are to be counted too
    out = plink2("--bfile", prefix, "--freq", "counts", "--missing", "--nonfounders", out=tmp_path / "x")
    counts, missing = count_genotypes(ds)
    theirs = read(out, ".acount")
    alt = theirs["ALT"].to_numpy() == ds["variant_allele"].values[:, 1]
    mine = counts[:, 0, 1] + 2 * counts[:, 0, 2]
    total = 2 * counts[:, 0].sum(axis=1)
    assert (theirs["OBS_CT"].astype(int) == total).all()
    assert (theirs["ALT_CTS"].astype(int) == np.where(alt, mine, total - mine)).all()
    assert (read(out, ".smiss")["MISSING_CT"].astype(int) == missing).all()
    assert (read(out, ".vmiss")["MISSING_CT"].astype(int) == ds.sizes["samples"] - total // 2).all()


@pytest.mark.parametrize("midp", [False, True])
def test_hwe__equals_plink2_to_the_printed_digits(fileset, plink2, tmp_path, midp):
    prefix, ds = fileset
    flags = ["midp"] if midp else []
    out = plink2("--bfile", prefix, "--hardy", *flags, "--nonfounders", out=tmp_path / "x")
    theirs = read(out, ".hardy")
    counts = count_genotypes(ds)[0][:, 0]
    for row, printed in zip(counts.tolist(), theirs["MIDP" if midp else "P"], strict=True):
        p = hwe_exact(*row, midp)
        if midp and not as_printed(p, printed):
            # at an exact tie, PLINK takes off half of both terms; the definition, half of the observed one
            p -= hwe_exact(*row, False) - p
        assert as_printed(p, printed), row


def test_hwe__equals_plink19_to_the_printed_digits(fileset, plink19, tmp_path):
    prefix, ds = fileset
    out = plink19("--bfile", prefix, "--hardy", "--nonfounders", "--allow-no-sex", out=tmp_path / "x")
    theirs = read(out, ".hwe")
    theirs = theirs[theirs["TEST"].str.startswith("ALL")]
    counts = count_genotypes(ds)[0][:, 0]
    for row, p in zip(counts.tolist(), theirs["P"], strict=True):
        # PLINK 1.9 prints four digits
        assert hwe_exact(*row, False) == pytest.approx(float(p), rel=6e-4)


THRESHOLDS = {"mind": 0.05, "geno": 0.05, "hwe": 1e-6, "maf": 0.01}
TIGHT = {"mind": 0.005, "geno": 0.004, "hwe": 1e-3, "maf": 0.05}


@pytest.mark.parametrize("thresholds", [THRESHOLDS, TIGHT], ids=["defaults", "tight"])
@pytest.mark.parametrize("program", ["plink2", "plink19"])
def test_qc__keeps_the_samples_and_variants_that_plink_keeps(fileset, program, thresholds, request, tmp_path):
    prefix, ds = fileset
    run = request.getfixturevalue(program)
    flags = [text for name, value in thresholds.items() for text in (f"--{name}", value)]
    more = ["--allow-no-sex"] if program == "plink19" else []
    run("--bfile", prefix, *flags, "--nonfounders", "--make-bed", *more, out=tmp_path / "x")
    result = qc(ds, QC(**thresholds, hwe_groups="pooled"))
    variants, samples = kept(tmp_path / "x")
    assert result["variant_id"].values.tolist() == variants
    assert result["sample_id"].values.tolist() == samples
    assert 0 < len(variants) < ds.sizes["variants"]


def kinship_table(path):
    table = pd.read_csv(path, sep="\t").rename(columns=lambda name: name.lstrip("#"))
    return {frozenset(pair): k for *pair, k in table[["IID1", "IID2", "KINSHIP"]].itertuples(index=False)}


def test_king__the_same_table_as_plink2(fileset, plink2, tmp_path):
    prefix, ds = fileset
    plink2("--bfile", prefix, "--make-king-table", out=tmp_path / "x")
    theirs = kinship_table(tmp_path / "x.kin0")
    pairs = king(ds, Kinship(min_kinship=-0.999)).pairs
    names = ds["sample_id"].values
    mine = {
        frozenset((names[i], names[j])): k
        for i, j, k in pairs[["first", "second", "kinship"]].itertuples(index=False)
    }
    assert mine.keys() == theirs.keys()
    assert len(mine) == ds.sizes["samples"] * (ds.sizes["samples"] - 1) // 2
    # PLINK prints six digits
    assert max(abs(mine[pair] - theirs[pair]) for pair in mine) <= 1e-6


def test_king__lists_the_pairs_that_plink2_filters(trios, plink2, tmp_path):
    prefix, ds = trios
    plink2("--bfile", prefix, "--make-king-table", "--king-table-filter", 0.0884, out=tmp_path / "x")
    pairs = king(ds, Kinship(min_kinship=0.0884)).pairs
    names = ds["sample_id"].values
    mine = {frozenset((names[i], names[j])) for i, j in pairs[["first", "second"]].to_numpy()}
    assert mine == set(kinship_table(tmp_path / "x.kin0"))
    assert len(mine) >= 258


@pytest.mark.parametrize("cutoff", [0.0884, 0.0442])
def test_qc__king_cutoff_leaves_no_pair_above_it(trios, plink2, tmp_path, cutoff):
    prefix, ds = trios
    kept_here = qc(ds, QC(mind=1, geno=1, hwe=0, maf=0, king_cutoff=cutoff))
    assert king(kept_here, Kinship(min_kinship=cutoff)).pairs.empty
    plink2("--bfile", prefix, "--king-cutoff", cutoff, out=tmp_path / "x")
    theirs = len(ids(tmp_path / "x.king.cutoff.in.id", 1)) - 1
    # both are greedy: neither is sure of the largest set
    assert kept_here.sizes["samples"] >= 0.98 * theirs


def test_trios__parents_and_children_have_a_quarter(trios):
    prefix, ds = trios
    parents = [line.split()[1:4] for line in helpers.suffixed(prefix, ".fam").read_text().splitlines()]
    place = {name: i for i, name in enumerate(ds["sample_id"].values)}
    in_trios = [trio for trio in parents if all(name in place for name in trio)]
    pairs = {frozenset((place[child], place[p])) for child, *both in in_trios for p in both}
    assert len(pairs) == 258
    table = king(ds, Kinship(min_kinship=0.1)).pairs
    found = [
        k
        for i, j, k in table[["first", "second", "kinship"]].itertuples(index=False)
        if frozenset((i, j)) in pairs
    ]
    assert len(found) == 258
    assert round(np.mean(found), 4) == 0.2466
    assert round(min(found), 3) == 0.200
    assert round(max(found), 3) == 0.259


@pytest.fixture(scope="module")
def common(chr1, plink2, folder):
    """Variants of chr1 with a minor allele frequency of 5 % and more, nothing missing."""
    prefix, _ = chr1
    out = plink2("--bfile", prefix, "--maf", 0.05, "--make-bed", out=folder / "common")
    return out, open_plink(out)


def test_pca__eigenvalues_equal_plink2(common, plink2, tmp_path):
    prefix, ds = common
    plink2("--bfile", prefix, "--pca", 10, out=tmp_path / "x")
    theirs = np.loadtxt(tmp_path / "x.eigenval")
    model = pca(ds, PCA(n_components=10, ld_prune=False))
    np.testing.assert_allclose(model["pca_eigenvalue"].values, theirs, rtol=1e-4)
    vectors = read(tmp_path / "x", ".eigenvec").filter(like="PC").to_numpy(float)
    scores = model["sample_pca_projection"].values
    scores = scores / np.linalg.norm(scores, axis=0)
    # the first four stand apart (AFR, EAS, SAS, AMR); PLINK prints six digits
    overlap = np.abs((scores[:, :4] * vectors[:, :4]).sum(axis=0))
    np.testing.assert_allclose(overlap, 1, atol=1e-4)


def test_write_plink__plink2_reads_the_same_counts(trios, plink2, tmp_path):
    _, ds = trios
    part = select(ds, np.arange(0, ds.sizes["variants"], 5), np.arange(3, 430))
    write_plink(part, tmp_path / "mine")
    plink2(
        "--bfile", tmp_path / "mine", "--validate", "--freq", "counts", "--nonfounders", out=tmp_path / "x"
    )
    theirs = read(tmp_path / "x", ".acount")
    dosage = helpers.dosage_of(part)
    called = np.ma.masked_less(dosage, 0)
    # plink2 calls A1 of a .bim ALT
    assert theirs["ALT"].tolist() == part["variant_allele"].values[:, 1].tolist()
    assert theirs["ALT_CTS"].astype(int).tolist() == called.sum(axis=1).tolist()
    assert theirs["OBS_CT"].astype(int).tolist() == (2 * called.count(axis=1)).tolist()
