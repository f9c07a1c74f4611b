"""Paired differences of per-example values, with p-values. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tightbound.analysis.estimate import Estimate, mean_error, scalar, scalar_error, with_error

# quantity -> which values are better: 1 higher, -1 lower, 0 neither
COMPARED = {"iwae": 1, "elbo": 1, "rate": 0, "distortion": -1, "reconstruction_mse": -1}
LEVEL = 0.05  # a difference whose corrected p-value is below this counts as one
ASSUMPTIONS = (
    "Assumption: the mean of the paired differences is normally distributed about the true mean, with their standard "
    "error. The differences describe these trained weights on test examples; other seeds of training may differ."
)

if TYPE_CHECKING:
    from tightbound.analysis.estimate import Array


@dataclass(frozen=True)
class Difference:
    """Difference a - b of two models in one quantity, paired over examples.

    Attributes:
        a: Name of the first model.
        b: Name of the second model.
        quantity: What is compared.
        difference: Mean of a - b.
        z: Difference / standard error; None: not a finite number.
        p: Two-sided p-value of no difference.
        p_corrected: Its correction over all pairs (Holm).
        probability: Probability that a is better; for quantities where neither is better, that a is higher.
        win_rate: Share of examples on which a is better (or higher); ties count half.
    """

    a: str
    b: str
    quantity: str
    difference: Estimate
    z: float | None
    p: float | None
    p_corrected: float | None
    probability: float | None
    win_rate: float | None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Difference:
        """Return the difference that `dataclasses.asdict` wrote."""
        return cls(**{**stored, "difference": Estimate(**stored["difference"])})

    def reversed(self) -> Difference:
        """Return b - a."""
        given = self.difference
        value = None if given.value is None else 0.0 - scalar(given)  # not -0.0
        description = described(self.quantity, self.b, self.a)
        return replace(
            self, a=self.b, b=self.a, difference=replace(given, value=value, description=description),
            z=None if self.z is None else -self.z,
            probability=None if self.probability is None else 1 - self.probability,
            win_rate=None if self.win_rate is None else 1 - self.win_rate,
        )  # fmt: skip

    def sentence(self) -> str:
        """Return what the difference says, in a sentence."""
        given, quantity = self.difference, self.quantity
        if given.value is None or given.stderr is None or self.p_corrected is None or self.probability is None:
            return f"{quantity}: there is nothing to compare ({given.reason})."
        value, stderr = scalar(given), scalar_error(given)
        if self.p_corrected >= LEVEL:
            size = f"{with_error(value, stderr)} {given.unit}, p = {self.p_corrected:.2g}"
            return f"{quantity}: no significant difference between {self.a} and {self.b} ({size})."
        winner, loser = (self.a, self.b) if self.probability > 0.5 else (self.b, self.a)
        certainty = max(self.probability, 1 - self.probability)
        likely = "probability > 0.999" if certainty > 0.999 else f"probability {certainty:.3f}"
        word = "better" if COMPARED[quantity] else "higher"
        size = with_error(abs(value), stderr)
        return f"{quantity}: {winner} is {word} than {loser} by {size} {given.unit} ({likely})."


def described(quantity: str, a: str, b: str) -> str:
    """Return the description of a difference."""
    return f"mean over examples of {quantity} of {a} minus {quantity} of {b}"


def paired(gap: Array) -> tuple[float, float, float]:
    """Return mean, standard error and z of differences (N,), N >= 2; z is 0 if all differences are 0."""
    value, stderr = float(gap.mean()), float(mean_error(gap))
    z = value / stderr if stderr > 0 else math.copysign(math.inf, value) if value else 0.0
    return value, stderr, z


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's corrected p-values: the running maximum of (m - i) p_i in ascending order, at most 1.

    References:
        A simple sequentially rejective multiple test procedure (Holm 1979), https://www.jstor.org/stable/4615733
    """
    corrected, highest = [0.0] * len(p), 0.0
    for i, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, (len(p) - i) * p[place])
        corrected[place] = min(1.0, highest)
    return corrected
