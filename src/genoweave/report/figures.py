"""The figures of the report: one function per figure, a DataFrame in, a matplotlib Figure out.

Only matplotlib's object interface is used, so nothing is shown, kept open or chosen globally.
Each function takes ``groups``, the order of the ancestry groups, so that a group has one colour on
the whole page. Missing and infinite values are left out; a table with nothing to draw gives a
figure that says so.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from genoweave.report._drawing import (
    DEGREE_COLOURS,
    DENSITY_COLOURS,
    EMBEDDINGS,
    EXPECTED_KINSHIP,
    GREY,
    INK,
    PALE,
    degree_histograms,
    degree_ranges,
    dot,
    draw_density,
    embedding_panel,
    finite,
    group_colours,
    group_panels,
    groups_in,
    maf_change,
    maf_histogram,
    maf_scatter,
    mark_cuts,
    message_figure,
    name_degrees,
    order,
    plain,
    points,
    styled,
)

GENOME_WIDE = -np.log10(5e-8)


@styled
def figure_png(figure: Figure, dpi: int = 150) -> bytes:
    """PNG bytes of ``figure``; equal figures give equal bytes (no date, no software name)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


@styled
def maf_figure(maf: pd.DataFrame, groups: Sequence[str] | None = None) -> Figure:
    """Minor allele frequencies, real against synthetic, per group (the paper's Fig. 2).

    Parameters
    ----------
    maf : DataFrame
        ``group``, ``maf_real``, ``maf_synthetic``, ``frequency_expected`` (not folded): one row
        per group and variant. NaN rows are left out.
    groups : sequence of str, optional
        Groups to draw, in order; those of ``maf``, sorted, by default.

    Returns
    -------
    Figure
        Per group, the two distributions and the frequencies of the same SNPs against each other.
    """
    rows = finite(maf, ["maf_real", "maf_synthetic"])
    names = groups_in(rows, groups)
    if not names:
        return message_figure("No allele frequencies to show")
    handles: list[Artist] = [
        Patch(color=PALE, label="real"),
        Line2D([], [], color=INK, lw=1.5, label="synthetic (group colour)"),
        Line2D([], [], color=INK, lw=1, ls="--", label="expected after the flips"),
        Line2D([], [], color=GREY, lw=1, ls=":", label="no change"),
    ]
    figure, panels = group_panels(names, handles, width_ratios=(1.3, 1.0), height=2.75)
    for name, colour in group_colours(order(groups, names)).items():
        if name in panels:
            left, right = panels[name]
            of_group = rows[rows["group"] == name]
            maf_histogram(left, of_group, colour)
            maf_scatter(right, of_group, colour)
    return figure


