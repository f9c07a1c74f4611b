"""Laws of code priors, and a reference for drawing that uses no caches."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import islice, product

import torch
from torch import Tensor
from torch.distributions import Distribution

from tightbound.core.noise import ExampleNoise, Noise
from tightbound.priors.codes import AutoregressiveCodes, CodePrior, Sharpening, draw_codes
from tightbound.priors.codes.drawing import invert
from tightbound.testing.common import check_rebuilt, gradients_of

DRAWS = 4000
BATCH = 4


def check_code_prior(prior: CodePrior, *, seed: int = 0) -> None:
    """Run every law of code priors, on a grid small enough to enumerate all code indices.

    Parameters are set at random, because the output of an untrained network may hardly depend on its input.

    1. Batch and event shapes are right. 2. The probabilities of all grids sum to 1. 3. `log_factors`, if defined, sum
    to `log_prob`; each is normalized, and none depends on a later index. 4. Draws have the exact frequencies of indices
    and of pairs of indices, also at another temperature and with top_k; they depend only on the noise, and do not
    change `log_prob`. 5. As the temperature approaches 0, and with top_k = 1, each index is the most probable one given
    those before it. 6. Given maps or a context, an example's prior and draws do not depend on its batch, and leading
    sample dimensions broadcast. 7. A finite, nonzero gradient reaches every parameter. 8. The prior can be rebuilt from
    its description.

    Args:
        prior: Code prior with at most 10,000 grids of indices.
        seed: Seed of the parameters and draws.

    Raises:
        AssertionError: A law is broken; the message names it.
    """
    prior = copy.deepcopy(prior).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in prior.parameters():
            random = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.copy_(p + 0.2 * random if p.dim() == 1 else 1.5 * random / p[0].numel() ** 0.5)
    maps, context = _conditions(prior, generator)
    p = prior(maps, context)
    event, batches = (prior.positions, prior.depth), [(), (BATCH,)]
    assert p.event_shape == event, f"event shape {tuple(p.event_shape)}, not {event}"
    assert p.batch_shape in batches, f"the batch shape is {tuple(p.batch_shape)}, not () or ({BATCH},)"
    one = prior(*(x if x is None else x[0] for x in (maps, context)))
    assert one.batch_shape == (), f"one example without a batch axis gave batch shape {tuple(one.batch_shape)}"
    every = torch.tensor(list(product(range(prior.codebook_size), repeat=prior.positions * prior.depth)))
    every = every.reshape(-1, *event)
    log_prob = one.log_prob(every)
    total = log_prob.exp().sum().item()
    assert abs(total - 1) < 1e-9, f"normalization: the probabilities of all grids sum to {total}, not 1"
    factors = _factors(one, every, log_prob, prior.codebook_size)
    sharpenings = [Sharpening(), Sharpening(0.5)]
    if not any((factor.sort(i).values.diff(dim=i) < 1e-9).any() for i, factor in enumerate(factors)):
        sharpenings.append(Sharpening(1.7, 2))  # with ties, top_k may leave out any of the tied indices
    for sharpening in sharpenings:
        _check_frequencies(one, every, _sharpened(factors, sharpening), sharpening, seed)
    again = one.log_prob(every)
    assert torch.equal(again, log_prob), "drawing changed log_prob"
    for sharpening in (Sharpening(1e-9), Sharpening(top_k=1), Sharpening(1e-300, 1)):
        _check_greedy(one, factors, sharpening, prior.codebook_size)
    x = every[torch.randint(len(every), (3, BATCH), generator=generator)]
    together = p.log_prob(x)
    assert together.shape == (3, BATCH), f"log p of code indices {tuple(x.shape)} has shape {tuple(together.shape)}"
    _check_apart(prior, p, x, together, maps, context)
    _check_gradients(prior, together)
    check_rebuilt(prior, lambda own: own(maps, context).log_prob(x))


@torch.no_grad()
def draw_from_scratch(
    distribution: AutoregressiveCodes,
    samples: Sequence[int],
    noise: Noise,
    sharpening: Sharpening,
    codes: int | None = None,
) -> Tensor:
    """Make the same draws as `draw_codes`, with a full pass of the network for each index.

    Args:
        distribution: Distribution to draw from.
        samples: Shape of the samples.
        noise: Source of the draws.
        sharpening: Temperature and top_k of the logits.
        codes: Number of indices to draw, leaving the others at 0; None: all.
    """
    shape = (*samples, *distribution.batch_shape, *distribution.event_shape)
    drawn, uniform = torch.zeros(shape, dtype=torch.long), None
    for position, index in islice(product(*map(range, distribution.event_shape)), codes):
        logits = distribution.logits(drawn)[..., position, index, :]
        uniform = noise.uniform(shape, logits) if uniform is None else uniform
        drawn[..., position, index] = invert(sharpening(logits), uniform[..., position, index])
    return drawn


def _conditions(prior: CodePrior, generator: torch.Generator) -> tuple[Tensor | None, Tensor | None]:
    shapes = ((BATCH, prior.maps, *prior.grid), (BATCH, prior.context))
    maps, context = (torch.randn(s, generator=generator, dtype=torch.float64) if s[1] else None for s in shapes)
    return maps, context


def _factors(p: Distribution, every: Tensor, log_prob: Tensor, codebook_size: int) -> Tensor:
    """Return log p of each index given those before it (L, K, ..., K), and check the distribution's own factors."""
    length = every[0].numel()
    joint = log_prob.reshape((codebook_size,) * length)
    up_to = [joint.logsumexp(tuple(range(i, length)), keepdim=True) if i < length else joint for i in range(length + 1)]
    factors = torch.stack([(up_to[i + 1] - up_to[i]).expand(joint.shape) for i in range(length)])
    if isinstance(p, AutoregressiveCodes):
        own = p.log_factors(every)
        assert own.shape == every.shape, f"log_factors of {tuple(every.shape)} have shape {tuple(own.shape)}"
        assert torch.allclose(own.sum((-2, -1)), log_prob, atol=1e-10), "log_factors do not sum to log_prob"
        own = own.flatten(1).T.reshape(length, *joint.shape)
        for i in range(length):
            later = own[i].reshape(*(codebook_size,) * (i + 1), -1)
            assert (later - later[..., :1]).abs().max() < 1e-10, (
                f"causality: a later index changes the factor of index {i}"
            )
            mass = later[..., 0].exp().sum(-1)
            assert (mass - 1).abs().max() < 1e-9, f"normalization: the factors of index {i} sum to {mass.max():.9f}"
        assert torch.allclose(own, factors, atol=1e-8), "a factor is not the conditional probability of its index"
    return factors


