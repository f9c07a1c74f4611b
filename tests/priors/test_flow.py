"""Flow priors against zuko's own distribution, and what importing zuko must not change."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import zuko
from torch.distributions import Normal

from tightbound.core.errors import InputError
from tightbound.core.noise import ExampleNoise, draw
from tightbound.priors import Flow


def moved(prior: Flow) -> Flow:
    """Away from the identity, where it starts."""
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return prior


@pytest.mark.parametrize("kind", ["maf", "nsf", "realnvp"])
@pytest.mark.parametrize("latent", [1, 4])
def test_a_flow_starts_as_the_standard_normal(kind: str, latent: int) -> None:
    z = 2 * torch.randn(50, latent)
    assert torch.allclose(Flow(latent, kind)(None).log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1), atol=1e-4)


@pytest.mark.parametrize("context", [0, 3])
@pytest.mark.parametrize(
    ("kind", "theirs"), [("maf", zuko.flows.MAF), ("nsf", zuko.flows.NSF), ("realnvp", zuko.flows.RealNVP)]
)
def test_density_and_draws_are_zukos(kind: str, theirs, context: int) -> None:
    prior = moved(Flow(3, kind, 2, (16,), context)).double()
    flow = theirs(3, context, transforms=2, hidden_features=(16,)).double()
    flow.transform.load_state_dict(prior.bijection.state_dict())
    c = torch.randn(4, context, dtype=torch.float64) if context else None
    z = torch.randn(5, 4, 3, dtype=torch.float64)
    assert torch.allclose(prior(c).log_prob(z), flow(c).log_prob(z), atol=1e-10)
    if c is None:
        return
    torch.manual_seed(0)
    ours = prior(c).rsample(torch.Size((6,)))
    torch.manual_seed(0)
    assert torch.allclose(ours, flow(c).rsample(torch.Size((6,))))


def test_draws_are_the_inverse_of_keyed_noise() -> None:
    prior = moved(Flow(3, context=2))
    p = prior(torch.randn(4, 2))
    index = torch.tensor([3, 1, 7, 2])
    z = draw(p, (5,), ExampleNoise("k", index=index))
    e = ExampleNoise("k", index=index).normal((5, 4, 3), z)
    assert torch.allclose(p.bijection(z), e, atol=1e-4)


def test_the_density_is_not_reduced_in_bfloat16() -> None:
    prior, z = moved(Flow(4)), torch.randn(50, 4)
    exact = prior(None).log_prob(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(prior(None).log_prob(z), exact)


def test_a_flow_fits_a_distribution_that_is_not_gaussian() -> None:
    """A ring, whose density a learned Gaussian misses by construction."""
    generator = torch.Generator().manual_seed(0)
    angle = 6.2832 * torch.rand(800, 1, generator=generator)
    x = 2 * torch.cat([angle.cos(), angle.sin()], 1) + 0.2 * torch.randn(800, 2, generator=generator)
    torch.manual_seed(0)
    prior = Flow(2, "nsf", 2, (32,))
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        (-prior(None).log_prob(x).mean()).backward()
        optimizer.step()
    gaussian = Normal(x.mean(0), x.std(0)).log_prob(x).sum(-1).mean()
    assert prior(None).log_prob(x).mean() > gaussian + 0.5


def test_unknown_kinds_and_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="flow 'mfa' is unknown; did you mean 'maf'"):
        Flow(2, "mfa")
    with pytest.raises(InputError, match="transforms = 0"):
        Flow(2, transforms=0)
    with pytest.raises(InputError, match="hidden = "):
        Flow(2, hidden=(0,))


@pytest.mark.slow
def test_torch_distributions_still_validate_after_a_flow_was_made() -> None:
    """zuko turns that off, for the whole process, when it is imported; flow posteriors import it by the same line."""
    code = "import torch; from tightbound.priors import Flow; Flow(2); torch.distributions.Normal(0.0, -1.0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Expected parameter scale" in done.stderr
