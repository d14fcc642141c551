"""The rows of the comparison: each runs whole commands side by side and compares what they found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import association
import numpy as np
from lab import GIB, Entry, Lab, Row, Target, facts, ratio
from measuring import Measured
from numpy.typing import NDArray
from outputs import (
    Check,
    both,
    column,
    eigenvalues,
    kin0,
    same_names,
    same_numbers,
    stored_calls,
    stored_names,
)

_QC = ("--mind", 0.05, "--geno", 0.05, "--hwe", 1e-6, "--maf", 0.01)
Numbers = NDArray[np.float64]


def entry(lab: Lab, program: str, shape: str, measured: Measured | None, work: float | None = None) -> Entry:
    """Make an entry whose work is the shape's genotypes unless it is told."""
    name = "toy" if lab.toy else shape
    return Entry(program, name, work or float(lab.shape(shape).genotypes), measured)


def peak(ours: Measured, must: float, aim: float | None = None) -> Target:
    """Hold our peak memory, GiB, to a limit."""
    return Target("peak GiB", ours.peak_bytes / GIB, must, aim, at_least=False)


def cpu_ratio(ours: Entry, theirs: Entry, must: float, aim: float | None = None) -> list[Target]:
    """Hold the peer's CPU over ours to a limit, where the peer is there."""
    if theirs.absent:
        return []
    return [Target(f"CPU of {theirs.program} / ours", ratio(ours, theirs), must, aim)]


def import_bed(lab: Lab) -> Row:
    """.bed to a Zarr store, F; sgkit on A, since its memory grows with the genotypes."""
    prefix, out = lab.prefix("F"), lab.out("F.vcz")
    measured = lab.ours("import", prefix, out)
    ours = entry(lab, "genoweave import", "F", measured)
    theirs_out = lab.out("F.bio2zarr.vcz")
    bio2zarr = entry(
        lab, "plink2zarr convert", "F", lab.peer("plink2zarr", "convert", prefix, theirs_out, "-f", "-Q")
    )
    other = lab.prefix("A")
    sgkit = entry(
        lab, "sgkit read_plink, to_zarr", "A",
        lab.task("sgkit_python", "sgkit-import", other, lab.out("A.sgkit.zarr")),
    )  # fmt: skip
    bed = Path(f"{prefix}.bed").stat().st_size
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    row = Row("import", [ours, bio2zarr, sgkit])
    row.targets = [
        *cpu_ratio(ours, bio2zarr, 20),
        *cpu_ratio(ours, sgkit, 20, 60),
        Target("store / .bed bytes", size / bed, 0.7, at_least=False),
        peak(measured, 1.0),
    ]
    if not bio2zarr.absent:
        row.checks = [stored_calls(out, theirs_out)]
    return row


def quality_control(lab: Lab) -> Row:
    """All four filters with the survivors written, F, from the .bed and from the store; sgkit on A."""
    prefix, store = lab.prefix("F"), lab.out("F.vcz")
    if not store.exists():
        lab.ours("import", prefix, store)
    theirs_out = lab.out("F.plink2")
    from_bed, from_store = (
        lab.ours("qc", source, *_QC, "--hwe-groups", "pooled", "--out", lab.out(f"F.qc{i}.vcz"))
        for i, source in enumerate((prefix, store))
    )
    plink2 = entry(
        lab, "plink2 --make-bed", "F", lab.plink2("--bfile", prefix, *_QC, "--make-bed", "--out", theirs_out)
    )
    bed = entry(lab, "genoweave qc, .bed", "F", from_bed)
    zarr = entry(lab, "genoweave qc, store", "F", from_store)
    sgkit = entry(lab, "sgkit statistics", "A", lab.task("sgkit_python", "sgkit-qc", lab.prefix("A")))
    row = Row("quality control", [bed, zarr, plink2, sgkit])
    row.targets = [
        *cpu_ratio(bed, plink2, 0.5, 1.0),
        *cpu_ratio(zarr, plink2, 0.5, 1.0),
        *cpu_ratio(bed, sgkit, 50),
    ]
    if not plink2.absent:
        variants, samples = column(Path(f"{theirs_out}.bim"), 1), column(Path(f"{theirs_out}.fam"), 1)
        row.checks = [
            both(
                same_names("variants", stored_names(lab.out(f"F.qc{i}.vcz"), "variant_id"), variants),
                same_names("samples", stored_names(lab.out(f"F.qc{i}.vcz"), "sample_id"), samples),
            )
            for i in range(2)
        ]
    return row


def pca_200(lab: Lab) -> Row:
    """200 components of E; scikit-learn on C, in memory, and ours on C to compare eigenvalues."""
    k = 10 if lab.toy else 200
    measured = lab.ours("pca", lab.prefix("E"), "-k", k, "--no-ld-prune", "--out", lab.out("E.pca"))
    ours = entry(lab, "genoweave pca", "E", measured)
    small = lab.prefix("C")
    same = entry(
        lab, "genoweave pca", "C", lab.ours("pca", small, "-k", k, "--no-ld-prune", "--out", lab.out("C.pca"))
    )
    theirs = entry(
        lab, "scikit-learn randomized_svd", "C",
        lab.task("sklearn_python", "sklearn-pca", small, k, lab.out("C.sklearn")),
    )  # fmt: skip
    row = Row(f"PCA, {k} components", [ours, same, theirs])
    row.targets = [Target("wall s", measured.wall, 60, 20, at_least=False), peak(measured, 2.0, 1.5)]
    if not theirs.absent:
        found, expected = eigenvalues(lab.out("C.pca.eigenval")), eigenvalues(lab.out("C.sklearn"))
        row.checks = [leading(found, expected, 5, 1e-3)]
        gap = np.max(1 - expected[: len(found)] / found)
        row.notes.append(f"over all components scikit-learn's eigenvalues fall short by up to {gap:.1%}")
    row.notes.append("PLINK 2 gives at most 100 components, and 2k(k+1) may not exceed the variants")
    return row


