"""Pictures of samples, reconstructions, interpolations and completions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from tightbound.analysis import pictures
from tightbound.analysis.figures import Figure
from tightbound.analysis.gallery.drawing import given, some, source
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
        x = trained.sample(min(DRAWN, ROWS * across), context=None if context is None else given(batch))
        labels = " The labels of test examples are given." * (context is not None)
        explained = f"{source(trained, batch)}{labels} Shown is the mean of p(x|z)."
        pixels = pictures.to_pixels(x, model.observation.source)  # stretched together, if they have no fixed scale
        found = [Figure("samples", "Samples", explained, (pictures.panel(pictures.in_rows(pixels, across)),))]
    shown = batch[:across]
    explained = f"Above examples, below what is decoded from their {'code indices' if codes else 'posterior means'}."
    rows = (shown.x, trained.reconstruct(shown))
    found.append(figure("reconstructions", "Reconstructions", explained, rows, ("example", "decoded")))
    if codes:
        return found
    ends = None if batch.label is None else batch.label[[0, -1]]
    steps = min(STEPS, across)
    rows = [trained.interpolate(batch.x[0], batch.x[-1], steps=steps, path=path, labels=ends) for path in PATHS]
    explained = (
        "Between the latent codes of two examples: on a straight line, and on a great circle, which keeps to where "
        "N(0, I) has its mass."
    )
    return [*found, figure("interpolation", "Interpolation", explained, rows, PATHS)]
