"""Student's t likelihood with a location and a scale."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import InputError, number
from tightbound.likelihoods.location_scale import LocationScaleLikelihood, Scale
from tightbound.likelihoods.special import stirling
from tightbound.nn.base import Network, Shape


class StudentT(LocationScaleLikelihood):
    """Student's t likelihood, with heavier tails than a Gaussian, which it approaches as df grows.

    Args:
        shape, features, network: As for `ElementwiseLikelihood`.
        scale: A number, "shared", "per-dimension" or "predicted", as for a Gaussian; the standard deviation is scale *
            sqrt(df / (df - 2)).
        df: Degrees of freedom: a number above 2, so that the variance exists; or learned as 2 + exp(a parameter),
            starting at 10: "shared" for all elements, or "per-dimension".

    References:
        Student-t variational autoencoder for robust density estimation (Takahashi et al. 2018), IJCAI,
        https://doi.org/10.24963/ijcai.2018/374
    """

    domains = ("real", "unit")

    def __init__(
        self,
        shape: Shape = (),
        features: int | None = None,
        network: Network | None = None,
        scale: Scale = "shared",
        df: float | Literal["shared", "per-dimension"] = "shared",
    ) -> None:
        super().__init__(shape, features, network, scale)
        if isinstance(df, str) and df not in ("shared", "per-dimension"):
            raise InputError(f"df = {df!r}; needed: a number above 2, 'shared' or 'per-dimension'")
        self.fixed_df = None if isinstance(df, str) else number("df", df, above=2)
        learned = {"shared": (), "per-dimension": self.shape}.get(str(df))
        self.log_excess = None if learned is None else nn.Parameter(torch.full(learned, math.log(8.0)))

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at locations and, if predicted, log scales."""
        location, scale = self.location_scale(raw)
        if self.log_excess is None:
            return StudentTDistribution(torch.full_like(location, self.fixed_df or 0), location, scale)
        return StudentTDistribution(2 + self.log_excess.exp().expand_as(location), location, scale)

    def fit_location_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the median, and the median absolute deviation scaled to a Gaussian's standard deviation."""
        median = x.median(0).values
        return median, 1.4826 * (x - median).abs().median(0).values.clamp_min(1e-2)


class StudentTDistribution(torch.distributions.StudentT):
    """Location-scale t distribution, with a log-density that stays accurate in float32 for many degrees of freedom.

    Args:
        df: Degrees of freedom (...).
        loc: Locations (...).
        scale: Scales (...).
    """

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor) -> None:
        super().__init__(df, loc, scale, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, with log Gamma(df/2 + 1/2) - log Gamma(df/2) from differences of `stirling`."""
        h = self.df / 2
        y = (value - self.loc) / self.scale
        gammas = h * torch.log1p(0.5 / h) + 0.5 * torch.log(h + 0.5) - 0.5 + stirling(h + 0.5) - stirling(h)
        tail = (h + 0.5) * torch.log1p(y.square() / self.df)
        return gammas - 0.5 * torch.log(torch.pi * self.df) - self.scale.log() - tail
