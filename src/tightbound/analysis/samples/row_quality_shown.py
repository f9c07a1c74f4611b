"""Descriptions, tables and figures of the quality of new rows. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tightbound.analysis.estimate import Estimate, value_text, with_error
from tightbound.analysis.figures import Bars, Figure, Histograms, Panel
from tightbound.analysis.result import Table

if TYPE_CHECKING:
    from tightbound.analysis.estimate import Array
    from tightbound.analysis.samples.two_sample import Dependence, Measured
    from tightbound.core.domain import Domain

COLUMNS = 30  # maximum number of columns in the table
PAIRS = 10  # maximum number of pairs of columns in the table
PANELS = 4  # maximum number of columns in the figure
CATEGORIES = 12  # maximum number of bars of a column

# name -> unit, estimator, description
NUMBERS = {
    "column_distance": (
        "probability", "mean over columns: Kolmogorov-Smirnov distance for numbers, total variation distance for "
        "categories; bootstrap of rows",
        "mean distance between the distributions of columns in samples and in data; 0 is best",
    ),
    "worst_column": (
        "probability", "Kolmogorov-Smirnov or total variation distance; bootstrap of rows",
        "distance for column {column}, which lies farthest above its floor",
    ),
    "dependence_gap": (
        "correlation", "mean over pairs of columns: differences of Spearman's correlation, the correlation ratio of "
        "ranks, or Cramér's V, as matrices of scores; block jackknife",
        "mean difference in the dependence between two columns; 0 is best",
    ),
    "classifier_auroc": (
        "AUROC", "gradient-boosted trees (scikit-learn), 5-fold cross-validation",
        "how well a classifier tells samples from data; 0.5: it cannot, 1: always",
    ),
}  # fmt: skip
# name -> meaning of an estimate below its floor, and above it
MEANING = {
    "column_distance": ("", "the columns have different distributions"),
    "worst_column": ("", "one column has a different distribution"),
    "dependence_gap": ("", "the columns depend on each other differently"),
    "classifier_auroc": ("", "a classifier can tell them apart"),
    "target_score": ("they train a worse predictor", ""),
    "nearer_than_test": ("", "they are nearer to the training rows than test rows are, as copies are"),
    "too_near": ("", "some are copies of training rows"),
}


def worst_sentence(column: str, estimates: Mapping[str, Estimate], floor: Mapping[str, Estimate]) -> str:
    """Return a sentence on the column that differs most."""
    own, other = estimates["worst_column"], floor["worst_column"]
    return f"The column that differs most is {column}: distance {value_text(own)}, floor {value_text(other)}."


def columns_table(
    names: Sequence[str], columns: Sequence[Domain], own: Sequence[Measured], floor: Sequence[Measured]
) -> Table:
    """Return the distance of each column and its floor, in decreasing order of their difference."""
    order = sorted(range(len(names)), key=lambda i: floor[i].value - own[i].value)
    rows = [
        [
            names[i], "total variation" if columns[i].kind == "categories" else "Kolmogorov-Smirnov",
            with_error(own[i].value, own[i].stderr), with_error(floor[i].value, floor[i].stderr),
        ]
        for i in order[:COLUMNS]
    ]  # fmt: skip
    more = f"; the first {COLUMNS} of {len(names)}" if len(names) > COLUMNS else ""
    caption = f"Distance between the distributions of samples and of data{more}. 0 is best, 1 is worst."
    return Table("Columns", ("column", "distance", "samples", "floor"), rows, caption)


def pairs_table(names: Sequence[str], own: Dependence | None, floor: Dependence | None) -> Sequence[Table]:
    """Return the pairs of columns whose dependence differs most."""
    if own is None or floor is None:
        return ()
    order = sorted(range(len(own.pairs)), key=lambda i: floor.gaps[i].value - own.gaps[i].value)[:PAIRS]
    rows = []
    for k in order:
        i, j = own.pairs[k]
        gap = with_error(own.gaps[k].value, own.gaps[k].stderr)
        rows.append([f"{names[i]}, {names[j]}", f"{own.own[k]:.2f}", f"{own.other[k]:.2f}", gap,
                     f"{floor.gaps[k].value:.2f}"])  # fmt: skip
    caption = (
        "Spearman's correlation for numbers, correlation ratio of ranks for a number and categories, Cramér's V for "
        "categories. The difference also measures which categories occur together."
    )
    heads = ("columns", "samples", "data", "difference", "floor")
    return (Table("Pairs of columns whose dependence differs most", heads, rows, caption),)


def figures(
    names: Sequence[str], columns: Sequence[Domain], samples: Array, data: Array, distance: Sequence[Measured]
) -> Sequence[Figure]:
    """Return figures of the columns whose distributions differ most between samples (n, D) and data (n, D)."""
    import numpy as np

    panels: list[Panel] = []
    for i in sorted(range(len(names)), key=lambda i: -distance[i].value)[:PANELS]:
        parts = {name: x[:, i][~np.isnan(x[:, i])] for name, x in (("data", data), ("samples", samples))}
        if columns[i].kind != "categories":
            panels.append(Histograms(series={name: x.tolist() for name, x in parts.items()}, x_label=names[i], bins=20))
            continue
        counts = {name: np.bincount(x.astype(int), minlength=columns[i].levels or 0) for name, x in parts.items()}
        most = np.argsort(-counts["data"], kind="stable")[:CATEGORIES]
        shares = {name: (found[most] / max(found.sum(), 1)).tolist() for name, found in counts.items()}
        labels = [columns[i].words[k] for k in most]
        panels.append(Bars(labels=labels, series=shares, x_label=names[i], y_label="share"))
    caption = "The columns whose distributions differ most between samples and data."
    return (Figure("columns", "Columns that differ most", caption, panels),)
