"""Feeding data to a trained model: raw batches on its device, in order, checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.split import Indexed, Split

Source = Split | Batch | Tensor | np.ndarray[Any, Any]


@contextmanager
def evaluating(model: VAE) -> Iterator[None]:
    """Eval mode without gradients; the mode that was is restored."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def batches(model: VAE, source: Source, batch_size: int) -> Iterator[Batch]:
    """Raw batches on the model's device, in order, with indices.

    Raises:
        InputError: data of another shape.
    """
    if isinstance(source, Split):
        check_shape(model, source.shape)
        for batch in source.epoch(batch_size):
            for start in range(0, len(batch), batch_size):  # a loader has a batch size of its own
                yield batch[start : start + batch_size].to(model.device)
        return
    batch = source if isinstance(source, Batch) else Batch(torch.empty(0))
    batch = replace(batch, x=_raw(model, batch.x if isinstance(source, Batch) else source))
    batch = replace(batch, index=batch.positions())
    for start in range(0, len(batch), batch_size):
        yield batch[start : start + batch_size].to(model.device)


def pick(model: VAE, source: Source, most: int, seed: int = 0) -> Batch:
    """At most this many data, picked at random, in one raw batch on the CPU; `index` is the position of each in
    `source`, in rising order.

    Raises:
        InputError: data of another shape, or none.
    """
    whole("data", most, least=1)
    parts: list[Batch] = []
    if isinstance(source, Indexed):
        check_shape(model, source.shape)
        generator = torch.Generator().manual_seed(key_seed("pick", seed))
        rows = torch.randperm(len(source), generator=generator)[:most].sort().values
        parts += source.batches(rows.split(500) if len(rows) else (), seed)
    elif isinstance(source, Split):
        check_shape(model, source.shape)
        for batch in source.epoch(min(most, 500), key=("pick", seed)):
            parts.append(batch[: most - sum(map(len, parts))])
            if sum(map(len, parts)) == most:
                break
    else:
        parts += (batch.to("cpu") for batch in batches(model, source, 500))
    if not parts:
        raise InputError("there are no data; give at least one datum")
    joined = Batch.joined(parts)
    chosen = np.random.default_rng(seed).permutation(len(joined))[:most]
    return joined[torch.from_numpy(chosen)[joined.positions()[chosen].argsort()]]


def check_shape(model: VAE, shape: Sequence[int]) -> None:
    """Raises InputError where a datum of this shape is not what the model was made for."""
    if tuple(shape) != tuple(model.shape):
        raise InputError(f"a datum has shape {tuple(shape)} and the model was made for {tuple(model.shape)}")


def _raw(model: VAE, source: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Numbers (N, *shape) within the domain that the model was made for."""
    if hasattr(source, "train"):
        raise InputError("a data set was given where a split is needed; give its .test, .train or .whole")
    try:
        x = torch.as_tensor(source)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"x is {type(source).__name__} and no array of numbers; needed: (N, *shape)") from error
    if tuple(x.shape[1:]) != tuple(model.shape) or x.dim() == 0:
        raise InputError(f"x has shape {tuple(x.shape)}; needed: (N, {', '.join(map(str, model.shape))})")
    _check_values(x, model.observation.source, "x")
    return x


def _check_values(x: Tensor, domain: Domain, name: str) -> None:
    if domain.kind == "mixed":
        for i, (column, own) in enumerate(zip(x.unbind(1), domain.columns, strict=True)):
            _check_values(column[~torch.isnan(column)], own, f"column {i + 1} of x")
        return
    if x.is_floating_point() and not torch.isfinite(x).all():
        raise InputError(f"{name} holds {int((~torch.isfinite(x)).sum())} values that are not finite; replace them")
    fits = not domain.discrete or not x.is_floating_point() or bool((x == x.round()).all())
    if x.numel() and not (fits and domain.low <= x.min() and x.max() <= domain.high):
        raise InputError(f"{name} has values from {x.min():g} to {x.max():g}; the model was made for {domain}")
