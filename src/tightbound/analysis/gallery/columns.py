"""Charts of tables: the distribution of each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tightbound.analysis.base import Subject
from tightbound.analysis.estimate import Array
from tightbound.analysis.figures import Bars, Figure, Histograms, Panel
from tightbound.analysis.gallery.drawing import given, some, source
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError

if TYPE_CHECKING:
    from tightbound.trained import Trained

ROWS = 2000  # examples of a table, and samples, whose distributions are shown
COLUMNS = 12  # columns that are shown
INTEGERS = 24  # different whole numbers that have a bar each
CATEGORIES = 12  # categories that are shown, the most frequent first


def figures(trained: Trained, subject: Subject) -> Sequence[Figure]:
    """Return the distribution of each column, in the data and in draws from the model.

    Raises:
        CompositionError: If the examples are no table.
    """
    model = trained.model
    if len(model.shape) != 1:
        raise CompositionError(f"no picture shows examples of shape {tuple(model.shape)}; needed: images or tables")
    batch = some(subject.examples if subject.data is None else subject.data.whole, ROWS)
    if model.context is not None and model.context.completes:
        samples = trained.complete(batch, draw=True)[:, 0]
    else:  # in the contexts of the examples
        context = None if model.context is None else given(batch)
        samples = trained.sample(len(batch), draw=True, context=context)
    real, drawn, domain = batch.x.double().numpy(), samples.double().numpy(), model.observation.source
    columns = min(COLUMNS, real.shape[1])
    names = [str(name) for name in model.observation.header] or [f"column {i + 1}" for i in range(columns)]
    panels = [
        _marginal(real[:, i], drawn[:, i], names[i], domain.columns[i] if domain.columns else domain)
        for i in range(columns)
    ]
    shown = f"The first {columns} of {real.shape[1]} columns." if columns < real.shape[1] else ""
    counts = f"Distributions of {len(real):,} examples and as many draws of p(x|z), by column."
    return (Figure("samples", "Samples", f"{source(trained, batch)} {counts} {shown}".strip(), panels),)


def _marginal(real: Array, drawn: Array, title: str, domain: Domain) -> Panel:
    """Return bars for categories and for few whole numbers, and a histogram otherwise."""
    parts = {"data": real[~np.isnan(real)], "samples": drawn}
    levels = int(max(x.max(initial=0) for x in parts.values())) + 1  # whole numbers start at 0
    if not domain.discrete or (domain.kind != "categories" and levels > INTEGERS):
        bins = min(30, 8 + len(real) // 20)
        return Histograms(series={name: x.tolist() for name, x in parts.items()}, bins=bins, title=title)
    levels = domain.levels or levels
    counts = {name: np.bincount(np.rint(x).astype(int), minlength=levels) for name, x in parts.items()}
    order = np.argsort(-counts["data"], kind="stable")[:CATEGORIES] if domain.words else np.arange(levels)
    labels = [str(domain.words[i]) if domain.words else str(i) for i in order]
    series = {name: (each[order] / max(1, each.sum())).tolist() for name, each in counts.items()}
    return Bars(labels=labels, series=series, title=title)
