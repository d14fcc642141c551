"""The tables of the report, and what each row means in words."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import logsumexp
from scipy.stats import norm

from genoweave.report import _formats as fmt
from genoweave.report._drawing import DEGREE_CUTS, EXPECTED_KINSHIP, finite
from genoweave.report._formats import Table

KINSHIP_CLASSES = ("twin or copy", "first degree", "second degree", "third degree", "unrelated")
GENOME_WIDE_LOG10_P = float(np.log10(5e-8))

_STAGES = (
    "import", "qc", "pca", "ancestry", "synthesis", "phenotype", "watermark", "relatives",
    "kinship", "validate", "release",
)  # fmt: skip
_NOT_PEOPLE = re.compile(
    r"variant|snp|pair|component|chunk|causal|group|watermark|file|tile|byte|task|flip|segment|pc"
)
_PEOPLE = re.compile(r"sample|people|donor|source|reject")
_RELEASE_FILES = {
    "_watermark_snp.csv": "watermark SNPs; its last row holds the p-values",
    "_snp.csv": "synthetic genotypes, one row per record (0, 1, 2)",
    "_phenotype.csv": "case-control status of each synthetic record",
    "_kinship_relatedness.csv": "listed child–ancestor pairs with degree and kinship",
    "_relative_snps.csv": "genotypes of the simulated relatives",
    "variants.tsv": "chromosome, position, id and alleles of each SNP",
}


def stage_table(manifests: Sequence[Mapping[str, object]], hide_qc: bool, hide_total: bool) -> Table:
    """Time, memory and counts of each stage, in the order of the pipeline.

    ``hide_qc`` rounds the people before quality control, ``hide_total`` those of every stage.
    """
    known = {name: place for place, name in enumerate(_STAGES)}
    ordered = sorted(manifests, key=lambda m: known.get(str(m.get("stage")), len(known)))
    rows: list[list[object]] = []
    for m in ordered:
        vague = hide_total or (hide_qc and m.get("stage") in ("import", "qc"))
        counts = _counts_text(m.get("counts"), vague)
        measured = [m.get(k) for k in ("wall_seconds", "cpu_seconds", "peak_memory_bytes")]
        rows.append([m.get("stage"), *measured, counts])
    columns = {
        "Stage": fmt.text, "Time": fmt.duration, "CPU": fmt.duration, "Peak memory": fmt.size,
        "Counts": fmt.text,
    }  # fmt: skip
    return Table("stages", "Stages of the run, in order.", columns, rows)


def qc_table(qc: pd.DataFrame, hide_total: bool) -> Table:
    """Tabulate what each step of quality control removed and left.

    Where a step removed 1 to 20 people, the people left before it are rounded; with
    ``hide_total``, so are those left in the end.
    """
    vague = fmt.rounded_count if hide_total or hides_samples(qc) else fmt.masked_count
    rows: list[list[object]] = []
    for place, (_, row) in enumerate(qc.iterrows()):
        exact = place == len(qc) - 1 and not hide_total
        left = row["samples_left"] if exact else vague(row["samples_left"])
        removed = [row["samples_removed"], row["variants_removed"]]
        rows.append([row["step"], removed[0], left, removed[1], row["variants_left"]])
    columns = {
        "Step": fmt.text, "People removed": fmt.masked_count, "People left": fmt.masked_count,
        "Variants removed": fmt.count, "Variants left": fmt.count,
    }  # fmt: skip
    return Table("qc", "Quality control, step by step.", columns, rows)


def hides_samples(qc: pd.DataFrame) -> bool:
    """Whether a step of quality control removed 1 to 20 people."""
    return any(fmt.is_small(n) for n in qc["samples_removed"])


def hides_copies(groups: pd.DataFrame) -> bool:
    """Whether the copies in all groups together would tell of a group of 20 donors or fewer."""
    return any(fmt.is_small(n) for n in [*groups["n_donors"], *groups["n_real"]])


def group_table(groups: pd.DataFrame) -> Table:
    """Real and synthetic people of each group, the copies of one donor, and what was redrawn."""
    rows: list[list[object]] = []
    for _, row in groups.iterrows():
        # from the copies one could work out the number of donors
        few = fmt.is_small(row["n_donors"]) or fmt.is_small(row["n_real"])
        copies = [fmt.HIDDEN if few else row[name] for name in ("max_copies", "same_source_pairs")]
        redrawn = [row["rejected_identical"], row["rejected_outside"]]
        agreement = fmt.masked_share(row["confusion_agreement"], row["n_real"])
        people = [row["n_real"], row["n_synthetic"], row["n_donors"]]
        rows.append([row["group"], *people, *copies, *redrawn, agreement])
    columns = {
        "Group": fmt.text, "Participants": fmt.masked_count, "Synthetic records": fmt.count,
        "Donors used": fmt.masked_count, "Most copies of one donor": fmt.count,
        "Same-source pairs": fmt.masked_count, "Redrawn: identical": fmt.masked_count,
        "Redrawn: outside group": fmt.masked_count, "PCs agree with label": _right,
    }  # fmt: skip
    return Table("groups", "Ancestry groups, donors and copies.", columns, rows)


def confusion_table(confusion: pd.DataFrame, groups: Sequence[str]) -> Table:
    """People by label (row) and by what the classifier on the PCs says (column)."""
    counts = finite(confusion, ["n"])
    predicted = _ordered(counts["predicted"], groups)
    rows: list[list[object]] = []
    for label in _ordered(counts["label"], groups):
        of_label = counts[counts["label"].astype(str) == label]
        by = of_label.groupby(of_label["predicted"].astype(str))["n"].sum()
        cells = [int(by.get(name, 0)) for name in predicted]
        write = fmt.rounded_count if any(map(fmt.is_small, cells)) else fmt.masked_count
        rows.append([label, *map(write, cells)])
    columns = {"Label / PCs": fmt.text, **{name: _right for name in predicted}}
    return Table("confusion", "Label (rows) against the PCs (columns).", columns, rows)


def frequency_table(groups: pd.DataFrame, maf: pd.DataFrame) -> Table:
    """Agreement of the allele frequencies per group, against what chance would give."""
    rows: list[list[object]] = []
    for _, row in groups.iterrows():
        snps = finite(maf[maf["group"] == row["group"]], ["maf_real", "frequency_expected"])
        rmse = _expected_rmse(snps)
        # two-sided; a false alarm in 1 of 100 runs of this group, SNPs taken as independent
        bound = float(norm.isf(0.005 / len(snps))) if len(snps) else float("nan")
        reading = _read_frequencies(row["maf_rmse"], rmse, row["max_abs_z"], bound)
        numbers = [row["maf_rmse"], rmse, row["maf_r2"], row["max_abs_z"], bound]
        rows.append([row["group"], *numbers, reading])
    columns = {
        "Group": fmt.text, "RMSE": fmt.decimal(5), "RMSE by flips and chance": fmt.decimal(5),
        "R²": fmt.decimal(4), "max |z|": fmt.decimal(2), "chance limit": fmt.decimal(2),
        "Reading": fmt.text,
    }  # fmt: skip
    return Table("frequencies", "Minor allele frequencies, synthetic against real.", columns, rows)


def degree_table(means: Mapping[str, Mapping[str, float]], listed: pd.DataFrame) -> Table:
    """Mean KING kinship of the listed pairs by degree, against the pedigree's."""
    rows: list[list[object]] = []
    for place, (degree, expected) in enumerate(EXPECTED_KINSHIP.items()):
        values = listed.loc[listed["degree"] == degree, "kinship"].dropna().astype(float)
        known = means.get(degree) or {"n": len(values), "mean": values.mean(), "sd": values.std()}
        upper, lower = DEGREE_CUTS[place], DEGREE_CUTS[place + 1]
        right = float(((values >= lower) & (values < upper)).mean())
        n, mean, sd = (_float(known.get(key)) for key in ("n", "mean", "sd"))
        if n > 0:
            reading = _read_kinship(n, mean, sd, expected)
            rows.append([degree, int(n), mean, sd, expected, right, reading])
    columns = {
        "Degree": fmt.text, "Listed pairs": fmt.count, "Mean": fmt.decimal(4),
        "SD": fmt.decimal(4), "Expected": fmt.decimal(4), "In its degree's range": fmt.share,
        "Reading": fmt.text,
    }  # fmt: skip
    return Table("kinship_degrees", "KING kinship of the listed pairs.", columns, rows)


