"""Annealing: chains from p(z) to p(z | x) and back, by Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tightbound.core.errors import CompositionError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.numerics import precise
from tightbound.core.terms import Batch
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


_ACCEPTED = 0.65  # acceptance rate that step sizes are tuned for
_PILOT = 4  # chains per example for the tuning
_SEARCH = (2.0, 2.0, 2.0, 1.4, 1.4, 1.4, 1.2, 1.2, 1.1, 1.1)  # factors of the search for the first step size
_RATE = 1.02  # factor from one temperature to the next, as in Wu et al.; larger on short paths,
_MAX_RATE = 2.0  # up to this,
_SPAN = 50.0  # so that sizes can change by this factor within a quarter of the path
_JITTER = 0.2  # steps are longer or shorter by up to this share, at random


@dataclass(frozen=True)
class Annealing:
    """Settings of the chains from p(z) to p(z | x), for AIS and BDMC alike.

    Args:
        temperatures: Steps T of the path p(z) p(x|z)^beta from beta = 0 to 1; 1: importance sampling from p(z).
        chains: Chains per example.
        leapfrog: Leapfrog steps per move; there is a move at each of the T - 1 temperatures in between.
        seed: Random seed.

    Raises:
        InputError: If a number is not whole or below 1.
    """

    temperatures: int = 1000
    chains: int = 16
    leapfrog: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("temperatures", "chains", "leapfrog"):
            whole(name, getattr(self, name), least=1)

    @property
    def path(self) -> list[float]:
        """Inverse temperatures 0 = beta_0 < ... < beta_T = 1, (T + 1,), dense at both ends.

        References:
            On the quantitative analysis of decoder-based generative models (Wu et al. 2017), with radius 4,
            https://arxiv.org/abs/1611.04273
        """
        rise = torch.linspace(-4, 4, self.temperatures + 1, dtype=torch.float64).sigmoid()
        return ((rise - rise[0]) / (rise[-1] - rise[0])).tolist()

    def description(self) -> str:
        """Return the settings in words."""
        return (
            f"{self.chains} chains of {self.temperatures} temperatures, Hamiltonian moves of {self.leapfrog} leapfrog "
            "steps, whose sizes are tuned beforehand and then held fixed"
        )


def check_annealable(model: VAE) -> None:
    """Raise CompositionError if latent codes do not lie in R^L, where the moves take place."""
    if model.latents.support != "real":
        raise CompositionError(
            f"the latent codes of this model lie on {model.latents.support!r}, and annealed importance sampling moves "
            "codes in R^L by gradients; use the IWAE bound of evaluate() with more samples"
        )


class Chains:
    """Annealing of an observed batch; the step sizes are tuned when it is created.

    Args:
        model: The model.
        seen: Observed batch of B examples.
        index: Positions of the examples (B,), for their noise.
        how: Settings.
        name: First part of the noise keys.
        tick: Called with a number of examples after each temperature, for progress.
    """

    def __init__(
        self, model: VAE, seen: Batch, index: Tensor, how: Annealing, name: str, tick: Callable[[int], Any]
    ) -> None:
        self._model, self._seen, self._index, self._how, self._name = model, seen, index.tolist(), how, name
        self._tick, self._betas = tick, how.path
        self._path = Path(
            lambda z: model.log_prior(z, seen.context),
            lambda z: model.log_likelihood(seen, z),
        )
        self.sizes = self._tune()

    def forward(self, name: str) -> dict[str, Tensor]:
        """Anneal from p(z) to p(z | x); return log of the mean weight (as `name`), acceptance and ess, (B,) each."""
        start = self._path.at(self._start("start", self._how.chains))
        log_weight, acceptance = self._anneal(start, self._betas, self.sizes, "forward")
        ess = (2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp()
        return {name: _logmeanexp(log_weight), "acceptance": acceptance, "ess": ess}

    def backward(self, codes: Tensor) -> Tensor:
        """Return upper bounds (B,) from exact draws (B, L) of p(z | x), at which all chains of an example start."""
        start = self._path.at(codes.expand(self._how.chains, *codes.shape))
        log_weight, _ = self._anneal(start, self._betas[::-1], self.sizes[::-1], "backward")
        return -_logmeanexp(log_weight)

    def _start(self, name: str, chains: int) -> Tensor:
        """Return draws from p(z), (chains, B, L)."""
        draws = []
        for i, example in enumerate(self._index):
            given = None if self._seen.context is None else self._seen.context[i : i + 1]
            context = None if given is None else given.expand(chains, *given.shape[1:])
            draws.append(self._model.latents.draw(chains, Noise(self._name, name, self._how.seed, example), context))
        return torch.stack(draws, 1)

    def _anneal(self, place: Place, betas: list[float], sizes: list[Tensor], name: str) -> tuple[Tensor, Tensor]:
        """Return log-weights (S, B) of chains along these temperatures, with step sizes (B,) in between, and the share
        of accepted moves (B,), NaN if there are none."""
        noise = self._noise(name)
        log_weight, accepted = torch.zeros_like(place.values[1]), torch.zeros_like(place.values[1])
        for number, (beta, following) in enumerate(pairwise(betas)):
            log_weight = log_weight + (following - beta) * place.values[1]
            if number < len(sizes):
                place, probability = self._move(place, following, sizes[number], noise)
                accepted = accepted + probability
            self._tick(len(self._index))
        return log_weight, accepted.mean(0) / (len(sizes) or math.nan)

    def _tune(self) -> list[Tensor]:
        """Return step sizes (B,) for each temperature in between: a pilot run makes them larger or smaller by what it
        accepts."""
        noise, inner = self._noise("pilot"), self._betas[1:-1]
        place = self._path.at(self._start("pilot-start", _PILOT))
        size = place.z.new_full((len(self._index),), 0.5)
        rate = min(_MAX_RATE, max(_RATE, _SPAN ** (4 / self._how.temperatures)))
        plan = [(beta, factor) for beta in inner[:1] for factor in _SEARCH] + [(beta, rate) for beta in inner]
        sizes = []
        for number, (beta, factor) in enumerate(plan):
            place, probability = self._move(place, beta, size, noise)
            size = torch.where((probability.mean(0) > _ACCEPTED).to(size.device), size * factor, size / factor)
            sizes.append(size)
            self._tick(len(self._index) * (number >= len(_SEARCH)))
        return sizes[len(sizes) - len(inner) :]

    def _move(self, place: Place, beta: float, size: Tensor, noise: Noise) -> tuple[Place, Tensor]:
        momentum = noise.normal(place.z.shape, place.z)
        u = noise.uniform((*place.z.shape[:2], 2), place.z)
        # random sizes: with a fixed one, a trajectory may return to where it began (Neal 2011, Section 5.4.2.2)
        jittered = size * (1 - _JITTER + 2 * _JITTER * u[..., 1])
        return transition(self._path, place, beta, jittered, self._how.leapfrog, momentum, u[..., 0])

    def _noise(self, name: str) -> Noise:
        return ExampleNoise(self._name, name, self._how.seed, index=torch.tensor(self._index))


def _logmeanexp(x: Tensor) -> Tensor:
    return x.logsumexp(0) - math.log(len(x))
