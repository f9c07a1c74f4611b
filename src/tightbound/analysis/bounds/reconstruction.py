"""Reconstruction error, absolute and relative to the variance of the data."""

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
    "reconstruction_mse": "mean squared error per element when the posterior mean is decoded",
    "relative_mse": "reconstruction_mse over the variance of the data: 0 is perfect, 1 no better than their mean",
}


class Variation:
    """Variance of the examples about their mean, summed batch by batch, in the units of reconstruction errors.

    An example's value is a mean over its observed elements, as its error is. With several processes each adds its own
    examples, and `gather` gives all of them the sums.

    Args:
        shape: Shape of an example.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        self._sums = torch.zeros(3, *shape, dtype=torch.float64)  # of weights, weighted x and weighted x^2
        self._n = 0.0

    def add(self, observation: Observation, raw: Tensor, seen: Batch) -> None:
        """Add a raw batch (B, *shape), given also as it was observed."""
        x = (observation.reference(raw, seen) / observation.error_scale).cpu().double()
        observed = torch.ones_like(x) if seen.mask is None else seen.mask.to(x)
        given = observed.flatten(1).sum(1)
        weight = observed / given.clamp_min(1).view(-1, *(1 for _ in x.shape[1:]))
        x = x.where(observed > 0, 0.0)
        self._sums += torch.stack([part.sum(0) for part in (weight, weight * x, weight * x.square())])
        self._n += float((given > 0).sum())

    def gather(self) -> None:
        """Replace the sums by those over all processes."""
        both = summed(torch.cat([self._sums.flatten(), torch.tensor([self._n], dtype=torch.float64)]))
        self._sums, self._n = both[:-1].view_as(self._sums), float(both[-1])

    @property
    def value(self) -> float | None:
        """Mean over examples and elements; None if nothing was observed or nothing varies."""
        if not self._n:
            return None
        weight, first, second = self._sums
        value = float((second - first.square() / weight.clamp_min(1e-300)).sum()) / self._n
        return value if value > 1e-12 * float(second.sum()) / self._n else None


def errors(observation: Observation, error: Array, variation: Variation) -> dict[str, Estimate]:
    """Return the estimates of `DESCRIPTIONS` from squared errors (N,), NaN for examples without observed elements."""
    facts: dict[str, Any] = {"target": "E[x|z] at the posterior mean, against x"}
    known = error[~np.isnan(error)] if np.isfinite(error).any() else error
    how = "mean over elements and examples"
    found = mean(known, unit=observation.error_unit, estimator=how, **facts)
    variance = variation.value
    why = None if observation.metric else "the elements are categories, which have no variance"
    why = why or ("the data do not vary" if variance is None else None)
    if why is not None or variance is None:
        relative = Estimate.missing(str(why), n=len(error), unit="variances", **facts)
    else:
        how = f"{how}, over the variance of these examples about their mean (its own error is not counted)"
        relative = mean(known / variance, unit="variances", estimator=how, **facts)
    return {"reconstruction_mse": found, "relative_mse": relative}
