"""Optimizers, one per parameter group of an objective."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tightbound.config import OptimizerFactory
from tightbound.core.errors import InputError
from tightbound.core.latents import Trainable
from tightbound.core.schedules import Progress, Schedule
from tightbound.objectives.base import ParameterGroup
from tightbound.training.checkpoint import placed_as
from tightbound.training.suited import Suited


class Optimizer(Protocol):
    """Protocol of the part of torch.optim that training uses."""

    param_groups: list[dict[str, Any]]
    state: Any  # dictionary of tensors and numbers, by parameter

    def step(self) -> object:
        """Update the parameters by their gradients."""
        ...


class Adam:
    """Adam and AdamW, with the parameter groups and the state of torch.optim.

    Constructing an optimizer of torch.optim imports torch's compiler, which takes about as long as importing torch, and
    its bookkeeping costs a twentieth of a small model's step. This class calls the same underlying function.

    Args:
        groups: Parameter groups, {"params": ..., "lr": ...}.
        decoupled: Decouple weight decay from the gradient (AdamW).
        options: Defaults of all groups: eps, weight_decay and betas.
    """

    def __init__(self, groups: Sequence[dict[str, Any]], decoupled: bool, options: Mapping[str, Any]) -> None:
        params = [p for group in groups for p in group["params"]]
        fused = all(p.device.type in ("cpu", "cuda", "mps") and p.is_floating_point() for p in params)
        common = {"betas": (0.9, 0.999), **options, "fused": fused}
        self.param_groups: list[dict[str, Any]] = [{**common, **group} for group in groups]
        self.state: dict[nn.Parameter, dict[str, Tensor]] = {}
        self._decoupled = decoupled

    def step(self) -> None:
        """Update the parameters by their gradients."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            states = [self._state_of(p, group["fused"]) for p in params]
            first, second, steps = ([s[name] for s in states] for name in ("exp_avg", "exp_avg_sq", "step"))
            beta1, beta2 = group["betas"]
            if params:
                adam(
                    params, [p.grad for p in params], first, second, [], steps, lr=group["lr"], beta1=beta1,
                    beta2=beta2, eps=group["eps"], weight_decay=group["weight_decay"], fused=group["fused"],
                    decoupled_weight_decay=self._decoupled, amsgrad=False, maximize=False,
                )  # fmt: skip

    def _state_of(self, p: nn.Parameter, fused: bool) -> dict[str, Tensor]:
        if p not in self.state:
            place = p.device if fused else "cpu"
            zeros = (torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=place))
            self.state[p] = dict(zip(("exp_avg", "exp_avg_sq", "step"), zeros, strict=True))
        return self.state[p]


