"""Schedules: numbers that depend on the progress of training; the trainer evaluates them into knobs."""

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
    """

    step: int
    epoch: int
    total: int


class Schedule(Component, ABC):
    """A number that depends on progress alone."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """Return the value at this progress."""


class Constant(Schedule):
    """The same value throughout."""

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
    """Straight ramp from `start` to `stop`, such as a KL warm-up.

    Args:
        start, stop: The values at its ends.
        steps: Its length in steps; None: a share of the run.
        share: That share.

    References:
        Bowman et al. 2016, https://arxiv.org/abs/1511.06349.
    """

    def shape(self, t: float) -> float:
        """Return t."""
        return t


class Cosine(_Ramp):
    """Half a cosine from `start` to `stop`.

    Args:
        start, stop: The values at its ends.
        steps: Its length in steps; None: a share of the run.
        share: That share.
    """

    def shape(self, t: float) -> float:
        """Return (1 - cos(pi t)) / 2."""
        return 0.5 * (1 - math.cos(math.pi * t))


class Cyclical(Schedule):
    """Equal cycles, each a straight ramp and then a constant.

    Args:
        start, stop: The values at the ends of a ramp.
        cycles: Number of cycles.
        ramp: Share of a cycle that the ramp takes.

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
    """Decay of a learning rate: a linear warm-up, then half a cosine from 1 to `final`.

    Args:
        warmup: Steps of the warm-up.
        final: Factor at the end of the run.

    References:
        Loshchilov and Hutter 2017, Eq. 5, https://arxiv.org/abs/1608.03983.
    """

    def __init__(self, warmup: int = 0, final: float = 0.0) -> None:
        self.warmup, self.final = whole("warmup", warmup, least=0), number("final", final, least=0)

    def __call__(self, progress: Progress) -> float:
        """Return the factor on the learning rate."""
        if progress.step < self.warmup:
            return (progress.step + 1) / self.warmup
        t = (progress.step - self.warmup) / max(progress.total - self.warmup, 1)
        return self.final + (1 - self.final) * self.shape(min(t, 1.0))

    def shape(self, t: float) -> float:
        """Fall from 1 at t = 0 to 0 at t = 1."""
        return 0.5 * (1 + math.cos(math.pi * t))


class LinearDecay(CosineDecay):
    """Decay of a learning rate: a linear warm-up, then a straight line from 1 to `final`.

    Args:
        warmup: Steps of the warm-up.
        final: Factor at the end of the run.
    """

    def shape(self, t: float) -> float:
        """Return 1 - t."""
        return 1 - t


class Knobs(dict[str, Tensor]):
    """Values of schedules at one step, by name, as 0-d tensors (so that a new value does not recompile)."""

    @classmethod
    def at(cls, schedules: Mapping[str, Schedule], progress: Progress) -> Knobs:
        """Evaluate each schedule."""
        return cls({name: torch.tensor(schedule(progress)) for name, schedule in schedules.items()})

    @classmethod
    def final(cls, schedules: Mapping[str, Schedule]) -> Knobs:
        """Return the values at the end of a run."""
        return cls.at(schedules, Progress(step=2**62, epoch=2**62, total=1))


def as_schedule(name: str, value: float | Schedule, *, least: float = -math.inf) -> Schedule:
    """Return a schedule; a number becomes a constant one.

    Raises:
        InputError: If it is neither, not finite, or below `least` anywhere.
    """
    schedule = value if isinstance(value, Schedule) else Constant(number(name, value))
    for bound in ("value", "start", "stop"):
        if hasattr(schedule, bound):
            number(name if bound == "value" else f"{bound} of {name}", getattr(schedule, bound), least=least)
    return schedule
