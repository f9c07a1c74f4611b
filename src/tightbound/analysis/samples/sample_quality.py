"""Differences between samples and data, in features and in the elements of x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tightbound.analysis.estimate import Estimate, scalar, scalar_error, share
from tightbound.analysis.result import Result
from tightbound.analysis.samples import two_sample
from tightbound.analysis.samples.features.base import BATCH, Features, Given, Scaled, take
from tightbound.analysis.samples.features.fitting import fit_features, named
from tightbound.analysis.samples.neighbors import realized
from tightbound.analysis.samples.quality_shown import MEANING, figures, floor_table, verdict
from tightbound.analysis.samples.two_sample import Measured
from tightbound.analysis.samples.two_sample.resampling import BLOCKS, RESAMPLES, Array
from tightbound.components import Spec, make
from tightbound.core.errors import InputError, whole
from tightbound.core.latents import Draw
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data import Data
from tightbound.data.feed import Source, as_split
from tightbound.data.splits.indexed import ArraySplit
from tightbound.inference import infer

LEAST = 2 * BLOCKS  # rows that standard errors need
ELEMENTS = 512  # elements of x whose covariances are compared; picked at random if there are more
POINTS = 1000  # points per cloud in the figure

DESCRIPTIONS = {
    "frechet": "Fréchet distance of the features, as Gaussians; 0 is best, small samples raise it",
    "frechet_debiased": "the same minus the bias of small samples; about 0 is best",
    "kernel": "squared maximum mean discrepancy of the features; about 0 is best",
    "precision": "samples within neighborhoods of examples: are the samples plausible?",
    "recall": "examples within neighborhoods of samples: is all of the variety there?",
    "density": "mean number of neighborhoods of examples that a sample lies in, over k; about 1 is best",
    "coverage": "neighborhoods of examples that contain a sample: are modes dropped?",
    "diversity": "mean distance of two samples over that of two examples; below 1, samples are too alike",
    "class_entropy": "entropy of the samples' predicted classes; below the floor, some classes are rare",
    "class_distance": "samples that would have to change class to match the data; 0 is best",
    "mean_gap": "root mean square difference of the elements' means; 0 is best",
    "spread": "variance of the elements over that of the data; below 1, samples are too gray or too alike",
    "covariance_gap": "relative difference of the elements' covariances; 0 is best",
    "sharpness": "energy of the Laplacian over that of the data; below 1, samples are blurred, above 1, noisy",
    "classifier_accuracy": "accuracy of the classifier that gives the features, on the same examples",
}


@dataclass(frozen=True, repr=False)
class SampleQuality(Result):
    """How samples differ from data, and how training examples do: the floor."""

    @property
    def floor(self) -> dict[str, Estimate]:
        """The same estimates for training examples instead of samples; empty if no training data were given."""
        return {name: Estimate(**values) for name, values in self.details["floor"].items()}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95% intervals by name."""
        return {name: (low, high) for name, (low, high) in self.details["intervals"].items()}

    @property
    def classes(self) -> dict[str, list[float]]:
        """Shares of the predicted classes among "samples" and "data"; empty if the features know no classes."""
        return dict(self.details["classes"])

    def joined(self, other: SampleQuality) -> SampleQuality:
        """Return this result followed by another result on the same samples."""
        details = {
            name: {**value, **other.details[name]} if isinstance(value, dict) else value
            for name, value in self.details.items()
            if name in other.details
        }
        return replace(
            self,
            estimates={**self.estimates, **other.estimates},
            tables=[*self.tables, *other.tables],
            figures=[*self.figures, *other.figures],
            sentences=[*self.sentences, *other.sentences],
            caption=f"{self.caption} {other.caption}",
            details={**self.details, **details},
        )


