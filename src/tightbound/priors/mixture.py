"""Finite mixtures that can be evaluated at many points in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from tightbound.core.dispatch import Dispatched
from tightbound.core.noise import Noise, draw, unkeyed
from tightbound.core.numerics import lacks_double
from tightbound.core.terms import UncheckedDistribution


class FiniteMixture(UncheckedDistribution):
    """Mixture sum_k w_k p_k(z) with the same components for the whole batch.

    Args:
        logits: Logits (*batch, K) of the weights w.
        components: The p_k, with batch shape (K,) and event shape (latent,).
    """

    has_rsample = False  # the choice of a component is not differentiable

    def __init__(self, logits: Tensor, components: Distribution) -> None:
        self.log_weights, self.components = logits.log_softmax(-1), components
        super().__init__(logits.shape[:-1], components.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Mean (*batch, latent)."""
        return self.log_weights.exp() @ self.components.mean

    @property
    def variance(self) -> Tensor:
        """Variance (*batch, latent), the sum of the variances within and between components."""
        between = self.components.mean - self.mean.unsqueeze(-2)  # (*batch, K, latent)
        return (self.log_weights.exp().unsqueeze(-1) * (self.components.variance + between.square())).sum(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density (..., *batch) at points (..., *batch, latent)."""
        return (component_log_probs(self.components, value) + self.log_weights).logsumexp(-1).to(value.dtype)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw (*sample_shape, *batch, latent), seeded by torch's default generator."""
        return draw(self, tuple(sample_shape), unkeyed())


@draw.register
@torch.no_grad()
def _(distribution: FiniteMixture, samples: Sequence[int], noise: Noise) -> Tensor:
    weights = distribution.log_weights.exp()
    u = noise.uniform((*samples, *distribution.batch_shape, 1), weights)
    below = weights.cumsum(-1)[..., :-1]  # omit the last sum, which rounding can leave below 1
    return draw_components(distribution.components, (u >= below).sum(-1), noise)


@Dispatched
def component_log_probs(components: Distribution, z: Tensor, max_elements: int = 2**24) -> Tensor:
    """Return log p_k(z) (..., K) for components with batch shape (K,) at points z (..., latent).

    Args:
        components: The p_k.
        z: The points.
        max_elements: Maximum size of one block of points x components x dimensions; 2**24 is 64 MB in float32.
    """
    rows = z.reshape(-1, 1, z.shape[-1])
    size = max(1, max_elements // (components.batch_shape[0] * z.shape[-1]))
    if len(rows) <= size:
        return components.log_prob(z.unsqueeze(-2))
    from torch.utils.checkpoint import checkpoint

    # recompute intermediate values for the gradients instead of storing them
    blocks = [
        checkpoint(components.log_prob, block, use_reentrant=False, preserve_rng_state=False)
        for block in rows.split(size)
    ]
    return torch.cat(blocks).reshape(*z.shape[:-1], -1)


@component_log_probs.register
def _(components: Independent, z: Tensor, max_elements: int = 2**24) -> Tensor:
    normal = components.base_dist
    if not isinstance(normal, Normal) or lacks_double(z.device):
        return component_log_probs.default(components, z, max_elements)
    # Expand the square into matrix products, which need memory for points x components only. They are in float64,
    # since the terms cancel: at a scale of 0.01, float32 would lose tenths of a nat.
    loc, scale, x = normal.loc.double(), normal.scale.double(), z.double()
    precision = scale.square().reciprocal()
    square = x.square() @ precision.mT - 2 * x @ (loc * precision).mT + (loc.square() * precision).sum(-1)
    return -0.5 * square - scale.log().sum(-1) - 0.5 * math.log(2 * math.pi) * z.shape[-1]


@Dispatched
def draw_components(components: Distribution, index: Tensor, noise: Noise) -> Tensor:
    """Draw (..., latent) from the component that each element of `index` (...) selects."""
    flat = index.flatten()
    counts = flat.bincount(minlength=components.batch_shape[0])
    # draw every component as often as the most frequent one; its j-th draw goes to the j-th element that selects it
    order = flat.argsort(stable=True)
    turn = torch.empty_like(flat)
    turn[order] = torch.arange(len(flat), device=flat.device) - (counts.cumsum(0) - counts)[flat[order]]
    with noise.default():  # noise keyed by example does not apply, since components are not examples
        draws = components.sample(torch.Size((int(counts.max()),)))
    return draws[turn, flat].reshape(*index.shape, -1)


@draw_components.register
def _(components: Independent, index: Tensor, noise: Noise) -> Tensor:
    normal = components.base_dist
    if not isinstance(normal, Normal):
        return draw_components.default(components, index, noise)
    return draw(Normal(normal.loc[index], normal.scale[index], validate_args=False), (), noise)


@draw_components.register
def _(components: MultivariateNormal, index: Tensor, noise: Noise) -> Tensor:
    scale = components.scale_tril[index]
    return draw(MultivariateNormal(components.loc[index], scale_tril=scale, validate_args=False), (), noise)
