"""Build data, an untrained model and its objective from options."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tightbound.components import find, make, parse
from tightbound.config import Config
from tightbound.core.errors import CompositionError
from tightbound.core.terms import class_numbers
from tightbound.data import Data, Indexed
from tightbound.data.builtin import BUILTINS
from tightbound.data.division import for_training
from tightbound.data.given import Source, training_data
from tightbound.data.readers.paths import is_pattern
from tightbound.inference.classes import learns_classes
from tightbound.inference.fitting import check_sampled
from tightbound.model import VAE, takes_size
from tightbound.objectives.base import Objective
from tightbound.recipes.base import recipe

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Composed(Generic[C]):
    """Untrained model with its objective.

    Attributes:
        config: The config, adapted to the data (see `compose`).
        notes: Adaptations that the user should know about.
    """

    config: C
    model: VAE
    objective: Objective
    notes: tuple[str, ...] = ()


def compose(config: C, data: Data, *, trust: bool = False) -> Composed[C]:
    """Build the model and the objective that a config describes.

    Options that a recipe sets for its own data and latents return to their defaults if they do not fit other ones.

    Args:
        config: Options of the composition and of training.
        data: Data to build the model for.
        trust: Import components outside tightbound, written "module:Class(...)".

    Raises:
        CompositionError: The components do not fit together, or do not fit the data.
        InputError: An option is out of range, or a component is unknown.
    """
    notes: tuple[str, ...] = ()
    if _network_does_not_fit(config, trust):
        notes = (f"network: auto, because the network of recipe {config.recipe!r} is for other latents",)
        config = dataclasses.replace(config, network="auto")
    if config.recipe is not None and config.latent == recipe(config.recipe).latent:
        config = config if takes_size(config.latents, trust) else dataclasses.replace(config, latent="auto")
    config = _fitting_validation(config, data)
    train, _ = for_training(data, config.settings(), partial=_infers_labels(config, trust))
    model = VAE.for_data(
        data,
        latent=config.latent,
        network=config.network,
        likelihood=config.likelihood,
        observation=config.observation,
        prior=config.prior,
        posterior=config.posterior,
        latents=config.latents,
        context=config.context,
        seed=config.seed,
        start_at_data=train if config.start_at_data else False,
        trust=trust,
    )
    _check_sampler(config, data, model, trust)
    objective = make("objective", config.objective_spec(), trust=trust)
    return Composed(_fitting_settings(config, model), model, objective, notes)


def _check_sampler(config: Config, data: Data, model: VAE, trust: bool) -> None:
    """Raise an error if the sampler does not fit the model or the labels, or if nothing infers hidden labels."""
    infers = False
    if config.sampler not in ("auto", "prior"):
        check_sampled(model)
        infers = make("sampler", config.sampler, trust=trust, latent=model.latents.latent).infers_classes
        if infers and data.train.labels is None:
            raise CompositionError(
                f"sampler '{config.sampler}' learns classes from labels, and the data have none; pass labels=, or "
                "choose another sampler"
            )
        numbers = class_numbers(data.train.labels) if infers else None
        if numbers is not None and len(numbers[numbers >= 0].unique()) < 2:
            raise CompositionError(
                f"sampler '{config.sampler}' learns classes, and the training data have labels of fewer than two; "
                "label examples of each class, or choose another sampler (label -1 marks an unknown class)"
            )
    if config.labels_fraction is not None and not (model.infers_context or infers):
        raise CompositionError(
            f"labels_fraction={config.labels_fraction:g} hides class labels, and this model does not infer them; use "
            "recipe 'm2' or 'm1-m2', or leave out labels_fraction="
        )


def configure(data: Any, recipe_name: str | None, options: Mapping[str, Any]) -> Config:
    """Return the config of a recipe, or the defaults, with options changed; `data` gives the recorded place, if any.

    Raises:
        InputError: If there is no such recipe, an option is unknown or a value is out of range.
    """
    builtin = data.name if isinstance(data, Data) and data.name in BUILTINS else ""
    place = os.fspath(data) if isinstance(data, str | os.PathLike) else builtin  # data in memory have none
    beta = options.get("beta")
    written = {"beta": str(beta)} if isinstance(beta, int | float) else {}
    return (recipe(recipe_name) if recipe_name else Config()).replace(**{**options, **written}, data=place)


def opened(
    config: Config,
    data: Source | tuple[Source, Source],
    validation: Source | None = None,
    test: Source | float | None = None,
    *,
    trust: bool = False,
) -> Data:
    """Open training data in any form, with the reading options of the config.

    If the context or the latent sampler of the config infers labels, missing labels become -1.
    """
    options = config.data_options()
    share = options.pop("test")
    named = isinstance(data, str | os.PathLike)
    share = share if test is None and named else test
    partial = _infers_labels(config, trust) or (config.context is None and learns_classes(config.sampler, trust=trust))
    return training_data(data, validation, share, partial=partial, **options)


def _infers_labels(config: Config, trust: bool) -> bool:
    """Return whether the context of the config infers unknown labels."""
    return config.context is not None and find("context", parse(config.context).name, trust=trust).partial


def recorded(config: Config) -> dict[str, Any]:
    """Return the contents of a run's config.yaml; files have their absolute place, from wherever the run is asked."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)} | config.recorded()
    place = os.path.abspath(os.path.expanduser(config.data))
    there = os.path.exists(place) or is_pattern(config.data)
    if not config.data:
        values["data"] = None
    elif there and config.data not in BUILTINS and "://" not in config.data:
        values["data"] = place
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _network_does_not_fit(config: Config, trust: bool) -> bool:
    """Return whether the network is the recipe's, but the latents are different ones that need feature maps."""
    if config.recipe is None:
        return False
    own = recipe(config.recipe)
    exchanged = parse(own.latents).name != parse(config.latents).name and config.network == own.network != "auto"
    return exchanged and find("latents", parse(config.latents).name, trust=trust).maps


def _fitting_validation(config: C, data: Data) -> C:
    """Drop a recipe's validation size if validation data are given, or it is more than a tenth of the data."""
    own = None if config.recipe is None else recipe(config.recipe).validation_size
    most = len(data.train) // 10 if isinstance(data.train, Indexed) else 0
    if own is None or config.validation_size != own or (own <= most and data.validation is None):
        return config
    return dataclasses.replace(config, validation_size=None)


def _fitting_settings(config: C, model: VAE) -> C:
    """Drop a recipe's settings for a missing second stage."""
    if config.recipe is None or model.latents.second_stage is not None:
        return config
    own = recipe(config.recipe).settings()
    dropped = own.changed_for_prior()
    defaults = {f.name: f.default for f in dataclasses.fields(own)}
    return dataclasses.replace(
        config, **{name: defaults[name] for name, value in dropped.items() if getattr(config, name) == value}
    )
