"""Normalizing flow as a latent sampler."""

from __future__ import annotations

from torch.distributions import Distribution

from tightbound.inference.samplers.base import DensitySampler
from tightbound.priors import Flow


class FlowSampler(DensitySampler):
    """Latent sampler with a normalizing flow, fitted by maximum likelihood.

    Args:
        latent: Size of a latent code.
        kind: As for the prior `flow`.
        transforms: As for the prior `flow`.
        hidden: As for the prior `flow`.
    """

    epochs = 50

    def __init__(
        self, latent: int = 1, kind: str = "maf", transforms: int = 3, hidden: tuple[int, ...] = (64, 64)
    ) -> None:
        super().__init__(latent)
        self.flow = Flow(self.latent, kind, transforms, hidden)

    def distribution(self) -> Distribution:
        """Return the flow."""
        return self.flow()
