"""Charts, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MARGINALS = 12  # columns of a table that are shown
INK, GRAY, BLUE, ORANGE = "#222222", "#8a8f98", "#2563a8", "#d9722e"
STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "tightbound",
}


def figure_of(columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure, in inches, and its panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def svg(figure: Any) -> bytes:
    """The bytes of an SVG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def curves(rows: Sequence[Mapping[str, Any]], shown: Sequence[str] = ("loss", "reconstruction", "kl")) -> bytes:
    """Loss, reconstruction and KL by epoch, or some of them, training and validation, in nats an example."""
    import matplotlib as mpl
    from matplotlib.ticker import MaxNLocator

    panels = [("loss", "loss"), ("reconstruction", "reconstruction, -E log p(x|z)"), ("kl", "KL(q || p)")]
    panels = panels if "train_kl" in rows[-1] else panels[:1]
    panels = [panel for panel in panels if panel[0] in shown]
    rates = [row[name] for row in rows for name in ("train_kl", "validation_kl") if name in row]
    if rates and max(rates) - min(rates) <= 1e-6 * max(rates):  # codes that are all equally probable
        panels = [panel for panel in panels if panel[0] != "kl"]
    epochs = [row["epoch"] for row in rows]
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(len(panels), 3.6 * len(panels), 2.8)
        for axis, (key, title) in zip(axes, panels, strict=True):
            for split, color in (("train", GRAY), ("validation", BLUE)):
                if (name := f"{split}_{key}") in rows[-1]:
                    axis.plot(epochs, [row.get(name) for row in rows], color=color, label=split, lw=1.6,
                              marker="o" if len(rows) == 1 else None)  # fmt: skip
            for name in rows[-1]:  # what a model that had learnt nothing would have, such as "uniform_loss"
                if name.endswith(f"_{key}") and name not in (f"train_{key}", f"validation_{key}"):
                    axis.axhline(rows[-1][name], color=ORANGE, lw=1.2, ls="--", label=name.removesuffix(f"_{key}"))
            # the first epochs may be far off the scale of what matters
            values = [row[n] for row in rows for n in (f"train_{key}", f"validation_{key}") if n in row]
            if key != "kl" and len(rows) > 5:
                low, high = np.percentile(values, [0, 90])
                axis.set_ylim(low - 0.08 * (high - low), high + 0.5 * (high - low) + 1e-9)
            axis.set(title=title, xlabel="epoch", ylabel="nats" if axis is axes[0] else None)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes[0].legend()
        return svg(figure)


def kl_by_dimension(kl: Sequence[float], stderr: Sequence[float] | None) -> bytes:
    """Bars of the rate by latent dimension, largest first."""
    import matplotlib as mpl

    order = np.argsort(kl)[::-1]
    with mpl.rc_context(STYLE):
        figure, (axis,) = figure_of(1, min(10.8, 2.5 + 0.28 * len(order)), 2.8)
        error = None if stderr is None else np.asarray(stderr)[order]
        axis.bar(np.arange(len(order)), np.asarray(kl)[order], yerr=error, color=BLUE, ecolor=INK, width=0.75)
        step = max(1, len(order) // 30)
        axis.set_xticks(np.arange(len(order))[::step], [str(i) for i in order][::step])
        axis.set(title="KL by latent dimension, largest first", xlabel="latent dimension", ylabel="nats")
        return svg(figure)


def latent_map(mean: Array, labels: Array | None, seed: int = 0, most: int = 3000) -> bytes:
    """The codes' two leading principal axes, colored by label where there are at most 20."""
    import matplotlib as mpl

    pick = np.sort(np.random.default_rng(seed).permutation(len(mean))[:most])
    centerd = (mean - mean.mean(0))[pick]
    title = "codes (posterior means)"
    if mean.shape[1] > 2:
        _, s, axes_ = np.linalg.svd(centerd, full_matrices=False)
        share = (s[:2] ** 2).sum() / max((s**2).sum(), 1e-300)
        centerd = centerd @ axes_[:2].T
        title += f", two principal axes ({share:.0%} of the variance)"
    points = np.pad(centerd, ((0, 0), (0, max(0, 2 - centerd.shape[1]))))
    classes = None if labels is None or labels.ndim != 1 else np.unique(labels)
    with mpl.rc_context(STYLE):
        figure, (axis,) = figure_of(1, 6.4, 4.6)
        if labels is None or classes is None or len(classes) > 20:
            axis.scatter(*points.T, s=8, color=BLUE, alpha=0.5, lw=0)
        else:
            colors = mpl.colormaps["tab10" if len(classes) <= 10 else "tab20"](range(len(classes)))
            for label, color in zip(classes, colors, strict=False):
                chosen = labels[pick] == label
                axis.scatter(*points[chosen].T, s=10, color=color, alpha=0.75, lw=0, label=str(label))
            axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.8, title="label")
        axis.set(title=title, xlabel="first axis", ylabel="second axis")
        axis.set_aspect("equal", adjustable="datalim")
        return svg(figure)


def marginals(data: Array, samples: Array, names: Sequence[str] = (), most: int = MARGINALS) -> bytes:
    """Histograms of the first columns of a table, data (NaN where they are missing) against samples."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(most, data.shape[1])
    across = min(4, columns)
    down = -(-columns // across)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.7 * across, 2.2 * down), layout="constrained")
        axes = np.atleast_1d(figure.subplots(down, across)).ravel()
        for i, axis in enumerate(axes):
            axis.set_visible(i < columns)
            if i >= columns:
                continue
            given = data[:, i][~np.isnan(data[:, i])]
            edges = np.histogram_bin_edges(np.concatenate([given, samples[:, i]]), bins=30)
            axis.hist(given, edges, density=True, color=GRAY, alpha=0.6, label="data")
            axis.hist(samples[:, i], edges, density=True, histtype="step", color=ORANGE, lw=1.6, label="samples")
            axis.set(title=names[i] if names else f"column {i}", yticks=[])
        axes[0].legend(fontsize=8)
        return svg(figure)
