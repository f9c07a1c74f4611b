"""Hierarchy whose inference shares the generative path from the top to the bottom."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import InputError, whole
from tightbound.core.join import append
from tightbound.core.latents import LogLikelihood, State
from tightbound.core.noise import Noise, draw
from tightbound.core.numerics import bounded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.latents.hierarchy import Hierarchy, Take
from tightbound.nn.base import Architecture, Network, Shape, as_sizes, fold, merge_stages, output_size
from tightbound.nn.base import activation as act
from tightbound.priors import Prior

Gaussian = tuple[Tensor, Tensor]  # mean and log-variance, (..., L) each


class Ladder(Hierarchy):
    """Ladder hierarchy, whose top-down inference q(z_N | x) prod q(z_i | z_>i, x) shares the path of the prior.

    The prior is p(z_N) prod p(z_i | z_>i), and all conditionals are diagonal Gaussians. On the way up, the encoder
    computes deterministic states d_1 .. d_N, and a Gaussian estimate of z_i from each. On the way down, states
    t_i = t_i+1 + f_i(t_i+1, z_i+1) give p(z_i | z_>i), and q(z_i | z_>i, x) is its normalized product with the
    estimate. The features are all groups, so each has a skip connection to x. Unlike in the paper, variances are
    exponentials instead of softplus, and layer normalization replaces batch normalization, which would make the bound
    of an example depend on others.

    Lower groups stay unused for a long time, or permanently, unless the rate costs little at first: train with a
    warm-up, `elbo(beta=linear(...))`, or with free bits per group.

    Args:
        shape: Shape of the encoder's input: x, joined with the context if there is one.
        latent: Size of z_1, if `groups` is a number.
        network: Network of the upward path: an architecture, whose stages are assigned to the groups from the top, with
            hidden layers added if it has too few; or any module (B, *shape) -> (B, ...), which computes d_1.
        groups: Number N of groups, each half the size of the one below it; or the sizes of all groups, z_1 first.
        hidden: Width of the states t_i and of added layers.
        activation: Activation of the states and of added layers.
        top: p(z_N); None: N(0, I), shifted by the context.
        context: Size of the context, an input of the top state; 0: no context.

    References:
        Ladder variational autoencoders (Sønderby et al. 2016), Eqs. 13 to 19, https://arxiv.org/abs/1602.02282
    """

    local_of = "the encoder's estimates of all groups"

    def __init__(
        self,
        shape: Shape,
        latent: int,
        network: Network,
        groups: int | tuple[int, ...] = 3,
        hidden: int = 256,
        activation: str = "relu",
        top: Prior | None = None,
        context: int = 0,
    ) -> None:
        if isinstance(groups, int):
            groups = tuple(max(1, latent >> i) for i in range(whole("groups", groups, least=2, most=1000)))
        if len(as_sizes("groups", groups)) < 2:
            raise InputError(
                f"groups = {groups!r}; needed: at least two sizes, or a number of groups; for one, use latents 'flat'"
            )
        super().__init__(as_sizes("groups", groups), top, context)
        self.features = self.latent
        hidden = whole("hidden", hidden, least=1)
        self.up = nn.ModuleList(_ways_up(network, shape, len(self.sizes), hidden, activation))
        widths = [output_size(nn.Sequential(*self.up[:i]), shape, "encoder") for i in range(1, len(self.sizes) + 1)]
        self.estimates = nn.ModuleList(_head(width, size) for width, size in zip(widths, self.sizes, strict=True))
        inputs = [*(hidden + size for size in self.sizes[1:-1]), self.sizes[-1] + context]
        self.states = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), act(activation), nn.Linear(hidden, hidden)) for width in inputs
        )
        self.priors = nn.ModuleList(nn.Sequential(act(activation), _head(hidden, size)) for size in self.sizes[:-1])

    @property
    def shares_parameters(self) -> bool:
        """True, because p and q share the path from the top."""
        return True

    def local(self, x: Tensor) -> Tensor:
        """Return means and log-variances (B, 2 latent) of the estimates of z_1 .. z_N, group by group."""
        estimates, state = [], x
        for way, head in zip(self.up, self.estimates, strict=True):
            state = way(state)
            estimates.append(fold(head, state.flatten(1), 1))
        return torch.cat(estimates, dim=-1)

    def state(self, local: Tensor, context: Tensor | None = None) -> State:
        """Return (estimates of z_1 .. z_N, p(z_N), context)."""
        return self._estimates(local), self.top_prior(context), context

    def _estimates(self, local: Tensor) -> list[Gaussian]:
        return [_halves(group) for group in local.split([2 * size for size in self.sizes], dim=-1)]

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        """Return groups z_1 .. z_N, and features (S, B, latent)."""
        estimates, prior, context = state
        q = _normal(*estimates[-1])
        groups = [LatentTerms(draw(q, (samples,), noise), prior, q)]

        def take(i: int, p: Distribution) -> Tensor:
            q = _normal(*merge(estimates[i], (p.mean, p.variance.log())))
            groups.append(LatentTerms(draw(q, (), noise), p, q))
            return groups[-1].z

        features = self.down(groups[0].z, context, take)
        return tuple(reversed(groups)), features

    def log_pairs(self, z: Tensor, local: Tensor) -> Tensor:
        """Return log q(z_N | x_j) + sum log q(z_i | z_>i, x_j) (M, N, 1), with one path from the top for each z."""
        groups, estimates = z.split(self.sizes, dim=-1), self._estimates(local)
        parts = [_normal(*estimates[-1]).log_prob(groups[-1].unsqueeze(1))]

        def take(i: int, p: Distribution) -> Tensor:
            prior = (p.mean.unsqueeze(1), p.variance.log().unsqueeze(1))
            parts.append(_normal(*merge(estimates[i], prior)).log_prob(groups[i].unsqueeze(1)))
            return groups[i]

        self.down(groups[-1], None, take)
        return torch.stack(parts).sum(0).unsqueeze(-1)

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the moments (B, latent) of q(z_1 | z_>1, x) .. q(z_N | x), with the groups above at their means."""
        estimates, _, context = state
        walk = [estimates[-1]]

        def take(i: int, p: Distribution) -> Tensor:
            walk.append(merge(estimates[i], (p.mean, p.variance.log())))
            return walk[-1][0]

        self.down(walk[0][0], context, take)
        means, log_variances = (torch.cat(group, dim=-1) for group in zip(*reversed(walk), strict=True))
        return means, log_variances.exp()

    def down(self, top: Tensor, context: Tensor | None, take: Take) -> Tensor:
        """See `Hierarchy.down`; the features are z_1 .. z_N."""
        groups, seen = [top], append(top, context)
        state: Tensor | float = 0.0
        for i in reversed(range(len(self.priors))):
            state = fold(self.states[i], seen, 1) + state
            groups.append(take(i, _normal(*_halves(fold(self.priors[i], state, 1)))))
            seen = torch.cat([state, groups[-1]], dim=-1)
        return torch.cat([*reversed(groups)], dim=-1)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return z, which is the features."""
        return z

    def inference_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the upward path."""
        return [*self.up.parameters(), *self.estimates.parameters()]


