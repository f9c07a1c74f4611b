"""Charts of tables: the distribution of each column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from tightbound.analysis.base import Subject
from tightbound.analysis.estimate import Array
from tightbound.analysis.figures import Bars, Figure, Histograms, Panel
from tightbound.analysis.gallery.drawing import given, some, source
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError
from tightbound.core.terms import Batch

if TYPE_CHECKING:
    from tightbound.trained import Trained

ROWS = 2000  # examples of a table, and samples, whose distributions are shown
COLUMNS = 12  # columns that are shown
CATEGORIES = 12  # categories that are shown, the most frequent first


def figures(trained: Trained, subject: Subject) -> Sequence[Figure]:
    """Return the distribution of each column, in the data and in draws from the model.

    Raises:
        CompositionError: If the examples are no table.
    """
    shape = trained.model.shape
    if len(shape) != 1:
        raise CompositionError(f"no picture shows examples of shape {tuple(shape)}; needed: images or tables")
    batch = some(subject.examples if subject.data is None else subject.data.whole, ROWS)
    return (_marginals(trained, batch),)


def _marginals(trained: Trained, batch: Batch) -> Figure:
    samples, observation = _drawn(trained, batch), trained.model.observation
    real, drawn = batch.x.double().numpy(), samples.double().numpy()
    columns = min(COLUMNS, real.shape[1])
    names = [str(name) for name in observation.header] or [f"column {i + 1}" for i in range(columns)]
    domain = observation.source
    panels = [
        _marginal(real[:, i], drawn[:, i], names[i], domain.columns[i] if domain.columns else domain)
        for i in range(columns)
    ]
    shown = f"The first {columns} of {real.shape[1]} columns." if columns < real.shape[1] else ""
    counts = f"Distributions of {len(real):,} examples and as many draws of p(x|z), by column."
    return Figure("samples", "Samples", f"{source(trained, batch)} {counts} {shown}".strip(), panels)


def _marginal(real: Array, drawn: Array, title: str, domain: Domain) -> Panel:
    real = real[~np.isnan(real)]
    if domain.kind not in ("categories", "binary"):
        return Histograms(
            series={"data": real.tolist(), "samples": drawn.tolist()}, bins=min(30, 8 + len(real) // 20), title=title
        )
    levels = domain.levels or 2
    shares = {
        name: np.bincount(np.rint(x).astype(int).clip(0, levels - 1), minlength=levels) / max(1, len(x))
        for name, x in (("data", real), ("samples", drawn))
    }
    order = np.argsort(-shares["data"], kind="stable")[:CATEGORIES] if levels > CATEGORIES else np.arange(levels)
    words = [str(word) for word in domain.words] or [str(i) for i in range(levels)]
    series = {name: each[order].tolist() for name, each in shares.items()}
    return Bars(labels=[words[i] for i in order], series=series, title=title)


def _drawn(trained: Trained, like: Batch) -> Tensor:
    """Return draws of x, as many as there are examples, in the contexts of these."""
    context = trained.model.context
    if context is not None and context.completes:
        return trained.complete(like, draw=True)[:, 0]
    return trained.sample(len(like), draw=True, context=None if context is None else given(like))
