"""Checks that training makes before it writes anything."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import torch

from tightbound.components import foreign, parse, untrusted
from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.limits import gigabytes, memory
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.schema import listed
from tightbound.core.terms import Batch
from tightbound.data import Data, Indexed, Split
from tightbound.data.splits.loader import LoaderSplit
from tightbound.objectives.base import Objective
from tightbound.training.folder import RunFolder
from tightbound.training.trainer import Trainer

# settings that may change when a run is resumed
_FREE = {
    "epochs", "steps", "minutes", "prior_epochs", "patience", "checkpoint_seconds", "device", "compile", "keep_memory"
}  # fmt: skip


def check_fits(model: VAE, data: Data) -> None:
    """Raise InputError if the model was built for data of another shape or domain."""
    if tuple(data.shape) != tuple(model.shape):
        fix = "resize them first" if len(model.shape) == 3 else "pass the same columns"
        raise InputError(
            f"the data have shape {tuple(data.shape)}, and the model was built for {tuple(model.shape)}; "
            f"{fix} or build a model for them"
        )
    model.observation.check_source(data.domain)
    own, known = data.schema, model.schema
    if own.columns and known.columns and own.columns != known.columns:
        raise InputError(
            f"the data have the columns {listed(own.columns)}, and the model was built for {listed(known.columns)}; "
            "pass what they were opened from, and the columns are matched by name, or build a model for them"
        )
    if own.classes and known.classes and own.classes != known.classes and model.context and model.context.classes:
        raise InputError(
            f"the data have the classes {listed(own.classes)}, and the model was built for {listed(known.classes)}; "
            "pass what they were opened from, and the classes are matched by name, or build a model for them"
        )
    if model.observation.needs_index and not isinstance(data.train, Indexed):
        raise InputError(
            "static binarization needs each example's index, which a DataLoader does not provide; "
            "pass the data set itself, or use observation=\"binarized(mode='dynamic')\""
        )


def check_options(options: Mapping[str, Any], data: Data) -> None:
    """Raise InputError for options of training, as a user gave them, that cannot act together or on these data."""
    given = {name for name, value in options.items() if value is not None}
    if {"epochs", "steps"} <= given:
        raise InputError("epochs= and steps= both set the length of training; pass one of them")
    if "batch_size" in given and isinstance(data.train, LoaderSplit) and options["batch_size"] != data.train.batch_size:
        raise InputError("batch_size= cannot change the batches of a DataLoader; set it there, and leave it out here")
    if options.get("validation_size") and data.validation is not None:
        raise InputError("validation_size= takes examples from the training data, and validation= was given; pass one")
    objective = options.get("objective")
    if options.get("beta") is not None and isinstance(objective, str) and "beta" in parse(objective).kwargs:
        raise InputError(f"objective= {objective!r} has a beta, and beta= was given too; pass one of them")


def choose_device(name: str) -> torch.device:
    """Return the device of this name; "auto" is the first available of cuda, mps and cpu.

    Raises:
        InputError: If the device cannot be used.
    """
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here; use 'cpu' or 'auto'") from error
    return device


def check_memory(model: VAE, objective: Objective, n_examples: int, device: torch.device) -> None:
    """Raise InputError if memory cannot hold the minimum that training needs.

    The minimum is the parameters, their gradients and the two moments of the optimizer, or, for each latent sample of
    the examples that a step computes at once, the outputs of the decoder and their gradients.
    """
    size = 4 * sum(parameter.nbytes for parameter in model.parameters())
    most = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else memory()
    each = 2 * 4 * math.prod(model.shape) * model.likelihood.outputs
    if objective.samples * n_examples * each > most:
        raise InputError(
            f"each training step decodes {n_examples:,} x {objective.samples:,} latent samples at once (examples x "
            f"samples per example), which needs at least {gigabytes(objective.samples * n_examples * each)} of memory, "
            f"and this machine has {gigabytes(most)}; use a larger accumulate=, a smaller batch_size=, or fewer "
            "samples in objective="
        )
    if size > most:
        raise InputError(
            f"training this model needs at least {gigabytes(size)} of memory (parameters, gradients and two moments of "
            f"the optimizer), and this machine has {gigabytes(most)}; use a smaller latent= or network="
        )


def check_objective(model: VAE, objective: Objective, first: Batch, settings: Settings) -> None:
    """Check with one forward pass on a few examples that the objective fits the model and the settings.

    Raises:
        InputError: If the batch is too small, or patience is given for an objective without a best epoch.
        CompositionError: If the objective does not fit the model.
    """
    if settings.patience is not None and not objective.has_best_epoch:
        raise InputError(
            f"the value of objective '{objective.name}' depends on an adversary that changes; leave out patience="
        )
    clash = set(model.schedules) & set(objective.schedules)
    if clash:
        raise CompositionError(f"model and objective both have a schedule {', '.join(sorted(clash))}; rename one")
    if len(first) < objective.min_batch_size:
        raise InputError(
            f"objective '{objective.name}' compares the examples of a batch, and this batch has {len(first)}; "
            f"use batch_size= of at least {objective.min_batch_size}"
        )
    knobs = Knobs.final({**model.schedules, **objective.schedules})
    noise = Noise("check")
    was_training = model.training
    model.eval()
    with torch.no_grad(), noise.default():
        objective.check(model(first.to(model.device), 1, noise, knobs))
    model.train(was_training)


def check_partial_labels(model: VAE, objective: Objective, settings: Settings) -> None:
    """Raise CompositionError if the objective does not train a model to infer labels that it has to infer, or
    `labels_fraction` hides labels from a model that needs all of them."""
    if model.infers_context and objective.context is None:
        raise CompositionError(
            f"objective '{objective.name}' does not train the classifier that infers labels; use 'm2', or context "
            "'labels' if all labels are known"
        )
    if settings.labels_fraction is not None and model.context is not None and not model.infers_context:
        raise CompositionError(
            f"labels_fraction={settings.labels_fraction:g} hides class labels, and this model needs all of them; use "
            "context='inferred-labels' with objective='m2', or leave it out"
        )


def check_batch_norm(model: VAE, train: Split, first: Batch, batch_size: int, accumulate: int) -> None:
    """Check that batch normalization gets whole batches, and no batch with a single value per channel.

    Raises:
        InputError: If batches are divided into parts, or the last batch of an epoch, or a process's part of it, has one
            example, which is too few.
    """
    if not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return
    if accumulate > 1:
        raise InputError(
            f"batch normalization compares the examples of a batch, and accumulate = {accumulate} divides it; leave "
            "out accumulate=, or use group normalization, as network 'resnet' does"
        )
    n = train.smallest_batch(batch_size)
    if n is None or (n > 1 and n // world.size() != 1):
        return
    noise, was_training = Noise("check"), model.training
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    try:
        with torch.no_grad(), noise.default():
            model(first[:1].to(model.device), 1, noise)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"batch normalization needs 2 examples, and the last batch of an epoch ({train.size} training examples, "
            f"batch_size={batch_size}) would leave 1; use another batch_size= (in a DataLoader, or drop_last=True)"
        ) from None
    finally:
        model.train(was_training)
        for buffer, before in buffers:
            buffer.copy_(before)


def warn_of_foreign(description: Any) -> None:
    """Warn about components that loading the run will need from the user."""
    own = ", ".join(foreign(description))
    if own:
        warnings.warn(f"{own} cannot be rebuilt from the run; load it with load(run, model=mine)", stacklevel=4)
    outside = ", ".join(untrusted(description))
    if outside:
        warnings.warn(f"{outside} is your own code; load the run with trust=True", stacklevel=4)


def warn_of_new_length(trainer: Trainer, before: Settings) -> None:
    """Warn if a resumed run differs from an uninterrupted one, because schedules depend on its total length."""
    if changed := trainer.changed_schedules(before):
        length = before.steps or before.epochs
        warnings.warn(
            f"the schedule of {' and '.join(changed)} depends on the length of the run, which was "
            f"{length} {'steps' if before.steps else 'epochs'}: the run goes on with the schedule of the new length, "
            "but not as if it had had that length from the start",
            stacklevel=4,
        )


def check_own_data(folder: RunFolder, data: Data, fix: str) -> None:
    """Raise InputError, with this fix, if the run was trained on data with another fingerprint."""
    known = folder.read(folder.run_file)["data"]["fingerprint"]
    if data.fingerprint != known:
        raise InputError(f"run {str(folder.path)!r}: {_other_data(data.name, data.fingerprint, known)}; {fix}")


def _other_data(name: str, given: str, known: str) -> str:
    return (
        f"the data {name!r} have the fingerprint {given:.19}, and the run was trained on data with {known:.19}; they "
        "may have changed or moved, or another version of tightbound computed the fingerprint"
    )


def _unnamed(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's record of its data without their name."""
    name = re.compile(rf"\b{re.escape(data['name'])}\b")
    return {**data, "name": "", "notes": [name.sub("", note) for note in data["notes"]]}


