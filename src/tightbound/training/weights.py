"""Load the weights of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tightbound.core.errors import InputError
from tightbound.core.latents import Trainable
from tightbound.core.model import VAE
from tightbound.training import checkpoint
from tightbound.training.folder import SECOND_STAGE, RunFolder


@dataclass(frozen=True)
class Fitted:
    """A trained model and its run.

    Attributes:
        model: The model, with the weights to evaluate.
        folder: The run.
        weights: The weights that the model holds, in words.
        metrics: One row per epoch.
        before: The result that this one replaces, which may own a temporary folder.
    """

    model: VAE
    folder: RunFolder
    weights: str
    metrics: Sequence[Mapping[str, Any]]
    before: Fitted | None = None


def load_weights(model: VAE, folder: RunFolder, which: str = "auto") -> str:
    """Load "best", "ema" or "last" weights ("auto": the first of these that exists) into the model.

    Returns:
        The loaded weights, in words.

    Raises:
        InputError: If there is no such checkpoint, or it is damaged or belongs to another model.
    """
    if which not in ("auto", "best", "ema", "last"):
        raise InputError(f"weights = {which!r}; needed: 'auto', 'best', 'ema' or 'last'")
    folder.remember()
    words = load_stage(model, folder, "", which)
    prior = model.latents.second_stage
    if prior is not None and folder.checkpoint("last", SECOND_STAGE).is_file():
        words += f"; {prior.title}: {load_stage(prior, folder, SECOND_STAGE, which)}"
        prior.enable()
    elif prior is not None:
        prior.disable()
        words += f"; {prior.title}: untrained, so {prior.before} is used"
    model.eval()
    return words


def load_stage(model: Trainable, folder: RunFolder, stage: str = "", which: str = "auto") -> str:
    """Load the weights of one stage; see `load_weights`."""
    best, last = folder.checkpoint("best", stage), folder.checkpoint("last", stage)
    if which == "best" and not best.is_file():
        raise InputError(f"{str(folder.path)!r} has no best weights: it had no validation data; use weights='last'")
    if which == "best" or (which == "auto" and best.is_file()):
        tensors, scalars = checkpoint.load(best)
        kind = "averaged weights, " if scalars["averaged"] else ""
        words = f"best (epoch {scalars['epoch']}, {kind}by the validation objective)"
    else:
        everything, scalars = checkpoint.load(last)
        tensors, average = checkpoint.under("model", everything), checkpoint.under("ema", everything)
        if which == "ema" and not average:
            raise InputError(f"{str(folder.path)!r} has no averaged weights; train with ema=, such as ema=0.999")
        words = f"last (step {scalars['step']})"
        if average and which != "last":
            tensors, words = {**tensors, **average}, f"averaged (EMA, step {scalars['step']})"
    checkpoint.into(model, tensors, best if words.startswith("best") else last, model.trained_later)
    return words
