"""Laws of distributions over latent vectors: priors and posteriors."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import DatumNoise, Noise, draw
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior
from tightbound.priors.sphere import log_area

DRAWS = 50_000


def check_prior(prior: Prior, *, seed: int = 0) -> None:
    """Runs every law of priors.

    1. Shapes. 2. Normalisation: a total mass of 1, by enumeration where the support is finite, else by importance
    sampling, from a wide Student-t in R^L, from the uniform distribution on the sphere. 3. Samples lie on the
    support, reproduce mean and variance, and the same noise the same samples. 4. Finite gradients of log p(z) reach
    z (unless the density is constant) and every parameter.

    Raises:
        AssertionError: naming the law that is broken.
    """
    prior = copy.deepcopy(prior).double()
    p = prior(None)
    assert p.batch_shape == (), f"without a context the batch shape is {tuple(p.batch_shape)}, not ()"
    assert p.event_shape == (prior.latent,), f"event shape {tuple(p.event_shape)}, not ({prior.latent},)"
    _check_mass(p, prior.support, seed)
    z = draw(p, (DRAWS,), Noise("law", seed))
    assert torch.equal(z, draw(p, (DRAWS,), Noise("law", seed))), "the same noise gave other samples"
    _check_moments(z, p)
    _check_support(z, p, prior.support)
    leaf = z[:50].detach().requires_grad_()
    value = p.log_prob(leaf)
    assert value.shape == (50,), f"log p(z) of (50, {prior.latent}) has shape {tuple(value.shape)}, not (50,)"
    leaves = dict(prior.named_parameters()) | ({"z": leaf} if value.max() > value.min() else {})
    if leaves:
        _check_gradients(value.sum(), leaves)


def check_posterior(posterior: Posterior, *, seed: int = 0) -> None:
    """Runs every law of posteriors.

    1. Shapes. 2. Normalisation of each datum's density, as for priors; where only drawing gives a density (`drawn`),
    E[q0(z) / q(z)] = 1 over the draws, q0 being the distribution that the network gives. 3. Samples lie on the
    support, reproduce mean and variance, are a function of the noise, and carry finite gradients to every
    parameter. 4. A datum's posterior does not depend on the rest of its batch. A point mass has no density, and
    only the laws without one apply.

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

    def terms(q: Distribution, samples: int, noise: Noise) -> LatentTerms:
        knobs = Knobs.final(posterior.schedules)
        return posterior.terms(q, q, samples, noise, knobs, lambda z: torch.zeros_like(z[..., 0]))

    with torch.no_grad():
        group = terms(q, DRAWS, Noise("law", seed))
        assert torch.equal(group.z, terms(q, DRAWS, Noise("law", seed)).z), "the same noise gave other samples"
        _check_support(group.z, q, posterior.support)
        if group.posterior is None and group.drawn is not None:
            _check_one((q.log_prob(group.z) - group.drawn).exp())
        else:
            _check_moments(group.z, q)
    if posterior.has_density:
        for i in range(4):
            _check_mass(posterior(x[i : i + 1]), posterior.support, seed)
    z = terms(q, 50, Noise("law", seed)).z
    assert torch.allclose(posterior.nearest(z), z, atol=1e-12), "nearest moves points of the support"
    assert z.requires_grad or not list(posterior.parameters()), "samples carry no gradient (no reparameterisation)"
    parameters = dict(posterior.named_parameters())
    if parameters:
        _check_gradients(z.square().sum(), parameters)
    index = torch.tensor([5, 2, 9, 7])
    both = terms(q, 3, DatumNoise("law", index=index)).z
    alone = terms(posterior(x[1:2]), 3, DatumNoise("law", index=index[1:2])).z
    assert torch.allclose(both[:, 1:2], alone, atol=1e-10), "a datum's draw depends on its batch"


@torch.no_grad()
def _check_mass(p: Distribution, support: str, seed: int) -> None:
    """A sum over a finite support, or E_t[p(z) / t(z)] = 1 for proposals t that cover p."""
    if p.has_enumerate_support:
        total = p.log_prob(p.enumerate_support()).exp().sum(0)
        assert torch.allclose(total, torch.ones_like(total)), f"normalisation: the probabilities sum to {total}"
        return
    propose = {"real": _student, "sphere": _uniform}.get(support)
    assert propose is not None, f"no proposals are known for the support {support!r}"
    z, log_t = propose(p, torch.Generator().manual_seed(seed))
    _check_one((p.log_prob(z) - log_t).exp())


def _student(p: Distribution, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A Student-t about p: self-contained in any number of dimensions."""
    mean, scale = p.mean, 1.2 * p.variance.sqrt()
    normal = torch.randn(DRAWS, *mean.shape, generator=generator, dtype=torch.float64)
    chi = torch.randn(DRAWS, *mean.shape, 4, generator=generator, dtype=torch.float64).square().mean(-1)
    t = normal / chi.sqrt()
    wide = torch.distributions.StudentT(4.0, validate_args=False)
    return mean + scale * t, (wide.log_prob(t) - scale.log()).sum(-1)


def _uniform(p: Distribution, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Uniform on the sphere, by its surface measure."""
    z = torch.randn(DRAWS, *p.batch_shape, *p.event_shape, generator=generator, dtype=torch.float64)
    return z / z.norm(dim=-1, keepdim=True), torch.full_like(z[..., 0], -log_area(z.shape[-1]))


@torch.no_grad()
def _check_one(weight: Tensor) -> None:
    """Importance weights (DRAWS, ...) of a normalised target have mean 1."""
    total, stderr = weight.mean(0), weight.std(0) / math.sqrt(len(weight))
    assert stderr.max() < 0.2, "the density is too far from the proposals to check its mass"
    off = (total - 1).abs() > 5 * stderr + 1e-9
    assert not off.any(), f"normalisation: the density has mass {total[off].tolist()} ± {stderr[off].tolist()}"


def _check_support(z: Tensor, p: Distribution, support: str) -> None:
    """Draws (DRAWS, *batch, latent) lie where the density is one."""
    if p.has_enumerate_support:
        every = p.enumerate_support(expand=False).reshape(-1, z.shape[-1])
        found = (z[:1000].unsqueeze(-2) == every).all(-1).any(-1)
        assert found.all(), "samples: some lie outside of the support"
    if support == "sphere":
        off = (z.norm(dim=-1) - 1).abs().max()
        assert off < 1e-9, f"samples: their length is off 1 by {off:.3g}"


@torch.no_grad()
def _check_moments(z: Tensor, p: Distribution) -> None:
    """Samples (DRAWS, *batch, latent) have the mean and the variance of p."""
    assert z.shape == (DRAWS, *p.batch_shape, *p.event_shape), f"samples have shape {tuple(z.shape)}"
    stderr = (z.var(0) / DRAWS).sqrt()
    off = (z.mean(0) - p.mean).abs()
    assert (off <= 5.5 * stderr + 1e-9).all(), f"samples: their mean is off by {off.max().item():.3g}"
    fourth = (z - z.mean(0)).pow(4).mean(0)
    stderr = ((fourth - z.var(0) ** 2).clamp_min(0) / DRAWS).sqrt()
    off = (z.var(0) - p.variance).abs()
    # the sample variance divides by n - 1
    assert (off <= 5.5 * stderr + 1e-9 + 1e-4 * p.variance).all(), f"samples: their variance is off by {off.max():.3g}"


def _check_gradients(value: Tensor, leaves: Mapping[str, Tensor]) -> None:
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {name}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"
