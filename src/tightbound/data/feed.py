"""Feed data in any accepted form to a model: checked batches on its device, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from tightbound.core import world
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.terms import Batch
from tightbound.data.given import Source, examples, needs_classes
from tightbound.data.memory import keep_freed_memory
from tightbound.data.splits.base import Split

R = TypeVar("R")


@contextmanager
def evaluating(model: VAE, *, keep_memory: bool = True) -> Iterator[None]:
    """Run the block in eval mode without gradients, then restore the model's mode.

    Args:
        model: The model.
        keep_memory: Keep freed memory in this process from now on (see `keep_freed_memory`).
    """
    if keep_memory:
        keep_freed_memory()
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def as_split(model: VAE, source: Source, classes: Sequence[str] = (), *, partial: bool = False) -> Split:
    """Return the examples in `source` as a split that fits the model; see `given.examples`.

    Args:
        model: The model.
        source: Data in any form.
        classes: Further class names, numbered after the classes that the model knows.
        partial: Whether missing labels become -1, even if the model itself does not infer them.
    """
    schema = model.schema.with_classes(classes)
    return examples(
        source, model.observation.source, model.shape, schema, closed=needs_classes(model),
        partial=partial or model.infers_context,
    )  # fmt: skip


def batches(model: VAE, source: Source, batch_size: int) -> Iterator[Batch]:
    """Yield raw batches on the model's device, in order, with indices.

    Raises:
        InputError: If the data do not fit the model.
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
    """Return `rows(batch, number)` for each of `batches`, in eval mode and without gradients.

    Several processes share the work and each of them gets all results. Each takes whole batches in turn, so that
    the results are those of one process. All processes must call this with the same data.

    Args:
        model: The model that the data are for.
        source: Data in any accepted form.
        batch_size: Examples per batch.
        rows: Function of a batch and its number, from 0. Its result must be picklable, with tensors on the CPU.
        progress: Show a progress bar on standard error, in the first process.
        title: Title of the progress bar.

    Raises:
        InputError: If the data do not fit the model.
    """
    from tqdm.auto import tqdm

    rank, size = world.rank(), world.size()
    if not isinstance(source, Batch):
        source = as_split(model, source)
    total = source.size if isinstance(source, Split) else len(source)
    own = _dealt(model, source, batch_size, rank, size)
    quiet = not progress or rank > 0 or None  # None: tqdm shows the bar on a terminal only
    with evaluating(model), tqdm(total=total, desc=title, disable=quiet, unit="example", leave=False) as bar:

        def found() -> Iterator[R]:
            for turn, batch in enumerate(own):
                yield rows(batch, rank + turn * size)
                done = len(batch) * size  # the other processes are about as far
                bar.update(done if total is None else min(done, total - bar.n))

        return world.in_turn(found())


def _dealt(model: VAE, source: Source, batch_size: int, rank: int, size: int) -> Iterator[Batch]:
    """Yield one process's batches, see `Split.dealt`; a batch keeps what it holds beside x."""
    if isinstance(source, Batch):
        as_split(model, source)  # checks shape and values
        batch = replace(source, index=source.positions())
        for start in range(rank * batch_size, len(batch), size * batch_size):
            yield batch[start : start + batch_size].to(model.device)
        return
    for batch in as_split(model, source).dealt(batch_size, rank=rank, world=size):
        yield batch.to(model.device)


def first(model: VAE, source: Source, max_examples: int) -> Batch:
    """Return the first examples, at most `max_examples`, in one raw batch on the CPU.

    Raises:
        InputError: If the data do not fit the model, or there are none.
    """
    parts, found = [], 0
    for batch in batches(model, source, max_examples):
        parts.append(batch[: max_examples - found].to("cpu"))
        found += len(parts[-1])
        if found == max_examples:
            break
    return _joined(parts)


def pick(model: VAE, source: Source, max_examples: int, seed: int = 0) -> Batch:
    """Return at most `max_examples` examples, picked at random, in one raw batch on the CPU.

    `index` holds the position of each in `source`, in ascending order. From data without random access the examples
    are picked among the first few thousand, see `stream.leading`.

    Raises:
        InputError: If the data do not fit the model, or there are none.
    """
    whole("max_examples", max_examples, least=1)
    if isinstance(source, Tensor | np.ndarray | Batch):
        parts = [batch.to("cpu") for batch in batches(model, source, 500)]
    else:
        parts = [*as_split(model, source).picked(max_examples, seed)]
    joined = _joined(parts)
    chosen = np.random.default_rng(seed).permutation(len(joined))[:max_examples]
    return joined[torch.from_numpy(chosen)[joined.positions()[chosen].argsort()]]


def _joined(parts: Sequence[Batch]) -> Batch:
    if not parts:
        raise InputError("there are no examples; give at least one")
    return Batch.joined(parts)
