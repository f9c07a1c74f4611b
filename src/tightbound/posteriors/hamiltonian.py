"""Posterior that follows Hamiltonian dynamics for a few steps from a draw of the encoder's Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import CompositionError, number, whole
from tightbound.core.latents import LogLikelihood
from tightbound.core.noise import Noise, draw_with_log_prob
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.nn.base import Network, Shape
from tightbound.posteriors.normal import DiagonalNormal


class Hamiltonian(DiagonalNormal):
    """Hamiltonian posterior, which moves draws from a Gaussian by K tempered leapfrog steps on log p(x, z).

    The start is z_0 ~ q0 = N(mu(x), diag sigma^2(x)), with a momentum rho_0 ~ r = N(0, I / beta_0). The bound is on the
    pair of z and momentum: with z_K and rho_K at the end of the dynamics, the weight
    p(x, z_K) N(rho_K; 0, I) |J| / (q0(z_0) r(rho_0)) has mean p(x), so IWAE and related bounds hold too. Steps and
    tempering have the Jacobian |J| = beta_0^(L/2), which cancels the scale of r. z_K alone has no known density, so the
    KL has no closed form, and `encode` and the moments refer to q0. Each draw costs K + 1 gradients of the likelihood's
    network, in evaluation too.

    Args:
        shape, latent, network: As for `Posterior`.
        steps: Number of steps K.
        step: Initial step size, in units of z; it is learned for each step and dimension.
        most: Upper limit of the step size.
        tempering: Initial value of beta_0 in (0, 1], which is learned: the momentum starts wide and is cooled by the
            quadratic scheme. 1: no tempering, and nothing is learned.

    References:
        Hamiltonian variational auto-encoder (Caterini et al. 2018), Algorithm 1 and Section 3.1,
        https://arxiv.org/abs/1805.11328
    """

    evaluable: ClassVar[bool] = False

    def __init__(
        self,
        shape: Shape = (),
        latent: int = 1,
        network: Network | None = None,
        steps: int = 3,
        step: float = 0.1,
        most: float = 0.5,
        tempering: float = 0.3,
    ) -> None:
        super().__init__(shape, latent, network)
        self.steps, self.most = whole("steps", steps, least=1, most=10**4), number("most", most, above=0)
        share = number("step", step, above=0, below=most) / most
        self.step_logit = nn.Parameter(torch.full((steps, latent), math.log(share / (1 - share))))
        number("tempering", tempering, above=0, most=1)
        self.tempering_logit = None if tempering == 1 else nn.Parameter(torch.tensor(tempering).logit())

    def terms(
        self,
        q: Distribution,
        prior: Distribution,
        samples: int,
        noise: Noise,
        knobs: Knobs,
        log_likelihood: LogLikelihood | None = None,
    ) -> LatentTerms:
        """Draw z_K (S, B, latent), with log q0(z_0) + log N(gamma) - log N(rho_K) in place of log q.

        Here rho_0 = gamma / sqrt(beta_0).
        """
        if log_likelihood is None:
            raise CompositionError(
                "a Hamiltonian posterior needs log p(x | z), which is missing; use model.infer, not latents.infer"
            )

        def force(z: Tensor) -> Tensor:
            """Return the gradient of log p(x, z), itself differentiable if gradients are being recorded."""
            recorded = torch.is_grad_enabled()
            with torch.enable_grad():
                at = z if z.requires_grad else z.detach().requires_grad_()
                value = log_likelihood(at) + prior.log_prob(at)
                return torch.autograd.grad(value.sum(), at, create_graph=recorded)[0]

        start, log_q = draw_with_log_prob(q, (samples,), noise)
        log_q = q.log_prob(start) if log_q is None else log_q
        gamma = noise.normal(start.shape, start)
        sizes = self.most * self.step_logit.sigmoid()
        temperatures = self.temperatures()
        z, rho = leapfrog(force, start, gamma * temperatures[0], sizes, temperatures)
        # the normalizing constants of the Gaussians cancel
        return LatentTerms(z, prior, log_q=log_q + 0.5 * (rho.square() - gamma.square()).sum(-1))

    def temperatures(self) -> Tensor:
        """Return the temperatures t_k = 1 / sqrt(beta_k) = t_0 + (1 - t_0) k^2 / K^2, (K + 1,)."""
        k = torch.arange(self.steps + 1, dtype=self.step_logit.dtype, device=self.step_logit.device)
        first = 1.0 if self.tempering_logit is None else self.tempering_logit.sigmoid() ** -0.5
        return first + (1 - first) * (k / self.steps).square()


def leapfrog(
    force: Callable[[Tensor], Tensor], z: Tensor, rho: Tensor, sizes: Tensor, temperatures: Tensor
) -> tuple[Tensor, Tensor]:
    """Return z and rho (..., L) after K leapfrog steps, each followed by a scaling of the momentum.

    Args:
        z: Positions (..., L).
        rho: Momenta (..., L).
        force: Function from z to minus the gradient of the potential.
        sizes: Step sizes (K, L), or (K, ...) that broadcast with z.
        temperatures: Temperatures (K + 1,); after step k, rho is multiplied by temperatures[k] / temperatures[k - 1].
    """
    pull = force(z)
    for k, size in enumerate(sizes):
        half = rho + 0.5 * size * pull
        z = z + size * half
        pull = force(z)
        rho = (half + 0.5 * size * pull) * (temperatures[k + 1] / temperatures[k])
    return z, rho
