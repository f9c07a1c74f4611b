"""How like the data a model's samples are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tightbound.analysis.estimate import Analysis, Estimate, mean
from tightbound.analysis.samples import two_sample
from tightbound.analysis.samples.features.base import BATCH, Features, Given, Scaled, take
from tightbound.analysis.samples.features.fitting import fit_features, named
from tightbound.analysis.samples.neighbors import realized
from tightbound.analysis.samples.two_sample import Measured
from tightbound.analysis.samples.two_sample.resampling import BLOCKS, RESAMPLES, Array
from tightbound.components import Spec, make
from tightbound.core.errors import InputError, whole
from tightbound.core.interfaces import Draw
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.data import Data
from tightbound.data.split import ArraySplit
from tightbound.inference import infer

LEAST = 2 * BLOCKS  # data, so that the uncertainty of a number can be told
ELEMENTS = 512  # of x that covariances are computed of, picked at random where there are more
POINTS = 1000  # of each picture

DESCRIPTIONS = {
    "frechet": "Frechet distance of the features, as Gaussians; 0 is best, few data raise it",
    "frechet_debiased": "the same less the bias of few data; about 0 is best",
    "kernel": "maximum mean discrepancy of the features, squared; about 0 is best",
    "precision": "samples within the neighborhoods of data: are they plausible?",
    "recall": "data within the neighborhoods of samples: is all their variety there?",
    "density": "neighborhoods of data that a sample lies in, over k; about 1 is best",
    "coverage": "neighborhoods of data that hold a sample: are modes dropped?",
    "diversity": "mean distance of two samples over that of two data; less than 1 is sameness",
    "class_entropy": "of the samples' predicted classes; less than the floor: classes are rare",
    "class_distance": "samples that would have to change class for the data's shares; 0 is best",
    "mean_gap": "difference of the elements' means, root mean square; 0 is best",
    "spread": "variance of the elements over that of data; less than 1 is grayness or sameness",
    "covariance_gap": "difference of the elements' covariances, relative; 0 is best",
    "sharpness": "energy of the Laplacian over that of data; less than 1 is blur, more is noise",
    "classifier_accuracy": "of the features' classifier on the labels of the same data",
}


@dataclass(frozen=True)
class Quality(Analysis):
    """How samples differ from data, number by number, and how other data of the same source do: the floor."""

    floor: Mapping[str, Estimate]  # training against test data; empty where no training data were given
    intervals: Mapping[str, tuple[float, float]]  # 95%, by number
    floor_intervals: Mapping[str, tuple[float, float]]
    about: Mapping[str, Any]  # features, samples and data, in words
    classes: Mapping[str, list[float]]  # shares of predicted classes among samples and data; empty where none are known
    points: Mapping[str, list[list[float]]]  # first two principal axes of the data's features, of samples and data

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "numbers": _with_intervals(self.numbers, self.intervals),
            "floor": _with_intervals(self.floor, self.floor_intervals),
            "about": dict(self.about),
            "classes": dict(self.classes),
            "points": dict(self.points),
        }


def _with_intervals(
    numbers: Mapping[str, Estimate], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, dict[str, Any]]:
    known = {name: list(bounds) for name, bounds in intervals.items() if numbers[name].value is not None}
    return {name: {**asdict(number), "interval": known.get(name)} for name, number in numbers.items()}


def quality(
    samples: Tensor | Array,
    real: Tensor | Array,
    *,
    features: str | Spec | nn.Module = "pca",
    train: Tensor | Array | None = None,
    neighbors: int = 5,
    seed: int = 0,
) -> Quality:
    """How samples (n, *shape) differ from real data (m, *shape), in features and in their elements.

    Arguments:
        real: Data that the samples' model was not trained on.
        features: "pca(components=64)" or "identity", fitted to `train`; or a map that `fit_features` gave; or any
            module (B, *shape) -> (B, F).
        train: (N, *shape) what features are fitted to, and the floor is measured with; None: features are fitted to
            `real`, and there is no floor.
        neighbors: k of precision, recall, density and coverage.
        seed: Of resampling, and of the features' fit.

    Raises:
        InputError: shapes that differ, fewer than 40 rows, or features that need labels.
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
    floor = None if z is None else _pick(z, len(x), seed)
    return _judge(_Judge(chosen, scaled, neighbors, seed, about), x, y, floor)


