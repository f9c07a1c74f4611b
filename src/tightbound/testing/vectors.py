"""Laws of distributions over latent vectors: priors and posteriors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import DatumNoise, Noise, draw, draw_with_log_prob
from tightbound.nn import MLP
from tightbound.posteriors import DiagonalNormal
from tightbound.posteriors.base import Posterior
from tightbound.priors.base import Prior

DRAWS = 50_000


def check_prior(prior: Prior, *, seed: int = 0) -> None:
    """Runs every law of priors; one that has a context is given four, and one that needs an encoder a small one.

    1. Shapes. 2. Normalisation: importance sampling from a wide Student-t finds a total mass of 1.
    3. Samples reproduce mean and variance, and the same noise the same samples. 4. Finite gradients of
    log p(z) reach z and every parameter. 5. Given contexts, a datum's prior and its draws do not depend on its batch.

    Raises:
        AssertionError: naming the law that is broken.
    """
    prior = copy.deepcopy(prior).double()
    generator = torch.Generator().manual_seed(seed)
    call = _called(prior, generator)
    context = torch.randn(4, prior.context, generator=generator, dtype=torch.float64) if prior.context else None
    p = call(context)
    allowed = [()] if context is None else [(), (4,)]
    assert p.batch_shape in allowed, f"the batch shape is {tuple(p.batch_shape)}, not {' or '.join(map(str, allowed))}"
    assert p.event_shape == (prior.latent,), f"event shape {tuple(p.event_shape)}, not ({prior.latent},)"
    z = _check_draws(p, seed)
    for i in range(4 if p.batch_shape else 1):
        one = call(None if context is None else context[i : i + 1])
        _check_mass(one, z[:, i : i + 1] if p.batch_shape else z, seed)
    points = z[:50].detach()
    points = points if p.batch_shape or context is None else points.unsqueeze(1).expand(50, 4, prior.latent)
    leaf = points.clone().requires_grad_()
    value = p.log_prob(leaf)
    assert value.shape == leaf.shape[:-1], f"log p(z) of {tuple(leaf.shape)} has shape {tuple(value.shape)}"
    _check_gradients(value.sum(), {"z": leaf, **dict(prior.named_parameters())})
    if p.batch_shape and context is not None:
        alone = call(context[1:2])
        same = torch.allclose(value[:, 1:2], alone.log_prob(leaf[:, 1:2]), atol=1e-10)
        assert same, "a datum's prior depends on its batch"
        index = torch.tensor([5, 2, 9, 7])
        both = draw(p, (3,), DatumNoise("law", index=index))
        mine = draw(alone, (3,), DatumNoise("law", index=index[1:2]))
        assert torch.allclose(both[:, 1:2], mine, atol=1e-10), "a datum's draw depends on its batch"


def _called(prior: Prior, generator: torch.Generator) -> Callable[[Tensor | None], Distribution]:
    """The prior as a function of the context alone, started at 200 data if it needs an encoder."""
    if not prior.needs_encoder:
        return prior
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        encoder = DiagonalNormal(prior.shape, prior.latent, MLP((8,), activation="tanh")).double()
        prior.start_at(torch.randn(200, *prior.shape, generator=generator, dtype=torch.float64))
    return lambda context: prior(context, encoder)


def check_posterior(posterior: Posterior, *, seed: int = 0) -> None:
    """Runs every law of posteriors.

    1. Shapes. 2. Normalisation of each datum's density; a log-density that comes with the draws is that at them, or,
    where the density is known there alone, is normalised. 3. Samples reproduce mean and variance, are a function
    of the noise, and carry finite gradients to every parameter. 4. A datum's posterior does not depend on the
    rest of its batch. A point mass has no density, and only the laws without one apply.

    A distribution whose moments are Monte Carlo estimates says of how many draws, as `moment_draws`; its moments are
    then compared with the samples within both errors.

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
    z = _check_draws(q, seed)
    if posterior.has_density and posterior.evaluable:
        for i in range(4):
            _check_mass(posterior(x[i : i + 1]), z[:, i : i + 1], seed)
    if posterior.has_density:
        _check_drawn(q, posterior.evaluable, seed)
    assert z.requires_grad or not list(posterior.parameters()), "samples carry no gradient (no reparameterisation)"
    parameters = dict(posterior.named_parameters())
    if parameters:
        _check_gradients(z[:50].square().sum(), parameters)
    index = torch.tensor([5, 2, 9, 7])
    both = draw(q, (3,), DatumNoise("law", index=index))
    alone = draw(posterior(x[1:2]), (3,), DatumNoise("law", index=index[1:2]))
    assert torch.allclose(both[:, 1:2], alone, atol=1e-10), "a datum's draw depends on its batch"


