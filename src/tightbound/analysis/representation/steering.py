"""Whether generated examples belong to the intended class, as a classifier of real examples sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate
from tightbound.analysis.representation.features import Inputs, check_names, inputs, into_domain
from tightbound.analysis.representation.supervised import LINEAR, Linear, accuracy
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.schema import UNNAMED, Schema
from tightbound.core.terms import UNKNOWN, Batch, class_numbers
from tightbound.data.feed import Source, pick
from tightbound.inference.attributes import Direction, class_labels, refuse_completion, vector_of_codes
from tightbound.inference.infer import decode, encode

STRENGTHS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Shifted:
    """The effect of adding an attribute vector to the latent codes of N examples.

    Attributes:
        vector: Attribute vector (latent,).
        strengths: Multiples of the vector that were added.
        estimates: Share of examples that are classified as the label, by strength: "+1".
        index: Positions (N,) of the examples in the test data.
        labels: True labels (N,).
        codes: Latent codes (N, latent) before the shift.
        x: Decoded means (N, strengths, *shape).
        predicted: Whether each is classified as the label (N, strengths).
    """

    vector: Tensor
    strengths: tuple[float, ...]
    estimates: Mapping[str, Estimate]
    index: Tensor
    labels: Tensor
    codes: Tensor
    x: Tensor
    predicted: Array


def steer(
    model: VAE,
    train: Source,
    test: Source,
    label: int,
    against: int | None = None,
    *,
    factor: int | None = None,
    direction: Direction = "means",
    strengths: Sequence[float] = STRENGTHS,
    max_examples: int = 500,
    max_fit: int = 10_000,
    names: Schema = UNNAMED,
    seed: int = 0,
) -> Shifted:
    """Shift latent codes along an attribute vector, decode them, and measure the effect with a linear probe.

    The shifted codes are those of test examples with other labels. Their decoded means are moved to the nearest values
    that data can have, encoded again, and classified by a linear probe of the latent codes of real training examples.

    Args:
        model: The model.
        train: Labeled examples that vector and probe are fitted to.
        test: Labeled examples whose latent codes are shifted.
        label, against, factor, direction, max_examples, seed: See `Attribute`.
        strengths: Multiples of the vector.
        max_fit: Fit to at most so many training examples, and look for the label in as many test examples.
        names: Names of the classes, for descriptions.

    Raises:
        InputError: If no example has such a label, or there are no strengths.
        CompositionError: If the model completes examples.
    """
    refuse_completion(model)
    check_names(train, test)
    whole("max_examples", max_examples, least=1)
    if not strengths or not np.isfinite(strengths).all():
        raise InputError(f"strengths = {tuple(strengths)}; needed: one finite number or more")
    known = encode(model, pick(model, train, max_fit, seed), seed=seed)
    labels = class_labels(known.label, factor)
    vector = vector_of_codes(known.mean, labels, label, against, names=names, direction=direction)
    codes = known.mean.double().numpy()
    probe = Linear(codes).fit(codes, labels.numpy())
    picked = pick(model, test, max_fit, seed)
    others = encode(model, picked, seed=seed)
    truth = class_labels(others.label, factor)
    rows = torch.nonzero(truth != label if against is None else truth == against).flatten()
    rows = rows[torch.from_numpy(np.random.default_rng(key_seed("steer", seed)).permutation(len(rows)))][:max_examples]
    if not len(rows):
        there = ", ".join(names.class_name(v) for v in truth.unique().tolist()[:20])
        wanted = "other than " + names.class_name(label) if against is None else names.class_name(against)
        raise InputError(f"no test example has a label {wanted}; they have labels {there}")
    start, context = others.mean[rows], None if others.context is None else others.context[rows]
    own, beside = (None if each is None else each[rows] for each in (others.label, picked.context))
    goal = names.class_name(label)
    moved_from = f"not of class {goal}" if against is None else f"of class {names.class_name(against)}"
    target = f"{LINEAR}, fitted to latent codes of training examples; decoded means are encoded again"
    estimates, decoded, predicted = {}, [], []
    for s in strengths:
        decoded.append(decode(model, start + s * vector, context=context))
        shifted = Batch(into_domain(model, decoded[-1]), label=own, context=beside)
        again = encode(model, shifted, seed=seed).mean.double().numpy()
        predicted.append(probe.predict(again) == label)
        estimates[f"{s:+g}"] = accuracy(predicted[-1]).estimate(
            unit="share", target=target, estimator="share; Wilson's standard error",
            description=f"share of {len(rows):,} test examples {moved_from}, shifted by {s:+g} vectors, that a "
            f"linear probe classifies as {goal}",
        )  # fmt: skip
    return Shifted(
        vector, tuple(strengths), estimates, picked.positions()[rows], truth[rows], start, torch.stack(decoded, 1),
        np.stack(predicted, 1),
    )  # fmt: skip


def _with_classes(model: VAE, source: Source, max_examples: int, seed: int) -> Inputs:
    """Return what a classifier of at most so many examples can look at, with their classes, if they have any."""
    found = inputs(model, pick(model, source, max_examples, seed), seed)
    numbers = None if found.labels is None else class_numbers(torch.from_numpy(found.labels))
    return Inputs(found.x, None if numbers is None else numbers.numpy())


def classified_as(
    model: VAE,
    generated: Tensor,
    label: int,
    train: Source,
    test: Source,
    *,
    neighbors: int = 5,
    max_examples: int = 10_000,
    names: Schema = UNNAMED,
    partial: bool = False,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the share of generated examples that k-NN on real examples classifies as a label.

    Args:
        model: The model.
        generated: Generated examples (N, *shape).
        label: The label.
        train: Labeled examples for k-NN.
        test: Labeled examples for comparison.
        neighbors: k of k-NN.
        max_examples: Use at most so many training and test examples, picked at random.
        names: Names of the classes, for descriptions.
        partial: Whether label -1 marks an unknown class, so that such examples are left out.
        seed: Random seed.

    Returns:
        "generated": the share, and "data": the same share of real test examples with this label.

    Raises:
        InputError: If there are no labels, or no test example has this label.
    """
    from sklearn.neighbors import KNeighborsClassifier

    known, real = (_with_classes(model, source, max_examples, seed) for source in (train, test))
    if partial and known.labels is not None:
        labeled = known.labels != UNKNOWN
        known = Inputs(known.x[labeled], known.labels[labeled])
    if known.labels is None or real.labels is None or not len(known.labels):
        raise InputError("the data have no labels; give data with class labels")
    own, goal = real.x[real.labels == label], names.class_name(label)
    if not len(own):
        raise InputError(f"no test example has label {goal}; give a label that some have")
    knn = KNeighborsClassifier(min(neighbors, len(known.x))).fit(known.x, known.labels)
    made = inputs(model, into_domain(model, generated), seed).x
    judged = {
        "generated": ("generated examples", made),
        "data": (f"test examples of class {goal}", own),
    }
    return {
        name: accuracy(np.asarray(knn.predict(x)) == label).estimate(
            unit="share", target=f"{neighbors}-NN on the input of the encoder, of {len(known.x):,} training examples",
            estimator="share; binomial standard error", description=f"{what} that are classified as {goal}",
        )
        for name, (what, x) in judged.items()
    }  # fmt: skip
