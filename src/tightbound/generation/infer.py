"""Codes, reconstructions, samples and interpolations: in eval mode, batched, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import DatumNoise, Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.data.feed import Source, batches, check_shape, evaluating


class Codes(NamedTuple):
    """Of N data."""

    mean: Tensor  # (N, latent) of q(z | x)
    variance: Tensor  # (N, latent)
    sample: Tensor | None  # (N, latent) draws, where they were asked for


def encode(model: VAE, source: Source, *, sample: bool = False, seed: int = 0, batch_size: int = 500) -> Codes:
    """Means and variances of q(z | x) for raw data (N, *shape) and, if asked, one draw for each datum."""
    parts: list[tuple[Tensor, ...]] = []
    with evaluating(model):
        for batch in batches(model, source, batch_size):
            seen = model.observe(batch, Noise("encode", seed))
            state = model.encode_state(seen)
            mean, variance = model.latents.moments(state)
            part = [mean, variance]
            if sample:
                noise = DatumNoise("encode", seed, index=batch.positions())
                groups, _ = model.infer(seen, state, 1, noise, Knobs.final(model.schedules))
                part.append(torch.cat([g.z[0].flatten(1) for g in groups], dim=1))
            parts.append(tuple(t.cpu() for t in part))
    if not parts:
        raise InputError("there are no data to encode; give at least one datum")
    columns = [torch.cat(column) for column in zip(*parts, strict=True)]
    return Codes(columns[0], columns[1], columns[2] if sample else None)


def decode(
    model: VAE,
    codes: Tensor | np.ndarray[Any, Any],
    *,
    context: Tensor | None = None,
    sample: bool = False,
    seed: int = 0,
    batch_size: int = 500,
) -> Tensor:
    """Flat codes (N, latent) -> E[x | z] (N, *shape) in the data's units; with `sample`, draws of x.

    Arguments:
        context: (N, *context.shape), which a conditional model needs: `model.context.encode` makes it of labels.

    Raises:
        InputError: codes of another size, or no context where one is needed.
    """
    codes = torch.as_tensor(codes, dtype=next((p.dtype for p in model.parameters()), None))
    if codes.dim() != 2 or codes.shape[1] != model.latents.latent:
        raise InputError(f"codes have shape {tuple(codes.shape)}; needed: (N, {model.latents.latent})")
    with evaluating(model):
        out = []
        for i, part in enumerate(codes.split(batch_size)):
            given = None if context is None else context[i * batch_size :][: len(part)].to(model.device)
            likelihood = model.decode(part.to(model.device), given)
            noise = Noise("decode", seed, i)
            x = draw(likelihood, (), noise) if sample else likelihood.mean
            out.append(model.observation.restore(x).cpu())
    return torch.cat(out) if out else torch.empty(0, *model.shape)


def reconstruct(model: VAE, source: Source, *, batch_size: int = 500) -> Tensor:
    """E[x | z] at the posterior mean of each datum, (N, *shape), in the data's units."""
    return decode(model, encode(model, source, batch_size=batch_size).mean, batch_size=batch_size)


def sample(model: VAE, n: int, *, mean: bool = True, seed: int = 0, batch_size: int = 500) -> Tensor:
    """Ancestral samples (n, *shape) in the data's units.

    Arguments:
        mean: Show E[x | z] for z from the prior, as is usual for pictures; False: draw x from p(x | z).
    """
    whole("n", n, least=1)
    out = []
    with evaluating(model):
        for start in range(0, n, batch_size):
            noise = Noise("sample", seed, start)
            likelihood = model.generate(min(batch_size, n - start), noise)
            x = likelihood.mean if mean else draw(likelihood, (), noise)
            out.append(model.observation.restore(x).cpu())
    return torch.cat(out)


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes (latent,), positions (T,) -> (T, latent) on the straight line from a to b."""
    t = t.unsqueeze(-1)
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Codes (latent,), positions (T,) -> (T, latent) along the great circle, with the norm between those of
    a and b: it keeps to where N(0, I) has its mass.

    References:
        Sampling generative networks (White 2016), Section 2, https://arxiv.org/abs/1609.04468
    """
    t = t.unsqueeze(-1)
    norm_a, norm_b = a.norm(), b.norm()
    angle = torch.arccos((a @ b / (norm_a * norm_b).clamp_min(1e-12)).clamp(-1, 1))
    if torch.sin(angle) < 1e-4 or norm_a * norm_b == 0:  # parallel, opposite or zero: no great circle is singled out
        return linear(a, b, t.squeeze(-1))
    unit = (torch.sin((1 - t) * angle) * a / norm_a + torch.sin(t * angle) * b / norm_b) / torch.sin(angle)
    return unit * ((1 - t) * norm_a + t * norm_b)


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linear": linear, "spherical": spherical}


def interpolate(
    model: VAE, a: Tensor, b: Tensor, *, steps: int = 9, path: Literal["linear", "spherical"] = "linear"
) -> Tensor:
    """E[x | z] (steps, *shape) along a path between the posterior means of two raw data (*shape).

    Raises:
        InputError: fewer than 2 steps, or an unknown path.
    """
    if steps < 2:
        raise InputError(f"steps = {steps}; needed: a whole number of at least 2")
    if path not in PATHS:
        raise InputError(f"path = {path!r}; needed: one of {', '.join(PATHS)}")
    for end in (a, b):
        check_shape(model, end.shape)
    ends = encode(model, torch.stack([torch.as_tensor(a), torch.as_tensor(b)])).mean
    return decode(model, PATHS[path](ends[0], ends[1], torch.linspace(0, 1, steps)))