def sample_quality(
    model: VAE,
    data: Data,
    *,
    n: int = 5000,
    features: str | Spec | nn.Module = "auto",
    draw: bool = False,
    codes: Draw | None = None,
    neighbors: int = 5,
    seed: int = 0,
    trust: bool = False,
    progress: bool = False,
) -> Quality:
    """How samples of a model differ from test data, in features and in their elements, and how training data do.

    Samples of a conditional model are given the contexts of the test data that they are compared with. Where entries of
    these are missing, the same entries of samples are left out.

    Arguments:
        data: What the model was trained on: features are fitted to the training split; compared is the test split.
        n: Samples, against as many test data, and for the floor training data; fewer where there are fewer.
        features: See `fit_features`.
        draw: Draw x from p(x | z), and compare with data as the likelihood sees them (binarized, ...); False: show
            E[x | z], which is smoother than data are.
        codes: In place of the prior: a sampler's `sample`.
        neighbors: k of precision, recall, density and coverage.
        trust: Import features from outside tightbound.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: fewer than 40 test data, or a model that completes data.

    References:
        Of each number in `tightbound.analysis.samples.two_sample`.
    """
    whole("n", n, least=LEAST)
    if model.context is not None and model.context.completes:
        raise InputError(
            "the model completes data and draws none of its own, so that its samples would hold real data; "
            "use a model without the context 'visible'"
        )
    real, other = take(data.require_test(), n, seed), take(data.train, n, seed)
    for name, rows in (("test", real), ("training", other)):
        if len(rows) < LEAST:
            raise InputError(f"{len(rows)} {name} data are too few to hold samples against; {LEAST} are needed")
    n = min(len(real), len(other))
    real, other = real[:n], other[:n]
    fitted = fit_features(data, features, seed=seed, trust=trust, progress=progress)
    scaled = Scaled(data.shape, tuple(column.described for column in data.domain.columns))
    scaled.fit(data.train)
    context = None if model.context is None else real.label if real.context is None else real.context
    x = infer.sample(model, n, draw=draw, seed=seed, context=context, codes=codes)
    shown = [realized(model, batch, seed) if draw else batch.x for batch in (real, other)]
    drawn = "a fitted sampler" if codes is not None else "the prior"
    about = {
        "features": named(fitted, data, seed),
        "samples": f"{'draws from p(x|z)' if draw else 'E[x|z], smoother than draws'}; z from {drawn}",
        "data": f"test data of {data.name}" + (f", {model.target_name}" if draw else ""),
    }
    judge = _Judge(fitted, scaled, neighbors, seed, about, progress)
    return _judge(judge, x.masked_fill(torch.isnan(real.x), torch.nan), shown[0], shown[1], real.label)


def _pick(x: Tensor, n: int, seed: int) -> Tensor:
    order = np.random.default_rng(key_seed("quality", seed)).permutation(len(x))
    return x[torch.from_numpy(order[:n])]


@dataclass(frozen=True)
class _Judge:
    """What samples are judged by."""

    features: Features
    scaled: Scaled
    neighbors: int
    seed: int
    about: Mapping[str, Any]
    progress: bool = False

    @property
    def seen(self) -> str:
        """What the floor is too high by."""
        return ", to which the features were fitted, so that it is rather high" if self.features.fitted else ""


@dataclass(frozen=True)
class _View:
    """Of n data."""

    features: Array  # (n, F)
    elements: Array  # (n, D), of variance about 1 over the training data
    energy: Array | None  # (n,) of the Laplacian, of images
    classes: Array | None  # (n,) predicted, where features know classes


def _judge(judge: _Judge, samples: Tensor, real: Tensor, other: Tensor | None, labels: Tensor | None = None) -> Quality:
    from tqdm.auto import tqdm

    for name, rows in (("samples", samples), ("test data", real), ("training data", other)):
        if rows is not None and len(rows) < LEAST:
            raise InputError(f"{len(rows)} {name} are too few to be compared; give at least {LEAST}")
    whole("neighbors", judge.neighbors, least=1)
    if judge.neighbors >= LEAST - 3:
        raise InputError(f"neighbors = {judge.neighbors}; needed: a whole number of at most {LEAST - 4}")
    views = [_look(judge, x) for x in (samples, real, other) if x is not None]
    sizes = len(samples), len(real)
    found: list[tuple[dict[str, Estimate], dict[str, tuple[float, float]]]] = []
    total = len(_names(views[1])) * (len(views) - 1)
    with tqdm(total=total, disable=not judge.progress or None, desc="comparing", unit="number", leave=False) as bar:
        for i, view in enumerate((views[0], *views[2:])):
            numbers: dict[str, Estimate] = {}
            intervals: dict[str, tuple[float, float]] = {}
            target = judge.about["samples"] if i == 0 else f"training data{judge.seen}"
            facts: dict[str, Any] = {"n": min(sizes), "target": f"{target}; against {judge.about['data']}"}
            for name, (value, unit, how) in _measure(judge, view, views[1]):
                facts |= {"unit": unit, "estimator": how, "description": DESCRIPTIONS[name]}
                numbers[name] = Estimate(value.value, value.stderr, **facts)
                intervals[name] = (float(value.low), float(value.high))
                bar.update()
            found.append((numbers, intervals))
    numbers, intervals = found[0]
    if views[1].classes is not None and labels is not None:
        right = (views[1].classes == labels.numpy()).astype(float)
        target, description = f"labels of {judge.about['data']}", DESCRIPTIONS["classifier_accuracy"]
        numbers["classifier_accuracy"] = mean(
            right, unit="share", estimator="share of right predictions", target=target, description=description
        )
        stderr = float(right.std(ddof=1)) / len(right) ** 0.5
        share = Measured(float(right.mean()), stderr, right.mean() - 1.96 * stderr, right.mean() + 1.96 * stderr)
        share = share.share(len(right))
        intervals["classifier_accuracy"] = (float(share.low), float(share.high))
    floor, floor_intervals = found[1] if other is not None else ({}, {})
    return Quality(numbers, floor, intervals, floor_intervals, judge.about, _shares(judge, views), _points(views))


