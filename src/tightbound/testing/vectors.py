"""Laws of distributions over latent vectors: priors and posteriors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import ExampleNoise, Noise, draw, seeded
from tightbound.core.schedules import Knobs
from tightbound.core.terms import LatentTerms
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior
from tightbound.priors.sphere import log_area
from tightbound.testing.common import gradients_of

DRAWS, FEW = 20_000, 100  # to compare moments; to see that they depend on the noise alone


def check_prior(prior: Prior, *, seed: int = 0) -> None:
    """Run every law of priors.

    A prior with a context gets four contexts, one that needs an encoder gets a small one, and one that is trained in a
    second stage is in use.

    1. Shapes are right. 2. The total mass is 1, by enumeration if the support is finite, else by importance sampling
    from a wide Student-t distribution in R^L or from the uniform distribution on the sphere. 3. Samples lie on the
    support, reproduce mean and variance, and depend only on the noise. 4. Finite gradients of log p(z) reach z (unless
    the density is constant) and every parameter. 5. Given contexts, an example's prior and draws do not depend on its
    batch.

    Args:
        prior: Prior to check.
        seed: Seed of the contexts and draws.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    prior = copy.deepcopy(prior).double()
    if prior.second_stage is not None:
        prior.second_stage.enable()
    generator = torch.Generator().manual_seed(seed)
    call = _called(prior, generator)
    context = torch.randn(4, prior.context, generator=generator, dtype=torch.float64) if prior.context else None
    p = call(context)
    allowed = [()] if context is None else [(), (4,)]
    assert p.batch_shape in allowed, f"the batch shape is {tuple(p.batch_shape)}, not {' or '.join(map(str, allowed))}"
    assert p.event_shape == (prior.latent,), f"event shape {tuple(p.event_shape)}, not ({prior.latent},)"
    z = draw(p, (DRAWS,), Noise("law", seed))
    one, again = (draw(p, (FEW,), Noise("law", seed)) for _ in range(2))
    assert torch.equal(one, again), "the same noise gave different samples"
    _check_moments(z, p)
    _check_support(z, p, prior.support)
    for i in range(2 if p.batch_shape else 1):
        one = call(None if context is None else context[i : i + 1])
        _check_mass(one, z[:, i : i + 1] if p.batch_shape else z, prior.support, seed)
    points = z[:50].detach()
    points = points if p.batch_shape or context is None else points.unsqueeze(1).expand(50, 4, prior.latent)
    leaf = points.clone().requires_grad_()
    value = p.log_prob(leaf)
    assert value.shape == leaf.shape[:-1], f"log p(z) of {tuple(leaf.shape)} has shape {tuple(value.shape)}"
    leaves = dict(prior.named_parameters()) | ({"z": leaf} if value.max() > value.min() else {})
    if leaves:
        gradients_of(value.sum(), leaves)
    if p.batch_shape and context is not None:
        alone = call(context[1:2])
        same = torch.allclose(value[:, 1:2], alone.log_prob(leaf[:, 1:2]), atol=1e-10)
        assert same, "an example's prior depends on its batch"
        index = torch.tensor([5, 2, 9, 7])
        both = draw(p, (3,), ExampleNoise("law", index=index))
        mine = draw(alone, (3,), ExampleNoise("law", index=index[1:2]))
        assert torch.allclose(both[:, 1:2], mine, atol=1e-10), "an example's draw depends on its batch"


def _called(prior: Prior, generator: torch.Generator) -> Callable[[Tensor | None], Distribution]:
    """Return the prior as a function of the context alone; give it an encoder and 200 examples if it needs them."""
    if not prior.needs_encoder:
        return prior
    with seeded(0):
        encoder = DiagonalNormal(prior.shape, prior.latent, MLP((8,), activation="tanh")).double()
        prior.start_at(torch.randn(200, *prior.shape, generator=generator, dtype=torch.float64))
    return lambda context: prior(context, encoder)