def compare_samples(
    samples: Tensor | Array,
    real: Tensor | Array,
    *,
    features: str | Spec | nn.Module = "pca",
    train: Tensor | Array | None = None,
    neighbors: int = 5,
    seed: int = 0,
) -> SampleQuality:
    """Compare samples with real data, in features and in the elements of x.

    Args:
        samples: Samples (n, *shape) of any model.
        real: Data (m, *shape) that the model was not trained on.
        features: "pca(components=64)" or "identity", fitted to `train`; or what `fit_features` returned; or any module
            (B, *shape) -> (B, F).
        train: Training data (N, *shape), which features are fitted to and the floor is measured with; None: features
            are fitted to `real`, and there is no floor.
        neighbors: k of precision, recall, density and coverage.
        seed: Seed for resampling and for fitting the features.

    Raises:
        InputError: If shapes differ, there are fewer than 40 rows, or the features need labels.
    """
    x, y = torch.as_tensor(samples), torch.as_tensor(real)
    z = None if train is None else torch.as_tensor(train)
    for name, other in (("samples", x), ("train", z)):
        if other is not None and other.shape[1:] != y.shape[1:]:
            raise InputError(f"{name} have shape {tuple(other.shape)} and real data {tuple(y.shape)}; make them equal")
    fitting = ArraySplit((y if z is None else z).numpy())
    if isinstance(features, nn.Module):
        chosen = features if isinstance(features, Features) else Given(features)
        name = type(chosen.module if isinstance(chosen, Given) else chosen).__name__
    else:
        chosen = make("features", features, shape=tuple(y.shape[1:]))
        chosen.fit(fitting, seed)
        name = f"{features}, fitted to {'real' if z is None else 'training'} data"
    scaled = Scaled(tuple(y.shape[1:]))
    scaled.fit(fitting)
    about = {"features": name, "samples": "samples as given", "data": "real data as given"}
    if z is not None:
        z = z[torch.from_numpy(np.random.default_rng(key_seed("quality", seed)).permutation(len(z))[: len(x)])]
    return _judged(_Judge(chosen, scaled, neighbors, seed, about), x, y, z)


def sample_quality(
    model: VAE,
    data: Data,
    test: Source | None = None,
    *,
    name: str | None = None,
    n_samples: int = 5000,
    features: str | Spec | nn.Module = "auto",
    draw: bool = False,
    codes: Draw | None = None,
    neighbors: int = 5,
    seed: int = 0,
    trust: bool = False,
    progress: bool = False,
) -> SampleQuality:
    """Compare samples of a model with test data, and training data likewise; see `Quality` for its options.

    Draws from p(x|z) are compared with data as the likelihood sees them (binarized, ...). Values that are missing in
    the test examples are removed from the samples too.

    Args:
        model: The model.
        data: Data that the model was trained on: features are fitted to the training split.
        test: Examples to compare with; None: the test split.
        name: Name of these examples, for captions.
        n_samples: See `Quality`, like the options that are not named here.
        features: See `fit_features`.
        codes: Source of latent codes instead of the prior: `sample` of a latent sampler.
        neighbors: k of precision, recall, density and coverage.

    Raises:
        InputError: If there are fewer than 40 test examples, or the model completes examples.
    """
    whole("n_samples", n_samples, least=LEAST)
    refuse_completion(model)
    held = data.require_test() if test is None else as_split(model, test)
    real, other = take(held, n_samples, seed), take(data.train, n_samples, seed)
    n = min(len(real), len(other))
    if n < LEAST:
        raise InputError(
            f"{len(real)} test and {len(other)} training examples are too few to compare samples with; needed: {LEAST}"
        )
    real, other = real[:n], other[:n]
    fitted = fit_features(data, features, seed=seed, trust=trust, progress=progress)
    scaled = Scaled(data.shape, tuple(column.literal for column in data.domain.columns))
    scaled.fit(data.train)
    x = infer.sample(model, n, draw=draw, seed=seed, context=given_contexts(model, real), codes=codes)
    shown = [realized(model, batch, seed) if draw else batch.x for batch in (real, other)]
    source = "a fitted latent sampler" if codes is not None else "the prior"
    about = {
        "features": named(fitted, data, seed),
        "samples": f"{'draws from p(x|z)' if draw else 'E[x|z], smoother than draws'}; z from {source}",
        "data": (name or f"{data.name}, test split") + (f", {model.target_name}" if draw else ""),
    }
    judge = _Judge(fitted, scaled, neighbors, seed, about, progress)
    return _judged(judge, x.masked_fill(torch.isnan(real.x), torch.nan), shown[0], shown[1], real.label)


