"""Flow-matching priors against exact densities, quadrature, and finer solutions of their equation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise, draw
from tightbound.core.terms import Batch
from tightbound.priors.flow_matching import FlowMatching, FlowMatchingStage, OdeFlow

TWO = MixtureSameFamily(
    Categorical(torch.tensor([0.3, 0.7]).double()),
    Independent(Normal(torch.tensor([[-1.5, 0.5], [1.0, -0.5]]).double(), torch.tensor(0.6).double()), 1),
)


def field(x: Tensor, t: Tensor) -> Tensor:
    """The mean of (end - start) given x on the straight paths from N(0, I) to `TWO`, in closed form."""
    component: Independent = TWO.component_distribution  # pyright: ignore
    means, std = component.base_dist.loc, 0.6
    t = t[:, None, None]
    variance = (1 - t).square() + (t * std).square()
    log_weights = TWO.mixture_distribution.logits + Normal(t * means, variance.sqrt()).log_prob(x[:, None]).sum(-1)
    rest = x[:, None] - t * means
    velocity = means + (t * std**2 - (1 - t)) / variance * rest
    return (log_weights.softmax(-1).unsqueeze(-1) * velocity).sum(1)


def exact_velocity(
    x: Tensor, t: Tensor, context: Tensor | None, directions: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    if directions is None:
        return field(x, t), None
    x = x.clone().requires_grad_()
    with torch.enable_grad():
        value = field(x, t)
        rows = [torch.autograd.grad(value[:, i].sum(), x, retain_graph=True)[0] for i in range(x.shape[1])]
    return value.detach(), torch.einsum("ond,knd->kno", torch.stack(rows), directions)


def exact(steps: int) -> OdeFlow:
    return OdeFlow(exact_velocity, torch.zeros(2).double(), torch.ones(2).double(), None, steps)


def ring(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(n, 1, generator=generator)
    return 2 * torch.cat([angle.cos(), angle.sin()], 1) + 0.3 * torch.randn(n, 2, generator=generator)


@pytest.fixture(scope="module")
def trained() -> FlowMatching:
    """A prior that was trained on a ring."""
    torch.manual_seed(0)
    prior = FlowMatching(2, hidden=32, blocks=2, steps=8)
    stage, z = FlowMatchingStage(prior), ring(2000, 0)
    stage.enable()
    stage.start_at(z)
    optimizer = torch.optim.Adam(stage.parameters(), 4e-3)
    for i in range(400):
        optimizer.zero_grad()
        rows = torch.randint(len(z), (256,))
        (-stage(Batch(z[rows]), 1, Noise("train", i)).log_likelihood.mean()).backward()
        optimizer.step()
    return prior.eval().requires_grad_(False)


def test_the_equation_of_a_known_density_gives_it_back() -> None:
    z = 2 * torch.randn(40, 2, generator=torch.Generator().manual_seed(0)).double()
    truth = TWO.log_prob(z)
    errors = [(exact(steps).log_prob(z) - truth).abs().mean() for steps in (8, 16, 32)]
    assert errors[2] < 1e-4
    assert errors[0] / errors[1] > 8, "fourth order: half the step has a sixteenth of the error"
    assert errors[1] / errors[2] > 8


def test_draws_of_a_known_density_have_its_distribution() -> None:
    drawn = [draw(exact(steps), (4000,), Noise("draws")) for steps in (2, 8, 16, 32)]
    away = [(z - drawn[-1]).norm(dim=1).mean() for z in drawn[:-1]]
    assert away[0] > away[1] > away[2]
    assert away[2] < 1e-3
    z = drawn[-1]
    stderr = z.std(0) / math.sqrt(len(z))
    assert ((z.mean(0) - TWO.mean).abs() < 4 * stderr).all()
    assert (TWO.log_prob(z).mean() - TWO.log_prob(TWO.sample((4000,))).mean()).abs() < 0.1


def test_the_density_integrates_to_one(trained: FlowMatching) -> None:
    line = torch.linspace(-4.5, 4.5, 91)
    grid = torch.cartesian_prod(line, line)
    with torch.no_grad():
        total = trained().log_prob(grid).exp().sum() * (line[1] - line[0]) ** 2
    assert total == pytest.approx(1, abs=2e-3)


def test_a_ring_is_learned(trained: FlowMatching) -> None:
    z = ring(1000, 1)
    radius = z.norm(dim=1)
    gaussian = Normal(trained.mean, trained.std).log_prob(z).sum(1).mean()
    assert trained().log_prob(z).mean() > gaussian + 0.5
    drawn = draw(trained(), (1000,), Noise("ring")).norm(dim=1)
    assert abs(drawn.mean() - radius.mean()) < 0.1
    assert drawn.quantile(0.02) > 1


def test_one_random_direction_estimates_the_density_without_bias(trained: FlowMatching) -> None:
    z = ring(5, 2)
    torch.manual_seed(0)
    with torch.no_grad():
        drawn = trained.flow(None, 8, exact=False).log_prob(z + 1e-5 * torch.randn(1000, 5, 2))
        truth = trained.flow(None, 8).log_prob(z)
    assert (drawn.std(0) > 0.05).all()
    assert ((drawn.mean(0) - truth).abs() < 4.5 * drawn.std(0) / math.sqrt(1000)).all()


def test_the_error_that_is_stated_is_the_error(trained: FlowMatching) -> None:
    z = ring(50, 3)
    coarse = FlowMatching(2, hidden=32, blocks=2, steps=2)
    coarse.load_state_dict(trained.state_dict())
    coarse.requires_grad_(False)
    fine = trained.flow(None, 64).log_prob(z)
    error = coarse().log_prob(z) - fine
    stated = coarse.numerical_error(z)
    assert stated.mean() == pytest.approx(error.mean().item(), rel=0.2)
    assert error.abs().mean() > 3 * (trained().log_prob(z) - fine).abs().mean()


def test_it_is_the_standard_normal_until_it_is_trained() -> None:
    prior = FlowMatching(3, hidden=16)
    normal = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    assert kl_divergence(prior(), normal) == 0
    assert not prior.solved
    stage = FlowMatchingStage(prior)
    stage.start_at(torch.tensor([[0.0, 1.0, 2.0], [2.0, 2.0, 8.0]]))
    stage.enable()
    z = torch.randn(20, 3)
    prior.requires_grad_(False)
    right = Normal(torch.tensor([1.0, 1.5, 5.0]), torch.tensor([1.0, 0.5, 3.0])).log_prob(z).sum(1)
    assert torch.allclose(prior().log_prob(z), right, atol=1e-3), "it starts as the Gaussian of the latents"
    drawn = draw(prior(), (5000,), Noise("start"))
    assert torch.allclose(drawn.mean(0), prior.mean, atol=0.1)
    assert torch.allclose(drawn.std(0), prior.std, rtol=0.05)


def test_contexts_reach_density_and_draws() -> None:
    torch.manual_seed(0)
    prior = FlowMatching(2, hidden=8, blocks=1, steps=3, context=2)
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    assert prior.second_stage is not None
    prior.second_stage.enable()
    c, z = torch.randn(3, 2), torch.randn(5, 3, 2)
    both = prior(c)
    for i in range(3):
        alone = prior(c[i : i + 1])
        assert torch.allclose(both.log_prob(z)[:, i], alone.log_prob(z[:, i : i + 1])[:, 0], atol=1e-5)
    index = torch.tensor([4, 1, 2])
    assert not torch.allclose(*(draw(prior(at), (1,), ExampleNoise("c", index=index)) for at in (c, c + 1)))


def test_the_bound_with_a_learned_prior(tmp_path: Path) -> None:
    """It is higher than with N(0, I), as most of the rate was the mismatch; and annealed sampling agrees with it."""
    generator = np.random.default_rng(0)
    angle = generator.uniform(0, 2 * math.pi, (1200, 1))
    x = np.concatenate([np.cos(angle), np.sin(angle), np.cos(2 * angle)], 1)
    x = x + 0.1 * generator.standard_normal((1200, 3))


def test_the_prior_of_a_run_is_replaced_afterwards(tmp_path: Path) -> None:
    data = tb.data.open("digits")
    options = {"network": "mlp(hidden=(8,))", "latent": 2, "steps": 4, "quiet": True}
    trained = tb.train(data, run=tmp_path / "run", **options)
    means = trained.encode(data.test)
    with pytest.raises(CompositionError, match="is trained together with the encoder"):
        trained.fit_prior(prior="flow")
    with pytest.raises(InputError, match="one prior"):
        trained.fit_prior(prior=["flow-matching", "normal"])
    trained.fit_prior(prior="flow-matching(hidden=8, blocks=1, steps=2)", epochs=1, quiet=True)
    assert type(trained.model.latents.prior).__name__ == "FlowMatching"
    loaded = tb.load(tmp_path / "run")
    assert loaded.weights.count("best") == 2
    assert torch.equal(loaded.encode(data.test), means), "the rest of the model stays"
    assert np.array_equal(loaded.sample(3), trained.sample(3))
    vamp = tb.train(data, run=tmp_path / "vamp", prior="vamp(components=3)", **options)
    with pytest.raises(CompositionError, match="was trained together with the encoder"):
        vamp.fit_prior(prior="flow-matching")
