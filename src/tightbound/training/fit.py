"""`fit`: trains a model on data into a run folder."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tightbound.components import describe, foreign, untrusted
from tightbound.config import Settings
from tightbound.core import launch, world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.interfaces import Trainable
from tightbound.core.model import VAE
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data import Data, Indexed
from tightbound.objectives.base import Objective
from tightbound.objectives.elbo import ELBO
from tightbound.training import checkpoint
from tightbound.training.folder import RunFolder, provenance
from tightbound.training.loop import Loop, Stage
from tightbound.training.monitor import StopFlag, stop_on_signals
from tightbound.training.parallel import check_same
from tightbound.training.second import NAME as SECOND
from tightbound.training.second import check_second, load_start, save_start, second_stage

OnEpoch = Callable[[Mapping[str, Any]], object]
LaterStage = Callable[[RunFolder], Stage]  # built when the stages before it have been trained


@dataclass(frozen=True)
class Fitted:
    """A trained model and its run."""

    model: VAE
    folder: RunFolder
    weights: str  # which weights the model holds, in words
    metrics: Sequence[Mapping[str, Any]]  # one row an epoch
    before: Fitted | None = None  # the result that this one replaces: it owns a temporary folder


def fit_run(
    model: VAE,
    data: Data,
    objective: Objective | None = None,
    settings: Settings | None = None,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    config: Mapping[str, Any] | None = None,
    stages: Sequence[LaterStage] = (),
    on_epoch: OnEpoch | None = None,
) -> Fitted:
    """Trains `model` and leaves it with the best weights.

    Arguments:
        model: What is trained, in place.
        data: Where its training split comes from; a validation split is taken from that.
        objective: What is maximized; None: the ELBO.
        settings: How.
        run: The run's folder; None: a temporary one, deleted with the result. Where `torchrun` started this process,
            it is joined with the others: all call this, and the folder is one that all of them can read and write.
        resume: Go on with the run from its last checkpoint; so does, without being asked, what `torchrun` starts again
            after a process died.
        overwrite: Replace a run of that name.
        quiet: Show no progress.
        config: What config.yaml records; None: the settings.
        stages: Further stages, trained after the model.
        on_epoch: Called after each epoch of any stage with its row of the metrics, after what was due to be saved was
            saved; what it raises ends training.

    Raises:
        InputError: data that the model was not made for, a run that exists, or changed settings on resume.
        CompositionError: an objective that does not fit the model.
        NonFinite: a loss that became NaN or infinite.
        Interrupted: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    objective, settings = objective or ELBO(), settings or Settings()
    world.join()
    launch.check_named(run, "run=FOLDER")
    temporary = tempfile.mkdtemp(prefix="tightbound-") if run is None else None
    folder = RunFolder(run if run is not None else Path(str(temporary)) / "run")
    if launch.again() and world.by_first(lambda: folder.begun_by(launch.job())):
        resume, overwrite = True, False
    check_fits(model, data)
    if settings.patience is not None and not objective.has_best_epoch:
        raise InputError(f"objective '{objective.name}' is measured by an adversary that moves; train without patience")
    train, validation = data.held_out(validation_size(settings, data), settings.seed)
    first = next(train.epoch(min(8, settings.batch_size)))
    _check_objective(model, objective, first)
    model.to(choose_device(settings.device))
    check_second(model, settings, train, first)
    recorded = {
        "settings": settings.recorded(),
        "objective": describe(objective),
        "model": describe(model),
        "data": {"name": data.name, "fingerprint": data.fingerprint, "notes": list(data.notes)},
    }
    check_same({**recorded, "settings": settings.replace(device="auto").recorded()})
    rows: list[dict[str, Any]] = _check_resumable(folder, recorded) if resume else []
    second = model.latents.second
    if second is not None:
        second.set_aside()
    # all that may refuse comes before the first byte is written
    loop = Loop(Stage(model, train, objective, validation), settings, folder, model.device, quiet)
    if resume:
        rows = loop.resume(rows)
    else:
        world.by_first(lambda: folder.check_free(overwrite))
    loop.settle()
    world.barrier()  # what all read is not yet changed

    def begin() -> None:
        if resume:
            before = folder.read(folder.run_file)
            origin = {k: v for k, v in before.items() if k not in recorded}
            origin["resumed"] = [*before.get("resumed", []), provenance()]
        else:
            folder.empty()
            origin = provenance()
            if second is not None:
                save_start(second, folder)
            if run is not None:
                _warn_of_foreign(recorded["model"])
        written = {k: recorded[k] for k in ("settings", "objective", "data")}
        folder.describe(config or recorded["settings"], recorded["model"], {**origin, **written})
        folder.outdate()

    world.by_first(begin)
    with stop_on_signals() as flag:
        done = [loop.stage.name]
        rows = _run(loop, rows, flag, done, on_epoch)
        if second is not None:
            load_start(second, folder)
            load_weights(model, folder)
            stage, codes = second_stage(model, second, train, validation, settings)
            loop = Loop(stage, settings, folder, model.device, quiet)
            rows = loop.resume(rows) if resume else rows
            for split in codes if loop.unfinished else ():
                split.fill(folder, flag, quiet)
            done.append(stage.name)
            rows = _run(loop, rows, flag, done, on_epoch)
        for make_stage in stages:
            stage = make_stage(folder)
            loop = Loop(stage, settings, folder, model.device, quiet)
            done.append(stage.name)
            rows = _run(loop, loop.resume(rows) if resume else rows, flag, done, on_epoch)
    fitted = Fitted(model, folder, load_weights(model, folder), rows)
    if temporary is not None:
        weakref.finalize(fitted, shutil.rmtree, temporary, ignore_errors=True)
    return fitted


