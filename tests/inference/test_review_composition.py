"""Defects that reviewers of the compositions found, each with a test that failed before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.components import TABLE, make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.schedules import Knobs
from tightbound.core.terms import Batch, Terms
from tightbound.testing.matrix import SMALL, data_for

SMALL_NET = "mlp(hidden=(8,))"


def test_averaged_weights_keep_their_spectral_norm(tmp_path) -> None:
    data = tb.data.open("digits")
    network = "mlp(hidden=(32,), spectral_norm=True)"
    model = tb.VAE.for_data(data, latent=4, network=network, likelihood="gaussian(scale=0.1)")
    trained = tb.fit(
        model, data, epochs=6, batch_size=64, lr=1e-2, ema=0.99, validation_size=0, quiet=True, run=tmp_path / "run"
    )
    assert "averaged" in trained.weights
    for layer in trained.model.likelihood.modules():
        if isinstance(layer, torch.nn.Linear):
            assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", TABLE["likelihood"])
def test_a_likelihood_leaves_out_what_the_context_shows_or_is_refused_at_construction(name: str) -> None:
    parts = {"network": SMALL_NET, "likelihood": SMALL["likelihood"].get(name, name)}
    if name in ("pixelcnn", "columns"):
        with pytest.raises(CompositionError, match="use "):
            tb.VAE.for_data(data_for(name), latent=2, context="visible(columns=(0, 0.5))", **parts)
        return
    model = tb.VAE.for_data(data_for(name), latent=2, context="visible(columns=(0, 0.5))", **parts)
    batch = next(data_for(name).train.epoch(4))
    terms = model.eval()(batch, 3)
    assert terms.log_likelihood.shape == (3, 4)
    alone = model(batch[:1], 3)
    assert alone.log_likelihood.shape == (3, 1)


def test_a_coupled_color_likelihood_refuses_a_visible_part() -> None:
    data = tb.data.open(np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4)).astype(np.uint8))
    with pytest.raises(CompositionError, match="leave elements out"):
        tb.VAE.for_data(data, latent=2, network=SMALL_NET, likelihood="logistic-mixture", context="visible")


def test_a_visible_part_of_a_mixed_table_is_refused_with_the_reason() -> None:
    data = tb.data.open(np.random.default_rng(0).random((20, 3)).astype(np.float32), kinds=["real", "real", "unit"])
    with pytest.raises(CompositionError, match="another shape"):
        tb.VAE.for_data(data, latent=2, network=SMALL_NET, context="visible")


@pytest.mark.parametrize("near", [1e-3, 1e-6, 1e-9, -1e-6])
def test_renyi_tends_to_the_elbo_in_single_precision(near: float) -> None:
    weight = -100 + 3 * torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    terms = Terms(weight, (), torch.distributions.Normal(0.0, 1.0), Batch(torch.zeros(4, 1)))
    got = make("objective", f"renyi(alpha={1 - near})")(terms, Knobs())
    exact = weight.double()
    exact = ((near * (exact - exact.mean(0))).exp().mean(0).log() / near + exact.mean(0)).float()
    assert torch.allclose(got, exact, atol=2e-3)


def test_a_missing_entry_of_a_beta_column_is_left_out() -> None:
    table = np.random.default_rng(0).random((30, 2)).astype(np.float32) * 0.8 + 0.1
    table[3, 1] = np.nan
    data = tb.data.open(table, kinds=["unit", "unit"])
    model = tb.VAE.for_data(data, latent=2, network=SMALL_NET, likelihood="columns(families={'unit': 'beta'})")
    assert np.isfinite(tb.evaluate(model, data.train, samples=3)["elbo"].value)


def test_no_epoch_of_an_adversary_is_the_best() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network=SMALL_NET, likelihood="gaussian(scale=0.3)")
    trained = tb.fit(model, data, "vae-gan", epochs=2, quiet=True)
    assert trained.weights.startswith("last")
    with pytest.raises(InputError, match="patience"):
        tb.fit(model, data, "vae-gan", epochs=2, quiet=True, patience=1)


@pytest.mark.parametrize("objective", ["wae-mmd", "info", "beta-tc", "dip", "factor"])
def test_an_objective_that_compares_data_refuses_a_batch_of_one(objective: str) -> None:
    data = tb.data.open("digits")
    with pytest.raises(InputError, match="at least 2"):
        tb.fit(tb.VAE.for_data(data, latent=2, network=SMALL_NET), data, objective, steps=1, batch_size=1, quiet=True)


def test_a_sampler_does_not_outlive_the_weights_that_it_was_fitted_to(tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network=SMALL_NET)
    trained = tb.fit(model, data, epochs=1, quiet=True, run=tmp_path / "run")
    trained.fit_sampler("kernel(exemplars=20)", data.train)
    trained = tb.fit(model, data, epochs=2, quiet=True, run=tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="fit_sampler"):
        trained.sample(2, sampler="kernel")
    with pytest.raises(InputError, match="leave out epochs"):
        trained.fit_sampler("kernel", data.train, epochs=3)
    with pytest.raises(InputError, match="epochs"):
        trained.fit_sampler("flow", data.train, epochs=0)


def test_a_reconstruction_keeps_what_the_context_shows() -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network=SMALL_NET, context="visible(columns=(0, 0.5))")
    trained = tb.fit(model, data, steps=2, quiet=True)
    x = next(data.test.epoch(5)).x
    assert torch.equal(trained.reconstruct(x)[..., :4], x[..., :4].float())
    with pytest.raises(CompositionError, match="complete"):
        trained.fit_sampler("kernel", data.train)


def test_attributes_of_one_number_each_are_sampled_by_their_values() -> None:
    data = tb.data.open("digits")
    trained = tb.fit(
        tb.VAE.for_data(data, latent=2, network=SMALL_NET, context="attributes"), data, steps=2, quiet=True
    )
    assert trained.sample(3, context=torch.tensor([1.0, 5.0, 9.0])).shape == (3, 1, 8, 8)
