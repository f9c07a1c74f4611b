"""Flow posteriors: their densities, their moments, and what they are for."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

import tightbound as tb
from tightbound.components import make
from tightbound.core.errors import InputError
from tightbound.core.noise import ExampleNoise, Noise, draw, draw_with_log_prob
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, closed_kl
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.model import VAE
from tightbound.nn import MLP
from tightbound.posteriors import Flow, Planar, Posterior, Pushforward
from tightbound.priors import StandardNormal

INVERTED = ["flow(hidden=(8,))", "flow(kind='nsf', hidden=(8,))", "flow(kind='realnvp', hidden=(8,))"]
FLOWS = [*INVERTED, "planar(flows=4)", "sylvester(flows=2)"]
ALL = ["normal", "full", "low-rank(rank=1)", *FLOWS]


def bent(text: str, latent: int, n: int = 3, seed: int = 0) -> tuple[Posterior, Pushforward]:
    """A posterior without network, far from the identity, and its distributions for n data."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        size = math.prod(make("posterior", text, shape=(1,), latent=latent, network=MLP((1,))).raw_shape)
        posterior = make("posterior", text, shape=(size,), latent=latent).double()
        with torch.no_grad():
            for parameter in posterior.parameters():
                parameter.normal_(0, 0.12)
        q = posterior(torch.randn(n, size, dtype=torch.float64))
    assert isinstance(q, Pushforward)
    return posterior, q


@pytest.mark.parametrize("latent", [1, 3])
@pytest.mark.parametrize("text", FLOWS)
def test_log_q_is_the_base_density_over_the_jacobian(text: str, latent: int) -> None:
    _, q = bent(text, latent)
    e = torch.randn(3, latent, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z, log_q = q.at(e)
    jacobian = torch.autograd.functional.jacobian(lambda e: q.push(e)[0], e)
    assert isinstance(jacobian, Tensor)
    for i, j in itertools.product(range(3), range(3)):
        if i != j:
            assert jacobian[i, :, j].abs().max() == 0, "an example's z depends on another's noise"
    blocks = torch.stack([jacobian[i, :, i] for i in range(3)])
    by_hand = Normal(0.0, 1.0).log_prob(e).sum(-1) - torch.linalg.slogdet(blocks).logabsdet
    assert torch.allclose(log_q, by_hand, atol=1e-9)
    assert not torch.allclose(z - q.push(torch.zeros_like(e))[0], e, atol=0.1), "the test wants a flow that bends"


@pytest.mark.parametrize("text", FLOWS)
def test_mass_is_one_on_the_line(text: str) -> None:
    """Of draws-only flows too: a map that were no bijection would cover some z twice."""
    _, q = bent(text, 1)
    e = torch.linspace(-9, 9, 40_001, dtype=torch.float64)[:, None, None].expand(-1, 3, 1)
    z, log_q = q.at(e)
    assert (z.diff(dim=0) > 0).all()
    assert torch.allclose(torch.trapezoid(log_q.exp(), z[..., 0], dim=0), torch.ones(3).double(), atol=1e-4)


@pytest.mark.parametrize("text", INVERTED)
def test_mass_is_one_in_the_plane(text: str) -> None:
    _, q = bent(text, 2, n=1)
    with torch.no_grad():
        z = draw(q, (20_000,), Noise("mass"))
        low, high = z.amin((0, 1)), z.amax((0, 1))
        margin = 0.2 * (high - low)
        axes = [torch.linspace(a, b, 201).double() for a, b in zip(low - margin, high + margin, strict=True)]
        density = q.log_prob(torch.cartesian_prod(*axes)[:, None]).exp()
        cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
        assert (density.sum() * cell).item() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("text", INVERTED)
def test_log_prob_inverts_the_flow(text: str) -> None:
    _, q = bent(text, 4)
    z, log_q = draw_with_log_prob(q, (50,), Noise("inverse"))
    assert torch.allclose(q.log_prob(z), log_q, atol=1e-8)
    assert torch.allclose(q.log_prob(z[:, None, :1]), q.log_prob(z[:, None, :1].expand(-1, 1, 3, 4))), "broadcasts"


@pytest.mark.parametrize("text", ["planar", "sylvester"])
def test_a_density_known_only_at_draws_is_refused_elsewhere(text: str) -> None:
    posterior, q = bent(text, 2)
    assert not posterior.evaluable
    with pytest.raises(NotImplementedError, match="own draws"):
        q.log_prob(torch.zeros(3, 2))
    assert closed_kl(q, StandardNormal(2).double()()) is None


@pytest.mark.parametrize("text", INVERTED)
def test_flows_start_as_the_diagonal_gaussian_of_the_encoder(text: str) -> None:
    torch.manual_seed(0)
    posterior = make("posterior", text, shape=(5,), latent=4, network=MLP((8,))).double()
    x, e = torch.randn(6, 5).double(), torch.randn(100, 6, 4).double()
    assert posterior.network is not None
    mean, log_variance = posterior.network(x)[:, :8].split(4, dim=-1)
    z, log_q = posterior(x).at(e)
    base = Normal(mean, (0.5 * log_variance).exp())
    assert torch.allclose(z, mean + base.scale * e)
    assert torch.allclose(log_q, base.log_prob(z).sum(-1))


@pytest.mark.parametrize("text", ALL)
def test_densities_are_the_same_with_networks_in_bfloat16(text: str) -> None:
    """Matrix products of the family itself stay in float32: the parameters here are the input, without a network."""
    torch.manual_seed(0)
    size = math.prod(make("posterior", text, shape=(1,), latent=3, network=MLP((1,))).raw_shape)
    posterior, prior = make("posterior", text, shape=(size,), latent=3), StandardNormal(3)()
    for parameter in posterior.parameters():
        nn.init.normal_(parameter, 0, 0.12)
    x = torch.randn(4, size)

    def rates() -> list[Tensor]:
        group = posterior.terms(posterior(x), prior, 5, Noise("bf16"), Knobs())
        return [group.z, group.rate(), group.log_ratio()]

    exact = rates()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(rates(), exact, strict=True))


