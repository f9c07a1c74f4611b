"""Laws of likelihoods."""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.domain import Domain
from tightbound.core.errors import CompositionError
from tightbound.core.noise import Noise, draw
from tightbound.core.parts import describe, foreign, rebuild
from tightbound.likelihoods.base import ElementwiseLikelihood

DRAWS = 100_000


def check_likelihood(likelihood: ElementwiseLikelihood, *, seed: int = 0, cases: int = 5) -> None:
    """Runs every law of likelihoods on one that was constructed without a network.

    1. Batch and event shapes. 2. Normalisation over the support (sum, or quadrature). 3. Mean, variance and
    support of its samples. 4. The gradient of log p against finite differences. 5. Finite log p and gradient
    for extreme parameters. 6. Elements are independent, data too. 7. Domains that it is no density on are
    refused. 8. `marginal` fits the mean of data. 9. It is rebuilt from its description.

    Arguments:
        likelihood: With scalar elements: shape (), features and network None.
        seed: Of the random parameters.
        cases: Number of random parameters.

    Raises:
        AssertionError: naming the law that is broken.
    """
    likelihood = copy.deepcopy(likelihood).double()
    assert likelihood.network is None, "construct the likelihood without a network to check its family"
    assert likelihood.shape == (), "construct the likelihood with shape=() to check its family"
    generator = torch.Generator().manual_seed(seed)
    outputs = likelihood.outputs
    kind = likelihood.kinds[0]
    levels = int(getattr(likelihood, "levels", 2))
    raws = torch.randn(cases, outputs, generator=generator, dtype=torch.float64)
    p = likelihood(raws)
    assert p.batch_shape == (cases,), f"features ({cases}, {outputs}) gave batch shape {tuple(p.batch_shape)}"
    assert p.event_shape == (), f"shape () gave event shape {tuple(p.event_shape)}"
    for raw in raws:
        one = likelihood(raw)
        if kind in ("binary", "levels"):
            _check_sums(one, levels)
        else:
            _check_integrates(one, kind)
        _check_samples(one, kind, levels, seed)
        _check_gradient(likelihood, one, raw)
    _check_extremes(likelihood, kind, levels)
    _check_independence(likelihood, raws, p, kind, levels)
    _check_refuses(likelihood, levels)
    _check_marginal(likelihood, kind, levels, generator)
    description = describe(likelihood)
    if not foreign(description):
        again = rebuild(description, trust=True).double()
        again.load_state_dict(likelihood.state_dict())
        x = _inside(p, kind, levels)
        assert torch.equal(again(raws).log_prob(x), p.log_prob(x)), "the rebuilt likelihood differs"


def _check_sums(p: Distribution, levels: int) -> None:
    support = torch.arange(levels, dtype=torch.float64)
    total = p.log_prob(support).exp().sum().item()
    assert abs(total - 1) < 1e-9, f"normalisation: the probabilities of 0..{levels - 1} sum to {total}, not 1"


def _check_integrates(p: Distribution, kind: str) -> None:
    from scipy.integrate import quad

    def density(x: float) -> float:
        return p.log_prob(torch.tensor(x, dtype=torch.float64)).exp().item()

    centre, width = p.mean.item(), p.variance.sqrt().item()
    cuts = (0.0, 1.0) if kind == "unit" else (-math.inf, centre - 10 * width, centre, centre + 10 * width, math.inf)
    total = sum(quad(density, a, b, epsabs=1e-10, epsrel=1e-10, limit=200)[0] for a, b in pairwise(cuts))
    assert abs(total - 1) < 1e-6, f"normalisation: the density integrates to {total}, not 1"


