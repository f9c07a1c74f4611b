"""Normalizing flow priors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.distributions.constraints import Constraint

from tightbound.core.noise import Noise, draw
from tightbound.core.numerics import unrounded
from tightbound.nn.flows import build_flow
from tightbound.priors.base import Prior


class Flow(Prior):
    """p(z) = N(f(z); 0, I) |det df/dz| with a learned bijection f, of zuko; N(0, I) at first.

    The density takes one pass of f; a draw, which takes its inverse, `latent` passes where f is autoregressive.
    The mean and the variance have no closed form, and are not given. A context is an input of f's networks.

    Arguments:
        latent: Size of z.
        kind: "maf", "nsf" or "realnvp" (see `tightbound.nn.flows.invertible`).
        transforms: How many follow each other.
        hidden: Widths of the hidden layers of each.
        context: Size of the context.

    References:
        Variational lossy autoencoder (Chen et al. 2017), Section 3.2, https://arxiv.org/abs/1611.02731
    """

    def __init__(
        self,
        latent: int = 1,
        kind: str = "maf",
        transforms: int = 3,
        hidden: tuple[int, ...] = (64, 64),
        context: int = 0,
    ) -> None:
        super().__init__(latent, context)
        self.bijection = build_flow(kind, self.latent, self.context, transforms, hidden)
        self.register_buffer("zero", torch.zeros(self.latent), persistent=False)

    zero: Tensor

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Batch shape (), or (B,) given a context."""
        c = context if self.context else None
        zero = self.zero if c is None else self.zero.expand(len(c), -1)
        return NormalizingFlow(self.bijection(c), Normal(zero, torch.ones_like(zero), validate_args=False))


class NormalizingFlow(Distribution):
    """The distribution of f^-1(e), for e from a diagonal Gaussian.

    Arguments:
        bijection: f, from z to e; a torch Transform with `call_and_ladj`.
        base: Of e; batch shape (*batch, latent).
    """

    has_rsample = True

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """None are checked here."""
        return {}

    def __init__(self, bijection: Any, base: Normal) -> None:
        self.bijection, self.base = bijection, Independent(base, 1, validate_args=False)
        super().__init__(self.base.batch_shape, self.base.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """(..., *batch) at points (..., *batch, latent)."""
        with unrounded(value.device.type):  # the Jacobian in bfloat16 would be no density's
            e, log_det = self.bijection.call_and_ladj(value)
            return self.base.log_prob(e) + log_det

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """(*sample_shape, *batch, latent), from torch's default generator."""
        return self.pull(self.base.rsample(torch.Size(sample_shape)))

    def pull(self, e: Tensor) -> Tensor:
        """f^-1(e)."""
        with unrounded(e.device.type):
            return self.bijection.inv(e)


@draw.register
def _(distribution: NormalizingFlow, samples: Sequence[int], noise: Noise) -> Tensor:
    return distribution.pull(draw(distribution.base, samples, noise))