def _run(
    loop: Loop, rows: list[dict[str, Any]], flag: StopFlag, done: Sequence[str], on_epoch: OnEpoch | None
) -> list[dict[str, Any]]:
    """Runs a stage, the last of those in `done`: what was trained on it before it goes on is outdated."""
    if loop.unfinished:
        world.by_first(lambda: loop.folder.forget_stages(but=done))
        rows = [row for row in rows if row["stage"] in done]
    return loop.run(rows, flag, on_epoch)


def check_fits(model: VAE, data: Data) -> None:
    """Raises InputError where data differ in shape or domain from what the model was made for."""
    if tuple(data.shape) != tuple(model.shape):
        fix = "resize them (--resize HEIGHT WIDTH)" if len(model.shape) == 3 else "give the same columns"
        raise InputError(
            f"the data have shape {tuple(data.shape)} and the model was made for {tuple(model.shape)}; "
            f"{fix} or make a model for them"
        )
    model.observation.check_source(data.domain)
    if model.observation.needs_index and not isinstance(data.train, Indexed):
        raise InputError(
            "static binarization needs to know each example again, which a DataLoader does not let it; "
            "give the data set itself, or binarize dynamically"
        )


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto": cuda, mps or cpu, the first there is."""
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here; use 'cpu' or 'auto'") from error
    return device


def validation_size(settings: Settings, data: Data) -> int:
    """How many training data are set aside."""
    if settings.validation_size is not None:
        return settings.validation_size
    return min(5000, len(data.train) // 10) if isinstance(data.train, Indexed) else 0


def _check_objective(model: VAE, objective: Objective, first: Batch) -> None:
    """One forward pass on a few data, before anything is written."""
    clash = set(model.schedules) & set(objective.schedules)
    if clash:
        raise CompositionError(f"model and objective both schedule {', '.join(sorted(clash))}; rename one")
    if len(first) < objective.min_batch_size:
        raise InputError(
            f"objective '{objective.name}' compares the data of a batch, and a batch has {len(first)}; "
            f"use a batch size of at least {objective.min_batch_size}"
        )
    knobs = Knobs.final({**model.schedules, **objective.schedules})
    noise = Noise("check")
    was_training = model.training
    model.eval()
    with torch.no_grad(), noise.default():
        objective.check(model(first.to(model.device), 1, noise, knobs))
    model.train(was_training)


def _warn_of_foreign(model: Any) -> None:
    """Says at once what `load` will ask for."""
    own = ", ".join(foreign(model))
    if own:
        warnings.warn(f"{own} cannot be rebuilt from the run; load it with load(run, model=mine)", stacklevel=4)
    outside = ", ".join(untrusted(model))
    if outside:
        warnings.warn(f"{outside} is code of your own; load the run with trust=True", stacklevel=4)


def _check_resumable(folder: RunFolder, recorded: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The metrics of the run that is resumed; refuses one made with other settings."""
    folder = RunFolder.open(folder.path)
    before = folder.read(folder.run_file)
    before["model"] = folder.read(folder.model_file)
    free = {"epochs", "steps", "prior_epochs", "patience", "checkpoint_seconds", "device", "parallel", "keep_memory"}
    changed = [
        f"{name} was {old!r} and is {recorded['settings'].get(name)!r}"
        for name, old in before["settings"].items()
        if name not in free and recorded["settings"].get(name) != old
    ]
    changed += [f"the {what} differs" for what in ("objective", "model") if before[what] != recorded[what]]
    if before["data"] != recorded["data"]:
        changed.append("the data or their split differ")
    if changed:
        raise InputError(
            f"cannot resume {str(folder.path)!r}: {'; '.join(changed)}; only epochs, steps, prior_epochs, patience and "
            "device may change; train a new run instead"
        )
    return folder.metrics()


def load_weights(model: VAE, folder: RunFolder, which: str = "auto") -> str:
    """Loads "best", "ema" or "last" weights ("auto": the first of these that exists) into the model.

    Returns:
        Which they are, in words.

    Raises:
        InputError: where there is no such checkpoint, or it is damaged or another model's.
    """
    if which not in ("auto", "best", "ema", "last"):
        raise InputError(f"weights = {which!r}; needed: 'auto', 'best', 'ema' or 'last'")
    words = load_stage(model, folder, "", which)
    second = model.latents.second
    if second is not None and folder.checkpoint("last", SECOND).is_file():
        words += f"; prior: {load_stage(second, folder, SECOND, which)}"
        second.take_up()
    elif second is not None:
        second.set_aside()
        words += "; prior: untrained, so that codes are taken to be uniform"
    model.eval()
    return words


def load_stage(model: Trainable, folder: RunFolder, stage: str = "", which: str = "auto") -> str:
    """Loads the weights of one stage: see `load_weights`."""
    best, last = folder.checkpoint("best", stage), folder.checkpoint("last", stage)
    if which == "best" and not best.is_file():
        raise InputError(f"{str(folder.path)!r} has no best weights: it had no validation data; use weights 'last'")
    if which == "best" or (which == "auto" and best.is_file()):
        tensors, scalars = checkpoint.load(best)
        kind = "averaged weights, " if scalars["averaged"] else ""
        words = f"best (epoch {scalars['epoch']}, {kind}by the validation objective)"
    else:
        everything, scalars = checkpoint.load(last)
        tensors, average = checkpoint.under("model", everything), checkpoint.under("ema", everything)
        if which == "ema" and not average:
            raise InputError(f"{str(folder.path)!r} kept no averaged weights; train with ema, such as --ema 0.999")
        words = f"last (step {scalars['step']})"
        if average and which != "last":
            tensors, words = {**tensors, **average}, f"averaged (EMA, step {scalars['step']})"
    checkpoint.into(model, tensors, best if words.startswith("best") else last, model.aside)
    return words
