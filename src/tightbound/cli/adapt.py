"""What a recipe chose for its own data and latents, given up where a person chose others."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from tightbound.cli.show import say
from tightbound.cli.training import Training
from tightbound.components import find, parse
from tightbound.core.model import VAE
from tightbound.data import Data, Indexed
from tightbound.recipes import recipe

_Kind = TypeVar("_Kind", bound=Training)


def adapted_network(command: _Kind) -> _Kind:
    """The command with network "auto", where that of its recipe was chosen for other latents, and these are made for
    maps."""
    if command.recipe is None:
        return command
    own = recipe(command.recipe)
    exchanged = parse(own.latents).name != parse(command.latents).name and command.network == own.network != "auto"
    if not exchanged or not find("latents", parse(command.latents).name, trust=command.trust).on_planes:
        return command
    say(f"network: auto, as that of recipe '{own.recipe}' is for latents '{own.latents}'")
    return dataclasses.replace(command, network="auto")


def adapted_settings(command: _Kind, data: Data, model: VAE) -> _Kind:
    """The command without what its recipe, and nobody else, says of a second stage that the model lacks, and of more
    validation data than a tenth of the training data."""
    if command.recipe is None:
        return command
    own = recipe(command.recipe).settings()
    dropped = own.changed_for_code_prior() if model.latents.second is None else {}
    most = len(data.train) // 10 if isinstance(data.train, Indexed) else 0
    if (own.validation_size or 0) > most:
        dropped["validation_size"] = own.validation_size
    defaults = {f.name: f.default for f in dataclasses.fields(own)}
    return dataclasses.replace(
        command, **{name: defaults[name] for name, value in dropped.items() if getattr(command, name) == value}
    )
