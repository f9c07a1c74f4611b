"""Train the code prior in a second stage, on the code indices that the trained model gives."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.components import Spec, describe, parse
from tightbound.config import Settings
from tightbound.core import world
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.files import read_yaml, to_json, write_atomic
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise, key_seed, seeded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.data import Data
from tightbound.data.division import for_training
from tightbound.data.feed import batches, evaluating
from tightbound.data.splits.base import Split
from tightbound.data.splits.indexed import Indexed
from tightbound.latents.code_prior import CodePriorStage
from tightbound.latents.codes import code_prior_of, needs_codes
from tightbound.objectives.elbo import ELBO
from tightbound.training import checkpoint
from tightbound.training.callbacks import CallbackLike, Callbacks
from tightbound.training.checks import check_fits, check_own_data
from tightbound.training.folder import CODE_PRIOR, RunFolder, provenance
from tightbound.training.loop import Loop
from tightbound.training.monitor import counting
from tightbound.training.parallel import check_divisible
from tightbound.training.signals import Interrupted, StopFlag, stop_on_signals
from tightbound.training.suited import Suited
from tightbound.training.trainer import Stage
from tightbound.training.weights import Fitted, load_stage, load_weights


def check(model: VAE, settings: Settings, train: Split, first: Batch) -> None:
    """Check before training that the code prior can be trained.

    Raises:
        InputError: If settings of a code prior are given for a model without one, or the data are a stream.
        CompositionError: If the prior does not give one finite number per example.
    """
    prior = code_prior_of(model.latents)
    if prior is None:
        if asked := settings.changed_for_code_prior():
            given = ", ".join(f"{name} = {value!r}" for name, value in asked.items())
            raise InputError(
                f"{given}: this model has no code prior; pass one, such as prior='pixelcnn' with "
                "latents='quantized', or leave these settings out (None)"
            )
        return
    _size(train)
    check_divisible(ELBO(), Suited.to(prior, settings.for_code_prior()))
    with evaluating(model, keep_memory=settings.keep_memory):
        batch = _code_indices(model, prior, first.to(model.device), settings.seed)
        prior.enable()
        try:
            value = prior(batch, 1, Noise("check")).log_likelihood
        finally:
            prior.disable()
    if value.shape != (1, len(first)) or not torch.isfinite(value).all():
        found = f"shape {tuple(value.shape)}" if value.shape != (1, len(first)) else "values that are not finite"
        raise CompositionError(
            f"the code prior's log-probability of {len(first)} examples has {found}; needed: one finite number each"
        )


class CodeSplit(Indexed):
    """Split of code indices (N, ...) and contexts (N, *context), which `fill` computes.

    Args:
        model: Model that gives the code indices, one draw each, with its weights at the time of `fill`.
        prior: The model's code prior.
        split: The data.
        settings: Settings with the maximum number of examples and the seed.
        name: Name of the data in progress messages.

    Raises:
        InputError: If the data are a stream of unknown length.
    """

    def __init__(self, model: VAE, prior: CodePriorStage, split: Split, settings: Settings, name: str) -> None:
        self._model, self._prior, self._split, self._name = model, prior, split, name
        self._n, self._seed = min(_size(split), settings.prior_max_examples), settings.seed
        self._keep_memory = settings.keep_memory
        self._indices: Tensor | None = None
        self._context: Tensor | None = None

    def __len__(self) -> int:
        """Return N."""
        return self._n

    def batch(self, indices: Tensor) -> Batch:
        """See `Indexed.batch`."""
        assert self._indices is not None, "there are no code indices; call fill first"
        context = None if self._context is None else self._context[indices]
        return Batch(self._indices[indices], context=context, index=indices)

    def fill(self, folder: RunFolder, flag: StopFlag, quiet: bool) -> None:
        """Compute the code indices, stored in the smallest integer type that holds them.

        Raises:
            Interrupted: After a signal.
        """
        contexts: list[Tensor] = []
        done = 0
        title = f"code prior: encoding {self._n:,} {self._name} examples"
        with counting(self._n, title, quiet) as count:
            for batch in self._encoded():
                if self._indices is None:
                    self._indices = torch.empty(self._n, batch.x.shape[1], dtype=_smallest(self._prior.codebook_size))
                    self.shape = tuple(self._indices.shape[1:])
                self._indices[done : done + len(batch)] = batch.x
                contexts += [] if batch.context is None else [batch.context.cpu()]
                done += len(batch)
                count(len(batch))
                if (by := flag.agreed()[0]) is not None:
                    raise Interrupted.at("while the data were encoded for the code prior", folder, by)
        if self._indices is None:
            raise InputError("there are no data to train the code prior on; pass at least one example")
        self._n, self._indices = done, self._indices[:done]
        self._context = torch.cat(contexts) if contexts else None

    def _encoded(self, batch_size: int = 64) -> Iterator[Batch]:
        """Yield batches of code indices of all examples, or of a random subset if there are too many."""
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
                    yield _code_indices(self._model, self._prior, some, self._seed)


def stage(model: VAE, prior: CodePriorStage, train: Split, validation: Split | None, settings: Settings) -> Stage:
    """Return the stage that trains the code prior; call `fill` before it runs."""
    data = CodeSplit(model, prior, train, settings, "training")
    held_out = None if validation is None else CodeSplit(model, prior, validation, settings, "validation")
    prior.enable()
    return Stage(prior, data, ELBO(), held_out, name=CODE_PRIOR, settings=settings.for_code_prior())


def fill(stage: Stage, folder: RunFolder, flag: StopFlag, quiet: bool) -> None:
    """Compute the code indices on which the code prior is trained and validated."""
    for split in (stage.data, stage.validation):
        if isinstance(split, CodeSplit):
            split.fill(folder, flag, quiet)


def save_start(prior: CodePriorStage, folder: RunFolder) -> None:
    """Save the untrained weights, for a run that is resumed before its code prior is trained."""
    checkpoint.save(folder.checkpoint("start", CODE_PRIOR), prior.state_dict(), {})


def load_start(prior: CodePriorStage, folder: RunFolder) -> None:
    """Load the weights that `save_start` saved."""
    path = folder.checkpoint("start", CODE_PRIOR)
    checkpoint.into(prior, checkpoint.load(path)[0], path)


def fit_code_prior(
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
    """Train the code prior of a finished run again, or a different one, and return a model with it.

    Everything is written to a separate folder and replaces the run's files at the end; until then the run does not
    change. Results about the run (evaluation, analyses, report) are then deleted.

    Args:
        model: The run's model, which does not change.
        folder: The run.
        data: The data that the run was trained on.
        prior: A different prior as text, or a list of one per level, lowest first; None: the same as in the run.
        resume: Continue interrupted training, or else continue the run's own code prior for more epochs.
        quiet: Show no progress.
        callbacks: Functions or callbacks to call after steps and epochs, and at the end.
        **changed: Settings of the code prior that differ from the run's: prior_epochs, prior_lr, ...

    Raises:
        InputError: If there are several processes, the data differ, the run has no code prior, or something other than
            the epochs changed on resume.
        CompositionError: If the prior does not fit.
        Interrupted: After a signal.
    """
    world.only_one("training a code prior separately", "call it without a launcher, or train it with the run")
    RunFolder.open(folder.path)  # checks that it is a run
    known = folder.read(folder.run_file)
    check_fits(model, data)
    check_own_data(folder, data, "its code prior needs the same data; pass them as data=")
    changed = {name: value for name, value in changed.items() if value is not None}
    begun: dict[str, Any] = {"prior": None, "settings": known["settings"]}
    there, aside = folder.checkpoint("last", CODE_PRIOR), folder.aside
    if resume:
        if prior is not None or changed.keys() - {"prior_epochs"}:
            raise InputError("on resume, only the epochs of a code prior may change; leave out the rest, or resume=")
        if aside.begun_file.is_file():
            begun = aside.read(aside.begun_file)
        elif not there.is_file():
            raise InputError(f"{folder} has no trained code prior to continue; leave out resume=")
        prior = begun["prior"]
    settings = Settings.of(begun["settings"]).replace(**changed)

    device, model = model.device, copy.deepcopy(model)
    with seeded(key_seed(CODE_PRIOR, settings.seed)):
        if prior is not None or (not resume and code_prior_of(model.latents) is not None):
            needs_codes(model.latents).replace_code_prior(prior)
    module = code_prior_of(model.latents)
    if module is None:
        raise InputError(f"{folder} has no code prior; pass prior=, such as prior='pixelcnn' with latents 'quantized'")
    load_stage(model.to(device), folder)
    train, validation = for_training(data, settings, partial=model.infers_context)
    check(model, settings, train, next(train.epoch(8)))
    own = stage(model, module, train, validation, settings)

    if not resume or not aside.begun_file.is_file():
        shutil.rmtree(aside.path, ignore_errors=True)
    if not resume:
        save_start(module, aside)
    elif not aside.path.exists():
        shutil.copytree(there.parent, aside.checkpoint("last", CODE_PRIOR).parent)
    begun = {"prior": prior, "settings": settings.recorded()}
    write_atomic(aside.begun_file, to_json(begun))
    loop = Loop(own, settings, aside, device, quiet)
    rows = [row for row in (aside.metrics() or folder.metrics()) if row["stage"] in ("", CODE_PRIOR)]
    if resume:
        load_start(module, aside)
    rows = loop.saver.resume(rows) if resume else [row for row in rows if row["stage"] != CODE_PRIOR]
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
    """Return the run's configuration with the new code prior, for config.yaml."""
    new = dict(config)
    new |= {name: value for name, value in settings.recorded().items() if name.startswith("prior_")}
    if prior is not None and "latents" in new:  # a run made from Python does not record its components here
        latents = parse(str(new["latents"]))
        rest = {name: value for name, value in latents.kwargs.items() if name != "prior"}
        several = {} if isinstance(prior, str) else {"prior": [*prior]}
        new["latents"] = str(Spec(latents.name, latents.args, {**rest, **several}))
        new["prior"] = prior if isinstance(prior, str) else "auto"
    return new


def _size(split: Split) -> int:
    if split.size is None:
        raise InputError(
            "a code prior is trained on a known number of examples, and these data are a stream; pass a file or a data "
            "set, or use prior='uniform', which is not trained"
        )
    return split.size


def _code_indices(model: VAE, prior: CodePriorStage, batch: Batch, seed: int) -> Batch:
    """Return the code indices and context of a raw batch; each example's depend only on that example."""
    seen = model.observe(batch, Noise("codes", seed))
    noise = ExampleNoise("codes", seed, index=batch.positions())
    groups, _ = model.infer(seen, model.encode_state(seen), 1, noise, Knobs.final(model.schedules))
    return Batch(prior.indices(groups), context=seen.context, index=batch.positions())


def _smallest(codebook_size: int) -> torch.dtype:
    """Return the smallest integer type that holds 0 .. codebook_size - 1."""
    kinds = (torch.uint8, torch.int16, torch.int32)
    return next((kind for kind in kinds if codebook_size - 1 <= torch.iinfo(kind).max), torch.int64)
