"""Base classes of latent samplers: densities fitted to latent codes after training, in place of the prior."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import InputError, whole
from tightbound.core.latents import Trainable
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms


class Sampler(Component, Trainable):
    """Base class of latent samplers, distributions fitted to flat latent codes (latent,) of training examples.

    Args:
        latent: Size of a latent code.
    """

    epochs: ClassVar[int] = 0  # epochs of training by gradients after `start_at`; 0: no such training

    def __init__(self, latent: int = 1) -> None:
        super().__init__()
        self.latent = whole("latent", latent, least=1)
        self.register_buffer("mean", torch.zeros(self.latent))
        self.register_buffer("std", torch.ones(self.latent))

    mean: Tensor
    std: Tensor

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Set mean and scale from latent codes (N, latent), and fit the parameters that need no gradients.

        Args:
            codes: Latent codes.
            seed: Random seed.
            labels: Classes (N,), for a sampler that depends on them.

        Raises:
            InputError: If there are too few latent codes.
        """
        if len(codes) < 2:
            raise InputError(
                f"a latent sampler needs at least 2 examples and was given {len(codes)}; pass more examples"
            )
        self.mean.copy_(codes.mean(0))
        self.std.copy_(codes.std(0).clamp_min(1e-6))

    @classmethod
    def suited(cls, codes: Tensor, seed: int) -> Mapping[str, Any]:
        """Return the arguments that suit latent codes (N, latent), for those that a user leaves out."""
        return {}

    @abstractmethod
    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Draw standardized latent codes (n, latent)."""

    def sample(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        """Draw latent codes (n, latent); the context is ignored."""
        return self.mean + self.std * self.standardized(n, noise)

    def of(self, label: int) -> Sampler:
        """Return a sampler for one class.

        Raises:
            InputError: If the sampler has no classes, or not this one.
        """
        raise InputError(
            f"latent sampler {type(self).__name__} has no classes; fit 'class-regions' to sample class {label}"
        )


class DensitySampler(Sampler):
    """Base class of latent samplers with a density."""

    @abstractmethod
    def distribution(self) -> Distribution:
        """Return the distribution of standardized latent codes, with batch shape ()."""

    def log_prob(self, codes: Tensor) -> Tensor:
        """Return the log-density (...) of latent codes (..., latent) in nats."""
        return self.distribution().log_prob((codes - self.mean) / self.std) - self.std.log().sum()

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the log-density of latent codes as a log-likelihood without latents."""
        return Terms(self.log_prob(batch.x).unsqueeze(0), (), self.distribution(), batch)

    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Return draws (n, latent)."""
        return draw(self.distribution(), (n,), noise)