def _look(judge: _Judge, x: Tensor) -> _View:
    features = judge.features.of(x)
    size = judge.scaled.size
    order = np.random.default_rng(key_seed("elements", judge.seed)).permutation(size)
    pick = torch.from_numpy(np.sort(order[:ELEMENTS]))
    elements, energy = [], []
    is_image = len(judge.scaled.shape) == 3 and min(judge.scaled.shape[1:]) >= 3
    for part in x.split(BATCH):
        each = judge.scaled(part)
        elements.append(each.flatten(1)[:, pick].double())
        if is_image:
            inner = each[..., 1:-1, 1:-1]
            around = each[..., :-2, 1:-1] + each[..., 2:, 1:-1] + each[..., 1:-1, :-2] + each[..., 1:-1, 2:]
            energy.append((around - 4 * inner).double().square().flatten(1).mean(1))
    classes = None
    if judge.features.classes:
        classes = torch.cat([judge.features.predict(part) for part in features.split(BATCH)]).numpy()
    energies = torch.cat(energy).numpy() if energy else None
    return _View(features.numpy(), torch.cat(elements).numpy(), energies, classes)


def _names(view: _View) -> list[str]:
    """What is measured of such data."""
    absent = {"classifier_accuracy"} | ({"class_entropy", "class_distance"} if view.classes is None else set())
    absent |= {"sharpness"} if view.energy is None else set()
    return [name for name in DESCRIPTIONS if name not in absent]


def _measure(judge: _Judge, x: _View, y: _View) -> Iterator[tuple[str, tuple[Measured, str, str]]]:
    """Name, value, unit and how it was estimated."""
    by, seed, k = f"features {judge.about['features']}", judge.seed, judge.neighbors
    resampled = f"bootstrap of rows ({RESAMPLES} resamples)"
    blocks = f"jackknife over {BLOCKS} blocks of rows"
    biased, debiased = two_sample.frechet(x.features, y.features, seed)
    yield "frechet", (biased, "feature variances", f"Frechet distance, {by}; {blocks}")
    yield (
        "frechet_debiased",
        (debiased, "feature variances", f"Frechet distance less its jackknife bias, {by}; {blocks}"),
    )
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
    some = f"{x.elements.shape[1]} elements of x, scaled by the training data's deviation; {blocks}"
    yield "mean_gap", (two_sample.mean_gap(x.elements, y.elements, seed), "standard deviations", some)
    yield "spread", (two_sample.spread(x.elements, y.elements, seed), "ratio", some)
    yield "covariance_gap", (two_sample.covariance_gap(x.elements, y.elements, seed), "ratio", some)
    if x.energy is not None and y.energy is not None:
        how = f"mean square of the Laplacian within images; {blocks}"
        yield "sharpness", (two_sample.mean_ratio(x.energy, y.energy, seed), "ratio", how)


def _shares(judge: _Judge, views: list[_View]) -> dict[str, list[float]]:
    count = judge.features.classes
    pairs = (("samples", views[0].classes), ("data", views[1].classes))
    return {
        name: (np.bincount(classes, minlength=count) / len(classes)).round(6).tolist()
        for name, classes in pairs
        if classes is not None
    }


def _points(views: list[_View]) -> dict[str, list[list[float]]]:
    """On the first two principal axes of the data's features."""
    data = views[1].features
    center = data.mean(0)
    _, axes = np.linalg.eigh(np.atleast_2d(np.cov(data.T)))
    first = axes[:, ::-1][:, :2]
    return {
        name: ((view.features[:POINTS] - center) @ first).round(3).tolist()
        for name, view in (("samples", views[0]), ("data", views[1]))
    }
