"""Laws of likelihoods with independent elements."""

from __future__ import annotations

import copy
import math
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.domain import Domain, Kind
from tightbound.core.errors import InputError
from tightbound.core.noise import Noise, draw
from tightbound.likelihoods.base import ElementwiseLikelihood
from tightbound.testing.common import check_rebuilt, refuses

DRAWS, FEW = 100_000, 100  # to compare moments; to see that they depend on the noise alone
PANELS, NODES = 4000, 16
DENSE = ("unit", "real", "semicontinuous")  # kinds with densities
HINT = "limit logarithms of scales, as in log_scale.clamp(-25, 25).exp()"
DEVIATIONS = 30_000  # sum counts up to so many sd above the mean: the rest is at most 1.2e-9 (Cantelli's inequality)


def check_likelihood(likelihood: ElementwiseLikelihood, *, seed: int = 0, cases: int = 5) -> None:
    """Run every law of likelihoods with independent elements.

    1. Batch and event shapes are right. 2. The density is normalized over its support (by summation or quadrature; for
    semicontinuous numbers, with the probability of 0); with a sum, mean and variance are right too. 3. Samples have the
    right mean, variance and support and, on a finite support, the right frequencies. 4. The gradient of log p agrees
    with finite differences. 5. log p and its gradient are finite for extreme parameters. 6. Elements and examples are
    independent. 7. `check_domain` refuses domains on which this is not a density. 8. `fit_marginals` makes the data
    more probable. 9. The likelihood can be rebuilt from its description.

    Args:
        likelihood: Likelihood without features and network, of shape (), or of a small shape if it couples elements.
        seed: Seed of the random parameters.
        cases: Number of random parameter vectors.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    likelihood = copy.deepcopy(likelihood).double()
    assert likelihood.network is None, "construct the likelihood without a network to check its family"
    shape = likelihood.shape
    assert len(shape) == likelihood.event_dims, "construct the likelihood with shape=() to check its family"
    generator = torch.Generator().manual_seed(seed)
    outputs = likelihood.outputs * math.prod(shape)
    kind, levels = likelihood.domains[0], likelihood.levels
    raws = torch.randn(cases, outputs, generator=generator, dtype=torch.float64)
    p = likelihood(raws)
    assert p.batch_shape == (cases,), f"features ({cases}, {outputs}) gave batch shape {tuple(p.batch_shape)}"
    assert p.event_shape == shape, f"shape {shape} gave event shape {tuple(p.event_shape)}"
    resolved = 0
    for raw in raws:
        one = likelihood(raw)
        if kind in ("binary", "levels", "counts"):
            _check_sums(one, _support(one, kind, levels))
        else:
            resolved += _check_integrates(one, kind)
        x = _check_samples(one, kind, levels, seed)
        if kind in ("binary", "levels"):
            _check_frequencies(one, x, levels)
        inside = _inside(one, kind, levels)
        for value in (inside, torch.zeros_like(inside)) if kind == "semicontinuous" else (inside,):
            _check_gradient(likelihood, value, raw)
    assert resolved or kind not in DENSE, "normalization: none of the densities can be integrated"
    _check_extremes(likelihood, kind, levels)
    if not likelihood.includes_endpoints:
        _check_ends(p)
    _check_independence(likelihood, raws, p, kind, levels)
    _check_refuses(likelihood, levels)
    _check_marginal(likelihood, kind, levels, generator)
    x = _inside(p, kind, levels)
    check_rebuilt(likelihood, lambda own: own(raws).log_prob(x))


def _support(p: Distribution, kind: str, levels: int) -> Tensor:
    """Return all values (N, *shape); for counts, all but a tail of known size."""
    if kind == "counts":
        levels = int(p.mean + DEVIATIONS * p.variance.sqrt()) + 2
    line = torch.arange(levels, dtype=torch.float64)
    return torch.cartesian_prod(*[line] * p.event_shape.numel()).reshape(-1, *p.event_shape)


def _check_sums(p: Distribution, support: Tensor) -> None:
    chance = p.log_prob(support).exp()
    total = chance.sum().item()
    assert abs(total - 1) < 3e-9, f"normalization: the probabilities of {len(support)} values sum to {total}, not 1"
    mean = torch.tensordot(chance, support, dims=1)
    variance = torch.tensordot(chance, (support - mean).square(), dims=1)
    for name, given, exact in (("mean", p.mean, mean), ("variance", p.variance, variance)):
        assert torch.allclose(given, exact, rtol=1e-6, atol=1e-9), f"moments: the {name} is {given}, not {exact}"


def _check_frequencies(p: Distribution, x: Tensor, levels: int) -> None:
    """Compare joint frequencies of all elements with probabilities; marginal moments would not show dependence."""
    chance = p.log_prob(_support(p, "levels", levels)).exp()
    place = levels ** torch.arange(p.event_shape.numel() - 1, -1, -1)
    number = (x.reshape(len(x), -1).long() * place).sum(1)
    share = torch.bincount(number, minlength=len(chance)) / len(x)
    allowed = 6 * (chance * (1 - chance) / len(x)).sqrt() + 10 / len(x)
    assert ((share - chance).abs() < allowed).all(), "samples: frequencies differ from probabilities"


def _check_integrates(p: Distribution, kind: str) -> bool:
    """Check the integral; return False if it is unknown, because mass lies between 1 and the next smaller float.

    Gauss-Legendre quadrature over s, where x = mean + sd * sinh(s), or sigmoid(sinh(s)) in the unit interval: panels
    are narrow in the middle, end at the mean, where a density may have a corner, and reach far into the tails, on the
    right of the unit interval to the float before 1.
    """
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(NODES))
    low, high = (-math.asinh(700.0), math.asinh(36.0)) if kind == "unit" else (-40.0, 40.0)
    half = (high - low) / PANELS / 2
    s = (torch.linspace(low, high - 2 * half, PANELS, dtype=torch.float64)[:, None] + half * (1 + nodes)).flatten()
    t = s.sinh()
    if kind == "unit":
        x, log_slope = t.sigmoid(), torch.nn.functional.logsigmoid(t) + torch.nn.functional.logsigmoid(-t)
    else:
        sd = p.variance.sqrt()
        x, log_slope = p.mean + sd * t, sd.log()
    density = (p.log_prob(x) + log_slope).exp()  # of t
    if kind == "unit" and max(density[0], density[-1]) > 1e-8:
        return False
    total = (density * s.cosh() * half * weights.repeat(PANELS)).sum().item()
    total += p.log_prob(torch.zeros_like(x[0])).exp().item() if kind == "semicontinuous" else 0.0
    assert abs(total - 1) < 1e-6, f"normalization: the density integrates to {total}, not 1"
    return True


def _check_samples(p: Distribution, kind: str, levels: int, seed: int) -> Tensor:
    """Check samples (N, *shape), and return them."""
    x = draw(p, (DRAWS,), Noise("check", seed)).double()
    one, again = (draw(p, (FEW,), Noise("check", seed)) for _ in range(2))
    assert torch.equal(one, again), "samples: the same noise key gave different samples"
    if kind in ("binary", "levels"):
        inside = (x == x.round()) & (x >= 0) & (x <= levels - 1)
        assert inside.all(), f"samples: some lie outside 0..{levels - 1}"
    if kind == "counts":
        assert ((x == x.round()) & (x >= 0)).all(), "samples: not all are counts"
    if kind == "unit":
        assert ((x >= 0) & (x <= 1)).all(), "samples: some lie outside [0, 1]"
    if kind == "semicontinuous":
        chance = p.log_prob(torch.zeros_like(x[0])).exp()
        difference = ((x == 0).double().mean(0) - chance).abs()
        allowed = 5 * (chance * (1 - chance) / DRAWS).sqrt() + 1e-9
        assert (difference < allowed).all(), f"samples: the share of zeros is off by {difference.max():.3g}"
    fourth, sd = (x - x.mean(0)).pow(4).mean(0), p.variance.sqrt()
    errors = {
        "mean": (x.mean(0) - p.mean, (x.var(0) / DRAWS).sqrt()),
        "variance": (x.var(0) - p.variance, ((fourth - x.var(0) ** 2).clamp_min(0) / DRAWS).sqrt()),
    }
    for name, (difference, stderr) in errors.items():
        allowed = 5 * torch.maximum(stderr, sd / DRAWS**0.5) + 1e-9
        assert (difference.abs() < allowed).all(), f"samples: the {name} is off by {difference.abs().max():.3g}"
    return x


def _inside(p: Distribution, kind: str, levels: int) -> Tensor:
    """Return a value inside the support, off its edges, for each element."""
    if kind in ("binary", "levels"):
        return p.mean.detach().round().clamp(0, levels - 1)
    if kind == "counts":
        return p.mean.detach().round()
    return torch.lerp(p.mean.detach(), torch.ones_like(p.mean), 0.05) if kind == "unit" else p.mean.detach() + 0.3


def _check_gradient(likelihood: ElementwiseLikelihood, x: Tensor, raw: Tensor) -> None:
    def log_prob(r: Tensor) -> Tensor:
        return likelihood(r).log_prob(x)

    leaf = raw.clone().requires_grad_()
    passed = torch.autograd.gradcheck(log_prob, (leaf,), raise_exception=False, atol=1e-6, fast_mode=True)
    assert passed, "gradient: d log p / d parameters differs from finite differences"


def _check_extremes(likelihood: ElementwiseLikelihood, kind: str, levels: int) -> None:
    """Check float32 where networks are far from their training data: all parameters extreme, alike or in turn."""
    single = copy.deepcopy(likelihood).float()
    size = likelihood.outputs * math.prod(likelihood.shape)
    limits = {
        "real": (-10.0, 10.0),
        "semicontinuous": (0.0, 10.0),
        "counts": (0.0, 1e6),
        "unit": (0.0, 1.0) if likelihood.includes_endpoints else (1e-6, 1 - 1e-6),
    }
    ends = torch.stack([torch.full(likelihood.shape, end) for end in limits.get(kind, (0.0, levels - 1.0))])
    signs = torch.ones(4, size)
    signs[1], signs[2, ::2], signs[3, 1::2] = -1, -1, -1
    if kind in ("real", "semicontinuous"):  # a narrow density far from x may be below what float32 can hold
        signs = signs[:2]
    for far in (15.0, 20.0, 100.0):
        for raw in far * signs:
            at = f"in float32 at parameters {raw.tolist()}"
            leaf = raw.clone().requires_grad_()
            p = single(leaf)
            value = p.log_prob(ends)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
            assert torch.isfinite(value).all(), f"extremes: log p is {value.tolist()} {at}; {HINT}"
            assert torch.isfinite(gradient).all(), f"extremes: the gradient is not finite {at}"
            with torch.no_grad():
                _check_extreme_moments(single(raw), kind, levels, at)


def _check_extreme_moments(p: Distribution, kind: str, levels: int, at: str) -> None:
    """Check mass, mean and variance where they can be enumerated, and that samples have values of the kind."""
    mean, variance = p.mean.double(), p.variance.double()
    assert torch.isfinite(mean).all(), f"extremes: the mean is {mean.tolist()} {at}; {HINT}"
    assert (torch.isfinite(variance) & (variance > -1e-3 * levels**2)).all(), f"extremes: variance {variance} {at}"
    if kind in ("binary", "levels"):
        support = _support(p, kind, levels)
        chance = p.log_prob(support.float()).double().exp()
        assert abs(chance.sum() - 1) < 1e-4, f"extremes: the probabilities sum to {chance.sum()} {at}"
        exact = torch.tensordot(chance, support, dims=1)
        spread = torch.tensordot(chance, (support - exact).square(), dims=1)
        assert torch.allclose(mean, exact, rtol=1e-4, atol=1e-4 * levels), f"extremes: mean {mean}, not {exact} {at}"
        assert torch.allclose(variance, spread, rtol=1e-3, atol=1e-4 * levels**2), (
            f"extremes: variance {variance}, not {spread} {at}"
        )
    x = draw(p, (100,), Noise("extremes", 0))
    assert torch.isfinite(x).all(), f"extremes: samples that are not finite {at}"
    low, high = {"unit": (0.0, 1.0), "counts": (0.0, math.inf)}.get(kind, (-math.inf, math.inf))
    assert ((x >= low) & (x <= high)).all(), f"extremes: samples outside [{low}, {high}] {at}"


def _check_ends(p: Distribution) -> None:
    for end in (0.0, 1.0):
        try:
            p.log_prob(torch.tensor(end, dtype=torch.float64))
        except InputError:
            continue
        raise AssertionError(f"ends: there is no density at {end}, and log_prob did not refuse it")


def _check_independence(
    likelihood: ElementwiseLikelihood, raws: Tensor, p: Distribution, kind: str, levels: int
) -> None:
    x = _inside(p, kind, levels)
    together = p.log_prob(x)
    apart = torch.stack([likelihood(raw).log_prob(value) for raw, value in zip(raws, x, strict=True)])
    assert torch.allclose(together, apart, atol=1e-10), "independence: an example's log p depends on its batch"


def _check_refuses(likelihood: ElementwiseLikelihood, levels: int) -> None:
    for kind in get_args(Kind):
        target = Domain(kind, levels if kind in ("levels", "categories") else 2 if kind == "binary" else None)
        if kind in likelihood.domains:
            if kind != "binary" or levels == 2:
                likelihood.check_domain(target)
            continue
        named = f"domain: {kind!r} is not among {likelihood.domains}, and check_domain did not refuse it"
        assert refuses(likelihood, target), named


def _check_marginal(likelihood: ElementwiseLikelihood, kind: str, levels: int, generator: torch.Generator) -> None:
    if type(likelihood).fit_marginals is ElementwiseLikelihood.fit_marginals:
        return
    unit = torch.rand(2000, *likelihood.shape, generator=generator, dtype=torch.float64) ** 2
    x = (unit * levels).floor().clamp(0, levels - 1) if kind in ("binary", "levels") else unit
    x = (unit * 20).floor() if kind == "counts" else x
    x = unit.where(unit > unit.median(), 0.0) if kind == "semicontinuous" else x
    raw, needed = likelihood.fit_marginals(x), (likelihood.outputs, *likelihood.shape)
    assert raw.shape == needed, f"marginal: shape {tuple(raw.shape)}, not {needed}"
    fitted = likelihood(raw.flatten()).log_prob(x).mean()
    start = likelihood(torch.zeros_like(raw).flatten()).log_prob(x).mean()
    assert fitted >= start - 1e-9, "marginal: the data are less probable than with all parameters zero"