def class_table(hist: pd.DataFrame, hide_copies: bool) -> Table:
    """All pairs by the class that KING's cuts give them, a bin counted at its midpoint.

    ``hide_copies`` leaves out the number of twins and copies (see `hides_copies`).
    """
    bins = finite(hist, ["left", "right", "pairs"])
    middle = (bins["left"] + bins["right"]) / 2
    edges = [np.inf, *DEGREE_CUTS, -np.inf]
    counts: list[object] = [
        int(bins.loc[(middle >= low) & (middle < high), "pairs"].sum()) for high, low in pairwise(edges)
    ]
    if hide_copies:
        counts[0] = fmt.HIDDEN
    ranges = [f"≥ {DEGREE_CUTS[0]}", *(f"≥ {cut}" for cut in DEGREE_CUTS[1:]), "below"]
    rows = list(zip(KINSHIP_CLASSES, ranges, counts, strict=True)) if len(bins) else []
    columns = {"Class": fmt.text, "Kinship": _right, "Pairs": fmt.count}
    return Table("kinship_classes", "All pairs by KING class.", columns, rows)


def watermark_table(watermark: pd.DataFrame) -> Table:
    """One row per watermark SNP and a row of means (the paper's Table I)."""
    single, joint = watermark["log10_p"].astype(float), watermark["joint_log10_p"].astype(float)
    rows: list[list[object]] = [
        [
            row["id"], row["case"], row["n0"], row["n1"], row["n2"], row["beta"], row["se"],
            row["z"], fmt.power_of_ten(row["log10_p"]), row["joint_beta"],
            fmt.power_of_ten(row["joint_log10_p"]),
        ]
        for _, row in watermark.iterrows()
    ]  # fmt: skip
    if rows:
        means = [watermark[name].astype(float).mean() for name in ("beta", "se", "z")]
        joint_beta = watermark["joint_beta"].astype(float).mean()
        of_p = [fmt.power_of_ten(mean_log10_p(single)), fmt.power_of_ten(mean_log10_p(joint))]
        rows.append(["mean", "", "", "", "", *means, of_p[0], joint_beta, of_p[1]])
    columns = {
        "SNP": fmt.text, "Case": fmt.text, "N₀": fmt.count, "N₁": fmt.count, "N₂": fmt.count,
        "β": fmt.decimal(3), "SE": fmt.decimal(4), "z": fmt.decimal(1), "p": _right,
        "β, joint": fmt.decimal(3), "p, joint": _right,
    }  # fmt: skip
    return Table("watermark", "Watermark SNPs.", columns, rows)