@pytest.mark.parametrize("text", FLOWS)
def test_moments_are_the_same_at_each_call_and_near_those_of_many_draws(text: str) -> None:
    with torch.no_grad():
        _, q = bent(text, 3)
        mean, variance = q.mean, q.variance
        again = bent(text, 3)[1]
        assert torch.equal(mean, again.mean)
        assert torch.equal(variance, again.variance)
        z = draw(q, (15_000,), Noise("moments"))
        error = ((z.mean(0) - mean) / z.std(0)).square().mean().sqrt()
        assert error < q.moment_draws**-0.5, "no better than as many independent draws"


def test_moments_of_a_diagonal_affine_map_are_exact() -> None:
    mean, scale = torch.tensor([[1.0, -2.0, 30.0]]), torch.tensor([[0.1, 3.0, 1.0]])
    q = Pushforward(lambda e: (mean + scale * e, scale.log().sum(-1).expand(e.shape[:-1])), None, mean)
    assert torch.allclose(q.mean, mean, atol=1e-5)
    assert torch.allclose(q.variance, scale.square(), rtol=1e-4)


def test_rsample_uses_torchs_default_generator() -> None:
    _, q = bent("planar", 2)
    torch.manual_seed(0)
    assert q.rsample((3,)).shape == (3, 3, 2)
    with torch.no_grad():
        z = q.rsample((50_000,))
        assert torch.allclose(z.mean(0), q.mean, atol=0.3)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'iaf'"):
        Flow((2,), 2, MLP((4,)), kind="iav")  # pyright: ignore[reportArgumentType]


def banana(z: Tensor) -> Tensor:
    """log N(z_1; 0, 1) N(z_2; z_1^2 - 1, 0.3^2)."""
    return Normal(0.0, 1.0).log_prob(z[..., 0]) + Normal(z[..., 0].square() - 1, 0.3).log_prob(z[..., 1])


def tilted(z: Tensor) -> Tensor:
    """A Gaussian of correlation 0.95."""
    covariance = torch.tensor([[1.0, 0.95], [0.95, 1.0]], dtype=z.dtype)
    return torch.distributions.MultivariateNormal(torch.zeros(2, dtype=z.dtype), covariance).log_prob(z)


def bimodal(z: Tensor) -> Tensor:
    """Two modes, 3 standard deviations apart each way; the second dimension is N(0, 1)."""
    modes = Normal(torch.tensor([-1.5, 1.5]), 0.5).log_prob(z[..., :1]).logsumexp(-1) - math.log(2)
    return modes + Normal(0.0, 1.0).log_prob(z[..., 1])


