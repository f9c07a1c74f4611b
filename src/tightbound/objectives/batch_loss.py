"""The loss of one batch, for your own training loop."""

from __future__ import annotations

import math
from contextlib import nullcontext
from copy import copy
from typing import Literal

import torch
from torch import Tensor

from tightbound.components import make, parse
from tightbound.core.errors import CompositionError, InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import Noise, seeded, unkeyed
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.objectives.base import Objective

Reduction = Literal["mean", "sum", "none"]


def batch_loss(
    model: VAE,
    x: Tensor | Batch,
    objective: str | Objective = "elbo",
    *,
    samples: int | None = None,
    size: int | None = None,
    reduction: Reduction = "mean",
    seed: int | None = None,
    trust: bool = False,
) -> Tensor:
    """Return the loss of a batch in nats: minus the objective, plus the model's own penalty (for a codebook).

    Schedules of the objective and the model (such as a warm-up of beta) have their final values; to vary a value, pass
    an objective with that value.

    Args:
        model: Model whose parameters get gradients.
        x: Raw data (B, *shape), or a `Batch` with labels or masks.
        objective: Objective as `"name(argument=value)"` or as an object.
        samples: Latent samples per example; None: the objective's default.
        size: Number of training examples, for objectives that need it ('beta-tc').
        reduction: "mean" or "sum" over the batch, or "none".
        seed: Random seed of the draws; None: torch's default generator.
        trust: Import your own objective, written "module:Class(...)".

    Returns:
        The loss: a scalar, or (B,) with reduction "none".

    Raises:
        CompositionError: The objective does not fit the model, or needs more than one loss.
        InputError: An argument is unknown.
    """
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction = {reduction!r}; needed: 'mean', 'sum' or 'none'")
    if samples is not None:
        whole("samples", samples, least=1)
    if seed is not None:
        whole("seed", seed, least=0, most=math.inf)
    batch = (x if isinstance(x, Batch) else Batch(torch.as_tensor(x))).to(model.device)
    if model.observation.needs_index and batch.index is None:
        raise InputError(
            "static binarization fixes an example's bits by its position in the data, which a batch does not tell; "
            "binarize the data before training, or use observation=\"binarized(mode='dynamic')\""
        )
    known = model.prepared_objectives
    chosen, prepared_for = known.get(objective, (None, None))
    if chosen is None:
        # a copy, since the same object may serve another model
        chosen = make("objective", parse(objective), trust=trust) if isinstance(objective, str) else copy(objective)
        _prepare(chosen, model, size)
    elif size != prepared_for:
        chosen.prepare(model, size)
        known[objective] = chosen, size
    knobs = Knobs.final({**model.schedules, **chosen.schedules})
    noise = unkeyed() if seed is None else Noise("loss", seed)
    with nullcontext() if seed is None else seeded(seed):
        terms = model(batch, chosen.samples if samples is None else samples, noise, knobs)
        if objective not in known:
            chosen.check(terms)
            known[objective] = chosen, size
        value = -chosen(terms, knobs)
    if terms.penalty is not None:
        value = value + terms.penalty.mean(0)
    return value if reduction == "none" else value.mean() if reduction == "mean" else value.sum()


def _prepare(objective: Objective, model: VAE, size: int | None) -> None:
    """Prepare an objective for the model; raise CompositionError if it needs more than one loss."""
    objective.prepare(model, size)
    several = len(objective.parameter_groups(model)) > 1 or objective.networks is not None
    if several or type(objective).loss is not Objective.loss:
        raise CompositionError(
            f"objective '{objective.name}' needs several losses or its own networks, which one loss cannot train; "
            "train with fit(), or use an objective with one loss, such as 'elbo' or 'iwae'"
        )
