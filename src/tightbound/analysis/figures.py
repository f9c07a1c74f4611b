"""Figures as plain data: an analysis describes a chart, and the report, the command line or the explorer draws it.

Free of torch and matplotlib.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from tightbound.analysis.estimate import Estimate, scalar, scalar_error


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One chart of a figure, with its axis labels."""

    kind: ClassVar[str]

    title: str = ""
    x_label: str = ""
    y_label: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and strings; numbers that are not finite become None."""
        return {"kind": self.kind, **_replaced(asdict(self), lambda v: None if _missing(v) else v)}


@dataclass(frozen=True, kw_only=True)
class Lines(Panel):
    """Curves over a common x; a curve with errors gets a band of 1.96 standard errors."""

    kind = "lines"

    x: Sequence[float]
    series: Mapping[str, Sequence[float | None]]
    errors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    dashed: Sequence[str] = ()  # names of reference curves
    log_x: bool = False
    markers: bool = False
    low: float | None = None  # limits of the y axis
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class Bars(Panel):
    """Bars by label, one group of bars for each series, with error bars of 1.96 standard errors; or stacked."""

    kind = "bars"

    labels: Sequence[str]
    series: Mapping[str, Sequence[float]]
    errors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reference: float | None = None  # a horizontal dashed line
    stacked: bool = False  # horizontal bars, in which the values of the series add up


@dataclass(frozen=True, kw_only=True)
class Histograms(Panel):
    """Overlaid histograms with common bins."""

    kind = "histograms"

    series: Mapping[str, Sequence[float]]
    bins: int = 40


@dataclass(frozen=True, kw_only=True)
class Scatter(Panel):
    """Points (x, y) by series, each optionally with a name beside it and standard errors; dashed lines by name."""

    kind = "scatter"

    series: Mapping[str, Sequence[Sequence[float]]]
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    errors: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    lines: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)  # name -> two or more points
    joined: bool = False  # draw a line through the points of a series
    equal: bool = False  # the same scale on both axes


@dataclass(frozen=True, kw_only=True)
class Intervals(Panel):
    """A horizontal interval for each label, with a vertical reference line."""

    kind = "intervals"

    labels: Sequence[str]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    reference: float | None = 0.0

    @classmethod
    def of(cls, estimates: Mapping[str, Estimate], **names: Any) -> Intervals:
        """Return 95% intervals of estimates that are one number, by label."""
        values = [scalar(each) for each in estimates.values()]
        half = [0.0 if each.stderr is None else 1.96 * scalar_error(each) for each in estimates.values()]
        pairs = list(zip(values, half, strict=True))
        low, high = [value - error for value, error in pairs], [value + error for value, error in pairs]
        return cls(labels=list(estimates), values=values, low=low, high=high, **names)


@dataclass(frozen=True, kw_only=True)
class Heatmap(Panel):
    """A matrix (rows, columns) as colors."""

    kind = "heatmap"

    values: Sequence[Sequence[float]]
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    color_label: str = ""
    low: float | None = None
    high: float | None = None
    equal: bool = False  # square cells


@dataclass(frozen=True, kw_only=True)
class Pictures(Panel):
    """A grid of images, composed (`tightbound.analysis.pictures.grid`) and encoded as PNG."""

    kind = "pictures"

    png: bytes

    def to_json(self) -> dict[str, Any]:
        """Return the picture in base64."""
        return {"kind": self.kind, "title": self.title, "png": base64.b64encode(self.png).decode()}


@dataclass(frozen=True)
class Figure:
    """A named figure with a caption.

    Attributes:
        name: Name of its file, without an ending: "kl-by-dimension".
        title: Heading.
        caption: What to see in it, in a sentence or two.
        panels: Charts, side by side; a figure of `Pictures` has one panel.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]

    @property
    def is_picture(self) -> bool:
        """Whether it is a PNG picture rather than a chart."""
        return isinstance(self.panels[0], Pictures)

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, lists and strings."""
        panels = [panel.to_json() for panel in self.panels]
        return {"name": self.name, "title": self.title, "caption": self.caption, "panels": panels}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Figure:
        """Return the figure that `to_json` wrote."""
        return cls(stored["name"], stored["title"], stored["caption"], [_panel(each) for each in stored["panels"]])


PANELS: dict[str, type[Panel]] = {cls.kind: cls for cls in (Lines, Bars, Histograms, Scatter, Intervals, Heatmap)}


def _panel(stored: Mapping[str, Any]) -> Panel:
    values = dict(stored)
    kind = values.pop("kind")
    if kind == Pictures.kind:
        return Pictures(title=values["title"], png=base64.b64decode(values["png"]))
    return PANELS[kind](
        **{name: _replaced(v, _number) if isinstance(v, list | dict) else v for name, v in values.items()}
    )


def _replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply a function to each value of nested lists and mappings."""
    if isinstance(value, Mapping):
        return {name: _replaced(each, change) for name, each in value.items()}
    return [_replaced(each, change) for each in value] if isinstance(value, list | tuple) else change(value)


def _missing(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _number(value: Any) -> Any:
    return math.nan if value is None else value
