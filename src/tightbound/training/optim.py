"""Optimizers, one for each group of an objective."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tightbound.config import Settings
from tightbound.core.interfaces import Trainable
from tightbound.core.schedules import Progress, Schedule
from tightbound.objectives.base import ParameterGroup
from tightbound.training.checkpoint import placed_as

_MOMENTS = ("exp_avg", "exp_avg_sq")
_STATE = (*_MOMENTS, "step")
# Steps after which moments below the smallest normal number become 0. Those of units that no longer learn fall there,
# stay (nine tenths of a few of the smallest steps round to as many), move no weight, and slow a CPU's arithmetic.
_EVERY = 50


class GroupOptimizer:
    """Adam on one group's parameters: encoder and decoder rates, schedule, clipping, state as tensors.

    Arguments:
        group: What is trained, and by which loss.
        model: Says which of the parameters are the encoder's.
        settings: Rates and constants, unless the group has its own.
        decay: Factor on the learning rates.
    """

    def __init__(self, group: ParameterGroup, model: Trainable, settings: Settings, decay: Schedule) -> None:
        encoder = {id(p) for p in model.inference_parameters()}
        options: dict[str, Any] = {"lr": settings.lr, "eps": settings.eps, "weight_decay": settings.weight_decay}
        options |= dict(group.optim)
        own = "lr" in group.optim  # a group's own rate is not the encoder's or the decoder's
        rates = {True: None, False: None} if own else {True: settings.encoder_lr, False: settings.decoder_lr}
        self.group, self._decay, self._clip = group, decay, settings.clip
        self._params = [p for p in group.params if p.requires_grad]
        by_rate: dict[float, list[nn.Parameter]] = {}
        for p in self._params:
            rate = rates[id(p) in encoder]
            by_rate.setdefault(options["lr"] if rate is None else rate, []).append(p)
        numbers = {id(p): i for i, p in enumerate(p for params in by_rate.values() for p in params)}
        self._sides = [(rate, [(numbers[id(p)], p) for p in params]) for rate, params in by_rate.items()]
        fused = all(p.device.type in ("cpu", "cuda", "mps") and p.is_floating_point() for p in self._params)
        beta1, beta2 = options.get("betas", (0.9, 0.999))
        self._constants: dict[str, Any] = {
            "beta1": beta1, "beta2": beta2, "eps": options["eps"], "weight_decay": options["weight_decay"],
            "decoupled_weight_decay": settings.optimizer == "adamw", "fused": fused, "amsgrad": False,
            "maximize": False,
        }  # fmt: skip
        self._state: dict[int, dict[str, Tensor]] = {}  # by parameter number, in the names of torch.optim
        every = {id(p) for p in model.parameters() if p.requires_grad}
        self.trains_all = every == {id(p) for p in self._params}  # of the model

    def backward(self, loss: Tensor, *, keep: bool = False, everywhere: bool = False) -> None:
        """Gradients of this group's parameters alone; `keep` the graph for another group's loss.

        Arguments:
            everywhere: There is no other group, and the graph holds stand-ins of the parameters (shards).
        """
        for p in self._params:
            p.grad = None
        loss.backward(inputs=None if everywhere else self._params, retain_graph=keep)

    def clip(self) -> Tensor | None:
        """Clips the gradients that `backward` left.

        Returns:
            Their norm before clipping, 0-d; None where there is no clipping.
        """
        return None if self._clip is None else nn.utils.clip_grad_norm_(self._params, self._clip)

    @torch.no_grad()
    def step(self, progress: Progress) -> None:
        """An update by the gradients that `backward` left."""
        factor = self._decay(progress)
        for rate, numbered in self._sides:
            moved = [(p, self._state_of(i, p)) for i, p in numbered if p.grad is not None]
            if moved:
                params: list[Tensor] = [p for p, _ in moved]
                gradients = [p.grad for p in params if p.grad is not None]
                first, second, steps = ([state[name] for _, state in moved] for name in _STATE)
                if progress.step % _EVERY == 0:
                    for moment in (*first, *second):
                        moment.masked_fill_(moment.abs() < torch.finfo(moment.dtype).tiny, 0.0)
                # the function beneath torch.optim.Adam, whose bookkeeping costs a twentieth of a small model's step
                adam(params, gradients, first, second, [], steps, lr=rate * factor, **self._constants)

    def _state_of(self, number: int, p: nn.Parameter) -> dict[str, Tensor]:
        if number not in self._state:
            place = p.device if self._constants["fused"] else "cpu"
            moments = (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=place))
            self._state[number] = dict(zip(_STATE, moments, strict=True))
        return self._state[number]

    @torch.no_grad()
    def arrange(self) -> None:
        """Lays moments out in memory as parameters are, which a fused update takes for granted."""
        for i, p in (numbered for _, side in self._sides for numbered in side if numbered[0] in self._state):
            for key in _MOMENTS:
                self._state[i][key] = torch.empty_like(p).copy_(self._state[i][key])

    def state(self) -> dict[str, Tensor]:
        """The moments and step counts, by parameter number."""
        return {f"{i}/{key}": value for i, entry in self._state.items() for key, value in entry.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes what `state` gave."""
        own = {i: self._state_of(i, p) for _, numbered in self._sides for i, p in numbered}
        self._state = {}
        for name, tensor in tensors.items():
            number, _, key = name.partition("/")
            self._state.setdefault(int(number), {})[key] = placed_as(own[int(number)][key], tensor)


class MovingAverage:
    """Exponential moving average of a model's floating-point state (Polyak averaging).

    Arguments:
        tensors: The state that is averaged; copied.
        decay: Weight of the average at each step; the first steps use (1 + n) / (10 + n) where that is less.
    """

    def __init__(self, tensors: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self.decay = decay
        self.average = {name: t.detach().clone() for name, t in tensors if t.is_floating_point()}

    @torch.no_grad()
    def update(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Moves towards the present state after this many steps."""
        update = get_ema_multi_avg_fn(min(self.decay, (1 + steps) / (10 + steps)))
        update(list(self.average.values()), [tensors[n] for n in self.average], steps)
