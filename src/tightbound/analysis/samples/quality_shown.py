"""Conclusions, table and figure of sample quality. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tightbound.analysis.estimate import Estimate, scalar, scalar_error, value_text
from tightbound.analysis.figures import Bars, Figure, Panel, Scatter
from tightbound.analysis.result import Table

MOST_CLASSES = 30  # classes with bars
# name -> what it means that samples lie below their floor, and above it
MEANING = {
    "precision": ("some samples are unlike any example", ""),
    "recall": ("a part of the variety is missing", ""),
    "coverage": ("a part of the data has no samples near it", ""),
    "sharpness": ("they are blurred", "they are too sharp or noisy"),
    "diversity": ("they are too alike", "they are too diverse"),
    "class_distance": ("", "the shares of classes differ"),
}


def verdict(
    estimates: Mapping[str, Estimate], floor: Mapping[str, Estimate], meaning: Mapping[str, tuple[str, str]]
) -> Sequence[str]:
    """Return sentences on estimates that differ from their floor by more than three standard errors; see `MEANING`."""
    if not floor:
        return ()
    found = []
    for name, (below, above) in meaning.items():
        if name not in estimates or name not in floor:
            continue
        own, other = estimates[name], floor[name]
        difference = scalar(own) - scalar(other)
        limit = 3 * math.hypot(scalar_error(own), scalar_error(other))
        words = below if difference < -limit else above if difference > limit else ""
        if words:
            found.append(f"{words} ({name} {scalar(own):.2f}, floor {scalar(other):.2f})")
    if not found:
        return ("The samples look about as much like the test data as training examples do.",)
    return (f"Compared with training examples, samples differ from the test data: {'; '.join(found)}.",)


def floor_table(estimates: Mapping[str, Estimate], floor: Mapping[str, Estimate]) -> Sequence[Table]:
    """Return the numbers of samples beside their floor, if there is one."""
    if not floor:
        return ()
    rows = [[name, value_text(estimates[name]), value_text(floor[name])] for name in estimates if name in floor]
    caption = "The floor is what training examples reach instead of samples: closer to it is better."
    return (Table("Samples beside their floor", ("", "samples", "floor"), rows, caption),)


def figures(
    points: Mapping[str, Sequence[Sequence[float]]], classes: Mapping[str, Sequence[float]]
) -> Sequence[Figure]:
    """Return the features on two axes, and the shares of classes if they are known."""
    padded = {name: [[*point, 0.0][:2] for point in cloud] for name, cloud in points.items()}
    panels: list[Panel] = [
        Scatter(series=padded, title="features", x_label="first principal axis of the data", y_label="second axis")
    ]
    explained = "Where there are only data, samples lack a part of the data; where there are only samples, they are "
    "unlike the data."
    if classes:
        data = classes["data"]
        order = sorted(sorted(range(len(data)), key=lambda i: -data[i])[:MOST_CLASSES])
        shares = {name: [classes[name][i] for i in order] for name in ("data", "samples")}
        labels = [str(i) for i in order]
        panels.append(Bars(labels=labels, series=shares, title="predicted classes", x_label="class", y_label="share"))
        explained += " A class that is rare among the samples is a mode that the model drops."
    return (Figure("sample-features", "Samples and data in feature space", explained, panels),)
