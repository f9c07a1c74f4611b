"""Defects found in public VAE code, each with a test that fails on it (those of this version's parts)."""

from __future__ import annotations

import math

import pytest
import torch

import tightbound as tb
from tightbound.core.noise import DatumNoise
from tightbound.core.schedules import Knobs, Progress
from tightbound.core.terms import Batch
from tightbound.objectives import ELBO, IWAE
from tightbound.objectives.base import Group, Objective
from tightbound.posteriors.planar import Planar, invertible
from tightbound.testing.models import small_model
from tightbound.training.optim import GroupOptimizer


def terms(samples: int = 10, n: int = 6):
    model = small_model()
    x = (torch.arange(n * 6).reshape(n, 1, 2, 3) % 5 < 2).double()
    return model(Batch(x, index=torch.arange(n)), samples, DatumNoise(0, index=torch.arange(n)), Knobs())


def test_iwae_normalises_over_samples_and_not_over_data() -> None:
    t = terms()
    by_hand = torch.stack([t.log_weight[:, i].exp().mean().log() for i in range(6)])
    assert torch.allclose(IWAE(10)(t, Knobs()), by_hand)
    assert (IWAE(10)(t, Knobs()) > t.log_weight.mean(0) + 1e-4).all()


def test_iwae_reports_the_log_mean_exp_bound_and_not_the_weighted_mean() -> None:
    t = terms()
    w = t.log_weight.softmax(0)
    assert not torch.allclose(IWAE(10)(t, Knobs()), (w * t.log_weight).sum(0), atol=1e-3)


def test_iwae_gradient_favours_the_best_samples() -> None:
    """d/d log w_i of the bound is the softmax of log weights, not of losses."""
    log_weight = torch.tensor([[0.0], [2.0]], requires_grad=True)
    from tightbound.objectives.iwae import logmeanexp

    (gradient,) = torch.autograd.grad(logmeanexp(log_weight).sum(), log_weight)
    assert torch.allclose(gradient, log_weight.softmax(0))


def test_gaussian_keeps_its_constant() -> None:
    likelihood = tb.likelihoods.Gaussian(scale=1.0)
    assert likelihood(torch.zeros(1)).log_prob(torch.tensor(0.0)).item() == pytest.approx(-0.5 * math.log(2 * math.pi))


def test_loss_of_a_datum_does_not_scale_with_the_batch() -> None:
    values = {n: ELBO()(terms(n=n), Knobs.final(ELBO().schedules))[0].item() for n in (1, 4, 6)}
    assert max(values.values()) - min(values.values()) < 1e-9


def test_an_adversarys_loss_reaches_its_own_parameters_and_no_others() -> None:
    """By construction: backward into the group's parameters alone (VAE-GAN, FactorVAE, coupled trainers)."""
    model = small_model()
    encoder, decoder = list(model.latents.parameters()), list(model.likelihood.parameters())

    class TwoLosses(Objective):
        def __call__(self, terms, knobs):
            return terms.log_likelihood.mean(0)

        def groups(self, model):
            return [
                Group(encoder, lambda t, k: -self(t, k).mean()),
                Group(decoder, lambda t, k: 7 * self(t, k).mean()),
            ]

    settings = tb.Settings(lr=0.1)
    optimizers = [GroupOptimizer(g, model, settings, tb.Linear(start=1.0)) for g in TwoLosses().groups(model)]
    x = torch.ones(3, 1, 2, 3, dtype=torch.float64)
    t = model(Batch(x, index=torch.arange(3)), 1)
    optimizers[1].backward(optimizers[1].group.loss(t, Knobs()))
    optimizers[1].step(Progress(0, 0, 10))
    assert all(p.grad is None for p in encoder)
    assert all(p.grad is not None for p in decoder)


def test_epoch_metrics_weigh_a_smaller_last_batch_by_its_size(tmp_path) -> None:
    """1,500 data in batches of 1,000 and 500, at a learning rate of nothing: the mean over data."""
    data = tb.data.open("digits")
    model = tb.vae(data, latent=2, network="mlp(hidden=(8,))", posterior="point")
    trained = tb.fit(
        model, data, tb.objectives.Autoencoder(), epochs=1, batch_size=1000, lr=1e-12, validation=0, quiet=True,
        run=tmp_path / "run",
    )  # fmt: skip
    whole = trained.evaluate(data.train, samples=1)["distortion"].value
    assert trained.metrics[0]["train_loss"] == pytest.approx(whole, rel=1e-6)


def test_nothing_is_unpickled_on_load(tmp_path, monkeypatch) -> None:
    import pickle

    data = tb.data.open("digits")
    tb.fit(tb.vae(data, latent=2, network="mlp(hidden=(4,))"), data, steps=2, quiet=True, run=tmp_path / "run")

    def refuse(*_, **__):
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert tb.load(tmp_path / "run").sample(2).shape == (2, 1, 8, 8)


def test_best_weights_are_chosen_on_validation_by_the_bound(tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.vae(data, latent=2, network="mlp(hidden=(16,))")
    trained = tb.fit(model, data, IWAE(3), epochs=6, lr=0.02, quiet=True, run=tmp_path / "run")
    losses = [row["validation_loss"] for row in trained.metrics]
    assert f"epoch {losses.index(min(losses)) + 1}," in trained.weights


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
