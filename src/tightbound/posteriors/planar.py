"""Planar and Sylvester flow posteriors, with parameters from the encoder."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import normalize

from tightbound.core.errors import whole
from tightbound.core.numerics import bounded
from tightbound.nn.base import Network, Shape
from tightbound.posteriors.base import Posterior
from tightbound.posteriors.pushforward import Pushforward

SLOPE = 1e-3  # minimum slope of a step along any direction, to keep it invertible in floating point


class Planar(Posterior):
    """Planar flow posterior, with steps z_k = z_{k-1} + u tanh(w'z_{k-1} + b) from a diagonal Gaussian.

    The encoder gives u, w and b of each flow, and mean and variance of z_0. u is moved along w so that w'u > -1, which
    makes the step invertible. The density is known only at the posterior's own draws.

    Args:
        shape, latent, network: As for `Posterior`.
        flows: Number of flows K.

    References:
        Variational inference with normalizing flows (Rezende and Mohamed 2015), Eqs. 10-13 and Appendix A.1,
        https://arxiv.org/abs/1505.05770; their m(x) = -1 + softplus(x) is shifted here so that m(0) = 0, and u = 0 is
        the identity
    """

    evaluable: ClassVar[bool] = False

    def __init__(self, shape: Shape = (), latent: int = 1, network: Network | None = None, flows: int = 10) -> None:
        self.flows = whole("flows", flows, least=1)
        super().__init__(shape, latent, network)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one example's parameters: mean and log-variance, then u, w and b of each flow."""
        return (2 * self.latent + self.flows * (2 * self.latent + 1),)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at parameters (B, 2 latent + flows (2 latent + 1))."""
        mean, log_variance, steps = raw.split((self.latent, self.latent, raw.shape[-1] - 2 * self.latent), dim=-1)
        log_variance = bounded(log_variance, 50)
        steps = steps.unflatten(-1, (self.flows, -1)).unbind(-2)
        parameters = [step.split((self.latent, self.latent, 1), dim=-1) for step in steps]
        made = [(*invertible(u, w), w, b) for u, w, b in parameters]

        def push(e: Tensor) -> tuple[Tensor, Tensor]:
            z, log_det = mean + (0.5 * log_variance).exp() * e, 0.5 * log_variance.sum(-1)
            for u, along, w, b in made:
                h = torch.tanh((w * z).sum(-1, keepdim=True) + b)
                z = z + u * h
                log_det = log_det + torch.log1p(along * (1 - h.square())).squeeze(-1)
            return z, log_det

        return Pushforward(push, None, mean)


def invertible(u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Move u (..., L) along w so that w'u >= -1 + SLOPE; return the new u and w'u (..., 1)."""
    norm = w.norm(dim=-1, keepdim=True)
    direction = normalize(w, dim=-1)
    before = (direction * u).sum(-1, keepdim=True)  # component of the given u along w
    after = _above_minus_one(norm * before)
    moved = after / norm.clamp_min(torch.finfo(w.dtype).tiny)
    across = u - before * direction
    across = across - (direction * across).sum(-1, keepdim=True) * direction  # again: large u, w round to w'u < -1
    return across + moved * direction, after


def _above_minus_one(x: Tensor) -> Tensor:
    """Return softplus(x + c) - softplus(c), where softplus(c) = 1 - SLOPE, precise near 0 and far from it."""
    low = math.exp(SLOPE - 1)  # sigmoid(-c)
    below = torch.log1p((1 - low) * torch.expm1(x.clamp_max(0)))
    return torch.where(x > 0, x + torch.log1p(low * torch.expm1(-x.clamp_min(0))), below)


class Sylvester(Posterior):
    """Sylvester flow posterior, with steps z_k = z_{k-1} + Q R tanh(S Q'z_{k-1} + b) from a diagonal Gaussian.

    These are planar flows with as many hidden units as dimensions. Q is a product of Householder reflections; R and S
    are upper triangular with r_ii s_ii > -1, which makes each step invertible (r_ii is moved like u in `Planar`). All
    come from the encoder, whose head grows as flows * latent^2. The density is known only at the posterior's own draws.

    Args:
        shape, latent, network: As for `Posterior`.
        flows: Number of flows.
        reflections: Number of Householder reflections in each Q.

    References:
        Sylvester normalizing flows for variational inference (van den Berg et al. 2018), Theorem 2 and the
        Householder flows of Section 3, https://arxiv.org/abs/1803.05649
    """

    evaluable: ClassVar[bool] = False

    def __init__(
        self, shape: Shape = (), latent: int = 1, network: Network | None = None, flows: int = 4, reflections: int = 4
    ) -> None:
        self.flows, self.reflections = whole("flows", flows, least=1), whole("reflections", reflections, least=1)
        super().__init__(shape, latent, network)

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """The shape of one example's parameters: mean and log-variance, then the rows of each flow.

        The rows of a flow are the diagonals of R and S, b, a matrix with R above and S' below its diagonal, and the
        reflections.
        """
        return (2 + self.flows * (3 + self.latent + self.reflections), self.latent)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at rows (B, 2 + flows (3 + latent + reflections), latent)."""
        mean, log_variance = raw[..., 0, :], bounded(raw[..., 1, :], 50)
        made = [self._step(step) for step in raw[..., 2:, :].unflatten(-2, (self.flows, -1)).unbind(-3)]

        def push(e: Tensor) -> tuple[Tensor, Tensor]:
            z, log_det = mean + (0.5 * log_variance).exp() * e, 0.5 * log_variance.sum(-1)
            for outer, inner, b, slopes in made:
                h = torch.tanh((inner @ z.unsqueeze(-1)).squeeze(-1) + b)
                z = z + (outer @ h.unsqueeze(-1)).squeeze(-1)
                log_det = log_det + torch.log1p(slopes * (1 - h.square())).sum(-1)
            return z, log_det

        return Pushforward(push, None, mean)

    def _step(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return Q R (B, L, L), S Q' (B, L, L), b (B, L) and r_ii s_ii (B, L) from the rows of a flow."""
        s = rows[..., 1, :]
        r, slopes = (v.squeeze(-1) for v in invertible(rows[..., 0, :].unsqueeze(-1), s.unsqueeze(-1)))
        matrix = rows[..., 3 : 3 + self.latent, :] / self.latent**0.5
        upper, lower = matrix.triu(1) + torch.diag_embed(r), matrix.mT.triu(1) + torch.diag_embed(s)
        q = torch.eye(self.latent, dtype=rows.dtype, device=rows.device)
        for v in normalize(rows[..., 3 + self.latent :, :], dim=-1).unbind(-2):
            q = q - 2 * (q @ v.unsqueeze(-1)) * v.unsqueeze(-2)
        return q @ upper, lower @ q.mT, rows[..., 2, :], slopes
