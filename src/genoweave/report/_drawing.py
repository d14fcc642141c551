"""What the figures share: colours, style, and the parts of a panel."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

Floats: TypeAlias = NDArray[np.float64]

SMALL_COUNT = 20
EXPECTED_KINSHIP = {"first": 0.25, "second": 0.125, "third": 0.0625}
DEGREE_CUTS = (0.3536, 0.1768, 0.0884, 0.0442)

# Paul Tol's "muted" scheme: told apart under the common forms of colour blindness.
_GROUP_COLOURS = (
    "#332288", "#CC6677", "#117733", "#AA4499", "#44AA99", "#882255", "#999933", "#5CA9D6",
)  # fmt: skip
DEGREE_COLOURS = {"first": "#1F3A5F", "second": "#3F7CAC", "third": "#8FB8D3"}
DENSITY_COLOURS = ("#EDF0F4", "#D8DEE6", "#BCC6D2", "#9AA8B9")
_DENSITY_MASSES = (0.9, 0.75, 0.5, 0.25)
INK, GREY, PALE = "#2B3440", "#6B7683", "#C9D0D8"
_MAX_POINTS = 2000

styled = style.context(
    [
        "default",
        {
            "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 9,
            "xtick.labelsize": 8, "ytick.labelsize": 8, "text.color": INK,
            "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.7,
            "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": INK,
            "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False,
            "legend.frameon": False, "axes.titlelocation": "left", "figure.dpi": 100,
        },
    ]
)  # fmt: skip


def group_colours(groups: Iterable[str]) -> dict[str, str]:
    """Colour of each group, by its place in ``groups``; colours repeat after the eighth."""
    return {g: _GROUP_COLOURS[i % len(_GROUP_COLOURS)] for i, g in enumerate(groups)}


EMBEDDINGS = (("pc1", "pc2", "PC 1", "PC 2"), ("tsne1", "tsne2", "t-SNE 1", "t-SNE 2"))


def group_panels(
    names: Sequence[str],
    handles: Sequence[Artist],
    width_ratios: tuple[float, float],
    height: float,
) -> tuple[Figure, dict[str, tuple[Axes, Axes]]]:
    """Two panels per group under its name, two groups to a row from three groups on."""
    per_row = 1 if len(names) <= 2 else 2
    n_rows = -(-len(names) // per_row)
    size = (5.8 * per_row if per_row == 2 else 8.6, 0.35 + height * n_rows)
    figure = Figure(figsize=size, layout="constrained")
    bands: list[SubFigure] = list(figure.subfigures(2, 1, height_ratios=[0.35, height * n_rows]))  # type: ignore[arg-type]
    strip, body = bands
    strip.legend(handles=handles, loc="center left", ncols=4, bbox_to_anchor=(0.01, 0.5))
    grid = np.ravel(body.subfigures(n_rows, per_row, wspace=0.02, squeeze=False))
    colours = group_colours(names)
    panels: dict[str, tuple[Axes, Axes]] = {}
    for cell, name in zip(grid, colours, strict=False):
        _title(cell, name)
        left, right = cell.subplots(1, 2, width_ratios=width_ratios)
        panels[name] = (left, right)
    return figure, panels


def _title(cell: SubFigure, name: str) -> None:
    cell.suptitle(plain(name), x=0.03, ha="left", fontsize=10.5, fontweight="bold", color=INK)


def maf_histogram(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    bins = np.linspace(0, 0.5, 41)
    share = np.full(len(rows), 100 / len(rows))
    axes.hist(rows["maf_real"], bins=list(bins), weights=share, color=PALE)
    axes.hist(rows["maf_synthetic"], bins=list(bins), weights=share, histtype="step", color=colour, lw=1.5)
    axes.set(xlabel="minor allele frequency", ylabel="% of SNPs", xlim=(0, 0.5))
    axes.locator_params(axis="y", nbins=4)


def maf_scatter(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    x, y = rows["maf_real"].to_numpy(float), rows["maf_synthetic"].to_numpy(float)
    if len(rows) < 300:
        axes.scatter(x, y, s=8, color=colour, alpha=0.6, linewidths=0)
    else:
        axes.hexbin(
            x, y, gridsize=45, extent=(0, 0.5, 0, 0.5), bins="log", mincnt=1, cmap=_ramp(colour),
            linewidths=0.1,
        )  # fmt: skip
    ends = np.array([0.0, 0.5])
    axes.plot(ends, ends, color=GREY, lw=1, ls=":")
    axes.plot(ends, ends + _shift(rows) * (1 - 2 * ends), color=INK, lw=1, ls="--")
    axes.set(xlabel="MAF, real", ylabel="MAF, synthetic", xlim=(0, 0.5), ylim=(0, 0.5))
    axes.set_box_aspect(1)


def maf_change(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Draw synthetic minus real MAF: median and 5-95 % range by MAF, or points if few."""
    f = rows["maf_real"].to_numpy(float)
    change = rows["maf_synthetic"].to_numpy(float) - f
    place = pd.Series(f).rank(method="first").to_numpy()
    n_bins = min(25, len(rows) // 20)
    if n_bins < 3:
        axes.scatter(f, change, s=8, color=colour, alpha=0.6, linewidths=0)
    else:
        binned = pd.DataFrame({"f": f, "change": change}).groupby(((place - 1) * n_bins) // len(f))
        low, middle, high = (binned["change"].quantile(level) for level in (0.05, 0.5, 0.95))
        centre = binned["f"].mean()
        axes.fill_between(centre, low, high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(centre, middle, color=colour, lw=1.5)
    ends = np.array([0.0, 0.5])
    axes.axhline(0, color=GREY, lw=1, ls=":")
    axes.plot(ends, _shift(rows) * (1 - 2 * ends), color=INK, lw=1, ls="--")
    axes.set(xlim=(0, 0.5), xticks=[0, 0.2, 0.4])
    axes.locator_params(axis="y", nbins=5)


def _shift(rows: pd.DataFrame) -> float:
    """``s`` of f' = f + s (1 - 2 f), the form that every per-genotype channel gives; fitted."""
    both = finite(rows, ["maf_real", "frequency_expected"])
    expected = np.minimum(both["frequency_expected"], 1 - both["frequency_expected"])
    room = 1 - 2 * both["maf_real"]
    weight = float((room**2).sum())
    return float(((expected - both["maf_real"]) * room).sum() / weight) if weight > 0 else 0.0


def embedding_panel(
    axes: Axes,
    rows: pd.DataFrame,
    columns: tuple[str, str, str, str],
    colour: str,
    allow_row_level: bool,
) -> None:
    x_name, y_name, x_label, y_label = columns
    axes.set(xlabel=x_label, ylabel=y_label)
    if x_name.startswith("tsne"):
        axes.set(xticks=[], yticks=[])  # the coordinates of a t-SNE have no unit
    else:
        axes.locator_params(nbins=4)
    real = points(rows[rows["kind"] == "real"], x_name, y_name)
    synthetic = points(rows[rows["kind"] == "synthetic"], x_name, y_name, 800)
    if not len(real[0]) and not len(synthetic[0]):
        _note(axes, "not embedded")
        return
    drawn = draw_density(axes, *real, islands=x_name.startswith("tsne"))
    if allow_row_level:
        axes.scatter(*real, s=7, marker="x", color=GREY, alpha=0.6, linewidths=0.7, zorder=2)
    elif not drawn:
        _note(axes, _why_not_drawn(len(real[0])))
    _scatter_synthetic(axes, *synthetic, colour=colour)


def _why_not_drawn(n_real: int) -> str:
    if n_real == 0:
        return "no real people in this panel"
    return f"≤{SMALL_COUNT} real people: not drawn" if n_real <= SMALL_COUNT else "no density here"


def _scatter_synthetic(axes: Axes, x: Floats, y: Floats, colour: str) -> None:
    size = 9 if len(x) < 500 else 5
    axes.scatter(x, y, s=size, color=colour, alpha=0.55, linewidths=0, zorder=3)


def draw_density(axes: Axes, x: Floats, y: Floats, edge: str | None = None, islands: bool = False) -> bool:
    """Contours that hold stated shares of the points; False where they cannot or may not be."""
    if len(x) <= SMALL_COUNT:
        return False
    try:
        kde = gaussian_kde(np.vstack([x, y]))
    except np.linalg.LinAlgError:  # all on one line or in one place
        return False
    if islands and len(x) >= 200:  # the default bandwidth would merge them
        kde.set_bandwidth(kde.scotts_factor() * 0.6)
    grid_x, grid_y = np.meshgrid(_span(x), _span(y))
    density = kde(np.vstack([grid_x.ravel(), grid_y.ravel()])).reshape(grid_x.shape)
    masses = _DENSITY_MASSES if edge is None else (0.9, 0.5)
    levels = _levels(density, masses)
    if len(levels) < len(masses) or not np.isfinite(density).all():
        return False
    if edge is None:
        edges = [*levels, float(density.max()) * 1.001]
        axes.contourf(grid_x, grid_y, density, levels=edges, colors=DENSITY_COLOURS, zorder=1)
        axes.contour(grid_x, grid_y, density, levels=levels, colors=INK, linewidths=0.7, alpha=0.75, zorder=4)
    else:
        axes.contour(grid_x, grid_y, density, levels=levels, colors=edge, linewidths=1.2, zorder=3)
    return True


def _levels(density: Floats, masses: Sequence[float]) -> list[float]:
    """Density values, rising, whose upper level sets hold the given falling shares of the mass."""
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) / ordered.sum() if ordered[0] > 0 else np.zeros_like(ordered)
    at = np.minimum(np.searchsorted(held, masses), len(ordered) - 1)
    return [float(value) for value in np.unique(ordered[at])]


def _span(values: Floats) -> Floats:
    """Grid over the bulk of ``values``: a lone participant must not set where it ends."""
    low, high = np.quantile(values, [0.01, 0.99])
    pad = 0.3 * (high - low)
    grid: Floats = np.linspace(low - pad, high + pad, 90)
    return grid


def degree_histograms(axes: Axes, rows: pd.DataFrame) -> None:
    bins = np.arange(rows["kinship"].min() - 0.002, rows["kinship"].max() + 0.006, 0.004)
    for degree, colour in DEGREE_COLOURS.items():
        values = rows.loc[rows["degree"] == degree, "kinship"]
        axes.hist(values, bins=list(bins), color=colour, alpha=0.85, linewidth=0)
        axes.axvline(EXPECTED_KINSHIP[degree], color=INK, lw=1, ls="--", zorder=4)
    axes.set_ylabel("listed pairs")


def degree_ranges(axes: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        for degree, colour in DEGREE_COLOURS.items():
            of_both = (rows["group"] == name) & (rows["degree"] == degree)
            values = rows.loc[of_both, "kinship"]
            if len(values):
                low, high = values.quantile([0.05, 0.95])
                axes.plot([low, high], [place, place], color=colour, lw=2.5, solid_capstyle="round")
                axes.plot([values.mean()], [place], "o", ms=6, color=colour, mec="white")
    for expected in EXPECTED_KINSHIP.values():
        axes.axvline(expected, color=INK, lw=1, ls="--", zorder=0)
    axes.set_yticks(range(len(names)), [plain(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_ylabel("mean, 5–95 %")


def mark_cuts(axes: Axes) -> None:
    for cut in DEGREE_CUTS:
        axes.axvline(cut, color=PALE, lw=1, zorder=0)


def name_degrees(axes: Axes) -> None:
    """Name each class of relatives above its stretch of the kinship axis."""
    low, high = axes.get_xlim()
    edges = [high, *DEGREE_CUTS, low]
    for name, right, left in zip(_CLASSES, edges[:-1], edges[1:], strict=True):
        if (right - left) > 0.02 * (high - low):
            place = ((left + right) / 2, 1.01)
            at = axes.get_xaxis_transform()
            axes.text(*place, name, transform=at, ha="center", va="bottom", fontsize=8, color=GREY)


_CLASSES = ("twin or copy", "1st degree", "2nd", "3rd", "unrelated")


def finite(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    values = table[list(columns)].astype(float)
    kept: pd.DataFrame = table.loc[np.isfinite(values).all(axis=1)]
    return kept


def groups_in(table: pd.DataFrame, groups: Sequence[str] | None) -> list[str]:
    present = {str(name) for name in table["group"].dropna()}
    return [name for name in groups if name in present] if groups else sorted(present)


def order(groups: Sequence[str] | None, names: Sequence[str]) -> Sequence[str]:
    return groups or names


def points(rows: pd.DataFrame, x_name: str, y_name: str, at_most: int = _MAX_POINTS) -> tuple[Floats, Floats]:
    """Finite pairs of two columns, thinned evenly: the same rows each time."""
    rows = finite(rows, [x_name, y_name])
    keep = np.linspace(0, len(rows) - 1, min(len(rows), at_most)).round().astype(int)
    return rows[x_name].to_numpy(float)[keep], rows[y_name].to_numpy(float)[keep]


def _ramp(colour: str) -> LinearSegmentedColormap:
    red, green, blue = (0.78 + 0.22 * part for part in to_rgb(colour))
    return LinearSegmentedColormap.from_list("ramp", [(red, green, blue), to_rgb(colour)])


def dot(colour: str, label: str, marker: str = "o") -> Line2D:
    return Line2D([], [], color=colour, marker=marker, ls="", ms=5, label=label)


def plain(name: object, at_most: int = 28) -> str:
    """Make a label of a user's name: never read as mathematics, never too long for its place."""
    text = " ".join(str(name).split())
    text = text if len(text) <= at_most else text[: at_most - 1] + "…"
    return text.replace("$", r"\$")


def _note(axes: Axes, message: str) -> None:
    place = (0.5, 0.97)
    axes.text(*place, message, transform=axes.transAxes, ha="center", va="top", fontsize=8, color=GREY)


def message_figure(message: str) -> Figure:
    figure = Figure(figsize=(8.6, 1.2))
    figure.text(0.5, 0.5, message, ha="center", va="center", color=GREY)
    return figure