@functools.cache
def reached(text: str, target: Callable[[Tensor], Tensor], steps: int = 200) -> float:
    """KL(q || target) in nats, after fitting one q by its gradient."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        posterior = make("posterior", text, shape=(1,), latent=2, network=MLP((4,), activation="tanh"))
        optimizer = torch.optim.Adam(posterior.parameters(), 0.02)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        x = torch.ones(1, 1)

        def kl(samples: int, step: int) -> Tensor:
            q = posterior(x)
            z, log_q = draw_with_log_prob(q, (samples,), Noise("fit", step))
            return ((q.log_prob(z) if log_q is None else log_q) - target(z)).mean()

        for step in range(steps):
            optimizer.zero_grad()
            kl(128, step).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return kl(20_000, -1).item()


@pytest.mark.parametrize("text", ["full", "low-rank(rank=1)"])
def test_correlations_are_fitted_better_than_by_a_diagonal_gaussian(text: str) -> None:
    diagonal = -0.5 * math.log(1 - 0.95**2)  # the least KL of any diagonal Gaussian to this one
    assert reached(text, tilted, steps=100) < 0.35 * diagonal


@pytest.mark.parametrize("text", FLOWS)
def test_bends_are_fitted_better_than_by_a_gaussian(text: str) -> None:
    assert reached(text, banana) < 0.85 * best_gaussian()


@functools.cache
def best_gaussian() -> float:
    """The KL that a Gaussian with full covariance reaches on the bend."""
    return reached("full", banana)


def test_splines_find_both_modes() -> None:
    assert reached("flow(kind='nsf', hidden=(16,))", bimodal, steps=100) < 0.3 * reached("full", bimodal, steps=100)


@pytest.mark.parametrize("text", ALL)
def test_bounds_lie_below_the_exact_evidence(text: str) -> None:
    """ELBO <= IWAE-8 <= log p(x) by quadrature, and the mean weight is p(x): log q is that of the draws."""
    torch.manual_seed(0)
    posterior = make("posterior", text, shape=(4,), latent=2, network=MLP((6,), activation="tanh"))
    decoder = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 4))
    model = VAE(Flat(StandardNormal(2), posterior), Bernoulli((4,), 2, decoder), Identity("binary")).double()
    x = torch.tensor([[0.0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]]).double()
    with torch.no_grad():
        axis = torch.linspace(-8, 8, 401, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)[:, None]
        joint = model.decode(grid[:, 0]).log_prob(x[:, None]).T + Normal(0.0, 1.0).log_prob(grid).sum(-1)
        evidence = joint.logsumexp(0) + 2 * (axis[1] - axis[0]).log()
        weight = model(Batch(x), 40_000, Noise("bounds")).log_weight
        blocks = weight.reshape(8, -1, 3)
        iwae = blocks.logsumexp(0) - math.log(8)
        error = iwae.std(0) / 5000**0.5
        assert (weight.mean(0) < iwae.mean(0)).all()
        assert (iwae.mean(0) < evidence + 4 * error).all()
        ratio = (weight - evidence).exp()
        assert ((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / 200).all()


@pytest.mark.parametrize("text", FLOWS)
def test_terms_of_an_example_do_not_depend_on_its_batch(text: str) -> None:
    torch.manual_seed(0)
    posterior = make("posterior", text, shape=(4,), latent=3, network=MLP((6,)))
    model = VAE(Flat(StandardNormal(3), posterior), Bernoulli((4,), 3, MLP((6,))), Identity("binary")).double()
    x, index = (torch.rand(5, 4) < 0.5).double(), torch.tensor([8, 3, 1, 0, 5])
    whole = model(Batch(x), 3, ExampleNoise("one", index=index))
    alone = model(Batch(x[2:3]), 3, ExampleNoise("one", index=index[2:3]))
    assert torch.allclose(whole.log_weight[:, 2:3], alone.log_weight, atol=1e-10)
    assert torch.allclose(whole.latents[0].rate()[:, 2:3], alone.latents[0].rate(), atol=1e-10)


@pytest.mark.parametrize("text", ["flow", "planar", "sylvester", "low-rank"])
def test_training_evaluation_and_loading_work(text: str, tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=3, network="mlp(hidden=(16,))", posterior=text)
    trained = tb.fit(model, data, steps=10, quiet=True, run=tmp_path / "run")
    numbers = trained.evaluate(data.test, samples=4)
    assert numbers["elbo"].value <= numbers["iwae"].value
    x = data.test.batch(torch.arange(3)).x
    again = tb.load(tmp_path / "run")
    assert torch.equal(trained.encode(x), again.encode(x))
    assert torch.allclose(trained.encode(x)[:1], trained.encode(x[:1]), atol=1e-5)
    assert isinstance(again.model.latents.posterior, type(model.latents.posterior))


def test_planar_parameters_are_those_of_its_formula() -> None:
    """One flow in the plane, by hand, where the constraint does not bind much: u moves along w alone."""
    mean, w, u, b = torch.zeros(2), torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.3]), torch.tensor([0.2])
    raw = torch.cat([mean, torch.zeros(2), u, w, b]).double()
    q = Planar((9,), 2, flows=1).distribution(raw[None])
    assert isinstance(q, Pushforward)
    e = torch.tensor([[0.4, -1.0]]).double()
    step = (q.push(e)[0] - e)[0] / torch.tanh((w.double() * e[0]).sum() + 0.2)
    across = torch.tensor([2.0, -1.0]).double()
    assert torch.allclose(across @ step, across @ u.double())
