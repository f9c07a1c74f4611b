"""What codes are worth downstream: codes of training data fit, codes of test data judge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Analysis, Array, Estimate, estimate
from tightbound.analysis.representation import clustering, supervised
from tightbound.analysis.representation.doubt import about_errors, about_reconstructions
from tightbound.analysis.representation.features import inputs, reconstruction_error
from tightbound.analysis.representation.scored import Pair, accuracy, explained
from tightbound.analysis.representation.supervised import Supervised
from tightbound.analysis.representation.uncertainty import doubts
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, pick
from tightbound.inference.infer import encode

Task = Literal["auto", "classes", "numbers"]
MEMORY = 1 << 26  # numbers of encoder input that are held at once
CLASSES = 200  # whole labels of more different values are numbers
FEW = 10  # labels a class, of the number that stands for the curve
NAMES = {"": "posterior means", "draws": "one draw of q(z|x) each", "pca": "principal components of the input"}
METHODS = ("linear", "knn")


@dataclass(frozen=True)
class Probe(Analysis):
    """All numbers of a probe, by name, and what the pictures are of."""

    about: Mapping[str, Any]  # task, train, test, latent, classes, factors, neighbors, draws
    curve: Mapping[str, Any] | None = None  # of accuracy by the number of labels
    risk: Mapping[str, Any] | None = None  # of errors by coverage, for each doubt
    reason: str | None = None  # why there is no task

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            **super().to_json(), "about": dict(self.about), "curve": self.curve, "risk": self.risk,
            "reason": self.reason,
        }  # fmt: skip


def probe_codes(
    codes_train: Any,
    labels_train: Any,
    codes_test: Any,
    labels_test: Any,
    *,
    task: Task = "auto",
    neighbors: int = 5,
    seed: int = 0,
) -> Probe:
    """Linear and k-NN prediction, clustering and label efficiency of codes that you have, of any model.

    Arguments:
        codes_train, codes_test: (N, L) and (M, L).
        labels_train, labels_test: (N,) and (M,) classes or numbers, or (N, factors) and (M, factors) numbers.
        task: Whether labels are classes or numbers; "auto": whole ones (N,) of at most 200 values are classes.
        neighbors: k of k-NN.

    Raises:
        InputError: codes and labels that do not match, or of a single class.
    """
    codes, labels = (Pair(*map(_array, ends)) for ends in ((codes_train, codes_test), (labels_train, labels_test)))
    for name, x, y in (("training", codes.train, labels.train), ("test", codes.test, labels.test)):
        if x.ndim != 2 or len(x) != len(y) or len(x) < 2 or not np.isfinite(x).all():
            raise InputError(
                f"{name} codes have shape {x.shape} and labels {y.shape}; needed: finite (N, L) and (N,) or "
                "(N, factors), N of at least 2"
            )
    reason = _no_task(labels, task)
    if reason:
        raise InputError(reason)
    return _of_labels({"": codes}, labels, _task(labels, task), neighbors, seed).probe()


def probe(
    model: VAE,
    train: Source,
    test: Source,
    *,
    most: int = 10_000,
    task: Task = "auto",
    neighbors: int = 5,
    draws: int = 16,
    seed: int = 0,
) -> Probe:
    """What a model's codes are worth, from posterior means and from draws, against as many principal components of
    the encoder's input; and whether its doubt says where it errs.

    Arguments:
        train, test: Data with labels, to fit on and to judge on; without labels, doubt is compared with
            reconstruction error alone.
        most: Data of each that are looked at, picked at random.
        task, neighbors: As of `probe_codes`.
        draws: Of q(z | x) for each test example, for its predictive variance.

    Raises:
        InputError: fewer than 2 data of either, or an unknown task.
    """
    whole("draws", draws, least=2)
    most = max(2, min(whole("most", most, least=2), MEMORY // math.prod(model.shape)))
    seen, judged = pick(model, train, most, seed), pick(model, test, most, seed)
    coded = [encode(model, source, draw=True, seed=seed) for source in (seen, judged)]
    if min(len(codes.mean) for codes in coded) < 2:
        raise InputError("a probe needs at least 2 training and 2 test data")
    kinds = {"": Pair(*(_array(codes.mean) for codes in coded)), "draws": Pair(*(_array(c.sample) for c in coded))}
    kinds["pca"] = _principal(model, seen, judged, kinds[""].train.shape[1], seed)
    labels = None if any(c.label is None for c in coded) else Pair(*(_array(c.label) for c in coded))
    reason = "the data have no labels" if labels is None else _no_task(labels, task)
    if labels is None or reason:
        found = _Found(kinds, "none", neighbors, reason=reason)
        names = ("linear", "knn", "majority", "kmeans_nmi", "mixture_nmi")
        found.numbers = {name: _null(len(coded[1].mean), reason) for name in names}
    else:
        found = _of_labels(kinds, labels, _task(labels, task), neighbors, seed)
    linear = found.methods[""].linear if found.methods else None
    doubt = doubts(
        model, judged, probabilities=None if linear is None else linear.probabilities, draws=draws, seed=seed
    )
    found.about |= {"draws": draws}
    found.numbers |= about_reconstructions(doubt, reconstruction_error(model, judged, seed))
    if linear is not None and labels is not None:
        codes = kinds[""].test
        own = 1 - linear.probabilities(codes).max(1)
        numbers, found.risk = about_errors(doubt, own, linear.predict(codes) != labels.test, seed)
        found.numbers |= numbers
    return found.probe()


class _Found:
    """What is gathered on the way."""

    def __init__(self, kinds: Mapping[str, Pair], task: str, neighbors: int, reason: str | None = None) -> None:
        first = kinds[""]
        self.numbers: dict[str, Estimate] = {}
        self.methods: dict[str, Supervised] = {}
        self.about: dict[str, Any] = {
            "task": task, "train": len(first.train), "test": len(first.test), "latent": first.train.shape[1],
            "neighbors": neighbors, "pca": kinds["pca"].train.shape[1] if "pca" in kinds else None,
        }  # fmt: skip
        self.curve: dict[str, Any] | None = None
        self.risk: dict[str, Any] | None = None
        self.reason = reason

    def probe(self) -> Probe:
        return Probe(self.numbers, self.about, self.curve, self.risk, self.reason)


def _of_labels(kinds: Mapping[str, Pair], labels: Pair, task: str, neighbors: int, seed: int) -> _Found:
    whole("neighbors", neighbors, least=1)
    found = _Found(kinds, task, neighbors)
    if task == "numbers":
        labels = Pair(*(each.reshape(len(each), -1).astype(float) for each in (labels.train, labels.test)))
        found.about["factors"] = labels.train.shape[1]
        found.methods = {kind: supervised.regress(pair, labels, neighbors) for kind, pair in kinds.items()}
        base = explained(labels.test, np.broadcast_to(labels.train.mean(0), labels.test.shape))
        said = "the training data's mean is predicted for all: 0, and less by chance"
    else:
        classes, counts = np.unique(labels.train, return_counts=True)
        found.about["classes"] = len(classes)
        found.methods = {kind: supervised.classify(pair, labels, neighbors) for kind, pair in kinds.items()}
        base = accuracy(labels.test == classes[counts.argmax()])
        said = f"the most common class of the training data, {classes[counts.argmax()]}, is predicted for all"
    unit = "R^2" if task == "numbers" else "share right"
    facts = {"unit": unit, "target": f"labels of test data ({task})"}
    found.numbers["majority"] = base.number(**facts, estimator="no features", description=said)
    _compare(found, facts, neighbors)
    if task == "classes":
        _grouped(found, kinds, labels, seed)
        _curves(found, kinds, labels, neighbors, seed)
    else:
        why = "the labels are numbers, and groups are compared with classes"
        found.numbers |= {name: _null(len(labels.test), why) for name in ("kmeans_nmi", "mixture_nmi")}
    return found


def _compare(found: _Found, facts: Mapping[str, str], neighbors: int) -> None:
    """Each method on each kind of features, and paired differences to the posterior means."""
    linear = supervised.RIDGE if facts["unit"] == "R^2" else supervised.LINEAR
    how = {"linear": linear, "knn": supervised.nearest(neighbors)}
    reasons = {kind: method.reason for kind, method in found.methods.items()}
    for name in METHODS:
        for kind, method in found.methods.items():
            found.numbers[_joined(name, kind)] = method.scores[name].number(
                **facts, estimator=f"{how[name]}: of {NAMES[kind]}; fitted on {found.about['train']:,} training data",
                reason=reasons[kind] if name == "linear" else None, description=f"{name} on {NAMES[kind]}",
            )  # fmt: skip
        for kind, difference, description in (
            ("draws", "noise_cost", "what drawing z loses"),
            ("pca", "gain", "over PCA"),
        ):
            if kind in found.methods:
                found.numbers[f"{name}_{difference}"] = found.methods[""].scores[name].less(
                    found.methods[kind].scores[name],
                    **facts, estimator=f"paired difference, {NAMES['']} less {NAMES[kind]}", description=f"{name}: {description}",
                )  # fmt: skip


def _grouped(found: _Found, kinds: Mapping[str, Pair], labels: Pair, seed: int) -> None:
    for kind, pair in kinds.items():
        for method, (groups, reason) in clustering.clusters(pair, found.about["classes"], seed).items():
            facts = {"unit": "1 is perfect", "target": "classes of test data", "reason": reason}
            facts["estimator"] = f"{clustering.HOW[method]}, of {NAMES[kind]}; bootstrap of test data"
            for name, number in clustering.agreement(labels.test, groups, seed, **facts).items():
                found.numbers[_joined(f"{method}_{name}", kind)] = number


def _curves(found: _Found, kinds: Mapping[str, Pair], labels: Pair, neighbors: int, seed: int) -> None:
    shown = {kind: pair for kind, pair in kinds.items() if kind != "draws"}
    sizes, scores = supervised.label_curve(list(shown.values()), labels, neighbors, seed=seed)
    if not sizes:
        return
    draws = scores.shape[-1]
    found.curve = {"labels_a_class": sizes, "draws": draws, "all": found.about["train"]}
    for i, kind in enumerate(shown):
        for j, name in enumerate(METHODS):
            own = scores[i, j]
            key = _joined(name, kind)
            found.curve[key] = {"mean": own.mean(-1).tolist(), "sd": own.std(-1, ddof=1).tolist()}
            if FEW in sizes:
                at = own[sizes.index(FEW)]
                found.numbers[_joined(f"{name}_{FEW}_labels", kind)] = estimate(
                    at.mean(), at.std(ddof=1) / math.sqrt(draws), n=len(labels.test), unit="share right",
                    target="labels of test data (classes)", description=f"{name} on {NAMES[kind]}, {FEW} labels a class",
                    estimator=f"mean over {draws} draws of the labeled data, whose spread is the standard error",
                )  # fmt: skip


def _principal(model: VAE, train: Batch, test: Batch, size: int, seed: int) -> Pair:
    """As many principal components of the encoder's input as a code has dimensions, or as there are."""
    from sklearn.decomposition import PCA

    x = inputs(model, train, seed).x
    state = key_seed("pca", seed) % 2**32
    pca = PCA(min(size, *x.shape), random_state=state).fit(x)
    return Pair(pca.transform(x), pca.transform(inputs(model, test, seed).x))


