"""Annealing: chains from p(z) to p(z | x) and back, by Hamiltonian Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tightbound.analysis.estimate import Array
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

    def log_density(self, beta: Tensor) -> Tensor:
        """Return log f_beta, (S, B), for one beta per example, (B,)."""
        return self.values[0] + beta * self.values[1]

    def slope(self, beta: Tensor) -> Tensor:
        """Return the gradient of log f_beta, (S, B, L), for one beta per example, (B,)."""
        return self.slopes[0] + beta.to(self.slopes).unsqueeze(-1) * self.slopes[1]

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
    path: Path, place: Place, beta: Tensor, size: Tensor, steps: int, momentum: Tensor, u: Tensor
) -> tuple[Place, Tensor]:
    """Make one transition that leaves f_beta invariant and is reversible with respect to it.

    Leapfrog steps start from a random momentum and are accepted or rejected as a whole.

    Args:
        path: Path of densities.
        place: Positions of the chains.
        beta: Which density of the path, for each example (B,).
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
_SETTLE = 10  # moves by which the first step size is found
_TRIES = 3  # moves at each temperature of the exploration
_GROWTH = 1.1  # least factor between temperatures of the exploration
_SMOOTH = 2  # neighbors on each side over which the exploration's noisy estimates are averaged
_ADAPTIVE = 0.8  # share of the temperatures that the exploration places
_RATES = (1.5, 0.1)  # how fast log step sizes follow the acceptance rate, in the exploration and in the pilot run
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
        """Inverse temperatures 0 = beta_0 < ... < beta_T = 1, (T + 1,), dense at both ends whatever the model is.

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
            "steps; temperatures and step sizes are chosen for each example beforehand and then held fixed"
        )


def check_annealable(model: VAE) -> None:
    """Raise CompositionError if latent codes do not lie in R^L, where moves take place, or log p(z) is estimated."""
    if model.latents.estimated:
        raise CompositionError(
            f"log p(z) of the {model.latents.latent} dimensions of this model is an unbiased estimate, and annealed "
            "importance sampling needs it exactly; see the ELBO of evaluate()"
        )
    if model.latents.support != "real":
        raise CompositionError(
            f"the latent codes of this model lie on {model.latents.support!r}, and annealed importance sampling moves "
            "codes in R^L by gradients; use the IWAE bound of evaluate() with more samples"
        )


class Chains:
    """Annealing of an observed batch; temperatures and step sizes are chosen when it is created.

    An exploration by a few chains finds, for each example, how much log p(x|z) varies at each temperature, and which
    step sizes are accepted there. Most temperatures are then placed so that the log-weights vary equally from each to
    the next, which makes the bound tightest; the others follow `Annealing.path`. A pilot run along these temperatures
    tunes the step sizes. The chains of the estimate are others, so that it stays unbiased.

    Args:
        model: The model.
        seen: Observed batch of B examples.
        index: Positions of the examples (B,), for their noise.
        how: Settings.
        name: First part of the noise keys.
        tick: Called with a number of examples after each temperature, for progress.

    Attributes:
        betas: Inverse temperatures (T + 1, B).
        sizes: Step sizes (T - 1, B) at the temperatures in between.

    References:
        Annealing between distributions by averaging moments (Grosse et al. 2013), Section 3, on the placement of
        temperatures, https://papers.nips.cc/paper/4879
    """

    def __init__(
        self, model: VAE, seen: Batch, index: Tensor, how: Annealing, name: str, tick: Callable[[int], Any]
    ) -> None:
        self._model, self._seen, self._index, self._how, self._name = model, seen, index.tolist(), how, name
        self._tick = tick
        self._path = Path(
            lambda z: model.log_prior(z, seen.context),
            lambda z: model.log_likelihood(seen, z),
        )
        self.betas, self.sizes = self._plan()

    def forward(self, name: str) -> dict[str, Tensor]:
        """Anneal from p(z) to p(z | x); return log of the mean weight (as `name`), acceptance and ess, (B,) each."""
        start = self._path.at(self._start("start", self._how.chains))
        log_weight, acceptance = self._anneal(start, self.betas, self.sizes, "forward")
        ess = (2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp()
        return {name: _logmeanexp(log_weight), "acceptance": acceptance, "ess": ess}

    def backward(self, codes: Tensor) -> Tensor:
        """Return upper bounds (B,) from exact draws (B, L) of p(z | x), at which all chains of an example start."""
        start = self._path.at(codes.expand(self._how.chains, *codes.shape))
        log_weight, _ = self._anneal(start, self.betas.flip(0), self.sizes.flip(0), "backward")
        return -_logmeanexp(log_weight)

    def _anneal(self, place: Place, betas: Tensor, sizes: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """Return log-weights (S, B) of chains along these temperatures, with step sizes in between, and the share of
        accepted moves (B,), NaN if there are none."""
        noise = self._noise(name)
        log_weight, accepted = torch.zeros_like(place.values[1]), torch.zeros_like(place.values[1])
        for number, (beta, following) in enumerate(pairwise(betas)):
            log_weight = log_weight + (following - beta) * place.values[1]
            if number < len(sizes):
                place, probability = self._move(place, following, sizes[number], noise)
                accepted = accepted + probability
            self._tick(len(self._index))
        return log_weight, accepted.mean(0) / (len(sizes) or math.nan)

    def _plan(self) -> tuple[Tensor, Tensor]:
        """Return inverse temperatures (T + 1, B) and step sizes (T - 1, B)."""
        fixed = np.asarray(self._how.path)
        count = len(self._index)
        if len(fixed) == 2:
            betas = torch.tensor(fixed).unsqueeze(1).expand(2, count)
            return betas.to(self._like()), self._like().new_empty(0, count)
        explored, deviations, sizes = (each.cpu().numpy() for each in self._explore())
        placed = round(_ADAPTIVE * (len(fixed) - 2))
        betas, first = np.empty((len(fixed), count)), np.empty((len(fixed) - 2, count))
        for i in range(count):
            inner = equally_long(explored[:, i], deviations[:, i], placed)
            rest = np.interp(np.linspace(0, 1, len(fixed) - placed), np.linspace(0, 1, len(fixed)), fixed)
            betas[:, i] = np.sort(np.concatenate([inner, rest]))
            first[:, i] = np.exp(np.interp(betas[1:-1, i], explored[:, i], np.log(sizes[:, i])))
        like = self._like()
        betas = torch.from_numpy(betas).to(like)
        return betas, self._tune(betas, torch.from_numpy(first).to(like))

    def _like(self) -> Tensor:
        """Return a tensor with the dtype and device of log-densities."""
        return precise(next(self._model.parameters(), torch.empty(0)).detach())

    def _explore(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return inverse temperatures from 0 to 1, and the standard deviations of log p(x|z) and the step sizes there,
        (K, B) each. The temperatures of an example end with repeated ones."""
        noise = self._noise("explore")
        place = self._path.at(self._start("explore-start", _PILOT))
        beta, size = place.values[1].new_zeros(len(self._index)), place.values[1].new_full((len(self._index),), 0.5)
        deviation = _deviation(place.values[1])
        found = [(beta, deviation, size)]
        while (going := beta < 1).any():
            following = torch.maximum(beta + 1 / deviation, _GROWTH * beta).clamp(1e-12, 1)
            for _ in range(_SETTLE if len(found) == 1 else _TRIES):
                place, probability = self._move(place, following, size, noise)
                size = torch.where(going, _tuned(size, probability, _RATES[0]), size)
            beta = following
            deviation = torch.where(going, _deviation(place.values[1]), deviation)
            found.append((beta, deviation, size))
        betas, deviations, sizes = (torch.stack(each) for each in zip(*found, strict=True))
        sizes[0] = sizes[1]
        return betas, deviations, sizes

    def _tune(self, betas: Tensor, first: Tensor) -> Tensor:
        """Return step sizes (T - 1, B): the first ones, made larger or smaller by what a pilot run accepts."""
        noise = self._noise("pilot")
        place, change = self._path.at(self._start("pilot-start", _PILOT)), torch.ones_like(first[0])
        sizes = []
        for beta, size in zip(betas[1:-1], first, strict=True):
            sizes.append(size * change)
            place, probability = self._move(place, beta, sizes[-1], noise)
            change = _tuned(change, probability, _RATES[1])
            self._tick(len(self._index))
        return torch.stack(sizes)

    def _start(self, name: str, chains: int) -> Tensor:
        """Return draws from p(z), (chains, B, L)."""
        draws = []
        for i, example in enumerate(self._index):
            given = None if self._seen.context is None else self._seen.context[i : i + 1]
            context = None if given is None else given.expand(chains, *given.shape[1:])
            draws.append(self._model.latents.draw(chains, Noise(self._name, name, self._how.seed, example), context))
        return torch.stack(draws, 1)

    def _move(self, place: Place, beta: Tensor, size: Tensor, noise: Noise) -> tuple[Place, Tensor]:
        momentum = noise.normal(place.z.shape, place.z)
        u = noise.uniform((*place.z.shape[:2], 2), place.z)
        # random sizes: with a fixed one, a trajectory may return to where it began (Neal 2011, Section 5.4.2.2)
        jittered = size.to(place.z) * (1 - _JITTER + 2 * _JITTER * u[..., 1])
        return transition(self._path, place, beta, jittered, self._how.leapfrog, momentum, u[..., 0])

    def _noise(self, name: str) -> Noise:
        return ExampleNoise(self._name, name, self._how.seed, index=torch.tensor(self._index))


def _tuned(size: Tensor, probability: Tensor, rate: float) -> Tensor:
    """Return step sizes (B,) that follow the acceptance probabilities (S, B)."""
    return size * torch.exp(rate * (probability.mean(0) - _ACCEPTED))


def _deviation(change: Tensor) -> Tensor:
    """Return the standard deviation of log p(x|z) over chains, (B,); a large number where it overflows."""
    return change.std(0).nan_to_num(nan=math.inf).clamp(1e-6, 1e12)


def equally_long(betas: Array, deviations: Array, count: int) -> Array:
    """Return `count` inverse temperatures inside (0, 1), between which the integral of the deviation is equal."""
    last = int(np.argmax(betas >= 1)) + 1
    betas, logs = betas[:last], np.log(deviations[:last])
    smooth = np.exp([logs[max(0, i - _SMOOTH) : i + _SMOOTH + 1].mean() for i in range(last)])
    lengths = np.concatenate([[0.0], np.cumsum(np.diff(betas) * (smooth[1:] + smooth[:-1]) / 2)])
    return np.interp(np.arange(1, count + 1) / (count + 1) * lengths[-1], lengths, betas)


def _logmeanexp(x: Tensor) -> Tensor:
    return x.logsumexp(0) - math.log(len(x))