def merge(one: Gaussian, other: Gaussian) -> Gaussian:
    """Return the normalized product of two Gaussian densities, in which precisions add up and weight the means.

    References:
        Ladder variational autoencoders (Sønderby et al. 2016), Eqs. 17 and 18, https://arxiv.org/abs/1602.02282
    """
    ratio = other[1] - one[1]  # log of the ratio of precisions, one over other
    return other[0] + ratio.sigmoid() * (one[0] - other[0]), one[1] + F.logsigmoid(ratio)


def _head(width: int, size: int) -> nn.Module:
    """Return a layer (..., width) -> (..., 2 size) for a mean and a log-variance."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * size))


def _halves(raw: Tensor) -> Gaussian:
    mean, log_variance = raw.chunk(2, dim=-1)
    return mean, bounded(log_variance, 50)


def _normal(mean: Tensor, log_variance: Tensor) -> Distribution:
    return Independent(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), 1, validate_args=False)


def _ways_up(network: Network, shape: Shape, groups: int, hidden: int, activation: str) -> list[nn.Sequential]:
    """Return the networks x -> d_1, d_1 -> d_2 and so on."""
    stages = network.stages(shape) if isinstance(network, Architecture) else [nn.Sequential(network)]
    first = max(1, len(stages) - groups + 1)
    ways = [merge_stages(stages[:first]), *stages[first:]]
    while len(ways) < groups:
        width = output_size(nn.Sequential(*ways), shape, "encoder")
        ways.append(nn.Sequential(nn.Flatten(), nn.Linear(width, hidden), act(activation)))
    return ways
