"""A trained model as a person uses it: `fit` and `load` give one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tightbound import analysis
from tightbound.components import make, rebuild
from tightbound.config import Settings, read_yaml
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.data import Data, Split
from tightbound.data.feed import Source
from tightbound.inference.fitting import load_sampler
from tightbound.inference.trained import Generating
from tightbound.objectives.base import Objective
from tightbound.training.fit import Fitted, LaterStage, choose_device, fit_run, load_weights, validation_size
from tightbound.training.folder import RunFolder
from tightbound.training.prior import fit_prior


class Trained(Generating):
    """A trained model: codes, reconstructions, samples and numbers, in eval mode and without gradients.

    Data go in raw, as they were opened: a split, or an array or tensor (N, *shape). Results are tensors on
    the CPU, in the data's units.

    Attributes:
        model: The VAE.
        path: The run's folder.
        weights: Which weights were taken, in words: best, averaged or last.
    """

    @property
    def metrics(self) -> Sequence[Mapping[str, Any]]:
        """One row an epoch: loss, reconstruction, KL (nats an example), ELBO, bits/dim, on train and validation."""
        return self._fitted.metrics

    def fit_prior(
        self,
        data: Data,
        prior: str | Sequence[str] | None = None,
        *,
        epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
        data_limit: int | None = None,
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        """Trains the prior over codes again, or another one, for the same first stage, and saves it in the run.

        Arguments:
            data: What the run was trained on.
            prior: "pixelcnn(hidden=128)", ..., or a list of one for each level, the lowest first; None: alike.
            epochs, lr, batch_size, data_limit: As prior_epochs, prior_lr, prior_batch_size and prior_max_examples of
                `tightbound.Settings`; None: the run's.
            resume: Go on, to so many epochs in all, with what was stopped, or with the prior there is.
            quiet: Show no progress.

        Raises:
            InputError, CompositionError, Interrupted: as `tightbound.training.prior.fit_prior`; all is as it was.
        """
        fitted = fit_prior(
            self.model, self._fitted.folder, data, prior, resume=resume, quiet=quiet, prior_epochs=epochs,
            prior_lr=lr, prior_batch_size=batch_size, prior_max_examples=data_limit,
        )  # fmt: skip
        self._fitted = replace(fitted, before=self._fitted)
        self.model, self.weights = fitted.model, fitted.weights

    def log_likelihood(self, data: Source, *, samples: int = 1000, seed: int = 0) -> Tensor:
        """(N,): the IWAE bound on log p(x) with this many samples, nats; the ELBO where codes are a function of x, so
        that importance weights add nothing to it.

        Raises:
            InputError: where the model has no bound on a likelihood: a plain autoencoder, or cross-entropy in
                expectation over binarizations (see `evaluate`).
        """
        if self.model.observation.not_a_likelihood:
            raise InputError(f"this model bounds {self.model.observation.not_a_likelihood}; see evaluate")
        result = self.evaluate(data, samples=samples, seed=seed)
        if result.bound is None:
            raise InputError(f"this model has no likelihood: {result['iwae'].reason}")
        return torch.from_numpy(result.per_example[result.bound])

    def evaluate(
        self,
        data: Source,
        *,
        samples: int = 5000,
        seed: int = 0,
        precision: Literal["fp32", "bf16"] = "fp32",
        progress: bool = False,
    ) -> analysis.Evaluation:
        """All numbers over data, each with standard error and n."""
        return analysis.evaluate(self.model, data, samples=samples, seed=seed, precision=precision, progress=progress)

    def rate_decomposition(self, data: Source, *, codes: int | None = None, seed: int = 0) -> analysis.Rate:
        """The rate in parts: mutual information, total correlation, dimension-wise KL; `codes` draws, default 1000."""
        return analysis.rate_decomposition(self.model, data, codes=codes, seed=seed)

    def probe(
        self, train: Source, test: Source, *, most: int = 10_000, seed: int = 0, **options: Any
    ) -> analysis.Probe:
        """What codes are worth downstream: classes or numbers predicted, groups found, few labels, doubt against error.

        Arguments:
            train, test: Labeled data, to fit on and to judge on.
            most: Data of each that are looked at, picked at random.
            options: Of `tightbound.analysis.probe`: task, neighbors, draws.
        """
        return analysis.probe(self.model, train, test, most=most, seed=seed, **options)

    def quality(
        self,
        data: Data,
        *,
        n: int = 5000,
        features: str | nn.Module = "auto",
        draw: bool = False,
        sampler: str | None = None,
        seed: int = 0,
        trust: bool = False,
        progress: bool = False,
    ) -> analysis.Quality:
        """How like the test data samples are; see `tightbound.analysis.sample_quality`.

        Arguments:
            data: What the model was trained on, as it was opened: features are fitted to its training split.
            sampler: Draw z from what `fit_sampler` fitted, in place of the prior.
        """
        codes = None if sampler is None else load_sampler(self._fitted.folder, sampler).sample
        return analysis.sample_quality(
            self.model, data, n=n, features=features, draw=draw, codes=codes, seed=seed, trust=trust, progress=progress
        )

    def score(self, data: Source, train: Source, **how: Any) -> analysis.Scores:
        """How unusual data are, by several scores; `how` as in `tightbound.analysis.detection.score`."""
        return analysis.score(self.model, data, train, **how)

    def detect(self, own: Source, other: Source, train: Source, **how: Any) -> analysis.Detection:
        """How well scores tell other data from one's own; `how` as in `tightbound.analysis.detect`."""
        return analysis.detect(self.model, own, other, train, **how)

    def inference_gap(
        self, data: Source, *, samples: int = 1000, steps: int = 200, seed: int = 0
    ) -> analysis.InferenceGap:
        """log p(x) less the ELBO, split into what the encoder and what the family of its posterior loses; give a few
        hundred data."""
        return analysis.inference_gap(self.model, data, samples=samples, steps=steps, seed=seed)

    def holes(
        self, train: Source, test: Source, *, draws: int = 2000, level: float = 0.01, seed: int = 0
    ) -> analysis.Holes:
        """The share of prior draws where hardly any code lies, and what is decoded there."""
        return analysis.holes(self.model, train, test, draws=draws, level=level, seed=seed)

    def memorization(
        self, train: Source, test: Source, *, n: int = 1000, components: int | None = None, seed: int = 0
    ) -> analysis.Memorization:
        """How near samples are to training data, against how near test data are."""
        return analysis.memorization(self.model, train, test, n=n, components=components, seed=seed)

    def paths(self, data: Source, train: Source, *, steps: int = 16, seed: int = 0) -> analysis.Paths:
        """Interpolation between pairs of data, measured: length, evenness, and how far from data it leads."""
        return analysis.paths(self.model, data, train, steps=steps, seed=seed)

    def ais(self, data: Source, **how: Any) -> analysis.Annealed:
        """log p(x) of data by annealed importance sampling: see `tightbound.analysis.bounds.ais`, also for `how`."""
        return analysis.ais(self.model, data, **how)

    def bdmc(self, n: int = 50, **how: Any) -> analysis.Annealed:
        """How far off AIS can be, on n data drawn from the model: see `tightbound.analysis.bdmc`."""
        return analysis.bdmc(self.model, n, **how)

    def diagnose(
        self,
        data: Data,
        *,
        test: Split | None = None,
        most: int = 1000,
        samples: int = 20,
        seed: int = 0,
        quick: bool = False,
    ) -> analysis.Diagnosis:
        """What is wrong with the model, if anything: findings with their evidence and remedy.

        Arguments:
            data: What it was trained on, of which the validation data count as neither training nor test data.
            test: Other test data.
            most: Data of either kind that are looked at, picked at random.
            samples: Of q(z | x) an example.
            quick: Leave out checks that take more than about a second.
        """
        config = read_yaml(self._fitted.folder.config_file)
        known = self._fitted.folder.read(self._fitted.folder.run_file)
        settings = Settings.of(known["settings"])
        own = known["data"]["fingerprint"] == data.fingerprint
        train = data.held_out(validation_size(settings, data), settings.seed)[0] if own else data.train
        subject = analysis.Subject(
            self.model, train, data.require_test() if test is None else test, config, self.metrics, seed, most, samples
        )
        return analysis.diagnose(subject, quick=quick)


