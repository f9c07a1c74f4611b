"""How commands find a run, its model and its data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tightbound.cli.show import say
from tightbound.core.errors import InputError
from tightbound.data import Data, Split
from tightbound.inference.reopen import run_data
from tightbound.trained import Trained, load
from tightbound.training.folder import RunFolder


def load_run(command: Any) -> Trained:
    """The model of a command's run."""
    return load(command.run, weights=command.weights, device=command.device, trust=command.trust)


def load_other(command: Any, run: Path) -> Trained:
    """Return another run that a command names, loaded like its first."""
    return load(run, weights=command.weights, device=command.device, trust=command.trust)


def open_data(command: Any, trained: Trained) -> tuple[Data, Split]:
    """Return the data that a command names, or the run's own, and the split that it asks for."""
    folder = RunFolder(command.run)
    data = trained.data if command.data is None else run_data(trained.model, folder, command.data)
    if data is None:
        raise InputError(f"the run {str(command.run)!r} does not say where its data are; name them after the run")
    own = data.fingerprint == folder.read(folder.run_file)["data"]["fingerprint"]
    split = command.split
    if split == "auto":
        split = "test" if own or data.builtin else "all"
    return data, {"train": data.train, "test": data.require_test(), "all": data.whole}[split]


def of_the_run(command: Any) -> bool:
    """Whether numbers are of the run's best weights on its own test data: what the run's folder records."""
    return command.data is None and command.split == "auto" and command.weights == "auto"


def say_next(command: Any, what: str) -> None:
    """Offers a command; {run} stands for the run."""
    say(f"next: tightbound {what.format(run=shlex.quote(str(command.run)))}")