def _sharpened(factors: Tensor, sharpening: Sharpening) -> Tensor:
    """Return the exact probabilities (N,) of all grids if each index has its sharpened conditional distribution."""
    log_prob = torch.zeros_like(factors[0])
    for i, factor in enumerate(factors):
        powers = factor / sharpening.temperature
        if sharpening.top_k is not None:
            order = factor.argsort(dim=i, descending=True).argsort(dim=i)
            powers = powers.masked_fill(order >= sharpening.top_k, -torch.inf)
        log_prob = log_prob + powers.log_softmax(i)
    return log_prob.exp().flatten()


def _check_frequencies(p: Distribution, every: Tensor, exact: Tensor, sharpening: Sharpening, seed: int) -> None:
    codes = draw_codes(p, (DRAWS,), Noise("law", seed), sharpening)
    one, again = (draw_codes(p, (2,), Noise("law", seed), sharpening) for _ in range(2))
    assert torch.equal(one, again), "the same noise gave different draws"
    assert codes.dtype == torch.long, f"indices are {codes.dtype}, not integers"
    assert codes.shape == (DRAWS, *every.shape[1:]), f"draws have shape {tuple(codes.shape)}"
    codebook_size = int(every.max()) + 1
    drawn, all_codes = (
        torch.nn.functional.one_hot(c.flatten(1), codebook_size).flatten(1).double() for c in (codes, every)
    )
    found, pairs = drawn.T @ drawn / DRAWS, all_codes.T @ (all_codes * exact[:, None])
    allowed = 5.5 * (pairs * (1 - pairs).clamp_min(0) / DRAWS).sqrt() + 3 / DRAWS
    off = ((found - pairs).abs() / allowed).max().item()
    assert off < 1, f"frequencies: with {sharpening}, pairs of indices are {5.5 * off:.1f} standard errors off"
    assert found[pairs == 0].sum() == 0, f"frequencies: with {sharpening}, indices of probability 0 were drawn"


def _check_greedy(p: Distribution, factors: Tensor, sharpening: Sharpening, codebook_size: int) -> None:
    length = len(factors)
    for code in draw_codes(p, (5,), Noise("greedy"), sharpening).reshape(5, length):
        for i, factor in enumerate(factors):
            given = factor[tuple(code[:i].tolist())].reshape(codebook_size, -1)[:, 0]
            assert given[code[i]] > given.max() - 1e-6, f"with {sharpening}, index {i} is not the most probable"


def _check_apart(
    prior: CodePrior, p: Distribution, x: Tensor, together: Tensor, maps: Tensor | None, context: Tensor | None
) -> None:
    """Check that an example's log p and draws do not depend on its batch, and that the conditions are used."""
    if not p.batch_shape:
        assert torch.allclose(together[1, 2], p.log_prob(x[1, 2]), atol=1e-10), "log p depends on the batch"
        return
    index = torch.tensor([5, 2, 9, 7])
    drawn = draw_codes(p, (3,), ExampleNoise("law", index=index), Sharpening())
    for b in range(BATCH):
        alone = prior(*(c if c is None else c[b : b + 1] for c in (maps, context)))
        same = torch.allclose(together[:, b : b + 1], alone.log_prob(x[:, b : b + 1]), atol=1e-10)
        assert same, "an example's log p depends on its batch"
        mine = draw_codes(alone, (3,), ExampleNoise("law", index=index[b : b + 1]), Sharpening())
        assert torch.equal(drawn[:, b : b + 1], mine), "an example's draw depends on its batch"
    assert torch.unique(together[:, 0] - p.log_prob(x[:, :1].expand_as(x))[:, 1]).abs().max() > 1e-6, (
        "the prior does not depend on maps or context"
    )


def _check_gradients(prior: CodePrior, log_prob: Tensor) -> None:
    parameters = dict(prior.named_parameters())
    if not parameters:
        return
    for name, gradient in zip(parameters, gradients_of(log_prob.sum(), parameters), strict=True):
        assert gradient.abs().max() > 1e-12, f"the gradient of {name} is zero"
