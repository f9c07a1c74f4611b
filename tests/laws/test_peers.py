"""Defects found in public VAE code, each with a test that fails on it (those of this version's parts)."""

from __future__ import annotations

import math

import pytest
import torch

import tightbound as tb
from tightbound.components import make
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs, Progress
from tightbound.core.terms import Batch
from tightbound.information import log_weights
from tightbound.objectives import ELBO, IWAE, MIWAE, PIWAE
from tightbound.objectives.base import Objective, ParameterGroup
from tightbound.posteriors.planar import Planar, invertible
from tightbound.testing.objectives import small_model
from tightbound.training.optim import GroupOptimizer
from tightbound.training.suited import Suited


def terms(samples: int = 10, n: int = 6):
    model = small_model()
    x = (torch.arange(n * 6).reshape(n, 1, 2, 3) % 5 < 2).double()
    return model(Batch(x, index=torch.arange(n)), samples, ExampleNoise(0, index=torch.arange(n)), Knobs())


def test_iwae_normalizes_over_samples_and_not_over_data() -> None:
    t = terms()
    by_hand = torch.stack([t.log_weight[:, i].exp().mean().log() for i in range(6)])
    assert torch.allclose(IWAE(10)(t, Knobs()), by_hand)
    assert (IWAE(10)(t, Knobs()) > t.log_weight.mean(0) + 1e-4).all()


def test_iwae_reports_the_log_mean_exp_bound_and_not_the_weighted_mean() -> None:
    t = terms()
    w = t.log_weight.softmax(0)
    assert not torch.allclose(IWAE(10)(t, Knobs()), (w * t.log_weight).sum(0), atol=1e-3)


def test_iwae_gradient_favors_the_best_samples() -> None:
    """d/d log w_i of the bound is the softmax of log weights, not of losses."""
    log_weight = torch.tensor([[0.0], [2.0]], requires_grad=True)
    from tightbound.objectives.iwae import logmeanexp

    (gradient,) = torch.autograd.grad(logmeanexp(log_weight).sum(), log_weight)
    assert torch.allclose(gradient, log_weight.softmax(0))


def test_miwae_normalizes_over_importance_samples_and_not_over_estimates() -> None:
    """With one estimate of ten samples it is IWAE-10, value and gradient; the defect gives the ELBO."""
    t = terms()
    assert torch.allclose(MIWAE(1, 10)(t, Knobs()), IWAE(10)(t, Knobs()), atol=1e-12)
    assert (MIWAE(1, 10)(t, Knobs()) > t.log_weight.mean(0) + 1e-4).all()
    assert torch.allclose(MIWAE(10, 1)(t, Knobs()), t.log_weight.mean(0), atol=1e-12)


def test_piwae_normalizes_over_importance_samples_and_not_over_estimates() -> None:
    """The encoder's bound is MIWAE's: of one estimate IWAE, of one sample each the ELBO; its weights sum to one."""
    t = terms()
    for (m, k), bound in (((1, 10), IWAE(10)(t, Knobs())), ((10, 1), t.log_weight.mean(0))):
        decoder, encoder = PIWAE(m, k).parameter_groups(small_model())
        assert encoder.loss(t, Knobs()).item() == pytest.approx(-bound.mean().item(), abs=1e-12)
        assert decoder.loss(t, Knobs()).item() == pytest.approx(-IWAE(10)(t, Knobs()).mean().item(), abs=1e-12)


def test_neither_of_two_coupled_losses_reaches_the_other_side() -> None:
    """PIWAE in the trainer's order: the encoder gets MIWAE's gradient and none of IWAE's, the decoder the reverse."""
    model, objective = small_model(), PIWAE(5, 2)
    x = (torch.arange(24).reshape(4, 1, 2, 3) % 5 < 2).double()
    t = model(Batch(x, index=torch.arange(4)), 10, ExampleNoise(0, index=torch.arange(4)), Knobs())
    optimizers = [GroupOptimizer(g, model, Suited(), tb.Linear(start=1.0)) for g in objective.parameter_groups(model)]
    for optimizer in optimizers:
        optimizer.backward(optimizer.group.loss(t, Knobs()), keep=True)
    encoder, decoder = model.inference_parameters(), list(model.likelihood.parameters())
    for params, bound in ((encoder, MIWAE(5, 2)), (decoder, IWAE(10))):
        alone = torch.autograd.grad(-bound(t, Knobs()).mean(), params, retain_graph=True)
        assert all(torch.equal(p.grad, g) for p, g in zip(params, alone, strict=True))


def test_gaussian_keeps_its_constant() -> None:
    likelihood = tb.likelihoods.Gaussian(scale=1.0)
    assert likelihood(torch.zeros(1)).log_prob(torch.tensor(0.0)).item() == pytest.approx(-0.5 * math.log(2 * math.pi))


