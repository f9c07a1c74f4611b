"""Figures of analyses, drawn: charts as SVG, pictures as PNG."""

from __future__ import annotations

import io
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
BAND = 1.96  # standard errors


def drawn(figure: Figure) -> bytes:
    """Return the bytes of a figure: PNG if it is a picture, else SVG."""
    first = figure.panels[0]
    if isinstance(first, Pictures):
        return first.png
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(STYLE):
        count = len(figure.panels)
        canvas = Canvas(figsize=(max(5.4, 3.7 * count), _height(figure)), layout="constrained")
        for axes, panel in zip(np.atleast_1d(canvas.subplots(1, count)), figure.panels, strict=True):
            draw(panel, axes)
            axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
            if axes.get_legend_handles_labels()[1]:
                axes.legend(fontsize=9)
        canvas.draw_without_rendering()  # settles the layout, which decides where there is room for names
        for axes, panel in zip(canvas.axes, figure.panels, strict=True):
            if isinstance(panel, Scatter):
                write_names(panel, axes)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _height(figure: Figure) -> float:
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
            x, y, "--" if reference else "-", marker="o" if panel.markers else None, ms=4, color=color, label=name
        )
        if name in panel.errors:
            half = BAND * np.asarray(panel.errors[name], float)
            axes.fill_between(x, y - half, y + half, color=color, alpha=0.18, lw=0)
    if panel.log_x:
        axes.set_xscale("log")


@draw.register
def _(panel: Bars, axes: Any) -> None:
    width = 0.8 / len(panel.series)
    at = np.arange(len(panel.labels))
    for i, (name, values) in enumerate(panel.series.items()):
        errors = BAND * np.asarray(panel.errors[name], float) if name in panel.errors else None
        label = name if len(panel.series) > 1 else None
        axes.bar(at + (i - (len(panel.series) - 1) / 2) * width, values, width, yerr=errors, color=COLORS[i], label=label,
                 ecolor=INK, capsize=2 if len(at) <= 32 else 0)  # fmt: skip
    every = max(1, len(at) // 24)
    axes.set_xticks(at[::every], [panel.labels[i] for i in at[::every]])


@draw.register
def _(panel: Histograms, axes: Any) -> None:
    values = [np.asarray(each, float) for each in panel.series.values()]
    values = [each[np.isfinite(each)] for each in values]
    edges = np.histogram_bin_edges(np.concatenate(values), panel.bins)
    for i, (name, each) in enumerate(zip(panel.series, values, strict=True)):
        axes.hist(each, edges, density=True, color=COLORS[i], alpha=0.55, label=name)
    axes.set_yticks([])


@draw.register
def _(panel: Scatter, axes: Any) -> None:
    many = len(panel.series) > 10
    for i, (name, points) in enumerate(panel.series.items()):
        at = np.asarray(points, float).reshape(-1, 2)
        color = COLORS[i % len(COLORS)] if len(panel.series) <= len(COLORS) else f"C{i % 10}"
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
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(points)] if panel.names else []
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
    image = axes.imshow(values, cmap="viridis", vmin=panel.low, vmax=panel.high, aspect="auto")
    axes.set_xticks(range(len(panel.column_labels)), panel.column_labels)
    axes.set_yticks(range(len(panel.row_labels)), panel.row_labels)
    axes.figure.colorbar(image, ax=axes, label=panel.color_label)
