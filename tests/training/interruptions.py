"""Ways to end training early: signals, and SIGKILL in a fork of this process."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import torch

from tightbound.training import Callback, TrainingState


class SignalAt(Callback):
    """Send this process a signal once so many steps were taken, over all stages."""

    def __init__(self, steps: int, by: signal.Signals = signal.SIGINT) -> None:
        self._left, self._by = steps, by

    def on_step(self, state: TrainingState) -> None:
        """Count a step."""
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(self._by)


class KillAt(Callback):
    """Kill this process after so many steps ("step"), or when a checkpoint of this name is then renamed into place."""

    def __init__(self, how: str, at: int) -> None:
        self._how, self._left = how, at

    def on_step(self, state: TrainingState) -> None:
        """Count a step."""
        self._left -= 1
        if self._left == 0 and self._how == "step":
            die()
        if self._left == 0:
            rename = os.replace

            def replace(source: Any, target: Any) -> None:
                if self._how in str(target):
                    die()
                rename(source, target)

            os.replace = replace  # in a fork: nothing takes it back


def killed(program: Callable[[], object]) -> None:
    """Run a program that ends by SIGKILL, in a fork of this process."""
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(program,))
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL, f"exit status {process.exitcode}"


def _alone(program: Callable[[], object]) -> None:
    torch.set_num_threads(1)  # a fork has none of the threads that OpenMP believes it has
    program()


def die(*_: object) -> None:
    """End by SIGKILL, which leaves no time to save."""
    os.kill(os.getpid(), signal.SIGKILL)
