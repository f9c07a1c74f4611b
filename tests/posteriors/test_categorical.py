"""The relaxed categorical posterior: exact bounds of a discrete model, and a gradient that is documented as biased."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

import tightbound as tb
from tightbound.components import make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.core.schedules import Knobs, Progress
from tightbound.core.terms import Batch
from tightbound.latents import Flat
from tightbound.likelihoods import Bernoulli, Identity
from tightbound.model import VAE
from tightbound.nn import MLP
from tightbound.objectives import ELBO, IWAE
from tightbound.testing import check_latents, check_posterior, check_prior

X = torch.tensor([[1.0, 0, 1, 1], [0, 0, 1, 0]], dtype=torch.float64)


def discrete(groups: int = 2, classes: int = 3, **kwargs) -> VAE:
    torch.manual_seed(0)
    latent, network = groups * classes, MLP((8,), activation="tanh")
    latents = Flat(
        make("prior", f"categorical(groups={groups}, learned=True)", latent=latent),
        make("posterior", "relaxed-categorical", shape=(4,), latent=latent, groups=groups, network=network, **kwargs),
    )
    model = VAE(latents, Bernoulli((4,), latent, network), Identity("binary")).double()
    with torch.no_grad():
        latents.prior.logits.normal_()
    return model


def enumerated(model: VAE) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(K, 2) log p(x, z) and log q(z | x) at every z, and log p(x) (2,)."""
    q, p = model.latents.encode(X)
    z = p.enumerate_support()
    joint = model.likelihood(z).log_prob(X.unsqueeze(1)).T + p.log_prob(z).unsqueeze(1)
    return joint, q.log_prob(z.unsqueeze(1)), joint.logsumexp(0)


def test_bounds_agree_with_the_enumerated_evidence() -> None:
    model = discrete()
    joint, log_q, evidence = enumerated(model)
    exact_elbo = (log_q.exp() * (joint - log_q)).sum(0)
    knobs = Knobs.final({**model.schedules, **ELBO().schedules})
    terms = model(Batch(X), 40_000, Noise("t"), knobs)
    assert torch.allclose(ELBO()(terms, knobs), exact_elbo, atol=0.02)
    assert torch.allclose(IWAE()(terms, knobs), evidence, atol=0.02)
    assert (exact_elbo < evidence).all()
    assert model.latents.posterior.training  # in training, too: the value is that of the discrete model


def test_draws_are_one_hot_and_indices_name_them() -> None:
    model = discrete(groups=3, classes=4)
    group = model(Batch(X), 500).latents[0]
    vectors = group.z.detach().unflatten(-1, (3, 4))
    assert torch.equal(vectors, torch.nn.functional.one_hot(group.indices, 4).double())
    q = model.latents.encode(X)[0]
    frequency = model(Batch(X), 20_000).latents[0].z.detach().mean(0)
    assert torch.allclose(frequency, q.mean, atol=0.02)


def test_kl_has_a_factor_for_each_group() -> None:
    model = discrete(groups=3, classes=4)
    q, p = model.latents.encode(X)
    kl = model(Batch(X), 2).latents[0].kl
    assert kl.shape == (2, 2, 3)
    by_hand = kl_divergence(Categorical(logits=q.logits), Categorical(logits=p.logits))
    assert torch.allclose(kl[0], by_hand)


def test_straight_through_gradient_nears_the_exact_one_as_the_temperature_falls() -> None:
    """d E[f(z)] / d logits for an f that is no linear function of z: biased, and less so at a lower temperature."""
    posterior = make("posterior", "relaxed-categorical", shape=(4,), latent=4).double()
    logits = torch.tensor([[0.3, -0.5, 0.8, 0.0]], dtype=torch.float64, requires_grad=True)
    value = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)

    def f(z: torch.Tensor) -> torch.Tensor:
        return (z @ value).tanh()

    q = posterior(logits)
    (exact,) = torch.autograd.grad((q.mean * value.tanh()).sum(), logits)
    error = []
    for t in (5.0, 0.1):
        group = posterior.terms(posterior(logits), q, 400_000, Noise("g"), Knobs(temperature=torch.tensor(t)))
        (gradient,) = torch.autograd.grad(f(group.z).mean(), logits)
        error.append((gradient - exact).norm().item())
    assert error[0] > 0.05  # the bias is there
    assert error[1] < error[0]


def test_laws_hold_with_several_groups_and_learned_probabilities() -> None:
    torch.manual_seed(0)
    check_prior(make("prior", "categorical(groups=2, learned=True)", latent=6))
    check_posterior(make("posterior", "relaxed-categorical", shape=(3,), latent=6, groups=2, network=MLP((4,))))
    check_latents(discrete().latents, (4,))


def test_a_context_shifts_the_prior() -> None:
    prior = make("prior", "categorical(groups=2)", latent=6, context=3)
    c = torch.randn(5, 3)
    torch.nn.init.normal_(prior.shift[-1].weight)
    p = prior(c)
    assert p.batch_shape == (5,)
    assert torch.allclose(p.log_prob(p.enumerate_support()).exp().sum(0), torch.ones(5))
    assert not torch.allclose(p.mean[0], p.mean[1])


def test_temperature_is_a_knob_with_a_schedule() -> None:
    posterior = make("posterior", "relaxed-categorical(temperature=linear(start=1.0, stop=0.5))", shape=(4,), latent=4)
    knobs = [Knobs.at(posterior.schedules, Progress(step, 0, 100))["temperature"].item() for step in (0, 100)]
    assert knobs == [1.0, 0.5]
    with pytest.raises(InputError, match="temperature = 0; needed: a finite number of at least"):
        make("posterior", "relaxed-categorical(temperature=0)", shape=(4,), latent=4)
    with pytest.raises(InputError, match="stop of temperature = 0"):
        make("posterior", "relaxed-categorical(temperature=linear(start=1.0, stop=0))", shape=(4,), latent=4)


def test_sizes_of_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CompositionError, match=r"latent = 10 is not groups = 3 times .* pass latent=9"):
        make("prior", "categorical(groups=3)", latent=10)
    with pytest.raises(CompositionError, match="pass latent=8"):
        make("posterior", "relaxed-categorical(groups=4)", shape=(4,), latent=4)
    with pytest.raises(CompositionError, match=r"CategoricalPrior is a distribution on one-hot vectors .* 2 one-hot"):
        Flat(
            make("prior", "categorical", latent=4),
            make("posterior", "relaxed-categorical(groups=2)", shape=(4,), latent=4),
        )


def test_a_categorical_model_trains_and_decodes_the_most_probable_vector(tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(
        data, latent=40, network="mlp(hidden=(64,))", prior="categorical(groups=8)",
        posterior="relaxed-categorical(groups=8, temperature=linear(start=1.0, stop=0.5))",
    )  # fmt: skip
    trained = tb.fit(model, data, epochs=6, lr=0.008, quiet=True, run=tmp_path / "run")
    result = trained.evaluate(data.test, samples=20)
    assert result["rate"].value > 1
    assert result["iwae"].value > result["elbo"].value
    mean = trained.encode(data.test)
    hard = torch.nn.functional.one_hot(mean.unflatten(1, (8, 5)).argmax(-1), 5).flatten(1).float()
    assert torch.allclose(trained.decode(mean), trained.decode(hard))
    assert set(trained.encode(data.test, draw=True).unique().tolist()) == {0.0, 1.0}
