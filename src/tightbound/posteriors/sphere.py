"""Posteriors on the unit sphere that are symmetric about a mean direction."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, register_kl
from torch.distributions.constraints import Constraint

from tightbound.core.noise import Noise, draw
from tightbound.nn.base import Architecture
from tightbound.posteriors.base import Posterior
from tightbound.posteriors.bessel import bessel_ratio, log_bessel
from tightbound.priors.sphere import UniformSphere, log_area

NODES = 32  # nodes of the quadrature for the derivative of a draw with respect to the concentration


class Axial(Distribution, ABC):
    """Base class of distributions on the sphere |z| = 1 in R^L that are symmetric about a mean direction.

    The density in the surface measure is exp(kappa h(t)) / (area E_uniform[exp(kappa h(t))]), where t = z . direction
    is the cosine of the angle from the mean direction, and h <= 0 is 0 at t = 1. Draws are exact: t by rejection from
    Ulrich's envelope, the rest uniform. They have the pathwise gradient, with d t / d kappa from implicit
    differentiation of the distribution function, which is unbiased without a correction for the rejection.

    Args:
        direction: Mean directions (B, L) of length 1, with L >= 2.
        concentration: Concentrations kappa (B,) >= 0; 0 is the uniform distribution.

    References:
        Simulation of the von Mises Fisher distribution (Wood 1994), algorithm VM*,
        https://doi.org/10.1080/03610919408813161;
        Implicit reparameterization gradients (Figurnov et al. 2018), Eq. 5, https://arxiv.org/abs/1805.08498
    """

    has_rsample = True

    def __init__(self, direction: Tensor, concentration: Tensor) -> None:
        self.direction, self.concentration = direction, concentration
        self.size = direction.shape[-1]
        super().__init__(direction.shape[:-1], direction.shape[-1:], validate_args=False)

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """Return no constraints."""
        return {}

    @abstractmethod
    def statistic(self, near: Tensor, far: Tensor) -> Tensor:
        """Return h, given (1 - t) / 2 and (1 + t) / 2, each of which is accurate where it is small."""

    @property
    @abstractmethod
    def log_mean(self) -> Tensor:
        """log E[exp(kappa h)] (B,) over the uniform distribution."""

    @property
    @abstractmethod
    def mean_statistic(self) -> Tensor:
        """E h (B,), the derivative of `log_mean` with respect to kappa."""

    @property
    @abstractmethod
    def cosine(self) -> Tensor:
        """E t (B,)."""

    @property
    @abstractmethod
    def spread(self) -> Tensor:
        """E[1 - t^2] (B,)."""

    @property
    @abstractmethod
    def envelope(self) -> Tensor:
        """b (B,), such that exp(kappa h) (1 - t (1 - b) / (1 + b))^(L - 1) is largest at t = (1 - b) / (1 + b)."""

    @property
    def mean(self) -> Tensor:
        """Mean (B, L), inside the sphere."""
        return self.cosine.unsqueeze(-1) * self.direction

    @property
    def variance(self) -> Tensor:
        """Variance (B, L) of each coordinate."""
        along, across = self.direction.square(), self.spread.unsqueeze(-1) / (self.size - 1)
        of_t = (1 - self.spread - self.cosine.square()).unsqueeze(-1).clamp_min(0)  # negative only by rounding
        return of_t * along + across * (1 - along).clamp_min(0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (...) in nats at points (..., L) of the sphere."""
        near, far = ((value - sign * self.direction).square().sum(-1) / 4 for sign in (1, -1))
        return self.concentration * self.statistic(near, far) - self.log_mean - log_area(self.size)

    def entropy(self) -> Tensor:
        """Return the entropy (B,) in nats, with respect to the surface measure."""
        return log_area(self.size) - _kl_uniform(self)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw with torch's default generator."""
        return draw(self, tuple(sample_shape), Noise(int(torch.randint(2**62, ()))))


class VonMisesFisher(Axial):
    """Von Mises-Fisher distribution, with h = t - 1 and density proportional to exp(kappa z . direction)."""

    def statistic(self, near: Tensor, far: Tensor) -> Tensor:
        """Return t - 1."""
        return -2 * near

    @property
    def log_mean(self) -> Tensor:
        """log E[exp(kappa h)] (B,), from the Bessel function of order L/2 - 1."""
        return log_bessel(self.size / 2 - 1, self.concentration)

    @property
    def mean_statistic(self) -> Tensor:
        """E h = E t - 1."""
        return self.cosine - 1

    @property
    def cosine(self) -> Tensor:
        """E t = I_(L/2)(kappa) / I_(L/2 - 1)(kappa)."""
        return self.concentration * bessel_ratio(self.size / 2 - 1, self.concentration)

    @property
    def spread(self) -> Tensor:
        """E[1 - t^2] = (L - 1) E t / kappa."""
        return (self.size - 1) * bessel_ratio(self.size / 2 - 1, self.concentration)

    @property
    def envelope(self) -> Tensor:
        """b as in Wood 1994."""
        twice = 2 * self.concentration
        return (self.size - 1) / (twice + (twice.square() + (self.size - 1) ** 2).sqrt())