def test_the_loss_of_an_example_does_not_scale_with_the_batch() -> None:
    values = {n: ELBO()(terms(n=n), Knobs.final(ELBO().schedules))[0].item() for n in (1, 4, 6)}
    assert max(values.values()) - min(values.values()) < 1e-9


def test_an_adversarys_loss_reaches_its_own_parameters_and_no_others() -> None:
    """By construction: backward into the group's parameters alone (VAE-GAN, FactorVAE, coupled trainers)."""
    model = small_model()
    encoder, decoder = list(model.latents.parameters()), list(model.likelihood.parameters())

    class TwoLosses(Objective):
        def __call__(self, terms, knobs):
            return terms.log_likelihood.mean(0)

        def parameter_groups(self, model):
            return [
                ParameterGroup(encoder, lambda t, k: -self(t, k).mean()),
                ParameterGroup(decoder, lambda t, k: 7 * self(t, k).mean()),
            ]

    settings = Suited(lr=0.1)
    optimizers = [GroupOptimizer(g, model, settings, tb.Linear(start=1.0)) for g in TwoLosses().parameter_groups(model)]
    x = torch.ones(3, 1, 2, 3, dtype=torch.float64)
    t = model(Batch(x, index=torch.arange(3)), 1)
    optimizers[1].backward(optimizers[1].group.loss(t, Knobs()))
    optimizers[1].step(Progress(0, 0, 10))
    assert all(p.grad is None for p in encoder)
    assert all(p.grad is not None for p in decoder)


def backward(name: str, which: int, **given) -> tuple[list[torch.nn.Parameter], Objective, tb.VAE]:
    """The gradients that the loss of one group of an objective leaves; gives its parameters, objective and model."""
    model, objective = small_model(), make("objective", name, **given)
    with Noise("peers").default():
        objective.prepare(model, 6)
        knobs = Knobs.final(objective.schedules)
        x = (torch.arange(36).reshape(6, 1, 2, 3) % 5 < 2).double()
        optimizers = [
            GroupOptimizer(g, model, Suited(lr=0.1), tb.Linear(start=1.0)) for g in objective.parameter_groups(model)
        ]
        t = model(Batch(x, index=torch.arange(6)), 1)
        optimizers[which].backward(optimizers[which].group.loss(t, knobs))
    return optimizers[which].group.params, objective, model


@pytest.mark.parametrize("name", ["factor", "aae", "vae-gan"])
def test_the_discriminators_backward_pass_leaves_no_gradient_in_the_model(name: str) -> None:
    """FactorVAE: z is detached; VAE-GAN: nothing accumulates into the decoder."""
    params, objective, model = backward(name, -1)
    assert {id(p) for p in params} == {id(p) for p in objective.networks.parameters()}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in params)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["factor", "aae", "vae-gan"])
def test_the_models_backward_pass_leaves_no_gradient_in_the_discriminator(name: str) -> None:
    params, objective, model = backward(name, 0)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in params)
    assert all(p.grad is None for p in objective.networks.parameters())
    others = {id(p) for p in model.parameters()} - {id(p) for p in params}
    assert all(p.grad is None for p in model.parameters() if id(p) in others)
    assert bool(others) == (name == "vae-gan")  # whose decoder has a loss of its own


def test_stratified_weights_are_on_the_diagonal_and_not_in_column_0() -> None:
    weights = log_weights(4, 100, "mss").exp()
    assert torch.allclose(weights.diagonal(), torch.full((4,), 0.01).double())
    assert torch.allclose(weights[1:, 0], torch.full((3,), 0.99 / 3).double())


def test_epoch_metrics_weigh_a_smaller_last_batch_by_its_size(tmp_path) -> None:
    """1,500 data in batches of 1,000 and 500, at a learning rate of nothing: the mean over data."""
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,))", posterior="point")
    trained = tb.fit(
        model, data, tb.objectives.Autoencoder(), epochs=1, batch_size=1000, lr=1e-12, validation_size=0, quiet=True,
        run=tmp_path / "run",
    )  # fmt: skip
    whole = trained.evaluate(data.train, samples=1)["distortion"].value
    assert trained.metrics[0]["train_loss"] == pytest.approx(whole, rel=1e-6)


def test_nothing_is_unpickled_on_load(tmp_path, monkeypatch) -> None:
    import pickle

    data = tb.data.open("digits")
    tb.fit(tb.VAE.for_data(data, latent=2, network="mlp(hidden=(4,))"), data, steps=2, quiet=True, run=tmp_path / "run")

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert tb.load(tmp_path / "run").sample(2).shape == (2, 1, 8, 8)


def test_best_weights_are_chosen_on_validation_by_the_bound(tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(16,))")
    trained = tb.fit(model, data, IWAE(3), epochs=6, lr=0.02, quiet=True, run=tmp_path / "run")
    losses = [row["validation_loss"] for row in trained.metrics]
    assert f"epoch {losses.index(min(losses)) + 1}," in trained.weights


