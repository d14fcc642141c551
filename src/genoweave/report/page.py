"""Read what a run left behind and write ``report/index.html``, its figures and its tables."""

import base64
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from scipy.stats import norm

from genoweave.errors import DataError
from genoweave.report import _formats as fmt
from genoweave.report import _tables as tables
from genoweave.report import figures
from genoweave.report._drawing import finite, group_colours
from genoweave.report._formats import Table, masked_count

__all__ = ["masked_count", "write_report"]

logger = logging.getLogger(__name__)

_COLUMNS = {
    "maf": "group variant_id maf_real maf_synthetic frequency_expected frequency_synthetic frequency_se z",
    "embedding": "group kind pc1 pc2 tsne1 tsne2",
    "kinship_listed": "group degree kinship",
    "kinship_histogram": "left right pairs",
    "watermark": "id case n0 n1 n2 beta se z log10_p joint_beta joint_se joint_log10_p",
    "qc": "step samples_removed variants_removed samples_left variants_left",
    "groups": "group n_real n_synthetic n_donors max_copies same_source_pairs rejected_identical "
    "rejected_outside maf_rmse maf_r2 max_abs_z confusion_agreement",
    "confusion": "label predicted n",
    "pca": "component eigenvalue",
}
_WORDS = {"group", "variant_id", "kind", "degree", "id", "case", "step", "label", "predicted"}
_EVALUATION_KEYS = (
    "name", "mechanism", "epsilon", "flip_probability", "n_real", "n_synthetic", "n_variants",
    "n_relatives", "n_listed_pairs", "n_related_pairs", "n_causal", "heritability", "prevalence",
    "joint_fit", "flips_per_record", "kept_share",
)  # fmt: skip
_NO_STATEMENT = (
    "The run recorded no privacy statement. Treat these records as the source data: with the "
    "access controls under which the participants' genotypes are kept."
)


@dataclass(frozen=True)
class _Run:
    """What the report reads of a run folder."""

    folder: Path
    evaluation: dict[str, Any]
    manifests: list[dict[str, Any]]
    data: dict[str, pd.DataFrame]
    groups: list[str]


def write_report(run_folder: Path, allow_row_level: bool = False) -> Path:
    """Write the report of a finished run: one HTML page that needs no other file.

    Parameters
    ----------
    run_folder : Path
        Folder of the run. ``evaluation.json`` must be there; tables of ``evaluation/``,
        ``manifest/*.json``, ``config.toml`` and ``release/`` are used as far as they are.
    allow_row_level : bool
        Draw each real participant as a point in the embedding. By default real people appear as
        densities only. Counts of 1 to 20 people are hidden in either case.

    Returns
    -------
    Path
        ``report/index.html``. Beside it, ``report/figures/*.png`` and ``report/tables/*.tsv``.
        The same run gives the same bytes. Memory: the evaluation tables, once.

    Raises
    ------
    DataError
        ``evaluation.json`` is missing, or a table or manifest cannot be read.
    """
    run = _read_run(Path(run_folder))
    shown = _tables_of(run)
    images = {name: figures.figure_png(f) for name, f in _figures_of(run, allow_row_level).items()}
    report = run.folder / "report"
    for name, table in shown.items():
        _write(report / "tables" / f"{name}.tsv", table.tsv().encode())
    for name, png in images.items():
        _write(report / "figures" / f"{name}.png", png)
    context = _context(run, shown, images, allow_row_level)
    page = report / "index.html"
    _write(page, _environment().get_template("report.html.j2").render(context).encode())
    logger.info("report written with %d figures and %d tables", len(images), len(shown))
    return page


# Reading ----------------------------------------------------------------------------------------


