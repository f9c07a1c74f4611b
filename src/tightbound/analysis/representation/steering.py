"""Whether what is made of codes is of the class that was meant, as a classifier of real data sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Estimate
from tightbound.analysis.representation.features import inputs, into_domain
from tightbound.analysis.representation.scored import accuracy
from tightbound.analysis.representation.supervised import LINEAR, Linear
from tightbound.core.errors import InputError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import key_seed
from tightbound.core.terms import Batch
from tightbound.data.feed import Source, pick
from tightbound.inference.attributes import Direction, class_labels, refuse_completion, vector_of_codes
from tightbound.inference.infer import decode, encode

STRENGTHS = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
LIMIT = 10_000  # data that a classifier is fitted on, at most


@dataclass(frozen=True)
class Steering:
    """What adding an attribute vector does."""

    vector: Tensor  # (latent,)
    strengths: tuple[float, ...]
    numbers: Mapping[str, Estimate]  # by strength, "+1.0": the share that is called the label
    codes: Tensor  # (shown, latent) of some of the data
    context: Tensor | None  # (shown, *context) of a conditional model
    labels: Tensor  # (shown,)

    def __getitem__(self, name: str) -> Estimate:
        return self.numbers[name]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        numbers = {name: asdict(number) for name, number in self.numbers.items()}
        return {"numbers": numbers, "strengths": list(self.strengths), "vector": self.vector.tolist()}

    def pictures(self, model: VAE) -> list[Tensor]:
        """(shown, *shape) E[x | z] at each strength."""
        return [decode(model, self.codes + s * self.vector, context=self.context) for s in self.strengths]


def steer(
    model: VAE,
    train: Source,
    test: Source,
    of: int,
    against: int | None = None,
    *,
    factor: int | None = None,
    direction: Direction = "means",
    strengths: Sequence[float] = STRENGTHS,
    most: int = 500,
    shown: int = 8,
    seed: int = 0,
) -> Steering:
    """Adds an attribute vector to codes of test data of other classes, decodes, encodes again, and asks a linear probe
    of real training data's codes which class that is.

    Decoded means are moved to the nearest values that data can have before they are encoded.

    Arguments:
        train, test: Labeled data: vector and probe are of the one, the codes that are moved of the other.
        of, against, factor, direction: As of `attribute_vector`; data of class `against` are moved, or of all others.
        strengths: What the vector is multiplied by.
        most: Test data that are moved, picked at random.
        shown: How many of them `Steering` keeps for a picture.

    Raises:
        InputError: no such labels; no strengths.
    """
    refuse_completion(model)
    whole("most", most, least=1)
    if not strengths or not np.isfinite(strengths).all():
        raise InputError(f"strengths = {tuple(strengths)}; needed: one finite number or more")
    known = encode(model, pick(model, train, LIMIT, seed), seed=seed)
    labels = class_labels(known.label, factor)
    vector = vector_of_codes(known.mean, labels, of, against, direction=direction)
    codes = known.mean.double().numpy()
    probe = Linear(codes).fit(codes, labels.numpy())
    others = encode(model, pick(model, test, LIMIT, seed), seed=seed)
    truth = class_labels(others.label, factor)
    rows = torch.nonzero(truth != of if against is None else truth == against).flatten()
    rows = rows[torch.from_numpy(np.random.default_rng(key_seed("steer", seed)).permutation(len(rows)))][:most]
    if not len(rows):
        raise InputError(f"no test example has label {against}; there are {truth.unique().tolist()[:20]}")
    start, context = others.mean[rows], None if others.context is None else others.context[rows]
    label = None if others.label is None else others.label[rows]
    numbers = {}
    for s in strengths:
        x = into_domain(model, decode(model, start + s * vector, context=context))
        again = encode(model, Batch(x, label=label), seed=seed).mean.double().numpy()
        numbers[f"{s:+g}"] = accuracy(probe.predict(again) == of).number(
            unit="share", target=f"{LINEAR}, of codes of training data; decoded means are encoded again",
            estimator=f"share that a linear probe calls {of}; binomial standard error",
            description=f"of {len(rows):,} test data {_from(against, of)}, decoded at {s:+g} times the vector, called {of}",
        )  # fmt: skip
    shown_context = None if context is None else context[:shown]
    return Steering(vector, tuple(strengths), numbers, start[:shown], shown_context, truth[rows][:shown])


def called(
    model: VAE, drawn: Tensor, of: int, train: Source, test: Source, *, neighbors: int = 5, seed: int = 0
) -> dict[str, Estimate]:
    """Share of decoded draws (N, *shape) that k-NN classification of the data themselves calls a class ("drawn"),
    beside the same share of real test data of that class ("data").

    Arguments:
        train: Labeled data, of which 10,000 at most are looked at.

    Raises:
        InputError: no labels, or no test example of the class.
    """
    from sklearn.neighbors import KNeighborsClassifier

    known = inputs(model, pick(model, train, LIMIT, seed), seed)
    real = inputs(model, pick(model, test, LIMIT, seed), seed)
    if known.labels is None or real.labels is None:
        raise InputError("the data have no labels; give data with labels")
    own = real.x[real.labels == of]
    if not len(own):
        raise InputError(f"no test example has label {of}")
    knn = KNeighborsClassifier(min(neighbors, len(known.x))).fit(known.x, known.labels)
    shares = {"drawn": inputs(model, into_domain(model, drawn), seed).x, "data": own}
    description = {
        "drawn": f"decoded draws that are called {of}",
        "data": f"real test data of class {of} that are called {of}",
    }
    return {
        name: accuracy(np.asarray(knn.predict(x)) == of).number(
            unit="share", target=f"{neighbors}-NN on what the encoder sees, of {len(known.x):,} training data",
            estimator="share; binomial standard error", description=description[name],
        )
        for name, x in shares.items()
    }  # fmt: skip


def _from(against: int | None, of: int) -> str:
    return f"not of class {of}" if against is None else f"of class {against}"
