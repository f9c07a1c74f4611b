"""The loss for a training loop of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch
from tightbound.objectives import ELBO, IWAE, RAE

X = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (30, 1, 4, 4)).astype(np.uint8))


def model(**given) -> tb.VAE:
    return tb.VAE.for_data(X, domain="binary", latent=3, network="mlp(hidden=(8,))", **given)


@pytest.mark.parametrize("objective", ["elbo", "iwae(samples=4)", ELBO(beta=2.0), "free-bits(0.1)", "wae-mmd", "dip"])
def test_gradients_reach_every_parameter(objective) -> None:
    made = model()
    loss = made.loss(X, objective)
    assert loss.shape == ()
    loss.backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_reductions_agree() -> None:
    made = model()
    each = made.loss(X, reduction="none", seed=1)
    assert each.shape == (30,)
    assert torch.allclose(made.loss(X, reduction="sum", seed=1), each.sum())
    assert torch.allclose(made.loss(X, seed=1), each.mean())
    with pytest.raises(InputError, match="reduction = 'max'; needed: 'mean', 'sum' or 'none'"):
        made.loss(X, reduction="max")  # pyright: ignore[reportArgumentType]


def test_the_loss_is_minus_the_objective() -> None:
    made = model().double().eval()
    index = torch.arange(30)
    with torch.no_grad():
        terms = made(Batch(X, index=index), 2000, ExampleNoise("test", index=index))
        expected = -ELBO()(terms, Knobs.final(ELBO().schedules)).mean()
        assert made.loss(X, samples=2000).item() == pytest.approx(expected.item(), rel=0.01)
        assert made.loss(X, IWAE(samples=200)) < expected


def test_draws_follow_the_seed_or_the_default_generator() -> None:
    made = model()
    assert torch.equal(made.loss(X, seed=3), made.loss(X, seed=3))
    assert not torch.equal(made.loss(X, seed=3), made.loss(X, seed=4))
    torch.manual_seed(0)
    first = made.loss(X)
    torch.manual_seed(0)
    assert torch.equal(made.loss(X), first)


def test_a_loop_of_ones_own_learns() -> None:
    made = model()
    optimizer = torch.optim.Adam(made.parameters(), 1e-2)
    x = X[:1].expand(30, -1, -1, -1)
    before = made.loss(x, seed=0).item()
    for _ in range(60):
        optimizer.zero_grad()
        made.loss(x, "iwae(samples=2)").backward()
        optimizer.step()
    assert made.loss(x, seed=0).item() < before - 1


def test_the_penalty_of_a_codebook_is_part_of_the_loss() -> None:
    made = model(latents="quantized(quantizer='vq-gradient(codebook_size=4)', positions=3)")
    each = made.loss(X, reduction="none")
    each.mean().backward()
    assert made.latents.levels[0].quantizer.codebook.grad.abs().max() > 0
    with torch.no_grad():
        terms = made(Batch(X))
    expected = (terms.penalty.mean(0) - ELBO()(terms, Knobs.final(ELBO().schedules))).mean()
    assert each.mean().item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("objective", ["dreg", "piwae(m=2, k=2)", "factor", "vae-gan", "lagging"])
def test_objectives_with_several_losses_are_refused(objective: str) -> None:
    with pytest.raises(CompositionError, match="several losses"):
        model().loss(X, objective)


def test_an_objective_that_needs_the_size_of_the_data_takes_it() -> None:
    with pytest.raises(CompositionError, match="size="):
        model().loss(X, "beta-tc")
    assert torch.isfinite(model().loss(X, "beta-tc", size=30))


def test_what_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(CompositionError, match="point mass"):
        model(posterior="point").loss(X)
    with pytest.raises(InputError, match="did you mean 'elbo'"):
        model().loss(X, "elbow")


def test_each_call_takes_its_own_size() -> None:
    made = model()
    alone = [made.loss(X[:8], "beta-tc(beta=20)", size=size, seed=1) for size in (8, 10**6)]
    again = [model().loss(X[:8], "beta-tc(beta=20)", size=size, seed=1) for size in (8, 10**6)]
    assert alone == again
    assert abs(alone[0] - alone[1]) > 1e-3
    with pytest.raises(CompositionError, match="size="):
        made.loss(X[:8], "beta-tc(beta=20)")


def test_one_objective_serves_two_models() -> None:
    shared, mine, other = RAE(), model(posterior="point"), model(posterior="point", seed=1)
    first = mine.loss(X, shared, seed=1)
    other.loss(X, shared, seed=1)
    assert mine.loss(X, shared, seed=1) == first


def test_static_bits_need_the_position_of_an_example() -> None:
    made = tb.VAE.for_data(
        X,
        latent=3,
        network="mlp(hidden=(8,))",
        likelihood="bernoulli",
        observation="binarized(mode='static')",
        levels=4,
    )
    with pytest.raises(InputError, match="position in the data"):
        made.loss(X)
    assert torch.isfinite(made.loss(Batch(X, index=torch.arange(30))))
