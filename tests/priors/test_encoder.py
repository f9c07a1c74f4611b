"""Priors made of the encoder: VampPrior and exemplars."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise, draw
from tightbound.latents import Flat
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal, FullNormal, Point, Posterior
from tightbound.priors import Exemplar, VampPrior
from tightbound.priors.mixture import FiniteMixture, component_log_probs, draw_components

SHAPE = (1, 2, 3)
X = torch.rand(50, *SHAPE, generator=torch.Generator().manual_seed(3))


def encoder(kind: type[Posterior] = DiagonalNormal) -> Posterior:
    torch.manual_seed(0)
    return kind(SHAPE, 2, MLP((8,), activation="tanh"))


@pytest.mark.parametrize("kind", [DiagonalNormal, FullNormal])
@pytest.mark.parametrize("learned", [False, True])
def test_vamp_density_is_the_sum_over_pseudo_inputs(kind: type[Posterior], learned: bool) -> None:
    q, prior = encoder(kind).double(), VampPrior(2, 7, SHAPE, learned_weights=learned).double()
    prior.start_at(X.double())
    if prior.logits is not None:
        torch.nn.init.normal_(prior.logits)
    weights = torch.full((7,), 1 / 7, dtype=torch.float64) if prior.logits is None else prior.logits.softmax(0)
    z = torch.randn(5, 3, 2, dtype=torch.float64)
    got = prior(None, q).log_prob(z)
    for s in range(5):
        for b in range(3):
            each = [w * q(u[None]).log_prob(z[s, b]).exp() for w, u in zip(weights, prior.pseudo_inputs, strict=True)]
            assert got[s, b].item() == pytest.approx(math.log(sum(e.item() for e in each)), abs=1e-10)


def test_exemplar_density_is_a_kernel_density_at_the_codes_of_training_data() -> None:
    q, prior = encoder().double(), Exemplar(2, 9, SHAPE).double()
    prior.start_at(X.double())
    with torch.no_grad():
        prior.log_scale.fill_(-0.7)
    assert all((X.double() == e).flatten(1).all(1).any() for e in prior.exemplars)
    assert len(prior.exemplars.unique(dim=0)) == 9
    kernel = Normal(q(prior.exemplars).mean, math.exp(-0.7))
    z = torch.randn(2, dtype=torch.float64)
    exact = kernel.log_prob(z).sum(-1).exp().mean().log()
    assert torch.allclose(prior(None, q).log_prob(z), exact, atol=1e-12)


@pytest.mark.parametrize("prior", [VampPrior(2, 4, SHAPE), Exemplar(2, 4, SHAPE)])
def test_the_encoder_is_in_the_model_once_and_the_prior_trains_it(prior) -> None:
    q = encoder()
    latents = Flat(prior, q)
    latents.start_at(X)
    pointers = [p.data_ptr() for p in latents.state_dict().values()]
    assert len(set(pointers)) == len(pointers)
    assert sum(p.numel() for p in latents.parameters()) == sum(p.numel() for m in (prior, q) for p in m.parameters())
    assert latents.shares_parameters
    latents.prior_given(None).log_prob(torch.randn(6, 2)).sum().backward()
    # exemplars take the means alone; the log-variances' half of the head has no gradient
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in latents.parameters())


def test_priors_that_do_not_fit_are_refused_with_the_reason() -> None:
    with pytest.raises(CompositionError, match=r"density at any z.*Point.*'normal'"):
        Flat(VampPrior(2, 4, SHAPE), encoder(Point))
    with pytest.raises(CompositionError, match=r"construct the prior with shape=\(1, 2, 3\)"):
        Flat(VampPrior(2, 4), encoder())
    with pytest.raises(CompositionError, match="start_at_data=True"):
        Exemplar(2, 4, SHAPE)(None, encoder())
    with pytest.raises(CompositionError, match=r"prior\(context, encode\)"):
        VampPrior(2, 4, SHAPE)(None)
    with pytest.raises(InputError, match="no range"):
        VampPrior(2, 4, SHAPE).start_at(torch.ones(5, *SHAPE))
    with pytest.raises(InputError, match="start = 'men'; did you mean 'mean'"):
        VampPrior(2, 4, SHAPE, start="men")


@pytest.mark.parametrize("x", [X, 5 * X - 2, (X > 0.5).float()])
@pytest.mark.parametrize("start", ["data", "mean"])
def test_pseudo_inputs_start_at_the_data_and_stay_in_their_range(x: torch.Tensor, start: str) -> None:
    prior = VampPrior(2, 30, SHAPE, start=start)
    prior.start_at(x)
    width = x.max() - x.min()
    to = x if start == "data" else x.mean(0, keepdim=True)
    nearest = (prior.pseudo_inputs[:, None] - to).abs().amax((2, 3, 4)).amin(1)
    assert nearest.max() < 0.05 * width
    assert nearest.min() > 0
    with torch.no_grad():
        prior.raw.add_(torch.randn_like(prior.raw) * 10 * width)
    assert prior.pseudo_inputs.min() >= x.min()
    assert prior.pseudo_inputs.max() <= x.max()


def test_with_fewer_examples_than_exemplars_each_is_used_equally_often() -> None:
    prior = Exemplar(2, 20, SHAPE)
    prior.start_at(X[:10])
    assert prior.exemplars.unique(dim=0, return_counts=True)[1].tolist() == [2] * 10


def test_a_context_moves_the_weights() -> None:
    prior, q = VampPrior(2, 4, SHAPE, context=3), encoder()
    assert prior.shift is not None
    torch.nn.init.normal_(prior.shift[-1].weight)  # pyright: ignore
    c = torch.randn(5, 3)
    p = prior(c, q)
    z = torch.randn(6, 5, 2)
    each = q(prior.pseudo_inputs).log_prob(z.unsqueeze(-2))
    weights = prior.shift(c).softmax(-1)
    assert torch.allclose(p.log_prob(z), (each.exp() * weights).sum(-1).log(), atol=1e-5)
    assert p.sample(torch.Size((7,))).shape == (7, 5, 2)


def narrow(components: int = 20, latent: int = 40) -> Independent:
    """Far apart beside their width, as codes of a trained encoder are."""
    generator = torch.Generator().manual_seed(0)
    loc = 3 * torch.randn(components, latent, generator=generator)
    return Independent(Normal(loc, torch.full_like(loc, 0.01)), 1)


def test_expanded_squares_lose_nothing_in_float32() -> None:
    p = narrow()
    z = p.base_dist.loc[:5] + 0.01 * torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    z.requires_grad_()
    got = FiniteMixture(torch.zeros(20), p).log_prob(z)
    double = Independent(Normal(p.base_dist.loc.double(), p.base_dist.scale.double()), 1)
    exact = (double.log_prob(z.double().unsqueeze(-2)) - math.log(20)).logsumexp(-1)
    assert got.dtype == torch.float32
    assert torch.allclose(got.double(), exact, rtol=1e-6)
    ours, theirs = torch.autograd.grad(got.sum(), z)[0], torch.autograd.grad(exact.sum(), z)[0]
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-3)


def test_the_density_is_not_reduced_in_bfloat16() -> None:
    p, z = FiniteMixture(torch.zeros(20), narrow()), 3 * torch.randn(5, 40)
    exact = p.log_prob(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(p.log_prob(z), exact)


def test_normals_are_evaluated_without_points_x_components_x_dimensions() -> None:
    """By the tensors that autograd keeps."""
    s, k, latent = 500, 100, 40
    loc = torch.randn(k, latent, requires_grad=True)
    kept: list[int] = []
    p = FiniteMixture(torch.zeros(k), Independent(Normal(loc, torch.ones(k, latent)), 1))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        p.log_prob(torch.randn(s, latent, requires_grad=True))
    assert max(kept) <= s * k


@pytest.mark.parametrize(
    "components",
    [
        Independent(Normal(torch.randn(6, 3), torch.rand(6, 3) + 0.5), 1),
        Independent(Laplace(torch.randn(6, 3), torch.rand(6, 3) + 0.5), 1),
        MultivariateNormal(torch.randn(6, 3), scale_tril=torch.eye(3) + 0.3 * torch.randn(6, 3, 3).tril(-1)),
    ],
)
def test_mixtures_of_any_family_are_evaluated_in_blocks_and_drawn_by_component(components) -> None:
    z = torch.randn(11, 2, 3, requires_grad=True)
    exact = components.log_prob(z.unsqueeze(-2))
    got = component_log_probs(components, z, max_elements=6 * 3 * 4)  # blocks of four points
    assert got.shape == (11, 2, 6)
    assert torch.allclose(got.float(), exact, atol=1e-5)
    ours, theirs = torch.autograd.grad(got.sum(), z)[0], torch.autograd.grad(exact.sum(), z)[0]
    assert torch.allclose(ours, theirs, atol=1e-4)
    index = torch.randint(6, (40_000,), generator=torch.Generator().manual_seed(0)).reshape(200, 200)
    drawn = draw_components(components, index, Noise("test"))
    assert drawn.shape == (200, 200, 3)
    assert len(drawn.flatten(0, 1).unique(dim=0)) == 40_000
    for component in range(6):
        mine = drawn[index == component]
        error = 5 * (components.variance[component] / len(mine)).sqrt()
        assert ((mine.mean(0) - components.mean[component]).abs() < error).all()
        assert torch.allclose(mine.var(0), components.variance[component], rtol=0.2)


def test_draws_of_a_mixture_are_keyed_by_example() -> None:
    p = FiniteMixture(torch.randn(3, 20), narrow())
    index = torch.tensor([4, 1, 8])
    both = draw(p, (5,), ExampleNoise("k", index=index))
    alone = FiniteMixture(p.log_weights[1:2], p.components)
    assert torch.equal(both[:, 1:2], draw(alone, (5,), ExampleNoise("k", index=index[1:2])))
