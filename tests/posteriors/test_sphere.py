"""Hyperspherical families: Bessel functions, densities, entropies, and the gradient of what is drawn by rejection."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import kl_divergence

import tightbound as tb
from tightbound.analysis.bounds.estimator import evaluate
from tightbound.components import make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise, draw
from tightbound.latents import Flat
from tightbound.posteriors.bessel import bessel_ratio, log_bessel
from tightbound.posteriors.sphere import Axial, PowerSpherical, VonMisesFisher, digamma_difference, log_gamma_ratio
from tightbound.priors.sphere import UniformSphere, log_area

FAMILIES = (VonMisesFisher, PowerSpherical)
KAPPA = torch.logspace(-3, 4, 141, dtype=torch.float64)


def axial(family: type[Axial], size: int, kappa: float | torch.Tensor, seed: int = 0) -> Any:
    mu = torch.randn(1, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kappa = torch.as_tensor(kappa, dtype=torch.float64).reshape(1)
    return family(mu / mu.norm(), kappa)  # type: ignore[call-arg]


@pytest.mark.parametrize("order", [0, 0.5, 1, 3.5, 15.5, 16, 24.5, 31, 63, 100])
def test_bessel_function_and_its_derivative_agree_with_scipy(order: float) -> None:
    x = KAPPA.clone().requires_grad_()
    value = log_bessel(order, x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    k = KAPPA.numpy()
    oracle, above = special.ive(order, k), special.ive(order + 1, k)
    seen = above > 1e-290  # SciPy's underflow
    log_ive = value.detach().numpy() + order * np.log(k / 2) - special.gammaln(order + 1)
    np.testing.assert_allclose(np.exp(log_ive)[seen], oracle[seen], rtol=1e-10)
    ratio = (above[seen] / oracle[seen],)
    np.testing.assert_allclose(slope.numpy()[seen] + 1, *ratio, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose((KAPPA * bessel_ratio(order, KAPPA)).numpy()[seen], *ratio, rtol=1e-10)
    single = log_bessel(order, KAPPA.float())
    assert torch.allclose(single.double(), value, rtol=1e-5, atol=2e-4)


def test_bessel_function_at_zero() -> None:
    for order in (0.0, 2.5, 40.0):
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        value = log_bessel(order, x)
        (slope,) = torch.autograd.grad(value, x)
        assert value.item() == pytest.approx(0, abs=1e-10)
        assert slope.item() == pytest.approx(-1, abs=1e-10)  # of e^-x
        assert bessel_ratio(order, x.detach()).item() == pytest.approx(1 / (2 * order + 2), rel=1e-10)


@pytest.mark.parametrize("b", [0.5, 1.0, 4.5, 49.5])
def test_differences_of_gamma_functions_agree_with_scipy(b: float) -> None:
    a = 0.5 + KAPPA
    exact = special.gammaln(a.numpy()) - special.gammaln(a.numpy() + b)
    np.testing.assert_allclose(log_gamma_ratio(a, b), exact, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        digamma_difference(a, b), special.digamma(a.numpy()) - special.digamma(a.numpy() + b), rtol=1e-8
    )
    assert torch.allclose(log_gamma_ratio(a.float(), b).double(), log_gamma_ratio(a, b), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("size", "kappa"), [(2, 0.01), (2, 40.0), (3, 2.0), (8, 500.0), (64, 30.0)])
def test_von_mises_fisher_agrees_with_scipy(size: int, kappa: float) -> None:
    q = axial(VonMisesFisher, size, kappa)
    oracle = stats.vonmises_fisher(q.direction[0].numpy(), kappa)
    z = draw(q, (20,), Noise("scipy"))
    np.testing.assert_allclose(q.log_prob(z)[:, 0], oracle.logpdf(z[:, 0].numpy()), rtol=1e-8, atol=1e-9)
    assert q.entropy().item() == pytest.approx(oracle.entropy(), rel=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("size", "kappa"), [(2, 0.0), (2, 3.0), (3, 0.5), (5, 12.0), (20, 100.0)])
def test_mass_moments_entropy_and_kl_are_those_of_the_density(family: type[Axial], size: int, kappa: float) -> None:
    """By quadrature over the angle from the mean direction."""
    q = axial(family, size, kappa)
    across = log_area(size - 1) if size > 2 else math.log(2)

    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(16))
    half = math.pi / 200  # of each of 100 panels
    angle = (half * (2 * torch.arange(100, dtype=torch.float64)[:, None] + 1 + nodes)).flatten()

    def expectation(f: Any) -> float:
        t = angle.cos()
        log_p = q.concentration * q.statistic((1 - t) / 2, (1 + t) / 2) - q.log_mean - log_area(size)
        return (
            (half * weights.repeat(100) * f(t, log_p) * (log_p + across).exp() * angle.sin() ** (size - 2)).sum().item()
        )

    assert expectation(lambda t, _: 1.0) == pytest.approx(1, abs=1e-8)
    assert expectation(lambda t, _: t) == pytest.approx(q.cosine.item(), abs=1e-8)
    assert expectation(lambda t, _: 1 - t**2) == pytest.approx(q.spread.item(), abs=1e-8)
    entropy = expectation(lambda _, log_p: -log_p)
    assert q.entropy().item() == pytest.approx(entropy, abs=1e-7)
    uniform = UniformSphere(torch.zeros(size, dtype=torch.float64))
    assert kl_divergence(q, uniform).item() == pytest.approx(log_area(size) - entropy, abs=1e-7)
    assert q.variance.sum().item() == pytest.approx(1 - q.cosine.item() ** 2, abs=1e-9)  # |z| = 1


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("size", "kappa"), [(2, 1.5), (3, 6.0), (10, 25.0)])
def test_gradient_of_draws_is_that_of_the_expectation(family: type[Axial], size: int, kappa: float) -> None:
    """d E[f(z)] / d kappa against differences of the expectation by quadrature: rejection leaves no bias. f is
    not the statistic alone, and depends on what is drawn across the axis too."""
    parts, n = 50, 2_000
    leaf = torch.full((parts,), kappa, dtype=torch.float64, requires_grad=True)
    axis = axial(family, size, kappa).direction
    z = draw(family(axis.expand(parts, size), leaf), (n,), Noise("gradient", size))  # type: ignore[call-arg]
    w = torch.randn(size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    w = w - (w @ axis[0]) * axis[0]
    f = (2 * z @ axis[0]).sin() + (z @ w).square()
    (each,) = torch.autograd.grad(f.mean(0).sum(), leaf)
    stderr = each.std().item() / math.sqrt(parts)

    def expectation(k: float) -> float:
        at = axial(family, size, k)
        a = torch.linspace(0, math.pi, 40_001, dtype=torch.float64)
        t, c = a.cos(), w.square().sum() / (size - 1)
        density = (at.concentration * at.statistic((a / 2).sin() ** 2, (a / 2).cos() ** 2)).exp() * a.sin() ** (
            size - 2
        )
        return (((2 * t).sin() + c * a.sin().square()) * density).sum().item() / density.sum().item()

    exact = (expectation(kappa + 1e-3) - expectation(kappa - 1e-3)) / 2e-3
    assert abs(each.mean().item() - exact) < 5 * stderr
    assert stderr < 0.05 * abs(exact)  # sharp enough to see a bias


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_by_the_direction_is_that_of_the_expectation(family: type[Axial]) -> None:
    """E[z] = E[t] direction, so that its Jacobian by the unnormalized direction is known."""
    for axis in ([0.3, -0.8, 0.5], [-1.0, 1e-9, 0.0], [1.0, 0.0, 0.0]):  # one each side, and on the poles
        leaf = torch.tensor([axis], dtype=torch.float64, requires_grad=True)
        q = family(leaf / leaf.norm(dim=-1, keepdim=True), torch.tensor([4.0], dtype=torch.float64))  # type: ignore[call-arg]
        z = draw(q, (100_000,), Noise("axis"))
        for i in range(3):
            (drawn,) = torch.autograd.grad(z[..., i].mean(), leaf, retain_graph=True)
            (exact,) = torch.autograd.grad(q.mean[0, i], leaf, retain_graph=True)
            assert torch.allclose(drawn, exact, atol=0.02)


def test_rejection_takes_one_draw_of_the_noise_whatever_the_batch() -> None:
    """A later draw of an example does not depend on how long others' rejection took."""
    mu = torch.eye(3, dtype=torch.float64)
    q = VonMisesFisher(mu, torch.tensor([50.0, 1.0, 9.0], dtype=torch.float64))
    whole = ExampleNoise("r", index=torch.arange(3))
    first, second = draw(q, (40,), whole), draw(q, (40,), whole)
    for i in range(3):
        noise = ExampleNoise("r", index=torch.tensor([i]))
        alone = VonMisesFisher(mu[i : i + 1], q.concentration[i : i + 1])
        assert torch.allclose(first[:, i], draw(alone, (40,), noise)[:, 0], atol=1e-12)
        assert torch.allclose(second[:, i], draw(alone, (40,), noise)[:, 0], atol=1e-12)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_extreme_parameters_stay_finite_in_single_precision(family: type[Axial]) -> None:
    for kappa in (0.0, 1e-6, 1e4, 1e6):
        for size in (2, 3, 200):
            leaf = torch.full((4,), kappa, requires_grad=True)
            q = family(torch.eye(size)[[0, 0, 1, 1]], leaf)  # type: ignore[call-arg]
            z = draw(q, (50,), Noise("x"))
            kl = kl_divergence(q, UniformSphere(torch.zeros(size)))
            value = z.sum() + q.log_prob(z.detach()).sum() + kl.sum() + q.variance.sum()
            (slope,) = torch.autograd.grad(value, leaf)
            assert torch.isfinite(value)
            assert torch.isfinite(slope).all()
            assert (kl > -1e-3).all()