class PowerSpherical(Axial):
    """Power spherical distribution, with h = log((1 + t) / 2) and density proportional to (1 + z . direction)^kappa."""

    def statistic(self, near: Tensor, far: Tensor) -> Tensor:
        """Return log((1 + t) / 2)."""
        return far.log()

    @property
    def _beta(self) -> float:
        return (self.size - 1) / 2

    @property
    def _alpha(self) -> Tensor:
        return self._beta + self.concentration

    @property
    def log_mean(self) -> Tensor:
        """log E[exp(kappa h)] = log(B(alpha, beta) / B(beta, beta))."""
        beta = self._beta
        return log_gamma_ratio(self._alpha, beta) - math.lgamma(beta) + math.lgamma(2 * beta)

    @property
    def mean_statistic(self) -> Tensor:
        """E h, the expected logarithm of a Beta variable."""
        return digamma_difference(self._alpha, self._beta)

    @property
    def cosine(self) -> Tensor:
        """E t = kappa / (kappa + L - 1)."""
        return self.concentration / (self.concentration + self.size - 1)

    @property
    def spread(self) -> Tensor:
        """E[1 - t^2] = 4 alpha beta / ((alpha + beta) (alpha + beta + 1))."""
        total = self._alpha + self._beta
        return 4 * self._alpha * self._beta / (total * (total + 1))

    @property
    def envelope(self) -> Tensor:
        """b = (L - 1) / (2 kappa + L - 1)."""
        return (self.size - 1) / (2 * self.concentration + self.size - 1)


