"""Derivatives that layers carry along, against automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from tightbound.nn import tangents
from tightbound.nn.tangents import Pair
from tightbound.nn.velocity import VelocityMaps, VelocityMLP

CONV = nn.Conv2d(2, 3, 3, padding=1).double()
LINEAR = nn.Linear(3, 5).double()


@pytest.mark.parametrize(
    "layer",
    [
        lambda x, dx: tangents.linear(CONV, x, dx),
        lambda x, dx: tangents.linear(LINEAR, x, dx),
        tangents.silu,
        tangents.normalized,
        lambda x, dx: tangents.normalized(x, dx, 3),
        lambda x, dx: tangents.modulated(x, dx, torch.tensor(2.0), torch.tensor(0.5)),
        lambda x, dx: tangents.added(x, dx, *tangents.silu(x, dx)),
        lambda x, dx: tangents.doubled(x, dx, (5, 6)),
    ],
    ids=["convolution", "linear", "silu", "normalized", "normalized maps", "modulated", "added", "doubled"],
)
def test_each_layer_carries_its_derivative(layer: Callable[[Tensor, Tensor | None], Pair]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 3, 3, generator=generator).double()
    directions = torch.randn(4, *x.shape, generator=generator).double()
    value, change = layer(x, directions)
    alone, none = layer(x, None)
    assert none is None
    assert change is not None
    assert torch.allclose(value, alone)
    full = jacobian(lambda at: layer(at, None)[0], x)
    expected = torch.einsum("...abcd,kabcd->k...", full, directions)
    assert torch.allclose(change, expected, atol=1e-10)


@pytest.mark.parametrize("network", [VelocityMLP(15, 2, 8, 2), VelocityMaps((1, 3, 5), 2, 4, 1)])
def test_the_derivative_of_a_velocity_with_a_context(network: nn.Module) -> None:
    torch.manual_seed(0)
    network = network.double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, t, context = torch.randn(4, 15).double(), torch.rand(4).double(), torch.randn(4, 2).double()
    value, change = network(x, t, context, torch.eye(15).double().unsqueeze(1).expand(15, 4, 15))
    full = jacobian(lambda at: network(at, t, context)[0].sum(0), x)
    assert torch.allclose(change.permute(2, 1, 0), full, atol=1e-10)
    assert torch.allclose(value, network(x, t, context)[0])
