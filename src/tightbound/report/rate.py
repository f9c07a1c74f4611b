"""What the rate is made of, on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.evaluation.numbers import with_error
from tightbound.report.figures import BLUE, GREY, INK, ORANGE, STYLE, figure_of, svg
from tightbound.report.section import Section

PARTS = {
    "mutual_information": ("mutual information I(x; z)", BLUE),
    "total_correlation": ("total correlation", ORANGE),
    "dimension_wise_kl": ("dimension-wise KL", GREY),
}
WHOLE = {"mutual_information": PARTS["mutual_information"], "aggregate_kl": ("KL(q(z) || p(z))", ORANGE)}


def sections(numbers: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """The parts of the rate as one bar, where an evaluation has them."""
    information = numbers.get("mutual_information", {})
    if information.get("value") is None:
        return []
    by_dimension = numbers["marginal_kl"]["value"] is not None
    shown = PARTS if by_dimension else WHOLE  # against a prior that does not factorise, the parts are no divergences
    parts = [(label, colour, numbers[name]) for name, (label, colour) in shown.items()]
    says = (
        "Mutual information tells data apart. The rest is KL(q(z) || p(z)): the codes of all test data together are "
        "not distributed as the prior, and samples suffer from it."
    )
    says += " Total correlation is its share that comes from dependent dimensions." if by_dimension else ""
    if information["reason"]:
        says += (
            f" Here mutual information is {information['reason']}: of all data like these it may be far higher, and "
            "what is left far lower."
        )
    return [Section("What the rate is made of", says, "rate.svg", bar(parts))]


def bar(parts: Sequence[tuple[str, str, Mapping[str, Any]]]) -> bytes:
    """One stacked bar of estimates, each (label, colour, number), in nats."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        chart, (axis,) = figure_of(1, 8.6, 1.8)
        start = 0.0
        for label, colour, number in parts:
            width = max(number["value"], 0.0)  # by Monte Carlo error it may be below
            text = f"{label}: {with_error(number['value'], number['stderr'])}"
            axis.barh([0], [width], left=start, color=colour, height=0.6, label=text, edgecolor="white")
            start += width
        axis.set(yticks=[], xlabel="nats a datum", xlim=(0, start * 1.02 or 1), ylim=(-0.45, 0.45))
        axis.spines["left"].set_visible(False)
        chart.legend(loc="outside upper left", ncols=len(parts), fontsize=9, labelcolor=INK, handlelength=1.2)
        return svg(chart)
