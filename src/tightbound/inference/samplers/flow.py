"""Normalizing flow as a latent sampler."""

from __future__ import annotations

from torch.distributions import Distribution

from tightbound.core.latents import Trainable
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.inference.samplers.base import DensitySampler
from tightbound.priors import Flow


class FlowSampler(DensitySampler, Trainable):
    """Latent sampler with a normalizing flow, fitted by maximum likelihood.

    Args:
        latent: Size of a latent code.
        kind: As for the prior `flow`.
        transforms: As for the prior `flow`.
        hidden: As for the prior `flow`.
    """

    def __init__(
        self, latent: int = 1, kind: str = "maf", transforms: int = 3, hidden: tuple[int, ...] = (64, 64)
    ) -> None:
        super().__init__(latent)
        self.flow = Flow(self.latent, kind, transforms, hidden)

    @property
    def trains(self) -> Trainable:
        """The sampler itself."""
        return self

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the log-density of latent codes as a log-likelihood without latents."""
        return Terms(self.log_prob(batch.x).unsqueeze(0), (), self.distribution(), batch)

    def distribution(self) -> Distribution:
        """Return the flow."""
        return self.flow()
