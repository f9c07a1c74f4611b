"""Flow matching as a latent sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.latents import Trainable
from tightbound.inference.samplers.base import DensitySampler
from tightbound.priors.flow_matching import FlowMatching, FlowMatchingStage


class FlowMatchingSampler(DensitySampler):
    """Latent sampler with a flow-matching density.

    Args:
        latent: Size of a latent code.
        hidden: As for the prior `flow-matching`.
        blocks: As for the prior `flow-matching`.
        steps: As for the prior `flow-matching`.
    """

    def __init__(self, latent: int = 1, hidden: int = 256, blocks: int = 3, steps: int = 8) -> None:
        super().__init__(latent)
        self.density = FlowMatching(self.latent, hidden, blocks, steps)
        self.density.learned.fill_(True)

    @property
    def trains(self) -> Trainable:
        """The velocity."""
        return FlowMatchingStage(self.density)

    def options(self, n: int) -> Mapping[str, Any]:
        """Return the options that suit the velocity."""
        return {**FlowMatchingStage.suits, **super().options(n)}

    def inputs(self, codes: Tensor) -> Tensor:
        """Return standardized latent codes."""
        return (codes - self.mean) / self.std

    def distribution(self) -> Distribution:
        """Return the density."""
        return self.density()
