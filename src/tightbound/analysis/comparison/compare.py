"""Paired differences between models over the same data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.analysis.estimate import Array, Estimate, estimate, with_error
from tightbound.analysis.result import Evaluation
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.core.terms import DETERMINISTIC
from tightbound.data.feed import Source, pick

# what is compared -> which way is better: 1 higher, -1 lower, 0 neither
COMPARED = {"iwae": 1, "elbo": 1, "rate": 0, "distortion": -1, "reconstruction_mse": -1}
LEVEL = 0.05  # of the corrected p-value, below which a difference is called one
MODEL = (
    "the mean of the paired differences is normal about the true one, with their standard error, and nothing is known "
    "beforehand; over test data for these trained weights, not over seeds of training"
)


@dataclass(frozen=True)
class Difference:
    """A less B in one quantity, paired over data."""

    a: str
    b: str
    quantity: str
    difference: Estimate  # mean of a - b
    z: float | None  # difference / stderr; None where that is no number
    p: float | None  # two-sided, of no difference
    p_corrected: float | None  # Holm's, over all pairs
    probability: float | None  # that a is better; of quantities without a better, that a is higher
    win_rate: float | None  # share of data on which a is better (or higher), ties counted half

    def turned(self) -> Difference:
        """B less A."""
        given = self.difference
        value = None if given.value is None else -float(np.asarray(given.value))
        description = _says(self.quantity, self.b, self.a)
        return replace(
            self, a=self.b, b=self.a, difference=replace(given, value=value, description=description),
            z=None if self.z is None else -self.z,
            probability=None if self.probability is None else 1 - self.probability,
            win_rate=None if self.win_rate is None else 1 - self.win_rate,
        )  # fmt: skip

    def description(self) -> str:
        """In a sentence."""
        given, quantity = self.difference, self.quantity
        if given.value is None or given.stderr is None or self.p_corrected is None or self.probability is None:
            return f"{quantity}: nothing to compare ({given.reason})"
        value, stderr = float(np.asarray(given.value)), float(np.asarray(given.stderr))
        if self.p_corrected >= LEVEL:
            size = f"{with_error(value, stderr)} {given.unit} (p = {self.p_corrected:.2g})"
            return f"{quantity}: no difference can be told between {self.a} and {self.b}: {size}"
        winner, loser = (self.a, self.b) if self.probability > 0.5 else (self.b, self.a)
        sure = max(self.probability, 1 - self.probability)
        likely = "probability > 0.999" if sure > 0.999 else f"probability {sure:.3f}"
        word = "better" if COMPARED[quantity] else "higher"
        return (
            f"{quantity}: {winner} is {word} than {loser} by {with_error(abs(value), stderr)} {given.unit} ({likely})"
        )


@dataclass(frozen=True)
class Comparison:
    """Of two models or more."""

    runs: Mapping[str, Mapping[str, Estimate]]  # by model: its own numbers
    differences: Sequence[Difference]  # of all pairs, in each quantity
    best: str  # the model with the best bound; where there is none, with the least reconstruction error
    n: int
    target: str

    def between(self, a: str, b: str, quantity: str) -> Difference:
        """A less B, whichever was given first.

        Raises:
            KeyError: no such pair.
        """
        for one in self.differences:
            if one.quantity == quantity and {one.a, one.b} == {a, b}:
                return one if one.a == a else one.turned()
        raise KeyError((a, b, quantity))

    @property
    def numbers(self) -> Mapping[str, Estimate]:
        """The differences, "iwae: A - B"."""
        return {f"{d.quantity}: {d.a} - {d.b}": d.difference for d in self.differences}

    def to_json(self) -> dict[str, Any]:
        """Numbers of each model, and the differences with what they say."""
        return {
            "best": self.best,
            "n": self.n,
            "target": self.target,
            "model": MODEL,
            "level": LEVEL,
            "runs": {run: {name: asdict(number) for name, number in own.items()} for run, own in self.runs.items()},
            "differences": [{**asdict(d), "description": d.description()} for d in self.differences],
            "numbers": {name: asdict(number) for name, number in self.numbers.items()},
        }


def compare(
    models: Mapping[str, VAE],
    data: Source,
    *,
    samples: int = 500,
    most: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Paired differences of bounds, rate, distortion and reconstruction error of models on the same data, with the
    same noise and the same k. Of a model whose codes are a function of x the ELBO stands beside the IWAE bound of
    others: with one weight an example, it is what IWAE-k would be.

    A difference has its standard error, a two-sided p-value under the normal approximation of the mean (Holm's
    correction over all pairs, within each quantity), the probability that the first is better, and the share of data
    on which it is.

    Arguments:
        models: By name, two or more.
        data: What all of them are evaluated on.
        samples: k of the IWAE bound.
        most: At most so many data, picked at random; None: all.

    Raises:
        InputError: fewer than two models or data, or models whose bounds are bounds on different things.

    References:
        A simple sequentially rejective multiple test procedure (Holm 1979), https://www.jstor.org/stable/4615733
    """
    if len(models) < 2:
        raise InputError(f"{len(models)} model was given to compare; give two or more")
    check_same_target(models)
    first = next(iter(models.values()))
    chosen = data if most is None else pick(first, data, most, seed)
    found = {
        name: evaluate(model, chosen, samples=samples, seed=seed, progress=progress) for name, model in models.items()
    }
    n = next(iter(found.values())).per_example["index"].size
    if n < 2:
        raise InputError("a comparison needs at least two data: one has no standard error")
    rank = {name: _rank(evaluation) for name, evaluation in found.items()}
    differences = [d for quantity in COMPARED for d in _pairs(found, quantity)]
    kept = {name: {q: e[_stands_for(q, e, found.values())] for q in COMPARED} for name, e in found.items()}
    return Comparison(kept, differences, max(rank, key=lambda name: rank[name]), n, first.target_name)