def check_posterior(posterior: Posterior, *, seed: int = 0) -> None:
    """Run every law of posteriors.

    1. Shapes are right. 2. Each example's density is normalized, as for priors. A log-density that comes with the draws
    equals `log_prob` or, if the density is known only at the draws, is normalized; in an extended space (a Monte Carlo
    chain), E[q0(z) / q(z)] = 1 over the draws, where q0 is the network's distribution. 3. Samples lie on the support,
    reproduce mean and variance, depend only on the noise, and carry finite gradients to every parameter. 4. An
    example's posterior does not depend on its batch. For a point mass, only the laws that need no density apply.

    A distribution whose moments are Monte Carlo estimates gives their number of draws as `moment_draws`; the
    comparison with the samples then allows for both errors.

    Args:
        posterior: Posterior to check, with or without a network.
        seed: Seed of the data and draws.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    posterior = copy.deepcopy(posterior).double().eval()
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, *posterior.shape, generator=generator, dtype=torch.float64)
    q = posterior(x)
    assert q.batch_shape == (4,), f"4 examples gave batch shape {tuple(q.batch_shape)}"
    assert q.event_shape == (posterior.latent,), f"event shape {tuple(q.event_shape)}, not ({posterior.latent},)"
    apart = torch.cat([posterior(x[i : i + 1]).mean for i in range(4)])
    assert torch.allclose(q.mean, apart, atol=1e-10), "an example's posterior depends on its batch"

    def terms(q: Distribution, samples: int, noise: Noise) -> LatentTerms:
        knobs = Knobs.final(posterior.schedules)
        return posterior.terms(q, q, samples, noise, knobs, lambda z: torch.zeros_like(z[..., 0]))

    with torch.no_grad():
        group = terms(q, DRAWS, Noise("law", seed))
        one, again = (terms(q, FEW, Noise("law", seed)).z for _ in range(2))
        assert torch.equal(one, again), "the same noise gave different samples"
        _check_support(group.z, q, posterior.support)
        if group.posterior is None and group.log_q is not None:
            _check_one((q.log_prob(group.z) - group.log_q).exp())
        else:
            _check_moments(group.z, q)
            _check_drawn(group, posterior.evaluable)
    if posterior.has_density and posterior.evaluable:
        for i in range(2):
            _check_mass(posterior(x[i : i + 1]), group.z[:, i : i + 1], posterior.support, seed)
    z = terms(q, 50, Noise("law", seed)).z
    assert torch.allclose(posterior.nearest(z), z, atol=1e-12), "nearest moves points of the support"
    assert z.requires_grad or not list(posterior.parameters()), "samples carry no gradient (no reparameterization)"
    parameters = dict(posterior.named_parameters())
    if parameters:
        gradients_of(z.square().sum(), parameters)
    index = torch.tensor([5, 2, 9, 7])
    both = terms(q, 3, ExampleNoise("law", index=index)).z
    alone = terms(posterior(x[1:2]), 3, ExampleNoise("law", index=index[1:2])).z
    assert torch.allclose(both[:, 1:2], alone, atol=1e-10), "an example's draw depends on its batch"


def _closed_moments(p: Distribution) -> tuple[Tensor, Tensor] | None:
    """Return the mean and variance; None if the family has no closed form."""
    try:
        return p.mean, p.variance
    except NotImplementedError:
        return None


@torch.no_grad()
def _check_mass(p: Distribution, z: Tensor, support: str, seed: int) -> None:
    """Check that the mass is 1, by a sum over a finite support or as E_t[p(z) / t(z)] for proposals t that cover p.

    The mean and variance of p place the proposals. If they have no closed form, those of the samples z
    (DRAWS, *batch, latent) do, and the moments of the density are then compared with those of the samples.
    """
    if p.has_enumerate_support:
        total = p.log_prob(p.enumerate_support()).exp().sum(0)
        assert torch.allclose(total, torch.ones_like(total)), f"normalization: the probabilities sum to {total}"
        return
    propose = {"real": _student, "any": _student, "sphere": _uniform}.get(support)
    assert propose is not None, f"no proposals are known for the support {support!r}"
    closed = _closed_moments(p)
    mean, variance = (z.mean(0), z.var(0)) if closed is None else closed
    points, log_t = propose(mean, variance, torch.Generator().manual_seed(seed))
    weight = (p.log_prob(points) - log_t).exp()
    _check_one(weight)
    if closed is None:
        for power, name in ((1, "mean"), (2, "variance")):
            off, by = z - mean, weight.unsqueeze(-1) * (points - mean).pow(power)
            error = ((off.pow(power).var(0) + by.var(0)) / DRAWS).sqrt()
            gap = (off.pow(power).mean(0) - by.mean(0)).abs()
            assert (gap <= 5.5 * error).all(), f"samples: the {name} is off the density's by {gap.max().item():.3g}"


def _check_drawn(group: LatentTerms, evaluable: bool) -> None:
    """Check that log q of draws equals `log_prob`, or that E_q[r(z) / q(z)] = 1 for a Gaussian r within q."""
    z, log_q = group.z, group.log_q
    if group.posterior is None:
        return
    if evaluable:
        same = log_q is None or torch.allclose(log_q[:50], group.posterior.log_prob(z[:50]), atol=1e-8)
        assert same, "the log-density that comes with a draw differs from log_prob"
        return
    assert log_q is not None, "the density is not evaluable, and no log-density comes with a draw"
    within = torch.distributions.Normal(z.mean(0), 0.5 * z.std(0), validate_args=False)
    _check_one((within.log_prob(z).sum(-1) - log_q).exp())


def _student(mean: Tensor, variance: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw from a wide Student-t distribution about the mean; return the points and their log-density."""
    scale = 1.2 * variance.sqrt()
    normal = torch.randn(DRAWS, *mean.shape, generator=generator, dtype=torch.float64)
    chi = torch.randn(DRAWS, *mean.shape, 4, generator=generator, dtype=torch.float64).square().mean(-1)
    t = normal / chi.sqrt()
    wide = torch.distributions.StudentT(4.0, validate_args=False)
    return mean + scale * t, (wide.log_prob(t) - scale.log()).sum(-1)


