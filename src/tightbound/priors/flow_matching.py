"""Flow-matching prior: an ordinary differential equation that carries noise to latents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from tightbound.core.errors import whole
from tightbound.core.latents import SecondStage
from tightbound.core.noise import Noise, draw, unkeyed
from tightbound.core.numerics import unrounded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, LatentTerms, Terms, UncheckedDistribution
from tightbound.nn.velocity import VelocityMaps, VelocityMLP
from tightbound.priors.base import Prior

# points (N, latent), times (N,), contexts (N, context) or None, directions (K, N, latent) or None ->
# velocities (N, latent), and their derivatives (K, N, latent) along the directions or None
Velocity = Callable[[Tensor, Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor | None]]
EXACT = 64  # dimensions of z up to which the trace of the Jacobian is computed, not estimated
TANGENTS = 2**15  # directional derivatives that are computed at once


class FlowMatching(Prior):
    """Flow-matching prior, trained after the rest of the model on draws from q(z | x); until then N(0, I).

    z is the solution at time 1 of dz/dt = v(z, t), whose value at time 0 is N(0, I). The velocity v is learned by
    regression on straight paths from noise to standardized latents, and is that of the Gaussian with the mean and
    variances of the latents at first. The density follows from the divergence of v (instantaneous change of
    variables). Both are computed by the classical Runge-Kutta method, whose error `numerical_error` estimates.

    Args:
        latent: Size of z.
        hidden: Width of the velocity network, or its number of channels if z is a map; "auto": 256, or 64.
        blocks: Number of its residual blocks, on each of two scales if z is a map.
        steps: Runge-Kutta steps, of four evaluations of the network each, for draws and for densities.
        context: Size of the context, which is an input of the network.
        plane: Shape (C, H, W) of z, if it is a map; the network is then convolutional.

    References:
        Flow matching for generative modeling (Lipman et al. 2023), https://arxiv.org/abs/2210.02747;
        Neural ordinary differential equations (Chen et al. 2018), Section 4, https://arxiv.org/abs/1806.07366
    """

    def __init__(
        self,
        latent: int = 1,
        hidden: int | Literal["auto"] = "auto",
        blocks: int = 3,
        steps: int = 8,
        context: int = 0,
        plane: tuple[int, ...] = (),
    ) -> None:
        super().__init__(latent, context)
        self.steps, self.plane = whole("steps", steps, least=1), tuple(plane)
        width = (64 if plane else 256) if hidden == "auto" else whole("hidden", hidden, least=1)
        blocks = whole("blocks", blocks, least=1)
        self.network: VelocityMLP | VelocityMaps
        if plane:
            self.network = VelocityMaps(plane, self.context, width, blocks)
        else:
            self.network = VelocityMLP(self.latent, self.context, width, blocks)
        self.register_buffer("learned", torch.tensor(False))
        self.register_buffer("mean", torch.zeros(self.latent))
        self.register_buffer("std", torch.ones(self.latent))

    learned: Tensor
    mean: Tensor
    std: Tensor

    @property
    def second_stage(self) -> SecondStage:
        """The training of the velocity."""
        return FlowMatchingStage(self)

    def forward(self, context: Tensor | None = None) -> Distribution:
        """Return the prior; batch shape (), or (B,) if there is a context and the velocity has been learned."""
        if not self.learned:
            return Independent(Normal(torch.zeros_like(self.mean), torch.ones_like(self.std), validate_args=False), 1)
        return self.flow(context, self.steps, exact=not self.estimated)

    def flow(self, context: Tensor | None, steps: int, *, exact: bool = True) -> OdeFlow:
        """Return the distribution of the solution with so many steps; see `OdeFlow`."""
        return OdeFlow(self.velocity, self.mean, self.std, context if self.context else None, steps, exact=exact)

    def velocity(
        self, x: Tensor, t: Tensor, context: Tensor | None = None, directions: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the velocities of standardized latents, and their derivatives along directions; see `Velocity`."""
        line = ((2 * t - 1) / (2 * t.square() - 2 * t + 1)).unsqueeze(-1)  # carries N(0, I) to itself
        value, change = self.network(x, t, context, directions)
        return value + line * x, None if change is None or directions is None else change + line * directions

    @property
    def solved(self) -> bool:
        """Whether the velocity has been learned."""
        return bool(self.learned)

    @property
    def estimated(self) -> bool:
        """Whether z has so many dimensions that the trace of the Jacobian is taken along one random direction."""
        return bool(self.learned) and self.latent > EXACT

    @property
    def density_passes(self) -> int:
        """Evaluations of the velocity and of its derivative along each dimension, once it has been learned."""
        return 4 * self.steps * (2 if self.estimated else self.latent + 1) if self.learned else 0

    def numerical_error(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(z) minus that with twice the steps (B,)."""
        exact = not self.estimated
        once, twice = (self.flow(context, n * self.steps, exact=exact).log_prob(z) for n in (1, 2))
        return once - twice


class FlowMatchingStage(SecondStage):
    """Flow-matching prior as a model to train.

    In training mode the log-likelihood of its terms is minus the squared error of the velocity at a random time; in
    evaluation mode it is an unbiased estimate of log p(z), with the trace of the Jacobian along one random direction.

    Args:
        prior: The prior.
    """

    unit, trains_on, exact = "latent", "squared error of the velocity", False
    draws, validated = 8, 300
    suits: ClassVar[Mapping[str, Any]] = {"batch_size": 256, "lr": 1e-3, "ema": 0.999}

    def __init__(self, prior: FlowMatching) -> None:
        super().__init__()
        self.prior = prior
        self.register_buffer("learned", prior.learned, persistent=False)

    def codes(self, groups: Sequence[LatentTerms]) -> Tensor:
        """Return z (S, B, latent)."""
        return groups[0].z

    def start_at(self, codes: Tensor) -> None:
        """Take mean and standard deviations from latents (N, latent)."""
        prior, codes = self.prior, codes.to(self.prior.mean)
        channels = prior.plane[0] if prior.plane else prior.latent
        over = codes.view(len(codes), channels, -1).transpose(1, 2).flatten(0, 1)
        mean, std = over.mean(0), over.std(0, correction=0).clamp_min(1e-6)
        each = prior.latent // len(mean)  # the positions of a map share mean and scale
        prior.mean.copy_(mean.repeat_interleave(each))
        prior.std.copy_(std.repeat_interleave(each))

    def forward(self, batch: Batch, samples: int = 1, noise: Noise | None = None, knobs: Knobs | None = None) -> Terms:
        """Return the terms of latents (B, latent), which have no latents of their own."""
        noise, prior, context = noise or unkeyed(), self.prior, batch.context
        flow = prior.flow(context, max(2, prior.steps // 2), exact=False)
        if not self.training:
            return Terms(flow.log_prob(batch.x).unsqueeze(0), (), flow, batch)
        x = (batch.x - prior.mean) / prior.std
        start = noise.normal((1, *x.shape), x)[0]
        t = noise.uniform((1, len(x)), x)[0]
        between = torch.lerp(start, x, t.unsqueeze(-1))
        error = (prior.velocity(between, t, context if prior.context else None)[0] - (x - start)).square().sum(-1)
        return Terms(-error.unsqueeze(0), (), flow, batch)


class OdeFlow(UncheckedDistribution):
    """Distribution of mean + std x(1), where x(0) has the distribution N(0, I) and dx/dt = v(x, t).

    Args:
        velocity: The field v, with its derivatives.
        mean, std: Location and scale (latent,).
        context: Contexts (B, context); None: there are none, and the batch shape is ().
        steps: Runge-Kutta steps.
        exact: Whether log-densities take the whole trace of the Jacobian; if not, one random direction gives an
            unbiased estimate of it (Hutchinson); it follows from the digits of the point, so that the estimate at a
            point is always the same.
    """

    has_rsample = True

    def __init__(
        self,
        velocity: Velocity,
        mean: Tensor,
        std: Tensor,
        context: Tensor | None,
        steps: int,
        *,
        exact: bool = True,
    ) -> None:
        self._velocity, self._mean, self._std, self._context = velocity, mean, std, context
        self._steps, self._exact = steps, exact
        super().__init__(torch.Size(() if context is None else context.shape[:1]), mean.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (..., *batch) at points (..., *batch, latent)."""
        with unrounded(value.device.type):  # a divergence in bfloat16 would make the density unnormalized
            x, context = self._rows((value - self._mean) / self._std)
            size = max(1, TANGENTS // x.shape[1]) if self._exact else len(x)
            contexts = [None] * math.ceil(len(x) / size) if context is None else context.split(size)
            parts = [self._log_prob(part, own) for part, own in zip(x.split(size), contexts, strict=True)]
            return torch.cat([*parts, x.new_zeros(0)]).view(value.shape[:-1]) - self._std.log().sum()

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, *batch, latent) with torch's default generator."""
        return self.carried(torch.randn(*sample_shape, *self.batch_shape, *self.event_shape).to(self._mean))

    def carried(self, start: Tensor) -> Tensor:
        """Return the solutions at time 1 that start at points (..., *batch, latent)."""
        with unrounded(start.device.type):
            x, context = self._rows(start)
            end = solution(lambda x, t: self._velocity(x, _times(x, t), context, None)[0], x, self._steps)
            return self._mean + self._std * end.view(start.shape)

    def _rows(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return points (..., *batch, latent) and their contexts as rows."""
        if self._context is None:
            return x.reshape(-1, x.shape[-1]), None
        context = self._context.expand(*x.shape[:-1], self._context.shape[-1])
        return x.reshape(-1, x.shape[-1]), context.reshape(-1, context.shape[-1])

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the log-densities (N,) of standardized points (N, latent)."""
        n, size = x.shape
        directions = torch.eye(size).to(x).unsqueeze(1).expand(size, n, size)
        if not self._exact:
            directions = _signs(x).unsqueeze(0)

        def rate(state: Tensor, t: float) -> Tensor:
            velocity, change = self._velocity(state[:, :size], _times(x, t), context, directions)
            assert change is not None
            return torch.cat([velocity, (change * directions).sum((0, 2)).unsqueeze(-1)], -1)

        start = torch.cat([x, x.new_zeros(n, 1)], -1)
        end = solution(rate, start, self._steps, back=True)
        return end[:, size] - 0.5 * (end[:, :size].square().sum(-1) + size * math.log(2 * math.pi))


def solution(rate: Callable[[Tensor, float], Tensor], x: Tensor, steps: int, *, back: bool = False) -> Tensor:
    """Return x(1) of dx/dt = rate(x, t) from x(0), by the classical Runge-Kutta method of fourth order.

    Steps are shorter near time 1, where x is as narrow as q(z | x).

    Args:
        rate: The right-hand side.
        x: The value at time 0.
        steps: Number of steps.
        back: Return x(0) from x(1).
    """
    times = [1 - (1 - i / steps) ** 2 for i in range(steps + 1)]
    times = times[::-1] if back else times
    for t, after in itertools.pairwise(times):
        h = after - t
        first = rate(x, t)
        second = rate(x + h / 2 * first, t + h / 2)
        third = rate(x + h / 2 * second, t + h / 2)
        fourth = rate(x + h * third, after)
        x = x + h / 6 * (first + 2 * second + 2 * third + fourth)
    return x


def _signs(x: Tensor) -> Tensor:
    """Return random signs, 1 or -1, that are a function of the bits and the position of each number of x (N, L)."""
    whole = {4: torch.int32, 8: torch.int64}[x.element_size()]
    mixed = x.detach().contiguous().view(whole).long() + 0x632BE59BD9B4E019 * torch.arange(x.shape[-1], device=x.device)
    for factor in (0x5851F42D4C957F2D, 0x14057B7EF767814F):  # as a congruential generator and a shift mix them
        mixed = mixed * factor
        mixed = mixed ^ (mixed >> 32)
    return (mixed >> 17 & 1).to(x) * 2 - 1


def _times(x: Tensor, t: float) -> Tensor:
    return x.new_full(x.shape[:-1], t)


@draw.register
def _(distribution: OdeFlow, samples: Sequence[int], noise: Noise) -> Tensor:
    like = distribution._mean
    shape = (*samples, *distribution.batch_shape, *distribution.event_shape)
    return distribution.carried(noise.normal(shape, like))
