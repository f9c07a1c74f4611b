"""A stage of a run: a model that is trained on data towards an objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tightbound.config import Settings
from tightbound.core.latents import Trainable
from tightbound.data import Split
from tightbound.objectives.base import Objective
from tightbound.training.folder import RunFolder


@dataclass(frozen=True)
class Stage:
    """One part of a run.

    Attributes:
        trains: The model.
        data: Training data.
        objective: What is maximized.
        validation: Data on which the best epoch is chosen; None: the last weights count.
        name: Enters noise keys, metrics and the checkpoints' folder; "" is the first stage.
        settings: How it is trained; None: as the run.
    """

    trains: Trainable
    data: Split
    objective: Objective
    validation: Split | None = None
    name: str = ""
    settings: Settings | None = None


LaterStage = Callable[[RunFolder], Stage]  # builds a stage once the stages before it have been trained