class AxialPosterior(Posterior):
    """Base class of posteriors of an axial family, with a direction and kappa = 1 + L softplus(a) from the encoder.

    a is the mean of the head's second row. The factor L makes E[z . direction] about one half initially, in any
    dimension. The minimum kappa of 1 is taken from the code of Davidson et al. 2018: at 0 the posterior equals the
    prior, and the decoder never learns to use z.
    """

    outputs = 2
    support = "sphere"
    least = 2
    family: ClassVar[type[Axial]]

    def __init__(
        self,
        shape: tuple[int, ...] = (),
        latent: int = 2,
        network: Architecture | nn.Module | None = None,
    ) -> None:
        super().__init__(shape, latent, network)

    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution at (B, 2, latent): unnormalized directions, and numbers whose mean gives kappa."""
        axis, a = raw.unbind(1)
        return self.family(self.nearest(axis), 1 + self.latent * F.softplus(a.mean(-1)))

    def nearest(self, z: Tensor) -> Tensor:
        """Scale z (..., latent) to length 1; zero, which has no direction, becomes the first axis."""
        first = F.one_hot(torch.zeros((), dtype=torch.long, device=z.device), self.latent).to(z)
        largest = z.detach().abs().amax(-1, keepdim=True)
        # scale first, because the squares of tiny numbers would underflow
        return F.normalize(torch.where(largest > 0, z / largest.where(largest > 0, 1.0), first), dim=-1)


class VonMisesFisherPosterior(AxialPosterior):
    """Von Mises-Fisher posterior on the sphere |z| = 1, with q(z | x) proportional to exp(kappa(x) mu(x) . z).

    References:
        Hyperspherical variational auto-encoders (Davidson et al. 2018), Eqs. 1 to 4, https://arxiv.org/abs/1804.00891
    """

    family = VonMisesFisher


class PowerSphericalPosterior(AxialPosterior):
    """Power spherical posterior on the sphere |z| = 1, with q(z | x) proportional to (1 + mu(x) . z)^kappa(x).

    It needs no Bessel function.

    References:
        The power spherical distribution (De Cao and Aziz 2020), Eqs. 5 to 8, https://arxiv.org/abs/2006.04437
    """

    family = PowerSpherical


@register_kl(Axial, UniformSphere)
def _kl(q: Axial, p: UniformSphere) -> Tensor:
    return _kl_uniform(q)


def _kl_uniform(q: Axial) -> Tensor:
    return q.concentration * q.mean_statistic - q.log_mean


@draw.register
def _(distribution: Axial, samples: Sequence[int], noise: Noise) -> Tensor:
    angle, across = _propose(distribution, samples, noise.branch())
    angle = _implicit(distribution, angle).unsqueeze(-1)
    # reflect (0, across) so that it becomes orthogonal to the direction, with that one of the two possible reflections
    # that is smooth around this direction
    direction, rest = distribution.direction, distribution.direction[..., 1:]
    first = direction[..., :1]
    factor = (rest * across).sum(-1, keepdim=True) / (1 + first.abs())
    reflected = F.pad(across, (1, 0)) - factor * torch.cat([first + torch.where(first < 0, -1.0, 1.0), rest], -1)
    return angle.cos() * direction + angle.sin() * reflected


@torch.no_grad()
def _propose(q: Axial, samples: Sequence[int], noise: Noise) -> tuple[Tensor, Tensor]:
    """Return angles (*samples, B) from the direction, and unit vectors (*samples, B, L - 1)."""
    kappa, b = q.concentration, q.envelope
    shape = (*samples, *q.batch_shape)
    tiny = torch.finfo(kappa.dtype).tiny
    top = kappa * q.statistic(b / (1 + b), 1 / (1 + b))
    angle, across, done = None, None, torch.zeros(shape, dtype=torch.bool, device=kappa.device)
    while angle is None or across is None or not done.all():
        # the first coordinate of a uniform point on the sphere is a symmetric Beta variable, and is independent of the
        # direction of the others
        e = F.normalize(noise.normal((*shape, q.size), kappa), dim=-1)
        rest = e[..., 1:]
        square = rest.square().sum(-1).clamp_min(tiny)
        small = square / (2 * (1 + e[..., 0].abs()))
        near, far = torch.where(e[..., 0] < 0, small, 1 - small), torch.where(e[..., 0] < 0, 1 - small, small)
        near, far = b * near / (b * near + far), far / (b * near + far)
        ratio = (b + (1 - b) * near) * (1 + b) / (2 * b)
        log_accept = kappa * q.statistic(near, far) - top + (q.size - 1) * ratio.log()
        new = 2 * torch.atan2(near.sqrt(), far.sqrt())
        unit = rest / square.sqrt().unsqueeze(-1)
        angle = new if angle is None else torch.where(done, angle, new)
        across = unit if across is None else torch.where(done.unsqueeze(-1), across, unit)
        done = done | (noise.uniform(shape, kappa).log() <= log_accept)
    return angle.clamp_min(tiny), across


def _implicit(q: Axial, angle: Tensor) -> Tensor:
    """Return the angles with gradient d angle / d kappa = -(d F / d kappa) / p, where F is the distribution function.

    d F / d kappa is the integral of (h - E h) p over the angles from 0, or minus the integral to pi. Gauss-Legendre
    quadrature computes it on the side where h - E h has one sign, as far as p is not negligible.
    """
    if not (torch.is_grad_enabled() and q.concentration.requires_grad):
        return angle
    with torch.no_grad():
        kappa, mean, other = q.concentration, q.mean_statistic, q.size - 2

        def statistic(a: Tensor) -> Tensor:
            return q.statistic((a / 2).sin().square(), (a / 2).cos().square())

        nodes, weights = (torch.tensor(t, dtype=angle.dtype, device=angle.device) for t in _quadrature())
        at = statistic(angle)
        inside = at > mean
        # the density of the angle is log-concave near its mode, with a curvature of at least (kappa / 2 + L - 2) / 2
        reach = 10 * (2 / (kappa / 2 + other)).sqrt()
        length = torch.where(inside, angle, math.pi - angle).minimum(reach)
        side = torch.where(inside, -1.0, 1.0).to(angle)
        points = angle.unsqueeze(-1) + (side * length).unsqueeze(-1) * nodes
        h = statistic(points)
        tiny = torch.finfo(angle.dtype).tiny
        sine = points.sin().clamp_min(tiny).log() - angle.sin().clamp_min(tiny).log().unsqueeze(-1)
        density = (kappa.unsqueeze(-1) * (h - at.unsqueeze(-1)) + other * sine).exp()
        slope = side * length * (((h - mean.unsqueeze(-1)) * density) @ weights)
    return angle + slope * (q.concentration - q.concentration.detach())


@functools.cache
def _quadrature() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return tuple((nodes + 1) / 2), tuple(weights / 2)


SHIFT = 8  # Stirling's series is used above this argument


def log_gamma_ratio(a: Tensor, b: float) -> Tensor:
    """Return log Gamma(a) - log Gamma(a + b) for a > 0, b >= 0, without cancellation for large a."""
    x, steps = a + SHIFT, torch.arange(SHIFT, dtype=a.dtype, device=a.device)
    below = torch.log1p(b / (a.unsqueeze(-1) + steps)).sum(-1)
    series = [c * (x**-n - (x + b) ** -n) for c, n in ((1 / 12, 1), (-1 / 360, 3), (1 / 1260, 5), (-1 / 1680, 7))]
    return below - (x - 0.5) * torch.log1p(b / x) - b * (x + b).log() + b + sum(series)


def digamma_difference(a: Tensor, b: float) -> Tensor:
    """Return psi(a) - psi(a + b), the derivative of `log_gamma_ratio` with respect to a."""
    x, steps = a + SHIFT, a.unsqueeze(-1) + torch.arange(SHIFT, dtype=a.dtype, device=a.device)
    below = (b / (steps * (steps + b))).sum(-1)
    series = [c * (x**-n - (x + b) ** -n) for c, n in ((-1 / 12, 2), (1 / 120, 4), (-1 / 252, 6), (1 / 240, 8))]
    return -below - torch.log1p(b / x) - b / (2 * x * (x + b)) + sum(series)
