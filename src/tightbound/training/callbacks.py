"""Callbacks: your own code, which training calls after steps and epochs. Imports torch only on use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tightbound.core.errors import InputError, needs

if TYPE_CHECKING:
    from tightbound.core.latents import Trainable


@dataclass(frozen=True)
class TrainingState:
    """State of training when a callback is called."""

    stage: str  # name of the stage; "" is the first, which trains the model itself
    step: int  # optimizer steps taken in this stage
    epoch: int  # epochs completed in this stage
    metrics: Mapping[str, Any]  # metrics of the epoch or, after a step, means over the batch; nats per example
    model: Trainable  # the model in training, with its current weights


class Callback:
    """Base class of callbacks: override the hooks you need.

    Every process calls them. An error in a hook ends training; the run can be resumed.
    """

    def on_step(self, state: TrainingState) -> object:
        """Run after each optimizer step."""

    def on_epoch(self, state: TrainingState) -> object:
        """Run after each epoch, once any checkpoint that was due has been written."""

    def on_end(self, state: TrainingState) -> object:
        """Run once, after the last stage or after a signal or an error that ended training."""


CallbackLike = Callback | Callable[[TrainingState], object]  # a function is called after each epoch


class _AfterEpoch(Callback):
    """Callback that calls a function after each epoch."""

    def __init__(self, function: Callable[[TrainingState], object]) -> None:
        self._function = function

    def on_epoch(self, state: TrainingState) -> object:
        return self._function(state)


class Callbacks(Callback):
    """Several callbacks as one, and a context manager that calls `on_end` on exit.

    Args:
        callbacks: Callbacks, in the order of calling, or a single one.

    Raises:
        InputError: If one of them is neither a `Callback` nor callable.
    """

    def __init__(self, callbacks: Sequence[CallbackLike] | CallbackLike = ()) -> None:
        several = [callbacks] if callable(callbacks) or isinstance(callbacks, Callback) else callbacks
        self._callbacks = [_as_callback(each) for each in several]
        self._last: TrainingState | None = None
        self.wants_steps = any(type(each).on_step is not Callback.on_step for each in self._callbacks)

    def on_step(self, state: TrainingState) -> None:
        """See `Callback.on_step`."""
        self._last = state
        for callback in self._callbacks:
            callback.on_step(state)

    def on_epoch(self, state: TrainingState) -> None:
        """See `Callback.on_epoch`."""
        self._last = state
        for callback in self._callbacks:
            callback.on_epoch(state)

    def on_end(self, state: TrainingState) -> None:
        """See `Callback.on_end`."""
        for callback in self._callbacks:
            callback.on_end(state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._last is not None:
            self.on_end(self._last)


class TensorBoard(Callback):
    """Callback that writes the metrics of each epoch for TensorBoard, from the first process only.

    Args:
        log_dir: Folder for the event files.
        every: Also write the metrics of a batch each time after this many steps.

    Raises:
        InputError: If the package tensorboard is missing.
    """

    def __init__(self, log_dir: str | Path, *, every: int | None = None) -> None:
        with needs("tensorboard", "TensorBoard logs"):
            import tensorboard  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]
        self._log_dir, self._every = str(log_dir), every
        self._writer: Any = None

    def on_step(self, state: TrainingState) -> None:
        """See `Callback.on_step`."""
        if self._every is not None and state.step % self._every == 0:
            self._write("batch", state)

    def on_epoch(self, state: TrainingState) -> None:
        """See `Callback.on_epoch`."""
        self._write("epoch", state)

    def on_end(self, state: TrainingState) -> None:
        """See `Callback.on_end`."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, what: str, state: TrainingState) -> None:
        from torch.utils.tensorboard import SummaryWriter

        from tightbound.core.world import rank

        if rank() > 0:
            return
        if self._writer is None:
            self._writer = SummaryWriter(self._log_dir)
        for name, value in state.metrics.items():
            if isinstance(value, int | float) and name not in ("step", "epoch"):
                self._writer.add_scalar("/".join(filter(None, [state.stage, what, name])), value, state.step)


def _as_callback(callback: object) -> Callback:
    if isinstance(callback, Callback):
        return callback
    if not callable(callback) or isinstance(callback, type):
        raise InputError(
            f"callbacks= holds {callback!r}; needed: functions of a TrainingState, which are called after each epoch, "
            "or instances of Callback"
        )
    return _AfterEpoch(callback)
