"""Annealing: chains from p(z) to p(z | x), and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tightbound.analysis.bounds.hmc import Path, Place, transition
from tightbound.core.errors import CompositionError, whole
from tightbound.core.model import VAE
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.terms import Batch

ACCEPTED = 0.65  # share of moves that step sizes are tuned for
PILOT = 4  # chains an example that they are tuned by
SEARCH = (2.0, 2.0, 2.0, 1.4, 1.4, 1.4, 1.2, 1.2, 1.1, 1.1)  # factors by which the first step size is looked for
RATE = 1.02  # factor from one temperature to the next, as in Wu et al.; more on short paths,
MOST = 2.0  # up to this,
SPAN = 50.0  # so that sizes can change by this within a quarter of the path
JITTER = 0.2  # steps are longer or shorter by up to this share, at random


@dataclass(frozen=True)
class Annealing:
    """How chains go from p(z) to p(z | x), in all of AIS and BDMC.

    Arguments:
        temperatures: T steps of the path p(z) p(x|z)^beta from beta = 0 to 1; 1: plain importance sampling from p(z).
        chains: Of each example.
        leapfrog: Steps of a move; there is a move at each of the T - 1 temperatures between.
        seed: Of the noise.

    Raises:
        InputError: a number that is not whole, or below 1.
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
        """(T + 1,) 0 = beta_0 < ... < beta_T = 1, dense at both ends.

        References:
            On the quantitative analysis of decoder-based generative models (Wu et al. 2017), with radius 4,
            https://arxiv.org/abs/1611.04273
        """
        rise = torch.linspace(-4, 4, self.temperatures + 1, dtype=torch.float64).sigmoid()
        return ((rise - rise[0]) / (rise[-1] - rise[0])).tolist()

    def description(self) -> str:
        """In words."""
        return (
            f"{self.chains} chains of {self.temperatures} temperatures, Hamiltonian moves of {self.leapfrog} leapfrog "
            "steps with sizes tuned beforehand and held"
        )


def check_annealable(model: VAE) -> None:
    """Raises CompositionError where codes do not lie in R^L, through which the moves go."""
    if model.latents.support != "real":
        raise CompositionError(
            f"the codes of this model lie on {model.latents.support!r}, and annealed importance sampling moves them "
            "through R^L by gradients; take the IWAE bound of evaluate, with more samples"
        )


class Chains:
    """Annealing of a batch of observed data, whose step sizes are tuned when it is made."""

    def __init__(
        self, model: VAE, seen: Batch, index: Tensor, how: Annealing, name: str, tick: Callable[[int], Any]
    ) -> None:
        self._model, self._seen, self._index, self._how, self._name = model, seen, index.tolist(), how, name
        self._tick, self._betas = tick, how.path
        self._path = Path(
            lambda z: model.log_prior(z, seen.context),
            lambda z: model.log_likelihood(seen, z),
        )
        self._sizes = self._tune()

    def forward(self, name: str) -> dict[str, Tensor]:
        """From p(z) to p(z | x): (B,) log of the mean weight under this name, acceptance and effective chains."""
        start = self._path.at(self._start("start", self._how.chains))
        log_weight, acceptance = self._anneal(start, self._betas, self._sizes, "forward")
        ess = (2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)).exp()
        return {name: _logmeanexp(log_weight), "acceptance": acceptance, "ess": ess}

    def backward(self, codes: Tensor) -> Tensor:
        """(B,) upper bounds from exact draws (B, L) of p(z | x): all chains of an example start at its draw."""
        start = self._path.at(codes.expand(self._how.chains, *codes.shape))
        log_weight, _ = self._anneal(start, self._betas[::-1], self._sizes[::-1], "backward")
        return -_logmeanexp(log_weight)

    def _start(self, name: str, chains: int) -> Tensor:
        """(chains, B, L) draws from p(z)."""
        draws = []
        for i, example in enumerate(self._index):
            given = None if self._seen.context is None else self._seen.context[i : i + 1]
            context = None if given is None else given.expand(chains, *given.shape[1:])
            draws.append(self._model.latents.draw(chains, Noise(self._name, name, self._how.seed, example), context))
        return torch.stack(draws, 1)

    def _anneal(self, place: Place, betas: list[float], sizes: list[Tensor], name: str) -> tuple[Tensor, Tensor]:
        """(S, B) log-weights of chains along these temperatures, with these step sizes (B,) between them, and the
        share (B,) of moves accepted: NaN where there is none."""
        noise = self._noise(name)
        log_weight, accepted = torch.zeros_like(place.change), torch.zeros_like(place.change)
        for number, (beta, following) in enumerate(pairwise(betas)):
            log_weight = log_weight + (following - beta) * place.change
            if number < len(sizes):
                place, probability = self._move(place, following, sizes[number], noise)
                accepted = accepted + probability
            self._tick(len(self._index))
        return log_weight, accepted.mean(0) / (len(sizes) or math.nan)

    def _tune(self) -> list[Tensor]:
        """Step sizes (B,) for each temperature between: by what a pilot run accepts, larger or smaller at each."""
        noise, inner = self._noise("pilot"), self._betas[1:-1]
        place = self._path.at(self._start("pilot-start", PILOT))
        size = place.z.new_full((len(self._index),), 0.5)
        rate = min(MOST, max(RATE, SPAN ** (4 / self._how.temperatures)))
        plan = [(beta, factor) for beta in inner[:1] for factor in SEARCH] + [(beta, rate) for beta in inner]
        sizes = []
        for number, (beta, factor) in enumerate(plan):
            place, probability = self._move(place, beta, size, noise)
            size = torch.where((probability.mean(0) > ACCEPTED).to(size.device), size * factor, size / factor)
            sizes.append(size)
            self._tick(len(self._index) * (number >= len(SEARCH)))
        return sizes[len(sizes) - len(inner) :]

    def _move(self, place: Place, beta: float, size: Tensor, noise: Noise) -> tuple[Place, Tensor]:
        momentum = noise.normal(place.z.shape, place.z)
        u = noise.uniform((*place.z.shape[:2], 2), place.z)
        # sizes at random: at a held one, a trajectory may come round to where it began (Neal 2011, Section 5.4.2.2)
        jittered = size * (1 - JITTER + 2 * JITTER * u[..., 1])
        return transition(self._path, place, beta, jittered, self._how.leapfrog, momentum, u[..., 0])

    def _noise(self, name: str) -> Noise:
        return ExampleNoise(self._name, name, self._how.seed, index=torch.tensor(self._index))


def _logmeanexp(x: Tensor) -> Tensor:
    return x.logsumexp(0) - math.log(len(x))