def pca_20(lab: Lab) -> Row:
    """20 components of A against PLINK 2's randomised ones."""
    k = 5 if lab.toy else 20
    prefix = lab.prefix("A")
    ours = entry(
        lab,
        "genoweave pca",
        "A",
        lab.ours("pca", prefix, "-k", k, "--no-ld-prune", "--out", lab.out("A.pca")),
    )
    theirs = entry(
        lab, f"plink2 --pca {k} approx", "A",
        lab.plink2("--bfile", prefix, "--pca", k, "approx", "--out", lab.out("A.plink2")),
    )  # fmt: skip
    row = Row(f"PCA, {k} components", [ours, theirs], cpu_ratio(ours, theirs, 5, 10))
    if not theirs.absent:
        found, expected = eigenvalues(lab.out("A.pca.eigenval")), eigenvalues(lab.out("A.plink2.eigenval"))
        row.checks = [leading(found, expected, 5, 1e-2)]
    return row


def leading(found: Numbers, expected: Numbers, n: int, tolerance: float) -> Check:
    """Compare leading eigenvalues; those behind the groups' are noise, which approximations get wrong."""
    gap = float(np.max(np.abs(found[:n] / expected[:n] - 1)))
    return Check(gap <= tolerance, f"the first {n} eigenvalues differ by up to {gap:.2g} of themselves")


def king(lab: Lab) -> Row:
    """Kinship of all pairs of D."""
    prefix, out = lab.prefix("D"), lab.out("D.genoweave.kin0")
    measured = lab.ours("king", prefix, "--min-kinship", 0.04, "--out", out)
    shape = lab.shape("D")
    pairs = shape.samples * (shape.samples - 1) / 2 * shape.variants
    ours = entry(lab, "genoweave king", "D", measured, pairs)
    options = ("--make-king-table", "--king-table-filter", 0.04)
    theirs = entry(
        lab, "plink2 --make-king-table", "D",
        lab.plink2("--bfile", prefix, *options, "--out", lab.out("D.plink2")), pairs,
    )  # fmt: skip
    row = Row("KING, all pairs", [ours, theirs])
    row.targets = [*cpu_ratio(ours, theirs, 8, 12), peak(measured, 0.5)]
    if not theirs.absent:
        row.checks = [same_numbers("pairs", kin0(out), kin0(lab.out("D.plink2.kin0")), 1e-6)]
    return row


def flips(lab: Lab) -> Row:
    """SynGen6's channel at epsilon 6 on packed genotypes, on one thread, and numpy's way."""
    samples, variants = (3_000, 200) if lab.toy else (30_000, 7_180)
    ours = lab.task("own", "flips", samples, variants)
    theirs = lab.task("own", "numpy-flips", samples, variants // 20)
    assert ours is not None
    assert theirs is not None
    entries = [
        Entry("genoweave kernel", f"{samples:,} x {variants:,}", samples * variants, only(ours)),
        Entry("numpy", f"{samples:,} x {variants // 20:,}", samples * (variants // 20), only(theirs)),
    ]
    rate = samples * variants / facts(ours)["cpu"] / 1e9
    row = Row("flips (kernel only)", entries)
    row.targets = [Target("G genotypes/s a core", rate, 20, 25), *cpu_ratio(entries[0], entries[1], 100)]
    # a quarter each of missing, 0, 1, 2; 2q of those called change
    share = 2 / (np.exp(6.0) + 2) * 0.75
    spread = np.sqrt(share / (samples * variants))
    row.checks = [
        Check(
            abs(facts(ours)["changed"] - share) < 6 * spread,
            f"{facts(ours)['changed']:.6f} of genotypes changed, expected {share:.6f}",
        )
    ]
    return row


def only(measured: Measured) -> Measured:
    """Return the time that a task says the work itself took."""
    told = facts(measured)
    return Measured(told["wall"], told["cpu"], measured.peak_bytes, measured.output)


def hardy_weinberg(lab: Lab) -> Row:
    """Exact tests of all variants of F in each group and pooled, beside counting them."""
    prefix = lab.prefix("F")
    measured = lab.task("own", "hwe", f"{prefix}.bed", f"{prefix}.ancestry.tsv")
    assert measured is not None
    told = facts(measured)
    share = told["test_cpu"] / (told["test_cpu"] + told["count_cpu"])
    row = Row("HWE (kernel only)", [entry(lab, "genoweave kernel", "F", only(measured))])
    row.targets = [Target("share of counting and testing", share, 0.5, 0.1, at_least=False)]
    return row


ROWS: dict[str, Callable[[Lab], Row]] = {
    "import": import_bed,
    "qc": quality_control,
    "pca200": pca_200,
    "pca20": pca_20,
    "king": king,
    "flips": flips,
    "linear": association.linear,
    "logistic": association.logistic,
    "fits": association.logistic_fits,
    "hwe": hardy_weinberg,
}
