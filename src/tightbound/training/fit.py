"""Train a model on data, and write the run to a folder."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tightbound.components import describe
from tightbound.config import Settings
from tightbound.core import launch, world
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.data import Data, Indexed
from tightbound.data.division import for_training
from tightbound.data.memory import keep_freed_memory
from tightbound.objectives.base import Objective
from tightbound.objectives.elbo import ELBO
from tightbound.training import second_stage
from tightbound.training.callbacks import CallbackLike, Callbacks
from tightbound.training.checks import (
    check_batch_norm,
    check_fits,
    check_memory,
    check_objective,
    check_partial_labels,
    check_resumable,
    choose_device,
    warn_of_foreign,
    warn_of_new_length,
)
from tightbound.training.folder import RunFolder, provenance
from tightbound.training.loop import Loop
from tightbound.training.parallel import check_same
from tightbound.training.signals import Interrupted, stop_on_signals
from tightbound.training.suited import Suited
from tightbound.training.trainer import Stage
from tightbound.training.weights import Fitted, load_weights


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
    callbacks: Sequence[CallbackLike] = (),
) -> Fitted:
    """Train a model, and load the best weights into it.

    Args:
        model: The model, trained in place.
        data: Data with a training split; validation uses their validation split or a part of the training split.
        objective: Objective to maximize; None: the ELBO.
        settings: Training options.
        run: Folder of the run; None: a temporary one, deleted with the result or on an error. Ctrl-C then ends training
            early and returns the model. A process that a launcher (torchrun) started joins the others: all call this
            function, with a folder that all can read and write.
        resume: Continue the run from its last checkpoint. Processes that torchrun restarts after one has died always
            do so.
        overwrite: Replace an existing run in that folder.
        quiet: Show no progress.
        config: Configuration to write to config.yaml; None: the settings.
        callbacks: Functions or callbacks to call after steps and epochs of every stage, and at the end.

    Raises:
        InputError: If the data do not fit the model, the run exists, or settings changed on resume.
        CompositionError: If the objective does not fit the model.
        NonFinite: If a loss became NaN or infinite.
        Interrupted: After SIGTERM, or after Ctrl-C if there is a run; a checkpoint was written.
    """
    if resume and overwrite:
        raise InputError("resume= continues the run and overwrite= replaces it; pass one of them")
    if run is None and (resume or overwrite):
        raise InputError(f"{'resume' if resume else 'overwrite'}= needs a run to act on; pass its folder as run=")
    world.join()
    launch.check_named(run)
    with _folder(run) as folder, contextlib.ExitStack() as held, torch.inference_mode(False), torch.enable_grad():
        fitted = _fit(
            model, data, objective or ELBO(), settings or Settings(), folder, resume=resume, overwrite=overwrite,
            quiet=quiet, config=config, hooks=Callbacks(callbacks), held=held,
        )  # fmt: skip
        if folder.temporary:
            weakref.finalize(fitted, shutil.rmtree, folder.path.parent, ignore_errors=True)
    return fitted


@contextlib.contextmanager
def _folder(run: str | Path | None) -> Iterator[RunFolder]:
    """Yield the folder of a run; without one a temporary folder, which is deleted if training fails."""
    if run is not None:
        yield RunFolder(run)
        return
    try:
        temporary = Path(tempfile.mkdtemp(prefix="tightbound-"))
    except OSError as error:
        raise InputError(
            f"cannot create a folder for temporary files ({error.strerror}); pass run= to train in a folder of your "
            "own, or set TMPDIR to a writable folder"
        ) from None
    try:
        yield RunFolder(temporary / "run", temporary=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _fit(
    model: VAE,
    data: Data,
    objective: Objective,
    settings: Settings,
    folder: RunFolder,
    *,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    config: Mapping[str, Any] | None,
    hooks: Callbacks,
    held: contextlib.ExitStack,
) -> Fitted:
    if settings.keep_memory:
        keep_freed_memory()
    if launch.again() and world.by_first(lambda: folder.begun_by(launch.job())):
        resume, overwrite = True, False
    check_fits(model, data)
    check_partial_labels(model, objective, settings)
    model.learn_names(data.schema)
    train, validation = for_training(data, settings, partial=model.infers_context)
    device = choose_device(settings.device)
    batch_size = Suited.to(model, settings).batch_size
    check_memory(model, objective, -(-min(batch_size, train.size or 1) // settings.accumulate), device)
    if model.starter is not None:
        model.starter(model, train)  # with training examples only
    repeated = objective.rows(train.labels)
    if repeated is not None and isinstance(train, Indexed):
        train = train.subset(repeated)
    if settings.patience is not None and validation is None:
        raise InputError("patience= needs validation data, and there are none; pass validation= or validation_size=")
    first = next(train.epoch(min(8, batch_size)))
    check_objective(model, objective, first, settings)
    check_batch_norm(model, train, first, batch_size, settings.accumulate)
    model.to(device)
    second_stage.check(model, settings, train, first)
    recorded = {
        "settings": settings.recorded(),
        "objective": describe(objective),
        "model": describe(model),
        "data": {"name": data.name, "fingerprint": data.fingerprint, "notes": list(data.notes)},
    }
    check_same({**recorded, "settings": settings.replace(device="auto").recorded()})
    later = model.latents.second_stage
    usual = {} if later is not None else Suited.usual(model)  # networks of the second stage have settings of their own
    rows: list[dict[str, Any]] = check_resumable(folder, recorded, usual) if resume else []
    if later is not None:
        later.disable()
    # check everything that can fail before writing the first byte
    loop = Loop(Stage(model, train, objective, validation), settings, folder, model.device, quiet)
    if resume:
        rows = loop.saver.resume(rows)
        warn_of_new_length(loop.trainer, Settings.of(folder.read(folder.run_file)["settings"]))
    else:
        world.by_first(lambda: folder.check_free(overwrite))
    world.by_first(lambda: held.enter_context(folder.exclusive()))
    loop.prepare()
    world.barrier()  # all processes have read the files that now change

    def begin() -> None:
        if resume:
            before = folder.read(folder.run_file)
            origin = {k: v for k, v in before.items() if k not in recorded}
            origin["resumed"] = [*before.get("resumed", []), provenance()]
        else:
            folder.check_free(overwrite)  # once more: it is only now that no other process can begin a run
            folder.empty()
            origin = provenance()
            if later is not None:
                second_stage.save_start(later, folder)
            if not folder.temporary:
                warn_of_foreign(recorded["model"])
        written = {k: recorded[k] for k in ("settings", "objective", "data")}
        folder.describe(config or recorded["settings"], recorded["model"], {**origin, **written})
        folder.outdate()

    world.by_first(begin)
    stopped = None
    try:
        with stop_on_signals() as flag, hooks:
            rows = loop.run(rows, flag, hooks)
            if later is not None:
                second_stage.load_start(later, folder)
                load_weights(model, folder)
                stage = second_stage.stage(model, later, train, validation, settings)
                loop = Loop(stage, settings, folder, model.device, quiet)
                rows = loop.saver.resume(rows) if resume else rows
                if loop.unfinished:
                    second_stage.fill(stage, folder, flag, quiet)
                rows = loop.run(rows, flag, hooks)
    except Interrupted as stop:
        if not (folder.temporary and stop.by == signal.SIGINT):
            raise
        stopped, rows = stop, folder.metrics()  # there is no run to continue from
    words = load_weights(model, folder)
    if stopped is not None:
        warnings.warn(f"{stopped}; the result holds the weights so far: {words}", stacklevel=4)
    return Fitted(model, folder, words, rows)