@pytest.mark.parametrize("name", ["von-mises-fisher", "power-spherical"])
def test_a_zero_direction_is_still_a_distribution(name: str) -> None:
    posterior = make("posterior", name, shape=(6,), latent=3)
    raw = torch.tensor([[0.0] * 6, [1e-30, 0, 0, 0, 0, 0]], requires_grad=True)
    q = posterior(raw)
    assert torch.allclose(q.direction, torch.tensor([1.0, 0, 0]).expand(2, 3))
    (gradient,) = torch.autograd.grad(q.mean.sum(), raw)
    assert torch.isfinite(gradient).all()


def test_supports_are_not_mixed_and_a_sphere_needs_two_dimensions() -> None:
    posterior = make("posterior", "power-spherical", shape=(6,), latent=3)
    with pytest.raises(CompositionError, match=r"R\^L and posterior PowerSphericalPosterior .* the unit sphere"):
        Flat(make("prior", "normal", latent=3), posterior)
    with pytest.raises(InputError, match="latent = 1; needed: a whole number of at least 2"):
        make("prior", "sphere", latent=1)
    with pytest.raises(InputError, match="latent = 1"):
        make("posterior", "von-mises-fisher", shape=(2,), latent=1)


@pytest.mark.parametrize("posterior", ["von-mises-fisher", "power-spherical"])
def test_a_hyperspherical_model_trains_and_reloads(posterior: str, tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=4, network="mlp(hidden=(32,))", prior="sphere", posterior=posterior)
    before = evaluate(model, data.test, samples=5)["elbo"].value
    trained = tb.fit(model, data, epochs=10, lr=0.01, quiet=True, run=tmp_path / "run")
    result = trained.evaluate(data.test, samples=5)
    assert result["elbo"].value > before + 5
    assert result["rate"].value > 0.5
    assert result["iwae"].value > result["elbo"].value
    assert torch.equal(tb.load(tmp_path / "run").encode(data.test), trained.encode(data.test))
