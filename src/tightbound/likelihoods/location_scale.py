"""Gaussian and Laplace likelihoods with a fixed, learned or predicted scale."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import InputError, number
from tightbound.core.numerics import bounded
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.nn.base import Network, Shape

Scale = float | Literal["shared", "per-dimension", "predicted"]


class LocationScaleLikelihood(ElementwiseLikelihood):
    """Base class of families with a location from the network and a positive scale.

    Learned scales are stored as logarithms and start at 1.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        scale: A number (fixed); "shared": one learned number; "per-dimension": one learned number per element of x;
            "predicted": one output of the network per element.
    """

    scale_name: str = "scale"  # name of the scale in error messages
    extra_outputs: int = 0  # number of further parameters, after location and scale in the network's outputs

    def __init__(
        self, shape: Shape = (), features: int | None = None, network: Network | None = None, scale: Scale = "shared"
    ) -> None:
        choices = ("shared", "per-dimension", "predicted")
        if isinstance(scale, str) and scale not in choices:
            raise InputError(f"{self.scale_name} = {scale!r}; needed: a number above 0, or one of {', '.join(choices)}")
        self.outputs = (2 if scale == "predicted" else 1) + self.extra_outputs
        super().__init__(shape, features, network)
        self.fixed = number(self.scale_name, scale, above=0) if not isinstance(scale, str) else None
        learned = {"shared": (), "per-dimension": self.shape}.get(str(scale))
        self.log_scale = None if learned is None else nn.Parameter(torch.zeros(learned))

    @abstractmethod
    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the location and scale, each (*shape), that fit the marginals of targets x (N, *shape)."""

    def fit_marginals(self, x: Tensor) -> Tensor:
        """Return the fitted location and, if predicted, the log scale."""
        location, scale = self.fit_location_scale(x)
        return torch.stack([location, scale.log()][: self.outputs - self.extra_outputs])

    @torch.no_grad()
    def fit_learned(self, x: Tensor) -> None:
        """Fit a learned scale; a shared one becomes the root mean square of the elements' scales."""
        if self.log_scale is not None:
            scale = self.fit_location_scale(x)[1]
            shared = self.log_scale.shape != scale.shape
            self.log_scale.copy_((scale.square().mean().sqrt() if shared else scale).log())

    def location_scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Return the location and scale, each (..., *shape), for raw parameters (..., outputs, *shape)."""
        parameters = raw.unbind(-1 - len(self.shape))
        location = parameters[0]
        if self.fixed is not None:
            return location, torch.full_like(location, self.fixed)
        log_scale = parameters[1] if self.log_scale is None else self.log_scale
        return location, bounded(log_scale).exp().expand_as(location)


class Gaussian(LocationScaleLikelihood):
    """Gaussian likelihood with the mean from the network; `scale` is the standard deviation.

    References:
        Simple and effective VAE training with calibrated decoders (Rybkin et al. 2021),
        https://arxiv.org/abs/2006.13202
    """

    domains = ("real", "unit")

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at means and, if predicted, log standard deviations."""
        return torch.distributions.Normal(*self.location_scale(raw), validate_args=False)

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and standard deviation."""
        return x.mean(0), x.std(0, correction=0).clamp_min(1e-2)


class Laplace(LocationScaleLikelihood):
    """Laplace likelihood exp(-|x - m| / b) / 2b; `scale` is b."""

    domains = ("real", "unit")

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at medians and, if predicted, log b."""
        return torch.distributions.Laplace(*self.location_scale(raw), validate_args=False)

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the median and mean absolute deviation."""
        median = x.median(0).values
        return median, (x - median).abs().mean(0).clamp_min(1e-2)
