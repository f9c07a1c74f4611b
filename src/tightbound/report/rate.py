"""What the rate is made of, on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.analysis.estimate import with_error
from tightbound.report.figures import BLUE, GRAY, INK, ORANGE, STYLE, figure_of, svg
from tightbound.report.section import Section

PARTS = {
    "mutual_information": ("mutual information I(x; z)", BLUE),
    "total_correlation": ("total correlation", ORANGE),
    "dimension_wise_kl": ("dimension-wise KL", GRAY),
}
WHOLE = {"mutual_information": PARTS["mutual_information"], "aggregate_kl": ("KL(q(z) || p(z))", ORANGE)}


def sections(numbers: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """The parts of the rate as one bar, where an evaluation has them."""
    information = numbers.get("mutual_information", {})
    if information.get("value") is None:
        return []
    by_dimension = numbers["marginal_kl"]["value"] is not None
    shown = PARTS if by_dimension else WHOLE  # against a prior that does not factorize, the parts are no divergences
    parts = [(label, color, numbers[name]) for name, (label, color) in shown.items()]
    description = (
        "Mutual information tells data apart. The rest is KL(q(z) || p(z)): the codes of all test data together are "
        "not distributed as the prior, and samples suffer from it."
    )
    description += " Total correlation is its share that comes from dependent dimensions." if by_dimension else ""
    if information["reason"]:
        description += (
            f" Here mutual information is {information['reason']}: of all data like these it may be far higher, and "
            "what is left far lower."
        )
    return [Section("What the rate is made of", description, "rate.svg", bar(parts))]


def bar(parts: Sequence[tuple[str, str, Mapping[str, Any]]]) -> bytes:
    """One stacked bar of estimates, each (label, color, number), in nats."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        chart, (axis,) = figure_of(1, 8.6, 1.8)
        start = 0.0
        for label, color, number in parts:
            width = max(number["value"], 0.0)  # by Monte Carlo error it may be below
            text = f"{label}: {with_error(number['value'], number['stderr'])}"
            axis.barh([0], [width], left=start, color=color, height=0.6, label=text, edgecolor="white")
            start += width
        axis.set(yticks=[], xlabel="nats an example", xlim=(0, start * 1.02 or 1), ylim=(-0.45, 0.45))
        axis.spines["left"].set_visible(False)
        chart.legend(loc="outside upper left", ncols=len(parts), fontsize=9, labelcolor=INK, handlelength=1.2)
        return svg(chart)
