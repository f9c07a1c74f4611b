"""What is read off data beside their codes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from tightbound.analysis.estimate import Array
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.data.feed import Source, batches, evaluating


class Inputs(NamedTuple):
    """Of N data."""

    x: Array  # (N, D) what the encoder sees, less any context: numbers throughout, missing entries marked
    labels: Array | None  # (N,) or (N, factors)


def inputs(model: VAE, source: Source, seed: int = 0) -> Inputs:
    """What a classifier of the data themselves can look at."""
    parts: list[Tensor] = []
    labels: list[Tensor] = []
    with evaluating(model):
        for batch in batches(model, source, 500):
            raw = replace(batch, x=batch.x.to(torch.get_default_dtype()))
            seen = model.observation(raw, Noise("inputs", seed), False)
            assert seen.input is not None
            parts.append(seen.input.flatten(1).float().cpu())
            labels += [] if batch.label is None else [batch.label.cpu()]
    if not parts:
        raise InputError("there are no data; give at least one example")
    return Inputs(torch.cat(parts).numpy(), torch.cat(labels).numpy() if len(labels) == len(parts) else None)


def reconstruction_error(model: VAE, source: Source, seed: int = 0) -> Array:
    """(N,) mean squared error of an element, decoding the posterior mean; NaN of data with nothing observed."""
    parts: list[Tensor] = []
    with evaluating(model):
        for batch in batches(model, source, 500):
            seen = model.observe(batch, Noise("encode", seed))
            mean, _ = model.latents.moments(model.encode_state(seen))
            restored = model.observation.restore(model.decode(mean, seen.context).mean)
            parts.append(model.observation.error(restored, batch.x, seen).cpu())
    return torch.cat(parts).numpy()


def into_domain(model: VAE, x: Tensor) -> Tensor:
    """Means of p(x | z) (N, *shape) in the data's units, moved to the nearest values that data can have."""
    domain = model.observation.source
    columns = zip(x.unbind(1), domain.columns, strict=True) if domain.columns else [(x, domain)]
    near = [(column.round() if own.discrete else column).clamp(own.low, own.high) for column, own in columns]
    return torch.stack(near, 1) if domain.columns else near[0]
