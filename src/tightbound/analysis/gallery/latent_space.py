"""The latent space, as a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tightbound.analysis.base import Analysis, Subject, option
from tightbound.analysis.figures import Figure, Scatter
from tightbound.analysis.result import Result
from tightbound.core.errors import CompositionError

if TYPE_CHECKING:
    from tightbound.analysis.estimate import Array
    from tightbound.data import Split
    from tightbound.trained import Trained

CLASSES = 20  # colors that can be told apart


@dataclass(frozen=True, kw_only=True)
class LatentSpace(Analysis[Result]):
    """Show the posterior means of examples on their first two principal axes, colored by class."""

    name = "latent-space"
    question = "Where do the latent codes lie?"
    group = "look"
    fast = True

    max_examples: int = option(3000, least=2, variant=True)
    """Maximum number of examples, picked at random."""

    def run(self, trained: Trained, subject: Subject) -> Result:
        """Encode the examples and project them."""
        import numpy as np

        from tightbound.latents.codes import code_latents

        if code_latents(trained.model.latents):
            raise CompositionError("code indices have no map; see code_usage()")
        z, labels = _encoded(trained, subject.examples, self.max_examples)
        centered = z - z.mean(0)
        share = 1.0
        if z.shape[1] > 2:
            _, s, axes = np.linalg.svd(centered, full_matrices=False)
            share = float((s[:2] ** 2).sum() / max((s**2).sum(), 1e-300))
            centered = centered @ axes[:2].T
        points = np.pad(centered, ((0, 0), (0, max(0, 2 - centered.shape[1])))).round(4)
        classes = [] if labels is None else np.unique(labels).tolist()
        colored = labels is not None and 1 < len(classes) <= CLASSES
        series = (
            {subject.examples.class_name(c): points[labels == c].tolist() for c in classes}
            if colored
            else {"examples": points.tolist()}
        )
        names = ("first principal axis", "second principal axis") if z.shape[1] > 2 else ("z 1", "z 2")
        panel = Scatter(series=series, x_label=names[0], y_label=names[1], equal=True)
        explained = "Each point is the posterior mean of an example"
        explained += ", colored by class." if colored else "."
        if colored and trained.model.context is None:
            explained += (
                " Classes that form regions can be told apart by their latent codes, although training used no labels."
            )
        if z.shape[1] > 2:
            explained += f" The two axes hold {share:.0%} of the variance."
        figure = Figure("latent-space", "Latent codes of the examples", explained, (panel,))
        return Result({}, figures=(figure,), caption=f"Posterior means of {len(z):,} examples ({subject.name}).")


def _encoded(trained: Trained, split: Split, max_examples: int) -> tuple[Array, Array | None]:
    """Return posterior means (N, latent) and labels (N,), None if there is not one per example."""
    import torch

    from tightbound.core.terms import class_numbers

    codes, labels = [], []
    for batch in split.epoch(500, key=("report",)):
        codes.append(trained.encode(batch))
        labels.append(batch.label)
        if sum(map(len, codes)) >= max_examples:
            break
    z = torch.cat(codes).double().numpy()[:max_examples]
    if any(label is None for label in labels):
        return z, None
    known = torch.cat(labels)
    numbers = class_numbers(known)
    known = numbers if numbers is not None else known if known.dim() == 1 else None
    return z, None if known is None else known.numpy()[:max_examples]
