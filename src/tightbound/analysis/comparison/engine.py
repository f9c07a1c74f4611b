"""Evaluate several models on the same examples, and compare them in pairs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.comparison.differences import COMPARED, Difference, described, holm, paired
from tightbound.analysis.estimate import Estimate, estimate, scalar
from tightbound.analysis.result import Evaluation
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.terms import DETERMINISTIC
from tightbound.data.feed import Source, pick


class Compared(NamedTuple):
    """Estimates of each model, and the differences of all pairs.

    Attributes:
        runs: Estimates of each model, by its name and quantity.
        differences: Differences of all pairs in each quantity.
        best: Name of the model with the best bound; without bounds, with the smallest reconstruction error.
        n: Number of examples.
        target: What the bounds are bounds on.
    """

    runs: Mapping[str, Mapping[str, Estimate]]
    differences: tuple[Difference, ...]
    best: str
    n: int
    target: str


def compare(
    models: Mapping[str, VAE],
    data: Source,
    *,
    samples: int = 500,
    max_examples: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Compared:
    """Compare bounds, rate, distortion and reconstruction error of models on the same examples with the same noise.

    If the posterior of a model is deterministic, its ELBO is compared with the IWAE bound of others: with one weight
    per example, IWAE-k would be the same.

    Args:
        models: Two or more models, by name.
        data: Examples on which all of them are evaluated.
        samples, max_examples, seed, progress: See `Compare`.

    Raises:
        InputError: If there are fewer than two models or examples, or the models bound different things.
    """
    if len(models) < 2:
        raise InputError(f"{len(models)} model was given to compare; give two or more")
    check_same_target(models)
    first = next(iter(models.values()))
    chosen = data if max_examples is None else pick(first, data, max_examples, seed)
    found = {
        name: evaluate(model, chosen, samples=samples, seed=seed, progress=progress) for name, model in models.items()
    }
    n = next(iter(found.values())).per_example["index"].size
    if n < 2:
        raise InputError("one example was given to compare on; give two or more, since one has no standard error")
    rank = {name: _rank(evaluation) for name, evaluation in found.items()}
    differences = tuple(d for quantity in COMPARED for d in _pairs(found, quantity))
    runs = {name: {q: e[_compared_as(q, e, found.values())] for q in COMPARED} for name, e in found.items()}
    return Compared(runs, differences, max(rank, key=lambda name: rank[name]), n, first.target_name)


def check_same_target(models: Mapping[str, VAE]) -> None:
    """Raise InputError if the bounds of two models are bounds on different things."""
    (first, base), *rest = models.items()
    for name, model in rest:
        if model.target_name != base.target_name:
            raise InputError(
                f"{first!r} bounds {base.target_name!r} and {name!r} bounds {model.target_name!r}, so that their "
                "numbers cannot be compared; compare models that observe the data alike"
            )


def difference(a: str, b: str, quantity: str, first: Evaluation, second: Evaluation) -> Difference:
    """Return the difference of two evaluations of the same examples; its p-value is not corrected for other pairs."""
    one, other = (_compared_as(quantity, e, (first, second)) for e in (first, second))
    number = first[one]
    facts: dict[str, Any] = {"unit": number.unit, "target": number.target, "samples": number.samples}
    facts["description"] = described(quantity, a, b) + "".join(
        f"; ELBO of {name}: {DETERMINISTIC}" for name, q in ((a, one), (b, other)) if q != quantity
    )
    missing = [e[q].reason for e, q in ((first, one), (second, other)) if q not in e.per_example]
    gap = np.zeros(0) if missing else first.per_example[one] - second.per_example[other]
    gap = gap[~np.isnan(gap)]
    if len(gap) < 2:
        reason = missing[0] if missing else "fewer than two examples have it"
        none = Estimate.missing(str(reason), n=number.n, **facts)
        return Difference(a, b, quantity, none, None, None, None, None, None)
    sign = COMPARED[quantity] or 1
    value, stderr, z = paired(gap)
    how = f"mean of paired differences, sd / sqrt(n); {number.estimator}"
    given = estimate(value, stderr, n=len(gap), estimator=how, reason=number.reason, **facts)
    p = math.erfc(abs(z) / math.sqrt(2))
    probability = 0.5 * math.erfc(-sign * z / math.sqrt(2))
    wins = float((sign * gap > 0).mean() + (gap == 0).mean() / 2)
    return Difference(a, b, quantity, given, z if math.isfinite(z) else None, p, p, probability, wins)


def _pairs(found: Mapping[str, Evaluation], quantity: str) -> list[Difference]:
    pairs = [difference(a, b, quantity, found[a], found[b]) for a, b in combinations(found, 2)]
    corrected = iter(holm([d.p for d in pairs if d.p is not None]))
    return [d if d.p is None else replace(d, p_corrected=next(corrected)) for d in pairs]


def _rank(evaluation: Evaluation) -> float:
    bound = math.nan if evaluation.bound is None else scalar(evaluation[evaluation.bound])
    value = -scalar(evaluation["reconstruction_mse"]) if math.isnan(bound) else bound
    return -math.inf if math.isnan(value) else value


def _compared_as(quantity: str, evaluation: Evaluation, among: Iterable[Evaluation]) -> str:
    """Return the number to compare: the quantity, or the tightest bound for an IWAE bound that others have."""
    bounded = quantity == "iwae" and any(quantity in e.per_example for e in among)
    return evaluation.bound or quantity if bounded else quantity