@styled
def maf_change_figure(maf: pd.DataFrame, groups: Sequence[str] | None = None) -> Figure:
    """Synthetic minus real MAF against the real MAF, per group, with what the flips predict.

    ``maf`` is the table of `maf_figure`. Lines are medians, bands the 5-95 % range, of SNPs of
    like frequency. All panels share their axes.
    """
    rows = finite(maf, ["maf_real", "maf_synthetic"])
    names = groups_in(rows, groups)
    if not names:
        return message_figure("No allele frequencies to show")
    n_columns = min(4, len(names)) if len(names) not in (5, 6) else 3
    n_rows = -(-len(names) // n_columns)
    size = (min(8.6, 1.0 + 3.8 * n_columns), 0.5 + 1.9 * n_rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    colours = group_colours(order(groups, names))
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes, name in zip(grid.flat, names, strict=False):
        maf_change(axes, rows[rows["group"] == name], colours[name])
        axes.set_title(plain(name), fontweight="bold")
        axes.tick_params(labelbottom=True)
    figure.supxlabel("MAF, real", fontsize=9)
    figure.supylabel("MAF, synthetic − real", fontsize=9)
    handles: list[Artist] = [
        Line2D([], [], color=INK, lw=1, ls="--", label="expected after the flips"),
        Line2D([], [], color=GREY, lw=1, ls=":", label="no change"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


@styled
def embedding_figure(
    embedding: pd.DataFrame,
    groups: Sequence[str] | None = None,
    allow_row_level: bool = False,
) -> Figure:
    """PCA and t-SNE of real and synthetic people in one embedding, per group (Fig. 3).

    Parameters
    ----------
    embedding : DataFrame
        ``group``, ``kind`` ("real" or "synthetic"), ``pc1``, ``pc2``, ``tsne1``, ``tsne2``; NaN
        where a person was left out of the t-SNE.
    groups : sequence of str, optional
        Groups to draw, in order.
    allow_row_level : bool
        Draw each real participant as a point. By default they appear as density contours only,
        and not at all where there are 20 or fewer.

    Returns
    -------
    Figure
        At most 2,000 real people per panel enter a density, and 800 records are drawn.
    """
    names = groups_in(embedding, groups)
    if not names:
        return message_figure("No embedding to show")
    handles: list[Artist] = [
        Patch(color=DENSITY_COLOURS[2], label="real: contours hold 25, 50, 75 and 90 % of people"),
        dot(INK, "synthetic record (group colour)"),
    ]
    if allow_row_level:
        handles.append(dot(GREY, "real participant", marker="x"))
    figure, panels = group_panels(names, handles, width_ratios=(1.0, 1.0), height=2.75)
    for name, colour in group_colours(order(groups, names)).items():
        if name in panels:
            of_group = embedding[embedding["group"] == name]
            for axes, columns in zip(panels[name], EMBEDDINGS, strict=True):
                embedding_panel(axes, of_group, columns, colour, allow_row_level)
    return figure


@styled
def pca_overview_figure(embedding: pd.DataFrame, groups: Sequence[str] | None = None) -> Figure:
    """All groups on the first two components: contours of the real people, synthetic points.

    ``embedding`` is the table of `embedding_figure`. Participants are shown by contours only.
    """
    rows = finite(embedding, ["pc1", "pc2"])
    names = groups_in(rows, groups)
    if not names:
        return message_figure("No components to show")
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    colours = group_colours(order(groups, names))
    for name in names:
        of_group = rows[rows["group"] == name]
        x, y = points(of_group[of_group["kind"] == "synthetic"], "pc1", "pc2", 400)
        axes.scatter(x, y, s=5, color=colours[name], alpha=0.45, linewidths=0, zorder=2)
        real = points(of_group[of_group["kind"] == "real"], "pc1", "pc2")
        draw_density(axes, *real, edge=colours[name])
    handles = [dot(colours[name], plain(name)) for name in names]
    handles += [Line2D([], [], color=INK, lw=1.2, label="real: 50 and 90 %\nof the group")]
    axes.set(xlabel="PC 1", ylabel="PC 2")
    figure.legend(handles=handles, loc="outside right center")
    return figure


@styled
def kinship_degree_figure(listed: pd.DataFrame, groups: Sequence[str] | None = None) -> Figure:
    """KING kinship of the listed child-ancestor pairs, by degree (the paper's Fig. 4).

    Parameters
    ----------
    listed : DataFrame
        ``group``, ``degree`` ("first", "second", "third"), ``kinship``. NaN rows are left out.
    groups : sequence of str, optional
        Groups to draw, in order.

    Returns
    -------
    Figure
        Above, the histogram of each degree; below, mean and 5-95 % range per group.
    """
    rows = finite(listed, ["kinship"])
    rows = rows[rows["degree"].isin(EXPECTED_KINSHIP)]
    names = groups_in(rows, groups)
    if not names:
        return message_figure("No listed pairs to show")
    figure = Figure(figsize=(8.6, 3.5 + 0.3 * len(names)), layout="constrained")
    heights = [2.4, 0.5 + 0.3 * len(names)]
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    degree_histograms(top, rows)
    degree_ranges(bottom, rows, names)
    for axes in (top, bottom):
        mark_cuts(axes)
    low, high = min(0.02, rows["kinship"].min()), max(0.37, rows["kinship"].max())
    top.set_xlim(low - 0.005, high + 0.005)
    name_degrees(top)
    bottom.set_xlabel("KING-robust kinship")
    handles: list[Artist] = [Patch(color=c, label=f"{d} degree") for d, c in DEGREE_COLOURS.items()]
    handles.append(Line2D([], [], color=INK, lw=1, ls="--", label="expected"))
    handles.append(Line2D([], [], color=PALE, lw=1, label="cut between degrees"))
    figure.legend(handles=handles, loc="outside upper left", ncols=5)
    return figure


@styled
def kinship_histogram_figure(hist: pd.DataFrame) -> Figure:
    """Histogram of the KING kinship of all pairs (``left``, ``right``, ``pairs``), log scale."""
    bins = finite(hist, ["left", "right", "pairs"]).sort_values("left")
    bins = bins[(bins["pairs"] > 0) & (bins["right"] > bins["left"])]
    if bins.empty:
        return message_figure("No pairs to show")
    figure = Figure(figsize=(8.6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(
        bins["left"], bins["pairs"], width=bins["right"] - bins["left"], align="edge",
        color=DEGREE_COLOURS["second"], linewidth=0,
    )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(0.7, float(bins["pairs"].max()) * 2)
    axes.set_xlim(min(-0.05, bins["left"].min()) - 0.01, max(0.4, bins["right"].max()) + 0.01)
    axes.set(xlabel="KING-robust kinship", ylabel="pairs (log scale)")
    mark_cuts(axes)
    name_degrees(axes)
    return figure


@styled
def scree_figure(pca: pd.DataFrame) -> Figure:
    """Eigenvalue of each principal component (``component`` from 1, ``eigenvalue``)."""
    rows = finite(pca, ["component", "eigenvalue"]).sort_values("component")
    if rows.empty:
        return message_figure("No eigenvalues to show")
    figure = Figure(figsize=(8.6, 2.6), layout="constrained")
    axes = figure.add_subplot()
    markers = "o" if len(rows) <= 60 else ""
    axes.plot(rows["component"], rows["eigenvalue"], color="#3F7CAC", lw=1.5, marker=markers, ms=4)
    smallest, largest = rows["eigenvalue"].min(), rows["eigenvalue"].max()
    if smallest > 0 and largest / smallest > 50:
        axes.set_yscale("log")
    elif smallest >= 0:
        axes.set_ylim(0, largest * 1.08 or 1)
    axes.set(xlabel="component", ylabel="eigenvalue")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def watermark_figure(watermark: pd.DataFrame) -> Figure:
    """p-value of each watermark SNP, fitted alone and with the others.

    Parameters
    ----------
    watermark : DataFrame
        ``id``, ``log10_p``, ``joint_log10_p``; NaN where a fit does not exist.

    Returns
    -------
    Figure
        One line per watermark; the axis counts decimal places, so p below 1e-308 has its place.
    """
    fits = watermark[["log10_p", "joint_log10_p"]].astype(float)
    fits = -fits[np.isfinite(fits).any(axis=1)]
    if fits.empty:
        return message_figure("No watermarks to show")
    labelled = len(fits) <= 60
    height = 1.2 + (0.19 * len(fits) if labelled else 5.0)
    figure = Figure(figsize=(8.6, height), layout="constrained")
    axes = figure.add_subplot()
    rank = np.arange(len(fits))
    axes.plot(fits["log10_p"], rank, "o", ms=5, color="#332288", label="fitted alone")
    axes.plot(fits["joint_log10_p"], rank, "D", ms=5, mfc="white", color="#CC6677", label="all together")
    axes.axvline(GENOME_WIDE, color=GREY, lw=1, ls="--", label=r"$5\times10^{-8}$")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=0, right=max(float(np.nanmax(fits.to_numpy())), GENOME_WIDE) * 2)
    axes.xaxis.set_major_formatter(lambda x, _: rf"$10^{{-{x:g}}}$" if x else "1")
    axes.set_ylim(len(fits) - 0.4, -0.6)
    labels = [plain(name) for name in watermark.loc[fits.index, "id"]]
    axes.set_yticks(rank if labelled else [], labels if labelled else [])
    axes.set(xlabel="p", ylabel="" if labelled else f"{len(fits)} watermark SNPs")
    axes.grid(axis="x", color=PALE, lw=0.5, alpha=0.6)
    figure.legend(loc="outside upper left", ncols=3)
    return figure
