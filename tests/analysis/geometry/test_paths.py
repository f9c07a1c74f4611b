"""Paths through a linear decoder, whose shapes are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import tightbound as tb
from laws.linear import Linear, linear_gaussian
from tightbound.analysis.estimate import Estimate, mean_error
from tightbound.analysis.geometry.measures import Measured, compare_paths, paths, traversal
from tightbound.core.errors import InputError
from tightbound.pages.charts import drawn


def value(found: Measured, name: str) -> float:
    number = found.estimates[name]
    assert isinstance(number.value, float), number.reason
    return number.value


def isometric(scale: float = 1.5) -> Linear:
    """x = W z + m with columns of one length: angles and ratios of lengths in data space are those of codes."""
    linear = linear_gaussian()
    linear.w.copy_(scale * linear.w / linear.w.norm(dim=0))
    decoder, network = linear.model.likelihood.network, linear.model.latents.posterior.network  # pyright: ignore
    with torch.no_grad():
        decoder.weight.copy_(linear.w)
        decoder.bias.copy_(linear.m)
        network[-1].weight[:3] = linear.w.T / scale**2  # posterior means are z itself for x = W z + m
        network[-1].bias[:3] = -(linear.w.T @ linear.m) / scale**2
    return linear


def data(linear: Linear, z: Tensor) -> Tensor:
    return z @ linear.w.T + linear.m


RIGHT = 2 * torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1, 2, 2]]  # pairs at right angles


def test_a_linear_decoder_maps_straight_lines_to_straight_lines() -> None:
    linear = isometric()
    torch.manual_seed(0)
    x = data(linear, torch.randn(40, 3, dtype=torch.float64))
    found = paths(linear.model, x, data(linear, torch.randn(50, 3, dtype=torch.float64)))
    assert value(found, "length_linear") == pytest.approx(1, abs=1e-5)
    assert value(found, "largest_step_linear") == pytest.approx(1, abs=1e-4)
    assert value(found, "roughness_linear") == pytest.approx(0, abs=1e-4)
    assert np.allclose(found.per_pair["crossfade_distance"], found.per_pair["midpoint_distance_linear"], rtol=1e-3)
    assert np.allclose(found.profile["step_linear"], 1, atol=1e-4)


def test_a_great_circle_has_the_length_of_its_arc() -> None:
    linear, steps = isometric(), 64
    z = torch.cat([RIGHT[[0, 2, 4]], RIGHT[[2, 4, 0]]])
    found = paths(linear.model, data(linear, z), data(linear, torch.randn(50, 3, dtype=torch.float64)), steps=steps)
    chord = 2 * steps * math.sin(math.pi / 4 / steps)  # of the polygon of steps, for radius 1
    assert value(found, "length_spherical") == pytest.approx(chord / math.sqrt(2), rel=1e-4)
    assert value(found, "largest_step_spherical") == pytest.approx(1, abs=1e-3)
    # |z|^2 / 2 is 2 at the ends and on the circle, and 1 in the middle of the chord
    assert value(found, "midpoint_density_linear") == pytest.approx(1, abs=1e-6)
    assert value(found, "midpoint_density_spherical") == pytest.approx(0, abs=1e-6)
    # second difference over step, on a circle: 2 sin(half of the angle of a step)
    assert value(found, "roughness_spherical") == pytest.approx(2 * math.sin(math.pi / 4 / steps), rel=1e-2)


def test_the_middle_of_a_path_through_a_hole_is_far_from_data() -> None:
    linear = isometric()
    torch.manual_seed(0)
    left, right = (torch.tensor([c, 0.0, 0.0], dtype=torch.float64) for c in (-10.0, 10.0))
    near = 0.1 * torch.randn(200, 3, dtype=torch.float64)
    train = data(linear, torch.cat([near + left, near + right]))
    ends = data(
        linear, torch.cat([0.1 * torch.randn(20, 3).double() + left, 0.1 * torch.randn(20, 3).double() + right])
    )
    across = paths(linear.model, ends, train)
    assert value(across, "midpoint_distance_linear") > 50
    within = paths(linear.model, ends[:20], train)
    assert value(within, "midpoint_distance_linear") < 2


def test_a_traversal_moves_x_by_the_columns_of_the_decoder() -> None:
    linear = linear_gaussian()
    with torch.no_grad():
        linear.w[:, 1] = 0
        linear.model.likelihood.network.weight.copy_(linear.w)  # pyright: ignore
    moved = traversal(linear.model, data(linear, torch.randn(7, 3, dtype=torch.float64)), reach=1.5)
    assert isinstance(moved, Estimate)
    assert np.allclose(moved.value, 3 * linear.w.norm(dim=0), atol=1e-5)
    assert np.allclose(moved.stderr, 0, atol=1e-5)


def test_a_comparison_is_paired() -> None:
    one, other = isometric(), linear_gaussian(seed=0)
    torch.manual_seed(0)
    x = data(one, torch.randn(40, 3, dtype=torch.float64))
    train = data(one, torch.randn(50, 3, dtype=torch.float64))
    a, b = (paths(linear.model, x, train) for linear in (one, other))
    same = compare_paths(a, a)
    assert all(number.value == 0 for number in same.values())
    differences = compare_paths(a, b)
    for name, number in differences.items():
        assert number.value == pytest.approx(value(a, name) - value(b, name))
        each = a.per_pair[name] - b.per_pair[name]
        assert number.stderr == pytest.approx(mean_error(each))
    with pytest.raises(InputError, match="different examples"):
        compare_paths(a, paths(one.model, x[:20], x))


def test_a_decoder_that_ignores_z_has_no_length() -> None:
    linear = isometric()
    with torch.no_grad():
        linear.model.likelihood.network.weight.zero_()  # pyright: ignore
    x = data(linear, torch.randn(12, 3, dtype=torch.float64))
    found = paths(linear.model, x, x)
    assert found.estimates["length_linear"].value is None
    assert "decode to the same" in (found.estimates["length_linear"].reason or "")
    assert set(found.plain_profile()["step_linear"]) == {None}


def test_bad_requests_are_rejected() -> None:
    linear = isometric()
    x = data(linear, torch.randn(12, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="multiple of 4"):
        paths(linear.model, x, x, steps=6)
    with pytest.raises(InputError, match="at least 4 examples"):
        paths(linear.model, x[:3], x)


def test_figures_are_drawn_for_paths_without_length(run: Path) -> None:
    trained = tb.load(run)
    with torch.no_grad():
        for parameter in trained.model.likelihood.parameters():
            parameter.zero_()
    found = trained.paths(pairs=4)
    assert found["length_linear"].value is None
    assert found.details["profile"]["step_linear"] == [None] * 16
    assert all(drawn(figure) for figure in found.figures)
