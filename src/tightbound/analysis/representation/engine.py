"""Probes of latent codes: codes of training examples are fitted to, codes of test examples are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, estimate
from tightbound.analysis.representation import clustering, supervised
from tightbound.analysis.representation.features import check_names, inputs, reconstruction_error
from tightbound.analysis.representation.probe import Task
from tightbound.analysis.representation.shown import METHODS, Probed, result_of
from tightbound.analysis.representation.supervised import Pair, accuracy, explained
from tightbound.analysis.representation.uncertainty import about_errors, about_reconstructions, uncertainty
from tightbound.analysis.result import Result
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import UNKNOWN, Batch, class_numbers
from tightbound.data.feed import Source, pick
from tightbound.inference.infer import encode

CLASSES = 200  # integer labels with more different values are numbers
FEW = 10  # labels per class, for the estimate that stands for the curve
KINDS = {"": "posterior means", "draws": "one draw of q(z|x) each", "pca": "principal components of the input"}


def probe_codes(
    codes_train: Any,
    labels_train: Any,
    codes_test: Any,
    labels_test: Any,
    *,
    task: Task = "auto",
    neighbors: int = 5,
    seed: int = 0,
) -> Result:
    """Measure prediction, clustering and label efficiency of latent codes that you have, from any model.

    Args:
        codes_train: Latent codes (N, L) to fit to.
        labels_train: Classes or numbers (N,), or numbers (N, factors).
        codes_test: Latent codes (M, L) to judge by.
        labels_test: Their labels (M,) or (M, factors).
        task: Whether labels are classes or numbers; "auto": integers with at most 200 values are classes.
        neighbors: k of k-NN.
        seed: Random seed.

    Raises:
        InputError: If codes and labels do not match, or there is only one class.
    """
    codes, labels = (Pair(*map(_array, ends)) for ends in ((codes_train, codes_test), (labels_train, labels_test)))
    for name, x, y in (("training", codes.train, labels.train), ("test", codes.test, labels.test)):
        if x.ndim != 2 or len(x) != len(y) or len(x) < 2 or not np.isfinite(x).all():
            raise InputError(
                f"{name} codes have shape {x.shape} and labels {y.shape}; needed: finite codes (N, L) and labels (N,) "
                "or (N, factors), N of at least 2"
            )
    reason = _no_task(labels, task)
    if reason:
        raise InputError(reason)
    return result_of(_predict({"": codes}, labels, _task(labels, task), neighbors, seed), "given codes")


def probe(
    model: VAE,
    train: Source,
    test: Source,
    *,
    max_examples: int = 10_000,
    task: Task = "auto",
    neighbors: int = 5,
    samples: int = 16,
    seed: int = 0,
    partial: bool = False,
    memory: int = 1 << 26,
) -> Probed:
    """Measure what a model's latent codes are worth, and whether its uncertainty says where it errs.

    Posterior means and draws are compared with as many principal components of the encoder's input.

    Args:
        model: The model.
        train: Labeled examples to fit to.
        test: Labeled examples to judge by. Without labels, uncertainty is compared with reconstruction errors alone.
        max_examples, task, neighbors, samples, seed: See `Probe`.
        partial: Whether label -1 marks an unknown class, so that such examples are left out if others have labels.
        memory: Numbers of encoder input held at once, which limits the examples further.

    Raises:
        InputError: If there are fewer than 2 examples of either, or the task is unknown.
    """
    whole("samples", samples, least=2)
    check_names(train, test)
    max_examples = max(2, min(whole("max_examples", max_examples, least=2), memory // math.prod(model.shape)))
    seen, judged = pick(model, train, max_examples, seed), pick(model, test, max_examples, seed)
    if partial:
        seen, judged = _labeled(seen), _labeled(judged)
    coded = [encode(model, source, draw=True, seed=seed) for source in (seen, judged)]
    if min(len(codes.mean) for codes in coded) < 2:
        raise InputError("one training or test example was given to a probe; give two or more of each")
    kinds = {"": Pair(*(_array(codes.mean) for codes in coded)), "draws": Pair(*(_array(c.sample) for c in coded))}
    kinds["pca"] = _principal(model, seen, judged, kinds[""].train.shape[1], seed)
    labels = None if any(c.label is None for c in coded) else Pair(*(_labels(c.label) for c in coded))
    reason = "the data have no labels" if labels is None else _no_task(labels, task)
    if labels is None or reason:
        found = Probed(_about(kinds, "none", neighbors), reason)
        names = ("linear", "knn", "majority", "kmeans_nmi", "mixture_nmi")
        found.estimates = {name: _missing(len(coded[1].mean), reason) for name in names}
    else:
        found = _predict(kinds, labels, _task(labels, task), neighbors, seed)
    linear = found.methods[""].linear if found.methods else None
    probabilities = None if linear is None else linear.probabilities
    doubt = uncertainty(model, judged, probabilities=probabilities, samples=samples, seed=seed)
    found.about["samples"] = samples
    found.estimates |= about_reconstructions(doubt, reconstruction_error(model, judged, seed))
    if linear is not None and labels is not None:
        codes = kinds[""].test
        own = 1 - linear.probabilities(codes).max(1)
        estimates, found.risk = about_errors(doubt, own, linear.predict(codes) != labels.test, seed)
        found.estimates |= estimates
    return found


def _labeled(batch: Batch) -> Batch:
    """Return the examples whose class is known, or all examples without their labels if fewer than 2 are known."""
    numbers = class_numbers(batch.label)
    if numbers is None:
        return batch
    known = torch.nonzero(numbers != UNKNOWN)[:, 0]
    return batch[known] if len(known) > 1 else replace(batch, label=None)


def _labels(labels: Any) -> Array:
    """Return labels as an array, one-hot rows as the numbers of their classes."""
    numbers = class_numbers(labels)
    return _array(labels if numbers is None else numbers)


def _about(kinds: Mapping[str, Pair], task: str, neighbors: int) -> dict[str, Any]:
    first = kinds[""]
    return {
        "task": task, "train": len(first.train), "test": len(first.test), "latent": first.train.shape[1],
        "neighbors": neighbors, "pca": kinds["pca"].train.shape[1] if "pca" in kinds else None,
    }  # fmt: skip


def _predict(kinds: Mapping[str, Pair], labels: Pair, task: str, neighbors: int, seed: int) -> Probed:
    whole("neighbors", neighbors, least=1)
    found = Probed(_about(kinds, task, neighbors))
    if task == "numbers":
        labels = Pair(*(each.reshape(len(each), -1).astype(float) for each in (labels.train, labels.test)))
        found.about["factors"] = labels.train.shape[1]
        found.methods = {kind: supervised.regress(pair, labels, neighbors) for kind, pair in kinds.items()}
        base = explained(labels.test, np.broadcast_to(labels.train.mean(0), labels.test.shape))
        description = "the mean of the training labels is predicted for all: 0, or less by chance"
    else:
        classes, counts = np.unique(labels.train, return_counts=True)
        found.about["classes"] = len(classes)
        found.methods = {kind: supervised.classify(pair, labels, neighbors) for kind, pair in kinds.items()}
        base = accuracy(labels.test == classes[counts.argmax()])
        description = f"the most common class of the training data, {classes[counts.argmax()]}, is predicted for all"
    unit = "R^2" if task == "numbers" else "share right"
    facts = {"unit": unit, "target": f"labels of test data ({task})"}
    found.estimates["majority"] = base.estimate(**facts, estimator="no features", description=description)
    _compare(found, facts, neighbors)
    if task == "classes":
        _cluster(found, kinds, labels, seed)
        _label_curves(found, kinds, labels, neighbors, seed)
    else:
        why = "the labels are numbers, and clusters are compared with classes"
        found.estimates |= {name: _missing(len(labels.test), why) for name in ("kmeans_nmi", "mixture_nmi")}
    return found


def _compare(found: Probed, facts: Mapping[str, str], neighbors: int) -> None:
    """Add the score of each method on each kind of features, and paired differences to the posterior means."""
    linear = supervised.RIDGE if facts["unit"] == "R^2" else supervised.LINEAR
    how = {"linear": linear, "knn": supervised.nearest(neighbors)}
    reasons = {kind: method.reason for kind, method in found.methods.items()}
    for name in METHODS:
        for kind, method in found.methods.items():
            found.estimates[_joined(name, kind)] = method.scores[name].estimate(
                **facts, estimator=f"{how[name]}, from {KINDS[kind]}; fitted to {found.about['train']:,} examples",
                reason=reasons[kind] if name == "linear" else None, description=f"{name} on {KINDS[kind]}",
            )  # fmt: skip
        for kind, difference, description in (
            ("draws", "noise_cost", "loss from drawing z"),
            ("pca", "gain", "gain over PCA"),
        ):
            if kind in found.methods:
                found.estimates[f"{name}_{difference}"] = found.methods[""].scores[name].minus(
                    found.methods[kind].scores[name],
                    **facts, estimator=f"paired difference, {KINDS['']} minus {KINDS[kind]}",
                    description=f"{name}: {description}",
                )  # fmt: skip


def _cluster(found: Probed, kinds: Mapping[str, Pair], labels: Pair, seed: int) -> None:
    for kind, pair in kinds.items():
        for method, (groups, reason) in clustering.clusters(pair, found.about["classes"], seed).items():
            facts = {"unit": "1 is perfect", "target": "classes of test data", "reason": reason}
            facts["estimator"] = f"{clustering.METHODS[method]}, from {KINDS[kind]}; bootstrap of test examples"
            for name, each in clustering.agreement(labels.test, groups, seed, **facts).items():
                found.estimates[_joined(f"{method}_{name}", kind)] = each


def _label_curves(found: Probed, kinds: Mapping[str, Pair], labels: Pair, neighbors: int, seed: int) -> None:
    shown = {kind: pair for kind, pair in kinds.items() if kind != "draws"}
    sizes, scores = supervised.label_curve(list(shown.values()), labels, neighbors, seed=seed)
    if not sizes:
        return
    draws = scores.shape[-1]
    found.curve = {"labels_per_class": sizes, "draws": draws, "all": found.about["train"]}
    for i, kind in enumerate(shown):
        for j, name in enumerate(METHODS):
            own = scores[i, j]
            key = _joined(name, kind)
            found.curve[key] = {"mean": own.mean(-1).tolist(), "sd": own.std(-1, ddof=1).tolist()}
            if FEW in sizes:
                at = own[sizes.index(FEW)]
                found.estimates[_joined(f"{name}_{FEW}_labels", kind)] = estimate(
                    at.mean(), at.std(ddof=1) / math.sqrt(draws), n=len(labels.test), unit="share right",
                    target="labels of test data (classes)",
                    description=f"{name} on {KINDS[kind]}, {FEW} labels per class",
                    estimator=f"mean over {draws} draws of the labeled examples, and its standard error",
                )  # fmt: skip


def _principal(model: VAE, train: Batch, test: Batch, size: int, seed: int) -> Pair:
    """Return as many principal components of the encoder's input as latent dimensions, or as there are."""
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
    """Return why labels cannot be predicted; None: they can."""
    if task not in get_args(Task):
        raise InputError(f"task = {task!r}; needed: one of {', '.join(get_args(Task))}")
    both = (labels.train, labels.test)
    if any(y.dtype.kind == "f" and not np.isfinite(y).all() for y in both):
        return "the labels are not all finite; give a number for each example"
    if _task(labels, task) == "classes":
        if labels.train.ndim != 1:
            return f"labels of shape {labels.train.shape} are not classes (N,); probe them as numbers"
        if len(np.unique(labels.train)) < 2:
            return "the training data have one class; give data of two classes or more"
    return None


def _missing(n: int, reason: str | None) -> Estimate:
    return Estimate.missing(str(reason), n=n, unit="share right", target="labels of test data")


def _joined(name: str, kind: str) -> str:
    return f"{name}_{kind}" if kind else name


def _array(values: Tensor | Array | Any) -> Array:
    """Return an array, in double precision if it holds fractions."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    return array.astype(np.float64) if array.dtype.kind == "f" else array