def _vamp_model(components: int = 3) -> tb.VAE:
    """Codes far apart and narrow, of unequal width: which component a draw is from, and its width, can be seen."""
    from tightbound.latents import Flat
    from tightbound.likelihoods import Bernoulli, Identity
    from tightbound.nn import MLP
    from tightbound.posteriors import DiagonalNormal
    from tightbound.priors import VampPrior

    shape = (2,)
    posterior = DiagonalNormal((2,), 2, torch.nn.Flatten())  # mean 20 u, log-variance -4 u
    head = posterior.network[-1]  # pyright: ignore
    prior = VampPrior(2, components, shape)
    with torch.no_grad():
        head.weight.copy_(torch.cat([20 * torch.eye(2), -4 * torch.eye(2)]))
        head.bias.zero_()
        prior.raw.copy_(torch.linspace(-1, 1.5, components)[:, None].expand(-1, 2))
    return tb.VAE(Flat(prior, posterior), Bernoulli(shape, 2, MLP((4,))), Identity("binary")).double()


def test_vamp_draws_have_the_posteriors_width_and_come_from_every_component() -> None:
    """Not tanh of the log-variance, and not always the first components, however few are drawn."""
    from tightbound.core.noise import Noise

    model = _vamp_model()
    prior = model.latents.prior  # pyright: ignore
    q = model.latents.posterior(prior.pseudo_inputs)  # pyright: ignore
    with torch.no_grad():
        z = model.latents.draw(6000, Noise("test"))
        nearest = (z[:, None] - q.mean).abs().div(q.stddev).sum(-1).argmin(1)
        counts = nearest.bincount(minlength=3)
        assert ((counts - 2000).abs() < 5 * (6000 * 2 / 9) ** 0.5).all()
        for k in range(3):
            assert torch.allclose(z[nearest == k].std(0), q.stddev[k], rtol=0.1)
        few = torch.cat([model.latents.draw(1, Noise("test", i)) for i in range(60)])
        assert len((few[:, None] - q.mean).abs().div(q.stddev).sum(-1).argmin(1).unique()) == 3


def test_a_vamp_model_samples_its_prior_and_not_the_standard_normal() -> None:
    from tightbound.core.noise import Noise

    z = _vamp_model().latents.draw(2000, Noise("test"))
    assert z.std() > 5


def test_leapfrog_uses_the_fresh_momentum_and_tempering_accumulates() -> None:
    """Against the exact matrix of a leapfrog step in a quadratic potential, scaled by each step's tempering: a stale
    momentum in the second half step, or momenta that are overwritten, give another one (Hamiltonian VAE)."""
    from tightbound.posteriors import Hamiltonian
    from tightbound.posteriors.hamiltonian import leapfrog

    temperatures = Hamiltonian((2,), 1, steps=3, tempering=0.3).double().temperatures().detach()
    z = rho = torch.ones(1, dtype=torch.float64)
    sizes = torch.tensor([[0.3], [0.2], [0.5]], dtype=torch.float64)
    exact = torch.ones(2, dtype=torch.float64)
    for k, e in enumerate(sizes[:, 0].tolist()):
        turn = torch.tensor([[1 - e**2 / 2, e], [-e * (1 - e**2 / 4), 1 - e**2 / 2]], dtype=torch.float64)
        exact = turn @ exact
        exact[1] *= temperatures[k + 1] / temperatures[k]
    got = leapfrog(lambda z: -z, z, rho, sizes, temperatures)
    assert torch.allclose(torch.cat(got), exact, atol=1e-12)
    assert temperatures[0].item() == pytest.approx(0.3**-0.5)
    assert temperatures[-1] == 1


def test_planar_flow_has_its_invertibility_constraint() -> None:
    """w'u > -1 for adversarial weights, so that no two noises share a z, and the density has mass 1."""
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 1e-6, 1.0, 100.0, 1e4):
        for dtype in (torch.float32, torch.float64):
            w = scale * torch.randn(1000, 5, generator=generator, dtype=dtype)
            u, along = invertible(-w, w)  # straight against w
            assert (along > -1).all()
            assert torch.isfinite(u).all()
            assert ((w * u).sum(-1) > -1).all(), "of u as it is rounded, too"
            assert ((w * u).sum(-1) - along[:, 0]).abs().max() < 2e-4
    raw = torch.tensor([[0.0, 0.0, -5.0, 3.0, 0.4]], dtype=torch.float64)  # mean, log-variance, u, w, b
    q = Planar((5,), 1, flows=1).distribution(raw)
    e = torch.linspace(-9, 9, 40_001, dtype=torch.float64)[:, None, None]
    naive = e - 5 * torch.tanh(3 * e + 0.4)
    assert (naive.diff(dim=0) < 0).any(), "the test wants weights that fold the line"
    z, log_q = q.at(e)
    assert (z.diff(dim=0) > 0).all()
    assert torch.trapezoid(log_q.exp()[:, 0], z[:, 0, 0]).item() == pytest.approx(1, abs=1e-4)
