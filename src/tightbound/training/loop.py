"""Training loop of one stage, with validation, checkpoints and signals."""

from __future__ import annotations

import time
from typing import Any

import torch

from tightbound.config import Settings
from tightbound.core import world
from tightbound.training import checkpoint
from tightbound.training.callbacks import Callbacks, TrainingState
from tightbound.training.folder import RunFolder
from tightbound.training.monitor import Monitor
from tightbound.training.signals import Interrupted, StopFlag
from tightbound.training.trainer import Stage, Trainer, mean_metrics
from tightbound.training.validation import Validator

Rows = list[dict[str, Any]]  # metrics, one row per epoch of a stage


class Saver:
    """Writer and reader of the metrics and checkpoints of a stage.

    Args:
        folder: The run.
        trainer: Trainer whose state is saved.
        validator: Validator whose state is saved.
    """

    def __init__(self, folder: RunFolder, trainer: Trainer, validator: Validator) -> None:
        self._folder, self._trainer, self._validator = folder, trainer, validator
        self._stage = trainer.stage.name
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint, by the clock of the first process."""
        return world.rank() == 0 and time.monotonic() - self._saved > self._trainer.settings.checkpoint_seconds

    def save(self, rows: Rows) -> None:
        """Write the metrics, the best weights, and the state from which `resume` continues exactly."""
        self.save_metrics(rows)
        tensors, scalars = self._trainer.state()
        best, own = self._validator.state()
        if world.rank() == 0:
            checkpoint.save(self._folder.checkpoint("last", self._stage), {**tensors, **best}, {**scalars, **own})
        self._saved = time.monotonic()

    def save_metrics(self, rows: Rows) -> None:
        """Write the metrics, and the best weights if they are new."""
        if world.rank() == 0:
            self._folder.write_metrics(rows)
        validator = self._validator
        if validator.best is not None and validator.unsaved:
            averaged, validator.unsaved = self._trainer.ema is not None, False
            facts = {"epoch": validator.best_epoch, "value": validator.best_value, "averaged": averaged}
            if world.rank() == 0:
                checkpoint.save(self._folder.checkpoint("best", self._stage), validator.best, facts)

    def resume(self, rows: Rows) -> Rows:
        """Load the last checkpoint, if there is one; return the metrics up to it."""
        path = self._folder.checkpoint("last", self._stage)
        if not path.is_file():
            return [row for row in rows if row["stage"] != self._stage]
        tensors, scalars = checkpoint.load(path)
        self._trainer.load(tensors, scalars, path)
        self._validator.load(tensors, scalars)
        return [row for row in rows if row["stage"] != self._stage or row["epoch"] <= self._trainer.epoch]


class Loop:
    """Training loop of one stage.

    Args:
        stage: Stage to train.
        settings: Training options, unless the stage has its own.
        folder: Folder for checkpoints and metrics.
        device: Device of the model.
        quiet: Show no progress.
    """

    def __init__(self, stage: Stage, settings: Settings, folder: RunFolder, device: torch.device, quiet: bool) -> None:
        self.stage, self._folder = stage, folder
        self.trainer = Trainer(stage, stage.settings or settings, device)
        self.validator = Validator(self.trainer)
        self.saver = Saver(folder, self.trainer, self.validator)
        self._quiet = quiet or world.rank() > 0

    @property
    def unfinished(self) -> bool:
        """Whether any training is left."""
        trainer = self.trainer
        return (not trainer.finished or trainer.batch > 0) and not self.validator.out_of_patience

    def prepare(self) -> None:
        """Compile the step if that was requested and any step is left."""
        if self.unfinished:
            self.trainer.prepare()

    def run(self, rows: Rows, flag: StopFlag, callbacks: Callbacks | None = None) -> Rows:
        """Train the stage from its present state to the end.

        As soon as the first stage takes a step, the checkpoints of later stages are outdated and deleted.

        Args:
            rows: The metrics of all stages so far.
            flag: Flag that signals set.
            callbacks: Callbacks to call after steps and epochs.

        Returns:
            The metrics, one row per epoch of a stage.

        Raises:
            NonFinite: If a term of the loss became NaN or infinite, or the validation loss was never finite; the last
                checkpoint is intact.
            Interrupted: After a signal; a checkpoint was written.
        """
        trainer, callbacks = self.trainer, callbacks or Callbacks()
        monitor = Monitor(trainer.budget, trainer.step, self._quiet, self.stage.name, trainer.model.trains_on)
        try:
            self.prepare()
            if self.stage.name == "" and self.unfinished:
                world.by_first(self._folder.forget_later_stages)
                rows = [row for row in rows if row["stage"] == ""]
            while self.unfinished:
                whole = self._run_epoch(rows, flag, monitor, callbacks)
                if not whole:  # the run ends within an epoch, and a run with more steps must continue from here
                    self.saver.save(rows)
                if whole and not trainer.validated:
                    trainer.finish_pass()
                    continue
                rows.append(self.validator.finish_epoch())
                monitor.epoch(rows[-1])
                if not whole:
                    self.saver.save_metrics(rows)
                stop, due = self._agreed(flag)
                ended = trainer.finished or self.validator.out_of_patience
                if whole and (ended or due or stop is not None):
                    self.saver.save(rows)
                callbacks.on_epoch(self._state(rows[-1]))
                if stop is not None:
                    raise self._interrupted(stop)
        finally:
            monitor.close()
            trainer.executor.close()
        self.validator.check([row for row in rows if row["stage"] == self.stage.name])
        world.barrier()  # all processes can now read the files
        return rows

    def _run_epoch(self, rows: Rows, flag: StopFlag, monitor: Monitor, callbacks: Callbacks) -> bool:
        """Train to the end of the epoch or of the run; return whether the epoch is complete."""
        trainer = self.trainer
        trainer.model.train()
        began = time.perf_counter()
        for batch in trainer.batches():
            if trainer.finished:
                trainer.seconds += time.perf_counter() - began
                return False
            found = trainer.take_step(batch)
            monitor.step()
            if callbacks.wants_steps:
                callbacks.on_step(self._state(mean_metrics(found)))
            stop, due = self._agreed(flag)
            if stop is not None or due:
                trainer.seconds, began = trainer.seconds + time.perf_counter() - began, time.perf_counter()
                self.saver.save(rows)
            if stop is not None:
                raise self._interrupted(stop)
        trainer.seconds += time.perf_counter() - began
        return True

    def _agreed(self, flag: StopFlag) -> tuple[Any, bool]:
        """Return the signal that any process received, and whether a checkpoint is due; heed the time."""
        first = world.rank() == 0
        stop, due, late = flag.agreed(self.saver.due, first and self.trainer.budget.late)
        if late:
            self.trainer.budget.hurry()
        return stop, due

    def _state(self, metrics: dict[str, Any]) -> TrainingState:
        return TrainingState(self.stage.name, self.trainer.step, self.trainer.epoch, metrics, self.trainer.model)

    def _interrupted(self, by: Any) -> Interrupted:
        stage = f" of stage {self.stage.name!r}" if self.stage.name else ""
        of = "" if self.trainer.budget.open else f" of {self.trainer.total}"
        return Interrupted.at(f"after step {self.trainer.step}{of}{stage}", self._folder, by)
