"""What the figures of the gallery have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms
from tightbound.data import Split
from tightbound.data.feed import evaluating
from tightbound.latents.codes import CodeLatents

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


def given(batch: Batch) -> Tensor | None:
    """Return what the examples are conditioned on."""
    return batch.label if batch.context is None else batch.context


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
            "parts of a picture together. Train one with fit_code_prior()."
        )
    return "Decoded draws from the prior p(z)."