def refuse_completion(model: VAE) -> None:
    """Raise InputError if the model completes examples."""
    if model.context is not None and model.context.completes:
        raise InputError(
            "the model completes examples, so its samples would contain real data; use a model without the "
            "context 'visible'"
        )


def given_contexts(model: VAE, examples: Batch) -> Tensor | None:
    """Return the contexts of examples, to draw samples with the same contexts; None for an unconditional model."""
    return None if model.context is None else examples.beside


class _Judge(NamedTuple):
    """Features by which samples are compared."""

    features: Features
    scaled: Scaled
    neighbors: int
    seed: int
    about: Mapping[str, str]
    progress: bool = False


class _View(NamedTuple):
    """Return the features by which n examples are compared."""

    features: Array  # (n, F)
    elements: Array  # (n, D), of variance about 1 over the training data
    energy: Array | None  # (n,) of the Laplacian, for images
    classes: Array | None  # (n,) predicted, if the features know classes


def _judged(
    judge: _Judge, samples: Tensor, real: Tensor, other: Tensor | None, labels: Tensor | None = None
) -> SampleQuality:
    """Compare samples with real data, and other data with these, for the floor."""
    for name, rows in (("samples", samples), ("test examples", real), ("training examples", other)):
        if rows is not None and len(rows) < LEAST:
            raise InputError(f"{len(rows)} {name} are too few to compare; give at least {LEAST}")
    if whole("neighbors", judge.neighbors, least=1) >= LEAST - 3:
        raise InputError(f"neighbors = {judge.neighbors}; needed: a whole number of at most {LEAST - 4}")
    view, data = _look(judge, samples), _look(judge, real)
    about, count, n = judge.about, judge.features.classes, min(len(samples), len(real))
    estimates, intervals = _estimates(judge, view, data, n, about["samples"])
    floor, floor_intervals = {}, {}
    if other is not None:
        fitted = ", which the features were fitted to, so that it is rather high" if judge.features.fitted else ""
        floor, floor_intervals = _estimates(judge, _look(judge, other), data, n, f"training data{fitted}")
    if data.classes is not None and labels is not None:
        right = data.classes == labels.numpy()
        estimates["classifier_accuracy"] = found = share(
            right, unit="share", estimator="share of right predictions", target=f"labels of {about['data']}",
            description=DESCRIPTIONS["classifier_accuracy"],
        )  # fmt: skip
        value, error = scalar(found), scalar_error(found)
        inside = Measured(value, error, value - 1.96 * error, value + 1.96 * error).within(0.0, 1.0)
        intervals["classifier_accuracy"] = [float(inside.low), float(inside.high)]
    classes = {
        name: (np.bincount(part.classes, minlength=count) / len(part.classes)).round(6).tolist()
        for name, part in (("samples", view), ("data", data))
        if part.classes is not None
    }
    best = " Floor: as many training examples instead of samples, the best that can be expected." * bool(floor)
    return SampleQuality(
        estimates,
        tables=floor_table(estimates, floor),
        figures=figures(_points(view, data), classes),
        sentences=verdict(estimates, floor, MEANING),
        caption=f"{n:,} samples ({about['samples']}) against as many examples ({about['data']}). "
        f"Features: {about['features']}.{best}",
        details={
            "floor": {name: asdict(estimate) for name, estimate in floor.items()},
            "intervals": intervals,
            "floor_intervals": floor_intervals,
            "about": dict(about),
            "classes": classes,
        },
    )


def _estimates(
    judge: _Judge, view: _View, data: _View, n: int, target: str
) -> tuple[dict[str, Estimate], dict[str, list[float]]]:
    """Return all numbers with their 95% intervals."""
    from tqdm.auto import tqdm

    estimates, intervals = {}, {}
    shown = {"disable": not judge.progress or None, "desc": "comparing", "unit": "number", "leave": False}
    for name, (found, unit, how) in tqdm(_measured(judge, view, data), **shown):
        estimates[name] = Estimate(
            found.value, found.stderr, n=n, target=f"{target}; against {judge.about['data']}", unit=unit,
            estimator=how, description=DESCRIPTIONS[name],
        )  # fmt: skip
        if estimates[name].value is not None:
            intervals[name] = [float(found.low), float(found.high)]
    return estimates, intervals


