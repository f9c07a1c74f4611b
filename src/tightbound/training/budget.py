"""The length of a stage: when schedules end, when the learning rate falls, and when training is over."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from tightbound.config import Settings


class Budget:
    """Length of a stage: the epochs or steps that were asked for, or as many as held-out data need.

    With epochs="auto", training goes on while the validation objective rises. It is judged after each `WINDOW` of
    steps, at least an epoch, once `FLOOR` steps were taken, which are the whole of a run for its schedules. If its best
    value rose by less than `SETTLED` nats per element of x, the learning rate falls; the third time, training is over.
    If the objective has fallen below its best value by more than that, and has no schedule, `FLOOR` does not apply.
    Without held-out data, or if the objective has no best epoch, training takes `BLIND` steps or epochs instead,
    whichever are more. Time ends training, too: the learning rate falls at 60% and 80% of minutes=.

    Args:
        settings: Training options of the stage.
        per_epoch: Steps of an epoch.
        judged: Whether there is a validation objective that tells the best epoch.
        steady: Whether the objective is the same at each step.

    Attributes:
        total, epochs: Steps and epochs of the run, as its schedules see it.
        open: Whether the end is not known in advance.
        passes: Epochs from one validation to the next; more than one if an epoch has fewer than `VALIDATED` steps
            and the end is not known in advance.
        minutes: Longest time for the stage; None: no limit.
    """

    FLOOR, WINDOW, DECAYS, SETTLED = 1000, 300, 3, 5e-4
    VALIDATED = 10  # minimum number of steps between validations
    BLIND = 2000, 20  # steps and epochs
    MINUTES = 20.0

    def __init__(self, settings: Settings, per_epoch: int, judged: bool, steady: bool = True) -> None:
        auto = settings.epochs == "auto" and settings.steps is None
        self.open = auto and judged
        if settings.steps is not None:
            self.total = settings.steps
        elif settings.epochs == "auto":
            steps, epochs = (self.FLOOR, 1) if judged else self.BLIND
            self.total = max(epochs, math.ceil(steps / per_epoch)) * per_epoch
        else:
            self.total = settings.epochs * per_epoch
        self.epochs = math.ceil(self.total / per_epoch)
        self.minutes = settings.minutes or (self.MINUTES if auto else None)
        falling = "plateau" if self.open else "cosine(final=0.01)" if auto else "constant"
        self.schedule = falling if settings.schedule == "auto" else settings.schedule
        self.passes = math.ceil(self.VALIDATED / per_epoch) if self.open else 1
        self._window, self._steady = max(self.WINDOW, per_epoch), steady
        self._seconds, self._began = 0.0, self.clock()
        self._mark, self._best = (0, -math.inf), -math.inf
        self._settled = self._hurried = 0

    @staticmethod
    def clock() -> float:
        """Return the time in seconds."""
        return time.monotonic()

    @property
    def decays(self) -> int:
        """How often the objective had settled, or time asked for it."""
        return min(self._settled + self._hurried, self.DECAYS)

    @property
    def seconds(self) -> float:
        """Time spent on the stage so far, over all of its sessions."""
        return self._seconds + self.clock() - self._began

    @property
    def late(self) -> bool:
        """Whether the time that has passed asks for a lower learning rate, or for the end."""
        if self.minutes is None:
            return False
        shares = {0: 0.6, 1: 0.8} if self.open else {}
        return self.seconds > 60 * self.minutes * shares.get(self.decays, 1.0)

    def hurry(self) -> None:
        """Lower the learning rate, or end training, because of the time."""
        self._hurried += 1 if self.open else self.DECAYS

    def over(self, step: int) -> bool:
        """Whether training is over after so many steps."""
        return self.decays >= self.DECAYS or (not self.open and step >= self.total)

    def judge(self, step: int, value: float, elements: int) -> bool:
        """Lower the learning rate if the validation objective has settled, and return whether it has fallen.

        Args:
            step: Steps taken.
            value: Validation objective in nats per example.
            elements: Numbers in an example.

        Returns:
            Whether the value is below the best one by more than `SETTLED` nats per element.
        """
        self._best = max(self._best, value)
        least = self.SETTLED * elements
        fallen = not self._best - value <= least
        since, before = self._mark
        if step - since >= self._window:
            self._mark = step, self._best
            if (step >= self.total or (fallen and self._steady)) and self._best - before < least:
                self._settled += self.open or self._settled + 1 < self.DECAYS
        return fallen

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run needs."""
        best, mark = (v if math.isfinite(v) else None for v in (self._best, self._mark[1]))
        own = {"settled": self._settled, "hurried": self._hurried, "minutes": self.minutes}
        return {"spent": self.seconds, "budget": {**own, "judged": [self._mark[0], mark], "highest": best}}

    def load(self, scalars: Mapping[str, Any]) -> None:
        """Restore the state that `state` returned; with other minutes, nothing has been hurried yet.

        An objective that settled for the last time ended the run only if its length was open.
        """
        own = scalars["budget"]
        step, mark = own["judged"]
        self._mark = step, -math.inf if mark is None else mark
        self._best = -math.inf if own["highest"] is None else own["highest"]
        self._settled = own["settled"] if self.open else min(own["settled"], self.DECAYS - 1)
        self._hurried = own["hurried"] if own["minutes"] == self.minutes else 0
        self._seconds, self._began = scalars["spent"], self.clock()
