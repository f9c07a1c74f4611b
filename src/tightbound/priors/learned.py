"""Learned priors: diagonal Gaussian and mixture of diagonal Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import whole
from tightbound.priors.base import Prior, conditioner
from tightbound.priors.mixture import FiniteMixture


class LearnedNormal(Prior):
    """Gaussian prior N(m, diag s^2) with learned m and s, initially N(0, I).

    A network of the context shifts m and log s.

    References:
        Learning structured output representation using deep conditional generative models (Sohn et al. 2015), Eq. 3,
        for a prior network of the context,
        https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html
    """

    def __init__(self, latent: int = 1, context: int = 0) -> None:
        super().__init__(latent, context)
        self.loc = nn.Parameter(torch.zeros(latent))
        self.log_scale = nn.Parameter(torch.zeros(latent))
        self.shift = conditioner(context, 2 * latent)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return the prior; batch shape (), or (B,) if there is a context."""
        loc, log_scale = self.loc, self.log_scale
        if self.shift is not None:
            by = self.shift(context).unflatten(-1, (2, self.latent))
            loc, log_scale = loc + by[:, 0], log_scale + by[:, 1]
        return Independent(Normal(loc, log_scale.exp(), validate_args=False), 1, validate_args=False)


class Mixture(Prior):
    """Mixture prior sum_k w_k N(m_k, diag s_k^2) with learned weights, means and scales.

    The means start as draws from N(0, I). A network of the context shifts the logits of w. The KL from a posterior has
    no closed form, so the ELBO uses log q - log p at the samples.

    Args:
        latent: Size of z.
        components: Number of components K.
        context: Size of the context.

    References:
        Deep unsupervised clustering with Gaussian mixture variational autoencoders (Dilokthanakul et al. 2016),
        https://arxiv.org/abs/1611.02648; as a baseline prior: VampPrior (Tomczak and Welling 2018), Section 4,
        https://arxiv.org/abs/1705.07120
    """

    def __init__(self, latent: int = 1, components: int = 10, context: int = 0) -> None:
        super().__init__(latent, context)
        self.components = whole("components", components, least=1)
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))
        self.shift = conditioner(context, components)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return the prior; batch shape (), or (B,) if there is a context."""
        logits = self.logits if self.shift is None else self.logits + self.shift(context)
        normal = Independent(Normal(self.loc, self.log_scale.exp(), validate_args=False), 1, validate_args=False)
        return FiniteMixture(logits, normal)