def _look(judge: _Judge, x: Tensor) -> _View:
    """Return what is compared of examples x (n, *shape)."""
    features = judge.features.of(x)
    order = np.random.default_rng(key_seed("elements", judge.seed)).permutation(judge.scaled.size)
    pick = torch.from_numpy(np.sort(order[:ELEMENTS]))
    elements, energy, classes = [], [], None
    is_image = len(judge.scaled.shape) == 3 and min(judge.scaled.shape[1:]) >= 3
    for part in x.split(BATCH):
        each = judge.scaled(part)
        elements.append(each.flatten(1)[:, pick].double())
        if is_image:
            inner = each[..., 1:-1, 1:-1]
            around = each[..., :-2, 1:-1] + each[..., 2:, 1:-1] + each[..., 1:-1, :-2] + each[..., 1:-1, 2:]
            energy.append((around - 4 * inner).double().square().flatten(1).mean(1))
    if judge.features.classes:
        classes = torch.cat([judge.features.predict(part) for part in features.split(BATCH)]).numpy()
    energies = torch.cat(energy).numpy() if energy else None
    return _View(features.numpy(), torch.cat(elements).numpy(), energies, classes)


def _measured(judge: _Judge, x: _View, y: _View) -> Iterator[tuple[str, tuple[Measured, str, str]]]:
    """Yield name, value, unit and estimator of each number."""
    by, seed, k = f"features {judge.about['features']}", judge.seed, judge.neighbors
    resampled = f"bootstrap of rows ({RESAMPLES} resamples)"
    blocks = f"jackknife over {BLOCKS} blocks of rows"
    biased, debiased = two_sample.frechet(x.features, y.features, seed)
    yield "frechet", (biased, "feature variances", f"Fréchet distance, {by}; {blocks}")
    how = f"Fréchet distance minus its jackknife bias, {by}; {blocks}"
    yield "frechet_debiased", (debiased, "feature variances", how)
    kernel = two_sample.kernel_distance(x.features, y.features, seed)
    yield "kernel", (kernel, "squared kernel", f"unbiased MMD^2, kernel (x'y / F + 1)^3, {by}; {blocks}")
    for name, value in two_sample.neighbors(x.features, y.features, k, seed).items():
        yield name, (value, "ratio" if name == "density" else "share", f"{k} nearest neighbors, {by}; {blocks}")
    yield "diversity", (two_sample.diversity(x.features, y.features, seed), "ratio", f"all pairs, {by}; {blocks}")
    if x.classes is not None and y.classes is not None:
        count = judge.features.classes
        entropy = two_sample.class_entropy(x.classes, count, seed)
        yield "class_entropy", (entropy, "nats", f"predicted classes, {by}; {resampled}")
        distance = two_sample.class_distance(x.classes, y.classes, count, seed)
        yield "class_distance", (distance, "share", f"total variation of predicted classes, {by}; {resampled}")
    how = f"{x.elements.shape[1]} elements of x, scaled by the training data's deviation; {blocks}"
    for name, value in two_sample.elements(x.elements, y.elements, seed).items():
        yield name, (value, "standard deviations" if name == "mean_gap" else "ratio", how)
    if x.energy is not None and y.energy is not None:
        how = f"mean square of the Laplacian within images; {blocks}"
        yield "sharpness", (two_sample.mean_ratio(x.energy, y.energy, seed), "ratio", how)


def _points(samples: _View, data: _View) -> dict[str, list[list[float]]]:
    """Return the features on the first two principal axes of the data's features."""
    _, axes = np.linalg.eigh(np.atleast_2d(np.cov(data.features.T)))
    first, center = axes[:, ::-1][:, :2], data.features.mean(0)
    return {
        name: ((view.features[:POINTS] - center) @ first).round(3).tolist()
        for name, view in (("data", data), ("samples", samples))
    }
