"""Normalizing-flow prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.noise import Noise, draw
from tightbound.core.numerics import unrounded
from tightbound.core.terms import UncheckedDistribution
from tightbound.nn.flows import build_flow
from tightbound.priors.base import Prior


class Flow(Prior):
    """Flow prior p(z) = N(f(z); 0, I) |det df/dz| with a learned bijection f from zuko, initially N(0, I).

    The density takes one pass of f; a draw takes its inverse, which is `latent` passes if f is autoregressive. Mean and
    variance have no closed form.

    Args:
        latent: Size of z.
        kind: "maf", "nsf" or "realnvp".
        transforms: Number of transforms.
        hidden: Widths of the hidden layers of each transform.
        context: Size of the context, which is an input of the networks of f.

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
        """Return the prior; batch shape (), or (B,) if there is a context."""
        c = context if self.context else None
        zero = self.zero if c is None else self.zero.expand(len(c), -1)
        return NormalizingFlow(self.bijection(c), Normal(zero, torch.ones_like(zero), validate_args=False))


class NormalizingFlow(UncheckedDistribution):
    """Distribution of f^-1(e), where e has a diagonal Gaussian distribution.

    Args:
        bijection: The map f from z to e, a torch Transform with `call_and_ladj`.
        base: Distribution of e, with batch shape (*batch, latent).
    """

    has_rsample = True

    def __init__(self, bijection: Any, base: Normal) -> None:
        self.bijection, self.base = bijection, Independent(base, 1, validate_args=False)
        super().__init__(self.base.batch_shape, self.base.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (..., *batch) at points (..., *batch, latent)."""
        with unrounded(value.device.type):  # a Jacobian in bfloat16 would make the density unnormalized
            e, log_det = self.bijection.call_and_ladj(value)
            return self.base.log_prob(e) + log_det

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, *batch, latent) with torch's default generator."""
        return self.pull(self.base.rsample(torch.Size(sample_shape)))

    def pull(self, e: Tensor) -> Tensor:
        """Return f^-1(e)."""
        with unrounded(e.device.type):
            return self.bijection.inv(e)


@draw.register
def _(distribution: NormalizingFlow, samples: Sequence[int], noise: Noise) -> Tensor:
    return distribution.pull(draw(distribution.base, samples, noise))
