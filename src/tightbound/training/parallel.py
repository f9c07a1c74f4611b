"""Train one model in several processes, each of which holds a replica (DDP)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Key, Noise
from tightbound.core.terms import Batch
from tightbound.data.splits.base import Split, share
from tightbound.data.splits.indexed import Indexed
from tightbound.objectives.base import Objective
from tightbound.training.suited import Suited


@dataclass(frozen=True)
class Share:
    """Part of a global batch that this process handles.

    Attributes:
        data: The examples, on the model's device.
        n: Number of these examples that this process counts; each example is counted by one process.
        first: Position of the first example in the global batch.
        total: Size of the global batch.
    """

    data: Batch
    n: int
    first: int
    total: int

    @property
    def whole(self) -> bool:
        """Whether this is the whole global batch."""
        return len(self.data) == self.total

    @property
    def weight(self) -> float:
        """Factor on the mean over these examples, such that the mean over processes is that of the global batch."""
        return 1.0 if self.whole else self.n * world.size() / self.total

    def noise(self, *key: Key) -> Noise:
        """Return the noise of the global batch."""
        return Noise(*key) if self.whole else Noise(*key, start=self.first, total=self.total)


def shares(
    split: Split,
    size: int,
    device: torch.device,
    *,
    key: tuple[Key, ...] | None = None,
    start: int = 0,
    whole: bool = False,
) -> Iterator[Share]:
    """Yield this process's parts of the global batches; see `Split.epoch`.

    With `whole`, or if a batch has fewer examples than there are processes, each process gets the whole batch.
    """
    if whole:
        for batch in split.epoch(size, key=key, start=start):
            yield Share(batch.to(device), len(batch) if world.rank() == 0 else 0, 0, len(batch))
        return
    mine = split.epoch(size, key=key, start=start, rank=world.rank(), world=world.size())
    for number, batch in enumerate(mine, start):
        if isinstance(split, Indexed):
            total = min(size, len(split) - number * size)
        else:
            total = int(world.together([len(batch)])[0])
        first, n = share(total, world.rank(), world.size()).start, len(batch)
        if total < world.size():
            batch = Batch.joined([part for part in world.gathered(batch) if len(part)])
            first, n = 0, total if world.rank() == 0 else 0
        yield Share(batch.to(device), n, first, total)


def check_divisible(objective: Objective, settings: Suited) -> None:
    """Check that a batch can be divided among several processes, and into the parts that `accumulate` asks for.

    Raises:
        CompositionError: If the objective compares the examples of a batch.
        InputError: If the batch is too small.
    """
    n, parts = world.size(), settings.accumulate
    if n * parts == 1:
        return
    if not objective.pointwise:
        divided = f"each of {n} processes sees a part of it" if n > 1 else f"accumulate = {parts} divides it"
        fix = "train in one process" if n > 1 else "leave out accumulate="
        raise CompositionError(
            f"objective '{objective.name}' compares the examples of a batch, and {divided}; {fix}, or use an objective "
            "of single examples, such as 'elbo'"
        )
    if settings.batch_size < n * parts * objective.min_batch_size:  # an adversary may compare the examples of a part
        pieces = " with ".join([f"{n} processes"] * (n > 1) + [f"accumulate = {parts}"] * (parts > 1))
        needed = f"{n * parts * objective.min_batch_size} for objective '{objective.name}'"
        raise InputError(f"batch_size = {settings.batch_size} for {pieces}; needed: at least {needed}")


def check_same(recorded: Mapping[str, Any]) -> None:
    """Raise InputError, in all processes, if they were started with different data, models or settings."""
    first, *others = world.gathered(recorded)
    differing = [name for name in first if any(other[name] != first[name] for other in others)]
    if differing:
        raise InputError(
            f"{world.size()} processes were started with different {', '.join(differing)}; start all of them alike"
        )


def replicated(model: nn.Module) -> None:
    """Give all processes the first one's weights."""
    if world.size() > 1:
        for tensor in model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)


def overlapping(module: nn.Module, unused: bool) -> nn.Module:
    """Wrap a module so that gradients are averaged over processes during the backward pass (DDP).

    Args:
        module: Module that computes the loss.
        unused: Whether the loss does not depend on some parameters.
    """
    ddp: Any = nn.parallel.DistributedDataParallel
    names = ("forward_sync_buffers", "broadcast_buffers")  # the option's names in later and earlier releases
    sync = next(name for name in names if name in inspect.signature(ddp).parameters)
    # raised for weights with one channel, say: the numbers are right, and gradients of this size cost nothing
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return ddp(module, find_unused_parameters=unused, init_sync=False, **{sync: False})


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average gradients over processes, in one collective."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.div_(world.size()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
