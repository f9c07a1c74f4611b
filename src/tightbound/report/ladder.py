"""The ladder of IWAE bounds, as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.report.figures import BLUE, INK, STYLE, figure_of, svg
from tightbound.report.section import Section
from tightbound.report.table import Rung, ladder


def sections(numbers: Mapping[str, Mapping[str, Any]]) -> list[Section]:
    """Of `Evaluation.to_json()`; none where the bound is of one number of samples alone."""
    rungs = ladder(numbers)
    if not rungs:
        return []
    verdict = numbers["convergence"]["description"]
    description = (
        f"{verdict[:1].upper()}{verdict[1:]}. All bounds are from the same samples; bars on the left are standard "
        "errors over data, which all k share, and on the right those of the paired gains."
    )
    return [Section("The bound by number of samples", description, "ladder.svg", chart(rungs))]


def chart(rungs: Sequence[Rung]) -> bytes:
    """Bound against k, and what each k adds to the one before, with standard errors, as SVG."""
    import matplotlib as mpl

    names = [f"{rung.samples:,}" for rung in rungs]
    with mpl.rc_context(STYLE):
        figure, (left, right) = figure_of(2, 8.6, 2.9)
        bounds, errors = [r.bound for r in rungs], [r.bound_error or 0.0 for r in rungs]
        left.errorbar(range(len(rungs)), bounds, yerr=errors, color=BLUE, ecolor=INK, marker="o", ms=4, lw=1.6,
                      elinewidth=1, capsize=3)  # fmt: skip
        left.set(title="IWAE bound on log p(x)", xlabel="importance samples k", ylabel="nats")
        left.set_xticks(range(len(rungs)), names)
        gains = [(r.gain, r.gain_error or 0.0) for r in rungs if r.gain is not None]
        heights, bars = [g for g, _ in gains], [e for _, e in gains]
        right.bar(range(len(gains)), heights, yerr=bars, color=BLUE, ecolor=INK, width=0.6, capsize=3)
        for i, (height, bar) in enumerate(zip(heights, bars, strict=True)):
            right.annotate(f"{height:.2g}", (i, height + bar), (0, 2), textcoords="offset points", ha="center",
                           va="bottom", fontsize=9, color=INK)  # fmt: skip
        right.margins(y=0.15)
        right.set(title="what each k adds to the k before", xlabel="importance samples k", ylabel="nats")
        right.set_xticks(range(len(gains)), names[1:])
        return svg(figure)
