"""A trained model as a person uses it: `fit` and `load` give one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tightbound import evaluation
from tightbound.config import Settings, read_config
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.parts import make, rebuild
from tightbound.data import Data, Split
from tightbound.data.feed import Source
from tightbound.generation import infer
from tightbound.generation.attributes import Direction, attribute_vector
from tightbound.generation.fitting import fit_sampler, load_sampler
from tightbound.objectives.base import Objective
from tightbound.training.fit import Fitted, LaterStage, choose_device, fit_run, load_weights, validation_size
from tightbound.training.folder import RunFolder


class Trained:
    """A trained model: codes, reconstructions, samples and numbers, in eval mode and without gradients.

    Data go in raw, as they were opened: a split, or an array or tensor (N, *shape). Results are tensors on
    the CPU, in the data's units.

    Attributes:
        model: The VAE.
        path: The run's folder.
        weights: Which weights were taken, in words: best, averaged or last.
    """

    def __init__(self, fitted: Fitted) -> None:
        self.model, self.path, self.weights = fitted.model, fitted.folder.path, fitted.weights
        self._fitted = fitted

    @property
    def metrics(self) -> Sequence[Mapping[str, Any]]:
        """One row an epoch: loss, reconstruction, KL (nats a datum), ELBO, bits/dim, on train and validation."""
        return self._fitted.metrics

    def encode(self, data: Source, *, sample: bool = False, seed: int = 0) -> Tensor:
        """(N, latent): posterior means, or with `sample` one draw of q(z | x) for each datum."""
        codes = infer.encode(self.model, data, sample=sample, seed=seed)
        return codes.mean if codes.sample is None else codes.sample

    def decode(
        self,
        codes: Tensor | np.ndarray[Any, Any],
        *,
        context: Tensor | None = None,
        sample: bool = False,
        seed: int = 0,
    ) -> Tensor:
        """(N, *shape): E[x | z], or with `sample` a draw of p(x | z); `context` as in `sample`."""
        contexts = infer.contexts(self.model, len(codes), context)
        return infer.decode(self.model, codes, context=contexts, sample=sample, seed=seed)

    def reconstruct(self, data: Source) -> Tensor:
        """(N, *shape): E[x | z] at the posterior means."""
        return infer.reconstruct(self.model, data)

    def fit_sampler(self, data: Source, sampler: str, *, epochs: int | None = None, seed: int = 0) -> None:
        """Fits a density to the codes of data, and saves it in the run: "gaussian-mixture(components=10)", "kernel",
        "flow", "vae" (a second one), for `sample(sampler="flow")`; "class-regions(components=3)" of labelled data, for
        `sample(sampler="class-regions", label=3)`."""
        fit_sampler(self.model, self._fitted.folder, data, sampler, epochs=epochs, seed=seed)

    def sample(
        self,
        n: int = 64,
        *,
        mean: bool = True,
        seed: int = 0,
        context: Tensor | None = None,
        sampler: str | None = None,
        label: int | None = None,
    ) -> Tensor:
        """(n, *shape): for z from the prior E[x | z], or with mean=False a draw of p(x | z).

        Arguments:
            context: Of a conditional model: class labels or attributes (m, ...), taken in turn; None: each class.
            sampler: Draw z from what `fit_sampler` fitted, in place of the prior.
            label: Draw codes of this class alone, from a sampler that knows classes.

        Raises:
            InputError: no such sampler or class, or a context that is not the model's.
        """
        if sampler is None and label is not None:
            raise InputError(
                "a label picks a class of a sampler: fit 'class-regions' and name it; of a conditional model, give "
                "the label as context"
            )
        fitted = None if sampler is None else load_sampler(self._fitted.folder, sampler)
        if fitted is not None and label is not None:
            fitted = fitted.of(label)
        codes = None if fitted is None else fitted.sample
        return infer.sample(self.model, n, mean=mean, seed=seed, context=context, codes=codes)

    def attribute_vector(
        self,
        data: Source,
        of: int,
        against: int | None = None,
        *,
        factor: int | None = None,
        direction: Direction = "means",
    ) -> Tensor:
        """(latent,): what to add to codes so that they leave label `against` (None: all others) for label `of`; see
        `tightbound.evaluation.steer` for what it does."""
        return attribute_vector(self.model, data, of, against, factor=factor, direction=direction)

    def complete(self, data: Source, n: int = 1, *, mean: bool = True, seed: int = 0) -> Tensor:
        """(N, n, *shape): data with their hidden elements drawn given the visible ones, for context 'visible'."""
        return infer.complete(self.model, data, n, mean=mean, seed=seed)

    def interpolate(
        self,
        a: Tensor,
        b: Tensor,
        *,
        steps: int = 9,
        path: Literal["linear", "spherical"] = "linear",
        labels: Tensor | None = None,
    ) -> Tensor:
        """(steps, *shape): E[x | z] between the codes of two data (*shape); their labels (2, ...), where the model is
        conditioned on them."""
        return infer.interpolate(self.model, a, b, steps=steps, path=path, labels=labels)

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
        return torch.from_numpy(result.per_datum[result.bound])

    def evaluate(
        self,
        data: Source,
        *,
        samples: int = 5000,
        seed: int = 0,
        precision: Literal["fp32", "bf16"] = "fp32",
        progress: bool = False,
    ) -> evaluation.Evaluation:
        """All numbers over data, each with standard error and n."""
        return evaluation.evaluate(self.model, data, samples=samples, seed=seed, precision=precision, progress=progress)

    def rate_decomposition(self, data: Source, *, codes: int | None = None, seed: int = 0) -> evaluation.Rate:
        """The rate in parts: mutual information, total correlation, dimension-wise KL; `codes` draws, default 1000."""
        return evaluation.rate_decomposition(self.model, data, codes=codes, seed=seed)

    def probe(
        self, train: Source, test: Source, *, most: int = 10_000, seed: int = 0, **options: Any
    ) -> evaluation.Probe:
        """What codes are worth downstream: classes or numbers predicted, groups found, few labels, doubt against error.

        Arguments:
            train, test: Labelled data, to fit on and to judge on.
            most: Data of each that are looked at, picked at random.
            options: Of `tightbound.evaluation.probe`: task, neighbours, draws.
        """
        return evaluation.probe(self.model, train, test, most=most, seed=seed, **options)

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
    ) -> evaluation.Quality:
        """How like the test data samples are; see `tightbound.evaluation.sample_quality`.

        Arguments:
            data: What the model was trained on, as it was opened: features are fitted to its training split.
            sampler: Draw z from what `fit_sampler` fitted, in place of the prior.
        """
        codes = None if sampler is None else load_sampler(self._fitted.folder, sampler).sample
        return evaluation.sample_quality(
            self.model, data, n=n, features=features, draw=draw, codes=codes, seed=seed, trust=trust, progress=progress
        )

    def score(self, data: Source, train: Source, **how: Any) -> evaluation.Scores:
        """How unusual data are, by several scores; `how` as in `tightbound.evaluation.score`."""
        return evaluation.score(self.model, data, train, **how)

    def detect(self, own: Source, other: Source, train: Source, **how: Any) -> evaluation.Detection:
        """How well scores tell other data from one's own; `how` as in `tightbound.evaluation.detect`."""
        return evaluation.detect(self.model, own, other, train, **how)

    def inference_gap(
        self, data: Source, *, samples: int = 1000, steps: int = 200, seed: int = 0
    ) -> evaluation.InferenceGap:
        """log p(x) less the ELBO, split into what the encoder and what the family of its posterior loses; give a few
        hundred data."""
        return evaluation.inference_gap(self.model, data, samples=samples, steps=steps, seed=seed)

    def holes(
        self, train: Source, test: Source, *, draws: int = 2000, level: float = 0.01, seed: int = 0
    ) -> evaluation.Holes:
        """The share of prior draws where hardly any code lies, and what is decoded there."""
        return evaluation.holes(self.model, train, test, draws=draws, level=level, seed=seed)

    def memorisation(
        self, train: Source, test: Source, *, n: int = 1000, components: int | None = None, seed: int = 0
    ) -> evaluation.Memorisation:
        """How near samples are to training data, against how near test data are."""
        return evaluation.memorisation(self.model, train, test, n=n, components=components, seed=seed)

    def paths(self, data: Source, train: Source, *, steps: int = 16, seed: int = 0) -> evaluation.Paths:
        """Interpolation between pairs of data, measured: length, evenness, and how far from data it leads."""
        return evaluation.paths(self.model, data, train, steps=steps, seed=seed)

    def ais(self, data: Source, **how: Any) -> evaluation.Annealed:
        """log p(x) of data by annealed importance sampling: see `tightbound.evaluation.ais`, also for `how`."""
        return evaluation.ais(self.model, data, **how)

    def bdmc(self, n: int = 50, **how: Any) -> evaluation.Annealed:
        """How far off AIS can be, on n data drawn from the model: see `tightbound.evaluation.bdmc`."""
        return evaluation.bdmc(self.model, n, **how)

    def diagnose(
        self,
        data: Data,
        *,
        test: Split | None = None,
        most: int = 1000,
        samples: int = 20,
        seed: int = 0,
        quick: bool = False,
    ) -> evaluation.Diagnosis:
        """What is wrong with the model, if anything: findings with their evidence and remedy.

        Arguments:
            data: What it was trained on, of which the validation data count as neither training nor test data.
            test: Other test data.
            most: Data of either kind that are looked at, picked at random.
            samples: Of q(z | x) a datum.
            quick: Leave out checks that take more than about a second.
        """
        config = read_config(self._fitted.folder.config_file)
        known = self._fitted.folder.read(self._fitted.folder.run_file)
        settings = Settings.of(known["settings"])
        own = known["data"]["fingerprint"] == data.fingerprint
        train = data.held_out(validation_size(settings, data), settings.seed)[0] if own else data.train
        subject = evaluation.Subject(
            self.model, train, data.test if test is None else test, config, self.metrics, seed, most, samples
        )
        return evaluation.diagnose(subject, quick=quick)


def compare(trained: Sequence[Trained], data: Source, **how: Any) -> evaluation.Comparison:
    """Paired differences between trained models over the same data, by the names of their runs; `how` as in
    `tightbound.evaluation.compare`.

    Raises:
        InputError: fewer than two, two runs of one name, or models that bound different things.
    """
    names = [one.path.resolve().name for one in trained]
    if len(set(names)) < len(names):
        names = [str(one.path) for one in trained]
    return evaluation.compare({name: one.model for name, one in zip(names, trained, strict=True)}, data, **how)


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
        objective: What is maximised, or its name, "iwae(samples=5)"; None: the ELBO.
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