def _read_run(folder: Path) -> _Run:
    path = folder / "evaluation.json"
    if not path.is_file():
        raise DataError(f"no evaluation.json in {folder}: run the validate stage, then the report")
    recorded = _read_json(path)
    evaluation = {**dict.fromkeys(_EVALUATION_KEYS), **recorded}
    manifests = [_read_json(file) for file in sorted((folder / "manifest").glob("*.json"))]
    data = {name: _read_table(folder / "evaluation", name) for name in _COLUMNS}
    return _Run(folder, evaluation, manifests, data, _group_names(evaluation, data))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); run its stage again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} should hold one JSON object; run its stage again")
    return content


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read a table with every column of the contract; one that is not there is empty or NaN."""
    path = folder / f"{name}.parquet"
    columns = _COLUMNS[name].split()
    try:
        table = pd.read_parquet(path) if path.is_file() else pd.DataFrame()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a Parquet table ({error}); run validate again") from error
    table = table.reindex(columns=columns)
    for column in columns:
        if column in _WORDS:
            table[column] = table[column].astype(object)
        elif not pd.api.types.is_numeric_dtype(table[column]):
            table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def _group_names(evaluation: Mapping[str, Any], data: Mapping[str, pd.DataFrame]) -> list[str]:
    names = [str(name) for name in evaluation.get("groups") or []]
    for table in ("groups", "maf", "embedding", "kinship_listed"):
        names += sorted({str(name) for name in data[table]["group"].dropna()} - set(names))
    return names


# What is shown ----------------------------------------------------------------------------------


def _tables_of(run: _Run) -> dict[str, Table]:
    data = run.data
    means = run.evaluation.get("kinship_means") or {}
    hide_total = _hides_total(run)
    built = [
        tables.stage_table(run.manifests, tables.hides_samples(data["qc"]), hide_total),
        tables.qc_table(data["qc"], hide_total),
        tables.group_table(data["groups"]),
        tables.confusion_table(data["confusion"], run.groups),
        tables.frequency_table(data["groups"], data["maf"]),
        tables.degree_table(means, data["kinship_listed"]),
        tables.class_table(data["kinship_histogram"], tables.hides_copies(data["groups"])),
        tables.watermark_table(data["watermark"]),
        tables.release_table(run.folder / "release"),
    ]
    return {table.name: table for table in built if table.rows}


def _figures_of(run: _Run, allow_row_level: bool) -> dict[str, Figure]:
    """Figures for which there is something to draw, by file name."""
    data, groups = run.data, run.groups
    found: dict[str, Figure] = {}
    if not finite(data["maf"], ["maf_real", "maf_synthetic"]).empty:
        found["maf"] = figures.maf_figure(data["maf"], groups)
        found["maf_change"] = figures.maf_change_figure(data["maf"], groups)
    if not data["embedding"].empty:
        found["pca_overview"] = figures.pca_overview_figure(data["embedding"], groups)
        found["embedding"] = figures.embedding_figure(data["embedding"], groups, allow_row_level)
    if not finite(data["kinship_listed"], ["kinship"]).empty:
        found["kinship_degree"] = figures.kinship_degree_figure(data["kinship_listed"], groups)
    if data["kinship_histogram"]["pairs"].sum() > 0:
        found["kinship_histogram"] = figures.kinship_histogram_figure(data["kinship_histogram"])
    if not data["watermark"].empty:
        found["watermark"] = figures.watermark_figure(data["watermark"])
    if not finite(data["pca"], ["eigenvalue"]).empty:
        found["scree"] = figures.scree_figure(data["pca"])
    return found


def _context(
    run: _Run,
    shown: Mapping[str, Table],
    images: Mapping[str, bytes],
    allow_row_level: bool,
) -> dict[str, Any]:
    evaluation = run.evaluation
    privacy = evaluation.get("privacy") or {}
    hide_total = _hides_total(run)
    return {
        "run": evaluation,
        "name": evaluation["name"] or "Synthetic cohort",
        "guarantee": str(privacy.get("guarantee") or "none"),
        "statement": privacy.get("statement") or _NO_STATEMENT,
        "n_real": (fmt.rounded_count if hide_total else masked_count)(evaluation["n_real"]),
        "groups": run.groups,
        "unused_groups": evaluation.get("unused_groups") or [],
        "colours": group_colours(run.groups),
        "tables": shown,
        "figures": {name: base64.b64encode(png).decode() for name, png in images.items()},
        "allow_row_level": allow_row_level,
        "checks": _checks(run, shown),
        "totals": _totals(run.manifests),
        "copies": _copies(run),
        "explained": _explained_share(evaluation["heritability"], evaluation["prevalence"]),
        "n_cases": _cases(evaluation),
        "shades": _shades(run.data["confusion"], run.groups),
        "rounded": hide_total or tables.hides_samples(run.data["qc"]),
        "watermark_means": _watermark_means(run.data["watermark"]),
        "config_sha256": _checksum(run.folder / "config.toml"),
        "versions": evaluation.get("versions") or {},
        "warnings": evaluation.get("warnings") or [],
    }


def _hides_total(run: _Run) -> bool:
    """Whether the number of participants would tell the size of a group of 20 or fewer."""
    small = any(fmt.is_small(n) for n in run.data["groups"]["n_real"])
    return small or bool(run.evaluation.get("unused_groups"))


def _checks(run: _Run, shown: Mapping[str, Table]) -> list[tuple[str, str]]:
    """Answer the main questions in a line each, read off the tables."""
    found: list[tuple[str, str]] = []
    for name, question in (
        ("frequencies", "Allele frequencies as the flips predict"),
        ("kinship_degrees", "Relatives as related as their pedigree says"),
    ):
        if name in shown:
            readings = [row[-1] for row in shown[name].cells]
            noun = "groups" if name == "frequencies" else "degrees"
            found.append((question, _verdict([r.startswith("Good") for r in readings], noun)))
    agreement = run.data["groups"]["confusion_agreement"].dropna()
    if len(agreement):
        answer = _verdict(list(agreement >= 0.95), "groups")
        found.append(("PCs confirm at least 95 % of the ancestry labels", answer))
    log10_p = run.data["watermark"]["log10_p"].dropna()
    if len(log10_p):
        answer = _verdict(list(log10_p < tables.GENOME_WIDE_LOG10_P), "SNPs")
        found.append(("Watermark SNPs found when tested alone (p < 5×10⁻⁸)", answer))
    return found


def _verdict(good: Sequence[bool], noun: str) -> str:
    word = "Good" if all(good) else "Check"
    return f"{word}: {sum(map(bool, good))} of {len(good)} {noun}"


def _totals(manifests: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    wall = [m["wall_seconds"] for m in manifests if not fmt.missing(m.get("wall_seconds"))]
    peak = [m["peak_memory_bytes"] for m in manifests if m.get("peak_memory_bytes")]
    return {
        "wall": fmt.duration(sum(wall) if wall else None),
        "peak": fmt.size(max(peak) if peak else None),
    }


def _copies(run: _Run) -> dict[str, Any]:
    """Pairs that share a donor: declared, and as KING finds them."""
    declared = run.data["groups"]["same_source_pairs"]
    found = tables.class_table(run.data["kinship_histogram"], hide_copies=False)
    twins = float(str(found.rows[0][-1])) if found.rows else float("nan")
    total = float(declared.sum()) if declared.notna().any() else float("nan")
    if tables.hides_copies(run.data["groups"]):
        return {"declared": fmt.HIDDEN, "twins": fmt.HIDDEN, "more": False, "fewer": False}
    return {
        "declared": masked_count(total),
        "twins": fmt.count(twins),
        "more": twins > total,
        "fewer": twins < 0.95 * total,
    }


def _explained_share(heritability: object, prevalence: object) -> str:
    """Share of the case status' variance that the genetic value explains, liability model."""
    if heritability is None or prevalence is None:
        return fmt.MISSING
    h2, k = float(heritability), float(prevalence)  # type: ignore[arg-type]
    if not 0 < k < 1:
        return fmt.MISSING
    return fmt.decimal(3)(h2 * float(norm.pdf(norm.isf(k))) ** 2 / (k * (1 - k)))


