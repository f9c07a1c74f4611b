"""Learned priors with a density in closed form: diagonal Gaussian and mixture of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from tightbound.core.errors import whole
from tightbound.priors.normal import Prior


class LearnedNormal(Prior):
    """N(m, diag s^2) with learned m and s; N(0, I) at first."""

    def __init__(self, latent: int = 1) -> None:
        super().__init__(latent)
        self.loc = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Batch shape ()."""
        return Independent(Normal(self.loc, self.log_scale.exp(), validate_args=False), 1, validate_args=False)


class Mixture(Prior):
    """sum_k w_k N(m_k, diag s_k^2), all learned; the means start as draws from N(0, I).

    Its KL from a posterior has no closed form: the ELBO takes log q - log p at the samples.

    Arguments:
        latent: Size of z.
        components: Their number K.

    References:
        Deep unsupervised clustering with Gaussian mixture variational autoencoders (Dilokthanakul et al. 2016),
        https://arxiv.org/abs/1611.02648; as a prior: VampPrior (Tomczak and Welling 2018), Section 4,
        https://arxiv.org/abs/1705.07120
    """

    def __init__(self, latent: int = 1, components: int = 10) -> None:
        super().__init__(latent)
        self.components = whole("components", components, least=1)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Batch shape ()."""
        normal = Independent(Normal(self.loc, self.log_scale.exp(), validate_args=False), 1, validate_args=False)
        return MixtureSameFamily(Categorical(logits=self.logits, validate_args=False), normal, validate_args=False)
