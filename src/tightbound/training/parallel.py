"""Several processes that train one model, on torch's own engine: replicas (DDP) or shards (FSDP2)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Key, Noise
from tightbound.core.terms import Batch
from tightbound.data.split import Indexed, Split, share
from tightbound.objectives.base import Objective
from tightbound.training.step import Step, networks


@dataclass(frozen=True)
class Share:
    """This process's part of a global batch."""

    data: Batch  # on the model's device
    n: int  # how many of these data this process counts: none of those that another counts
    first: int  # the place of the first in the global batch
    total: int  # data of the global batch

    @property
    def whole(self) -> bool:
        """Whether it is all of the global batch."""
        return len(self.data) == self.total

    @property
    def weight(self) -> float:
        """Of a mean over these data in a mean over processes, so that it is that of the global batch."""
        return 1.0 if self.whole else self.n * world.size() / self.total

    def noise(self, *key: Key) -> Noise:
        """That of the global batch."""
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
    """This process's parts of the global batches: see `Split.epoch`. Each has all of one with fewer data than there are
    processes, and of any where a `whole` is asked for."""
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
            batch, first, n = (
                Batch.joined([part for part in world.gathered(batch) if len(part)]),
                0,
                total if world.rank() == 0 else 0,
            )
        yield Share(batch.to(device), n, first, total)


def in_shares(settings: Settings) -> bool:
    """Whether each of several processes holds a share of the model."""
    return settings.parallel == "fsdp" and world.size() > 1


def check_parallel(objective: Objective, settings: Settings) -> None:
    """Refuses what several processes cannot train together.

    Raises:
        CompositionError: an objective that compares the data of a batch, of which each process sees a share.
        InputError: fewer data in a batch than all processes need, or a step compiled for shards.
    """
    if (n := world.size()) == 1:
        return
    if not objective.pointwise:
        raise CompositionError(
            f"objective '{objective.name}' compares the data of a batch, and each of {n} processes sees a share of it; "
            "train it in one process, or use an objective of each example, such as 'elbo'"
        )
    if settings.batch_size < n * objective.min_batch_size:  # an adversary may compare the data of a share
        needed = f"{n * objective.min_batch_size} for objective '{objective.name}'"
        raise InputError(f"batch_size = {settings.batch_size} for {n} processes; needed: at least {needed}")
    if settings.parallel == "fsdp" and settings.compile != "off":
        raise InputError("compile is for one process or parallel 'ddp'; leave it out with parallel 'fsdp'")


def check_same(recorded: Mapping[str, Any]) -> None:
    """Refuses processes that were told different things: they would wait for each other, or train on what is not meant.

    Arguments:
        recorded: What is told, by name.

    Raises:
        InputError: in all of them.
    """
    first, *others = world.gathered(recorded)
    differing = [what for what in first if any(other[what] != first[what] for other in others)]
    if differing:
        raise InputError(
            f"{world.size()} processes were given what differs: {', '.join(differing)}; give all of them the same"
        )


def replicated(model: nn.Module) -> None:
    """Gives all processes the first one's weights."""
    if world.size() > 1:
        for tensor in model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)


def shard(step: Step) -> None:
    """Leaves each process a share of every parameter, and so of its gradient and of the optimizer's state (FSDP2)."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")  # of views; they are not changed in place
    for network in reversed(networks(step.model)):  # gathered where they are used, one by one; the innermost first
        if any(True for _ in network.parameters()):
            fully_shard(network)
    fully_shard(step)  # the rest, and what computes with it: densities are computed when the loss asks for them
    register_fsdp_forward_method(step, "terms")


def overlapping(module: nn.Module, unused: bool) -> nn.Module:
    """Averages gradients over processes while the backward pass goes on (DDP).

    Arguments:
        unused: Whether the loss leaves out some parameters.
    """
    ddp: Any = nn.parallel.DistributedDataParallel
    names = ("forward_sync_buffers", "broadcast_buffers")  # of later and of earlier releases
    sync = next(name for name in names if name in inspect.signature(ddp).parameters)
    # of a weight with one channel, say: the numbers are right, and nothing is lost on gradients of this size
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    return ddp(module, find_unused_parameters=unused, init_sync=False, **{sync: False})


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Averages gradients over processes, all at once."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.div_(world.size()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
