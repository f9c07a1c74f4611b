"""Figures of analyses, drawn: charts as SVG, pictures as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np

from tightbound.analysis.figures import Bars, Figure, Heatmap, Histograms, Intervals, Lines, Panel, Pictures, Scatter

INK, GRAY = "#222222", "#8a8f98"
COLORS = ("#2563a8", "#d9722e", "#3f8f5f", "#8a5aa8", "#b0413e", "#6b7280")
STYLE: Any = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GRAY,
    "axes.labelcolor": INK, "axes.titlesize": 11, "axes.titlelocation": "left", "xtick.color": INK,
    "ytick.color": INK, "legend.frameon": False, "svg.hashsalt": "tightbound",
}  # fmt: skip
LABEL = 12  # letters of a label below a bar
SOLID = 64  # bars; more of them are drawn as one area
BAND = 1.96  # standard errors
FEW, MOST = 3, 5  # names in a legend: up to FEW inside the panel, beyond MOST in a column beside it
LETTERS = 8  # letters of tick labels for each inch
ABREAST, MANY = 3, 4  # panels in a row; more panels are made smaller, in rows of four


def drawn(figure: Figure) -> bytes:
    """Return the bytes of a figure: PNG if it is a picture, else SVG."""
    first = figure.panels[0]
    if isinstance(first, Pictures):
        return first.png
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):
        count = len(figure.panels)
        across = count if count <= ABREAST else MANY
        down = -(-count // across)
        width, height = (3.7, _height(figure)) if count <= ABREAST else (2.7, 2.3)
        if count == 1 and isinstance(first, Scatter):
            width, height = 6.6, 4.6
        canvas = Canvas(figsize=(max(5.4, width * across), height * down), layout="constrained")
        grid = np.atleast_1d(canvas.subplots(down, across)).ravel()
        for axes, panel in zip(grid, figure.panels, strict=False):
            draw(panel, axes)
            axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        for axes in grid[count:]:
            axes.set_visible(False)
        _legends(canvas, list(grid[:count]))
        named = [(p, axes) for p, axes in zip(figure.panels, grid, strict=False) if isinstance(p, Scatter) and p.names]
        if named:
            canvas.draw_without_rendering()  # settles the layout, which decides where there is room for names
            for panel, axes in named:
                write_names(panel, axes)
        layout = canvas.get_layout_engine()
        if layout is not None:
            layout.execute(canvas)
            canvas.set_layout_engine(None)  # else saving would draw the figure twice, once for the layout alone
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _legends(canvas: Any, every: Sequence[Any]) -> None:
    """Add a legend to each panel, or one to the figure if all panels have the same."""
    found = [axes.get_legend_handles_labels() for axes in every]
    if len(found) > 1 and found[0][1] and all(labels == found[0][1] for _, labels in found):
        canvas.legend(*found[0], loc="outside upper left", ncols=len(found[0][1]), fontsize=9, markerscale=2)
        return
    if len(found) == 1 and FEW < len(found[0][1]) <= MOST:  # inside, so many names would hide curves
        canvas.legend(*found[0], loc="outside upper left", ncols=2, fontsize=9)
        return
    for axes, (_, labels) in zip(every, found, strict=True):
        if len(labels) > MOST:
            axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.6)
        elif labels:
            axes.legend(fontsize=9)


def _height(figure: Figure) -> float:
    if all(isinstance(panel, Bars) and panel.stacked for panel in figure.panels):
        return 2.2
    rows = [len(panel.labels) for panel in figure.panels if isinstance(panel, Intervals)]
    named = any(isinstance(panel, Scatter) and panel.names for panel in figure.panels)
    return max(4.2 if named else 3.1, 0.32 * max(rows, default=0) + 0.9)


@singledispatch
def draw(panel: Panel, axes: Any) -> None:
    """Draw a panel on matplotlib axes."""
    raise TypeError(f"no way to draw a panel of kind {panel.kind!r}")


@draw.register
def _(panel: Lines, axes: Any) -> None:
    for i, (name, values) in enumerate(panel.series.items()):
        x, y = np.asarray(panel.x, float), np.asarray(values, float)
        reference = name in panel.dashed
        color = GRAY if reference else COLORS[i % len(COLORS)]
        axes.plot(
            x, y, "--" if reference else "-", marker="o" if panel.markers else None, ms=4, color=color,
            label=name if len(panel.series) > 1 else None,
        )  # fmt: skip
        if name in panel.errors:
            half = BAND * np.asarray(panel.errors[name], float)
            axes.fill_between(x, y - half, y + half, color=color, alpha=0.18, lw=0)
    if panel.log_x:
        axes.set_xscale("log")
    elif all(float(x).is_integer() for x in panel.x):  # such as epochs
        axes.locator_params(axis="x", integer=True)
    if panel.low is not None or panel.high is not None:
        axes.set_ylim(panel.low, panel.high)


@draw.register
def _(panel: Bars, axes: Any) -> None:
    if panel.stacked:
        _draw_stacked(panel, axes)
        return
    width = 0.8 / len(panel.series)
    at = np.arange(len(panel.labels))
    if panel.reference is not None:
        axes.axhline(panel.reference, color=GRAY, lw=1, ls="--")
    if len(at) > SOLID and len(panel.series) == 1 and not panel.errors:  # thin bars would be drawn as gray mush
        (values,) = panel.series.values()
        axes.fill_between(at, values, step="mid", color=COLORS[0], lw=0)
        axes.set(xlim=(-0.5, len(at) - 0.5), ylim=(0, None))
        return
    for i, (name, values) in enumerate(panel.series.items()):
        errors = BAND * np.asarray(panel.errors[name], float) if name in panel.errors else None
        label = name if len(panel.series) > 1 else None
        places = at + (i - (len(panel.series) - 1) / 2) * width
        axes.bar(places, values, width, yerr=errors, color=COLORS[i], label=label,
                 ecolor=INK, capsize=2 if len(at) <= 32 else 0)  # fmt: skip
    labels = [label if len(label) <= LABEL else label[: LABEL - 1] + "…" for label in panel.labels]
    longest = max(map(len, labels), default=0)
    room = int(LETTERS * axes.get_position().width * axes.figure.get_figwidth())
    steep = longest > 3 and len(at) * longest > room
    every = -(-len(at) // max(1, room * 3 // 4)) if longest > 3 else -(-len(at) * longest // max(1, room))
    shown = at[:: max(1, every)]
    axes.set_xticks(shown, [labels[i] for i in shown], rotation=45 if steep else 0, rotation_mode="anchor",
                    ha="right" if steep else "center", fontsize=10 if len(shown) * longest <= 20 else 8)  # fmt: skip


def _draw_stacked(panel: Bars, axes: Any) -> None:
    left = np.zeros(len(panel.labels))
    for i, (name, values) in enumerate(panel.series.items()):
        axes.barh(panel.labels, values, left=left, height=0.5, color=COLORS[i % len(COLORS)], label=name, ec="white")
        left += np.asarray(values, float)
    axes.set_ylim(-0.6, len(panel.labels) + 0.1 * len(panel.series))  # room for the legend
    axes.margins(x=0.02)
    axes.locator_params(axis="x", nbins=6)


@draw.register
def _(panel: Histograms, axes: Any) -> None:
    values = [np.asarray(each, float) for each in panel.series.values()]
    values = [each[np.isfinite(each)] for each in values]
    edges = np.histogram_bin_edges(np.concatenate(values), panel.bins)
    for i, (name, each) in enumerate(zip(panel.series, values, strict=True)):
        label = name if len(values) > 1 else None
        if i == 0:
            axes.hist(each, edges, density=True, color=COLORS[i], alpha=0.45, label=label)
        else:  # an outline, since overlaid colors would mix to gray
            axes.hist(each, edges, density=True, color=COLORS[i], histtype="step", lw=1.6, label=label)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5))


@draw.register
def _(panel: Scatter, axes: Any) -> None:
    many = len(panel.series) > 20
    for i, (name, points) in enumerate(panel.series.items()):
        at = np.asarray(points, float).reshape(-1, 2)
        color = _color(i, len(panel.series))
        size = 8 if len(at) > 200 else 22
        axes.scatter(at[:, 0], at[:, 1], s=size, alpha=0.6 if len(at) > 200 else 1, color=color, lw=0,
                     label=None if many or len(panel.series) == 1 else name)  # fmt: skip
        if panel.joined:
            axes.plot(at[:, 0], at[:, 1], color=color, lw=1)
        if name in panel.errors:
            half = BAND * np.asarray(panel.errors[name], float).reshape(-1, 2)
            axes.errorbar(at[:, 0], at[:, 1], half[:, 1], half[:, 0], fmt="none", ecolor=color, lw=1)
    for name, points in panel.lines.items():
        axes.plot(*np.asarray(points, float).T, "--", color=GRAY, lw=1.2, label=name, zorder=1)
    if panel.names:
        axes.margins(0.12)  # room for the names
    if panel.equal:
        axes.set_aspect("equal", adjustable="datalim")


def write_names(panel: Scatter, axes: Any) -> None:
    """Write names beside their points where they hide neither names nor points, and stay in the figure."""
    from matplotlib.transforms import Bbox

    points = [point for own in panel.series.values() for point in own]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(points)]
    for series, names in panel.names.items():
        for name, at in zip(names, panel.series[series], strict=False):
            for x, y in ((8, 6), (8, -12), (-8, 6), (-8, -12), (8, 18), (-8, 18), (8, -24), (-8, -24)):
                text = axes.annotate(
                    name, at, xytext=(x, y), textcoords="offset points", ha="left" if x > 0 else "right",
                    fontsize=9, color=INK, in_layout=False,
                )  # fmt: skip
                box, whole = text.get_window_extent(), axes.figure.bbox
                if box.count_overlaps(taken) == 0 and whole.x0 <= box.x0 and box.x1 <= whole.x1:
                    taken.append(box)
                    break
                text.remove()


def _color(i: int, count: int) -> Any:
    if count <= len(COLORS):
        return COLORS[i]
    import matplotlib as mpl

    return mpl.colormaps["tab10" if count <= 10 else "tab20"](i % 20)


@draw.register
def _(panel: Intervals, axes: Any) -> None:
    at = np.arange(len(panel.labels))[::-1]
    values, low, high = (np.asarray(each, float) for each in (panel.values, panel.low, panel.high))
    axes.errorbar(values, at, xerr=[values - low, high - values], fmt="o", ms=5, color=COLORS[0], capsize=3)
    axes.set_yticks(at, panel.labels)
    axes.set_ylim(-0.6, len(at) - 0.4)
    if panel.reference is not None:
        axes.axvline(panel.reference, color=GRAY, lw=1, ls="--")


@draw.register
def _(panel: Heatmap, axes: Any) -> None:
    values = np.asarray(panel.values, float)
    image = axes.imshow(
        values, cmap="viridis", vmin=panel.low, vmax=panel.high, aspect="equal" if panel.equal else "auto"
    )
    axes.set_xticks(range(len(panel.column_labels)), panel.column_labels)
    axes.set_yticks(range(len(panel.row_labels)), panel.row_labels)
    axes.figure.colorbar(image, ax=axes, label=panel.color_label)
