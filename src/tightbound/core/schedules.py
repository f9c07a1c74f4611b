"""Schedules are pure functions of progress; the trainer evaluates them into knobs."""

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
    """Where a run is."""

    step: int  # optimizer steps taken
    epoch: int  # epochs completed
    total: int  # optimizer steps of the whole run


class Schedule(Component, ABC):
    """A number that depends on progress alone."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """The value at this progress."""


class Constant(Schedule):
    """The same value throughout."""

    def __init__(self, value: float = 1.0) -> None:
        self.value = number("value", value)

    def __call__(self, progress: Progress) -> float:
        """The value."""
        return self.value


class _Ramp(Schedule):
    def __init__(self, start: float = 0.0, stop: float = 1.0, steps: int | None = None, share: float = 0.25) -> None:
        self.start, self.stop = number("start", start), number("stop", stop)
        self.steps = steps if steps is None else whole("steps", steps, least=1)
        self.share = number("share", share, above=0)

    def __call__(self, progress: Progress) -> float:
        """`start` at step 0, `stop` from the end of the ramp on."""
        length = self.steps if self.steps is not None else self.share * progress.total
        t = min(1.0, progress.step / max(length, 1))
        return self.start + (self.stop - self.start) * self.shape(t)

    @abstractmethod
    def shape(self, t: float) -> float:
        """Maps [0, 1] onto [0, 1]."""


class Linear(_Ramp):
    """A straight ramp from `start` to `stop` over `steps` steps, or over this share of the run (KL warm-up:
    Bowman et al. 2016, https://arxiv.org/abs/1511.06349)."""

    def shape(self, t: float) -> float:
        """The identity."""
        return t


class Cosine(_Ramp):
    """Half a cosine from `start` to `stop` over `steps` steps, or over this share of the run."""

    def shape(self, t: float) -> float:
        """(1 - cos(pi t)) / 2."""
        return 0.5 * (1 - math.cos(math.pi * t))


class Cyclical(Schedule):
    """`cycles` equal cycles, each a straight ramp over the share `ramp` of it and then `stop`
    (Fu et al. 2019, Eq. 6, https://arxiv.org/abs/1903.10145)."""

    def __init__(self, start: float = 0.0, stop: float = 1.0, cycles: int = 4, ramp: float = 0.5) -> None:
        self.start, self.stop = number("start", start), number("stop", stop)
        self.cycles, self.ramp = whole("cycles", cycles, least=1), number("ramp", ramp, above=0, most=1)

    def __call__(self, progress: Progress) -> float:
        """The ramp's value within the present cycle; `stop` once the run is over."""
        if progress.step >= progress.total:
            return self.stop
        t = (progress.step * self.cycles / progress.total) % 1.0
        return self.start + (self.stop - self.start) * min(1.0, t / self.ramp)


class CosineDecay(Schedule):
    """For a learning rate: a linear warm-up over `warmup` steps, then half a cosine from 1 to `final`
    (Loshchilov and Hutter 2017, Eq. 5, https://arxiv.org/abs/1608.03983)."""

    def __init__(self, warmup: int = 0, final: float = 0.0) -> None:
        self.warmup, self.final = whole("warmup", warmup, least=0), number("final", final, least=0)

    def __call__(self, progress: Progress) -> float:
        """A factor on the learning rate."""
        if progress.step < self.warmup:
            return (progress.step + 1) / self.warmup
        t = (progress.step - self.warmup) / max(progress.total - self.warmup, 1)
        return self.final + (1 - self.final) * self.shape(min(t, 1.0))

    def shape(self, t: float) -> float:
        """From 1 at t = 0 to 0 at t = 1."""
        return 0.5 * (1 + math.cos(math.pi * t))


class LinearDecay(CosineDecay):
    """For a learning rate: a linear warm-up over `warmup` steps, then a straight line from 1 to `final`."""

    def shape(self, t: float) -> float:
        """1 - t."""
        return 1 - t


class Knobs(dict[str, Tensor]):
    """The schedules' values at one step, by name, as 0-d tensors (a new value does not recompile)."""

    @classmethod
    def at(cls, schedules: Mapping[str, Schedule], progress: Progress) -> Knobs:
        """Evaluates each schedule."""
        return cls({name: torch.tensor(schedule(progress)) for name, schedule in schedules.items()})

    @classmethod
    def final(cls, schedules: Mapping[str, Schedule]) -> Knobs:
        """The values at the end of a run."""
        return cls.at(schedules, Progress(step=2**62, epoch=2**62, total=1))


def as_schedule(name: str, value: float | Schedule, *, least: float = -math.inf) -> Schedule:
    """A number becomes a constant schedule.

    Raises:
        InputError: where it is neither, not finite, or below `least` anywhere.
    """
    schedule = value if isinstance(value, Schedule) else Constant(number(name, value))
    for bound in ("value", "start", "stop"):
        if hasattr(schedule, bound):
            number(name if bound == "value" else f"{bound} of {name}", getattr(schedule, bound), least=least)
    return schedule