def compare(trained: Sequence[Trained], data: Source, **how: Any) -> analysis.Comparison:
    """Paired differences between trained models over the same data, by the names of their runs; `how` as in
    `tightbound.analysis.comparison.compare`.

    Raises:
        InputError: fewer than two, two runs of one name, or models that bound different things.
    """
    names = [one.path.resolve().name for one in trained]
    if len(set(names)) < len(names):
        names = [str(one.path) for one in trained]
    return analysis.compare({name: one.model for name, one in zip(names, trained, strict=True)}, data, **how)


def fit(
    model: VAE,
    data: Data,
    objective: Objective | str | None = None,
    *,
    run: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    stages: Sequence[LaterStage] = (),
    **settings: Any,
) -> Trained:
    """Trains a model and gives it back with its best weights.

    Arguments:
        model: A composition; trained in place.
        data: What `tightbound.data.open` gives.
        objective: What is maximized, or its name, "iwae(samples=5)"; None: the ELBO.
        run: The run's folder; None: a temporary one.
        resume: Go on with that run from its last checkpoint, to the same bits.
        overwrite: Replace a run of that name.
        quiet: Show no progress.
        stages: Functions (run folder) -> Stage, trained in turn afterwards.
        settings: Fields of `tightbound.Settings`: epochs, lr, batch_size, ...

    Raises:
        InputError, CompositionError, NonFinite, Interrupted: as `tightbound.training.fit.fit_run`.
    """
    if not isinstance(model, VAE) or not isinstance(data, Data):
        given = f"{type(model).__name__} and {type(data).__name__}"
        raise InputError(f"fit was given {given}; needed: a VAE, and data that tightbound.data.open gives")
    chosen: Objective | None = make("objective", objective) if isinstance(objective, str) else objective
    fitted = fit_run(
        model, data, chosen, Settings.of(settings),
        run=run, resume=resume, overwrite=overwrite, quiet=quiet, stages=stages,
    )  # fmt: skip
    return Trained(fitted)


def load(
    run: str | Path,
    *,
    model: VAE | None = None,
    weights: Literal["auto", "best", "ema", "last"] = "auto",
    device: str = "auto",
    trust: bool = False,
) -> Trained:
    """A run's model, rebuilt.

    Arguments:
        run: The run's folder.
        model: The composition, where it contains modules that a run cannot rebuild.
        weights: "auto": the best ones, else averaged, else last; `Trained.weights` says which.
        device: "auto": cuda, mps or cpu.
        trust: Import parts from outside tightbound that the run names.

    Raises:
        InputError: no run there, or a damaged or foreign checkpoint.
        CompositionError: a module of your own is needed: pass `model`.
    """
    folder = RunFolder.open(run)
    built = model if model is not None else rebuild(folder.read(folder.model_file), trust=trust)
    if not isinstance(built, VAE):
        raise InputError(
            f"{str(folder.model_file)!r} describes a {type(built).__name__} and no VAE; the run is damaged"
        )
    words = load_weights(built, folder, weights)
    built.to(choose_device(device))
    return Trained(Fitted(built, folder, words, folder.metrics()))
