"""Hamiltonian Monte Carlo on the densities between two densities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tightbound.core.numerics import precise
from tightbound.posteriors.hamiltonian import leapfrog

LogDensity = Callable[[Tensor], Tensor]  # positions (S, B, L) -> (S, B), nats, up to a constant


@dataclass(frozen=True)
class Place:
    """Positions of chains, S for each of B examples, with the log-densities and gradients there."""

    z: Tensor  # (S, B, L)
    values: Tensor  # (2, S, B): log f_0, and log f_1 - log f_0
    slopes: Tensor  # (2, S, B, L): their gradients

    def log_density(self, beta: float) -> Tensor:
        """Return log f_beta, (S, B)."""
        return self.values[0] + beta * self.values[1]

    def slope(self, beta: float) -> Tensor:
        """Return the gradient of log f_beta, (S, B, L)."""
        return self.slopes[0] + beta * self.slopes[1]

    def moved(self, to: Place, where: Tensor) -> Place:
        """Return the place in which the chains with `where` (S, B) have moved to `to`."""
        there = where.to(self.z.device).unsqueeze(-1)
        values = torch.where(where.to(self.values.device), to.values, self.values)
        return Place(torch.where(there, to.z, self.z), values, torch.where(there, to.slopes, self.slopes))


@dataclass(frozen=True)
class Path:
    """Path of densities f_beta = f_0^(1 - beta) f_1^beta, for beta from 0 to 1."""

    base: LogDensity  # log f_0
    change: LogDensity  # log f_1 - log f_0

    def at(self, z: Tensor) -> Place:
        """Return the log-densities and their gradients at positions (S, B, L)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            values = self.base(z), self.change(z)
            slopes = [_slope(value, z) for value in values]
        return Place(z.detach(), torch.stack([precise(value.detach()) for value in values]), torch.stack(slopes))


def _slope(value: Tensor, z: Tensor) -> Tensor:
    if not value.requires_grad:  # a density that does not depend on z
        return torch.zeros_like(z)
    return torch.autograd.grad(value.sum(), z, allow_unused=True, materialize_grads=True)[0]


def transition(
    path: Path, place: Place, beta: float, size: Tensor, steps: int, momentum: Tensor, u: Tensor
) -> tuple[Place, Tensor]:
    """Make one transition that leaves f_beta invariant and is reversible with respect to it.

    Leapfrog steps start from a random momentum and are accepted or rejected as a whole.

    Args:
        path: Path of densities.
        place: Positions of the chains.
        beta: Which density of the path.
        size: Size of the leapfrog steps (S, B); it may be random, but must not depend on the positions.
        steps: Number of leapfrog steps.
        momentum: Draws from N(0, I), (S, B, L).
        u: Uniform draws on [0, 1), (S, B).

    Returns:
        The new place, and the acceptance probability of each move (S, B).

    References:
        MCMC using Hamiltonian dynamics (Neal 2011), Section 5.3.2, https://arxiv.org/abs/1206.1901
    """
    there = place

    def force(z: Tensor) -> Tensor:
        nonlocal there
        there = place if z is place.z else path.at(z)
        return there.slope(beta)

    still = momentum.new_ones(steps + 1)  # no tempering of the momentum
    _, rho = leapfrog(force, place.z, momentum, size.unsqueeze(-1).expand(steps, *size.shape, 1), still)
    gain = there.log_density(beta) - place.log_density(beta)
    gain = gain + 0.5 * (precise(momentum).square() - precise(rho).square()).sum(-1)
    probability = gain.nan_to_num(nan=-torch.inf).clamp(max=0).exp()  # a diverged trajectory is rejected
    return place.moved(there, u.to(probability.device) < probability), probability
