"""Kernel density as a latent sampler."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import number, whole
from tightbound.core.noise import key_seed
from tightbound.inference.samplers.base import DensitySampler
from tightbound.priors.mixture import FiniteMixture


class Kernel(DensitySampler):
    """Latent sampler with a Gaussian kernel density estimate.

    The density is a mixture of N(c_n, (h s)^2) with equal weights, for latent codes c_n with standard deviation s.

    Args:
        latent: Size of a latent code.
        exemplars: Maximum number of latent codes to keep, chosen at random.
        bandwidth: Bandwidth h; None: Scott's rule, N^(-1 / (latent + 4)).

    References:
        Multivariate density estimation (Scott 1992), Eq. 6.42
    """

    def __init__(self, latent: int = 1, exemplars: int = 2000, bandwidth: float | None = None) -> None:
        super().__init__(latent)
        self.bandwidth = None if bandwidth is None else number("bandwidth", bandwidth, above=0)
        kept = whole("exemplars", exemplars, least=1)
        self.register_buffer("codes", torch.zeros(kept, self.latent))
        self.register_buffer("log_weights", torch.zeros(kept))  # -inf for unused rows

    codes: Tensor
    log_weights: Tensor

    def start_at(self, codes: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Keep latent codes chosen at random."""
        super().start_at(codes, seed)
        generator = torch.Generator().manual_seed(key_seed("kernel", seed))
        kept = codes[torch.randperm(len(codes), generator=generator)[: len(self.codes)]]
        self.codes[: len(kept)] = (kept - self.mean) / self.std
        self.log_weights[len(kept) :] = -math.inf

    def distribution(self) -> Distribution:
        """Return the mixture."""
        n = torch.isfinite(self.log_weights).sum().double()
        h = n ** (-1 / (self.latent + 4)) if self.bandwidth is None else n.new_tensor(self.bandwidth)
        normal = Normal(self.codes, h.to(self.codes).expand_as(self.codes), validate_args=False)
        return FiniteMixture(self.log_weights, Independent(normal, 1, validate_args=False))
