"""The committed rate of delta-VAE."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from tightbound.core.errors import CompositionError, InputError
from tightbound.latents import Flat
from tightbound.nn import MLP
from tightbound.posteriors import DeltaNormal
from tightbound.priors import LearnedNormal, StandardNormal


@pytest.mark.parametrize("latent", [1, 4])
@pytest.mark.parametrize("delta", [1e-3, 0.5, 30.0])
def test_no_parameters_bring_the_kl_below_delta(delta: float, latent: int) -> None:
    """Gradient descent from many points, and the limit of what it can reach."""
    family = DeltaNormal((2 * latent,), latent, delta=delta)
    prior = Independent(Normal(torch.zeros(latent).double(), 1.0), 1)

    def kl(raw: torch.Tensor) -> torch.Tensor:
        return kl_divergence(family.distribution(raw), prior)

    raw = torch.randn(200, 2, latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul_(3)
    raw.requires_grad_()
    adam = torch.optim.Adam([raw], lr=0.3)
    lowest = kl(raw).min().item()
    for _ in range(300):
        adam.zero_grad()
        (values := kl(raw)).sum().backward()
        adam.step()
        lowest = min(lowest, values.min().item())
    assert lowest >= delta * (1 - 1e-12)
    assert lowest < 1.02 * delta + 1e-6  # the bound is tight
    limit = torch.stack([torch.zeros(latent), torch.full((latent,), -700.0)]).double()
    assert kl(limit.unsqueeze(0)).item() == pytest.approx(delta, rel=1e-9)


def test_the_rate_is_committed_against_n_0_1_alone() -> None:
    posterior = DeltaNormal((2, 2), 3, MLP((4,)))
    Flat(StandardNormal(3), posterior)
    with pytest.raises(CompositionError, match="needs the prior"):
        Flat(LearnedNormal(3), posterior)
    with pytest.raises(InputError, match="delta"):
        DeltaNormal((6,), 3, delta=0.0)
