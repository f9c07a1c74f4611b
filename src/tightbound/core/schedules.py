"""Schedules: numbers that depend on the progress of training. The trainer evaluates them at each step as knobs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tightbound.core.component import Component
from tightbound.core.errors import number, whole


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epochs completed.
        total: Optimizer steps of the whole run.
        decays: How often the validation objective had settled.
    """

    step: int
    epoch: int
    total: int
    decays: int = 0


class Schedule(Component, ABC):
    """Number that depends only on the progress of training."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """Return the value at this progress."""


class Constant(Schedule):
    """Constant value."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = number("value", value)

    def __call__(self, progress: Progress) -> float:
        """Return the value."""
        return self.value


class _Ramp(Schedule):
    def __init__(self, start: float = 0.0, stop: float = 1.0, steps: int | None = None, share: float = 0.25) -> None:
        self.start, self.stop = number("start", start), number("stop", stop)
        self.steps = steps if steps is None else whole("steps", steps, least=1)
        self.share = number("share", share, above=0)

    def __call__(self, progress: Progress) -> float:
        """Return `start` at step 0, and `stop` from the end of the ramp on."""
        length = self.steps if self.steps is not None else self.share * progress.total
        t = min(1.0, progress.step / max(length, 1))
        return self.start + (self.stop - self.start) * self.shape(t)

    @abstractmethod
    def shape(self, t: float) -> float:
        """Map [0, 1] onto [0, 1]."""


class Linear(_Ramp):
    """Linear ramp from `start` to `stop`, such as a KL warm-up.

    Args:
        start: Value at step 0.
        stop: Value at the end of the ramp.
        steps: Length of the ramp in steps; None: `share` of the run.
        share: Length of the ramp as a fraction of the run.

    References:
        Bowman et al. 2016, https://arxiv.org/abs/1511.06349.
    """

    def shape(self, t: float) -> float:
        """Return t."""
        return t


class Cosine(_Ramp):
    """Half-cosine ramp from `start` to `stop`.

    Args:
        start: Value at step 0.
        stop: Value at the end of the ramp.
        steps: Length of the ramp in steps; None: `share` of the run.
        share: Length of the ramp as a fraction of the run.
    """

    def shape(self, t: float) -> float:
        """Return (1 - cos(pi t)) / 2."""
        return 0.5 * (1 - math.cos(math.pi * t))


class Cyclical(Schedule):
    """Equal cycles, each a linear ramp followed by a constant.

    Args:
        start: Value at the beginning of a ramp.
        stop: Value at the end of a ramp.
        cycles: Number of cycles.
        ramp: Length of the ramp as a fraction of a cycle.

    References:
        Fu et al. 2019, Eq. 6, https://arxiv.org/abs/1903.10145.
    """

    def __init__(self, start: float = 0.0, stop: float = 1.0, cycles: int = 4, ramp: float = 0.5) -> None:
        self.start, self.stop = number("start", start), number("stop", stop)
        self.cycles, self.ramp = whole("cycles", cycles, least=1), number("ramp", ramp, above=0, most=1)

    def __call__(self, progress: Progress) -> float:
        """Return the value within the current cycle, and `stop` once the run is over."""
        if progress.step >= progress.total:
            return self.stop
        t = (progress.step * self.cycles / progress.total) % 1.0
        return self.start + (self.stop - self.start) * min(1.0, t / self.ramp)


class CosineDecay(Schedule):
    """Learning-rate factor with a linear warm-up, then half a cosine from 1 to `final`.

    Args:
        warmup: Length of the warm-up in steps.
        final: Factor at the end of the run.

    References:
        Loshchilov and Hutter 2017, Eq. 5, https://arxiv.org/abs/1608.03983.
    """

    def __init__(self, warmup: int = 0, final: float = 0.0) -> None:
        self.warmup, self.final = whole("warmup", warmup, least=0), number("final", final, least=0)

    def __call__(self, progress: Progress) -> float:
        """Return the learning-rate factor."""
        if progress.step < self.warmup:
            return (progress.step + 1) / self.warmup
        t = (progress.step - self.warmup) / max(progress.total - self.warmup, 1)
        return self.final + (1 - self.final) * self.shape(min(t, 1.0))

    def shape(self, t: float) -> float:
        """Fall from 1 at t = 0 to 0 at t = 1."""
        return 0.5 * (1 + math.cos(math.pi * t))


class LinearDecay(CosineDecay):
    """Learning-rate factor with a linear warm-up, then a straight line from 1 to `final`.

    Args:
        warmup: Length of the warm-up in steps.
        final: Factor at the end of the run.
    """

    def shape(self, t: float) -> float:
        """Return 1 - t."""
        return 1 - t


class Plateau(Schedule):
    """Learning-rate factor that falls whenever the validation objective no longer rises.

    Args:
        factor: The factor at each fall.
        warmup: Length of a linear warm-up in steps.
    """

    def __init__(self, factor: float = 0.3, warmup: int = 0) -> None:
        self.factor, self.warmup = number("factor", factor, above=0, below=1), whole("warmup", warmup, least=0)

    def __call__(self, progress: Progress) -> float:
        """Return the learning-rate factor."""
        start = min(1.0, (progress.step + 1) / max(self.warmup, 1))
        return start * self.factor**progress.decays


class Knobs(dict[str, Tensor]):
    """Values of schedules at one step, by name, as 0-d tensors so that a new value does not cause recompilation."""

    @classmethod
    def at(cls, schedules: Mapping[str, Schedule], progress: Progress) -> Knobs:
        """Evaluate each schedule."""
        return cls({name: torch.tensor(schedule(progress)) for name, schedule in schedules.items()})

    @classmethod
    def final(cls, schedules: Mapping[str, Schedule]) -> Knobs:
        """Return the values at the end of a run."""
        return cls.at(schedules, Progress(step=2**62, epoch=2**62, total=1))


def as_schedule(name: str, value: float | Schedule, *, least: float = -math.inf) -> Schedule:
    """Convert a number to a constant schedule; return a schedule unchanged.

    Raises:
        InputError: If the value is neither, is not finite, or falls below `least`.
    """
    schedule = value if isinstance(value, Schedule) else Constant(number(name, value))
    for bound in ("value", "start", "stop"):
        if hasattr(schedule, bound):
            number(name if bound == "value" else f"{bound} of {name}", getattr(schedule, bound), least=least)
    return schedule
