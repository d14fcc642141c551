"""Manhattan and quantile-quantile plots of an association."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.stats import beta as beta_distribution

from genoweave.report._drawing import GREY, INK, PALE, message_figure, plain, styled
from genoweave.report.figures import GENOME_WIDE

SUGGESTIVE = 5.0
_COLOURS = ("#1F3A5F", "#8FB8D3")
# Points that fall on one of these cells are drawn once: a figure stays small with millions of variants.
_CELLS = 1500
_BAND_POINTS = 400


@styled
def manhattan_figure(
    contig: NDArray[Any], position: NDArray[Any], log10_p: NDArray[np.float64], title: str = ""
) -> Figure:
    """-log10 p along the genome, contigs in their order of appearance.

    Parameters
    ----------
    contig, position
        Name of the chromosome and base pair of each variant.
    log10_p
        float64, log10 of p (negative); not drawn where it is not finite.
    title
        Above the figure.

    Returns
    -------
    Figure
        With lines at 5e-8 and 1e-5. Points that would cover each other are drawn once.
    """
    known = np.isfinite(log10_p)
    if not known.any():
        return message_figure("No variant was tested")
    names, place = _along_genome(np.asarray(contig)[known], np.asarray(position)[known].astype(np.float64))
    height = -log10_p[known]
    figure = Figure(figsize=(8.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for k, (name, rows) in enumerate(names):
        x, y = _thinned(place[rows], height[rows], place.max(), height.max())
        axes.scatter(x, y, s=5, color=_COLOURS[k % 2], linewidths=0, rasterized=True, label=plain(name))
    for level, style in ((GENOME_WIDE, "--"), (SUGGESTIVE, ":")):
        axes.axhline(level, color=GREY, lw=1, ls=style, zorder=0)
    pad = 0.01 * max(place.max(), 1.0)
    axes.set_xlim(-pad, place.max() + pad)
    axes.set_ylim(0, max(float(height.max()), GENOME_WIDE) * 1.07)
    axes.set(ylabel=r"$-\log_{10} p$", title=plain(title, 80))
    if len(names) == 1:
        _label_positions(axes, names[0][0], np.asarray(position)[known].min())
    else:
        _label_chromosomes(axes, names, place)
    return figure


def _label_positions(axes: Axes, name: str, first: int) -> None:
    """Tick megabases; the axis begins at the first variant."""
    axes.xaxis.set_major_formatter(lambda x, _: f"{(x + first) / 1e6:g}")
    low, high = axes.get_xlim()
    megabases = np.asarray(MaxNLocator(9).tick_values((low + first) / 1e6, (high + first) / 1e6))
    ticks = megabases * 1e6 - first
    axes.set_xticks(ticks[(low <= ticks) & (ticks <= high)])
    axes.set_xlabel(f"position on chromosome {plain(name, 12)} (Mb)")


def _label_chromosomes(
    axes: Axes, names: Sequence[tuple[str, NDArray[np.int64]]], place: NDArray[np.float64]
) -> None:
    """Name each chromosome below its middle."""
    middles = [(place[rows].min() + place[rows].max()) / 2 for _, rows in names]
    every = 1 if len(names) <= 24 else -(-len(names) // 24)
    labels = [plain(name, 6) if k % every == 0 else "" for k, (name, _) in enumerate(names)]
    axes.set_xticks(middles, labels, rotation=0 if len(names) <= 12 else 90)
    axes.tick_params(axis="x", length=0)
    axes.set_xlabel("chromosome")


@styled
def qq_figure(log10_p: NDArray[np.float64], lambda_gc: float, title: str = "") -> Figure:
    """-log10 p against what it would be without any association, with a 95 % band for each rank.

    Parameters
    ----------
    log10_p
        float64, log10 of p (negative); left out where it is not finite.
    lambda_gc
        Genomic inflation, written in the figure.
    title
        Above the figure.
    """
    observed = np.sort(-log10_p[np.isfinite(log10_p)])[::-1]
    n = len(observed)
    if not n:
        return message_figure("No variant was tested")
    expected = -np.log10((np.arange(n) + 0.5) / n)
    figure = Figure(figsize=(3.9, 3.9), layout="constrained")
    axes = figure.add_subplot()
    rank = np.unique(np.geomspace(1, n, _BAND_POINTS).round())
    low, high = (-np.log10(beta_distribution.ppf(q, rank, n - rank + 1)) for q in (0.975, 0.025))
    at = -np.log10((rank - 0.5) / n)
    axes.fill_between(at, low, high, color=PALE, alpha=0.6, linewidth=0, label="95 % band")
    ends = [0, float(expected.max())]
    axes.plot(ends, ends, color=GREY, lw=1, ls="--")
    x, y = _thinned(expected, observed, expected.max(), observed.max())
    axes.scatter(x, y, s=7, color=_COLOURS[0], linewidths=0, rasterized=True)
    axes.set_xlim(0, float(expected.max()) * 1.04)
    axes.set_ylim(0, max(float(observed.max()), float(np.max(high))) * 1.04)
    axes.set(xlabel=r"expected $-\log_{10} p$", ylabel=r"observed $-\log_{10} p$", title=plain(title, 60))
    axes.text(
        0.04, 0.96, rf"$\lambda_{{GC}}$ = {lambda_gc:.3f}", transform=axes.transAxes, va="top", color=INK
    )
    axes.legend(loc="upper left", bbox_to_anchor=(0, 0.93))
    return figure


@styled
def figure_bytes(figure: Figure, form: str = "png", dpi: int = 200) -> bytes:
    """PNG or SVG bytes of a figure; equal figures give equal bytes."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    with rc_context({"svg.hashsalt": "genoweave"}):
        figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def _along_genome(
    contig: NDArray[Any], position: NDArray[np.float64]
) -> tuple[Sequence[tuple[str, NDArray[np.int64]]], NDArray[np.float64]]:
    """Return each contig's rows, and the place of each variant with contigs laid end to end."""
    names, first = np.unique(contig.astype(str), return_index=True)
    ordered = names[np.argsort(first)]
    rows_of = [(str(name), np.flatnonzero(contig.astype(str) == name)) for name in ordered]
    place = np.empty(len(position))
    start = 0.0
    gap = 0.01 * position.max() if len(ordered) > 1 else 0.0
    for _, rows in rows_of:
        low = position[rows].min()
        place[rows] = start + position[rows] - low
        start = float(place[rows].max()) + gap
    return rows_of, place


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], widest: float, highest: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return one point for each cell of a fine grid."""
    column = np.floor(x / max(widest, 1e-300) * _CELLS).astype(np.int64)
    row = np.floor(y / max(highest, 1e-300) * _CELLS).astype(np.int64)
    _, kept = np.unique(column * (_CELLS + 2) + row, return_index=True)
    kept.sort()
    return x[kept], y[kept]
