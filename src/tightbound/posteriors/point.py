"""Deterministic posterior, the encoder of a plain autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

from tightbound.core.errors import NotABound
from tightbound.posteriors.base import Posterior


class Point(Posterior):
    """Deterministic posterior z = f(x), which has no density and so no bound on log p(x)."""

    outputs = 1
    has_density = False
    evaluable = False

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the point mass at latent codes (B, 1, latent)."""
        return PointMass(raw[:, 0])


class PointMass(Distribution):
    """Distribution with all mass at one vector (B, latent)."""

    has_rsample = True

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """Return no constraints."""
        return {}

    def __init__(self, value: Tensor) -> None:
        self.value = value
        super().__init__(value.shape[:-1], value.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The vector."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """Zero."""
        return torch.zeros_like(self.value)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Return copies of the vector."""
        return self.value.expand(*sample_shape, *self.value.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Raise NotABound."""
        raise NotABound("a point mass has no density; use a posterior with a density, such as 'normal'")
