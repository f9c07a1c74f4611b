"""Features of the examples themselves, as a baseline for their latent codes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from tightbound.analysis.estimate import Array
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.schema import listed
from tightbound.core.terms import Batch, class_numbers
from tightbound.data.feed import Source, each
from tightbound.data.splits.base import Split


class Inputs(NamedTuple):
    """Inputs of a classifier of N examples.

    Attributes:
        x: What the encoder sees (N, D), without context: finite numbers, with marks for missing entries.
        labels: Labels (N,) or (N, factors), if there are any.
    """

    x: Array
    labels: Array | None


def inputs(model: VAE, source: Source, seed: int = 0) -> Inputs:
    """Return what a classifier of the examples themselves can look at."""

    def seen(batch: Batch, number: int) -> tuple[Tensor, Tensor | None]:
        raw = replace(batch, x=batch.x.to(torch.get_default_dtype()))
        given = model.observation(raw, Noise("inputs", seed), False).input
        assert given is not None
        return given.flatten(1).float().cpu(), None if batch.label is None else batch.label.cpu()

    parts = each(model, source, 500, seen)
    if not parts:
        raise InputError("there are no examples; give at least one")
    labels = [label for _, label in parts if label is not None]
    return Inputs(
        torch.cat([x for x, _ in parts]).numpy(), torch.cat(labels).numpy() if len(labels) == len(parts) else None
    )


def check_names(train: Source, test: Source) -> None:
    """Raise InputError if one has labels that are words and the other has numbers, which cannot be compared."""
    if not (isinstance(train, Split) and isinstance(test, Split)) or bool(train.classes) == bool(test.classes):
        return
    named, other = (train, test) if train.classes else (test, train)
    if other.labels is not None and class_numbers(other.labels) is not None:
        what = ("training", "test") if named is train else ("test", "training")
        raise InputError(
            f"the {what[0]} labels are words ({listed(named.classes)}) and the {what[1]} labels are numbers; give both "
            "as words or both as numbers"
        )


def reconstruction_error(model: VAE, source: Source, seed: int = 0) -> Array:
    """Return the mean squared error (N,) of decoding the posterior mean; NaN for an example with nothing observed."""

    def error(batch: Batch, number: int) -> Tensor:
        seen = model.observe(batch, Noise("encode", seed))
        mean, _ = model.latents.moments(model.encode_state(seen))
        restored = model.observation.restore(model.decode(mean, seen.context, seen.offset).mean)
        return model.observation.error(restored, batch.x, seen).cpu()

    return torch.cat(each(model, source, 500, error)).numpy()


def into_domain(model: VAE, x: Tensor) -> Tensor:
    """Return means of p(x|z) (N, *shape), in the units of the data, moved to the nearest possible values."""
    domain = model.observation.source
    columns = zip(x.unbind(1), domain.columns, strict=True) if domain.columns else [(x, domain)]
    near = [own.nearest(column) for column, own in columns]
    return torch.stack(near, 1) if domain.columns else near[0]
