"""The linear-Gaussian model, whose evidence and posterior are known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tightbound.latents import Flat
from tightbound.likelihoods import Gaussian, Identity
from tightbound.model import VAE
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import StandardNormal


@dataclass
class Linear:
    """x = W z + m + sigma e with orthogonal columns in W, so that the posterior is diagonal."""

    model: VAE
    w: Tensor  # (D, L)
    m: Tensor  # (D,)
    sigma: float

    def evidence(self, x: Tensor) -> Tensor:
        """(N,) log N(x; m, W W' + sigma^2 I)."""
        return evidence(x, self.w, self.m, self.sigma)


def evidence(x: Tensor, w: Tensor, m: Tensor, sigma: float) -> Tensor:
    covariance = w @ w.T + sigma**2 * torch.eye(len(w), dtype=w.dtype)
    return torch.distributions.MultivariateNormal(m, covariance).log_prob(x)


def linear_gaussian(d: int = 6, latent: int = 3, sigma: float = 0.7, seed: int = 0, off: float = 0.0) -> Linear:
    """With its exact posterior; `off` shifts the posterior's means and widens it."""
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(d, latent, generator=generator, dtype=torch.float64))
    w = basis * torch.linspace(0.5, 2.0, latent, dtype=torch.float64)
    m = torch.randn(d, generator=generator, dtype=torch.float64)
    decoder = nn.Linear(latent, d)
    posterior = DiagonalNormal((d,), latent, nn.Flatten())
    model = VAE(
        Flat(StandardNormal(latent), posterior), Gaussian((d,), latent, decoder, scale=sigma), Identity()
    ).double()
    precision = w.square().sum(0) + sigma**2
    head = posterior.network[-1]
    with torch.no_grad():
        decoder.weight.copy_(w)
        decoder.bias.copy_(m)
        head.weight.zero_()
        head.weight[:latent] = w.T / precision[:, None]
        head.bias[:latent] = -(w.T @ m) / precision + off
        head.bias[latent:] = 2 * math.log(sigma) - precision.log() + off
    return Linear(model, w, m, sigma)