class GroupOptimizer:
    """Optimizer of one parameter group, with learning rates, schedule, clipping and a state for checkpoints.

    Args:
        group: The parameters and the loss that trains them; the group's own options, such as a learning rate, take
            precedence over the settings.
        model: Model that tells which parameters belong to the encoder.
        settings: Training options: optimizer, rates and constants.
        decay: Factor on the learning rates.

    Raises:
        InputError: If the optimizer cannot be used.
    """

    def __init__(self, group: ParameterGroup, model: Trainable, settings: Suited, decay: Schedule) -> None:
        self.group, self._decay, self._clip = group, decay, settings.clip
        self._params = [p for p in group.params if p.requires_grad]
        self._optimizer: Optimizer
        if callable(settings.optimizer):
            self._optimizer = _from_factory(settings.optimizer, self._params, group.optim)
        elif settings.optimizer in ("adam", "adamw"):
            self._optimizer = _adam(self._params, model, settings, group.optim)
        else:
            raise InputError("this run was trained with an optimizer given as a function; pass it again as optimizer=")
        self._rates = [each["lr"] for each in self._optimizer.param_groups]
        self._numbered = list(enumerate(p for each in self._optimizer.param_groups for p in each["params"]))
        every = {id(p) for p in model.parameters() if p.requires_grad}
        self.trains_all = every == {id(p) for p in self._params}  # whether it trains all of the model's parameters

    def backward(self, loss: Tensor, *, keep: bool = False, add: bool = False) -> None:
        """Compute the gradients of this group's parameters only.

        Args:
            loss: Scalar loss.
            keep: Keep the graph for another group's loss.
            add: Add to the gradients that are there.
        """
        for p in () if add else self._params:
            p.grad = None
        loss.backward(inputs=self._params, retain_graph=keep)

    def clip(self) -> Tensor | None:
        """Clip the gradients; return their norm before clipping (a scalar), or None without clipping."""
        return None if self._clip is None else nn.utils.clip_grad_norm_(self._params, self._clip)

    @torch.no_grad()
    def step(self, progress: Progress) -> None:
        """Update the parameters with the gradients from `backward`."""
        if progress.step % 50 == 0:
            self._flush()
        factor = self._decay(progress)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self._optimizer.step()

    def _flush(self) -> None:
        """Set subnormal numbers in the state to zero, since they change no weight and slow down a CPU.

        The moments of units that no longer learn become subnormal and stay so, because nine tenths of the smallest
        numbers round to themselves.
        """
        for _, p in self._numbered:
            if p.grad is not None:
                for value in self._optimizer.state.get(p, {}).values():
                    if isinstance(value, Tensor) and value.shape == p.shape and value.is_floating_point():
                        value.masked_fill_(value.abs() < torch.finfo(value.dtype).tiny, 0.0)

    @torch.no_grad()
    def arrange(self) -> None:
        """Give the state the memory layout of the parameters, which fused updates require."""
        for _, p in self._numbered:
            state = self._optimizer.state.get(p, {})
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == p.shape:
                    state[key] = torch.empty_like(p, dtype=value.dtype).copy_(value)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the optimizer's tensors by "parameter number/name", and the rest as JSON values.

        Raises:
            InputError: If the state holds anything else.
        """
        tensors: dict[str, Tensor] = {}
        values: dict[str, Any] = {}
        for i, p in self._numbered:
            for key, value in self._optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{i}/{key}"] = value
                elif value is None or isinstance(value, bool | int | float | str):
                    values[f"{i}/{key}"] = value
                else:
                    raise InputError(
                        f"optimizer {self._kind} keeps a {type(value).__name__} ({key!r}), but a checkpoint holds only "
                        "tensors and numbers; use another optimizer="
                    )
        options = [{k: v for k, v in g.items() if k != "lr" and _is_number(v)} for g in self._optimizer.param_groups]
        return tensors, {"kind": self._kind, "values": values, "options": options}

    def load_state(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        """Restore the state that `state` returned.

        Raises:
            InputError: If the state belongs to another optimizer.
        """
        options = rest["options"]
        if rest["kind"] != self._kind or len(options) != len(self._optimizer.param_groups):
            raise InputError(
                f"the run was trained with optimizer {rest['kind']}, and optimizer= gives {self._kind}; "
                "pass the same optimizer to resume it"
            )
        for group, own in zip(self._optimizer.param_groups, options, strict=True):
            group.update(own)
        fused = {
            id(p): g.get("fused") or g.get("capturable") for g in self._optimizer.param_groups for p in g["params"]
        }
        params = dict(self._numbered)
        for name, value in {**tensors, **rest["values"]}.items():
            number, _, key = name.partition("/")
            p = params[int(number)]
            if isinstance(value, Tensor):
                counts = key == "step" and not fused[id(p)]  # it stays on the CPU unless the kernel reads it
                value = value if counts else placed_as(p, value) if value.shape == p.shape else value.to(p.device)
            self._optimizer.state.setdefault(p, {})[key] = value

    @property
    def _kind(self) -> str:
        return type(self._optimizer).__name__


def _adam(params: Sequence[nn.Parameter], model: Trainable, settings: Suited, own: Mapping[str, Any]) -> Adam:
    """Return Adam with a parameter group per learning rate; the group's own rate takes precedence."""
    rates_differ = settings.encoder_lr is not None or settings.decoder_lr is not None
    encoder = {id(p) for p in model.inference_parameters()} if rates_differ else set[int]()
    options = {"lr": settings.lr, "eps": settings.eps, "weight_decay": settings.weight_decay, **own}
    rates = {True: None, False: None} if "lr" in own else {True: settings.encoder_lr, False: settings.decoder_lr}
    by_rate: dict[float, list[nn.Parameter]] = {}
    for p in params:
        rate = rates[id(p) in encoder]
        by_rate.setdefault(options["lr"] if rate is None else rate, []).append(p)
    groups = [{"params": some, "lr": rate} for rate, some in by_rate.items()]
    return Adam(groups, settings.optimizer == "adamw", options)


def _from_factory(factory: OptimizerFactory, params: list[nn.Parameter], own: Mapping[str, Any]) -> Optimizer:
    """Return the optimizer from the user's function, with the options of the parameter group."""
    made: Any = factory(list(params))
    needed = "needed: a function that takes a list of parameters and returns a torch optimizer of all of them"
    if not all(hasattr(made, name) for name in ("param_groups", "state", "step")):
        raise InputError(f"optimizer= returned {type(made).__name__}; {needed}")
    if {id(p) for group in made.param_groups for p in group["params"]} != {id(p) for p in params}:
        raise InputError(f"optimizer= returned an optimizer of other parameters; {needed}")
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise InputError(f"{type(made).__name__} evaluates the loss several times per step; use another optimizer=")
    for group in made.param_groups:
        group.update({name: value for name, value in own.items() if name in group})
    return cast(Optimizer, made)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class MovingAverage:
    """Exponential moving average of a model's floating-point state (Polyak averaging).

    Args:
        tensors: The state to average, which is copied.
        decay: Weight of the average at each step; the first steps use (1 + n) / (10 + n) if that is less.
    """

    def __init__(self, tensors: Iterable[tuple[str, Tensor]], decay: float) -> None:
        self.decay = decay
        self.average = {name: t.detach().clone() for name, t in tensors if t.is_floating_point()}

    @torch.no_grad()
    def update(self, tensors: dict[str, Tensor], steps: int) -> None:
        """Update the average with the current state after this many steps."""
        update: Callable[..., Any] = get_ema_multi_avg_fn(min(self.decay, (1 + steps) / (10 + steps)))
        update(list(self.average.values()), [tensors[n] for n in self.average], steps)
