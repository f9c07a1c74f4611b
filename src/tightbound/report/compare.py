"""The picture of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.report.figures import BLUE, GRAY, STYLE, figure_of, svg

SPAN = 1.96  # standard errors each way
AXES = {
    "iwae": "IWAE bound, nats", "elbo": "ELBO, nats", "rate": "rate, nats", "distortion": "distortion, nats",
    "reconstruction_mse": "reconstruction error",
}  # fmt: skip


def differences(found: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> bytes:
    """SVG of differences to the best model: a panel for each quantity, 95% intervals.

    Arguments:
        found: `Comparison.to_json()`.
        rows: Differences of each other model less the best, as JSON has them.
    """
    import matplotlib as mpl
    from matplotlib.ticker import MaxNLocator

    shown = [q for q in AXES if any(r["quantity"] == q and r["difference"]["value"] is not None for r in rows)]
    names = list(dict.fromkeys(row["a"] for row in rows))
    with mpl.rc_context(STYLE):
        figure, axes = figure_of(max(1, len(shown)), 2.5 * max(1, len(shown)) + 1.2, 1.1 + 0.32 * len(names))
        for axis, quantity in zip(axes, shown, strict=False):
            axis.axvline(0, color=GRAY, lw=1)
            for place, name in enumerate(names):
                row = next(r for r in rows if r["a"] == name and r["quantity"] == quantity)
                number = row["difference"]
                if number["value"] is not None:
                    axis.errorbar(number["value"], place, xerr=SPAN * (number["stderr"] or 0), fmt="o", ms=4, lw=1.6,
                                  color=BLUE)  # fmt: skip
            axis.set(title=AXES[quantity], ylim=(len(names) - 0.5, -0.5))
            axis.set_yticks(range(len(names)), names if axis is axes[0] else [""] * len(names))
            axis.xaxis.set_major_locator(MaxNLocator(3))
        figure.supxlabel(f"less that of {found['best']}, mean over {found['n']:,} data; 95% intervals", fontsize=9)
        return svg(figure)
