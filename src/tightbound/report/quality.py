"""The quality of samples: a table with the floor beside each number, and pictures of classes and features."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightbound.report.figures import GRAY, ORANGE, STYLE, figure_of, svg
from tightbound.report.section import Section
from tightbound.report.table import rows

MOST_CLASSES = 30  # that bars are shown of


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    value: str
    floor: str
    unit: str
    description: str


def compared(found: Mapping[str, Any]) -> list[Row]:
    """A line for each number, with its floor."""
    floor = {row.name: row.value for row in rows(found["floor"])}
    return [
        Row(row.name, row.value, floor.get(row.name, ""), row.unit, row.description) for row in rows(found["numbers"])
    ]


def caption(found: Mapping[str, Any]) -> str:
    """What was compared with what, and by what."""
    about, first = found["about"], next(iter(found["numbers"].values()))
    best = " Floor: as many training data in place of samples, the best that can be expected."
    floor = best if found["floor"] else ""
    return (
        f"{first['n']:,} samples ({about['samples']}) against as many data ({about['data']}). "
        f"Features: {about['features']}.{floor}"
    )


def sections(found: Mapping[str, Any]) -> list[Section]:
    """The table, and what the features look like."""
    head = "".join(f"<th scope=col>{cell}</th>" for cell in ("", "samples", "floor", "unit", ""))
    cells = "".join(
        f"<tr><th scope=row>{html.escape(row.name)}</th><td class=value>{html.escape(row.value)}</td>"
        f"<td class=floor>{html.escape(row.floor)}</td><td class=unit>{html.escape(row.unit)}</td>"
        f"<td>{html.escape(row.description)}</td></tr>"
        for row in compared(found)
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{cells}</tbody></table>"
    description = (
        "Left: where orange points are missing, samples lack a part of the data; where they stand alone, samples are "
        "unlike any."
    )
    description += " Right: a class that samples lack is a mode that was dropped." if found["classes"] else ""
    return [Section("Quality of samples", f"{caption(found)} {description}", "quality.svg", picture(found), body=table)]


def picture(found: Mapping[str, Any]) -> bytes:
    """Points on the features' first two axes; shares of classes beside them, where classes are known."""
    import matplotlib as mpl

    classes, points = found["classes"], found["points"]
    with mpl.rc_context(STYLE):
        page, axes = figure_of(2 if classes else 1, 9.2 if classes else 5.4, 3.9)
        for name, color in (("data", GRAY), ("samples", ORANGE)):
            where = np.asarray(points[name])
            across, up = where[:, 0], where[:, 1] if where.shape[1] > 1 else np.zeros(len(where))
            axes[0].scatter(across, up, s=7, color=color, alpha=0.55, lw=0, label=name)
        axes[0].set(title="features", xlabel="first axis of the data", ylabel="second axis")
        axes[0].legend(markerscale=2)
        if classes:
            _bars(axes[1], classes)
        return svg(page)


def _bars(axis: Any, classes: Mapping[str, list[float]]) -> None:
    order = np.argsort(classes["data"])[::-1][:MOST_CLASSES]
    order = np.sort(order)
    for name, color, side in (("data", GRAY, -0.2), ("samples", ORANGE, 0.2)):
        axis.bar(np.arange(len(order)) + side, np.asarray(classes[name])[order], width=0.4, color=color, label=name)
    axis.set_xticks(np.arange(len(order)), [str(i) for i in order])
    axis.set(title="predicted classes", xlabel="class", ylabel="share")
    axis.margins(y=0.22)
    axis.legend(ncols=2, loc="upper right")
