"""Latents of a user's own: five methods, and what works without the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import tightbound as tb
from tightbound.core.errors import CompositionError, DensityUnknown
from tightbound.core.latents import Latents, LogLikelihood, State
from tightbound.core.noise import Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.nn import MLP
from tightbound.testing import check_latents

X = np.random.default_rng(0).integers(0, 2, (30, 1, 2, 2)).astype(np.uint8)


class Scaled(Latents):
    """z ~ N(0, I) whose features are z and its squares."""

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.latent, self.features = latent, 2 * latent
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2 * latent))

    def encode(self, x: Tensor, context: Tensor | None = None) -> State:
        mean, log_scale = self.net(x).chunk(2, -1)
        return Independent(Normal(mean, log_scale.exp()), 1)

    def infer(
        self, state: State, samples: int, noise: Noise, knobs: Knobs, log_likelihood: LogLikelihood | None = None
    ) -> tuple[tuple[LatentTerms, ...], Tensor]:
        z = draw(state, (samples,), noise)
        return (LatentTerms(z, self.prior(z), state),), self.decode(z)

    def prior(self, like: Tensor) -> Independent:
        return Independent(Normal(like.new_zeros(self.latent), like.new_ones(self.latent)), 1)

    def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
        return draw(self.prior(next(self.parameters())), (n,), noise)

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.cat([z, z.square()], -1)

    def moments(self, state: State) -> tuple[Tensor, Tensor]:
        return state.mean, state.variance


def model() -> tb.VAE:
    return tb.VAE(Scaled(), Bernoulli((1, 2, 2), 4, MLP((5,))), Identity("binary"))


def test_five_methods_pass_the_laws_which_name_the_optional_ones() -> None:
    missing = check_latents(Scaled(), (1, 2, 2))
    assert [what.partition("(")[0] for what in missing] == ["local", "log_prior", "log_pairs", "inference_parameters"]


def test_the_laws_name_the_methods_that_are_missing() -> None:
    class Half(Latents):
        def encode(self, x: Tensor, context: Tensor | None = None) -> State:
            return x

        def draw(self, n: int, noise: Noise, context: Tensor | None = None) -> Tensor:
            return torch.zeros(n, 2)

    with pytest.raises(AssertionError, match=r"Half lack 3 of 5 methods; define infer.*decode.*moments"):
        check_latents(Half, (1, 2, 2))
    with pytest.raises(TypeError, match=r"decode.*infer.*moments"):
        Half()  # pyright: ignore[reportAbstractUsage]
    with pytest.raises(AssertionError, match="construct and pass an object"):
        check_latents(Scaled, (1, 2, 2))


def _doubled(inferred: tuple[Any, Tensor]) -> tuple[Any, Tensor]:
    return inferred[0], 2 * inferred[1]


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        ({"infer": lambda self, *given: _doubled(Scaled.infer(self, *given))}, "decode: not the features"),
        ({"moments": lambda self, state: (state.mean + 1, state.variance)}, "moments: not the mean of the samples"),
        ({"encode": lambda self, x, context=None: Scaled.encode(self, x - x.mean(0))}, "depend on its batch"),
        ({"draw": lambda self, n, noise, context=None: torch.zeros(n, 1)}, r"draw\(7\) gave z of shape \(7, 1\)"),
    ],
)
def test_each_broken_law_is_named(broken: dict[str, Any], law: str) -> None:
    kind = type("Broken", (Scaled,), broken)
    with pytest.raises(AssertionError, match=law):
        check_latents(kind(), (1, 2, 2))


def test_the_model_trains_and_is_evaluated_without_the_optional_methods(tmp_path) -> None:
    made = model()
    with pytest.warns(UserWarning, match="trust=True"):
        trained = tb.fit(made, X, epochs=2, batch_size=10, quiet=True, run=tmp_path / "run")
    found = trained.evaluate(X, samples=20)
    assert math.isfinite(found["iwae"].value)
    assert found["aggregate_kl"].value is None
    assert found["aggregate_kl"].reason == "latents Scaled do not define local(x)"
    assert trained.sample(3).shape == (3, 1, 2, 2)


def test_a_method_that_is_needed_is_named() -> None:
    made = model()
    with pytest.raises(DensityUnknown, match=r"Scaled do not define log_prior\(z, context\).*; define that method"):
        made.log_prior(torch.zeros(1, 3, 2))
    with pytest.raises(CompositionError, match=r"do not define inference_parameters\(\)"):
        made.loss(torch.from_numpy(X), "dreg")
    with pytest.raises(CompositionError, match=r"do not define local\(x\)"):
        made.latents.local(torch.zeros(1, 1, 2, 2))