def _cases(evaluation: Mapping[str, Any]) -> str:
    n, prevalence = evaluation["n_synthetic"], evaluation["prevalence"]
    return fmt.MISSING if n is None or prevalence is None else fmt.count(round(n * prevalence))


def _shades(confusion: pd.DataFrame, groups: Sequence[str]) -> list[list[float]]:
    """How dark each cell of the confusion table is: its share of its row; hidden counts are 0."""
    table = tables.confusion_table(confusion, groups)
    values = np.array([[_shown_number(cell) for cell in row[1:]] for row in table.rows], float)
    if not values.size:
        return []
    sums = values.sum(axis=1, keepdims=True)
    shares: list[list[float]] = np.round(values / np.where(sums > 0, sums, 1), 2).tolist()
    return shares


def _shown_number(cell: object) -> float:
    digits = str(cell).replace(",", "").replace("≈", "")
    return float(digits) if digits.isdigit() else 0.0


def _watermark_means(watermark: pd.DataFrame) -> dict[str, str]:
    return {
        "single": fmt.power_of_ten(tables.mean_log10_p(watermark["log10_p"])),
        "joint": fmt.power_of_ten(tables.mean_log10_p(watermark["joint_log10_p"])),
    }


def _checksum(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


# Writing ----------------------------------------------------------------------------------------


def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    env = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(count=fmt.count, people=masked_count, percent=fmt.percent, number=_number)
    return env


def _number(value: object) -> str:
    return fmt.text(value) if not isinstance(value, (int, float)) else f"{value:.4g}"


def _write(path: Path, content: bytes) -> None:
    """Write beside ``path``, then rename: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    os.replace(partial, path)
