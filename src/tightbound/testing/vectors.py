"""Laws of distributions over latent vectors: priors and posteriors."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import DatumNoise, Noise, draw
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior

DRAWS = 50_000


def check_prior(prior: Prior, *, seed: int = 0) -> None:
    """Runs every law of priors.

    1. Shapes. 2. Normalisation: importance sampling from a wide Student-t finds a total mass of 1.
    3. Samples reproduce mean and variance, and the same noise the same samples. 4. Finite gradients of
    log p(z) reach z and every parameter.

    Raises:
        AssertionError: naming the law that is broken.
    """
    prior = copy.deepcopy(prior).double()
    p = prior(None)
    assert p.batch_shape == (), f"without a context the batch shape is {tuple(p.batch_shape)}, not ()"
    assert p.event_shape == (prior.latent,), f"event shape {tuple(p.event_shape)}, not ({prior.latent},)"
    _check_mass(p, seed)
    z = _check_draws(p, seed)
    leaf = z[:50].detach().requires_grad_()
    value = p.log_prob(leaf)
    assert value.shape == (50,), f"log p(z) of (50, {prior.latent}) has shape {tuple(value.shape)}, not (50,)"
    _check_gradients(value.sum(), {"z": leaf, **dict(prior.named_parameters())})


def check_posterior(posterior: Posterior, *, seed: int = 0) -> None:
    """Runs every law of posteriors.

    1. Shapes. 2. Normalisation of each datum's density. 3. Samples reproduce mean and variance, are a function
    of the noise, and carry finite gradients to every parameter. 4. A datum's posterior does not depend on the
    rest of its batch. A point mass has no density, and only the laws without one apply.

    Raises:
        AssertionError: naming the law that is broken.
    """
    posterior = copy.deepcopy(posterior).double().eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, *posterior.shape, generator=generator, dtype=torch.float64)
    q = posterior(x)
    assert q.batch_shape == (4,), f"4 data gave batch shape {tuple(q.batch_shape)}"
    assert q.event_shape == (posterior.latent,), f"event shape {tuple(q.event_shape)}, not ({posterior.latent},)"
    apart = torch.cat([posterior(x[i : i + 1]).mean for i in range(4)])
    assert torch.allclose(q.mean, apart, atol=1e-10), "a datum's posterior depends on its batch"
    if posterior.has_density:
        for i in range(4):
            _check_mass(posterior(x[i : i + 1]), seed)
    z = _check_draws(q, seed)
    assert z.requires_grad or not list(posterior.parameters()), "samples carry no gradient (no reparameterisation)"
    parameters = dict(posterior.named_parameters())
    if parameters:
        _check_gradients(z[:50].square().sum(), parameters)
    index = torch.tensor([5, 2, 9, 7])
    both = draw(q, (3,), DatumNoise("law", index=index))
    alone = draw(posterior(x[1:2]), (3,), DatumNoise("law", index=index[1:2]))
    assert torch.allclose(both[:, 1:2], alone, atol=1e-10), "a datum's draw depends on its batch"


def _check_mass(p: Distribution, seed: int) -> None:
    """E_t[p(z) / t(z)] = 1 for a Student-t that covers p: self-contained in any number of dimensions."""
    with torch.no_grad():
        mean, std = p.mean, p.variance.sqrt()
        generator = torch.Generator().manual_seed(seed)
        wide = torch.distributions.StudentT(4.0, validate_args=False)
        normal = torch.randn(DRAWS, *mean.shape, generator=generator, dtype=torch.float64)
        chi = torch.randn(DRAWS, *mean.shape, 4, generator=generator, dtype=torch.float64).square().mean(-1)
        t = normal / chi.sqrt()
        scale = 1.2 * std
        log_t = (wide.log_prob(t) - scale.log()).sum(-1)
        weight = (p.log_prob(mean + scale * t) - log_t).exp()
        total, stderr = weight.mean(0).flatten()[0].item(), weight.std(0).flatten()[0].item() / math.sqrt(DRAWS)
    assert stderr < 0.2, "the density is too far from its own mean and variance to check its mass"
    assert abs(total - 1) < 5 * stderr + 1e-9, f"normalisation: the density has mass {total:.4f} ± {stderr:.4f}"


def _check_draws(p: Distribution, seed: int) -> Tensor:
    """Samples (DRAWS, *batch, latent), after their laws."""
    z = draw(p, (DRAWS,), Noise("law", seed))
    assert z.shape == (DRAWS, *p.batch_shape, *p.event_shape), f"samples have shape {tuple(z.shape)}"
    assert torch.equal(z, draw(p, (DRAWS,), Noise("law", seed))), "the same noise gave other samples"
    with torch.no_grad():
        stderr = (z.var(0) / DRAWS).sqrt()
        off = (z.mean(0) - p.mean).abs()
        assert (off <= 5.5 * stderr + 1e-9).all(), f"samples: their mean is off by {off.max().item():.3g}"
        fourth = (z - z.mean(0)).pow(4).mean(0)
        stderr = ((fourth - z.var(0) ** 2).clamp_min(0) / DRAWS).sqrt()
        off = (z.var(0) - p.variance).abs()
        assert (off <= 5.5 * stderr + 1e-9).all(), f"samples: their variance is off by {off.max().item():.3g}"
    return z


def _check_gradients(value: Tensor, leaves: Mapping[str, Tensor]) -> None:
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {name}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"
