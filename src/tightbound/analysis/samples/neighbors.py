"""Nearest data, in one pass over them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches, evaluating

BLOCK = 1000  # data that queries are compared with at once


def nearest(queries: Tensor, blocks: Iterable[Tensor], own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(Q,) Euclidean distance of queries (Q, D) to the nearest of all data, and (Q,) its position among them; computed
    where the data are, and given on the CPU.

    Arguments:
        blocks: The data, (B, D) at a time.
        own: (Q,) for each query the position of an example that does not count, such as itself.

    Raises:
        InputError: where there are no data.
    """
    best = queries.new_full((len(queries),), torch.inf)
    where = torch.full((len(queries),), -1)
    start = 0
    for block in blocks:
        queries, best, where = (x.to(block.device) for x in (queries, best, where))
        own = None if own is None else own.to(block.device)
        # the product form is fast, and finds the nearest well enough; its distances are taken anew
        distance = torch.cdist(queries, block, compute_mode="use_mm_for_euclid_dist")
        if own is not None:
            hit = (own >= start) & (own < start + len(block))
            distance[hit, own[hit] - start] = torch.inf
        _, position = distance.min(1)
        exact = (queries - block[position]).norm(dim=1)
        exact = exact.masked_fill(distance.gather(1, position[:, None])[:, 0].isinf(), torch.inf)
        nearer = exact < best
        best, where = torch.where(nearer, exact, best), torch.where(nearer, start + position, where)
        start += len(block)
    if not start:
        raise InputError("there are no data to find neighbors among; give at least one example")
    return best.cpu(), where.cpu()


def points(model: VAE, data: Source, seed: int = 0) -> Iterator[Tensor]:
    """Data as points (B, D) in blocks, each element in its `error_scale`: what decoded means are compared with.

    Raises:
        CompositionError: data whose distances mean nothing, or which lack elements.
    """
    if not model.observation.metric:
        raise CompositionError("distances between data mean nothing here: some columns hold categories")
    if model.context is not None and model.context.completes:
        raise CompositionError("a model that completes data decodes a part of them: it has no distance to whole data")
    for batch in batches(model, data, BLOCK):
        with evaluating(model):
            seen = model.observe(batch, Noise("points", seed))
            if seen.mask is not None and not seen.mask.all():
                raise CompositionError("distances between data need all of their elements, and some are missing")
            yield as_points(model, model.observation.reference(batch.x, seen))


def distance_unit(model: VAE) -> str:
    """What distances between points are in."""
    return model.observation.error_unit.replace("squared", "Euclidean")


def as_points(model: VAE, x: Tensor) -> Tensor:
    """(N, *shape) in the data's units -> (N, D), each element in its `error_scale`."""
    scale = model.observation.error_scale
    return (x / (scale.to(x.device) if isinstance(scale, Tensor) else scale)).flatten(1).float()


def as_data(model: VAE, x: Tensor) -> Batch:
    """What was decoded (N, *shape) as data of the model's domain: whole numbers where it has these, in its range."""
    domain = model.observation.source
    if domain.kind != "mixed":
        x = (x.round() if domain.discrete else x).clamp(domain.low, domain.high)
    return Batch(x, index=torch.arange(len(x)))


def realized(model: VAE, data: Source, seed: int = 0) -> Tensor:
    """Data as the likelihood sees them, (N, *shape) in the data's units, on the CPU: what draws of x are compared with.
    NaN where they are missing."""
    out = []
    with evaluating(model):
        for batch in batches(model, data, BLOCK):
            seen = model.observe(batch, Noise("realised", seed))
            noise = ExampleNoise("realised", seed, index=batch.positions())
            out.append(model.observation.realized(batch.x, seen, noise).cpu())
    return torch.cat(out)


def inputs(model: VAE, data: Source, seed: int = 0) -> Iterator[Tensor]:
    """Data as the encoder sees them, (B, D) in blocks: categories one-hot, missing entries zero and marked as such."""
    for batch in batches(model, data, BLOCK):
        yield observed(model, batch, seed)


def observed(model: VAE, batch: Batch, seed: int = 0) -> Tensor:
    """One raw batch as the encoder sees it, (B, D), without its context."""
    with evaluating(model):
        seen = model.observe(batch, Noise("points", seed), context=False)
    if seen.input is None:
        raise CompositionError(f"{type(model.observation).__name__} gives the encoder no input")
    return seen.input.flatten(1).float()
