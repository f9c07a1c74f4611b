"""Laws of likelihoods that couple the elements of x."""

from __future__ import annotations

import copy
from itertools import product

import torch
from torch import Tensor

from tightbound.core.domain import Domain
from tightbound.core.interfaces import Likelihood
from tightbound.core.noise import Noise, draw
from tightbound.testing.common import check_rebuilt, gradients_of, refuses

DRAWS = 4000


def check_joint_likelihood(likelihood: Likelihood, target: Domain, *, seed: int = 0) -> None:
    """Run every law of likelihoods that couple elements, on few enough elements to enumerate all values of x.

    1. Batch and event shapes are right; x (B, *shape) broadcasts against features (S, B, features). 2. The
    probabilities of all x sum to 1. 3. Samples have the exact means and second moments, and depend only on the noise;
    `mean` is within 5% of the range of the exact mean. 4. An example's log p and mean do not depend on its batch.
    5. Finite gradients reach every parameter. 6. `check_domain` refuses other domains. 7. `start_at` raises the
    likelihood of data under an untrained network. 8. The likelihood can be rebuilt from its description.

    Args:
        likelihood: Likelihood with at most 4096 values of x.
        target: Discrete domain of each element; or a mixed domain of such columns, without categories.
        seed: Seed of the parameters and data.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    fresh, likelihood = likelihood, copy.deepcopy(likelihood).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in likelihood.parameters():  # an untrained network's output may hardly depend on its input
            fan = p[0].numel() if p.dim() > 1 else 1
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) / fan**0.5)
    size = torch.Size(likelihood.shape).numel()
    levels = [element.levels or 2 for element in target.columns or (target,) * size]
    every = torch.tensor(list(product(*map(range, levels))), dtype=torch.float64).reshape(-1, *likelihood.shape)
    features = torch.randn(2, 3, likelihood.features or 1, generator=generator, dtype=torch.float64)
    p = likelihood(features)
    assert p.batch_shape == (2, 3), f"features (2, 3, n) gave batch shape {tuple(p.batch_shape)}"
    assert p.event_shape == likelihood.shape, f"event shape {tuple(p.event_shape)}, not {likelihood.shape}"
    one = likelihood(features[1, 2])
    probability = one.log_prob(every).exp()
    total = probability.sum().item()
    assert abs(total - 1) < 1e-9, f"normalization: the probabilities of all x sum to {total}, not 1"
    _check_samples(likelihood, features[1, 2], every, probability, seed)
    x = every[torch.randint(len(every), (3,), generator=generator)]
    together, means = p.log_prob(x), p.mean
    for s, b in product(range(2), range(3)):
        alone = likelihood(features[s, b])
        assert torch.allclose(together[s, b], alone.log_prob(x[b]), atol=1e-10), (
            "an example's log p depends on its batch"
        )
        assert torch.allclose(means[s, b], alone.mean, atol=1e-10), "an example's mean depends on its batch"
    gradients_of(together.sum(), dict(likelihood.named_parameters()))
    _check_refuses(likelihood, target)
    top = torch.tensor(levels, dtype=torch.float64).reshape(likelihood.shape)
    _check_start(copy.deepcopy(fresh).double(), 0 * features[0, :1], top, generator)
    check_rebuilt(likelihood, lambda own: own(features).log_prob(x))


def _check_samples(likelihood: Likelihood, features: Tensor, every: Tensor, probability: Tensor, seed: int) -> None:
    p = likelihood(features)
    x = draw(p, (DRAWS,), Noise("check", seed)).double()
    one, again = (draw(p, (2,), Noise("check", seed)) for _ in range(2))
    assert torch.equal(one, again), "the same noise gave different samples"
    top = every.amax(0)
    assert ((x == x.round()) & (x >= 0) & (x <= top)).all(), "samples: some lie outside the domain"
    flat, weighted = x.flatten(1), every.flatten(1)
    mean = probability @ weighted
    second = weighted.T @ (weighted * probability[:, None])
    for name, found, exact in (("mean", flat.mean(0), mean), ("second moment", flat.T @ flat / DRAWS, second)):
        allowed = 5.5 * top.max().item() ** 2 / 2 / DRAWS**0.5
        off = (found - exact).abs().max().item()
        assert off < allowed, f"samples: the {name} is off by {off:.3g}"
    off = (p.mean.flatten() - mean).abs().max().item()
    assert off < 0.05 * top.max().item(), f"mean: off by {off:.3g}"


def _check_refuses(likelihood: Likelihood, target: Domain) -> None:
    likelihood.check_domain(target)
    for other in (Domain("real"), Domain("unit"), Domain("levels", (target.levels or 2) + 3)):
        assert refuses(likelihood, other), f"domain: check_domain did not refuse {other}"


def _check_start(likelihood: Likelihood, features: Tensor, levels: Tensor, generator: torch.Generator) -> None:
    unit = torch.rand(3, 500, *likelihood.shape, generator=generator, dtype=torch.float64).mean(0)
    x = (0.8 * unit * levels).floor()  # one mode, off the middle of the range
    before = likelihood(features).log_prob(x).mean().item()
    likelihood.start_at(x)
    after = likelihood(features).log_prob(x).mean().item()
    assert after > before, f"start_at: log p of the data went from {before:.4g} to {after:.4g}"
