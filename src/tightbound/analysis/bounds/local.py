"""Posterior fitted to single examples while the model is held fixed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tightbound.core.errors import number, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.objectives.elbo import mean_rate


def fit_local(
    model: VAE, seen: Batch, *, steps: int = 100, lr: float = 0.1, samples: int = 4, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Fit the variational parameters of each example by maximizing its ELBO.

    Adam with a cosine decay of the step size runs on each example's own parameters, with fresh draws in each step.
    The draws depend on seed, example and step, so that no example depends on another. In a hierarchy with bottom-up
    inference, the parameters are those of the lowest group. Call it inside of `evaluating`.

    Args:
        model: The model.
        seen: Observed batch, from `model.observe`.
        steps: Steps of Adam.
        lr: Initial step size.
        samples: Samples of q(z | x) per gradient.
        seed: Random seed.

    Returns:
        The encoder's parameters and the fitted ones, (B, ...) each, for `model.latents.state`.

    Raises:
        NotABound: If the posterior is deterministic, so that there is no ELBO.
    """
    whole("steps", steps, least=1)
    whole("samples", samples, least=1)
    number("lr", lr, above=0)
    index = seen.positions()
    with torch.no_grad():
        start = model.latents.local(model.encoder_input(seen))
    with torch.enable_grad():
        local = start.clone().requires_grad_()
        adam = torch.optim.Adam([local], lr=lr)
        for step in range(steps):
            adam.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
            noise = ExampleNoise("local", seed, step, index=index)
            (gradient,) = torch.autograd.grad(-elbo_at(model, seen, local, noise, samples).sum(), local)
            local.grad = torch.nan_to_num(gradient)
            adam.step()
    return start, local.detach()


def elbo_at(model: VAE, seen: Batch, local: Tensor, noise: Noise, samples: int) -> Tensor:
    """Return the ELBO of an observed batch, nats (B,), for given variational parameters (B, ...) of q(z | x).

    Raises:
        NotABound: If the posterior is deterministic.
    """
    knobs = Knobs.final(model.schedules)
    terms = model.terms_from(seen, model.latents.state(local, seen.context), samples, noise, knobs)
    return terms.log_likelihood.mean(0) - mean_rate(terms)
