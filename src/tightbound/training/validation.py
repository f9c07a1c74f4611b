"""Validation after each epoch, and the choice of the best weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tightbound.core.errors import NonFinite
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Terms
from tightbound.data import Split
from tightbound.training import checkpoint, parallel
from tightbound.training.parallel import shares
from tightbound.training.tally import Tally, summarize
from tightbound.training.trainer import Trainer


class Validator:
    """Validator that evaluates a stage after each epoch, and keeps its best weights.

    If the objective is below its best value when the learning rate falls, training continues from the best weights.

    Args:
        trainer: Trainer of the stage.

    Attributes:
        best: The best weights.
        unsaved: Whether the best weights have not been written yet.
        best_value, best_epoch: Objective of the best weights in nats per example, and their epoch.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.best: dict[str, Tensor] | None = None
        self.unsaved = False
        self.best_value, self.best_epoch, self._stale, self._decays = -math.inf, 0, 0, 0

    @property
    def out_of_patience(self) -> bool:
        """Whether more epochs than `patience` allows have passed without an improvement."""
        patience = self._trainer.settings.patience
        return patience is not None and self._stale >= patience

    def finish_epoch(self) -> dict[str, Any]:
        """End the epoch, update the objective with held-out data, and validate; return the epoch's metrics."""
        trainer = self._trainer
        row, objective, validation = trainer.finish_epoch(), trainer.objective, trainer.stage.validation
        held_out = self._held_out(validation or trainer.stage.data, whole=True)
        objective.end_epoch(terms for _, terms in held_out)
        if objective.networks is not None:
            parallel.replicated(objective.networks)  # hosts may differ in the last bit
        if validation is not None:
            row |= self._validate(validation)
            self._choose(-row["validation_loss"])
            if objective.has_best_epoch:
                self._judge(-row["validation_loss"], math.prod(validation.shape))
        return row

    def _judge(self, value: float, elements: int) -> None:
        """Let the budget judge the objective; restore the best weights if it has fallen and the learning rate falls."""
        trainer, budget = self._trainer, self._trainer.budget
        fallen = budget.judge(trainer.step, value, elements)
        lower, self._decays = budget.decays > self._decays, budget.decays
        if lower and fallen and budget.open and self.best is not None:
            trainer.go_back(self.best)

    def check(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Check that the validation loss was finite in at least one epoch, so that the weights can be used.

        Args:
            rows: The metrics of all epochs.

        Raises:
            NonFinite: If it was never finite.
        """
        losses = [row["validation_loss"] for row in rows if row.get("validation_loss") is not None]
        if losses and not any(map(math.isfinite, losses)):
            trainer = self._trainer
            raise NonFinite(
                f"the validation loss is {losses[-1]} after {trainer.step} steps, and was not finite in any epoch; "
                f"{trainer.remedies}"
            )

    def _choose(self, value: float) -> None:
        trainer = self._trainer
        if not trainer.objective.has_best_epoch:
            self.best_epoch = trainer.epoch
        elif value > self.best_value:
            self.best_value, self.best_epoch, self._stale = value, trainer.epoch, 0
            self.best, self.unsaved = {name: t.detach().clone() for name, t in trainer.weights().items()}, True
        else:
            self._stale += 1

    @torch.no_grad()
    def _validate(self, split: Split) -> dict[str, Any]:
        """Return the metrics on validation data, with fixed noise and the final values of the schedules."""
        trainer = self._trainer
        tally, knobs = Tally(), Knobs.final(trainer.schedules)
        with trainer.evaluated_weights():
            for n, terms in self._held_out(split):
                tally.add(n, summarize(terms, -trainer.objective(terms, knobs).mean()))
        return tally.metrics("validation", trainer.model)

    @torch.no_grad()
    def _held_out(self, split: Split, whole: bool = False) -> Iterator[tuple[int, Terms]]:
        """Yield the number of examples to count in each batch and the batch's terms, in eval mode.

        Args:
            split: The data.
            whole: Give each process whole batches, for objectives that compare the examples of a batch.
        """
        trainer = self._trainer
        seed, stage = trainer.settings.seed, trainer.stage.name
        knobs = Knobs.final(trainer.schedules)
        trainer.model.eval()
        for i, batch in enumerate(shares(split, max(trainer.settings.batch_size, 500), trainer.device, whole=whole)):
            noise = batch.noise("validation", seed, stage, i)
            with noise.default():
                yield batch.n, trainer.executor.step.terms(batch.data, noise, knobs)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and scalars that a resumed run needs, with the best weights if it can return to them."""
        value = self.best_value if math.isfinite(self.best_value) else None
        kept = (self.best or {}) if self._trainer.budget.open else {}
        own = {"best_epoch": self.best_epoch, "best_value": value, "stale": self._stale, "decays": self._decays}
        return checkpoint.prefixed("best", kept), own

    def load(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Restore the state that `state` returned."""
        self.best_epoch, self._stale, self._decays = (scalars[name] for name in ("best_epoch", "stale", "decays"))
        self.best_value = -math.inf if scalars["best_value"] is None else scalars["best_value"]
        self.best = checkpoint.under("best", tensors) or None