def _task(labels: Pair, task: Task) -> Literal["classes", "numbers"]:
    if task != "auto":
        return task
    y = labels.train
    classes = y.ndim == 1 and (y.dtype.kind != "f" or (y == np.rint(y)).all()) and len(np.unique(y)) <= CLASSES
    return "classes" if classes else "numbers"


def _no_task(labels: Pair, task: Task) -> str | None:
    """Why labels cannot be predicted or judged by; None: they can."""
    if task not in get_args(Task):
        raise InputError(f"task = {task!r}; needed: one of {', '.join(get_args(Task))}")
    both = (labels.train, labels.test)
    if any(y.dtype.kind == "f" and not np.isfinite(y).all() for y in both):
        return "labels hold values that are not finite; give a number for each example"
    if _task(labels, task) == "classes":
        if labels.train.ndim != 1:
            return f"labels of shape {labels.train.shape} are no classes (N,); probe them as numbers"
        if len(np.unique(labels.train)) < 2:
            return "the training data have one class; give data of two classes or more"
    return None


def _null(n: int, reason: str | None) -> Estimate:
    return Estimate(None, None, n, unit="share right", estimator="none", target="labels of test data", reason=reason)


def _joined(name: str, kind: str) -> str:
    return f"{name}_{kind}" if kind else name


def _array(values: Tensor | Array | Any) -> Array:
    """In double precision where it holds fractions."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    return array.astype(np.float64) if array.dtype.kind == "f" else array
