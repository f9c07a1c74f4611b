"""Pictures of samples, reconstructions, interpolations and completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from tightbound.analysis import pictures
from tightbound.analysis.figures import Figure
from tightbound.analysis.gallery.drawing import given, some, source
from tightbound.core.terms import Batch
from tightbound.data import Split
from tightbound.latents.codes import code_latents

if TYPE_CHECKING:
    from tightbound.trained import Trained

DRAWN = 64  # examples that are picked
ROWS = 5  # rows of samples
COMPLETED = 6  # examples that are completed
STEPS = 11  # images of an interpolation
PATHS: tuple[Literal["linear", "spherical"], ...] = ("linear", "spherical")


def figures(trained: Trained, split: Split) -> Sequence[Figure]:
    """Return samples or completions, reconstructions, and interpolations where there is a path between codes."""
    batch, context = some(split, DRAWN), trained.model.context
    completes = context is not None and context.completes
    found = [_completions(trained, batch) if completes else _samples(trained, batch), _reconstructions(trained, batch)]
    return found if code_latents(trained.model.latents) else [*found, _interpolation(trained, batch)]


def _samples(trained: Trained, batch: Batch) -> Figure:
    domain, context = trained.model.observation.source, trained.model.context
    across = pictures.columns(trained.model.shape[-1])
    n = min(DRAWN, ROWS * across)
    x = trained.sample(n, context=None if context is None else given(batch))
    labels = " The labels of test examples are given." * (context is not None)
    explained = f"{source(trained, batch)}{labels} Shown is the mean of p(x|z)."
    rows = pictures.in_rows(pictures.to_pixels(x, domain), across)
    return Figure("samples", "Samples", explained, (pictures.panel(rows),))


def _completions(trained: Trained, batch: Batch) -> Figure:
    shown, domain = batch[:COMPLETED], trained.model.observation.source
    drawn = trained.complete(shown, pictures.columns(trained.model.shape[-1]) - 1)
    x = torch.cat([shown.x.unsqueeze(1).to(drawn), drawn], 1)
    explained = (
        "An example on the left, then its visible part, completed with the mean of p(x|z) for draws of z given that "
        "part."
    )
    rows = [pictures.to_pixels(row, domain) for row in x]
    return Figure("samples", "Completions", explained, (pictures.panel(rows),))


def _reconstructions(trained: Trained, batch: Batch) -> Figure:
    shown = batch[: pictures.columns(trained.model.shape[-1])]
    domain, rebuilt = trained.model.observation.source, trained.reconstruct(shown)
    codes = "code indices" if code_latents(trained.model.latents) else "posterior means"
    explained = f"Above examples, below what is decoded from their {codes}."
    rows = [pictures.to_pixels(x, domain) for x in (shown.x, rebuilt)]
    return Figure("reconstructions", "Reconstructions", explained, (pictures.panel(rows, ("example", "decoded")),))


def _interpolation(trained: Trained, batch: Batch) -> Figure:
    domain = trained.model.observation.source
    labels = None if batch.label is None else batch.label[[0, -1]]
    steps = min(STEPS, pictures.columns(trained.model.shape[-1]))
    rows = [
        pictures.to_pixels(trained.interpolate(batch.x[0], batch.x[-1], steps=steps, path=path, labels=labels), domain)
        for path in PATHS
    ]
    explained = (
        "Between the latent codes of two examples: on a straight line, and on a great circle, which keeps to where "
        "N(0, I) has its mass."
    )
    return Figure("interpolation", "Interpolation", explained, (pictures.panel(rows, PATHS),))
