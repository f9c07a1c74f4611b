"""`tightbound evaluate --ais`: annealing beside the importance-weighted bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tightbound.analysis import Evaluation
from tightbound.analysis.bounds.annealing import Annealing, check_annealable
from tightbound.cli.arguments import Evaluate
from tightbound.cli.show import say, show
from tightbound.core.errors import InputError, whole
from tightbound.core.terms import Batch
from tightbound.data import Indexed, Split
from tightbound.report.ais import verdict
from tightbound.trained import Trained


def pick(command: Evaluate, trained: Trained, split: Split) -> Batch | None:
    """The data that are annealed, at random; None: none. What cannot be is refused before anything is computed."""
    if command.ais is None:
        return None
    whole("--ais", command.ais, least=1)
    whole("--ais-data", command.ais_data, least=1)
    check_annealable(trained.model)
    if not isinstance(split, Indexed):
        raise InputError("--ais picks some of the data and these have no random access; give an array or a file")
    some = np.random.default_rng(command.seed).permutation(len(split))[: command.ais_data]  # data may be ordered
    return split.batch(torch.from_numpy(np.sort(some)))


def anneal(command: Evaluate, trained: Trained, some: Batch, evaluation: Evaluation) -> dict[str, Any]:
    """AIS on these data against their IWAE bound, and BDMC on as many drawn from the model, as JSON."""
    assert command.ais is not None
    given = {"temperatures": command.ais, "seed": command.seed, "progress": True}
    found = trained.ais(some, against=evaluation, **given).to_json()
    drawn = trained.bdmc(len(some), like=some, **given).to_json()
    numbers = found["numbers"] | {k: v for k, v in drawn["numbers"].items() if k.startswith("bdmc")}
    return {"temperatures": command.ais, "numbers": numbers}


def show_annealed(found: dict[str, Any]) -> None:
    """A table, and what it says in words."""
    numbers = found["numbers"]
    how = Annealing(found["temperatures"], numbers["ais"]["samples"])
    say("")
    show(numbers, f"n = {numbers['ais']['n']:,} of these data, picked at random: {how.description()}")
    for sentence in verdict(numbers):
        say(sentence)
