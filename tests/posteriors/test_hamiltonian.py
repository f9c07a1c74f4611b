"""The Hamiltonian posterior: its dynamics, and its bound in the space of z and momentum."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import tightbound as tb
from laws.linear import Linear, linear_gaussian
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.components import describe, rebuild
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.model import VAE
from tightbound.objectives import ELBO, IWAE
from tightbound.posteriors import Hamiltonian
from tightbound.posteriors.hamiltonian import leapfrog
from tightbound.priors import StandardNormal


def hamiltonian(off: float = 0.5, **kwargs) -> Linear:
    """The linear-Gaussian model whose encoder is off by so much, with Hamiltonian steps after it."""
    linear = linear_gaussian(off=off)
    old = linear.model.latents.posterior
    posterior = Hamiltonian(old.shape, old.latent, torch.nn.Flatten(), **kwargs).double()
    posterior.network.load_state_dict(old.network.state_dict())
    linear.model = VAE(
        Flat(StandardNormal(old.latent).double(), posterior), linear.model.likelihood, linear.model.observation
    )
    return linear


def data(n: int = 4) -> Tensor:
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def weights(linear: Linear, x: Tensor, samples: int) -> Tensor:
    with torch.no_grad():
        return linear.model(Batch(x), samples, Noise("h")).log_weight


def gradient_field(z: Tensor) -> Tensor:
    """Minus the gradient of a potential that couples the dimensions."""
    with torch.enable_grad():
        at = z if z.requires_grad else z.clone().requires_grad_()
        value = -(at**4).sum() / 4 + (at * at.roll(1, -1)).sin().sum()
        return torch.autograd.grad(value, at, create_graph=True)[0]


SIZES = torch.tensor([[0.3, 0.2], [0.1, 0.4], [0.25, 0.15]], dtype=torch.float64)


def test_leapfrog_preserves_volume_up_to_the_tempering() -> None:
    temperatures = torch.tensor([2.0, 1.7, 1.2, 1.0], dtype=torch.float64)
    start = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t, expected in ((torch.ones(4, dtype=torch.float64), 1.0), (temperatures, 2.0**-2)):

        def flow(state: Tensor, t: Tensor = t) -> Tensor:
            return torch.cat(leapfrog(gradient_field, state[:2], state[2:], SIZES, t))

        jacobian = torch.autograd.functional.jacobian(flow, start)
        assert jacobian.det().item() == pytest.approx(expected, abs=1e-12)
        assert (jacobian - torch.eye(4)).abs().max() > 0.1


def test_leapfrog_is_reversible() -> None:
    z, rho = torch.randn(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ones = torch.ones(4, dtype=torch.float64)
    there = leapfrog(gradient_field, z, rho, SIZES, ones)
    back = leapfrog(gradient_field, there[0], -there[1], SIZES.flip(0), ones)
    assert torch.allclose(back[0], z, atol=1e-12)
    assert torch.allclose(-back[1], rho, atol=1e-12)
    assert (there[0] - z).abs().max() > 0.1


def test_leapfrog_keeps_the_energy_to_second_order() -> None:
    z, rho = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[0.4]], dtype=torch.float64)

    def drift(k: int) -> float:
        sizes = torch.full((k, 1), 2.0 / k, dtype=torch.float64)
        end = leapfrog(lambda z: -(z**3), z, rho, sizes, torch.ones(k + 1, dtype=torch.float64))
        energy = [(a**4 / 4 + r**2 / 2).item() for a, r in ((z, rho), end)]
        return abs(energy[1] - energy[0])

    assert drift(20) / drift(40) == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    "kwargs", [{"tempering": 0.6}, {"steps": 1, "tempering": 1}, {"steps": 6, "step": 0.3, "tempering": 0.7}]
)
def test_weights_have_the_evidence_as_their_mean(kwargs) -> None:
    linear, x = hamiltonian(off=0.3, **kwargs), data()
    ratio = (weights(linear, x, 50_000) - linear.evidence(x)).exp()
    stderr = ratio.std(0) / math.sqrt(len(ratio))
    assert (stderr < 0.05).all()
    assert ((ratio.mean(0) - 1).abs() < 5 * stderr).all()
    assert (ratio.log().mean(0) < 0).all()  # the ELBO is a bound


def test_bound_tightens_with_steps_of_a_good_size() -> None:
    x = data()
    plain = linear_gaussian(off=0.5)
    gaps = [(plain.evidence(x) - weights(plain, x, 20_000).mean(0)).mean().item()]
    for steps in (1, 3, 6):
        linear = hamiltonian(steps=steps, step=0.1, tempering=0.5)
        gaps.append((linear.evidence(x) - weights(linear, x, 20_000).mean(0)).mean().item())
    assert all(later < earlier - 0.03 for earlier, later in pairwise(gaps))
    assert 0 < gaps[-1] < 0.75 * gaps[0]


def test_steps_and_tempering_learn_to_tighten_the_bound() -> None:
    """By their own gradient alone, which runs through the gradients of the leapfrog."""
    linear, x = hamiltonian(), data(16)
    posterior = linear.model.latents.posterior
    before = (linear.evidence(x) - weights(linear, x, 2_000).mean(0)).mean().item()
    optimizer = torch.optim.Adam([posterior.step_logit, posterior.tempering_logit], lr=0.1)
    for i in range(60):
        optimizer.zero_grad()
        (-linear.model(Batch(x), 20, Noise(i)).log_weight.mean()).backward()
        optimizer.step()
    after = (linear.evidence(x) - weights(linear, x, 2_000).mean(0)).mean().item()
    assert 0 < after < before - 0.02
    assert (posterior.step_logit.sigmoid() * posterior.most < posterior.most).all()


def test_gradient_through_the_steps_agrees_with_differences() -> None:
    linear, x = hamiltonian(), data(2)
    posterior = linear.model.latents.posterior

    def value() -> Tensor:
        return linear.model(Batch(x), 5, Noise("same")).log_weight.sum()

    for parameter in (posterior.step_logit, posterior.tempering_logit, posterior.network[-1].bias):
        (gradient,) = torch.autograd.grad(value(), parameter)
        with torch.no_grad():
            flat = parameter.view(-1)
            flat[0] += 1e-5
            up = value()
            flat[0] -= 2e-5
            down = value()
            flat[0] += 1e-5
        assert gradient.flatten()[0].item() == pytest.approx((up - down).item() / 2e-5, rel=1e-5, abs=1e-6)


def test_temperatures_follow_the_quadratic_scheme() -> None:
    """sqrt(beta_k) = 1 / ((1 - 1 / b) k^2 / K^2 + 1 / b) with b = sqrt(beta_0)."""
    posterior = Hamiltonian((4,), 2, steps=4, tempering=0.3)
    b = math.sqrt(0.3)
    exact = [(1 - 1 / b) * k**2 / 16 + 1 / b for k in range(5)]
    assert torch.allclose(posterior.temperatures(), torch.tensor(exact))
    assert torch.equal(Hamiltonian((4,), 2, tempering=1).temperatures(), torch.ones(4))


def test_evaluation_is_the_same_whatever_the_batch_and_needs_no_outer_gradient() -> None:
    linear, x = hamiltonian(), data(5)
    result = evaluate(linear.model, x, samples=200)
    assert (torch.from_numpy(result.per_example["iwae"]) < linear.evidence(x) + 0.2).all()
    alone = evaluate(linear.model, x[:1], samples=200)
    assert alone.per_example["iwae"][0] == pytest.approx(result.per_example["iwae"][0], abs=1e-9)
    assert result["rate"].estimator.startswith("KL as log q - log p")
    batch, index = Batch(x, index=torch.arange(5)), torch.arange(5)
    values = [
        o(linear.model(batch, 6, ExampleNoise("o", index=index)), Knobs(beta=torch.tensor(1.0)))
        for o in (ELBO(samples=6), IWAE(6))
    ]
    assert (values[0] < values[1]).all()


def test_bad_arguments_are_refused_and_the_likelihood_is_needed() -> None:
    for kwargs, description in (
        ({"steps": 0}, "steps"),
        ({"step": 0.6}, "step = 0.6"),
        ({"tempering": 1.5}, "tempering"),
    ):
        with pytest.raises(InputError, match=description):
            Hamiltonian((4,), 2, **kwargs)
    posterior = Hamiltonian((4,), 2)
    with pytest.raises(CompositionError, match="log p"):
        posterior.terms(posterior(torch.zeros(1, 4)), StandardNormal(2)(None), 1, Noise(0), Knobs())


def test_a_hamiltonian_model_trains_encodes_and_reloads(tmp_path) -> None:
    digits = tb.data.open("digits")
    model = tb.VAE.for_data(
        digits, latent=3, network="mlp(hidden=(32,), activation='tanh')", posterior="hamiltonian(steps=2)"
    )
    trained = tb.fit(model, digits, epochs=2, lr=0.005, quiet=True, run=tmp_path / "run")
    assert math.isfinite(trained.evaluate(digits.test, samples=2)["elbo"].value)
    sample, mean = trained.encode(digits.test, draw=True), trained.encode(digits.test)
    assert sample.shape == mean.shape
    assert torch.equal(tb.load(tmp_path / "run").encode(digits.test), mean)
    assert describe(rebuild(describe(model))) == describe(model)
