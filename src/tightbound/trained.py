"""`fit` and `load`, and the trained model that they return."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack

import torch
from torch import Tensor

from tightbound.analysis.base import Analysis, Subject
from tightbound.analysis.bounds import estimator
from tightbound.analysis.comparison.compare import Comparison
from tightbound.analysis.result import Evaluation, Result
from tightbound.analysis.samples.rejection import Kept, best_samples
from tightbound.analysis.table import Analyses
from tightbound.components import make, rebuild
from tightbound.config import FitOptions, Settings
from tightbound.core.errors import InputError
from tightbound.core.files import read_yaml
from tightbound.core.model import VAE
from tightbound.core.terms import Batch
from tightbound.data import Data
from tightbound.data.feed import as_split
from tightbound.data.given import Source, training_data
from tightbound.inference import infer
from tightbound.inference.classes import learns_classes
from tightbound.inference.fitting import default_sampler
from tightbound.inference.infer import Values
from tightbound.inference.methods import Inference
from tightbound.inference.reopen import run_data
from tightbound.objectives.base import Objective
from tightbound.training.callbacks import CallbackLike
from tightbound.training.checks import check_options, choose_device
from tightbound.training.fit import fit_run
from tightbound.training.folder import RunFolder
from tightbound.training.second_stage import fit_prior
from tightbound.training.weights import load_weights

R = TypeVar("R", bound=Result)


class Trained(Inference, Analyses):
    """Trained model, with methods to encode, reconstruct and sample, and one method per analysis.

    `fit` and `load` return one; `Trained(model)` wraps a model from your own training loop. Methods accept data in any
    form (array, tensor, data frame, path, built-in name, Dataset, DataLoader, `Data`, split) and return tensors on the
    CPU, in the units of the data.

    Args:
        model: The model; methods put it in evaluation mode while they use it.
        data: The training data, which some analyses need; None: those of the run, if there is one.
        folder: Folder of the run; None: there is no run.
        weights: The weights that the model holds, in words.
        metrics: Training metrics, one row per epoch.
        keep: Object to keep alive as long as this one, such as the owner of a temporary folder.
    """

    def __init__(
        self,
        model: VAE,
        data: Source | None = None,
        *,
        folder: RunFolder | None = None,
        weights: str = "as given",
        metrics: Sequence[Mapping[str, Any]] = (),
        keep: object = None,
    ) -> None:
        self.model, self.folder, self.weights, self.metrics, self._keep = model, folder, weights, metrics, keep
        if data is not None:
            self.__dict__["data"] = self._as_training_data(data)

    def __repr__(self) -> str:
        where = "" if self.path is None else f"; run: {str(self.path)!r}"
        sampler = default_sampler(self.folder)
        source = "" if sampler is None else f"; samples: from {sampler}"
        return f"<Trained: {self.model.summary}; weights: {self.weights}{source}{where}>"

    @property
    def path(self) -> Path | None:
        """Folder of the run; None: there is none, or it is deleted with this object."""
        return None if self.folder is None or self.folder.temporary else self.folder.path

    @cached_property
    def data(self) -> Data | None:
        """The training data, reopened from the source that the run records; None: unknown."""
        return None if self.folder is None else run_data(self.model, self.folder)

    @property
    def config(self) -> Mapping[str, Any]:
        """Options that the run was trained with; empty if there is no run."""
        return {} if self.folder is None else read_yaml(self.folder.config_file)

    @property
    def infers_labels(self) -> bool:
        """Whether the model or its default latent sampler infers labels, so that -1 stands for an unknown class."""
        return self.model.infers_context or learns_classes(default_sampler(self.folder))

    def analyze(self, analysis: Analysis[R], data: Source | None = None, train: Source | None = None) -> R:
        """Run an analysis, built-in or your own, on the model.

        Args:
            analysis: The analysis, with its options.
            data: Examples to analyze; a `Data` also gives the training data. None: the test split of the training data.
            train: Training data, which some analyses need; None: the data that the model was trained on.

        Raises:
            InputError: If data are needed and unknown, or do not fit the model.
            CompositionError: If the analysis is undefined for this model.
        """
        if data is None and analysis.data == "required":
            raise InputError(f"{analysis.name}() compares other data with the model's own; pass data=")
        own = analysis.own_training_data and train is None
        subject = self.subject(data, self.data if own else train)
        return subject.marked(analysis.run(self, subject))

    def subject(self, data: Source | None = None, train: Source | None = None) -> Subject:
        """Return the data of an analysis; see `analyze`."""
        data = self._as_training_data(data) if isinstance(data, Data) else data
        if train is not None:
            known = self._as_training_data(train)
        elif data is None:
            known = self.data
        else:
            known = data if isinstance(data, Data) else self._data_if_there()
        if data is None:
            if known is None:
                raise InputError("the data of this model are unknown; pass data=")
            return Subject(known.require_test(), known, f"{known.name}, test split")
        name = f"{data.name}, test split" if isinstance(data, Data) else data if isinstance(data, str) else "given data"
        classes = () if known is None else known.classes
        split = as_split(self.model, data, classes, partial=self.infers_labels)
        return Subject(split, known, name, given=not isinstance(data, Data))

    def _data_if_there(self) -> Data | None:
        """Return the training data; None if they are unknown, or have moved or changed since."""
        try:
            return self.data
        except InputError:
            return None

    def _as_training_data(self, data: Source) -> Data:
        return training_data(data, like=self.model)

    def fit_prior(
        self,
        data: Source | None = None,
        prior: str | Sequence[str] | None = None,
        *,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        max_examples: int | None = None,
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        """Train the prior in a second stage, again or a different one, and save it in the run.

        The rest of the model does not change.

        Args:
            data: Training data; None: those of the run.
            prior: "flow-matching", or for quantized latents "pixelcnn(hidden=128)", ..., or one per level, lowest
                first; None: the same as the present one.
            epochs: Passes over the latents; None: as in the run.
            lr: Learning rate; None: as in the run.
            batch_size: Examples per step; None: as in the run.
            max_examples: Train on the latents of at most this many training examples; None: as in the run.
            resume: Continue interrupted training, or train the present prior further, up to `epochs` in total.
            quiet: Show no progress.

        Raises:
            InputError: If the model has no run, or the data are not those of the run.
            CompositionError: If the latents have no such prior, or the one given is trained with the rest.
        """
        if self.folder is None:
            raise InputError("the model has no run to save a prior in; train it with fit(..., run=FOLDER)")
        given = self._training_data(data, "fit_prior()")
        with self.folder.exclusive():
            self.folder.check_current()
            fitted = fit_prior(
                self.model, self.folder, given, prior, resume=resume, quiet=quiet, prior_epochs=epochs, prior_lr=lr,
                prior_batch_size=batch_size, prior_max_examples=max_examples,
            )  # fmt: skip
        self.model, self.weights, self.metrics = fitted.model, fitted.weights, fitted.metrics
        self._keep = (self._keep, fitted)

    def best_samples(
        self,
        n: int = 64,
        data: Source | None = None,
        *,
        keep: float = 0.25,
        draw: bool | None = None,
        seed: int = 0,
        context: Values | None = None,
        sampler: str | None = None,
        label: int | str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        progress: bool = False,
    ) -> Kept:
        """Return the samples that a classifier is most certain about, with their classes and probabilities.

        Args:
            n: Number of samples to keep.
            data: Labeled training data for the classifier, in any form; None: the data that the model was trained on.
            keep: Fraction of the samples to keep; n / keep samples are drawn.
            draw: As for `sample`.
            seed: Random seed.
            context: As for `sample`.
            sampler: As for `sample`.
            label: As for `sample`.
            temperature: As for `sample`.
            top_k: As for `sample`.
            progress: Show the training of the classifier on standard error.

        References:
            Generating diverse high-fidelity images with VQ-VAE-2 (Razavi et al. 2019), Section 3.4
        """
        source = self._source(sampler, label, temperature, top_k)
        kept = best_samples(
            self.model, self._training_data(data, "best_samples()"), n, keep=keep,
            draw=infer.drawn(self.model, draw), seed=seed, context=context, codes=source, label=label,
            progress=progress,
        )  # fmt: skip
        return kept._replace(x=self._in_form(kept.x))

    def log_likelihood(self, data: Source, *, samples: int = 1000, seed: int = 0) -> Tensor:
        """Return the tightest bound on log p(x) of each example (N,), in nats: IWAE with this many samples.

        With a deterministic posterior it is the ELBO, which more samples do not tighten. The draws for an example
        depend on its index, its position in the data unless they are a `Batch` with others.

        Raises:
            InputError: If the model bounds no likelihood, as with a plain autoencoder or a cross-entropy in expectation
                over binarizations.
        """
        if self.model.observation.not_a_likelihood:
            raise InputError(f"this model bounds {self.model.observation.not_a_likelihood}; see evaluate()")
        examples = data if isinstance(data, Batch) else self._examples(data)
        result = estimator.evaluate(self.model, examples, samples=samples, seed=seed)
        if result.bound is None:
            raise InputError(f"this model has no likelihood: {result['iwae'].reason}")
        return torch.from_numpy(result.per_example[result.bound])


def fit(
    model: VAE,
    data: Source | tuple[Source, Source],
    objective: Objective | str | None = None,
    *,
    validation: Source | None = None,
    test: Source | None = None,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    callbacks: Sequence[CallbackLike] = (),
    **options: Unpack[FitOptions],
) -> Trained:
    """Train a model and return it with its best weights.

    Args:
        model: The model; trained in place.
        data: Training data in any form; all examples of an array or a Dataset are used. A pair is (training data,
            test data).
        objective: Objective to maximize, as an object or as text such as "iwae(samples=5)"; None: the ELBO.
        validation: Validation data; None: a tenth of the training data, at most 5,000 examples (see the option
            `validation_size`).
        test: Test data, for the analyses.
        run: Folder of the run; None: nothing is kept beside the result. Ctrl-C then ends training early and returns the
            partly trained model, with a warning.
        resume: Continue the run from its last checkpoint, with the results of an uninterrupted run. More `epochs` or
            `steps` may be passed; where a schedule depends on the total length, such as "cosine" or a warm-up over a
            share of the run, the results are then not those of a run that had this length from the start (a warning
            names the schedule).
        overwrite: Replace an existing run in that folder.
        quiet: Show no progress.
        callbacks: Functions to call after each epoch with a `TrainingState`, or `Callback` objects.
        **options: epochs, lr, batch_size, ...: the fields of `tightbound.Settings`.

    Raises:
        InputError: If the data do not fit the model, the run exists already, or options changed on resume.
        CompositionError: If the objective does not fit the model.
        NonFinite: If the loss becomes NaN or infinite.
        Interrupted: On SIGTERM, or on Ctrl-C if there is a run to continue; a checkpoint was written to it.
    """
    if not isinstance(model, VAE):
        raise InputError(f"fit() was given a {type(model).__name__}; needed: a VAE, such as VAE.for_data(x)")
    opened = training_data(data, validation, test, like=model)
    check_options(options, opened)
    chosen: Objective | None = make("objective", objective) if isinstance(objective, str) else objective
    fitted = fit_run(
        model, opened, chosen, Settings.of(options),
        run=run, resume=resume, overwrite=overwrite, quiet=quiet, callbacks=callbacks,
    )  # fmt: skip
    return Trained(model, opened, folder=fitted.folder, weights=fitted.weights, metrics=fitted.metrics, keep=fitted)


def load(
    run: str | Path,
    *,
    model: VAE | None = None,
    weights: Literal["auto", "best", "ema", "last"] = "auto",
    device: str = "auto",
    trust: bool = False,
) -> Trained:
    """Load the model of a run.

    Args:
        run: Folder of the run.
        model: The model, built as it was for training; needed if it contains modules that a run cannot rebuild.
        weights: "auto": the best weights, else the averaged ones, else the last; `Trained.weights` says which.
        device: A torch device; "auto": cuda, mps or cpu.
        trust: Import components outside tightbound that the run names.

    Raises:
        InputError: If there is no run, or a checkpoint is damaged or belongs to another model.
        CompositionError: If the model contains your own module (pass `model=`).
    """
    folder = RunFolder.open(run)
    if model is not None and not isinstance(model, VAE):
        raise InputError(f"model = {model!r}; needed: a VAE, built as it was for training")
    built = model if model is not None else rebuild(folder.read(folder.model_file), trust=trust)
    if not isinstance(built, VAE):
        raise InputError(
            f"{str(folder.model_file)!r} describes a {type(built).__name__}, not a VAE; the run is damaged"
        )
    words = load_weights(built, folder, weights)
    built.to(choose_device(device))
    return Trained(built, folder=folder, weights=words, metrics=folder.metrics())


def evaluate(
    model: VAE, data: Source, *, samples: int = 5000, seed: int = 0, precision: Literal["fp32", "bf16"] = "fp32"
) -> Evaluation:
    """Compute bounds on log p(x) of a model from your own training loop; see `Trained.evaluate`."""
    return as_trained(model).evaluate(data, samples=samples, seed=seed, precision=precision)


def compare(models: Sequence[Trained | VAE | str], data: Source | None = None, **options: Any) -> Comparison:
    """Compare trained models, or runs by their folders, with the first one on the same data; see `Trained.compare`."""
    if not isinstance(models, Sequence) or isinstance(models, str) or not models:
        raise InputError(f"models = {models!r}; needed: a list of trained models or folders of runs")
    first, *others = map(as_trained, models)
    return first.compare(data, others=tuple(others), **options)


def as_trained(model: Trained | VAE | str | os.PathLike[str]) -> Trained:
    """Return a trained model, whether it is given as one, as a bare model, or as the folder of its run.

    Raises:
        InputError: If it is none of these, or there is no such run.
    """
    if isinstance(model, Trained):
        return model
    if isinstance(model, VAE):
        return Trained(model)
    if isinstance(model, str | os.PathLike):
        return load(os.fspath(model))
    raise InputError(f"a {type(model).__name__} was given; needed: a trained model, a VAE, or the folder of a run")
