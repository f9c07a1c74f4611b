"""Classes of examples, inferred by the model or by its latent sampler."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tightbound.components import find, parse
from tightbound.components.table import TABLE
from tightbound.contexts.inferred import InferredLabels
from tightbound.core.errors import CompositionError
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.terms import Batch, class_numbers
from tightbound.data.feed import Source
from tightbound.inference.infer import each_example
from tightbound.inference.samplers import Sampler


class Classes(NamedTuple):
    """Inferred classes of N examples."""

    labels: tuple[int, ...]  # class labels, in the order of `log_probabilities`
    log_probabilities: Tensor  # (N, classes)
    label: Tensor | None  # (N,) labels of the examples, if they have any


def learns_classes(sampler: str | None, *, trust: bool = False) -> bool:
    """Return whether a latent sampler, given as text, learns classes from few labels; label -1 is then unknown."""
    name = parse(sampler or "prior").name
    known = name.replace("_", "-") in TABLE["sampler"] or (trust and ":" in name)
    return known and find("sampler", name, trust=trust).infers_classes


def infers_classes(model: VAE, sampler: Sampler | None) -> bool:
    """Return whether `infer_classes` accepts the model with this latent sampler."""
    return isinstance(model.context, InferredLabels) or (sampler is not None and bool(sampler.labels))


def infer_classes(
    model: VAE, source: Source, sampler: Sampler | None = None, *, seed: int = 0, batch_size: int = 500
) -> Classes:
    """Infer the class of each example with the model's classifier, or with a latent sampler at the posterior mean.

    Args:
        model: The trained model.
        source: Raw data of N examples.
        sampler: Latent sampler with classes, for a model that does not infer them itself.
        seed: Random seed for random observations, such as binarization.
        batch_size: Examples per batch.

    Returns:
        Class labels, log-probabilities (N, classes) in nats, and the labels of the examples.

    Raises:
        CompositionError: If neither the model nor the latent sampler infers classes.
    """
    own = model.context if isinstance(model.context, InferredLabels) else None
    if own is None and (sampler is None or not sampler.labels):
        raise CompositionError(
            "neither the model nor its latent sampler infers classes; train with recipe 'm2' or 'm1-m2', or fit a "
            "latent sampler with classes: fit_sampler('m2', default=True)"
        )

    def rows(batch: Batch, number: int) -> tuple[Tensor, Tensor | None]:
        seen = model.observe(batch, Noise("classes", seed, number), context=own is None)
        if own is not None:
            found = own.log_probabilities(seen)
        else:
            assert sampler is not None
            found = sampler.log_probabilities(model.latents.moments(model.encode_state(seen))[0])
        return found.cpu(), None if batch.label is None else batch.label.cpu()

    parts = each_example(model, source, batch_size, rows, "classify")
    labels = [label for _, label in parts if label is not None]
    found = torch.cat([each for each, _ in parts])
    known = own.labels if own is not None else () if sampler is None else sampler.labels
    return Classes(known, found, class_numbers(torch.cat(labels)) if labels else None)
