"""Train the prior in a second stage, on latents that the trained model gives."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.components import Spec, describe, parse
from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.files import read_yaml, to_json, write_atomic
from tightbound.core.latents import SecondStage
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed, seeded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data import Data
from tightbound.data.division import for_training
from tightbound.data.feed import batches, evaluating
from tightbound.data.splits.base import Split
from tightbound.data.splits.drawn import Drawn
from tightbound.data.splits.indexed import Indexed
from tightbound.objectives.elbo import ELBO
from tightbound.training import checkpoint
from tightbound.training.callbacks import CallbackLike, Callbacks
from tightbound.training.checks import check_fits, check_own_data
from tightbound.training.folder import SECOND_STAGE, RunFolder, provenance
from tightbound.training.loop import Loop
from tightbound.training.monitor import counting
from tightbound.training.parallel import check_divisible
from tightbound.training.signals import Interrupted, StopFlag, stop_on_signals
from tightbound.training.suited import Suited
from tightbound.training.trainer import Stage
from tightbound.training.weights import Fitted, load_stage, load_weights


def check(model: VAE, settings: Settings, train: Split, first: Batch) -> None:
    """Check before training that the second stage can be trained.

    Raises:
        InputError: If settings of a second stage are given for a model without one, or the data are a stream.
        CompositionError: If the prior does not give one finite number per example.
    """
    prior = model.latents.second_stage
    if prior is None:
        if asked := settings.changed_for_prior():
            given = ", ".join(f"{name} = {value!r}" for name, value in asked.items())
            raise InputError(
                f"{given}: this model has no prior that is trained after the rest; pass one, such as "
                "prior='flow-matching', or prior='pixelcnn' with latents='quantized', or leave these settings out "
                "(None)"
            )
        return
    _size(train)
    check_divisible(ELBO(), Suited.to(prior, _suited(settings, prior)))
    with evaluating(model, keep_memory=settings.keep_memory):
        batch = _encode(model, prior, first.to(model.device), settings.seed)
        prior.enable()
        try:
            value = prior(replace(batch, x=batch.x[:, 0]), 1, Noise("check")).log_likelihood
        finally:
            prior.disable()
    if value.shape != (1, len(first)) or not torch.isfinite(value).all():
        found = f"shape {tuple(value.shape)}" if value.shape != (1, len(first)) else "values that are not finite"
        raise CompositionError(
            f"the {prior.title}'s log-probability of {len(first)} examples has {found}; needed: one finite number each"
        )


class EncodedSplit(Drawn):
    """Split of latents of examples and of their contexts, which `fill` computes.

    Args:
        model: Model that gives the latents, with its weights at the time of `fill`.
        prior: The model's second stage.
        split: The data.
        settings: Settings with the seed.
        name: Name of the data in progress messages.
        most: Maximum number of examples, picked at random; None: all.

    Raises:
        InputError: If the data are a stream of unknown length.
    """

    def __init__(
        self, model: VAE, prior: SecondStage, split: Split, settings: Settings, name: str, most: int | None
    ) -> None:
        size = _size(split)
        self._model, self._prior, self._split, self._name = model, prior, split, name
        self._n, self._seed = size if most is None else min(size, most), settings.seed
        self._keep_memory = settings.keep_memory

    def __len__(self) -> int:
        """Return N."""
        return self._n

    def fill(self, folder: RunFolder, flag: StopFlag, quiet: bool) -> None:
        """Draw the latents.

        Raises:
            Interrupted: After a signal.
        """
        draws: Tensor | None = None
        contexts: list[Tensor] = []
        done, title = 0, self._prior.title
        with counting(self._n, f"{title}: encoding {self._n:,} {self._name} examples", quiet) as count:
            for batch in self._encoded():
                if draws is None:
                    draws = torch.empty(self._n, *batch.x.shape[1:], dtype=self._prior.dtype(batch.x))
                draws[done : done + len(batch)] = batch.x
                contexts += [] if batch.context is None else [batch.context.cpu()]
                done += len(batch)
                count(len(batch))
                if (by := flag.agreed()[0]) is not None:
                    raise Interrupted.at(f"while the data were encoded for the {title}", folder, by)
        if draws is None:
            raise InputError(f"there are no data to train the {self._prior.title} on; pass at least one example")
        self._n = done
        super().__init__(draws[:done], context=torch.cat(contexts) if contexts else None)

    def _encoded(self, batch_size: int = 64) -> Iterator[Batch]:
        """Yield batches of draws (B, draws, ...) of all examples, or of a random subset if there are too many."""
        split, total = self._split, _size(self._split)
        rows = torch.arange(total)
        if self._n < total:
            order = np.random.default_rng(key_seed("codes", self._seed)).permutation(total)
            rows = torch.from_numpy(np.sort(order[: self._n]))
            if isinstance(split, Indexed):
                split, total, rows = split.subset(rows), self._n, torch.arange(self._n)
        chosen = torch.zeros(total + 1, dtype=torch.bool).index_fill_(0, rows, True)  # a loader may give more than N
        with evaluating(self._model, keep_memory=self._keep_memory):
            for batch in batches(self._model, split, batch_size):
                these = chosen[batch.positions().cpu().clamp_max(total)].to(batch.x.device)
                if these.any():
                    some = batch if these.all() else batch[these]
                    yield _encode(self._model, self._prior, some, self._seed)


def stage(model: VAE, prior: SecondStage, train: Split, validation: Split | None, settings: Settings) -> Stage:
    """Return the stage that trains the prior; call `fill` before it runs."""
    data = EncodedSplit(model, prior, train, settings, "training", settings.prior_max_examples)
    held_out = None
    if validation is not None:
        most = min(settings.prior_max_examples, prior.validated or settings.prior_max_examples)
        held_out = EncodedSplit(model, prior, validation, settings, "validation", most)
    prior.enable()
    return Stage(prior, data, ELBO(), held_out, name=SECOND_STAGE, settings=_suited(settings, prior))


def fill(stage: Stage, folder: RunFolder, flag: StopFlag, quiet: bool) -> None:
    """Draw the latents on which the prior is trained and validated."""
    for split in (stage.data, stage.validation):
        if isinstance(split, EncodedSplit):
            split.fill(folder, flag, quiet)
    if isinstance(stage.data, EncodedSplit) and isinstance(stage.trains, SecondStage):
        stage.trains.start_at(stage.data.draws[:, 0])


def save_start(prior: SecondStage, folder: RunFolder) -> None:
    """Save the untrained weights, for a run that is resumed before its prior is trained."""
    checkpoint.save(folder.checkpoint("start", SECOND_STAGE), prior.state_dict(), {})


def load_start(prior: SecondStage, folder: RunFolder) -> None:
    """Load the weights that `save_start` saved."""
    path = folder.checkpoint("start", SECOND_STAGE)
    checkpoint.into(prior, checkpoint.load(path)[0], path)


def fit_prior(
    model: VAE,
    folder: RunFolder,
    data: Data,
    prior: str | Sequence[str] | None = None,
    *,
    resume: bool = False,
    quiet: bool = True,
    callbacks: Sequence[CallbackLike] = (),
    **changed: Any,
) -> Fitted:
    """Train the second-stage prior of a finished run again, or a different one, and return a model with it.

    Everything is written to a separate folder and replaces the run's files at the end; until then the run does not
    change. Results about the run (evaluation, analyses, report) are then deleted.

    Args:
        model: The run's model, which does not change.
        folder: The run.
        data: The data that the run was trained on.
        prior: A different prior as text, or a list of one per level, lowest first; None: the same as in the run.
        resume: Continue interrupted training, or else continue the run's own prior for more epochs.
        quiet: Show no progress.
        callbacks: Functions or callbacks to call after steps and epochs, and at the end.
        **changed: Settings of the second stage that differ from the run's: prior_epochs, prior_lr, ...

    Raises:
        InputError: If there are several processes, the data differ, the run has no such prior, or something other than
            the epochs changed on resume.
        CompositionError: If the prior does not fit.
        Interrupted: After a signal.
    """
    world.only_one("training a prior separately", "call it without a launcher, or train it with the run")
    RunFolder.open(folder.path)  # checks that it is a run
    known = folder.read(folder.run_file)
    check_fits(model, data)
    check_own_data(folder, data, "its prior needs the same data; pass them as data=")
    changed = {name: value for name, value in changed.items() if value is not None}
    begun: dict[str, Any] = {"prior": None, "settings": known["settings"]}
    there, aside = folder.checkpoint("last", SECOND_STAGE), folder.aside
    if resume:
        if prior is not None or changed.keys() - {"prior_epochs"}:
            raise InputError("on resume, only the epochs of the prior may change; leave out the rest, or resume=")
        if aside.begun_file.is_file():
            begun = aside.read(aside.begun_file)
        elif not there.is_file():
            raise InputError(f"{folder} has no trained prior to continue; leave out resume=")
        prior = begun["prior"]
    settings = Settings.of(begun["settings"]).replace(**changed)

    device, model = model.device, copy.deepcopy(model)
    with seeded(key_seed(SECOND_STAGE, settings.seed)):
        if prior is not None or (not resume and model.latents.second_stage is not None):
            model.latents.replace_prior(prior)
    module = model.latents.second_stage
    if module is None:
        raise InputError(
            f"{folder} has no prior that is trained after the rest; pass prior=, such as 'flow-matching', or "
            "'pixelcnn' for quantized latents"
        )
    load_stage(model.to(device), folder)
    train, validation = for_training(data, settings, partial=model.infers_context)
    check(model, settings, train, next(train.epoch(8)))
    own = stage(model, module, train, validation, settings)

    if not resume or not aside.begun_file.is_file():
        shutil.rmtree(aside.path, ignore_errors=True)
    if not resume:
        save_start(module, aside)
    elif not aside.path.exists():
        shutil.copytree(there.parent, aside.checkpoint("last", SECOND_STAGE).parent)
    begun = {"prior": prior, "settings": settings.recorded()}
    write_atomic(aside.begun_file, to_json(begun))
    loop = Loop(own, settings, aside, device, quiet)
    rows = [row for row in (aside.metrics() or folder.metrics()) if row["stage"] in ("", SECOND_STAGE)]
    if resume:
        load_start(module, aside)
    rows = loop.saver.resume(rows) if resume else [row for row in rows if row["stage"] != SECOND_STAGE]
    try:
        with stop_on_signals() as flag, Callbacks(callbacks) as hooks:
            if loop.unfinished:
                fill(own, aside, flag, quiet)
            rows = loop.run(rows, flag, hooks)
    except Interrupted as stop:
        raise Interrupted(
            f"stopped by {stop.by.name}; {folder} is unchanged; to continue, pass resume=", stop.by
        ) from None
    aside.write_metrics(rows)
    run = {**known, "settings": settings.recorded(), "fitted_priors": [*known.get("fitted_priors", []), provenance()]}
    aside.describe(_config(read_yaml(folder.config_file), settings, prior), describe(model), run)
    folder.accept(aside)
    return Fitted(model, folder, load_weights(model, folder), rows)


def _config(config: Mapping[str, Any], settings: Settings, prior: str | Sequence[str] | None) -> dict[str, Any]:
    """Return the run's configuration with the new prior, for config.yaml."""
    new = dict(config)
    new |= {name: value for name, value in settings.recorded().items() if name.startswith("prior_")}
    if prior is not None and "latents" in new:  # a run made from Python does not record its components here
        latents = parse(str(new["latents"]))
        rest = {name: value for name, value in latents.kwargs.items() if name != "prior"}
        several = {} if isinstance(prior, str) else {"prior": [*prior]}
        new["latents"] = str(Spec(latents.name, latents.args, {**rest, **several}))
        new["prior"] = prior if isinstance(prior, str) else "auto"
    return new


def _suited(settings: Settings, prior: SecondStage) -> Settings:
    """Return the settings of the second stage, with those that suit the prior where the user left them open."""
    own = settings.for_second_stage()
    return own.replace(**{name: value for name, value in prior.suits.items() if getattr(own, name) in ("auto", None)})


def _size(split: Split) -> int:
    if split.size is None:
        raise InputError(
            "this prior is trained on a known number of examples, and these data are a stream; pass a file or a data "
            "set, or another prior, such as 'normal', or 'uniform' for quantized latents"
        )
    return split.size


def _encode(model: VAE, prior: SecondStage, batch: Batch, seed: int) -> Batch:
    """Return draws (B, draws, ...) and contexts of a raw batch; each example's depend only on that example."""
    seen = model.observe(batch, Noise("codes", seed))
    noise = ExampleNoise("codes", seed, index=batch.positions())
    groups, _ = model.infer(seen, model.encode_state(seen), prior.draws, noise, Knobs.final(model.schedules))
    return Batch(prior.codes(groups).transpose(0, 1), context=seen.context, index=batch.positions())
