"""How commands find a run, its model and its data."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from tightbound import data as sources
from tightbound.cli.show import say
from tightbound.config import column_kinds, read_yaml
from tightbound.core.errors import InputError
from tightbound.data import Data, Split
from tightbound.data.files import ARRAYS
from tightbound.trained import Trained, load
from tightbound.training.fit import check_fits
from tightbound.training.folder import RunFolder


def load_run(command: Any) -> Trained:
    """The model of a command's run."""
    return load(command.run, weights=command.weights, device=command.device, trust=command.trust)


def open_data(command: Any, trained: Trained) -> tuple[Data, Split]:
    """The data that a command names, or the run's own, and the split of them."""
    folder = RunFolder(command.run)
    config = read_yaml(folder.config_file)
    run = folder.read(folder.run_file)
    known = run["data"]["name"] if run["data"]["name"] in sources.BUILTINS else None
    name = command.data or config.get("data") or known  # a run made from Python records its settings alone
    if name is None:
        raise InputError(f"the run {str(command.run)!r} does not say where its data are; name them after the run")
    names = ("levels", "domain", "kinds", "resize", "gray", "test")
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items() if k in names}
    options |= {"kinds": column_kinds(options.get("kinds"))}
    if name in sources.BUILTINS or Path(str(name)).suffix.lower() in ARRAYS:  # the run's were encoded pictures
        options = {k: v for k, v in options.items() if k not in ("resize", "gray")}
    source = trained.model.observation.source
    if source.kind == "mixed":  # what is inferred of a table depends on all of it
        options |= {"levels": None, "domain": None, "kinds": source.columns}
    data = sources.open(name, **options)
    if data.domain != source and source.kind != "mixed":  # few data may miss the highest level, or be whole by chance
        told = {"levels": source.levels} if source.kind == "levels" else {"domain": source.kind}
        data = sources.open(name, **{**options, **told})
    check_fits(trained.model, data)
    own = data.fingerprint == run["data"]["fingerprint"]
    if command.data is None and not own:
        raise InputError(
            f"{str(name)!r} is not what the run {str(command.run)!r} was trained on: it has changed or moved; "
            "name the data that you mean after the run"
        )
    split = command.split
    if split == "auto":
        split = "test" if own or data.builtin else "all"
    return data, {"train": data.train, "test": data.test, "all": data.whole}[split]


def of_the_run(command: Any) -> bool:
    """Whether numbers are of the run's best weights on its own test data: what the run's folder records."""
    return command.data is None and command.split == "auto" and command.weights == "auto"


def say_next(command: Any, what: str) -> None:
    """Offers a command; {run} stands for the run."""
    say(f"next: tightbound {what.format(run=shlex.quote(str(command.run)))}")
