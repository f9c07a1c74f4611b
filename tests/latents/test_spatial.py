"""Latents that are maps: their sizes, their context, and bounds with an estimated density."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import tightbound as tb
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import Noise
from tightbound.nn.resnet import ResNet
from tightbound.priors.flow_matching import FlowMatching

SMALL = "resnet(halvings=(2,), hidden=8, inner=4, blocks=1)"
FLOW = "flow-matching(hidden=4, blocks=1, steps=2)"


def images(edge: int, n: int = 60, classes: int = 3) -> tb.data.Data:
    """Gray images whose brightness depends on their class."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % classes
    x = generator.integers(0, 60, (n, 1, edge, edge)) + 60 * labels[:, None, None, None]
    return tb.data.open((x.astype(np.uint8), labels), test=0.2)


@pytest.mark.parametrize(("shape", "plane"), [((1, 16, 16), (4, 4, 4)), ((3, 13, 18), (4, 4, 5))])
def test_z_is_a_map_of_any_image(shape: tuple[int, ...], plane: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (12, *shape)).astype(np.uint8)
    model = tb.VAE.for_data(x, latents="spatial(channels=4, factor=4)", network="auto")
    assert model.latents.description == " x ".join(map(str, plane)) + " latents"
    assert model.latents.latent == math.prod(plane)
    assert model.terms(next(tb.data.open(x).train.epoch(3))).log_weight.shape == (1, 3)
    assert model.generate(2, Noise("draw")).mean.shape == (2, *shape)


def test_networks_do_not_grow_with_the_image() -> None:
    sizes = [
        sum(p.numel() for p in tb.VAE.for_data(images(edge), latents="spatial(channels=2, factor=4)").parameters())
        for edge in (16, 32)
    ]
    assert sizes[0] == sizes[1]


def test_a_change_of_one_corner_changes_no_far_latent() -> None:
    """A vector in between would mix all positions."""
    data = images(64)
    model = tb.VAE.for_data(data, latents="spatial(channels=1)", network="resnet(halvings=(3,), hidden=8, blocks=0)")
    encoder = model.latents.posterior
    x = torch.rand(1, 1, 64, 64)
    changed = x.clone()
    changed[..., :4, :4] += 1
    for module in model.modules():  # group normalization does mix them
        if isinstance(module, torch.nn.GroupNorm):
            module.register_forward_hook(lambda module, given, out: given[0])
    moved = (encoder(changed).mean - encoder(x).mean).view(8, 8).abs() > 0
    assert moved[:2, :2].any()
    assert not moved[5:].any()
    assert not moved[:, 5:].any()


def test_what_does_not_fit_is_refused() -> None:
    data = images(16)
    with pytest.raises(CompositionError, match="feature maps on one level"):
        tb.VAE.for_data(data, latents="spatial", network="mlp")
    with pytest.raises(CompositionError, match="feature maps on one level"):
        tb.VAE.for_data(np.random.default_rng(0).normal(size=(20, 3)), latents="spatial")
    with pytest.raises(CompositionError, match="factor=8 needs maps of 2 x 2, and the network has 4 x 4"):
        tb.VAE.for_data(data, latents="spatial(factor=8)", network=SMALL)
    with pytest.raises(InputError, match="a power of two"):
        tb.VAE.for_data(data, latents="spatial(factor=6)")
    with pytest.raises(CompositionError, match="only through their prior"):
        tb.VAE.for_data(data, latents="spatial", context="labels")


def test_a_context_enters_the_prior_alone(tmp_path) -> None:
    """Samples of a class are as bright as its images, though the decoder does not see the class."""
    options = {"latents": "spatial(channels=1)", "network": SMALL, "context": "labels", "quiet": True, "seed": 1}
    trained = tb.train(
        images(16, 300), prior="flow-matching(hidden=8, blocks=1, steps=2)", steps=120, batch_size=50, lr=1e-2,
        prior_epochs=40, prior_batch_size=100, **options,
    )  # fmt: skip
    mean = [float(trained.sample(20, context=label).double().mean()) for label in range(3)]
    assert mean[0] < 60 < mean[1] < 120 < mean[2]


def test_the_bound_with_an_estimated_density() -> None:
    """More than 64 dimensions: the ELBO is unbiased, and there are no importance weights."""
    data = images(32)
    trained = tb.train(
        data, latents="spatial(channels=2)", network=SMALL, prior=FLOW, steps=5, prior_epochs=2, quiet=True
    )
    latents = trained.model.latents
    assert latents.latent == 128
    assert latents.estimated
    found = trained.evaluate(samples=20)
    assert found["iwae"].value is None
    assert "unbiased" in str(found["iwae"].reason)
    assert found["bits_per_dim"].value == pytest.approx(-found["elbo"].value / 1024 / math.log(2))
    assert -found["elbo"].value == pytest.approx(found["rate"].value + found["distortion"].value, rel=1e-6)
    with pytest.raises(CompositionError, match="unbiased estimate"):
        trained.ais()
    prior = latents.prior
    assert isinstance(prior, FlowMatching)
    z = prior.mean + prior.std * torch.randn(3, 128)
    with torch.no_grad():
        near = z + 1e-5 * torch.randn(300, 3, 128)  # other directions
        drawn = prior.flow(None, 2, exact=False).log_prob(near)
        right = prior.flow(None, 2).log_prob(z)
    assert ((drawn.mean(0) - right).abs() < 5 * drawn.std(0) / math.sqrt(300) + 1e-3).all()


def test_positions_share_a_scale() -> None:
    prior = FlowMatching(8, plane=(2, 2, 2))
    assert prior.second_stage is not None
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 2, 4, generator=generator) * torch.tensor([1.0, 3.0])[:, None]
    prior.second_stage.start_at(codes.flatten(1))
    assert torch.allclose(prior.std[:4], prior.std[0])
    assert prior.std[[0, 4]].tolist() == pytest.approx([1, 3], rel=0.1)


def test_the_default_network_leaves_maps() -> None:
    for edge, plane in ((8, (4, 4, 4)), (32, (4, 8, 8))):
        x = np.zeros((10, 1, edge, edge), np.uint8)
        x[0] = 255
        model = tb.VAE.for_data(x, latents="spatial")
        assert model.latents.description == " x ".join(map(str, plane)) + " latents"
    assert isinstance(ResNet().map_shapes((1, 16, 16)), list)


def test_the_latent_size_and_the_network_of_a_recipe_give_way_to_maps() -> None:
    """Named data sets have a recipe."""
    options = {"prior": FLOW, "steps": 2, "prior_epochs": 1, "quiet": True}
    trained = tb.train("digits", recipe="digits", latents="spatial(channels=2, factor=4)", **options)
    assert trained.model.latents.description == "2 x 2 x 2 latents"


def test_a_size_of_a_vector_is_refused() -> None:
    with pytest.raises(CompositionError, match="has channels=, not a size; leave out latent="):
        tb.VAE.for_data(images(16), latents="spatial", latent=8)
