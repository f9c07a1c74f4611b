"""Pictures of samples, reconstructions, interpolations and completions; charts of tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis import pictures
from tightbound.analysis.base import Subject
from tightbound.analysis.estimate import Array
from tightbound.analysis.figures import Bars, Figure, Histograms, Panel
from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms
from tightbound.data import Split
from tightbound.data.feed import evaluating
from tightbound.inference.fitting import default_sampler
from tightbound.latents.codes import CodeLatents, code_latents

if TYPE_CHECKING:
    from tightbound.trained import Trained


def some(split: Split, n: int) -> Batch:
    """Return up to n examples, picked at random."""
    first = next(split.epoch(n, key=("report",)), None)
    if first is None:
        raise InputError("there are no examples to show; give at least one")
    return first


def infer(model: VAE, batch: Batch) -> tuple[LatentTerms, ...]:
    """Return the latents of a batch, one draw for each example."""
    seen = model.observe(batch.to(model.device), Noise("report"))
    noise = ExampleNoise("report", index=batch.positions())
    groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
    return groups


def source(trained: Trained, batch: Batch) -> str:
    """Say what samples are decoded from, in a sentence or two."""
    model = trained.model
    with evaluating(model), torch.no_grad():
        groups = infer(model, batch[:1])
    if not all(group.has_density for group in groups):
        return (
            "Decoded draws from N(0, I). A plain autoencoder is not trained to put its latent codes there: pictures "
            "that look wrong come from holes between them."
        )
    if isinstance(model.latents, CodeLatents) and not model.latents.has_learned_prior:
        return (
            "Decoded code indices, each drawn at random, because no code prior has been trained: nothing holds the "
            "parts of a picture together. Train one with fit_prior()."
        )
    sampler = default_sampler(trained.folder)
    if sampler is not None:
        return f"Decoded draws from {sampler}, a density fitted to latent codes, since these lie apart from the prior."
    return "Decoded draws from the prior p(z)."


DRAWN = 64  # examples that are picked
DOWN = 5  # rows of samples
COMPLETED = 6  # examples that are completed
STEPS = 11  # images of an interpolation
PATHS: tuple[Literal["linear", "spherical"], ...] = ("linear", "spherical")


def image_figures(trained: Trained, split: Split) -> Sequence[Figure]:
    """Return samples or completions, reconstructions, and interpolations where there is a path between codes."""
    model, batch, across = trained.model, some(split, DRAWN), pictures.columns(trained.model.shape[-1])
    context, codes = model.context, code_latents(model.latents)

    def figure(name: str, title: str, caption: str, rows: Iterable[Tensor], labels: Sequence[str] = ()) -> Figure:
        pixels = [pictures.to_pixels(x, model.observation.source) for x in rows]
        return Figure(name, title, caption, (pictures.panel(pixels, labels),))

    if context is not None and context.completes:
        shown = batch[:COMPLETED]
        drawn = trained.complete(shown, across - 1)
        explained = (
            "An example on the left, then its visible part, completed with the mean of p(x|z) for draws of z given "
            "that part."
        )
        rows = torch.cat([shown.x.unsqueeze(1).to(drawn), drawn], 1)
        found = [figure("samples", "Completions", explained, rows)]
    else:
        x = trained.sample(min(DRAWN, DOWN * across), context=None if context is None else batch.beside)
        x = trained.form.take(x, model.observation.source)
        labels = " The labels of test examples are given." * (context is not None)
        explained = f"{source(trained, batch)}{labels} The pictures are means of p(x|z)."
        pixels = pictures.to_pixels(x, model.observation.source)  # stretched together, if they have no fixed scale
        found = [Figure("samples", "Samples", explained, (pictures.panel(pictures.in_rows(pixels, across)),))]
        if default_sampler(trained.folder) is not None:
            rows = trained.form.take(trained.sample(DOWN * across, sampler="prior"), model.observation.source)
            drawn = pictures.in_rows(pictures.to_pixels(rows, model.observation.source), across)
            explained = "Decoded draws from the prior p(z), which does not match the latent codes. Means of p(x|z)."
            found.append(Figure("prior-samples", "Samples of the prior itself", explained, (pictures.panel(drawn),)))
    shown = batch[:across]
    explained = f"Above: examples; below: decoded from their {'code indices' if codes else 'posterior means'}."
    rows = (shown.x, trained.reconstruct(shown))
    found.append(figure("reconstructions", "Reconstructions", explained, rows, ("example", "decoded")))
    if codes:
        return found
    ends = None if batch.label is None else batch.label[[0, -1]]
    steps = min(STEPS, across)
    rows = [trained.interpolate(batch.x[0], batch.x[-1], steps=steps, path=path, labels=ends) for path in PATHS]
    explained = (
        "Decoded paths between the latent codes of two examples: a straight line, and a great circle, which stays "
        "where N(0, I) has its mass."
    )
    return [*found, figure("interpolation", "Interpolation", explained, rows, PATHS)]


ROWS = 2000  # examples of a table, and samples, whose distributions are shown
COLUMNS = 12  # columns that are shown
INTEGERS = 24  # different whole numbers that have a bar each
CATEGORIES = 12  # categories that are shown, the most frequent first


def table_figures(trained: Trained, subject: Subject) -> Sequence[Figure]:
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
        context = None if model.context is None else batch.beside
        samples = trained.form.take(trained.sample(len(batch), draw=True, context=context), model.observation.source)
    real, drawn, domain = batch.x.double().numpy(), samples.double().numpy(), model.observation.source
    columns = min(COLUMNS, real.shape[1])
    names = [*model.schema.columns] or [f"column {i + 1}" for i in range(columns)]
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
    if domain.values:  # bars stand at the positions of the values
        edges = np.array(domain.values)
        parts = {name: np.abs(x[:, None] - edges).argmin(1) for name, x in parts.items()}
        names = tuple(f"{value:g}" for value in domain.values)
        domain = Domain("levels", domain.levels, words=names)
    levels = int(max(x.max(initial=0) for x in parts.values())) + 1  # whole numbers start at 0
    if not domain.discrete or (domain.kind != "categories" and levels > INTEGERS):
        bins = min(30, 8 + len(real) // 20)
        return Histograms(series={name: x.tolist() for name, x in parts.items()}, bins=bins, title=title)
    levels = domain.levels or levels
    counts = {name: np.bincount(np.rint(x).astype(int), minlength=levels) for name, x in parts.items()}
    nominal = domain.kind == "categories"
    order = np.argsort(-counts["data"], kind="stable")[:CATEGORIES] if nominal else np.arange(levels)
    labels = [str(domain.words[i]) if domain.words else str(i) for i in order]
    series = {name: (each[order] / max(1, each.sum())).tolist() for name, each in counts.items()}
    return Bars(labels=labels, series=series, title=title)
