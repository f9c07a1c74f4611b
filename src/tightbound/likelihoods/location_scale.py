"""Gaussian and Laplace densities, with the scale fixed, learned or predicted."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import InputError, number
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.nn.base import Architecture

Scale = float | Literal["shared", "per-dimension", "predicted"]


class LocationScaleLikelihood(ElementwiseLikelihood):
    """A density with a location from the network and a scale that is

    a number: fixed; "shared": one learned number; "per-dimension": one learned number for each element of x;
    "predicted": an output of the network for each element.

    Learned scales start at 1 and are exponentials of what is learned.
    """

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        features: int | None = None,
        network: Architecture | nn.Module | None = None,
        scale: Scale = "shared",
    ) -> None:
        choices = ("shared", "per-dimension", "predicted")
        if isinstance(scale, str) and scale not in choices:
            raise InputError(f"scale = {scale!r}; needed: a number above 0, or one of {', '.join(choices)}")
        self.outputs = 2 if scale == "predicted" else 1
        super().__init__(shape, features, network)
        self.log_scale: Tensor | nn.Parameter | None
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "per-dimension":
            self.log_scale = nn.Parameter(torch.zeros(self.shape))
        elif scale == "predicted":
            self.log_scale = None
        else:
            fixed = torch.tensor(math.log(number("scale", scale, above=0)))
            self.register_buffer("log_scale", fixed, persistent=False)

    def location_scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Raw parameters (..., outputs, *shape) -> location and scale, (..., *shape)."""
        parameters = raw.unbind(-1 - len(self.shape))
        log_scale = parameters[1] if self.log_scale is None else self.log_scale
        return parameters[0], log_scale.exp().expand_as(parameters[0])


class Gaussian(LocationScaleLikelihood):
    """Normal density; `scale` is sigma.

    References:
        Simple and effective VAE training with calibrated decoders (Rybkin et al. 2021),
        https://arxiv.org/abs/2006.13202
    """

    kinds = ("real", "unit")

    def distribution(self, raw: Tensor) -> Distribution:
        """Means, and log sigma where it is predicted."""
        return torch.distributions.Normal(*self.location_scale(raw), validate_args=False)

    def marginal(self, x: Tensor) -> Tensor:
        """Means and, where predicted, log standard deviations."""
        return torch.stack([x.mean(0), x.std(0).clamp_min(1e-2).log()][: self.outputs])


class Laplace(LocationScaleLikelihood):
    """Laplace density, exp(-|x - m| / b) / 2b; `scale` is b."""

    kinds = ("real", "unit")

    def distribution(self, raw: Tensor) -> Distribution:
        """Medians, and log b where it is predicted."""
        return torch.distributions.Laplace(*self.location_scale(raw), validate_args=False)

    def marginal(self, x: Tensor) -> Tensor:
        """Medians and, where predicted, log mean absolute deviations."""
        median = x.median(0).values
        return torch.stack([median, (x - median).abs().mean(0).clamp_min(1e-2).log()][: self.outputs])
