"""Base classes of latent samplers: densities fitted to latent codes after training, in place of the prior."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.component import Component
from tightbound.core.errors import InputError, whole
from tightbound.core.latents import Trainable
from tightbound.core.noise import Noise, draw
from tightbound.objectives import ELBO
from tightbound.objectives.base import Objective


class Sampler(Component, nn.Module, ABC):
    """Base class of latent samplers, distributions fitted to flat latent codes (latent,) of training examples.

    Args:
        latent: Size of a latent code.
    """

    infers_classes: ClassVar[bool] = False  # whether it learns classes from a few labels
    labels: tuple[int, ...] = ()  # class labels, in the order of `log_probabilities`

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
            labels: Class labels (N,), for a sampler with classes; -1 is an unknown class.

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
        """Return default arguments that suit latent codes (N, latent)."""
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
        raise InputError(f"{self._without_classes} to sample class {label}")

    def log_probabilities(self, codes: Tensor) -> Tensor:
        """Return log-probabilities (N, classes) of classes given latent codes (N, latent), in the order of `labels`.

        Raises:
            InputError: If the sampler has no classes.
        """
        raise InputError(f"{self._without_classes} to infer classes")

    @property
    def trains(self) -> Trainable | None:
        """Module to train by gradients after `start_at`; None: `start_at` fits all parameters."""
        return None

    def inputs(self, codes: Tensor) -> Tensor:
        """Return the training examples of `trains` for latent codes (..., latent)."""
        return codes

    def options(self, n: int) -> Mapping[str, Any]:
        """Return the training options of `trains` that differ from the defaults, for n latent codes."""
        return {"batch_size": min(256, n)}

    @property
    def objective(self) -> Objective:
        """Objective of the training of `trains`."""
        return ELBO()

    @property
    def _without_classes(self) -> str:
        return f"latent sampler {type(self).__name__} has no classes; fit 'class-regions' or 'm2'"


class DensitySampler(Sampler):
    """Base class of latent samplers with a density."""

    @abstractmethod
    def distribution(self) -> Distribution:
        """Return the distribution of standardized latent codes, with batch shape ()."""

    def log_prob(self, codes: Tensor) -> Tensor:
        """Return the log-density (...) of latent codes (..., latent) in nats."""
        return self.distribution().log_prob((codes - self.mean) / self.std) - self.std.log().sum()

    def standardized(self, n: int, noise: Noise) -> Tensor:
        """Draw standardized latent codes (n, latent)."""
        return draw(self.distribution(), (n,), noise)