def _check_samples(p: Distribution, kind: str, levels: int, seed: int) -> None:
    x = draw(p, (DRAWS,), Noise("check", seed)).double()
    again = draw(p, (DRAWS,), Noise("check", seed)).double()
    assert torch.equal(x, again), "samples: the same noise key gave other samples"
    if kind in ("binary", "levels"):
        inside = (x == x.round()) & (x >= 0) & (x <= levels - 1)
        assert inside.all(), f"samples: outside 0..{levels - 1}"
    if kind == "unit":
        assert ((x >= 0) & (x <= 1)).all(), "samples: outside [0, 1]"
    fourth, sd = (x - x.mean()).pow(4).mean(), p.variance.sqrt().item()
    errors = {
        "mean": (x.mean() - p.mean, (x.var() / DRAWS).sqrt()),
        "variance": (x.var() - p.variance, ((fourth - x.var() ** 2).clamp_min(0) / DRAWS).sqrt()),
    }
    for name, (difference, stderr) in errors.items():
        allowed = 5 * max(stderr.item(), sd / DRAWS**0.5) + 1e-9
        assert abs(difference.item()) < allowed, f"samples: their {name} is off by {difference.item():.3g}"


def _inside(p: Distribution, kind: str, levels: int) -> Tensor:
    """A value within the support, off its edges, for each element."""
    if kind in ("binary", "levels"):
        return p.mean.detach().round().clamp(0, levels - 1)
    return p.mean.detach() + (0.05 if kind == "unit" else 0.3)


def _check_gradient(likelihood: ElementwiseLikelihood, p: Distribution, raw: Tensor) -> None:
    kind, levels = likelihood.kinds[0], int(getattr(likelihood, "levels", 2))
    x = _inside(p, kind, levels)

    def log_prob(r: Tensor) -> Tensor:
        return likelihood(r).log_prob(x)

    leaf = raw.clone().requires_grad_()
    passed = torch.autograd.gradcheck(log_prob, (leaf,), raise_exception=False, atol=1e-6)
    assert passed, "gradient: d log p / d parameters differs from finite differences"


def _check_extremes(likelihood: ElementwiseLikelihood, kind: str, levels: int) -> None:
    single = copy.deepcopy(likelihood).float()
    for size in (-15.0, 15.0):
        raw = torch.full((likelihood.outputs,), size, requires_grad=True)
        ends = torch.tensor([0.0, float(levels - 1)] if kind != "real" else [-10.0, 10.0])
        value = single(raw).log_prob(ends)
        (gradient,) = torch.autograd.grad(value.sum(), raw)
        assert torch.isfinite(value).all(), f"extremes: log p is {value.tolist()} in float32 at parameters {size}"
        assert torch.isfinite(gradient).all(), f"extremes: the gradient is not finite at parameters {size}"


def _check_independence(
    likelihood: ElementwiseLikelihood, raws: Tensor, p: Distribution, kind: str, levels: int
) -> None:
    x = _inside(p, kind, levels)
    together = p.log_prob(x)
    apart = torch.stack([likelihood(raw).log_prob(value) for raw, value in zip(raws, x, strict=True)])
    assert torch.allclose(together, apart, atol=1e-10), "independence: a datum's log p depends on its batch"


def _check_refuses(likelihood: ElementwiseLikelihood, levels: int) -> None:
    for kind in ("binary", "levels", "unit", "real"):
        target = Domain(kind, levels if kind == "levels" else 2 if kind == "binary" else None)
        if kind in likelihood.kinds:
            if kind != "binary" or levels == 2:
                likelihood.check_domain(target)
            continue
        try:
            likelihood.check_domain(target)
        except CompositionError:
            continue
        raise AssertionError(f"domain: {kind!r} is not among {likelihood.kinds} and was not refused")


def _check_marginal(likelihood: ElementwiseLikelihood, kind: str, levels: int, generator: torch.Generator) -> None:
    if type(likelihood).marginal is ElementwiseLikelihood.marginal:
        return
    unit = torch.rand(2000, generator=generator, dtype=torch.float64) ** 2
    x = (unit * levels).floor().clamp(0, levels - 1) if kind in ("binary", "levels") else unit
    raw = likelihood.marginal(x)
    assert raw.shape == (likelihood.outputs,), f"marginal: shape {tuple(raw.shape)}, not ({likelihood.outputs},)"
    fitted = likelihood(raw).log_prob(x).mean()
    start = likelihood(torch.zeros_like(raw)).log_prob(x).mean()
    assert fitted >= start - 1e-9, "marginal: the data are less likely under it than under parameters of zero"
