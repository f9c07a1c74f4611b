"""Interpolation, measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tightbound.analysis.estimate import Estimate
from tightbound.analysis.geometry.paths import Paths, compare_paths, paths, traversal
from tightbound.cli.arguments import Interpolate
from tightbound.cli.runs import load_run, of_the_run, open_data, say_next
from tightbound.cli.show import record, say_json, show
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.terms import Batch
from tightbound.data import Data, Indexed, Split
from tightbound.data.feed import pick
from tightbound.trained import Trained
from tightbound.training.folder import RunFolder

MOVED = 100  # data that the traversal is averaged over, at most


def measure(command: Interpolate, pairs: int) -> None:
    """Prints, and records in the run where the data are its own; with another run, the difference of the two."""
    whole("pairs", pairs, least=2)
    trained = load_run(command)
    data, split = open_data(command, trained)
    chosen = some_pairs(trained, split, pairs, command.seed)
    found = paths(trained.model, chosen, data.train, seed=command.seed)
    told = paths_json(trained, found, chosen, command.seed)
    if command.against is not None:
        told["against"] = str(command.against)
        difference = _difference(command, command.against, data, found, chosen)
        told["difference"] = {name: asdict(number) for name, number in difference.items()}
    if of_the_run(command) and command.against is None:
        record(RunFolder(command.run).analysis_file("paths"), told)
    if command.json:
        say_json(told)
        return
    n = len(found.per_pair["index"])
    show(told["numbers"], f"{n} pairs of data, on linear and spherical paths between their posterior means")
    if command.against is not None:
        show(told["difference"], f"this run less {command.against}, paired over the same pairs")
    say_next(command, "report {run}")


def measurable(model: VAE, split: Split) -> bool:
    """Whether distances between these data mean anything, as do paths between their codes, and they make two pairs."""
    completes = model.context is not None and model.context.completes
    return (
        not (completes or model.latents.code_grids)
        and model.observation.source.kind != "mixed"
        and isinstance(split, Indexed)
        and len(split) >= 4
    )


def some_pairs(trained: Trained, split: Split, pairs: int, seed: int) -> Batch:
    """Twice as many data, in random order: the first half is paired with the second."""
    chosen = pick(trained.model, split, 2 * pairs, seed)
    return chosen[torch.from_numpy(np.random.default_rng(seed).permutation(len(chosen)))]


def paths_json(trained: Trained, found: Paths, chosen: Batch, seed: int) -> dict[str, Any]:
    """What was measured, with the response of x to each dimension."""
    told = found.to_json()
    told["numbers"]["response"] = asdict(traversal(trained.model, chosen[:MOVED], seed=seed))
    return told


def _difference(command: Interpolate, against: Path, data: Data, found: Paths, chosen: Batch) -> dict[str, Estimate]:
    """Less the numbers of another run on the same data, over the same pairs.

    Raises:
        InputError: a run on other data.
    """
    there = replace(command, run=against)
    other = load_run(there)
    theirs, _ = open_data(there, other)
    if theirs.fingerprint != data.fingerprint:
        raise InputError(f"{str(command.run)!r} and {str(against)!r} are on different data; compare runs on the same")
    return compare_paths(found, paths(other.model, chosen, data.train, seed=command.seed))