def _closed_moments(p: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean and variance; None where the family has none in closed form."""
    try:
        return p.mean, p.variance
    except NotImplementedError:
        return None


def _check_mass(p: Distribution, z: Tensor, seed: int) -> None:
    """E_t[p(z) / t(z)] = 1 for a Student-t that covers p: self-contained in any number of dimensions.

    The Student-t is placed by p's mean and variance, or by those of its samples z (DRAWS, *batch, latent) where it
    has none in closed form; the density's moments are then compared with the samples'.
    """
    with torch.no_grad():
        closed = _closed_moments(p)
        mean, variance = (z.mean(0), z.var(0)) if closed is None else closed
        generator = torch.Generator().manual_seed(seed)
        wide = torch.distributions.StudentT(4.0, validate_args=False)
        normal = torch.randn(DRAWS, *mean.shape, generator=generator, dtype=torch.float64)
        chi = torch.randn(DRAWS, *mean.shape, 4, generator=generator, dtype=torch.float64).square().mean(-1)
        t = normal / chi.sqrt()
        scale = 1.2 * variance.sqrt()
        points = mean + scale * t
        log_t = (wide.log_prob(t) - scale.log()).sum(-1)
        weight = (p.log_prob(points) - log_t).exp()
        total, stderr = weight.mean(0).flatten()[0].item(), weight.std(0).flatten()[0].item() / math.sqrt(DRAWS)
    assert stderr < 0.2, "the density is too far from its own mean and variance to check its mass"
    assert abs(total - 1) < 5 * stderr + 1e-9, f"normalisation: the density has mass {total:.4f} ± {stderr:.4f}"
    if closed is None:
        for power, name in ((1, "mean"), (2, "variance")):
            off, by = z.detach() - mean, weight.unsqueeze(-1) * (points - mean).pow(power)
            error = ((off.pow(power).var(0) + by.var(0)) / DRAWS).sqrt()
            gap = (off.pow(power).mean(0) - by.mean(0)).abs()
            assert (gap <= 5.5 * error).all(), f"samples: their {name} is not the density's, by {gap.max().item():.3g}"


def _check_drawn(q: Distribution, evaluable: bool, seed: int) -> None:
    """log q that comes with draws z ~ q: that of `log_prob`, or E_q[r(z) / q(z)] = 1 for a Gaussian r within q."""
    with torch.no_grad():
        z, log_q = draw_with_log_prob(q, (DRAWS,), Noise("law", seed))
        if evaluable:
            same = log_q is None or torch.allclose(log_q[:50], q.log_prob(z[:50]), atol=1e-8)
            assert same, "the log-density that comes with a draw is not that at it"
            return
        assert log_q is not None, "not evaluable, and no log-density comes with a draw"
        within = torch.distributions.Normal(z.mean(0), 0.5 * z.std(0), validate_args=False)
        weight = (within.log_prob(z).sum(-1) - log_q).exp()
        total, stderr = weight.mean(0), weight.std(0) / math.sqrt(DRAWS)
    assert (stderr < 0.1).all(), "the density is too far from a Gaussian of its moments to check its mass"
    assert ((total - 1).abs() < 5 * stderr + 1e-9).all(), f"normalisation: the density has mass 1 / {total.tolist()}"


def _check_draws(p: Distribution, seed: int) -> Tensor:
    """Samples (DRAWS, *batch, latent), after their laws."""
    z = draw(p, (DRAWS,), Noise("law", seed))
    assert z.shape == (DRAWS, *p.batch_shape, *p.event_shape), f"samples have shape {tuple(z.shape)}"
    assert torch.equal(z, draw(p, (DRAWS,), Noise("law", seed))), "the same noise gave other samples"
    closed = _closed_moments(p)
    if closed is None:  # `_check_mass` compares them with the density's
        return z
    with torch.no_grad():
        draws = 1 / (1 / DRAWS + moment_error(p))
        stderr = (z.var(0) / draws).sqrt()
        off = (z.mean(0) - closed[0]).abs()
        assert (off <= 5.5 * stderr + 1e-9).all(), f"samples: their mean is off by {off.max().item():.3g}"
        fourth = (z - z.mean(0)).pow(4).mean(0)
        stderr = ((fourth - z.var(0) ** 2).clamp_min(0) / draws).sqrt()
        off = (z.var(0) - closed[1]).abs()
        assert (off <= 5.5 * stderr + 1e-9).all(), f"samples: their variance is off by {off.max().item():.3g}"
    return z


def moment_error(p: Distribution | None) -> float:
    """1 / n where p's mean and variance are estimates from n draws; 0 where they are exact."""
    return 1 / getattr(p, "moment_draws", math.inf)


def _check_gradients(value: Tensor, leaves: Mapping[str, Tensor]) -> None:
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        assert gradient is not None, f"no gradient reaches {name}"
        assert torch.isfinite(gradient).all(), f"the gradient of {name} is not finite"
