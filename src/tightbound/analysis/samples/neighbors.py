"""Nearest examples, found in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, batches, each, evaluating

BLOCK = 1000  # examples per block


def nearest(queries: Tensor, blocks: Iterable[Tensor], own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the Euclidean distance of each query to the nearest example, and the position of that example.

    Distances are computed on the device of the blocks.

    Args:
        queries: Points (Q, D).
        blocks: The examples as points, (B, D) at a time.
        own: Position (Q,) of an example to ignore for each query, such as itself; -1: none.

    Returns:
        Distances (Q,) and positions (Q,), on the CPU.

    Raises:
        InputError: If there are no examples.
    """
    best = queries.new_full((len(queries),), torch.inf)
    where = torch.full((len(queries),), -1)
    start = 0
    for block in blocks:
        queries, best, where = (x.to(block.device) for x in (queries, best, where))
        own = None if own is None else own.to(block.device)
        # the product form is fast, and accurate enough to find the nearest; its distance is then computed exactly
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
        raise InputError("there are no examples to find neighbors among; give at least one")
    return best.cpu(), where.cpu()


def nearest_and_gap(queries: Tensor, blocks: Callable[[], Iterable[Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the nearest example of each query, and the distance of this example to its nearest other example.

    Args:
        queries: Points (Q, D).
        blocks: Function that returns the examples as blocks of points (B, D); it is called three times.

    Returns:
        Distances (Q,) to the nearest examples, their positions (Q,), and their distances (Q,) to other examples.
    """
    distance, where = nearest(queries, blocks())
    found, start = torch.empty_like(queries), 0
    for block in blocks():
        hit = (where >= start) & (where < start + len(block))
        found[hit.to(found.device)] = block[where[hit].to(block.device) - start].to(found)
        start += len(block)
    between, _ = nearest(found, blocks(), own=where)
    return distance, where, between


def points(model: VAE, data: Source, seed: int = 0) -> Iterator[Tensor]:
    """Yield the examples as points (B, D) in the unit of reconstruction errors, comparable with `as_points`.

    Raises:
        CompositionError: If distances between the data mean nothing, or values are missing.
    """
    if not model.observation.metric:
        raise CompositionError("distances between these data mean nothing: some columns hold categories")
    if model.context is not None and model.context.completes:
        raise CompositionError("the model decodes only the hidden part of x, which has no distance to whole examples")
    for batch in batches(model, data, BLOCK):
        with evaluating(model):
            seen = model.observe(batch, Noise("points", seed))
            if seen.mask is not None and not seen.mask.all():
                raise CompositionError("distances need all values of an example, and some are missing")
            yield as_points(model, model.observation.reference(batch.x, seen))


def distance_unit(model: VAE) -> str:
    """Return the unit of distances between points."""
    return model.observation.error_unit.replace("squared", "Euclidean")


def as_points(model: VAE, x: Tensor) -> Tensor:
    """Convert x (N, *shape) in the units of the data to points (N, D) in the unit of reconstruction errors."""
    scale = model.observation.error_scale
    return (x / (scale.to(x.device) if isinstance(scale, Tensor) else scale)).flatten(1).float()


def as_data(model: VAE, x: Tensor) -> Batch:
    """Return decoded x (N, *shape) as examples of the model's domain: within its range, rounded if discrete."""
    domain = model.observation.source
    if domain.kind != "mixed":
        x = domain.nearest(x)
    return Batch(x, index=torch.arange(len(x)))


def realized(model: VAE, data: Source, seed: int = 0) -> Tensor:
    """Return the examples as the likelihood sees them, such as binarized, in the units of the data.

    Returns:
        x (N, *shape) on the CPU, comparable with draws of x; NaN for missing values.
    """

    def one(batch: Batch, number: int) -> Tensor:
        seen = model.observe(batch, Noise("realised", seed))
        noise = ExampleNoise("realised", seed, index=batch.positions())
        return model.observation.realized(batch.x, seen, noise).cpu()

    return torch.cat(each(model, data, BLOCK, one))


def inputs(model: VAE, data: Source, seed: int = 0) -> Iterator[Tensor]:
    """Yield the encoder's inputs (B, D) in blocks: categories one-hot, missing values zero and marked as missing."""
    for batch in batches(model, data, BLOCK):
        yield observed(model, batch, seed)


def observed(model: VAE, batch: Batch, seed: int = 0) -> Tensor:
    """Return the encoder's input (B, D) for one raw batch, without its context."""
    with evaluating(model):
        seen = model.observe(batch, Noise("points", seed), context=False)
    if seen.input is None:
        raise CompositionError(f"{type(model.observation).__name__} gives the encoder no input")
    return seen.input.flatten(1).float()
