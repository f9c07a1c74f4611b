"""Every walk from x to z in compositions: contexts, networks, free bits, codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tightbound as tb
from conftest import gray
from tightbound.components import TABLE, make
from tightbound.core.errors import CompositionError, InputError
from tightbound.core.noise import ExampleNoise, Noise
from tightbound.core.schedules import Knobs
from tightbound.inference import infer
from tightbound.latents import BottomUp, Ladder
from tightbound.nn import MLP, Conv
from tightbound.objectives import ELBO, IWAE, FreeBits
from tightbound.priors import LearnedNormal
from tightbound.testing.matrix import NETWORKS

SHAPE = (1, 8, 8)
PRIORS = {  # others take no context
    "quantized": "pixelcnn(hidden=4, layers=1, attention=0)",
    "spatial": "flow-matching(hidden=4, blocks=1, steps=2)",
}
NETWORK = "mlp(hidden=(12, 9), activation='tanh')"


def conditional(latents: str, network: str = NETWORK) -> tuple[tb.VAE, tb.core.terms.Batch]:
    """A model of x given labels, in float64, whose context has an effect, and a batch."""
    data = tb.data.open(gray(60), levels=17, labels=np.arange(60) % 3)
    torch.manual_seed(0)
    prior = PRIORS.get(latents, "auto")
    model = tb.VAE.for_data(
        data, latents=latents, prior=prior, network=NETWORKS.get(latents, network), context="labels",
        latent="auto" if latents == "spatial" else 4,
    )  # fmt: skip
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    if model.latents.second_stage is not None:
        model.latents.second_stage.enable()  # the context enters there
        for p in model.latents.second_stage.parameters():
            nn.init.normal_(p)  # enough to change a draw
    return model.double().eval(), next(data.train.epoch(9))


@pytest.mark.parametrize("network", [NETWORK, "conv(channels=(3, 4), hidden=6, activation='tanh')"])
@pytest.mark.parametrize("objective", [ELBO(), IWAE(3)])
@pytest.mark.parametrize("name", [name for name in TABLE["latents"] if name not in ("flat", "quantized", "spatial")])
def test_gradients_reach_every_parameter_and_the_top_prior_knows_the_context(name: str, objective, network) -> None:
    model, batch = conditional(name, network)
    terms = model(batch, objective.samples, Noise("test"))
    objective.check(terms)
    objective(terms, Knobs.final(objective.schedules)).sum().backward()
    for where, p in model.named_parameters():
        assert p.grad is not None, where
        assert torch.isfinite(p.grad).all(), where
        assert p.grad.abs().max() > 0, where
    top = terms.latents[-1].prior
    assert top is not None
    assert top.batch_shape == (9,)
    labels = terms.batch.label
    assert labels is not None
    means = [top.mean[labels == label] for label in range(3)]
    assert all(torch.allclose(mean, mean[:1].expand_as(mean)) for mean in means)
    assert not torch.allclose(means[0][0], means[1][0])


@pytest.mark.parametrize("name", TABLE["latents"])
def test_an_example_depends_on_its_own_noise_and_context_alone(name: str) -> None:
    model, batch = conditional(name)
    batch = tb.core.terms.Batch(batch.x, label=batch.label, index=torch.arange(9))
    whole = model(batch, 4, ExampleNoise("test", index=torch.arange(9))).log_weight
    part = model(batch[3:5], 4, ExampleNoise("test", index=torch.arange(3, 5))).log_weight
    assert torch.allclose(whole[:, 3:5], part, atol=1e-10)
    same = model.context.encode(torch.tensor([1, 1, 2])).double()  # pyright: ignore
    one, other = (model.generate(3, Noise("test"), context=context).mean for context in (same, same.flip(0)))
    assert torch.allclose(one[1], other[1])
    assert not torch.allclose(one[0], other[0])


def hierarchy(kind: Any, **arguments: Any) -> Any:
    torch.manual_seed(0)
    given = {"shape": SHAPE, "latent": 4, "network": MLP((6,))}
    return kind(**given | arguments)


@pytest.mark.parametrize("network", [MLP(()), MLP((7, 6, 5, 4)), Conv((2, 3, 4), 5), nn.Conv2d(1, 2, 3)])
@pytest.mark.parametrize("groups", [2, 3, 5, (2, 5)])
def test_a_ladder_of_any_height_on_any_network(network, groups) -> None:
    latents = hierarchy(Ladder, network=network, groups=groups)
    terms, features = latents.infer(latents.encode(torch.randn(3, *SHAPE)), 2, Noise("test"), Knobs())
    assert features.shape == (2, 3, latents.latent)
    sizes = groups if isinstance(groups, tuple) else (4, 2, 1, 1, 1)[:groups]
    assert tuple(group.z.shape[-1] for group in terms) == latents.sizes == sizes
    assert latents.latent == sum(sizes)


@pytest.mark.parametrize("kind", [BottomUp, Ladder])
def test_what_does_not_fit_is_refused(kind) -> None:
    with pytest.raises(CompositionError, match="latent="):
        hierarchy(kind, top=LearnedNormal(7))
    data = tb.data.open(gray(), levels=17)
    name = {BottomUp: "bottom-up", Ladder: "ladder"}[kind]
    for part in ({"prior": "mixture"}, {"posterior": "full"}):
        with pytest.raises(CompositionError, match="its own"):
            tb.VAE.for_data(data, latents=name, **part)  # pyright: ignore
    with pytest.raises(InputError, match="groups = "):
        hierarchy(Ladder, groups=(3,))
    with pytest.raises(InputError, match="positive whole numbers"):
        make("latents", f"{name}({'upper' if kind is BottomUp else 'groups'}=(3, 0))", **hierarchy_arguments())


def hierarchy_arguments() -> dict[str, Any]:
    return {"shape": SHAPE, "latent": 4, "network": MLP((6,))}


def test_a_ladder_shares_parameters_and_bottom_up_does_not() -> None:
    assert hierarchy(Ladder).shares_parameters
    assert not hierarchy(BottomUp).shares_parameters
    for kind in (BottomUp, Ladder):
        latents = hierarchy(kind)
        inference = {id(p) for p in latents.inference_parameters()}
        x = torch.randn(2, *SHAPE)
        state = latents.encode(x)
        groups, _ = latents.infer(state, 1, Noise("test"), Knobs())
        top = groups[-1].posterior.mean.sum()
        reached = torch.autograd.grad(top, list(latents.parameters()), allow_unused=True)
        for p, gradient in zip(latents.parameters(), reached, strict=True):
            assert gradient is None or id(p) in inference


def test_free_bits_by_group_keep_each_group_of_a_ladder_in_use() -> None:
    latents = hierarchy(Ladder, groups=(4, 3, 2)).double()
    state = latents.encode(torch.randn(5, *SHAPE, dtype=torch.float64))
    groups, _ = latents.infer(state, 1, Noise("test"), Knobs())
    rates = [group.rate().mean(0) for group in groups]
    each = torch.stack([rate.sum(-1).mean() for rate in rates])
    limit = each.sort().values[:2].mean().item()  # between the lowest and the next
    objective = FreeBits(limit, over="group")
    penalty = objective.penalty(rates, Knobs.final(objective.schedules)).mean()
    assert penalty.item() == pytest.approx(each.clamp(min=limit).sum().item())
    for gradient, rate in zip(torch.autograd.grad(penalty, rates), each, strict=True):
        assert (gradient.abs().max() > 0) == (rate > limit)


@pytest.mark.parametrize("kind", [BottomUp, Ladder])
def test_latent_codes_of_hierarchies_are_encoded_and_decoded(kind) -> None:
    data = tb.data.open(gray(), levels=17)
    name = {BottomUp: "bottom-up(upper=2)", Ladder: "ladder(groups=(3, 2))"}[kind]
    model = tb.VAE.for_data(data, latent=3, latents=name, network=NETWORK)
    x: Tensor = next(data.test.epoch(5)).x
    codes = infer.encode(model, x)
    assert codes.mean.shape == codes.variance.shape == (5, 5)
    assert torch.equal(codes.mean, infer.encode(model, x).mean)
    assert torch.allclose(infer.reconstruct(model, x), infer.decode(model, codes.mean))
    path = tb.Trained(model).interpolate(x[0], x[1], steps=4, path="spherical")
    assert torch.allclose(path[[0, -1]], infer.reconstruct(model, x[:2]), atol=1e-3)
    assert infer.sample(model, 3).shape == (3, *SHAPE)


def test_estimates_by_group_and_by_dimension() -> None:
    data = tb.data.open(gray(), levels=17)
    ladder = tb.VAE.for_data(data, latents="ladder(groups=(3, 2))", network=NETWORK)
    numbers = tb.evaluate(ladder, data.test, samples=120)
    assert len(numbers["kl_per_dimension"].value) == 5  # pyright: ignore
    by_group = [sum(numbers["kl_per_dimension"].value[i:j]) for i, j in ((0, 3), (3, 5))]  # pyright: ignore
    assert by_group == pytest.approx(numbers["kl_per_group"].value)
    assert sum(by_group) == pytest.approx(numbers["rate"].value)
    assert "closed form given the groups above" in numbers["kl_per_group"].estimator
    assert "given the means of" in numbers["active_units"].target
    bottom_up = tb.VAE.for_data(data, latent=3, latents="bottom-up(upper=2)", network=NETWORK)
    numbers = tb.evaluate(bottom_up, data.test, samples=120)
    assert numbers["kl_per_dimension"].value is None
    assert numbers["kl_per_dimension"].reason
    assert "of 1 of 2 groups, as log q - log p of the others" in numbers["kl_per_group"].estimator
