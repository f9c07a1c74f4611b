"""Sentences, tables and figures of scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tightbound.analysis import pictures as images
from tightbound.analysis.detection.engine import Detected, Scored
from tightbound.analysis.detection.score import most_unusual
from tightbound.analysis.detection.scores.base import Array
from tightbound.analysis.estimate import Estimate, scalar, value_text
from tightbound.analysis.figures import Figure, Histograms
from tightbound.analysis.result import Table
from tightbound.core.model import VAE
from tightbound.core.schema import listed
from tightbound.data import Split

HIGHER = "the higher, the more unusual"


def most_often(unusual: Mapping[str, Sequence[int]], examples: Split) -> list[str]:
    """Return a sentence about the example that is among the most unusual by most scores."""
    counts = Counter(index for indices in unusual.values() for index in indices)
    if len(unusual) < 2 or not counts:
        return []
    index, count = counts.most_common(1)[0]
    top = max(map(len, unusual.values()))
    if examples.size is not None and examples.size <= top:  # all examples are
        return []
    [title] = examples.titles(torch.tensor([index]))
    return [f"Example {title} is among the {top} most unusual by {count} of {len(unusual)} scores."]


def left_out(index: Array, examples: Split, most: int = 8) -> list[str]:
    """Return a sentence about examples with entries that the model cannot hold, which scores leave out."""
    unknown = examples.unknown_entries(torch.from_numpy(index))
    rows = [] if unknown is None else examples.titles(torch.from_numpy(index[unknown > 0]))
    if not rows:
        return []
    hold, they = ("holds", "it is") if len(rows) == 1 else ("hold", "they are")
    return [
        f"{listed(rows, most)} {hold} entries that the model cannot hold, which have probability 0, so {they} "
        "among the most unusual; the scores leave these entries out (column unknown_entries of the values per example)."
    ]


def unusual_table(unusual: Mapping[str, Sequence[int]], examples: Split) -> list[Table]:
    """Return the table of the most unusual examples by each score."""
    if not unusual:
        return []
    rows = [(name, ", ".join(examples.titles(torch.tensor(indices)))) for name, indices in unusual.items()]
    caption = "The most unusual example first: by name, by row of the file (from 1), or by index in the data (from 0)."
    return [Table("The most unusual examples", ("score", "examples"), rows, caption)]


def histograms(
    estimates: Mapping[str, Estimate],
    sets: Mapping[str, Mapping[str, Array]],
    areas: Mapping[str, Estimate] | None = None,
) -> list[Figure]:
    """Return a figure with a panel for each score, with one histogram for each data set.

    Args:
        estimates: Means of the scores, by score.
        sets: Values (N,) by score, for each data set.
        areas: AUROC of each score, "nll_auroc", for the titles.
    """
    panels = []
    for name, estimate in estimates.items():
        known = {label: values[name] for label, values in sets.items() if name in values}
        finite = np.concatenate([each[np.isfinite(each)] for each in known.values()]) if known else np.zeros(0)
        if not len(finite):
            continue
        low, high = np.quantile(finite, [0.005, 0.995])  # the outermost bins hold what lies beyond
        series = {
            label: [float(f"{v:.6g}") for v in np.clip(each[~np.isnan(each)], low, high)]
            for label, each in known.items()
        }
        area = None if areas is None else areas[f"{name}_auroc"].value
        title = name if area is None else f"{name}, AUROC {area:.3f}"
        panels.append(Histograms(title=title, x_label=estimate.unit.partition(",")[0], series=series, bins=30))
    if not panels:
        return []
    caption = f"Distribution of each score over the examples; {HIGHER}."
    return [Figure("scores", "Scores of the examples", caption, panels)]


def pictures(model: VAE, found: Scored, n: int = 12) -> list[Figure]:
    """Return a grid of the n most unusual examples by each score, if they are images."""
    scores = {name: values for name, values in found.per_example.items() if name != "index"}
    if not images.is_image(model.shape) or not scores:
        return []
    order = [most_unusual(values)[:n].tolist() for values in scores.values()]
    rows = [images.to_pixels(found.batch.x[chosen], model.observation.source) for chosen in order]
    caption = "One row for each score, with the most unusual example at the left."
    return [Figure("most-unusual", "The most unusual examples", caption, [images.panel(rows, list(scores))])]


def conclusions(found: Detected, names: tuple[str, str]) -> list[str]:
    """Return what the AUROCs say, a misled likelihood first."""
    own, other = names
    said = []
    misled = found.intervals.get("nll_auroc", (0.0, 1.0))[1] < 0.5
    if misled:
        said.append(
            f"The likelihood is misled: the model finds {other} more likely than its own data ({own}), so a high "
            "likelihood does not show that an example belongs to its own data. Simple examples are likely, whatever "
            "they "
            "show."
        )
    areas = {name: scalar(found.estimates[f"{name}_auroc"]) for name in found.own.estimates}
    known = {name: area for name, area in areas.items() if area == area}  # NaN: missing
    if known:
        best = max(known, key=lambda name: known[name])
        said.append(
            f"Highest AUROC: {best}, {_cell(found, f'{best}_auroc')}: the probability that an example of {other} "
            "scores "
            f"higher than one of {own}."
        )
    return said


def detection_tables(found: Detected, names: tuple[str, str], chance: float) -> list[Table]:
    """Return the table of AUROC and AUPR, and the table of means."""
    known = [name for name in found.own.estimates if f"{name}_auroc" in found.intervals]
    areas = [(name, _cell(found, f"{name}_auroc"), _cell(found, f"{name}_aupr")) for name in known]
    means = [
        (name, *(value_text(part.estimates[name]) for part in (found.own, found.other)), found.own.estimates[name].unit)
        for name in found.own.estimates
    ]
    missing = {name: estimate.reason for name, estimate in found.own.estimates.items() if name not in known}
    notes = [f"{name} is missing: {reason}" for name, reason in missing.items()]
    own, other = names
    caption = (
        f"AUROC: probability that an example of {other} scores higher than one of {own}; chance is 0.5, and below it "
        f"the score is misled. AUPR: average precision for finding {other}; chance is {chance:.2g}."
    )
    tables = [Table("Detection", ("score", "AUROC [95%]", "AUPR [95%]"), areas, caption, notes)] if known else []
    head = ("score", own, other, "unit")
    return [*tables, Table("Means of the scores", head, means, f"Means with standard errors; {HIGHER}.")]


def _cell(found: Detected, name: str) -> str:
    low, high = found.intervals[name]
    return f"{found.estimates[name].value:.3f} [{low:.3f}, {high:.3f}]"
