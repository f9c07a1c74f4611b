"""Gated PixelCNN: its dependencies, and generation step by step against one pass."""

from __future__ import annotations

import pytest
import torch

from tightbound.core.errors import InputError
from tightbound.nn import GatedPixelCNN
from tightbound.nn.masked import MaskedConv2d, channel_groups


def network(groups: int, outputs: int, **arguments) -> GatedPixelCNN:
    torch.manual_seed(0)
    net = GatedPixelCNN(groups, outputs, **arguments).double()
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(2)  # an untrained network hardly depends on anything
    return net


def dependence(net: GatedPixelCNN, shape: tuple[int, int, int], condition=None) -> torch.Tensor:
    """Return (D, D) whether parameters of element i depend on x_j, in raster order and by channel within a pixel."""
    total = torch.zeros(shape[0] * shape[1] * shape[2], shape[0] * shape[1] * shape[2], dtype=torch.float64)
    for seed in range(3):  # a rectifier may be closed at one point
        x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x: net(x, condition)[0, ..., 0], x)
        ordered = jacobian[:, :, :, 0].permute(1, 2, 0, 4, 5, 3)
        total += ordered.reshape(total.shape).abs()
    return total


@pytest.mark.parametrize("attention", [0, 3])
@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 4, 4), (2, 3, 5)])
def test_an_element_depends_on_all_earlier_elements_only(shape: tuple[int, int, int], attention: int) -> None:
    layers = 1 if attention else 5  # attention sees what is out of one layer's reach
    net = network(shape[0], 2, hidden=15, layers=layers, kernel=3, condition=2, attention=attention)
    seen = dependence(net, shape, torch.ones(1, 2, dtype=torch.float64))
    later = torch.ones_like(seen).triu()
    assert seen[later.bool()].max() == 0  # x_j with j >= i
    assert seen[~later.bool()].min() > 0  # no blind spot


def test_field_of_view_is_layers_times_half_the_kernel() -> None:
    net = network(1, 1, hidden=6, layers=2, kernel=5)
    seen = dependence(net, (1, 7, 9)).reshape(7, 9, 7, 9)[6, 4] > 0
    expected = torch.zeros(7, 9, dtype=torch.bool)
    expected[2:6] = True  # four rows above, and four columns either way
    expected[6, :4] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("attention", [0, 2])
@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize(("groups", "inputs"), [(1, 1), (3, 1), (1, 4), (2, 2)])
def test_generation_step_by_step_equals_one_pass(groups: int, inputs: int, spatial: bool, attention: int) -> None:
    height, width, outputs = 4, 5, 3
    net = network(groups, outputs, inputs=inputs, hidden=6, layers=3, kernel=5, condition=2, attention=attention)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, groups * inputs, height, width, generator=generator, dtype=torch.float64)
    area = (height, width) if spatial else ()
    condition = torch.randn(2, 2, *area, generator=generator, dtype=torch.float64)
    found = torch.full((2, groups, height, width, outputs), torch.nan, dtype=torch.float64)

    def step(parameters, row, column, number):
        found[:, number, row, column] = parameters
        return x.unflatten(1, (groups, inputs))[:, number, :, row, column]

    with torch.no_grad():
        net.generate((2, height, width), condition, step, x)
        assert torch.allclose(found, net(x, condition), atol=1e-12)


def test_generation_cost_is_linear_in_pixels() -> None:
    def multiplications(height: int, width: int) -> int:
        """Of all convolutions and products, counted as they are called."""
        net, counted = network(1, 2, hidden=4, layers=2, kernel=3), 0

        def convolution(input, weight, *rest, **named):
            nonlocal counted
            out = convolve(input, weight, *rest, **named)
            counted += out.numel() * weight[0].numel()
            return out

        def product(add, a, b):
            nonlocal counted
            counted += a.numel() * b.shape[1]
            return multiply(add, a, b)

        convolve, multiply = torch.nn.functional.conv2d, torch.addmm
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.functional, "conv2d", convolution)
            patch.setattr(torch, "addmm", product)
            x = torch.zeros(1, dtype=torch.float64)
            net.generate((1, height, width), None, lambda p, *_: p[:, :1], x)
        return counted

    once = multiplications(5, 8)
    assert multiplications(10, 8) == 2 * once
    assert multiplications(5, 16) == 2 * once


def test_channel_groups_are_even_and_ordered() -> None:
    assert channel_groups(7, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    mask = MaskedConv2d(3, 6, 1, 3, strict=True, halves=2).mask[..., 0, 0]
    assert mask.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0]] * 2


@pytest.mark.parametrize(
    ("argument", "value"),
    [("kernel", 4), ("kernel", 1), ("layers", 0), ("hidden", 2), ("attention", -1), ("attention", 5), ("dropout", 1.0)],
)
def test_numbers_out_of_range_raise(argument: str, value: int) -> None:
    with pytest.raises(InputError, match="heads" if argument == "attention" and value > 0 else argument):
        GatedPixelCNN(3, 1, **{argument: value})
