"""Models that differ in one thing, side by side: rate against distortion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from tightbound.analysis.bounds.estimator import evaluate
from tightbound.core.errors import InputError
from tightbound.core.model import VAE
from tightbound.data.feed import Source

Value = TypeVar("Value")
KEPT = (
    "rate", "distortion", "elbo", "iwae", "bits_per_dim", "mutual_information", "information_upper",
    "aggregate_kl", "total_correlation", "dimension_wise_kl", "active_units",
)  # fmt: skip


class HasModel(Protocol):
    """Such as what `tightbound.fit` gives."""

    model: VAE


@dataclass(frozen=True)
class Point:
    """One model of a sweep."""

    value: Any  # what the swept setting was
    numbers: Mapping[str, Mapping[str, Any]]  # `Evaluation.to_json()`
    run: str | None = None  # its folder
    score: float | None = None  # what models are chosen by: larger is better; None: it cannot be chosen

    def number(self, name: str) -> tuple[float, float] | None:
        """Value and standard error (0 where there is none); None where the number does not exist."""
        found = self.numbers[name]
        return None if found["value"] is None else (found["value"], found["stderr"] or 0.0)

    @property
    def plane(self) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        """Rate and distortion, each with its standard error."""
        return self.number("rate"), self.number("distortion")


@dataclass(frozen=True)
class Sweep:
    """Models that differ in one setting, evaluated on the same data."""

    name: str  # of what was varied: "beta", "latent", ...
    points: tuple[Point, ...]

    @cached_property
    def best(self) -> Point | None:
        """That of the highest score, the first of equals; None where no model has one."""
        return max((p for p in self.points if p.score is not None), key=lambda p: p.score or 0.0, default=None)

    def dominated(self, point: Point) -> bool:
        """Whether another model has no more rate and no more distortion than this one, and less of one of them. By
        the values alone: differences within their errors count, too."""
        rate, distortion = point.plane
        if rate is None or distortion is None:
            return False
        mine = (rate[0], distortion[0])
        others = [(r[0], d[0]) for r, d in (other.plane for other in self.points) if r is not None and d is not None]
        return any(other != mine and other[0] <= mine[0] and other[1] <= mine[1] for other in others)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "name": self.name,
            "best": None if self.best is None else self.best.value,
            "points": [
                {
                    "value": point.value,
                    "run": point.run,
                    "score": point.score,
                    "dominated": self.dominated(point),
                    "numbers": {name: point.numbers[name] for name in KEPT if name in point.numbers},
                }
                for point in self.points
            ],
        }


def sweep(
    train: Callable[[Value], HasModel],
    values: Iterable[Value],
    data: Source,
    *,
    name: str = "value",
    samples: int = 500,
    seed: int = 0,
) -> Sweep:
    """Trains a model for each value, and evaluates each on the same data; the best is that of the highest ELBO on them.

    An ELBO by which a model was chosen is too high for it: if you choose, give validation data here, and evaluate the
    model that you chose on test data.

        tb.sweep(lambda beta: tb.fit(make(), data, tb.objectives.ELBO(beta=beta)), [0.1, 1.0, 10.0], data.test)

    Arguments:
        train: A value -> what `tightbound.fit` gives.
        values: Of what is varied, two or more.
        name: Of what is varied.
        samples, seed: As in `evaluate`.

    Raises:
        InputError: fewer than two values.

    References:
        Fixing a broken ELBO (Alemi et al. 2018), Section 2.3: the rate-distortion plane,
        https://arxiv.org/abs/1711.00464
    """
    values = list(values)
    if len(values) < 2:
        raise InputError(f"a sweep over {len(values)} values compares nothing; give two or more")
    found = ((v, evaluate(train(v).model, data, samples=samples, seed=seed).to_json()) for v in values)
    return Sweep(name, tuple(Point(v, numbers, score=numbers["elbo"]["value"]) for v, numbers in found))
