"""Find the run of a command, its model and its data."""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tightbound.cli.show import say
from tightbound.core.errors import InputError
from tightbound.core.schema import listed
from tightbound.data import Data, Split
from tightbound.inference.reopen import run_data
from tightbound.trained import Trained, load
from tightbound.training.folder import RunFolder


def load_run(command: Any, run: Path | None = None) -> Trained:
    """Return the trained model of a command's run, or of another run that it names."""
    return load(run or command.run, weights=command.weights, device=command.device, trust=command.trust)


def open_data(command: Any, trained: Trained) -> tuple[Data, Split]:
    """Return the data that a command names, or the run's own, and the split that it asks for."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = trained.data if command.data is None else run_data(trained.model, RunFolder(command.run), command.data)
    if data is None:
        raise InputError(f"the run {str(command.run)!r} does not record where its data are; give DATA after the run")
    if getattr(command, "strict", False):
        _refuse_unknown(data, [str(warning.message) for warning in said])
    for warning in said:
        warnings.warn(warning.message, stacklevel=2)
    split = split_name(command, data)
    return data, data.require_test() if split == "test" else data.train if split == "train" else data.whole


def _refuse_unknown(data: Data, notes: Sequence[str]) -> None:
    """Raise InputError if there are entries that the model cannot hold; `notes` name columns and values."""
    whole = data.whole
    if whole.size is None:
        raise InputError("--strict needs data with random access, and these data are a stream; leave it out")
    unknown = whole.unknown_entries(torch.arange(whole.size))
    if unknown is None or not unknown.any():
        return
    found = [re.sub(r": (this entry counts|these [\d,]+ entries count) as missing.*", "", note) for note in notes]
    held = "; ".join(own for own, note in zip(found, notes, strict=True) if own != note)
    where = listed(whole.titles(torch.from_numpy(np.flatnonzero(unknown))))
    raise InputError(
        f"{held or data.name}: {int(unknown.sum()):,} entries that the model cannot hold ({where}); correct them, "
        "or leave out --strict: then they count as missing"
    )


def split_name(command: Any, data: Data) -> str:
    """Return the split that a command asks for: "train", "test" or "all"."""
    if command.split != "auto":
        return command.split
    if command.whole and command.data is not None and not data.builtin:
        return "all"
    folder = RunFolder(command.run)
    own = data.fingerprint == folder.read(folder.run_file)["data"]["fingerprint"]
    return "test" if own or data.builtin else "all"


def of_the_run(command: Any) -> bool:
    """Return whether the numbers describe the run's default weights on its own test data, which the run records."""
    return command.data is None and command.split == "auto" and command.weights == "auto"


def say_next(command: Any, what: str) -> None:
    """Print a command to continue with; {run} stands for the run."""
    say(f"next: tightbound {what.format(run=shlex.quote(str(command.run)))}")
