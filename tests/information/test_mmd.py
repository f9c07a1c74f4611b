"""Maximum mean discrepancy: unbiasedness and closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tightbound.core.errors import InputError
from tightbound.information import KERNELS, mmd


def samples(mean: float, std: float, n: int, generator: torch.Generator) -> torch.Tensor:
    return mean + std * torch.randn(n, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_is_the_u_statistic(kernel: str) -> None:
    """Compare with a sum over pairs."""
    generator = torch.Generator().manual_seed(0)
    x, y = samples(0, 1, 4, generator), samples(1, 2, 3, generator)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        t = [((a - b) ** 2).sum() / (scale * 3.0) for scale in (0.5, 4.0)]
        formula = {
            "rbf": lambda t: math.exp(-t),
            "imq": lambda t: 1 / (1 + t),
            "laplacian": lambda t: math.exp(-(t**0.5)),
        }
        return sum(formula[kernel](value) for value in t) / 2

    def pairs(a: torch.Tensor, b: torch.Tensor, same: bool) -> float:
        values = [k(u, v) for i, u in enumerate(a.numpy()) for j, v in enumerate(b.numpy()) if not (same and i == j)]
        return sum(values) / len(values)

    by_hand = pairs(x, x, True) + pairs(y, y, True) - 2 * pairs(x, y, False)
    assert mmd(x, y, kernel, 3.0, (0.5, 4.0)).item() == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_expectation_is_zero_for_equal_distributions_only(kernel: str) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = [(samples(0, 1, 8, generator), samples(0, 1, 8, generator)) for _ in range(400)]
    equal = torch.stack([mmd(x, y, kernel) for x, y in draws])
    unequal = torch.stack([mmd(x, 0.5 + 1.2 * y, kernel) for x, y in draws])
    stderr = equal.std() / len(equal) ** 0.5
    assert equal.mean().abs() < 4 * stderr
    assert (equal < 0).any()  # as an unbiased estimate of zero must be
    assert unequal.mean() > 10 * stderr


def test_closed_form_of_gaussians_with_an_rbf_kernel() -> None:
    """E exp(-|x - y|^2 / w) = prod_d (1 + 2 s / w)^-1/2 exp(-m^2 / (w + 2 s)), s the sum of variances, m of means'
    difference."""
    width, generator = 3.0, torch.Generator().manual_seed(0)

    def expected(m: float, s: float) -> float:
        return ((1 + 2 * s / width) ** -0.5 * math.exp(-(m**2) / (width + 2 * s))) ** 2

    exact = expected(0, 2 * 1.0) + expected(0, 2 * 0.25) - 2 * expected(0.8, 1.25)
    values = torch.stack(
        [mmd(samples(0, 1, 30, generator), samples(0.8, 0.5, 40, generator), "rbf", width, (1.0,)) for _ in range(400)]
    )
    stderr = (values.std() / len(values) ** 0.5).item()
    assert values.mean().item() == pytest.approx(exact, abs=4 * stderr)
    assert exact > 20 * stderr


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_are_finite_for_coinciding_points(kernel: str) -> None:
    x = torch.zeros(4, 2, requires_grad=True)
    mmd(x, torch.cat([torch.zeros(2, 2), torch.ones(2, 2)]), kernel).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_invalid_arguments_raise() -> None:
    x = torch.zeros(3, 2)
    with pytest.raises(InputError, match="did you mean 'rbf'"):
        mmd(x, x, "rbff")
    with pytest.raises(InputError, match="width"):
        mmd(x, x, "rbf", 0.0)
    with pytest.raises(InputError, match="at least two rows in each"):
        mmd(x[:1], x)
