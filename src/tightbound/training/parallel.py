"""Several processes that train one model, on torch's own engine: replicas (DDP) or shards (FSDP2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import Trainable
from tightbound.core.noise import Key, Noise
from tightbound.core.terms import Batch
from tightbound.data.split import Split, share
from tightbound.objectives.base import Objective


@dataclass(frozen=True)
class Share:
    """This process's part of a global batch."""

    data: Batch  # on the model's device; where the others have all the data, one that they do not count
    n: int  # how many of these data count
    first: int  # the place of the first in the global batch
    total: int  # data of the global batch

    @property
    def weight(self) -> float:
        """Of a mean over these data in a mean over processes, so that it is that of the global batch."""
        return 1.0 if self.n == self.total else self.n * world.size() / self.total

    def noise(self, *key: Key) -> Noise:
        """That of the global batch."""
        return Noise(*key) if self.n == self.total else Noise(*key, start=self.first, total=self.total)


def shares(
    split: Split, size: int, device: torch.device, *, key: tuple[Key, ...] | None = None, start: int = 0
) -> Iterator[Share]:
    """This process's parts of the global batches: see `Split.epoch`.

    Raises:
        InputError: a first batch of fewer data than there are processes.
    """
    spare: Batch | None = None
    for batch in split.epoch(size, key=key, start=start, rank=world.rank(), world=world.size()):
        total = int(world.together([len(batch)])[0])
        first = share(total, world.rank(), world.size()).start
        spare = batch[:1] if len(batch) else spare
        if spare is None:
            raise InputError(f"a batch has {total} data for {world.size()} processes; needed: at least one each")
        yield Share((batch if len(batch) else spare).to(device), len(batch), min(first, total - 1), total)


def in_shares(settings: Settings) -> bool:
    """Whether each of several processes holds a share of the model."""
    return settings.parallel == "fsdp" and world.size() > 1


def check_parallel(objective: Objective, settings: Settings) -> None:
    """Refuses what several processes cannot train together.

    Raises:
        CompositionError: an objective that compares the data of a batch, of which each process sees a share.
        InputError: fewer data in a batch than there are processes, or a step compiled for shards.
    """
    if (n := world.size()) == 1:
        return
    if not objective.pointwise:
        raise CompositionError(
            f"objective '{objective.name}' compares the data of a batch, and each of {n} processes sees a share of it; "
            "train it in one process, or use an objective of each datum, such as 'elbo'"
        )
    if settings.batch_size < n:
        raise InputError(f"batch_size = {settings.batch_size} for {n} processes; needed: at least one datum each")
    if settings.parallel == "fsdp" and settings.compile != "off":
        raise InputError("compile is for one process or parallel 'ddp'; leave it out with parallel 'fsdp'")


def replicated(model: nn.Module) -> None:
    """Gives all processes the first one's weights."""
    if world.size() > 1:
        for tensor in model.state_dict().values():
            torch.distributed.broadcast(tensor, src=0)


def sharded(model: Trainable) -> Trainable:
    """A copy of the model of which each process holds a share of every parameter, and so of its gradient and of the
    optimiser's state (FSDP2)."""
    from torch.distributed.fsdp import fully_shard

    model = copy.deepcopy(model)
    for part in model.modules():  # gathered where they are used, one after the other
        if isinstance(network := getattr(part, "network", None), nn.Module):
            fully_shard(network)
    fully_shard(model)
    return model


def overlapping(module: nn.Module, unused: bool) -> nn.Module:
    """Averages gradients over processes while the backward pass goes on (DDP).

    Arguments:
        unused: Whether the loss leaves out some parameters.
    """
    return nn.parallel.DistributedDataParallel(
        module, broadcast_buffers=False, find_unused_parameters=unused, init_sync=False
    )


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Averages gradients over processes, all at once."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, flat.div_(world.size()).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
