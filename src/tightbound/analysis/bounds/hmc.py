"""Hamiltonian Monte Carlo on the densities between two."""

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
    """Where chains are, S for each of B data, and all that moves them from there."""

    z: Tensor  # (S, B, L)
    base: Tensor  # (S, B) log f_0
    change: Tensor  # (S, B) log f_1 - log f_0
    base_slope: Tensor  # (S, B, L)
    change_slope: Tensor  # (S, B, L)

    def log_density(self, beta: float) -> Tensor:
        """(S, B) log f_beta."""
        return self.base + beta * self.change

    def slope(self, beta: float) -> Tensor:
        """(S, B, L) its gradient."""
        return self.base_slope + beta * self.change_slope

    def moved(self, to: Place, where: Tensor) -> Place:
        """The chains `where` (S, B) is true are at `to`, the others here."""
        there = where.to(self.z.device).unsqueeze(-1)
        where = where.to(self.base.device)
        return Place(
            torch.where(there, to.z, self.z),
            torch.where(where, to.base, self.base),
            torch.where(where, to.change, self.change),
            torch.where(there, to.base_slope, self.base_slope),
            torch.where(there, to.change_slope, self.change_slope),
        )


@dataclass(frozen=True)
class Path:
    """f_beta = f_0^(1 - beta) f_1^beta, for beta from 0 to 1."""

    base: LogDensity  # log f_0
    change: LogDensity  # log f_1 - log f_0

    def at(self, z: Tensor) -> Place:
        """The densities and their gradients at positions (S, B, L)."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            values = self.base(z), self.change(z)
            slopes = [_slope(value, z) for value in values]
        base, change = (precise(value.detach()) for value in values)
        return Place(z.detach(), base, change, *slopes)


def _slope(value: Tensor, z: Tensor) -> Tensor:
    if not value.requires_grad:  # a density that does not depend on z
        return torch.zeros_like(z)
    return torch.autograd.grad(value.sum(), z, allow_unused=True, materialize_grads=True)[0]


def transition(
    path: Path, place: Place, beta: float, size: Tensor, steps: int, momentum: Tensor, u: Tensor
) -> tuple[Place, Tensor]:
    """One transition that leaves f_beta invariant, and is reversible with respect to it: leapfrog steps from a
    momentum, accepted or refused as a whole.

    Arguments:
        size: (S, B) of the leapfrog steps; it may be drawn at random, but not depend on where the chains are.
        steps: How many.
        momentum: (S, B, L) draws from N(0, I).
        u: (S, B) draws, uniform on [0, 1).

    Returns:
        Where the chains are then, and the probability (S, B) with which each move was accepted.

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
    probability = gain.nan_to_num(nan=-torch.inf).clamp(max=0).exp()  # a diverged trajectory is refused
    return place.moved(there, u.to(probability.device) < probability), probability