def _uniform(mean: Tensor, variance: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw uniformly on the sphere; return the points and their log-density in the surface measure."""
    z = torch.randn(DRAWS, *mean.shape, generator=generator, dtype=torch.float64)
    return z / z.norm(dim=-1, keepdim=True), torch.full_like(z[..., 0], -log_area(z.shape[-1]))


@torch.no_grad()
def _check_one(weight: Tensor) -> None:
    """Check that importance weights (DRAWS, ...) have mean 1, as they have for a normalized target."""
    total, stderr = weight.mean(0), weight.std(0) / math.sqrt(len(weight))
    assert stderr.max() < 0.2, "the density is too far from the proposals to check its mass"
    off = (total - 1).abs() > 5 * stderr + 1e-9
    assert not off.any(), f"normalization: the density has mass {total[off].tolist()} ± {stderr[off].tolist()}"


def _check_support(z: Tensor, p: Distribution, support: str) -> None:
    """Check that draws (DRAWS, *batch, latent) lie on the support."""
    if p.has_enumerate_support:
        every = p.enumerate_support(expand=False).reshape(-1, z.shape[-1])
        found = (z[:1000].unsqueeze(-2) == every).all(-1).any(-1)
        assert found.all(), "samples: some lie outside the support"
    if support == "sphere":
        off = (z.norm(dim=-1) - 1).abs().max()
        assert off < 1e-9, f"samples: the length differs from 1 by {off:.3g}"


@torch.no_grad()
def _check_moments(z: Tensor, p: Distribution) -> None:
    """Check that samples (DRAWS, *batch, latent) have the mean and variance of p."""
    assert z.shape == (DRAWS, *p.batch_shape, *p.event_shape), f"samples have shape {tuple(z.shape)}"
    closed = _closed_moments(p)
    if closed is None:  # then `_check_mass` compares the samples with the density
        return
    mean, variance = closed
    draws = 1 / (1 / DRAWS + moment_error(p))
    stderr = (z.var(0) / draws).sqrt()
    off = (z.mean(0) - mean).abs()
    assert (off <= 5.5 * stderr + 1e-9).all(), f"samples: the mean is off by {off.max().item():.3g}"
    fourth = (z - z.mean(0)).pow(4).mean(0)
    stderr = ((fourth - z.var(0) ** 2).clamp_min(0) / draws).sqrt()
    off = (z.var(0) - variance).abs()
    # the sample variance divides by n - 1
    assert (off <= 5.5 * stderr + 1e-9 + 1e-4 * variance).all(), f"samples: the variance is off by {off.max():.3g}"


def moment_error(p: Distribution | None) -> float:
    """Return 1 / n if p's mean and variance are estimates from n draws; 0 if they are exact."""
    return 1 / getattr(p, "moment_draws", math.inf)
