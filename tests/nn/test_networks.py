"""Any height, width and channel count; any module; a mismatch is explained with the fix."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError
from tightbound.likelihoods import Bernoulli, Categorical
from tightbound.nn import MLP, Conv
from tightbound.posteriors import DiagonalNormal


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 35), st.integers(1, 35)),
    stages=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    outputs=st.integers(1, 3),
    kernel=st.sampled_from([1, 3, 5]),
)
def test_a_conv_decoder_restores_every_size(shape, stages, outputs, kernel) -> None:
    conv = Conv(tuple(stages), hidden=4, kernel=kernel)
    h = conv.encoder(shape)(torch.randn(2, *shape))
    assert h.shape == (2, 4)
    c, height, width = shape
    assert conv.decoder(3, outputs, shape)(torch.randn(2, 3)).shape == (2, outputs * c, height, width)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 20), (1, 28, 28), (1, 64, 64), (3, 96, 96), (2, 1, 7)])
@pytest.mark.parametrize("network", [MLP((8,)), Conv((4, 4), hidden=8)])
def test_every_image_shape_composes(shape, network) -> None:
    q = DiagonalNormal(shape, 5, network)(torch.randn(2, *shape))
    p = Categorical(shape, 5, network, levels=3)(torch.randn(4, 2, 5))
    assert q.mean.shape == (2, 5)
    assert p.mean.shape == (4, 2, *shape)


def test_conv_gives_each_parameter_of_an_element_its_own_channel() -> None:
    """(B, P * C, H, W) is read as (B, P, C, H, W): a parameter never mixes with a neighboring pixel's."""
    likelihood = Categorical((2, 4, 4), 3, Conv((4,), hidden=4), levels=5)
    z = torch.randn(1, 3)
    raw = likelihood.network(z)
    logits = torch.log_softmax(raw.reshape(1, 5, 2, 4, 4), dim=1)
    x = torch.full((1, 2, 4, 4), 3.0)
    assert torch.allclose(likelihood(z).log_prob(x), logits[:, 3].sum((1, 2, 3)), atol=1e-5)


def test_modules_of_a_users_own_need_no_base_class() -> None:
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    assert DiagonalNormal((1, 8, 8), 4, body)(torch.randn(2, 1, 8, 8)).mean.shape == (2, 4)
    with pytest.raises(CompositionError, match=r"nn\.Linear\(64"):
        DiagonalNormal((1, 8, 8), 4, nn.Linear(10, 10))
    with pytest.raises(CompositionError, match=r"10.*nn\.Linear\(\.\.\., 64\)"):
        Bernoulli((1, 8, 8), 4, nn.Linear(4, 10))
    with pytest.raises(CompositionError, match="use 'mlp'"):
        DiagonalNormal((7,), 4, Conv())


@pytest.mark.parametrize("hidden", [(0,), (-3,), "wide", (2.5,), (True,)])
def test_bad_widths_are_refused(hidden) -> None:
    with pytest.raises(InputError, match="positive whole numbers"):
        MLP(hidden)


@pytest.mark.parametrize("network", [MLP((8, 6), spectral_norm=True), Conv((4, 3), hidden=8, spectral_norm=True)])
def test_spectral_norm_is_of_the_decoder_alone_and_its_weights_have_norm_1(network) -> None:
    torch.manual_seed(0)
    p = Bernoulli((1, 9, 12), 3, network)
    q = DiagonalNormal((1, 9, 12), 3, network)
    assert not [name for name, _ in q.named_parameters() if "parametrizations" in name]
    z = torch.randn(4, 3)
    for _ in range(50):  # a step of power iteration each
        p(z)
    p.eval()
    layers = [m for m in p.modules() if isinstance(m, (nn.Linear, nn.ConvTranspose2d))]
    assert layers
    for layer in layers:
        matrix = layer.weight.transpose(0, int(isinstance(layer, nn.ConvTranspose2d))).flatten(1)
        assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(1, abs=1e-3)
    again = Bernoulli((1, 9, 12), 3, network)
    again.load_state_dict(p.state_dict())
    assert torch.equal(again.eval()(z).mean, p(z).mean)
    p.start_at(torch.ones(5, 1, 9, 12))


def test_a_spectrally_normalized_run_is_loaded_as_it_was(tmp_path) -> None:
    data = tb.data.open("digits")
    model = tb.VAE.for_data(data, latent=2, network="mlp(hidden=(8,), spectral_norm=True)", posterior="point")
    trained = tb.fit(model, data, tb.objectives.RAE(None), steps=5, quiet=True, run=tmp_path / "run")
    assert torch.equal(tb.load(tmp_path / "run").sample(3, seed=1), trained.sample(3, seed=1))


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
