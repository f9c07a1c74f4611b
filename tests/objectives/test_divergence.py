"""InfoVAE, WAE, AAE and RAE: identities between them, and closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.information import mmd
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Gaussian, Identity
from tightbound.nn import MLP
from tightbound.objectives import ELBO, RAE, WAE, AdversarialAutoencoder, InfoVAE
from tightbound.objectives.autoencoders import jacobian_norm
from tightbound.objectives.base import draw_prior
from tightbound.objectives.decoding import MeanDecoder
from tightbound.posteriors import DiagonalNormal, Point
from tightbound.priors import LearnedNormal
from tightbound.testing.objectives import small_model


def terms(n: int = 6, point: bool = False, samples: int = 2) -> Terms:
    index = torch.arange(n)
    x = (torch.arange(n * 6).reshape(n, 1, 2, 3) % 5 < 2).double()
    return small_model(point=point)(Batch(x, index=index), samples, ExampleNoise(0, index=index), Knobs())


def seeded(objective, t: Terms) -> torch.Tensor:
    with Noise("draws").default():
        return objective(t, Knobs.final(objective.schedules))


def test_info_with_alpha_0_and_lambda_1_is_the_elbo() -> None:
    t = terms()
    assert torch.allclose(seeded(InfoVAE(0.0, 1.0), t), seeded(ELBO(), t))


def test_info_weights_kl_and_discrepancy() -> None:
    t, objective = terms(samples=1), InfoVAE(alpha=-1.0, lambda_=7.0, kernel="rbf", width=2.0)
    with Noise("draws").default():
        prior = draw_prior(t.latents[0])
    kl = t.latents[0].rate()[0].sum(-1)
    by_hand = t.log_likelihood[0] - 2 * kl - 5 * mmd(t.latents[0].z[0], prior[0], "rbf", 2.0)
    assert torch.allclose(seeded(objective, t), by_hand)


@pytest.mark.parametrize("point", [False, True])
def test_wae_is_info_with_alpha_1(point: bool) -> None:
    t = terms(point=point)
    WAE().check(t)
    assert torch.equal(seeded(WAE(5.0), t), seeded(InfoVAE(1.0, 5.0), t))
    assert not torch.equal(seeded(WAE(5.0), t), t.log_likelihood.mean(0))


def test_a_batch_of_one_example_has_no_discrepancy() -> None:
    t = terms(1)
    assert torch.equal(seeded(WAE(5.0), t), t.log_likelihood.mean(0))


def test_info_of_a_point_posterior_needs_alpha_1() -> None:
    with pytest.raises(CompositionError, match="point mass"):
        InfoVAE().check(terms(point=True))
    with pytest.raises(InputError, match="at least 1"):
        InfoVAE(alpha=0.5, lambda_=0.1)
    with pytest.raises(InputError, match="did you mean 'imq'"):
        WAE(kernel="imqq")


@pytest.mark.parametrize("objective", [WAE(), AdversarialAutoencoder(), RAE(), InfoVAE(alpha=1.0)])
def test_a_learned_prior_without_a_gradient_raises(objective) -> None:
    network = MLP((4,))
    latents = Flat(LearnedNormal(3), DiagonalNormal((1, 2, 3), 3, network))
    model = tb.VAE(latents, Bernoulli((1, 2, 3), 3, network), Identity("binary"))
    with pytest.raises(CompositionError, match="does not train the prior"):
        objective.prepare(model, 6)
    InfoVAE().prepare(model, 6)  # whose KL trains it


def test_aae_adds_the_log_probability_of_fooling_the_discriminator() -> None:
    t, objective = terms(point=True), AdversarialAutoencoder(weight=3.0)
    objective.prepare(small_model(point=True), None)
    objective.discriminator.head = last = nn.Linear(256, 1).double()
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 2.0)
    expected = t.log_likelihood.mean(0) + 3 * torch.tensor(2.0).sigmoid().log()
    assert torch.allclose(seeded(objective, t), expected)
    with Noise("draws").default():
        loss = objective.adversary().loss(t, Knobs())
    d = torch.tensor(2.0).double().sigmoid()
    assert torch.allclose(loss, -(d.log() + (1 - d).log()))  # binary cross-entropy of real and of fake


def test_the_gradient_penalty_is_the_squared_norm_of_the_jacobian() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(3, 5).double()
    latents = Flat(tb.priors.StandardNormal(3), Point((4,), 3, MLP((4,))))
    model = tb.VAE(latents, Gaussian((5,), 3, linear, scale=1.0), Identity("real")).double()
    z = torch.randn(5000, 1, 3).double()
    with torch.no_grad():  # as in validation
        estimates = jacobian_norm(MeanDecoder(model, "rae", trains_likelihood=False), z, None)
    exact = linear.weight.square().sum().item()
    stderr = (estimates.std() / len(estimates) ** 0.5).item()
    assert estimates.shape == (5000, 1)
    assert estimates.mean().item() == pytest.approx(exact, abs=4 * stderr)
    assert stderr < 0.1 * exact


def test_rae_subtracts_norms_of_latent_codes_and_weights() -> None:
    t, model = terms(point=True, samples=1), small_model(point=True)
    objective = RAE("l2", weight=0.3, beta=0.5)
    objective.prepare(model, None)
    norm = sum(m.weight.square().sum() for m in model.likelihood.modules() if isinstance(m, nn.Linear))
    expected = t.log_likelihood[0] - 0.25 * t.latents[0].z[0].square().sum(-1) - 0.3 * norm
    assert torch.allclose(seeded(objective, t), expected)
    with pytest.raises(InputError, match="penalty"):
        RAE("l1")  # pyright: ignore
    with pytest.raises(CompositionError, match="prepare"):
        RAE()(t, Knobs())