def check_same_target(models: Mapping[str, VAE]) -> None:
    """Raises InputError where bounds of two models are bounds on different things."""
    (first, base), *rest = models.items()
    for name, model in rest:
        if model.target_name != base.target_name:
            raise InputError(
                f"{first!r} bounds {base.target_name!r} and {name!r} bounds {model.target_name!r}, so that their "
                "numbers cannot be compared; compare models that observe the data alike"
            )


def _rank(evaluation: Evaluation) -> float:
    bound = None if evaluation.bound is None else evaluation[evaluation.bound].value
    error = evaluation["reconstruction_mse"].value
    value = bound if bound is not None else None if error is None else -np.asarray(error)
    return -math.inf if value is None else float(np.asarray(value))


def _pairs(found: Mapping[str, Evaluation], quantity: str) -> list[Difference]:
    pairs = [difference(a, b, quantity, found[a], found[b]) for a, b in combinations(found, 2)]
    corrected = iter(holm([d.p for d in pairs if d.p is not None]))
    return [d if d.p is None else replace(d, p_corrected=next(corrected)) for d in pairs]


def difference(a: str, b: str, quantity: str, first: Evaluation, second: Evaluation) -> Difference:
    """Of two evaluations on the same data, not yet corrected for others."""
    one, other = (_stands_for(quantity, e, (first, second)) for e in (first, second))
    number = first[one]
    facts = {"unit": number.unit, "target": number.target, "samples": number.samples}
    description = _says(quantity, a, b)
    description += "".join(
        f"; of {name} the ELBO: {DETERMINISTIC}" for name, q in ((a, one), (b, other)) if q != quantity
    )
    lacking = [e[q].reason for e, q in ((first, one), (second, other)) if q not in e.per_example]
    gap = np.zeros(0) if lacking else first.per_example[one] - second.per_example[other]
    gap = gap[~np.isnan(gap)]
    if len(gap) < 2:
        reason = lacking[0] if lacking else "fewer than two data have it"
        none = Estimate(None, None, number.n, estimator="none", reason=reason, description=description, **facts)
        return Difference(a, b, quantity, none, None, None, None, None, None)
    sign = COMPARED[quantity] or 1
    value, stderr, z = paired(gap)
    how = f"mean of paired differences, sd / sqrt(n); {number.estimator}"
    given = estimate(value, stderr, n=len(gap), estimator=how, reason=number.reason, description=description, **facts)
    p = math.erfc(abs(z) / math.sqrt(2))
    probability = 0.5 * math.erfc(-sign * z / math.sqrt(2))
    wins = float((sign * gap > 0).mean() + (gap == 0).mean() / 2)
    return Difference(a, b, quantity, given, z if math.isfinite(z) else None, p, p, probability, wins)


def _stands_for(quantity: str, evaluation: Evaluation, among: Iterable[Evaluation]) -> str:
    """The number that is compared: that of the quantity, or for IWAE, where another has it, the tightest bound."""
    bounded = quantity == "iwae" and any(quantity in e.per_example for e in among)
    return evaluation.bound or quantity if bounded else quantity


def _says(quantity: str, a: str, b: str) -> str:
    return f"mean over data of {quantity} of {a} less that of {b}"


def paired(gap: Array) -> tuple[float, float, float]:
    """Mean, standard error and z of differences (N,), N >= 2; z is 0 where all are 0."""
    value, stderr = float(gap.mean()), float(gap.std(ddof=1) / math.sqrt(len(gap)))
    z = value / stderr if stderr > 0 else math.copysign(math.inf, value) if value else 0.0
    return value, stderr, z


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values: of m in rising order, the running maximum of (m - i) p_i, at most 1."""
    corrected, highest = [0.0] * len(p), 0.0
    for i, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, (len(p) - i) * p[place])
        corrected[place] = min(1.0, highest)
    return corrected
