"""What the page shows of measured interpolation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tightbound.report.figures import BLUE, GRAY, INK, ORANGE, STYLE, figure_of, svg
from tightbound.report.section import Section

PATHS = {"linear": BLUE, "spherical": ORANGE}
MOST_TICKS = 10  # numbers of two digits that have room


def sections(found: Mapping[str, Any]) -> list[Section]:
    """One: numbers, and a chart of the path from end to end."""
    numbers = found["numbers"]
    # the response is one number for each dimension: the chart shows it
    table = {name: number for name, number in numbers.items() if name != "response"}
    description = (
        "Between the codes of pairs of test data. Left: how fast x moves on the way; a jump is a place where a small "
        "step of z changes the picture. Middle: how far the decoded mean is from the nearest training example, its ends "
        "being 1; what rises above the cross-fade of both pictures does not look like data. Right: how far x moves "
        "with each latent dimension; a dimension without a bar is ignored by the decoder."
    )
    chart = _chart(found["profile"], numbers)
    return [Section("Between codes", description, "paths.svg", chart, numbers=table)]


def _chart(profile: Mapping[str, Any], numbers: Mapping[str, Any]) -> bytes:
    import matplotlib as mpl

    response = numbers["response"]["value"]
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(2 if response is None else 3, 7.2 if response is None else 10.8, 2.9)
        for path, color in PATHS.items():
            step, distance = (np.asarray(profile[f"{name}_{path}"], float) for name in ("step", "distance"))
            axes[0].plot((np.arange(len(step)) + 0.5) / len(step), step, color=color, label=path, lw=1.6)
            axes[1].plot(np.linspace(0, 1, len(distance)), distance, color=color, label=path, lw=1.6, marker="o", ms=4)
        axes[0].axhline(1, color=GRAY, lw=1, ls="--")
        axes[0].set(title="speed", xlabel="place on the path", ylabel="of a cross-fade's speed")
        axes[0].set_ylim(0, None)
        axes[1].axhline(1, color=GRAY, lw=1, ls="--")
        fade = numbers["crossfade_distance"]["value"]
        if fade is not None:
            axes[1].plot(0.5, fade, color=INK, marker="x", ls="", label="cross-fade")
        axes[1].set(title="distance from data", xlabel="place on the path", ylabel="of that at the ends")
        axes[1].legend(fontsize=8)
        if response is not None:
            order = np.argsort(response)[::-1]
            axes[2].bar(np.arange(len(order)), np.asarray(response)[order], color=BLUE, width=0.75)
            shown = np.arange(len(order))[:: -(-len(order) // MOST_TICKS)]
            axes[2].set_xticks(shown, [str(order[i]) for i in shown])
            axes[2].set(title="response to each z, largest first", xlabel="latent dimension", ylabel="distance in x")
        return svg(figure)
