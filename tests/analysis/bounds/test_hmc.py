"""Hamiltonian Monte Carlo: what it leaves invariant, and in which direction."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tightbound.analysis.bounds.annealing import Path, transition

N = 40_000
WIDE = MultivariateNormal(torch.tensor([1.0, -2.0]).double(), torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double())
NARROW = MultivariateNormal(torch.tensor([0.0, 1.0]).double(), torch.tensor([[0.5, -0.2], [-0.2, 0.3]]).double())
BETWEEN = Path(WIDE.log_prob, lambda z: NARROW.log_prob(z) - WIDE.log_prob(z))


def at(beta: float) -> MultivariateNormal:
    """The Gaussian whose density is proportional to WIDE^(1 - beta) NARROW^beta."""
    precision = (1 - beta) * WIDE.precision_matrix + beta * NARROW.precision_matrix
    pull = (1 - beta) * WIDE.precision_matrix @ WIDE.loc + beta * NARROW.precision_matrix @ NARROW.loc
    return MultivariateNormal(torch.linalg.solve(precision, pull), precision_matrix=precision)


def moves(path: Path, z: Tensor, beta: float, size: float, steps: int, number: int) -> tuple[Tensor, float]:
    """Positions after some transitions, and the share of moves accepted."""
    generator = torch.Generator().manual_seed(1)
    place, accepted = path.at(z), 0.0
    for _ in range(number):
        momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype)
        u = torch.rand(z.shape[:2], generator=generator, dtype=z.dtype)
        sizes = torch.full(z.shape[:2], size, dtype=z.dtype)
        place, probability = transition(path, place, torch.tensor(beta), sizes, steps, momentum, u)
        accepted += probability.mean().item() / number
    return place.z, accepted


@pytest.mark.parametrize(("beta", "size"), [(0.0, 0.95), (0.4, 0.75), (1.0, 0.62)])
def test_the_density_between_is_left_invariant(beta: float, size: float) -> None:
    """Steps so long that many moves are refused: without the refusals, the moments would be far off."""
    target = at(beta)
    torch.manual_seed(0)
    z, accepted = moves(BETWEEN, target.sample((N, 1)), beta, size, 3, 3)
    assert 0.3 < accepted < 0.9
    z = z[:, 0]
    error = (target.variance / N).sqrt()
    assert ((z.mean(0) - target.mean).abs() < 4 * error).all()
    second = torch.einsum("ni,nj->nij", z - target.mean, z - target.mean)
    assert ((second.mean(0) - target.covariance_matrix).abs() < 4 * second.std(0) / N**0.5).all()


def test_chains_that_start_elsewhere_come_to_the_target() -> None:
    target = at(0.4)
    z, _ = moves(BETWEEN, torch.full((4000, 1, 2), 4.0, dtype=torch.float64), 0.4, 0.25, 4, 30)
    assert torch.allclose(z[:, 0].mean(0), target.mean, atol=0.06)
    assert torch.allclose(z[:, 0].T.cov(), target.covariance_matrix, atol=0.06)


def test_a_chain_run_backwards_looks_the_same() -> None:
    """Detailed balance, of a density with two unequal hills: E g(z) h(z') = E h(z) g(z') from the target."""
    means, scale, weight = torch.tensor([-1.5, 1.0]).double(), 0.7, torch.tensor([0.3, 0.7]).double()

    def log_density(z: Tensor) -> Tensor:
        return (weight.log() - 0.5 * ((z - means) / scale).square()).logsumexp(-1)

    generator = torch.Generator().manual_seed(2)
    hill = (torch.rand(N, 1, generator=generator) < 0.7).long()
    z = (means[hill] + scale * torch.randn(N, 1, generator=generator, dtype=torch.float64)).unsqueeze(-1)
    after, accepted = moves(Path(log_density, lambda z: 0 * z.sum(-1)), z, 0.0, 1.3, 3, 1)
    assert 0.3 < accepted < 0.95
    before, after = z.flatten(), after.flatten()
    assert (before != after).double().mean() > 0.3
    for g, h in ((torch.sigmoid, torch.square), (lambda z: z, torch.relu)):
        skew = g(before) * h(after) - h(before) * g(after)
        assert skew.mean().abs() < 4 * skew.std() / N**0.5


def test_a_diverged_trajectory_is_refused() -> None:
    z = WIDE.sample((5, 3))
    steep = Path(lambda z: -z.pow(4).sum(-1), lambda z: 0 * z.sum(-1))
    moved, accepted = moves(steep, z, 1.0, 1e30, 10, 2)
    assert torch.equal(moved, z)
    assert accepted == 0


def test_a_density_that_does_not_depend_on_z_has_no_slope() -> None:
    place = Path(WIDE.log_prob, lambda z: torch.zeros(z.shape[:2], dtype=z.dtype)).at(WIDE.sample((4, 2)))
    assert torch.equal(place.slopes[1], torch.zeros(4, 2, 2).double())
    assert torch.equal(place.slope(torch.tensor(0.5)), place.slopes[0])
