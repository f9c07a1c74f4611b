"""Residual networks: maps of any size, and activations with the same scale in all layers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tightbound as tb
from conftest import gray
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise
from tightbound.nn import ResNet


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 35), st.integers(1, 35)),
    halvings=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    outputs=st.integers(1, 3),
)
def test_decoder_retraces_every_size(shape, halvings, outputs) -> None:
    """The stages give maps, each level is upsampled to the one below, and the decoder gives the image."""
    network = ResNet(tuple(halvings), hidden=4, blocks=1, inner=2)
    x, planes = torch.randn(2, *shape), network.map_shapes(shape)
    assert len(planes) == len(halvings)
    maps = []
    for stage, plane in zip(network.stages(shape), planes, strict=True):
        x = stage(x)
        assert x.shape == (2, *plane)
        maps.append(x)
    for i in range(1, len(halvings)):
        assert network.upsampler(4, i, shape)(maps[i]).shape == maps[i - 1].shape
    flat = maps[0].flatten(1)
    out = network.decoder(flat.shape[1], outputs, shape)(flat)
    assert out.shape == (2, outputs * shape[0], *shape[1:])
    assert network.encoder(shape)(torch.randn(2, *shape)).shape == (2, math.prod(planes[-1]))


@pytest.mark.parametrize("blocks", [0, 2, 6])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 64, 64)])
def test_activations_keep_their_scale_through_all_layers(blocks: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = ResNet((2, 1), hidden=48, blocks=blocks)
    x = torch.randn(32, *shape)
    for layer in (*network.stages(shape), network.upsampler(48, 1, shape)):
        before, x = x, layer(x)
        ratio = (x.square().mean() / before.square().mean()).sqrt()
        assert 0.4 < ratio < 3, f"the size of activations changes by a factor of {ratio:.2f}"


def test_flat_latents_use_a_decoder_for_vectors() -> None:
    """The latent size need not be a multiple of the size of the maps."""
    data = tb.data.open(gray(20, (1, 9, 6)), levels=17)
    for latent in (5, 6):
        model = tb.VAE.for_data(data, latent=latent, network="resnet(hidden=4, blocks=1, inner=2)")
        assert model.generate(3, Noise("resnet")).mean.shape == (3, 1, 9, 6)
        terms = model(next(data.train.epoch(4)))
        terms.log_weight.sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(CompositionError, match="maps=False"):
        ResNet(hidden=4).decoder(5, 1, (1, 9, 6))


def test_small_images_get_maps_of_at_least_four_by_four() -> None:
    for edge, planes in ((8, 16), (28, 49)):
        data = tb.data.open(gray(300, (1, edge, edge)), levels=17)
        model = tb.VAE.for_data(data, latent=4, latents="quantized(quantizer=vq(codebook_size=5))")
        assert model.latents.latent == 4 * planes


def test_maps_of_one_pixel_are_not_normalized_to_zero() -> None:
    """With few channels on maps of 1 x 1, a group of one number would always become zero."""
    encoder = ResNet(halvings=(2,), hidden=4, inner=2, blocks=1).encoder((1, 4, 4)).train()
    x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    assert encoder(x).var(0).max() > 1e-3
    assert torch.allclose(encoder(x[:1]), encoder(x)[:1], atol=1e-6)
