"""Feeding data to a trained model: raw batches on its device, in order, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from tightbound.core import world
from tightbound.core.domain import Domain
from tightbound.core.errors import InputError, whole
from tightbound.core.memory import keep_freed
from tightbound.core.model import VAE
from tightbound.core.terms import Batch
from tightbound.data.split import Split

Source = Split | Batch | Tensor | np.ndarray[Any, Any]
R = TypeVar("R")


@contextmanager
def evaluating(model: VAE) -> Iterator[None]:
    """Eval mode without gradients; the mode that was is restored."""
    keep_freed()
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
    return _dealt(model, source, batch_size, 0, 1)


def each(
    model: VAE,
    source: Source,
    batch_size: int,
    rows: Callable[[Batch, int], R],
    *,
    progress: bool = False,
    title: str | None = None,
) -> list[R]:
    """`rows(batch, number)` of each of `batches`, counted from 0, in eval mode and without gradients.

    Several processes share the work and all get all of it: each takes whole batches in turn, so that what is computed
    is what one process computes. Every one of them has to call this, with the same data.

    Arguments:
        rows: Gives what can be pickled, with tensors on the CPU.
        progress: Show a progress bar on standard error, in the first process.
        title: Of the bar.

    Raises:
        InputError: data of another shape.
    """
    from tqdm.auto import tqdm

    rank, size = world.rank(), world.size()
    try:
        total = len(source)
    except TypeError:  # a stream
        total = None
    own = _dealt(model, source, batch_size, rank, size)
    quiet = not progress or rank > 0 or None  # None: tqdm sees whether this is a terminal
    with evaluating(model), tqdm(total=total, desc=title, disable=quiet, unit="example", leave=False) as bar:

        def found() -> Iterator[R]:
            for turn, batch in enumerate(own):
                yield rows(batch, rank + turn * size)
                done = len(batch) * size  # the others are about as far
                bar.update(done if total is None else min(done, total - bar.n))

        return world.in_turn(found())


def _dealt(model: VAE, source: Source, batch_size: int, rank: int, size: int) -> Iterator[Batch]:
    """One process's batches of all: see `Split.dealt`."""
    if isinstance(source, Split):
        check_shape(model, source.shape)
        for batch in source.dealt(batch_size, rank=rank, world=size):
            yield batch.to(model.device)
        return
    batch = replace(source, x=_raw(model, source.x)) if isinstance(source, Batch) else Batch(_raw(model, source))
    batch = replace(batch, index=batch.positions())
    for start in range(rank * batch_size, len(batch), size * batch_size):
        yield batch[start : start + batch_size].to(model.device)


def first(model: VAE, source: Source, most: int) -> Batch:
    """At most this many data, the first, in one raw batch on the CPU.

    Raises:
        InputError: data of another shape, or none.
    """
    parts, found = [], 0
    for batch in batches(model, source, most):
        parts.append(batch[: most - found].to("cpu"))
        found += len(parts[-1])
        if found == most:
            break
    return _joined(parts)


def pick(model: VAE, source: Source, most: int, seed: int = 0) -> Batch:
    """At most this many data, picked at random, in one raw batch on the CPU; `index` is the position of each in
    `source`, in rising order. Of data without random access, those of the first few thousand (see `stream.leading`).

    Raises:
        InputError: data of another shape, or none.
    """
    whole("data", most, least=1)
    parts: list[Batch] = []
    if isinstance(source, Split):
        check_shape(model, source.shape)
        parts += source.picked(most, seed)
    else:
        parts += (batch.to("cpu") for batch in batches(model, source, 500))
    joined = _joined(parts)
    chosen = np.random.default_rng(seed).permutation(len(joined))[:most]
    return joined[torch.from_numpy(chosen)[joined.positions()[chosen].argsort()]]


def _joined(parts: Sequence[Batch]) -> Batch:
    if not parts:
        raise InputError("there are no data; give at least one example")
    return Batch.joined(parts)


def check_shape(model: VAE, shape: Sequence[int]) -> None:
    """Raises InputError where an example of this shape is not what the model was made for."""
    if tuple(shape) != tuple(model.shape):
        raise InputError(f"an example has shape {tuple(shape)} and the model was made for {tuple(model.shape)}")


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
