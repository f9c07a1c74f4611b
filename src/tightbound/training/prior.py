"""`fit_prior`: the second stage of a finished run once more, with the first as it is."""

from __future__ import annotations

import copy
import shlex
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from tightbound.components import Spec, describe, parse
from tightbound.config import Settings, read_yaml
from tightbound.core import world
from tightbound.core.errors import InputError
from tightbound.core.files import to_json, write_atomic
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed, seeded
from tightbound.data import Data
from tightbound.training.fit import Fitted, check_fits, load_stage, load_weights, validation_size
from tightbound.training.folder import RunFolder, provenance
from tightbound.training.loop import Loop
from tightbound.training.monitor import Interrupted, stop_on_signals
from tightbound.training.second import NAME, check_second, load_start, save_start, second_stage


def fit_prior(
    model: VAE,
    folder: RunFolder,
    data: Data,
    prior: str | Sequence[str] | None = None,
    *,
    resume: bool = False,
    quiet: bool = True,
    **changed: Any,
) -> Fitted:
    """Trains the prior over the codes of a run from the start, longer, or another one; gives a model that has it.

    All is written beside the run, and takes its place at the end: stopped or killed before, the run is as it was.
    What was said of the run (evaluation, analyses, report) is then deleted.

    Arguments:
        model: The run's; it stays as it is.
        data: What the run was trained on.
        prior: Another prior, as text, or one for each level, the lowest first; None: one like that of the run.
        resume: Go on, to more epochs, with what was stopped, or else with the prior of the run.
        quiet: Show no progress.
        changed: Settings of the second stage that differ from the run's: prior_epochs, prior_lr, ...

    Raises:
        InputError: several processes, other data, a run without such a prior, or, on resume, changes of more than the
            epochs.
        CompositionError: a prior that does not fit.
        Interrupted: after a signal.
    """
    world.only_one("a prior that is fitted afterwards", "call it without torchrun, or train it with the run")
    folder = RunFolder.open(folder.path)
    known = folder.read(folder.run_file)
    check_fits(model, data)
    if data.fingerprint != known["data"]["fingerprint"]:
        raise InputError(
            f"{data.name!r} is not what the run {str(folder.path)!r} was trained on, and a prior over its codes is "
            "trained on the same data; give those"
        )
    changed = {name: value for name, value in changed.items() if value is not None}
    begun: dict[str, Any] = {"prior": None, "settings": known["settings"]}
    there = folder.checkpoint("last", NAME)
    aside = folder.aside
    if resume:
        if prior is not None or changed.keys() - {"prior_epochs"}:
            raise InputError("on resume only the epochs of a prior may change; leave out the rest, or leave out resume")
        if aside.begun_file.is_file():
            begun = aside.read(aside.begun_file)
        elif not there.is_file():
            raise InputError(f"the run {str(folder.path)!r} has no trained prior to go on with; leave out resume")
        prior = begun["prior"]
    settings = Settings.of(begun["settings"]).replace(**changed)

    device, model = model.device, copy.deepcopy(model)
    with seeded(key_seed(NAME, settings.seed)):
        if prior is not None or (not resume and model.latents.second is not None):
            model.latents.replace_second(prior)
    second = model.latents.second
    if second is None:
        raise InputError(
            f"the model of the run {str(folder.path)!r} has no prior that is trained after the rest; name one, "
            "such as prior 'pixelcnn', for latents 'quantized'"
        )
    load_stage(model.to(device), folder)
    train, validation = data.held_out(validation_size(settings, data), settings.seed)
    check_second(model, settings, train, next(train.epoch(min(8, settings.batch_size))))
    stage, codes = second_stage(model, second, train, validation, settings)

    if not resume or not aside.begun_file.is_file():
        shutil.rmtree(aside.path, ignore_errors=True)
    if not resume:
        save_start(second, aside)
    elif not aside.path.exists():
        shutil.copytree(there.parent, aside.checkpoint("last", NAME).parent)
    begun = {"prior": prior, "settings": settings.recorded()}
    write_atomic(aside.begun_file, to_json(begun))
    loop = Loop(stage, settings, aside, device, quiet)
    rows = [row for row in (aside.metrics() or folder.metrics()) if row["stage"] in ("", NAME)]
    if resume:
        load_start(second, aside)
    rows = loop.resume(rows) if resume else [row for row in rows if row["stage"] != NAME]
    try:
        with stop_on_signals() as flag:
            for split in codes if loop.unfinished else ():
                split.fill(aside, flag, quiet)
            rows = loop.run(rows, flag)
    except Interrupted as stop:
        again = f"tightbound fit-prior {shlex.quote(str(folder.path))} --resume"
        raise Interrupted(
            f"stopped by {stop.by.name}; the run is as it was; go on with resume, from the command line: {again}",
            stop.by,
        ) from None
    aside.write_metrics(rows)
    run = {**known, "settings": settings.recorded(), "fitted_priors": [*known.get("fitted_priors", []), provenance()]}
    aside.describe(_config(read_yaml(folder.config_file), settings, prior), describe(model), run)
    folder.accept(aside)
    return Fitted(model, folder, load_weights(model, folder), rows)


def _config(config: Mapping[str, Any], settings: Settings, prior: str | Sequence[str] | None) -> dict[str, Any]:
    """What config.yaml of the run says from now on."""
    new = dict(config)
    new |= {name: value for name, value in settings.recorded().items() if name.startswith("prior_")}
    if prior is not None and "latents" in new:  # a run made from Python says nothing of its parts
        latents = parse(str(new["latents"]))
        rest = {name: value for name, value in latents.kwargs.items() if name != "prior"}
        several = {} if isinstance(prior, str) else {"prior": [*prior]}
        new["latents"] = str(Spec(latents.name, latents.args, {**rest, **several}))
        new["prior"] = prior if isinstance(prior, str) else "auto"
    return new