def check_resumable(folder: RunFolder, recorded: Mapping[str, Any], usual: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics of the run to resume.

    Args:
        folder: The run.
        recorded: What it is to be resumed with.
        usual: Settings that "auto" stands for, which may be given in its place.

    Raises:
        InputError: If the run was trained with other settings, or with another model, objective or data.
    """
    folder = RunFolder.open(folder.path)
    before = folder.read(folder.run_file)
    before["model"] = folder.read(folder.model_file)
    asked = recorded["settings"]
    pairs = {name: (old, asked.get(name)) for name, old in before["settings"].items() if name not in _FREE}
    changed = [
        f"{name} was {old!r} and is {new!r}"
        for name, (old, new) in pairs.items()
        if old != new and not (name in usual and {old, new} == {"auto", usual[name]})
    ]
    changed += [f"the {what} differs" for what in ("objective", "model") if before[what] != recorded[what]]
    was, now = before["data"], recorded["data"]
    if was["fingerprint"] != now["fingerprint"]:
        changed.append(_other_data(now["name"], now["fingerprint"], was["fingerprint"]))
    elif _unnamed(was) != _unnamed(now):  # the same values under another name are the same data
        pairs = zip_longest(_unnamed(was)["notes"], _unnamed(now)["notes"])
        old, new = next(pair for pair in pairs if pair[0] != pair[1])
        changed.append(f"the data were read as {old!r} and are now read as {new!r}")
    if changed:
        raise InputError(
            f"cannot resume {str(folder.path)!r}: {'; '.join(changed)}; only epochs, steps, minutes, prior_epochs, "
            "patience and the execution mode (device, compile) may change; train a new run instead"
        )
    return folder.metrics()