def mean_log10_p(log10_p: pd.Series) -> float:
    """log10 of the mean p-value, found without leaving the log scale; NaN without values."""
    values = log10_p.astype(float).dropna().to_numpy()
    if not len(values):
        return float("nan")
    return float(logsumexp(values * np.log(10)) - np.log(len(values))) / float(np.log(10))


def release_table(folder: Path) -> Table:
    """Name, size and meaning of what lies in the release folder."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    rows = [[entry.name, _size_of(entry), _describe(entry.name)] for entry in entries]
    columns = {"File": fmt.text, "Size": fmt.size, "Content": fmt.text}
    return Table("release", "Files of the release.", columns, rows)


def _read_frequencies(rmse: float, expected: float, max_z: float, bound: float) -> str:
    if not np.isfinite([rmse, expected, max_z, bound]).all():
        return "Not measured"
    if max_z > bound:
        return "Check: a SNP beyond the chance limit"
    if rmse > 1.25 * expected:
        return "Check: RMSE above flips and chance"
    return "Good: as flips and chance give"


def _expected_rmse(snps: pd.DataFrame) -> float:
    """RMSE that the channel's shift and the noise of frequencies give together."""
    if snps.empty or "frequency_se" not in snps:
        return float("nan")
    f = snps["frequency_expected"].to_numpy(float)
    shift = np.minimum(f, 1 - f) - snps["maf_real"].to_numpy(float)
    return float(np.sqrt(np.mean(shift**2 + snps["frequency_se"].to_numpy(float) ** 2)))


def _read_kinship(n: float, mean: float, sd: float, expected: float) -> str:
    error = sd / np.sqrt(n) if np.isfinite(sd) else 0.0
    if not np.isfinite(mean):
        return "Not measured"
    # The flips cost 1 to 4 %, and the smaller heterozygosity in the denominator reads low by up to 0.01
    # at a few thousand SNPs.
    if -(0.05 * expected + 0.01) - 2 * error <= mean - expected <= 0.05 * expected + 2 * error:
        return "Good: as the pedigree says"
    return "Check: mean differs from the pedigree"


def _counts_text(counts: object, vague: bool) -> str | None:
    if not isinstance(counts, Mapping):
        return None
    parts = []
    for key, value in counts.items():
        name = str(key).lower()
        people = fmt.rounded_count if vague else fmt.masked_count
        if isinstance(value, float) and not value.is_integer():
            shown = f"{value:.4g}"
        else:
            things = _NOT_PEOPLE.search(name) and not _PEOPLE.search(name)
            shown = fmt.count(value) if things else people(value)
        if not isinstance(value, Mapping | list):
            parts.append(f"{str(key).replace('_', ' ')} {shown}")
    return ", ".join(parts)


def _ordered(names: pd.Series, groups: Sequence[str]) -> list[str]:
    present = {str(name) for name in names.dropna()}
    return [g for g in groups if g in present] + sorted(present - set(groups))


def _size_of(entry: Path) -> int:
    files = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(file.stat().st_size for file in files if file.is_file())


def _describe(name: str) -> str | None:
    plain = name.removesuffix(".gz").removesuffix(".zst")
    return next((words for end, words in _RELEASE_FILES.items() if plain.endswith(end)), None)


def _float(value: object) -> float:
    return float("nan") if fmt.missing(value) else float(value)  # type: ignore[arg-type]


def _right(value: object) -> str:
    """Write a value that is already written, aligned as a number."""
    return fmt.text(value)
