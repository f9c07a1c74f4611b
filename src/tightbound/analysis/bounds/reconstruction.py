"""How far reconstructions are from data, and what that is relative to how the data vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array, Estimate, mean
from tightbound.core.interfaces import Observation
from tightbound.core.terms import Batch
from tightbound.core.world import summed

DESCRIPTIONS = {
    "reconstruction_mse": "squared error an element, decoding the posterior mean",
    "relative_mse": "the same over the data's variance: 0 is perfect, 1 as bad as their mean for each",
}


class Variation:
    """The variance of data about their mean, element by element, batch by batch; in units of reconstruction errors.

    Of several processes each adds its own data, and `gather` gives all of them the sums.

    An example's value is a mean over its observed elements, as its error is.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        """Of data of this shape."""
        self._sums = torch.zeros(3, *shape, dtype=torch.float64)  # of weights, weighted x and weighted x^2
        self._n = 0.0

    def add(self, observation: Observation, raw: Tensor, seen: Batch) -> None:
        """A raw batch (B, *shape), and what it was observed as."""
        x = (observation.reference(raw, seen) / observation.error_scale).cpu().double()
        observed = torch.ones_like(x) if seen.mask is None else seen.mask.to(x)
        given = observed.flatten(1).sum(1)
        weight = observed / given.clamp_min(1).view(-1, *(1 for _ in x.shape[1:]))
        x = x.where(observed > 0, 0.0)
        self._sums += torch.stack([part.sum(0) for part in (weight, weight * x, weight * x.square())])
        self._n += float((given > 0).sum())

    def gather(self) -> None:
        """Makes the sums those of all processes."""
        both = summed(torch.cat([self._sums.flatten(), torch.tensor([self._n], dtype=torch.float64)]))
        self._sums, self._n = both[:-1].view_as(self._sums), float(both[-1])

    @property
    def value(self) -> float | None:
        """Mean over data and elements; None where nothing was observed, or nothing varies."""
        if not self._n:
            return None
        weight, first, second = self._sums
        value = float((second - first.square() / weight.clamp_min(1e-300)).sum()) / self._n
        return value if value > 1e-12 * float(second.sum()) / self._n else None


def numbers(observation: Observation, error: Array, variation: Variation) -> dict[str, Estimate]:
    """Of squared errors (N,), NaN where an example has no observed element."""
    facts: dict[str, Any] = {"target": "E[x|z] at the posterior mean, against x"}
    known = error[~np.isnan(error)] if np.isfinite(error).any() else error
    how = "mean over elements and data"
    found = mean(known, unit=observation.error_unit, estimator=how, **facts)
    variance = variation.value
    why = None if observation.metric else "elements are categories, which have no variance"
    why = why or ("the data do not vary" if variance is None else None)
    if why is not None or variance is None:
        relative = Estimate(None, None, len(error), "variances", "none", **facts, reason=why)
    else:
        how = f"{how}, over the variance of these data about their mean, by element, which is taken as it is"
        relative = mean(known / variance, unit="variances", estimator=how, **facts)
    return {"reconstruction_mse": found, "relative_mse": relative}
