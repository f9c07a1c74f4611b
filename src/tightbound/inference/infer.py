"""Compute latent codes, reconstructions, samples and interpolations: batched, in evaluation mode, without gradients.

Several processes share the batches; all of them must call these functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from tightbound.core import world
from tightbound.core.errors import InputError, whole
from tightbound.core.latents import Draw, State
from tightbound.core.limits import check_held
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed
from tightbound.core.noise import draw as draw_from
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, code_terms
from tightbound.data.feed import Source, each, evaluating
from tightbound.latents.codes import needs_codes

R = TypeVar("R")
# values of contexts, such as ["cat", "dog"] or {"batch": "b1", "age": 30}
Values: TypeAlias = Tensor | np.ndarray[Any, Any] | Sequence[Any] | Mapping[str, Any] | str


class Codes(NamedTuple):
    """Latent codes of N examples."""

    mean: Tensor  # (N, latent) means of q(z | x)
    variance: Tensor  # (N, latent) variances of q(z | x)
    sample: Tensor | None  # (N, latent) draws, if requested
    context: Tensor | None  # (N, *context) context of each example, if the model is conditional
    label: Tensor | None  # (N,) or (N, factors) labels, if the data have them
    offset: Tensor | None = None  # (N,) numbers that p(x | z) is conditioned on, if any


class Indices(NamedTuple):
    """Code indices of N examples."""

    levels: list[Tensor]  # (N, P, depth) for each level, lowest first
    context: Tensor | None  # (N, *context) context of each example, if the model is conditional


def each_example(model: VAE, source: Source, batch_size: int, rows: Callable[[Batch, int], R], verb: str) -> list[R]:
    """Return `rows(batch, number)` for each batch; raise InputError if there are no examples."""
    found = each(model, source, batch_size, rows)
    if not found:
        raise InputError(f"there are no examples to {verb}; give at least one")
    return found


def _inferred(model: VAE, batch: Batch, draw: bool, seed: int) -> tuple[Batch, State, tuple[LatentTerms, ...]]:
    """Return an observed batch, its encoded state and, if asked for, the groups of one draw for each example."""
    seen = model.observe(batch, Noise("encode", seed))
    state = model.encode_state(seen)
    if not draw:
        return seen, state, ()
    noise = ExampleNoise("encode", seed, index=batch.positions())
    return seen, state, model.infer(seen, state, 1, noise, Knobs.final(model.schedules))[0]


def encode(model: VAE, source: Source, *, draw: bool = False, seed: int = 0, batch_size: int = 500) -> Codes:
    """Return the means and variances of q(z | x) for raw data (N, *shape) and, with `draw`, one draw per example."""

    def rows(batch: Batch, number: int) -> dict[str, Tensor]:
        seen, state, groups = _inferred(model, batch, draw, seed)
        mean, variance = model.latents.moments(state)
        part = {"mean": mean, "variance": variance, "context": seen.context, "label": batch.label}
        part["offset"] = seen.offset
        if draw:
            part["sample"] = torch.cat([g.z[0].flatten(1) for g in groups], dim=1)
        return {name: t.cpu() for name, t in part.items() if t is not None}

    parts = each_example(model, source, batch_size, rows, "encode")
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    rest = (columns.get(name) for name in ("sample", "context", "label", "offset"))
    return Codes(columns["mean"], columns["variance"], *rest)


def code_indices(model: VAE, source: Source, *, draw: bool = False, seed: int = 0, batch_size: int = 500) -> Indices:
    """Return the code indices of raw data (N, *shape), whose vectors `encode` returns.

    Args:
        model: The model.
        source: Raw data.
        draw: Draw from q(indices | x) if it is not deterministic.
        seed: Random seed.
        batch_size: Examples per batch.

    Raises:
        CompositionError: If the latents are not quantized.
    """
    latents = needs_codes(model.latents)

    def rows(batch: Batch, number: int) -> Indices:
        seen, state, groups = _inferred(model, batch, draw, seed)
        levels = [g.indices[0] for g in code_terms(groups)] if draw else latents.encode_indices(state)
        context = None if seen.context is None else seen.context.cpu()
        return Indices([codes.to("cpu", torch.int32) for codes in levels], context)

    found = each_example(model, source, batch_size, rows, "encode")
    levels = [torch.cat(parts) for parts in zip(*(part.levels for part in found), strict=True)]
    contexts = [part.context for part in found if part.context is not None]
    return Indices(levels, torch.cat(contexts) if contexts else None)


def decode_indices(
    model: VAE,
    codes: Sequence[Tensor | np.ndarray[Any, Any]],
    *,
    levels: int | None = None,
    context: Tensor | None = None,
    draw: bool = False,
    seed: int = 0,
    batch_size: int = 500,
) -> Tensor:
    """Return E[x | indices] (N, *shape), in the units of the data, for code indices (N, H, W[, depth]) of each level.

    Args:
        model: The model.
        codes: Code indices of each level, lowest first.
        levels: Use only this many of the highest levels; see `CodeLatents.fill_description`. None: all.
        context: As for `decode`.
        draw: As for `decode`.
        seed: Random seed.
        batch_size: Examples per batch.

    Raises:
        InputError: If the indices have the wrong shape or are out of range, or a context is missing.
        CompositionError: If the latents are not quantized.
    """
    latents = needs_codes(model.latents)
    whole_codes = latents.check_indices([torch.as_tensor(own) for own in codes])
    number = len(whole_codes)
    if levels is not None and not 1 <= whole("levels", levels, least=1) <= number:
        raise InputError(f"levels = {levels}; needed: 1 to {number}, the number of levels of the model")

    def flat(start: int, end: int, given: Tensor | None) -> Tensor:
        part = [own[start:end].to(model.device) for own in whole_codes]
        if levels in (None, number):
            return latents.embed(part)
        return latents.keep_top(part, levels or number, Noise("levels", seed, start), given)

    return _decoded(model, len(whole_codes[0]), flat, context, draw, seed, batch_size)


def decode(
    model: VAE,
    codes: Tensor | np.ndarray[Any, Any],
    *,
    context: Tensor | None = None,
    offset: Tensor | None = None,
    draw: bool = False,
    seed: int = 0,
    batch_size: int = 500,
) -> Tensor:
    """Return E[x | z] (N, *shape), in the units of the data, for latent codes (N, latent); with `draw`, draws of x.

    Args:
        model: The model.
        codes: Flat latent codes.
        context: Contexts (N, *context.shape) of a conditional model; `model.context.encode` makes them from labels.
        offset: Numbers (N,) that p(x | z) is conditioned on, from `encode`. Default: a typical number.
        draw: Draw x from p(x | z) instead of using its mean.
        seed: Random seed.
        batch_size: Examples per batch.

    Raises:
        InputError: If the latent codes have the wrong size, or a context is missing.
    """
    codes = torch.as_tensor(codes, dtype=next((p.dtype for p in model.parameters()), None))
    if codes.dim() != 2 or codes.shape[1] != model.latents.latent:
        raise InputError(f"z has shape {tuple(codes.shape)}; needed: (N, {model.latents.latent})")
    if not torch.isfinite(codes).all():
        raise InputError(f"z holds {int((~torch.isfinite(codes)).sum())} values that are not finite; replace them")
    return _decoded(model, len(codes), lambda start, end, _: codes[start:end], context, draw, seed, batch_size, offset)


def _decoded(
    model: VAE,
    n: int,
    flat: Callable[[int, int, Tensor | None], Tensor],
    context: Tensor | None,
    draw: bool,
    seed: int,
    batch_size: int,
    offset: Tensor | None = None,
) -> Tensor:
    """Decode the flat latent codes (end - start, latent) from `flat(start, end, contexts)` to x (n, *shape)."""

    def part(start: int) -> Tensor:
        end = min(n, start + batch_size)
        given, told = (None if each is None else each[start:end].to(model.device) for each in (context, offset))
        likelihood = model.decode(flat(start, end, given).to(model.device), given, told)
        x = draw_from(likelihood, (), Noise("decode", seed, start // batch_size)) if draw else likelihood.mean
        return model.observation.possible(model.observation.restore(x)).cpu()

    with evaluating(model):
        out = world.shared(part, range(0, n, batch_size))
    return torch.cat(out) if out else torch.empty(0, *model.shape)


def reconstruct(
    model: VAE, source: Source, *, levels: int | None = None, seed: int = 0, batch_size: int = 500
) -> Tensor:
    """Return E[x | z] (N, *shape) at the posterior mean of each example, in the units of the data.

    Elements of x that the context shows are kept.

    Args:
        model: The model.
        source: Raw data.
        levels: Use only this many of the highest levels of quantized latents; see `CodeLatents.fill_description`.
        seed: Random seed of the other levels.
        batch_size: Examples per batch.

    Raises:
        InputError: If there are no examples, or the model does not have these levels.
        CompositionError: If levels= is given and the latents are not quantized.
    """

    def rows(batch: Batch, number: int) -> Tensor:
        if levels is None:
            codes = encode(model, batch, batch_size=batch_size)
            x = decode(model, codes.mean, context=codes.context, offset=codes.offset, batch_size=batch_size)
        else:
            found = code_indices(model, batch, batch_size=batch_size)
            own = key_seed("levels", seed, number)
            x = decode_indices(model, found.levels, levels=levels, context=found.context, seed=own)
        if model.context is not None and model.context.completes:
            seen = model.observe(batch, Noise("reconstruct"))
            if seen.mask is not None:
                x = torch.where(seen.mask.cpu(), x, model.observation.reference(batch.x, seen).cpu().to(x))
        return x

    return torch.cat(each_example(model, source, batch_size, rows, "reconstruct"))


def sample(
    model: VAE,
    n: int,
    *,
    draw: bool = False,
    seed: int = 0,
    batch_size: int = 500,
    context: Values | None = None,
    codes: Draw | None = None,
) -> Tensor:
    """Return E[x | z] (n, *shape), in the units of the data, for z from the prior; with `draw`, draws of x.

    Args:
        model: The model.
        n: Number of samples.
        draw: Draw x from p(x | z) instead of using its mean.
        seed: Random seed.
        batch_size: Samples per batch.
        context: For a conditional model, values that `model.context` encodes, such as class labels (m,) by number or
            name, taken in turn; None: the context's examples, such as each class in turn.
        codes: Function (n, noise, contexts) -> (n, latent) that replaces the prior: `sample` of a latent sampler, or a
            sharpened code prior.

    Raises:
        InputError: If the context does not fit the model, or is missing and the model has no examples of it.
    """
    check_samples(model, n)
    given = contexts(model, n, context)

    def part_of(start: int) -> Tensor:
        noise = Noise("sample", seed, start)
        part = None if given is None else given[start : start + batch_size].to(model.device)
        size = min(batch_size, n - start)
        if codes is None:
            likelihood = model.generate(size, noise, part)
        else:
            z = codes(size, noise, part).to(model.device)
            likelihood = model.decode(z, part, model.likelihood.draw_offset(size, noise))
        x = likelihood.mean if not draw else draw_from(likelihood, (), noise)
        return model.observation.possible(model.observation.restore(x)).cpu()

    with evaluating(model):
        return torch.cat(world.shared(part_of, range(0, n, batch_size)))


def drawn(model: VAE, draw: bool | None) -> bool:
    """Return whether to draw new examples from p(x | z): as `draw` says, and by default for rows of a table.

    The mean of a row need not be a possible row: its numbers are averages, and its categories the most probable ones.
    """
    return model.is_table if draw is None else draw


def check_samples(model: VAE, n: int, name: str = "n", *, of: str = "samples", least: int = 1) -> None:
    """Raise InputError if memory cannot hold n generated examples with their contexts, or n is below `least`."""
    given = 0 if model.context is None else math.prod(model.context.shape)
    check_held(name, whole(name, n, least=least), math.prod(model.shape) + given, of=of)


def contexts(model: VAE, n: int, values: Values | None = None, *, in_turn: bool = True) -> Tensor | None:
    """Return contexts (n, *context) for the values in turn, or for the model's examples; None without a context.

    Args:
        model: The model.
        n: Number of contexts.
        values: Values that the model's context encodes, or names of classes; None: the context's examples.
        in_turn: Repeat any number of values; if False, there must be one value or n.

    Raises:
        InputError: If the model is not conditional, or the number of values is wrong.
    """
    if model.context is None:
        if values is not None:
            raise InputError("the model is not conditional; leave out context=")
        return None
    given = values is not None and not model.context.completes
    made = model.context.encode(_tensor(model, values) if given else model.context.examples(n))
    if not len(made):
        raise InputError("context= is empty; pass at least one value")
    if given and not in_turn and len(made) not in (1, n):
        raise InputError(f"context= has {len(made)} values and z has {n} codes; pass one for each or one for all")
    return made[torch.arange(n) % len(made)]


def _tensor(model: VAE, values: Any) -> Tensor:
    """Convert the values of contexts to a tensor, and names to numbers."""
    assert model.context is not None
    return torch.as_tensor(model.context.numbers(values, model.schema))


def linear(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return points (T, latent) at positions t (T,) on the straight line from a to b (latent,)."""
    t = t.unsqueeze(-1)
    return (1 - t) * a + t * b


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Return points (T, latent) at positions t (T,) on the great circle from a to b (latent,).

    The norm changes linearly from that of a to that of b, so the path stays where N(0, I) has its mass.

    References:
        Sampling generative networks (White 2016), Section 2, https://arxiv.org/abs/1609.04468
    """
    t = t.unsqueeze(-1)
    norm_a, norm_b = a.norm(), b.norm()
    angle = torch.arccos((a @ b / (norm_a * norm_b).clamp_min(1e-12)).clamp(-1, 1))
    if torch.sin(angle) < 1e-4 or norm_a * norm_b == 0:  # parallel, opposite or zero: no unique great circle
        return linear(a, b, t.squeeze(-1))
    unit = (torch.sin((1 - t) * angle) * a / norm_a + torch.sin(t * angle) * b / norm_b) / torch.sin(angle)
    return unit * ((1 - t) * norm_a + t * norm_b)


PATHS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"linear": linear, "spherical": spherical}
