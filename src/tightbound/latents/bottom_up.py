"""Hierarchy of stochastic layers with bottom-up inference."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from tightbound.core.errors import whole
from tightbound.core.join import append
from tightbound.core.latents import LogLikelihood, State
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.latents.hierarchy import Hierarchy, Take
from tightbound.nn import MLP, Architecture
from tightbound.nn.base import as_sizes
from tightbound.posteriors import DiagonalNormal
from tightbound.priors import Prior


class BottomUp(Hierarchy):
    """Hierarchy p(z_N) .. p(z_1 | z_2) with bottom-up inference, q(z_1 | x) .. q(z_N | z_N-1).

    All conditionals are diagonal Gaussians, p and q share no parameters, and the features are z_1. For each sample of a
    group, one sample of the group above is drawn. p(z_i | z_i+1) is then conditional on a draw that depends on z_i, so
    the rate of all groups but the top one is log q - log p at the samples.

    Args:
        shape: Shape of the encoder's input: x, joined with the context if there is one.
        latent: Size of z_1.
        network: Network of q(z_1 | x): an architecture, or any module (B, *shape) -> (B, ...).
        upper: Sizes of z_2 .. z_N; None: only z_2, with half the size of z_1.
        hidden: Hidden sizes of the network of each conditional between groups.
        activation: Activation of these networks.
        top: p(z_N); None: N(0, I), shifted by the context.
        context: Size of the context, which each conditional takes; 0: no context.

    References:
        Importance weighted autoencoders (Burda et al. 2016), Eqs. 1 and 2 and Section 5 (latent = 100),
        https://arxiv.org/abs/1509.00519
    """

    local_of = "q(z_1|x), with the groups above from their networks"

    def __init__(
        self,
        shape: tuple[int, ...],
        latent: int,
        network: Architecture | nn.Module,
        upper: int | tuple[int, ...] | None = None,
        hidden: tuple[int, ...] = (100, 100),
        activation: str = "tanh",
        top: Prior | None = None,
        context: int = 0,
    ) -> None:
        latent = whole("latent", latent, least=1)
        upper = max(1, latent // 2) if upper is None else upper
        super().__init__((latent, *as_sizes("upper", upper)), top, context)
        self.features = latent
        between = MLP(hidden, activation)
        up = (DiagonalNormal((below + context,), above, between) for below, above in pairwise(self.sizes))
        self.posteriors = nn.ModuleList([DiagonalNormal(shape, latent, network), *up])
        down = (DiagonalNormal((above + context,), below, between) for below, above in pairwise(self.sizes))
        self.priors = nn.ModuleList(down)

    @property
    def _first(self) -> DiagonalNormal:
        return cast(DiagonalNormal, self.posteriors[0])

    def local(self, x: Tensor) -> Tensor:
        """Return the parameters of q(z_1 | x); the groups above depend on x only through z_1."""
        return self._first.raw(x)

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """Return (q(z_1 | x), p(z_N), context)."""
        return self._first.at(local), self.top_prior(context), context

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Return groups z_1 .. z_N, and features (S, B, latent)."""
        q, prior, context = state
        z = draw(q, (samples,), noise)
        groups = []
        for posterior, conditional in zip(self.posteriors[1:], self.priors, strict=True):
            above: Distribution = posterior(append(z, context))
            drawn = draw(above, (), noise)
            groups.append(LatentTerms(z, conditional(append(drawn, context)), q, closed=False))
            z, q = drawn, above
        groups.append(LatentTerms(z, prior, q))
        return tuple(groups), groups[0].z

    def log_pairs(self, z: Tensor, local: Tensor) -> Tensor:
        """Return log q(z_1 | x_j) + sum log q(z_i | z_i-1) (M, N, 1), of which only the first term depends on x."""
        groups = z.split(self.sizes, dim=-1)
        own = self._first.at(local).log_prob(groups[0].unsqueeze(1))
        for q, (below, group) in zip(self.posteriors[1:], pairwise(groups), strict=True):
            own = own + q(below).log_prob(group).unsqueeze(1)
        return own.unsqueeze(-1)

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the moments (B, latent) of q(z_1 | x), then of q(z_i | z_i-1) with z_i-1 at its mean."""
        q, _, context = state
        walk = [q]
        for posterior in self.posteriors[1:]:
            walk.append(posterior(append(walk[-1].mean, context)))
        return torch.cat([q.mean for q in walk], dim=-1), torch.cat([q.variance for q in walk], dim=-1)

    def down(self, top: Tensor, context: Tensor | None, take: Take) -> Tensor:
        """See `Hierarchy.down`; the features are z_1."""
        z = top
        for i in reversed(range(len(self.priors))):
            z = take(i, self.priors[i](append(z, context)))
        return z

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return z_1, the first part of z."""
        return z[..., : self.features]

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the posteriors of all groups."""
        return list(self.posteriors.parameters())
