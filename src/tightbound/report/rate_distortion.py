"""The rate-distortion plane."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tightbound.analysis.comparison.sweep import Sweep
from tightbound.analysis.estimate import with_error
from tightbound.core.errors import InputError
from tightbound.report.charts import COLORS, GRAY, INK, STYLE

BLUE = COLORS[0]


def rate_distortion(found: Sweep, ending: str = "svg") -> bytes:
    """A point with its standard errors for each model, and through the best the line of equal ELBO, of slope -1.

    Each point has its value beside it where there is room.

    Arguments:
        ending: "svg" or "png".

    Raises:
        InputError: no model has a rate.

    References:
        Fixing a broken ELBO (Alemi et al. 2018), Figure 1, https://arxiv.org/abs/1711.00464
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # (2 axes, value and error) of each
    placed = {i: np.array(at) for i, p in enumerate(found.points) if None not in (at := p.plane)}
    if not placed:
        raise InputError("no model of the sweep has a rate, which the rate-distortion plane needs")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 4.6), layout="constrained")
        axis: Any = figure.subplots()
        for beaten, fill, label in ((False, BLUE, None), (True, "white", "dominated: another has no more of either")):
            some = [at for i, at in placed.items() if found.dominated(found.points[i]) == beaten]
            if some:
                (x, dx), (y, dy) = np.moveaxis(np.array(some), 0, -1)
                axis.errorbar(x, y, xerr=dx, yerr=dy, fmt="o", ms=5, mfc=fill, mec=BLUE, mew=1.2, ecolor=INK,
                              elinewidth=1, capsize=3, zorder=3, label=label)  # fmt: skip
        rates = [at[0, 0] for at in placed.values()]
        span = max(rates) - min(rates) or 1.0
        axis.margins(y=0.12)
        axis.set_xlim(min(rates) - 0.06 * span, max(rates) + 0.2 * span)  # room for the labels on the right
        if found.best is not None:
            (left, right), bounds = axis.get_xlim(), axis.get_ylim()
            elbo, stderr = found.best.number("elbo") or (0.0, 0.0)
            label = f"ELBO = {with_error(elbo, stderr)}, that of {found.name} = {found.best.value}"
            axis.plot([left, right], [-elbo - left, -elbo - right], color=GRAY, ls="--", lw=1.2, label=label, zorder=1)
            axis.set(xlim=(left, right), ylim=bounds)
        axis.set(
            xlabel="rate, KL(q(z|x) || p(z)): nats an example", ylabel="distortion, -E log p(x|z): nats an example"
        )
        axis.legend(
            *axis.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=9,
            borderaxespad=0.2, alignment="left", title=f"by each point: {found.name}", title_fontsize=9,
        )  # fmt: skip
        figure.draw_without_rendering()  # settles the layout, by which there is room for labels
        _label(axis, [(str(found.points[i].value), at[:, 0]) for i, at in placed.items()])
        buffer = io.BytesIO()
        figure.savefig(buffer, format=ending, dpi=160, metadata={"Date": None} if ending == "svg" else None)
        return buffer.getvalue()


def _label(axis: Any, words: Sequence[tuple[str, np.ndarray]]) -> None:
    """Writes words beside their places, where they hide neither each other nor a place, nor reach out of the figure."""
    from matplotlib.transforms import Bbox

    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axis.transData.transform([at for _, at in words])]
    for word, at in words:
        for x, y in ((8, 6), (8, -12), (-8, 6), (-8, -12), (8, 18), (-8, 18), (8, -24), (-8, -24)):
            text = axis.annotate(
                word, at, xytext=(x, y), textcoords="offset points", ha="left" if x > 0 else "right",
                fontsize=9, color=INK, in_layout=False,
            )  # fmt: skip
            box, whole = text.get_window_extent(), axis.figure.bbox
            if box.count_overlaps(taken) == 0 and whole.x0 <= box.x0 and box.x1 <= whole.x1:
                taken.append(box)
                break
            text.remove()
